//! Why a decision came out as it did: its bids, who stands next to whom, and what would have to change.
//!
//! Nothing is remembered for this: a decision is pure, so it is made once more from the same snapshot, and its bids are
//! kept. What would change an award is asked of clearing itself, at another price or with more room: everything else
//! as it stands, holds and ramp left out.

use super::{Facts, work};
use crate::bid::{Bid, RANK_WORTH, VALUE_LIMIT};
use crate::clear::{Award, Clearing, NodeClearing, Reason, clear};
use crate::guard::LoadId;
use crate::lease::{Digest, LeaseState};
use crate::plan::Plan;
use crate::snapshot::{Member, Snapshot};
use crate::tree::{Node, NodeId, Tree};
use crate::units::{Span, Time, Usd, UsdPerMwh, Watts};

const HOUR: Span = Span::minutes(60);
/// Rooms are found to this many watts: no breaker is set finer.
const ROOM_STEP: i64 = 1_000;

/// Whose a bid is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bidder {
    /// A load's.
    Load(LoadId),
    /// That of the lease at this position of the snapshot.
    Lease(u32),
    /// Nobody's: kept free at this node for what a lease was granted and does not draw yet.
    Kept(NodeId),
}

/// A decision, and what it was made of.
#[derive(Clone, Debug)]
pub struct Explained {
    /// The decision.
    pub plan: Plan,
    /// The price that it was made by; none: everything held.
    pub price: Option<UsdPerMwh>,
    /// The limits in force, grid events included.
    pub tree: Tree,
    /// By node: the grid event that tightened it, with its end.
    pub events: Vec<Option<(String, Time)>>,
    /// By load: where it is to go, W; the plan's own watts are as far as its ramp allows.
    pub targets: Vec<Watts>,
    /// The loads, with the leases as they are granted.
    pub loads: Auction,
    /// The leases beside the loads, where a lease was free to be given notice.
    pub leases: Option<Auction>,
    /// What an hour of the targets and grants is worth.
    pub hourly: Hourly,
}

/// Bids and what clearing made of them.
#[derive(Clone, Debug)]
pub struct Auction {
    tree: Tree,
    price: Option<UsdPerMwh>,
    bidders: Vec<Bidder>,
    bids: Vec<Bid>,
    clearing: Clearing,
}

/// One step of a bid, and how much of it was awarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tranche {
    /// Whose.
    pub bidder: Bidder,
    /// How wide it is, W.
    pub watts: Watts,
    /// How much of it was awarded, W.
    pub taken: Watts,
    /// What it was compared with the price by: its value, with what a change would have to be worth.
    pub merit: UsdPerMwh,
}

/// What would change an award.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    /// The limits that would have to be higher, all of them.
    pub nodes: Vec<NodeId>,
    /// By how much, W.
    pub watts: Watts,
    /// What would be awarded more, W.
    pub gain: Watts,
}

/// What an hour is worth to the site, as watts are awarded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hourly {
    /// What the miners earn above their floors.
    pub mining: Usd,
    /// Rent of what is granted.
    pub rent: Usd,
    /// Credits for what is withheld.
    pub credits: Usd,
    /// What the power costs, or could be sold for.
    pub power: Usd,
}

impl Hourly {
    /// All of it together.
    pub fn margin(&self) -> Usd {
        self.mining + self.rent - self.credits - self.power
    }
}

impl Tranche {
    /// Kept on whatever the price: by a hold, an obligation or firm terms. No number says more.
    pub fn is_kept(&self) -> bool {
        self.merit >= super::obligations::UNKNOWN_PRICE
    }

    /// It runs on firm terms.
    pub fn is_firm(&self) -> bool {
        self.merit >= RANK_WORTH - VALUE_LIMIT
    }
}

/// Decides once more, and keeps what the decision was made of. The plan is that of [`super::decide`].
pub fn explain(snapshot: &Snapshot, digest: Digest) -> Explained {
    let (mut facts, mut leases, ramp) = work(snapshot, digest);
    let (price, tree) = (facts.price, facts.limits.tree.clone());
    let (bids, clearing) = (std::mem::take(&mut facts.bids), facts.cleared.clone());
    let own = (0..snapshot.loads.len() as u32).map(|at| Bidder::Load(LoadId(at)));
    let kept = bids.iter().skip(snapshot.loads.len()).map(|bid| Bidder::Kept(bid.node()));
    let bidders = own.clone().chain(kept).collect();
    let loads = Auction { tree: tree.clone(), price, bidders, bids, clearing };
    let accepted = snapshot.leases.iter().enumerate().filter(|(_, l)| matches!(l.state, LeaseState::Accepted(_)));
    let accepted = accepted.map(|(at, _)| Bidder::Lease(at as u32));
    let bidders: Vec<Bidder> = own.chain(accepted).collect();
    let cleared = leases.cleared.take();
    let auction = cleared.map(|(bids, clearing)| Auction { tree: tree.clone(), price, bidders, bids, clearing });
    let event = |event: &Option<&crate::snapshot::TimedLimit>| event.map(|e| (e.name.clone(), e.until));
    let events = facts.limits.events.iter().map(event).collect();
    let targets: Vec<Watts> = (0..snapshot.loads.len()).map(|at| facts.target(at)).collect();
    let mut hourly = mined(&facts, &targets);
    let plan = super::report::plan(&facts, leases, ramp);
    leased(&mut hourly, &plan, snapshot.now);
    Explained { plan, price, tree, events, targets, loads, leases: auction, hourly }
}

