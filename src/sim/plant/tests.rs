//! The physics as sentences, then the plant against the inventory that is to be believed about it.

use super::container::{s19j_pro_vnish, s19k_pro_luxos, whatsminer_percent};
use super::*;
use ampacity_core::guard::proof::{Ask, Inventory, Policy, Refusal, Standing, Written};
use ampacity_core::tree::Node;

fn tree() -> Tree {
    let node = |name: &str, parent: Option<u32>, loss| Node {
        name: name.into(),
        parent: parent.map(NodeId),
        limit: Watts::mega(10),
        reserve: Watts::ZERO,
        auxiliary: Watts::ZERO,
        loss: Ppm::new(loss),
    };
    Tree::new(vec![node("site", None, 10_000), node("hall", Some(0), 0)]).unwrap()
}

fn at(milliseconds: i64) -> Time {
    Time::new(Time::seconds(1_720_000_000).get() + milliseconds)
}

fn spec(loads: Vec<LoadSpec>) -> PlantSpec {
    PlantSpec { seed: 7, weather: Weather::TEXAS_SUMMER, rates: Rates::NONE, loads, meters: Vec::new() }
}

/// One load on the hall, and its port.
fn one(load: LoadSpec) -> (SharedPlant, PlantPort) {
    let plant = Arc::new(Mutex::new(Plant::new(&spec(vec![load]), &tree(), at(0))));
    (plant.clone(), PlantPort::new(plant, 0))
}

fn miners(of: Behaviour, count: usize, limiter: Limiter) -> LoadSpec {
    LoadSpec::container(NodeId(1), vec![(of, count, limiter)])
}

fn set(device: usize, limiter: Limiter) -> DeviceCommand {
    DeviceCommand { device, ask: Ask::Set { number: 1, limiter } }
}

/// What the devices draw, without pumps, fans and host.
fn drawn(plant: &SharedPlant, milliseconds: i64) -> i64 {
    let mut plant = plant.lock().unwrap();
    plant.advance(at(milliseconds));
    plant.loads[0].bank.watts().get()
}

const fn cap(watts: i64) -> Limiter {
    Limiter::Watts(Watts::new(watts))
}

#[test]
fn the_fit_of_the_s19k_pro_gives_back_its_published_points() {
    let behaviour = s19k_pro_luxos();
    let ampacity_core::guard::proof::Limiters::Ladder(steps) = &behaviour.class.limiters else { panic!() };
    let ends = [steps[0].watts, steps[16].watts].map(Watts::get);
    assert_eq!((ends, behaviour.yields[16], steps.len()), ([785, 2794], 121_800, 17));
}

#[test]
fn a_lowered_miner_falls_with_its_time_constant() {
    let (plant, mut port) = one(miners(Behaviour { spread: 0.0, ..s19k_pro_luxos() }, 1, cap(2794)));
    assert_eq!(drawn(&plant, 0), 2794);
    port.submit(&[set(0, Limiter::Asleep)], at(0));
    let landed = (0..2_000).find(|ms| port.poll(at(*ms)).iter().any(|a| matches!(a, DeviceAnswer::Write(_)))).unwrap();
    assert!((300..=900).contains(&landed), "within half of 600 ms: {landed}");
    // 25 + 2769/e, and after eight time constants it has arrived.
    assert_eq!(drawn(&plant, landed + 1_500), 1_044);
    assert_eq!(drawn(&plant, landed + 12_000), 25);
}

#[test]
fn a_woken_miner_boots_in_the_dark_and_then_climbs() {
    let (plant, mut port) = one(miners(Behaviour { spread: 0.0, ..s19j_pro_vnish() }, 1, Limiter::Asleep));
    port.submit(&[set(0, cap(2500))], at(0));
    let landed = (0..2_000).find(|ms| !port.poll(at(*ms)).is_empty()).unwrap();
    assert_eq!(drawn(&plant, landed + 44_000), 200);
    assert_eq!(drawn(&plant, landed + 45_000 + 90_000), 1_350);
    assert_eq!(drawn(&plant, landed + 45_000 + 180_000), 2_500);
}

#[test]
fn a_value_off_the_ladder_is_refused_and_changes_nothing() {
    let (plant, mut port) = one(miners(Behaviour { spread: 0.0, ..s19j_pro_vnish() }, 1, cap(2500)));
    port.submit(&[set(0, cap(1900))], at(0));
    let answers = port.poll(at(2_000));
    let [DeviceAnswer::Write(answer)] = answers.as_slice() else { panic!("{answers:?}") };
    assert_eq!(answer.written, Written::Refused(Refusal::OutOfRange));
    assert_eq!(drawn(&plant, 60_000), 2_500);
}

