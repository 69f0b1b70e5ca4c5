//! Runs a site in virtual time: as a live view, as lines, or as JSON.

use super::args::{DemoArgs, Output, Speed};
use super::load::{self, Loaded};
use super::seeds::{self, SeedsError};
use super::view::{self, Control, History, Live, Pace, Setup, Theme};
use super::{cluster, format, plain};
use crate::sim::frame::{Account, Frame};
use crate::sim::spec::WorldSpec;
use ampacity_core::units::{Span, Time};
use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Every limit and every term was kept.
const KEPT: u8 = 0;
/// One was not, or nothing could be written.
const FAILED: u8 = 1;
/// The site, the prices or the span make no run.
const BAD_INPUT: u8 = 2;
const MINUTE_MS: i64 = 60_000;

/// How a kind of world is run.
#[derive(Clone, Copy, Debug)]
pub struct World<W> {
    /// One virtual second.
    pub advance: fn(&mut W),
    /// What is to be seen of the present one, with what was said since the last that was seen.
    pub frame: fn(&mut W) -> Frame,
    /// The account so far.
    pub account: fn(&W) -> Account,
}

/// Runs what the command line asks for, in a world that `new` makes; says on stderr what is wrong with it.
///
/// The exit code is 0 only if every limit and every term was kept, 1 if not, 2 if there was nothing to run.
pub fn run<W, E: Display>(args: &DemoArgs, new: impl Fn(WorldSpec) -> Result<W, E> + Sync, of: World<W>) -> ExitCode {
    if let Some(count) = args.seeds {
        return many(args, count, &new, of);
    }
    let loaded = match load::load(args) {
        Ok(loaded) => loaded,
        Err(error) => return refuse(error),
    };
    let way = way(args, &loaded);
    let mut world = match new(loaded.spec) {
        Ok(world) => world,
        Err(error) => return refuse(error),
    };
    match play(&mut world, of, way) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            // There may be nobody left to tell.
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::from(FAILED)
        }
    }
}

/// Runs many seeds: a success if every one was.
fn many<W, E: Display>(
    args: &DemoArgs,
    count: u64,
    new: &(impl Fn(WorldSpec) -> Result<W, E> + Sync),
    of: World<W>,
) -> ExitCode {
    let stop = watch_signals(false);
    match seeds::sweep(args, count, new, &of, &stop, &mut io::stdout().lock()) {
        Ok(sum) => ExitCode::from(if sum.kept == count { KEPT } else { FAILED }),
        Err(SeedsError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::from(FAILED),
        Err(error) => refuse(error),
    }
}

fn refuse(error: impl Display) -> ExitCode {
    let _ = writeln!(io::stderr(), "error: {error}");
    ExitCode::from(BAD_INPUT)
}

/// How it is shown.
enum Shown {
    Live,
    Lines(Form),
    Picture(std::path::PathBuf, jiff::civil::Time),
}

/// What lines are written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Plain,
    Json,
}

/// How a run goes.
struct Way {
    shown: Shown,
    speed: Speed,
    start: Time,
    ticks: i64,
    setup: Setup,
    stop: Arc<AtomicBool>,
}

fn way(args: &DemoArgs, loaded: &Loaded) -> Way {
    let live = args.output == Output::Auto && io::stdout().is_terminal() && io::stdin().is_terminal();
    let shown = match (&args.snapshot, args.at, args.output) {
        (Some(file), Some(at), _) => Shown::Picture(file.clone(), at),
        (_, _, Output::Json) => Shown::Lines(Form::Json),
        _ if live => Shown::Live,
        _ => Shown::Lines(Form::Plain),
    };
    let usual = match shown {
        _ if args.cluster => Speed::Times(cluster::SPEED),
        Shown::Live => Speed::Times(60),
        _ => Speed::Max,
    };
    let theme = if matches!(shown, Shown::Picture(..)) { Theme::Colour } else { Theme::from_environment() };
    let setup = Setup { site: loaded.site.clone(), nodes: loaded.nodes.clone(), seed: args.seed, theme };
    let speed = args.speed.unwrap_or(usual);
    let stop = watch_signals(matches!(shown, Shown::Live));
    let start = loaded.spec.start;
    Way { shown, speed, start, ticks: ticks(start, loaded.until), setup, stop }
}

