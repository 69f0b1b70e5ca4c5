//! Reasons, in words: one short true sentence that a person on call understands at once.

use super::site::LoadRow;
use ampacity_core::guard::LoadId;
use ampacity_core::hold::HELD_WORTH;
use ampacity_core::lease::{Refusal, RefusalReason};
use ampacity_core::plan::Reason;
use ampacity_core::tree::{NodeId, Tree};
use ampacity_core::units::{Span, Time, Usd, UsdPerMwh};

/// Names are cut to this many characters in a sentence: they may have 253.
const NAME_MAX: usize = 32;

/// What the numbers in a reason stand for.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a> {
    /// The limit tree that was decided on; the site's own name is its first node's.
    pub tree: &'a Tree,
    /// The loads, by [`LoadId`].
    pub loads: &'a [LoadRow],
    /// The leases of that decision, `namespace/name` by position.
    pub leases: &'a [String],
    /// The moment of telling: times of the same day are told without their date.
    pub now: Time,
}

impl Names<'_> {
    /// A node.
    pub fn node(&self, node: NodeId) -> String {
        self.tree.node(node).map_or_else(|| format!("node {}", node.0), |n| short(&n.name))
    }

    /// A load.
    pub fn load(&self, load: LoadId) -> String {
        self.loads.get(load.index()).map_or_else(|| format!("load {}", load.0), |row| short(&row.name))
    }

    /// A lease.
    pub fn lease(&self, lease: u32) -> String {
        self.leases.get(lease as usize).map_or_else(|| format!("number {lease}"), |name| short(name))
    }

    /// A moment, in UTC: `14:00`, or `Dec 1 14:00` where it is on another day than now.
    pub fn time(&self, at: Time) -> String {
        let of = |at: Time| Some(jiff::Timestamp::from_millisecond(at.get()).ok()?.to_zoned(jiff::tz::TimeZone::UTC));
        let (Some(then), Some(now)) = (of(at), of(self.now)) else { return "an unknown time".into() };
        let soon = at.since(self.now) < Span::minutes(12 * 60) && then > now;
        let form = match (then.date() == now.date() || soon, then.year() == now.year()) {
            (true, _) => "%H:%M",
            (false, true) => "%b %-d %H:%M",
            (false, false) => "%b %-d %Y",
        };
        then.strftime(form).to_string()
    }

    /// Until when, or that nobody knows.
    fn until(&self, at: Time) -> String {
        if at == Time::MAX { "until withdrawn".into() } else { format!("until {}", self.time(at)) }
    }
}

/// A name, cut where it is too long for a sentence.
pub fn short(name: &str) -> String {
    if name.chars().count() <= NAME_MAX {
        return name.into();
    }
    name.chars().take(NAME_MAX - 1).chain(['…']).collect()
}

/// A price to the cent.
pub fn price(price: UsdPerMwh) -> String {
    cents(price.get())
}

/// A sum of money to the cent.
pub fn money(usd: Usd) -> String {
    cents(usd.get())
}

fn cents(micro: i64) -> String {
    let cents = micro.saturating_add(if micro < 0 { -5_000 } else { 5_000 }) / 10_000;
    let sign = if cents < 0 { "-" } else { "" };
    format!("{sign}{}.{:02}", cents.unsigned_abs() / 100, cents.unsigned_abs() % 100)
}

