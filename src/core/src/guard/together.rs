//! The ledger, the agents and the inventories together, on a small nested tree, whatever happens: no node's loads draw
//! more than it carries, not for a second; and once nothing goes wrong any more, every load gets what it is to have.
//!
//! What the model check does exhaustively with two loads of two watts, this does at random with real devices, longer.

mod site;

use self::site::{Fate, Site};
use super::{Basis, LoadId};
use crate::units::Watts;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Happening {
    Pass(u8),
    Want(usize, u8),
    Orders(usize, Fate),
    Statuses(usize, Fate),
    Limiters(usize, Fate),
    Lag(usize, usize),
    CutOff(usize, bool),
    Unlist(usize, bool),
    Lead,
    /// A new run of an agent; the one before dies, or runs on.
    Start(usize, bool),
    Reboot(usize, usize),
    Wedge(usize, usize),
    Silence(usize, usize, bool),
    Freeze(usize, usize, bool),
    Refuse(usize, usize, bool),
    Lie(usize, usize, bool),
    Mend,
}

fn fate(latest: u8) -> impl Strategy<Value = Fate> {
    prop_oneof![
        2 => Just(Fate::Answered),
        1 => Just(Fate::Lost),
        1 => Just(Fate::Unheard),
        2 => (1..latest).prop_map(Fate::Late),
    ]
}

fn happening() -> impl Strategy<Value = Happening> {
    let (load, unit) = (0..6_usize, 0..2_usize);
    let fault = (load.clone(), unit, any::<bool>());
    prop_oneof![
        8 => (1..40_u8).prop_map(Happening::Pass),
        9 => (load.clone(), 0..11_u8).prop_map(|(l, tenths)| Happening::Want(l, tenths)),
        3 => (load.clone(), fate(60)).prop_map(|(l, fate)| Happening::Orders(l, fate)),
        3 => (load.clone(), fate(60)).prop_map(|(l, fate)| Happening::Statuses(l, fate)),
        // A device's write lands within its declared life of 6 s, or never.
        2 => (load.clone(), fate(6)).prop_map(|(l, fate)| Happening::Limiters(l, fate)),
        2 => (load.clone(), 0..4_usize).prop_map(|(l, versions)| Happening::Lag(l, versions)),
        2 => (load.clone(), any::<bool>()).prop_map(|(l, on)| Happening::CutOff(l, on)),
        1 => (load.clone(), any::<bool>()).prop_map(|(l, on)| Happening::Unlist(l, on)),
        2 => Just(Happening::Lead),
        2 => (load, any::<bool>()).prop_map(|(l, dies)| Happening::Start(l, dies)),
        1 => fault.clone().prop_map(|(l, u, _)| Happening::Reboot(l, u)),
        1 => fault.clone().prop_map(|(l, u, _)| Happening::Wedge(l, u)),
        1 => fault.clone().prop_map(|(l, u, on)| Happening::Silence(l, u, on)),
        1 => fault.clone().prop_map(|(l, u, on)| Happening::Freeze(l, u, on)),
        1 => fault.clone().prop_map(|(l, u, on)| Happening::Refuse(l, u, on)),
        1 => fault.prop_map(|(l, u, on)| Happening::Lie(l, u, on)),
        2 => Just(Happening::Mend),
    ]
}

fn happen(site: &mut Site, what: &Happening) {
    let (count, now) = (site.loads.len(), site.now);
    match *what {
        Happening::Pass(seconds) => pass(site, u32::from(seconds)),
        Happening::Want(l, tenths) => site.loads[l % count].want = Watts::new(650 * i64::from(tenths)),
        Happening::Orders(l, fate) => site.loads[l % count].order_fate = fate,
        Happening::Statuses(l, fate) => site.loads[l % count].status_fate = fate,
        Happening::Limiters(l, fate) => site.loads[l % count].device_fate = fate,
        Happening::Lag(l, versions) => site.loads[l % count].lag = versions,
        Happening::CutOff(l, on) => site.loads[l % count].cut_off = on,
        Happening::Unlist(l, on) => site.loads[l % count].unlisted = on,
        Happening::Lead => site.lead(),
        Happening::Start(l, dies) => {
            site.start(l % count);
            if dies {
                site.kill_older(l % count);
            }
        }
        Happening::Reboot(l, u) => site.loads[l % count].units[u].reboot(now),
        Happening::Wedge(l, u) => {
            let unit = &mut site.loads[l % count].units[u];
            unit.wedged = Some(unit.draw(now));
        }
        Happening::Silence(l, u, on) => site.loads[l % count].units[u].silent = on,
        Happening::Freeze(l, u, on) => site.loads[l % count].units[u].frozen = on,
        Happening::Refuse(l, u, on) => site.loads[l % count].units[u].refuses = on,
        Happening::Lie(l, u, on) => site.loads[l % count].liars[u] = on,
        Happening::Mend => site.mend(),
    }
}

fn pass(site: &mut Site, seconds: u32) {
    for _ in 0..seconds {
        site.second();
        let over = site.over();
        assert!(over.is_empty(), "at {:?}: {over:?} of {site:#?}", site.now);
    }
}

/// Every load awake at its highest step, 500 W beside the devices.
const FULL: Watts = Watts::new(2 * 2_940 + 500);
/// Every device asleep.
const ASLEEP: Watts = Watts::new(2 * 21 + 500);

/// Faults stop; the first loads that fit are to run, the others to sleep. All do, within so many seconds.
fn settles(site: &mut Site, seconds: u32) {
    site.mend();
    site.lead();
    (0..site.loads.len()).for_each(|load| {
        site.loads[load].want = ASLEEP;
        site.start(load);
        site.kill_older(load);
    });
    pass(site, seconds);
    for load in 0..site.loads.len() {
        let room = site.room(load);
        if room >= FULL - ASLEEP {
            site.loads[load].want = FULL;
            pass(site, seconds);
        }
    }
    let now = site.now;
    for load in 0..site.loads.len() {
        let (want, draw) = (site.loads[load].want, site.draw(load));
        let bound = site.ledger().bound(LoadId(load as u32), now);
        let counts = (bound.watts, bound.basis, draw >= want.part(crate::units::Ppm::percent(90)));
        assert_eq!(counts, (want, Basis::Known, true), "load {load} draws {draw:?}: {site:#?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 250, max_shrink_iters: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn no_node_is_ever_passed_and_every_load_gets_its_award_when_faults_stop(
        loads in 3..7_usize,
        percent in 20..90_i64,
        happenings in prop::collection::vec(happening(), 1..100),
    ) {
        let mut site = Site::new(loads, percent);
        pass(&mut site, 60);
        happenings.iter().for_each(|what| happen(&mut site, what));
        settles(&mut site, 120);
    }
}
