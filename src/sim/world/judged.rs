//! What the judge is shown of each tick: the plant as it is, the feeds, and the contracts as they are pinned.

use super::World;
use super::obliged::{Moment, moment};
use crate::api::grid_event::{EventType, GridEventSpec};
use crate::api::manifest::Object as Manifest;
use crate::api::power_budget::Mode;
use crate::api::{LoadKind as ApiKind, PowerBudgetSpec};
use crate::operator::observe;
use crate::sim::account::{EventSeen, Hosting, Judge, LeaseSeen, NodeSeen, Observation, Setting};
use crate::sim::build::ASLEEP_AT_MOST;
use crate::sim::frame::{Account, Sides};
use crate::sim::plant::{LoadKind, LoadSpec, Plant};
use crate::sim::spec::WorldSpec;
use crate::store::{Key, Kind};
use ampacity_core::lease::{Contract, Delivery, LeaseState};
use ampacity_core::tree::{NodeId, Tree};
use ampacity_core::units::{GigahashPerSecond, Span, Time, UsdPerMwh, UsdPerPhDay, Watts};
use kube::ResourceExt;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;

/// Prices are read and orders counted so often: prices change on whole minutes.
const FEEDS_EVERY: i64 = 10;
/// Every device is looked at so often.
const DEVICES_EVERY: i64 = 60;
const GPU_HOUR_MS: f64 = 3_600_000.0;

/// The judge, and what it takes to show it a tick.
pub(super) struct Judged {
    judge: Judge,
    budget: PowerBudgetSpec,
    /// By load of the plant.
    pub(super) loads: Vec<Seat>,
    /// Feeders of halls that tenants run.
    pub(super) halls: Vec<NodeId>,
    /// Grid events that stand, and when each was first there to be seen.
    pub(super) events: BTreeMap<String, (GridEventSpec, Time)>,
    /// Lockouts that stand.
    lockouts: BTreeSet<String>,
    /// What the operators say of obligations: whether each is met.
    pub(super) told: BTreeMap<String, bool>,
    /// Accepted leases as the last leader knew them.
    pub(super) contracts: BTreeMap<String, Pinned>,
    lost_gpu_hours: BTreeMap<String, f64>,
    price: Option<UsdPerMwh>,
    hashprice: Option<UsdPerPhDay>,
    /// By load: the last order seen, for counting.
    orders: BTreeMap<String, (i64, i64)>,
    ordered: u64,
}

/// An accepted lease.
pub(super) struct Pinned {
    pub(super) contract: Contract,
    /// Whether the checkpoint that its notice asks for was acknowledged.
    acknowledged: bool,
    /// The feeder of its pool; none for a hall.
    pub(super) node: Option<NodeId>,
}

/// A load of the plant.
pub(super) struct Seat {
    pub(super) gpu: bool,
    pub(super) node: NodeId,
    /// What no shed takes of it, W: a container's thermal floor, a node at lowest caps.
    pub(super) floor: Watts,
    /// What it draws beside its devices, at most, W.
    pub(super) overhead: Watts,
    /// What it draws at its highest preset or caps, W.
    pub(super) full: Watts,
    hosted: Option<Contracted>,
}

/// A container of a customer's machines: what is paid and credited for a MWh, and what it draws when nothing is withheld.
#[derive(Clone, Copy)]
struct Contracted {
    rate: UsdPerMwh,
    credit: UsdPerMwh,
    full: Watts,
}

impl Contracted {
    /// The contract of each fleet that has one.
    fn by_fleet(objects: &[Manifest]) -> BTreeMap<String, Self> {
        let contracted = |object: &Manifest| {
            let Manifest::MiningFleet(fleet) = object else { return None };
            let hosted = fleet.spec.ownership.hosted.as_ref()?;
            let (rate, credit) = (hosted.hosting_rate_per_mwh, hosted.curtailment_credit_per_mwh);
            let (rate, credit) = (rate.usd_per_mwh(), credit.usd_per_mwh());
            Some((fleet.name_any(), Self { rate, credit, full: fleet.spec.presets() }))
        };
        objects.iter().filter_map(contracted).collect()
    }
}

