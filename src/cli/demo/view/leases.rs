//! Leases: where each stands, what it has, what was curtailed against what may be, and how far its work is.

use super::panel::{self, Stretch};
use super::screen::Screen;
use super::theme::Role;
use crate::cli::demo::format;
use crate::sim::frame::LeaseFrame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

/// Cells of the progress bar.
const PROGRESS: usize = 10;
/// Width of a lease's state.
const STATE: usize = 12;
/// Width of what it has.
const GRANT: usize = 6;

/// How the columns share the width: names lose their namespaces and spans their smaller unit where it is narrow.
#[derive(Clone, Copy)]
struct Columns {
    roomy: bool,
    name: usize,
    terms: usize,
    curtailed: usize,
}

impl Columns {
    fn of(width: usize) -> Columns {
        let roomy = width >= 60;
        let (terms, curtailed) = if roomy { (5, 17) } else { (0, 11) };
        Columns { roomy, terms, curtailed, name: width.saturating_sub(STATE + GRANT + curtailed + terms) }
    }
}

/// Rows that the panel takes, frame included, where it may have `most`: two a lease, or one where two do not fit.
pub(super) fn rows(screen: &Screen<'_>, most: u16) -> u16 {
    let leases = u16::try_from(screen.frame.leases.len().max(1)).unwrap_or(u16::MAX / 2 - 3);
    if leases * 2 + 3 <= most { leases * 2 + 3 } else { (leases + 3).min(most) }
}

/// Draws the panel: two lines a lease, or one where there is no room.
pub(super) fn draw(screen: &Screen<'_>, area: Rect, buf: &mut Buffer) {
    let leases = &screen.frame.leases;
    let title = [("Leases".to_owned(), Role::Strong), (format!("{}", leases.len()), Role::Dim)];
    let inner = panel::frame(screen, &title, false, area, buf);
    if leases.is_empty() {
        panel::note(screen, "no leases yet", inner, buf);
        return;
    }
    let width = usize::from(inner.width);
    let columns = Columns::of(width);
    let room = usize::from(inner.height).saturating_sub(1);
    let each = if leases.len() * 2 <= room { 2 } else { 1 };
    let shown = if leases.len() * each <= room { leases.len() } else { room.saturating_sub(1) };
    let mut lines = vec![head(screen, columns)];
    for (name, lease) in leases.iter().take(shown) {
        let countdown = if each == 1 { countdown(screen, lease) } else { None };
        lines.push(first(screen, name, lease, columns, countdown));
        if each == 2 {
            lines.push(second(screen, lease, width));
        }
    }
    if shown < leases.len() {
        lines.push(Line::styled(format!("and {} more", leases.len() - shown), screen.theme.style(Role::Dim)));
    }
    panel::lines(&lines, inner, buf);
}

fn head(screen: &Screen<'_>, columns: Columns) -> Line<'static> {
    let lead = " ".repeat(STATE + columns.name + columns.terms);
    let width = columns.curtailed;
    Line::styled(format!("{lead}{:>GRANT$}{:>width$}", "has", "curtailed"), screen.theme.style(Role::Dim))
}

/// State, name, terms, grant, and what was curtailed, or the `countdown` of a notice where that has no line of its own.
fn first(
    screen: &Screen<'_>,
    name: &str,
    lease: &LeaseFrame,
    columns: Columns,
    countdown: Option<String>,
) -> Line<'static> {
    let theme = screen.theme;
    let (glyph, role) = state_look(&lease.state);
    let name = if columns.roomy { name } else { format::leaf(name) };
    let mut spans = vec![
        Span::styled(format::fit(&format!("{glyph} {}", lease.state), STATE), theme.style(role)),
        Span::styled(format::fit(name, columns.name.saturating_sub(1)) + " ", theme.style(Role::Text)),
    ];
    let terms = if lease.firm { "firm" } else { "flex" };
    spans.push(Span::styled(format::fit(terms, columns.terms), theme.style(Role::Dim)));
    spans.push(Span::styled(format!("{:>GRANT$}", format::watts(lease.granted_watts)), theme.style(Role::Strong)));
    let (text, role) = countdown.map_or_else(|| curtailed(lease, columns.roomy), |text| (text, Role::Warn));
    let width = columns.curtailed;
    spans.push(Span::styled(format!("{text:>width$}"), theme.style(role)));
    Line::from(spans)
}

/// Curtailed against allowance, and how that is to be looked at.
fn curtailed(lease: &LeaseFrame, roomy: bool) -> (String, Role) {
    let used = lease.curtailed_seconds;
    let role = match lease.allowance_seconds {
        Some(may) if used > may => Role::Alarm,
        Some(may) if used.saturating_mul(10) > may.saturating_mul(8) => Role::Warn,
        None if used > 0 => Role::Warn,
        _ => Role::Text,
    };
    let span = if roomy { format::span } else { format::short_span };
    match lease.allowance_seconds {
        Some(may) => (format!("{} of {}", span(used), span(may)), role),
        None if used > 0 => (span(used), role),
        None => ("never".to_owned(), Role::Dim),
    }
}

fn second(screen: &Screen<'_>, lease: &LeaseFrame, width: usize) -> Line<'static> {
    let theme = screen.theme;
    let mut spans = vec![Span::raw(" ".repeat(2))];
    match lease.progress {
        Some(share) => {
            let done = Stretch { to: share, line: panel::FLOWS, role: Role::Gpu };
            spans.extend(panel::bar(theme, PROGRESS, &[done]));
            spans.push(Span::styled(format!("{:>4.0} %  ", share.clamp(0.0, 1.0) * 100.0), theme.style(Role::Text)));
        }
        None => spans.push(Span::raw(" ".repeat(STATE - 2))),
    }
    if let Some(text) = countdown(screen, lease) {
        spans.push(Span::styled(format!("{text}  "), theme.style(Role::Warn)));
    }
    let used = spans.iter().map(Span::width).sum::<usize>();
    let reason = format::fit(&lease.reason, width.saturating_sub(used));
    spans.push(Span::styled(reason, theme.style(Role::Dim)));
    Line::from(spans)
}

/// How long a notice still runs.
fn countdown(screen: &Screen<'_>, lease: &LeaseFrame) -> Option<String> {
    let due = format::seconds(lease.notice_deadline.as_deref()?)?;
    let now = format::seconds(&screen.frame.time)?;
    Some(format!("due {}", format::span((due - now).max(0))))
}

fn state_look(state: &str) -> (char, Role) {
    match state {
        "Running" => ('●', Role::Gpu),
        "Capped" => ('◐', Role::Warn),
        "Notice" => ('▲', Role::Warn),
        "Curtailed" => ('■', Role::Warn),
        "Waiting" | "Offered" => ('○', Role::Text),
        "Refused" => ('×', Role::Dim),
        _ => ('·', Role::Dim),
    }
}
