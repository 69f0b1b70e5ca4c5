//! Clearing: who gets how many watts at the present price, and why.
//!
//! Merit order on the limit tree. Floors first: they are drawn anyway. Then segments in falling merit (rank, then value
//! less adder), each getting the least room left on its way up to the site, for as long as its merit is above the
//! price. The loads below each node are laminar, so the sets of watts that keep every limit form a polymatroid, on
//! which this greedy order is optimal (Edmonds 1970): **exact for divisible bids**.
//!
//! # Blocks and steps
//! A segment that must be taken whole, or in steps, may not fit in the room left and is passed over; what comes after
//! may use that room. The loss against the best choice is at most
//!
//! ```text
//! Σ over nodes n:  λ_n × (room left at n when it first turned a segment away)
//! ```
//!
//! which is below λ_n × (one block or step) at every node that binds, and 0 where all is divisible. Why: take Π(n), the
//! gain (merit less price) of the first segment that n turned away, or its parent's Π where that is larger, and
//! λ_n = Π(n) − Π(parent). These prices are feasible in the dual of the divisible problem, whose optimum is no less than
//! the best choice of blocks. The gap between the dual's value and what was awarded is λ_n × the room left at n in the
//! end, and (Π − gain) for every watt that was awarded at less than Π; such a watt was taken from the room that the
//! nodes which make up the difference had left when they first turned something away. The bound for this very outcome
//! is [`Clearing::loss_bound`].
//!
//! # Ties
//! Equal merit goes by the bid's place in the list, then the segment's: the order is total, the outcome has no choice.

mod book;
mod clearer;
#[cfg(test)]
mod oracle;
mod order;
#[cfg(test)]
mod tests;

pub use clearer::Clearer;

use crate::bid::Bid;
use crate::tree::{NodeId, Tree};
use crate::units::{Usd, UsdPerMwh, Watts};

/// Why a bid got what it got: what stopped its first segment that is not full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It has all it asked for.
    Full,
    /// The next segment is not worth more than the price.
    BelowPrice {
        /// What a MWh of it is worth, less the bid's adder: the price to compare with.
        value: UsdPerMwh,
    },
    /// A limit on its way to the site binds.
    Limit {
        /// The dearest limit on that way; of equals the nearest to the site.
        node: NodeId,
        /// What a MWh more at that limit would gain (λ). Near a multiple of [`crate::bid::RANK_WORTH`] where it cuts a
        /// firm lease.
        shadow_price: UsdPerMwh,
    },
    /// A block or step is larger than the room that is left.
    Indivisible {
        /// Where it is short.
        node: NodeId,
        /// What is left there, W.
        room: Watts,
        /// What the block or step needs, W.
        needs: Watts,
    },
    /// Its node is not in the tree: it gets its floor, and counts nowhere.
    Unplaced,
}

/// What one bid got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Award {
    /// Floor and all that was awarded above it, W.
    pub watts: Watts,
    /// Why no more.
    pub reason: Reason,
}

/// What one node carries after clearing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeClearing {
    /// All awards below it, W.
    pub load: Watts,
    /// Its capacity less its load, W. Negative where floors alone pass the capacity: then nothing below got more than
    /// its floor, and this is the deficit.
    pub headroom: Watts,
    /// What a MWh more of this limit alone would gain (λ_n ≥ 0); 0 where it does not bind.
    pub shadow_price: UsdPerMwh,
}

impl NodeClearing {
    /// How far floors alone pass this node's capacity, W; 0 where they fit.
    pub fn deficit(&self) -> Watts {
        (-self.headroom).at_least_zero()
    }
}

/// The outcome of one clearing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Clearing {
    /// One per bid, in the order of the bids.
    pub awards: Vec<Award>,
    /// One per node, in the order of the tree.
    pub nodes: Vec<NodeClearing>,
    /// The most that any other choice of blocks and steps could gain in an hour over this one, counting a firm MWh as a
    /// [`crate::bid::RANK_WORTH`]; 0 where all is divisible. Where floors pass a limit, against giving nothing there.
    pub loss_bound: Usd,
}

impl Clearing {
    /// What a watt at `node` must gain to be let in: the sum of the shadow prices from there to the site.
    pub fn price_of_room(&self, tree: &Tree, node: NodeId) -> UsdPerMwh {
        tree.path(node).filter_map(|n| self.nodes.get(n.index())).map(|n| n.shadow_price).sum()
    }

    /// The nodes where floors alone pass the capacity, with the deficit, W.
    pub fn deficits(&self) -> impl Iterator<Item = (NodeId, Watts)> {
        let deficits = self.nodes.iter().enumerate().map(|(at, node)| (NodeId(at as u32), node.deficit()));
        deficits.filter(|(_, watts)| *watts > Watts::ZERO)
    }
}

/// Clears `bids` on `tree` at `price`, the price of power before each bid's adder.
///
/// Total: a bid at a node that is not in the tree gets its floor and says so. Prices beyond
/// [`crate::bid::VALUE_LIMIT`] count as that. A caller that clears again and again keeps a [`Clearer`].
pub fn clear(tree: &Tree, bids: &[Bid], price: UsdPerMwh) -> Clearing {
    let mut clearer = Clearer::new();
    clearer.clear(tree, bids, price);
    clearer.into_clearing()
}
