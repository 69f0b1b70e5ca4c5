//! How long a decision takes, whole, on a site that has been running, beside a linear programme for its watts alone.
//!
//! Half the loads are containers, half are GPU nodes; there is one lease a load. The site has eight feeders with ten
//! halls each, and its limit binds. `calm`: nothing has changed since the last decision. `stormy`: the price moved so
//! that miners and leases change sides, a limit comes, and the meter of one hall is stale.

use ampacity::digest::sha256_hex;
use ampacity_core::bid::{Bid, Container, MiningValue};
use ampacity_core::curve::{CapCurve, CapPoint, MinerCurve, Preset};
use ampacity_core::decide::decide;
use ampacity_core::guard::{Basis, Bound, LoadId};
use ampacity_core::lease::{Allowance, Book, Contract, Delivery, Lease, LeaseState, Level, Offer, Request, Terms};
use ampacity_core::memory::Memory;
use ampacity_core::snapshot::{Fleet, Load, Member, Ownership, Policy, Pool, Quote, Reading, Snapshot, TimedLimit};
use ampacity_core::tree::{Node, NodeId, Tree};
use ampacity_core::units::{GigahashPerSecond, Ppm, Span, Time, Usd, UsdPerMwh, UsdPerPhDay, Watts};
use anyhow::{Context, Result};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use microlp::{ComparisonOp, OptimizationDirection, Problem};
use std::hint::black_box;
use std::time::Duration;

const FEEDERS: u32 = 8;
const HALLS: u32 = 10;
const NOW: Time = Time::seconds(1_700_000_000);

fn node(name: String, parent: Option<u32>, limit: Watts) -> Node {
    let parent = parent.map(NodeId);
    Node { name, parent, limit, reserve: Watts::ZERO, auxiliary: Watts::ZERO, loss: Ppm::percent(1) }
}

/// Site, feeders, halls: each level is a little narrower than what hangs below it.
fn tree(loads: u32) -> Result<Tree> {
    let hall = Watts::kilo(i64::from(loads.div_ceil(FEEDERS * HALLS)) * 560);
    let times = |watts: Watts, count: u32| Watts::new(watts.get() * i64::from(count) * 9 / 10);
    let feeder = times(hall, HALLS);
    let mut nodes = vec![node("site".into(), None, times(feeder, FEEDERS))];
    nodes.extend((0..FEEDERS).map(|f| node(format!("feeder-{f}"), Some(0), feeder)));
    for hall_of in 0..FEEDERS * HALLS {
        nodes.push(node(format!("hall-{hall_of}"), Some(1 + hall_of % FEEDERS), hall));
    }
    Ok(Tree::new(nodes)?)
}

fn fleet(number: i64) -> Result<Fleet> {
    let rung = |(watts, tera): (i64, i64)| Preset {
        watts: Watts::new(watts + 40 * number),
        hashrate: GigahashPerSecond::tera(tera),
    };
    let ladder =
        [(1_740, 65), (1_850, 76), (2_000, 80), (2_150, 83), (2_300, 87), (2_500, 92), (2_700, 96), (2_970, 100)];
    Ok(Fleet {
        name: format!("fleet-{number}"),
        ladder: MinerCurve::new(Watts::new(25), &ladder.map(rung))?,
        miners: 400,
        overhead: Watts::kilo(30),
        thermal_floor: Watts::kilo(50),
        step: Watts::ZERO,
        indivisible: false,
        minimum_on: Span::minutes(10),
        minimum_off: Span::minutes(5),
        start_cost: Usd::dollars(2),
        stop_cost: Usd::dollars(2),
        ownership: Ownership::Own,
        pool_fee: Ppm::percent(2),
        wear: UsdPerMwh::dollars(1),
    })
}

fn pool(feeder: u32) -> Result<Pool> {
    let point = |cap, percent| CapPoint { cap: Watts::new(cap), throughput: Ppm::percent(percent) };
    Ok(Pool {
        name: format!("pool-{feeder}"),
        node: NodeId(1 + feeder),
        gpus_per_node: 8,
        min_cap: Watts::new(200),
        max_cap: Watts::new(700),
        overhead: Watts::new(2_000),
        curve: CapCurve::new(&[point(200, 40), point(400, 80), point(700, 100)])?,
    })
}

