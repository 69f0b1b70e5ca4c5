//! What is cleared: the tree's room and every segment, in flat tables that are kept from tick to tick.

use super::order::Order;
use crate::bid::Bid;
use crate::tree::{NodeId, Tree};

/// Stands above the site in the table of parents.
pub(super) const NONE: u32 = u32::MAX;

/// The tables, and the merit order for as long as no merit changes.
#[derive(Debug, Default)]
pub(super) struct Book {
    /// Every segment, bid by bid.
    pub(super) pieces: Vec<Piece>,
    /// The same in merit order, so that the greedy pass reads straight on.
    pub(super) ranked: Vec<Ranked>,
    /// Per piece, where it stands in that order.
    places: Vec<u32>,
    sorted: bool,
    order: Order,
    /// Per bid.
    pub(super) seats: Vec<Seat>,
    /// Per node, what floors below it draw, W.
    pub(super) drawn: Vec<i64>,
    /// Per node, its room after floors.
    pub(super) floors: Vec<Slot>,
}

/// One segment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Piece {
    pub(super) merit: i64,
    pub(super) watts: i64,
    pub(super) step: i64,
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
    fn new(place: u32, piece: &Piece) -> Self {
        let Piece { merit, watts, step, bid, node } = *piece;
        Self { merit, watts, piece: place, bid, node, stepped: step > 0 }
    }
}

/// Where one bid's pieces start, and its floor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seat {
    pub(super) floor: i64,
    pub(super) first: u32,
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
        self.load_bids(bids);
        if !self.sorted {
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

    /// Flattens the bids; keeps the order if every merit is what it was.
    fn load_bids(&mut self, bids: &[Bid]) {
        self.seats.clear();
        self.seats.reserve(bids.len());
        if self.pieces.is_empty() {
            self.pieces.reserve(bids.iter().map(|b| b.segments().len()).sum());
        }
        let mut count = 0_u32;
        for (bid, place) in bids.iter().zip(0..) {
            let node = bid.node().0;
            let placed = bid.node().index() < self.floors.len();
            self.seats.push(Seat { floor: bid.floor().get(), first: count, node, rank: bid.rank() });
            for segment in bid.segments() {
                let watts = if placed { segment.watts.get() } else { 0 };
                let merit = bid.merit(segment.value).get();
                self.load_piece(count, Piece { merit, watts, step: segment.step.get(), bid: place, node });
                count += 1;
            }
        }
        if self.pieces.len() > count as usize {
            self.pieces.truncate(count as usize);
            self.sorted = false;
        }
    }

    fn load_piece(&mut self, at: u32, piece: Piece) {
        match self.pieces.get_mut(at as usize) {
            Some(before) if *before == piece => {}
            Some(before) => {
                self.sorted &= before.merit == piece.merit;
                *before = piece;
                if self.sorted {
                    let place = self.places.get(at as usize).map_or(0, |p| *p as usize);
                    if let Some(ranked) = self.ranked.get_mut(place) {
                        *ranked = Ranked::new(at, &piece);
                    }
                }
            }
            None => {
                self.pieces.push(piece);
                self.sorted = false;
            }
        }
    }

    fn sort(&mut self) {
        let pieces = &self.pieces;
        let order = self.order.sort(pieces.iter().map(|p| p.merit));
        let none = Piece { merit: 0, watts: 0, step: 0, bid: NONE, node: NONE };
        self.ranked.clear();
        self.ranked.extend(order.map(|at| Ranked::new(at, pieces.get(at as usize).unwrap_or(&none))));
        self.places.resize(pieces.len(), 0);
        for (ranked, at) in self.ranked.iter().zip(0..) {
            if let Some(place) = self.places.get_mut(ranked.piece as usize) {
                *place = at;
            }
        }
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
}
