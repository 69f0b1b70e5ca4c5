//! Whatever happens, in whatever order: what is proved covers the truth for as long as it is said to hold.

use super::*;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Happening {
    Pass(u8),
    Command {
        tenths: u8,
        raise: bool,
    },
    Reboot(usize),
    Wedge(usize),
    Free(usize),
    Silence(usize, bool),
    Freeze(usize, bool),
    Refuse(usize, bool),
    Lose(usize, bool),
    /// A write given up as lost lands after all.
    Ghost(usize, u8),
    Swap(usize),
    Demand(usize, bool),
}

fn happening() -> impl Strategy<Value = Happening> {
    let unit = 0..5_usize;
    prop_oneof![
        8 => (1..20_u8).prop_map(Happening::Pass),
        6 => (0..12_u8, any::<bool>()).prop_map(|(tenths, raise)| Happening::Command { tenths, raise }),
        2 => unit.clone().prop_map(Happening::Reboot),
        1 => unit.clone().prop_map(Happening::Wedge),
        1 => unit.clone().prop_map(Happening::Free),
        2 => (unit.clone(), any::<bool>()).prop_map(|(u, on)| Happening::Silence(u, on)),
        1 => (unit.clone(), any::<bool>()).prop_map(|(u, on)| Happening::Freeze(u, on)),
        1 => (unit.clone(), any::<bool>()).prop_map(|(u, on)| Happening::Refuse(u, on)),
        2 => (unit.clone(), any::<bool>()).prop_map(|(u, on)| Happening::Lose(u, on)),
        2 => (unit.clone(), 0..12_u8).prop_map(|(u, after)| Happening::Ghost(u, after)),
        1 => unit.clone().prop_map(Happening::Swap),
        2 => (unit, any::<bool>()).prop_map(|(u, on)| Happening::Demand(u, on)),
    ]
}

/// Gives the oldest open write of a device up as lost, and lets it land within its declared life.
fn ghost(rig: &mut Rig, place: usize, half_seconds: u8) {
    let Some((number, limiter)) = rig.units[place].queue.pop_front() else { return };
    let answer = WriteAnswer { device: place, number, written: Written::Lost, answered_at: rig.now };
    rig.inventory.observe(&DeviceAnswer::Write(answer), rig.now);
    let lives = rig.units[place].class.write_lives.get() / 500;
    (0..i64::from(half_seconds).min(lives - 1)).for_each(|_| rig.step());
    let now = rig.now;
    rig.units[place].set(limiter, now);
    rig.check();
}

fn happen(rig: &mut Rig, what: &Happening) {
    let now = rig.now;
    match *what {
        Happening::Pass(half_seconds) => (0..half_seconds).for_each(|_| rig.step()),
        Happening::Command { tenths, raise } => rig.command(1_200 * i64::from(tenths), raise),
        Happening::Reboot(u) => rig.units[u].reboot(now),
        Happening::Wedge(u) => rig.units[u].wedged = Some(rig.units[u].draw(now)),
        Happening::Free(u) => {
            let unit = &mut rig.units[u];
            let limiter = unit.limiter;
            unit.set(limiter, now);
            unit.wedged = None;
        }
        Happening::Silence(u, on) => rig.units[u].silent = on,
        Happening::Freeze(u, on) => rig.units[u].frozen = on,
        Happening::Refuse(u, on) => rig.units[u].refuses = on,
        Happening::Lose(u, on) => rig.units[u].loses_writes = on,
        Happening::Ghost(u, after) => ghost(rig, u, after),
        Happening::Swap(u) => rig.units[u].identity ^= 1 << 20,
        Happening::Demand(u, on) => {
            let full = rig.units[u].class.power_on_watts;
            rig.units[u].demand = if on { full } else { Watts::new(60) };
        }
    }
}

fn check(happenings: &[Happening], classes: Vec<DeviceClass>) {
    let found = [Limiter::Asleep, Limiter::Unlimited, Limiter::Watts(Watts::new(1_500))];
    let found = [found[0], found[1], found[2], Limiter::Watts(Watts::new(400)), Limiter::Watts(Watts::new(700))];
    let mut rig = Rig::new(load(classes, &[0, 0, 0, 1, 1]), &found);
    happenings.iter().for_each(|what| happen(&mut rig, what));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_ceiling_covers_the_true_draw_until_it_expires(happenings in prop::collection::vec(happening(), 1..60)) {
        check(&happenings, vec![miner(), gpu()]);
    }

    #[test]
    fn also_where_a_reboot_loses_every_limiter(happenings in prop::collection::vec(happening(), 1..60)) {
        check(&happenings, vec![DeviceClass { retention: Retention::Volatile, ..miner() }, gpu()]);
    }
}
