//! What a world is made of: its loads, its nodes and its plant, from the manifests.

use super::WorldError;
use crate::api::PowerBudget;
use crate::api::manifest::Object as Manifest;
use crate::sim::build;
use crate::sim::cluster::Node;
use crate::sim::happening::Script;
use crate::sim::plant::meter::MeterSpec;
use crate::sim::plant::{LoadSpec, Plant, PlantSpec, SharedPlant};
use crate::sim::spec::{NODES_ANNOTATION, NODES_DEFAULT, WorldSpec};
use ampacity_core::tree::{NodeId, Tree};
use ampacity_core::units::Ppm;
use kube::ResourceExt;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// Refuses a script that names a load that is not there.
pub(super) fn check_script(script: &Script, loads: &[(String, LoadSpec)]) -> Result<(), WorldError> {
    let names: Vec<&str> = loads.iter().map(|(name, _)| name.as_str()).collect();
    for (_, happening) in script {
        if let Some(load) = happening.load().filter(|load| !names.contains(load)) {
            return Err(WorldError::NoLoad(load.into(), names.join(", ")));
        }
    }
    Ok(())
}

/// The one budget of the manifests.
pub(super) fn only_budget(objects: &[Manifest]) -> Result<PowerBudget, WorldError> {
    let mut budgets = objects.iter().filter_map(|object| match object {
        Manifest::PowerBudget(budget) => Some(budget.as_ref().clone()),
        _ => None,
    });
    match (budgets.next(), budgets.count()) {
        (Some(budget), 0) => Ok(budget),
        (None, _) => Err(WorldError::Budgets(0)),
        (Some(_), more) => Err(WorldError::Budgets(more + 1)),
    }
}

/// The loads of a site by name, and the nodes of its cluster.
pub(super) type Inventory = (Vec<(String, LoadSpec)>, Vec<Node>);

/// Every load of the site by name, with what it is made of; and the cluster's nodes.
pub(super) fn inventory(objects: &[Manifest], tree: &Tree) -> Result<Inventory, WorldError> {
    let feeder = |owner: &str, name: &str| {
        tree.find(name).ok_or_else(|| WorldError::Object(format!("{owner}: spec.feeder: there is no feeder {name:?}")))
    };
    let (mut loads, mut nodes) = (Vec::new(), Vec::new());
    for object in objects {
        match object {
            Manifest::MiningFleet(fleet) => {
                let (name, spec) = (fleet.name_any(), &fleet.spec);
                let node = feeder(&name, &spec.feeder)?;
                for index in 0..spec.containers {
                    loads.push((format!("{name}-{index}"), build::container(spec, node)));
                }
            }
            Manifest::GpuPool(pool) => {
                let (name, spec) = (pool.name_any(), &pool.spec);
                let node = feeder(&name, &spec.feeder)?;
                let count = pool.annotations().get(NODES_ANNOTATION).and_then(|n| n.parse().ok());
                for _ in 0..count.unwrap_or(NODES_DEFAULT) {
                    let host = format!("n{:02}", nodes.len() + 1);
                    nodes.push(Node {
                        name: host.clone(),
                        load: loads.len(),
                        gpus: u32::try_from(spec.gpus_per_node).unwrap_or(0),
                        pool: name.clone(),
                    });
                    loads.push((format!("{name}-{host}"), build::gpu_node(spec, node)));
                }
            }
            _ => {}
        }
    }
    Ok((loads, nodes))
}

/// What the nodes of a pool are labelled with.
pub(super) fn pool_labels(objects: &[Manifest], pool: &str) -> BTreeMap<String, String> {
    let of = |object: &Manifest| match object {
        Manifest::GpuPool(it) if it.name_any() == pool => Some(it.spec.node_labels.clone()),
        _ => None,
    };
    objects.iter().find_map(of).unwrap_or_default()
}

/// The plant, on the tree as it truly is: a tenant's hall draws most of its limit, all day.
pub(super) fn plant(spec: &WorldSpec, budget: &PowerBudget, tree: &Tree, loads: &[(String, LoadSpec)]) -> SharedPlant {
    const HALL_USES: Ppm = Ppm::percent(85);
    let mut nodes = tree.nodes().to_vec();
    for object in &spec.objects {
        let Manifest::LeaseClass(class) = object else { continue };
        let hall = class.spec.feeder.as_ref().and_then(|name| tree.find(name));
        if let Some(node) = hall.and_then(|id| nodes.get_mut(id.index())) {
            node.auxiliary = node.auxiliary.max((node.limit - node.reserve).part(HALL_USES));
        }
    }
    let truth = Tree::new(nodes).unwrap_or_else(|_| tree.clone());
    let metered = |at: usize| {
        let feeder = budget.spec.feeders.get(at.wrapping_sub(1));
        if at == 0 { budget.spec.meter.is_some() } else { feeder.is_some_and(|f| f.meter.is_some()) }
    };
    let meters = (0..tree.len()).filter(|at| metered(*at));
    let plant = PlantSpec {
        seed: spec.seed,
        weather: spec.weather,
        rates: spec.rates,
        loads: loads.iter().map(|(_, load)| load.clone()).collect(),
        meters: meters.filter_map(|at| Some((NodeId(u32::try_from(at).ok()?), MeterSpec::default()))).collect(),
    };
    Arc::new(Mutex::new(Plant::new(&plant, &truth, spec.start)))
}
