//! An API server that is restarted, paused and slow, and an etcd that is paused and restored.

use std::time::{Duration, Instant};

use ampacity::api::GridEvent;
use ampacity_e2e::bench::{SOON, ended, limit, load, price};
use ampacity_e2e::binaries::Program;
use ampacity_e2e::{Mode, figure, until};
use anyhow::{Context, Result, ensure};
use kube::api::{Api, DeleteParams};

use super::plant::{BUSY, CONTAINERS, DEAR, PROOF, SKEW, Site, before};

/// The API server answers nothing for so long: a minute, and until the limit has to be kept.
const PAUSE: Duration = Duration::from_secs(65);
/// etcd writes nothing for so long: longer than a leadership lasts.
const ETCD_PAUSE: Duration = Duration::from_secs(15);
/// A call of a slow API server takes twice this.
const ONE_WAY: Duration = Duration::from_millis(750);
/// A shed while every call takes that long: the walk of seven turns, and proofs.
const SLOW_SHED: Duration = Duration::from_secs(90);
const SHED_ENDS_WITHIN: Duration = Duration::from_secs(90);
/// What the utility leaves the hall, W: some machines' high step less than it draws.
const PEAK_WATTS: i64 = 64_000;
/// What the site has to respond to it.
const RESPONSE: Duration = Duration::from_secs(5);
/// From when it is told of until it begins. The leader would keep it from some 41 s before, and by then
/// nobody leads; agents keep it by themselves from 20 s before.
const BEGINS_IN: Duration = Duration::from_secs(84);
/// It lasts so long.
const LASTS: Duration = Duration::from_secs(25);
/// A restored backup's revisions are lifted by so much: far above what was written since.
const BUMP: u64 = 1_000_000_000;

/// The end of every leader (in a cluster a kubelet starts it again).
async fn gone(site: &Site<'_>, within: Duration) -> Result<()> {
    until("the end of who led", within, async || {
        let (name, _) = site.orders.leader();
        Ok(site.operators.iter().any(|operator| operator.name == name && operator.part.ended().is_some()).then_some(()))
    })
    .await
}

/// Ended at once and started again, in the middle of a shed.
pub(crate) async fn restarted(site: &mut Site<'_>) -> Result<()> {
    let scene = "an API server that is restarted";
    let api_server = site.test.plain()?.part(Program::ApiServer)?;
    price(site.test, DEAR).await?;
    let away = Instant::now();
    api_server.kill()?;
    api_server.start_again()?;
    site.test.plain()?.api_server_ready().await?;
    figure("api_server_restart", away.elapsed().as_secs_f64(), "seconds");
    // A leader that could not renew has ended: a kubelet starts it again.
    let shed = until("the shed", SHED_ENDS_WITHIN, async || Ok(site.high().is_empty().then_some(Instant::now()))).await;
    site.revive()?;
    let shed = match shed {
        Ok(at) => at,
        Err(_) => site.shed(SHED_ENDS_WITHIN).await?,
    };
    figure("api_server_restart_to_shed_ordered", before(shed, away)?.as_secs_f64(), "seconds");
    site.held(scene)
}

/// A limit of the utility's on the hall, and when it begins.
async fn peak(site: &Site<'_>) -> Result<Instant> {
    limit(site.test, "peak", Some("hall-a"), PEAK_WATTS, RESPONSE, BEGINS_IN..BEGINS_IN + LASTS).await?;
    let start = Instant::now() + BEGINS_IN;
    site.truth.limit("hall-a", PEAK_WATTS, start + RESPONSE, start + LASTS);
    Ok(start)
}

