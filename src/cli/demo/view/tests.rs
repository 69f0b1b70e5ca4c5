use super::sample::{PACE, account, day, setup};
use super::*;
use crossterm::event::KeyCode;
use ratatui::style::Color;

fn text(buffer: &Buffer) -> String {
    let row = |row: Rect| row.positions().map(|at| buffer[at].symbol()).collect::<String>().trim_end().to_owned();
    buffer.area.rows().map(|area| row(area) + "\n").collect()
}

fn drawn(theme: Theme, minutes: i64, width: u16, height: u16) -> Buffer {
    let (frame, history) = day(minutes);
    picture(&setup(theme), &frame, &history, PACE, width, height)
}

fn screen_of(frame: &Frame, history: &History, keys: &[KeyCode], size: (u16, u16)) -> Buffer {
    let setup = setup(Theme::Colour);
    let mut state = State::default();
    for key in keys {
        state.key((*key).into());
    }
    let mut buffer = Buffer::empty(Rect::new(0, 0, size.0, size.1));
    let screen = Screen { setup: &setup, frame, history, state: &state, pace: PACE, theme: setup.theme };
    screen.draw(buffer.area, &mut buffer);
    buffer
}

/// Set `AMPACITY_PICTURES` to a folder to look at the screens: an SVG and a text each.
fn keep(name: &str, buffer: &Buffer) {
    if let Some(folder) = std::env::var_os("AMPACITY_PICTURES").map(std::path::PathBuf::from) {
        std::fs::write(folder.join(format!("{name}.svg")), svg::render(buffer)).unwrap();
        std::fs::write(folder.join(format!("{name}.txt")), text(buffer)).unwrap();
    }
}

#[test]
fn a_known_moment_is_drawn_to_the_letter() {
    let wide = drawn(Theme::Colour, 1_041, 160, 50);
    let narrow = drawn(Theme::Colour, 1_041, 100, 30);
    keep("160x50", &wide);
    keep("100x30", &narrow);
    assert_eq!(text(&wide), include_str!("snapshots/160x50.txt"), "\n{}", text(&wide));
    assert_eq!(text(&narrow), include_str!("snapshots/100x30.txt"), "\n{}", text(&narrow));
}

#[test]
fn a_screen_too_small_says_so_and_what_it_needs() {
    let small = drawn(Theme::Colour, 1_041, 80, 24);
    keep("80x24", &small);
    let says = |buffer: &Buffer| text(buffer).contains("too small for loads, leases and plots: they need 100 × 30");
    assert_eq!([&small, &drawn(Theme::Colour, 9, 100, 30)].map(says), [true, false]);
}

#[test]
fn no_size_and_no_lack_of_news_breaks_the_view() {
    let (frame, history) = day(60);
    let nothing = (Frame::default(), History::new());
    for width in [0, 1, 2, 3, 5, 9, 21, 47, 99, 100, 139, 140, 300] {
        for height in [0, 1, 2, 3, 4, 7, 13, 29, 30, 39, 40, 90] {
            for (frame, history) in [(&frame, &history), (&nothing.0, &nothing.1)] {
                let buffer = screen_of(frame, history, &[KeyCode::Char('?')], (width, height));
                assert_eq!(buffer.area, Rect::new(0, 0, width, height));
            }
        }
    }
}

#[test]
fn without_colour_no_cell_has_one_and_sides_differ_by_pattern() {
    let plain = drawn(Theme::Plain, 1_041, 140, 40);
    keep("140x40-plain", &plain);
    let coloured =
        |buffer: &Buffer| buffer.content.iter().any(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset);
    assert_eq!((coloured(&plain), coloured(&drawn(Theme::Colour, 1_041, 140, 40))), (false, true));
    let split = text(&plain);
    assert!(["█ power", "▓ gpu", "▒ mining"].iter().all(|legend| split.contains(legend)), "{split}");
}

#[test]
fn red_is_for_alarms_alone() {
    let red = |buffer: &Buffer| buffer.content.iter().filter(|cell| cell.fg == Color::Indexed(196)).count();
    let (mut frame, _) = day(600);
    let mut history = History::new();
    history.push(&Frame { events: vec!["fault: op-0 was killed".to_owned()], ..frame.clone() });
    assert_eq!(red(&screen_of(&frame, &history, &[], (160, 50))), 0);
    frame.nodes.get_mut("west-texas/gpu").unwrap().true_watts = 9_000_000;
    let over = screen_of(&frame, &history, &[], (160, 50));
    keep("over", &over);
    assert!(text(&over).contains("OVER LIMIT") && red(&over) > 0);
}

#[test]
fn a_thousand_loads_scroll_to_the_last() {
    let (mut frame, history) = day(60);
    let load = frame.loads["hall-b-0"].clone();
    frame.loads.extend((0..1_000).map(|number| (format!("hall-b-{number}"), load.clone())));
    let first = text(&screen_of(&frame, &history, &[], (160, 50)));
    let last = text(&screen_of(&frame, &history, &[KeyCode::End], (160, 50)));
    assert!(first.contains("1–29 of 1031") && !first.contains("h100-15"), "{first}");
    assert!(last.contains("1003–1031 of 1031") && last.contains("h100-15"), "{last}");
}

#[test]
fn help_and_the_account_lie_over_the_last_frame() {
    let (frame, history) = day(1_041);
    let help = screen_of(&frame, &history, &[KeyCode::Char('?')], (100, 30));
    keep("help", &help);
    assert!(text(&help).contains("╭ Help ─") && text(&help).contains("one tick"));
    let broken_terms = vec!["tenant-a/llm-pretrain: notice of 280 s, its class says 600 s".to_owned()];
    for (name, account) in [("account", account()), ("account-failed", Account { broken_terms, ..account() })] {
        let mut buffer = screen_of(&frame, &history, &[], (160, 50));
        let (setup, state) = (setup(Theme::Colour), State::default());
        let screen =
            Screen { setup: &setup, frame: &frame, history: &history, state: &state, pace: PACE, theme: setup.theme };
        draw_account(&screen, account.clean(), &plain::account(&account), buffer.area, &mut buffer);
        keep(name, &buffer);
        let seen = text(&buffer);
        for line in plain::account(&account).lines() {
            assert!(seen.contains(line), "{line}\n{seen}");
        }
    }
}
