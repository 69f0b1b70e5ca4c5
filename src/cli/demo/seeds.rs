//! `ampacity demo --seeds N`: the same site under many seeds, as many at a time as there are cores, a line each.

use super::args::DemoArgs;
use super::load::{self, LoadError};
use super::run::World;
use crate::sim::frame::Account;
use crate::sim::spec::WorldSpec;
use std::fmt::Display;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;

/// Nobody looks at a seed but for its account: so many ticks lie between two looks.
const SEEN_EVERY: i64 = 600;

/// What came of all seeds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sum {
    /// Seeds that ran to their end.
    pub ran: u64,
    /// Seeds in which every limit and every term was kept.
    pub kept: u64,
    /// Seconds over any limit past its response time, over all seeds.
    pub over: f64,
    /// Terms broken, over all seeds.
    pub broken: usize,
}

impl Sum {
    fn add(&mut self, account: &Account) {
        self.ran += 1;
        self.kept += u64::from(account.clean());
        self.over += account.seconds_over_limit;
        self.broken += account.broken_terms.len();
    }
}

/// Why a seed could not be run.
#[derive(Debug, thiserror::Error)]
pub enum SeedsError {
    /// The command line, or what it names.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// No world can be made of it.
    #[error("{0}")]
    World(String),
    /// Nobody reads what is written.
    #[error(transparent)]
    Write(#[from] io::Error),
}

/// Runs `args.seeds` seeds from `args.seed` on, and writes a line for each as it ends, and one for all.
///
/// # Errors
/// The first seed that cannot be run.
pub fn sweep<W, E: Display>(
    args: &DemoArgs,
    count: u64,
    new: &(impl Fn(WorldSpec) -> Result<W, E> + Sync),
    of: &World<W>,
    stop: &AtomicBool,
    out: &mut impl Write,
) -> Result<Sum, SeedsError> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicU64::new(0);
    // A seed's account waits here until it is written: one for each thread is enough.
    let (tell, told) = mpsc::sync_channel(threads);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let (tell, next) = (tell.clone(), &next);
            scope.spawn(move || {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= count || stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let account = one(args, args.seed.saturating_add(at), new, of, stop);
                    if tell.send(account).is_err() {
                        return;
                    }
                }
            });
        }
        drop(tell);
        let mut sum = Sum::default();
        for account in told {
            let Some(account) = account? else { continue };
            sum.add(&account);
            writeln!(out, "{}", line(&account))?;
            out.flush()?;
        }
        writeln!(out, "\n{}", total(&sum, count))?;
        Ok(sum)
    })
}

/// One seed, to its end; none if it was stopped before.
fn one<W, E: Display>(
    args: &DemoArgs,
    seed: u64,
    new: &impl Fn(WorldSpec) -> Result<W, E>,
    of: &World<W>,
    stop: &AtomicBool,
) -> Result<Option<Account>, SeedsError> {
    let loaded = load::load(&DemoArgs { seed, ..args.clone() })?;
    let ticks = loaded.until.since(loaded.spec.start).whole_seconds().max(1);
    let mut world = new(loaded.spec).map_err(|error| SeedsError::World(error.to_string()))?;
    for tick in 0..ticks {
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        (of.advance)(&mut world);
        if tick % SEEN_EVERY == 0 {
            // What is said meanwhile does not pile up.
            drop((of.frame)(&mut world));
        }
    }
    Ok(Some((of.account)(&world)))
}

fn line(account: &Account) -> String {
    let word = if account.clean() { "KEPT  " } else { "FAILED" };
    let mut line = format!(
        "{word}  seed {:<6} {:>5.1} s over a limit  {:>2} broken terms  {:>7} orders  {:>4} faults",
        account.seed,
        account.seconds_over_limit,
        account.broken_terms.len(),
        account.orders,
        account.faults.len(),
    );
    for term in &account.broken_terms {
        line.push_str("\n        ");
        line.push_str(term);
    }
    line
}

fn total(sum: &Sum, count: u64) -> String {
    let left = if sum.ran < count { format!(" ({} not run)", count - sum.ran) } else { String::new() };
    format!(
        "{} of {} seeds kept{left}: {:.1} s over any limit, {} broken terms",
        sum.kept, sum.ran, sum.over, sum.broken
    )
}

#[cfg(test)]
mod tests;
