//! Lines over time in braille: two dots across and four up in every cell.

use super::theme::{Role, Theme};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

/// Dots of one cell, by row from the top, left and right.
const DOTS: [[u8; 2]; 4] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];
/// The longest gap between samples that a line bridges, as a share of the plot's time.
const BRIDGED_SHARE: f64 = 0.05;

/// How a value becomes a height.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scale {
    /// Evenly.
    Even,
    /// asinh(v / the given): near even around zero, logarithmic far from it, so that a price spike and a negative price
    /// stand in one plot.
    Asinh(f64),
}

impl Scale {
    fn of(self, value: f64) -> f64 {
        match self {
            Scale::Even => value,
            Scale::Asinh(linear) => (value / linear).asinh(),
        }
    }
}

/// What a plot spans.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Axes {
    /// Time, seconds since 1970.
    pub time: (i64, i64),
    /// Values, least and greatest.
    pub value: (f64, f64),
    /// How values become heights.
    pub scale: Scale,
}

impl Axes {
    /// Share of the width at `second`: 0..=1 inside.
    fn across(&self, second: i64) -> f64 {
        (second - self.time.0) as f64 / (self.time.1 - self.time.0).max(1) as f64
    }

    /// Share of the height at `value`: 0..=1 inside.
    pub(super) fn up(&self, value: f64) -> f64 {
        let (low, high) = (self.scale.of(self.value.0), self.scale.of(self.value.1));
        if high > low { (self.scale.of(value) - low) / (high - low) } else { 0.0 }
    }

    /// The row of `height` rows, counted from the top, in which `value` lies.
    pub(super) fn row(&self, value: f64, height: u16) -> u16 {
        let from_top = (1.0 - self.up(value).clamp(0.0, 1.0)) * f64::from(height);
        (from_top as u16).min(height.saturating_sub(1))
    }
}

/// What becomes of a cell that two lines share: it has one colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shared {
    /// The later line's dots alone: each dot has its own line's colour.
    Later,
    /// The dots of both, in the later line's colour: no line hides another that runs close to it.
    Both,
}

/// A grid of braille dots over `area`; what is drawn later lies on top.
pub(super) struct Braille {
    area: Rect,
    axes: Axes,
    shared: Shared,
    cells: Vec<(u8, Role)>,
}

impl Braille {
    /// An empty one.
    pub(super) fn new(area: Rect, axes: Axes, shared: Shared) -> Braille {
        let cells = vec![(0, Role::Text); usize::from(area.width) * usize::from(area.height)];
        Braille { area, axes, shared, cells }
    }

    /// Draws samples in order of time as one line, broken where nothing is known.
    pub(super) fn line(&mut self, role: Role, samples: impl Iterator<Item = (i64, Option<f64>)>) {
        let mut before: Option<(f64, f64)> = None;
        for (second, value) in samples {
            let Some(value) = value.filter(|value| value.is_finite()) else {
                before = None;
                continue;
            };
            let at = (self.axes.across(second), self.axes.up(value).clamp(0.0, 1.0));
            if !(0.0..=1.0).contains(&at.0) {
                continue;
            }
            let from = before.filter(|(across, _)| at.0 - across <= BRIDGED_SHARE).unwrap_or(at);
            self.step(role, from, at);
            before = Some(at);
        }
    }

    /// A step, as readings hold until the next: along at the old height, then up or down.
    fn step(&mut self, role: Role, from: (f64, f64), to: (f64, f64)) {
        let wide = f64::from(self.area.width) * 2.0;
        let high = f64::from(self.area.height) * 4.0;
        let column = |share: f64| ((share * wide) as i64).min(wide as i64 - 1);
        let level = |share: f64| (((1.0 - share) * high) as i64).clamp(0, high as i64 - 1);
        for x in column(from.0)..column(to.0) {
            self.dot(role, x, level(from.1));
        }
        let (a, b) = (level(from.1), level(to.1));
        for y in a.min(b)..=a.max(b) {
            self.dot(role, column(to.0), y);
        }
    }

    fn dot(&mut self, role: Role, x: i64, y: i64) {
        let (Ok(x), Ok(y)) = (usize::try_from(x), usize::try_from(y)) else { return };
        let bit = DOTS.get(y % 4).and_then(|row| row.get(x % 2)).copied().unwrap_or(0);
        let place = (y / 4) * usize::from(self.area.width) + x / 2;
        if let Some(cell) = self.cells.get_mut(place) {
            let kept = if cell.1 == role || self.shared == Shared::Both { cell.0 } else { 0 };
            *cell = (kept | bit, role);
        }
    }

    /// Writes `name` behind the last sample: what tells lines apart without colour.
    pub(super) fn name(
        &self,
        name: char,
        role: Role,
        last: Option<(i64, Option<f64>)>,
        theme: Theme,
        buf: &mut Buffer,
    ) {
        let Some((second, Some(value))) = last else { return };
        let column = (self.axes.across(second) * f64::from(self.area.width)) as u16 + 1;
        if column < self.area.width
            && let Some(cell) =
                buf.cell_mut((self.area.x + column, self.area.y + self.axes.row(value, self.area.height)))
        {
            cell.set_char(name).set_style(theme.style(role));
        }
    }

