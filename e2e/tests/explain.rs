//! `ampacity explain` against a running operator, `kubectl get`, `kubectl diff` and `kubectl wait`: what a person sees of
//! a site on a real API server, and that asking writes nothing.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use ampacity::store::api_time;
use ampacity_core::units::{Span, Time};
use ampacity_e2e::identity::ADMIN;
use ampacity_e2e::{Needs, Test, cluster_test_within, definitions, until};
use anyhow::{Context, Result, ensure};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(300);
const SOON: Duration = Duration::from_secs(60);
/// A new leader's conditions take two minutes to settle where no agent answers.
const QUIET_WITHIN: Duration = Duration::from_secs(150);

/// Budgets are the cluster's, and one operator leads them all, so this file is one test.
const SITE: &str = r#"
apiVersion: ampacity.dev/v1alpha1
kind: PowerBudget
metadata: {name: told}
spec:
  limitWatts: 1M
  feeders: [{name: hall-a, limitWatts: 900k}]
  ramp: {upWattsPerMinute: 10M, economicDownWattsPerMinute: 10M, maxEconomicStepPercent: 100}
  energyPrice: {source: {static: {value: "25.00"}}}
  hashprice: {source: {static: {value: "52.00"}}, poolFeePercent: "2.0"}
  policy: {mode: Active}
---
apiVersion: ampacity.dev/v1alpha1
kind: MiningFleet
metadata: {name: told-s21}
spec:
  budget: told
  feeder: hall-a
  containers: 2
  minersPerContainer: 40
  model: S21
  curve: [{watts: 1855, gigahashPerSecond: 120000}, {watts: 3500, gigahashPerSecond: 200000}]
---
apiVersion: ampacity.dev/v1alpha1
kind: GpuPool
metadata: {name: told-h100}
spec:
  budget: told
  feeder: hall-a
  nodeLabels: {pool: told}
  gpusPerNode: 8
  minCapWatts: 200
  maxCapWatts: 700
  overheadWatts: "4600"
---
apiVersion: ampacity.dev/v1alpha1
kind: LeaseClass
metadata: {name: told-firm}
spec: {delivery: Jobs, pool: told-h100, pricePerGpuHour: "2.00", service: Firm}
---
apiVersion: ampacity.dev/v1alpha1
kind: GridEvent
metadata: {name: told-soon}
spec:
  target: {budget: told, feeder: hall-a}
  limitWatts: 500k
  owner: utility
  reason: a line out for repair
  start: "2099-07-15T00:20:00Z"
  end: "2099-07-15T00:26:00Z"
---
apiVersion: ampacity.dev/v1alpha1
kind: Lockout
metadata: {name: told-repair}
spec: {target: {budget: told, load: told-s21-1}, holder: j.doe, reason: pump}
"#;

/// A lease that began an hour ago, for ten days.
fn lease(name: &str, gpus: u32) -> Result<String> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
    let now = Time::seconds(i64::try_from(now)?);
    let at = |time| api_time(time).0.to_string();
    let (start, end) = (at(now.before(Span::minutes(60))), at(now.after(Span::minutes(10 * 1_440))));
    Ok(format!(
        "apiVersion: ampacity.dev/v1alpha1\nkind: ComputeLease\nmetadata: {{name: {name}}}\nspec:\n  className: told-firm\n  \
         gpus: {gpus}\n  term: {{start: \"{start}\", end: \"{end}\"}}\n  maxPricePerGpuHour: \"2.10\"\n"
    ))
}

/// What a person has at hand.
struct Person {
    kubectl: PathBuf,
    ampacity: PathBuf,
    kubeconfig: PathBuf,
    folder: PathBuf,
    namespace: String,
    operator: String,
}

impl Person {
    fn run(&self, program: &Path, arguments: &[&str]) -> Result<Output> {
        let mut command = Command::new(program);
        command.args(arguments).env("KUBECONFIG", &self.kubeconfig).env_remove("RUST_BACKTRACE");
        command.output().with_context(|| format!("starting {}", program.display()))
    }

    fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let all: Vec<&str> = ["-n", &self.namespace].into_iter().chain(arguments.iter().copied()).collect();
        said(&self.run(&self.kubectl, &all)?)
    }

    /// `ampacity explain`, of the operator by its address.
    fn asks(&self, arguments: &[&str]) -> Result<Output> {
        let fixed = ["explain", "--operator", &self.operator, "-n", &self.namespace];
        let all: Vec<&str> = fixed.into_iter().chain(arguments.iter().copied()).collect();
        self.run(&self.ampacity, &all)
    }

    fn explain(&self, arguments: &[&str]) -> Result<Value> {
        let all: Vec<&str> = ["--output", "json"].into_iter().chain(arguments.iter().copied()).collect();
        Ok(serde_json::from_str(&said(&self.asks(&all)?)?)?)
    }

    fn file(&self, name: &str, text: &str) -> Result<String> {
        let path = self.folder.join(name);
        std::fs::write(&path, text)?;
        Ok(path.display().to_string())
    }

    /// Every object of ours with its resource version.
    fn revisions(&self) -> Result<String> {
        let form = "-o=jsonpath={range .items[*]}{.kind}/{.metadata.name} {.metadata.resourceVersion}{'\\n'}{end}";
        self.kubectl(&["get", KINDS, form])
    }

    /// Every object of ours with its generation, which counts the changes of its spec.
    fn specs(&self) -> Result<String> {
        let form = "-o=jsonpath={range .items[*]}{.kind}/{.metadata.name} {.metadata.generation}{'\\n'}{end}";
        self.kubectl(&["get", KINDS, form])
    }
}

