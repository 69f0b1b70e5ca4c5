//! Lease classes over a site's pools and feeders.

use super::{PoolRow, feeder, names};
use crate::api::lease_class::{Approval, Delivery as ApiDelivery, Service};
use crate::api::{LeaseClass, LeaseClassSpec, Money, PowerBudget};
use crate::operator::cache::Cache;
use crate::operator::leases::WINDOW;
use crate::operator::problem::{Cause, Problem};
use crate::store::{Key, Kind};
use ampacity_core::lease::{Allowance, Class, Delivery, Terms};
use ampacity_core::tree::{NodeId, Tree};
use ampacity_core::units::{Ppm, Span, Usd, UsdPerMwh, Watts};
use kube::ResourceExt;
use std::sync::Arc;

/// One class.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassRow {
    /// The object.
    pub key: Key,
    /// As it was read.
    pub object: Arc<LeaseClass>,
    /// As decisions know it.
    pub core: Class,
}

impl ClassRow {
    /// The feeder of the hall that it leases, if it leases one.
    pub fn hall(&self) -> Option<NodeId> {
        match self.core.delivery {
            Delivery::Power { node, .. } => Some(node),
            Delivery::Jobs { .. } => None,
        }
    }

    /// Whether it is open to a namespace by name. Labels of namespaces are not watched: a class that asks for labels
    /// is open to none but those it names.
    pub fn open_to(&self, namespace: &str) -> bool {
        let allowed = self.object.spec.allowed_namespaces.as_ref();
        allowed.is_none_or(|allowed| allowed.names.iter().any(|name| name == namespace))
    }
}

pub(super) fn read(
    cache: &Cache,
    budget: &PowerBudget,
    tree: &Tree,
    pools: &[PoolRow],
    problems: &mut Vec<Problem>,
) -> Vec<ClassRow> {
    let mut rows = Vec::new();
    for class in cache.classes() {
        let key = Key::cluster(Kind::LeaseClass, &class.name_any());
        match delivery(class, &key, budget, tree, pools) {
            Ok(Some(delivery)) => {
                let core = core(class, delivery, pools);
                rows.push(ClassRow { key, object: class.clone(), core });
            }
            Ok(None) => {}
            Err(problem) => problems.push(problem),
        }
    }
    sums(&rows, pools, tree, problems);
    rows
}

/// What a class delivers at this site, and how much of it; none: it is another site's.
fn delivery(
    class: &LeaseClass,
    key: &Key,
    budget: &PowerBudget,
    tree: &Tree,
    pools: &[PoolRow],
) -> Result<Option<Delivery>, Problem> {
    let spec = &class.spec;
    match spec.delivery {
        ApiDelivery::Jobs => {
            let position = pools.iter().position(|row| Some(&row.core.name) == spec.pool.as_ref());
            let Some(pool) = position else { return Ok(None) };
            let there = pools.get(pool).map_or(0, |row| row.core.gpus_per_node as usize * row.nodes.len());
            let there = u32::try_from(there).unwrap_or(u32::MAX);
            let sold = spec.capacity_gpus.and_then(|gpus| u32::try_from(gpus).ok()).unwrap_or(there);
            Ok(Some(Delivery::Jobs { pool: u32::try_from(pool).unwrap_or(u32::MAX), gpus: sold }))
        }
        ApiDelivery::Power => {
            if spec.budget.as_ref() != Some(&budget.name_any()) {
                return Ok(None);
            }
            let name = spec.feeder.as_deref().unwrap_or_default();
            let Some(node) = feeder(tree, name).filter(|node| *node != NodeId::SITE) else {
                return Err(Problem::missing(key.clone(), Cause::FeederNotFound, "spec.feeder", name, &names(tree)));
            };
            let limit = tree.capacity(node).at_least_zero();
            Ok(Some(Delivery::Power { node, watts: spec.capacity_watts.map_or(limit, |w| w.watts()) }))
        }
    }
}

