//! Loads by feeder: what each draws, was told, and counts with, and why.

use super::panel::{self, Stretch};
use super::screen::Screen;
use super::theme::{Role, Theme};
use crate::cli::demo::format;
use crate::sim::frame::LoadFrame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

/// Width of one figure with the space before it.
const FIGURE: usize = 6;

/// How the columns share the width.
#[derive(Clone, Copy)]
struct Columns {
    name: usize,
    bar: usize,
    /// Whether there is room for what was told beside what counts.
    told: bool,
    reason: usize,
}

impl Columns {
    fn of(screen: &Screen<'_>, width: usize) -> Columns {
        let longest = screen.frame.loads.keys().map(|name| name.chars().count()).max().unwrap_or(0);
        let name = longest.clamp(6, if width < 70 { 11 } else { 18 });
        let told = width >= 70;
        let bar = (width / 5).clamp(8, 24);
        let figures = if told { 3 * FIGURE } else { 2 * FIGURE };
        let reason = width.saturating_sub(1 + name + 1 + bar + 1 + figures + 2);
        Columns { name, bar, told, reason }
    }

    /// Up to the figures.
    fn lead(self) -> usize {
        1 + self.name + 1 + self.bar + 1
    }

    /// The three figures, each in its place, as far as there is room.
    fn figures(self, figures: [(&str, Role); 3], theme: Theme) -> Vec<Span<'static>> {
        let places = [true, self.told, true];
        let cell = |(text, role): (&str, Role)| Span::styled(format!("{text:>FIGURE$}"), theme.style(role));
        figures.into_iter().zip(places).filter(|(_, shown)| *shown).map(|(figure, _)| cell(figure)).collect()
    }
}

/// Draws the panel.
pub(super) fn draw(screen: &Screen<'_>, area: Rect, buf: &mut Buffer) {
    let total = screen.frame.loads.len();
    let title = [("Loads".to_owned(), Role::Strong), (format!("{total}"), Role::Dim)];
    let inner = panel::frame(screen, &title, screen.state.loads_focused(), area, buf);
    if total == 0 {
        panel::note(screen, "no loads yet", inner, buf);
        return;
    }
    let columns = Columns::of(screen, usize::from(inner.width));
    let mut lines = vec![head(screen, columns)];
    let rows = rows(screen, columns);
    let visible = usize::from(inner.height).saturating_sub(1);
    let from = screen.state.loads_window(rows.len(), visible);
    if rows.len() > visible {
        let seen = format!(" {}–{} of {} ", from + 1, rows.len().min(from + visible), rows.len());
        let mark = Line::styled(seen, screen.theme.style(Role::Dim));
        panel::right(&mark, Rect { width: area.width.saturating_sub(2), ..area }, 0, buf);
    }
    lines.extend(rows.into_iter().skip(from).take(visible));
    panel::lines(&lines, inner, buf);
}

fn head(screen: &Screen<'_>, columns: Columns) -> Line<'static> {
    let mut spans = vec![Span::raw(" ".repeat(columns.lead()))];
    spans.extend(columns.figures(["draws", "told", "bound"].map(|name| (name, Role::Dim)), screen.theme));
    spans.push(Span::styled("  why", screen.theme.style(Role::Dim)));
    Line::from(spans)
}

/// A heading for every node that has loads, and below it each load by name and number.
fn rows(screen: &Screen<'_>, columns: Columns) -> Vec<Line<'static>> {
    let mut rows = Vec::new();
    let known = screen.nodes();
    let mut groups: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
    for load in screen.frame.loads.values() {
        if !groups.contains(&load.node.as_str()) {
            groups.push(&load.node);
        }
    }
    for group in groups {
        let mut loads: Vec<_> = screen.frame.loads.iter().filter(|(_, load)| load.node == group).collect();
        if loads.is_empty() {
            continue;
        }
        loads.sort_by_key(|(name, _)| format::natural(name));
        rows.push(heading(screen, group, loads.len(), columns));
        rows.extend(loads.into_iter().map(|(name, load)| row(screen.theme, name, load, columns)));
    }
    rows
}

fn heading(screen: &Screen<'_>, group: &str, loads: usize, columns: Columns) -> Line<'static> {
    let theme = screen.theme;
    let name = Span::styled(format::leaf(group).to_owned(), theme.style(Role::Strong));
    let count = Span::styled(format!("  {loads}"), theme.style(Role::Dim));
    let gap = " ".repeat(columns.lead().saturating_sub(name.width() + count.width()));
    let mut spans = vec![name, count, Span::raw(gap)];
    if let Some(node) = screen.frame.nodes.get(group) {
        let drawn = node.measured_watts.map_or("—".to_owned(), format::watts);
        let bound = format::watts(node.bound_watts);
        spans.extend(columns.figures([(&drawn, Role::Strong), ("", Role::Text), (&bound, Role::Strong)], theme));
        spans.push(Span::styled(format!("  of {}", format::watts(node.limit_watts)), theme.style(Role::Dim)));
    }
    Line::from(spans)
}

fn row(theme: Theme, name: &str, load: &LoadFrame, columns: Columns) -> Line<'static> {
    let unproved = load.bound_watts > load.setpoint_watts;
    let drawn = match load.measured_watts {
        Some(watts) if watts > load.bound_watts => Role::Alarm,
        None => Role::Warn,
        Some(_) => Role::Text,
    };
    let mut spans = vec![Span::raw(" "), Span::raw(format::fit(name, columns.name)), Span::raw(" ")];
    spans.extend(panel::bar(theme, columns.bar, &stretches(load)));
    spans.push(Span::raw(" "));
    let measured = load.measured_watts.map_or("silent".to_owned(), format::watts);
    let (told, bound) = (format::watts(load.setpoint_watts), format::watts(load.bound_watts));
    let counts = if unproved { Role::Warn } else { Role::Dim };
    spans.extend(columns.figures([(&measured, drawn), (&told, Role::Text), (&bound, counts)], theme));
    let reason = format::fit(&load.reason, columns.reason);
    spans.push(Span::styled(format!("  {reason}"), theme.style(if unproved { Role::Text } else { Role::Dim })));
    Line::from(spans)
}

/// Heavy what it draws, warning beyond what it was told; thin what it may draw; dashed what it counts with beyond that
/// because nothing proves less.
fn stretches(load: &LoadFrame) -> [Stretch; 4] {
    let whole = load.nameplate_watts.max(load.bound_watts).max(1) as f64;
    let share = |watts: i64| watts as f64 / whole;
    let drawn = load.measured_watts.unwrap_or(0);
    // A meter's own error is no disobedience.
    let obeys = drawn.saturating_mul(50) <= load.setpoint_watts.saturating_mul(51);
    let obeyed = if obeys { drawn } else { load.setpoint_watts };
    let beyond = if drawn > load.bound_watts { Role::Alarm } else { Role::Warn };
    let side = if load.kind == "gpu" { Role::Gpu } else { Role::Mining };
    [
        Stretch { to: share(obeyed), line: panel::FLOWS, role: side },
        Stretch { to: share(drawn), line: panel::FLOWS, role: beyond },
        Stretch { to: share(load.setpoint_watts), line: panel::MAY, role: side },
        Stretch { to: share(load.bound_watts), line: panel::DOUBT, role: Role::Warn },
    ]
}
