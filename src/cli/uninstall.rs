//! `ampacity uninstall check` and `ampacity uninstall end-agents`: what the chart's hooks run before and after its
//! release goes. Neither changes a device.
//!
//! Without operator and agents nobody lowers a load, whatever befalls its breaker; so each is released first, by a person
//! (`ampacity release`) or by proof that it draws nothing. What cannot be asked is not released: the hook then refuses
//! too, and `helm uninstall --no-hooks` is the way out for a cluster that cannot run it.

use super::cluster::ClusterArgs;
use crate::api::controllable_load::PROTOCOL;
use crate::api::{ControllableLoad, RELEASED_BY_ANNOTATION};
use crate::store::kube::control;
use crate::store::time;
use ampacity_core::units::{Time, Watts};
use anyhow::Context;
use clap::{Args, Subcommand};
use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use kube::{Client, ResourceExt};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Everything that one step asks takes this long at most: less than the hook's own deadline.
const WITHIN: Duration = Duration::from_secs(100);
/// An agent that reports by its link renews its statement at the API server once a minute, and its proof may live shorter:
/// where nothing but a living proof of 0 W is missing, it is waited for.
const RENEWED_WITHIN: Duration = Duration::from_secs(75);
/// It is looked for so often: no proof lives shorter than 12 s.
const LOOK_EVERY: Duration = Duration::from_secs(3);
/// The longest note that the API server takes in an Event, bytes.
const NOTE_MAX: usize = 1_024;
/// The pods that the operator made for mining containers (`operator::pods`).
const AGENTS: &str = "app.kubernetes.io/component=agent,app.kubernetes.io/managed-by=ampacity-operator";

/// A step of an uninstall.
#[derive(Clone, Debug, Subcommand)]
pub enum UninstallCommand {
    /// Before: ends with 1 and the names of the loads that are not released, and what to do about each.
    Check(CheckArgs),
    /// After: ends the agents' pods that the operator made. Their devices stay as they are.
    EndAgents(UninstallArgs),
}

/// What both steps are told.
#[derive(Args, Clone, Debug)]
pub struct UninstallArgs {
    /// Namespace of loads and agents.
    #[arg(long, env = "POD_NAMESPACE", default_value = "ampacity")]
    namespace: String,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// What the check is told.
#[derive(Args, Clone, Debug)]
pub struct CheckArgs {
    #[command(flatten)]
    common: UninstallArgs,
    /// The group whose members may release a load; left out, whoever may write loads.
    #[arg(long)]
    break_glass_group: Option<String>,
    /// Name of the Job that this runs in, which a refusal is told of as an Event; left out, no Event is written.
    #[arg(long, env = "UNINSTALL_JOB", requires = "job_uid")]
    job_name: Option<String>,
    /// Its UID.
    #[arg(long, env = "UNINSTALL_JOB_UID")]
    job_uid: Option<String>,
    /// Helm's command for whoever stays after a refusal.
    #[arg(long)]
    stay: Option<String>,
}

/// Runs one step.
///
/// # Errors
/// The cluster cannot be asked: nothing is known to be released then.
pub fn uninstall(step: &UninstallCommand) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the runtime")?;
    let done = async {
        match step {
            UninstallCommand::Check(args) => check(args).await,
            UninstallCommand::EndAgents(args) => end_agents(args).await,
        }
    };
    runtime.block_on(async { tokio::time::timeout(WITHIN, done).await.context("the API server does not answer")? })
}

async fn client(args: &UninstallArgs) -> anyhow::Result<Client> {
    Client::try_from(control(args.cluster.config().await?)).context("making a client of the API server")
}

