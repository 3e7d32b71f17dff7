//! The picture in the terminal, two pixels to a character: the upper half block in one colour on a background of the
//! other. Every terminal with 24-bit colour draws it, over ssh too, and nothing has to be asked of it first.

use std::fmt::Write;

use console::Term;
use tintype_core::picture::{Encoded, Pixels};

use crate::output;

/// Widest drawing, in characters.
const MAX_COLUMNS: usize = 64;

/// Draws a picture. What cannot be drawn is left out: the file is what was asked for.
pub(super) fn show(file: &Encoded) {
    let Ok(pixels) = tintype_picture::decode(file) else { return };
    let (rows, columns) = Term::stdout().size();
    let drawn = draw(&pixels, usize::from(columns).min(MAX_COLUMNS), usize::from(rows).saturating_sub(2));
    if let Err(error) = output::text(&drawn) {
        tracing::debug!(%error, "the picture could not be shown");
    }
}

/// The picture as lines of at most `columns` characters, at most `rows` of them, in its own proportions.
fn draw(pixels: &Pixels, columns: usize, rows: usize) -> String {
    let (width, height) = (pixels.width() as usize, pixels.height() as usize);
    // A character is about twice as high as wide, and holds two pixels: so cells are square.
    let scale = (columns as f64 / width as f64).min(2.0 * rows as f64 / height as f64).min(1.0);
    let across = ((width as f64 * scale) as usize).max(1);
    let down = ((height as f64 * scale) as usize).max(1);
    let mut drawn = String::new();
    for y in (0..down).step_by(2) {
        for x in 0..across {
            let [r, g, b] = cell(pixels, (x, across), (y, down));
            let _ = write!(drawn, "\x1b[38;2;{r};{g};{b}m");
            if y + 1 < down {
                let [r, g, b] = cell(pixels, (x, across), (y + 1, down));
                let _ = write!(drawn, "\x1b[48;2;{r};{g};{b}m");
            }
            drawn.push('▀');
        }
        drawn.push_str("\x1b[0m\n");
    }
    drawn
}

/// The mean colour of cell `x` of `across` and `y` of `down`.
fn cell(pixels: &Pixels, (x, across): (usize, usize), (y, down): (usize, usize)) -> [u8; 3] {
    let (width, height) = (pixels.width() as usize, pixels.height() as usize);
    let columns = x * width / across..(x + 1) * width / across;
    let rows = y * height / down..(y + 1) * height / down;
    let count = (columns.len() * rows.len()).max(1);
    let mut sums = [0; 3];
    for row in rows {
        for column in columns.clone() {
            for (channel, sum) in sums.iter_mut().enumerate() {
                *sum += usize::from(pixels.rgb()[(row * width + column) * 3 + channel]);
            }
        }
    }
    sums.map(|sum| (sum / count) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Left half black, right half white.
    fn halves(width: u32, height: u32) -> Pixels {
        let row: Vec<u8> = (0..width).flat_map(|x| [if x < width / 2 { 0 } else { 255 }; 3]).collect();
        Pixels::new(width, height, row.repeat(height as usize)).expect("three samples per pixel")
    }

    #[test]
    fn keeps_the_proportions_and_the_bounds() {
        for (width, height, columns, rows, expected) in [
            (256, 256, 64, 100, (64, 32)),
            (256, 256, 64, 10, (20, 10)),
            (64, 128, 80, 100, (64, 64)),
            (8, 8, 80, 24, (8, 4)),
        ] {
            let drawn = draw(&halves(width, height), columns, rows);
            let lines: Vec<_> = drawn.lines().collect();
            let across = lines[0].matches('▀').count();
            assert_eq!((across, lines.len()), expected, "{width}×{height} in {columns}×{rows}");
        }
    }

    #[test]
    fn a_cell_has_the_mean_colour() {
        let picture = halves(4, 2);
        assert_eq!(cell(&picture, (0, 2), (0, 1)), [0; 3]);
        assert_eq!(cell(&picture, (1, 2), (0, 1)), [255; 3]);
        assert_eq!(cell(&picture, (0, 1), (0, 1)), [127; 3]);
        assert!(draw(&picture, 2, 2).starts_with("\x1b[38;2;0;0;0m▀\x1b[38;2;255;255;255m▀\x1b[0m"));
    }
}
