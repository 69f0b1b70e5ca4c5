//! The demo without a terminal: a line a minute of virtual time, and the account.

use super::format::{self, Unit, fit, number};
use crate::sim::frame::{Account, FaultAccount, Frame, LeaseAccount, Sides};
use std::fmt::Write as _;

/// One frame in one line, its columns in the same places for every frame of a run:
///
/// ```text
/// 2024-07-01 14:32  price    31.20  limit 100.0  bound  93.1  measured  88.2 MW  mining  60.0  gpu  12.0  …
/// ```
pub fn line(frame: &Frame) -> String {
    let site = frame.site().map_or(Default::default(), |(_, node)| *node);
    let unit = Unit::of(site.limit_watts);
    let measured = site.measured_watts.map_or("stale".to_owned(), |watts| unit.text(watts));
    let told = frame.allocation_watts;
    let leader = frame.leader.as_ref().map_or("nobody leads".to_owned(), |l| format!("{}/{}", l.name, l.epoch));
    let (day, clock) = (format::day(&frame.time), format::clock(&frame.time));
    let mut line = format!(
        "{day} {}  price {:>8}  limit {:>6}  bound {:>6}  measured {measured:>6} {}  mining {:>6}  gpu {:>6}  power {:>6}  \
         leader {leader:<12}",
        clock.get(..5).unwrap_or(clock),
        format::price(frame.price_usd_per_mwh),
        unit.text(site.limit_watts),
        unit.text(site.bound_watts),
        unit.symbol(),
        unit.text(told.mining),
        unit.text(told.gpu),
        unit.text(told.power),
    );
    if let Some((event, rest)) = most_telling(&frame.events) {
        let _ = write!(line, "  {event}");
        if rest > 0 {
            let _ = write!(line, " (and {rest} more)");
        }
    }
    line.trim_end().to_owned()
}

/// The event that a person would want to read if only one, and how many others there are.
fn most_telling(events: &[String]) -> Option<(&str, usize)> {
    let rank = |event: &String| {
        let kinds = ["alarm", "fault", "leader", "notice", "lockout", "event", "lease"];
        kinds.into_iter().position(|kind| event.starts_with(kind)).unwrap_or(kinds.len())
    };
    let first = events.iter().min_by_key(|event| rank(event))?;
    Some((first, events.len() - 1))
}

/// The account as a table of at most 100 columns.
pub fn account(account: &Account) -> String {
    let mut text = String::new();
    let minute = |time: &str| format!("{} {}", format::day(time), format::clock(time).get(..5).unwrap_or("--:--"));
    let _ = writeln!(
        text,
        "Account  {} to {} UTC   seed {}   {} ticks   {} orders\n",
        minute(&account.from),
        minute(&account.to),
        account.seed,
        number(account.ticks as f64, 0),
        number(account.orders as f64, 0),
    );
    sides(&mut text, account);
    leases(&mut text, account);
    obligations(&mut text, account);
    faults(&mut text, account);
    verdict(&mut text, account);
    text
}

fn sides(text: &mut String, account: &Account) {
    let _ = writeln!(text, "{:<22}{:>14}{:>14}{:>14}{:>14}", "By side", "mining", "GPU", "power", "total");
    let mut row = |name: &str, of: &Sides<f64>, total: f64, decimals: usize| {
        let cells = [of.mining, of.gpu, of.power, total].map(|value| format!("{:>14}", number(value, decimals)));
        let _ = writeln!(text, "  {name:<20}{}", cells.concat());
    };
    let sum = |of: &Sides<f64>| of.mining + of.gpu + of.power;
    let (revenue, cost) = (&account.revenue_usd, &account.energy_cost_usd);
    let margin =
        Sides { mining: revenue.mining - cost.mining, gpu: revenue.gpu - cost.gpu, power: revenue.power - cost.power };
    row("energy, MWh", &account.energy_mwh, sum(&account.energy_mwh), 1);
    row("revenue, USD", revenue, sum(revenue), 0);
    row("energy cost, USD", cost, sum(cost), 0);
    row("margin, USD", &margin, sum(&margin), 0);
    let mut single = |name: &str, value: f64, decimals: usize| {
        let _ = writeln!(text, "  {name:<62}{:>14}", number(value, decimals));
    };
    single("losses and auxiliaries, MWh", account.losses_mwh, 1);
    single("their cost, USD", -account.losses_cost_usd, 0);
    single("credits owed, USD", -account.credits_usd, 0);
    single("margin less these, USD", sum(&margin) - account.losses_cost_usd - account.credits_usd, 0);
    single("against running everything flat out, USD", account.against_always_on_usd, 0);
}

