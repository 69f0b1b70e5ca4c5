//! What has just become so and a person should hear of: Kubernetes Events, and lines of the feed.
//!
//! What stands now is a set of [`Fact`]s; what was told of is remembered. News is where the two differ, so each edge is
//! told once, a lost message costs nothing, and what does not fit into one turn is told in the next.

use super::facts::{Fact, What};
use super::feed::Followed;
use super::{Reported, Scene};
use crate::api::power_budget::Mode;
use crate::operator::cache::Cache;
use crate::operator::{Purpose, Purposed};
use crate::store::{Key, Write};
use std::collections::BTreeMap;

/// News of one turn, at most: what is more waits for the next one. Many at once are one piece of news.
const NEWS_MAX: usize = 6;
/// The note of an Event holds 1024 bytes.
const NOTE_MAX: usize = 1_000;

/// What people were told of a site already.
#[derive(Clone, Debug, Default)]
pub struct Told {
    pub(super) reported: Reported,
    /// What stood when it was told of; none before the first turn of a leader.
    facts: Option<BTreeMap<Fact, String>>,
    pub(super) followed: Followed,
}

/// One thing that has just become so, or is so no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct News {
    /// About which object.
    pub(super) regarding: Key,
    pub(super) what: What,
    /// It is so now; otherwise it was.
    pub(super) begins: bool,
    pub(super) note: String,
}

impl Told {
    /// What is new since it was last told, the worst first.
    pub(super) fn news(&mut self, scene: &Scene<'_>, cache: &Cache) -> Vec<News> {
        let standing = super::facts::standing(scene, cache);
        let first = self.facts.is_none();
        let told = self.facts.get_or_insert_default();
        if first {
            // A new leader tells of itself and of what is wrong; the rest was told by the one before it.
            let old = standing.iter().filter(|(_, stands)| stands.told_before);
            told.extend(old.map(|(fact, stands)| (fact.clone(), stands.note.clone())));
        }
        let ended: Vec<Fact> = told.keys().filter(|fact| !standing.contains_key(*fact)).cloned().collect();
        let mut groups: Vec<(News, Vec<Fact>)> = Vec::new();
        let begun = standing.iter().filter(|(fact, _)| !told.contains_key(*fact));
        let begun: Vec<(Fact, bool, String)> = begun.map(|(f, s)| (f.clone(), true, s.note.clone())).collect();
        let ended = ended.into_iter().map(|fact| {
            let note = fact.over(scene, &standing);
            (fact, false, note)
        });
        for (fact, begins, note) in begun.into_iter().chain(ended) {
            let same = |(news, _): &&mut (News, Vec<Fact>)| {
                (news.what, news.begins, &news.regarding) == (fact.what, begins, &fact.regarding)
            };
            match groups.iter_mut().find(same) {
                Some((_, facts)) => facts.push(fact),
                None => {
                    groups.push((News { regarding: fact.regarding.clone(), what: fact.what, begins, note }, vec![fact]))
                }
            }
        }
        groups.sort_by_key(|(news, _)| (!news.begins, news.what));
        let mut news = Vec::new();
        for (mut one, facts) in groups {
            let silent = one.what.form(one.begins).is_none() || one.note.is_empty();
            if !silent && news.len() == NEWS_MAX {
                break;
            }
            for fact in &facts {
                match standing.get(fact) {
                    Some(stands) => drop(told.insert(fact.clone(), stands.note.clone())),
                    None => drop(told.remove(fact)),
                }
            }
            if facts.len() > 1 {
                let who: Vec<String> = facts.iter().map(|fact| fact.who.clone()).collect();
                one.note = format!("{}; the same of {}", one.note, super::few(who.get(1..).unwrap_or_default()));
            }
            if !silent {
                news.push(one);
            }
        }
        news
    }
}

/// The Events of a turn. In Shadow nothing that leases or loads are told of has happened.
pub(super) fn writes(scene: &Scene<'_>, news: Vec<News>) -> Vec<Purposed> {
    let shadow = scene.tables.budget.spec.policy.mode == Mode::Shadow;
    // Prices cross what a fleet earns many times a day: a line in passing, no Event.
    let real = |news: &News| news.what != What::PricedOut && (!shadow || !news.what.is_done_to_tenants());
    let write = |news: News| {
        let form = news.what.form(news.begins)?;
        let note: String = news.note.chars().take(NOTE_MAX / 4).collect();
        let (reason, action, warning) = (form.reason, form.action, form.warning);
        Some((Write::Event { regarding: news.regarding, warning, reason, action, note }, Purpose::Other))
    };
    news.into_iter().filter(real).filter_map(write).collect()
}
