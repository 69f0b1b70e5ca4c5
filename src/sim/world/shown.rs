//! What is to be seen of one moment.

use super::World;
use crate::operator::reason::{self, Names};
use crate::operator::site::Site;
use crate::sim::frame::{Frame, Leader, LeaseFrame, LoadFrame, NodeFrame, Sides};
use crate::store::api_time;
use ampacity_core::guard::LoadId;
use ampacity_core::lease::{Contract, Delivery, LeaseState, NoticeReason};
use ampacity_core::snapshot::{LoadKind, Member};
use ampacity_core::tree::NodeId;
use ampacity_core::units::{Span, Time, UsdPerMwh, Watts};
use std::sync::PoisonError;

/// A meter's sample older than this is shown as none.
const METER_SHOWN: Span = Span::seconds(90);

impl World {
    /// The present moment, with what was said since the last one.
    pub fn frame(&mut self) -> Frame {
        let events = std::mem::take(&mut self.said);
        let mut frame = Frame { time: rfc3339(self.now), events, ..Frame::default() };
        self.nodes(&mut frame);
        let Some(site) = self.led_site() else { return frame };
        frame.leader = self.leader().and_then(|operator| operator.leads()).map(|(name, epoch)| Leader { name, epoch });
        let millions = |micro: i64| micro as f64 / 1e6;
        frame.price_usd_per_mwh = site.prices.and_then(|p| p.energy.value()).map(|v| millions(v.get()));
        frame.hashprice_usd_per_ph_day = site.prices.and_then(|p| p.hashprice.value()).map(|v| millions(v.get()));
        frame.value_usd_per_mwh = values(site);
        self.loads(site, &mut frame);
        self.leases(site, &mut frame);
        frame
    }

    fn node_name(&self, at: usize) -> String {
        self.node_names.get(at).cloned().unwrap_or_default()
    }

    fn nodes(&self, frame: &mut Frame) {
        let site = self.led_site();
        let plant = self.plant.lock().unwrap_or_else(PoisonError::into_inner);
        let sums = site.and_then(|s| s.ledger.as_ref()).map(|ledger| (ledger.sums(self.now), ledger.tree().clone()));
        for (at, node) in self.tree.nodes().iter().enumerate() {
            let id = NodeId(u32::try_from(at).unwrap_or(u32::MAX));
            let award = site.and_then(|s| s.plan.as_ref()).and_then(|plan| plan.nodes.get(at));
            let bound = sums
                .as_ref()
                .map_or(Watts::ZERO, |(sums, tree)| tree.at_meter(id, sums.get(at).copied().unwrap_or_default()));
            let fresh = plant.meter(id).filter(|sample| self.now.since(sample.time) <= METER_SHOWN);
            let shown = NodeFrame {
                limit_watts: award.map_or(node.limit, |award| award.limit).get(),
                bound_watts: bound.get(),
                measured_watts: fresh.map(|sample| sample.watts.get()),
                true_watts: plant.true_watts(id).get(),
            };
            frame.nodes.insert(self.node_name(at), shown);
        }
    }

    fn loads(&self, site: &Site, frame: &mut Frame) {
        let (Some(tables), Some(ledger)) = (&site.tables, &site.ledger) else { return };
        let tenants: Vec<String> = site.leases.keys().cloned().collect();
        let names = Names { tree: &tables.tree, loads: &site.rows, leases: &tenants, now: self.now };
        let mut told: Sides<i64> = Sides::default();
        for (at, row) in site.rows.iter().enumerate() {
            let id = LoadId(u32::try_from(at).unwrap_or(u32::MAX));
            let view = ledger.view(id);
            let setpoint = view.map_or(row.terms.nameplate, |view| view.setpoint).get();
            match row.member.kind() {
                Some(LoadKind::Miner) => told.mining += setpoint,
                Some(LoadKind::Gpu) => told.gpu += setpoint,
                None => {}
            }
            let award = site.plan.as_ref().and_then(|plan| plan.load(id));
            let heard = row.report.as_ref().filter(|(_, at)| self.now.since(*at) <= Span::seconds(10));
            let shown = LoadFrame {
                kind: if matches!(row.member, Member::Pool(_)) { "gpu" } else { "miner" },
                node: self.node_name(row.terms.node.index()),
                setpoint_watts: setpoint,
                ceiling_watts: view.and_then(|v| v.stated).and_then(|s| s.ceiling).map(Watts::get),
                bound_watts: ledger.bound(id, self.now).watts.get(),
                measured_watts: heard.and_then(|(report, _)| report.measured).map(Watts::get),
                nameplate_watts: row.terms.nameplate.get(),
                reason: award.map_or_else(String::new, |award| reason::sentence(&award.reason, &names)),
            };
            frame.loads.insert(row.name.clone(), shown);
        }
        frame.allocation_watts = told;
    }

