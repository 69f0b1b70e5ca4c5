//! The machine that clears: flat tables that are kept from tick to tick.

use super::book::{Book, NONE, Ranked, Slot};
use super::{Award, Clearing, NodeClearing, Reason};
use crate::bid::{Bid, RANK_WORTH, VALUE_LIMIT};
use crate::tree::{NodeId, Tree};
use crate::units::{Usd, UsdPerMwh, Watts, mul_div_up};

const WATTS_PER_MEGAWATT: i64 = 1_000_000;

/// Clears again and again without allocating, and keeps the merit order while values stay as they are.
///
/// The order depends on values, never on the price: a tick where only prices, floors, widths or limits moved costs no
/// sort. Holds up to 2³² segments.
#[derive(Debug, Default)]
pub struct Clearer {
    book: Book,
    pass: Pass,
    clearing: Clearing,
}

/// The greedy pass: what is left, and who got what.
#[derive(Debug, Default)]
struct Pass {
    /// Per bid, the piece that comes next. One that is turned away stays next, so those after it never run.
    next: Vec<u32>,
    /// What bids got of a piece that was cut: bid and watts.
    parts: Vec<(u32, i64)>,
    /// Per node.
    slots: Vec<Slot>,
    turned: Vec<Turned>,
    /// Blocks and steps that found too little room.
    misfits: Vec<Misfit>,
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

impl Pass {
    fn start(&mut self, book: &Book) {
        self.slots.clone_from(&book.floors);
        self.turned.clear();
        self.turned.resize(book.floors.len(), Turned::default());
        self.next.clear();
        self.next.extend(book.seats.iter().map(|seat| seat.first));
        self.parts.clear();
        self.misfits.clear();
    }

    /// Goes in merit order until the price or a full site.
    fn run(&mut self, book: &mut Book, price: i64) {
        let mut first = 0;
        while self.goes_on(book, first, price) {
            first = book.ranked.len();
            if !book.rank_more() {
                return;
            }
        }
    }

    /// Goes through what is ranked from `first` on; answers whether what comes after may run.
    fn goes_on(&mut self, book: &Book, first: usize, price: i64) -> bool {
        for ranked in book.ranked.get(first..).unwrap_or_default() {
            if ranked.merit <= price {
                return false;
            }
            let next = self.next.get_mut(ranked.bid as usize).filter(|next| **next == ranked.piece);
            let Some(next) = next else { continue };
            if take_whole(&mut self.slots, ranked.node, ranked.watts) {
                *next += 1;
                continue;
            }
            let mut narrowest = narrowest(&self.slots, ranked.node);
            let mut taken = narrowest.room.max(0);
            let mut step = 0;
            if ranked.stepped {
                step = book.pieces.get(ranked.piece as usize).map_or(0, |p| p.segment.step.get());
                taken -= taken.checked_rem(step).unwrap_or(0);
            }
            if taken > 0 {
                occupy(&mut self.slots, ranked.node, taken);
                self.parts.push((ranked.bid, taken));
            }
            narrowest.room = (narrowest.room - taken).max(0);
            self.turn_away(ranked, ranked.merit - price, &narrowest, step);
            // All that comes after would be turned away likewise.
            if self.slots.first().is_some_and(|site| site.room <= 0 && site.binds) {
                return false;
            }
        }
        true
    }

    /// Notes where a bid was cut, and what the narrowest limit was like when it first cut anything.
    fn turn_away(&mut self, ranked: &Ranked, gain: i64, narrowest: &Narrowest, needs: i64) {
        let Narrowest { node, room, bound } = *narrowest;
        if needs > 0 && room > 0 {
            self.misfits.push(Misfit { bid: ranked.bid, node, room, needs });
        }
        if bound {
            return;
        }
        if let Some(slot) = self.slots.get_mut(node as usize) {
            slot.binds = true;
        }
        if let Some(turned) = self.turned.get_mut(node as usize) {
            (turned.gain, turned.room) = (gain, room);
        }
    }
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
        self.book.load(tree, bids);
    }

