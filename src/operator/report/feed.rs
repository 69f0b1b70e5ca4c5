//! The feed: lines that a person reads in passing, at most [`LINES_MAX`] a turn.

use super::events::{News, Told};
use super::{Scene, few};
use crate::operator::reason::{Names, sentence, word};
use ampacity_core::guard::LoadId;
use ampacity_core::plan::{LoadAward, Plan, Reason};
use ampacity_core::snapshot::Member;
use ampacity_core::units::{Ppm, Watts};
use std::collections::BTreeMap;

/// Lines of one turn.
const LINES_MAX: usize = 6;
/// A load's move is told where it is more than this part of its nameplate.
const MATTERS: Ppm = Ppm::percent(2);

/// What was told of each load's award, by place.
#[derive(Clone, Debug, Default)]
pub(super) struct Followed(Vec<Last>);

/// What was last told of one load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Last {
    watts: Watts,
    /// It was told that it is on its way: up or down.
    underway: Option<bool>,
}

/// Loads of one owner that move alike for one reason.
#[derive(Clone, Debug)]
struct Move {
    loads: Vec<LoadId>,
    up: bool,
    least: Watts,
    most: Watts,
    why: String,
}

impl Told {
    /// The lines of this turn: news first, then what was decided on loads.
    pub(super) fn feed(&mut self, scene: &Scene<'_>, news: &[News]) -> Vec<String> {
        let mut lines: Vec<String> = news
            .iter()
            .filter_map(|news| Some(format!("{}: {}", news.what.form(news.begins)?.topic, news.note)))
            .take(LINES_MAX)
            .collect();
        let room = LINES_MAX - lines.len();
        lines.extend(self.followed.decisions(scene.turn.plan, &scene.names(), room));
        lines
    }
}

