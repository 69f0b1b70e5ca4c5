//! The machine that clears: flat tables that are kept from tick to tick.

use super::{Award, Clearing, NodeClearing, Reason};
use crate::bid::{Bid, RANK_WORTH, VALUE_LIMIT};
use crate::tree::{NodeId, Tree};
use crate::units::{Usd, UsdPerMwh, Watts, mul_div_up};
use std::cmp::Ordering;

/// Stands above the site in the table of parents.
const NONE: u32 = u32::MAX;
const WATTS_PER_MEGAWATT: i64 = 1_000_000;

/// Clears again and again without allocating, and keeps the merit order while values stay as they are.
///
/// The order depends on values, never on the price: a tick where only prices, floors or limits moved costs no sort.
/// Holds up to 2³² segments.
#[derive(Debug, Default)]
pub struct Clearer {
    pieces: Vec<Piece>,
    /// Per piece, its merit. Beside the pieces, to see whether the order still stands.
    merits: Vec<i64>,
    order: Vec<Entry>,
    sorted: bool,
    /// Per bid.
    seats: Vec<Seat>,
    takes: Vec<Take>,
    /// Per node, what floors below it draw.
    drawn: Vec<i64>,
    /// Per node, after floors.
    floors: Vec<Slot>,
    slots: Vec<Slot>,
    turned: Vec<Turned>,
    /// Blocks and steps that found too little room.
    misfits: Vec<Misfit>,
    clearing: Clearing,
}

/// One segment.
#[derive(Clone, Copy, Debug)]
struct Piece {
    watts: i64,
    step: i64,
    bid: u32,
    node: u32,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    merit: i64,
    piece: u32,
}

impl Entry {
    fn merit_order(&self, other: &Self) -> Ordering {
        other.merit.cmp(&self.merit).then(self.piece.cmp(&other.piece))
    }
}

/// Where one bid's pieces start, and its floor.
#[derive(Clone, Copy, Debug)]
struct Seat {
    floor: i64,
    first: u32,
    node: u32,
    rank: u8,
}

#[derive(Clone, Copy, Debug, Default)]
struct Take {
    watts: i64,
    /// A segment was turned away: those after it may not run without it.
    closed: bool,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    room: i64,
    parent: u32,
    /// Has turned a segment away.
    binds: bool,
}

/// What a node was like when it first turned a segment away, and the prices that follow.
#[derive(Clone, Copy, Debug, Default)]
struct Turned {
    gain: i64,
    room: i64,
    /// Π: the price of room from here to the site.
    path: i64,
    /// The dearest limit from here to the site, and its λ.
    dearest: u32,
    shadow: i64,
}

#[derive(Clone, Copy, Debug)]
struct Misfit {
    bid: u32,
    node: u32,
    room: i64,
    needs: i64,
}

/// The narrowest place from a node to the site.
struct Narrowest {
    node: u32,
    room: i64,
    /// Some node on the way has turned a segment away already.
    bound: bool,
}

impl Clearer {
    /// An empty one. It grows to the largest input it has seen.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in the tree and the bids, then clears at `price`.
    pub fn clear(&mut self, tree: &Tree, bids: &[Bid], price: UsdPerMwh) -> &Clearing {
        self.load(tree, bids);
        self.at(price)
    }

    /// Takes in the tree and the bids; sorts only if a merit changed since the last time.
    pub fn load(&mut self, tree: &Tree, bids: &[Bid]) {
        self.load_tree(tree);
        self.load_bids(bids);
        if !self.sorted {
            self.sort();
        }
        self.settle_floors();
    }

    /// Clears what was loaded last at this price. Exactly what [`super::clear`] answers.
    pub fn at(&mut self, price: UsdPerMwh) -> &Clearing {
        let price = price.max(-VALUE_LIMIT).min(VALUE_LIMIT).get();
        self.slots.clone_from(&self.floors);
        self.turned.clear();
        self.turned.resize(self.slots.len(), Turned::default());
        self.takes.clear();
        self.takes.resize(self.seats.len(), Take::default());
        self.misfits.clear();
        self.award(price);
        self.price_nodes();
        self.explain(price);
        &self.clearing
    }

