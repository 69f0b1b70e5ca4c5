//! What the `NetworkPolicies` let through, read as a network reads them: by the labels and ports of the pods that the
//! chart and the operator really make. Nothing in the suite enforces them.

use std::collections::BTreeSet;

use ampacity::api::controllable_load::LoadOwner;
use ampacity::operator::pods::{PodOptions, template};
use ampacity_e2e::helm::Helm;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

/// The namespace of the release.
const NAMESPACE: &str = "ampacity";
/// Address and port of the API server, of a machine, and of something that nobody here need talk to.
const PLACES: [(&str, &str, u64); 4] = [
    ("the API server", "10.1.0.1", 6443),
    ("a machine", "10.7.3.4", 4028),
    ("the API server's SSH", "10.1.0.1", 22),
    ("elsewhere", "192.0.2.1", 443),
];

/// A pod as a policy sees it.
struct Pod {
    name: &'static str,
    namespace: Value,
    labels: Value,
    /// Named ports, with their numbers.
    ports: Vec<(String, u64)>,
}

impl Pod {
    fn own(name: &'static str, template: &Value) -> Result<Self> {
        let containers = template.pointer("/spec/containers").and_then(Value::as_array).context("containers")?;
        let ports = containers.iter().filter_map(|one| one.get("ports")?.as_array()).flatten();
        let named = |port: &Value| Some((port.get("name")?.as_str()?.to_owned(), port.get("containerPort")?.as_u64()?));
        Ok(Self {
            name,
            namespace: json!({"kubernetes.io/metadata.name": NAMESPACE}),
            labels: template.pointer("/metadata/labels").cloned().context("labels")?,
            ports: ports.filter_map(named).collect(),
        })
    }

    fn other(name: &'static str, namespace: &str, ports: &[(&str, u64)]) -> Self {
        let ports = ports.iter().map(|(name, number)| ((*name).to_owned(), *number)).collect();
        let namespace = json!({"kubernetes.io/metadata.name": namespace});
        Self { name, namespace, labels: json!({"app": name}), ports }
    }
}

/// Whether a label selector takes these labels: equalities and `In`, which are all that the chart uses.
fn selects(selector: &Value, labels: &Value) -> Result<bool> {
    let keys: Vec<&String> = selector.as_object().context("a selector")?.keys().collect();
    ensure!(keys.iter().all(|key| ["matchLabels", "matchExpressions"].contains(&key.as_str())), "{selector}");
    let equal = |(key, value): (&String, &Value)| labels.get(key) == Some(value);
    let mut all = selector.get("matchLabels").and_then(Value::as_object).is_none_or(|one| one.iter().all(equal));
    for one in selector.get("matchExpressions").and_then(Value::as_array).into_iter().flatten() {
        ensure!(one.get("operator") == Some(&json!("In")), "{one}");
        let value = labels.get(one.get("key").and_then(Value::as_str).context("a key")?);
        let values = one.get("values").and_then(Value::as_array).context("values")?;
        all &= value.is_some_and(|value| values.contains(value));
    }
    Ok(all)
}

/// Where a connection goes to, or comes from.
enum Peer<'a> {
    Pod(&'a Pod),
    Address(&'a str),
}

/// Whether an address is in a range: IPv4, which is what this test's places are.
fn within(cidr: &str, address: &str) -> Result<bool> {
    let (base, bits) = cidr.split_once('/').context("a range")?;
    let (Ok(base), Ok(address)) = (base.parse::<std::net::Ipv4Addr>(), address.parse::<std::net::Ipv4Addr>()) else {
        return Ok(false);
    };
    let shift = 32 - bits.parse::<u32>()?;
    let cut = |one: std::net::Ipv4Addr| u64::from(u32::from(one)) >> shift;
    Ok(cut(base) == cut(address))
}

fn reaches(peer: &Value, other: &Peer<'_>) -> Result<bool> {
    match other {
        Peer::Address(address) => match peer.pointer("/ipBlock/cidr").and_then(Value::as_str) {
            Some(cidr) => within(cidr, address),
            None => Ok(false),
        },
        Peer::Pod(pod) => {
            if peer.get("ipBlock").is_some() {
                return Ok(false);
            }
            let namespace = match peer.get("namespaceSelector") {
                Some(selector) => selects(selector, &pod.namespace)?,
                None => pod.namespace == json!({"kubernetes.io/metadata.name": NAMESPACE}),
            };
            let labels = peer.get("podSelector").map_or(Ok(true), |selector| selects(selector, &pod.labels))?;
            Ok(namespace && labels)
        }
    }
}

/// Whether the policies let a pod of ours take (`ingress`) or make (`egress`) a connection to a port of `at`.
fn lets(
    policies: &[Value],
    way: &str,
    pod: &Pod,
    other: &Peer<'_>,
    at: &Pod,
    port: u64,
    protocol: &str,
) -> Result<bool> {
    let word = if way == "ingress" { "Ingress" } else { "Egress" };
    let mut bound = false;
    for policy in policies {
        let spec = policy.get("spec").context("a policy without a spec")?;
        let types = spec.get("policyTypes").and_then(Value::as_array).context("types")?;
        if !types.contains(&json!(word)) || !selects(spec.get("podSelector").context("a selector")?, &pod.labels)? {
            continue;
        }
        bound = true;
        for rule in spec.get(way).and_then(Value::as_array).into_iter().flatten() {
            let ports = rule.get("ports").and_then(Value::as_array);
            let names = |one: &Value| match one.get("port") {
                Some(Value::String(name)) => at.ports.iter().any(|(own, number)| own == name && *number == port),
                Some(number) => number.as_u64() == Some(port),
                None => true,
            };
            let takes = |one: &Value| one.get("protocol").and_then(Value::as_str) == Some(protocol) && names(one);
            if !ports.is_none_or(|ports| ports.iter().any(takes)) {
                continue;
            }
            let peers = rule.get(if way == "ingress" { "from" } else { "to" }).and_then(Value::as_array);
            for peer in peers.context("a rule for everybody")? {
                if reaches(peer, other)? {
                    return Ok(true);
                }
            }
        }
    }
    Ok(!bound)
}

/// The objects of a rendered chart.
fn objects(rendered: &str) -> Result<Vec<Value>> {
    let all = serde_yaml::Deserializer::from_str(rendered).map(serde::Deserialize::deserialize);
    let all: Vec<Value> = all.collect::<Result<_, _>>()?;
    Ok(all.into_iter().filter(Value::is_object).collect())
}

/// Everything that may be dialled, as `who -> whom:port`, of all that there is.
fn dialled(policies: &[Value], pods: &[Pod]) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for from in pods {
        for to in pods {
            for (name, port) in &to.ports {
                let protocol = if name == "dns" { "UDP" } else { "TCP" };
                let out = lets(policies, "egress", from, &Peer::Pod(to), to, *port, protocol)?;
                if out && lets(policies, "ingress", to, &Peer::Pod(from), to, *port, protocol)? {
                    found.insert(format!("{} -> {}:{name}", from.name, to.name));
                }
            }
        }
        for (name, address, port) in PLACES {
            let nowhere = Pod::other("", "", &[]);
            if lets(policies, "egress", from, &Peer::Address(address), &nowhere, port, "TCP")? {
                found.insert(format!("{} -> {name}", from.name));
            }
        }
    }
    Ok(found)
}

