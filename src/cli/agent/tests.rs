//! What an agent is told on its command line, and whom it refuses to serve.

use super::*;
use crate::agent::setting::Made;
use ampacity_core::tree::{Node, Tree};
use ampacity_core::units::{Ppm, Span, Watts};
use clap::Parser;
use serde_json::json;

#[derive(Parser)]
struct Line {
    #[command(subcommand)]
    of: AgentCommand,
}

fn parse(line: &str) -> Result<AgentCommand, String> {
    let line = Line::try_parse_from(std::iter::once("agent").chain(line.split_whitespace()));
    line.map(|line| line.of).map_err(|error| error.to_string())
}

#[test]
fn a_node_agent_is_told_its_load_or_its_node_and_every_agent_what_drives_its_devices() {
    let which = |line: &str| parse(line).map(|of| (of.parts().0, of.parts().1));
    let rest = "--name p --device simulated";
    let (load, node) = (Which::Load("a".into()), Which::Node("n".into()));
    assert_eq!(which(&format!("gpu --load a {rest}")), Ok((load.clone(), LoadKind::Gpu)));
    assert_eq!(which(&format!("gpu --node n {rest}")), Ok((node, LoadKind::Gpu)));
    assert_eq!(which(&format!("miner --load a {rest}")), Ok((load, LoadKind::Miner)));
    for (line, said) in [
        (format!("gpu {rest}"), "--load <LOAD>"),
        (format!("gpu --load a --node n {rest}"), "cannot be used with"),
        (format!("miner {rest}"), "--load <LOAD>"),
        ("miner --load a --name p".into(), "--device <DEVICE>"),
        ("miner --load a --name p --device asic".into(), "possible values: simulated"),
        (format!("miner --load a {rest} --link"), "--link-tls-dir <LINK_TLS_DIR>"),
        (format!("miner --load a {rest} --link-token-file t"), "--link[=<ADDRESS>]"),
    ] {
        let error = parse(&line).err().unwrap();
        assert!(error.contains(said), "{line}: {error}");
    }
}

fn setting(made: Option<serde_json::Value>) -> Setting {
    let load = json!({
        "apiVersion": "ampacity.dev/v1alpha1", "kind": "ControllableLoad", "metadata": {"name": "h100-n1"},
        "spec": {
            "protocol": 1, "budget": "b", "feeder": "f", "kind": "Gpu", "owner": {"pool": "h100", "node": "n1"},
            "nameplateWatts": 5_700, "setpointWatts": 5_700, "fallbackWatts": 5_700,
            "order": {"epoch": 1, "sequence": 0},
        },
    });
    let none = Watts::ZERO;
    let limit = Watts::kilo(100);
    let site = Node { name: "b".into(), parent: None, limit, reserve: none, auxiliary: none, loss: Ppm::ZERO };
    Setting {
        load: serde_json::from_value(load).unwrap(),
        made: made.map(|pool| Made::Node(serde_json::from_value(pool).unwrap())),
        tree: Tree::new(vec![site]).unwrap(),
        hold: Span::minutes(5),
        down_per_minute: limit,
    }
}

#[test]
fn devices_that_nobody_knows_and_devices_that_pass_the_nameplate_are_refused() {
    let AgentCommand::Gpu(args) = parse("gpu --load h100-n1 --name p --device simulated").unwrap() else {
        panic!("not of a GPU node");
    };
    let load = Key::namespaced(Kind::ControllableLoad, "ampacity", "h100-n1");
    let said = |setting: &Setting| devices(setting, &load, &args.common, Time::ZERO).map(drop);
    let gone = "load \"h100-n1\": spec.owner.pool is \"h100\": there is no GpuPool of this name, and no --device-state says what its devices were";
    assert_eq!(said(&setting(None)), Err(gone.into()));
    let pool = |overhead: &str| {
        json!({
            "budget": "b", "feeder": "f", "nodeLabels": {"pool": "h100"}, "gpusPerNode": 8, "minCapWatts": 200,
            "maxCapWatts": 700, "overheadWatts": overhead,
        })
    };
    assert_eq!(
        said(&setting(Some(pool("100")))).err().as_deref(),
        Some(
            "load \"h100-n1\": spec.nameplateWatts is 5700, and its devices could draw 5712 W: raise the nameplate of its fleet or pool, and release this load"
        )
    );
    let mut roomy = setting(Some(pool("112")));
    roomy.load.spec.nameplate_watts.0 = 5_712;
    assert_eq!(said(&roomy), Ok(()));
}

#[test]
fn no_two_runs_of_one_pod_are_the_same_holder() {
    assert_ne!(holder("pod"), holder("pod"));
}

/// What an agent of node n1 answers on /readyz after it has asked an API server that answers every list like this.
fn readiness(status: u16, body: serde_json::Value) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (asked, mut hears) = tokio::sync::mpsc::unbounded_channel();
        let answers = tower::service_fn(move |request: axum::http::Request<kube::client::Body>| {
            let _ = asked.send(request.uri().path().to_owned());
            let response = axum::http::Response::builder().status(status);
            let response = response.body(kube::client::Body::from(body.to_string().into_bytes()));
            async move { Ok::<_, std::convert::Infallible>(response.unwrap()) }
        });
        let client = Client::new(answers, "ampacity");
        let AgentCommand::Gpu(args) = parse("gpu --node n1 --name p --device simulated").unwrap() else {
            panic!("not of a GPU node");
        };
        let health = Arc::new(Health::<Metrics>::default());
        let (address, serving) = http::serve("127.0.0.1:0".parse().unwrap(), health.clone()).await.unwrap();
        let mut stop: Stop = Box::pin(async move {
            // The first question is answered when the second is asked, or nothing would be known of its answer.
            let path = hears.recv().await.unwrap();
            assert_eq!(path, "/apis/ampacity.dev/v1alpha1/namespaces/ampacity/controllableloads");
            hears.recv().await;
        });
        let which = Which::Node("n1".into());
        let asked = ask(&client, &which, LoadKind::Gpu, &args.common, &health, &mut stop).await;
        assert!(matches!(asked, Ok(None)));
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let mut said = String::new();
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"GET /readyz HTTP/1.0\r\n\r\n").await.unwrap();
        tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut said).await.unwrap();
        serving.abort();
        said.lines().next().unwrap_or_default().to_owned()
    })
}

#[test]
fn an_agent_whose_node_is_in_no_pool_yet_is_ready_and_one_that_cannot_know_is_not() {
    let none =
        json!({"apiVersion": "ampacity.dev/v1alpha1", "kind": "ControllableLoadList", "metadata": {}, "items": []});
    assert_eq!(readiness(200, none), "HTTP/1.0 200 OK");
    let away = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 503,
        "message": "away", "reason": "ServiceUnavailable"});
    assert_eq!(readiness(503, away), "HTTP/1.0 503 Service Unavailable");
}
