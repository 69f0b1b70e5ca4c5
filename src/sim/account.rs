//! The judge of a run: it watches the truth each tick and writes the account at the end.
//!
//! It trusts nobody that it judges: watts are the plant's, curtailments are counted from the grants themselves and
//! held against the pinned terms, not against the operator's own account of them.

mod faults;
mod leases;
mod obligations;
#[cfg(test)]
mod tests;

use super::frame::{Account, Sides};
use super::spec::{NODES_ANNOTATION, NODES_DEFAULT, WorldSpec};
use crate::api::manifest::Object;
use crate::store::api_time;
use ampacity_core::lease::{Contract, Delivery, NoticeReason, Terms};
use ampacity_core::tree::{Node, NodeId, Tree};
use ampacity_core::units::{GigahashPerSecond, Ppm, Span, Time, UsdPerMwh, UsdPerPhDay, Watts, mul_div};
use faults::Faults;
use kube::ResourceExt;
use leases::Leases;
use obligations::Obligations;
pub use obligations::{EXCUSED_FOR, ObligationSeen, TOLD_WITHIN};

/// One tick as it truly was. Plain fields, borrowed: nothing is kept but sums.
#[derive(Clone, Copy, Debug)]
pub struct Observation<'a> {
    /// The moment. What is observed is taken to have held since the observation before.
    pub now: Time,
    /// Every node of the tree.
    pub nodes: &'a [NodeSeen],
    /// Every limit of a grid event that has begun or is to come.
    pub events: &'a [EventSeen],
    /// Every obligation that stands.
    pub obligations: &'a [ObligationSeen],
    /// True draw by side, W, overhead and auxiliaries of a hall included.
    pub side_watts: Sides<Watts>,
    /// What all miners of the site's own truly yield, if it was looked at in this tick; the last one holds until the
    /// next.
    pub hashrate: Option<GigahashPerSecond>,
    /// What hosted miners pay and are credited.
    pub hosting: Hosting,
    /// The price of power with adders, by the feed, whoever leads.
    pub price: Option<UsdPerMwh>,
    /// Expected mining revenue, by the feed.
    pub hashprice: Option<UsdPerPhDay>,
    /// Every accepted lease in its term.
    pub leases: &'a [LeaseSeen<'a>],
    /// What broke in this tick, in words.
    pub faults: &'a [&'a str],
    /// Whether at any node the bounds pass the limit in force, or nobody leads to say.
    pub in_doubt: bool,
    /// Whether a person holds a load down.
    pub locked_out: bool,
    /// Setpoint writes accepted so far.
    pub orders: u64,
}

/// What customers owe for their machines, and what the site owes them, USD an hour.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Hosting {
    /// The hosting rate on what their machines draw.
    pub paid: f64,
    /// The credit on what was withheld from them.
    pub credited: f64,
}

/// One node of the tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeSeen {
    /// Its breaker's limit, W: binds always.
    pub limit: Watts,
    /// What truly flows, W.
    pub true_watts: Watts,
}

/// One limit of a grid event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventSeen {
    /// W.
    pub limit: Watts,
    /// What its target truly draws (a node, or one kind of load there), W.
    pub true_watts: Watts,
    /// From when.
    pub from: Time,
    /// Until when; `Time::MAX`: until it is withdrawn.
    pub until: Time,
    /// When the site first saw it.
    pub seen: Time,
    /// How long the site has to comply, from the later of `from` and `seen`.
    pub response: Span,
}

