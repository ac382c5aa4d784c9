//! The random numbers of PyTorch's CPU generator, number for number.
//! MT19937 [MatsumotoNishimura98]; Box-Muller in blocks of 16 as torch.randn draws f32.
//! Leaves out other dtypes, devices and distributions.

use std::f32::consts::TAU as TAU_F32;
use std::f64::consts::TAU;

const STATE: usize = 624;
const SHIFT: usize = 397;
/// torch.randn draws whole blocks of this many numbers, once it draws that many.
const NORMAL_BLOCK: usize = 16;

/// `torch.Generator("cpu").manual_seed(seed)`.
///
/// Normals agree with PyTorch to a few units in the last place of f32: its vectorised logarithm and
/// cosine are not correctly rounded.
#[derive(Clone, Debug)]
pub struct TorchRng {
    state: [u32; STATE],
    next: usize,
    spare_normal: Option<f64>,
}

impl TorchRng {
    /// The generator seeded as PyTorch seeds it: by the low 32 bits of `seed`.
    pub fn new(seed: u64) -> Self {
        let mut state = [0; STATE];
        state[0] = seed as u32;
        for i in 1..STATE {
            let last: u32 = state[i - 1];
            state[i] = (last ^ (last >> 30))
                .wrapping_mul(1_812_433_253)
                .wrapping_add(i as u32);
        }
        Self {
            state,
            next: STATE,
            spare_normal: None,
        }
    }

    /// `torch.rand(n)` in f32: each in [0, 1), a multiple of 2^-24.
    pub fn rand(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.uniform()).collect()
    }

    /// `torch.randn(n)` in f32, in the order of a contiguous tensor.
    pub fn randn(&mut self, n: usize) -> Vec<f32> {
        if n < NORMAL_BLOCK {
            return (0..n).map(|_| self.scalar_normal() as f32).collect();
        }
        let mut out = self.rand(n);
        for block in out.chunks_exact_mut(NORMAL_BLOCK) {
            box_muller(block);
        }
        if !n.is_multiple_of(NORMAL_BLOCK) {
            let tail = &mut out[n - NORMAL_BLOCK..];
            tail.fill_with(|| self.uniform());
            box_muller(tail);
        }
        out
    }

    fn uniform(&mut self) -> f32 {
        (self.next_u32() & 0xff_ffff) as f32 * (1.0 / (1u32 << 24) as f32)
    }

    fn uniform_f64(&mut self) -> f64 {
        let high = u64::from(self.next_u32());
        let bits = (high << 32) | u64::from(self.next_u32());
        (bits & ((1 << 53) - 1)) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// The path of fewer than 16 numbers: in f64, the sine kept for the next call.
    fn scalar_normal(&mut self) -> f64 {
        if let Some(spare) = self.spare_normal.take() {
            return spare;
        }
        let u1 = self.uniform_f64();
        let u2 = self.uniform_f64();
        let radius = (-2.0 * libm::log1p(-u2)).sqrt();
        let (sin, cos) = libm::sincos(TAU * u1);
        self.spare_normal = Some(radius * sin);
        radius * cos
    }

    fn next_u32(&mut self) -> u32 {
        if self.next == STATE {
            self.twist();
        }
        let mut y = self.state[self.next];
        self.next += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    fn twist(&mut self) {
        for i in 0..STATE {
            let y = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % STATE] & 0x7fff_ffff);
            let magic = if y & 1 == 1 { 0x9908_b0df } else { 0 };
            self.state[i] = self.state[(i + SHIFT) % STATE] ^ (y >> 1) ^ magic;
        }
        self.next = 0;
    }
}

