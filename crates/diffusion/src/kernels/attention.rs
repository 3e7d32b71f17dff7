//! Scaled dot-product attention.

use candle_core::{D, DType, Result, Tensor, bail};
use rayon::prelude::*;

use super::cpu::{exp, is_cpu, rows_per_task, tensor, vectorized, view, with_scratch};
use super::gemm::{Matrix, MatrixMut, Product};

/// Queries that one task works on.
const QUERIES_PER_TASK: usize = 256;
/// Keys whose scores are held at once.
const KEYS_PER_BLOCK: usize = 512;

/// How the channels of tokens are divided among heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// Number of heads; head `h` has channels `h × width` to `(h + 1) × width`.
    pub count: usize,
    /// Channels per head. Scores are divided by its square root.
    pub width: usize,
    /// Whether scores are computed in `f32` on devices that work in less.
    pub upcast: bool,
}

/// `softmax(q kᵀ / √width) v` for each head, without ever holding all scores.
///
/// Takes queries `[batch, queries, count × width]`, keys and values `[batch, keys, count × width]`; returns the queries' shape.
///
/// # Errors
/// If the shapes do not fit.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, heads: Heads) -> Result<Tensor> {
    let (batch, queries, channels) = q.dims3()?;
    let (_, keys, _) = k.dims3()?;
    if channels != heads.count * heads.width
        || k.dims() != [batch, keys, channels]
        || v.dims() != k.dims()
        || keys == 0
    {
        bail!("attention of {heads:?} got shapes {:?}, {:?}, {:?}", q.dims(), k.dims(), v.dims())
    }
    if !is_cpu(q) {
        return forward_on_accelerator(q, k, v, heads);
    }
    let (q, k, v) = (q.contiguous()?, k.contiguous()?, v.contiguous()?);
    let (q, k, v) = (view(&q)?, view(&k)?, view(&v)?);
    let (q, k, v) = (&*q, &*k, &*v);
    let (keys_by_head, values_by_head) = by_head(k, v, keys, heads);

    let mut out = vec![0.0; q.len()];
    let tasks = rows_per_task(queries, QUERIES_PER_TASK);
    let samples = out.par_chunks_mut(queries * channels).zip(q.par_chunks(queries * channels)).enumerate();
    samples.for_each(|(sample, (out, q))| {
        let parts = out.par_chunks_mut(tasks * channels).zip(q.par_chunks(tasks * channels));
        parts.for_each(|(out, q)| {
            for head in 0..heads.count {
                let start = (sample * heads.count + head) * keys * heads.width;
                let keys_of_head = &keys_by_head[start..][..keys * heads.width];
                let values_of_head = &values_by_head[start..][..keys * heads.width];
                Task { heads, head, keys, keys_of_head, values_of_head }.run(q, out);
            }
        });
    });
    tensor(out, (batch, queries, channels))
}

/// Keys as `[batch, head, width, key]` and values as `[batch, head, key, width]`: each is read once per task, in order.
fn by_head(k: &[f32], v: &[f32], keys: usize, heads: Heads) -> (Vec<f32>, Vec<f32>) {
    let (width, channels) = (heads.width, heads.count * heads.width);
    let (mut keys_out, mut values_out) = (vec![0.0; k.len()], vec![0.0; v.len()]);
    let parts = keys_out.par_chunks_mut(keys * width).zip(values_out.par_chunks_mut(keys * width));
    parts.enumerate().for_each(|(part, (keys_out, values_out))| {
        let first = part / heads.count * keys * channels + part % heads.count * width;
        for (key, value) in values_out.chunks_exact_mut(width).enumerate() {
            value.copy_from_slice(&v[first + key * channels..][..width]);
        }
        // In blocks of 16 keys, so that both sides of the transposition stay in the first-level cache.
        for block in (0..keys).step_by(16) {
            let end = (block + 16).min(keys);
            for channel in 0..width {
                for key in block..end {
                    keys_out[channel * keys + key] = k[first + key * channels + channel];
                }
            }
        }
    });
    (keys_out, values_out)
}

/// One head's attention for some queries.
struct Task<'a> {
    heads: Heads,
    head: usize,
    keys: usize,
    /// `[width, keys]`
    keys_of_head: &'a [f32],
    /// `[keys, width]`
    values_of_head: &'a [f32],
}