/// One accepted lease in its term.
#[derive(Clone, Copy, Debug)]
pub struct LeaseSeen<'a> {
    /// `namespace/name`.
    pub name: &'a str,
    /// What was pinned.
    pub terms: &'a Terms,
    /// Whether it is a hall: its rent is the power side's.
    pub hall: bool,
    /// When its term begins.
    pub start: Time,
    /// When its term ends.
    pub end: Time,
    /// All of it, W.
    pub full: Watts,
    /// What it may use now, W.
    pub granted: Watts,
    /// Rent of all of it, per MWh.
    pub rent: UsdPerMwh,
    /// The notice that runs or was served: when it was given and when it falls due.
    pub notice: Option<(Time, Time)>,
    /// Whether its Jobs acknowledged the checkpoint that the notice asked for.
    pub acknowledged: bool,
    /// Whether an emergency holds it down, or its notice is an emergency's.
    pub emergency: bool,
    /// Work lost at its stops so far, GPU hours.
    pub lost_gpu_hours: f64,
}

impl<'a> LeaseSeen<'a> {
    /// A contract as it stands.
    pub fn of(name: &'a str, contract: &'a Contract, acknowledged: bool, lost_gpu_hours: f64) -> Self {
        let notice = contract.notice.as_ref();
        let told = notice.is_some_and(|notice| notice.reason == NoticeReason::Emergency);
        Self {
            name,
            terms: &contract.offer.terms,
            hall: matches!(contract.offer.delivery, Delivery::Power { .. }),
            start: contract.offer.start,
            end: contract.offer.end,
            full: contract.full.watts,
            granted: contract.grant.watts,
            rent: contract.rent_per_mwh(),
            notice: notice.map(|notice| (notice.given, notice.deadline)),
            acknowledged,
            emergency: contract.account.running.map_or(told, |running| running.emergency),
            lost_gpu_hours,
        }
    }
}

/// What is the same over a whole run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Setting {
    /// The seed that repeats it.
    pub seed: u64,
    /// Virtual time from.
    pub from: Time,
    /// What the pool keeps of mining revenue.
    pub pool_fee: Ppm,
    /// What all miners draw that fit the site, flat out, W: for the comparison.
    pub flat_out_watts: Watts,
    /// What those of the site's own yield.
    pub flat_out_hashrate: GigahashPerSecond,
    /// What customers pay for theirs: thousandths of USD an hour.
    pub flat_out_hosting: i64,
}

impl Setting {
    /// The setting of a run of `spec`: all miners flat out, or as many of them as fit the site beside its GPUs and
    /// halls at their nameplates.
    pub fn of(spec: &WorldSpec) -> Self {
        let (mut pool_fee, mut room, mut beside) = (Ppm::ZERO, Watts::ZERO, Watts::ZERO);
        let (mut watts, mut hashrate, mut hosting) = (0_i64, 0_i64, 0_i64);
        for object in &spec.objects {
            match object {
                Object::PowerBudget(budget) => {
                    pool_fee = budget.spec.hashprice.as_ref().map_or(Ppm::ZERO, |hash| hash.pool_fee_percent.ppm());
                    let Ok(tree) = Tree::try_from(&**budget) else { continue };
                    room = tree.capacity(NodeId::SITE);
                    let hall = |node: &Node| tree.find(&node.name).is_some_and(|id| is_hall(&spec.objects, &tree, id));
                    beside += tree.nodes().iter().filter(|node| hall(node)).map(|node| node.limit).sum::<Watts>();
                }
                Object::MiningFleet(fleet) => {
                    let fleet = &fleet.spec;
                    let containers = i64::from(fleet.containers);
                    let best = fleet.curve.iter().map(|point| point.gigahash_per_second).max().unwrap_or(0);
                    let draw = fleet.presets().get() * containers;
                    watts += draw;
                    match &fleet.ownership.hosted {
                        // µUSD/MWh × W are 10⁻¹² USD an hour.
                        Some(hosted) => {
                            hosting += mul_div(hosted.hosting_rate_per_mwh.usd_per_mwh().get(), draw, 1_000_000_000)
                        }
                        None => hashrate += best * i64::from(fleet.miners_per_container) * containers,
                    }
                }
                Object::GpuPool(pool) => {
                    let nodes = pool.annotations().get(NODES_ANNOTATION).and_then(|nodes| nodes.parse().ok());
                    let nodes: u32 = nodes.unwrap_or(NODES_DEFAULT);
                    beside += Watts::new(pool.spec.nameplate().get() * i64::from(nodes));
                }
                _ => {}
            }
        }
        let fits = (room - beside).at_least_zero().get().min(watts);
        Self {
            seed: spec.seed,
            from: spec.start,
            pool_fee,
            flat_out_watts: Watts::new(fits),
            flat_out_hashrate: GigahashPerSecond::new(mul_div(hashrate, fits, watts)),
            flat_out_hosting: mul_div(hosting, fits, watts),
        }
    }
}

