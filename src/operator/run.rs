//! The loop in a cluster: once a second, and when the store or the link has something.

use super::http::Health;
use super::{Exit, Operator, Ports};
use crate::link::Uplink;
use crate::market::Feeds;
use crate::store::kube::KubeStore;
use crate::store::{Answer, Seen, Store};
use ampacity_core::units::{Span, Time};
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::Notify;
use tokio::time::MissedTickBehavior;

/// How fast the loop turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// At least so often.
    pub tick: Duration,
    /// At most so often: what comes in a burst is taken in one turn.
    pub rest: Duration,
    /// How long a stop waits for the answers to what is under way, and for the release of the leadership.
    pub stop_within: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { tick: Duration::from_secs(1), rest: Duration::from_millis(50), stop_within: Duration::from_secs(6) }
    }
}

/// The system's clock, which never runs backwards here: where it is set back, time goes on by the monotonic clock until
/// the system's has caught up. Set forward, it is followed: what expires early is safe.
#[derive(Debug, Default)]
pub struct SystemClock {
    last: Option<(Time, Instant)>,
}

impl SystemClock {
    /// The time now.
    pub fn now(&mut self) -> Time {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.read(Time::new(i64::try_from(wall.as_millis()).unwrap_or(i64::MAX)), Instant::now())
    }

    fn read(&mut self, wall: Time, monotonic: Instant) -> Time {
        let least = self.last.map_or(wall, |(time, at)| {
            let elapsed = monotonic.saturating_duration_since(at).as_millis();
            time.after(Span::new(i64::try_from(elapsed).unwrap_or(i64::MAX)))
        });
        // A clock that is slewed backwards a little is followed again as soon as it is ahead of what was last told.
        let now = self.last.map_or(wall, |(time, _)| if wall >= time { wall } else { least });
        self.last = Some((now, monotonic));
        now
    }
}

/// The operator's surroundings in a cluster.
pub struct Shell<'a> {
    /// The API server.
    pub store: &'a mut KubeStore,
    /// The agents.
    pub link: &'a mut dyn Uplink,
    /// Tells that the link has something to poll.
    pub link_wake: Arc<Notify>,
    /// Prices, hashprice, meters.
    pub feeds: &'a mut dyn Feeds,
    /// Who asks how it goes.
    pub health: Arc<Health>,
    /// How fast it turns.
    pub pace: Pace,
}

/// Turns until `stop` is there; then the leadership is released, and nothing else: loads stay as they are.
///
/// # Errors
/// The operator must exit, without a release: whoever starts it again starts it afresh.
pub async fn run(mut operator: Operator, shell: Shell<'_>, stop: impl Future<Output = ()>) -> Result<(), Exit> {
    let Shell { store, link, link_wake, feeds, health, pace } = shell;
    let mut clock = SystemClock::default();
    let mut tick = tokio::time::interval(pace.tick);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tokio::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            _ = tick.tick() => {}
            () = store.notified() => {}
            () = link_wake.notified() => {}
        }
        let (started, now) = (Instant::now(), clock.now());
        let outcome = operator.step(&mut Ports { store: &mut *store, link: &mut *link, feeds: &mut *feeds }, now);
        health.metrics.ticked(started.elapsed());
        for written in store.take_written() {
            health.metrics.written(written.outcome, written.took);
        }
        health.metrics.look(&operator, now);
        health.turned(operator.is_ready());
        if let Err(exit) = outcome {
            tracing::error!(%exit, "exiting");
            return Err(exit);
        }
        tokio::select! {
            () = &mut stop => break,
            () = tokio::time::sleep(pace.rest) => {}
        }
    }
    let released = tokio::time::timeout(pace.stop_within, release(&mut operator, store, &mut clock)).await;
    tracing::info!(released = ?released.ok(), "stopped");
    Ok(())
}

/// Waits for what is under way, then gives the leadership back so that another need not wait for it to run out.
async fn release(operator: &mut Operator, store: &mut KubeStore, clock: &mut SystemClock) -> bool {
    while store.under_way() > 0 {
        store.notified().await;
        for seen in store.poll() {
            operator.note_leadership(&seen, clock.now());
        }
    }
    let Some(write) = operator.release(clock.now()) else { return false };
    let id = store.submit(write);
    loop {
        store.notified().await;
        for seen in store.poll() {
            match seen {
                Seen::Answer(answered, answer) if answered == id => return matches!(answer, Answer::Accepted(_)),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_back_goes_on_and_never_runs_backwards() {
        let mut clock = SystemClock::default();
        let start = Instant::now();
        let mut read = |wall, after| clock.read(Time::seconds(wall), start + Duration::from_secs(after));
        let times = [(100, 0), (101, 1), (50, 2), (51, 3), (110, 4), (111, 5)].map(|(wall, after)| read(wall, after));
        assert_eq!(times, [100, 101, 102, 103, 110, 111].map(Time::seconds));
    }
}