async fn check(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let (client, namespace) = (client(&args.common).await?, &args.common.namespace);
    let (held, all) = look(&client, namespace).await?;
    if held.is_empty() {
        println!("each of {all} loads in namespace {namespace} is released: no device changes");
        return Ok(ExitCode::SUCCESS);
    }
    let text = refusal(&held, all, namespace, args);
    println!("{text}");
    if let (Some(name), Some(uid)) = (&args.job_name, &args.job_uid) {
        let event = event(namespace, name, uid, &note(&held, all, namespace));
        // Who reads the log knows it all the same.
        if let Err(error) = Api::<Event>::namespaced(client, namespace).create(&PostParams::default(), &event).await {
            eprintln!("no Event could be written: {error}");
        }
    }
    Ok(ExitCode::FAILURE)
}

/// The loads that are not released, and how many there are in all.
async fn look(client: &Client, namespace: &str) -> anyhow::Result<(Vec<Held>, usize)> {
    let loads: Api<ControllableLoad> = Api::namespaced(client.clone(), namespace);
    let started = tokio::time::Instant::now();
    let mut proved = BTreeSet::new();
    loop {
        let loads = match loads.list(&ListParams::default()).await {
            Ok(loads) => loads.items,
            // The kind itself is gone, and every load with it.
            Err(kube::Error::Api(status)) if status.is_not_found() => Vec::new(),
            Err(error) => {
                return Err(error).context("which loads there are is not known, so none is known to be released");
            }
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = Time::new(i64::try_from(now.as_millis()).unwrap_or(i64::MAX));
        proved.extend(loads.iter().filter(|load| held(load, now).is_none()).map(ResourceExt::name_any));
        let mut held: Vec<Held> = loads.iter().filter_map(|load| held(load, now)).collect();
        held.retain(|one| !(one.at_zero() && proved.contains(&one.name)));
        if !held.iter().all(Held::at_zero) || held.is_empty() || started.elapsed() > RENEWED_WITHIN {
            return Ok((held, loads.len()));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// A load that is not released.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Held {
    name: String,
    site: String,
    feeder: String,
    setpoint: Watts,
    /// What its agent stated last under the order that stands; none: it counts its nameplate.
    ceiling: Option<Watts>,
    /// Whether the proof of that still lives.
    lives: bool,
    nameplate: Watts,
}

/// What there is to say of a load that nobody released and that is not proved at 0 W.
fn held(load: &ControllableLoad, now: Time) -> Option<Held> {
    let (spec, status) = (&load.spec, load.status.as_ref());
    let stated = status.filter(|status| status.order == Some(spec.order) && status.protocol == Some(PROTOCOL));
    let one = Held {
        name: load.name_any(),
        site: spec.budget.clone(),
        feeder: spec.feeder.clone(),
        setpoint: spec.setpoint_watts.watts(),
        ceiling: stated.and_then(|status| status.ceiling_watts).map(|watts| watts.watts()),
        lives: stated.and_then(|status| status.proof_expires.as_ref()).is_some_and(|expires| time(expires) > now),
        nameplate: spec.nameplate_watts.watts(),
    };
    let word = load.annotations().get(RELEASED_BY_ANNOTATION).is_some_and(|by| !by.is_empty());
    let released = word || (one.lives && one.at_zero());
    (!released).then_some(one)
}

impl Held {
    /// Ordered to nothing, and so stated.
    fn at_zero(&self) -> bool {
        self.setpoint == Watts::ZERO && self.ceiling == Some(Watts::ZERO)
    }

    fn line(&self) -> String {
        let Self { name, site, feeder, setpoint, ceiling, lives, nameplate } = self;
        let place = if site == feeder { format!("site {site}") } else { format!("site {site}, feeder {feeder}") };
        match ceiling {
            Some(ceiling) if *lives => {
                format!("{name}: proved to draw {ceiling} at most, ordered {setpoint} ({place})")
            }
            Some(ceiling) => format!("{name}: last stated to draw {ceiling} at most, ordered {setpoint} ({place})"),
            None => format!("{name}: not stated by any agent, counts its nameplate of {nameplate} ({place})"),
        }
    }
}

/// What a person reads.
fn refusal(held: &[Held], all: usize, namespace: &str, args: &CheckArgs) -> String {
    let mut text = format!(
        "refused: {} of {all} loads in namespace {namespace} are not released. Nothing was changed.\n\n",
        held.len()
    );
    for one in held {
        let _ = writeln!(text, "  {}", one.line());
    }
    let names: Vec<&str> = held.iter().map(|one| one.name.as_str()).collect();
    let group = args.break_glass_group.as_deref();
    let who = group.map_or_else(String::new, |group| format!(", as a member of group {group}"));
    let _ = write!(
        text,
        "\nWithout Ampacity their devices stay as they are, and nobody lowers them when a breaker, a utility or a person \
         needs it. Release each, in your own name{who}:\n\n  \
         ampacity release --namespace {namespace} --by YOUR-NAME --reason WHY \\\n    {}\n\n\
         or have its agent prove 0 W: order it to nothing by a Lockout, with devices that draw nothing then.\n\
         Then uninstall again.",
        names.join(" \\\n    ")
    );
    if let Some(stay) = &args.stay {
        let _ = write!(text, " To stay, since Helm calls this release uninstalling now:\n\n  {stay}");
    }
    text
}

/// The same, as short as an Event's note must be.
fn note(held: &[Held], all: usize, namespace: &str) -> String {
    let names: Vec<&str> = held.iter().map(|one| one.name.as_str()).collect();
    let text = format!(
        "uninstalling is refused: {} of {all} loads are not released (ampacity release --namespace {namespace} --by \
         YOUR-NAME --reason WHY LOAD, or proof of 0 W): {}",
        held.len(),
        names.join(", ")
    );
    if text.len() <= NOTE_MAX {
        return text;
    }
    // Names and all else are ASCII.
    format!("{}…", text.chars().take(NOTE_MAX - '…'.len_utf8()).collect::<String>())
}

fn event(namespace: &str, job: &str, uid: &str, note: &str) -> Event {
    let now = k8s_openapi::jiff::Timestamp::now();
    let mut event = Event {
        action: Some("Uninstall".into()),
        event_time: Some(MicroTime(now)),
        note: Some(note.into()),
        reason: Some("UninstallRefused".into()),
        regarding: Some(ObjectReference {
            api_version: Some("batch/v1".into()),
            kind: Some("Job".into()),
            name: Some(job.into()),
            namespace: Some(namespace.into()),
            uid: Some(uid.into()),
            ..ObjectReference::default()
        }),
        reporting_controller: Some("ampacity.dev/uninstall".into()),
        reporting_instance: Some(job.into()),
        type_: Some("Warning".into()),
        ..Event::default()
    };
    event.metadata.name = Some(format!("{job}.{:x}", now.as_microsecond()));
    event.metadata.namespace = Some(namespace.into());
    event
}

/// After the operator is gone nobody makes them again. Ended, an agent changes nothing; left alone, it would lower its
/// devices to their fallback once it has been without a leader for a while.
async fn end_agents(args: &UninstallArgs) -> anyhow::Result<ExitCode> {
    let pods: Api<Pod> = Api::namespaced(client(args).await?, &args.namespace);
    pods.delete_collection(&DeleteParams::default(), &ListParams::default().labels(AGENTS))
        .await
        .context("ending the agents' pods")?;
    println!("the agents' pods in namespace {} end; their devices stay as they are", args.namespace);
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use serde_json::{Value, json};

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: CheckArgs,
    }

    const NOW: Time = Time::seconds(1_786_741_200);

    fn load(setpoint: i64, annotations: Value, status: Value) -> ControllableLoad {
        serde_json::from_value(json!({
            "apiVersion": "ampacity.dev/v1alpha1", "kind": "ControllableLoad",
            "metadata": {"name": "s21-0", "annotations": annotations},
            "spec": {
                "protocol": 1, "budget": "yard", "feeder": "hall-a", "kind": "Miner",
                "owner": {"fleet": "s21", "index": 0}, "nameplateWatts": 28_000, "setpointWatts": setpoint,
                "fallbackWatts": 0, "order": {"epoch": 7, "sequence": 3},
            },
            "status": status,
        }))
        .unwrap()
    }

    /// A statement under this sequence whose proof lives for so many seconds.
    fn states(ceiling: i64, sequence: i64, lives: i64) -> Value {
        let time = |seconds: i64| crate::store::api_time(NOW.after(ampacity_core::units::Span::seconds(seconds)));
        json!({
            "ceilingWatts": ceiling, "order": {"epoch": 7, "sequence": sequence}, "protocol": 1, "bootId": "b",
            "holder": {"uid": "u", "pod": "s21-0-agent", "since": time(-60)}, "readBackTime": time(-1),
            "proofExpires": time(lives),
        })
    }

    #[test]
    fn a_load_is_released_by_a_persons_word_or_by_a_living_proof_of_nothing_under_its_order() {
        let none = json!({});
        let is_held = |load: &ControllableLoad| held(load, NOW).is_some();
        for (what, load) in [
            ("nobody states anything", load(0, none.clone(), json!(null))),
            ("its devices draw", load(0, none.clone(), states(256, 3, 60))),
            ("it may draw", load(5_000, none.clone(), states(0, 3, 60))),
            ("the proof is of another order", load(0, none.clone(), states(0, 2, 60))),
            ("the proof has expired", load(0, none.clone(), states(0, 3, 0))),
            ("nobody's word", load(0, json!({"ampacity.dev/released-by": ""}), json!(null))),
            ("a reason alone", load(0, json!({"ampacity.dev/release-reason": "sold"}), json!(null))),
        ] {
            assert!(is_held(&load), "{what}");
        }
        assert!(!is_held(&load(0, none, states(0, 3, 60))));
        assert!(!is_held(&load(28_000, json!({"ampacity.dev/released-by": "jo"}), json!(null))));
    }

    #[test]
    fn a_refusal_names_each_load_with_what_it_may_draw_and_the_command_that_releases_it() {
        let none = json!({});
        let mut unproved = held(&load(28_000, none.clone(), json!(null)), NOW).unwrap();
        (unproved.name, unproved.feeder) = ("s21-1".into(), "yard".into());
        let both = [held(&load(20_000, none, states(20_100, 3, 60)), NOW).unwrap(), unproved];
        let args =
            Line::parse_from(["check", "--break-glass-group=ampacity:break-glass", "--stay=helm rollback a 1"]).args;
        assert_eq!(
            refusal(&both, 3, "ampacity", &args),
            "refused: 2 of 3 loads in namespace ampacity are not released. Nothing was changed.

  s21-0: proved to draw 20.1 kW at most, ordered 20.0 kW (site yard, feeder hall-a)
  s21-1: not stated by any agent, counts its nameplate of 28.0 kW (site yard)

Without Ampacity their devices stay as they are, and nobody lowers them when a breaker, a utility or a person needs it. Release each, in your own name, as a member of group ampacity:break-glass:

  ampacity release --namespace ampacity --by YOUR-NAME --reason WHY \\
    s21-0 \\
    s21-1

or have its agent prove 0 W: order it to nothing by a Lockout, with devices that draw nothing then.
Then uninstall again. To stay, since Helm calls this release uninstalling now:

  helm rollback a 1"
        );
        let expired = held(&load(20_000, json!({}), states(20_100, 3, 0)), NOW).unwrap();
        assert_eq!(
            expired.line(),
            "s21-0: last stated to draw 20.1 kW at most, ordered 20.0 kW (site yard, feeder hall-a)"
        );
        assert_eq!(
            note(&both, 3, "ampacity"),
            "uninstalling is refused: 2 of 3 loads are not released (ampacity release --namespace ampacity --by YOUR-NAME --reason WHY LOAD, or proof of 0 W): s21-0, s21-1"
        );
    }

    #[test]
    fn a_note_of_a_thousand_loads_is_one_that_the_api_server_takes() {
        let one = held(&load(28_000, json!({}), json!(null)), NOW).unwrap();
        let note = note(&vec![one; 1_000], 1_000, "ampacity");
        assert_eq!((note.len(), note.ends_with('…')), (NOTE_MAX, true));
    }
}
