//! The demo's site through an hour of virtual prices: its operators, agents and plant as in the demo, its Jobs, their
//! scheduling and their pods the cluster's own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ampacity::api::check::Schemas;
use ampacity::api::{NOTICE_DEADLINE_ANNOTATION, manifest};
use ampacity::market::series::Series;
use ampacity::operator::cache::Cache;
use ampacity::sim::day;
use ampacity::sim::frame::Frame;
use ampacity::sim::happening::Happening;
use ampacity::sim::live::{Live, Options};
use ampacity::sim::plant::faults::Rates;
use ampacity::sim::spec::{Mishaps, WorldSpec};
use ampacity::sim::world::{NAMESPACE, World};
use ampacity::store::kube::{KubeStore, control};
use ampacity::store::{Filter, JobFacts, Key, Kind, PodFacts, Store};
use ampacity_core::units::{Span, Time};
use ampacity_e2e::identity::ADMIN;
use ampacity_e2e::{Needs, Plain, cluster_test_within};
use anyhow::{Context, Result, anyhow, ensure};
use kube::{Client, Config};

/// All of the test, and the hour alone.
const LIMIT: Duration = Duration::from_secs(420);
const HOUR_WITHIN: Duration = Duration::from_secs(240);
/// Virtual seconds in a second, at most.
const SPEED_MAX: u32 = 60;
/// The hour.
const TICKS: i64 = 3_600;
const START: Time = day::MIDNIGHT;
/// From then on every bound fits its limit: a cold start counts nameplates that nobody has lowered yet.
const SETTLED: i64 = 600;
/// The utility's limit: from, until, and for how long its response may take.
const LIMITED: (i64, i64, i64) = (1_200, 1_560, 300);
/// What the site may draw for good, W.
const BREAKER: i64 = 1_900_000;
/// A GPU node at its lowest caps draws less, W; at any that work needs, more.
const LOWEST: i64 = 6_400;

/// USD/MWh from each minute on: old machines step down, then new ones, then a plateau that is worth a lease's notice.
const PRICES: [(i64, i64); 7] = [(0, 20), (28, 60), (30, 75), (32, 110), (34, 1_450), (44, 60), (46, 20)];

const EVENT: &str = "
apiVersion: ampacity.dev/v1alpha1
kind: GridEvent
metadata: {name: line-work}
spec:
  target: {budget: high-plains}
  limitWatts: 900k
  owner: utility
  reason: a line out for repair
  responseSeconds: 300
  start: '2026-07-15T00:20:00Z'
  end: '2026-07-15T00:26:00Z'
";

/// The built-in site; its interruptible class with terms that an hour can show.
fn spec() -> Result<WorldSpec> {
    let schemas = Schemas::new()?;
    let site = day::SITE
        .replace("minimumRunSeconds: 1800", "minimumRunSeconds: 300")
        .replace("noticeSeconds: 600", "noticeSeconds: 240");
    ensure!(site.contains("minimumRunSeconds: 300") && site.contains("noticeSeconds: 240"), "the site has changed");
    let price = |minute: i64| PRICES.iter().rfind(|(from, _)| *from <= minute).map_or(0, |(_, price)| *price);
    let rows = (0..=TICKS / 60).map(|minute| (START.after(Span::minutes(minute)), price(minute) * 1_000_000));
    let mut script = Vec::new();
    for event in manifest::read("event", EVENT, &schemas)? {
        script.push((START.after(Span::minutes(10)), Happening::Apply(Box::new(event))));
    }
    Ok(WorldSpec {
        seed: 1,
        start: START,
        objects: manifest::read("built-in site", &site, &schemas)?,
        folder: ".".into(),
        prices: Some(Series::new(rows.collect())),
        hashprice: None,
        script,
        mishaps: Mishaps::None,
        weather: day::WEATHER,
        rates: Rates::NONE,
    })
}

/// What a tick must keep, wherever the site runs.
fn kept(frame: &Frame, second: i64) -> Result<()> {
    // The way down to a limit that is coming is a plan; the limit itself counts once its response time has passed.
    let coming = (0..LIMITED.0 + LIMITED.2).contains(&second);
    for (name, node) in &frame.nodes {
        let limit = if coming && !name.contains('/') { BREAKER } else { node.limit_watts };
        let settled = second >= SETTLED && frame.leader.is_some();
        ensure!(node.true_watts <= limit, "{} {name}: truth {node:?}", frame.time);
        ensure!(!settled || node.bound_watts <= limit, "{} {name}: bound {node:?}", frame.time);
    }
    Ok(())
}