/// Whether a class leases the whole node to a tenant.
fn is_hall(objects: &[Object], tree: &Tree, node: NodeId) -> bool {
    let feeder = |object: &Object| match object {
        Object::LeaseClass(class) => class.spec.feeder.as_deref().and_then(|name| tree.find(name)),
        _ => None,
    };
    objects.iter().any(|object| feeder(object) == Some(node))
}

/// Watches a run.
#[derive(Clone, Debug)]
pub struct Judge {
    setting: Setting,
    last: Time,
    ticks: u64,
    orders: u64,
    over_ms: i64,
    energy_mwh: Sides<f64>,
    energy_cost: Sides<f64>,
    /// Losses, and what else flows at the site's meter for no side.
    beside_mwh: f64,
    beside_cost: f64,
    mined: f64,
    hosting_credit: f64,
    /// When something last could call for an emergency.
    alarmed: Option<Time>,
    flat_out: f64,
    hashrate: GigahashPerSecond,
    leases: Leases,
    obligations: Obligations,
    faults: Faults,
}

/// Watts over milliseconds to MWh.
fn mwh(watts: Watts, span: Span) -> f64 {
    watts.get() as f64 * span.get() as f64 / 3.6e12
}

fn usd_per_mwh(price: UsdPerMwh) -> f64 {
    price.get() as f64 / 1e6
}

impl Judge {
    /// Nothing has been seen yet.
    pub fn new(setting: Setting) -> Self {
        Self {
            setting,
            last: setting.from,
            ticks: 0,
            orders: 0,
            over_ms: 0,
            energy_mwh: Sides::default(),
            energy_cost: Sides::default(),
            beside_mwh: 0.0,
            beside_cost: 0.0,
            mined: 0.0,
            hosting_credit: 0.0,
            alarmed: None,
            flat_out: 0.0,
            hashrate: GigahashPerSecond::ZERO,
            leases: Leases::default(),
            obligations: Obligations::default(),
            faults: Faults::default(),
        }
    }

    /// Adds one tick. Time that does not advance adds nothing but what broke.
    pub fn observe(&mut self, seen: &Observation<'_>) {
        let span = seen.now.since(self.last).at_least_zero();
        self.last = self.last.max(seen.now);
        self.ticks += 1;
        self.orders = seen.orders;
        self.hashrate = seen.hashrate.unwrap_or(self.hashrate);
        if over(seen) {
            self.over_ms = self.over_ms.saturating_add(span.get());
        }
        self.energy(seen, span);
        if alarming(seen) {
            self.alarmed = Some(seen.now);
        }
        let alarm = self.alarmed.is_some_and(|at| seen.now.since(at) <= ALARM_LASTS);
        self.leases.observe(seen, alarm, span);
        self.obligations.observe(seen.obligations, seen.now, span);
        self.faults.observe(seen);
    }