/// Loads in turn a container and a GPU node.
fn load(at: u32) -> Load {
    let miner = at.is_multiple_of(2);
    let hall = 1 + FEEDERS + (at / 2) % (FEEDERS * HALLS);
    let feeder = (at / 2) % FEEDERS;
    let setpoint = if miner { Watts::kilo(790) } else { Watts::new(7_600) };
    Load {
        id: LoadId(at),
        name: format!("load-{at}").into(),
        node: if miner { NodeId(hall) } else { NodeId(1 + feeder) },
        member: if miner { Member::Fleet((at / 2) % 5) } else { Member::Pool(feeder) },
        nameplate: if miner { Watts::kilo(1_300) } else { Watts::new(7_600) },
        setpoint,
        bound: Bound { watts: setpoint, basis: Basis::Known, since: NOW },
        proof_within: Span::seconds(30),
        drawn: Some(setpoint),
        measured: Some(Reading { watts: setpoint, error: Watts::new(100), time: NOW }),
        wants_more: true,
    }
}

/// A lease of four GPUs on some node: every fifth is firm, every third of the others may be capped.
fn lease(at: u32, loads: u32) -> Lease {
    let node = (2 * at + 1) % loads;
    let delivery = Delivery::Jobs { pool: (node / 2) % FEEDERS, gpus: 4 };
    let (start, end) = (NOW, NOW.after(Span::minutes(60 * 24 * 60)));
    let terms = Terms {
        firm: at.is_multiple_of(5),
        price: Usd::new(400_000 + 1_000 * i64::from(at % 500)),
        notice: Span::minutes(10),
        allowance: Allowance {
            curtailed: Span::minutes(240),
            per: Span::minutes(7 * 24 * 60),
            events_per_day: 2,
            longest: Span::minutes(180),
            minimum_run: Span::minutes(30),
        },
        credit: UsdPerMwh::dollars(100),
        stop_cost: Usd::dollars(1),
        least_throughput: if at.is_multiple_of(3) { Ppm::percent(80) } else { Ppm::percent(100) },
        accepts_itself: true,
        longest_term: end.since(start),
    };
    let offer = Offer { terms, delivery, start, end, hash: format!("{at:064}"), expires: end };
    let full = Level { watts: Watts::new(2_000), cap: Watts::new(700) };
    let request =
        Request { class: None, delivery: Some(delivery), start, end, max_price: None, accepted_hash: None, asked: NOW };
    Lease {
        name: format!("tenant-{}/lease-{at}", at % 50),
        namespace: format!("tenant-{}", at % 50),
        request,
        state: LeaseState::Accepted(Box::new(Contract::new(offer, full, NOW))),
        placed: vec![(LoadId(node), 4)],
        has_work: true,
        has_pods: true,
        acknowledged: None,
    }
}

fn policy() -> Policy {
    Policy {
        up_watts_per_minute: Watts::mega(10_000),
        down_watts_per_minute: Watts::mega(10_000),
        dead_band: UsdPerMwh::dollars(5),
        allowance_price: UsdPerMwh::dollars(40),
        expected_excursion: Span::minutes(15),
        trim_margin: Ppm::percent(5),
        trim_after: Span::minutes(10),
        meter_stale: Span::seconds(90),
        clock_skew: Span::seconds(5),
        slowest_shed: Span::seconds(30),
    }
}

/// A site of `size` loads and as many leases that has run for an hour.
fn site(size: u32) -> Result<Snapshot> {
    let tree = tree(size)?;
    let mut snapshot = Snapshot {
        now: NOW,
        limits: vec![],
        obligations: vec![],
        lockouts: vec![],
        unread: vec![],
        metered: Vec::new(),
        price: Quote::Fresh { value: UsdPerMwh::dollars(45), since: NOW },
        hashprice: Quote::Fresh { value: UsdPerPhDay::dollars(50), since: NOW },
        policy: policy(),
        fleets: (0..5).map(fleet).collect::<Result<_>>()?,
        pools: (0..FEEDERS).map(pool).collect::<Result<_>>()?,
        loads: (0..size).map(load).collect(),
        classes: vec![],
        leases: (0..size).map(|at| lease(at, size)).collect(),
        book: Book::default(),
        meters: vec![None; tree.len()],
        meter_stale: vec![],
        memory: Memory::default(),
        tree,
    };
    for _ in 0..60 {
        tick(&mut snapshot);
    }
    snapshot.book = Book::of(&snapshot.leases);
    Ok(snapshot)
}

/// Everybody obeys, and a minute passes.
fn tick(snapshot: &mut Snapshot) {
    let plan = decide(snapshot, sha256_hex);
    snapshot.now = snapshot.now.after(Span::minutes(1));
    for (load, award) in snapshot.loads.iter_mut().zip(&plan.loads) {
        load.setpoint = award.watts;
        load.bound = Bound { watts: award.watts, basis: Basis::Known, since: snapshot.now };
        load.measured = Some(Reading { watts: award.watts, error: Watts::new(100), time: snapshot.now });
    }
    for (lease, award) in snapshot.leases.iter_mut().zip(plan.leases) {
        lease.state = award.state;
    }
    snapshot.memory = plan.memory;
}

