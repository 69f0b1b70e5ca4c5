//! What every answer is built of: the limits above something, the bids around it, what would change it.

use super::answer::{Bid, Explanation, Limit, Stands, usd_per_mwh};
use super::rfc3339;
use super::view::Decided;
use crate::api::power_budget::Mode;
use crate::operator::reason::{self, sentence, short};
use ampacity_core::decide::explain::{Auction, Bidder, Tranche};
use ampacity_core::guard::LoadId;
use ampacity_core::plan::Reason;
use ampacity_core::tree::NodeId;
use ampacity_core::units::{Time, UsdPerMwh, Watts};

impl Decided<'_> {
    /// An answer with what every answer says.
    pub(super) fn answer(&self, subject: String, reason: &Reason) -> Explanation {
        Explanation {
            subject,
            why: sentence(reason, &self.names()),
            reason: reason::word(reason).into(),
            ..self.head()
        }
    }

    /// The same, of what has no reason of its own.
    pub(super) fn head(&self) -> Explanation {
        let mode = self.site.tables.as_ref().map(|tables| tables.budget.spec.policy.mode);
        Explanation {
            site: self.site.name.clone(),
            time: rfc3339(self.snapshot.now),
            leader: self.view.leader.clone().unwrap_or_default(),
            epoch: self.ledger.epoch(),
            mode: if mode == Some(Mode::Active) { "Active" } else { "Shadow" }.into(),
            price_usd_per_mwh: self.told.price.map(usd_per_mwh),
            ..Explanation::default()
        }
    }

    /// Whose a bid is, for a person.
    pub(super) fn who(&self, bidder: Bidder) -> String {
        match bidder {
            Bidder::Load(load) => self.names().load(load),
            Bidder::Lease(at) => self.names().lease(at),
            Bidder::Kept(node) => format!("kept for leases in {}", self.names().node(node)),
        }
    }

    /// The limits from a node up to the site.
    pub(super) fn limits(&self, from: NodeId) -> Vec<Limit> {
        let path: Vec<NodeId> = self.ledger.tree().path(from).collect();
        let (sums, rooms) = (self.ledger.sums(self.view.now), self.ledger.headroom(self.view.now));
        path.into_iter().map(|node| self.limit(node, &sums, &rooms)).collect()
    }

    fn limit(&self, node: NodeId, sums: &[Watts], rooms: &[Watts]) -> Limit {
        let at = node.index();
        let award = self.told.plan.nodes.get(at);
        let shadow = award.map(|award| award.shadow_price).filter(|price| *price > UsdPerMwh::ZERO);
        let event = self.told.events.get(at).and_then(Option::as_ref);
        Limit {
            node: self.names().node(node),
            limit_watts: award.map_or(0, |award| award.limit.get()),
            capacity_watts: award.map_or(0, |award| award.capacity.get()),
            awarded_watts: award.map_or(0, |award| award.awarded.get()),
            bound_watts: sums.get(at).map_or(0, |watts| watts.get()),
            room_watts: rooms.get(at).map_or(0, |watts| watts.get()),
            shadow_price_usd_per_mwh: shadow.map(shown),
            event: event.map(|(name, until)| self.event(name, *until)),
            raising_watts: self.raising(node).get(),
        }
    }

    fn event(&self, name: &str, until: Time) -> String {
        match until {
            Time::MAX => format!("{} until withdrawn", short(name)),
            until => format!("{} until {}", short(name), self.names().time(until)),
        }
    }

    /// What was raised below a node and is not answered for yet: what loads count above setpoint and ceiling, W.
    fn raising(&self, node: NodeId) -> Watts {
        let tree = self.ledger.tree();
        let loads = (0_u32..).map(LoadId).zip(&self.site.rows);
        let below = loads.filter(|(_, row)| tree.path(row.terms.node).any(|n| n == node));
        below.map(|(load, _)| self.in_flight(load)).sum()
    }

    /// What of a load's bound is a raise that is not answered yet, W.
    pub(super) fn in_flight(&self, load: LoadId) -> Watts {
        let Some(view) = self.ledger.view(load) else { return Watts::ZERO };
        let Some(ceiling) = view.stated.and_then(|stated| stated.ceiling) else { return Watts::ZERO };
        let bound = self.ledger.bound(load, self.view.now);
        let known = bound.basis == ampacity_core::guard::Basis::Known;
        if known { (bound.watts - view.setpoint.max(ceiling)).at_least_zero() } else { Watts::ZERO }
    }

    /// The bids around one: its own, then who would go and who would come where its limit binds.
    pub(super) fn bids(&self, auction: &Auction, bidder: Bidder, at: NodeId) -> Vec<Bid> {
        let stands = |step: &Tranche| match step.taken {
            taken if taken >= step.watts => Stands::Runs,
            Watts::ZERO => Stands::Waits,
            _ => Stands::Part,
        };
        let own = auction.steps(bidder);
        let mut bids: Vec<Bid> = own.iter().map(|step| self.bid(step, stands(step))).collect();
        bids.extend(auction.next_out(at, Some(bidder)).map(|step| self.bid(&step, Stands::NextOut)));
        bids.extend(auction.next_in(at, Some(bidder)).map(|step| self.bid(&step, Stands::NextIn)));
        bids
    }

    pub(super) fn bid(&self, step: &Tranche, stands: Stands) -> Bid {
        let note = match (step.is_firm(), step.is_kept()) {
            (true, _) => "firm",
            (false, true) => "kept on",
            _ => "",
        };
        Bid {
            who: self.who(step.bidder),
            stands,
            watts: step.watts.get(),
            awarded_watts: step.taken.get(),
            usd_per_mwh: (!step.is_kept()).then(|| usd_per_mwh(step.merit)),
            note: note.into(),
        }
    }

    /// What would change an award: price and room, as clearing answers.
    pub(super) fn changes(&self, auction: &Auction, bidder: Bidder) -> Vec<String> {
        let mut changes = Vec::new();
        if let Some((price, gain)) = auction.more_below(bidder) {
            changes.push(format!("would get {gain} more if power cost less than {} USD/MWh", usd_per_mwh(price)));
        }
        if let Some(room) = auction.more_with_room(bidder) {
            let mut nodes: Vec<String> = room.nodes.iter().map(|node| self.names().node(*node)).collect();
            nodes.sort();
            let each = if nodes.len() > 1 { " each" } else { "" };
            let (gain, watts) = (room.gain, room.watts);
            changes.push(format!("would get {gain} more if {}{each} had room for {watts} more", nodes.join(" and ")));
        }
        if let Some((price, loss)) = auction.less_from(bidder) {
            changes.push(format!("would lose {loss} once power costs {} USD/MWh", usd_per_mwh(price)));
        }
        changes
    }

    /// What a hold that stands waits for, and what ends it.
    pub(super) fn ends(&self, reason: &Reason) -> Option<String> {
        let names = self.names();
        Some(match reason {
            Reason::MinimumOn { until } => format!("may be stopped for money from {}", names.time(*until)),
            Reason::MinimumOff { until } => format!("may start again from {}", names.time(*until)),
            Reason::Lockout { name, holder, .. } => {
                format!("{} releases it: kubectl delete lockout {}", short(holder), short(name))
            }
            Reason::Event { name, until: Time::MAX } => format!("ends when grid event {} is withdrawn", short(name)),
            Reason::Event { name, until } => format!("grid event {} ends at {}", short(name), names.time(*until)),
            Reason::StaleMeter { node } => format!("a new sample of the meter of {}", names.node(*node)),
            Reason::UnreadHold { name } => format!("{} is written so that it can be read, or deleted", short(name)),
            Reason::NoPrice => "a price, and a hashprice, that may be acted on".into(),
            Reason::NotProved { .. } => "its agent proves the order, or is replaced".into(),
            Reason::DeadBand { .. } => {
                "a price that makes the change worth more than the dead band and a switch".into()
            }
            Reason::Trimmed { .. } => "it uses what it has and asks for more".into(),
            Reason::Unreadable => "its fleet or pool is made readable again".into(),
            Reason::NoLease => "a lease's Jobs land on its node".into(),
            Reason::Obligation { until, .. } if *until < Time::MAX => {
                format!("the sold reserve ends at {}", names.time(*until))
            }
            _ => return None,
        })
    }

    /// The node whose limit stops somebody; the site where none does: there price decides.
    pub(super) fn stops(&self, auction: &Auction, bidder: Bidder) -> NodeId {
        match auction.award(bidder).map(|award| award.reason) {
            Some(
                ampacity_core::clear::Reason::Limit { node, .. }
                | ampacity_core::clear::Reason::Indivisible { node, .. },
            ) => node,
            _ => NodeId::SITE,
        }
    }
}

/// A shadow price; where what must run waits, no number says more.
fn shown(price: UsdPerMwh) -> String {
    if price >= ampacity_core::hold::HELD_WORTH { "must-run".into() } else { usd_per_mwh(price) }
}
