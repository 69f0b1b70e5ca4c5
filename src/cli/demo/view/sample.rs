//! A synthetic day for tests of the view: plausible shapes, nothing decided.

use super::{History, Pace, Setup, Theme};
use crate::sim::frame::{Account, FaultAccount, Frame, Leader, LeaseAccount, LeaseFrame, LoadFrame, NodeFrame, Sides};

pub(super) const PACE: Pace = Pace { times: Some(60), paused: false };
const START: i64 = 1_719_792_000;

pub(super) fn setup(theme: Theme) -> Setup {
    let nodes = ["west-texas", "west-texas/hall-a", "west-texas/hall-b", "west-texas/gpu", "west-texas/tenant-hall"];
    Setup { site: "west-texas".to_owned(), nodes: nodes.map(str::to_owned).to_vec(), seed: 42, theme }
}

/// Minute by minute up to `minutes`, and the last frame.
pub(super) fn day(minutes: i64) -> (Frame, History) {
    let mut history = History::new();
    let mut last = Frame::default();
    for minute in 0..=minutes {
        last = frame(minute);
        history.push(&last);
    }
    (last, history)
}

fn price(minute: i64) -> f64 {
    let hour = minute as f64 / 60.0;
    let shape = 22.0 - 14.0 * (hour / 24.0 * std::f64::consts::TAU).cos() + 3.0 * (minute as f64 / 7.0).sin();
    match minute {
        180..240 => shape - 30.0,
        560..565 => 900.0,
        1000..1130 => shape + 130.0 * ((minute - 1000) as f64 / 130.0 * 3.1).sin(),
        _ => shape,
    }
}

fn frame(minute: i64) -> Frame {
    let price = price(minute);
    let limit = if (780..840).contains(&minute) { 70_000_000 } else { 100_000_000 };
    let value = 74.0 - if minute > 1200 { -9.0 } else { 0.0 };
    let mut frame = Frame {
        time: jiff::Timestamp::from_second(START + minute * 60 + 5).unwrap().to_string(),
        price_usd_per_mwh: Some(price),
        hashprice_usd_per_ph_day: Some(52.1),
        leader: (!(905..=906).contains(&minute))
            .then(|| Leader { name: format!("op-{}", i64::from(minute > 906)), epoch: 3 + u64::from(minute > 906) }),
        events: events(minute, price),
        ..Frame::default()
    };
    let steps = loads(&mut frame, minute, price, value, limit);
    leases(&mut frame, minute);
    let mut gpu = 0;
    let mut mining = 0;
    for load in frame.loads.values() {
        if load.kind == "gpu" { gpu += load.setpoint_watts } else { mining += load.setpoint_watts }
    }
    let power = if minute < 40 { 0 } else { 18_000_000 };
    frame.allocation_watts = Sides { mining, gpu, power };
    frame.value_usd_per_mwh =
        Sides { mining: Some(value - 6.0 * steps as f64), gpu: Some(1_480.0), power: Some(260.0) };
    nodes(&mut frame, limit, power, minute);
    frame
}

/// Containers, and nodes of one pool; returns by how many steps the miners are down.
fn loads(frame: &mut Frame, minute: i64, price: f64, value: f64, limit: i64) -> usize {
    let tight = if limit < 100_000_000 { 4 } else { 0 };
    let steps = (0..6).filter(|step| value - 8.0 * f64::from(*step) < price && !(560..=565).contains(&minute)).count();
    let steps = steps.max(tight);
    for (hall, count) in [("hall-a", 12), ("hall-b", 6)] {
        for number in 0..count {
            let name = format!("{hall}-{number}");
            let down = number < 2 * steps && hall == "hall-a" || number < steps && hall == "hall-b";
            let mut load = LoadFrame {
                kind: "miner",
                node: format!("west-texas/{hall}"),
                setpoint_watts: if minute < 4 + number as i64 { 0 } else { 3_600_000 },
                nameplate_watts: 3_800_000,
                reason: "full".to_owned(),
                ..LoadFrame::default()
            };
            if down {
                load.setpoint_watts = if number < steps { 240_000 } else { 2_500_000 };
                load.reason = format!("next step is worth 61.40, below price {price:.2}");
            }
            load.ceiling_watts = Some(load.setpoint_watts);
            load.bound_watts = load.setpoint_watts;
            load.measured_watts = Some(load.setpoint_watts * 97 / 100);
            odd(&mut load, &name, minute);
            frame.loads.insert(name, load);
        }
    }
    for number in 0..16 {
        let busy = number < 12 && minute > 30 && !(1040..1100).contains(&minute);
        let setpoint = if busy { 10_200 * 40 } else { 4_100 * 40 };
        let load = LoadFrame {
            kind: "gpu",
            node: "west-texas/gpu".to_owned(),
            setpoint_watts: setpoint,
            ceiling_watts: Some(setpoint),
            bound_watts: setpoint,
            measured_watts: Some(if busy { setpoint * 93 / 100 } else { setpoint / 3 }),
            nameplate_watts: 10_200 * 40,
            reason: if busy { "runs tenant-a/llm-pretrain" } else { "no lease: lowest caps" }.to_owned(),
        };
        frame.loads.insert(format!("h100-{number}"), load);
    }
    steps
}