/// Virtual seconds from `from` to `to`.
fn ticks(from: Time, to: Time) -> i64 {
    to.since(from).whole_seconds().max(1)
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// Its span is over.
    Through,
    /// The person left.
    Left,
    /// Nobody reads any more.
    Closed,
}

fn play<W>(world: &mut W, of: World<W>, way: Way) -> io::Result<u8> {
    let tick = |world: &mut W| {
        (of.advance)(world);
        (of.frame)(world)
    };
    let mut out = io::BufWriter::new(io::stdout().lock());
    match &way.shown {
        Shown::Picture(file, at) => picture(|| tick(world), &way, file, *at),
        Shown::Lines(form) => {
            let seconds = |seen: bool| {
                (of.advance)(world);
                seen.then(|| (of.frame)(world))
            };
            let ended = lines(seconds, &way, *form, &mut out);
            let account = (of.account)(world);
            let said = ended.and_then(|ended| say(ended, &account, *form, &mut out));
            tolerate(said)?;
            Ok(verdict(&account))
        }
        Shown::Live => {
            let (ended, mut live, frame, history) = watched(|| tick(world), &way)?;
            let account = (of.account)(world);
            if ended == Ended::Through {
                live.account(&frame, &history, &account)?;
            }
            drop(live);
            tolerate(say(ended, &account, Form::Plain, &mut out))?;
            Ok(verdict(&account))
        }
    }
}

fn verdict(account: &Account) -> u8 {
    if account.clean() { KEPT } else { FAILED }
}

/// A reader that has gone is no error: whoever asked for less has got it.
fn tolerate(written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Writes the account, where somebody reads it.
fn say(ended: Ended, account: &Account, form: Form, out: &mut impl Write) -> io::Result<()> {
    #[derive(serde::Serialize)]
    struct Last<'a> {
        account: &'a Account,
    }
    match (ended, form) {
        (Ended::Closed, _) => return Ok(()),
        (_, Form::Json) => writeln!(out, "{}", serde_json::to_string(&Last { account })?)?,
        (_, Form::Plain) => write!(out, "\n{}", plain::account(account))?,
    }
    out.flush()
}

/// Lines: each tick as JSON, or each minute in words with what happened in it. `second` is told whether it is to be seen:
/// most of a day is not, and to look takes as long as to decide.
fn lines(
    mut second: impl FnMut(bool) -> Option<Frame>,
    way: &Way,
    form: Form,
    out: &mut impl Write,
) -> io::Result<Ended> {
    let began = Instant::now();
    let mut json = Vec::new();
    for done in 0..way.ticks {
        if way.stop.load(Ordering::Relaxed) {
            return Ok(Ended::Left);
        }
        let whole_minute = way.start.after(Span::seconds(done + 1)).get().rem_euclid(MINUTE_MS) == 0;
        let seen = form == Form::Json || whole_minute || done + 1 == way.ticks;
        let written = match (form, second(seen)) {
            (_, None) => Ok(()),
            (Form::Plain, Some(frame)) => writeln!(out, "{}", plain::line(&frame)),
            (Form::Json, Some(frame)) => {
                // One buffer for every line: a day has hundreds of megabytes of them.
                json.clear();
                serde_json::to_writer(&mut json, &frame)?;
                json.push(b'\n');
                out.write_all(&json)
            }
        };
        let paced = |out: &mut dyn Write| match way.speed {
            Speed::Max => Ok(()),
            Speed::Times(times) => {
                // Whoever watches a paced run sees each line when it is due.
                let due = began + Duration::from_secs_f64((done + 1) as f64 / f64::from(times));
                out.flush()?;
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                Ok(())
            }
        };
        match written.and_then(|()| paced(out)) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(Ended::Closed),
            other => other?,
        }
    }
    Ok(Ended::Through)
}