fn said(output: &Output) -> Result<String> {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{}\n{out}{err}", output.status);
    Ok(out.into_owned())
}

fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    value.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

/// The columns of each table that `kubectl get` prints, in its order.
fn columns(person: &Person, kinds: &str, wide: bool) -> Result<Vec<String>> {
    let form: &[&str] = if wide { &["-o", "wide"] } else { &[] };
    let mut headers = Vec::new();
    for kind in kinds.split(',') {
        let arguments: Vec<&str> = ["get", kind].into_iter().chain(form.iter().copied()).collect();
        let printed = person.kubectl(&arguments)?;
        eprintln!("{printed}");
        let header = printed.lines().next().unwrap_or_default();
        headers.push(format!("{kind}: {}", header.split_whitespace().collect::<Vec<_>>().join(" ")));
    }
    Ok(headers)
}

const KINDS: &str = "pb,mf,gp,lc,cl,ge,lo,load";

#[test]
fn a_person_asks_why_and_what_if_and_nothing_is_written() -> Result<()> {
    cluster_test_within(LIMIT, Needs::FakeNodes, async |test| {
        let (person, _operator) = up(test).await?;
        explains(&person)?;
        what_if(&person).await?;
        let header = columns(&person, KINDS, false)?;
        assert_eq!(
            header,
            [
                "pb: NAME MODE LIMIT BOUND ROOM MEASURED MINING LEASED PRICE READY REASON AGE",
                "mf: NAME FEEDER CONTAINERS AGENTS SETPOINT MEASURED BREAK-EVEN READY REASON AGE",
                "gp: NAME FEEDER NODES GPUS GRANTED SETPOINT MEASURED READY REASON AGE",
                "lc: NAME DELIVERY SERVICE GPU-HOUR KW-MONTH NOTICE LEASES FREE-GPUS ACCEPTED REASON AGE",
                "cl: NAME CLASS GPUS WATTS GRANTED READY REASON NOTICE AGE",
                "ge: NAME BUDGET FEEDER TYPE LIMIT MINIMUM ACTIVE MET START END AGE",
                "lo: NAME LOAD FEEDER LIMIT BOUND MET HOLDER AGE",
                "load: NAME FEEDER SETPOINT CEILING MEASURED PROVED DEVICES READY REASON AGE",
            ]
        );
        let wide = columns(&person, KINDS, true)?;
        assert_eq!(
            wide,
            [
                "pb: NAME MODE LIMIT BOUND ROOM MEASURED MINING LEASED PRICE READY REASON HASHPRICE PRICE-TIME LEADER EPOCH \
                 AGE",
                "mf: NAME FEEDER CONTAINERS AGENTS SETPOINT MEASURED BREAK-EVEN READY REASON MODEL BUDGET AGE",
                "gp: NAME FEEDER NODES GPUS GRANTED SETPOINT MEASURED READY REASON BUDGET AGE",
                "lc: NAME DELIVERY SERVICE GPU-HOUR KW-MONTH NOTICE LEASES FREE-GPUS ACCEPTED REASON FREE-WATTS POOL FEEDER \
                 AGE",
                "cl: NAME CLASS GPUS WATTS GRANTED READY REASON NOTICE OFFER PRICE FITS-GPUS FITS-WATTS CURTAILED CREDIT \
                 END AGE",
                "ge: NAME BUDGET FEEDER TYPE LIMIT MINIMUM ACTIVE MET START END LOADS PRIORITY RESPONSE OWNER REASON AGE",
                "lo: NAME LOAD FEEDER LIMIT BOUND MET HOLDER BUDGET SINCE REASON AGE",
                "load: NAME FEEDER SETPOINT CEILING MEASURED PROVED DEVICES READY REASON KIND NAMEPLATE EPOCH SEQUENCE \
                 HOLDER AGE",
            ]
        );
        // Nothing is told of a time to come as an age that cannot be.
        ensure!(!person.kubectl(&["get", "cl,ge", "-o", "wide"])?.contains("<invalid>"), "a time to come, as an age");
        quiet(&person)
    })
}