/// The states that a lease goes through, each once as it is entered.
fn follow(states: &mut Vec<String>, frame: &Frame) {
    if let Some(lease) = frame.leases.get("tenant-a/llm-pretrain")
        && states.last() != Some(&lease.state)
    {
        states.push(lease.state.clone());
    }
}

/// Both runs tell the same of the lease.
const STATES: [&str; 6] = ["Requested", "Waiting", "Running", "Notice", "Curtailed", "Running"];

#[test]
fn the_hour_in_memory_is_the_one_that_the_cluster_is_to_show() -> Result<()> {
    let mut world = World::new(spec()?)?;
    let mut states = Vec::new();
    let mut site = BTreeMap::new();
    for second in 1..=TICKS {
        let frame = world.tick();
        kept(&frame, second)?;
        follow(&mut states, &frame);
        if second % 60 == 0 {
            site.insert(second / 60, frame.site().map_or(0, |(_, node)| node.true_watts));
            eprintln!("{:?} {}", frame.site(), states.last().map_or("", String::as_str));
        }
    }
    assert_eq!(states, STATES);
    assert!(world.account().clean(), "{:?}", world.account());
    // The limit binds: before it the site draws more.
    assert!(site[&15] > 1_200_000 && site[&25] < 900_000, "{site:?}");
    Ok(())
}

/// What the API server showed of the lease's Job, each once, with the virtual second of it.
#[derive(Default)]
struct Story {
    told: Vec<(&'static str, i64)>,
    /// By load of a node that pods landed on: its ceiling at that moment.
    landed: BTreeMap<String, i64>,
}

impl Story {
    fn tell(&mut self, what: &'static str, second: i64) {
        if self.told.last().is_none_or(|(last, _)| *last != what) {
            eprintln!("{second:>5} s: {what}");
            self.told.push((what, second));
        }
    }

    fn has(&self, what: &str) -> bool {
        self.told.iter().any(|(told, _)| *told == what)
    }

    fn look(&mut self, cache: &Cache, second: i64) {
        let key = Key::namespaced(Kind::Job, "tenant-a", "llm-pretrain-train");
        let Some(job) = cache.job(&key) else { return };
        match (job.suspended, self.has("unsuspended"), self.has("suspended")) {
            (false, false, _) => self.tell("unsuspended", second),
            (true, true, false) => self.tell("suspended", second),
            (false, true, true) => self.tell("resumed", second),
            _ => {}
        }
        if !self.has("notice") && job.annotations.contains_key(NOTICE_DEADLINE_ANNOTATION) {
            self.tell("notice", second);
        }
        self.nodes(cache, job, second);
    }

