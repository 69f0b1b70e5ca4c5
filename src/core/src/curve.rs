//! What a device yields for its watts: the concave hull of measured points.
//!
//! A real ladder is not concave: some presets yield less than a mix of their neighbours does. Many devices can be
//! mixed, so the hull is what a container reaches, and its falling slopes are what merit order needs. Hull points are
//! ladder points, never made up; everything between them rounds down.

use crate::units::{GigahashPerSecond, Ppm, Watts, mul_div};
use std::fmt;

/// One rung of a miner's ladder: what it draws and what it yields there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preset {
    /// Draw at the wall, W.
    pub watts: Watts,
    /// Hashrate at that draw, GH/s.
    pub hashrate: GigahashPerSecond,
}

/// What one GPU (or whatever the caller counts in) gets done under a power cap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CapPoint {
    /// The enforced cap, W.
    pub cap: Watts,
    /// Throughput under it, as a fraction of the uncapped one.
    pub throughput: Ppm,
}

/// Why a list of points is no curve. Points count from 0, in the order given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CurveError {
    /// There is no point at all.
    Empty,
    /// A quantity of this point is negative. The sleep draw counts as a point of its own, named `sleep`.
    Negative {
        /// Which point; none for the sleep draw.
        point: Option<usize>,
        /// Its field.
        field: &'static str,
        /// What it holds, in that field's unit.
        value: i64,
    },
    /// A quantity of this point does not rise from the point before (the sleep point before the first).
    NotRising {
        /// Which point.
        point: usize,
        /// Its field.
        field: &'static str,
        /// What it holds, in that field's unit.
        value: i64,
        /// What the point before holds.
        before: i64,
    },
}

impl fmt::Display for CurveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "a power curve needs at least one point"),
            Self::Negative { point: Some(point), field, value } => {
                write!(f, "point {point}: {field} is {value}, it must not be negative")
            }
            Self::Negative { point: None, field, value } => {
                write!(f, "sleep: {field} is {value}, it must not be negative")
            }
            Self::NotRising { point, field, value, before } => {
                write!(f, "point {point}: {field} is {value}, it must rise above the {before} before it")
            }
        }
    }
}

impl std::error::Error for CurveError {}

/// A miner's power curve: asleep, then the hull of its ladder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MinerCurve {
    vertices: Vec<Preset>,
}

impl MinerCurve {
    /// The hull over the sleep point (`sleep` watts, no hash) and a ladder that rises in watts and hashrate.
    ///
    /// # Errors
    /// The first point that breaks a rule, by its place in `ladder`.
    pub fn new(sleep: Watts, ladder: &[Preset]) -> Result<Self, CurveError> {
        if ladder.is_empty() {
            return Err(CurveError::Empty);
        }
        if sleep < Watts::ZERO {
            return Err(CurveError::Negative { point: None, field: "watts", value: sleep.get() });
        }
        let mut before = Preset { watts: sleep, hashrate: GigahashPerSecond::ZERO };
        for (point, preset) in ladder.iter().enumerate() {
            check(point, "watts", preset.watts.get(), before.watts.get(), true)?;
            check(point, "hashrate", preset.hashrate.get(), before.hashrate.get(), true)?;
            before = *preset;
        }
        let points = std::iter::once((sleep.get(), 0));
        let ladder = ladder.iter().map(|p| (p.watts.get(), p.hashrate.get()));
        let vertices = hull(points.chain(ladder))
            .into_iter()
            .map(|(watts, hashrate)| Preset { watts: Watts::new(watts), hashrate: GigahashPerSecond::new(hashrate) });
        Ok(Self { vertices: vertices.collect() })
    }

    /// The sleep point and the presets on the hull, rising.
    pub fn vertices(&self) -> &[Preset] {
        &self.vertices
    }

    /// Each step of the hull: watts more, GH/s more. GH/s per W falls strictly from step to step.
    pub fn steps(&self) -> impl Iterator<Item = Preset> {
        self.vertices.windows(2).filter_map(|pair| match pair {
            [low, high] => Some(Preset { watts: high.watts - low.watts, hashrate: high.hashrate - low.hashrate }),
            _ => None,
        })
    }

    /// Draw while asleep, W.
    pub fn sleep(&self) -> Watts {
        self.vertices.first().map_or(Watts::ZERO, |p| p.watts)
    }

    /// The highest preset.
    pub fn full(&self) -> Preset {
        let none = Preset { watts: Watts::ZERO, hashrate: GigahashPerSecond::ZERO };
        self.vertices.last().copied().unwrap_or(none)
    }

    /// What a mix of such miners yields for each at `watts` each, rounded down; nothing below the sleep draw, no more
    /// than the highest preset.
    pub fn hashrate_at(&self, watts: Watts) -> GigahashPerSecond {
        let points = self.vertices.iter().map(|p| (p.watts.get(), p.hashrate.get()));
        GigahashPerSecond::new(interpolate(points, watts.get()))
    }
}