impl Task<'_> {
    /// Reads and writes this head's channels of `[queries, channels]`.
    ///
    /// The running maximum and sum of Milakov and Gimelshein's online softmax, block by block.
    fn run(&self, q: &[f32], out: &mut [f32]) {
        let (width, channels) = (self.heads.width, self.heads.count * self.heads.width);
        let queries = q.len() / channels;
        let q = Matrix {
            elements: &q[self.head * width..],
            rows: queries,
            columns: width,
            row_stride: channels,
            column_stride: 1,
        };
        let scale = 1.0 / (width as f32).sqrt();
        with_scratch(queries * (KEYS_PER_BLOCK + width + 2), |scratch| {
            let (scores, scratch) = scratch.split_at_mut(queries * KEYS_PER_BLOCK);
            let (sums, scratch) = scratch.split_at_mut(queries * width);
            let (maxima, totals) = scratch.split_at_mut(queries);
            sums.fill(0.0);
            maxima.fill(f32::NEG_INFINITY);
            totals.fill(0.0);
            for first in (0..self.keys).step_by(KEYS_PER_BLOCK) {
                let block = KEYS_PER_BLOCK.min(self.keys - first);
                let keys = Matrix {
                    elements: &self.keys_of_head[first..],
                    rows: width,
                    columns: block,
                    row_stride: self.keys,
                    column_stride: 1,
                };
                let scores = &mut scores[..queries * block];
                let product = Product { scale, accumulate: false, parallel: false };
                product.run(MatrixMut::packed(scores, queries, block), q, keys);
                for (query, scores) in scores.chunks_exact_mut(block).enumerate() {
                    let sums = &mut sums[query * width..][..width];
                    update_softmax(scores, &mut maxima[query], &mut totals[query], sums);
                }
                let values =
                    Matrix::packed(&self.values_of_head[first * width..][..block * width], block, width);
                let into = MatrixMut::packed(sums, queries, width);
                Product::ADD.run(into, Matrix::packed(scores, queries, block), values);
            }
            let rows = out.chunks_exact_mut(channels).zip(sums.chunks_exact(width));
            for ((out, sums), total) in rows.zip(&*totals) {
                let out = &mut out[self.head * width..][..width];
                out.iter_mut().zip(sums).for_each(|(out, sum)| *out = sum / total);
            }
        });
    }
}

/// Turns a query's scores into weights relative to the largest score so far, and what was summed before likewise.
fn update_softmax(scores: &mut [f32], maximum: &mut f32, total: &mut f32, sums: &mut [f32]) {
    vectorized(
        #[inline(always)]
        || {
            let mut highest = [*maximum; 16];
            let mut chunks = scores.chunks_exact(16);
            for chunk in &mut chunks {
                // Not `f32::max`, which minds NaN and costs three instructions.
                highest
                    .iter_mut()
                    .zip(chunk)
                    .for_each(|(high, x)| *high = if *x > *high { *x } else { *high });
            }
            let highest = highest.iter().chain(chunks.remainder()).fold(f32::NEG_INFINITY, |a, b| a.max(*b));
            if highest > *maximum {
                let factor = exp(*maximum - highest);
                *total *= factor;
                sums.iter_mut().for_each(|sum| *sum *= factor);
                *maximum = highest;
            }
            let mut partial = [0f32; 16];
            let mut chunks = scores.chunks_exact_mut(16);
            for chunk in &mut chunks {
                for (partial, x) in partial.iter_mut().zip(chunk) {
                    *x = exp(*x - highest);
                    *partial += *x;
                }
            }
            for x in chunks.into_remainder() {
                *x = exp(*x - highest);
                partial[0] += *x;
            }
            *total += partial.iter().sum::<f32>();
        },
    );
}

/// Softmax over the last dimension, with candle's operations.
pub(crate) fn softmax(scores: &Tensor) -> Result<Tensor> {
    let weights = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?)?.exp()?;
    weights.broadcast_div(&weights.sum_keepdim(D::Minus1)?)
}

fn forward_on_accelerator(q: &Tensor, k: &Tensor, v: &Tensor, heads: Heads) -> Result<Tensor> {
    let (batch, queries, channels) = q.dims3()?;
    let split =
        |t: &Tensor| t.reshape((batch, t.dim(1)?, heads.count, heads.width))?.transpose(1, 2)?.contiguous();
    let (q, k, v) = (split(q)?, split(k)?, split(v)?);
    let (q, k) = if heads.upcast { (q.to_dtype(DType::F32)?, k.to_dtype(DType::F32)?) } else { (q, k) };
    let scores = (q * (1.0 / (heads.width as f64).sqrt()))?.matmul(&k.t()?)?;
    let weights = softmax(&scores)?.to_dtype(v.dtype())?;
    weights.matmul(&v)?.transpose(1, 2)?.reshape((batch, queries, channels))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_close, random};
    use super::*;

    #[test]
    fn agrees_with_candle() {
        for (batch, queries, keys, count, width) in [
            (2, 5, 7, 3, 8),
            (1, 300, 1100, 2, 16),
            (2, 130, 77, 5, 10),
            (1, 1, 1, 1, 4),
            (1, 140, 512, 1, 40),
        ] {
            let heads = Heads { count, width, upcast: true };
            // Scores far apart, so that the running maximum moves.
            let q = (random(&[batch, queries, count * width], 1) * 4.0).expect("numbers");
            let k = (random(&[batch, keys, count * width], 2) * 4.0).expect("numbers");
            let v = random(&[batch, keys, count * width], 3);
            let expected = forward_on_accelerator(&q, &k, &v, heads).expect("candle's");
            assert_close(&attention(&q, &k, &v, heads).expect("ours"), &expected, 2e-5);
        }
    }

    #[test]
    fn shapes_that_do_not_fit_are_errors() {
        let heads = Heads { count: 2, width: 4, upcast: false };
        let x = random(&[1, 3, 8], 1);
        assert!(attention(&x, &random(&[1, 3, 9], 1), &x, heads).is_err());
        assert!(attention(&x, &random(&[2, 3, 8], 1), &random(&[2, 3, 8], 1), heads).is_err());
        assert!(attention(&x, &x, &x, Heads { count: 3, ..heads }).is_err());
    }
}