fn odd(load: &mut LoadFrame, name: &str, minute: i64) {
    match name {
        "hall-a-3" if (870..1300).contains(&minute) => {
            load.setpoint_watts = 240_000;
            load.bound_watts = 3_600_000;
            load.measured_watts = Some(3_490_000);
            load.reason = "not proved: said ok and keeps drawing, counts at 3.60M".to_owned();
        }
        "hall-a-7" if minute > 700 => {
            load.setpoint_watts = 0;
            load.bound_watts = 0;
            load.ceiling_watts = Some(0);
            load.measured_watts = Some(0);
            load.reason = "lockout pump-swap, held by j.ortiz".to_owned();
        }
        "hall-b-4" if minute > 960 => {
            load.measured_watts = None;
            load.ceiling_watts = None;
            load.bound_watts = load.nameplate_watts;
            load.reason = "silent for 4m10s: counts at nameplate".to_owned();
        }
        _ => {}
    }
}

fn leases(frame: &mut Frame, minute: i64) {
    let mut add = |name: &str, lease: LeaseFrame| frame.leases.insert(name.to_owned(), lease);
    let progress = Some((minute as f64 / 1_440.0 * 0.6).min(1.0));
    let flexible = LeaseFrame {
        state: if (1035..1045).contains(&minute) { "Notice" } else { "Running" }.to_owned(),
        granted_watts: 1_250_000,
        curtailed_seconds: 2_520,
        allowance_seconds: Some(14_400),
        notice_deadline: (1035..1045)
            .contains(&minute)
            .then(|| jiff::Timestamp::from_second(START + 1_045 * 60).unwrap().to_string()),
        progress,
        reason: "price 152.10 above 148.00, what power is worth to it".to_owned(),
        ..LeaseFrame::default()
    };
    add("tenant-a/llm-pretrain", flexible);
    add(
        "tenant-b/inference",
        LeaseFrame {
            state: "Running".to_owned(),
            firm: true,
            granted_watts: 820_000,
            reason: "firm: never curtailed for money".to_owned(),
            ..LeaseFrame::default()
        },
    );
    add(
        "tenant-c/hall",
        LeaseFrame {
            state: if minute < 40 { "Waiting" } else { "Running" }.to_owned(),
            granted_watts: 18_000_000,
            curtailed_seconds: 12_300,
            allowance_seconds: Some(14_400),
            reason: "full".to_owned(),
            ..LeaseFrame::default()
        },
    );
    add(
        "tenant-d/batch",
        LeaseFrame {
            state: "Refused".to_owned(),
            reason: "asks 512 GPUs, 32 would fit until 2024-09-01".to_owned(),
            allowance_seconds: Some(14_400),
            ..LeaseFrame::default()
        },
    );
}

