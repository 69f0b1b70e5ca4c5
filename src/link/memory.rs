//! The in-memory end of the link: in one thread and virtual time, with delays, losses and cuts.

use super::{Downlink, Report, Shout, Uplink};
use ampacity_core::units::{Ppm, Span, Time};
use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg32;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

/// Reports of one agent that may be on their way to one operator: more than the longest delay holds at one a second.
const UNDER_WAY_MAX: usize = 8;

/// What all ends share.
pub type SharedExchange = Rc<RefCell<Exchange>>;

/// Shouts that wait for one agent: the newest of each kind.
#[derive(Debug, Default)]
struct Waiting {
    shed: Option<(Time, Shout)>,
    schedule: Option<(Time, Shout)>,
}

/// Reports to one operator, by load, and when each arrives.
type OnTheirWay = BTreeMap<Arc<str>, VecDeque<(Time, Arc<Report>)>>;

/// What is under way between operators and agents.
#[derive(Debug)]
pub struct Exchange {
    now: Time,
    rng: Pcg32,
    /// How long a message takes.
    pub delay: Span,
    /// Messages that are lost.
    pub lost: Ppm,
    /// Loads whose agents nobody reaches, and operators that reach nobody.
    cut: BTreeSet<String>,
    /// By operator, by load: reports on their way and when each arrives. What has arrived gives way to what arrives
    /// after it; what is on its way is never held up by what was sent later.
    reports: BTreeMap<String, OnTheirWay>,
    waiting: BTreeMap<String, Waiting>,
}

impl Exchange {
    /// An exchange whose losses follow `seed`.
    pub fn new(seed: u64, now: Time) -> SharedExchange {
        Rc::new(RefCell::new(Self {
            now,
            rng: Pcg32::seed_from_u64(seed),
            delay: Span::ZERO,
            lost: Ppm::ZERO,
            cut: BTreeSet::new(),
            reports: BTreeMap::new(),
            waiting: BTreeMap::new(),
        }))
    }

    /// Lets time pass.
    pub fn advance(&mut self, now: Time) {
        self.now = self.now.max(now);
    }

    /// Cuts off, or joins again, a load's agent or an operator by name.
    pub fn set_cut(&mut self, name: &str, cut: bool) {
        if cut {
            self.cut.insert(name.into());
        } else {
            self.cut.remove(name);
        }
    }

    fn passes(&mut self, operator: Option<&str>, load: &str) -> bool {
        let cut = self.cut.contains(load) || operator.is_some_and(|name| self.cut.contains(name));
        !cut && (self.lost <= Ppm::ZERO || i64::from(self.rng.next_u32() % 1_000_000) >= self.lost.get())
    }
}

/// An operator's end.
#[derive(Debug)]
pub struct MemoryUplink {
    exchange: SharedExchange,
    name: String,
}

impl MemoryUplink {
    /// Joins as an operator of this name.
    pub fn join(exchange: &SharedExchange, name: &str) -> Self {
        exchange.borrow_mut().reports.insert(name.into(), BTreeMap::new());
        Self { exchange: exchange.clone(), name: name.into() }
    }
}

impl Drop for MemoryUplink {
    fn drop(&mut self) {
        self.exchange.borrow_mut().reports.remove(&self.name);
    }
}

impl Uplink for MemoryUplink {
    fn poll(&mut self) -> Vec<Arc<Report>> {
        let mut exchange = self.exchange.borrow_mut();
        let now = exchange.now;
        let Some(waiting) = exchange.reports.get_mut(&self.name) else { return Vec::new() };
        let mut arrived = Vec::with_capacity(waiting.len());
        for queue in waiting.values_mut() {
            let mut newest = None;
            while queue.front().is_some_and(|(due, _)| *due <= now) {
                newest = queue.pop_front().map(|(_, report)| report);
            }
            arrived.extend(newest);
        }
        arrived
    }

    fn shout(&mut self, load: &str, shout: Shout) {
        let mut exchange = self.exchange.borrow_mut();
        if !exchange.passes(Some(&self.name), load) {
            return;
        }
        let due = exchange.now.after(exchange.delay);
        let waiting = exchange.waiting.entry(load.into()).or_default();
        match shout {
            Shout::Shed { .. } => {
                let due = waiting.shed.as_ref().map_or(due, |(before, _)| due.min(*before));
                waiting.shed = Some((due, shout));
            }
            Shout::Schedule(_) => waiting.schedule = Some((due, shout)),
        }
    }
}

/// An agent's end.
#[derive(Debug)]
pub struct MemoryDownlink {
    exchange: SharedExchange,
    load: Arc<str>,
}

impl MemoryDownlink {
    /// Joins as the agent of this load; what was shouted before is lost.
    pub fn join(exchange: &SharedExchange, load: &str) -> Self {
        exchange.borrow_mut().waiting.remove(load);
        Self { exchange: exchange.clone(), load: load.into() }
    }
}

impl Downlink for MemoryDownlink {
    fn poll(&mut self) -> Vec<Shout> {
        let mut exchange = self.exchange.borrow_mut();
        let now = exchange.now;
        let Some(waiting) = exchange.waiting.get_mut(&*self.load) else { return Vec::new() };
        let take = |slot: &mut Option<(Time, Shout)>| slot.take_if(|(due, _)| *due <= now).map(|(_, shout)| shout);
        let (shed, schedule) = (take(&mut waiting.shed), take(&mut waiting.schedule));
        shed.into_iter().chain(schedule).collect()
    }

    fn report(&mut self, report: Report) {
        let mut exchange = self.exchange.borrow_mut();
        let due = exchange.now.after(exchange.delay);
        let report = Arc::new(report);
        let mut reports = std::mem::take(&mut exchange.reports);
        for (operator, waiting) in &mut reports {
            if exchange.passes(Some(operator), &self.load) {
                let queue = waiting.entry(self.load.clone()).or_default();
                queue.truncate(UNDER_WAY_MAX - 1);
                queue.push_back((due, report.clone()));
            }
        }
        exchange.reports = reports;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ampacity_core::guard::{HolderId, Order};
    use ampacity_core::units::Watts;

    fn report(sampled: i64) -> Report {
        Report {
            load: "c-0".into(),
            holder: HolderId(1),
            order: Order::default(),
            ceiling: None,
            proof_expires: Time::ZERO,
            measured: None,
            error: Watts::ZERO,
            sampled: Time::seconds(sampled),
            unused: Watts::ZERO,
            devices: super::super::Devices::default(),
            wants_more: false,
            note: String::new(),
        }
    }

    #[test]
    fn a_report_on_its_way_is_not_held_up_by_the_one_sent_after_it() {
        let exchange = Exchange::new(1, Time::seconds(0));
        exchange.borrow_mut().delay = Span::new(1_500);
        let mut up = MemoryUplink::join(&exchange, "operator");
        let mut down = MemoryDownlink::join(&exchange, "c-0");
        let mut arrived = Vec::new();
        for second in 0..5 {
            exchange.borrow_mut().advance(Time::seconds(second));
            down.report(report(second));
            arrived.push(up.poll().first().map(|r| r.sampled.get() / 1_000));
        }
        assert_eq!(arrived, [None, None, Some(0), Some(1), Some(2)]);
    }
}
