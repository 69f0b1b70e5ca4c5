//! What people do at a site on a real node beside watching it: ask why, and take Ampacity away.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ampacity::api::ControllableLoad;
use ampacity::store::LEADERSHIP_NAME;
use ampacity_e2e::binaries::Program;
use ampacity_e2e::helm::Helm;
use ampacity_e2e::identity::ADMIN;
use ampacity_e2e::{Test, binary, until};
use anyhow::{Context, Result, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use serde_json::Value;

use super::{NAMESPACE, SOON};

/// The binary of this work tree as a person runs it, by a kubeconfig.
fn ampacity(kubeconfig: &Path, arguments: &[&str]) -> Result<Output> {
    let binary = binary::ampacity()?;
    let mut ampacity = Command::new(&binary);
    ampacity.env("KUBECONFIG", kubeconfig).env_remove("RUST_BACKTRACE").args(arguments);
    ampacity.output().with_context(|| format!("running {}", binary.display()))
}

/// What a program said that succeeded.
fn said(output: &Output) -> Result<String> {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{}\n{out}{err}", output.status);
    Ok(out.into_owned())
}

/// `ampacity explain` through a port that the kubelet forwards, by somebody with the chart's Role for it and nothing
/// else, by its own name and as kubectl's plugin.
pub(super) fn explain(test: &Test) -> Result<()> {
    let plain = test.plain()?;
    let maria = plain.kubeconfig_as("maria", &[])?;
    let asks = ["explain", "load/s21-0"];
    let refused = ampacity(&maria, &asks)?;
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(!refused.status.success() && words.contains("\"maria\" cannot get resource \"leases\""), "{words}");
    let bind = ["create", "rolebinding", "maria", "--role=ampacity-explain", "--user=maria", "--namespace", NAMESPACE];
    test.kubectl(&bind)?;
    let answer = said(&ampacity(&maria, &asks)?)?;
    eprintln!("{answer}");
    ensure!(answer.starts_with("load/s21-0"), "{answer}");
    let json: Value = serde_json::from_str(&said(&ampacity(&maria, &[&asks[..], &["--output=json"]].concat())?)?)?;
    assert_eq!(json.pointer("/site").and_then(Value::as_str), Some("yard"));
    let plugins = plain.folder().join("plugins");
    fs::create_dir(&plugins)?;
    std::os::unix::fs::symlink(binary::ampacity()?, plugins.join("kubectl-ampacity"))?;
    let mut plugin = Command::new(plain.kubectl());
    plugin.env("KUBECONFIG", &maria).env("PATH", &plugins).args(["ampacity", "explain", "pb/yard"]);
    let answer = said(&plugin.output()?)?;
    ensure!(answer.starts_with("pb/yard"), "{answer}");
    let inside =
        ["exec", "--namespace", NAMESPACE, "deployment/ampacity-operator", "--", "kubectl-ampacity", "--version"];
    ensure!(test.kubectl(&inside)?.starts_with("ampacity "), "the image has no plugin");
    Ok(())
}

/// What the devices of each load are held to, as their files in the agents' pods say.
fn limiters(folder: &Path) -> Result<BTreeMap<String, Value>> {
    let mut found = BTreeMap::new();
    for pod in fs::read_dir(folder.join("kubelet/pods"))?.flatten() {
        let state = pod.path().join("volumes/kubernetes.io~empty-dir/state/devices.json");
        // Pods of other things have none; one that goes meanwhile was looked at before.
        let Ok(text) = fs::read_to_string(state) else { continue };
        let state: Value = serde_json::from_str(&text)?;
        let load = state.pointer("/load").and_then(Value::as_str).context("of no load")?.to_owned();
        found.insert(load, state.pointer("/limiters").cloned().context("without limiters")?);
    }
    Ok(found)
}

/// When each load's devices were last read back, as its agent says.
async fn read_back(test: &Test) -> Result<BTreeMap<String, Timestamp>> {
    let loads: Api<ControllableLoad> = Api::namespaced(test.admin(), NAMESPACE);
    let at = |load: &ControllableLoad| Some((load.name_any(), load.status.as_ref()?.read_back_time.as_ref()?.0));
    Ok(loads.list(&ListParams::default()).await?.items.iter().filter_map(at).collect())
}

/// What the runbook has people do around a restore: no operator, no kubelet. Agents run on, and change nothing.
pub(super) async fn stop_and_start(test: &Test) -> Result<()> {
    let (plain, started) = (test.plain()?, Instant::now());
    let deployment = "deployment/ampacity-operator";
    // Miners are woken one after another: until the last is, agents rightly go on changing their devices.
    until("every miner to be awake, as ordered", SOON, async || {
        let held = Value::from_iter(limiters(plain.folder())?).to_string();
        ensure!(!held.contains("Asleep"), "{held}");
        Ok(Some(()))
    })
    .await?;
    let orders = setpoints(test).await?;
    test.kubectl(&["scale", "-n", NAMESPACE, deployment, "--replicas=0"])?;
    until("no operator to be left", SOON, async || {
        let of = ["get", "pods", "-n", NAMESPACE, "-l", "app.kubernetes.io/component=operator", "-o", "name"];
        Ok(test.kubectl(&of)?.is_empty().then_some(()))
    })
    .await?;
    let kubelet = plain.part(Program::Kubelet)?;
    kubelet.kill()?;
    let held = limiters(plain.folder())?;
    let without = Timestamp::now();
    until("every agent to read its devices back without operator and kubelet", SOON, async || {
        let all = read_back(test).await?;
        ensure!(all.len() == 3, "{all:?}");
        Ok(all.values().all(|at| *at > without).then_some(()))
    })
    .await?;
    assert_eq!((setpoints(test).await?, limiters(plain.folder())?), (orders.clone(), held), "nobody changes anything");
    kubelet.start_again()?;
    test.kubectl(&["scale", "-n", NAMESPACE, deployment, "--replicas=1"])?;
    test.kubectl(&["rollout", "status", "-n", NAMESPACE, deployment, "--timeout=240s"])?;
    let leases: Api<Lease> = Api::namespaced(test.admin(), NAMESPACE);
    until("an operator to lead again", SOON, async || {
        let holder = leases.get(LEADERSHIP_NAME).await?.spec.and_then(|spec| spec.holder_identity);
        Ok(holder.filter(|holder| !holder.is_empty()).map(drop))
    })
    .await?;
    assert_eq!(setpoints(test).await?.len(), orders.len());
    eprintln!("no operator and no kubelet, and back: {:.1} s", started.elapsed().as_secs_f64());
    Ok(())
}

/// Waits until no order has moved anything for a while: what moves from then on, something else moved.
async fn at_rest(test: &Test) -> Result<BTreeMap<String, Value>> {
    let loads: Api<ControllableLoad> = Api::namespaced(test.admin(), NAMESPACE);
    until("every load to have been as ordered for 15 s", SOON, async || {
        let rests = |load: &ControllableLoad| {
            let conditions = load.status.iter().flat_map(|status| &status.conditions);
            let since = conditions.filter(|one| one.type_ == "Ready" && one.status == "True");
            let since = since.map(|one| one.last_transition_time.0.as_second()).next();
            since.is_some_and(|since| Timestamp::now().as_second() - since > 15)
        };
        Ok(loads.list(&ListParams::default()).await?.items.iter().all(rests).then_some(()))
    })
    .await?;
    limiters(test.plain()?.folder())
}

/// An uninstall is refused until every load is released; the release goes, the site and its devices stay.
pub(super) async fn uninstall(test: &Test) -> Result<()> {
    let (helm, plain) = (Helm::find()?, test.plain()?);
    let (folder, kubeconfig) = (plain.folder(), plain.kubeconfig(ADMIN)?);
    let uninstall = ["uninstall", "ampacity", "--namespace", NAMESPACE, "--wait", "--timeout", "240s"];
    let before = at_rest(test).await?;
    assert_eq!(before.keys().collect::<Vec<_>>(), ["ampacity/h100-real", "ampacity/s21-0", "ampacity/s21-1"]);
    let orders = setpoints(test).await?;
    refused(test, &helm.refused(Some(&kubeconfig), &uninstall)?).await?;
    assert_eq!(
        (limiters(folder)?, setpoints(test).await?),
        (before.clone(), orders.clone()),
        "a refusal changes nothing"
    );
    // Whoever stays after all.
    helm.run(
        Some(&kubeconfig),
        &["rollback", "ampacity", "1", "--namespace", NAMESPACE, "--wait", "--timeout", "240s"],
    )?;
    let status = helm.run(Some(&kubeconfig), &["status", "ampacity", "--namespace", NAMESPACE])?;
    ensure!(status.contains("STATUS: deployed"), "{status}");
    release(test)?;
    // From here on: what its devices are held to is looked at all the time, until the last agent is gone.
    let (over, seen) = (AtomicBool::new(false), Mutex::new(BTreeMap::<String, BTreeSet<String>>::new()));
    let outcome = std::thread::scope(|scope| {
        let looking = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                for (load, held) in limiters(folder)? {
                    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                    seen.entry(load).or_default().insert(held.to_string());
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            anyhow::Ok(())
        });
        let outcome = helm.run(Some(&kubeconfig), &uninstall);
        over.store(true, Ordering::Relaxed);
        looking.join().map_err(|_| anyhow::anyhow!("the looker panicked"))??;
        outcome
    });
    outcome?;
    let seen = seen.into_inner().unwrap_or_else(PoisonError::into_inner);
    let alone = |held: &Value| BTreeSet::from([held.to_string()]);
    assert_eq!(seen, before.iter().map(|(load, held)| (load.clone(), alone(held))).collect(), "no device is changed");
    until("the agents' pods to be gone", SOON, async || {
        let pods = test.kubectl(&["get", "pods,jobs", "--namespace", NAMESPACE, "--output", "name"])?;
        ensure!(pods.is_empty(), "{pods}");
        Ok(Some(()))
    })
    .await?;
    assert_eq!(setpoints(test).await?, orders, "no order is changed");
    helm.run(Some(&kubeconfig), &["uninstall", "ampacity-crds"])?;
    let kept = test.kubectl(&["get", "pb,mf,gp,lc,cl,load", "--all-namespaces", "--output", "name"])?;
    let wanted = ["powerbudget", "miningfleet", "gpupool", "leaseclass", "computelease", "controllableload"];
    let wanted = wanted.map(|kind| format!("{kind}.ampacity.dev/"));
    let kinds: Vec<bool> = wanted.iter().map(|kind| kept.lines().any(|line| line.starts_with(kind.as_str()))).collect();
    assert_eq!(kinds, vec![true; 6], "{kept}");
    Ok(())
}