/// Paused (SIGSTOP) for a minute, in which a limit comes that agents were told of: they keep it by themselves, since who
/// led has stopped leading by then. (That a leader sheds over the link while the API server is frozen, as long as its
/// Lease lasts, is shown in `agents.rs`.)
pub(crate) async fn paused_while_a_limit_comes(site: &mut Site<'_>) -> Result<()> {
    let scene = "an API server that is paused while a limit comes";
    let start = peak(site).await?;
    // Who is to be lower then is told; the others stay as they are.
    let told = until("the limit in an order", SOON, async || {
        for name in CONTAINERS {
            let spec = load(site.test, name).await?.spec;
            if let Some(limit) = spec.schedule.first() {
                return Ok(Some(spec.setpoint_watts.0 - limit.limit_watts.0));
            }
        }
        Ok(None)
    })
    .await?;
    figure("paused_limit_known_to_lower_a_load_by", told as f64, "watts");
    let hall = || CONTAINERS.iter().filter_map(|name| site.truth.now().get(name).copied()).sum::<i64>();
    let api_server = site.test.plain()?.part(Program::ApiServer)?;
    ensure!(hall() > PEAK_WATTS, "{scene}: {} W before the limit: it would shed nothing", hall());
    let frozen = Instant::now();
    api_server.freeze()?;
    let kept = async {
        gone(site, Duration::from_secs(12)).await.context("without an API server nobody may lead for long")?;
        let alone = Instant::now();
        ensure!(hall() > PEAK_WATTS, "{scene}: shed before anybody had to");
        let shed = until("the agents to keep the limit by themselves", PAUSE, async || {
            Ok((hall() <= PEAK_WATTS).then_some(Instant::now()))
        })
        .await?;
        figure("paused_limit_kept_before_it_begins", before(start, shed)?.as_secs_f64(), "seconds");
        ensure!(before(start, shed)? <= PROOF + SKEW + RESPONSE, "{scene}: sooner than agents have to");
        tokio::time::sleep(PAUSE.saturating_sub(frozen.elapsed())).await;
        // No more than the limit asks for fell.
        let least = site.truth.least(frozen, Instant::now());
        figure("paused_alone", alone.elapsed().as_secs_f64(), "seconds");
        figure("paused_least_drawn", least as f64, "watts");
        anyhow::Ok(least)
    }
    .await;
    api_server.thaw()?;
    let least = kept?;
    site.test.plain()?.api_server_ready().await?;
    ensure!(least >= PEAK_WATTS * 3 / 4, "{scene}: the site fell to {least} W");
    site.revive()?;
    site.leader().await?;
    // It is in force until its end: taken back before, watts that it withholds would be raised in its time.
    let over = start + LASTS + Duration::from_secs(2);
    tokio::time::sleep(over.saturating_duration_since(Instant::now())).await;
    let events: Api<GridEvent> = Api::all(site.test.admin());
    until("the event to be taken back", SOON, async || {
        if events.get_opt("peak").await?.is_some() {
            events.delete("peak", &DeleteParams::default()).await?;
        }
        Ok(Some(()))
    })
    .await?;
    site.held(scene)
}

/// Every call of operators and agents takes a second and a half.
pub(crate) async fn slow(site: &mut Site<'_>) -> Result<()> {
    let scene = "an API server that is slow";
    let (leader, epoch) = (site.leader().await?, site.orders.epoch());
    for proxy in site.operators.iter().map(|operator| &operator.proxy).chain([&site.field]) {
        proxy.set(Mode::Delay(ONE_WAY));
    }
    // Some renewals under the delay, before there is something to do.
    tokio::time::sleep(Duration::from_secs(8)).await;
    let dear = Instant::now();
    price(site.test, DEAR).await?;
    let shed = site.shed(SLOW_SHED).await?;
    figure("slow_api_server_price_to_shed", before(shed, dear)?.as_secs_f64(), "seconds");
    let writes = site.orders.writes(dear);
    figure("slow_api_server_orders_written", writes as f64, "writes");
    site.led_on(scene, epoch)?;
    ensure!(site.operator(leader)?.part.ended().is_none(), "{scene}: it ended");
    site.held(scene)
}

/// etcd is paused in the middle of a shed: what was sent lands late or never.
pub(crate) async fn etcd_paused(site: &mut Site<'_>) -> Result<()> {
    let scene = "an etcd that is paused";
    let etcd = site.test.plain()?.part(Program::Etcd)?;
    let began = Instant::now();
    site.half_shed().await?;
    etcd.freeze()?;
    let outcome = gone(site, ETCD_PAUSE).await;
    tokio::time::sleep(ETCD_PAUSE.saturating_sub(began.elapsed())).await;
    etcd.thaw()?;
    outcome.context("who cannot write must not lead on")?;
    let thawed = Instant::now();
    site.revive()?;
    let shed = site.shed(SHED_ENDS_WITHIN).await?;
    figure("etcd_paused_thaw_to_shed_complete", before(shed, thawed)?.as_secs_f64(), "seconds");
    site.held(scene)
}

