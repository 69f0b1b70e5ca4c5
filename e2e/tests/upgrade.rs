//! From one version of the charts to the next and not back: a site that runs is upgraded with a change of a definition,
//! its devices looked at all the while, and an older version is refused. The next version is made of the same charts.

#[path = "upgrade/site.rs"]
mod site;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ampacity::api::{ControllableLoad, PowerBudget};
use ampacity_e2e::helm::Helm;
use ampacity_e2e::identity::ADMIN;
use ampacity_e2e::{Needs, Test, cluster_test_within, until};
use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::json;
use tokio::process::Command;

use site::{Players, Watch};

const LIMIT: Duration = Duration::from_secs(900);
const SOON: Duration = Duration::from_secs(300);
/// DESIGN and issue: orders go on within this.
const GOES_ON_WITHIN: Duration = Duration::from_secs(15);
/// The namespace of the release.
const NAMESPACE: &str = "ampacity";
/// Ten follows nine, which words would have the other way round.
const NEXT: &str = "0.10.0";
const OLDER: &str = "0.9.9";
/// A field that the next version adds, before one that there is.
const ADDED: (&str, &str) = ("              bootId:\n", "              addedLater:\n                type: string\n");

/// kubectl by a kubeconfig; gives what it wrote to standard output. Nothing here may wait for a program without the pods
/// being played meanwhile.
async fn kubectl(test: &Test, kubeconfig: &Path, arguments: &[&str]) -> Result<String> {
    let done = Command::new(test.plain()?.kubectl()).env("KUBECONFIG", kubeconfig).args(arguments).output().await?;
    let said = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.success(), "kubectl {}: {}\n{said}", arguments.join(" "), done.status);
    Ok(String::from_utf8(done.stdout)?)
}

/// Who runs Helm, against which cluster, and the versions of the charts that there are.
struct Releases {
    helm: Helm,
    kubeconfig: PathBuf,
    folder: PathBuf,
}

impl Releases {
    fn new(test: &Test) -> Result<Self> {
        let plain = test.plain()?;
        let folder = plain.folder().join("charts");
        for version in [NEXT, OLDER] {
            Helm::charts_of(version, &folder.join(version))?;
        }
        let path = folder.join(NEXT).join("ampacity-crds/files/controllableloads.yaml");
        let text = fs::read_to_string(&path)?;
        let (before, added) = ADDED;
        ensure!(text.matches(before).count() == 1, "one place for a new field is looked for in {}", path.display());
        fs::write(&path, text.replace(before, &format!("{added}{before}")))?;
        Ok(Self { helm: Helm::find()?, kubeconfig: plain.kubeconfig(ADMIN)?, folder })
    }

    fn arguments(&self, chart: &str, version: &str) -> Vec<String> {
        let path = self.folder.join(version).join(chart).display().to_string();
        let mut all = vec!["upgrade".to_owned(), chart.to_owned(), path];
        if chart == "ampacity" {
            all.extend(["--namespace", NAMESPACE, "--reuse-values", "--wait", "--timeout", "240s"].map(str::to_owned));
        }
        all
    }

    async fn helm(&self, arguments: Vec<String>) -> Result<String> {
        let (helm, kubeconfig) = (self.helm.clone(), self.kubeconfig.clone());
        let run = move || {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            helm.run(Some(&kubeconfig), &arguments)
        };
        tokio::task::spawn_blocking(run).await?
    }

    async fn upgrade(&self, chart: &str, version: &str) -> Result<()> {
        self.helm(self.arguments(chart, version)).await.map(drop)
    }

    /// What Helm says of an upgrade that the API server refuses.
    async fn refused(&self, chart: &str, version: &str) -> Result<String> {
        match self.helm(self.arguments(chart, version)).await {
            Ok(_) => bail!("{chart} {version} was to be refused"),
            Err(error) => Ok(format!("{error:#}")),
        }
    }

    /// Installs both charts as they are.
    async fn install(&self, test: &Test) -> Result<()> {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        self.helm(words("install ampacity-crds ampacity-crds")).await?;
        kubectl(test, &self.kubeconfig, &["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"])
            .await?;
        kubectl(test, &self.kubeconfig, &["create", "namespace", NAMESPACE]).await?;
        // Played pods have no network of their own.
        let set = "link.enabled=false,minerAgents.device=simulated,gpuAgents.enabled=true";
        let install = "install ampacity ampacity --namespace ampacity --wait --timeout 240s --set";
        self.helm([words(install), words(set)].concat()).await.map(drop)
    }
}

