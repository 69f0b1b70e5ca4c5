//! A site on a real node: the charts with an image of this work tree, agents as pods, and a lease's Job that is a real
//! process, told to stop and started again.

#[path = "node/people.rs"]
mod people;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ampacity::api::{CHECKPOINT_DONE_ANNOTATION, CHECKPOINT_REQUEST_ANNOTATION, ControllableLoad, PowerBudget};
use ampacity::store::LEADERSHIP_NAME;
use ampacity_e2e::helm::{CHARTS, Helm};
use ampacity_e2e::identity::ADMIN;
use ampacity_e2e::node::{NAME, image};
use ampacity_e2e::trainer::number;
use ampacity_e2e::{Needs, Test, binary, cluster_test_within, until};
use anyhow::{Context, Result, ensure};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

/// All of a test, the start of its node left out.
const LIMIT: Duration = Duration::from_secs(900);
const SOON: Duration = Duration::from_secs(240);
/// The namespace of the release.
const NAMESPACE: &str = "ampacity";

/// Gives the node the images of operator and agents, of the tenant's program, and of a shell.
fn import_images(test: &Test) -> Result<()> {
    let (plain, started) = (test.plain()?, Instant::now());
    let folder = plain.folder();
    let images = [
        image::of_binary(folder, "localhost/ampacity:0.1.0", &binary::ampacity()?, &["kubectl-ampacity"])?,
        image::of_binary(folder, "localhost/trainer:1", Path::new(env!("CARGO_BIN_EXE_ampacity-e2e")), &[])?,
        image::busybox(folder, "localhost/busybox:1", &["sh"])?,
    ];
    for archive in images {
        plain.import(&archive)?;
        eprintln!("{}: {} kB", archive.display(), fs::metadata(&archive)?.len() / 1_000);
        fs::remove_file(archive)?;
    }
    eprintln!("images made and imported in {:.1} s", started.elapsed().as_secs_f64());
    Ok(())
}

/// Installs both charts as the README says, and waits until an operator leads.
async fn install(test: &Test) -> Result<()> {
    let (helm, kubeconfig, started) = (Helm::find()?, test.plain()?.kubeconfig(ADMIN)?, Instant::now());
    let values = format!("{CHARTS}/../e2e/charts/node.values.yaml");
    helm.run(Some(&kubeconfig), &["install", "ampacity-crds", "ampacity-crds"])?;
    test.kubectl(&["create", "namespace", NAMESPACE])?;
    test.kubectl(&["label", "namespace", NAMESPACE, "pod-security.kubernetes.io/enforce=restricted"])?;
    // There is no site yet: operator and GPU agents are ready all the same. Helm lets one pod of a DaemonSet lack.
    let install = ["install", "ampacity", "ampacity", "--namespace", NAMESPACE, "--values", &values];
    helm.run(Some(&kubeconfig), &[&install[..], &["--wait", "--timeout", "240s"]].concat())?;
    let agents = ["--namespace", NAMESPACE, "rollout", "status", "daemonset/ampacity-gpu-agent", "--timeout=240s"];
    test.kubectl(&agents)?;
    let leases: Api<Lease> = Api::namespaced(test.admin(), NAMESPACE);
    let leader = until("an operator to lead", SOON, async || {
        Ok(leases.get(LEADERSHIP_NAME).await?.spec.and_then(|spec| spec.holder_identity))
    })
    .await?;
    eprintln!("{leader} leads {:.1} s after helm install began", started.elapsed().as_secs_f64());
    helm.run(Some(&kubeconfig), &["test", "ampacity", "--namespace", NAMESPACE, "--timeout", "60s"])?;
    Ok(())
}