fn leases(text: &mut String, account: &Account) {
    if account.leases.is_empty() {
        return;
    }
    let _ = writeln!(
        text,
        "\n{:<26}{:>17}{:>11}{:>8}{:>8}{:>9}{:>8}{:>9}",
        "Leases", "curtailed / may", "emergency", "notices", "MWh", "rent", "credit", "lost"
    );
    for (name, lease) in &account.leases {
        let _ = writeln!(text, "  {}", lease_row(name, lease));
    }
}

fn lease_row(name: &str, lease: &LeaseAccount) -> String {
    let may = lease.allowance_seconds.map_or("none".to_owned(), format::span);
    format!(
        "{:<24}{:>17}{:>11}{:>8}{:>8}{:>9}{:>8}{:>7} h",
        fit(name, 23),
        format!("{} / {may}", format::span(lease.curtailed_seconds)),
        format::span(lease.emergency_seconds),
        lease.notices,
        number(lease.energy_mwh, 1),
        number(lease.rent_usd, 0),
        number(lease.credit_usd, 0),
        number(lease.lost_gpu_hours, 1),
    )
}

fn obligations(text: &mut String, account: &Account) {
    if account.obligations.is_empty() {
        return;
    }
    let _ = writeln!(
        text,
        "\nObligations                    to draw  outcome  in force   short, MWh    late  told wrongly"
    );
    for (name, one) in &account.obligations {
        let late = one.late_seconds.map_or_else(|| "never".to_owned(), format::span);
        let _ = writeln!(
            text,
            "  {name:<26} {:>9} {:>8} {:>9} {:>12} {late:>7} {:>13}",
            format::watts(one.minimum_watts),
            one.outcome,
            format::span(one.in_force_seconds),
            number(one.short_mwh, 2),
            format::span(one.wrongly_met_seconds + one.wrongly_short_seconds),
        );
    }
}

fn faults(text: &mut String, account: &Account) {
    if account.faults.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n{:<78}{:>18}", "Faults", "safe after");
    for fault in &account.faults {
        let what = format!("{}  {}", format::clock(&fault.time), fault.fault);
        let _ = writeln!(text, "  {}{:>18}", fit(&what, 76), safe_after(fault));
    }
}

fn safe_after(fault: &FaultAccount) -> String {
    match fault.safe_after_seconds {
        None => "run ended before".to_owned(),
        Some(0.0) => "never in doubt".to_owned(),
        Some(seconds) if seconds < 60.0 => format!("{}s", number(seconds, usize::from(seconds < 10.0))),
        Some(seconds) => format::span(seconds.round() as i64),
    }
}