impl Followed {
    /// At most `room` lines on loads whose awards moved since they were last told of. What does not fit is told later.
    fn decisions(&mut self, plan: &Plan, names: &Names<'_>, room: usize) -> Vec<String> {
        let known = self.0.len();
        for award in plan.loads.iter().skip(known) {
            // Where a load stands when it is first seen is no move.
            self.0.push(Last { watts: award.watts, underway: None });
        }
        let settled = plan.loads.iter().zip(&mut self.0).filter(|(award, _)| award.reason != Reason::Ramp);
        settled.for_each(|(_, told)| told.underway = None);
        let mut groups: BTreeMap<(Member, bool, &'static str, Watts), Move> = BTreeMap::new();
        for (at, (award, told)) in plan.loads.iter().zip(&self.0).enumerate() {
            let Some(row) = names.loads.get(at) else { continue };
            let Some(up) = moved(award, told, row.terms.nameplate) else { continue };
            let load = LoadId(u32::try_from(at).unwrap_or(u32::MAX));
            // Loads that end up alike are one line; those on their way are one whatever they are at.
            let at = if award.reason == Reason::Ramp { Watts::ZERO } else { award.watts };
            let group = groups.entry((row.member, up, word(&award.reason), at)).or_insert_with(|| Move {
                loads: Vec::new(),
                up,
                least: award.watts,
                most: award.watts,
                why: sentence(&award.reason, names),
            });
            group.loads.push(load);
            (group.least, group.most) = (group.least.min(award.watts), group.most.max(award.watts));
        }
        let mut moves: Vec<Move> = groups.into_values().collect();
        moves.sort_by_key(|group| std::cmp::Reverse(group.loads.len()));
        moves.truncate(room);
        for load in moves.iter().flat_map(|group| &group.loads) {
            if let (Some(told), Some(award)) = (self.0.get_mut(load.index()), plan.load(*load)) {
                let up = award.watts > told.watts;
                *told = Last { watts: award.watts, underway: (award.reason == Reason::Ramp).then_some(up) };
            }
        }
        moves.iter().map(|group| line(group, names)).collect()
    }
}

/// Whether a load's award is up or down by so much that it is to be told; none: it is not.
fn moved(award: &LoadAward, told: &Last, nameplate: Watts) -> Option<bool> {
    let change = award.watts - told.watts;
    let up = change > Watts::ZERO;
    let matters = change.max(-change) > nameplate.part(MATTERS);
    if award.reason == Reason::Ramp && told.underway == Some(up) {
        return None;
    }
    matters.then_some(up)
}

fn line(group: &Move, names: &Names<'_>) -> String {
    let who = together(&group.loads.iter().map(|load| names.load(*load)).collect::<Vec<_>>());
    let way = if group.up { "up" } else { "down" };
    let to =
        if group.least == group.most { format!("{}", group.most) } else { format!("{}…{}", group.least, group.most) };
    format!("decision: {who} {way} to {to}: {}", group.why)
}

/// Names that count up as one: `s19j-0…3`; others by name, the first few.
fn together(names: &[String]) -> String {
    let split = |name: &String| {
        let (stem, number) = name.rsplit_once('-')?;
        Some((stem.to_owned(), number.parse::<u32>().ok()?))
    };
    let numbered: Option<Vec<(String, u32)>> = names.iter().map(split).collect();
    let Some(mut numbered) = numbered.filter(|all| all.len() > 1) else { return few(names) };
    numbered.sort_by_key(|(_, number)| *number);
    let (Some((stem, first)), Some((_, last))) = (numbered.first(), numbered.last()) else { return few(names) };
    let alike = numbered.iter().all(|(other, _)| other == stem);
    let whole = usize::try_from(last - first).is_ok_and(|span| span + 1 == numbered.len());
    if alike && whole { format!("{stem}-{first}…{last}") } else { few(names) }
}

/// What changed between two decisions and matters to a person: one line for each group of loads that moved alike by
/// more than 2 % of their nameplates, at most six lines, each beginning with `decision:`.
///
/// The operator's own feed ([`crate::operator::site::Site::feed`]) has these lines and those on leases, notices, prices
/// and alarms, and tells a move that a ramp spreads over minutes once.
pub fn feed(previous: Option<&Plan>, plan: &Plan, names: &Names<'_>) -> Vec<String> {
    let mut followed = Followed::default();
    if let Some(previous) = previous {
        followed.decisions(previous, names, 0);
    }
    followed.decisions(plan, names, LINES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::site::LoadRow;
    use crate::operator::tables::LoadTerms;
    use crate::store::{Key, Kind};
    use ampacity_core::memory::Memory;
    use ampacity_core::tree::{Node, NodeId, Tree};
    use ampacity_core::units::{Span, Time, UsdPerMwh};

    fn row(name: &str) -> LoadRow {
        let nameplate = Watts::kilo(1_000);
        LoadRow {
            name: name.into(),
            key: Key::namespaced(Kind::ControllableLoad, "ampacity", name),
            feeder: "west".into(),
            member: Member::Fleet(0),
            owner: None,
            terms: LoadTerms { node: NodeId::SITE, nameplate, fallback: Watts::ZERO, proof_within: Span::seconds(10) },
            report: None,
            leaving: false,
            released: false,
            word: false,
        }
    }

    fn plan(loads: &[(i64, Reason)]) -> Plan {
        let award = |(kilowatts, reason): &(i64, Reason)| LoadAward {
            watts: Watts::kilo(*kilowatts),
            reason: reason.clone(),
            urgent: false,
        };
        Plan {
            wants: Vec::new(),
            loads: loads.iter().map(award).collect(),
            leases: Vec::new(),
            nodes: Vec::new(),
            obligations: Vec::new(),
            memory: Memory::default(),
            wake: None,
        }
    }

    /// The lines after each of some plans in turn.
    fn lines(names: &[&str], plans: &[&[(i64, Reason)]]) -> Vec<Vec<String>> {
        let site = Node {
            name: "west".into(),
            parent: None,
            limit: Watts::mega(10),
            reserve: Watts::ZERO,
            auxiliary: Watts::ZERO,
            loss: Ppm::ZERO,
        };
        let tree = Tree::new(vec![site]).unwrap();
        let rows: Vec<LoadRow> = names.iter().map(|name| row(name)).collect();
        let names = Names { tree: &tree, loads: &rows, leases: &[], now: Time::ZERO };
        let mut followed = Followed::default();
        plans.iter().map(|loads| followed.decisions(&plan(loads), &names, LINES_MAX)).collect()
    }

    const FULL: Reason = Reason::Full;
    const RAMP: Reason = Reason::Ramp;
    const BELOW: Reason = Reason::BelowPrice { value: UsdPerMwh::dollars(46), price: UsdPerMwh::dollars(52) };

    #[test]
    fn loads_that_move_alike_for_one_reason_are_one_line() {
        let told = lines(
            &["s19j-0", "s19j-1", "s19j-3", "s21-0"],
            &[
                &[(1_000, FULL), (1_000, FULL), (1_000, FULL), (1_000, FULL)],
                &[(620, BELOW), (620, BELOW), (620, BELOW), (985, BELOW)],
            ],
        );
        let line = "decision: s19j-0, s19j-1, s19j-3 down to 620 kW: worth 46.00 USD/MWh, power costs 52.00";
        assert_eq!(told, [vec![], vec![line.to_owned()]]);
    }

    #[test]
    fn a_move_that_a_ramp_spreads_is_told_as_it_begins_and_where_it_ends() {
        let told = lines(
            &["s19j-0", "s19j-1"],
            &[
                &[(1_000, FULL), (1_000, FULL)],
                &[(900, RAMP), (850, RAMP)],
                &[(700, RAMP), (700, RAMP)],
                &[(620, BELOW), (620, BELOW)],
                &[(620, BELOW), (620, BELOW)],
            ],
        );
        let begins =
            "decision: s19j-0…1 down to 850 kW…900 kW: on its way, as fast as the site's ramp allows".to_owned();
        let ends = "decision: s19j-0…1 down to 620 kW: worth 46.00 USD/MWh, power costs 52.00".to_owned();
        assert_eq!(told, [vec![], vec![begins], vec![], vec![ends], vec![]]);
    }

    #[test]
    fn what_does_not_fit_into_one_turn_is_told_in_the_next() {
        let names: Vec<String> = (0..8).map(|at| format!("load{at}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let before: Vec<(i64, Reason)> = (0..8).map(|_| (1_000, FULL)).collect();
        let after: Vec<(i64, Reason)> = (0..8).map(|at| (500 + at, BELOW)).collect();
        let counts: Vec<usize> = lines(&names, &[&before, &after, &after, &after]).iter().map(Vec::len).collect();
        assert_eq!(counts, [0, 6, 2, 0]);
    }
}
