//! The store's contract on a real API server, behind a fault proxy.

use std::future::Future;
use std::sync::mpsc;
use std::time::Duration;

use ampacity::store::contract::{End, Fault, Line, Outcome, cases};
use ampacity::store::kube::{KubeStore, control};
use ampacity::store::{Filter, JobFacts, Key, Kind, Object, Store};
use ampacity_core::units::Span;
use ampacity_e2e::identity::ADMIN;
use ampacity_e2e::{FaultProxy, Mode, Needs, Test, cluster_test_within, definitions};
use anyhow::Result;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Node;
use kube::Client;
use kube::api::{Api, DeleteParams, ObjectMeta, PostParams};
use serde_json::json;

/// The table waits out some twenty time-outs and starts as many clients.
const LIMIT: Duration = Duration::from_secs(420);

struct Real {
    namespace: String,
    admin: Client,
    good: Client,
    faulty: Client,
    proxy: FaultProxy,
}

impl Real {
    async fn new(test: &Test) -> Result<Self> {
        let plain = test.plain()?;
        let proxy = plain.fault_proxy().await?;
        Ok(Self {
            namespace: test.namespace().to_owned(),
            admin: test.admin(),
            good: Client::try_from(control(test.config(ADMIN).await?))?,
            faulty: Client::try_from(control(plain.config_through(&proxy, ADMIN).await?))?,
            proxy,
        })
    }
}

/// Waits for a request from outside of the runtime's tasks, where the cases run.
fn wait(request: impl Future<Output = kube::Result<()>> + Send + 'static) -> Outcome {
    let (told, done) = mpsc::channel();
    tokio::spawn(async move {
        let _ = told.send(request.await.map_err(|error| error.to_string()));
    });
    done.recv_timeout(Duration::from_secs(30)).map_err(|error| error.to_string())?
}

fn manifest(facts: &JobFacts) -> Result<Job, serde_json::Error> {
    let container = json!({
        "name": "main", "image": "none",
        "resources": {"limits": {"nvidia.com/gpu": facts.gpus_per_pod.to_string()}},
    });
    serde_json::from_value(json!({
        "metadata": {"name": facts.name, "labels": {"ampacity.dev/lease": facts.lease}, "annotations": facts.annotations},
        "spec": {
            "suspend": facts.suspended, "parallelism": facts.parallelism,
            "template": {
                "metadata": {"labels": {"ampacity.dev/lease": facts.lease}},
                "spec": {"restartPolicy": "Never", "containers": [container],
                         "terminationGracePeriodSeconds": facts.grace.whole_seconds()},
            },
        },
    }))
}

impl End for Real {
    fn namespace(&self) -> String {
        self.namespace.clone()
    }

    fn prefix(&self) -> String {
        self.namespace.clone()
    }

    fn connect(&mut self, line: Line, filter: Filter) -> Box<dyn Store> {
        let client = if line == Line::Faulty { &self.faulty } else { &self.good };
        Box::new(KubeStore::connect(client.clone(), &self.namespace, filter))
    }

    fn fault(&mut self, fault: Fault) {
        self.proxy.set(match fault {
            Fault::None => Mode::Pass,
            Fault::Cut => Mode::Cut,
            Fault::Hold => Mode::BlackHole,
            Fault::LoseAnswers => Mode::DropResponses,
        });
    }

    fn pass(&mut self, span: Span) {
        std::thread::sleep(Duration::from_millis(u64::try_from(span.get()).unwrap_or(0)));
    }

    fn late(&self) -> Span {
        Span::seconds(3)
    }

    fn put(&mut self, object: Object) -> Outcome {
        let (admin, namespace) = (self.admin.clone(), self.namespace.clone());
        match object {
            Object::PowerBudget(budget) => {
                wait(async move { Api::all(admin).create(&PostParams::default(), &*budget).await.map(drop) })
            }
            Object::Job(facts) => {
                let job = manifest(&facts).map_err(|error| error.to_string())?;
                let jobs: Api<Job> = Api::namespaced(admin, &namespace);
                wait(async move { jobs.create(&PostParams::default(), &job).await.map(drop) })
            }
            Object::Node(facts) => {
                let node = Node {
                    metadata: ObjectMeta {
                        name: Some(facts.name.clone()),
                        labels: Some(facts.labels.clone()),
                        ..ObjectMeta::default()
                    },
                    ..Node::default()
                };
                wait(async move { Api::all(admin).create(&PostParams::default(), &node).await.map(drop) })
            }
            other => Err(format!("nobody puts {other:?} here")),
        }
    }

    fn delete(&mut self, key: &Key) -> Outcome {
        let (admin, name) = (self.admin.clone(), key.name.clone());
        match key.kind {
            Kind::PowerBudget => {
                let budgets: Api<ampacity::api::PowerBudget> = Api::all(admin);
                wait(async move { budgets.delete(&name, &DeleteParams::default()).await.map(drop) })
            }
            Kind::Node => {
                let nodes: Api<Node> = Api::all(admin);
                wait(async move { nodes.delete(&name, &DeleteParams::default()).await.map(drop) })
            }
            _ => Err(format!("nobody deletes {key} here")),
        }
    }
}

#[test]
fn the_end_in_a_cluster_keeps_the_contract() -> Result<()> {
    cluster_test_within(LIMIT, Needs::FakeNodes, async |test| {
        definitions::install(&test.admin()).await?;
        let only = std::env::var("CONTRACT_ONLY").unwrap_or_default();
        let mut broken = Vec::new();
        for case in cases().into_iter().filter(|case| case.name.contains(&only)) {
            let mut end = Real::new(test).await?;
            let started = std::time::Instant::now();
            if let Err(why) = (case.run)(&mut end) {
                broken.push((case.name, why));
            }
            eprintln!("{:5.1} s  {}", started.elapsed().as_secs_f64(), case.name);
        }
        assert_eq!(broken, []);
        Ok(())
    })
}