async fn setpoints(test: &Test) -> Result<Vec<(String, i64)>> {
    let loads: Api<ControllableLoad> = Api::namespaced(test.admin(), NAMESPACE);
    let loads = loads.list(&ListParams::default()).await?.items;
    Ok(loads.into_iter().map(|load| (load.name_any(), load.spec.setpoint_watts.0)).collect())
}

/// What was refused names every load and the Job, on the screen, in the Job's log and as an Event of it.
async fn refused(test: &Test, screen: &str) -> Result<()> {
    eprintln!("{screen}");
    ensure!(screen.contains("job ampacity-uninstall-check failed"), "{screen}");
    let job = "job/ampacity-uninstall-check";
    let log = test.kubectl(&["logs", job, "--namespace", NAMESPACE])?;
    let event = test.kubectl(&["describe", job, "--namespace", NAMESPACE])?;
    for name in ["h100-real", "s21-0", "s21-1"] {
        for (whence, text) in [("screen", screen), ("log", &log), ("event", &event)] {
            ensure!(text.contains(name), "{name} is not in the {whence}: {text}");
        }
    }
    ensure!(
        log.starts_with("refused: 3 of 3 loads in namespace ampacity are not released. Nothing was changed."),
        "{log}"
    );
    ensure!(event.contains("UninstallRefused"), "{event}");
    ensure!(log.ends_with("\n  helm rollback ampacity 1 --namespace ampacity\n"), "{log}");
    Ok(())
}

/// Every load is released by somebody who may, in their own name.
fn release(test: &Test) -> Result<()> {
    let plain = test.plain()?;
    let word = |person: &Path, by: &str| {
        ampacity(person, &["release", "s21-0", "load/s21-1", "h100-real", "--by", by, "--reason", "the yard is sold"])
    };
    let root = plain.kubeconfig_as("root", &["system:masters"])?;
    let carol = plain.kubeconfig_as("carol", &["system:masters", "ampacity:break-glass"])?;
    for (person, by) in [(&root, "root"), (&carol, "maria")] {
        let refused = word(person, by)?;
        let words = String::from_utf8_lossy(&refused.stderr).into_owned();
        ensure!(!refused.status.success() && words.contains("a load is released in one's own name"), "{words}");
    }
    let given = said(&word(&carol, "carol")?)?;
    let line = |name: &str| format!("{name}: released on the word of carol\n");
    assert_eq!(given, ["s21-0", "s21-1", "h100-real"].map(line).concat());
    Ok(())
}
