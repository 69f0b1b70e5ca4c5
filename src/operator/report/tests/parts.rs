//! What a site in memory is made of: its manifests, prices that a test sets, a client that counts.

use crate::api::power_budget::Leader;
use crate::market::{Asked, Feeds, Point, Source};
use crate::store::memory::{Filter, MemoryStore, SharedServer};
use crate::store::{Key, Kind, Object, Seen, Store, Write, WriteId};
use ampacity_core::units::Time;
use std::sync::Arc;

pub(in crate::operator) const SITE: &str = r#"
kind: PowerBudget
metadata: {name: west, finalizers: [ampacity.dev/nameplates]}
spec:
  limitWatts: 10M
  feeders: [{name: hall-a, limitWatts: 6M}]
  ramp: {upWattsPerMinute: 600M, economicDownWattsPerMinute: 600M, maxEconomicStepPercent: 100}
  energyPrice: {source: {static: {value: "40.00"}}, stale: {afterSeconds: 900, then: Hold}}
  hashprice: {source: {static: {value: "60.00"}}}
  policy: {mode: Active}
---
kind: MiningFleet
metadata: {name: s19j}
spec:
  budget: west
  feeder: hall-a
  containers: 3
  minersPerContainer: 100
  model: S19j Pro
  curve: [{watts: 2000, gigahashPerSecond: 80000}, {watts: 3000, gigahashPerSecond: 104000}]
  overheadWatts: 10k
  thermalFloorWatts: 20k
  minimumOnSeconds: 0
  minimumOffSeconds: 0
---
kind: GpuPool
metadata: {name: h100}
spec:
  budget: west
  feeder: hall-a
  nodeLabels: {pool: h100}
  gpusPerNode: 8
  minCapWatts: 200
  maxCapWatts: 700
  overheadWatts: "4600"
  throughput: [{capWatts: 200, throughputPercent: "40.0"}, {capWatts: 700, throughputPercent: "100.0"}]
---
kind: LeaseClass
metadata: {name: flex}
spec: {delivery: Jobs, pool: h100, pricePerGpuHour: "2.00", service: Firm}
"#;

/// Prices as a test sets them; the time that they are for is when they were set.
pub(in crate::operator) struct Prices {
    pub(in crate::operator) energy: Option<(i64, Time)>,
    pub(in crate::operator) hash: (i64, Time),
    /// What every meter reads, W.
    pub(in crate::operator) metered: Option<i64>,
}

impl Feeds for Prices {
    fn newest(&mut self, asked: Asked<'_>, _: Source<'_>, now: Time) -> Result<Option<Point>, String> {
        let point = |(cents, since): (i64, Time)| Point { value: cents * 10_000, since, until: since, known: since };
        Ok(match asked {
            Asked::EnergyPrice(_) => self.energy.map(point),
            Asked::Hashprice(_) => Some(point(self.hash)),
            Asked::Meter(..) => self.metered.map(|value| Point { value, since: now, until: now, known: now }),
            _ => None,
        })
    }
}

/// A client that counts the statuses which are handed to it: the server takes one that changes nothing for none.
pub(in crate::operator) struct Counted {
    pub(super) store: MemoryStore,
    pub(super) statuses: u32,
    /// What a lease's status is written over is not what stands: every such write is refused.
    pub(in crate::operator) leases_refused: bool,
    /// Writes to leases and Jobs, in order.
    pub(in crate::operator) tenancy: Vec<String>,
    /// Who claims the site just before the first claim on it is handed over.
    pub(super) rival: Option<(SharedServer, String)>,
}

impl Counted {
    pub(super) fn new(server: &SharedServer, name: &str) -> Self {
        let store = MemoryStore::connect(server, name, Filter::All);
        Self { store, statuses: 0, leases_refused: false, tenancy: Vec::new(), rival: None }
    }
}

impl Store for Counted {
    fn poll(&mut self) -> Vec<Seen> {
        self.store.poll()
    }

    fn submit(&mut self, mut write: Write) -> WriteId {
        self.statuses += u32::from(matches!(write, Write::Status { .. }));
        if let Write::Status { key, revision: Some(_), .. } = &write
            && key.kind == Kind::PowerBudget
            && let Some((server, namespace)) = self.rival.take()
        {
            led_from(&server, &namespace);
        }
        match &mut write {
            Write::Status { key, revision, .. } if key.kind == Kind::ComputeLease => {
                self.tenancy.push(format!("{} is written", key.name));
                if self.leases_refused {
                    *revision = Some("0".into());
                }
            }
            Write::Job { job, suspend: Some(suspend), .. } => {
                self.tenancy.push(format!("{} {}", job.name, if *suspend { "is suspended" } else { "runs" }));
            }
            _ => {}
        }
        self.store.submit(write)
    }
}

/// The site is led from this namespace.
pub(super) fn led_from(server: &SharedServer, namespace: &str) {
    server.borrow_mut().update(&Key::cluster(Kind::PowerBudget, "west"), |object| {
        let Object::PowerBudget(budget) = object else { return };
        let leader = Leader { id: "ampacity-9".into(), epoch: 7, namespace: Some(namespace.into()) };
        Arc::make_mut(budget).status.get_or_insert_default().leader = Some(leader);
    });
}
