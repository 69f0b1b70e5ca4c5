//! What the API server refuses for good reason, for the log: a right that is missing or a rule that is not kept does not
//! mend itself, and whoever looks for it looks there.

use crate::store::{Key, Refusal};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// The same object is told of at most so often: what is refused is asked for again in every turn.
const AGAIN: Duration = Duration::from_secs(60);
/// So many objects within that time; a rule that refuses thousands is told of by the first.
const MOST: usize = 64;

/// What was told of, and when.
#[derive(Debug, Default)]
pub(super) struct Refused(BTreeMap<Option<Key>, Instant>);

impl Refused {
    /// Tells of a refusal that no later try will overcome; none where it was told of, or is of another sort.
    pub(super) fn told(&mut self, object: Option<&Key>, refusal: &Refusal, now: Instant) -> Option<String> {
        let (Refusal::Invalid(why) | Refusal::Forbidden(why)) = refusal else { return None };
        self.0.retain(|_, last| now.duration_since(*last) < AGAIN);
        if self.0.len() >= MOST || self.0.contains_key(&object.cloned()) {
            return None;
        }
        self.0.insert(object.cloned(), now);
        let what = object.map_or_else(|| "an Event".to_owned(), ToString::to_string);
        Some(format!("the API server refuses what is written on {what}: {why}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Kind;

    #[test]
    fn a_refusal_is_told_once_a_minute_for_each_object_and_of_no_more_than_fit() {
        let mut refused = Refused::default();
        let (start, job) = (Instant::now(), |at: usize| Key::namespaced(Kind::Job, "tenant-a", &format!("train-{at}")));
        let rule = Refusal::Forbidden("not allowed".into());
        let mut told = |at: usize, refusal: &Refusal, seconds| {
            refused.told(Some(&job(at)), refusal, start + Duration::from_secs(seconds))
        };
        let words = Some("the API server refuses what is written on Job tenant-a/train-0: not allowed".to_owned());
        assert_eq!(told(0, &Refusal::Conflict("changed".into()), 0), None, "the next try is another");
        assert_eq!(told(0, &Refusal::Busy, 0), None);
        assert_eq!([told(0, &rule, 0), told(0, &rule, 59)], [words.clone(), None]);
        assert_eq!(told(0, &rule, 60), words);
        let more = (1..100).filter(|at| told(*at, &rule, 61).is_some()).count();
        assert_eq!(more, MOST - 1);
    }
}
