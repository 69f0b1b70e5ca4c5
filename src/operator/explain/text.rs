//! Answers for a terminal of a hundred columns.

use super::answer::{Bid, Explanation, Figure, Limit, LoadChange, Member, Stands, WhatIf};
use ampacity_core::units::Watts;

/// Columns of a terminal that nobody has widened, and of a line here.
const COLUMNS: usize = 100;

/// An explanation, as lines.
pub fn explanation(answer: &Explanation) -> String {
    let mut text = Text::default();
    let mode = if answer.mode == "Shadow" { ", in Shadow: nothing is ordered" } else { "" };
    let price = answer.price_usd_per_mwh.as_ref().map_or("no price".into(), |price| format!("{price} USD/MWh"));
    text.line(0, &format!("{} of {}: {}", answer.subject, answer.site, answer.why));
    let (time, leader) = (clock(&answer.time), &answer.leader);
    text.line(0, &format!("decided {time} by {leader}, epoch {}, power at {price}{mode}", answer.epoch));
    text.head("Figures", answer.figures.is_empty());
    text.table(answer.figures.iter().map(figure).collect(), &[false, true, false]);
    text.head("Limits", answer.limits.is_empty());
    let head = ["node", "limit", "awarded", "bound", "room", "shadow", ""].map(String::from).to_vec();
    let limits = std::iter::once(head).chain(answer.limits.iter().map(limit)).collect();
    if !answer.limits.is_empty() {
        text.table(limits, &[false, true, true, true, true, true, false]);
    }
    text.head("Bids (USD/MWh)", answer.bids.is_empty());
    text.table(answer.bids.iter().map(bid).collect(), &[false, false, true, true, false]);
    text.head("Loads", answer.members.is_empty());
    let head = ["load", "setpoint", "wanted", "bound", ""].map(String::from).to_vec();
    if !answer.members.is_empty() {
        let members = std::iter::once(head).chain(answer.members.iter().map(member)).collect();
        text.table(members, &[false, true, true, true, false]);
    }
    text.head("What would change it", answer.changes.is_empty());
    for change in &answer.changes {
        text.line(2, change);
    }
    text.0
}

/// An answer about what was not applied, as lines.
pub fn what_if(answer: &WhatIf) -> String {
    let mut text = Text::default();
    text.line(0, &format!("If this were applied at {} (nothing was):", clock(&answer.time)));
    for applied in &answer.applied {
        text.line(2, applied);
    }
    text.head("Requests", answer.admissions.is_empty());
    for own in &answer.admissions {
        let why = own.why.strip_prefix("refused: ").unwrap_or(&own.why);
        text.line(2, &format!("{}: {}, {why}", own.lease, own.answer.to_lowercase()));
    }
    text.head("Leases", answer.leases.is_empty());
    for own in &answer.leases {
        let notice = own.notice_deadline.as_ref().map(|at| format!(", notice until {}", clock(at))).unwrap_or_default();
        let (from, to) = (watts(own.from_watts), watts(own.to_watts));
        text.line(2, &format!("{}: {from} -> {to}{notice}: {}", own.lease, own.why));
    }
    text.head("Setpoints, where they would go", answer.loads.is_empty());
    text.table(answer.loads.iter().map(change).collect(), &[false, true, false, true, false]);
    text.head("Money (USD an hour)", answer.money.is_empty());
    let money = answer.money.iter().map(|own| {
        let sign = if own.difference_usd_per_hour.starts_with('-') { "" } else { "+" };
        let difference = format!("{sign}{}", own.difference_usd_per_hour);
        let (before, after) = (own.before_usd_per_hour.clone(), own.after_usd_per_hour.clone());
        vec![own.site.clone(), before, "->".into(), after, format!("difference {difference}")]
    });
    text.table(money.collect(), &[false, true, false, true, false]);
    text.head("Problems", answer.problems.is_empty());
    for problem in &answer.problems {
        text.line(2, problem);
    }
    text.head("To know", answer.notes.is_empty());
    for note in &answer.notes {
        text.line(2, note);
    }
    let quiet = answer.loads.is_empty() && answer.leases.is_empty() && answer.money.is_empty();
    if quiet && answer.problems.is_empty() {
        text.line(0, "");
        text.line(0, "No setpoint, no grant and no notice would change.");
    }
    text.0
}

fn watts(raw: i64) -> String {
    Watts::new(raw).to_string()
}

