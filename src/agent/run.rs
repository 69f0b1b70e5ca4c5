//! An agent's loop in a cluster: once a second, and when the store has something.

use super::again::{Again, afresh_after};
use super::metrics::Metrics;
use super::{Agent, Ports};
use crate::device::Devices;
use crate::link::{Downlink, Report};
use crate::operator::http::Health;
use crate::operator::run::{Pace, SystemClock};
use crate::store::Store;
use crate::store::kube::KubeStore;
use ampacity_core::guard::Order;
use ampacity_core::units::{Time, Watts};
use std::future::Future;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

/// An agent's surroundings in a cluster.
pub struct Shell<'a> {
    /// The API server.
    pub store: &'a mut KubeStore,
    /// The leading operator.
    pub link: &'a mut dyn Downlink,
    /// The devices.
    pub devices: &'a mut dyn Devices,
    /// Who asks how it goes.
    pub health: Arc<Health<Metrics>>,
    /// The clock that the agent was made by.
    pub clock: SystemClock,
    /// How fast it turns.
    pub pace: Pace,
    /// What is read again while it runs.
    pub again: watch::Receiver<Again>,
}

/// Why an agent's loop ended. In every case the devices stay as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was asked to stop.
    Stopped,
    /// Another agent holds the load.
    Overtaken,
    /// The load's spec speaks this protocol, which this agent does not.
    Outdated(i32),
    /// Its owner's object describes other devices.
    OtherDevices,
}

/// Turns until `stop` is there, or until it must not go on. Leaving changes nothing: no device is told anything, and what
/// was stated stays stated, to be voided by a successor.
pub async fn run(mut agent: Agent, shell: Shell<'_>, stop: impl Future<Output = ()>) -> Ended {
    let Shell { store, link, devices, health, mut clock, pace, mut again } = shell;
    let mut afresh = None;
    let mut told = Told::default();
    let mut tick = tokio::time::interval(pace.tick);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tokio::pin!(stop);
    let ended = loop {
        tokio::select! {
            () = &mut stop => break Ended::Stopped,
            _ = tick.tick() => {}
            () = store.notified() => {}
        }
        let (started, now) = (Instant::now(), clock.now());
        if again.has_changed().unwrap_or(false) {
            afresh = follow(&mut agent, *again.borrow_and_update(), afresh, now);
        }
        agent.step(&mut Ports { store: &mut *store, link: &mut *link, devices: &mut *devices }, now);
        health.metrics.ticked(started.elapsed());
        for written in store.take_written() {
            health.metrics.written(written.outcome);
        }
        health.turned(health.metrics.look(&agent, now));
        told.tell(&agent, now);
        if agent.is_overtaken() {
            break Ended::Overtaken;
        }
        if let Some(protocol) = agent.is_outdated() {
            break Ended::Outdated(protocol);
        }
        if afresh.is_some_and(|at| now >= at) {
            break Ended::OtherDevices;
        }
        tokio::select! {
            () = &mut stop => break Ended::Stopped,
            () = tokio::time::sleep(pace.rest) => {}
        }
    };
    // What is under way may land: who comes next is better off if it has by then.
    let settled = tokio::time::timeout(pace.stop_within, settle(store)).await.is_ok();
    tracing::info!(?ended, settled, "the devices stay as they are");
    ended
}

/// Takes over what was read again. Gives when this run is to end for other devices, if it is.
fn follow(agent: &mut Agent, again: Again, afresh: Option<Time>, now: Time) -> Option<Time> {
    let Again { hold, down_per_minute, other_devices } = again;
    agent.follow_loss(hold, down_per_minute);
    let afresh = other_devices.then(|| afresh.unwrap_or_else(|| now.after(afresh_after(agent.holder()))));
    tracing::info!(
        hold_seconds = hold.whole_seconds(),
        down_watts_per_minute = down_per_minute.get(),
        other_devices,
        afresh_in_seconds = afresh.map(|at| at.since(now).whole_seconds()),
        "read again"
    );
    afresh
}

/// Waits for the answers to what is under way.
async fn settle(store: &mut KubeStore) {
    while store.under_way() > 0 {
        store.notified().await;
        drop(store.poll());
    }
}

/// What the log was told last: it is told of changes.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    order: Order,
    limit: Option<Watts>,
    ceiling: Option<Watts>,
    orphaned: bool,
    unwell: (u32, u32),
}

impl Told {
    fn tell(&mut self, agent: &Agent, now: Time) {
        let Report { order, ceiling, devices, measured, .. } = agent.report(now);
        let (limit, orphaned) = (agent.limit(), agent.is_orphaned());
        let stands = Self { order, limit, ceiling, orphaned, unwell: (devices.silent, devices.contradicting) };
        if *self == stands {
            return;
        }
        let watts = |watts: Option<Watts>| watts.map(Watts::get);
        tracing::info!(
            epoch = order.epoch,
            sequence = order.sequence,
            limit_watts = watts(limit),
            ceiling_watts = watts(ceiling),
            draw_watts = watts(measured),
            proved = devices.proved,
            silent = devices.silent,
            contradicting = devices.contradicting,
            devices = devices.total,
            orphaned,
            "stands"
        );
        *self = stands;
    }
}
