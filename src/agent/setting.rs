//! What an agent must know before it can turn: its load, what the load's devices are, and what to do without a leader.
//! Read once at the start; an API server that is away is waited for.

use crate::api::common::LoadKind;
use crate::api::controllable_load::PROTOCOL;
use crate::api::{ControllableLoad, GpuPool, GpuPoolSpec, MiningFleet, MiningFleetSpec, PowerBudget};
use ampacity_core::tree::{NodeId, Tree};
use ampacity_core::units::{Span, Watts, mul_div};
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};
use serde::{Deserialize, Serialize};

/// Which load an agent serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// The one of this name.
    Load(String),
    /// The one of this node.
    Node(String),
}

/// What a load's devices are made of: as its owner's object says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Made {
    /// A container of this fleet.
    Container(Box<MiningFleetSpec>),
    /// A node of this pool.
    Node(Box<GpuPoolSpec>),
}

/// What was read.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The load.
    pub load: ControllableLoad,
    /// What its devices are made of; none: its fleet or pool is gone, and only who has seen it knows.
    pub made: Option<Made>,
    /// The site's limit tree.
    pub tree: Tree,
    /// Without a leader: how long to hold before lowering.
    pub hold: Span,
    /// Without a leader: how fast this load lowers after that, W per minute.
    pub down_per_minute: Watts,
}

/// Why an agent cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SettingError {
    /// The API server did not answer, or not with what was asked: worth another try.
    #[error("{0}")]
    Unreachable(#[from] kube::Error),
    /// There is no load of this node yet: a node may come before its pool.
    #[error("--node {node}: no ControllableLoad in namespace {namespace:?} has spec.owner.node {node:?} yet")]
    NoLoadYet {
        /// The node.
        node: String,
        /// Where loads are.
        namespace: String,
    },
    /// Something that a person must mend: names the field or flag, its value and what would be right.
    #[error("{0}")]
    Wrong(String),
}

impl SettingError {
    /// Whether waiting may help.
    pub const fn may_pass(&self) -> bool {
        !matches!(self, Self::Wrong(_))
    }

    /// Whether the API server was asked and there is nothing to hold: the node belongs to no pool yet.
    ///
    /// Such an agent is ready. Its pods come with the chart, loads with a site that is applied later: waiting for a load,
    /// `helm install --wait` would never end, and a node that joins no pool would hold up the roll-out to those that did.
    /// Nothing is credited for it: what frees watts is a ceiling that was stated, never a pod that is ready.
    pub const fn holds_nothing(&self) -> bool {
        matches!(self, Self::NoLoadYet { .. })
    }
}

/// Reads what an agent of `kind` needs.
///
/// # Errors
/// The API server is away, or an object makes no sense for this agent.
pub async fn read(client: &Client, namespace: &str, which: &Which, kind: LoadKind) -> Result<Setting, SettingError> {
    let load = find(client, namespace, which).await?;
    check(&load, kind)?;
    let (name, spec) = (load.name_any(), &load.spec);
    let budget = Api::<PowerBudget>::all(client.clone()).get_opt(&spec.budget).await?;
    let budget = budget.ok_or_else(|| {
        SettingError::Wrong(format!(
            "load {name:?}: spec.budget is {:?}: there is no PowerBudget of this name",
            spec.budget
        ))
    })?;
    let tree = Tree::try_from(&budget)
        .map_err(|error| SettingError::Wrong(format!("PowerBudget {:?} of load {name:?}: {error}", spec.budget)))?;
    let made = made(client, &load).await?;
    let hold = Span::seconds(budget.spec.leader_loss.hold_seconds);
    let down_per_minute = share(&budget, &tree, spec.nameplate_watts.watts());
    Ok(Setting { load, made, tree, hold, down_per_minute })
}