    fn energy(&mut self, seen: &Observation<'_>, span: Span) {
        let price = seen.price.map_or(0.0, usd_per_mwh);
        let earns = |hashrate: GigahashPerSecond| {
            // GH/s × 10⁻⁶ are PH/s; a day has 86 400 000 ms.
            let gross = seen.hashprice.map_or(0.0, |h| h.get() as f64 / 1e6) * hashrate.get() as f64 / 1e6;
            let kept = 1.0 - self.setting.pool_fee.get() as f64 / 1e6;
            gross * kept * span.get() as f64 / 86_400_000.0
        };
        let hours = span.get() as f64 / 3.6e6;
        let mined = earns(self.hashrate) + seen.hosting.paid * hours;
        let flat_out = earns(self.setting.flat_out_hashrate) + self.setting.flat_out_hosting as f64 / 1e3 * hours;
        self.mined += mined;
        self.hosting_credit += seen.hosting.credited * hours;
        let flat_energy = mwh(self.setting.flat_out_watts, span);
        self.flat_out += flat_out - flat_energy * price;
        let watts = seen.side_watts;
        let sides = [
            (watts.mining, &mut self.energy_mwh.mining, &mut self.energy_cost.mining),
            (watts.gpu, &mut self.energy_mwh.gpu, &mut self.energy_cost.gpu),
            (watts.power, &mut self.energy_mwh.power, &mut self.energy_cost.power),
        ];
        for (watts, energy, cost) in sides {
            let used = mwh(watts, span);
            *energy += used;
            *cost += used * price;
        }
        if let Some(site) = seen.nodes.first() {
            let beside = mwh(site.true_watts - watts.mining - watts.gpu - watts.power, span);
            self.beside_mwh += beside;
            self.beside_cost += beside * price;
        }
    }

    /// Time that anything was truly over its limit past that limit's response time.
    pub fn over(&self) -> Span {
        Span::new(self.over_ms)
    }

    /// The account up to `now`.
    pub fn account(&self, now: Time) -> Account {
        let sums = self.leases.sums();
        let mining_margin = self.mined - self.energy_cost.mining;
        // Leases flat out: nothing withheld, so its rent and no credit, and its energy at each moment's price.
        let saved_on_leases = sums.withheld_cost - sums.withheld_rent - sums.credit;
        Account {
            from: api_time(self.setting.from).0.to_string(),
            to: api_time(now).0.to_string(),
            seed: self.setting.seed,
            energy_mwh: self.energy_mwh,
            revenue_usd: Sides { mining: self.mined, gpu: sums.rent.gpu, power: sums.rent.power },
            energy_cost_usd: self.energy_cost,
            losses_mwh: self.beside_mwh,
            losses_cost_usd: self.beside_cost,
            credits_usd: sums.credit + self.hosting_credit,
            against_always_on_usd: mining_margin - self.hosting_credit - self.flat_out + saved_on_leases,
            leases: self.leases.accounts(now),
            obligations: self.obligations.accounts(),
            faults: self.faults.accounts(),
            seconds_over_limit: self.over_ms as f64 / 1_000.0,
            broken_terms: [self.leases.broken().as_slice(), self.obligations.broken()].concat(),
            orders: self.orders,
            ticks: self.ticks,
        }
    }
}

/// A limit may take watts so long before it begins: what takes longer has its notice.
const ALARM_BEFORE: Span = Span::minutes(15);
/// What called for an emergency may be over by the time that a lease is stopped for it.
const ALARM_LASTS: Span = Span::minutes(5);

/// Whether anything could call for an emergency: a limit of an event, a person's lockout, bounds above a breaker.
fn alarming(seen: &Observation<'_>) -> bool {
    let limited = |event: &EventSeen| {
        event.seen <= seen.now && event.from.before(ALARM_BEFORE) <= seen.now && seen.now < event.until
    };
    seen.in_doubt || seen.locked_out || seen.events.iter().any(limited)
}

/// Whether anything is over a limit that has had its time.
fn over(seen: &Observation<'_>) -> bool {
    let node = |node: &NodeSeen| node.true_watts > node.limit;
    let event = |event: &EventSeen| {
        let due = event.from.max(event.seen).after(event.response);
        due <= seen.now && seen.now < event.until && event.true_watts > event.limit
    };
    seen.nodes.iter().any(node) || seen.events.iter().any(event)
}
