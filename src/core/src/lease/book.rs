//! What is promised already: at every instant, on every node of the way up.
//!
//! One profile (promised amount over time) for each thing that may run out: a class, a namespace's share of it, a
//! pool's GPUs, a hall's watts, a node's firm watts. Each is a segment tree over the moments at which it changes, so
//! that a question and an entry cost the logarithm of the book, and the book itself one sort.

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
    /// Reads the book. `promises`: what stands; `moments`: every start and end that will be entered later.
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

/// An amount over time: a segment tree with range addition and range maximum. Leaf 0 is all time before the first
/// moment; leaf i lasts from moment i − 1 to moment i.
#[derive(Clone, Debug, Default)]
struct Profile {
    moments: Vec<Time>,
    leaves: usize,
    /// By tree node (1 is the root): the most below it, its own addition included.
    most: Vec<i64>,
    /// By tree node: what was added to all below it.
    added: Vec<i64>,
}

impl Profile {
    /// `steps`: changes of the amount, by time.
    fn new(steps: &[(Time, i64)]) -> Self {
        let mut moments: Vec<Time> = Vec::with_capacity(steps.len());
        let mut levels = vec![0_i64];
        for (time, change) in steps {
            let level = levels.last().copied().unwrap_or_default();
            if moments.last() != Some(time) {
                moments.push(*time);
                levels.push(level);
            }
            if let Some(last) = levels.last_mut() {
                *last = last.saturating_add(*change);
            }
        }
        let leaves = levels.len().next_power_of_two();
        let mut most = vec![0; leaves];
        levels.resize(leaves, 0);
        most.append(&mut levels);
        for place in (1..leaves).rev() {
            let above = get(&most, 2 * place).max(get(&most, 2 * place + 1));
            if let Some(slot) = most.get_mut(place) {
                *slot = above;
            }
        }
        Self { moments, leaves, added: vec![0; 2 * leaves], most }
    }

    /// The leaves that [from, to) touches.
    fn range(&self, from: Time, to: Time) -> (usize, usize) {
        (self.moments.partition_point(|at| *at <= from), self.moments.partition_point(|at| *at < to) + 1)
    }

    fn most(&self, from: Time, to: Time) -> i64 {
        if from >= to {
            return 0;
        }
        self.most_in((1, 0, self.leaves), self.range(from, to)).unwrap_or_default()
    }

    fn most_in(&self, (place, low, high): (usize, usize, usize), range: (usize, usize)) -> Option<i64> {
        if range.1 <= low || high <= range.0 {
            return None;
        }
        if range.0 <= low && high <= range.1 {
            return Some(get(&self.most, place));
        }
        let middle = usize::midpoint(low, high);
        let left = self.most_in((2 * place, low, middle), range);
        let right = self.most_in((2 * place + 1, middle, high), range);
        left.max(right).map(|most| most.saturating_add(get(&self.added, place)))
    }

    fn add(&mut self, from: Time, to: Time, amount: i64) {
        if from < to {
            self.add_in((1, 0, self.leaves), self.range(from, to), amount);
        }
    }

    fn add_in(&mut self, (place, low, high): (usize, usize, usize), range: (usize, usize), amount: i64) {
        if range.1 <= low || high <= range.0 {
            return;
        }
        if range.0 <= low && high <= range.1 {
            for list in [&mut self.most, &mut self.added] {
                if let Some(slot) = list.get_mut(place) {
                    *slot = slot.saturating_add(amount);
                }
            }
            return;
        }
        let middle = usize::midpoint(low, high);
        self.add_in((2 * place, low, middle), range, amount);
        self.add_in((2 * place + 1, middle, high), range, amount);
        let below = get(&self.most, 2 * place).max(get(&self.most, 2 * place + 1));
        let most = below.saturating_add(get(&self.added, place));
        if let Some(slot) = self.most.get_mut(place) {
            *slot = most;
        }
    }

    /// The end of the last stretch in [from, to) in which the amount is above `limit`.
    fn last_over(&self, from: Time, to: Time, limit: i64) -> Option<Time> {
        let leaf = self.last_in((1, 0, self.leaves), self.range(from, to), limit)?;
        Some(self.moments.get(leaf).copied().unwrap_or(Time::MAX))
    }

    fn last_in(&self, (place, low, high): (usize, usize, usize), range: (usize, usize), limit: i64) -> Option<usize> {
        if range.1 <= low || high <= range.0 || get(&self.most, place) <= limit {
            return None;
        }
        if high - low == 1 {
            return Some(low);
        }
        let (middle, limit) = (usize::midpoint(low, high), limit.saturating_sub(get(&self.added, place)));
        self.last_in((2 * place + 1, middle, high), range, limit)
            .or_else(|| self.last_in((2 * place, low, middle), range, limit))
    }
}

fn get(list: &[i64], place: usize) -> i64 {
    list.get(place).copied().unwrap_or_default()
}