    /// The outcome of the last clearing.
    pub fn clearing(&self) -> &Clearing {
        &self.clearing
    }

    /// The outcome of the last clearing, without the machine.
    pub fn into_clearing(self) -> Clearing {
        self.clearing
    }

    fn load_tree(&mut self, tree: &Tree) {
        self.floors.clear();
        self.floors.extend(tree.nodes().iter().enumerate().map(|(at, node)| Slot {
            room: tree.capacity(NodeId(at as u32)).get(),
            parent: node.parent.map_or(NONE, |p| p.0),
            binds: false,
        }));
        self.drawn.clear();
        self.drawn.resize(tree.len(), 0);
    }

    /// Flattens the bids; keeps the order if every merit is what it was.
    fn load_bids(&mut self, bids: &[Bid]) {
        self.seats.clear();
        self.pieces.clear();
        for (place, bid) in bids.iter().enumerate() {
            let placed = bid.node().index() < self.floors.len();
            let node = bid.node().0;
            let first = self.pieces.len() as u32;
            self.seats.push(Seat { floor: bid.floor().get(), first, node, rank: bid.rank() });
            for segment in bid.segments() {
                let merit = bid.merit(segment.value).get();
                match self.merits.get_mut(self.pieces.len()) {
                    Some(before) if *before == merit => {}
                    Some(before) => (*before, self.sorted) = (merit, false),
                    None => {
                        self.merits.push(merit);
                        self.sorted = false;
                    }
                }
                let watts = if placed { segment.watts.get() } else { 0 };
                self.pieces.push(Piece { watts, step: segment.step.get(), bid: place as u32, node });
            }
        }
        if self.merits.len() > self.pieces.len() {
            self.merits.truncate(self.pieces.len());
            self.sorted = false;
        }
    }

    /// Refreshes the order's merits and sorts. The last order is the start, which is cheap where values moved together.
    fn sort(&mut self) {
        if self.order.len() == self.merits.len() {
            for entry in &mut self.order {
                entry.merit = self.merits.get(entry.piece as usize).copied().unwrap_or_default();
            }
        } else {
            self.order.clear();
            let entries = self.merits.iter().enumerate().map(|(at, merit)| Entry { merit: *merit, piece: at as u32 });
            self.order.extend(entries);
        }
        self.order.sort_unstable_by(Entry::merit_order);
        self.sorted = true;
    }

    /// Takes the floors off the capacities, here and all the way up.
    fn settle_floors(&mut self) {
        for seat in &self.seats {
            if let Some(drawn) = self.drawn.get_mut(seat.node as usize) {
                *drawn = drawn.saturating_add(seat.floor);
            }
        }
        for at in (0..self.floors.len()).rev() {
            let here = self.drawn.get(at).copied().unwrap_or_default();
            let Some(slot) = self.floors.get_mut(at) else { continue };
            slot.room = slot.room.saturating_sub(here);
            if let Some(above) = self.drawn.get_mut(slot.parent as usize) {
                *above = above.saturating_add(here);
            }
        }
    }

    /// The greedy pass: floors are settled, the rest goes in merit order.
    fn award(&mut self, price: i64) {
        for entry in &self.order {
            let gain = entry.merit.saturating_sub(price);
            if gain <= 0 || self.slots.first().is_some_and(|site| site.binds && site.room <= 0) {
                break;
            }
            let Some(piece) = self.pieces.get(entry.piece as usize) else { continue };
            let Some(take) = self.takes.get_mut(piece.bid as usize) else { continue };
            if take.closed || piece.watts == 0 {
                continue;
            }
            let Narrowest { node, room, bound } = narrowest(&self.slots, piece.node);
            let fits = piece.watts.min(room.max(0));
            let taken = if piece.step > 0 { fits - fits % piece.step } else { fits };
            if taken > 0 {
                take.watts += taken;
                occupy(&mut self.slots, piece.node, taken);
            }
            if taken == piece.watts {
                continue;
            }
            take.closed = true;
            let room = room.saturating_sub(taken).max(0);
            if piece.step > 0 && room > 0 {
                self.misfits.push(Misfit { bid: piece.bid, node, room, needs: piece.step });
            }
            if !bound {
                if let Some(slot) = self.slots.get_mut(node as usize) {
                    slot.binds = true;
                }
                if let Some(turned) = self.turned.get_mut(node as usize) {
                    (turned.gain, turned.room) = (gain, room);
                }
            }
        }
    }