fn of_site(kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": "ampacity.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

/// Two containers of miners, one node of GPUs, and flexible terms over it that are worth some 1,000 USD/MWh.
fn site(price: &str) -> Value {
    let budget = json!({
        "limitWatts": "80k", "policy": {"mode": "Active"}, "meter": {"source": {"static": {"watts": "40k"}}},
        "energyPrice": {"source": {"static": {"value": price}}},
        "hashprice": {"source": {"static": {"value": "52.00"}}, "poolFeePercent": "2.0"},
    });
    let fleet = json!({
        "budget": "yard", "feeder": "yard", "containers": 2, "minersPerContainer": 8, "model": "S21",
        "curve": [{"watts": 1855, "gigahashPerSecond": 120_000}, {"watts": 3500, "gigahashPerSecond": 200_000}],
    });
    let pool = json!({
        "budget": "yard", "feeder": "yard", "nodeLabels": {"nvidia.com/gpu.present": "true"}, "gpusPerNode": 8,
        "minCapWatts": 200, "maxCapWatts": 700, "overheadWatts": "4600",
    });
    let class = json!({
        "delivery": "Jobs", "pool": "h100", "pricePerGpuHour": "0.40", "service": "Flexible", "noticeSeconds": 40,
        "curtailable": {"hoursPerMonth": 40, "eventsPerDay": 9, "maxEventSeconds": 3600, "minimumRunSeconds": 10},
        "creditPerGpuHour": "0.10", "stopCostUsd": "0.01", "maxGpusPerNamespace": 8,
    });
    json!({"apiVersion": "v1", "kind": "List", "items": [
        of_site("PowerBudget", "yard", budget), of_site("MiningFleet", "s21", fleet),
        of_site("GpuPool", "h100", pool), of_site("LeaseClass", "h100-flex", class),
    ]})
}

/// A tenant's lease, its Job, and the right of the Job's account to say on that Job that a checkpoint is saved.
fn tenant(namespace: &str, folder: &Path) -> Result<Value> {
    let hence = |hours: i64| -> Result<String> {
        Ok(Timestamp::from_second(Timestamp::now().as_second() + hours * 3_600)?.to_string())
    };
    let mut lease = of_site(
        "ComputeLease",
        "go",
        json!({
            "className": "h100-flex", "gpus": 8, "maxPricePerGpuHour": "2.20",
            "term": {"start": hence(-1)?, "end": hence(24)?},
        }),
    );
    if let Some(metadata) = lease.get_mut("metadata") {
        *metadata = json!({"name": "go", "namespace": namespace});
    }
    let named = |name: &str| json!({"name": name, "namespace": namespace});
    let (group, labels) = ("rbac.authorization.k8s.io", json!({"ampacity.dev/lease": "go"}));
    let notice = json!({"path": "checkpoint",
        "fieldRef": {"fieldPath": format!("metadata.annotations['{CHECKPOINT_REQUEST_ANNOTATION}']")}});
    let job = json!({"name": "train", "namespace": namespace, "labels": labels});
    let pod = json!({
        "restartPolicy": "Never", "serviceAccountName": "trainer", "terminationGracePeriodSeconds": 5,
        "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{
            "name": "train", "image": "localhost/trainer:1",
            "args": ["train", "--folder=/work", "--notice=/notice/checkpoint", "--job=train"],
            "resources": {"limits": {"nvidia.com/gpu": "8"}},
            "volumeMounts": [{"name": "work", "mountPath": "/work"}, {"name": "notice", "mountPath": "/notice"}],
        }],
        "volumes": [{"name": "work", "hostPath": {"path": folder}},
                    {"name": "notice", "downwardAPI": {"items": [notice]}}],
    });
    Ok(json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": named("trainer")},
        {"apiVersion": format!("{group}/v1"), "kind": "Role", "metadata": named("trainer"),
         "rules": [{"apiGroups": ["batch"], "resources": ["jobs"], "resourceNames": ["train"], "verbs": ["patch"]}]},
        {"apiVersion": format!("{group}/v1"), "kind": "RoleBinding", "metadata": named("trainer"),
         "roleRef": {"apiGroup": group, "kind": "Role", "name": "trainer"},
         "subjects": [{"kind": "ServiceAccount", "name": "trainer", "namespace": namespace}]},
        lease,
        {"apiVersion": "batch/v1", "kind": "Job", "metadata": job,
         "spec": {"suspend": true, "backoffLimit": 0, "template": {"metadata": {"labels": labels}, "spec": pod}}},
    ]}))
}

/// Waits until each load has an agent whose ceiling stands, and each agent is a process of the node.
async fn agents(test: &Test) -> Result<()> {
    let started = Instant::now();
    let loads: Api<ControllableLoad> = Api::namespaced(test.admin(), NAMESPACE);
    let wanted = ["h100-real", "s21-0", "s21-1"];
    until("a ceiling of every load", SOON, async || {
        let loads = loads.list(&ListParams::default()).await?.items;
        let stated =
            |load: &ControllableLoad| load.status.as_ref().is_some_and(|status| status.ceiling_watts.is_some());
        let names: Vec<String> = loads.iter().filter(|load| stated(load)).map(ResourceExt::name_any).collect();
        ensure!(names == wanted, "{names:?}");
        Ok(Some(()))
    })
    .await?;
    let pods: Api<Pod> = Api::namespaced(test.admin(), NAMESPACE);
    let runs = |pod: &Pod| {
        let status = pod.status.clone().unwrap_or_default();
        let real = |one: &k8s_openapi::api::core::v1::ContainerStatus| {
            one.ready && one.container_id.as_ref().is_some_and(|id| id.starts_with("containerd://"))
        };
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
        node == Some(NAME) && status.container_statuses.is_some_and(|all| all.iter().all(real))
    };
    until("two miners' agents and a GPU node's to be ready processes of the node", SOON, async || {
        let agents = ListParams::default().labels("app.kubernetes.io/component in (agent, gpu-agent)");
        let pods = pods.list(&agents).await?.items;
        Ok((pods.len() == 3 && pods.iter().all(runs)).then_some(()))
    })
    .await?;
    eprintln!("three agents state their ceilings {:.1} s after the site was applied", started.elapsed().as_secs_f64());
    Ok(())
}

