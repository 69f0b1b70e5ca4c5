//! The feed: what happened and why, newest first, coloured by kind.

use super::panel;
use super::screen::Screen;
use super::theme::{Role, Theme};
use crate::cli::demo::format;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

/// Events kept.
pub const FEED_ENTRIES: usize = 500;
/// Lines that one event may take.
const LINES_PER_EVENT: usize = 2;
/// Width of the time and of the kind, with the space behind each.
const LEAD: usize = 9 + 9;

/// One event of the feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    clock: String,
    kind: Kind,
    text: String,
    raw: String,
    times: u64,
}

/// What an event is about, as its first word says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Decision,
    Price,
    Lease,
    Notice,
    Event,
    Lockout,
    Leader,
    Fault,
    Alarm,
}

impl Kind {
    const ALL: [(&'static str, Kind); 9] = [
        ("decision", Kind::Decision),
        ("price", Kind::Price),
        ("lease", Kind::Lease),
        ("notice", Kind::Notice),
        ("event", Kind::Event),
        ("lockout", Kind::Lockout),
        ("leader", Kind::Leader),
        ("fault", Kind::Fault),
        ("alarm", Kind::Alarm),
    ];

    fn word(self) -> &'static str {
        Kind::ALL.into_iter().find(|(_, kind)| *kind == self).map_or("", |(word, _)| word)
    }

    fn role(self) -> Role {
        match self {
            Kind::Decision => Role::Dim,
            Kind::Price => Role::Mining,
            Kind::Lease => Role::Gpu,
            Kind::Event | Kind::Leader | Kind::Lockout => Role::Power,
            Kind::Notice | Kind::Fault => Role::Warn,
            Kind::Alarm => Role::Alarm,
        }
    }
}

impl Entry {
    /// An event as a frame carries it, at `time` (RFC 3339). One of no known kind is a decision.
    pub(super) fn parse(time: &str, event: &str) -> Entry {
        let known = event.split_once(':').and_then(|(word, rest)| {
            let kind = Kind::ALL.into_iter().find(|(known, _)| *known == word.trim())?;
            Some((kind.1, rest.trim()))
        });
        let (kind, text) = known.unwrap_or((Kind::Decision, event.trim()));
        let clock = format::clock(time).to_owned();
        Entry { clock, kind, text: text.to_owned(), raw: event.to_owned(), times: 1 }
    }

    pub(super) fn text_is(&self, event: &str) -> bool {
        self.raw == event
    }

    pub(super) fn repeat(&mut self, time: &str) {
        self.times += 1;
        self.clock = format::clock(time).to_owned();
    }

    /// What happened, with how many times if more than once in a row.
    pub fn text(&self) -> String {
        match self.times {
            1 => self.text.clone(),
            times => format!("{} ({times} times)", self.text),
        }
    }
}

/// Draws the feed's panel.
pub(super) fn draw(screen: &Screen<'_>, area: Rect, buf: &mut Buffer) {
    let entries = screen.history.newest_events();
    let title = [("Decisions".to_owned(), Role::Strong), ("newest first".to_owned(), Role::Dim)];
    let inner = panel::frame(screen, &title, screen.state.feed_focused(), area, buf);
    if entries.len() == 0 {
        panel::note(screen, "nothing happened yet", inner, buf);
        return;
    }
    let lines = screen
        .history
        .newest_events()
        .skip(screen.state.feed_window(entries.len()))
        .flat_map(|entry| lines(entry, screen.theme, usize::from(inner.width)))
        .take(usize::from(inner.height))
        .collect::<Vec<_>>();
    panel::lines(&lines, inner, buf);
}

fn lines(entry: &Entry, theme: Theme, width: usize) -> Vec<Line<'static>> {
    let text_role = match entry.kind {
        Kind::Alarm => Role::Alarm,
        _ => Role::Text,
    };
    wrap(&entry.text(), width.saturating_sub(LEAD).max(8), LINES_PER_EVENT)
        .into_iter()
        .enumerate()
        .map(|(number, part)| {
            let text = Span::styled(part, theme.style(text_role));
            if number > 0 {
                return Line::from(vec![Span::raw(" ".repeat(LEAD)), text]);
            }
            let clock = Span::styled(format!("{} ", entry.clock), theme.style(Role::Dim));
            let kind = Span::styled(format!("{:<9}", entry.kind.word()), theme.style(entry.kind.role()));
            Line::from(vec![clock, kind, text])
        })
        .collect()
}

/// `text` in at most `most` lines of `width` characters, broken at spaces, `…` where it was cut.
fn wrap(text: &str, width: usize, most: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    if lines.len() > most {
        let rest = lines.split_off(most.saturating_sub(1)).join(" ");
        lines.push(rest);
    }
    lines.into_iter().map(|line| format::fit(&line, width).trim_end().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_without_a_known_kind_is_a_decision_whole() {
        let entry = |event| Entry::parse("2024-07-01T14:32:05Z", event);
        let seen = ["alarm: over: twice", "tenant: x", "quiet"].map(|event| (entry(event).kind, entry(event).text()));
        let want = [
            (Kind::Alarm, "over: twice".to_owned()),
            (Kind::Decision, "tenant: x".to_owned()),
            (Kind::Decision, "quiet".to_owned()),
        ];
        assert_eq!(seen, want);
    }

    #[test]
    fn long_reasons_wrap_at_spaces_and_say_where_they_were_cut() {
        assert_eq!(wrap("one two three four five", 9, 2), ["one two", "three fo…"]);
        assert_eq!(wrap("one two three", 9, 2), ["one two", "three"]);
        assert_eq!(wrap("unbreakable-word", 8, 2), ["unbreak…"]);
        assert_eq!(wrap("", 8, 2), Vec::<String>::new());
    }
}
