//! What the plots and the feed remember: bounded, whatever the length of the run.

use super::feed::{Entry, FEED_ENTRIES};
use crate::cli::demo::format;
use crate::sim::frame::{Frame, NodeFrame, Sides};
use std::collections::VecDeque;

/// Seconds of virtual time in one bin.
pub const BIN_SECONDS: i64 = 30;
/// Bins kept: a day.
pub const BINS: usize = 2_880;

/// One bin: `BIN_SECONDS` of virtual time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bin {
    /// When it begins, seconds since 1970.
    pub from: i64,
    /// The site's lowest limit, W.
    pub limit_watts: i64,
    /// The site's highest bound, W.
    pub bound_watts: i64,
    /// The site's highest reading, W; none while the meter is stale.
    pub measured_watts: Option<i64>,
    /// What each side was told to stay under, W: the mean.
    pub allocation_watts: Sides<i64>,
    /// The last price, USD/MWh.
    pub price_usd_per_mwh: Option<f64>,
    /// The last value of each side's next watt, USD/MWh.
    pub value_usd_per_mwh: Sides<Option<f64>>,
    sum: Sides<i64>,
    ticks: i64,
}

/// A day of bins and the last events: what `Live::show` draws besides the present frame.
#[derive(Clone, Debug, Default)]
pub struct History {
    bins: VecDeque<Bin>,
    feed: VecDeque<Entry>,
    first: Option<i64>,
}

impl History {
    /// Nothing yet.
    pub fn new() -> History {
        History::default()
    }

    /// Adds one tick. Call it for every frame, drawn or not. A frame whose time is no RFC 3339 time adds its events
    /// alone; time that runs backwards joins the last bin.
    pub fn push(&mut self, frame: &Frame) {
        for event in &frame.events {
            self.push_event(&frame.time, event);
        }
        let Some(now) = format::seconds(&frame.time) else { return };
        self.first.get_or_insert(now);
        let from = now.div_euclid(BIN_SECONDS) * BIN_SECONDS;
        let site = frame.site().map_or(NodeFrame::default(), |(_, node)| *node);
        if self.bins.back().is_none_or(|bin| bin.from < from) {
            if self.bins.len() == BINS {
                self.bins.pop_front();
            }
            let limit_watts = site.limit_watts;
            self.bins.push_back(Bin { from, limit_watts, ..Bin::default() });
        }
        if let Some(bin) = self.bins.back_mut() {
            bin.add(frame, &site);
        }
    }

    fn push_event(&mut self, time: &str, event: &str) {
        if let Some(last) = self.feed.back_mut()
            && last.text_is(event)
        {
            last.repeat(time);
            return;
        }
        if self.feed.len() == FEED_ENTRIES {
            self.feed.pop_front();
        }
        self.feed.push_back(Entry::parse(time, event));
    }

    /// The bins, oldest first.
    pub fn bins(&self) -> impl DoubleEndedIterator<Item = &Bin> + ExactSizeIterator {
        self.bins.iter()
    }

    /// The events, newest first.
    pub fn newest_events(&self) -> impl ExactSizeIterator<Item = &Entry> {
        self.feed.iter().rev()
    }

    /// The time that plots show, seconds since 1970: from the run's start over the least of a few lengths that holds
    /// it, and the last day once the run is longer.
    pub fn window(&self) -> (i64, i64) {
        const LENGTHS: [i64; 5] = [3_600, 7_200, 21_600, 43_200, 86_400];
        let first = self.first.unwrap_or(0);
        let last = self.bins.back().map_or(first, |bin| bin.from + BIN_SECONDS);
        match LENGTHS.into_iter().find(|length| last - first <= *length) {
            Some(length) => (first, first + length),
            None => (last - 86_400, last),
        }
    }
}

