//! The limit tree: every node's limit against its bound and what its meter says, now and over time.

use super::history::Bin;
use super::panel::{self, Stretch};
use super::plot::{Axes, Braille, Scale, Shared, hours, levels};
use super::screen::Screen;
use super::theme::Role;
use crate::cli::demo::format;
use crate::sim::frame::NodeFrame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

/// Room for the labels of the y axis.
const LABELS: u16 = 6;
/// Width of the three figures.
const FIGURES: usize = 21;
/// How far the plot goes beyond the highest limit, so that the limit stands apart from what nears it.
const ROOM_ABOVE: f64 = 1.12;
/// The least rows that a plot is worth.
const LEAST_PLOT: u16 = 5;

/// Draws the panel: a row a node, and below them the site over time where there is room.
pub(super) fn draw(screen: &Screen<'_>, area: Rect, buf: &mut Buffer) {
    let title = [("Limits".to_owned(), Role::Strong), (screen.unit().symbol().to_owned(), Role::Dim)];
    let inner = panel::frame(screen, &title, false, area, buf);
    let nodes = screen.nodes();
    let name_width = nodes.iter().map(|(name, _)| label(name).chars().count()).max().unwrap_or(0).clamp(8, 14);
    let room = usize::from(inner.height).saturating_sub(1);
    let shown = nodes.len().min(room);
    let mut lines = vec![head(screen, usize::from(inner.width))];
    for (name, node) in nodes.iter().take(shown) {
        lines.push(row(screen, name, node, name_width, usize::from(inner.width)));
    }
    if shown < nodes.len() {
        lines.pop();
        let rest = format!("and {} more", nodes.len() - shown + 1);
        lines.push(Line::styled(rest, screen.theme.style(Role::Dim)));
    }
    panel::lines(&lines, inner, buf);
    let used = u16::try_from(lines.len()).unwrap_or(inner.height);
    let left = inner.height.saturating_sub(used);
    if left >= LEAST_PLOT {
        plot(screen, Rect { y: inner.y + used, height: left, ..inner }, buf);
    }
}

/// The site alone in one line, for screens without room for the panel.
pub(super) fn strip(screen: &Screen<'_>, area: Rect, buf: &mut Buffer) {
    let Some((_, node)) = screen.frame.site() else { return };
    let (unit, theme) = (screen.unit(), screen.theme);
    let mut spans = Vec::new();
    let figures = [
        ("measured", measured(screen, node)),
        ("bound", unit.text(node.bound_watts)),
        ("limit", unit.text(node.limit_watts)),
    ];
    for (name, text) in figures {
        spans.push(Span::styled(format!("{name} "), theme.style(Role::Dim)));
        spans.push(Span::styled(format!("{text} "), theme.style(Role::Strong)));
    }
    spans.push(Span::styled(format!("{}  ", unit.symbol()), theme.style(Role::Dim)));
    let used = Line::from(spans.clone()).width();
    let width = usize::from(area.width).saturating_sub(used).min(70);
    spans.extend(gauge(screen, node, width));
    panel::lines(&[Line::from(spans)], area, buf);
}

fn label(node: &str) -> String {
    format!("{}{}", " ".repeat(node.matches('/').count()), format::leaf(node))
}

fn measured(screen: &Screen<'_>, node: &NodeFrame) -> String {
    node.measured_watts.map_or("stale".to_owned(), |watts| screen.unit().text(watts))
}

/// Names the figures, in the colours of the lines below.
fn head(screen: &Screen<'_>, width: usize) -> Line<'static> {
    let theme = screen.theme;
    Line::from(vec![
        Span::raw(" ".repeat(width.saturating_sub(FIGURES))),
        Span::styled(format!("{:>7}", "meter"), theme.style(Role::Flow)),
        Span::styled(format!("{:>7}", "bound"), theme.style(Role::Dim)),
        Span::styled(format!("{:>7}", "limit"), theme.style(Role::Strong)),
    ])
}

fn row(screen: &Screen<'_>, name: &str, node: &NodeFrame, name_width: usize, width: usize) -> Line<'static> {
    let (unit, theme) = (screen.unit(), screen.theme);
    let is_site = !name.contains('/');
    let look = if is_site { Role::Strong } else { Role::Text };
    let over = is_over(node);
    let drawn = match (over, node.measured_watts) {
        (true, _) => Role::Alarm,
        (false, None) => Role::Warn,
        (false, Some(_)) => look,
    };
    let bound = if node.bound_watts > node.limit_watts { Role::Warn } else { look };
    let mut spans = vec![Span::styled(format::fit(&label(name), name_width), theme.style(look)), Span::raw(" ")];
    spans.extend(gauge(screen, node, width.saturating_sub(name_width + 1 + FIGURES)));
    spans.push(Span::styled(format!("{:>7}", measured(screen, node)), theme.style(drawn)));
    spans.push(Span::styled(format!("{:>7}", unit.text(node.bound_watts)), theme.style(bound)));
    spans.push(Span::styled(format!("{:>7}", unit.text(node.limit_watts)), theme.style(look)));
    Line::from(spans)
}

/// Whether more flows than may.
pub(super) fn is_over(node: &NodeFrame) -> bool {
    node.true_watts.max(node.measured_watts.unwrap_or(0)) > node.limit_watts
}

/// A bar over the limit: heavy what is measured, thin what is bound.
fn gauge(screen: &Screen<'_>, node: &NodeFrame, width: usize) -> Vec<Span<'static>> {
    let limit = node.limit_watts.max(1) as f64;
    let flows = node.measured_watts.unwrap_or(0) as f64 / limit;
    let role = if is_over(node) { Role::Alarm } else { Role::Flow };
    let bound = if node.bound_watts > node.limit_watts { Role::Warn } else { role };
    let stretches = [
        Stretch { to: flows, line: panel::FLOWS, role },
        Stretch { to: node.bound_watts as f64 / limit, line: panel::MAY, role: bound },
    ];
    panel::bar(screen.theme, width.saturating_sub(1), &stretches)
}

fn plot(screen: &Screen<'_>, area: Rect, buf: &mut Buffer) {
    let plot =
        Rect { x: area.x + LABELS + 1, width: area.width.saturating_sub(LABELS + 1), height: area.height - 1, ..area };
    let unit = screen.unit();
    let highest = screen.history.bins().map(|bin| bin.limit_watts.max(bin.bound_watts)).max().unwrap_or(0);
    let highest = unit.value(highest);
    let axes = Axes { time: screen.history.window(), value: (0.0, highest * ROOM_ABOVE), scale: Scale::Even };
    let labels = Rect { x: area.x, width: LABELS, ..plot };
    levels(screen.theme, &axes, &[highest, 0.0, highest / 2.0], usize::from(highest < 4.0), labels, buf);
    hours(screen.theme, axes.time, Rect { y: plot.y + plot.height, height: 1, ..plot }, buf);
    let mut lines = Braille::new(plot, axes, Shared::Both);
    let samples = |of: fn(&Bin) -> Option<i64>| {
        screen.history.bins().map(move |bin| (bin.from, of(bin).map(|watts| unit.value(watts))))
    };
    lines.line(Role::Strong, samples(|bin| Some(bin.limit_watts)));
    lines.line(Role::Dim, samples(|bin| Some(bin.bound_watts)));
    lines.line(Role::Flow, samples(|bin| bin.measured_watts));
    lines.render(screen.theme, buf);
}
