//! The model check: the real [`Ledger`](super::Ledger) and [`Agent`](super::Agent), driven through everything that can
//! happen to two loads in a small world, within a budget of events; then the same with one rule taken away, which must
//! be found out.
//!
//! The world of `world.rs`: an API server with the three CEL rules of [`super`], orders and status writes that are late,
//! lost or answered to nobody, caches that are stale, two leaders, a second agent, agents that die and restart without
//! memory, devices that are raised late or drop their limiters, demand that moves, deletion, a restored backup, time.
//! Two loads of 2 W at most share 2 W.
//!
//! A scene may begin with steps that are laid down (its prelude): some rules are missed only many steps in.
//!
//! The search is exhaustive within each scene's budget, after its prelude, but for this: a load's devices move as one; time moves in jumps;
//! every write is answered once, and a status write that an agent gives up is forgotten when it gives up another; states
//! are told apart by a 64-bit hash (two million states: one chance in nine million that any two share one).

mod intern;
mod scenes;
mod world;

use self::scenes::{SCENES, Scene};
use self::world::{Model, Outside, Without, World};
use super::rules::Rule;
use std::collections::{HashSet, VecDeque};
use std::hash::BuildHasher;

/// How a search ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// All states were met, and none is over the limit.
    Safe,
    /// The steps to the nearest state over the limit.
    Over(Vec<String>),
}

/// Breadth first. Returns the number of states met, too.
fn search(scene: Scene, without: Without) -> (End, usize) {
    let mut model = Model::new(scene, without);
    let build = intern::Build::default();
    let start = model.begin();
    let mut met: HashSet<u64, intern::Build> = HashSet::from_iter([build.hash_one(start)]);
    // By number of the state: its hash, and the number of the one before it.
    let mut known = vec![(build.hash_one(start), 0_u32)];
    let mut queue = VecDeque::from([start]);
    let (mut out, mut at) = (Vec::new(), 0_u32);
    while let Some(world) = queue.pop_front() {
        if world.over_limit() {
            return (End::Over(trace(&mut model, start, &known, at)), known.len());
        }
        out.clear();
        model.next(&world, &mut out);
        for (_, next) in &out {
            let hash = build.hash_one(next);
            if met.insert(hash) {
                known.push((hash, at));
                queue.push_back(*next);
            }
        }
        at += 1;
    }
    (End::Safe, known.len())
}

/// Goes the way to a state again, and tells it.
fn trace(model: &mut Model, start: World, known: &[(u64, u32)], mut at: u32) -> Vec<String> {
    let mut way = Vec::new();
    while at != 0 {
        way.push(known[at as usize].0);
        at = known[at as usize].1;
    }
    model.tell = true;
    let build = intern::Build::default();
    let (mut world, mut steps) = (start, Vec::new());
    for hash in way.into_iter().rev() {
        let mut out = Vec::new();
        model.next(&world, &mut out);
        let (label, next) = out.into_iter().find(|(_, next)| build.hash_one(next) == hash).unwrap();
        (world, steps) = (next, [steps, vec![label]].concat());
    }
    steps
}

fn scene(name: &str) -> Scene {
    SCENES.iter().find(|(known, _)| *known == name).map(|(_, scene)| *scene).unwrap()
}

/// All rules: safe, whatever happens.
fn is_safe(names: &[&str]) {
    for name in names {
        let (end, states) = search(scene(name), Without::default());
        println!("{name}: {states} states");
        assert_eq!(end, End::Safe, "scene {name}");
    }
}

#[test]
fn the_model_is_safe_with_writes_late_lost_and_repeated() {
    is_safe(&["plain", "late", "late2", "raised", "stale", "shout"]);
}

#[test]
fn the_model_is_safe_with_two_leaders() {
    is_safe(&["lead", "leadlate"]);
}

#[test]
fn the_model_is_safe_with_a_new_leader_whose_cache_is_stale() {
    is_safe(&["leadstale", "claimstale"]);
}

#[test]
fn the_model_is_safe_with_devices_that_are_idle_late_or_lose_their_limiters() {
    is_safe(&["idle", "devices", "life"]);
}

#[test]
fn the_model_is_safe_with_agents_that_die_and_restart_without_memory() {
    is_safe(&["kill", "dark"]);
}

#[test]
fn the_model_is_safe_with_a_second_agent_on_a_load() {
    is_safe(&["spare", "twins", "pair", "holders"]);
}

#[test]
fn the_model_is_safe_with_loads_deleted_and_made_again() {
    is_safe(&["delete", "remake"]);
}

#[test]
fn the_model_is_safe_without_a_leader_and_with_limits_known_to_come() {
    is_safe(&["fall", "known"]);
}