/// `2026-12-01T12:00:00Z` as a person reads it.
fn clock(time: &str) -> String {
    time.replace('T', " ").replace('Z', " UTC")
}

fn figure(figure: &Figure) -> Vec<String> {
    vec![figure.name.clone(), figure.watts.map(watts).unwrap_or_default(), figure.note.clone()]
}

fn limit(limit: &Limit) -> Vec<String> {
    let raising = (limit.raising_watts > 0).then(|| format!("{} being raised", watts(limit.raising_watts)));
    let notes: Vec<String> = limit.event.clone().into_iter().chain(raising).collect();
    vec![
        limit.node.clone(),
        watts(limit.limit_watts),
        watts(limit.awarded_watts),
        watts(limit.bound_watts),
        watts(limit.room_watts),
        limit.shadow_price_usd_per_mwh.clone().unwrap_or_else(|| "-".into()),
        notes.join(", "),
    ]
}

fn bid(bid: &Bid) -> Vec<String> {
    let stands = match bid.stands {
        Stands::Runs => "runs".into(),
        Stands::Part => format!("{} of it runs", watts(bid.awarded_watts)),
        Stands::Waits => "waits".into(),
        Stands::NextOut => "runs, next out".into(),
        Stands::NextIn => "waits, next in".into(),
    };
    let value = bid.usd_per_mwh.clone().unwrap_or_else(|| bid.note.clone());
    vec![bid.who.clone(), stands, watts(bid.watts), value, String::new()]
}

fn member(member: &Member) -> Vec<String> {
    let numbers = [member.setpoint_watts, member.wanted_watts, member.bound_watts].map(watts);
    let [setpoint, wanted, bound] = numbers;
    vec![alike(&member.name, member.count), setpoint, wanted, bound, member.why.clone()]
}

fn change(change: &LoadChange) -> Vec<String> {
    let place = |watts_: Option<i64>| watts_.map_or("-".into(), watts);
    let (from, to) = (place(change.from_watts), place(change.to_watts));
    vec![alike(&change.load, change.count), from, "->".into(), to, change.why.clone()]
}

/// One, or the first of several that are alike.
fn alike(name: &str, count: usize) -> String {
    if count > 1 { format!("{name} and {} alike", count - 1) } else { name.into() }
}

#[derive(Default)]
struct Text(String);

impl Text {
    /// A line, broken between words where it is too long.
    fn line(&mut self, indent: usize, line: &str) {
        let mut room = COLUMNS.saturating_sub(indent);
        self.0.push_str(&" ".repeat(indent));
        for (at, word) in line.split(' ').enumerate() {
            let width = word.chars().count() + usize::from(at > 0);
            if width > room && at > 0 {
                self.0.push('\n');
                self.0.push_str(&" ".repeat(indent + 2));
                room = COLUMNS.saturating_sub(indent + 2);
                room = room.saturating_sub(width - 1);
            } else {
                self.0.push_str(if at > 0 { " " } else { "" });
                room = room.saturating_sub(width);
            }
            self.0.push_str(word);
        }
        self.0.push('\n');
    }

    fn head(&mut self, head: &str, empty: bool) {
        if !empty {
            self.0.push('\n');
            self.line(0, head);
        }
    }

    /// Rows whose columns line up; the last is cut where a line would be too long.
    fn table(&mut self, rows: Vec<Vec<String>>, right: &[bool]) {
        let width = |column: usize| {
            rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or_default()
        };
        let last = right.len().saturating_sub(1);
        let widths: Vec<usize> = (0..last).map(width).collect();
        for row in &rows {
            let mut line = String::from(" ");
            for ((cell, width), right) in row.iter().zip(&widths).zip(right).filter(|((_, width), _)| **width > 0) {
                let pad = " ".repeat(width.saturating_sub(cell.chars().count()));
                line.push(' ');
                line.push_str(&if *right { format!("{pad}{cell} ") } else { format!("{cell}{pad} ") });
            }
            let pad = if right.last() == Some(&true) { width(last) } else { 0 };
            let cell = row.get(last).map(String::as_str).unwrap_or_default();
            line.push_str(&format!(" {cell:>pad$}"));
            self.0.push_str(&cut(line.trim_end()));
            self.0.push('\n');
        }
    }
}

fn cut(line: &str) -> String {
    if line.chars().count() <= COLUMNS {
        return line.into();
    }
    line.chars().take(COLUMNS - 1).chain(['…']).collect()
}
