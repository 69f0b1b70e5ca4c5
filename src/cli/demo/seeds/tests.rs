use super::*;
use crate::sim::frame::Frame;
use clap::Parser as _;

#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    args: DemoArgs,
}

fn args(line: &[&str]) -> DemoArgs {
    Line::try_parse_from(["demo"].iter().chain(line)).map_err(|e| e.to_string()).unwrap().args
}

/// A world that passes its limit under every third seed.
struct Short(u64);

const OF: World<Short> = World {
    advance: |_| (),
    frame: |_| Frame::default(),
    account: |world| Account {
        seed: world.0,
        ticks: 1,
        seconds_over_limit: if world.0.is_multiple_of(3) { 2.5 } else { 0.0 },
        ..Account::default()
    },
};

fn ran(line: &[&str], stopped: bool) -> (Result<Sum, String>, Vec<String>) {
    let args = args(line);
    let mut out = Vec::new();
    let new = |spec: WorldSpec| if spec.seed == 13 { Err("unlucky") } else { Ok(Short(spec.seed)) };
    let count = args.seeds.unwrap();
    let sum = sweep(&args, count, &new, &OF, &AtomicBool::new(stopped), &mut out).map_err(|e| e.to_string());
    let mut lines: Vec<String> = String::from_utf8(out).unwrap().lines().map(str::to_owned).collect();
    lines.sort();
    (sum, lines)
}

#[test]
fn every_seed_is_run_and_told_and_the_sum_is_theirs() {
    let (sum, lines) = ran(&["--seeds", "4", "--seed", "2", "--hours", "1"], false);
    assert_eq!(sum, Ok(Sum { ran: 4, kept: 3, over: 2.5, broken: 0 }));
    let kept =
        |seed| format!("KEPT    seed {seed}        0.0 s over a limit   0 broken terms        0 orders     0 faults");
    let failed = "FAILED  seed 3        2.5 s over a limit   0 broken terms        0 orders     0 faults".to_owned();
    let total = "3 of 4 seeds kept: 2.5 s over any limit, 0 broken terms".to_owned();
    assert_eq!(lines, [String::new(), total, failed, kept(2), kept(4), kept(5)]);
}

#[test]
fn a_seed_that_makes_no_world_ends_the_sweep_with_its_words() {
    assert_eq!(ran(&["--seeds", "3", "--seed", "13", "--hours", "1"], false).0, Err("unlucky".into()));
}

#[test]
fn a_sweep_that_is_stopped_says_what_it_left_out() {
    let (sum, lines) = ran(&["--seeds", "3", "--hours", "1"], true);
    assert_eq!(sum, Ok(Sum::default()));
    assert_eq!(lines, ["", "0 of 0 seeds kept (3 not run): 0.0 s over any limit, 0 broken terms"]);
}
