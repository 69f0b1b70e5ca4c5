//! Metrics: what a dashboard and an alert need, with units in their names and labels from bounded lists.

use super::Operator;
use super::leader::Standing;
use super::reason::word;
use super::site::Site;
use super::tables::Tables;
use crate::market::Point;
use ampacity_core::guard::LoadId;
use ampacity_core::plan::{Plan, Reason};
use ampacity_core::snapshot::{LoadKind, Quote};
use ampacity_core::units::{Span, Time, Watts};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// A gauge of a number that is not whole.
type Real = Gauge<f64, AtomicU64>;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfSite {
    site: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfNode {
    site: String,
    node: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfClass {
    site: String,
    class: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfSide {
    site: String,
    side: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfPrice {
    site: String,
    price: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfReason {
    site: String,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfOutcome {
    outcome: &'static str,
}

/// Everything that is measured, as `/metrics` gives it out.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    limit: Family<OfNode, Gauge>,
    bound: Family<OfNode, Gauge>,
    measured: Family<OfNode, Gauge>,
    measured_age: Family<OfNode, Real>,
    meter_fresh: Family<OfNode, Gauge>,
    headroom: Family<OfNode, Gauge>,
    over_limit: Family<OfNode, Counter<f64, AtomicU64>>,
    allocated: Family<OfSide, Gauge>,
    unused: Family<OfSite, Gauge>,
    idle_devices: Family<OfSite, Gauge>,
    blind_loads: Family<OfSite, Gauge>,
    energy_price: Family<OfSite, Real>,
    energy_price_age: Family<OfSite, Real>,
    hashprice: Family<OfSite, Real>,
    hashprice_age: Family<OfSite, Real>,
    price_fresh: Family<OfPrice, Gauge>,
    decisions: Family<OfReason, Gauge>,
    notice_overrun: Family<OfClass, Real>,
    allowance_spent: Family<OfClass, Real>,
    tick: Histogram,
    writes: Family<OfOutcome, Counter>,
    write: Histogram,
    leader: Gauge,
    epoch: Gauge,
    /// When sites were last looked at: over-limit time counts from there.
    looked: Mutex<Option<Time>>,
}

/// 1 ms to 10 s: a tick is to take milliseconds and at most 100, a write gives up at 5 s.
fn seconds() -> Histogram {
    Histogram::new([0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0])
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("ampacity"),
            limit: Family::default(),
            bound: Family::default(),
            measured: Family::default(),
            measured_age: Family::default(),
            meter_fresh: Family::default(),
            headroom: Family::default(),
            over_limit: Family::default(),
            allocated: Family::default(),
            unused: Family::default(),
            idle_devices: Family::default(),
            blind_loads: Family::default(),
            energy_price: Family::default(),
            energy_price_age: Family::default(),
            hashprice: Family::default(),
            hashprice_age: Family::default(),
            price_fresh: Family::default(),
            decisions: Family::default(),
            notice_overrun: Family::default(),
            allowance_spent: Family::default(),
            tick: seconds(),
            writes: Family::default(),
            write: seconds(),
            leader: Gauge::default(),
            epoch: Gauge::default(),
            looked: Mutex::default(),
        };
        metrics.register_sites();
        metrics.register_leases();
        metrics.register_operator();
        metrics
    }
}

impl Metrics {
    fn register_sites(&mut self) {
        let registry = &mut self.registry;
        registry.register("node_limit_watts", "Limit in force, events included", self.limit.clone());
        registry.register("node_bound_watts", "Sum of the bounds of the loads below", self.bound.clone());
        registry.register("node_measured_watts", "Newest reading of the node's meter", self.measured.clone());
        registry.register("node_measured_age_seconds", "Its age, by the sample's own time", self.measured_age.clone());
        let help = "1 while the node's meter is read and no reading is older than its staleSeconds, 0 otherwise";
        registry.register("node_meter_fresh", help, self.meter_fresh.clone());
        registry.register(
            "node_headroom_watts",
            "What may still be raised below; negative: over",
            self.headroom.clone(),
        );
        let help = "Time in which a node's meter read above its limit in force";
        registry.register("node_over_limit_seconds", help, self.over_limit.clone());
        registry.register("allocated_watts", "Sum of setpoints by side", self.allocated.clone());
        let help = "What loads had and left unused for long: their awards are trimmed by it";
        registry.register("unused_watts", help, self.unused.clone());
        let help = "Devices that leave what they may draw unused for long, or were lowered for it";
        registry.register("idle_devices", help, self.idle_devices.clone());
        let help =
            "Loads of a site that orders which count their nameplate, because nothing proves that they draw less";
        registry.register("blind_loads", help, self.blind_loads.clone());
        registry.register("energy_price_usd_per_mwh", "Newest published energy price", self.energy_price.clone());
        registry.register("energy_price_age_seconds", "Its age", self.energy_price_age.clone());
        registry.register("hashprice_usd_per_ph_day", "Newest published hashprice", self.hashprice.clone());
        registry.register("hashprice_age_seconds", "Its age", self.hashprice_age.clone());
        let help =
            "1 while a price of the site is published in time, 0 while something else takes its place or nothing does";
        registry.register("price_fresh", help, self.price_fresh.clone());
        registry.register("load_decisions", "Loads by the reason of their last award", self.decisions.clone());
    }

    fn register_leases(&mut self) {
        let registry = &mut self.registry;
        let help =
            "Longest that a lease of the class has held watts after its notice, or its term, and its Jobs' grace";
        registry.register("notice_overrun_seconds", help, self.notice_overrun.clone());
        let help = "Largest share of its allowance that a lease of the class was withheld in its window, 0 to 1";
        registry.register("allowance_spent_ratio", help, self.allowance_spent.clone());
    }

    fn register_operator(&mut self) {
        let registry = &mut self.registry;
        registry.register("tick_seconds", "Duration of one turn of the loop", self.tick.clone());
        registry.register("writes", "Writes by what became of them", self.writes.clone());
        registry.register("write_seconds", "From sending a write to its answer", self.write.clone());
        registry.register("leader", "1 while this operator leads", self.leader.clone());
        registry.register("epoch", "The epoch that this operator leads under; 0 while it follows", self.epoch.clone());
    }

    /// Everything, as Prometheus reads it.
    ///
    /// # Errors
    /// A value that cannot be written.
    pub fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }

    /// One turn of the loop took so long.
    pub fn ticked(&self, took: Duration) {
        self.tick.observe(took.as_secs_f64());
    }

    /// One write became this: a word of a short list.
    pub fn written(&self, outcome: &'static str, took: Option<Duration>) {
        self.writes.get_or_create(&OfOutcome { outcome }).inc();
        if let Some(took) = took {
            self.write.observe(took.as_secs_f64());
        }
    }

    /// Looks at everything anew: what is gone has no value any more.
    pub fn look(&self, operator: &Operator, now: Time) {
        let epoch = match operator.standing(now) {
            Standing::Leading { epoch } => Some(epoch),
            Standing::Following | Standing::Lost(_) => None,
        };
        self.leader.set(i64::from(epoch.is_some()));
        self.epoch.set(epoch.and_then(|epoch| i64::try_from(epoch).ok()).unwrap_or(0));
        let looked = self.looked.lock().map(|mut looked| looked.replace(now)).unwrap_or_default();
        let since = looked.map_or(0, |before| now.since(before).at_least_zero().get());
        self.clear();
        for site in operator.sites() {
            self.nodes(site, since as f64 / 1_000.0, now);
            self.loads(site, now);
            self.prices(site, now);
            self.tenants(site, operator, now);
        }
    }

    fn clear(&self) {
        for family in [&self.limit, &self.bound, &self.measured, &self.meter_fresh, &self.headroom] {
            family.clear();
        }
        self.measured_age.clear();
        for family in [&self.energy_price, &self.energy_price_age, &self.hashprice, &self.hashprice_age] {
            family.clear();
        }
        self.allocated.clear();
        self.unused.clear();
        self.idle_devices.clear();
        self.blind_loads.clear();
        self.price_fresh.clear();
        self.decisions.clear();
        self.notice_overrun.clear();
        self.allowance_spent.clear();
    }

    fn tenants(&self, site: &Site, operator: &Operator, now: Time) {
        for (class, tenancy) in site.tenancies(&operator.usage, now) {
            let label = OfClass { site: site.name.clone(), class: class.into() };
            self.notice_overrun.get_or_create(&label).set(tenancy.overrun.get() as f64 / 1e3);
            if let Some(spent) = tenancy.spent {
                self.allowance_spent.get_or_create(&label).set(spent);
            }
        }
    }

    fn nodes(&self, site: &Site, elapsed_seconds: f64, now: Time) {
        let Some(ledger) = &site.ledger else { return };
        let (sums, headroom) = (ledger.sums(now), ledger.headroom(now));
        let metered = site.tables.iter().flat_map(Tables::metered);
        let stale: BTreeMap<usize, Span> = metered.map(|(node, stale)| (node.index(), stale)).collect();
        for (at, node) in ledger.tree().nodes().iter().enumerate() {
            let label = OfNode { site: site.name.clone(), node: node.name.clone() };
            let set = |family: &Family<OfNode, Gauge>, watts: Option<Watts>| {
                if let Some(watts) = watts {
                    family.get_or_create(&label).set(watts.get());
                }
            };
            let limit = site.plan.as_ref().and_then(|plan| plan.nodes.get(at)).map_or(node.limit, |node| node.limit);
            let reading = site.meters.get(at).copied().flatten();
            let measured = reading.map(|reading| reading.watts);
            set(&self.limit, Some(limit));
            set(&self.bound, sums.get(at).copied());
            set(&self.headroom, headroom.get(at).copied());
            set(&self.measured, measured);
            if let Some(stale) = stale.get(&at) {
                let fresh = reading.is_some_and(|r| now.since(r.time) <= *stale);
                self.meter_fresh.get_or_create(&label).set(i64::from(fresh));
            }
            if let Some(reading) = reading {
                let age = now.since(reading.time).at_least_zero();
                self.measured_age.get_or_create(&label).set(age.get() as f64 / 1e3);
            }
            let over = self.over_limit.get_or_create(&label);
            if measured.is_some_and(|watts| watts > limit) {
                over.inc_by(elapsed_seconds);
            }
        }
    }

    fn loads(&self, site: &Site, now: Time) {
        let Some(ledger) = &site.ledger else { return };
        let mut sides = BTreeMap::from([("leased", Watts::ZERO), ("mining", Watts::ZERO)]);
        for (at, row) in site.rows.iter().enumerate() {
            let side = match row.member.kind() {
                Some(LoadKind::Miner) => "mining",
                Some(LoadKind::Gpu) => "leased",
                None => continue,
            };
            let view = u32::try_from(at).ok().and_then(|at| ledger.view(LoadId(at)));
            *sides.entry(side).or_default() += view.map(|view| view.setpoint).unwrap_or_default();
        }
        for (side, watts) in sides {
            self.allocated.get_or_create(&OfSide { site: site.name.clone(), side }).set(watts.get());
        }
        let (mut unused, of_site) = (Watts::ZERO, OfSite { site: site.name.clone() });
        for award in site.plan.iter().flat_map(|plan: &Plan| &plan.loads) {
            if let Reason::Trimmed { unused: left, .. } = award.reason {
                unused += left;
            }
            let label = OfReason { site: site.name.clone(), reason: word(&award.reason) };
            self.decisions.get_or_create(&label).inc();
        }
        self.unused.get_or_create(&of_site).set(unused.get());
        let idle = site.rows.iter().filter_map(|row| Some(i64::from(row.report.as_ref()?.0.devices.idle))).sum();
        self.idle_devices.get_or_create(&of_site).set(idle);
        // In Shadow nothing is ordered and no agent made: that nothing proves is as it should be.
        if site.is_active() {
            let ids = (0_u32..).take(site.rows.len()).map(LoadId);
            let blind = ids.filter(|id| ledger.bound(*id, now).basis.is_blind()).count();
            self.blind_loads.get_or_create(&of_site).set(i64::try_from(blind).unwrap_or(i64::MAX));
        }
    }

    fn prices(&self, site: &Site, now: Time) {
        let Some(prices) = &site.prices else { return };
        let set = |value: &Family<OfSite, Real>, age: &Family<OfSite, Real>, point: Option<Point>| {
            let Some(point) = point else { return };
            let label = OfSite { site: site.name.clone() };
            value.get_or_create(&label).set(point.value as f64 / 1e6);
            age.get_or_create(&label).set(point.age(now).get() as f64 / 1e3);
        };
        set(&self.energy_price, &self.energy_price_age, prices.energy_point);
        set(&self.hashprice, &self.hashprice_age, prices.hashprice_point);
        let Some(spec) = site.tables.as_ref().map(|tables| &tables.budget.spec) else { return };
        let energy = matches!(prices.energy, Quote::Fresh { .. });
        let hashprice = matches!(prices.hashprice, Quote::Fresh { .. });
        for (price, asked, fresh) in
            [("energy", spec.energy_price.is_some(), energy), ("hashprice", spec.hashprice.is_some(), hashprice)]
        {
            if asked {
                let label = OfPrice { site: site.name.clone(), price };
                self.price_fresh.get_or_create(&label).set(i64::from(fresh));
            }
        }
    }
}

#[cfg(test)]
mod tests;