#[test]
fn a_volatile_miner_that_reboots_comes_back_at_power_on_watts() {
    let (plant, mut port) = one(miners(Behaviour { spread: 0.0, ..whatsminer_percent() }, 1, cap(1360)));
    plant.lock().unwrap().inject(Fault::Reboots { load: 0, device: Some(0) }, at(1_000));
    assert_eq!(drawn(&plant, 2_000), 0);
    assert_eq!(drawn(&plant, 1_000 + 300_000 + 600_000), 3_400);
    port.submit(&[DeviceCommand { device: 0, ask: Ask::Read }], at(1_000_000));
    let answers = port.poll(at(1_001_000));
    let [DeviceAnswer::Read(reading)] = answers.as_slice() else { panic!("{answers:?}") };
    assert_eq!((reading.limiter, reading.boot), (Some(Limiter::Unlimited), Some(2)));
}

#[test]
fn a_persistent_miner_that_reboots_keeps_its_limiter() {
    let (plant, _) = one(miners(Behaviour { spread: 0.0, ..s19k_pro_luxos() }, 1, cap(785)));
    plant.lock().unwrap().inject(Fault::Reboots { load: 0, device: None }, at(1_000));
    assert_eq!((drawn(&plant, 2_000), drawn(&plant, 600_000)), (0, 785));
}

#[test]
fn an_idle_gpu_without_a_cap_is_a_loaded_gun() {
    let (plant, mut port) = one(LoadSpec::gpu_node(NodeId(1)));
    assert_eq!(drawn(&plant, 0), 8 * 90);
    plant.lock().unwrap().set_job(0, 8, Watts::new(680), at(1_000));
    assert_eq!(drawn(&plant, 3_000), 8 * 680);
    let caps: Vec<_> = (0..8).map(|device| set(device, cap(300))).collect();
    port.submit(&caps, at(4_000));
    assert!((8 * 298..=8 * 302).contains(&drawn(&plant, 7_000)), "{}", drawn(&plant, 7_000));
    assert_eq!(plant.lock().unwrap().throughput(0), Ppm::new(580_000));
    plant.lock().unwrap().inject(Fault::Reboots { load: 0, device: None }, at(8_000));
    assert_eq!(drawn(&plant, 9_000), 0);
    assert_eq!(drawn(&plant, 30_000), 8 * 680, "the driver's reload lost the caps");
}

#[test]
fn a_wedged_device_says_ok_and_keeps_drawing() {
    let (plant, mut port) = one(miners(Behaviour { spread: 0.0, ..s19k_pro_luxos() }, 1, cap(2794)));
    plant.lock().unwrap().inject(Fault::Wedges { load: 0, device: None, until: at(600_000) }, at(0));
    port.submit(&[set(0, Limiter::Asleep), DeviceCommand { device: 0, ask: Ask::Read }], at(1_000));
    let answers = port.poll(at(60_000));
    let [DeviceAnswer::Write(answer), DeviceAnswer::Read(reading)] = answers.as_slice() else { panic!("{answers:?}") };
    assert_eq!((answer.written, reading.limiter), (Written::Done, Some(Limiter::Asleep)));
    assert!(reading.watts.unwrap().0 > Watts::new(2_600));
    assert_eq!((drawn(&plant, 599_000), drawn(&plant, 620_000)), (2_794, 25));
}

#[test]
fn a_hung_device_answers_nothing_and_its_writes_are_lost() {
    let (plant, mut port) = one(miners(Behaviour { spread: 0.0, ..s19k_pro_luxos() }, 2, cap(2794)));
    plant.lock().unwrap().inject(Fault::Hangs { load: 0, device: Some(0), until: at(60_000) }, at(0));
    plant.lock().unwrap().inject(Fault::Dies { load: 0, device: Some(1) }, at(0));
    let asks = [0, 1].map(|device| [set(device, Limiter::Asleep), DeviceCommand { device, ask: Ask::Read }]).concat();
    port.submit(&asks, at(1_000));
    let answers = port.poll(at(20_000));
    let lost = |answer: &DeviceAnswer| matches!(answer, DeviceAnswer::Write(w) if w.written == Written::Lost);
    assert!(answers.len() == 2 && answers.iter().all(lost), "{answers:?}");
    assert_eq!(drawn(&plant, 20_000), 2_794, "the hung one mines on, the dead one is dark");
}