/// A lease's Job, and what its process leaves in its folder.
struct Training {
    jobs: Api<Job>,
    pods: Api<Pod>,
    folder: PathBuf,
}

impl Training {
    fn step(&self) -> Result<u64> {
        Ok(number(&self.folder.join("step"))?.unwrap_or(0))
    }

    /// The steps that it began at.
    fn starts(&self) -> Result<Vec<u64>> {
        let text = fs::read_to_string(self.folder.join("starts"))?;
        text.lines().map(|line| Ok(line.parse()?)).collect()
    }

    async fn passes(&self, step: u64) -> Result<()> {
        until(&format!("the training to pass step {step}"), SOON, async || {
            let job = self.jobs.get("train").await?;
            let now = self.step()?;
            ensure!(now > step, "at step {now}: {:?}", job.status);
            Ok(Some(()))
        })
        .await
    }

    /// Waits until the Job is told of a stop, has saved its work and said so, and is stopped: its checkpoint.
    async fn stops(&self, started: Instant) -> Result<u64> {
        let said = |what: &str| eprintln!("{:>6.1} s after the price: {what}", started.elapsed().as_secs_f64());
        let annotation = async |name: &str| {
            anyhow::Ok(self.jobs.get("train").await?.metadata.annotations.and_then(|mut all| all.remove(name)))
        };
        let asked = until("a notice", SOON, async || annotation(CHECKPOINT_REQUEST_ANNOTATION).await).await?;
        said("notice is served");
        until("the process to say that its checkpoint is saved", SOON, async || {
            Ok((annotation(CHECKPOINT_DONE_ANNOTATION).await? == Some(asked.clone())).then_some(()))
        })
        .await?;
        said("the checkpoint is saved and acknowledged");
        let checkpoint = number(&self.folder.join("checkpoint"))?.context("acknowledged without a checkpoint")?;
        until("the Job to be suspended", SOON, async || {
            let spec = self.jobs.get("train").await?.spec.unwrap_or_default();
            Ok((spec.suspend == Some(true)).then_some(()))
        })
        .await?;
        said("the Job is suspended");
        until("its pods to be gone", SOON, async || {
            let pods = self.pods.list(&ListParams::default().labels("ampacity.dev/lease=go")).await?.items;
            Ok(pods.is_empty().then_some(()))
        })
        .await?;
        said("its process is gone");
        Ok(checkpoint)
    }
}

async fn set_price(test: &Test, price: &str) -> Result<()> {
    let budgets: Api<PowerBudget> = Api::all(test.admin());
    let spec = json!({"spec": {"energyPrice": {"source": {"static": {"value": price}}}}});
    budgets.patch("yard", &PatchParams::default(), &Patch::Merge(spec)).await?;
    Ok(())
}

/// A price above what the lease is worth stops its Job, a price below starts it again.
async fn train(test: &Test) -> Result<()> {
    let folder = test.plain()?.folder().join("work");
    fs::create_dir(&folder)?;
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777))?;
    test.apply(&tenant(test.namespace(), &folder)?)?;
    let training =
        Training { jobs: Api::default_namespaced(test.admin()), pods: Api::default_namespaced(test.admin()), folder };
    let started = Instant::now();
    training.passes(20).await?;
    eprintln!("the lease's Job trains {:.1} s after it was created", started.elapsed().as_secs_f64());
    set_price(test, "4000.00").await?;
    let checkpoint = training.stops(Instant::now()).await?;
    let last = training.step()?;
    ensure!(checkpoint > 20 && last >= checkpoint, "checkpoint at {checkpoint}, last step {last}");
    // A stopped process makes no steps: what stands now stands when it is started again.
    assert_eq!((training.starts()?, training.step()?), (vec![0], last));
    let resumed = Instant::now();
    set_price(test, "25.00").await?;
    until("the Job to be started again", SOON, async || Ok((training.starts()?.len() == 2).then_some(()))).await?;
    eprintln!("it trains again {:.1} s after the price fell", resumed.elapsed().as_secs_f64());
    training.passes(last).await?;
    assert_eq!(training.starts()?, [0, checkpoint], "nothing is lost beyond the last checkpoint");
    eprintln!("checkpoint at step {checkpoint}, stopped at {last}, gone on from {checkpoint}");
    Ok(())
}