/// Why somebody has what they have: one sentence of at most about 90 characters, without a full stop. Watts and money
/// are in the units that people use, times in UTC.
pub fn sentence(reason: &Reason, names: &Names<'_>) -> String {
    match reason {
        Reason::Full => "has all it can use".into(),
        Reason::Unreadable => "its owner cannot be read: it stays as it is".into(),
        Reason::Retired => "no longer wanted: lowered to nothing until it is released".into(),
        Reason::BelowPrice { value, price: cost } => {
            format!("worth {} USD/MWh, power costs {}", price(*value), price(*cost))
        }
        Reason::Limit { node, shadow_price } => limit(&names.node(*node), *shadow_price),
        Reason::Indivisible { node, room, needs } => {
            format!("{} has {} left, the next block needs {needs}", names.node(*node), room.at_least_zero())
        }
        Reason::Event { name, until } => format!("grid event {} {}", short(name), names.until(*until)),
        Reason::Lockout { name, holder, since } => {
            format!("held by {} since {} (lockout {})", short(holder), names.time(*since), short(name))
        }
        Reason::UnreadHold { name } => format!("{} cannot be read: nothing is raised until it can", short(name)),
        Reason::MinimumOn { until } => format!("minimum run: stays on {}", names.until(*until)),
        Reason::MinimumOff { until } => format!("minimum stop: stays off {}", names.until(*until)),
        Reason::StaleMeter { node } => format!("meter of {} is stale: nothing is raised there", names.node(*node)),
        Reason::Ramp => "on its way, as fast as the site's ramp allows".into(),
        Reason::DeadBand { gain } => {
            format!("a change would earn {} USD/MWh, too little to be worth it", price(*gain))
        }
        Reason::Floor => "at its floor, which is never sold".into(),
        Reason::NoLease => "no lease runs here: lowest caps".into(),
        Reason::Leased { lease } => format!("runs lease {}", names.lease(*lease)),
        Reason::Trimmed { unused, since } => {
            format!("leaves {unused} unused since {}: others may have them", names.time(*since))
        }
        Reason::Notice { deadline } => format!("notice given: falls at {}", names.time(*deadline)),
        Reason::Curtailed { value, price: cost } => {
            format!("power costs {} USD/MWh; comes back below {}", price(*cost), price(*value))
        }
        Reason::AllowanceSpent { until: Time::MAX } => {
            "runs on though power is worth more: its allowance is spent for good".into()
        }
        Reason::AllowanceSpent { until } => {
            format!("runs on though power is worth more: its allowance is spent {}", names.until(*until))
        }
        Reason::Obligation { name, until, price: cost } => {
            format!("sold reserve {} {} keeps it on, losing {} USD/MWh", short(name), names.until(*until), price(*cost))
        }
        Reason::NotYet { start } => format!("its term begins at {}", names.time(*start)),
        Reason::AwaitsAcceptance => "offered: awaits acceptance".into(),
        Reason::Refused(refusal) => refused(*refusal),
        Reason::Ended => "its term is over".into(),
        Reason::NoPrice => "no price to act on: holds".into(),
        Reason::NotProved { bound } => format!("agent has not proved its order: counts {bound}, others make room"),
    }
}

fn limit(node: &str, shadow_price: UsdPerMwh) -> String {
    if shadow_price <= UsdPerMwh::ZERO {
        format!("limit of {node} binds")
    } else if shadow_price >= HELD_WORTH {
        // More than any price: what stands there is firm or held, and no number says it better.
        format!("limit of {node} binds; what must run wants more there")
    } else {
        format!("limit of {node} binds; one MWh more there is worth {} USD", price(shadow_price))
    }
}

fn refused(refusal: Refusal) -> String {
    match refusal.reason {
        RefusalReason::NoClass => "refused: no such class, or it is not open to this namespace".into(),
        RefusalReason::WrongDelivery => "refused: the class sells the other thing, GPUs or watts".into(),
        RefusalReason::Term => "refused: the term is over, backwards or longer than the class allows".into(),
        RefusalReason::NamespaceShare => "refused: more than one namespace may hold".into(),
        RefusalReason::Capacity if refusal.would_fit > 0 => {
            format!("refused: not so much is left in that term; {} would fit", refusal.would_fit)
        }
        RefusalReason::Capacity => "refused: nothing is left in that term".into(),
        RefusalReason::Price { least } => {
            format!("refused: the maximum price is below the class's {} USD", money(least))
        }
    }
}