#[test]
fn one_device_answers_one_thing_at_a_time() {
    let (_, mut port) = one(miners(s19k_pro_luxos(), 1, cap(2794)));
    let read = DeviceCommand { device: 0, ask: Ask::Read };
    port.submit(&[read, set(0, cap(785)), read], at(0));
    let answers = port.poll(at(10_000));
    let [DeviceAnswer::Read(before), DeviceAnswer::Write(write), DeviceAnswer::Read(after)] = answers.as_slice() else {
        panic!("{answers:?}")
    };
    assert_eq!((before.limiter, after.limiter), (Some(cap(2794)), Some(cap(785))));
    assert!(before.answered_at <= write.answered_at && write.answered_at <= after.asked_at);
}

#[test]
fn the_meter_lags_errs_within_its_class_and_falls_silent() {
    let mut spec = spec(vec![miners(s19k_pro_luxos(), 100, cap(2794))]);
    spec.meters = vec![(NodeId::SITE, MeterSpec::default())];
    let mut plant = Plant::new(&spec, &tree(), at(0));
    assert_eq!(plant.meter(NodeId::SITE), None);
    assert_eq!(plant.meter(NodeId(1)), None, "the hall has none");
    let mut truths = Vec::new();
    for second in 1..=60 {
        plant.advance(at(second * 1_000));
        truths.push(plant.true_watts(NodeId::SITE));
    }
    let truth = truths[54];
    let sample = plant.meter(NodeId::SITE).unwrap();
    assert!((sample.watts - truth).get().abs() <= sample.error.get() && sample.watts != truth, "{sample:?} {truth:?}");
    assert_eq!(sample.time, at(55_000), "sampled every 5 s, read 2 s later");
    plant.inject(Fault::MeterOut { node: NodeId::SITE, until: at(600_000) }, at(60_500));
    (61..=300).for_each(|second| plant.advance(at(second * 1_000)));
    assert_eq!(plant.meter(NodeId::SITE).unwrap().time, at(60_000));
}

#[test]
fn losses_are_drawn_at_the_site_and_not_in_the_hall() {
    let plant = Plant::new(&spec(vec![miners(s19k_pro_luxos(), 100, cap(2794))]), &tree(), at(0));
    let hall = plant.true_watts(NodeId(1));
    assert_eq!(hall, plant.load_watts(0));
    assert_eq!(plant.true_watts(NodeId::SITE), hall.plus(Ppm::percent(1)));
}

fn after_hours(weather: Weather, limiter: Limiter, hours: i64) -> (Loop, Cooling) {
    let load = miners(s19k_pro_luxos(), 700, limiter);
    let LoadKind::Container(cooling) = load.kind else { panic!() };
    let mut plant = Plant::new(&PlantSpec { weather, ..spec(vec![load]) }, &tree(), at(0));
    (1..=hours * 360).for_each(|tick| plant.advance(at(tick * 10_000)));
    (plant.cooling(0).unwrap(), cooling)
}

#[test]
fn a_loop_below_its_thermal_floor_freezes_in_the_winter_and_above_it_does_not() {
    let (asleep, cooling) = after_hours(Weather::NORTHERN_WINTER, Limiter::Asleep, 12);
    assert!(asleep.frozen, "{asleep:?}");
    let floor = cooling.floor(-24.0);
    assert!(floor > Watts::kilo(40) && floor < Watts::kilo(100), "{floor:?}");
    let (working, _) = after_hours(Weather::NORTHERN_WINTER, cap(785), 12);
    assert!(!working.frozen && !working.overheated, "{working:?}");
    let (summer, _) = after_hours(Weather::TEXAS_SUMMER, Limiter::Asleep, 24);
    assert!(!summer.frozen, "{summer:?}");
}

#[test]
fn fans_keep_a_full_container_cool_and_without_them_the_miners_stop_themselves() {
    // To the hottest hour of the second day: 21:46 UTC is a quarter to four there.
    let (full, _) = after_hours(Weather::TEXAS_SUMMER, cap(2794), 36);
    assert!(!full.overheated && full.celsius > 50.0 && full.celsius < 55.0, "{full:?}");
    let load = miners(s19k_pro_luxos(), 700, cap(2794));
    let plant = Arc::new(Mutex::new(Plant::new(&spec(vec![load]), &tree(), at(0))));
    plant.lock().unwrap().inject(Fault::FansStop { load: 0, until: at(800_000) }, at(0));
    (1..=600).for_each(|second| {
        drawn(&plant, second * 1_000);
    });
    assert!(plant.lock().unwrap().cooling(0).unwrap().overheated);
    assert_eq!(drawn(&plant, 700_000), 700 * 25);
    // With fans again the loop cools, and what the miners were told still stands.
    (701..=3_000).for_each(|second| {
        drawn(&plant, second * 1_000);
    });
    assert!(!plant.lock().unwrap().cooling(0).unwrap().overheated);
    assert!(drawn(&plant, 3_001_000) > 700 * 2_700);
}