    /// Pods on nodes, and the ceilings that their agents stated before and after.
    fn nodes(&mut self, cache: &Cache, job: &JobFacts, second: i64) {
        let is_own = |pod: &&Arc<PodFacts>| pod.job.as_ref() == Some(&job.name) && pod.namespace == job.namespace;
        let own: Vec<_> = cache.pods().filter(is_own).collect();
        let running: Vec<_> = own.iter().filter(|pod| pod.running && !pod.terminating).collect();
        for node in running.iter().filter_map(|pod| pod.node.as_ref()) {
            let load = format!("h100-a-{node}");
            let ceiling = ceiling(cache, &load);
            self.landed.entry(load).or_insert(ceiling);
        }
        if !self.has("landed") && running.len() == job.parallelism as usize {
            self.tell("landed", second);
        }
        let raised = self.landed.iter().all(|(load, before)| {
            let now = ceiling(cache, load);
            *before <= LOWEST && now > LOWEST
        });
        if self.has("landed") && !self.has("raised") && raised {
            self.tell("raised", second);
        }
        if self.has("suspended") && !self.has("gone") && own.is_empty() {
            self.tell("gone", second);
        }
        let lowered = self.landed.keys().all(|load| (1..=LOWEST).contains(&ceiling(cache, load)));
        if self.has("suspended") && !self.has("resumed") && !self.has("lowered") && lowered {
            self.tell("lowered", second);
        }
    }
}

/// What a load's agent stated that its devices can draw at most, W; zero while nothing is stated.
fn ceiling(cache: &Cache, load: &str) -> i64 {
    let load = cache.load(&Key::namespaced(Kind::ControllableLoad, NAMESPACE, load));
    load.and_then(|load| load.status.as_ref()?.ceiling_watts).map_or(0, |watts| watts.0)
}

/// Runs the hour, and tells what came of it.
fn hour(world: &mut World, seen: &mut KubeStore) -> Result<(Story, Vec<String>)> {
    let (mut story, mut states, mut cache) = (Story::default(), Vec::new(), Cache::default());
    let (began, mut last) = (Instant::now(), Instant::now());
    for second in 1..=TICKS {
        let frame = world.tick();
        for one in seen.poll() {
            cache.take(&one);
        }
        story.look(&cache, second);
        follow(&mut states, &frame);
        for said in frame.events.iter().filter(|said| said.starts_with("leader:") || said.starts_with("alarm:")) {
            eprintln!("{second:>5} s: {said}");
        }
        kept(&frame, second)?;
        let spent = began.elapsed();
        ensure!(spent < HOUR_WITHIN, "only {second} virtual seconds in {spent:?}: {:?}, {states:?}", story.told);
        if second % 300 == 0 {
            let speed = 300.0 / last.elapsed().as_secs_f64();
            eprintln!("{second:>5} s: {speed:.0} virtual seconds a second, {:?}", frame.site());
            last = Instant::now();
        }
    }
    Ok((story, states))
}

/// What a person would look at first.
fn show(plain: &Plain) -> Result<()> {
    let kubectl = |arguments: &[&str]| -> Result<()> {
        let output = std::process::Command::new(plain.kubectl())
            .arg(format!("--kubeconfig={}", plain.kubeconfig(ADMIN)?.display()))
            .args(arguments)
            .output()?;
        eprintln!("kubectl {}\n{}", arguments.join(" "), String::from_utf8_lossy(&output.stdout));
        Ok(())
    };
    kubectl(&["get", "pb,load,cl", "-A"])?;
    kubectl(&["get", "mf,gp,lc,ge,nodes"])?;
    kubectl(&["get", "gp", "h100-b", "-o", "yaml"])?;
    kubectl(&["get", "jobs,pods", "-A", "-o", "wide"])
}

fn run(config: Config, plain: &Plain, handle: &tokio::runtime::Handle) -> Result<()> {
    let options = Options { config: config.clone(), speed_max: SPEED_MAX, keep: false };
    let mut world = World::on(spec()?, |setting| Ok(Box::new(Live::start(options, setting)?)))?;
    let mut seen = {
        let _inside = handle.enter();
        KubeStore::connect(Client::try_from(control(config))?, NAMESPACE, Filter::All)
    };
    let judged = hour(&mut world, &mut seen).and_then(|(story, states)| {
        // Pods go while caps are lowered: neither waits for the other.
        let told: Vec<&str> = story.told.iter().map(|(what, _)| *what).filter(|what| *what != "gone").collect();
        let wanted = ["unsuspended", "landed", "raised", "notice", "suspended", "lowered", "resumed"];
        ensure!(told == wanted && story.has("gone"), "the Job: {:?}", story.told);
        // Eight pods; after the stop the scheduler may have chosen other nodes.
        ensure!(story.landed.len() >= 8, "landed on {:?}", story.landed);
        ensure!(states == STATES, "the lease: {states:?}");
        let account = world.account();
        // Terms are judged in the hour in memory; here the API server's latency is part of every notice.
        ensure!(account.seconds_over_limit == 0.0, "{account:?}");
        Ok(())
    });
    if judged.is_err() {
        // Before everything is taken away.
        show(plain)?;
    }
    judged
}

#[test]
fn the_demos_site_runs_real_jobs_through_an_hour_of_prices_and_a_limit() -> Result<()> {
    cluster_test_within(LIMIT, Needs::FakeNodes, async |test| {
        let (config, plain) = (test.config(ADMIN).await?, test.plain()?);
        let handle = tokio::runtime::Handle::current();
        // The world's loop is a plain thread.
        let outcome = std::thread::scope(|scope| {
            let runs = scope.spawn(|| run(config, plain, &handle));
            tokio::task::block_in_place(|| runs.join())
        });
        outcome.map_err(|_| anyhow!("the world's thread panicked"))?.context("the site on the cluster")
    })
}