fn mined(facts: &Facts<'_>, targets: &[Watts]) -> Hourly {
    let mut hourly = Hourly::default();
    let hour = |watts: Watts, value| watts.over(HOUR).at(value);
    for (load, target) in facts.snapshot.loads.iter().zip(targets) {
        hourly.power += hour(*target, facts.price.unwrap_or_default());
        let Member::Fleet(fleet) = load.member else { continue };
        let Some(sold) = facts.sold.get(fleet as usize) else { continue };
        let mut left = (*target - sold.floor).at_least_zero();
        for segment in &sold.segments {
            let watts = segment.watts.min(left);
            hourly.mining += hour(watts, segment.value);
            left -= watts;
        }
    }
    hourly
}

fn leased(hourly: &mut Hourly, plan: &Plan, now: Time) {
    for award in &plan.leases {
        let LeaseState::Accepted(contract) = &award.state else { continue };
        if now < contract.offer.start {
            continue;
        }
        let withheld = (contract.full.watts - contract.grant.watts).at_least_zero();
        hourly.rent += contract.grant.watts.over(HOUR).at(contract.rent_per_mwh());
        hourly.credits += withheld.over(HOUR).at(contract.offer.terms.credit);
    }
}

impl Auction {
    fn place(&self, bidder: Bidder) -> Option<usize> {
        self.bidders.iter().position(|own| *own == bidder)
    }

    /// The bid and its award.
    fn own(&self, bidder: Bidder) -> Option<(usize, &Bid, &Award)> {
        let at = self.place(bidder)?;
        Some((at, self.bids.get(at)?, self.clearing.awards.get(at)?))
    }

    /// What a bidder got, W, and what stopped it; none: it made no bid here.
    pub fn award(&self, bidder: Bidder) -> Option<Award> {
        self.own(bidder).map(|(_, _, award)| *award)
    }

    /// How a node came out.
    pub fn node(&self, node: NodeId) -> Option<NodeClearing> {
        self.clearing.nodes.get(node.index()).copied()
    }

    /// What a bidder has to have whatever the price, W.
    pub fn floor(&self, bidder: Bidder) -> Option<Watts> {
        self.own(bidder).map(|(_, bid, _)| bid.floor())
    }

    /// The steps of a bid, in order.
    pub fn steps(&self, bidder: Bidder) -> Vec<Tranche> {
        self.place(bidder).map(|at| self.steps_of(at)).unwrap_or_default()
    }

    fn steps_of(&self, at: usize) -> Vec<Tranche> {
        let (Some(bidder), Some(bid), Some(award)) =
            (self.bidders.get(at), self.bids.get(at), self.clearing.awards.get(at))
        else {
            return Vec::new();
        };
        let mut left = (award.watts - bid.floor()).at_least_zero();
        let step = |segment: &crate::bid::Segment| {
            let taken = segment.watts.min(left);
            left -= taken;
            Tranche { bidder: *bidder, watts: segment.watts, taken, merit: bid.merit(segment.value) }
        };
        bid.segments().iter().map(step).collect()
    }

    /// Every step of every bid at or below a node, with its bid's place.
    fn below(&self, node: NodeId) -> impl Iterator<Item = (usize, Tranche)> {
        let inside: Vec<bool> =
            (0..self.tree.len()).map(|at| self.tree.path(NodeId(at as u32)).any(|n| n == node)).collect();
        let bids = self.bids.iter().enumerate();
        let bids = bids.filter(move |(_, bid)| inside.get(bid.node().index()).is_some_and(|inside| *inside));
        bids.flat_map(|(at, _)| self.steps_of(at).into_iter().map(move |step| (at, step)))
    }

    /// The awarded step that is worth least at or below a node, of another bidder: the next to go.
    pub fn next_out(&self, node: NodeId, but: Option<Bidder>) -> Option<Tranche> {
        let taken = self.below(node).filter(|(_, step)| step.taken > Watts::ZERO && Some(step.bidder) != but);
        // Of equals the last in the list goes first.
        taken.min_by_key(|(at, step)| (step.merit, std::cmp::Reverse(*at))).map(|(_, step)| step)
    }

