//! What is cleared: the tree's room and every segment, in flat tables that are kept from tick to tick.

use super::order::Order;
use crate::bid::{Bid, Segment};
use crate::tree::{NodeId, Tree};
use crate::units::{UsdPerMwh, Watts};

/// Stands above the site in the table of parents.
pub(super) const NONE: u32 = u32::MAX;
/// So many pieces are ranked at a time, as many again as there are: at least, and at most.
const LEAST_RANKED: usize = 8;
const MOST_RANKED: usize = 512;

/// The tables, and the merit order for as long as no merit changes.
#[derive(Debug, Default)]
pub(super) struct Book {
    /// Every segment, bid by bid.
    pub(super) pieces: Vec<Piece>,
    /// Their merits.
    pub(super) merits: Vec<i64>,
    /// The first of them in merit order, so that the greedy pass reads straight on: as many as a pass has come to.
    pub(super) ranked: Vec<Ranked>,
    /// Per piece, where it stands in `ranked`. Empty until it is needed, and when more are ranked.
    places: Vec<u32>,
    order: Order,
    /// Per bid.
    pub(super) seats: Vec<Seat>,
    /// Per node, what floors below it draw, W.
    pub(super) drawn: Vec<i64>,
    /// Per node, its room after floors.
    pub(super) floors: Vec<Slot>,
}

/// One segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    pub(super) segment: Segment,
    pub(super) bid: u32,
    pub(super) node: u32,
}

/// One segment as the greedy pass needs it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ranked {
    pub(super) merit: i64,
    pub(super) watts: i64,
    pub(super) piece: u32,
    pub(super) bid: u32,
    pub(super) node: u32,
    pub(super) stepped: bool,
}

impl Ranked {
    fn new(place: u32, merit: i64, piece: &Piece) -> Self {
        let Piece { segment: Segment { watts, step, .. }, bid, node } = *piece;
        Self { merit, watts: watts.get(), piece: place, bid, node, stepped: step > Watts::ZERO }
    }
}

/// One bid, but for its pieces: where they start and end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seat {
    pub(super) floor: i64,
    adder: UsdPerMwh,
    pub(super) first: u32,
    pub(super) end: u32,
    pub(super) node: u32,
    pub(super) rank: u8,
}

/// What is left at one node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub(super) room: i64,
    pub(super) parent: u32,
    /// Has turned a segment away.
    pub(super) binds: bool,
}

impl Book {
    /// Takes in the tree and the bids; sorts only if a merit changed since the last time.
    pub(super) fn load(&mut self, tree: &Tree, bids: &[Bid]) {
        self.load_tree(tree);
        let kept = self.keep(bids);
        if kept < bids.len() || kept < self.seats.len() {
            self.refill(bids, kept);
            self.sort();
        }
        self.settle_floors();
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

    /// Takes in floors, widths and steps of the first bids, as many as leave the order as it is; answers how many.
    fn keep(&mut self, bids: &[Bid]) -> usize {
        for (at, (bid, seat)) in bids.iter().zip(&mut self.seats).enumerate() {
            let pieces = self.pieces.get_mut(seat.first as usize..seat.end as usize).unwrap_or_default();
            let same = (bid.node().0, bid.rank(), bid.adder()) == (seat.node, seat.rank, seat.adder);
            if !same || bid.segments().len() != pieces.len() {
                return at;
            }
            seat.floor = bid.floor().get();
            for ((segment, piece), place) in bid.segments().iter().zip(pieces).zip(seat.first..) {
                if *segment == piece.segment {
                    continue;
                }
                if segment.value != piece.segment.value {
                    return at;
                }
                piece.segment = *segment;
                if self.places.is_empty() {
                    find_places(&self.ranked, self.merits.len(), &mut self.places);
                }
                let ranked = self.places.get(place as usize).and_then(|at| self.ranked.get_mut(*at as usize));
                if let Some(ranked) = ranked {
                    *ranked = Ranked::new(place, ranked.merit, piece);
                }
            }
        }
        bids.len().min(self.seats.len())
    }

    /// Flattens all bids after the first `kept`.
    fn refill(&mut self, bids: &[Bid], kept: usize) {
        let rest = bids.get(kept..).unwrap_or_default();
        let first = self.seats.get(kept).map_or(self.pieces.len(), |seat| seat.first as usize);
        self.seats.truncate(kept);
        self.pieces.truncate(first);
        self.merits.truncate(first);
        if self.seats.capacity() == 0 {
            let count = rest.iter().map(|b| b.segments().len()).sum();
            self.seats.reserve(rest.len());
            self.pieces.reserve(count);
            self.merits.reserve(count);
        }
        for (bid, place) in rest.iter().zip(kept as u32..) {
            let (first, node) = (self.pieces.len() as u32, bid.node().0);
            self.pieces.extend(bid.segments().iter().map(|s| Piece { segment: *s, bid: place, node }));
            self.merits.extend(bid.segments().iter().map(|s| bid.merit(s.value).get()));
            let (floor, end) = (bid.floor().get(), self.pieces.len() as u32);
            self.seats.push(Seat { floor, adder: bid.adder(), first, end, node, rank: bid.rank() });
        }
    }

    fn sort(&mut self) {
        self.order.sort(&self.merits);
        self.ranked.clear();
        self.places.clear();
    }

    /// Ranks some more, as a pass may stop early; answers whether there were any.
    pub(super) fn rank_more(&mut self) -> bool {
        let pieces = &self.pieces;
        let none = Piece { segment: Segment::new(Watts::ZERO, UsdPerMwh::ZERO), bid: NONE, node: NONE };
        let ranked = self.ranked.len();
        let more = self.order.from(ranked, &self.merits).take(ranked.clamp(LEAST_RANKED, MOST_RANKED));
        let more = more.map(|(at, merit)| Ranked::new(at, merit, pieces.get(at as usize).unwrap_or(&none)));
        self.ranked.extend(more);
        self.places.clear();
        self.ranked.len() > ranked
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
}

/// Per piece of `count`, where it stands in `ranked`; none where it does not yet.
fn find_places(ranked: &[Ranked], count: usize, places: &mut Vec<u32>) {
    places.resize(count, NONE);
    for (ranked, at) in ranked.iter().zip(0..) {
        if let Some(place) = places.get_mut(ranked.piece as usize) {
            *place = at;
        }
    }
}
