//! Matrix products over slices.

use gemm::Parallelism;

/// A matrix inside a slice: element `(r, c)` is at `r × row_stride + c × column_stride`.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    pub(super) elements: &'a [f32],
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) row_stride: usize,
    pub(super) column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// Rows one after the other, without gaps.
    pub(super) fn packed(elements: &'a [f32], rows: usize, columns: usize) -> Self {
        Self { elements, rows, columns, row_stride: columns, column_stride: 1 }
    }

    /// One past the last element that the matrix reaches.
    fn reach(&self) -> usize {
        reach(self.rows, self.columns, self.row_stride, self.column_stride)
    }
}

/// A matrix to write to: rows without gaps inside, `row_stride` apart.
pub(super) struct MatrixMut<'a> {
    pub(super) elements: &'a mut [f32],
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) row_stride: usize,
}

impl<'a> MatrixMut<'a> {
    /// Rows one after the other, without gaps.
    pub(super) fn packed(elements: &'a mut [f32], rows: usize, columns: usize) -> Self {
        Self { elements, rows, columns, row_stride: columns }
    }
}

fn reach(rows: usize, columns: usize, row_stride: usize, column_stride: usize) -> usize {
    if rows == 0 || columns == 0 { 0 } else { (rows - 1) * row_stride + (columns - 1) * column_stride + 1 }
}

/// How a product is made: `out = scale × left × right`, or added to what is in `out`.
#[derive(Clone, Copy)]
pub(super) struct Product {
    pub(super) scale: f32,
    pub(super) accumulate: bool,
    /// Whether the whole pool works on it, or only the calling thread.
    pub(super) parallel: bool,
}

impl Product {
    /// On this thread, added to what is there.
    pub(super) const ADD: Self = Self { scale: 1.0, accumulate: true, parallel: false };

    /// Computes it.
    ///
    /// # Panics
    /// If the matrices do not fit each other or reach beyond their slices: a mistake in the calling kernel.
    #[expect(unsafe_code, reason = "gemm takes pointers and strides")]
    pub(super) fn run(self, out: MatrixMut<'_>, left: Matrix<'_>, right: Matrix<'_>) {
        assert_eq!((left.rows, left.columns, right.columns), (out.rows, right.rows, out.columns), "shapes");
        assert!(left.reach() <= left.elements.len(), "the left matrix reaches beyond its slice");
        assert!(right.reach() <= right.elements.len(), "the right matrix reaches beyond its slice");
        let reach = reach(out.rows, out.columns, out.row_stride, 1);
        assert!(reach <= out.elements.len(), "the product reaches beyond its slice");
        assert!(out.row_stride >= out.columns, "rows of the product overlap");
        let parallelism = match rayon::current_num_threads() {
            threads if self.parallel && threads > 1 => Parallelism::Rayon(threads),
            _ => Parallelism::None,
        };
        // SAFETY: the three assertions on `reach` keep every access inside the slices; `out` is borrowed exclusively, so
        // it overlaps neither input; its elements are distinct, because rows are at least `columns` apart. Slices are at
        // most `isize::MAX` bytes long, so no stride overflows.
        unsafe {
            gemm::gemm(
                out.rows,
                out.columns,
                left.columns,
                out.elements.as_mut_ptr(),
                1,
                out.row_stride as isize,
                self.accumulate,
                left.elements.as_ptr(),
                left.column_stride as isize,
                left.row_stride as isize,
                right.elements.as_ptr(),
                right.column_stride as isize,
                right.row_stride as isize,
                1.0,
                self.scale,
                false,
                false,
                false,
                parallelism,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: usize, factor: usize) -> Vec<f32> {
        (0..count).map(|i| ((i * factor) % 17) as f32 - 8.0).collect()
    }

    #[test]
    fn strided_products_are_the_sums_they_should_be() {
        let (rows, inner, columns) = (37, 29, 21);
        let (a, b) = (numbers(rows * 31, 7), numbers(inner * columns, 5));
        let left = Matrix { elements: &a, rows, columns: inner, row_stride: 31, column_stride: 1 };
        let right = Matrix { elements: &b, rows: inner, columns, row_stride: 1, column_stride: inner };
        for (accumulate, parallel) in [(false, false), (true, false), (true, true)] {
            let mut out = vec![3.0; rows * 24];
            let into = MatrixMut { elements: &mut out, rows, columns, row_stride: 24 };
            Product { scale: 0.5, accumulate, parallel }.run(into, left, right);
            for r in 0..rows {
                for c in 0..24 {
                    let sum: f32 =
                        (0..inner).map(|i| a[r * 31 + i] * b.get(c * inner + i).unwrap_or(&0.0)).sum();
                    let expected =
                        if c >= columns { 3.0 } else { 0.5 * sum + if accumulate { 3.0 } else { 0.0 } };
                    assert_eq!(out[r * 24 + c], expected, "row {r}, column {c}");
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "reaches beyond its slice")]
    fn a_matrix_larger_than_its_slice_is_refused() {
        let (a, mut out) = (numbers(5, 1), vec![0.0; 4]);
        Product::ADD.run(
            MatrixMut::packed(&mut out, 2, 2),
            Matrix::packed(&a, 2, 3),
            Matrix::packed(&a, 3, 2),
        );
    }

    #[test]
    #[should_panic(expected = "overlap")]
    fn overlapping_rows_of_the_product_are_refused() {
        let (a, mut out) = (numbers(9, 1), vec![0.0; 9]);
        let into = MatrixMut { elements: &mut out, rows: 3, columns: 3, row_stride: 2 };
        Product::ADD.run(into, Matrix::packed(&a, 3, 3), Matrix::packed(&a, 3, 3));
    }
}