    /// The step not awarded in full that is worth most at or below a node, of another bidder: the next to come.
    pub fn next_in(&self, node: NodeId, but: Option<Bidder>) -> Option<Tranche> {
        let open = self.below(node).filter(|(_, step)| step.taken < step.watts && Some(step.bidder) != but);
        open.max_by_key(|(at, step)| (step.merit, std::cmp::Reverse(*at))).map(|(_, step)| step)
    }

    fn watts_at(&self, tree: &Tree, at: usize, price: UsdPerMwh) -> Watts {
        clear(tree, &self.bids, price).awards.get(at).map_or(Watts::ZERO, |award| award.watts)
    }

    /// The price below which a bidder would be awarded more, and how much more, W; none where no price helps it.
    pub fn more_below(&self, bidder: Bidder) -> Option<(UsdPerMwh, Watts)> {
        let (at, _, award) = self.own(bidder)?;
        let next = self.steps_of(at).into_iter().find(|step| step.taken < step.watts)?;
        if next.merit > self.price? {
            return None;
        }
        let gain = self.watts_at(&self.tree, at, next.merit - UsdPerMwh::new(1)) - award.watts;
        (gain > Watts::ZERO).then_some((next.merit, gain))
    }

    /// The price from which on a bidder would be awarded less, and how much less, W; none where no price takes it.
    pub fn less_from(&self, bidder: Bidder) -> Option<(UsdPerMwh, Watts)> {
        self.price?;
        let (at, _, award) = self.own(bidder)?;
        let last = self.steps_of(at).into_iter().rfind(|step| step.taken > Watts::ZERO)?;
        if last.is_kept() {
            return None;
        }
        let loss = award.watts - self.watts_at(&self.tree, at, last.merit);
        (loss > Watts::ZERO).then_some((last.merit, loss))
    }

    /// The room that a bidder's next step waits for; none where it does not wait for room.
    pub fn more_with_room(&self, bidder: Bidder) -> Option<Room> {
        let price = self.price?;
        let (at, bid, award) = self.own(bidder)?;
        let next = self.steps_of(at).into_iter().find(|step| step.taken < step.watts)?;
        let mut node = match award.reason {
            Reason::Limit { node, .. } | Reason::Indivisible { node, .. } => node,
            Reason::Full | Reason::BelowPrice { .. } | Reason::Unplaced => return None,
        };
        let mut nodes = Vec::new();
        for _ in self.tree.path(bid.node()) {
            nodes.push(node);
            let most = self.queued(&nodes, at, next.merit);
            let raised = |watts| clear(&self.raised(&nodes, watts), &self.bids, price);
            let outcome = raised(most).awards.get(at).copied()?;
            let gain = outcome.watts - award.watts;
            if gain > Watts::ZERO {
                let got = |watts| raised(watts).awards.get(at).is_some_and(|own| own.watts >= outcome.watts);
                return Some(Room { watts: least(most, got), nodes, gain });
            }
            match outcome.reason {
                Reason::Limit { node: other, .. } | Reason::Indivisible { node: other, .. }
                    if !nodes.contains(&other) =>
                {
                    node = other;
                }
                _ => return None,
            }
        }
        None
    }

    /// What everybody up to this bid's next step waits for below some nodes, W, and what they lack already.
    fn queued(&self, nodes: &[NodeId], own: usize, merit: UsdPerMwh) -> Watts {
        let of = |node: &NodeId| {
            let before = |(at, step): &(usize, Tranche)| step.merit > merit || (step.merit == merit && *at <= own);
            let waits: Watts = self.below(*node).filter(before).map(|(_, step)| step.watts - step.taken).sum();
            let deficit = self.node(*node).map_or(Watts::ZERO, |node| node.deficit());
            waits + deficit
        };
        let most = nodes.iter().map(of).max().unwrap_or_default();
        -((-most).floor_to(Watts::new(ROOM_STEP)))
    }

    /// The tree with so much more room for loads at some nodes.
    fn raised(&self, nodes: &[NodeId], watts: Watts) -> Tree {
        let of = |(at, node): (usize, &Node)| {
            let more = if nodes.contains(&NodeId(at as u32)) { watts.plus(node.loss) } else { Watts::ZERO };
            Node { limit: node.limit + more, ..node.clone() }
        };
        Tree::new(self.tree.nodes().iter().enumerate().map(of).collect()).unwrap_or_else(|_| self.tree.clone())
    }
}

/// The least whole number of [`ROOM_STEP`]s up to `most` that is enough, where `most` is.
fn least(most: Watts, enough: impl Fn(Watts) -> bool) -> Watts {
    let (mut low, mut high) = (0, most.get() / ROOM_STEP);
    while low + 1 < high {
        let middle = low + (high - low) / 2;
        if enough(Watts::new(middle * ROOM_STEP)) {
            high = middle;
        } else {
            low = middle;
        }
    }
    Watts::new(high * ROOM_STEP)
}
