//! Meters: what the site knows of its draw, late and not exactly.

use crate::device::Sample;
use ampacity_core::tree::NodeId;
use ampacity_core::units::{Ppm, Span, Time, Watts};
use std::collections::VecDeque;

/// A meter at a node, or of one load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MeterSpec {
    /// Between two samples. 1–15 s are common (assumed).
    pub period: Span,
    /// Between a sample and the moment it can be read (assumed: 2 s).
    pub lag: Span,
    /// Its class: the most it is off, as a part of the reading. Class 0.5 is common (assumed).
    pub error: Ppm,
}

impl Default for MeterSpec {
    fn default() -> Self {
        Self { period: Span::seconds(5), lag: Span::seconds(2), error: Ppm::new(5_000) }
    }
}

/// A meter's state.
#[derive(Clone, Debug)]
pub(super) struct Meter {
    pub(super) node: NodeId,
    spec: MeterSpec,
    /// Its own constant error, within its class.
    gain: Ppm,
    next: Time,
    pub(super) out_until: Time,
    /// Samples on their way.
    coming: VecDeque<Sample>,
    read: Option<Sample>,
}

impl Meter {
    /// `lean` in −1..1: where in its class this one's error lies.
    pub(super) fn new(node: NodeId, spec: MeterSpec, lean: f64, now: Time) -> Self {
        // A little inside of its class, so that rounding stays within.
        let gain = Ppm::new((spec.error.get() as f64 * 0.9 * lean) as i64);
        Self { node, spec, gain, next: now, out_until: now, coming: VecDeque::new(), read: None }
    }

    /// Takes a sample of the truth when one is due, and lets those arrive whose time it is.
    pub(super) fn advance(&mut self, truth: Watts, now: Time) {
        if now >= self.next {
            self.next = now.after(self.spec.period);
            if now >= self.out_until {
                let watts = truth + truth.part(self.gain);
                let error = watts.part(self.spec.error) + Watts::new(1);
                self.coming.push_back(Sample { watts, error, time: now });
            }
        }
        while self.coming.front().is_some_and(|sample| sample.time.after(self.spec.lag) <= now) {
            self.read = self.coming.pop_front();
        }
    }

    /// The newest sample that can be read.
    pub(super) const fn sample(&self) -> Option<Sample> {
        self.read
    }
}
