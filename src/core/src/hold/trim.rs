//! Trims: what a load has shown that it does not use goes to others, until it asks for it.

use crate::memory::{LoadMemory, Trimmed};
use crate::snapshot::{Load, Policy};
use crate::units::{Span, Time, Watts};

/// A sample from further ahead than this is somebody's wrong clock and says nothing.
const LARGEST_SKEW: Span = Span::seconds(5);

/// What is remembered of a load's use, and what it is trimmed to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trim {
    /// Since when it has used less than it could.
    pub idle_since: Option<Time>,
    /// What it is left with; none: all it can use.
    pub trimmed: Option<Trimmed>,
}

/// The trim of one load. `keeps` is the least that keeps it running, W: it is never trimmed below that.
///
/// A load that stands, or that asks for more, is not trimmed. A measurement that is missing or old neither starts a
/// trim nor ends one. Use that grows within the margin takes the trim along.
pub fn trim(before: Option<&LoadMemory>, load: &Load, keeps: Watts, policy: &Policy, now: Time) -> Trim {
    let Some(before) = before.filter(|b| b.on && !load.wants_more) else { return Trim::default() };
    let unchanged = Trim { idle_since: before.idle_since, trimmed: before.trimmed };
    let Some(measured) = load.measured else { return unchanged };
    let age = now.since(measured.time);
    if age > policy.meter_stale || age < -LARGEST_SKEW {
        return unchanged;
    }
    let uses = (measured.watts + measured.error).plus(policy.trim_margin).max(keeps);
    let first = Trimmed { most: before.awarded, of: before.awarded, since: before.idle_since.unwrap_or(now) };
    let stands = before.trimmed.unwrap_or(first);
    let left_with_what_it_uses = Trim { idle_since: None, trimmed: Some(Trimmed { most: uses, ..stands }) };
    if before.trimmed.is_some() && uses > stands.most {
        return left_with_what_it_uses;
    }
    if uses >= stands.most {
        return Trim { idle_since: None, trimmed: before.trimmed };
    }
    let since = before.idle_since.unwrap_or(now);
    if now.since(since) >= policy.trim_after {
        return left_with_what_it_uses;
    }
    Trim { idle_since: Some(since), trimmed: before.trimmed }
}

/// When a trim takes hold by time alone, if its load goes on using less.
pub fn due(trim: &Trim, policy: &Policy) -> Option<Time> {
    trim.idle_since.map(|since| since.after(policy.trim_after))
}
