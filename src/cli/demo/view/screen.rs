//! The whole screen: what goes where, from 160 × 50 down to 100 × 30, and less with a word about it.

use super::state::State;
use super::theme::{Role, Theme};
use super::{Pace, Setup, feed, leases, loads, panel, price, site, split};
use crate::cli::demo::format::{self, Unit};
use crate::cli::demo::view::history::History;
use crate::sim::frame::{Frame, NodeFrame};
use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Clear, Widget};

/// From this width and height on everything has its panel.
const WIDE: (u16, u16) = (140, 40);
/// The least that the view is made for.
const LEAST: (u16, u16) = (100, 30);

/// Everything that one picture is made of.
pub(super) struct Screen<'a> {
    pub setup: &'a Setup,
    pub frame: &'a Frame,
    pub history: &'a History,
    pub state: &'a State,
    pub pace: Pace,
    pub theme: Theme,
}

impl Screen<'_> {
    /// The unit that the site is shown in.
    pub(super) fn unit(&self) -> Unit {
        let highest = self.history.bins().map(|bin| bin.limit_watts).max().unwrap_or(0);
        Unit::of(self.frame.site().map_or(0, |(_, node)| node.limit_watts).max(highest))
    }

    /// The nodes in the site's own order, any other behind.
    pub(super) fn nodes(&self) -> Vec<(&str, &NodeFrame)> {
        let known = self.setup.nodes.iter().filter_map(|name| self.frame.nodes.get_key_value(name));
        let others = self.frame.nodes.iter().filter(|(name, _)| !self.setup.nodes.contains(name));
        known.chain(others).map(|(name, node)| (name.as_str(), node)).collect()
    }

    /// Draws it all.
    pub(super) fn draw(&self, area: Rect, buf: &mut Buffer) {
        if area.is_empty() {
            return;
        }
        let rows = [Constraint::Length(1), Constraint::Min(0), Constraint::Length(1)];
        let [head, body, foot] = Layout::vertical(rows).areas(area);
        self.head(head, buf);
        if area.width < LEAST.0 || area.height < LEAST.1 {
            self.small(area, body, buf);
        } else if area.width >= WIDE.0 && area.height >= WIDE.1 {
            self.wide(body, buf);
        } else {
            self.narrow(body, buf);
        }
        self.foot(foot, buf);
        if self.state.shows_help() {
            self.help(area, buf);
        }
    }

    fn wide(&self, body: Rect, buf: &mut Buffer) {
        let top_rows = (body.height * 7 / 20).clamp(12, 22);
        let [top, bottom] = Layout::vertical([Constraint::Length(top_rows), Constraint::Min(0)]).areas(body);
        let thirds = [Constraint::Fill(1), Constraint::Fill(1), Constraint::Fill(1)];
        let [limits, split_area, price_area] = Layout::horizontal(thirds).areas(top);
        site::draw(self, limits, buf);
        split::draw(self, split_area, buf);
        price::draw(self, price_area, buf);
        self.lower(bottom, buf);
    }

    fn narrow(&self, body: Rect, buf: &mut Buffer) {
        let top_rows = (body.height / 3).clamp(9, 16);
        let rows = [Constraint::Length(1), Constraint::Length(top_rows), Constraint::Min(0)];
        let [strip, top, bottom] = Layout::vertical(rows).areas(body);
        let halves = [Constraint::Fill(1), Constraint::Fill(1)];
        let [split_area, price_area] = Layout::horizontal(halves).areas(top);
        site::strip(self, inset(strip), buf);
        split::draw(self, split_area, buf);
        price::draw(self, price_area, buf);
        self.lower(bottom, buf);
    }

    fn lower(&self, area: Rect, buf: &mut Buffer) {
        let [left, right] = Layout::horizontal([Constraint::Percentage(54), Constraint::Fill(1)]).areas(area);
        let most = if right.height > 24 { right.height / 2 } else { right.height * 9 / 20 };
        let wanted = leases::rows(self, most.max(4));
        let [top, bottom] = Layout::vertical([Constraint::Length(wanted), Constraint::Min(0)]).areas(right);
        loads::draw(self, left, buf);
        leases::draw(self, top, buf);
        feed::draw(self, bottom, buf);
    }

    /// What is left where there is no room for the panels.
    fn small(&self, area: Rect, body: Rect, buf: &mut Buffer) {
        let rows = [Constraint::Length(1), Constraint::Length(1), Constraint::Min(0)];
        let [strip, note, rest] = Layout::vertical(rows).areas(body);
        site::strip(self, inset(strip), buf);
        let text = format!(
            "{} × {} is too small for loads, leases and plots: they need {} × {}",
            area.width, area.height, LEAST.0, LEAST.1
        );
        panel::lines(&[Line::styled(text, self.theme.style(Role::Warn))], inset(note), buf);
        if rest.height > 2 {
            feed::draw(self, rest, buf);
        }
    }

    fn head(&self, area: Rect, buf: &mut Buffer) {
        let dim = self.theme.style(Role::Dim);
        let strong = self.theme.style(Role::Strong);
        let pace = match self.pace {
            Pace { paused: true, .. } => Span::styled("‖ paused", self.theme.style(Role::Warn)),
            Pace { times: None, .. } => Span::styled("▶ max", dim),
            Pace { times: Some(times), .. } => Span::styled(format!("▶ ×{times}"), dim),
        };
        let mut left = vec![
            Span::styled("Ampacity  ", strong),
            Span::styled(self.setup.site.clone(), self.theme.style(Role::Text)),
            Span::styled(format!("   {}  ", format::day(&self.frame.time)), dim),
            Span::styled(format::clock(&self.frame.time).to_owned(), strong),
            Span::styled(" UTC   ", dim),
            pace,
        ];
        if self.frame.nodes.values().any(site::is_over) {
            left.push(Span::styled("   OVER LIMIT", self.theme.style(Role::Alarm)));
        }
        let right = Line::from(self.head_right(area.width));
        panel::lines(&[Line::from(left)], inset(area), buf);
        if area.width >= LEAST.0 {
            panel::right(&right, inset(area), 0, buf);
        }
    }

    fn head_right(&self, width: u16) -> Vec<Span<'static>> {
        let dim = self.theme.style(Role::Dim);
        let mut spans = Vec::new();
        if let Some(hashprice) = self.frame.hashprice_usd_per_ph_day.filter(|_| width >= WIDE.0) {
            spans.push(Span::styled("hashprice ", dim));
            spans.push(Span::raw(format!("{hashprice:.2}")));
            spans.push(Span::styled(" USD/PH/day   ", dim));
        }
        match &self.frame.leader {
            Some(leader) => {
                spans.push(Span::styled("leader ", dim));
                spans.push(Span::styled(leader.name.clone(), self.theme.style(Role::Text)));
                spans.push(Span::styled(format!("  epoch {}", leader.epoch), dim));
            }
            None => spans.push(Span::styled("nobody leads", self.theme.style(Role::Alarm))),
        }
        spans.push(Span::styled(format!("   seed {}", self.setup.seed), dim));
        spans
    }

    fn foot(&self, area: Rect, buf: &mut Buffer) {
        let keys = [
            ("q", "quit"),
            ("space", "pause"),
            ("+ -", "speed"),
            (".", "one tick"),
            ("tab ↑ ↓", "scroll"),
            ("?", "help"),
        ];
        let mut spans = Vec::new();
        for (key, what) in keys {
            spans.push(Span::styled(key, self.theme.style(Role::Text)));
            spans.push(Span::styled(format!(" {what}   "), self.theme.style(Role::Dim)));
        }
        panel::lines(&[Line::from(spans)], inset(area), buf);
    }

    fn help(&self, area: Rect, buf: &mut Buffer) {
        let theme = self.theme;
        let sample = |glyph: char, role: Role, text: &str| {
            let glyphs = Span::styled(glyph.to_string().repeat(3), theme.style(role));
            Line::from(vec![glyphs, Span::styled(format!("  {text}"), theme.style(Role::Text))])
        };
        let text = |text: &str| Line::styled(text.to_owned(), theme.style(Role::Text));
        let lines = [
            sample(panel::FLOWS, Role::Mining, "drawn by miners, as telemetry says"),
            sample(panel::FLOWS, Role::Gpu, "drawn by GPU nodes"),
            sample(panel::FLOWS, Role::Warn, "drawn beyond what it was told"),
            sample(panel::MAY, Role::Gpu, "told, and not drawn now"),
            sample(panel::DOUBT, Role::Warn, "counted against the limits beyond that: not proved yet"),
            sample('·', Role::Faint, "up to the nameplate; in the split: free under the limit"),
            text(""),
            text("bound     the most that a load can draw whatever messages are lost:"),
            text("          what every limit is held against"),
            text("value     what the next watt would earn on that side; it runs while"),
            text("          that is above the price at which power could be sold"),
            text(""),
            text("q quit    space pause    + faster    - slower    . one tick"),
            text("tab       the other list     ↑ ↓ PgUp PgDn Home End   scroll it"),
        ];
        overlay(self, "Help", &lines, area, buf);
    }
}

/// Draws lines in a frame over the middle of the screen.
pub(super) fn overlay(screen: &Screen<'_>, title: &str, lines: &[Line<'_>], area: Rect, buf: &mut Buffer) {
    let wide = lines.iter().map(Line::width).max().unwrap_or(0);
    let width = u16::try_from(wide + 4).unwrap_or(u16::MAX).min(area.width);
    let height = u16::try_from(lines.len() + 2).unwrap_or(u16::MAX).min(area.height);
    let middle = area.centered(Constraint::Length(width), Constraint::Length(height));
    Clear.render(middle, buf);
    let inner = panel::frame(screen, &[(title.to_owned(), Role::Strong)], true, middle, buf);
    panel::lines(lines, inner, buf);
}

fn inset(area: Rect) -> Rect {
    Rect { x: area.x.saturating_add(1).min(area.right()), width: area.width.saturating_sub(2), ..area }
}