    /// Puts the dots on the screen; cells without a dot are left as they are.
    pub(super) fn render(&self, theme: Theme, buf: &mut Buffer) {
        for (position, (dots, role)) in self.area.positions().zip(&self.cells) {
            let glyph = char::from_u32(0x2800 + u32::from(*dots)).filter(|_| *dots != 0);
            if let (Some(glyph), Some(cell)) = (glyph, buf.cell_mut(position)) {
                cell.set_char(glyph).set_style(theme.style(*role));
            }
        }
    }
}

/// The hours below a plot: as many as fit, at even times of day.
pub(super) fn hours(theme: Theme, time: (i64, i64), area: Rect, buf: &mut Buffer) {
    const STEPS: [i64; 8] = [600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200];
    const LABEL: i64 = 5;
    let length = (time.1 - time.0).max(1);
    let fits = |step: &i64| length / step * (LABEL + 3) <= i64::from(area.width);
    let step = STEPS.into_iter().find(|step| fits(step)).unwrap_or(86_400);
    let mut second = time.0.div_euclid(step) * step;
    while second <= time.1 {
        let column = (second - time.0) * i64::from(area.width) / length;
        let left = column - LABEL / 2;
        if left >= 0 && left + LABEL <= i64::from(area.width) {
            let minute = second.rem_euclid(86_400) / 60;
            let label = format!("{:02}:{:02}", minute / 60, minute % 60);
            let x = area.x + u16::try_from(left).unwrap_or(0);
            buf.set_stringn(x, area.y, label, LABEL as usize, theme.style(Role::Dim));
        }
        second += step;
    }
}

/// Labels at the left of a plot, each in its row, right-aligned, thinned where two would share a row.
pub(super) fn levels(theme: Theme, axes: &Axes, marks: &[f64], decimals: usize, area: Rect, buf: &mut Buffer) {
    let mut taken = Vec::new();
    for mark in marks {
        let row = axes.row(*mark, area.height);
        if taken.contains(&row) || axes.up(*mark) < -0.001 || axes.up(*mark) > 1.001 {
            continue;
        }
        taken.push(row);
        let width = usize::from(area.width);
        let label = format!("{:>width$}", crate::cli::demo::format::number(*mark, decimals));
        buf.set_stringn(area.x, area.y + row, label, width, theme.style(Role::Dim));
    }
}

/// The least of 1, 1.25, 1.5, 2, 2.5, 3, 4, 5, 6, 8 × 10^n that is not below `value`.
pub(super) fn round_up(value: f64) -> f64 {
    if value <= 0.0 || !value.is_finite() {
        return 1.0;
    }
    let ten = 10f64.powf(value.log10().floor());
    let steps = [1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0];
    steps.into_iter().map(|step| step * ten).find(|step| *step >= value * 0.999).unwrap_or(10.0 * ten)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(samples: &[(i64, Option<f64>)]) -> Vec<String> {
        let area = Rect::new(0, 0, 4, 2);
        let axes = Axes { time: (0, 80), value: (0.0, 8.0), scale: Scale::Even };
        let mut plot = Braille::new(area, axes, Shared::Later);
        plot.line(Role::Text, samples.iter().copied());
        let mut buf = Buffer::empty(area);
        plot.render(Theme::Plain, &mut buf);
        let rows = area.rows().map(|row| row.positions().map(|at| buf[at].symbol().to_owned()).collect());
        rows.collect()
    }

    #[test]
    fn a_line_is_drawn_in_steps_and_broken_where_nothing_is_known() {
        assert_eq!(drawn(&[(0, Some(7.9)), (2, Some(7.9)), (12, None), (70, Some(0.0))]), ["⠁   ", "   ⢀"]);
        assert_eq!(drawn(&[(38, Some(0.0)), (40, Some(8.0))]), ["  ⡇ ", " ⢀⡇ "]);
    }

    #[test]
    fn a_cell_that_two_lines_share_keeps_both_only_if_told() {
        let seen = [Shared::Later, Shared::Both].map(|shared| {
            let area = Rect::new(0, 0, 1, 1);
            let axes = Axes { time: (0, 10), value: (0.0, 4.0), scale: Scale::Even };
            let mut plot = Braille::new(area, axes, shared);
            plot.line(Role::Text, [(0, Some(4.0))].into_iter());
            plot.line(Role::Gpu, [(0, Some(0.0))].into_iter());
            let mut buf = Buffer::empty(area);
            plot.render(Theme::Plain, &mut buf);
            buf[(0, 0)].symbol().to_owned()
        });
        assert_eq!(seen, ["⡀", "⡁"]);
    }

    #[test]
    fn what_lies_outside_is_clipped_to_the_edge_and_nonsense_left_out() {
        assert_eq!(drawn(&[(0, Some(1e12)), (-5, Some(1.0)), (4_000, Some(1.0))]), ["⠁   ", "    "]);
        assert_eq!(drawn(&[(0, Some(f64::NAN)), (10, Some(f64::INFINITY))]), ["    ", "    "]);
    }

    #[test]
    fn asinh_keeps_order_sign_and_room_near_zero() {
        let axes = Axes { time: (0, 1), value: (-25.0, 5_000.0), scale: Scale::Asinh(25.0) };
        let shares = [-25.0, 0.0, 50.0, 500.0, 5_000.0].map(|value| (axes.up(value) * 100.0).round() as i64);
        assert_eq!(shares, [0, 13, 34, 67, 100]);
    }

    #[test]
    fn a_round_axis_holds_its_value() {
        assert_eq!([0.0, 0.9, 100.0, 101.0, 61.0, 9_900.0].map(round_up), [1.0, 1.0, 100.0, 125.0, 80.0, 10_000.0]);
    }
}