/// The chart's pods, the operator's agent of a container, and others of the cluster.
fn pods(all: &[Value]) -> Result<Vec<Pod>> {
    let named = |kind: &str, name: &str| {
        let is =
            |one: &&Value| one.get("kind") == Some(&json!(kind)) && one.pointer("/metadata/name") == Some(&json!(name));
        all.iter().find(is).with_context(|| format!("{kind}/{name}"))
    };
    let template_of = |object: &Value| object.pointer("/spec/template").cloned().context("a template");
    let operator = template_of(named("Deployment", "ampacity-operator")?)?;
    let gpu = template_of(named("DaemonSet", "ampacity-gpu-agent")?)?;
    let uninstall = template_of(named("Job", "ampacity-uninstall-check")?)?;
    // By what the chart tells the operator, as the operator makes it.
    let options = PodOptions {
        image: "localhost/ampacity:0.1.0".into(),
        service_account: "ampacity-miner-agent".into(),
        device: "simulated".into(),
        priority_class: None,
        link: Some("ampacity-operator.ampacity.svc".into()),
    };
    let owner = LoadOwner { fleet: Some("s21".into()), index: Some(0), pool: None, node: None };
    let miner = template("s21-0", "yard", &owner, NAMESPACE, &options);
    let mut prometheus = Pod::other("prometheus", "watching", &[]);
    prometheus.namespace = json!({"kubernetes.io/metadata.name": "watching", "team": "monitoring"});
    Ok(vec![
        Pod::own("operator", &operator)?,
        Pod::own("gpu", &gpu)?,
        Pod::own("miner", &miner)?,
        Pod::own("uninstall", &uninstall)?,
        prometheus,
        Pod::other("dns", "kube-system", &[("dns", 53), ("dns-tcp", 53), ("metrics", 9153)]),
        Pod::other("tenant", "tenant-a", &[("web", 80)]),
    ])
}

#[test]
fn network_policies_let_through_what_operators_and_agents_need_and_nothing_else() -> Result<()> {
    let values = "gpuAgents.enabled=true,minerAgents.device=simulated,networkPolicies.apiServerCidrs={10.1.0.1/32},\
                  networkPolicies.minerCidrs={10.7.0.0/16},networkPolicies.metricsFrom.team=monitoring";
    let all = ["template", "ampacity", "ampacity", "--namespace", NAMESPACE, "--set", values];
    let all = objects(&Helm::find()?.run(None, &all)?)?;
    let pods = pods(&all)?;
    let policies: Vec<Value> =
        all.iter().filter(|one| one.get("kind") == Some(&json!("NetworkPolicy"))).cloned().collect();
    assert_eq!(policies.len(), 4);
    let ours = ["operator", "gpu", "miner", "uninstall"];
    let to_or_from_ours = |line: &&String| {
        ours.iter().any(|own| line.starts_with(&format!("{own} ")) || line.contains(&format!("-> {own}:")))
    };
    let found = dialled(&policies, &pods)?;
    let found: Vec<&str> = found.iter().filter(to_or_from_ours).map(String::as_str).collect();
    let wanted = [
        "gpu -> dns:dns",
        "gpu -> dns:dns-tcp",
        "gpu -> operator:link",
        "gpu -> the API server",
        "miner -> a machine",
        "miner -> dns:dns",
        "miner -> dns:dns-tcp",
        "miner -> operator:link",
        "miner -> the API server",
        "operator -> dns:dns",
        "operator -> dns:dns-tcp",
        "operator -> the API server",
        "prometheus -> gpu:http",
        "prometheus -> miner:http",
        "prometheus -> operator:http",
        "uninstall -> dns:dns",
        "uninstall -> dns:dns-tcp",
        "uninstall -> the API server",
    ];
    assert_eq!(found, wanted);
    Ok(())
}