/// Throughput by cap: the hull of the measured points from the lowest cap a job may run under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapCurve {
    vertices: Vec<CapPoint>,
}

impl CapCurve {
    /// The hull over points that rise in cap. Throughput may stay level (a cap above what the work draws yields
    /// nothing more) but not fall.
    ///
    /// # Errors
    /// The first point that breaks a rule, by its place in `points`.
    pub fn new(points: &[CapPoint]) -> Result<Self, CurveError> {
        if points.is_empty() {
            return Err(CurveError::Empty);
        }
        let mut before: Option<CapPoint> = None;
        for (point, at) in points.iter().enumerate() {
            let (cap, throughput) = before.map_or((-1, -1), |b| (b.cap.get(), b.throughput.get()));
            check(point, "cap", at.cap.get(), cap, true)?;
            check(point, "throughput", at.throughput.get(), throughput, false)?;
            before = Some(*at);
        }
        let vertices = hull(points.iter().map(|p| (p.cap.get(), p.throughput.get())))
            .into_iter()
            .map(|(cap, throughput)| CapPoint { cap: Watts::new(cap), throughput: Ppm::new(throughput) });
        Ok(Self { vertices: vertices.collect() })
    }

    /// The points on the hull, rising.
    pub fn vertices(&self) -> &[CapPoint] {
        &self.vertices
    }

    /// The lowest cap of the curve, W.
    pub fn lowest_cap(&self) -> Watts {
        self.vertices.first().map_or(Watts::ZERO, |p| p.cap)
    }

    /// The highest cap of the curve, W.
    pub fn highest_cap(&self) -> Watts {
        self.vertices.last().map_or(Watts::ZERO, |p| p.cap)
    }

    /// Throughput under `cap`, rounded down; nothing below the lowest cap, no more than at the highest.
    pub fn throughput_at(&self, cap: Watts) -> Ppm {
        Ppm::new(interpolate(self.vertices.iter().map(|p| (p.cap.get(), p.throughput.get())), cap.get()))
    }
}

fn check(point: usize, field: &'static str, value: i64, before: i64, strictly: bool) -> Result<(), CurveError> {
    if value < 0 {
        return Err(CurveError::Negative { point: Some(point), field, value });
    }
    if value < before || (strictly && value == before) {
        return Err(CurveError::NotRising { point, field, value, before });
    }
    Ok(())
}

/// The upper concave hull of points whose first coordinate rises; of points on one line the ends stay.
pub(crate) fn hull(points: impl IntoIterator<Item = (i64, i64)>) -> Vec<(i64, i64)> {
    let mut kept: Vec<(i64, i64)> = Vec::new();
    for next in points {
        while let [.., before, last] = kept.as_slice()
            && !lies_above(*before, *last, next)
        {
            kept.pop();
        }
        kept.push(next);
    }
    kept
}

/// Whether `middle` lies strictly above the line from `left` to `right`.
fn lies_above(left: (i64, i64), middle: (i64, i64), right: (i64, i64)) -> bool {
    let across = |from: (i64, i64), to: (i64, i64)| i128::from(to.0) - i128::from(from.0);
    let up = |from: (i64, i64), to: (i64, i64)| i128::from(to.1) - i128::from(from.1);
    up(left, middle).saturating_mul(across(middle, right)) > up(middle, right).saturating_mul(across(left, middle))
}

