//! The operator's shell on a real API server: it lists, leads, makes its loads, answers for itself, and stops without
//! touching a load.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ampacity::api::{ControllableLoad, MiningFleet, PowerBudget};
use ampacity::link::memory::{Exchange, MemoryUplink};
use ampacity::market::Market;
use ampacity::operator::http::{self, Health};
use ampacity::operator::own::AgentPods;
use ampacity::operator::run::{Pace, Shell, run};
use ampacity::operator::{Exit, Operator, Options};
use ampacity::store::kube::{EPOCH_ANNOTATION, KubeStore, control};
use ampacity::store::{Filter, LEADERSHIP_NAME};
use ampacity_core::units::Time;
use ampacity_e2e::identity::ADMIN;
use ampacity_e2e::{Needs, Test, cluster_test, definitions, until};
use anyhow::{Context, Result, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, ListParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, oneshot};

const SOON: Duration = Duration::from_secs(40);
const CONTAINERS: usize = 2;

/// A site of two containers, named after the test's namespace.
async fn site(test: &Test) -> Result<()> {
    let name = test.namespace();
    let budget = json!({
        "apiVersion": "ampacity.dev/v1alpha1", "kind": "PowerBudget", "metadata": {"name": name},
        "spec": {
            "limitWatts": "20M", "reserveWatts": "1M", "policy": {"mode": "Active"},
            "feeders": [{"name": "hall-a", "limitWatts": "10M"}],
            "energyPrice": {"source": {"static": {"value": "25.00"}}},
            "hashprice": {"source": {"static": {"value": "52.00"}}, "poolFeePercent": "2.0"},
        },
    });
    let fleet = json!({
        "apiVersion": "ampacity.dev/v1alpha1", "kind": "MiningFleet", "metadata": {"name": format!("{name}-s21")},
        "spec": {
            "budget": name, "feeder": "hall-a", "containers": CONTAINERS, "minersPerContainer": 600, "model": "S21",
            "curve": [{"watts": 1855, "gigahashPerSecond": 120_000}, {"watts": 3500, "gigahashPerSecond": 200_000}],
            "overheadWatts": "40k", "thermalFloorWatts": "100k", "startCostUsd": "8.00", "stopCostUsd": "3.00",
        },
    });
    let budget: PowerBudget = serde_json::from_value(budget)?;
    let fleet: MiningFleet = serde_json::from_value(fleet)?;
    Api::all(test.admin()).create(&PostParams::default(), &budget).await?;
    Api::all(test.admin()).create(&PostParams::default(), &fleet).await?;
    Ok(())
}

/// Runs an operator until `driver` is done with it.
async fn operate(
    test: &Test,
    name: &str,
    driver: impl AsyncFnOnce(SocketAddr) -> Result<()>,
) -> Result<Result<(), Exit>> {
    let client = Client::try_from(control(test.config(ADMIN).await?))?;
    let mut store = KubeStore::connect(client, test.namespace(), Filter::All);
    let exchange = Exchange::new(0, Time::ZERO);
    let mut link = MemoryUplink::join(&exchange, name);
    let mut feeds = Market::new(std::path::Path::new("."));
    let health = Arc::new(Health::default());
    let (address, serving) = http::serve("127.0.0.1:0".parse()?, health.clone()).await?;
    let options = Options {
        name: name.into(),
        namespace: test.namespace().into(),
        agents: AgentPods::Elsewhere,
        link: String::new(),
    };
    let shell = Shell {
        store: &mut store,
        link: &mut link,
        link_wake: Arc::new(Notify::new()),
        feeds: &mut feeds,
        health,
        pace: Pace::default(),
    };
    let (stop, stopped) = oneshot::channel::<()>();
    let running = run(Operator::new(options), shell, async { drop(stopped.await) });
    let driving = async {
        let driven = driver(address).await;
        drop(stop);
        driven
    };
    let (outcome, driven) = tokio::join!(running, driving);
    serving.abort();
    driven.map(|()| outcome)
}

