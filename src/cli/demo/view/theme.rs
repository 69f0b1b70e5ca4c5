//! Colours: the terminal's own foreground and background, a blue and an orange that colour-blind eyes tell apart, red
//! for alarms alone. With `NO_COLOR` set, weight and pattern say the same.

use ratatui::style::{Color, Modifier, Style};

/// What a piece of the screen means; the theme says how that looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Ordinary text.
    Text,
    /// What a person looks for first.
    Strong,
    /// Explanations, units, what is less important.
    Dim,
    /// Frames, axes and empty parts of bars.
    Faint,
    /// The focused panel's frame.
    Focus,
    /// Mining containers.
    Mining,
    /// GPU nodes.
    Gpu,
    /// Halls that tenants run.
    Power,
    /// What really flows through a node of the tree, whatever the side.
    Flow,
    /// Something a person should know: a notice, watts that are not proved, silence.
    Warn,
    /// Something is wrong.
    Alarm,
}

/// How roles look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Theme {
    /// 256 colours, chosen to read on dark and on light.
    Colour,
    /// No colour: weight and pattern.
    Plain,
}

impl Theme {
    /// What the environment asks for: no colour where `NO_COLOR` is set to anything (<https://no-color.org>) or the
    /// terminal is `dumb`.
    pub fn from_environment() -> Theme {
        let no_color = std::env::var_os("NO_COLOR");
        let term = std::env::var_os("TERM");
        Theme::choose(no_color.as_deref(), term.as_deref())
    }

    fn choose(no_color: Option<&std::ffi::OsStr>, term: Option<&std::ffi::OsStr>) -> Theme {
        let refused = no_color.is_some_and(|value| !value.is_empty());
        if refused || term.is_some_and(|value| value == "dumb") { Theme::Plain } else { Theme::Colour }
    }

    /// How `role` looks.
    pub fn style(self, role: Role) -> Style {
        match self {
            Theme::Colour => colour(role),
            Theme::Plain => plain(role),
        }
    }

    /// The glyph that fills an area of `role`: patterns tell sides apart where colours may not.
    pub fn fill(self, role: Role) -> char {
        match (self, role) {
            (Theme::Plain, Role::Gpu) => '▓',
            (Theme::Plain, Role::Mining) => '▒',
            _ => '█',
        }
    }
}

fn colour(role: Role) -> Style {
    // Text is set on frames too, whose colour it must not take over.
    let style = Style::new().fg(Color::Reset);
    match role {
        Role::Text => style,
        Role::Strong => style.add_modifier(Modifier::BOLD),
        Role::Dim => style.fg(Color::Indexed(245)),
        Role::Faint => style.fg(Color::Indexed(242)),
        Role::Focus => style.fg(Color::Indexed(72)),
        Role::Mining => style.fg(Color::Indexed(173)),
        Role::Gpu => style.fg(Color::Indexed(32)),
        Role::Power => style.fg(Color::Indexed(103)),
        Role::Flow => style.fg(Color::Indexed(72)),
        Role::Warn => style.fg(Color::Indexed(178)),
        Role::Alarm => style.fg(Color::Indexed(196)).add_modifier(Modifier::BOLD),
    }
}

fn plain(role: Role) -> Style {
    let style = Style::new().remove_modifier(Modifier::DIM);
    match role {
        Role::Text | Role::Flow | Role::Mining | Role::Gpu | Role::Power => style,
        Role::Strong | Role::Focus | Role::Warn => style.add_modifier(Modifier::BOLD),
        Role::Dim | Role::Faint => Style::new().add_modifier(Modifier::DIM),
        Role::Alarm => style.add_modifier(Modifier::BOLD | Modifier::REVERSED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;

    #[test]
    fn any_word_in_no_color_or_a_dumb_terminal_turns_colour_off() {
        let choose =
            |no_color: Option<&str>, term: Option<&str>| Theme::choose(no_color.map(OsStr::new), term.map(OsStr::new));
        assert_eq!(choose(Some("1"), Some("xterm-256color")), Theme::Plain);
        assert_eq!(choose(Some("false"), None), Theme::Plain);
        assert_eq!(choose(None, Some("dumb")), Theme::Plain);
        assert_eq!(choose(Some(""), Some("xterm-256color")), Theme::Colour);
        assert_eq!(choose(None, None), Theme::Colour);
    }
}
