//! A picture of the screen: the same cells as SVG. Blocks, braille and frames are drawn as shapes, so that the picture
//! is whole whatever fonts the reader has.

use ratatui::buffer::{Buffer, Cell};
use ratatui::style::{Color, Modifier};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Width of a cell.
const WIDE: f64 = 8.4;
/// Height of a cell.
const HIGH: f64 = 17.0;
/// From a cell's top to the line that letters stand on.
const BASE: f64 = 12.9;
/// Free space around the screen.
const MARGIN: f64 = 12.0;
const BACKGROUND: &str = "#12161c";
const FOREGROUND: &str = "#d7dce2";

/// `buffer` as one SVG document on a dark ground.
pub fn render(buffer: &Buffer) -> String {
    let mut shapes: BTreeMap<(String, u8), String> = BTreeMap::new();
    let mut grounds: BTreeMap<String, String> = BTreeMap::new();
    let mut letters = Letters::default();
    for (position, cell) in buffer.area.positions().zip(&buffer.content) {
        let x = MARGIN + f64::from(position.x - buffer.area.x) * WIDE;
        let y = MARGIN + f64::from(position.y - buffer.area.y) * HIGH;
        let (front, back) = colours(cell);
        if let Some(back) = back {
            rectangle(grounds.entry(back).or_default(), (x, y), (0.0, 0.0), (1.0, 1.0));
        }
        let glyph = cell.symbol().chars().next().unwrap_or(' ');
        let opacity = if cell.modifier.contains(Modifier::DIM) { 60 } else { shade(glyph) };
        let path = shapes.entry((front.clone(), opacity)).or_default();
        let drawn = block(path, glyph, (x, y)) || braille(path, glyph, (x, y)) || frame(path, glyph, (x, y));
        if !drawn && !cell.symbol().trim().is_empty() {
            letters.add(cell, (x, y), &front);
        }
    }
    letters.end();
    let (width, height) = (f64::from(buffer.area.width), f64::from(buffer.area.height));
    document(width * WIDE + 2.0 * MARGIN, height * HIGH + 2.0 * MARGIN, &grounds, &shapes, &letters.done)
}

fn document(
    width: f64,
    height: f64,
    grounds: &BTreeMap<String, String>,
    shapes: &BTreeMap<(String, u8), String>,
    letters: &str,
) -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
         viewBox=\"0 0 {width:.0} {height:.0}\" \
         font-family=\"'DejaVu Sans Mono', Menlo, Consolas, monospace\" font-size=\"13.95\" fill=\"{FOREGROUND}\">\n\
         <rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"{BACKGROUND}\"/>\n"
    );
    // Writing to a String cannot fail.
    for (colour, path) in grounds {
        let _ = writeln!(svg, "<path shape-rendering=\"crispEdges\" fill=\"{colour}\" d=\"{path}\"/>");
    }
    for ((colour, opacity), path) in shapes.iter().filter(|(_, path)| !path.is_empty()) {
        let opacity = f64::from(*opacity) / 100.0;
        let _ = writeln!(svg, "<path fill=\"{colour}\" fill-opacity=\"{opacity}\" d=\"{path}\"/>");
    }
    svg.push_str(letters);
    svg.push_str("</svg>\n");
    svg
}

/// A rectangle inside the cell at `at`, in shares of the cell.
fn rectangle(path: &mut String, at: (f64, f64), from: (f64, f64), to: (f64, f64)) {
    let (x, y) = (at.0 + from.0 * WIDE, at.1 + from.1 * HIGH);
    let (right, low) = (at.0 + to.0 * WIDE, at.1 + to.1 * HIGH);
    let _ = write!(path, "M{x:.2} {y:.2}H{right:.2}V{low:.2}H{x:.2}Z");
}

/// How strongly a shade covers its cell, percent.
fn shade(glyph: char) -> u8 {
    match glyph {
        '░' => 30,
        '▒' => 55,
        '▓' => 75,
        _ => 100,
    }
}

fn block(path: &mut String, glyph: char, at: (f64, f64)) -> bool {
    let (from, to): ((f64, f64), (f64, f64)) = match glyph {
        '█' => ((0.0, 0.0), (1.0, 1.0)),
        '░' | '▒' | '▓' => ((0.0, 0.0), (1.0, 1.0)),
        '▔' => ((0.0, 0.0), (1.0, 0.1)),
        '▁'..='▇' => ((0.0, 1.0 - f64::from(u32::from(glyph) - 0x2580) / 8.0), (1.0, 1.0)),
        '■' => ((0.1, 0.3), (0.85, 0.7)),
        '━' => ((0.0, 0.4), (1.0, 0.6)),
        '╸' => ((0.0, 0.4), (0.5, 0.6)),
        '╍' => ((0.12, 0.4), (0.88, 0.6)),
        '┈' => ((0.3, 0.47), (0.6, 0.53)),
        _ => return false,
    };
    rectangle(path, at, from, to);
    true
}

fn braille(path: &mut String, glyph: char, at: (f64, f64)) -> bool {
    let Some(dots) = u32::from(glyph).checked_sub(0x2800).filter(|dots| *dots < 256) else { return false };
    let places = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (0, 3), (1, 3)];
    for (bit, (column, row)) in places.into_iter().enumerate() {
        if dots >> bit & 1 == 1 {
            let (x, y) = (f64::from(column) * 0.5, f64::from(row) * 0.25);
            rectangle(path, at, (x + 0.06, y + 0.04), (x + 0.44, y + 0.21));
        }
    }
    true
}

