//! How long clearing takes, beside a general linear programme on the same instance.
//!
//! Site, 8 feeders, distribution units, containers: four levels, bids at the containers. Four in five bids are miners
//! with three segments, one in five a lease with one, so 100,000 bids are 260,000 segments. Limits bind at every level.

use ampacity_core::bid::{Bid, Segment};
use ampacity_core::clear::{Clearer, clear};
use ampacity_core::tree::{Node, NodeId, Tree};
use ampacity_core::units::{Ppm, UsdPerMwh, Watts};
use anyhow::{Context, Result};
use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use microlp::{ComparisonOp, OptimizationDirection, Problem, Variable};
use std::hint::black_box;
use std::time::Duration;

const FEEDERS: u32 = 8;
const BIDS_PER_CONTAINER: u32 = 25;
const CONTAINERS_PER_UNIT: u32 = 10;

/// Numbers that look random and are the same on every run (Knuth's MMIX generator).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: i64) -> i64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        i64::try_from(self.0 >> 33).unwrap_or(0) % bound.max(1)
    }
}

struct Instance {
    tree: Tree,
    bids: Vec<Bid>,
}

/// Bids of the containers at `leaves`, round and round, and what they ask for at each.
fn bids(count: u32, leaves: &[NodeId], numbers: &mut Numbers) -> Result<Vec<Bid>> {
    let offer = |(place, leaf): (u32, &NodeId)| {
        let segments = if place % 5 == 0 { 1 } else { 3 };
        let mut value = 20_000_000 + numbers.below(100_000_000);
        let segments = (0..segments).map(|_| {
            value -= numbers.below(15_000_000);
            Segment::new(Watts::new(500 + numbers.below(3_000)), UsdPerMwh::new(value))
        });
        let segments = segments.collect();
        Bid::new(*leaf, Watts::new(numbers.below(200)), segments).context("a bid")
    };
    (0..count).zip(leaves.iter().cycle()).map(offer).collect()
}

/// Limits at 80 % of what could be drawn at a container, 85 % of that at a unit, and so on up: all levels bind.
fn instance(count: u32, seed: u64) -> Result<Instance> {
    let containers = (count / BIDS_PER_CONTAINER).max(1);
    let units = (containers / CONTAINERS_PER_UNIT).max(1);
    let node = |name: String, parent: Option<u32>| Node {
        name,
        parent: parent.map(NodeId),
        limit: Watts::mega(1_000_000),
        reserve: Watts::ZERO,
        auxiliary: Watts::ZERO,
        loss: Ppm::ZERO,
    };
    let mut nodes = vec![node("site".into(), None)];
    nodes.extend((0..FEEDERS).map(|at| node(format!("feeder-{at}"), Some(0))));
    nodes.extend((0..units).map(|at| node(format!("unit-{at}"), Some(1 + at % FEEDERS))));
    nodes.extend((0..containers).map(|at| node(format!("container-{at}"), Some(1 + FEEDERS + at % units))));
    let first = 1 + FEEDERS + units;
    let leaves: Vec<NodeId> = (first..first + containers).map(NodeId).collect();
    let bids = bids(count, &leaves, &mut Numbers(seed))?;
    let free = Tree::new(nodes).context("a tree")?;
    let asked = free.sums(bids.iter().map(|b| (b.node(), b.most())));
    let limits = asked.iter().zip(0_u32..).map(|(asked, at)| {
        let levels = if at == 0 { 4 } else { 1 + u32::from(at < first) + u32::from(at <= FEEDERS) };
        let kept = (1..levels).fold(Ppm::percent(80), |kept, _| Ppm::new(kept.get() * 85 / 100));
        (NodeId(at), asked.part(kept))
    });
    Ok(Instance { tree: free.tightened(limits), bids })
}