/// A site, its operator as a process, and a lease that fits beside one that does not.
async fn up(test: &Test) -> Result<(Person, ampacity_e2e::process::Part)> {
    definitions::install(&test.admin()).await?;
    let plain = test.plain()?;
    let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
    let person = Person {
        kubectl: plain.kubectl(),
        ampacity: ampacity_e2e::binary::ampacity()?,
        kubeconfig: plain.kubeconfig(ADMIN)?,
        folder: plain.logs(),
        namespace: test.namespace().into(),
        operator: format!("http://127.0.0.1:{port}"),
    };
    test.kwok_node("told-n1", &[("pool", "told")], &[("nvidia.com/gpu", "8")]).await?;
    let site = person.file("site.yaml", SITE)?;
    person.kubectl(&["apply", "--server-side", "-f", &site])?;
    let explain = format!("127.0.0.1:{port}");
    let namespace = test.namespace();
    let arguments = ["operator", "--namespace", namespace, "--name", "op", "--http-address", "127.0.0.1:0"];
    let arguments: Vec<&str> = arguments.into_iter().chain(["--explain-address", explain.as_str()]).collect();
    let operator = plain.run("operator", "operator.log", &person.kubeconfig, &arguments)?;
    until("an answer about a load", SOON, async || Ok(person.explain(&["load/told-s21-0"]).ok())).await?;
    for (name, gpus) in [("fits", 8), ("more", 64)] {
        let file = person.file(name, &lease(name, gpus)?)?;
        person.kubectl(&["apply", "--server-side", "-f", &file])?;
    }
    person.kubectl(&["wait", "--for=condition=Ready", "--timeout=60s", "cl/fits"])?;
    for kinds in ["pb,mf,gp,lc", "ge,lo"] {
        person.kubectl(&["wait", "--for=condition=Accepted", "--timeout=60s", kinds, "--all"])?;
    }
    person.kubectl(&["wait", "--for=condition=Accepted=False", "--timeout=60s", "cl/more"])?;
    Ok((person, operator))
}

fn explains(person: &Person) -> Result<()> {
    let subjects = ["load/told-s21-0", "cl/fits", "pb/told", "pb/told/hall-a", "mf/told-s21", "gp/told-h100"];
    for subject in subjects.into_iter().chain(["ge/told-soon", "lo/told-repair"]) {
        eprintln!("{}", said(&person.asks(&[subject])?)?);
    }
    let load = person.explain(&["load/told-s21-0"])?;
    assert_eq!(
        [text(&load, "/subject"), text(&load, "/site"), text(&load, "/leader")],
        ["load/told-s21-0", "told", "op"]
    );
    assert_eq!(text(&load, "/priceUsdPerMwh"), "25.00");
    let held = person.explain(&["load/told-s21-1"])?;
    let why = text(&held, "/why");
    ensure!(why.starts_with("held by j.doe since ") && why.ends_with(" (lockout told-repair)"), "{why}");
    assert_eq!(text(&held, "/reason"), "Lockout");
    let refused = person.explain(&["cl/more"])?;
    assert_eq!(text(&refused, "/reason"), "Refused");
    let unknown = person.asks(&["load/nobody"])?;
    let words = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert_eq!((unknown.status.code(), words.trim()), (Some(1), "error: load/nobody: no site that is led here has it"));
    Ok(())
}

async fn what_if(person: &Person) -> Result<()> {
    let dear = SITE.split("---").next().unwrap_or_default().replace("25.00", "500.00");
    let (dear_file, another_file) =
        (person.file("dear.yaml", &dear)?, person.file("another.yaml", &lease("another", 1)?)?);
    let specs = person.specs()?;
    // The operator goes on reporting meanwhile: of a few rounds one falls between its writes.
    let (answer, another) = until("a round in which nothing at all was written", QUIET_WITHIN, async || {
        let before = person.revisions()?;
        let answers = (person.explain(&["-f", &dear_file])?, person.explain(&["-f", &another_file])?);
        assert_eq!(person.specs()?, specs, "asking changed a spec, or made an object");
        Ok((person.revisions()? == before).then_some(answers))
    })
    .await?;
    assert_eq!(answer.pointer("/applied"), Some(&serde_json::json!(["PowerBudget told changed"])));
    assert_eq!(text(&answer, "/loads/0/load"), "told-s21-0");
    assert_eq!(
        [text(&another, "/admissions/0/lease"), text(&another, "/admissions/0/answer")],
        [format!("{}/another", person.namespace).as_str(), "Refused"]
    );
    // Wrong before anybody is asked, with its place.
    let wrong = person.asks(&["-f", &person.file("wrong.yaml", &dear.replace("1M", "1000m"))?])?;
    let words = String::from_utf8_lossy(&wrong.stderr).into_owned();
    ensure!(wrong.status.code() == Some(2) && words.contains("wrong.yaml:6:"), "{words}");
    Ok(())
}

/// Manifests that nobody changed differ in nothing, however long the operator has run.
fn quiet(person: &Person) -> Result<()> {
    let site = person.folder.join("site.yaml").display().to_string();
    for arguments in [vec!["diff", "--server-side", "-f", &site], vec!["diff", "-f", &site]] {
        let arguments: Vec<&str> = ["-n", &person.namespace].into_iter().chain(arguments).collect();
        let output = person.run(&person.kubectl, &arguments)?;
        let words = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!((output.status.code(), words.as_str()), (Some(0), ""), "{arguments:?}");
    }
    let again = person.kubectl(&["apply", "--server-side", "-f", &site])?;
    ensure!(again.lines().all(|line| line.ends_with("serverside-applied")), "{again}");
    Ok(())
}
