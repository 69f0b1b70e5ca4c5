//! What is promised already: at every instant, on every node of the way up.
//!
//! One profile (promised amount over time) for each thing that may run out: a class, a namespace's share of it, a
//! pool's GPUs, a hall's watts, a node's firm watts. Each is a segment tree over the moments at which it changes, so
//! that a question and an entry cost the logarithm of the book, and the book itself one sort.

use super::profile::Profile;
use super::{Book, Booking, Class, Contract, Delivery, Lease, LeaseState, Level, RefusalReason};
use crate::snapshot::Pool;
use crate::tree::{NodeId, Tree};
use crate::units::{Span, Time, Watts};
use std::collections::BTreeMap;

/// What promises stand on.
#[derive(Clone, Copy, Debug)]
pub struct Ground<'a> {
    /// Published terms.
    pub classes: &'a [Class],
    /// Pools of GPU nodes.
    pub pools: &'a [Pool],
    /// By pool: how many nodes it has.
    pub pool_nodes: &'a [u32],
    /// The limit tree as configured.
    pub tree: &'a Tree,
    /// By node of the tree, at and below it (as [`Tree::sums`] adds up): what is drawn whatever is promised. Lowest
    /// caps and overhead of every GPU node, thermal floor of every container. Not the halls in `Node::auxiliary`.
    pub must_run: &'a [Watts],
}

impl Ground<'_> {
    /// Everything of `delivery`: highest caps (`Jobs`, above the must-run share, at least 1 W a GPU so that running
    /// and stopped never look alike), or its watts (`Power`). None: no such pool.
    pub fn full(&self, delivery: Delivery) -> Option<Level> {
        full(self.pools, delivery)
    }
}

fn full(pools: &[Pool], delivery: Delivery) -> Option<Level> {
    match delivery {
        Delivery::Power { watts, .. } => Some(Level { watts, cap: Watts::ZERO }),
        Delivery::Jobs { pool, gpus } => {
            let pool = pools.get(pool as usize)?;
            let each = (pool.max_cap - pool.min_cap).max(Watts::new(1));
            let watts = Watts::new(each.get().saturating_mul(i64::from(gpus)));
            Some(Level { watts, cap: pool.max_cap })
        }
    }
}

impl Delivery {
    /// GPUs, or watts.
    pub const fn amount(self) -> i64 {
        match self {
            Self::Jobs { gpus, .. } => gpus as i64,
            Self::Power { watts, .. } => watts.get(),
        }
    }

    /// The same place, another amount; nothing where `amount` is negative.
    #[must_use]
    pub fn with_amount(self, amount: i64) -> Self {
        match self {
            Self::Jobs { pool, .. } => Self::Jobs { pool, gpus: u32::try_from(amount).unwrap_or_default() },
            Self::Power { node, .. } => Self::Power { node, watts: Watts::new(amount).at_least_zero() },
        }
    }
}

impl Book {
    /// The promises of all accepted leases that have not ended, as they were accepted.
    pub fn of(leases: &[Lease]) -> Self {
        let entry = |(position, lease): (usize, &Lease)| match &lease.state {
            LeaseState::Accepted(contract) => {
                let Contract { offer, full, .. } = contract.as_ref();
                Some(Booking {
                    lease: u32::try_from(position).ok()?,
                    class: lease.request.class,
                    delivery: offer.delivery,
                    watts: full.watts,
                    start: offer.start,
                    end: offer.end,
                    firm: offer.terms.firm,
                })
            }
            _ => None,
        };
        Self { entries: leases.iter().enumerate().filter_map(entry).collect() }
    }
}

/// One promise, made or to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Promise<'a> {
    /// Position of its class; none: that class is gone.
    pub class: Option<u32>,
    /// To whom.
    pub namespace: &'a str,
    /// What.
    pub delivery: Delivery,
    /// Watts above the must-run share (`Jobs`), or in all (`Power`).
    pub watts: Watts,
    /// From when.
    pub start: Time,
    /// Until when.
    pub end: Time,
    /// Whether it is firm.
    pub firm: bool,
}

