//! The model check: the real [`Ledger`](super::Ledger) and [`Agent`](super::Agent), driven through everything that can
//! happen to two loads in a small world, within a budget of events; then the same with one rule taken away, which must
//! be found out.

mod intern;
mod world;

use self::world::{Budget, Model, Outside, Scene, Without, World};
use super::rules::Rule;
use std::collections::HashSet;
use std::hash::BuildHasher;

/// How a search ended.
#[derive(Debug)]
struct Found {
    states: usize,
    /// The steps to the first state over the limit.
    over: Option<Vec<String>>,
    exhausted: bool,
}

/// Breadth first. States are remembered by a 64-bit hash: with ten million of them the chance that any two share one is
/// below one in three hundred thousand.
fn search(scene: Scene, without: Without, most: usize) -> Found {
    let mut model = Model::new(scene, without);
    let build = intern::Build::default();
    let mut met: HashSet<u64, intern::Build> = HashSet::default();
    let mut all: Vec<(World, u32)> = vec![(model.start(), 0)];
    met.insert(build.hash_one(&all[0].0));
    let mut out = Vec::new();
    let mut at = 0;
    while at < all.len() {
        let world = all[at].0;
        if world.over_limit() {
            return Found { states: all.len(), over: Some(trace(&mut model, &all, at)), exhausted: false };
        }
        out.clear();
        model.next(&world, &mut out);
        for (_, next) in &out {
            if met.insert(build.hash_one(next)) {
                all.push((*next, at as u32));
            }
        }
        at += 1;
        if all.len() > most {
            if std::env::var("DEEP").is_ok() { let n = all.len() - 1; return Found { states: all.len(), over: Some(trace(&mut model, &all, n)), exhausted: false }; }
            return Found { states: all.len(), over: None, exhausted: false };
        }
    }
    if std::env::var("MET").is_ok() { println!("met {:?}", model.machines.met()); }
    Found { states: all.len(), over: None, exhausted: true }
}

fn trace(model: &mut Model, all: &[(World, u32)], mut at: usize) -> Vec<String> {
    model.tell = true;
    let mut steps = Vec::new();
    while at != 0 {
        let before = all[at].1 as usize;
        let mut out = Vec::new();
        model.next(&all[before].0, &mut out);
        steps.extend(out.into_iter().find(|(_, next)| *next == all[at].0).map(|(label, _)| label));
        at = before;
    }
    steps.reverse();
    steps
}

const NONE: Budget = Budget {
    sends: 2, leads: 0, spares: 0, kills: 0, deletes: 0, remakes: 0, restores: 0, demands: 0, jumps: 0, late: 0,
    late_proofs: 0, late_raises: 0, stale: 0, shouts: 0,
};

fn scene(budget: Budget) -> Scene {
    Scene { budget, now: [1, 1], backup: [1, 1], fallback: 1, jump_seconds: 11, hold_seconds: 0, life_seconds: 0, start_seconds: 0, known_limit: None }
}

