//! What the person at the keys did: where they scrolled, and what they want of the run.

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use std::cell::Cell;

/// What the person wants of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Nothing: go on.
    Continue,
    /// Leave.
    Quit,
    /// Pause, or go on if paused.
    Pause,
    /// Faster.
    Faster,
    /// Slower.
    Slower,
    /// One tick, then pause.
    Step,
}

/// Which list the arrows move.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Focus {
    #[default]
    Loads,
    Feed,
}

/// The view's own state.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    focus: Focus,
    help: bool,
    // Offsets are brought back inside what there is when drawn, so that a list that shrank is never scrolled off.
    loads: Cell<usize>,
    feed: Cell<usize>,
}

impl State {
    pub(super) fn loads_focused(&self) -> bool {
        self.focus == Focus::Loads
    }

    pub(super) fn feed_focused(&self) -> bool {
        self.focus == Focus::Feed
    }

    pub(super) fn shows_help(&self) -> bool {
        self.help
    }

    /// The first of `total` rows to show where `visible` fit.
    pub(super) fn loads_window(&self, total: usize, visible: usize) -> usize {
        self.loads.set(self.loads.get().min(total.saturating_sub(visible)));
        self.loads.get()
    }

    /// The first of `total` events to show.
    pub(super) fn feed_window(&self, total: usize) -> usize {
        self.feed.set(self.feed.get().min(total.saturating_sub(1)));
        self.feed.get()
    }

    /// What a key means. Scrolling and help are the view's own business.
    pub(super) fn key(&mut self, key: KeyEvent) -> Control {
        if key.kind == KeyEventKind::Release {
            return Control::Continue;
        }
        let interrupt = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c' | 'd') if interrupt => return Control::Quit,
            KeyCode::Char(_) if interrupt => {}
            KeyCode::Esc if self.help => self.help = false,
            KeyCode::Char('q' | 'Q') | KeyCode::Esc => return Control::Quit,
            KeyCode::Char(' ') => return Control::Pause,
            KeyCode::Char('+' | '=') => return Control::Faster,
            KeyCode::Char('-' | '_') => return Control::Slower,
            KeyCode::Char('.') => return Control::Step,
            KeyCode::Char('?' | 'h') => self.help = !self.help,
            KeyCode::Tab | KeyCode::BackTab | KeyCode::Left | KeyCode::Right => {
                self.focus = if self.focus == Focus::Loads { Focus::Feed } else { Focus::Loads };
            }
            KeyCode::Up | KeyCode::Char('k') => self.scroll(|at| at.saturating_sub(1)),
            KeyCode::Down | KeyCode::Char('j') => self.scroll(|at| at.saturating_add(1)),
            KeyCode::PageUp => self.scroll(|at| at.saturating_sub(10)),
            KeyCode::PageDown => self.scroll(|at| at.saturating_add(10)),
            KeyCode::Home => self.scroll(|_| 0),
            KeyCode::End => self.scroll(|_| usize::MAX),
            _ => {}
        }
        Control::Continue
    }

    fn scroll(&mut self, to: impl Fn(usize) -> usize) {
        let offset = if self.focus == Focus::Loads { &self.loads } else { &self.feed };
        offset.set(to(offset.get()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn press(state: &mut State, code: KeyCode) -> Control {
        state.key(KeyEvent::new(code, KeyModifiers::NONE))
    }

    #[test]
    fn keys_say_what_the_person_wants() {
        let mut state = State::default();
        let keys = ['q', ' ', '+', '=', '-', '.', 'x'].map(KeyCode::Char);
        let want = [
            Control::Quit,
            Control::Pause,
            Control::Faster,
            Control::Faster,
            Control::Slower,
            Control::Step,
            Control::Continue,
        ];
        assert_eq!(keys.map(|code| press(&mut state, code)), want);
        let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(state.key(interrupt), Control::Quit);
    }

    #[test]
    fn escape_closes_help_before_it_quits() {
        let mut state = State::default();
        press(&mut state, KeyCode::Char('?'));
        assert!(state.shows_help());
        assert_eq!((press(&mut state, KeyCode::Esc), state.shows_help()), (Control::Continue, false));
        assert_eq!(press(&mut state, KeyCode::Esc), Control::Quit);
    }

    #[test]
    fn scrolling_moves_the_focused_list_alone_and_never_off_its_end() {
        let mut state = State::default();
        press(&mut state, KeyCode::Down);
        assert_eq!((state.loads_window(30, 10), state.feed_window(30)), (1, 0));
        press(&mut state, KeyCode::Tab);
        press(&mut state, KeyCode::End);
        assert_eq!((state.loads_window(30, 10), state.feed_window(30)), (1, 29));
        press(&mut state, KeyCode::Up);
        assert_eq!(state.feed_window(30), 28);
        assert_eq!((state.loads_window(5, 10), state.feed_window(0)), (0, 0));
    }
}