/// The same instance as a linear programme in flow form: a variable a node, bounded by its capacity.
fn linear_programme(instance: &Instance, price: UsdPerMwh) -> Problem {
    let mut problem = Problem::new(OptimizationDirection::Maximize);
    let floors = instance.tree.sums(instance.bids.iter().map(|b| (b.node(), b.floor())));
    let rooms = floors.iter().zip(0_u32..).map(|(floor, at)| instance.tree.capacity(NodeId(at)) - *floor);
    let flows: Vec<Variable> = rooms.map(|room| problem.add_var(0.0, (0.0, room.get() as f64))).collect();
    let mut sums: Vec<Vec<(Variable, f64)>> = flows.iter().map(|flow| vec![(*flow, -1.0)]).collect();
    for (node, flow) in instance.tree.nodes().iter().zip(&flows) {
        if let Some(sum) = node.parent.and_then(|p| sums.get_mut(p.index())) {
            sum.push((*flow, 1.0));
        }
    }
    for bid in &instance.bids {
        for segment in bid.segments() {
            let gain = (segment.value - price).get() as f64 / 1e6;
            let taken = problem.add_var(gain, (0.0, segment.watts.get() as f64));
            if let Some(sum) = sums.get_mut(bid.node().index()) {
                sum.push((taken, 1.0));
            }
        }
    }
    for sum in &sums {
        problem.add_constraint(sum.as_slice(), ComparisonOp::Eq, 0.0);
    }
    problem
}

/// What a clearing is worth over the price, in dollars an hour times 10⁶.
fn worth(instance: &Instance, price: UsdPerMwh) -> f64 {
    let got = clear(&instance.tree, &instance.bids, price);
    let mut worth = 0.0;
    for (bid, award) in instance.bids.iter().zip(&got.awards) {
        let mut left = award.watts - bid.floor();
        for segment in bid.segments() {
            let taken = left.min(segment.watts);
            worth += taken.get() as f64 * (segment.value - price).get() as f64 / 1e6;
            left -= taken;
        }
    }
    worth
}

fn merit_order(criterion: &mut Criterion, count: u32) -> Result<()> {
    let (now, then) = (instance(count, 1)?, instance(count, 2)?);
    let mut group = criterion.benchmark_group("clear");
    group.measurement_time(Duration::from_secs(3)).warm_up_time(Duration::from_millis(500)).sample_size(30);
    let (cheap, dear) = (UsdPerMwh::dollars(10), UsdPerMwh::dollars(30));
    group.bench_function(BenchmarkId::new("from nothing", count), |bench| {
        bench.iter(|| clear(&now.tree, black_box(&now.bids), cheap));
    });
    let mut clearer = Clearer::new();
    let mut turn = false;
    group.bench_function(BenchmarkId::new("every value changed", count), |bench| {
        bench.iter(|| {
            turn = !turn;
            let bids = if turn { &now.bids } else { &then.bids };
            clearer.clear(&now.tree, black_box(bids), cheap).loss_bound
        });
    });
    clearer.load(&now.tree, &now.bids);
    group.bench_function(BenchmarkId::new("kept sorted", count), |bench| {
        bench.iter(|| {
            turn = !turn;
            let price = if turn { cheap } else { dear };
            clearer.clear(&now.tree, black_box(&now.bids), price).loss_bound
        });
    });
    group.bench_function(BenchmarkId::new("price alone", count), |bench| {
        bench.iter(|| {
            turn = !turn;
            clearer.at(black_box(if turn { cheap } else { dear })).loss_bound
        });
    });
    group.finish();
    Ok(())
}

fn baseline(criterion: &mut Criterion, count: u32) -> Result<()> {
    let instance = instance(count, 1)?;
    let price = UsdPerMwh::dollars(10);
    let problem = linear_programme(&instance, price);
    let solved = problem.solve().context("the linear programme")?;
    let optimum = solved.into_solution().ok().context("no solution")?.objective();
    let ours = worth(&instance, price);
    anyhow::ensure!(
        (ours - optimum).abs() <= 1e-6 * optimum.abs(),
        "clearing is worth {ours}, the programme {optimum}"
    );
    let mut group = criterion.benchmark_group("microlp");
    group.measurement_time(Duration::from_secs(3)).warm_up_time(Duration::from_millis(500)).sample_size(10);
    group.bench_function(BenchmarkId::new("flow form", count), |bench| {
        bench.iter_batched(|| problem.clone(), |problem| problem.solve().is_ok(), BatchSize::LargeInput);
    });
    group.finish();
    Ok(())
}

fn all(criterion: &mut Criterion) {
    let sizes = [100, 1_000, 10_000, 100_000].map(|count| merit_order(criterion, count));
    let baselines = [100, 1_000].map(|count| baseline(criterion, count));
    if let Some(error) = sizes.into_iter().chain(baselines).find_map(Result::err) {
        eprintln!("{error:#}");
        std::process::exit(1);
    }
}

criterion_group!(benches, all);
criterion_main!(benches);