fn nodes(frame: &mut Frame, limit: i64, power: i64, minute: i64) {
    let mut total = NodeFrame { limit_watts: limit, ..NodeFrame::default() };
    for (feeder, limit_watts) in
        [("hall-a", 48_000_000), ("hall-b", 26_000_000), ("gpu", 8_000_000), ("tenant-hall", 20_000_000)]
    {
        let name = format!("west-texas/{feeder}");
        let below = frame.loads.values().filter(|load| load.node == name);
        let (mut bound, mut drawn) = below.fold((0, 0), |(bound, drawn), load| {
            (bound + load.bound_watts, drawn + load.measured_watts.unwrap_or(load.setpoint_watts))
        });
        if feeder == "tenant-hall" {
            (bound, drawn) = (power, power * 9 / 10);
        }
        total.bound_watts += bound + bound / 100;
        total.true_watts += drawn + drawn / 100;
        let measured_watts = (feeder != "hall-b" || minute < 990).then_some(drawn);
        frame.nodes.insert(name, NodeFrame { limit_watts, bound_watts: bound, measured_watts, true_watts: drawn });
    }
    total.measured_watts = Some(total.true_watts + 40_000 * (minute % 5));
    frame.nodes.insert("west-texas".to_owned(), total);
}

fn events(minute: i64, price: f64) -> Vec<String> {
    let event = match minute {
        0 => "leader: op-0 leads, epoch 3; every load counts at nameplate until its agent says otherwise",
        4 => "decision: hall-a-0 raised to 3.60M: proved at 240k, room on every ancestor",
        560 => "price: 900.00 for five minutes: a stop and a start cost more than it pays, nothing moves",
        700 => "lockout: hall-a-7 held at 0 by j.ortiz (pump-swap)",
        780 => "event: utility limit 70.0 MW until 14:00, 30.0 MW to shed in 120 s",
        840 => "event: utility limit over; raising at 10.0 MW a minute",
        870 => "fault: hall-a-3 said ok and keeps drawing 3.49M; counted at 3.60M, others make room",
        905 => "fault: op-0 was killed in the middle of a shed",
        907 => "leader: op-1 leads, epoch 4; the shed goes on",
        960 => "alarm: hall-b-4 is silent: its agent died; counted at its nameplate, 3.80M",
        990 => "alarm: the meter of hall-b is stale for 95 s",
        1035 => "notice: tenant-a/llm-pretrain is to stop at 17:25:00, 10m00s from now: price 152.10 above 148.00",
        1036 => "lease: tenant-d/batch refused: 512 GPUs asked, 32 would fit until 2024-09-01",
        _ if minute % 9 == 0 => {
            return vec![format!("decision: hall-a-{} holds: price {price:.2}, dead band", minute / 9 % 12)];
        }
        _ => return Vec::new(),
    };
    vec![event.to_owned()]
}

pub(super) fn account() -> Account {
    let lease = LeaseAccount {
        curtailed_seconds: 2_520,
        allowance_seconds: Some(14_400),
        energy_mwh: 27.2,
        rent_usd: 3_120.0,
        credit_usd: 55.0,
        notices: 1,
        ..LeaseAccount::default()
    };
    let fault = |time: &str, fault: &str, safe_after_seconds| FaultAccount {
        time: format!("2024-07-01T{time}Z"),
        fault: fault.to_owned(),
        safe_after_seconds,
    };
    Account {
        from: "2024-07-01T00:00:00Z".to_owned(),
        to: "2024-07-02T00:00:00Z".to_owned(),
        seed: 42,
        energy_mwh: Sides { mining: 1_180.4, gpu: 88.1, power: 412.0 },
        revenue_usd: Sides { mining: 84_200.0, gpu: 41_900.0, power: 12_050.0 },
        energy_cost_usd: Sides { mining: 33_050.0, gpu: 3_010.0, power: 0.0 },
        losses_mwh: 3.5,
        losses_cost_usd: 105.0,
        credits_usd: 55.0,
        against_always_on_usd: 6_480.0,
        leases: [("tenant-a/llm-pretrain".to_owned(), lease)].into(),
        faults: vec![
            fault("14:30:05", "hall-a-3 said ok and kept drawing", Some(4.0)),
            fault("15:05:00", "op-0 killed in the middle of a shed", Some(0.0)),
            fault("16:00:05", "hall-b-4's agent died", Some(75.0)),
        ],
        orders: 4_312,
        ticks: 86_400,
        ..Account::default()
    }
}