    /// Clears what was loaded last at this price. Exactly what [`super::clear`] answers.
    pub fn at(&mut self, price: UsdPerMwh) -> &Clearing {
        let price = price.max(-VALUE_LIMIT).min(VALUE_LIMIT).get();
        self.pass.start(&self.book);
        self.pass.run(&mut self.book, price);
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

    /// From the site down: what room costs on the way to each node, and the node's own share of that.
    fn price_nodes(&mut self) {
        self.clearing.loss_bound = Usd::ZERO;
        self.clearing.nodes.clear();
        for at in 0..self.pass.slots.len() {
            let Some(slot) = self.pass.slots.get(at) else { continue };
            let above = self.pass.turned.get(slot.parent as usize).copied().unwrap_or_default();
            let Some(here) = self.pass.turned.get_mut(at) else { continue };
            here.path = here.gain.max(above.path);
            let shadow = here.path - above.path;
            let dearer = shadow > above.shadow || at == 0;
            (here.dearest, here.shadow) = if dearer { (at as u32, shadow) } else { (above.dearest, above.shadow) };
            self.clearing.loss_bound += Usd::new(mul_div_up(shadow, here.room, WATTS_PER_MEGAWATT));
            let awarded = self.book.floors.get(at).map_or(0, |floor| floor.room.saturating_sub(slot.room));
            let drawn = self.book.drawn.get(at).copied().unwrap_or_default();
            self.clearing.nodes.push(NodeClearing {
                load: Watts::new(drawn.saturating_add(awarded)),
                headroom: Watts::new(slot.room),
                shadow_price: UsdPerMwh::new(shadow),
            });
        }
    }

    /// One award per bid, with what stopped its first segment that is not full.
    fn explain(&mut self, price: i64) {
        let Self { book, pass, clearing } = self;
        clearing.awards.clear();
        clearing.awards.extend(book.seats.iter().zip(&pass.next).map(|(seat, next)| {
            let Some(turned) = pass.turned.get(seat.node as usize) else {
                return Award { watts: Watts::new(seat.floor), reason: Reason::Unplaced };
            };
            let full = book.pieces.get(seat.first as usize..*next as usize).unwrap_or_default();
            let watts = full.iter().fold(Watts::new(seat.floor), |sum, piece| sum + piece.segment.watts);
            let next = book.merits.get(*next as usize).filter(|_| *next < seat.end);
            Award { watts, reason: reason(turned, next.copied(), seat.rank, price) }
        }));
        for (bid, watts) in &pass.parts {
            if let Some(award) = clearing.awards.get_mut(*bid as usize) {
                award.watts += Watts::new(*watts);
            }
        }
        for misfit in &pass.misfits {
            if let Some(award) = clearing.awards.get_mut(misfit.bid as usize) {
                let (room, needs) = (Watts::new(misfit.room), Watts::new(misfit.needs));
                award.reason = Reason::Indivisible { node: NodeId(misfit.node), room, needs };
            }
        }
    }
}

/// Why the piece that comes next, of this merit, was not taken, where `turned` is the bid's node.
fn reason(turned: &Turned, next: Option<i64>, rank: u8, price: i64) -> Reason {
    match next {
        None => Reason::Full,
        Some(merit) if merit <= price => {
            let league = RANK_WORTH.get().saturating_mul(i64::from(rank));
            Reason::BelowPrice { value: UsdPerMwh::new(merit - league) }
        }
        Some(_) => Reason::Limit { node: NodeId(turned.dearest), shadow_price: UsdPerMwh::new(turned.shadow) },
    }
}

/// Takes `watts` from the room of every node from `leaf` to the site, if all have as much; answers whether they had.
///
/// Most have: taking at once and giving back where it was wrong makes one walk of two. A room may be negative, so the
/// sums wrap; what is given back is what was taken.
fn take_whole(slots: &mut [Slot], leaf: u32, watts: i64) -> bool {
    let (mut least, mut at) = (i64::MAX, leaf);
    while let Some(slot) = slots.get_mut(at as usize) {
        least = least.min(slot.room);
        slot.room = slot.room.wrapping_sub(watts);
        at = slot.parent;
    }
    if least < watts {
        occupy(slots, leaf, watts.wrapping_neg());
    }
    least >= watts
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
        slot.room = slot.room.wrapping_sub(watts);
        at = slot.parent;
    }
}