/// The answer to a GET, with its head.
async fn get(address: SocketAddr, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

fn is_ok(answer: &str) -> bool {
    answer.lines().next().is_some_and(|line| line.ends_with("200 OK"))
}

async fn lease(test: &Test) -> Result<(Option<String>, u64)> {
    let lease = Api::<Lease>::default_namespaced(test.admin()).get(LEADERSHIP_NAME).await?;
    let epoch = lease.annotations().get(EPOCH_ANNOTATION).context("no epoch on the Lease")?.parse()?;
    Ok((lease.spec.and_then(|spec| spec.holder_identity), epoch))
}

/// The loads' specs by name, as they stand.
async fn loads(test: &Test) -> Result<Vec<(String, serde_json::Value)>> {
    let loads = Api::<ControllableLoad>::default_namespaced(test.admin()).list(&ListParams::default()).await?;
    loads.items.into_iter().map(|load| Ok((load.name_any(), serde_json::to_value(load.spec)?))).collect()
}

#[test]
fn an_operator_leads_makes_its_loads_answers_for_itself_and_stops_without_touching_a_load() -> Result<()> {
    cluster_test(Needs::FakeNodes, async |test| {
        definitions::install(&test.admin()).await?;
        site(test).await?;
        let mut first_epoch = 0;
        let first = operate(test, "first", async |address| {
            until("/readyz", SOON, async || Ok(is_ok(&get(address, "/readyz").await?).then_some(()))).await?;
            until("the loads", SOON, async || Ok((loads(test).await?.len() == CONTAINERS).then_some(()))).await?;
            let metrics = until("the metrics of two loads", SOON, async || {
                let text = get(address, "/metrics").await?;
                let told = "ampacity_allocated_watts{site=\"";
                Ok((text.contains(told) && !text.contains("side=\"mining\"} 0")).then_some(text))
            })
            .await?;
            for word in [
                "ampacity_node_limit_watts{",
                "node=\"hall-a\"} 10000000",
                "ampacity_node_bound_watts{",
                "ampacity_node_headroom_watts{",
                "ampacity_energy_price_usd_per_mwh{",
                "ampacity_hashprice_age_seconds{",
                "ampacity_load_decisions{",
                "ampacity_tick_seconds_bucket{",
                "ampacity_writes_total{outcome=\"accepted\"}",
                "ampacity_write_seconds_count",
                "ampacity_leader 1",
                "ampacity_node_over_limit_seconds_total{",
            ] {
                ensure!(metrics.contains(word), "no {word} in\n{metrics}");
            }
            ensure!(is_ok(&get(address, "/healthz").await?));
            let (holder, epoch) = lease(test).await?;
            assert_eq!(holder.as_deref(), Some("first"));
            first_epoch = epoch;
            Ok(())
        })
        .await?;
        assert_eq!(first, Ok(()));
        assert_eq!(lease(test).await?, (None, first_epoch));
        let left = loads(test).await?;
        assert_eq!(left.len(), CONTAINERS);

        let started = std::time::Instant::now();
        let second = operate(test, "second", async |_| {
            until("the second to lead", SOON, async || {
                let (holder, epoch) = lease(test).await?;
                Ok((holder.as_deref() == Some("second") && epoch > first_epoch).then_some(()))
            })
            .await?;
            eprintln!("a released leadership was taken after {:.1} s", started.elapsed().as_secs_f64());
            // It claims what the first left, and raises nothing.
            let claimed = until("the claims", SOON, async || {
                let now = loads(test).await?;
                let epoch = |spec: &serde_json::Value| spec.pointer("/order/epoch").and_then(|e| e.as_u64());
                Ok(now.iter().all(|(_, spec)| epoch(spec) > Some(first_epoch)).then_some(now))
            })
            .await?;
            let names = |all: &[(String, serde_json::Value)]| all.iter().map(|(n, _)| n.clone()).collect::<Vec<_>>();
            assert_eq!(names(&claimed), names(&left));
            Ok(())
        })
        .await?;
        assert_eq!(second, Ok(()));
        Ok(())
    })
}
