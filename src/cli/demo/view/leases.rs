//! Leases: where each stands, what it has, what was curtailed against what may be, and how far its work is.

use super::panel::{self, Stretch};
use super::screen::Screen;
use super::theme::Role;
use crate::cli::demo::format;
use crate::sim::frame::LeaseFrame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

const STATE: usize = 12;
const TERMS: usize = 5;
const GRANT: usize = 6;
const CURTAILED: usize = 17;
/// Cells of the progress bar.
const PROGRESS: usize = 10;

/// Rows that the panel would like, frame included.
pub(super) fn wanted_rows(screen: &Screen<'_>) -> u16 {
    u16::try_from(screen.frame.leases.len() * 2 + 3).unwrap_or(u16::MAX)
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
    let room = usize::from(inner.height).saturating_sub(1);
    let each = if leases.len() * 2 <= room { 2 } else { 1 };
    let shown = if leases.len() * each <= room { leases.len() } else { room.saturating_sub(1) };
    let mut lines = vec![head(screen, width)];
    for (name, lease) in leases.iter().take(shown) {
        lines.push(first(screen, name, lease, width));
        if each == 2 {
            lines.push(second(screen, lease, width));
        }
    }
    if shown < leases.len() {
        lines.push(Line::styled(format!("and {} more", leases.len() - shown), screen.theme.style(Role::Dim)));
    }
    panel::lines(&lines, inner, buf);
}

fn name_width(width: usize) -> usize {
    width.saturating_sub(STATE + GRANT + CURTAILED + if has_terms(width) { TERMS } else { 0 })
}

fn has_terms(width: usize) -> bool {
    width >= 60
}

fn head(screen: &Screen<'_>, width: usize) -> Line<'static> {
    let terms = if has_terms(width) { format!("{:<TERMS$}", "") } else { String::new() };
    let lead = " ".repeat(STATE + name_width(width));
    let text = format!("{lead}{terms}{:>GRANT$}{:>CURTAILED$}", "has", "curtailed / may");
    Line::styled(text, screen.theme.style(Role::Dim))
}

fn first(screen: &Screen<'_>, name: &str, lease: &LeaseFrame, width: usize) -> Line<'static> {
    let theme = screen.theme;
    let (glyph, role) = state_look(&lease.state);
    let terms = if lease.firm { "firm" } else { "flex" };
    let mut spans = vec![
        Span::styled(format::fit(&format!("{glyph} {}", lease.state), STATE), theme.style(role)),
        Span::styled(format::fit(name, name_width(width)), theme.style(Role::Text)),
    ];
    if has_terms(width) {
        spans.push(Span::styled(format!("{terms:<TERMS$}"), theme.style(Role::Dim)));
    }
    spans.push(Span::styled(format!("{:>GRANT$}", format::watts(lease.granted_watts)), theme.style(Role::Strong)));
    let (text, role) = curtailed(lease);
    spans.push(Span::styled(format!("{text:>CURTAILED$}"), theme.style(role)));
    Line::from(spans)
}

/// Curtailed against allowance, and how that is to be looked at.
fn curtailed(lease: &LeaseFrame) -> (String, Role) {
    let used = lease.curtailed_seconds;
    let role = match lease.allowance_seconds {
        Some(may) if used > may => Role::Alarm,
        Some(may) if used * 10 > may * 8 => Role::Warn,
        None if used > 0 => Role::Warn,
        _ => Role::Text,
    };
    let may = lease.allowance_seconds.map_or("none".to_owned(), format::span);
    (format!("{} / {may}", format::span(used)), role)
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
    Some(format!("due in {}", format::span((due - now).max(0))))
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
