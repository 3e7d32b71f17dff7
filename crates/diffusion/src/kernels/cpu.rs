//! Access to CPU tensors as slices, scratch memory, and loops compiled for the processor at hand.

use std::cell::Cell;
use std::ops::{Deref, Range};

use candle_core::{CpuStorage, DType, Device, Result, Shape, Storage, Tensor, bail};

/// Whether our own kernels take this tensor. Accelerators have candle's.
pub(super) fn is_cpu(tensor: &Tensor) -> bool {
    tensor.device().is_cpu()
}

/// The elements of a contiguous `f32` tensor on the CPU, locked for reading.
pub(super) struct View<G> {
    storage: G,
    range: Range<usize>,
}

/// The tensor's elements in their order.
pub(super) fn view(tensor: &Tensor) -> Result<View<impl Deref<Target = Storage> + '_>> {
    let (storage, layout) = tensor.storage_and_layout();
    let Some((start, end)) = layout.contiguous_offsets() else {
        bail!("a kernel needs a contiguous tensor, this one has the layout {layout:?}")
    };
    if !matches!(&*storage, Storage::Cpu(CpuStorage::F32(_))) {
        bail!("a CPU kernel needs f32, this tensor is {:?}", tensor.dtype())
    }
    Ok(View { storage, range: start..end })
}

impl<G: Deref<Target = Storage>> Deref for View<G> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match &*self.storage {
            Storage::Cpu(CpuStorage::F32(elements)) => &elements[self.range.clone()],
            // `view` lets nothing else in.
            _ => &[],
        }
    }
}

/// A tensor that owns `elements`.
pub(super) fn tensor(elements: Vec<f32>, shape: impl Into<Shape>) -> Result<Tensor> {
    Tensor::from_vec(elements, shape.into(), &Device::Cpu)
}

/// The tensor in the order and type in which kernels read it: contiguous, and `f32` on the CPU.
pub(super) fn prepared(tensor: &Tensor) -> Result<Tensor> {
    if is_cpu(tensor) { tensor.to_dtype(DType::F32)?.contiguous() } else { tensor.contiguous() }
}

thread_local! {
    static SCRATCH: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

/// Lends `length` floats of unspecified content, which stay with the thread for the next call.
pub(super) fn with_scratch<R>(length: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
    // Taken, not borrowed: a nested call gets a buffer of its own.
    let mut buffer = SCRATCH.take();
    if buffer.len() < length {
        buffer.resize(length, 0.0);
    }
    let result = work(&mut buffer[..length]);
    SCRATCH.set(buffer);
    result
}

/// Runs a loop in the version compiled for the widest vectors that this processor has. The loop must be inlined into
/// the closure.
#[inline(always)]
pub(super) fn vectorized<R>(work: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(work)
}

/// `eˣ` without branches, so that loops over it become vector code; within 2 units in the last place of `f32`.
///
/// Range reduction to ±½ ln 2 and the polynomial of Cephes' `expf`.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    // Adding 1.5·2²³ rounds to the nearest integer, which then is what the sum's bits are above those of 1.5·2²³. A cast
    // would mind numbers that do not fit, element by element.
    const ROUND: f32 = 12_582_912.0;
    let x = x.clamp(-87.0, 88.0);
    let rounded = x * std::f32::consts::LOG2_E + ROUND;
    let (n, bits) = (rounded - ROUND, rounded.to_bits().wrapping_sub(ROUND.to_bits()));
    // ln 2 in two parts, so that n·ln 2 loses nothing.
    let r = (x - n * 0.693_359_4) - n * -2.121_944_4e-4;
    let mut p = 1.987_569_1e-4;
    for c in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = p * r + c;
    }
    let p = p * (r * r) + r + 1.0;
    p * f32::from_bits(bits.wrapping_add(127) << 23)
}

/// Rows for one task so that all threads have a share and a task is neither trivial nor larger than `limit`.
pub(super) fn rows_per_task(rows: usize, limit: usize) -> usize {
    let threads = rayon::current_num_threads();
    let tasks = rows.div_ceil(limit.max(1)).next_multiple_of(threads).max(1);
    rows.div_ceil(tasks).max(1)
}