#[test]
fn a_site_on_a_real_node_runs_a_lease_whose_process_goes_on_where_it_was() -> Result<()> {
    cluster_test_within(LIMIT, Needs::RealNode, async |test| {
        let plain = test.plain()?;
        eprintln!("the node takes pods {:.1} s after the first part's start", plain.ready_after().as_secs_f64());
        plain.real_gpus(&[("nvidia.com/gpu.present", "true")], 8).await?;
        import_images(test)?;
        install(test).await?;
        test.apply(&site("25.00"))?;
        let ran = async {
            agents(test).await?;
            people::explain(test)?;
            people::stop_and_start(test).await?;
            train(test).await?;
            people::uninstall(test).await
        };
        let outcome = ran.await;
        if outcome.is_err() {
            show(test);
        }
        outcome
    })
}

/// What a person would look at first.
fn show(test: &Test) {
    let looks: [&[&str]; 6] = [
        &["get", "pb,mf,gp,lc,cl,load", "-A", "-o", "wide"],
        &["get", "pods,jobs", "-A", "-o", "wide"],
        &["get", "events", "-A", "--sort-by=.lastTimestamp"],
        &["get", "cl", "-A", "-o", "yaml"],
        &["logs", "-n", NAMESPACE, "deployment/ampacity-operator", "--tail=30"],
        &["describe", "jobs", "-n", NAMESPACE],
    ];
    for look in looks {
        eprintln!("kubectl {}\n{}", look.join(" "), test.kubectl(look).unwrap_or_else(|error| format!("{error:#}")));
    }
}

#[test]
fn a_real_node_that_is_killed_leaves_no_process_no_network_no_control_group_and_no_file() -> Result<()> {
    cluster_test_within(LIMIT, Needs::RealNode, async |test| {
        let folder = std::env::temp_dir().join(format!("ampacity-e2e-killed-{}", test.namespace()));
        fs::create_dir(&folder)?;
        let kubeconfig = folder.join("kubeconfig");
        let settings = || {
            let names = ["kernel/panic", "kernel/panic_on_oops", "vm/overcommit_memory"];
            names.map(|name| fs::read_to_string(format!("/proc/sys/{name}")).unwrap_or_default())
        };
        let before = settings();
        let mut run = tokio::process::Command::new(env!("CARGO_BIN_EXE_ampacity-e2e"))
            .args(["up".as_ref(), "--node".as_ref(), "--kubeconfig".as_ref(), kubeconfig.as_os_str()])
            .env("TMPDIR", &folder)
            .kill_on_drop(true)
            .spawn()?;
        let mut ended = None;
        let own = until("a real node of another process, or its end", SOON, async || {
            ended = run.try_wait()?;
            if ended.is_some() {
                return Ok(Some(folder.clone()));
            }
            let mut entries = fs::read_dir(&folder)?.flatten().map(|entry| entry.path());
            Ok(kubeconfig.exists().then(|| entries.find(|path| path.is_dir())).flatten())
        })
        .await?;
        ensure!(ended.is_none(), "it ended: {ended:?}");
        let number = fs::read_to_string(own.join("number"))?;
        let name = own.file_name().and_then(|name| name.to_str()).context("a folder without a name")?.to_owned();
        let left = || traces(&name, &number);
        let during = left()?;
        ensure!(during.len() > 10, "too little to tell that it goes: {during:?}");
        run.kill().await?;
        until("everything of it to be gone", SOON, async || {
            let left = left()?;
            ensure!(left.is_empty() && !own.exists(), "{left:?}");
            Ok(Some(()))
        })
        .await?;
        assert_eq!(settings(), before);
        Ok(fs::remove_dir_all(&folder)?)
    })
}

/// What there is on this machine of the run of this name: processes, mounts, control groups, network interfaces.
fn traces(name: &str, number: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&line).contains(name) {
            found.push(format!("process {}", entry.path().display()));
        }
    }
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    found.extend(mounts.lines().filter(|line| line.contains(name)).map(|line| format!("mount {line}")));
    for hierarchy in fs::read_dir("/sys/fs/cgroup")?.flatten().map(|entry| entry.path()) {
        if hierarchy.join(name).exists() || hierarchy.ends_with(name) {
            found.push(format!("control group {}", hierarchy.display()));
        }
    }
    let link = Path::new("/sys/class/net").join(format!("ampacity{number}"));
    if link.exists() {
        found.push(format!("interface {}", link.display()));
    }
    Ok(found)
}
