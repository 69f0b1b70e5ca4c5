//! What the judge is shown of obligations: what truly draws for each, and what could besides.

use super::World;
use super::judged::Judged;
use crate::api::LoadKind as ApiKind;
use crate::api::common::Word;
use crate::api::grid_event::{EventType, GridEventCondition, GridEventSpec};
use crate::sim::account::{EventSeen, ObligationSeen};
use crate::sim::plant::Plant;
use ampacity_core::lease::Delivery;
use ampacity_core::tree::{NodeId, Tree};
use ampacity_core::units::{Ppm, Span, Time, Watts};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time as Stamp;
use kube::ResourceExt;
use std::collections::BTreeMap;

/// What honest sensors may add to a draw: 2 % of a miner's own, which agents add to each sample, and what the plant's
/// bias and noise come to (0.5 and 0.3 %).
const SENSED: Ppm = Ppm::percent(3);
/// Of a container's machines so many are taken to be able to work: some break in the course of a day.
const WORKING: Ppm = Ppm::percent(90);
/// A limit that begins so soon may keep watts from an obligation already.
const LIMIT_AHEAD: Span = Span::minutes(30);

/// What holds for all obligations of one tick.
pub(super) struct Moment<'a> {
    pub(super) tree: &'a Tree,
    pub(super) plant: &'a Plant,
    pub(super) now: Time,
    /// Every limit of an event.
    pub(super) limits: &'a [EventSeen],
    /// Whether anything else may keep watts from an obligation: a fault, a lockout, doubt, no price, no leader.
    pub(super) troubled: bool,
}

/// A moment of a manifest.
pub(super) fn moment(stamp: &Stamp) -> Time {
    Time::new(stamp.0.as_millisecond())
}

impl Judged {
    /// Reads what the operators say of the obligations that stand; nothing, where nobody leads who could say it.
    pub(super) fn read_told(&mut self, world: &World) {
        self.told.clear();
        if world.led_site().is_none() || !self.events.values().any(|(event, _)| event.type_ == EventType::Obligation) {
            return;
        }
        let met = GridEventCondition::Met.as_str();
        for event in world.ground.events() {
            let conditions = event.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
            let said = conditions.iter().find(|condition| condition.type_ == met);
            if let Some(said) = said {
                self.told.insert(event.name_any(), said.status == "True");
            }
        }
    }

    /// Every obligation that stands and whose feeder is there.
    pub(super) fn obligations(&self, at: &Moment<'_>) -> Vec<ObligationSeen> {
        let stands = self.events.iter().filter(|(_, (event, _))| event.type_ == EventType::Obligation);
        stands.filter_map(|(name, (event, seen))| self.obligation(name, event, *seen, at)).collect()
    }

    fn obligation(&self, name: &str, event: &GridEventSpec, seen: Time, at: &Moment<'_>) -> Option<ObligationSeen> {
        let minimum = event.minimum_watts?.watts();
        let node = event.target.feeder.as_ref().map_or(Some(NodeId::SITE), |name| at.tree.find(name))?;
        let response = Span::seconds(event.response_seconds);
        let takes = |kind: ApiKind| event.target.kind.is_none_or(|own| own == kind);
        let (mut drawn, mut tolerance, mut spare) = (Watts::ZERO, Watts::ZERO, Watts::ZERO);
        if takes(ApiKind::Miner) {
            let mut room = self.room(at);
            for (place, seat) in self.loads.iter().enumerate() {
                if seat.gpu || !at.tree.path(seat.node).any(|above| above == node) {
                    continue;
                }
                let watts = at.plant.load_watts(place);
                drawn += (watts - seat.floor).at_least_zero();
                tolerance += watts.part(SENSED) + seat.overhead;
                let more = (seat.full.part(WORKING) - watts).at_least_zero();
                let free = |n: NodeId| room.get(n.index()).copied().unwrap_or_default().at_least_zero();
                let more = at.tree.path(seat.node).map(free).fold(more, Watts::min);
                for above in at.tree.path(seat.node) {
                    if let Some(left) = room.get_mut(above.index()) {
                        *left -= more;
                    }
                }
                spare += more;
            }
        }
        if takes(ApiKind::Gpu) {
            let (gpus, sensed) = self.leased(node, response, at);
            drawn += gpus;
            tolerance += sensed;
        }
        let from = event.start.as_ref().map_or(seen, moment);
        let limited = |limit: &EventSeen| limit.from.before(LIMIT_AHEAD) <= at.now && at.now < limit.until;
        Some(ObligationSeen {
            name: name.to_owned(),
            minimum,
            true_watts: drawn,
            tolerance,
            spare,
            from,
            until: event.end.as_ref().map_or(Time::MAX, moment),
            seen,
            response,
            told_met: self.told.get(name).copied(),
            excused: at.troubled || at.limits.iter().any(limited),
        })
    }

    /// By node, what more containers could draw there: GPU nodes and halls counted at all that they may draw, miners at
    /// what safety counts them with at what they draw.
    fn room(&self, at: &Moment<'_>) -> Vec<Watts> {
        let counts = |(place, seat): (usize, &super::judged::Seat)| {
            let watts = at.plant.load_watts(place);
            let counted = if seat.gpu { seat.full.max(watts) } else { watts + watts.part(SENSED) + seat.overhead };
            (seat.node, counted)
        };
        let hall = |node: &NodeId| (*node, at.tree.node(*node).map_or(Watts::ZERO, |node| node.limit));
        let leaves = self.loads.iter().enumerate().map(counts).chain(self.halls.iter().map(hall));
        let sums = at.tree.sums(leaves);
        (0_u32..).zip(sums).map(|(node, sum)| at.tree.capacity(NodeId(node)) - sum).collect()
    }

    /// What flexible leases below `node` truly draw above lowest caps, whose notice is no longer than `response`, W; and
    /// what sensors may add to it. A lease draws no more than its grant, and its nodes no more than they do.
    fn leased(&self, node: NodeId, response: Span, at: &Moment<'_>) -> (Watts, Watts) {
        let mut granted: BTreeMap<NodeId, Watts> = BTreeMap::new();
        for pinned in self.contracts.values() {
            let terms = &pinned.contract.offer.terms;
            let jobs = matches!(pinned.contract.offer.delivery, Delivery::Jobs { .. });
            let place = pinned.node.filter(|own| at.tree.path(*own).any(|above| above == node));
            if let Some(place) = place.filter(|_| jobs && !terms.firm && terms.notice <= response) {
                *granted.entry(place).or_default() += pinned.contract.grant.watts;
            }
        }
        let (mut drawn, mut sensed) = (Watts::ZERO, Watts::ZERO);
        for (place, granted) in granted {
            let seats = self.loads.iter().enumerate().filter(|(_, seat)| seat.gpu && seat.node == place);
            let watts = seats.map(|(load, seat)| (at.plant.load_watts(load) - seat.floor).at_least_zero());
            drawn += watts.sum::<Watts>().min(granted);
            // The host's part of a node's overhead is stated at its most.
            let seats = self.loads.iter().filter(|seat| seat.gpu && seat.node == place);
            sensed += granted.part(SENSED) + seats.map(|seat| seat.overhead).sum();
        }
        (drawn, sensed)
    }
}
