//! The noise that pictures are made from.

use candle_core::{Device, Shape, Tensor};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// Standard normal numbers from a seed, the same on every device, system and version of this crate: a seed is
/// something that people write down.
///
/// ChaCha with 8 rounds, its key the seed in little-endian order followed by zeros, its stream number 0. Each pair of
/// 53-bit uniforms `u` in (0, 1] and `v` in [0, 1) becomes the two numbers `√(−2 ln u)·cos 2πv` and `√(−2 ln u)·sin 2πv` (Box and
/// Muller), computed in `f64` with functions written in Rust, since those of the system differ in their last bits.
#[derive(Clone, Debug)]
pub struct Noise {
    generator: ChaCha8Rng,
    /// The second number of the last pair, not yet taken.
    spare: Option<f32>,
}

impl Noise {
    /// The noise of this seed, from its beginning.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        Self { generator: ChaCha8Rng::from_seed(key), spare: None }
    }

    /// The next number.
    pub fn next_normal(&mut self) -> f32 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let (u, v) = (1.0 - self.uniform(), self.uniform());
        let radius = (-2.0 * libm::log(u)).sqrt();
        let (sin, cos) = libm::sincos(2.0 * std::f64::consts::PI * v);
        self.spare = Some((radius * sin) as f32);
        (radius * cos) as f32
    }

    /// The next numbers, as many as the shape has elements, in row-major order.
    ///
    /// # Errors
    /// Only if the device has no memory for them.
    pub fn normal(&mut self, shape: impl Into<Shape>, device: &Device) -> candle_core::Result<Tensor> {
        let shape = shape.into();
        let numbers: Vec<f32> = (0..shape.elem_count()).map(|_| self.next_normal()).collect();
        Tensor::from_vec(numbers, shape, device)
    }

    /// The next uniform number in [0, 1), a multiple of 2⁻⁵³.
    fn uniform(&mut self) -> f64 {
        (self.generator.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed from the description above by other code, in another language.
    #[test]
    fn a_seed_means_these_numbers_for_ever() {
        let firsts = [
            (0, [-1.291_225_1, -1.399_915_6, 0.537_678_6, 0.489_812_25], 0.984_302_04),
            (42, [-0.205_812_2, 0.902_132_75, -0.787_086_55, 0.860_725_2], -0.669_783_2),
            ((1 << 53) - 1, [1.913_853_4, -0.190_069_9, -0.921_986_76, -0.029_617_507], -0.617_210_7),
        ];
        for (seed, first, thousandth) in firsts {
            let mut noise = Noise::new(seed);
            let numbers: Vec<f32> = (0..1000).map(|_| noise.next_normal()).collect();
            assert_eq!((&numbers[..4], numbers[999]), (&first[..], thousandth), "seed {seed}");
        }
    }

    #[test]
    fn moments_are_normal() {
        let mut noise = Noise::new(7);
        let numbers: Vec<f64> = (0..200_000).map(|_| f64::from(noise.next_normal())).collect();
        let moment = |power: i32| numbers.iter().map(|n| n.powi(power)).sum::<f64>() / numbers.len() as f64;
        assert!(moment(1).abs() < 0.01, "mean {}", moment(1));
        assert!((moment(2) - 1.0).abs() < 0.02, "variance {}", moment(2));
        assert!(moment(3).abs() < 0.05, "third moment {}", moment(3));
        assert!((moment(4) - 3.0).abs() < 0.1, "fourth moment {}", moment(4));
    }

    #[test]
    fn drawing_in_parts_changes_nothing() {
        let (mut whole, mut parts) = (Noise::new(1), Noise::new(1));
        let whole = whole.normal(9, &Device::Cpu).expect("numbers").to_vec1::<f32>().expect("a vector");
        let mut found = Vec::new();
        for length in [1, 3, 5] {
            let part = parts.normal(length, &Device::Cpu).expect("numbers");
            found.extend(part.to_vec1::<f32>().expect("a vector"));
        }
        assert_eq!(whole, found);
    }
}
