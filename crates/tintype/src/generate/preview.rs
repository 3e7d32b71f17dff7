//! Preview of an image in the terminal. Each character shows two pixels: an upper half block in one colour on
//! a background of the other. This works on every terminal with 24-bit colour, also over SSH, and needs no
//! query of its features.

use std::fmt::Write;

use console::Term;
use tintype_core::picture::{Encoded, Pixels};

use crate::output;

/// Maximum width of the preview, in characters.
const MAX_COLUMNS: usize = 64;

/// Prints a preview. An image that cannot be decoded has none; the file is the result of the command.
pub(super) fn print(file: &Encoded) {
    let Ok(pixels) = tintype_picture::decode(file) else { return };
    let (rows, columns) = Term::stdout().size();
    let drawn = draw(&pixels, usize::from(columns).min(MAX_COLUMNS), usize::from(rows).saturating_sub(2));
    if let Err(error) = output::text(&drawn) {
        tracing::debug!(%error, "failed to print the image preview");
    }
}

/// The image as at most `rows` lines of at most `columns` characters, with its aspect ratio.
fn draw(pixels: &Pixels, columns: usize, rows: usize) -> String {
    let (width, height) = (pixels.width() as usize, pixels.height() as usize);
    // A character is about twice as high as wide and shows two cells, so cells are square.
    let scale = (columns as f64 / width as f64).min(2.0 * rows as f64 / height as f64).min(1.0);
    let grid = Grid {
        columns: ((width as f64 * scale) as usize).max(1),
        rows: ((height as f64 * scale) as usize).max(1),
    };
    let mut drawn = String::new();
    for y in (0..grid.rows).step_by(2) {
        for x in 0..grid.columns {
            let [r, g, b] = grid.cell_colour(pixels, x, y);
            let _ = write!(drawn, "\x1b[38;2;{r};{g};{b}m");
            if y + 1 < grid.rows {
                let [r, g, b] = grid.cell_colour(pixels, x, y + 1);
                let _ = write!(drawn, "\x1b[48;2;{r};{g};{b}m");
            }
            drawn.push('▀');
        }
        drawn.push_str("\x1b[0m\n");
    }
    drawn
}

/// The number of cells of a preview; each cell shows a rectangle of pixels in one colour.
struct Grid {
    columns: usize,
    rows: usize,
}

impl Grid {
    /// The mean colour (RGB) of the pixels of the cell in column `x` and row `y`.
    fn cell_colour(&self, pixels: &Pixels, x: usize, y: usize) -> [u8; 3] {
        let (width, height) = (pixels.width() as usize, pixels.height() as usize);
        let columns = x * width / self.columns..(x + 1) * width / self.columns;
        let rows = y * height / self.rows..(y + 1) * height / self.rows;
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
        let pixels = halves(4, 2);
        assert_eq!(Grid { columns: 2, rows: 1 }.cell_colour(&pixels, 0, 0), [0; 3]);
        assert_eq!(Grid { columns: 2, rows: 1 }.cell_colour(&pixels, 1, 0), [255; 3]);
        assert_eq!(Grid { columns: 1, rows: 1 }.cell_colour(&pixels, 0, 0), [127; 3]);
        assert!(draw(&pixels, 2, 2).starts_with("\x1b[38;2;0;0;0m▀\x1b[38;2;255;255;255m▀\x1b[0m"));
    }
}
