//! What is printed: each figure beside what is to be reached, what others reach, and how busy the machine was.

use anyhow::{Context, Result};
use std::fs;

/// One line of the table.
pub(crate) struct Row {
    what: String,
    reach: &'static str,
    measured: String,
    anchor: &'static str,
    /// Load average of the last minute, by the end of the measurement.
    busy: String,
}

/// A figure that was just measured. It is told at once: a later one may fail.
pub(crate) fn row(what: &str, reach: &'static str, measured: String, anchor: &'static str) -> Row {
    let row = Row { what: what.to_owned(), reach, measured, anchor, busy: load_average() };
    eprintln!("{}", row.line());
    row
}

impl Row {
    fn line(&self) -> String {
        let Self { what, reach, measured, anchor, busy } = self;
        format!("| {what} | {reach} | {measured} | {anchor} | {busy} |")
    }
}

/// Everything that was measured, and on what.
pub(crate) fn print(rows: &[Row]) -> Result<()> {
    let cores = std::thread::available_parallelism()?;
    let build = if cfg!(debug_assertions) { "debug build: its figures say nothing" } else { "release build" };
    println!(
        "\n{build}; everything on {cores} cores of {}, {} GB; load average now {}.",
        cpu(),
        memory_gb(),
        load_average()
    );
    println!("\n| what | reach | measured | anchor | load average |\n|---|---|---|---|---|");
    for row in rows {
        println!("{}", row.line());
    }
    Ok(())
}

fn cpu() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = info.lines().find(|line| line.starts_with("model name"));
    line.and_then(|line| line.split_once(": ")).map_or_else(|| "an unknown processor".into(), |(_, name)| name.into())
}

fn memory_gb() -> u64 {
    let info = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib: Option<u64> = info.lines().next().and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    kib.unwrap_or(0).div_ceil(1 << 20)
}

fn load_average() -> String {
    let all = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    all.split_whitespace().next().unwrap_or("unknown").to_owned()
}

/// Median, 99th percentile and the longest of so many times, s.
pub(crate) fn spread(mut all: Vec<f64>) -> Result<String> {
    all.sort_by(f64::total_cmp);
    let at = |share: f64| all.get(((all.len() as f64 * share).ceil() as usize).clamp(1, all.len()) - 1).copied();
    let found = (!all.is_empty()).then(|| Some((at(0.5)?, at(0.99)?, *all.last()?))).flatten();
    let (median, p99, most) = found.context("nothing was measured")?;
    Ok(format!("p50 {median:.3} s, p99 {p99:.3} s, max {most:.3} s of {}", all.len()))
}
