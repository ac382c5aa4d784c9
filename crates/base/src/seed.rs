//! Counter-based random streams, a pure function of (seed, purpose, index).
//! Philox4x32-10 [Salmon11]; normals by Box-Muller [BoxMuller58] in f64.
//! Leaves out cryptographic use and distributions nobody here draws from.

/// What a stream is drawn for. Streams of different purposes never overlap.
///
/// The numbers are part of every saved run: never reuse or renumber one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Purpose {
    /// Initial weights of a network.
    Init = 1,
    /// Order of the samples in an epoch.
    Shuffle = 2,
    /// Flips, crops and random backgrounds.
    Augment = 3,
    /// Timestep or noise level of a training sample.
    Timestep = 4,
    /// Noise added to a training sample.
    TrainNoise = 5,
    /// Dropout inside a network and of conditions.
    Dropout = 6,
    /// Noise that a sampler starts from and draws on its way.
    SampleNoise = 7,
    /// Choice of classes or captions for a preview.
    Preview = 8,
    /// Noise of the forward process shown as a picture.
    Forward = 9,
    /// Which of a picture's captions a training sample sees.
    Caption = 10,
    /// Whether a training sample is told its camera.
    CameraDropout = 11,
    /// The pixels that a step of a reconstruction looks at.
    Pixels = 20,
    /// Where along a ray the samples lie.
    RaySamples = 21,
    /// Where in its cell an occupancy grid asks for the density.
    Occupancy = 22,
    /// What lies behind a transparent pixel in training.
    Background = 23,
    /// Points on the surface of a mesh.
    Surface = 40,
    /// Camera of a view of a posed data set, rendered from a mesh.
    PosedView = 30,
    /// Camera and light of a view of a piece of furniture.
    FurnitureView = 31,
    /// Which materials of a view of a piece of furniture get which colour.
    FurnitureColor = 32,
    /// In which words a view of a piece of furniture is described.
    FurnitureCaption = 33,
    /// Where a training sample is cut out of its picture.
    Crop = 60,
    /// How strong the noise on the small picture of a training sample is.
    SmallNoiseLevel = 61,
    /// That noise, and the one on the small picture of an image.
    SmallNoise = 62,
    /// The seed that a later stage of a cascade draws from.
    Stage = 63,
    /// From which side an image shows its object.
    Side = 64,
    /// Cameras, lamps, light and background of a step of a dream.
    DreamView = 70,
    /// Where in its pixel a ray of a dream passes.
    DreamRay = 71,
    /// The level at which a view of a dream is judged, and the noise.
    DreamNoise = 72,
    /// Anything that only a test draws.
    Test = 255,
}

/// A stream of random numbers, the same on every machine.
///
/// The 128-bit counter holds the block (56 bits), the purpose (8) and the index (64); the key is the
/// seed. A stream therefore yields 2^58 words before it would repeat.
#[derive(Clone, Debug)]
pub struct Stream {
    key: [u32; 2],
    purpose: Purpose,
    index: u64,
    block: u64,
    words: [u32; 4],
    used: usize,
    spare_normal: Option<f32>,
}

impl Stream {
    /// The stream of `seed` for `purpose` number `index` (a sample, a step, a parameter).
    pub fn new(seed: u64, purpose: Purpose, index: u64) -> Self {
        Self {
            key: split(seed),
            purpose,
            index,
            block: 0,
            words: [0; 4],
            used: 4,
            spare_normal: None,
        }
    }

    /// The next 32 random bits.
    pub fn next_u32(&mut self) -> u32 {
        if self.used == 4 {
            let [block_low, block_high] = split(self.block);
            let [index_low, index_high] = split(self.index);
            let tagged = (block_high << 8) | self.purpose as u32;
            self.words = philox4x32_10([block_low, tagged, index_low, index_high], self.key);
            self.block += 1;
            self.used = 0;
        }
        self.used += 1;
        self.words[self.used - 1]
    }

    /// The next 64 random bits, high word first.
    pub fn next_u64(&mut self) -> u64 {
        let high = u64::from(self.next_u32());
        (high << 32) | u64::from(self.next_u32())
    }

    /// Uniform in [0, 1), a multiple of 2^-24.
    pub fn uniform(&mut self) -> f32 {
        (self.next_u32() >> 8) as f32 * (1.0 / (1u32 << 24) as f32)
    }

    /// Uniform in [0, 1), a multiple of 2^-53.
    pub fn uniform_f64(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Uniform in 0..n without bias: multiply and reject [Lemire19]. `below(0)` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        if n == 0 {
            return 0;
        }
        let rejected = n.wrapping_neg() % n;
        loop {
            let product = u128::from(self.next_u64()) * u128::from(n);
            if product as u64 >= rejected {
                return (product >> 64) as u64;
            }
        }
    }

    /// A standard normal number; two words give two of them.
    pub fn normal(&mut self) -> f32 {
        if let Some(spare) = self.spare_normal.take() {
            return spare;
        }
        // Half a step off zero, so that the logarithm is finite: |normal| stays below 6.8.
        let u1 = (f64::from(self.next_u32()) + 0.5) / 4_294_967_296.0;
        let u2 = f64::from(self.next_u32()) / 4_294_967_296.0;
        let radius = (-2.0 * libm::log(u1)).sqrt();
        let (sin, cos) = libm::sincos(std::f64::consts::TAU * u2);
        self.spare_normal = Some((radius * sin) as f32);
        (radius * cos) as f32
    }

