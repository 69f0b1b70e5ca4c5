use super::sample::{PACE, day, setup};
use super::*;

fn text(buffer: &Buffer) -> String {
    let row = |row: Rect| row.positions().map(|at| buffer[at].symbol()).collect::<String>().trim_end().to_owned();
    buffer.area.rows().map(|area| row(area) + "\n").collect()
}

fn drawn(theme: Theme, minutes: i64, width: u16, height: u16) -> Buffer {
    let (frame, history) = day(minutes);
    picture(&setup(theme), &frame, &history, PACE, width, height)
}

/// Set `AMPACITY_PICTURES` to a folder to look at the screens: one SVG each.
#[test]
fn every_size_is_drawn_whole_as_text_and_as_picture() {
    let folder = std::env::var_os("AMPACITY_PICTURES").map(std::path::PathBuf::from);
    for (width, height) in [(160, 50), (200, 60), (140, 40), (100, 30), (80, 24)] {
        for theme in [Theme::Colour, Theme::Plain] {
            let buffer = drawn(theme, 1_041, width, height);
            let svg = svg::render(&buffer);
            assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
            assert_eq!(text(&buffer).lines().count(), usize::from(height));
            if let Some(folder) = &folder {
                let file = folder.join(format!("{width}x{height}-{theme:?}.svg"));
                std::fs::write(file, svg).unwrap();
            }
        }
    }
}
