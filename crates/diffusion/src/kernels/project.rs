//! Rows times weights: the one computation behind linear layers and convolutions on the CPU.

use std::ops::Range;

use rayon::prelude::*;

use super::cpu::{rows_per_task, with_scratch};
use super::gemm::{Matrix, MatrixMut, Product};

/// Rows of input, each `width` long, which need not lie in memory as such.
pub(super) trait Rows: Sync {
    /// Elements per row.
    fn width(&self) -> usize;

    /// The rows as they lie in memory, if they do.
    fn contiguous(&self) -> Option<&[f32]>;

    /// Writes some of the rows, one after the other.
    fn gather(&self, rows: Range<usize>, into: &mut [f32]);
}

/// What every element of the product starts from.
#[derive(Clone, Copy, Default)]
pub(super) struct Initial<'a> {
    /// One value per column.
    pub(super) bias: Option<&'a [f32]>,
    /// Values per sample and column, and how many rows belong to a sample.
    pub(super) per_sample: Option<(&'a [f32], usize)>,
    /// A value per element.
    pub(super) residual: Option<&'a [f32]>,
}

impl Initial<'_> {
    /// Whether the product is to be added to anything. If not, nothing need be written before it.
    fn is_some(&self) -> bool {
        self.bias.is_some() || self.per_sample.is_some() || self.residual.is_some()
    }

    fn fill(&self, first: usize, columns: usize, out: &mut [f32]) {
        match self.residual {
            Some(residual) => out.copy_from_slice(&residual[first * columns..][..out.len()]),
            None => out.fill(0.0),
        }
        let add = |row: &mut [f32], values: &[f32]| row.iter_mut().zip(values).for_each(|(x, v)| *x += v);
        if let Some(bias) = self.bias {
            out.chunks_exact_mut(columns).for_each(|row| add(row, bias));
        }
        if let Some((values, rows)) = self.per_sample {
            for (i, row) in out.chunks_exact_mut(columns).enumerate() {
                add(row, &values[(first + i) / rows * columns..][..columns]);
            }
        }
    }
}

/// Gathered rows are kept below this many floats per thread (8 MiB), so that they stay in the cache they were written to.
const MAX_GATHERED_FLOATS: usize = 2 << 20;
/// Fewer rows than this per thread, and reading the weights once per thread costs more than splitting one product.
const MIN_ROWS_PER_THREAD: usize = 192;
/// Most rows in one task.
const MAX_ROWS_PER_TASK: usize = 1024;

/// `out[r, c] = initial[r, c] + Σ rows[r, i] × weights[i, c]`, with `weights` packed and `columns` wide.
pub(super) fn project(out: &mut [f32], rows: &impl Rows, weights: &[f32], initial: Initial<'_>) {
    let width = rows.width();
    let columns = weights.len() / width;
    let count = out.len() / columns;
    let weights = Matrix::packed(weights, width, columns);
    let product = Product { accumulate: initial.is_some(), ..Product::ADD };
    if count >= MIN_ROWS_PER_THREAD * rayon::current_num_threads() {
        let limit = if rows.contiguous().is_some() {
            MAX_ROWS_PER_TASK
        } else {
            (MAX_GATHERED_FLOATS / width).clamp(MIN_ROWS_PER_THREAD, MAX_ROWS_PER_TASK)
        };
        let per_task = rows_per_task(count, limit);
        out.par_chunks_mut(per_task * columns).enumerate().for_each(|(task, out)| {
            let (first, count) = (task * per_task, out.len() / columns);
            if initial.is_some() {
                initial.fill(first, columns, out);
            }
            let out = MatrixMut::packed(out, count, columns);
            match rows.contiguous() {
                Some(stored) => {
                    let stored = &stored[first * width..][..count * width];
                    product.run(out, Matrix::packed(stored, count, width), weights);
                }
                None => with_scratch(count * width, |gathered| {
                    rows.gather(first..first + count, gathered);
                    product.run(out, Matrix::packed(gathered, count, width), weights);
                }),
            }
        });
        return;
    }
    if initial.is_some() {
        initial.fill(0, columns, out);
    }
    let product = Product { parallel: true, ..product };
    let out = MatrixMut::packed(out, count, columns);
    match rows.contiguous() {
        Some(stored) => product.run(out, Matrix::packed(stored, count, width), weights),
        None => {
            let mut gathered = vec![0.0; count * width];
            let per_task = rows_per_task(count, MIN_ROWS_PER_THREAD);
            gathered.par_chunks_mut(per_task * width).enumerate().for_each(|(task, part)| {
                let first = task * per_task;
                rows.gather(first..first + part.len() / width, part);
            });
            product.run(out, Matrix::packed(&gathered, count, width), weights);
        }
    }
}

/// Puts weights `[outputs, inputs, positions]`, as PyTorch stores them, into the order of rows that [`project`] takes:
/// `[positions, inputs, outputs]`.
pub(super) fn packed(weights: &[f32], outputs: usize, positions: usize) -> Vec<f32> {
    const BLOCK: usize = 16;
    let mut packed = vec![0.0; weights.len()];
    if packed.is_empty() {
        return packed;
    }
    let inputs = weights.len() / outputs / positions;
    let mut parts: Vec<(usize, usize, &mut [f32])> = Vec::new();
    for (position, rows) in packed.chunks_exact_mut(inputs * outputs).enumerate() {
        let blocks = rows.chunks_mut(BLOCK * outputs).enumerate();
        parts.extend(blocks.map(|(block, rows)| (block * BLOCK, position, rows)));
    }
    // All positions of the same inputs one after the other: they lie side by side in the source.
    parts.sort_unstable_by_key(|(input, position, _)| (*input, *position));
    parts.into_par_iter().for_each(|(first, position, rows)| {
        for output in (0..outputs).step_by(BLOCK) {
            for (input, row) in rows.chunks_exact_mut(outputs).enumerate() {
                let end = (output + BLOCK).min(outputs);
                for (at, weight) in row[output..end].iter_mut().enumerate() {
                    *weight = weights[((output + at) * inputs + first + input) * positions + position];
                }
            }
        }
    });
    packed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packing_moves_every_weight_to_its_place() {
        for (outputs, inputs, positions) in [(3, 5, 9), (20, 33, 4), (17, 16, 1), (1, 1, 1)] {
            let weights: Vec<f32> = (0..outputs * inputs * positions).map(|i| i as f32).collect();
            let packed = packed(&weights, outputs, positions);
            for (i, weight) in weights.into_iter().enumerate() {
                let (position, input, output) =
                    (i % positions, i / positions % inputs, i / positions / inputs);
                assert_eq!(packed[(position * inputs + input) * outputs + output], weight);
            }
        }
        assert!(packed(&[], 0, 9).is_empty());
    }
}