/// Backs up, then moves watts from one container to another, so that the backup's orders and what devices do together
/// would be too much.
async fn backed_up_and_moved(site: &Site<'_>) -> Result<std::path::PathBuf> {
    let file = site.test.plain()?.logs().join("etcd.snapshot");
    if file.exists() {
        std::fs::remove_file(&file)?;
    }
    site.test.plain()?.back_up(&file).await?;
    let high = site.high();
    let held = high.iter().find(|name| site.orders.now().get(*name).is_some_and(|order| order.setpoint > 20_000));
    site.hold(held.context("no container is high")?).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    site.settled(BUSY - 3_000).await.context("after watts were moved")?;
    Ok(file)
}

/// What devices would draw together if each rose to the higher of what it does and what it is ordered to, W.
fn worst(site: &Site<'_>) -> i64 {
    let (truth, orders) = (site.truth.now(), site.orders.now());
    let each = CONTAINERS.iter().map(|name| {
        let ordered = orders.get(*name).map_or(0, |order| order.setpoint);
        truth.get(name).copied().unwrap_or_default().max(ordered)
    });
    each.sum()
}

/// Restored from a backup as the runbook says: stop the operators, restore with lifted revisions, start.
pub(crate) async fn restored_by_the_runbook(site: &mut Site<'_>) -> Result<()> {
    let scene = "an etcd that is restored by the runbook";
    let plain = site.test.plain()?;
    let file = backed_up_and_moved(site).await?;
    for operator in &site.operators {
        operator.part.terminate()?;
        // One that could not renew in time, on a busy machine, has stopped by itself.
        let (code, said) = ended(&operator.part).await?;
        ensure!(matches!(code, Some(0 | 3)), "{scene}: {} did not stop: {code:?} {said}", operator.name);
    }
    // The second may have led for a moment, after the first gave the lead back.
    let epoch = site.orders.epoch();
    plain.part(Program::ApiServer)?.kill()?;
    let folder = plain.restored(&file, BUMP).await?;
    plain.swap_etcd(&folder)?;
    plain.part(Program::ApiServer)?.start_again()?;
    plain.api_server_ready().await?;
    let (back, drawn) = (Instant::now(), site.truth.now());
    let fell = until("the old orders", SOON, async || Ok(site.orders.forget_fall())).await?;
    ensure!(worst(site) > super::plant::HALL, "{scene}: {} W: nothing could go wrong ({fell})", worst(site));
    // While nobody leads, nothing of an old order is carried out.
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(site.truth.now(), drawn, "{scene}: agents followed orders of the past");
    site.revive()?;
    let first = site.orders.first_above(epoch, SOON).await?;
    figure("restored_operators_started_to_first_order", before(first.at, back)?.as_secs_f64() - 10.0, "seconds");
    // The lockout is not in the backup: each is put back by who holds it, as the runbook says.
    site.forget_holds();
    site.settled(BUSY).await?;
    site.held(scene)
}

/// A backup comes back under a running leader: it ends before it orders by what no longer is.
pub(crate) async fn restored_under_a_leader(site: &mut Site<'_>) -> Result<()> {
    let scene = "an etcd that is restored under a leader";
    let plain = site.test.plain()?;
    let file = backed_up_and_moved(site).await?;
    let (leader, epoch) = (site.leader().await?, site.orders.epoch());
    let folder = plain.restored(&file, BUMP).await?;
    plain.swap_etcd(&folder)?;
    let swapped = Instant::now();
    let ended = site.exits(scene, leader, "").await?;
    figure("restored_under_a_leader_to_its_end", before(ended, swapped)?.as_secs_f64(), "seconds");
    // It sees an order fall, or finds first that its Lease is not the one that it renewed.
    let words = site.operator(leader)?.part.last_words(40);
    let why =
        ["its order fell", "epoch fell", "could not be renewed in time"].into_iter().find(|why| words.contains(why));
    eprintln!("a leader under which a backup was restored ended: {}", why.with_context(|| words.clone())?);
    site.revive()?;
    let first = site.orders.first_above(epoch, SOON).await?;
    figure("restored_under_a_leader_to_next_decision", before(first.at, swapped)?.as_secs_f64(), "seconds");
    site.forget_holds();
    site.settled(BUSY).await?;
    ensure!(site.orders.forget_fall().is_some(), "{scene}: no order fell, so nothing was restored under anybody");
    site.held(scene)
}
