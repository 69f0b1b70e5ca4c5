//! Observe: feeds, meters and telemetry, folded with the tables into one immutable snapshot.

use super::site::Site;
use super::tables::{LockoutRow, METER_STALE, Tables, UnreadRow};
use crate::api::common::{Stale, StaleAction};
use crate::api::power_budget::{EnergyPrice, PowerBudgetSpec};
use crate::market::{Asked, Feeds, Point, Source, Substitute, quote};
use ampacity_core::guard::Seen as Learned;
use ampacity_core::guard::ledger::Exit;
use ampacity_core::lease::{Book, Lease};
use ampacity_core::snapshot::{Load, LockoutTarget, Policy, Quote, Reading, Snapshot, Unread};
use ampacity_core::tree::NodeId;
use ampacity_core::units::{Ppm, Span, Time, UsdPerMwh, UsdPerPhDay, Watts, mul_div};

/// An agent's report older than this says nothing of what its load draws now.
const REPORT_FRESH: Span = Span::seconds(10);
/// How much a clock here may be off from the utility's and from an agent's.
const CLOCK_SKEW: Span = Span::seconds(5);
/// A price is taken to stay where it is for so long when a stop's cost is weighed against it: one settlement interval.
const EXPECTED_EXCURSION: Span = Span::minutes(15);
/// A load must use less than its award for this long before the rest is taken back.
const TRIM_AFTER: Span = Span::minutes(5);
/// Without a stale policy a price is held this long after its interval: three settlement intervals.
const STALE_AFTER: Span = Span::minutes(45);

/// The prices of one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prices {
    /// Of power, with adders.
    pub energy: Quote<UsdPerMwh>,
    /// Of hashrate.
    pub hashprice: Quote<UsdPerPhDay>,
    /// The newest energy price as published, with its times.
    pub energy_point: Option<Point>,
    /// The newest hashprice as published, with its times.
    pub hashprice_point: Option<Point>,
}

/// Reads the prices of a site; what cannot be read is missing, and said in `errors`.
pub fn prices(
    site: &str,
    spec: &PowerBudgetSpec,
    feeds: &mut dyn Feeds,
    now: Time,
    errors: &mut Vec<String>,
) -> Prices {
    let newest = |feeds: &mut dyn Feeds, asked, source, errors: &mut Vec<String>| {
        feeds.newest(asked, Source::Price(source), now).unwrap_or_else(|error| {
            errors.push(error);
            None
        })
    };
    let energy_point =
        spec.energy_price.as_ref().and_then(|e| newest(feeds, Asked::EnergyPrice(site), &e.source, errors));
    let day_ahead = spec
        .energy_price
        .as_ref()
        .and_then(|e| e.day_ahead.as_ref())
        .and_then(|source| newest(feeds, Asked::DayAhead(site), source, errors));
    let hashprice_point =
        spec.hashprice.as_ref().and_then(|h| newest(feeds, Asked::Hashprice(site), &h.source, errors));
    let peak = spec.energy_price.as_ref().map_or(UsdPerMwh::ZERO, |e| peak_charge(site, e, feeds, now, errors));
    Prices {
        energy: energy(spec.energy_price.as_ref(), energy_point, day_ahead, peak, now),
        hashprice: spec.hashprice.as_ref().map_or(Quote::Missing, |hash| {
            let (after, instead) = stale(hash.stale.as_ref(), None);
            quote(hashprice_point, after, instead, now, UsdPerPhDay::new)
        }),
        energy_point,
        hashprice_point,
    }
}

/// The expected charge for drawing now at a coincident peak: probability × USD/kW-year ÷ peaks ÷ hours of an interval
/// (`16 TAC 25.192(b)(1)` for ERCOT's four). Nothing outside its months (by UTC), or where no probability is known.
fn peak_charge(
    site: &str,
    spec: &EnergyPrice,
    feeds: &mut dyn Feeds,
    now: Time,
    errors: &mut Vec<String>,
) -> UsdPerMwh {
    let Some(peak) = &spec.coincident_peak else { return UsdPerMwh::ZERO };
    let month = jiff::Timestamp::from_millisecond(now.get()).map(|t| t.to_zoned(jiff::tz::TimeZone::UTC).month());
    if !month.is_ok_and(|month| peak.months.contains(&i32::from(month))) {
        return UsdPerMwh::ZERO;
    }
    let asked = Asked::PeakProbability(site);
    let point = feeds.newest(asked, Source::File(&peak.probability_percent), now).unwrap_or_else(|error| {
        errors.push(error);
        None
    });
    let Some(point) = point.filter(|p| now <= p.until) else { return UsdPerMwh::ZERO };
    // Millionths of a percent of millionths of USD/kW-year: ÷ 10⁸ for the probability, × 10³ kW in a MW.
    let per_mw_year = mul_div(peak.usd_per_kw_year.get(), point.value, 100_000);
    let one_peak = per_mw_year / i64::from(peak.peaks.max(1));
    UsdPerMwh::new(mul_div(one_peak, 3_600, peak.interval_seconds.max(1)))
}