/// Waits until no order has moved anything for a while: what moves from then on, something else moved.
async fn at_rest(test: &Test) -> Result<()> {
    let loads: Api<ControllableLoad> = Api::namespaced(test.admin(), NAMESPACE);
    until("three loads to have been as ordered for 15 s", SOON, async || {
        let since = |load: &ControllableLoad| {
            let conditions = load.status.iter().flat_map(|status| &status.conditions);
            let ready = conditions.filter(|one| one.type_ == "Ready" && one.status == "True");
            ready.map(|one| Timestamp::now().as_second() - one.last_transition_time.0.as_second()).next()
        };
        let loads = loads.list(&ListParams::default()).await?.items;
        let all: BTreeMap<String, Option<i64>> = loads.iter().map(|load| (load.name_any(), since(load))).collect();
        ensure!(all.len() == 3 && all.values().all(|since| since.is_some_and(|since| since > 15)), "{all:?}");
        Ok(Some(()))
    })
    .await
}

/// The images of the release's pods.
async fn images(test: &Test) -> Result<BTreeSet<String>> {
    let pods: Api<Pod> = Api::namespaced(test.admin(), NAMESPACE);
    let pods = pods.list(&ListParams::default()).await?.items;
    let images = pods.into_iter().filter_map(|pod| pod.spec?.containers.into_iter().next()?.image);
    Ok(images.collect())
}

/// The versions that the definitions say they are of.
async fn definitions(test: &Test, releases: &Releases) -> Result<BTreeSet<String>> {
    let versions = "-o=jsonpath={.items[*].metadata.annotations.ampacity\\.dev/crds-version}";
    let said = kubectl(test, &releases.kubeconfig, &["get", "crd", versions]).await?;
    Ok(said.split_whitespace().map(str::to_owned).collect())
}

/// Forward, the definitions first.
async fn forward(test: &Test, releases: &Releases, players: &Players) -> Result<()> {
    let early = releases.refused("ampacity", NEXT).await?;
    let first = "ampacity 0.10.0 needs the definitions of its version, and those of 0.1.0 are installed: upgrade the release ampacity-crds first";
    ensure!(early.contains(first), "{early}");
    assert_eq!(images(test).await?, BTreeSet::from(["localhost/ampacity:0.1.0".to_owned()]));
    releases.upgrade("ampacity-crds", NEXT).await?;
    assert_eq!(definitions(test, releases).await?, BTreeSet::from([NEXT.to_owned()]));
    until("the new field to be served", SOON, async || {
        let field = ["explain", "controllableload.status.addedLater", "--api-version=ampacity.dev/v1alpha1"];
        kubectl(test, &releases.kubeconfig, &field).await.map(Some)
    })
    .await?;
    let started = Instant::now();
    releases.upgrade("ampacity", NEXT).await?;
    eprintln!("helm upgrade took {:.1} s", started.elapsed().as_secs_f64());
    until("every pod to be of the next version, and its process with it", SOON, async || {
        let images = images(test).await?;
        ensure!(images == BTreeSet::from([format!("localhost/ampacity:{NEXT}")]), "{images:?}");
        ensure!(players.settled(), "a process is still that of an old pod");
        Ok(Some(()))
    })
    .await?;
    eprintln!("every process is the next one's {:.1} s after helm upgrade began", started.elapsed().as_secs_f64());
    at_rest(test).await
}

