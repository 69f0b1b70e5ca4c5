//! What both ends of the link keep: one table of cases, run through the port alone.
//!
//! What only surroundings can do (time, cuts, another leader) is the [`End`]'s. The end in memory runs in virtual time,
//! that of a cluster over real TLS (`grpc/tests.rs`).

use super::{Devices, Downlink, Report, Shout, Uplink};
use ampacity_core::guard::{HolderId, KnownLimit, Order};
use ampacity_core::units::{Time, Watts};
use std::sync::Arc;

/// An end, and what surrounds it.
pub(super) trait End {
    /// The operator that leads.
    fn up(&mut self) -> &mut dyn Uplink;
    /// A new agent of a load; two calls are two runs.
    fn join(&mut self, load: &str) -> Box<dyn Downlink>;
    /// Cuts a load's agent off, or joins it again.
    fn cut(&mut self, load: &str, cut: bool);
    /// Another operator leads from now on, and agents are told where it is.
    fn take_over(&mut self, agents: &mut [&mut Box<dyn Downlink>]);
    /// Lets a little time pass.
    fn pass(&mut self);
}

/// Looks of [`until`], each after a little time.
const LOOKS: u32 = 1_500;

fn until<T>(end: &mut dyn End, what: &str, mut look: impl FnMut(&mut dyn End) -> Option<T>) -> T {
    for _ in 0..LOOKS {
        if let Some(found) = look(end) {
            return found;
        }
        end.pass();
    }
    panic!("waited in vain for {what}")
}

pub(super) fn report(load: &str, sampled: i64) -> Report {
    Report {
        load: load.into(),
        holder: HolderId(7),
        order: Order { epoch: 3, sequence: 4 },
        ceiling: Some(Watts::new(40)),
        proof_expires: Time::new(90_500),
        measured: None,
        error: Watts::new(2),
        sampled: Time::seconds(sampled),
        devices: Devices { total: 8, proved: 5, silent: 2, contradicting: 1, idle: 4 },
        unused: Watts::new(3),
        wants_more: true,
        note: "waking".into(),
    }
}

pub(super) fn shed(sequence: u64) -> Shout {
    Shout::Shed { order: Order { epoch: 3, sequence }, setpoint: Watts::new(20) }
}

fn schedule(sequence: u64) -> Shout {
    let limit = KnownLimit { from: Time::seconds(60), until: Time::MAX, limit: Watts::new(5) };
    Shout::Schedule { order: Order { epoch: 3, sequence }, limits: vec![limit] }
}

/// An agent whose reports arrive. What it reports here is before anything of the case's own.
fn linked(end: &mut dyn End, load: &str) -> Box<dyn Downlink> {
    let mut agent = end.join(load);
    arrives(end, &mut agent, load, 0);
    agent
}

/// Reports until it is heard: what is sent while nothing listens is lost.
fn arrives(end: &mut dyn End, agent: &mut Box<dyn Downlink>, load: &str, sampled: i64) {
    let wanted = report(load, sampled);
    until(end, "a report", |end| {
        agent.report(wanted.clone());
        end.up().poll().iter().any(|heard| **heard == wanted).then_some(())
    });
    // What was sent again on its way here.
    for _ in 0..5 {
        end.pass();
        drop(end.up().poll());
    }
}

fn heard(end: &mut dyn End, agent: &mut Box<dyn Downlink>) -> Vec<Shout> {
    until(end, "a shout", |_| Some(agent.poll()).filter(|shouts| !shouts.is_empty()))
}

fn a_report_arrives_as_it_was_made(end: &mut dyn End) {
    let mut agent = linked(end, "a");
    for sampled in 1..4 {
        let wanted = Report { measured: Some(Watts::new(sampled)), ..report("a", sampled) };
        agent.report(wanted.clone());
        let arrived = until(end, "the report", |end| end.up().poll().pop());
        assert_eq!(*arrived, wanted);
    }
    let void = Report { ceiling: None, note: String::new(), ..report("a", 4) };
    agent.report(void.clone());
    assert_eq!(*until(end, "the report", |end| end.up().poll().pop()), void);
}

fn of_reports_in_a_row_the_newest_is_read_and_none_before_an_older_one(end: &mut dyn End) {
    let (mut a, mut b) = (linked(end, "a"), linked(end, "b"));
    for sampled in 1..=4 {
        a.report(report("a", sampled));
        b.report(report("b", sampled));
        for _ in 0..20 {
            end.pass();
        }
    }
    let mut newest = [0, 0];
    until(end, "both newest reports", |end| {
        let polled: Vec<Arc<Report>> = end.up().poll();
        for (at, load) in ["a", "b"].into_iter().enumerate() {
            let of: Vec<i64> = polled.iter().filter(|r| &*r.load == load).map(|r| r.sampled.get() / 1_000).collect();
            assert!(of.len() <= 1, "one report an agent: {of:?}");
            for sampled in of {
                assert!(sampled > newest[at], "{sampled} after {}", newest[at]);
                newest[at] = sampled;
            }
        }
        (newest == [4, 4]).then_some(())
    });
}