    /// Fills `out` with standard normal numbers, as repeated calls of [`Stream::normal`] would.
    pub fn fill_normal(&mut self, out: &mut [f32]) {
        out.fill_with(|| self.normal());
    }

    /// `n` standard normal numbers.
    pub fn normals(&mut self, n: usize) -> Vec<f32> {
        let mut out = vec![0.0; n];
        self.fill_normal(&mut out);
        out
    }

    /// A uniformly random order of 0..n, by the shuffle of Fisher and Yates.
    pub fn permutation(&mut self, n: u32) -> Vec<u32> {
        let mut order: Vec<u32> = (0..n).collect();
        for i in (1..order.len()).rev() {
            order.swap(i, self.below(i as u64 + 1) as usize);
        }
        order
    }
}

fn split(x: u64) -> [u32; 2] {
    [x as u32, (x >> 32) as u32]
}

/// The bijection of [Salmon11] section 4.3: ten rounds of two 32-bit multiplications.
fn philox4x32_10(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    const MULTIPLIERS: [u64; 2] = [0xD251_1F53, 0xCD9E_8D57];
    const KEY_STEPS: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
    for _ in 0..10 {
        let [low0, high0] = split(MULTIPLIERS[0] * u64::from(counter[0]));
        let [low1, high1] = split(MULTIPLIERS[1] * u64::from(counter[2]));
        counter = [
            high1 ^ counter[1] ^ key[0],
            low1,
            high0 ^ counter[3] ^ key[1],
            low0,
        ];
        key = [
            key[0].wrapping_add(KEY_STEPS[0]),
            key[1].wrapping_add(KEY_STEPS[1]),
        ];
    }
    counter
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known answers of the Random123 distribution (kat_vectors, philox4x32 10).
    #[test]
    fn philox_matches_the_known_answers() {
        let cases = [
            (
                [0; 4],
                [0; 2],
                [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8],
            ),
            (
                [u32::MAX; 4],
                [u32::MAX; 2],
                [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd],
            ),
            (
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0],
                [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
            ),
        ];
        for (counter, key, expected) in cases {
            assert_eq!(philox4x32_10(counter, key), expected);
        }
    }

    #[test]
    fn streams_differ_in_seed_purpose_and_index() {
        let first = |seed, purpose, index| Stream::new(seed, purpose, index).next_u64();
        let base = first(7, Purpose::Init, 3);
        assert_eq!(base, first(7, Purpose::Init, 3));
        assert_ne!(base, first(8, Purpose::Init, 3));
        assert_ne!(base, first(7 | 1 << 40, Purpose::Init, 3));
        assert_ne!(base, first(7, Purpose::Shuffle, 3));
        assert_ne!(base, first(7, Purpose::Init, 4));
        assert_ne!(base, first(7, Purpose::Init, 3 | 1 << 40));
    }

    #[test]
    fn normals_have_the_moments_of_a_normal() {
        let n = 200_000;
        let x = Stream::new(1, Purpose::Test, 0).normals(n);
        let moment = |k| x.iter().map(|&v| f64::from(v).powi(k)).sum::<f64>() / n as f64;
        // Four standard errors of each sample moment: sqrt(1, 2, 15, 96) / sqrt(n).
        let error = 4.0 / (n as f64).sqrt();
        assert!(moment(1).abs() < error);
        assert!((moment(2) - 1.0).abs() < error * 2f64.sqrt());
        assert!(moment(3).abs() < error * 15f64.sqrt());
        assert!((moment(4) - 3.0).abs() < error * 96f64.sqrt());
    }

    #[test]
    fn filling_in_pieces_equals_filling_at_once() {
        let whole = Stream::new(5, Purpose::Test, 9).normals(11);
        let mut pieces = Stream::new(5, Purpose::Test, 9);
        let mut joined = pieces.normals(3);
        joined.extend(pieces.normals(8));
        assert_eq!(whole, joined);
    }

    #[test]
    fn uniforms_stay_below_one_and_average_a_half() {
        let mut stream = Stream::new(2, Purpose::Test, 0);
        let n = 100_000;
        let values: Vec<f32> = (0..n).map(|_| stream.uniform()).collect();
        assert!(values.iter().all(|v| (0.0..1.0).contains(v)));
        let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / f64::from(n);
        // Four standard errors: 4 sqrt(1/12 / n).
        assert!((mean - 0.5).abs() < 4.0 * (1.0 / 12.0 / f64::from(n)).sqrt());
        assert!((0.0..1.0).contains(&stream.uniform_f64()));
    }

    #[test]
    fn below_is_even_and_bounded() {
        let mut stream = Stream::new(3, Purpose::Test, 0);
        let mut counts = [0u32; 7];
        for _ in 0..70_000 {
            counts[stream.below(7) as usize] += 1;
        }
        // Five standard deviations of a binomial with p = 1/7: 5 sqrt(70000 * 6/49) = 463.
        assert!(
            counts.iter().all(|&c| c.abs_diff(10_000) < 463),
            "{counts:?}"
        );
        assert_eq!(stream.below(1), 0);
        assert_eq!(stream.below(0), 0);
    }

    #[test]
    fn a_permutation_holds_each_number_once() {
        let order = Stream::new(4, Purpose::Shuffle, 0).permutation(1000);
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..1000).collect::<Vec<_>>());
        assert_ne!(order, sorted);
        assert!(
            Stream::new(4, Purpose::Shuffle, 0)
                .permutation(0)
                .is_empty()
        );
    }
}
