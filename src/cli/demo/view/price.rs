//! The price of power against what the next watt is worth on each side.

use super::history::Bin;
use super::panel;
use super::plot::{Axes, Braille, Scale, Shared, hours, levels, round_up};
use super::screen::Screen;
use super::theme::{Role, Theme};
use crate::cli::demo::format;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

/// Room for the labels of the y axis.
const LABELS: u16 = 6;
/// Around zero the scale is near even up to here, USD/MWh.
const EVEN_TO_USD_PER_MWH: f64 = 20.0;
/// What the y axis may name, USD/MWh; where two share a row the first stays.
const MARKS: [f64; 17] = [
    0.0, 100.0, 1_000.0, -100.0, 30.0, 300.0, 3_000.0, 10_000.0, -30.0, -1_000.0, 50.0, 500.0, 5_000.0, 10.0, 200.0,
    2_000.0, -10.0,
];

/// A line of the plot: its initial, its look, its samples.
type Series = (char, Role, fn(&Bin) -> Option<f64>);

/// The lines, the price on top.
const LINES: [Series; 4] = [
    ('w', Role::Power, |bin| bin.value_usd_per_mwh.power),
    ('g', Role::Gpu, |bin| bin.value_usd_per_mwh.gpu),
    ('m', Role::Mining, |bin| bin.value_usd_per_mwh.mining),
    ('p', Role::Strong, |bin| bin.price_usd_per_mwh),
];

/// Draws the panel.
pub(super) fn draw(screen: &Screen<'_>, area: Rect, buf: &mut Buffer) {
    let title = [("Price against value of the next watt".to_owned(), Role::Strong), ("USD/MWh".to_owned(), Role::Dim)];
    let inner = panel::frame(screen, &title, false, area, buf);
    panel::lines(&[legend(screen, inner.width)], inner, buf);
    if inner.height < 4 || inner.width < 20 {
        return;
    }
    let plot =
        Rect { x: inner.x + LABELS + 1, y: inner.y + 1, width: inner.width - LABELS - 1, height: inner.height - 2 };
    let axes = axes(screen);
    levels(screen.theme, &axes, &MARKS, 0, Rect { x: inner.x, width: LABELS, ..plot }, buf);
    hours(screen.theme, axes.time, Rect { y: plot.y + plot.height, height: 1, ..plot }, buf);
    zero(screen, &axes, plot, buf);
    let mut braille = Braille::new(plot, axes, Shared::Later);
    let samples = |of: fn(&Bin) -> Option<f64>| screen.history.bins().map(move |bin| (bin.from, of(bin)));
    for (_, role, of) in LINES {
        braille.line(role, samples(of));
    }
    braille.render(screen.theme, buf);
    for (name, role, of) in LINES.into_iter().filter(|_| screen.theme == Theme::Plain) {
        braille.name(name, role, samples(of).next_back(), screen.theme, buf);
    }
}

/// From the least to the greatest that was seen, zero and 50 USD/MWh included.
fn axes(screen: &Screen<'_>) -> Axes {
    let seen = screen.history.bins().flat_map(|bin| {
        let value = bin.value_usd_per_mwh;
        [bin.price_usd_per_mwh, value.mining, value.gpu, value.power]
    });
    let (mut low, mut high) = (0.0f64, 50.0f64);
    for value in seen.flatten().filter(|value| value.is_finite()) {
        (low, high) = (low.min(value), high.max(value));
    }
    let low = if low < 0.0 { -round_up(-low) } else { 0.0 };
    let value = (low, round_up(high));
    Axes { time: screen.history.window(), value, scale: Scale::Asinh(EVEN_TO_USD_PER_MWH) }
}

/// A faint line at zero where prices were negative.
fn zero(screen: &Screen<'_>, axes: &Axes, plot: Rect, buf: &mut Buffer) {
    if axes.value.0 < 0.0 {
        let line = "┈".repeat(usize::from(plot.width));
        let y = plot.y + axes.row(0.0, plot.height);
        buf.set_stringn(plot.x, y, line, usize::from(plot.width), screen.theme.style(Role::Faint));
    }
}

fn legend(screen: &Screen<'_>, width: u16) -> Line<'static> {
    let frame = screen.frame;
    let value = frame.value_usd_per_mwh;
    let parts = [
        ("price", frame.price_usd_per_mwh, Role::Strong),
        ("mining", value.mining, Role::Mining),
        ("gpu", value.gpu, Role::Gpu),
        ("power", value.power, Role::Power),
    ];
    // Without room for marks the names themselves carry the colours.
    let marked = width >= 54;
    let mut spans = Vec::new();
    for (name, usd_per_mwh, role) in parts {
        if marked {
            spans.push(Span::styled("━ ", screen.theme.style(role)));
        }
        spans.push(Span::styled(format!("{name} "), screen.theme.style(if marked { Role::Dim } else { role })));
        let look = if role == Role::Strong { Role::Strong } else { Role::Text };
        let gap = if marked { "  " } else { " " };
        spans.push(Span::styled(format!("{}{gap}", format::price(usd_per_mwh)), screen.theme.style(look)));
    }
    Line::from(spans)
}
