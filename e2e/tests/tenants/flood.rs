//! A thousand leases at once: each is answered, and the loop turns for the others as before.

use std::time::{Duration, Instant};

use ampacity::api::{ComputeLease, LeaseClass};
use ampacity_e2e::{Needs, Test, cluster_test_within, figure, until};
use anyhow::{Context, Result, ensure};
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use tokio::task::JoinSet;

use super::granted::{Cheat, turns};
use super::stand::{TENANTS, lease, stand};
use super::{LIMIT, has, nothing_came_of_it, row};

const LEASES: usize = 1_000;
/// Requests of the tenant under way at once.
const AT_ONCE: usize = 16;
/// The API server takes some 3 ms for each request and as much for each answer, on a core of its own.
const ANSWERED_WITHIN: Duration = Duration::from_secs(240);
/// What a turn of the loop may cost of a core, s: more, and the loop falls behind the second that it turns in. It is a
/// bound on how the work grows (a debug build takes some 0.07 s here); that a turn stays within 0.1 s is for a release
/// build on a quiet machine to show (`benches/figures.rs`), for here others run beside it.
const TURN_SECONDS: f64 = 1.0;

async fn create(leases: Api<ComputeLease>, at: usize) -> Result<()> {
    let mut asked = lease(&format!("flood-{at}"), 1, 24)?;
    asked.metadata.labels = Some([("flood".into(), "yes".into())].into());
    leases.create(&PostParams::default(), &asked).await?;
    Ok(())
}

#[test]
fn a_thousand_leases_at_once_are_answered_and_the_loop_turns_on() -> Result<()> {
    cluster_test_within(LIMIT, Needs::FakeNodes, async |test| {
        let (stand, _turn) = stand(test).await?;
        let (before, cheat) = (has(test, TENANTS[0]).await?, Cheat::new(stand));
        let (began, from, spent) = (Instant::now(), turns(stand).await?, stand.operator.cpu_seconds());
        let mut asking = JoinSet::new();
        for at in 0..LEASES {
            while asking.len() >= AT_ONCE {
                asking.join_next().await.context("nothing is asked")???;
            }
            asking.spawn(create(cheat.leases.clone(), at));
        }
        while let Some(asked) = asking.join_next().await {
            asked??;
        }
        let asked = began.elapsed();
        let of = ListParams::default().labels("flood=yes");
        let reasons = until("an answer to each", ANSWERED_WITHIN, async || {
            let all = cheat.leases.list(&of).await?.items;
            let said =
                all.iter().filter_map(|lease| lease.status.as_ref()?.conditions.iter().find(|c| c.type_ == "Accepted"));
            let mut reasons: Vec<String> = said.map(|c| c.reason.clone()).collect();
            reasons.sort();
            ensure!(reasons.len() == LEASES, "{} of {}, turns {:?}", reasons.len(), all.len(), turns(stand).await);
            Ok(Some(reasons))
        })
        .await?;
        let answered = began.elapsed();
        let (to, count) = (turns(stand).await?, |reason: &str| reasons.iter().filter(|one| *one == reason).count());
        // One GPU is left of what the class allows the namespace.
        assert_eq!((count("OfferAccepted"), count("NamespaceLimit")), (1, LEASES - 1), "{:?}", reasons.first());
        nothing_came_of_it(test, stand, &before, "asks for a thousand leases").await?;
        clear_away(test, &cheat, &of).await?;

        let turned: Vec<(f64, u64)> = from.iter().zip(&to).map(|(from, to)| (to.0, to.1 - from.1)).collect();
        let all = turned.last().map_or(0, |(_, count)| *count);
        let longest = turned.iter().find(|(_, count)| *count == all).map_or(f64::INFINITY, |(bound, _)| *bound);
        let spent = stand.operator.cpu_seconds().zip(spent).context("no operator")?;
        let each = (spent.0 - spent.1) / all.max(1) as f64;
        let said = format!(
            "asked in {:.1} s, answered in {:.1} s; all of {all} turns took at most {longest} s, {:.1} ms of a core each \
             with all that they wrote",
            asked.as_secs_f64(),
            answered.as_secs_f64(),
            each * 1e3
        );
        row("asks for 1,000 leases at once", "POST computeleases", "operator, each lease's offer", &said);
        figure("flood_of_leases_turn_longest", longest, "seconds");
        figure("flood_of_leases_turn_cpu", each, "seconds");
        ensure!(all >= 5 && each <= TURN_SECONDS, "{said}: {turned:?}");
        Ok(())
    })
}

/// Takes the leases away again, and waits until nothing of the class is held but what was before.
async fn clear_away(test: &Test, cheat: &Cheat, of: &ListParams) -> Result<()> {
    until("them to be gone", ANSWERED_WITHIN, async || {
        // A busy API server deletes some of a thousand in the time that it has for one request.
        cheat.leases.delete_collection(&DeleteParams::default(), of).await?;
        Ok(cheat.leases.list(of).await?.items.is_empty().then_some(()))
    })
    .await?;
    let classes: Api<LeaseClass> = Api::all(test.admin());
    until("two leases to be left of the class", ANSWERED_WITHIN, async || {
        Ok((classes.get("firm").await?.status.context("no status")?.leases == 2).then_some(()))
    })
    .await
}