fn frame(path: &mut String, glyph: char, at: (f64, f64)) -> bool {
    // Arms from the middle: left, right, up, down.
    let arms = match glyph {
        '─' => [true, true, false, false],
        '│' => [false, false, true, true],
        '╭' => [false, true, false, true],
        '╮' => [true, false, false, true],
        '╰' => [false, true, true, false],
        '╯' => [true, false, true, false],
        _ => return false,
    };
    let (thin_x, thin_y) = (0.06, 0.03);
    let ends = [
        ((0.0, 0.5 - thin_y), (0.5 + thin_x, 0.5 + thin_y)),
        ((0.5 - thin_x, 0.5 - thin_y), (1.0, 0.5 + thin_y)),
        ((0.5 - thin_x, 0.0), (0.5 + thin_x, 0.5 + thin_y)),
        ((0.5 - thin_x, 0.5 - thin_y), (0.5 + thin_x, 1.0)),
    ];
    for ((from, to), _) in ends.into_iter().zip(arms).filter(|(_, drawn)| *drawn) {
        rectangle(path, at, from, to);
    }
    true
}

/// A run of letters of one look in one row, without a space: an element each, so that no font's own width adds up.
#[derive(Default)]
struct Letters {
    done: String,
    run: String,
    count: u16,
    look: String,
    at: (f64, f64),
}

impl Letters {
    fn add(&mut self, cell: &Cell, at: (f64, f64), front: &str) {
        let look = look(cell, front);
        let next = self.at.0 + f64::from(self.count) * WIDE;
        if self.look != look || (at.1 - self.at.1).abs() > 0.1 || (at.0 - next).abs() > 0.1 {
            self.end();
            (self.look, self.at) = (look, at);
        }
        self.count += 1;
        for letter in cell.symbol().chars() {
            match letter {
                '&' => self.run.push_str("&amp;"),
                '<' => self.run.push_str("&lt;"),
                '>' => self.run.push_str("&gt;"),
                plain => self.run.push(plain),
            }
        }
    }

    /// Writes what was gathered; browsers stretch it to its cells.
    fn end(&mut self) {
        let run = std::mem::take(&mut self.run);
        let count = std::mem::take(&mut self.count);
        if count > 0 {
            let (x, y) = (self.at.0, self.at.1 + BASE);
            let length = f64::from(count) * WIDE;
            let stretch = if count > 1 { format!(" textLength=\"{length:.1}\"") } else { String::new() };
            let _ = writeln!(self.done, "<text x=\"{x:.1}\" y=\"{y:.1}\"{stretch}{}>{run}</text>", self.look);
        }
    }
}

/// Attributes of a letter.
fn look(cell: &Cell, front: &str) -> String {
    let mut look = if front == FOREGROUND { String::new() } else { format!(" fill=\"{front}\"") };
    if cell.modifier.contains(Modifier::BOLD) {
        look.push_str(" font-weight=\"bold\"");
    }
    if cell.modifier.contains(Modifier::DIM) {
        look.push_str(" fill-opacity=\"0.6\"");
    }
    look
}

/// Foreground, and background where there is one.
fn colours(cell: &Cell) -> (String, Option<String>) {
    let front = hex(cell.fg).unwrap_or_else(|| FOREGROUND.to_owned());
    let back = hex(cell.bg);
    if cell.modifier.contains(Modifier::REVERSED) {
        return (back.unwrap_or_else(|| BACKGROUND.to_owned()), Some(front));
    }
    (front, back)
}

/// A colour as `#rrggbb`: the 256 colours as xterm shows them; none for the terminal's own.
fn hex(colour: Color) -> Option<String> {
    let (red, green, blue) = match colour {
        Color::Rgb(red, green, blue) => (red, green, blue),
        Color::Indexed(index @ 16..=231) => {
            let level = |step: u8| if step == 0 { 0 } else { 55 + 40 * step };
            let index = index - 16;
            (level(index / 36), level(index / 6 % 6), level(index % 6))
        }
        Color::Indexed(index @ 232..) => {
            let grey = 8 + 10 * (index - 232);
            (grey, grey, grey)
        }
        _ => return None,
    };
    Some(format!("#{red:02x}{green:02x}{blue:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::layout::Rect;
    use ratatui::style::Style;

    #[test]
    fn letters_of_one_look_share_an_element_and_are_escaped() {
        let mut buffer = Buffer::empty(Rect::new(0, 0, 5, 1));
        buffer.set_string(0, 0, "a<", Style::new());
        buffer.set_string(3, 0, "b", Style::new().fg(Color::Indexed(196)));
        let svg = render(&buffer);
        let texts = svg.lines().filter(|line| line.starts_with("<text")).collect::<Vec<_>>();
        assert_eq!(
            texts,
            [
                "<text x=\"12.0\" y=\"24.9\" textLength=\"16.8\">a&lt;</text>",
                "<text x=\"37.2\" y=\"24.9\" fill=\"#ff0000\">b</text>"
            ]
        );
    }

    #[test]
    fn blocks_and_braille_are_shapes_with_the_cells_colour() {
        let mut buffer = Buffer::empty(Rect::new(0, 0, 2, 1));
        buffer.set_string(0, 0, "▄⠁", Style::new().fg(Color::Indexed(32)));
        let svg = render(&buffer);
        let want = "<path fill=\"#0087d7\" fill-opacity=\"1\" d=\"M12.00 20.50H20.40V29.00H12.00Z\
                    M20.90 12.68H24.10V15.57H20.90Z\"/>";
        assert_eq!(svg.lines().filter(|line| line.starts_with("<path")).collect::<Vec<_>>(), [want]);
    }
}