fn energy(
    spec: Option<&EnergyPrice>,
    newest: Option<Point>,
    day_ahead: Option<Point>,
    peak: UsdPerMwh,
    now: Time,
) -> Quote<UsdPerMwh> {
    let Some(spec) = spec else { return Quote::Missing };
    let (after, instead) = stale(spec.stale.as_ref(), day_ahead);
    let adder = spec.adder_per_mwh.usd_per_mwh() + peak;
    match quote(newest, after, instead, now, UsdPerMwh::new) {
        Quote::Fresh { value, since } => Quote::Fresh { value: value + adder, since },
        Quote::Substituted { value, last } => Quote::Substituted { value: value + adder, last },
        Quote::Missing => Quote::Missing,
    }
}

fn stale(policy: Option<&Stale>, day_ahead: Option<Point>) -> (Span, Substitute) {
    let Some(policy) = policy else { return (STALE_AFTER, Substitute::None) };
    let instead = match policy.then {
        StaleAction::Hold => Substitute::None,
        StaleAction::Assume => policy.assume.map_or(Substitute::None, |value| Substitute::Value(value.get())),
        StaleAction::DayAhead => day_ahead.map_or(Substitute::None, |point| Substitute::Value(point.value)),
    };
    (Span::seconds(policy.after_seconds), instead)
}

impl Site {
    /// Reads every meter and relay of the site; what is unreadable is missing, and said in `errors`.
    ///
    /// # Errors
    /// This operator must exit.
    pub fn read_meters(&mut self, feeds: &mut dyn Feeds, now: Time, errors: &mut Vec<String>) -> Result<(), Exit> {
        let Some(tables) = &self.tables else { return Ok(()) };
        let mut readings = vec![None; tables.tree.len()];
        for (at, node) in tables.tree.nodes().iter().enumerate() {
            let feeder = tables.budget.spec.feeders.get(at.wrapping_sub(1));
            let meter = if at == 0 { tables.budget.spec.meter.as_ref() } else { feeder.and_then(|f| f.meter.as_ref()) };
            if let Some(meter) = meter {
                let asked = Asked::Meter(&self.name, &node.name);
                let point = feeds.newest(asked, Source::Power(&meter.source), now).unwrap_or_else(|error| {
                    errors.push(error);
                    None
                });
                let part = meter.error_percent.map_or(Ppm::ZERO, |p| p.ppm());
                if let (Some(point), Some(slot)) = (point, readings.get_mut(at)) {
                    let watts = Watts::new(point.value);
                    *slot = Some(Reading { watts, error: watts.part(part).at_least_zero(), time: point.since });
                }
            }
            if let Some(relay) = feeder.and_then(|f| f.relay.as_ref()) {
                let asked = Asked::Relay(&self.name, &node.name);
                let point = feeds.newest(asked, Source::Power(&relay.source), now).ok().flatten();
                let fresh = point.filter(|p| now.since(p.known) <= Span::seconds(relay.stale_seconds));
                let id = NodeId(u32::try_from(at).unwrap_or(u32::MAX));
                match fresh {
                    Some(point) => drop(self.relays.insert(id, Watts::new(point.value).at_least_zero())),
                    None => drop(self.relays.remove(&id)),
                }
            }
        }
        self.meters = readings;
        let Some(ledger) = &mut self.ledger else { return Ok(()) };
        for (at, reading) in self.meters.iter().enumerate() {
            if let Some(Reading { watts, error, time }) = *reading {
                let node = NodeId(u32::try_from(at).unwrap_or(u32::MAX));
                ledger.learn(Learned::Meter { node, watts, error, time }, now)?;
            }
        }
        Ok(())
    }

