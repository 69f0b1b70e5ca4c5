use super::*;
use crate::sim::frame::NodeFrame;
use std::collections::BTreeMap;

/// A world that says its own time.
#[derive(Default)]
struct Clock {
    now: Time,
    over: f64,
    said: Vec<String>,
    /// How often somebody looked.
    looks: usize,
}

fn second(clock: &mut Clock, seen: bool) -> Option<Frame> {
    clock.now = clock.now.after(Span::seconds(1));
    let second = clock.now.get() / 1_000;
    clock.said.extend((second % 60 == 30).then(|| format!("fault: {second}")));
    if !seen {
        return None;
    }
    clock.looks += 1;
    let time = jiff::Timestamp::from_second(second).unwrap().to_string();
    let nodes = BTreeMap::from([("s".to_owned(), NodeFrame { limit_watts: 1_000_000, ..NodeFrame::default() })]);
    Some(Frame { time, nodes, events: std::mem::take(&mut clock.said), ..Frame::default() })
}

fn account(clock: &Clock) -> Account {
    Account { seconds_over_limit: clock.over, ..Account::default() }
}

fn way(ticks: i64) -> Way {
    let setup = Setup { site: "s".into(), nodes: vec!["s".into()], seed: 1, theme: Theme::Plain };
    Way { shown: Shown::Live, speed: Speed::Max, start: Time::ZERO, ticks, setup, stop: Arc::default() }
}

fn written(form: Form, ticks: i64) -> (Ended, Vec<String>) {
    let (mut clock, mut out) = (Clock::default(), Vec::new());
    let ended = lines(|seen| second(&mut clock, seen), &way(ticks), form, &mut out).unwrap();
    say(ended, &account(&clock), form, &mut out).unwrap();
    assert_eq!(clock.looks, if form == Form::Json { 5 } else { 3 }, "nobody looks at what is not shown");
    (ended, String::from_utf8(out).unwrap().lines().map(str::to_owned).collect())
}

#[test]
fn plain_is_a_line_a_minute_with_what_happened_in_it_and_the_account() {
    let (ended, lines) = written(Form::Plain, 130);
    let clocks: Vec<&str> = lines.iter().take(3).filter_map(|line| line.get(..16)).collect();
    assert_eq!((ended, clocks), (Ended::Through, vec!["1970-01-01 00:01", "1970-01-01 00:02", "1970-01-01 00:02"]));
    assert!(lines[0].ends_with("fault: 30") && lines[1].ends_with("fault: 90"), "{lines:?}");
    assert_eq!(lines.last().map(String::as_str), Some("KEPT    0 s over any limit; every term kept"));
}

#[test]
fn json_is_a_line_a_tick_and_the_account_last() {
    let (_, lines) = written(Form::Json, 5);
    let parsed: Vec<serde_json::Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let times: Vec<&str> = parsed.iter().filter_map(|value| value["time"].as_str()).collect();
    let want: Vec<String> = (1..=5).map(|second| format!("1970-01-01T00:00:0{second}Z")).collect();
    assert_eq!(times, want);
    assert_eq!((parsed.len(), parsed[5]["account"]["seconds_over_limit"].as_f64()), (6, Some(0.0)));
}

/// Takes so many bytes, then is gone.
struct Pipe(usize);

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.checked_sub(bytes.len()) {
            Some(left) => self.0 = left,
            None => return Err(io::ErrorKind::BrokenPipe.into()),
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_reader_that_has_gone_ends_the_run_without_an_error() {
    let mut clock = Clock::default();
    let mut pipe = Pipe(1_000);
    let ended = lines(|seen| second(&mut clock, seen), &way(1_000), Form::Json, &mut pipe).unwrap();
    assert_eq!(ended, Ended::Closed);
    assert!(clock.now < Time::seconds(20), "{:?}", clock.now);
    say(ended, &account(&clock), Form::Json, &mut pipe).unwrap();
}

#[test]
fn a_signal_ends_the_run_and_the_account_so_far_is_said() {
    let way = way(1_000);
    let mut clock = Clock::default();
    let mut ticked = 0;
    let mut out = Vec::new();
    let tick = |seen| {
        ticked += 1;
        way.stop.store(ticked == 7, Ordering::Relaxed);
        second(&mut clock, seen)
    };
    let ended = lines(tick, &way, Form::Json, &mut out).unwrap();
    say(ended, &account(&clock), Form::Json, &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert_eq!((ended, text.lines().count()), (Ended::Left, 8));
    assert!(text.lines().last().unwrap().starts_with("{\"account\":{"));
}

#[test]
fn only_a_clean_account_is_a_success() {
    let over = |over| verdict(&account(&Clock { over, ..Clock::default() }));
    assert_eq!((over(0.0), over(0.5)), (KEPT, FAILED));
}

#[test]
fn a_paced_run_takes_as_long_as_it_says() {
    let mut clock = Clock::default();
    let began = Instant::now();
    lines(|seen| second(&mut clock, seen), &Way { speed: Speed::Times(100), ..way(10) }, Form::Json, &mut Vec::new())
        .unwrap();
    assert!(began.elapsed() >= Duration::from_millis(100));
}

#[test]
fn keys_pause_step_and_change_the_speed() {
    let going = Going { speed: Speed::Times(60), paused: false, step: false };
    assert_eq!(going.take(Control::Quit), None);
    let paused = going.take(Control::Pause).unwrap();
    assert_eq!((paused.pace().paused, paused.take(Control::Pause)), (true, Some(going)));
    assert_eq!(going.take(Control::Step), Some(Going { paused: true, step: true, ..going }));
    assert_eq!(going.take(Control::Faster).map(|g| g.speed), Some(Speed::Times(300)));
    assert_eq!(going.take(Control::Slower).map(|g| g.speed), Some(Speed::Times(10)));
}

#[test]
fn a_picture_is_taken_at_its_time_of_day() {
    let file = std::env::temp_dir().join(format!("ampacity-picture-{}.svg", std::process::id()));
    let mut clock = Clock::default();
    let code =
        picture(|| second(&mut clock, true).unwrap(), &way(1_000), &file, jiff::civil::time(0, 5, 0, 0)).unwrap();
    let svg = std::fs::read_to_string(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    assert_eq!((code, clock.now), (KEPT, Time::seconds(300)));
    assert!(svg.starts_with("<svg") && svg.contains("00:05"));
}
