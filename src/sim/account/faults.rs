//! Faults, and how long each took to be safe.

use super::Observation;
use crate::sim::frame::FaultAccount;
use crate::store::api_time;
use ampacity_core::units::{Span, Time};

/// For so long after a fault whatever is in doubt is put down to it: a proof that an agent can no longer renew runs
/// out minutes later.
const WATCHED: Span = Span::minutes(15);
/// Faults that are told one by one; of more only the first are.
const TOLD_MAX: usize = 10_000;

#[derive(Clone, Debug)]
struct Told {
    at: Time,
    what: String,
    /// The last moment in doubt, if there was one.
    doubted: Option<Time>,
}

/// Every fault so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    told: Vec<Told>,
    /// The first that is still watched.
    watched: usize,
    now: Time,
    in_doubt: bool,
}

impl Faults {
    pub(super) fn observe(&mut self, seen: &Observation<'_>) {
        let before = self.now;
        (self.now, self.in_doubt) = (seen.now, seen.in_doubt);
        for what in seen.faults {
            if self.told.len() < TOLD_MAX {
                let what = what.strip_prefix("fault: ").unwrap_or(what).to_owned();
                self.told.push(Told { at: seen.now, what, doubted: None });
            }
        }
        while self.told.get(self.watched).is_some_and(|told| !told.watched(before, seen)) {
            self.watched += 1;
        }
        if seen.in_doubt {
            for told in self.told.iter_mut().skip(self.watched).filter(|told| told.watched(before, seen)) {
                told.doubted = Some(seen.now);
            }
        }
    }

    pub(super) fn accounts(&self) -> Vec<FaultAccount> {
        let account = |told: &Told| FaultAccount {
            time: api_time(told.at).0.to_string(),
            fault: told.what.clone(),
            safe_after_seconds: match told.doubted {
                None => Some(0.0),
                Some(last) if self.in_doubt && last == self.now => None,
                // Safe from the tick after the last one in doubt.
                Some(last) => Some(last.since(told.at).get() as f64 / 1_000.0 + 1.0),
            },
        };
        self.told.iter().map(account).collect()
    }
}

impl Told {
    /// Whether what is in doubt now is put down to it: soon after it, and for as long as the doubt has lasted since.
    fn watched(&self, before: Time, seen: &Observation<'_>) -> bool {
        let lasting = seen.in_doubt && self.doubted.is_some_and(|last| last >= before);
        lasting || seen.now.since(self.at) <= WATCHED
    }
}