#[test]
fn the_model_is_safe_with_a_restored_backup() {
    is_safe(&["restore", "restorekill", "reused"]);
}

/// Takes rules away; the search must pass the limit in so many steps after those of the scene's prelude.
fn fails(rules: [Option<Rule>; 2], outside: [Option<Outside>; 2], name: &str, steps: usize) {
    let (end, states) = search(scene(name), Without { rules, outside });
    let End::Over(way) = end else {
        panic!("without {rules:?} {outside:?} scene {name} is safe: the rule is not needed")
    };
    println!("without {rules:?} {outside:?}: {} steps in {name}, {states} states", way.len());
    assert_eq!(way.len(), steps, "without {rules:?} {outside:?} in {name}: {way:#?}");
}

#[test]
fn without_any_one_rule_of_the_agent_the_limit_is_passed() {
    let fails = |rule, name, steps| fails([Some(rule), None], [None; 2], name, steps);
    fails(Rule::CeilingFirst, "plain", 16);
    fails(Rule::NotBelowSetpoint, "known", 13);
    fails(Rule::ProofAfterRaise, "devices", 22);
    fails(Rule::ClaimRaisesNothing, "restore", 8);
    fails(Rule::LeaseSeen, "dark", 10);
    fails(Rule::FallLowers, "fall", 3);
    fails(Rule::Memory, "stale", 14);
}

#[test]
fn without_any_one_rule_of_a_successor_the_limit_is_passed() {
    fails([Some(Rule::SuccessorWaits), None], [None; 2], "spare", 15);
    fails([Some(Rule::PermitEnds), None], [None; 2], "spare", 18);
    // Whoever sees another holder is done, and the API server takes no ceiling from him: each makes up for the other.
    fails([Some(Rule::OneHolder), None], [Some(Outside::StatusHolder), None], "holders", 17);
}

#[test]
fn without_any_one_rule_of_the_ledger_the_limit_is_passed() {
    let fails = |rule, name, steps| fails([Some(rule), None], [None; 2], name, steps);
    fails(Rule::ClaimFirst, "leadstale", 19);
    fails(Rule::UnansweredCounts, "late", 17);
    fails(Rule::OwnEpoch, "back4", 11);
    fails(Rule::AbsentCounts, "delete", 7);
    fails(Rule::ProofLife, "life", 8);
}

#[test]
fn without_any_one_rule_of_the_world_the_limit_is_passed() {
    let fails = |rule, name, steps| fails([None; 2], [Some(rule), None], name, steps);
    fails(Outside::Fence, "late", 19);
    fails(Outside::ClaimKeeps, "claimstale", 18);
    fails(Outside::ClockEpoch, "reused", 21);
    fails(Outside::StatusOrder, "raised", 17);
    fails(Outside::ProofByLimiter, "idle", 13);
    fails(Outside::NewHolder, "twins", 17);
}

#[test]
fn a_status_on_a_revision_shuts_out_what_its_order_would_let_in() {
    // A ceiling that falls, landing late, hides a higher one: order and revision each make up for the other there.
    let both = [Some(Outside::StatusRevision), Some(Outside::StatusOrder)];
    fails([None; 2], both, "late", 19);
    for one in both {
        let without = Without { outside: [one, None], ..Without::default() };
        assert_eq!(search(scene("late"), without).0, End::Safe, "without {one:?}");
    }
}

#[test]
fn a_holder_that_is_not_done_is_shut_out_by_the_api_server_and_the_other_way_round() {
    for without in [
        Without { rules: [Some(Rule::OneHolder), None], ..Without::default() },
        Without { outside: [Some(Outside::StatusHolder), None], ..Without::default() },
    ] {
        assert_eq!(search(scene("holders"), without).0, End::Safe, "{without:?}");
    }
}

/// A scene with far larger budgets, walked at random: longer than any search reaches.
#[test]
fn the_model_is_safe_on_long_walks_at_random() {
    let mut model = Model::new(scene("everything"), Without::default());
    let start = model.begin();
    let mut seed = 0x5EED_u64;
    let mut longest = 0;
    for walk in 0..400 {
        let (mut world, mut out) = (start, Vec::new());
        for step in 0..400 {
            out.clear();
            model.next(&world, &mut out);
            if out.is_empty() {
                break;
            }
            // SplitMix64: any stream that is the same every time will do.
            seed = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mixed = (seed ^ (seed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            world = out[(mixed >> 33) as usize % out.len()].1;
            longest = longest.max(step);
            assert!(!world.over_limit(), "walk {walk}, step {step}");
        }
    }
    assert!(longest >= 200, "walks end early: {longest}");
}