    /// Everything that one decision may know; none while the site makes no sense or is not led.
    pub fn snapshot(&self, prices: &Prices, leases: Vec<Lease>, now: Time) -> Option<Snapshot> {
        let (tables, ledger) = (self.tables.as_ref()?, self.ledger.as_ref()?);
        let loads = self.rows.iter().enumerate().map(|(at, row)| {
            let id = ampacity_core::guard::LoadId(u32::try_from(at).unwrap_or(u32::MAX));
            let heard = row.report.as_ref().filter(|(_, at)| now.since(*at) <= REPORT_FRESH).map(|(report, _)| report);
            Load {
                id,
                name: row.key.name.clone(),
                node: row.terms.node,
                member: row.member,
                nameplate: row.terms.nameplate,
                setpoint: ledger.view(id).map_or(row.terms.nameplate, |view| view.setpoint),
                bound: ledger.bound(id, now),
                proof_within: row.terms.proof_within,
                // What it takes of its award is what its limiters let through: safety counts that, however little flows. What
                // has long been left unused is the first that its agent lowers when the award is trimmed.
                measured: heard.and_then(|r| {
                    let watts = r.measured?.max(r.ceiling.unwrap_or_default() - r.unused);
                    Some(Reading { watts, error: r.error, time: r.sampled })
                }),
                drawn: heard.and_then(|report| report.measured),
                wants_more: heard.is_some_and(|report| report.wants_more),
            }
        });
        Some(Snapshot {
            now,
            tree: ledger.tree().clone(),
            limits: tables.limits.clone(),
            obligations: tables.obligations.clone(),
            lockouts: self.lockouts(tables),
            unread: self.unread(tables),
            metered: ledger.metered(now),
            price: prices.energy,
            hashprice: prices.hashprice,
            policy: self.policy(tables),
            fleets: tables.core_fleets(),
            pools: tables.core_pools(),
            loads: loads.collect(),
            classes: tables.classes.iter().map(|row| row.core.clone()).collect(),
            book: Book::of(&leases),
            leases,
            meters: self.meters.clone(),
            meter_stale: tables.meter_stale(),
            memory: self.memory.clone(),
        })
    }

    fn lockouts(&self, tables: &Tables) -> Vec<ampacity_core::snapshot::Lockout> {
        let placed = |row: &LockoutRow| match row {
            LockoutRow::Node(lockout) => Some(lockout.clone()),
            LockoutRow::Load(name, lockout) => {
                let target = LockoutTarget::Load(self.id(name)?);
                Some(ampacity_core::snapshot::Lockout { target, ..lockout.clone() })
            }
        };
        tables.lockouts.iter().filter_map(placed).collect()
    }

    fn unread(&self, tables: &Tables) -> Vec<Unread> {
        let placed = |row: &UnreadRow| match &row.load {
            None => Some(row.unread.clone()),
            Some(name) => Some(Unread { target: LockoutTarget::Load(self.id(name)?), ..row.unread.clone() }),
        };
        tables.unread.iter().filter_map(placed).collect()
    }

    fn policy(&self, tables: &Tables) -> Policy {
        let spec = &tables.budget.spec;
        let site = tables.tree.node(NodeId::SITE).map_or(Watts::ZERO, |node| node.limit);
        // Without a ramp of its own a site moves by no more than its largest economic step in a minute.
        let step = site.part(Ppm::percent(i64::from(spec.ramp.max_economic_step_percent)));
        let slowest = self.rows.iter().map(|row| row.terms.proof_within).max().unwrap_or_default();
        Policy {
            up_watts_per_minute: spec.ramp.up_watts_per_minute.map_or(step, |w| w.watts()),
            down_watts_per_minute: spec.ramp.economic_down_watts_per_minute.map_or(step, |w| w.watts()),
            dead_band: spec.policy.dead_band_per_mwh.usd_per_mwh(),
            allowance_price: spec.policy.allowance_price_per_mwh.usd_per_mwh(),
            expected_excursion: EXPECTED_EXCURSION,
            trim_margin: spec.policy.trim_margin_percent.ppm(),
            trim_after: TRIM_AFTER,
            meter_stale: tables.meter_stale().first().copied().unwrap_or(METER_STALE),
            clock_skew: CLOCK_SKEW,
            slowest_shed: slowest,
        }
    }
}
