//! Leaders that are killed, frozen and cut off.

use std::time::{Duration, Instant};

use ampacity_e2e::bench::{SOON, price, told};
use ampacity_e2e::{Mode, figure, until};
use anyhow::{Context, Result, ensure};

use super::orders::median_and_worst;
use super::plant::{BUSY, CHEAP, DEAR, LOW, Late, NODE, STEP, Site, before};

/// From the end of a leader to the first order of the next.
pub(crate) const DECIDES_WITHIN: Duration = Duration::from_secs(15);
/// How often a leader is killed, for the figure.
const KILLS: usize = 5;
/// After a change of leader nothing may oscillate for so long.
const CALM: Duration = Duration::from_secs(20);
/// From the new leader's first order to the end of the shed: the rest of the walk, and what its agents' proofs take.
const SHED_ENDS_WITHIN: Duration = Duration::from_secs(90);
/// A leader stops so long after its last renewal, and its Lease runs out three seconds after (leader.rs).
const STEPS_DOWN_AFTER: Duration = Duration::from_secs(7);
/// What a leader sends arrives so much later, and what it is shown: short enough to renew its Lease in time.
const LATE: Duration = Duration::from_millis(1_500);
/// A turn of the loop, on a busy machine.
const TURN: Duration = Duration::from_secs(2);

/// Killed (SIGKILL) in the middle of a shed.
pub(crate) async fn killed_in_a_shed(site: &mut Site<'_>) -> Result<()> {
    let scene = "killed in the middle of a shed";
    let (leader, epoch) = (site.leader().await?, site.orders.epoch());
    site.half_shed().await?;
    let killed = Instant::now();
    site.operator(leader)?.part.kill()?;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let (left, told) = (site.high(), site.told().await?);
    if left.is_empty() {
        return Err(Late(format!("{scene}: the shed was over: nothing was in the middle of anything")).into());
    }
    let first = site.orders.first_above(epoch, SOON).await?;
    let decided = site.in_time(scene, killed, first.at, DECIDES_WITHIN)?;
    figure("shed_kill_to_next_decision", decided.as_secs_f64(), "seconds");
    // Nobody orders less while nobody leads: what is drawn is what was ordered, but for the limiters' error and steps.
    let (least, ordered) = (site.truth.least(killed, first.at), site.ordered_under(epoch, &told));
    let (error, steps) = (ordered / 50, 3 * STEP);
    ensure!(least >= ordered - error - steps, "{scene}: {least} W were drawn, {ordered} W ordered");
    let shed = site.shed(SHED_ENDS_WITHIN).await?;
    figure("shed_kill_to_shed_complete", before(shed, killed)?.as_secs_f64(), "seconds");
    // What was left: no load is told something new more often than once a second.
    let writes = site.orders.changed(first.at).len();
    figure("shed_setpoints_changed_by_the_successor", writes as f64, "orders");
    let seconds = before(shed, first.at)?.as_secs_f64();
    let most = left.len() as f64 * (seconds + 2.0);
    ensure!(writes as f64 <= most, "{scene}: {writes} setpoints in {seconds:.0} s for what {left:?} had left");
    let changed = site.calm(scene, CALM, 1).await?;
    figure("shed_setpoint_changes_in_20_s_afterwards", changed as f64, "orders");
    site.held(scene)
}

/// Killed again and again, for the figure.
pub(crate) async fn killed_again_and_again(site: &mut Site<'_>) -> Result<()> {
    let scene = "killed again and again";
    let (mut leads, mut decides) = (Vec::new(), Vec::new());
    for _ in 0..KILLS {
        let (leader, epoch) = (site.leader().await?, site.orders.epoch());
        let (killed, drawn) = (Instant::now(), site.truth.total());
        site.operator(leader)?.part.kill()?;
        site.revive()?;
        let (led, next) = site.orders.led_above(epoch, SOON).await?;
        let first = site.orders.first_above(epoch, SOON).await?;
        ensure!(Some(next.as_str()) != site.operators.get(leader).map(|o| o.name), "{scene}: nobody took over");
        leads.push(before(led, killed)?);
        decides.push(site.in_time(scene, killed, first.at, DECIDES_WITHIN)?);
        // Nothing moves but epochs.
        let least = site.truth.least(killed, first.at);
        ensure!(least >= drawn, "{scene}: from {drawn} W to {least} W while nobody led");
    }
    median_and_worst("kill_to_next_leader", leads)?;
    median_and_worst("kill_to_next_decision", decides)?;
    site.settled(BUSY).await?;
    let changed = site.calm(scene, CALM, 1).await?;
    figure("kills_setpoint_changes_in_20_s_afterwards", changed as f64, "orders");
    site.held(scene)
}