impl Bin {
    fn add(&mut self, frame: &Frame, site: &NodeFrame) {
        self.ticks += 1;
        self.limit_watts = self.limit_watts.min(site.limit_watts);
        self.bound_watts = self.bound_watts.max(site.bound_watts);
        self.measured_watts = self.measured_watts.max(site.measured_watts);
        self.price_usd_per_mwh = frame.price_usd_per_mwh;
        self.value_usd_per_mwh = frame.value_usd_per_mwh;
        let told = frame.allocation_watts;
        self.sum = Sides {
            mining: self.sum.mining.saturating_add(told.mining),
            gpu: self.sum.gpu.saturating_add(told.gpu),
            power: self.sum.power.saturating_add(told.power),
        };
        self.allocation_watts = Sides {
            mining: self.sum.mining / self.ticks,
            gpu: self.sum.gpu / self.ticks,
            power: self.sum.power / self.ticks,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn frame(second: i64, watts: i64) -> Frame {
        let node = NodeFrame {
            limit_watts: 100 - watts,
            bound_watts: watts + 1,
            measured_watts: Some(watts),
            true_watts: watts,
        };
        Frame {
            time: jiff::Timestamp::from_second(second).unwrap().to_string(),
            price_usd_per_mwh: Some(watts as f64),
            allocation_watts: Sides { mining: watts, gpu: 2 * watts, power: 0 },
            nodes: BTreeMap::from([("site".to_owned(), node), ("site/a".to_owned(), NodeFrame::default())]),
            events: vec![format!("decision: {second}")],
            ..Frame::default()
        }
    }

    #[test]
    fn a_bin_keeps_the_least_limit_the_greatest_draw_and_the_mean_split() {
        let mut history = History::new();
        for (second, watts) in [(60, 10), (61, 30), (89, 20)] {
            history.push(&frame(second, watts));
        }
        let want = Bin {
            from: 60,
            limit_watts: 70,
            bound_watts: 31,
            measured_watts: Some(30),
            allocation_watts: Sides { mining: 20, gpu: 40, power: 0 },
            price_usd_per_mwh: Some(20.0),
            value_usd_per_mwh: Sides::default(),
            sum: Sides { mining: 60, gpu: 120, power: 0 },
            ticks: 3,
        };
        assert_eq!(history.bins().copied().collect::<Vec<_>>(), [want]);
    }

    #[test]
    fn a_week_of_ticks_keeps_one_day_of_bins_and_bounded_events() {
        let mut history = History::new();
        for minute in 0..7 * 24 * 60 * 2 {
            history.push(&frame(minute * BIN_SECONDS, 1));
        }
        assert_eq!((history.bins().len(), history.newest_events().len()), (BINS, FEED_ENTRIES));
        let last = 7 * 86_400;
        assert_eq!(history.bins().next().map(|bin| bin.from), Some(last - 86_400));
        assert_eq!(history.window(), (last - 86_400, last));
    }

    #[test]
    fn the_window_grows_in_steps_from_the_start() {
        let mut history = History::new();
        assert_eq!(history.window(), (0, 3_600));
        history.push(&frame(7_000, 1));
        assert_eq!(history.window(), (7_000, 10_600));
        history.push(&frame(11_000, 1));
        assert_eq!(history.window(), (7_000, 14_200));
        history.push(&frame(90_000, 1));
        assert_eq!(history.window(), (7_000, 93_400));
    }

    #[test]
    fn an_event_said_again_is_counted_not_repeated() {
        let mut history = History::new();
        for second in [1, 2, 3] {
            let events = vec!["alarm: meter stale".to_owned()];
            history.push(&Frame { events, ..frame(second, 1) });
        }
        let texts = history.newest_events().map(|entry| entry.text()).collect::<Vec<_>>();
        assert_eq!(texts, ["meter stale (3 times)"]);
    }

    #[test]
    fn time_that_runs_backwards_or_is_none_breaks_nothing() {
        let mut history = History::new();
        history.push(&frame(600, 5));
        history.push(&frame(10, 7));
        history.push(&Frame { time: "never".to_owned(), ..frame(0, 0) });
        let bins = history.bins().map(|bin| (bin.from, bin.bound_watts)).collect::<Vec<_>>();
        assert_eq!(bins, [(600, 8)]);
    }
}
