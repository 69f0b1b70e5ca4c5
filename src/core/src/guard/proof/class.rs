//! What devices that are alike declared, and what follows from it.

use super::facts::{DeviceClass, Limiter, Limiters, Policy, Retention, SleepProof};
use super::plan::Ladder;
use crate::units::Span;

/// A class with what follows from it.
#[derive(Clone, Debug)]
pub(super) struct Class {
    pub(super) facts: DeviceClass,
    pub(super) ladder: Ladder,
    /// How long a read-back limiter holds unread.
    pub(super) life: Span,
}

impl Class {
    pub(super) fn of(facts: DeviceClass, policy: &Policy) -> Self {
        let life = match facts.retention {
            Retention::Persistent => policy.life,
            Retention::Volatile => policy.life.min(facts.boot_to_full),
        };
        Self { ladder: Ladder::of(&facts), facts, life }
    }

    /// Whether a limiter that a device says it has counts at all: on a device without readable ones only sleep does.
    pub(super) fn counts(&self, limiter: Limiter) -> bool {
        !matches!(self.facts.limiters, Limiters::Unreadable { .. }) || limiter == Limiter::Asleep
    }

    /// What it takes besides the read-back to believe this limiter, where it takes more.
    pub(super) fn asks_rows(&self, limiter: Limiter) -> Option<SleepProof> {
        let sleep = self.facts.sleep.filter(|_| limiter == Limiter::Asleep)?;
        Some(sleep.verified_by).filter(|by| *by != SleepProof::ReadBack)
    }
}