fn verdict(text: &mut String, account: &Account) {
    let word = if account.clean() { "KEPT  " } else { "FAILED" };
    let over = match account.seconds_over_limit {
        0.0 => "0 s over any limit".to_owned(),
        seconds => format!("{} s over a limit past its response time", number(seconds, 1)),
    };
    let terms = match account.broken_terms.len() {
        0 => "every term kept".to_owned(),
        1 => "1 term broken".to_owned(),
        count => format!("{count} terms broken"),
    };
    let _ = writeln!(text, "\n{word}  {over}; {terms}");
    for term in &account.broken_terms {
        let _ = writeln!(text, "  broken: {term}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::frame::{Leader, NodeFrame};
    use std::collections::BTreeMap;

    fn frame() -> Frame {
        let node = NodeFrame {
            limit_watts: 100_000_000,
            bound_watts: 93_100_000,
            measured_watts: Some(88_240_000),
            true_watts: 88_000_000,
        };
        Frame {
            time: "2024-07-01T14:32:05Z".to_owned(),
            price_usd_per_mwh: Some(31.2),
            allocation_watts: Sides { mining: 60_000_000, gpu: 12_000_000, power: 20_000_000 },
            leader: Some(Leader { name: "op-0".to_owned(), epoch: 3 }),
            nodes: BTreeMap::from([("site".to_owned(), node), ("site/a".to_owned(), NodeFrame::default())]),
            events: vec!["decision: a".to_owned(), "alarm: meter stale".to_owned()],
            ..Frame::default()
        }
    }

    #[test]
    fn a_frame_is_one_line_with_its_most_telling_event() {
        let want = "2024-07-01 14:32  price    31.20  limit  100.0  bound   93.1  measured   88.2 MW  mining   60.0  \
                    gpu   12.0  power   20.0  leader op-0/3        alarm: meter stale (and 1 more)";
        assert_eq!(line(&frame()), want);
    }

    #[test]
    fn a_frame_that_knows_nothing_keeps_its_columns() {
        let known = line(&Frame { events: Vec::new(), ..frame() });
        let unknown = line(&Frame { time: frame().time, ..Frame::default() });
        let want = "2024-07-01 14:32  price        —  limit    0.0  bound    0.0  measured  stale kW  mining    0.0  \
                    gpu    0.0  power    0.0  leader nobody leads";
        assert_eq!(unknown, want);
        let place = |line: &str| line.split("leader").next().map(|lead| lead.chars().count());
        assert_eq!(place(&known), place(&unknown));
    }

    fn full() -> Account {
        let lease = LeaseAccount {
            curtailed_seconds: 2_520,
            emergency_seconds: 0,
            allowance_seconds: Some(14_400),
            energy_mwh: 27.25,
            rent_usd: 3_120.4,
            credit_usd: 55.0,
            notices: 1,
            lost_gpu_hours: 0.25,
        };
        let fault = |safe_after_seconds| FaultAccount {
            time: "2024-07-01T03:00:00Z".to_owned(),
            fault: "hall-a-3 says ok and keeps drawing".to_owned(),
            safe_after_seconds,
        };
        Account {
            from: "2024-07-01T00:00:00Z".to_owned(),
            to: "2024-07-02T00:00:00Z".to_owned(),
            seed: 42,
            energy_mwh: Sides { mining: 1_234.56, gpu: 123.4, power: 480.0 },
            revenue_usd: Sides { mining: 98_765.0, gpu: 45_678.0, power: 12_000.0 },
            energy_cost_usd: Sides { mining: 40_000.0, gpu: 4_000.0, power: 15_000.0 },
            losses_mwh: 3.5,
            losses_cost_usd: 105.0,
            credits_usd: 55.0,
            against_always_on_usd: 4_321.0,
            leases: BTreeMap::from([("tenant-a/llm-pretrain".to_owned(), lease)]),
            faults: vec![fault(Some(12.0)), fault(Some(0.0)), fault(Some(95.4)), fault(None)],
            orders: 1_234,
            ticks: 86_400,
            ..Account::default()
        }
    }

    #[test]
    fn the_account_is_a_table() {
        let want = "\
Account  2024-07-01 00:00 to 2024-07-02 00:00 UTC   seed 42   86,400 ticks   1,234 orders

By side                       mining           GPU         power         total
  energy, MWh                1,234.6         123.4         480.0       1,838.0
  revenue, USD                98,765        45,678        12,000       156,443
  energy cost, USD            40,000         4,000        15,000        59,000
  margin, USD                 58,765        41,678        -3,000        97,443
  losses and auxiliaries, MWh                                              3.5
  their cost, USD                                                         -105
  credits owed, USD                                                        -55
  margin less these, USD                                                97,283
  against running everything flat out, USD                               4,321

Leases                      curtailed / may  emergency notices     MWh     rent  credit     lost
  tenant-a/llm-pretrain      42m00s / 4h00m         0s       1    27.2    3,120      55    0.2 h

Faults                                                                                safe after
  03:00:00  hall-a-3 says ok and keeps drawing                                               12s
  03:00:00  hall-a-3 says ok and keeps drawing                                    never in doubt
  03:00:00  hall-a-3 says ok and keeps drawing                                             1m35s
  03:00:00  hall-a-3 says ok and keeps drawing                                  run ended before

KEPT    0 s over any limit; every term kept
";
        let got = account(&full());
        assert_eq!(got, want, "\n{got}");
    }

    #[test]
    fn a_run_that_broke_a_limit_or_a_term_says_failed_and_which() {
        let broken_terms = vec!["tenant-a/llm: notice of 280 s, class says 600 s".to_owned()];
        let run = Account { seconds_over_limit: 12.5, broken_terms, ..full() };
        let text = account(&run);
        let want = "\n\nFAILED  12.5 s over a limit past its response time; 1 term broken\n  \
                    broken: tenant-a/llm: notice of 280 s, class says 600 s\n";
        assert!(text.ends_with(want), "{text}");
    }
}