/// By fleet and pool: floor, overhead and full draw of one container or node, W.
fn owners(objects: &[Manifest]) -> BTreeMap<String, [Watts; 3]> {
    let of = |object: &Manifest| match object {
        Manifest::MiningFleet(fleet) => {
            let (spec, overhead) = (&fleet.spec, fleet.spec.overhead_watts.watts());
            let asleep = Watts::new(ASLEEP_AT_MOST.get() * i64::from(spec.miners_per_container)) + overhead;
            let floor = spec.thermal_floor_watts.watts().max(asleep);
            Some((fleet.name_any(), [floor, overhead, spec.presets()]))
        }
        Manifest::GpuPool(pool) => {
            let (spec, overhead) = (&pool.spec, pool.spec.overhead_watts.watts());
            let all = |cap: Watts| Watts::new(cap.get() * i64::from(spec.gpus_per_node)) + overhead;
            let floor = all(spec.min_cap_watts.watts());
            Some((pool.name_any(), [floor, overhead, all(spec.max_cap_watts.watts())]))
        }
        _ => None,
    };
    objects.iter().filter_map(of).collect()
}

impl Judged {
    pub(super) fn new(spec: &WorldSpec, budget: &PowerBudgetSpec, tree: &Tree, loads: &[(String, LoadSpec)]) -> Self {
        let hall = |object: &Manifest| match object {
            Manifest::LeaseClass(class) => class.spec.feeder.as_ref().and_then(|name| tree.find(name)),
            _ => None,
        };
        let mut halls: Vec<NodeId> = spec.objects.iter().filter_map(hall).collect();
        halls.sort_unstable();
        halls.dedup();
        let contracts = Contracted::by_fleet(&spec.objects);
        let owners = owners(&spec.objects);
        let seat = |(name, load): &(String, LoadSpec)| {
            let gpu = matches!(load.kind, LoadKind::GpuNode(_));
            let owner = name.rsplit_once('-').map_or("", |(owner, _)| owner);
            let hosted = contracts.get(owner).copied().filter(|_| !gpu);
            let [floor, overhead, full] = owners.get(owner).copied().unwrap_or_default();
            Seat { gpu, node: load.node, floor, overhead, full, hosted }
        };
        Self {
            judge: Judge::new(Setting::of(spec)),
            budget: budget.clone(),
            loads: loads.iter().map(seat).collect(),
            halls,
            events: BTreeMap::new(),
            told: BTreeMap::new(),
            lockouts: BTreeSet::new(),
            contracts: BTreeMap::new(),
            lost_gpu_hours: BTreeMap::new(),
            price: None,
            hashprice: None,
            orders: BTreeMap::new(),
            ordered: 0,
        }
    }

    /// A person applied an event.
    pub(super) fn applied(&mut self, name: String, event: GridEventSpec, now: Time) {
        let seen = self.events.get(&name).map_or(now, |(_, seen)| *seen);
        self.events.insert(name, (event, seen));
    }

    /// What all containers draw at their highest presets, W.
    pub(super) fn miners_full(&self) -> Watts {
        self.loads.iter().filter(|seat| !seat.gpu).map(|seat| seat.full).sum()
    }

    /// A person deleted an event.
    pub(super) fn deleted(&mut self, name: &str) {
        self.events.remove(name);
    }

    fn read_feeds(&mut self, world: &mut World) {
        let site = world.site.clone();
        let prices = observe::prices(&site, &self.budget, &mut world.feeds, world.now, &mut Vec::new());
        (self.price, self.hashprice) = (prices.energy.value(), prices.hashprice.value());
        for (name, now) in world.ground.orders() {
            let risen = match self.orders.get_mut(&name) {
                Some(last) => {
                    let risen = if last.0 == now.0 { now.1 - last.1 } else { now.1 + 1 };
                    *last = now;
                    risen
                }
                None => {
                    self.orders.insert(name, now);
                    now.1
                }
            };
            self.ordered += u64::try_from(risen).unwrap_or(0);
        }
    }