/// Not back, however it is tried, and nothing of it done.
async fn not_back(test: &Test, releases: &Releases) -> Result<()> {
    let kinds = "deployments,daemonsets,services,serviceaccounts,roles,rolebindings,clusterroles,networkpolicies";
    let revision = async || {
        let names = ["get", kinds, "--namespace", NAMESPACE, "-l", "app.kubernetes.io/managed-by=Helm"];
        let form = "-o=jsonpath={range .items[*]}{.metadata.name} {.metadata.labels.helm\\.sh/chart}{'\\n'}{end}";
        kubectl(test, &releases.kubeconfig, &[&names[..], &[form]].concat()).await
    };
    let before = revision().await?;
    ensure!(before.lines().count() > 20 && before.lines().all(|line| line.ends_with("ampacity-0.10.0")), "{before}");
    let crds = releases.refused("ampacity-crds", OLDER).await?;
    eprintln!("{crds}");
    let why = "denied request: definitions of 0.9.9 would replace those of 0.10.0, and do not know all that may be written by now: upgrade instead, or see charts/ampacity-crds/README.md";
    ensure!(crds.contains("'ampacity-crds-versions'") && crds.contains(why), "{crds}");
    assert_eq!(definitions(test, releases).await?, BTreeSet::from([NEXT.to_owned()]));
    let operator = releases.refused("ampacity", OLDER).await?;
    eprintln!("{operator}");
    let why = "denied request: ampacity 0.9.9 would replace 0.10.0, and does not know all that it may have written: upgrade instead, or ask a member of group ampacity:break-glass";
    ensure!(operator.contains("'ampacity-versions'") && operator.contains(why), "{operator}");
    assert_eq!(revision().await?, before, "a downgrade that was refused left something behind");
    // With kubectl it is the same; somebody with break-glass may.
    let carol = test.plain()?.kubeconfig_as("carol", &["system:masters", "ampacity:break-glass"])?;
    let label = ["label", "deployment/ampacity-operator", "--namespace", NAMESPACE, "--overwrite", "--dry-run=server"];
    let label = [&label[..], &["helm.sh/chart=ampacity-0.9.9"]].concat();
    let said =
        kubectl(test, &releases.kubeconfig, &label).await.err().map(|error| format!("{error:#}")).unwrap_or_default();
    ensure!(said.contains(why), "{said}");
    kubectl(test, &carol, &label).await.map(drop)
}

/// Power is dear from now on: how long until an order lowers the miners.
async fn dear(test: &Test) -> Result<Duration> {
    let budgets: Api<PowerBudget> = Api::all(test.admin());
    let loads: Api<ControllableLoad> = Api::namespaced(test.admin(), NAMESPACE);
    let before = loads.get("s21-0").await?.spec.setpoint_watts.0;
    let spec = json!({"spec": {"energyPrice": {"source": {"static": {"value": "900.00"}}}}});
    let started = Instant::now();
    budgets.patch("yard", &PatchParams::default(), &Patch::Merge(spec)).await?;
    until("an order that lowers the miners", SOON, async || {
        let now = loads.get("s21-0").await?.spec.setpoint_watts.0;
        Ok((now < before).then_some(()))
    })
    .await?;
    Ok(started.elapsed())
}

#[test]
fn a_site_goes_to_the_next_version_without_a_dropped_watt_and_not_back() -> Result<()> {
    cluster_test_within(LIMIT, Needs::OwnControlPlane, async |test| {
        test.kwok_node("n1", &[("nvidia.com/gpu.present", "true")], &[("nvidia.com/gpu", "8")]).await?;
        let releases = Releases::new(test)?;
        releases.install(test).await?;
        let players = Players::new(test).await?;
        let ran = async {
            site::apply(test, &releases.kubeconfig).await?;
            at_rest(test).await?;
            let watch = Watch::new(test)?;
            let before = watch.now()?;
            eprintln!("at rest: {before:?}");
            ensure!(before.len() == 3 && before.values().all(|watts| *watts > 0), "{before:?}");
            watch
                .during(async || {
                    forward(test, &releases, &players).await?;
                    not_back(test, &releases).await
                })
                .await?;
            let lead = players.longest_without_a_leader(test).await?;
            let ordered = dear(test).await?;
            eprintln!(
                "claimed {:.1} s after the old operator was stopped; an order {:.1} s after a price",
                lead.as_secs_f64(),
                ordered.as_secs_f64()
            );
            ensure!(lead <= GOES_ON_WITHIN && ordered <= GOES_ON_WITHIN, "orders went on too late");
            let pods = players.started();
            ensure!(pods.len() >= 8, "each of four pods was to be replaced: {pods:?}");
            anyhow::Ok(())
        };
        tokio::select! {
            outcome = ran => outcome,
            played = players.play(test) => played.context("the pods were not played to the end"),
        }
    })
}
