//! The slow exact answer that clearing is held against: every award in whole megawatts is tried, by dynamic programming
//! over the tree. It knows nothing of merit order or prices of room, and handles blocks and steps alike.

use crate::bid::{Bid, Segment};
use crate::tree::{NodeId, Tree};
use crate::units::Watts;

/// Worth by rank, the highest first: compared in that order.
pub(super) type Worth = [i128; 3];

/// Every quantity of an instance is a whole multiple of this.
pub(super) const QUANTUM: i64 = 1_000_000;

fn plus(a: Worth, b: Worth) -> Worth {
    [a[0] + b[0], a[1] + b[1], a[2] + b[2]]
}

/// Best worth with at most `index` quanta below a node.
type Table = Vec<Worth>;

/// The best total worth above the floors, where nothing is given below a node whose floors alone pass its capacity.
pub(super) fn best(tree: &Tree, bids: &[Bid], worth: impl Fn(&Bid, &Segment) -> Worth) -> Worth {
    let floors = tree.sums(bids.iter().map(|b| (b.node(), b.floor())));
    let room = |at: usize| ((tree.capacity(NodeId(at as u32)) - floors[at]).at_least_zero().get() / QUANTUM) as usize;
    let mut tables: Vec<Table> = (0..tree.len()).map(|at| vec![Worth::default(); room(at) + 1]).collect();
    for bid in bids {
        let at = bid.node().index();
        tables[at] = merge(&tables[at], &options(bid, &worth), tables[at].len());
    }
    for at in (1..tree.len()).rev() {
        let parent = tree.nodes()[at].parent.unwrap().index();
        let options: Vec<Option<Worth>> = tables[at].iter().copied().map(Some).collect();
        tables[parent] = merge(&tables[parent], &options, tables[parent].len());
    }
    *tables[0].last().unwrap()
}

/// What each number of quanta above the floor is worth to a bid; none where that number cannot be awarded.
fn options(bid: &Bid, worth: &impl Fn(&Bid, &Segment) -> Worth) -> Vec<Option<Worth>> {
    let mut options = vec![Some(Worth::default())];
    for segment in bid.segments() {
        let full = (segment.watts.get() / QUANTUM) as usize;
        let before = options.last().copied().flatten().unwrap();
        let a_quantum = worth(bid, segment);
        for taken in 1..=full {
            let watts = Watts::new(taken as i64 * QUANTUM);
            let allowed = watts.floor_to(segment.step) == watts;
            let much = a_quantum.map(|w| w * taken as i128);
            options.push(allowed.then_some(plus(before, much)));
        }
    }
    options
}

fn merge(table: &Table, options: &[Option<Worth>], length: usize) -> Table {
    let choices = |room: usize| {
        let with = move |taken: usize| options[taken].map(|worth| plus(table[room - taken], worth));
        (0..=room.min(options.len() - 1)).filter_map(with).max().unwrap()
    };
    (0..length).map(choices).collect()
}