    fn read_leases(&mut self, world: &World) {
        let Some(site) = world.led_site() else { return };
        for (name, row) in &site.leases {
            if let LeaseState::Accepted(contract) | LeaseState::Ended(contract) = &row.state {
                let acknowledged = row.acknowledged.is_some();
                let known = self.contracts.get(name);
                if known.is_some_and(|kept| kept.contract == **contract && kept.acknowledged == acknowledged) {
                    continue;
                }
                let pools = site.tables.as_ref().map(|tables| tables.pools.as_slice()).unwrap_or_default();
                let node = match contract.offer.delivery {
                    Delivery::Jobs { pool, .. } => pools.get(pool as usize).map(|pool| pool.core.node),
                    Delivery::Power { .. } => None,
                };
                let pinned = Pinned { contract: contract.as_ref().clone(), acknowledged, node };
                self.contracts.insert(name.clone(), pinned);
            }
        }
    }

    fn read_work(&mut self, world: &World) {
        for name in self.contracts.keys() {
            let (namespace, lease) = name.split_once('/').unwrap_or(("", name));
            let lost = world.ground.progress(namespace, lease).map_or(0, |work| work.lost);
            self.lost_gpu_hours.insert(name.clone(), lost as f64 / GPU_HOUR_MS);
        }
    }

    fn observe(&mut self, world: &mut World, said_before: usize) {
        let second = world.now.get().div_euclid(1_000);
        if second % FEEDS_EVERY == 0 || self.price.is_none() {
            self.read_feeds(world);
            self.read_told(world);
        }
        self.read_leases(world);
        let devices = second % DEVICES_EVERY == 0;
        if devices {
            self.read_work(world);
        }
        let in_doubt = world.in_doubt();
        let led = world.led_site().is_some();
        let plant = world.plant.lock().unwrap_or_else(PoisonError::into_inner);
        let nodes: Vec<NodeSeen> = (0_u32..)
            .zip(world.tree.nodes())
            .map(|(at, node)| NodeSeen { limit: node.limit, true_watts: plant.true_watts(NodeId(at)) })
            .collect();
        let events: Vec<EventSeen> =
            self.events.values().filter_map(|(event, seen)| self.event(event, *seen, &world.tree, &plant)).collect();
        let lost = |name: &String| self.lost_gpu_hours.get(name).copied().unwrap_or(0.0);
        let leases: Vec<LeaseSeen<'_>> = self
            .contracts
            .iter()
            .map(|(name, pinned)| LeaseSeen::of(name, &pinned.contract, pinned.acknowledged, lost(name)))
            .collect();
        let said = world.said.iter().skip(said_before).map(String::as_str);
        let faults: Vec<&str> = said.filter(|said| said.starts_with("fault:")).collect();
        let still = !faults.is_empty() || in_doubt || !self.lockouts.is_empty() || !led || self.price.is_none();
        let troubled = still || self.budget.policy.mode == Mode::Shadow;
        let (tree, now) = (&world.tree, world.now);
        let obligations = self.obligations(&Moment { tree, plant: &plant, now, limits: &events, troubled });
        let observation = Observation {
            now,
            nodes: &nodes,
            events: &events,
            obligations: &obligations,
            side_watts: Sides {
                mining: self.draw(&plant, |gpu, _| !gpu),
                gpu: self.draw(&plant, |gpu, _| gpu),
                power: self.halls.iter().map(|hall| plant.true_watts(*hall)).sum(),
            },
            hashrate: devices.then(|| self.hashrate(&plant)),
            hosting: self.hosting(&plant),
            price: self.price,
            hashprice: self.hashprice,
            leases: &leases,
            faults: &faults,
            in_doubt,
            locked_out: !self.lockouts.is_empty(),
            orders: self.ordered,
        };
        self.judge.observe(&observation);
    }