/// The reason as one CamelCase word of a closed list, for metrics and Events.
pub const fn word(reason: &Reason) -> &'static str {
    match reason {
        Reason::Full => "Full",
        Reason::Unreadable => "Unreadable",
        Reason::Retired => "Retired",
        Reason::BelowPrice { .. } => "BelowPrice",
        Reason::Limit { .. } => "Limit",
        Reason::Indivisible { .. } => "Indivisible",
        Reason::Event { .. } => "GridEvent",
        Reason::Lockout { .. } => "Lockout",
        Reason::UnreadHold { .. } => "UnreadHold",
        Reason::MinimumOn { .. } => "MinimumOn",
        Reason::MinimumOff { .. } => "MinimumOff",
        Reason::StaleMeter { .. } => "StaleMeter",
        Reason::Ramp => "Ramp",
        Reason::DeadBand { .. } => "DeadBand",
        Reason::Floor => "Floor",
        Reason::NoLease => "NoLease",
        Reason::Leased { .. } => "Leased",
        Reason::Trimmed { .. } => "Trimmed",
        Reason::Notice { .. } => "Notice",
        Reason::Curtailed { .. } => "Curtailed",
        Reason::AllowanceSpent { .. } => "AllowanceSpent",
        Reason::Obligation { .. } => "Obligation",
        Reason::NotYet { .. } => "NotYet",
        Reason::AwaitsAcceptance => "AwaitsAcceptance",
        Reason::Refused(_) => "Refused",
        Reason::Ended => "Ended",
        Reason::NoPrice => "NoPrice",
        Reason::NotProved { .. } => "NotProved",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ampacity_core::tree::Node;
    use ampacity_core::units::{Ppm, Watts};

    /// 2026-11-21T12:00:00Z.
    const NOON: Time = Time::seconds(1_795_262_400);

    fn tree() -> Tree {
        let node = |name: &str, parent| Node {
            name: name.into(),
            parent,
            limit: Watts::mega(10),
            reserve: Watts::ZERO,
            auxiliary: Watts::ZERO,
            loss: Ppm::ZERO,
        };
        Tree::new(vec![node("west", None), node("hall-a", Some(NodeId::SITE))]).unwrap()
    }

    fn told(reason: &Reason) -> String {
        let leases = ["tenant-a/llm".to_owned()];
        sentence(reason, &Names { tree: &tree(), loads: &[], leases: &leases, now: NOON })
    }

    /// Every reason with the sentence that it is to be.
    fn all() -> Vec<(Reason, &'static str)> {
        let usd = |cents: i64| UsdPerMwh::new(cents * 10_000);
        let at = |minutes| NOON.after(Span::minutes(minutes));
        let hall = NodeId(1);
        let refused = |reason| Reason::Refused(Refusal { reason, would_fit: 8, would_fit_from: None });
        vec![
            (Reason::Full, "has all it can use"),
            (Reason::Unreadable, "its owner cannot be read: it stays as it is"),
            (Reason::Retired, "no longer wanted: lowered to nothing until it is released"),
            (
                Reason::BelowPrice { value: UsdPerMwh::new(46_098_474), price: usd(5240) },
                "worth 46.10 USD/MWh, power costs 52.40",
            ),
            (
                Reason::Limit { node: hall, shadow_price: usd(1200) },
                "limit of hall-a binds; one MWh more there is worth 12.00 USD",
            ),
            (Reason::Limit { node: NodeId::SITE, shadow_price: usd(0) }, "limit of west binds"),
            (Reason::Limit { node: NodeId(7), shadow_price: usd(0) }, "limit of node 7 binds"),
            (
                Reason::Limit { node: hall, shadow_price: HELD_WORTH },
                "limit of hall-a binds; what must run wants more there",
            ),
            (
                Reason::Indivisible { node: hall, room: Watts::kilo(300), needs: Watts::kilo(620) },
                "hall-a has 300 kW left, the next block needs 620 kW",
            ),
            (Reason::Event { name: "curtail-7".into(), until: at(120) }, "grid event curtail-7 until 14:00"),
            (Reason::Event { name: "curtail-7".into(), until: Time::MAX }, "grid event curtail-7 until withdrawn"),
            (
                Reason::Lockout { name: "repair-3".into(), holder: "j.doe".into(), since: at(-125) },
                "held by j.doe since 09:55 (lockout repair-3)",
            ),
            (
                Reason::UnreadHold { name: "Lockout repair-3".into() },
                "Lockout repair-3 cannot be read: nothing is raised until it can",
            ),
            (Reason::MinimumOn { until: at(5) }, "minimum run: stays on until 12:05"),
            (Reason::MinimumOff { until: at(5) }, "minimum stop: stays off until 12:05"),
            (Reason::StaleMeter { node: hall }, "meter of hall-a is stale: nothing is raised there"),
            (Reason::Ramp, "on its way, as fast as the site's ramp allows"),
            (Reason::DeadBand { gain: usd(200) }, "a change would earn 2.00 USD/MWh, too little to be worth it"),
            (Reason::Floor, "at its floor, which is never sold"),
            (Reason::NoLease, "no lease runs here: lowest caps"),
            (Reason::Leased { lease: 0 }, "runs lease tenant-a/llm"),
            (Reason::Leased { lease: 1 }, "runs lease number 1"),
            (
                Reason::Trimmed { unused: Watts::kilo(320), since: at(-25) },
                "leaves 320 kW unused since 11:35: others may have them",
            ),
            (Reason::Notice { deadline: at(30) }, "notice given: falls at 12:30"),
            (
                Reason::Curtailed { value: usd(8000), price: usd(12_000) },
                "power costs 120.00 USD/MWh; comes back below 80.00",
            ),
            (
                Reason::AllowanceSpent { until: at(1440) },
                "runs on though power is worth more: its allowance is spent until Nov 22 12:00",
            ),
            (
                Reason::AllowanceSpent { until: Time::MAX },
                "runs on though power is worth more: its allowance is spent for good",
            ),
            (
                Reason::Obligation { name: "rrs-7".into(), until: at(120), price: usd(1_230) },
                "sold reserve rrs-7 until 14:00 keeps it on, losing 12.30 USD/MWh",
            ),
            (Reason::NotYet { start: at(3 * 1440) }, "its term begins at Nov 24 12:00"),
            (Reason::NotYet { start: at(400 * 1440) }, "its term begins at Dec 26 2027"),
            (Reason::AwaitsAcceptance, "offered: awaits acceptance"),
            (refused(RefusalReason::NoClass), "refused: no such class, or it is not open to this namespace"),
            (refused(RefusalReason::WrongDelivery), "refused: the class sells the other thing, GPUs or watts"),
            (refused(RefusalReason::Term), "refused: the term is over, backwards or longer than the class allows"),
            (refused(RefusalReason::NamespaceShare), "refused: more than one namespace may hold"),
            (refused(RefusalReason::Capacity), "refused: not so much is left in that term; 8 would fit"),
            (
                refused(RefusalReason::Price { least: Usd::new(2_100_000) }),
                "refused: the maximum price is below the class's 2.10 USD",
            ),
            (Reason::Ended, "its term is over"),
            (Reason::NoPrice, "no price to act on: holds"),
            (
                Reason::NotProved { bound: Watts::kilo(1200) },
                "agent has not proved its order: counts 1.20 MW, others make room",
            ),
        ]
    }

    #[test]
    fn each_reason_is_one_short_sentence_in_units_that_people_use() {
        let sentences: Vec<String> = all().iter().map(|(reason, _)| told(reason)).collect();
        let wanted: Vec<&str> = all().iter().map(|(_, sentence)| *sentence).collect();
        assert_eq!(sentences, wanted);
        let long: Vec<&String> = sentences.iter().filter(|s| s.chars().count() > 90).collect();
        assert_eq!(long, Vec::<&String>::new());
    }

    #[test]
    fn the_longest_names_do_not_break_the_line() {
        let name = "n".repeat(253);
        let told = told(&Reason::Lockout { name: name.clone(), holder: name, since: NOON });
        assert_eq!(told.chars().count(), 8 + 32 + 22 + 32 + 1);
    }

    #[test]
    fn a_negative_price_rounds_to_its_nearest_cent_and_keeps_its_sign() {
        let shown = [-3_204_999, -3_205_000, -4_000, 4_999, 5_000].map(|raw| price(UsdPerMwh::new(raw)));
        assert_eq!(shown, ["-3.20", "-3.21", "0.00", "0.00", "0.01"]);
    }

    #[test]
    fn words_are_camel_case() {
        for (reason, _) in all() {
            let word = word(&reason);
            assert!(word.starts_with(char::is_uppercase) && word.chars().all(char::is_alphabetic), "{word}");
        }
    }
}