fn core(class: &LeaseClass, delivery: Delivery, pools: &[PoolRow]) -> Class {
    let spec = &class.spec;
    let per_namespace = match delivery {
        Delivery::Jobs { .. } => spec.max_gpus_per_namespace.map_or(i64::MAX, i64::from),
        Delivery::Power { .. } => spec.max_watts_per_namespace.map_or(i64::MAX, |w| w.watts().get()),
    };
    Class { name: class.name_any(), delivery, terms: terms(spec, delivery, pools), per_namespace }
}

fn terms(spec: &LeaseClassSpec, delivery: Delivery, pools: &[PoolRow]) -> Terms {
    let price = match delivery {
        Delivery::Jobs { .. } => spec.price_per_gpu_hour,
        Delivery::Power { .. } => spec.price_per_kw_month,
    };
    let allowance = match &spec.curtailable {
        None => Allowance {
            curtailed: Span::ZERO,
            per: WINDOW,
            events_per_day: 0,
            longest: Span::ZERO,
            minimum_run: Span::ZERO,
        },
        Some(allowed) => Allowance {
            curtailed: Span::minutes(60 * i64::from(allowed.hours_per_month)),
            per: WINDOW,
            events_per_day: u32::try_from(allowed.events_per_day).unwrap_or(0),
            longest: Span::seconds(allowed.max_event_seconds),
            minimum_run: Span::seconds(allowed.minimum_run_seconds),
        },
    };
    Terms {
        firm: spec.service == Service::Firm,
        price: price.map_or(Usd::ZERO, |p| p.usd()),
        notice: Span::seconds(spec.notice_seconds),
        allowance,
        credit: credit(spec.credit_per_mwh, spec.credit_per_gpu_hour, delivery, pools),
        stop_cost: spec.stop_cost_usd.usd(),
        least_throughput: spec.caps.as_ref().map_or(Ppm::percent(100), |caps| caps.min_throughput_percent.ppm()),
        accepts_itself: spec.approval == Approval::Automatic,
        longest_term: Span::seconds(spec.max_term_seconds),
    }
}

/// Both credits as one per MWh withheld: a GPU-hour withheld is (highest − lowest cap) for an hour.
pub(super) fn credit(per_mwh: Money, per_gpu_hour: Money, delivery: Delivery, pools: &[PoolRow]) -> UsdPerMwh {
    let per_mwh = per_mwh.usd_per_mwh();
    let Delivery::Jobs { pool, .. } = delivery else { return per_mwh };
    let above = pools.get(pool as usize).map_or(Watts::ZERO, |row| row.core.max_cap - row.core.min_cap);
    per_mwh + per_gpu_hour.usd().per(above.max(Watts::new(1)).over(Span::minutes(60)))
}

/// The firm classes of one pool or feeder must not promise more than there is together.
fn sums(rows: &[ClassRow], pools: &[PoolRow], tree: &Tree, problems: &mut Vec<Problem>) {
    for row in rows.iter().filter(|row| row.core.terms.firm) {
        let same = |other: &&ClassRow| other.core.terms.firm && place(other.core.delivery) == place(row.core.delivery);
        let sold: i64 = rows.iter().filter(same).map(|other| other.core.delivery.amount()).sum();
        let (there, unit, what) = match row.core.delivery {
            Delivery::Jobs { pool, .. } => {
                let pool = pools.get(pool as usize);
                let gpus = pool.map_or(0, |p| i64::from(p.core.gpus_per_node) * p.nodes.len() as i64);
                (gpus, "GPUs", pool.map_or("", |p| p.core.name.as_str()))
            }
            Delivery::Power { node, .. } => {
                (tree.capacity(node).get(), "W", tree.node(node).map_or("", |n| n.name.as_str()))
            }
        };
        if sold > there {
            let message =
                format!("the firm classes of {what:?} together sell {sold} {unit}, and it has {there} {unit}");
            problems.push(Problem { key: row.key.clone(), cause: Cause::SumPassesCapacity, message });
        }
    }
}

const fn place(delivery: Delivery) -> (bool, u32) {
    match delivery {
        Delivery::Jobs { pool, .. } => (true, pool),
        Delivery::Power { node, .. } => (false, node.0),
    }
}