/// Writes of loads that the fence refused, by the API server's own count.
async fn refused(site: &Site<'_>) -> Result<u64> {
    let request = http::Request::get("/metrics").body(Vec::new())?;
    let metrics = site.test.admin().request_text(request).await?;
    let of = |line: &&str| {
        line.starts_with("apiserver_request_total{")
            && line.contains("resource=\"controllableloads\"")
            && line.contains("code=\"422\"")
    };
    metrics
        .lines()
        .filter(of)
        .map(|line| line.rsplit(' ').next().unwrap_or_default().parse::<u64>().context(line.to_owned()))
        .sum()
}

/// Frozen (SIGSTOP) in the middle of a shed with orders on their way, past its Lease, and then continued.
pub(crate) async fn frozen_past_its_lease(site: &mut Site<'_>) -> Result<()> {
    let scene = "frozen past its Lease";
    let (leader, epoch) = (site.leader().await?, site.orders.epoch());
    let (old, before_it) = (site.operator(leader)?, site.orders.now());
    old.proxy.set(Mode::Delay(LATE));
    price(site.test, DEAR).await?;
    // What it orders it shouts at once: when an agent hears that, the same orders are on their way.
    let mut agents = site.agents.iter().filter(|agent| agent.load != NODE);
    let agent = agents.next().context("no agent of a container")?;
    until("a shed over the link", SOON, async || Ok((told(agent.port).await? <= LOW).then_some(()))).await?;
    // There they stay; then it is frozen itself.
    old.proxy.set(Mode::BlackHole);
    old.part.freeze()?;
    ensure!(site.orders.now() == before_it, "{scene}: its orders were not late");
    let frozen = Instant::now();
    let first = site.orders.first_above(epoch, SOON).await?;
    figure("frozen_to_next_decision", before(first.at, frozen)?.as_secs_f64(), "seconds");
    until("every load under the new leader", SOON, async || {
        Ok(site.orders.now().values().all(|order| order.epoch > epoch).then_some(()))
    })
    .await?;
    // Soon: an API server closes a connection on which nothing was asked for a minute and a half.
    let refusals = refused(site).await?;
    old.proxy.set(Mode::Pass);
    let late = until("late writes to be refused", SOON, async || {
        let now = refused(site).await?;
        Ok((now > refusals).then_some(now - refusals))
    })
    .await;
    let late = match late {
        Ok(late) => late,
        Err(why) => {
            old.part.thaw()?;
            site.exits(scene, leader, "leadership lost").await?;
            return Err(Late(format!("{scene}: what it had sent never arrived: {why:#}")).into());
        }
    };
    figure("frozen_late_writes_refused_by_the_fence", late as f64, "writes");
    site.shed(SHED_ENDS_WITHIN).await?;
    site.settled(0).await?;
    let stand = site.orders.now();
    old.part.thaw()?;
    site.exits(scene, leader, "leadership lost").await?;
    tokio::time::sleep(TURN).await;
    assert_eq!(site.orders.now(), stand, "{scene}: the new leader's orders stand");
    site.held(scene)
}

/// Cut off from the API server by the network.
pub(crate) async fn cut_off(site: &mut Site<'_>) -> Result<()> {
    let scene = "cut off by the network";
    let (leader, epoch) = (site.leader().await?, site.orders.epoch());
    let old = site.operator(leader)?;
    let (cut, drawn) = (Instant::now(), site.truth.total());
    old.proxy.set(Mode::Cut);
    let stopped = site.exits(scene, leader, "could not be renewed in time").await?;
    let stopped = site.in_time(scene, cut, stopped, STEPS_DOWN_AFTER + TURN)?;
    let (led, _) = site.orders.led_above(epoch, SOON).await?;
    let first = site.orders.first_above(epoch, SOON).await?;
    let overlap = before(led, cut)?.checked_sub(stopped);
    ensure!(overlap.is_some(), "{scene}: another led before it had stopped");
    figure("cut_to_old_leader_stopped", stopped.as_secs_f64(), "seconds");
    let decided = site.in_time(scene, cut, first.at, DECIDES_WITHIN)?;
    figure("cut_to_next_decision", decided.as_secs_f64(), "seconds");
    let least = site.truth.least(cut, first.at);
    ensure!(least >= drawn, "{scene}: from {drawn} W to {least} W");
    // What is ordered from here on comes from the other alone.
    price(site.test, DEAR).await?;
    site.shed(SHED_ENDS_WITHIN).await?;
    price(site.test, CHEAP).await?;
    site.held(scene)
}