fn a_shout_reaches_its_own_load_alone(end: &mut dyn End) {
    let (mut a, mut b) = (linked(end, "a"), linked(end, "b"));
    end.up().shout("a", shed(5));
    assert_eq!(heard(end, &mut a), [shed(5)]);
    end.up().shout("b", schedule(6));
    assert_eq!(heard(end, &mut b), [schedule(6)]);
    assert_eq!((a.poll(), b.poll()), (vec![], vec![]), "once each");
}

fn the_newest_of_a_kind_takes_the_place_of_what_was_not_read_and_of_no_other_kind(end: &mut dyn End) {
    let mut agent = linked(end, "a");
    end.up().shout("a", schedule(4));
    for sequence in 5..=8 {
        end.up().shout("a", shed(sequence));
    }
    let (mut sheds, mut schedules) = (Vec::new(), Vec::new());
    until(end, "the newest shed and the schedule", |_| {
        for shout in agent.poll() {
            match shout {
                Shout::Shed { order, .. } => sheds.push(order.sequence),
                Shout::Schedule { .. } => schedules.push(shout),
            }
        }
        (sheds.last() == Some(&8) && !schedules.is_empty()).then_some(())
    });
    assert!(sheds.is_sorted() && sheds.len() <= 4, "{sheds:?}");
    assert_eq!(schedules, [schedule(4)]);
}

fn what_is_shouted_while_nobody_listens_is_lost(end: &mut dyn End) {
    end.up().shout("a", shed(5));
    let mut agent = linked(end, "a");
    end.up().shout("nobody", shed(5));
    end.up().shout("a", schedule(6));
    assert_eq!(heard(end, &mut agent), [schedule(6)]);
}

fn an_agent_that_was_cut_off_comes_back_and_another_never_noticed(end: &mut dyn End) {
    let (mut a, mut b) = (linked(end, "a"), linked(end, "b"));
    end.cut("a", true);
    end.pass();
    end.up().shout("a", shed(5));
    a.report(report("a", 5));
    arrives(end, &mut b, "b", 6);
    end.up().shout("b", shed(6));
    assert_eq!(heard(end, &mut b), [shed(6)]);
    assert_eq!(a.poll(), []);
    end.cut("a", false);
    arrives(end, &mut a, "a", 7);
    assert_eq!(a.poll(), [], "what was shouted meanwhile is lost: the spec says it too");
    end.up().shout("a", shed(7));
    assert_eq!(heard(end, &mut a), [shed(7)]);
}

fn agents_go_to_who_leads(end: &mut dyn End) {
    let (mut a, mut b) = (linked(end, "a"), linked(end, "b"));
    end.take_over(&mut [&mut a, &mut b]);
    arrives(end, &mut a, "a", 5);
    arrives(end, &mut b, "b", 5);
    end.up().shout("b", shed(9));
    assert_eq!(heard(end, &mut b), [shed(9)]);
    assert_eq!(a.poll(), []);
}

/// One case.
pub(super) type Case = fn(&mut dyn End);

/// Every case, by name.
pub(super) const CASES: [(&str, Case); 7] = [
    ("a report arrives as it was made", a_report_arrives_as_it_was_made),
    ("the newest report", of_reports_in_a_row_the_newest_is_read_and_none_before_an_older_one),
    ("a shout reaches its own load alone", a_shout_reaches_its_own_load_alone),
    ("the newest of a kind", the_newest_of_a_kind_takes_the_place_of_what_was_not_read_and_of_no_other_kind),
    ("nobody listens", what_is_shouted_while_nobody_listens_is_lost),
    ("cut off", an_agent_that_was_cut_off_comes_back_and_another_never_noticed),
    ("who leads", agents_go_to_who_leads),
];

mod memory {
    use super::{CASES, End};
    use crate::link::memory::{Exchange, MemoryDownlink, MemoryUplink, SharedExchange};
    use crate::link::{Downlink, Uplink};
    use ampacity_core::units::{Span, Time};

    struct Virtual {
        exchange: SharedExchange,
        up: MemoryUplink,
        now: Time,
    }

    impl End for Virtual {
        fn up(&mut self) -> &mut dyn Uplink {
            &mut self.up
        }

        fn join(&mut self, load: &str) -> Box<dyn Downlink> {
            Box::new(MemoryDownlink::join(&self.exchange, load))
        }

        fn cut(&mut self, load: &str, cut: bool) {
            self.exchange.borrow_mut().set_cut(load, cut);
        }

        fn take_over(&mut self, _: &mut [&mut Box<dyn Downlink>]) {
            self.up = MemoryUplink::join(&self.exchange, "second");
        }

        fn pass(&mut self) {
            self.now = self.now.after(Span::new(20));
            self.exchange.borrow_mut().advance(self.now);
        }
    }

    #[test]
    fn the_end_in_memory_keeps_the_contract() {
        for (name, case) in CASES {
            eprintln!("{name}");
            let exchange = Exchange::new(1, Time::ZERO);
            exchange.borrow_mut().delay = Span::new(30);
            let up = MemoryUplink::join(&exchange, "first");
            case(&mut Virtual { exchange, up, now: Time::ZERO });
        }
    }
}