async fn find(client: &Client, namespace: &str, which: &Which) -> Result<ControllableLoad, SettingError> {
    let loads: Api<ControllableLoad> = Api::namespaced(client.clone(), namespace);
    let all = || async { Ok::<_, kube::Error>(loads.list(&ListParams::default()).await?.items) };
    match which {
        Which::Load(name) => match loads.get_opt(name).await? {
            Some(load) => Ok(load),
            None => Err(no_such(name, namespace, &all().await?)),
        },
        Which::Node(node) => of_node(all().await?, node, namespace),
    }
}

fn no_such(name: &str, namespace: &str, there: &[ControllableLoad]) -> SettingError {
    const NAMED: usize = 10;
    let mut names: Vec<String> = there.iter().take(NAMED).map(ResourceExt::name_any).collect();
    if there.len() > NAMED {
        names.push("…".into());
    }
    let names = if names.is_empty() { "none".into() } else { names.join(", ") };
    SettingError::Wrong(format!(
        "--load {name}: there is no ControllableLoad of this name in namespace {namespace:?}; there are: {names}"
    ))
}

fn of_node(loads: Vec<ControllableLoad>, node: &str, namespace: &str) -> Result<ControllableLoad, SettingError> {
    let mut own = loads.into_iter().filter(|load| load.spec.owner.node.as_deref() == Some(node));
    match (own.next(), own.next()) {
        (Some(load), None) => Ok(load),
        (None, _) => Err(SettingError::NoLoadYet { node: node.into(), namespace: namespace.into() }),
        (Some(a), Some(b)) => Err(SettingError::Wrong(format!(
            "--node {node}: loads {:?} and {:?} both have it as spec.owner.node; a node is one load: name yours with --load",
            a.name_any(),
            b.name_any()
        ))),
    }
}

/// Whether this agent may serve the load.
fn check(load: &ControllableLoad, kind: LoadKind) -> Result<(), SettingError> {
    let (name, spec) = (load.name_any(), &load.spec);
    if spec.protocol > PROTOCOL {
        return Err(SettingError::Wrong(outdated(&name, spec.protocol)));
    }
    if spec.kind != kind {
        let other = if spec.kind == LoadKind::Miner { "miner" } else { "gpu" };
        return Err(SettingError::Wrong(format!(
            "load {name:?}: spec.kind is {:?}, not {kind:?}: serve it with `ampacity agent {other}`",
            spec.kind
        )));
    }
    Ok(())
}

/// What to say of a load whose spec speaks a newer protocol.
pub fn outdated(load: &str, protocol: i32) -> String {
    format!("load {load:?}: spec.protocol is {protocol}; this agent speaks {PROTOCOL}: run a newer one")
}

async fn made(client: &Client, load: &ControllableLoad) -> Result<Option<Made>, SettingError> {
    let owner = &load.spec.owner;
    Ok(match (&owner.fleet, &owner.pool) {
        (Some(fleet), _) => {
            let fleet = Api::<MiningFleet>::all(client.clone()).get_opt(fleet).await?;
            fleet.map(|fleet| Made::Container(Box::new(fleet.spec)))
        }
        (None, Some(pool)) => {
            let pool = Api::<GpuPool>::all(client.clone()).get_opt(pool).await?;
            pool.map(|pool| Made::Node(Box::new(pool.spec)))
        }
        (None, None) => None,
    })
}

