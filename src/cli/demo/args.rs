//! The command line of `ampacity demo`.

use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Runs a whole site in virtual time: no cluster, no devices, the same decisions.
#[derive(clap::Args, Clone, Debug)]
pub struct DemoArgs {
    /// The site: a manifest, or a folder whose *.yaml are read in the order of their names. Left out, a built-in site.
    #[arg(long, value_name = "FILE|DIR")]
    pub site: Option<PathBuf>,
    /// Prices of energy, USD/MWh, in place of the site's own: a CSV file (.gz too) with a header.
    #[arg(long, value_name = "FILE[:COLUMN]")]
    pub prices: Option<String>,
    /// Hashprice, USD per PH/s per day, in place of the site's own: a CSV file (.gz too) with a header.
    #[arg(long, value_name = "FILE[:COLUMN]")]
    pub hashprice: Option<String>,
    /// Virtual time from: 2024-07-01, 2024-07-01T12:00 (UTC), 2024-07-01T12:00-05:00, or 12:00 on the first day.
    #[arg(long, value_name = "TIME")]
    pub from: Option<String>,
    /// Virtual time to, like --from. Left out, a day.
    #[arg(long, value_name = "TIME", conflicts_with = "hours")]
    pub to: Option<String>,
    /// How many hours of virtual time. Left out, a day.
    #[arg(long, value_name = "HOURS", value_parser = clap::value_parser!(u32).range(1..=876_000))]
    pub hours: Option<u32>,
    /// Virtual seconds in a second, or max. Left out, 60 in the live view, max without; on a cluster 20, at most 60.
    #[arg(long, value_name = "N|max")]
    pub speed: Option<Speed>,
    /// The same seed repeats the same run.
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    pub seed: u64,
    /// Runs so many seeds, from --seed on, and writes a line for each.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..=100_000), conflicts_with_all = ["cluster", "snapshot", "speed", "output"])]
    pub seeds: Option<u64>,
    /// What goes wrong: nothing; what a site sees on an ordinary day (and in the built-in day what its script says); everything at once.
    #[arg(long, value_enum, default_value_t)]
    pub faults: Faults,
    /// Auto: the live view in a terminal, lines without. Json: one object a tick, and the account.
    #[arg(long, value_enum, default_value_t)]
    pub output: Output,
    /// Runs it on the cluster of the current kubeconfig: its API server, Jobs and scheduler, with nodes that kwok plays.
    #[arg(long)]
    pub cluster: bool,
    /// Which kubeconfig.
    #[arg(long, value_name = "FILE", requires = "cluster")]
    pub kubeconfig: Option<PathBuf>,
    /// Leaves what was made in the cluster. Left out, all but the definitions is deleted at the end.
    #[arg(long, requires = "cluster")]
    pub keep: bool,
    /// Writes a picture of the live view and ends.
    #[arg(long, value_name = "FILE.svg", hide = true, requires = "at")]
    pub snapshot: Option<PathBuf>,
    /// When to take the picture: HH:MM.
    #[arg(long, value_name = "HH:MM", hide = true, requires = "snapshot")]
    pub at: Option<jiff::civil::Time>,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Faults {
    /// Nothing.
    None,
    /// An ordinary day's mishaps, and the built-in day's script.
    #[default]
    Default,
    /// Everything at once, all the time.
    Chaos,
}

/// What is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// The live view in a terminal, else lines.
    #[default]
    Auto,
    /// A line a minute of virtual time, and the account.
    Plain,
    /// One object a tick, one a line, and the account in the last line.
    Json,
}

/// How fast virtual time runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speed {
    /// So many virtual seconds in a second: at least 1.
    Times(u32),
    /// As fast as it goes.
    Max,
}

impl FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "max" {
            return Ok(Self::Max);
        }
        let times = text.parse().ok().filter(|times| (1..=1_000_000).contains(times));
        times.map(Self::Times).ok_or_else(|| "want a whole number from 1 to 1000000, or max".to_owned())
    }
}

/// The speeds that the keys go through.
const SPEEDS: [u32; 7] = [1, 10, 60, 300, 1_200, 3_600, 14_400];

impl Speed {
    /// Virtual seconds in a second; none: as fast as it goes.
    pub const fn times(self) -> Option<u32> {
        match self {
            Self::Times(times) => Some(times),
            Self::Max => None,
        }
    }

    /// One step faster.
    #[must_use]
    pub fn faster(self) -> Self {
        let Self::Times(now) = self else { return Self::Max };
        SPEEDS.into_iter().find(|times| *times > now).map_or(Self::Max, Self::Times)
    }

    /// One step slower, down to real time.
    #[must_use]
    pub fn slower(self) -> Self {
        let below = |times: &u32| self.times().is_none_or(|now| *times < now);
        Self::Times(SPEEDS.into_iter().rev().find(below).unwrap_or(1))
    }
}

/// A file and, behind a colon, one of its columns. A file whose own name has the colon is meant whole.
pub(super) fn file_and_column(text: &str) -> (PathBuf, Option<String>) {
    match text.rsplit_once(':') {
        Some((file, column)) if !file.is_empty() && !column.is_empty() && !Path::new(text).exists() => {
            (file.into(), Some(column.into()))
        }
        _ => (text.into(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds_are_whole_numbers_or_max() {
        let of = |text: &str| text.parse::<Speed>().ok();
        assert_eq!(["1", "60", "max"].map(of), [Speed::Times(1), Speed::Times(60), Speed::Max].map(Some));
        assert_eq!(["0", "-1", "1.5", "fast", ""].map(of), [None; 5]);
    }

    #[test]
    fn the_keys_go_from_real_time_to_as_fast_as_it_goes_and_back() {
        let mut up = vec![Speed::Times(1)];
        while up.last() != Some(&Speed::Max) {
            up.push(up.last().unwrap().faster());
        }
        assert_eq!(up.len(), SPEEDS.len() + 1);
        let down: Vec<Speed> = up.iter().rev().map(|speed| speed.slower()).collect();
        let want: Vec<Speed> = up.iter().rev().skip(1).copied().chain([Speed::Times(1)]).collect();
        assert_eq!(down, want);
        assert_eq!((Speed::Times(61).faster(), Speed::Times(59).slower()), (Speed::Times(300), Speed::Times(10)));
    }

    #[test]
    fn a_column_stands_behind_the_last_colon() {
        assert_eq!(file_and_column("a/b.csv"), ("a/b.csv".into(), None));
        assert_eq!(file_and_column("a/b.csv:rt usd"), ("a/b.csv".into(), Some("rt usd".into())));
        assert_eq!(file_and_column(":x"), (":x".into(), None));
    }
}