    /// From the site down: what room costs on the way to each node, and the node's own share of that.
    fn price_nodes(&mut self) {
        self.clearing.loss_bound = Usd::ZERO;
        self.clearing.nodes.clear();
        for at in 0..self.slots.len() {
            let Some(slot) = self.slots.get(at) else { continue };
            let above = self.turned.get(slot.parent as usize).copied().unwrap_or_default();
            let Some(here) = self.turned.get_mut(at) else { continue };
            here.path = here.gain.max(above.path);
            let shadow = here.path - above.path;
            let dearer = shadow > above.shadow || at == 0;
            (here.dearest, here.shadow) = if dearer { (at as u32, shadow) } else { (above.dearest, above.shadow) };
            self.clearing.loss_bound += Usd::new(mul_div_up(shadow, here.room, WATTS_PER_MEGAWATT));
            let awarded = self.floors.get(at).map_or(0, |floor| floor.room.saturating_sub(slot.room));
            let drawn = self.drawn.get(at).copied().unwrap_or_default();
            self.clearing.nodes.push(NodeClearing {
                load: Watts::new(drawn.saturating_add(awarded)),
                headroom: Watts::new(slot.room),
                shadow_price: UsdPerMwh::new(shadow),
            });
        }
    }

    /// One award per bid, with what stopped its first segment that is not full.
    fn explain(&mut self, price: i64) {
        self.clearing.awards.clear();
        let ends = self.seats.iter().skip(1).map(|s| s.first).chain(std::iter::once(self.pieces.len() as u32));
        for ((seat, take), end) in self.seats.iter().zip(&self.takes).zip(ends) {
            let range = seat.first as usize..end as usize;
            let pieces = self.pieces.get(range.clone()).unwrap_or_default();
            let merits = self.merits.get(range).unwrap_or_default();
            let reason = match self.turned.get(seat.node as usize) {
                Some(turned) => reason(turned, seat, pieces.iter().zip(merits), take.watts, price),
                None => Reason::Unplaced,
            };
            self.clearing.awards.push(Award { watts: Watts::new(seat.floor.saturating_add(take.watts)), reason });
        }
        for misfit in &self.misfits {
            if let Some(award) = self.clearing.awards.get_mut(misfit.bid as usize) {
                let (room, needs) = (Watts::new(misfit.room), Watts::new(misfit.needs));
                award.reason = Reason::Indivisible { node: NodeId(misfit.node), room, needs };
            }
        }
    }
}

fn reason<'a>(
    turned: &Turned,
    seat: &Seat,
    pieces: impl Iterator<Item = (&'a Piece, &'a i64)>,
    taken: i64,
    price: i64,
) -> Reason {
    let mut left = taken;
    for (piece, merit) in pieces {
        if left < piece.watts {
            if *merit <= price {
                let value = *merit - RANK_WORTH.get().saturating_mul(i64::from(seat.rank));
                return Reason::BelowPrice { value: UsdPerMwh::new(value) };
            }
            return Reason::Limit { node: NodeId(turned.dearest), shadow_price: UsdPerMwh::new(turned.shadow) };
        }
        left -= piece.watts;
    }
    Reason::Full
}

/// Of equals the nearest to the site.
fn narrowest(slots: &[Slot], leaf: u32) -> Narrowest {
    let mut found = Narrowest { node: NONE, room: i64::MAX, bound: false };
    let mut at = leaf;
    while let Some(slot) = slots.get(at as usize) {
        found.bound |= slot.binds;
        if slot.room <= found.room {
            (found.node, found.room) = (at, slot.room);
        }
        at = slot.parent;
    }
    found
}

fn occupy(slots: &mut [Slot], leaf: u32, watts: i64) {
    let mut at = leaf;
    while let Some(slot) = slots.get_mut(at as usize) {
        slot.room -= watts;
        at = slot.parent;
    }
}