/// A person's run: how fast, and whether it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Going {
    speed: Speed,
    paused: bool,
    step: bool,
}

impl Going {
    /// Takes what the person wants. None: they leave.
    fn take(mut self, control: Control) -> Option<Going> {
        match control {
            Control::Quit => return None,
            Control::Continue => {}
            Control::Pause => self.paused = !self.paused,
            Control::Faster => self.speed = self.speed.faster(),
            Control::Slower => self.speed = self.speed.slower(),
            Control::Step => (self.paused, self.step) = (true, true),
        }
        Some(self)
    }

    fn pace(self) -> Pace {
        Pace { times: self.speed.times(), paused: self.paused }
    }
}

/// A run that falls behind its pace by more than this does not hurry to catch up.
const BEHIND: Duration = Duration::from_millis(250);

fn watched(mut tick: impl FnMut() -> Frame, way: &Way) -> io::Result<(Ended, Live, Frame, History)> {
    let mut live = Live::new(way.setup.clone())?;
    let mut history = History::new();
    let mut going = Going { speed: way.speed, paused: false, step: false };
    let mut due = Instant::now();
    let mut done = 1;
    let mut frame = tick();
    history.push(&frame);
    loop {
        live.set_pace(going.pace());
        let wait = match going.speed {
            _ if going.paused => BEHIND,
            Speed::Times(_) => due.saturating_duration_since(Instant::now()),
            Speed::Max => Duration::ZERO,
        };
        let control = live.wait(&frame, &history, wait)?;
        let next = going.take(control).filter(|_| !way.stop.load(Ordering::Relaxed));
        let Some(next) = next else { return Ok((Ended::Left, live, frame, history)) };
        going = next;
        if going.paused && !going.step {
            due = Instant::now();
            continue;
        }
        if control != Control::Continue && !going.step {
            continue;
        }
        if done >= way.ticks {
            return Ok((Ended::Through, live, frame, history));
        }
        (going.step, done) = (false, done + 1);
        frame = tick();
        history.push(&frame);
        due += going.speed.times().map_or(Duration::ZERO, |times| Duration::from_secs(1) / times);
        if due + BEHIND < Instant::now() {
            due = Instant::now();
        }
    }
}

/// Size of the picture, in cells.
const PICTURE: (u16, u16) = (160, 50);

/// Runs up to a time of day and writes what the live view shows then.
fn picture(mut tick: impl FnMut() -> Frame, way: &Way, file: &Path, at: jiff::civil::Time) -> io::Result<u8> {
    let mut history = History::new();
    let mut frame = Frame::default();
    for _ in 0..way.ticks {
        frame = tick();
        history.push(&frame);
        if way.stop.load(Ordering::Relaxed)
            || format::clock(&frame.time) >= at.strftime("%H:%M:%S").to_string().as_str()
        {
            break;
        }
    }
    let pace = Pace { times: Some(60), paused: false };
    let (width, height) = PICTURE;
    let buffer = view::picture(&way.setup, &frame, &history, pace, width, height);
    std::fs::write(file, view::svg::render(&buffer))?;
    Ok(KEPT)
}

/// Sets a flag at the first SIGINT or SIGTERM, so that the account so far is still said; ends at the second, and leaves
/// a `live` terminal clean.
fn watch_signals(live: bool) -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    let seen = stop.clone();
    // Without it a signal ends the run as it would any program: nothing worse.
    let _ = std::thread::Builder::new().name("signals".into()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let Ok(runtime) = runtime else { return };
        runtime.block_on(async {
            let kind = tokio::signal::unix::SignalKind::terminate();
            let Ok(mut terminate) = tokio::signal::unix::signal(kind) else { return };
            loop {
                tokio::select! {
                    heard = tokio::signal::ctrl_c() => if heard.is_err() { return },
                    _ = terminate.recv() => {}
                }
                if seen.swap(true, Ordering::Relaxed) {
                    if live {
                        ratatui::restore();
                    }
                    std::process::exit(130);
                }
            }
        });
    });
    stop
}

#[cfg(test)]
mod tests;