/// Runs an inventory over a plant for some time; returns its agent's view and the highest ratio of truth to ceiling.
fn drive(plant: &SharedPlant, inventory: &mut Inventory, seconds: std::ops::Range<i64>) -> f64 {
    let mut port = PlantPort::new(plant.clone(), 0);
    let mut worst = 0.0_f64;
    for second in seconds {
        let now = at(second * 1_000);
        plant.lock().unwrap().advance(now);
        for answer in port.poll(now) {
            inventory.observe(&answer, now);
        }
        port.submit(&inventory.due(now), now);
        let truth = plant.lock().unwrap().load_watts(0);
        worst = worst.max(truth.get() as f64 / inventory.proof(now).ceiling.get() as f64);
    }
    worst
}

#[test]
fn a_mixed_container_proves_itself_obeys_and_is_never_above_its_ceiling() {
    let kinds = vec![
        (s19k_pro_luxos(), 300, cap(2794)),
        (s19j_pro_vnish(), 200, cap(2970)),
        (whatsminer_percent(), 200, cap(3400)),
    ];
    let (plant, port) = one(LoadSpec::container(NodeId(1), kinds));
    let mut inventory = Inventory::new(port.describe(), Policy::default(), at(0)).unwrap();
    let mut worst = drive(&plant, &mut inventory, 0..120);
    assert_eq!(inventory.count(Standing::Proved, at(120_000)), 700);
    let half = Watts::kilo(1_000);
    let mut port = PlantPort::new(plant.clone(), 0);
    port.submit(&inventory.command(half, None, false, at(120_000)), at(120_000));
    worst = worst.max(drive(&plant, &mut inventory, 121..260));
    let proof = inventory.proof(at(260_000));
    assert!(proof.settled && proof.ceiling <= half && proof.ceiling > Watts::kilo(990), "{proof:?}");
    port.submit(&inventory.command(Watts::mega(3), Some(at(9_000_000)), false, at(260_000)), at(260_000));
    worst = worst.max(drive(&plant, &mut inventory, 261..2_400));
    assert_eq!(inventory.count(Standing::Proved, at(2_400_000)), 700);
    assert!(worst <= 1.0 && worst > 0.9, "{worst}");
}

#[test]
fn with_everything_that_can_go_wrong_the_ceiling_still_covers_the_truth() {
    for seed in 0..6 {
        let gpus = seed % 2 == 1;
        let load = if gpus { LoadSpec::gpu_node(NodeId(1)) } else { miners(whatsminer_percent(), 60, cap(3400)) };
        let rates = Rates { deaths_a_year: 2_000.0, hangs_a_day: 40.0, reboots_a_day: 20.0, ..Rates::CHAOS };
        let spec = PlantSpec { seed, rates, ..spec(vec![load]) };
        let plant = Arc::new(Mutex::new(Plant::new(&spec, &tree(), at(0))));
        let mut port = PlantPort::new(plant.clone(), 0);
        let mut inventory = Inventory::new(port.describe(), Policy::default(), at(0)).unwrap();
        let nameplate = port.describe().nameplate();
        for round in 0..40_i64 {
            let now = at(round * 90_000);
            plant.lock().unwrap().set_job(0, usize::try_from(round % 9).unwrap(), Watts::new(690), now);
            let limit = nameplate.part(Ppm::percent([100, 60, 80, 30, 70][usize::try_from(round % 5).unwrap()]));
            port.submit(&inventory.command(limit, Some(now.after(Span::minutes(1))), false, now), now);
            let worst = drive(&plant, &mut inventory, round * 90 + 1..(round + 1) * 90);
            assert!(worst <= 1.0, "seed {seed}, round {round}: {worst}");
        }
    }
}

#[test]
fn the_same_seed_is_the_same_site() {
    let trace = |seed| {
        let spec = PlantSpec { seed, rates: Rates::CHAOS, ..spec(vec![miners(s19k_pro_luxos(), 50, cap(2794))]) };
        let mut plant = Plant::new(&spec, &tree(), at(0));
        (0..5_000)
            .map(|tick| {
                plant.advance(at(tick * 20_000));
                plant.true_watts(NodeId::SITE)
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(trace(1), trace(1));
    assert_ne!(trace(1), trace(2));
}
