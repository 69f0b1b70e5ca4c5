//! Two `ampacity operator` processes and four `ampacity agent` processes on a real API server, and what happens to them:
//! leaders die, freeze and are cut off, the API server and etcd go away and come back older, watches end, clocks step,
//! agents and nodes are lost. In every scene the devices' own files are read several times a second, and no node of the
//! limit tree is over its limit at any sample.

#[path = "failover/api_server.rs"]
mod api_server;
#[path = "failover/field.rs"]
mod field;
#[path = "failover/leaders.rs"]
mod leaders;
#[path = "failover/orders.rs"]
mod orders;
#[path = "failover/plant.rs"]
mod plant;
#[path = "failover/truth.rs"]
mod truth;

use std::time::{Duration, Instant};

use ampacity_e2e::{Needs, cluster_test_within, figure};
use anyhow::{Context, Result};

use plant::Site;

/// All of a test.
const LIMIT: Duration = Duration::from_secs(1_500);

/// Runs one scene after another, each on a site that the one before left healthy.
macro_rules! scenes {
    ($site:ident: $($scene:path),+ $(,)?) => {
        $(if wanted(stringify!($scene)) {
            let started = Instant::now();
            $scene(&mut $site).await.context(stringify!($scene))?;
            let acted = started.elapsed();
            $site.restore().await.context(concat!("after ", stringify!($scene)))?;
            eprintln!("scene {} took {acted:.0?}, and {:.0?} to rest", stringify!($scene), started.elapsed() - acted);
        })+
    };
}

/// Scenes that a person asks for: `AMPACITY_E2E_SCENES=frozen,cut_off` runs those whose name contains one of the words.
/// `e2e/run` asks for none, and so runs all.
fn wanted(scene: &str) -> bool {
    std::env::var("AMPACITY_E2E_SCENES").map_or(true, |words| words.split(',').any(|word| scene.contains(word)))
}

fn say(site: &Site<'_>) -> Result<()> {
    let (samples, gap, over) = site.truth.figures();
    figure("samples", samples as f64, "samples");
    figure("longest_time_between_samples", gap.as_secs_f64(), "seconds");
    figure("longest_over_limit", over.as_secs_f64(), "seconds");
    site.held("all")
}

#[test]
fn a_leader_that_is_killed_frozen_or_cut_off_is_followed_by_another_and_no_limit_is_passed() -> Result<()> {
    cluster_test_within(LIMIT, Needs::OwnControlPlane, async |test| {
        let mut site = Site::start(test).await?;
        scenes!(site:
            leaders::killed_in_a_shed,
            leaders::frozen_past_its_lease,
            leaders::cut_off,
            leaders::killed_again_and_again,
            field::agent_replaced,
            field::watches_dropped,
            field::definitions_changed,
            field::clock_stepped,
            field::node_lost,
        );
        if wanted("newer_version_led") {
            field::newer_version_led(&mut site).await.context("newer_version_led")?;
        }
        say(&site)
    })
}

#[test]
fn an_api_server_that_is_away_or_slow_and_an_etcd_that_is_restored_pass_no_limit() -> Result<()> {
    cluster_test_within(LIMIT, Needs::OwnControlPlane, async |test| {
        let mut site = Site::start(test).await?;
        scenes!(site:
            api_server::restored_by_the_runbook,
            api_server::restored_under_a_leader,
            api_server::restarted,
            field::watches_expired,
            api_server::slow,
            api_server::etcd_paused,
            api_server::paused_while_a_limit_comes,
        );
        say(&site)
    })
}