fn interpolate(points: impl Iterator<Item = (i64, i64)>, at: i64) -> i64 {
    let mut low: Option<(i64, i64)> = None;
    for high in points {
        if at < high.0 {
            return low.map_or(0, |low| low.1 + mul_div(high.1 - low.1, at - low.0, high.0 - low.0));
        }
        low = Some(high);
    }
    low.map_or(0, |last| last.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// S19j Pro on VNish 1.2.6, W and TH/s, as its API lists them.
    const S19J_PRO: [(i64, i64); 9] =
        [(1740, 65), (1800, 70), (1850, 76), (2000, 80), (2150, 83), (2300, 87), (2500, 92), (2700, 96), (2970, 100)];

    fn preset((watts, tera): (i64, i64)) -> Preset {
        Preset { watts: Watts::new(watts), hashrate: GigahashPerSecond::tera(tera) }
    }

    fn cap((cap, percent): (i64, i64)) -> CapPoint {
        CapPoint { cap: Watts::new(cap), throughput: Ppm::percent(percent) }
    }

    #[test]
    fn a_bad_ladder_is_refused_and_names_its_point() {
        let sleep = Watts::new(25);
        let error = |ladder: &[(i64, i64)]| {
            let ladder: Vec<Preset> = ladder.iter().copied().map(preset).collect();
            MinerCurve::new(sleep, &ladder).unwrap_err().to_string()
        };
        assert_eq!(error(&[]), "a power curve needs at least one point");
        assert_eq!(error(&[(-1, 4)]), "point 0: watts is -1, it must not be negative");
        assert_eq!(error(&[(1800, 70), (1850, -76)]), "point 1: hashrate is -76000, it must not be negative");
        assert_eq!(error(&[(25, 4)]), "point 0: watts is 25, it must rise above the 25 before it");
        assert_eq!(error(&[(1800, 70), (1700, 71)]), "point 1: watts is 1700, it must rise above the 1800 before it");
        assert_eq!(
            error(&[(1800, 70), (1850, 70)]),
            "point 1: hashrate is 70000, it must rise above the 70000 before it"
        );
        let asleep = MinerCurve::new(Watts::new(-1), &[preset((9, 9))]).unwrap_err().to_string();
        assert_eq!(asleep, "sleep: watts is -1, it must not be negative");
    }

    #[test]
    fn a_bad_cap_curve_is_refused_and_names_its_point() {
        let error = |points: &[(i64, i64)]| {
            let points: Vec<CapPoint> = points.iter().copied().map(cap).collect();
            CapCurve::new(&points).unwrap_err().to_string()
        };
        assert_eq!(error(&[]), "a power curve needs at least one point");
        assert_eq!(error(&[(-200, 40)]), "point 0: cap is -200, it must not be negative");
        assert_eq!(error(&[(200, 40), (200, 50)]), "point 1: cap is 200, it must rise above the 200 before it");
        assert_eq!(
            error(&[(200, 40), (300, 39)]),
            "point 1: throughput is 390000, it must rise above the 400000 before it"
        );
    }

    #[test]
    fn the_hull_of_a_real_ladder_keeps_only_presets_that_no_mix_beats() {
        let ladder = S19J_PRO.map(preset);
        let curve = MinerCurve::new(Watts::new(25), &ladder).unwrap();
        let want = [(25, 0), (1850, 76), (2000, 80), (2500, 92), (2700, 96), (2970, 100)].map(preset);
        assert_eq!(curve.vertices(), want);
        let steps = [(1825, 76), (150, 4), (500, 12), (200, 4), (270, 4)].map(preset);
        assert_eq!(curve.steps().collect::<Vec<_>>(), steps);
        assert_eq!((curve.sleep(), curve.full()), (Watts::new(25), preset((2970, 100))));
    }

    #[test]
    fn between_vertices_the_hashrate_rounds_down_and_beyond_them_it_is_level() {
        let curve = MinerCurve::new(Watts::new(0), &[preset((3, 1))]).unwrap();
        let got = [-5, 0, 1, 2, 3, 9].map(|w| curve.hashrate_at(Watts::new(w)).get());
        assert_eq!(got, [0, 0, 333, 666, 1000, 1000]);
    }

    #[test]
    fn a_cap_above_what_the_work_draws_yields_nothing_more() {
        let curve = CapCurve::new(&[(200, 80), (300, 100), (700, 100)].map(cap)).unwrap();
        assert_eq!(curve.vertices(), [(200, 80), (300, 100), (700, 100)].map(cap));
        assert_eq!((curve.lowest_cap(), curve.highest_cap()), (Watts::new(200), Watts::new(700)));
        let got = [199, 200, 250, 500, 900].map(|w| curve.throughput_at(Watts::new(w)));
        assert_eq!(got, [0, 80, 90, 100, 100].map(Ppm::percent));
    }

    #[test]
    fn points_on_one_line_become_one_step() {
        assert_eq!(hull([(0, 0), (1, 2), (2, 4), (3, 5)]), [(0, 0), (2, 4), (3, 5)]);
    }

    proptest::proptest! {
        #[test]
        fn no_point_of_a_ladder_lies_above_its_hull_and_slopes_fall(
            rises in proptest::collection::vec((1_i64..900, 1_i64..900), 1..12),
        ) {
            let mut at = (25, 0);
            let ladder: Vec<Preset> = rises
                .iter()
                .map(|(watts, hashrate)| {
                    at = (at.0 + watts, at.1 + hashrate);
                    Preset { watts: Watts::new(at.0), hashrate: GigahashPerSecond::new(at.1) }
                })
                .collect();
            let curve = MinerCurve::new(Watts::new(25), &ladder).unwrap();
            for preset in &ladder {
                proptest::prop_assert!(curve.hashrate_at(preset.watts) >= preset.hashrate);
            }
            for vertex in curve.vertices().iter().skip(1) {
                proptest::prop_assert!(ladder.contains(vertex));
            }
            let steps: Vec<Preset> = curve.steps().collect();
            for pair in steps.windows(2) {
                let slope = |p: &Preset, by: &Preset| p.hashrate.get() * by.watts.get();
                proptest::prop_assert!(slope(&pair[0], &pair[1]) > slope(&pair[1], &pair[0]));
            }
        }
    }
}
