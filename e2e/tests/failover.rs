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

/// How often a scene is tried that the machine has spoiled.
const TRIES: usize = 3;

/// Runs one scene after another, each on a site that the one before left healthy. One that was [`plant::Late`] is tried
/// again; what must hold in every scene has held until then all the same.
macro_rules! scenes {
    ($site:ident: $($scene:path),+ $(,)?) => {
        $(if wanted(stringify!($scene)) {
            let started = Instant::now();
            for attempt in 1..=TRIES {
                match $scene(&mut $site).await.context(stringify!($scene)) {
                    Err(error) if attempt < TRIES && error.is::<plant::Late>() => {
                        eprintln!("{error:#}: once more");
                        // Kept where those who see a passing run look.
                        figure(concat!(stringify!($scene), "_tried_again"), attempt as f64, "times");
                        $site.held(stringify!($scene))?;
                        $site.restore().await.with_context(|| format!("after {error:#}"))?;
                    }
                    outcome => {
                        outcome?;
                        break;
                    }
                }
            }
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

/// Starts a site, shows these scenes on it, and the last one, after which the site is not restored.
macro_rules! on_a_site {
    ($name:ident: $($scene:path),+ $(; $last:path)?) => {
        #[test]
        fn $name() -> Result<()> {
            cluster_test_within(LIMIT, Needs::OwnControlPlane, async |test| {
                let started = Instant::now();
                let mut site = Site::start(test).await?;
                eprintln!("a busy site after {:.0?}", started.elapsed());
                scenes!(site: $($scene),+);
                $(if wanted(stringify!($last)) {
                    $last(&mut site).await.context(stringify!($last))?;
                })?
                say(&site)
            })
        }
    };
}

// Each on a control plane and a site of its own, so that they wait side by side.

on_a_site!(a_leader_that_is_killed_or_cut_off_or_whose_clock_steps_is_followed_by_another_and_no_limit_is_passed:
    leaders::killed_in_a_shed,
    leaders::cut_off,
    leaders::killed_again_and_again,
    field::clock_stepped
);

on_a_site!(who_is_frozen_lost_slow_or_of_another_version_passes_no_limit:
    leaders::frozen_past_its_lease,
    field::agent_replaced,
    field::watches_dropped,
    field::definitions_changed,
    api_server::restarted,
    field::watches_expired,
    api_server::slow,
    field::node_lost;
    field::newer_version_led
);

on_a_site!(an_etcd_that_is_restored_and_an_api_server_that_is_away_pass_no_limit:
    api_server::restored_by_the_runbook,
    api_server::restored_under_a_leader,
    api_server::etcd_paused,
    api_server::paused_while_a_limit_comes
);
