//! The split as a stacked history: halls of tenants, GPU nodes, mining, and what is free under the site's limit.

use super::history::Bin;
use super::panel;
use super::plot::{Axes, Scale, hours, levels, round_up};
use super::screen::Screen;
use super::theme::Role;
use crate::sim::frame::Sides;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

/// Lower eighths of a cell.
const EIGHTHS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Room for the labels of the y axis.
const LABELS: u16 = 6;

/// One column of the plot, in eighths of a cell from the bottom.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Column {
    /// Where each layer ends, from the bottom.
    tops: [usize; 3],
    limit: usize,
}

/// The layers from the bottom: what is most certain lies lowest.
const LAYERS: [Role; 3] = [Role::Power, Role::Gpu, Role::Mining];

/// Draws the panel.
pub(super) fn draw(screen: &Screen<'_>, area: Rect, buf: &mut Buffer) {
    let unit = screen.unit();
    let title = [("Split".to_owned(), Role::Strong), (unit.symbol().to_owned(), Role::Dim)];
    let inner = panel::frame(screen, &title, false, area, buf);
    panel::lines(&[legend(screen, inner.width)], inner, buf);
    if inner.height < 4 || inner.width < 20 {
        return;
    }
    let plot =
        Rect { x: inner.x + LABELS + 1, y: inner.y + 1, width: inner.width - LABELS - 1, height: inner.height - 2 };
    let highest = screen.history.bins().map(|bin| bin.limit_watts.max(stack(&bin.allocation_watts)[2])).max();
    let top = round_up(unit.value(highest.unwrap_or(0)));
    let axes = Axes { time: screen.history.window(), value: (0.0, top), scale: Scale::Even };
    let labels = Rect { x: inner.x, width: LABELS, ..plot };
    let decimals = usize::from(top < 4.0);
    levels(screen.theme, &axes, &[top, 0.0, top / 2.0, top / 4.0, top * 0.75], decimals, labels, buf);
    hours(screen.theme, axes.time, Rect { y: plot.y + plot.height, height: 1, ..plot }, buf);
    let eighths = |watts: i64| (axes.up(unit.value(watts)).clamp(0.0, 1.0) * f64::from(plot.height) * 8.0).round();
    for (x, column) in (plot.x..).zip(columns(screen, axes.time, usize::from(plot.width), |w| eighths(w) as usize)) {
        if let Some(column) = column {
            paint(screen, &column, Rect { x, width: 1, ..plot }, buf);
        }
    }
}

fn legend(screen: &Screen<'_>, width: u16) -> Line<'static> {
    let unit = screen.unit();
    let decimals = usize::from(width >= 50);
    let figure = |watts: i64| format!("{:.decimals$}", unit.value(watts));
    let told = screen.frame.allocation_watts;
    let limit = screen.frame.site().map_or(0, |(_, node)| node.limit_watts);
    let free = (limit - stack(&told)[2]).max(0);
    let mut spans = Vec::new();
    let sides =
        [("mining", told.mining, Role::Mining), ("gpu", told.gpu, Role::Gpu), ("power", told.power, Role::Power)];
    for (name, watts, role) in sides {
        spans.push(Span::styled(format!("{} ", screen.theme.fill(role)), screen.theme.style(role)));
        spans.push(Span::styled(format!("{name} "), screen.theme.style(Role::Dim)));
        spans.push(Span::raw(format!("{}  ", figure(watts))));
    }
    spans.push(Span::styled("free ", screen.theme.style(Role::Dim)));
    spans.push(Span::raw(figure(free)));
    Line::from(spans)
}

/// Where each layer ends, W.
fn stack(told: &Sides<i64>) -> [i64; 3] {
    [told.power, told.power + told.gpu, told.power + told.gpu + told.mining]
}

/// The mean of the bins in each column; where a column has none, the one before goes on until the last bin.
fn columns(screen: &Screen<'_>, time: (i64, i64), width: usize, eighths: impl Fn(i64) -> usize) -> Vec<Option<Column>> {
    let length = (time.1 - time.0).max(1);
    let mut gathered: Vec<Vec<&Bin>> = vec![Vec::new(); width];
    let mut last = None;
    for bin in screen.history.bins() {
        let share = (bin.from - time.0).max(0) as f64 / length as f64;
        let column = (share * width as f64) as usize;
        if let Some(bins) = gathered.get_mut(column) {
            bins.push(bin);
            last = Some(column);
        }
    }
    let mut before = None;
    let column = |(place, bins): (usize, &Vec<&Bin>)| {
        if last.is_none_or(|last| place > last) {
            return None;
        }
        if !bins.is_empty() {
            before = Some(merge(bins, &eighths));
        }
        before
    };
    gathered.iter().enumerate().map(column).collect()
}

fn merge(bins: &[&Bin], eighths: impl Fn(i64) -> usize) -> Column {
    let count = (bins.len() as i64).max(1);
    let mean = |layer: fn(&[i64; 3]) -> i64| {
        eighths(bins.iter().map(|bin| layer(&stack(&bin.allocation_watts))).sum::<i64>() / count)
    };
    let limit = bins.iter().map(|bin| bin.limit_watts).min().unwrap_or(0);
    Column { tops: [mean(|s| s[0]), mean(|s| s[1]), mean(|s| s[2])], limit: eighths(limit) }
}

fn paint(screen: &Screen<'_>, column: &Column, area: Rect, buf: &mut Buffer) {
    for (from_bottom, y) in (area.y..area.y + area.height).rev().enumerate() {
        let (glyph, style) = cell(screen, column, from_bottom * 8);
        if let Some(cell) = buf.cell_mut((area.x, y)) {
            cell.set_char(glyph).set_style(style);
        }
    }
}

/// The cell that begins at `low` eighths: the layer at its bottom, and the one above if it ends inside.
fn cell(screen: &Screen<'_>, column: &Column, low: usize) -> (char, Style) {
    let theme = screen.theme;
    let layer = |at: usize| LAYERS.into_iter().zip(column.tops).find(|(_, top)| at < *top).map(|(role, _)| role);
    let Some(role) = layer(low) else {
        let line = column.limit.checked_sub(low).filter(|above| (1..=8).contains(above));
        return match line {
            Some(above) => (if above <= 4 { '▁' } else { '▔' }, theme.style(Role::Strong)),
            None if low < column.limit => ('·', theme.style(Role::Faint)),
            None => (' ', Style::new()),
        };
    };
    let ends = column.tops.into_iter().find(|top| (low + 1..low + 8).contains(top));
    let Some(end) = ends.filter(|_| theme == super::theme::Theme::Colour) else {
        let middle = layer(low + 4).or_else(|| (column.tops[2] > low + 2).then_some(role));
        return middle.map_or((' ', Style::new()), |role| (theme.fill(role), theme.style(role)));
    };
    let above = layer(end).and_then(|role| theme.style(role).fg);
    let style = theme.style(role);
    let glyph = EIGHTHS.get(end - low).copied().unwrap_or('█');
    (glyph, above.map_or(style, |colour| style.bg(colour)))
}