/// The same site as the weather turns.
fn stormy(calm: &Snapshot) -> Snapshot {
    let mut snapshot = calm.clone();
    let now = snapshot.now;
    snapshot.price = Quote::Fresh { value: UsdPerMwh::dollars(1_100), since: now };
    let limit = snapshot.tree.node(NodeId::SITE).map_or(Watts::ZERO, |n| n.limit);
    snapshot.limits = vec![TimedLimit {
        name: "utility".into(),
        node: NodeId::SITE,
        kind: None,
        limit: Watts::new(limit.get() / 10),
        from: now.after(Span::minutes(5)),
        until: now.after(Span::minutes(60)),
        response: Span::minutes(1),
        seen: now,
        priority: 0,
    }];
    if let Some(meter) = snapshot.meters.last_mut() {
        *meter = Some(Reading { watts: Watts::ZERO, error: Watts::ZERO, time: now.before(Span::minutes(9)) });
    }
    snapshot
}

/// The watts of the containers alone as a linear programme: no holds, no leases, no reasons.
fn programme(snapshot: &Snapshot) -> Result<f64> {
    let price = snapshot.price.value().map_or(0, UsdPerMwh::get);
    let hashprice = snapshot.hashprice.value().context("a hashprice")?;
    let mut problem = Problem::new(OptimizationDirection::Maximize);
    let mut rows: Vec<Vec<(microlp::Variable, f64)>> = vec![Vec::new(); snapshot.tree.len()];
    let mut floors = vec![Watts::ZERO; snapshot.tree.len()];
    for load in &snapshot.loads {
        let Member::Fleet(fleet) = load.member else { continue };
        let fleet = snapshot.fleets.get(fleet as usize).context("a fleet")?;
        let container = Container {
            node: load.node,
            miners: fleet.miners,
            curve: &fleet.ladder,
            standby: Watts::ZERO,
            overhead: fleet.overhead,
            thermal_floor: fleet.thermal_floor,
            minimum: Watts::ZERO,
            step: Watts::ZERO,
            one_piece: false,
        };
        let value = MiningValue::Own { hashprice, pool_fee: fleet.pool_fee, wear: fleet.wear };
        let bid = Bid::miners(&container, value)?;
        for node in snapshot.tree.path(load.node) {
            *floors.get_mut(node.index()).context("a node")? += bid.floor();
        }
        for segment in bid.segments() {
            let gain = (segment.value.get() - price) as f64 / 1e6;
            let variable = problem.add_var(gain, (0.0, segment.watts.get() as f64));
            for node in snapshot.tree.path(load.node) {
                rows.get_mut(node.index()).context("a row")?.push((variable, 1.0));
            }
        }
    }
    for (at, (row, floor)) in rows.iter().zip(floors).enumerate() {
        let room = snapshot.tree.capacity(NodeId(at as u32)) - floor;
        problem.add_constraint(row.as_slice(), ComparisonOp::Le, room.get() as f64);
    }
    Ok(problem.solve()?.into_solution().ok().context("no solution")?.objective())
}

fn run(criterion: &mut Criterion) -> Result<()> {
    let mut group = criterion.benchmark_group("decide");
    group.measurement_time(Duration::from_secs(5)).sample_size(30);
    for size in [1_000, 10_000] {
        let calm = site(size)?;
        let stormy = stormy(&calm);
        group.bench_function(BenchmarkId::new("calm", size), |bench| {
            bench.iter(|| decide(black_box(&calm), sha256_hex))
        });
        group.bench_function(BenchmarkId::new("stormy", size), |bench| {
            bench.iter(|| decide(black_box(&stormy), sha256_hex))
        });
    }
    group.sample_size(10);
    for size in [100, 1_000] {
        let calm = site(size)?;
        programme(&calm)?;
        let name = BenchmarkId::new("linear programme of the containers alone", size);
        group.bench_function(name, |bench| bench.iter(|| programme(black_box(&calm)).unwrap_or_default()));
    }
    group.finish();
    Ok(())
}

fn decide_benches(criterion: &mut Criterion) {
    if let Err(error) = run(criterion) {
        eprintln!("bench: {error:#}");
        std::process::exit(1);
    }
}

criterion_group!(benches, decide_benches);
criterion_main!(benches);