/// This load's share, by nameplate, of how fast the site's loads ramp down together without a leader, W per minute: of
/// `leaderLoss.downWattsPerMinute`, or a tenth of the site's limit. At least 1.
fn share(budget: &PowerBudget, tree: &Tree, nameplate: Watts) -> Watts {
    let limit = tree.node(NodeId::SITE).map_or(Watts::ZERO, |site| site.limit);
    let together = budget.spec.leader_loss.down_watts_per_minute.map_or(Watts::new(limit.get() / 10), |w| w.watts());
    let kept = budget.status.iter().flat_map(|status| &status.nameplates).map(|kept| kept.nameplate_watts.watts());
    let all = kept.sum::<Watts>().max(nameplate).get().max(1);
    Watts::new(mul_div(together.get(), nameplate.get(), all).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn load(name: &str, spec: serde_json::Value) -> ControllableLoad {
        let mut whole = json!({
            "protocol": 1, "budget": "b", "feeder": "f", "kind": "Gpu", "owner": {"pool": "h100", "node": "n1"},
            "nameplateWatts": 10_000, "setpointWatts": 10_000, "fallbackWatts": 10_000,
            "order": {"epoch": 1, "sequence": 0},
        });
        whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let load = json!({
            "apiVersion": "ampacity.dev/v1alpha1", "kind": "ControllableLoad",
            "metadata": {"name": name, "namespace": "ampacity"}, "spec": whole,
        });
        serde_json::from_value(load).unwrap()
    }

    fn said<T>(result: Result<T, SettingError>) -> (String, bool) {
        let error = result.err().unwrap();
        (error.to_string(), error.may_pass())
    }

    #[test]
    fn a_load_that_this_agent_cannot_serve_is_refused_with_what_would_be_right() {
        let wrong = |text: &str| (text.to_owned(), false);
        assert_eq!(
            said(check(&load("h100-n1", json!({"kind": "Gpu"})), LoadKind::Miner)),
            wrong("load \"h100-n1\": spec.kind is Gpu, not Miner: serve it with `ampacity agent gpu`")
        );
        assert_eq!(
            said(check(&load("h100-n1", json!({"protocol": 2})), LoadKind::Gpu)),
            wrong("load \"h100-n1\": spec.protocol is 2; this agent speaks 1: run a newer one")
        );
        assert!(check(&load("h100-n1", json!({})), LoadKind::Gpu).is_ok());
        assert_eq!(
            said::<()>(Err(no_such("h100-n9", "ampacity", &[load("h100-n1", json!({})), load("h100-n2", json!({}))]))),
            wrong(
                "--load h100-n9: there is no ControllableLoad of this name in namespace \"ampacity\"; there are: h100-n1, h100-n2"
            )
        );
    }

    #[test]
    fn a_node_has_one_load_or_waits_for_it_and_two_are_an_error() {
        let loads = |count: usize| ["a", "b"].iter().take(count).map(|name| load(name, json!({}))).collect::<Vec<_>>();
        assert_eq!(of_node(loads(1), "n1", "ampacity").unwrap().name_any(), "a");
        assert_eq!(
            said(of_node(loads(1), "n2", "ampacity")),
            ("--node n2: no ControllableLoad in namespace \"ampacity\" has spec.owner.node \"n2\" yet".into(), true)
        );
        assert_eq!(
            said(of_node(loads(2), "n1", "ampacity")),
            (
                "--node n1: loads \"a\" and \"b\" both have it as spec.owner.node; a node is one load: name yours with --load"
                    .into(),
                false
            )
        );
    }

    #[test]
    fn a_load_ramps_down_by_its_share_of_what_the_site_does_together() {
        let budget = |loss: serde_json::Value, kept: serde_json::Value| -> PowerBudget {
            let budget = json!({
                "apiVersion": "ampacity.dev/v1alpha1", "kind": "PowerBudget", "metadata": {"name": "b"},
                "spec": {
                    "limitWatts": "100M", "policy": {"mode": "Active"}, "leaderLoss": loss,
                    "feeders": [{"name": "f", "limitWatts": "50M"}],
                },
                "status": {"nameplates": kept},
            });
            serde_json::from_value(budget).unwrap()
        };
        let of = |budget: &PowerBudget| share(budget, &Tree::try_from(budget).unwrap(), Watts::kilo(2_000));
        let kept = json!([{"feeder": "b", "nameplateWatts": "30M"}, {"feeder": "f", "nameplateWatts": "10M"}]);
        assert_eq!(of(&budget(json!({"downWattsPerMinute": "4M"}), kept.clone())), Watts::kilo(200));
        assert_eq!(of(&budget(json!({}), kept)), Watts::kilo(500));
        assert_eq!(of(&budget(json!({}), json!([]))), Watts::kilo(10_000), "alone, as far as it is told");
    }
}
