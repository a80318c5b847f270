//! Keys for benchmarks, made before anything is measured.

const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// SplitMix64's output for the state before this step: a bijection of 64 bits.
pub fn mix(state: u64) -> u64 {
    let mut z = state.wrapping_add(STEP);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators").
pub struct Random(pub u64);

impl Random {
    /// The next 64 bits.
    pub fn next(&mut self) -> u64 {
        let drawn = mix(self.0);
        self.0 = self.0.wrapping_add(STEP);
        drawn
    }

    /// Uniform in [0, 1).
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// `count` keys out of `keys`, zipf distributed with exponent `theta` (Gray et al., "Quickly generating billion-record
/// synthetic databases"), scattered over the key space so that hot keys are not neighbours.
pub fn zipf_keys(count: usize, keys: u64, theta: f64, seed: u64) -> Vec<u64> {
    let zeta = |n: u64| (1..=n).map(|i| 1.0 / (i as f64).powf(theta)).sum::<f64>();
    let (zetan, zeta2) = (zeta(keys), zeta(2));
    let alpha = 1.0 / (1.0 - theta);
    let eta = (1.0 - (2.0 / keys as f64).powf(1.0 - theta)) / (1.0 - zeta2 / zetan);
    let mut random = Random(seed);
    let mut draw = || {
        let u = random.unit();
        let uz = u * zetan;
        if uz < 1.0 {
            return 0;
        }
        if uz < 1.0 + 0.5f64.powf(theta) {
            return 1;
        }
        ((keys as f64 * (eta * u - eta + 1.0).powf(alpha)) as u64).min(keys - 1)
    };
    (0..count).map(|_| draw().wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20).collect()
}
