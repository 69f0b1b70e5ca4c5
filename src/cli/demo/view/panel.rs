//! What panels share: the frame with its title, lines, bars, and a note where there is nothing to show.

use super::screen::Screen;
use super::theme::{Role, Theme};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, BorderType, Borders, Widget};

/// Draws a rounded frame with `title` parts and returns what is inside, a column free at each side.
pub(super) fn frame(
    screen: &Screen<'_>,
    title: &[(String, Role)],
    focused: bool,
    area: Rect,
    buf: &mut Buffer,
) -> Rect {
    let role = if focused { Role::Focus } else { Role::Faint };
    let mut spans = vec![Span::raw(" ")];
    for (text, role) in title {
        spans.push(Span::styled(format!("{text} "), screen.theme.style(*role)));
    }
    let block = Block::new()
        .borders(Borders::ALL)
        .border_type(BorderType::Rounded)
        .border_style(screen.theme.style(role))
        .title(Line::from(spans));
    let inner = block.inner(area);
    block.render(area, buf);
    Rect { x: inner.x.saturating_add(1), width: inner.width.saturating_sub(2), ..inner }
}

/// Draws lines from the top, as many as fit.
pub(super) fn lines(lines: &[Line<'_>], area: Rect, buf: &mut Buffer) {
    for (row, line) in area.rows().zip(lines) {
        buf.set_line(row.x, row.y, line, row.width);
    }
}

/// One line from the right edge of `area`'s row `row`.
pub(super) fn right(line: &Line<'_>, area: Rect, row: u16, buf: &mut Buffer) {
    if row < area.height {
        let width = u16::try_from(line.width()).unwrap_or(u16::MAX).min(area.width);
        buf.set_line(area.x + area.width - width, area.y + row, line, width);
    }
}

/// A dim sentence in an empty panel.
pub(super) fn note(screen: &Screen<'_>, text: &str, area: Rect, buf: &mut Buffer) {
    lines(&[Line::styled(text.to_owned(), screen.theme.style(Role::Dim))], area, buf);
}

/// One stretch of a bar.
pub(super) struct Stretch {
    /// Where it ends, as a share of the bar; it begins where the one before ended.
    pub to: f64,
    /// What it is made of.
    pub line: char,
    /// Its look.
    pub role: Role,
}

/// What flows.
pub(super) const FLOWS: char = '━';
/// What may flow.
pub(super) const MAY: char = '─';
/// What may flow although nobody was told to let it.
pub(super) const DOUBT: char = '╍';

/// A bar of `width` cells; what flows is rounded to half cells, the rest to whole ones. What is more than nothing shows.
pub(super) fn bar(theme: Theme, width: usize, stretches: &[Stretch]) -> Vec<Span<'static>> {
    let mut spans = Vec::new();
    let mut at = 0;
    for stretch in stretches {
        let share = stretch.to.clamp(0.0, 1.0);
        let halves = ((share * width as f64 * 2.0).round() as usize).max(usize::from(share > 0.0 && at == 0));
        let in_halves = stretch.line == FLOWS;
        let full = if in_halves { halves / 2 } else { halves.div_ceil(2) };
        let mut text = stretch.line.to_string().repeat(full.saturating_sub(at));
        at = at.max(full);
        if in_halves && halves % 2 == 1 && at == full && at < width {
            text.push('╸');
            at += 1;
        }
        spans.push(Span::styled(text, theme.style(stretch.role)));
    }
    spans.push(Span::styled("·".repeat(width.saturating_sub(at)), theme.style(Role::Faint)));
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(stretches: &[Stretch]) -> String {
        bar(Theme::Plain, 8, stretches).iter().map(|span| span.content.as_ref()).collect()
    }

    #[test]
    fn a_bar_is_as_wide_as_it_was_told_whatever_the_shares() {
        let of = |flows, may| {
            let flows = Stretch { to: flows, line: FLOWS, role: Role::Gpu };
            text(&[flows, Stretch { to: may, line: MAY, role: Role::Gpu }])
        };
        assert_eq!(of(0.5, 0.75), "━━━━──··");
        assert_eq!(of(0.55, 0.75), "━━━━╸─··");
        assert_eq!(of(0.0, 0.0), "········");
        assert_eq!(of(0.001, 0.001), "╸·······");
        assert_eq!(of(1.7, 2.0), "━━━━━━━━");
        assert_eq!(of(0.94, 0.2), "━━━━━━━╸");
        assert_eq!(of(f64::NAN, 1.0), "────────");
    }
}