    fn leases(&self, site: &Site, frame: &mut Frame) {
        let Some(tables) = &site.tables else { return };
        let tenants: Vec<String> = site
            .leases
            .iter()
            .filter(|(_, r)| !matches!(r.state, LeaseState::Ended(_)))
            .map(|(n, _)| n.clone())
            .collect();
        let names = Names { tree: &tables.tree, loads: &site.rows, leases: &tenants, now: self.now };
        for (name, row) in &site.leases {
            let position = tenants.iter().position(|tenant| tenant == name);
            let award = position.and_then(|at| site.plan.as_ref()?.leases.get(at));
            let reason = award.map_or_else(String::new, |award| reason::sentence(&award.reason, &names));
            let mut shown =
                LeaseFrame { state: state_word(&row.state, self.now).into(), reason, ..LeaseFrame::default() };
            if let LeaseState::Accepted(contract) | LeaseState::Ended(contract) = &row.state {
                self.contract(contract, &mut shown);
                if matches!(contract.offer.delivery, Delivery::Power { .. }) {
                    frame.allocation_watts.power += contract.grant.watts.get();
                }
            }
            let work = self.ground.progress(row.key.namespace.as_deref().unwrap_or_default(), &row.key.name);
            shown.progress = work.filter(|w| w.total > 0).map(|w| w.done as f64 / w.total as f64);
            frame.leases.insert(name.clone(), shown);
        }
    }

    fn contract(&self, contract: &Contract, shown: &mut LeaseFrame) {
        let terms = &contract.offer.terms;
        shown.firm = terms.firm;
        shown.granted_watts = contract.grant.watts.get();
        shown.curtailed_seconds = contract.account_at(self.now).total.whole_seconds();
        shown.allowance_seconds = (!terms.firm).then(|| terms.allowance.curtailed.whole_seconds());
        shown.notice_deadline = contract.running_notice().map(|notice| rfc3339(notice.deadline));
    }
}

fn state_word(state: &LeaseState, now: Time) -> &'static str {
    match state {
        LeaseState::Requested => "Requested",
        LeaseState::Offered(_) => "Offered",
        LeaseState::Refused(_) => "Refused",
        LeaseState::Ended(_) => "Ended",
        LeaseState::Accepted(contract) => {
            let running = contract.running_notice().is_some_and(|n| n.reason != NoticeReason::TermEnds);
            if now < contract.offer.start {
                "Waiting"
            } else if running {
                "Notice"
            } else if contract.grant.watts >= contract.full.watts {
                "Running"
            } else if contract.grant.watts > Watts::ZERO {
                "Capped"
            } else if contract.account.running.is_some() {
                "Curtailed"
            } else {
                "Waiting"
            }
        }
    }
}

fn rfc3339(at: Time) -> String {
    api_time(at).0.to_string()
}

/// What the next watt is worth on each side: a container's next preset at today's hashprice, less fee and wear; the
/// cheapest flexible lease's rent and credit.
fn values(site: &Site) -> Sides<Option<f64>> {
    let millions = |value: UsdPerMwh| value.get() as f64 / 1e6;
    let hashprice = site.prices.and_then(|prices| prices.hashprice.value());
    let containers = site.rows.iter().enumerate().filter_map(|(at, row)| {
        let Member::Fleet(fleet) = row.member else { return None };
        let fleet = &site.tables.as_ref()?.fleets.get(fleet as usize)?.core;
        let told = site.ledger.as_ref()?.view(LoadId(u32::try_from(at).ok()?))?.setpoint;
        let each = (told - fleet.overhead).get() / i64::from(fleet.miners.max(1));
        let mut steps = fleet.ladder.vertices().windows(2).filter_map(|pair| match pair {
            [low, high] => Some((high.watts, high.watts - low.watts, high.hashrate - low.hashrate)),
            _ => None,
        });
        let last = fleet.ladder.steps().last()?;
        let next = steps.find(|(upto, ..)| upto.get() > each + 1);
        let (watts, hashrate) = next.map_or((last.watts, last.hashrate), |(_, watts, hashrate)| (watts, hashrate));
        let kept = ampacity_core::units::Ppm::new(1_000_000 - fleet.pool_fee.get());
        Some((next.is_some(), hashprice?.per_mwh(hashrate, watts).part(kept) - fleet.wear))
    });
    let (below, full): (Vec<_>, Vec<_>) = containers.partition(|(below, _)| *below);
    let best = below.into_iter().map(|(_, value)| value).max();
    let leases = site.leases.values().filter_map(|row| match &row.state {
        LeaseState::Accepted(contract) if !contract.offer.terms.firm => {
            Some(contract.rent_per_mwh() + contract.offer.terms.credit)
        }
        _ => None,
    });
    Sides {
        mining: best.or(full.into_iter().map(|(_, value)| value).min()).map(millions),
        gpu: leases.min().map(millions),
        power: None,
    }
}