/// Sixteen uniforms become sixteen normals in place: the first eight give radii, the rest angles.
fn box_muller(block: &mut [f32]) {
    let (first, second) = block.split_at_mut(NORMAL_BLOCK / 2);
    for (a, b) in first.iter_mut().zip(second) {
        let radius = (-2.0 * libm::log(f64::from(1.0 - *a))).sqrt();
        let (sin, cos) = libm::sincos(f64::from(TAU_F32 * *b));
        *a = (radius * cos) as f32;
        *b = (radius * sin) as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PyTorch's vectorised log, sin and cos are off by a few f32 units in the last place.
    const TOLERANCE: f32 = 1e-6;

    fn assert_close(found: &[f32], expected: &[f32]) {
        assert_eq!(found.len(), expected.len());
        for (f, e) in found.iter().zip(expected) {
            assert!((f - e).abs() <= TOLERANCE, "{found:?} is not {expected:?}");
        }
    }

    #[test]
    fn twister_matches_the_reference_output() {
        // init_genrand(5489), the default seed of the authors' C program; its 1st and 10000th word.
        let mut rng = TorchRng::new(5489);
        assert_eq!(rng.next_u32(), 3_499_211_612);
        let tenthousandth = (1..10_000).map(|_| rng.next_u32()).last();
        assert_eq!(tenthousandth, Some(4_123_659_995));
    }

    // Expected numbers below: torch 2.15.0 on CPU (AVX2),
    // torch.randn(n, generator=torch.Generator("cpu").manual_seed(seed)).

    #[test]
    fn fewer_than_sixteen_take_the_scalar_path() {
        let mut rng = TorchRng::new(0);
        assert_close(
            &rng.randn(5),
            &[
                1.540_996_1,
                -0.293_428_9,
                -2.178_789_4,
                0.568_431_26,
                -1.084_522_4,
            ],
        );
        // The sixth normal was kept for the next call.
        assert_close(&rng.randn(3), &[-1.398_595_5, 0.403_346_84, 0.838_026_35]);
        assert_close(
            &TorchRng::new(1 << 31).randn(5),
            &[
                -0.361_769_17,
                1.069_952,
                0.091_462_09,
                0.487_645_7,
                -0.089_800_33,
            ],
        );
    }

    #[test]
    fn one_block_of_sixteen() {
        let mut rng = TorchRng::new(0);
        let x = rng.randn(16);
        assert_close(
            &x[..4],
            &[-1.125_839_8, -1.152_360_2, -0.250_578_6, -0.433_878_8],
        );
        assert_close(&x[13..], &[1.237_657_9, 1.116_777_2, -0.247_278_15]);
        assert_close(&rng.randn(3), &[-0.719_257_6, -0.403_343_53, -0.596_635_34]);
    }

    #[test]
    fn a_ragged_tail_is_drawn_again() {
        let mut rng = TorchRng::new(1);
        let x = rng.randn(20);
        assert_close(
            &x[..5],
            &[
                -1.525_595_9,
                -0.750_231_8,
                -0.653_980_9,
                -1.609_484_8,
                0.865_692_4,
            ],
        );
        assert_close(&x[17..], &[0.335_730_52, 0.275_333_52, 1.716_302_6]);
        assert_close(&rng.randn(3), &[-1.572_665_2, -0.123_247_76, 3.586_989_4]);
    }

    #[test]
    fn many_blocks() {
        let cases = [
            (
                0,
                47.871_551_953_896_414,
                622.952_462_209_330_4,
                [1.655_275_7, 0.520_371_8, -0.232_616_02],
            ),
            (
                1,
                22.430_722_440_651_152,
                625.742_517_167_993_4,
                [-1.143_675_3, 0.788_768_35, -0.676_862_3],
            ),
            (
                1 << 31,
                34.283_215_687_493_794,
                608.195_113_498_135_5,
                [0.851_810_46, 0.238_951_44, 0.103_851_56],
            ),
        ];
        for (seed, sum, sum_abs, last) in cases {
            let x = TorchRng::new(seed).randn(768);
            assert_close(&x[765..], &last);
            let total: f64 = x.iter().map(|&v| f64::from(v)).sum();
            let total_abs: f64 = x.iter().map(|&v| f64::from(v.abs())).sum();
            // 768 roundings of at most 1e-7 each.
            assert!((total - sum).abs() < 1e-4, "{total} is not {sum}");
            assert!(
                (total_abs - sum_abs).abs() < 1e-4,
                "{total_abs} is not {sum_abs}"
            );
        }
    }

    #[test]
    fn uniforms_are_exact() {
        // torch.rand(5) of the same generators.
        assert_eq!(
            TorchRng::new(0).rand(5),
            [
                0.496_256_6,
                0.768_221_8,
                0.088_477_43,
                0.132_030_49,
                0.307_422_82
            ]
        );
        // Only the low 32 bits of a seed count.
        assert_eq!(TorchRng::new(1 << 32).rand(5), TorchRng::new(0).rand(5));
    }
}
