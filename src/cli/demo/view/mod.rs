//! The demo's live view: one site on one screen, drawn from frames. It decides nothing and keeps nothing but what its
//! plots need; the run goes on without it.

mod feed;
mod history;
mod leases;
mod loads;
mod panel;
mod plot;
mod price;
mod screen;
mod site;
mod split;
mod state;
pub mod svg;
mod theme;

#[cfg(test)]
mod sample;
#[cfg(test)]
mod tests;

pub use feed::{Entry, FEED_ENTRIES};
pub use history::{BIN_SECONDS, BINS, Bin, History};
pub use state::Control;
pub use theme::{Role, Theme};

use crate::cli::demo::plain;
use crate::sim::frame::{Account, Frame};
use crossterm::event::{self, Event};
use ratatui::DefaultTerminal;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;
use screen::Screen;
use state::State;
use std::io;
use std::time::{Duration, Instant};

/// Pictures are drawn no closer together than this: a run at full speed is not slowed by its view.
const LEAST_BETWEEN: Duration = Duration::from_millis(40);

/// What stays the same over a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setup {
    /// The site's name.
    pub site: String,
    /// The nodes as in `Frame::nodes`, in the order in which they are to be shown: the site first.
    pub nodes: Vec<String>,
    /// The seed that repeats this run.
    pub seed: u64,
    /// How it is to look: `Theme::from_environment()`.
    pub theme: Theme,
}

/// How fast virtual time runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Virtual seconds in a second; none: as fast as it goes.
    pub times: Option<u32>,
    /// Whether it stands still.
    pub paused: bool,
}

/// The live view. The terminal is its own again when this is dropped, and on a panic.
#[derive(Debug)]
pub struct Live {
    terminal: DefaultTerminal,
    setup: Setup,
    state: State,
    pace: Pace,
    drawn: Option<Instant>,
}

impl Live {
    /// Takes the terminal. Fails where there is none, and then leaves it as it was.
    pub fn new(setup: Setup) -> io::Result<Live> {
        match ratatui::try_init() {
            Ok(terminal) => {
                let pace = Pace { times: None, paused: false };
                Ok(Live { terminal, setup, state: State::default(), pace, drawn: None })
            }
            Err(error) => {
                ratatui::restore();
                Err(error)
            }
        }
    }

    /// What the header says of the speed from now on.
    pub fn set_pace(&mut self, pace: Pace) {
        if self.pace != pace {
            self.pace = pace;
            self.drawn = None;
        }
    }

    /// Draws `frame`, unless one was drawn a moment ago, and says what the person wants. Does not wait.
    pub fn show(&mut self, frame: &Frame, history: &History) -> io::Result<Control> {
        self.wait(frame, history, Duration::ZERO)
    }

    /// As `show`, and then waits for a key up to `longest`: what a paced run does between two ticks.
    pub fn wait(&mut self, frame: &Frame, history: &History, longest: Duration) -> io::Result<Control> {
        let until = Instant::now() + longest;
        loop {
            if self.drawn.is_none_or(|drawn| drawn.elapsed() >= LEAST_BETWEEN) {
                self.draw(frame, history)?;
            }
            if !event::poll(until.saturating_duration_since(Instant::now()))? {
                return Ok(Control::Continue);
            }
            // Whatever was pressed, or a new size, is to be seen at once.
            self.drawn = None;
            if let Event::Key(key) = event::read()? {
                let control = self.state.key(key);
                if control != Control::Continue {
                    return Ok(control);
                }
            }
        }
    }

    /// Shows the account over the last frame until a key is pressed.
    pub fn account(&mut self, frame: &Frame, history: &History, account: &Account) -> io::Result<()> {
        let text = plain::account(account);
        loop {
            self.terminal.draw(|target| {
                let screen = Screen {
                    setup: &self.setup,
                    frame,
                    history,
                    state: &self.state,
                    pace: self.pace,
                    theme: self.setup.theme,
                };
                draw_account(&screen, account.clean(), &text, target.area(), target.buffer_mut());
            })?;
            if let Event::Key(key) = event::read()?
                && key.is_press()
            {
                return Ok(());
            }
        }
    }

    fn draw(&mut self, frame: &Frame, history: &History) -> io::Result<()> {
        let (setup, state, pace, theme) = (&self.setup, &self.state, self.pace, self.setup.theme);
        let screen = Screen { setup, frame, history, state, pace, theme };
        self.terminal.draw(|target| screen.draw(target.area(), target.buffer_mut()))?;
        self.drawn = Some(Instant::now());
        Ok(())
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// One picture without a terminal, `width` × `height` cells: what `svg::render` and tests draw from.
pub fn picture(setup: &Setup, frame: &Frame, history: &History, pace: Pace, width: u16, height: u16) -> Buffer {
    let mut buffer = Buffer::empty(Rect::new(0, 0, width, height));
    let state = State::default();
    Screen { setup, frame, history, state: &state, pace, theme: setup.theme }.draw(buffer.area, &mut buffer);
    buffer
}

fn draw_account(screen: &Screen<'_>, clean: bool, text: &str, area: Rect, buf: &mut Buffer) {
    screen.draw(area, buf);
    let role = |line: &str| match line {
        line if line.starts_with("FAILED") || line.starts_with("  broken") => Role::Alarm,
        line if line.starts_with(char::is_uppercase) => Role::Strong,
        _ => Role::Text,
    };
    let mut lines: Vec<Line<'_>> =
        text.lines().map(|line| Line::styled(line, screen.theme.style(role(line)))).collect();
    lines.push(Line::default());
    lines.push(Line::styled("any key leaves", screen.theme.style(Role::Dim)));
    let title = if clean { "The run is over" } else { "The run is over, and failed" };
    screen::overlay(screen, title, &lines, area, buf);
}