/// What may run out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key<'a> {
    /// What one namespace holds of a class.
    Share(u32, &'a str),
    /// What a class promises.
    Class(u32),
    /// GPUs of a pool.
    Pool(u32),
    /// Watts of halls at a feeder.
    Hall(NodeId),
    /// Firm watts at and below a node.
    Node(NodeId),
}

/// The book, ready for questions.
#[derive(Clone, Debug)]
pub struct Occupancy<'a> {
    ground: Ground<'a>,
    profiles: BTreeMap<Key<'a>, Profile>,
}

impl<'a> Occupancy<'a> {
    /// Reads the book. `promises`: what stands; `coming`: what may be entered later, for its starts and ends alone.
    pub fn new(ground: Ground<'a>, promises: &[Promise<'a>], coming: &[Promise<'a>]) -> Self {
        let mut events: Vec<(Time, &Promise<'a>, i64)> = Vec::with_capacity(2 * (promises.len() + coming.len()));
        for (list, sign) in [(promises, 1), (coming, 0)] {
            for promise in list.iter().filter(|promise| promise.start < promise.end) {
                events.extend([(promise.start, promise, sign), (promise.end, promise, -sign)]);
            }
        }
        events.sort_by_key(|(time, ..)| *time);
        let mut steps: BTreeMap<Key<'a>, Vec<(Time, i64)>> = BTreeMap::new();
        for (time, promise, sign) in events {
            for (key, amount) in ground.uses(promise) {
                steps.entry(key).or_default().push((time, amount.saturating_mul(sign)));
            }
        }
        let profiles = steps.into_iter().map(|(key, steps)| (key, Profile::new(&steps))).collect();
        Self { ground, profiles }
    }

    /// The promises of `book`, with the tenants looked up in `leases`.
    pub fn promises(book: &Book, leases: &'a [Lease]) -> Vec<Promise<'a>> {
        let promise = |entry: &Booking| Promise {
            class: entry.class,
            namespace: leases.get(entry.lease as usize).map_or("", |lease| lease.namespace.as_str()),
            delivery: entry.delivery,
            watts: entry.watts,
            start: entry.start,
            end: entry.end,
            firm: entry.firm,
        };
        book.entries.iter().map(promise).collect()
    }

    /// Enters a promise. Its start and end are to be among those that [`Occupancy::new`] was told of: else it counts
    /// from the moment before them that is known, and up to the one after.
    pub fn enter(&mut self, promise: &Promise<'a>) {
        for (key, amount) in self.ground.uses(promise) {
            self.profiles.entry(key).or_default().add(promise.start, promise.end, amount);
        }
    }

    /// Whether all of `promise` fits.
    ///
    /// # Errors
    /// What runs out: the namespace's share before anything else.
    pub fn fits(&self, promise: &Promise<'a>) -> Result<(), RefusalReason> {
        let amount = promise.delivery.amount();
        for (key, used) in self.ground.uses(promise) {
            if self.free(key, promise.start, promise.end) < used {
                let share = matches!(key, Key::Share(..));
                return Err(if share { RefusalReason::NamespaceShare } else { RefusalReason::Capacity });
            }
        }
        // A promise of nothing, or at no place, is none.
        if amount > 0 && self.ground.exists(promise.delivery) { Ok(()) } else { Err(RefusalReason::Capacity) }
    }

    /// The most of `promise` that fits its term: GPUs or watts, 0 to what it asks for.
    pub fn would_fit(&self, promise: &Promise<'a>) -> i64 {
        let amount = promise.delivery.amount();
        if amount <= 0 || !self.ground.exists(promise.delivery) {
            return 0;
        }
        let part = |(key, used): (Key<'a>, i64)| {
            // Every use is a whole number for each GPU, or one watt for a watt.
            let each = (used / amount).max(1);
            self.free(key, promise.start, promise.end).max(0) / each
        };
        self.ground.uses(promise).into_iter().map(part).min().unwrap_or(0).clamp(0, amount)
    }

    /// The earliest start, not before its own and at most `within` later, at which all of `promise` fits.
    pub fn earliest(&self, promise: &Promise<'a>, within: Span) -> Option<Time> {
        if !self.ground.exists(promise.delivery) {
            return None;
        }
        let (uses, term) = (self.ground.uses(promise), promise.end.since(promise.start));
        let last = promise.start.after(within);
        let mut start = promise.start;
        while start <= last {
            let blocked = |(key, used): &(Key<'a>, i64)| self.blocked(*key, *used, start, start.after(term));
            match uses.iter().filter_map(blocked).max() {
                None => return Some(start),
                // Whatever starts before the last full moment is over meets it.
                Some(until) => start = until,
            }
        }
        None
    }

    /// Up to when `key` last has no room for `used` in [from, to); none: it has room all through.
    fn blocked(&self, key: Key<'a>, used: i64, from: Time, to: Time) -> Option<Time> {
        let room = self.ground.limit(key).saturating_sub(used);
        match self.profiles.get(&key) {
            Some(profile) => profile.last_over(from, to, room),
            None if room < 0 => Some(Time::MAX),
            None => None,
        }
    }

    /// What is left of `key` in all of [from, to).
    fn free(&self, key: Key<'a>, from: Time, to: Time) -> i64 {
        let used = self.profiles.get(&key).map_or(0, |profile| profile.most(from, to));
        self.ground.limit(key).saturating_sub(used)
    }
}

impl Ground<'_> {
    /// What `promise` uses, of what.
    fn uses<'a>(&self, promise: &Promise<'a>) -> Vec<(Key<'a>, i64)> {
        let (amount, watts) = (promise.delivery.amount(), promise.watts.get());
        let mut uses = Vec::with_capacity(8);
        if let Some(class) = promise.class {
            uses.extend([(Key::Share(class, promise.namespace), amount), (Key::Class(class), amount)]);
        }
        let above = match promise.delivery {
            Delivery::Jobs { pool, .. } => {
                uses.push((Key::Pool(pool), amount));
                self.pools.get(pool as usize).map(|pool| pool.node).filter(|_| promise.firm)
            }
            Delivery::Power { node, .. } => {
                uses.push((Key::Hall(node), amount));
                // A hall in `auxiliary` is off every capacity on its way already. One that is not takes its watts
                // there, firm or not: notice alone frees nothing.
                let counted = self.tree.node(node).is_some_and(|node| node.auxiliary > Watts::ZERO);
                Some(node).filter(|_| !counted)
            }
        };
        uses.extend(above.into_iter().flat_map(|node| self.tree.path(node)).map(|node| (Key::Node(node), watts)));
        uses
    }

    /// How much there is of `key`.
    fn limit(&self, key: Key<'_>) -> i64 {
        match key {
            Key::Share(class, _) => self.classes.get(class as usize).map_or(0, |class| class.per_namespace),
            Key::Class(class) => self.classes.get(class as usize).map_or(0, |class| class.delivery.amount()),
            Key::Pool(pool) => {
                let nodes = self.pool_nodes.get(pool as usize).copied().unwrap_or_default();
                let each = self.pools.get(pool as usize).map_or(0, |pool| pool.gpus_per_node);
                i64::from(nodes).saturating_mul(i64::from(each))
            }
            Key::Hall(id) => self.tree.node(id).map_or(0, |node| {
                let carries = (node.limit - node.reserve).without(node.loss);
                if node.auxiliary > Watts::ZERO { carries.min(node.auxiliary).get() } else { carries.get() }
            }),
            Key::Node(id) => {
                let must_run = self.must_run.get(id.index()).copied().unwrap_or_default();
                (self.tree.capacity(id) - must_run).get()
            }
        }
    }

    /// Whether there is such a pool or feeder.
    fn exists(&self, delivery: Delivery) -> bool {
        match delivery {
            Delivery::Jobs { pool, .. } => {
                self.pools.get(pool as usize).is_some_and(|p| self.tree.node(p.node).is_some())
            }
            Delivery::Power { node, .. } => self.tree.node(node).is_some(),
        }
    }
}