    /// What the loads that `of` chooses (by whether they are GPU nodes, and where) truly draw.
    fn draw(&self, plant: &Plant, of: impl Fn(bool, NodeId) -> bool) -> Watts {
        let here = self.loads.iter().enumerate().filter(|(_, seat)| of(seat.gpu, seat.node));
        here.map(|(at, _)| plant.load_watts(at)).sum()
    }

    /// What the site's own miners truly yield.
    fn hashrate(&self, plant: &Plant) -> GigahashPerSecond {
        let own = self.loads.iter().enumerate().filter(|(_, seat)| !seat.gpu && seat.hosted.is_none());
        GigahashPerSecond::new(own.map(|(at, _)| plant.yields(at)).sum())
    }

    /// What customers pay for what their machines truly draw, and are credited for the rest.
    fn hosting(&self, plant: &Plant) -> Hosting {
        let mut sum = Hosting::default();
        for (at, seat) in self.loads.iter().enumerate() {
            let Some(contract) = seat.hosted else { continue };
            let drawn = plant.load_watts(at);
            let usd = |price: UsdPerMwh, watts: Watts| price.get() as f64 / 1e6 * watts.get() as f64 / 1e6;
            sum.paid += usd(contract.rate, drawn);
            sum.credited += usd(contract.credit, (contract.full - drawn).at_least_zero());
        }
        sum
    }

    /// A limit of a grid event against the truth; none for an obligation, or a feeder that is not there.
    fn event(&self, event: &GridEventSpec, seen: Time, tree: &Tree, plant: &Plant) -> Option<EventSeen> {
        let limit = event.limit_watts.filter(|_| event.type_ == EventType::Limit)?.watts();
        let node = event.target.feeder.as_ref().map_or(Some(NodeId::SITE), |name| tree.find(name))?;
        let below = |at: NodeId| tree.path(at).any(|above| above == node);
        let true_watts = match event.target.kind {
            None => plant.true_watts(node),
            Some(kind) => self.draw(plant, |gpu, at| gpu == (kind == ApiKind::Gpu) && below(at)),
        };
        Some(EventSeen {
            limit,
            true_watts,
            from: event.start.as_ref().map_or(seen, moment),
            until: event.end.as_ref().map_or(Time::MAX, moment),
            seen,
            response: Span::seconds(event.response_seconds),
        })
    }
}

impl World {
    /// Shows the judge this tick. `said_before`: how much had been said before it.
    pub(super) fn judge(&mut self, said_before: usize) {
        if let Some(mut judged) = self.judged.take() {
            judged.observe(self, said_before);
            self.judged = Some(judged);
        }
    }

    /// Whether nobody leads, or the bounds pass a breaker's limit somewhere.
    fn in_doubt(&self) -> bool {
        let Some(ledger) = self.led_site().and_then(|site| site.ledger.as_ref()) else { return true };
        let tree = ledger.tree();
        let bound = |(at, sum): (u32, Watts)| (NodeId(at), tree.at_meter(NodeId(at), sum));
        let over = |(node, bound): (NodeId, Watts)| tree.node(node).is_some_and(|node| bound > node.limit);
        (0_u32..).zip(ledger.sums(self.now)).map(bound).any(over)
    }

    /// The account of the run so far.
    pub fn account(&self) -> Account {
        self.judged.as_ref().map_or_else(Account::default, |judged| judged.judge.account(self.now))
    }

    /// Keeps what is applied where the judge needs it.
    pub(super) fn note_event(&mut self, object: &Manifest) {
        let Some(judged) = &mut self.judged else { return };
        match object {
            Manifest::GridEvent(event) => judged.applied(event.name_any(), event.spec.clone(), self.now),
            Manifest::Lockout(lockout) => drop(judged.lockouts.insert(lockout.name_any())),
            _ => {}
        }
    }

    /// Forgets what was deleted.
    pub(super) fn forget_event(&mut self, key: &Key) {
        let Some(judged) = &mut self.judged else { return };
        match key.kind {
            Kind::GridEvent => judged.deleted(&key.name),
            Kind::Lockout => drop(judged.lockouts.remove(&*key.name)),
            _ => {}
        }
    }
}
