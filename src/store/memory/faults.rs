//! What may go wrong between one client and the API server.

use ampacity_core::units::{Ppm, Span};
use rand_core::Rng;
use rand_pcg::Pcg32;

/// How long something takes: evenly between two spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delay {
    /// At least.
    pub least: Span,
    /// At most.
    pub most: Span,
}

impl Delay {
    /// No time at all.
    pub const NONE: Self = Self { least: Span::ZERO, most: Span::ZERO };

    /// One draw.
    pub fn draw(self, rng: &mut Pcg32) -> Span {
        let width = u64::try_from((self.most - self.least).get()).unwrap_or(0);
        if width == 0 {
            return self.least;
        }
        self.least + Span::new(i64::try_from(rng.next_u64() % (width + 1)).unwrap_or(0))
    }
}

/// Whether something that happens to `part` of all cases happens to this one.
pub(super) fn strikes(part: Ppm, rng: &mut Pcg32) -> bool {
    part > Ppm::ZERO && i64::from(rng.next_u32() % 1_000_000) < part.get()
}

/// One client's troubles. The default has none: a write lands and is answered at once, a watch shows it at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientFaults {
    /// From a change to its being shown in this client's watch.
    pub watch: Delay,
    /// From handing a write over to its landing.
    pub write: Delay,
    /// From landing to the answer.
    pub answer: Delay,
    /// Writes that never land; the client learns nothing.
    pub lost: Ppm,
    /// Writes that land and whose answer is lost.
    pub answer_lost: Ppm,
    /// Writes that land twice.
    pub repeated: Ppm,
    /// Writes that land long after the client gave up on them.
    pub late: Ppm,
    /// Writes that the server refuses for no reason of the object's (a policy, an overload).
    pub refused: Ppm,
    /// Nothing passes either way.
    pub cut: bool,
    /// Writes pass; the watch shows nothing new, and does not know it.
    pub watch_frozen: bool,
}

impl Default for ClientFaults {
    fn default() -> Self {
        Self {
            watch: Delay::NONE,
            write: Delay::NONE,
            answer: Delay::NONE,
            lost: Ppm::ZERO,
            answer_lost: Ppm::ZERO,
            repeated: Ppm::ZERO,
            late: Ppm::ZERO,
            refused: Ppm::ZERO,
            cut: false,
            watch_frozen: false,
        }
    }
}
