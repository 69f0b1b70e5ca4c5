//! Metrics of one agent: what it was told, what it stated and what its devices do.

use super::Agent;
use crate::operator::http::Measured;
use ampacity_core::units::{Time, Watts};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfLoad {
    load: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfStanding {
    standing: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfOutcome {
    outcome: &'static str,
}

/// Everything that is measured, as `/metrics` gives it out. A watt that is not known has no value.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    limit: Family<OfLoad, Gauge>,
    ceiling: Family<OfLoad, Gauge>,
    draw: Family<OfLoad, Gauge>,
    epoch: Gauge,
    sequence: Gauge,
    proof_left: Gauge,
    orphaned: Gauge,
    devices: Family<OfStanding, Gauge>,
    tick: Histogram,
    writes: Family<OfOutcome, Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("ampacity_agent"),
            limit: Family::default(),
            ceiling: Family::default(),
            draw: Family::default(),
            epoch: Gauge::default(),
            sequence: Gauge::default(),
            proof_left: Gauge::default(),
            orphaned: Gauge::default(),
            devices: Family::default(),
            // 1 ms to 8 s: a turn is to take milliseconds.
            tick: Histogram::new(exponential_buckets(0.001, 2.0, 14)),
            writes: Family::default(),
        };
        metrics.register();
        metrics
    }
}

impl Measured for Metrics {
    const NOT_READY: &'static str = "no ceiling stands: the devices are not proved under the load's order\n";

    fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

impl Metrics {
    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register("limit_watts", "What the devices were last told to stay under", self.limit.clone());
        registry.register("ceiling_watts", "What they are proved to stay under", self.ceiling.clone());
        registry.register("draw_watts", "The most that they draw just now, by their last samples", self.draw.clone());
        registry.register("order_epoch", "Epoch of the order that is obeyed", self.epoch.clone());
        registry.register("order_sequence", "Its sequence", self.sequence.clone());
        registry.register("proof_left_seconds", "How long the proof still lives", self.proof_left.clone());
        registry.register("orphaned", "1 while the load is missing at the API server", self.orphaned.clone());
        registry.register("devices", "Devices by how they stand", self.devices.clone());
        registry.register("tick_seconds", "Duration of one turn of the loop", self.tick.clone());
        registry.register("writes", "Status writes by what became of them", self.writes.clone());
    }

    /// One turn of the loop took so long.
    pub fn ticked(&self, took: Duration) {
        self.tick.observe(took.as_secs_f64());
    }

    /// One write became this: a word of a short list.
    pub fn written(&self, outcome: &'static str) {
        self.writes.get_or_create(&OfOutcome { outcome }).inc();
    }

    /// Looks at everything anew. Gives whether a ceiling stands.
    pub fn look(&self, agent: &Agent, now: Time) -> bool {
        let report = agent.report(now);
        let set = |family: &Family<OfLoad, Gauge>, watts: Option<Watts>| {
            family.clear();
            if let Some(watts) = watts {
                family.get_or_create(&OfLoad { load: report.load.to_string() }).set(watts.get());
            }
        };
        set(&self.limit, agent.limit());
        set(&self.ceiling, report.ceiling);
        set(&self.draw, report.measured);
        self.epoch.set(i64::try_from(report.order.epoch).unwrap_or(i64::MAX));
        self.sequence.set(i64::try_from(report.order.sequence).unwrap_or(i64::MAX));
        self.proof_left.set(report.proof_expires.since(now).at_least_zero().whole_seconds());
        self.orphaned.set(i64::from(agent.is_orphaned()));
        let counts = report.devices;
        for (standing, count) in [
            ("total", counts.total),
            ("proved", counts.proved),
            ("silent", counts.silent),
            ("contradicting", counts.contradicting),
            ("idle", counts.idle),
        ] {
            self.devices.get_or_create(&OfStanding { standing }).set(i64::from(count));
        }
        report.ceiling.is_some()
    }
}