fn scenes() -> Vec<(&'static str, Scene)> {
    let lead = Scene { now: [0, 1], ..scene(Budget { leads: 1, ..NONE }) };
    let back = Scene { now: [0, 2], ..scene(Budget { leads: 1, restores: 1, ..NONE }) };
    vec![
        ("plain", scene(NONE)),
        ("late", scene(Budget { late: 1, ..NONE })),
        ("late2", scene(Budget { late: 2, ..NONE })),
        ("lead", lead),
        ("leadlate", Scene { budget: Budget { late: 1, ..lead.budget }, ..lead }),
        ("idle", scene(Budget { demands: 2, ..NONE })),
        ("devices", scene(Budget { late_proofs: 1, late_raises: 1, ..NONE })),
        ("kill", Scene { jump_seconds: 16, ..scene(Budget { kills: 1, jumps: 1, late_raises: 1, ..NONE }) }),
        ("spare", Scene { jump_seconds: 16, ..scene(Budget { spares: 1, jumps: 1, late_raises: 1, ..NONE }) }),
        ("spare11", Scene { jump_seconds: 11, ..scene(Budget { spares: 1, jumps: 1, ..NONE }) }),
        ("delete", scene(Budget { deletes: 1, ..NONE })),
        ("remake", scene(Budget { deletes: 1, remakes: 1, ..NONE })),
        ("stale", scene(Budget { stale: 1, late: 1, ..NONE })),
        ("shout", scene(Budget { shouts: 1, late: 1, ..NONE })),
        ("fall", Scene { now: [0, 2], hold_seconds: 5, jump_seconds: 21, ..scene(Budget { jumps: 1, ..NONE }) }),
        ("life", Scene { now: [0, 0], life_seconds: 15, start_seconds: 16, ..scene(NONE) }),
        ("known", Scene { known_limit: Some((0, 5)), jump_seconds: 6, ..scene(Budget { jumps: 1, late: 1, ..NONE }) }),
        ("restore", back),
        ("restorekill", Scene { budget: Budget { kills: 1, ..back.budget }, ..back }),
    ]
}

fn limit() -> usize { std::env::var("CAP").ok().and_then(|c| c.parse().ok()).unwrap_or(1_000_000) }
fn sends(mut scene: Scene) -> Scene {
    if let Some(n) = std::env::var("SENDS").ok().and_then(|c| c.parse().ok()) { scene.budget.sends = n; }
    scene
}

#[test]
fn explore() {
    let only = std::env::var("ONLY").unwrap_or_default();
    for (name, scene) in scenes() {
        if !only.split(',').any(|o| name.contains(o)) { continue }
        let t = std::time::Instant::now();
        let found = search(sends(scene), Without::default(), limit());
        println!("{name}: {} states, exhausted {}, over {:?} {:?}", found.states, found.exhausted, found.over.as_ref().map(Vec::len), t.elapsed());
        for step in found.over.unwrap_or_default() { println!("    {step}"); }
    }
}

#[test]
fn mutants() {
    let only = std::env::var("ONLY").unwrap_or_default();
    use Rule::*;
    use Outside::*;
    let r = |rule, names: &'static str| (Without { rule: Some(rule), outside: None }, names);
    let o = |rule, names: &'static str| (Without { rule: None, outside: Some(rule) }, names);
    let all = [r(CeilingFirst, "plain"), r(NotBelowSetpoint, "known shout"), r(ProofAfterRaise, "devices"), r(ClaimRaisesNothing, "lead restore"),
        r(LeaseSeen, "restorekill"), r(OneHolder, "spare11 spare"), r(SuccessorWaits, "kill spare"), r(PermitEnds, "spare11 spare"), r(FallLowers, "fall"), r(Memory, "restore restorekill stale"),
        r(ClaimFirst, "lead"), r(UnansweredCounts, "late"), r(OwnEpoch, "restore"), r(AbsentCounts, "delete"), r(ProofLife, "life"),
        o(Fence, "late lead"), o(ClaimKeeps, "restore lead"), o(StatusOrder, "plain late"), o(StatusHolder, "spare11 spare"), o(StatusRevision, "late late2 known"),
        o(ProofByLimiter, "idle"), o(NewHolder, "kill"), o(ClockEpoch, "restore restorekill")];
    for (w, names) in all {
        let mut line = format!("{:?}{:?}:", w.rule, w.outside);
        if !only.is_empty() && !line.contains(&only) { continue }
        for (name, scene) in scenes() {
            if !names.split(' ').any(|n| n == name) { continue }
            let t = std::time::Instant::now();
            let found = search(sends(scene), w, limit());
            line += &format!(" {name}={:?}({}, {}, {:?})", found.over.as_ref().map(Vec::len), found.states, found.exhausted, t.elapsed());
            if let Some(over) = &found.over {
                if std::env::var("DEEP").is_ok() { for step in over { println!("    {step}"); } }
                break;
            }
        }
        println!("{line}");
    }
}
