//! Chance, from a seed: the same everywhere, no crate needed.

/// SplitMix64.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// One stream for each of these.
    pub fn of(parts: &[u64]) -> Self {
        let mut random = Random(0x5EED);
        for part in parts {
            random.0 ^= part.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            random.next();
        }
        random
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// In 0..1.
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// In 0..below.
    pub fn below(&mut self, below: usize) -> usize {
        (self.unit() * below as f64) as usize
    }

    pub fn poisson(&mut self, mean: f64) -> u64 {
        if mean > 40.0 {
            let half = (mean / 2.0).floor();
            return self.poisson(half) + self.poisson(mean - half);
        }
        let (least, mut product, mut count) = ((-mean).exp(), self.unit(), 0);
        while product > least {
            product *= self.unit();
            count += 1;
        }
        count
    }

    pub fn binomial(&mut self, n: u64, p: f64) -> u64 {
        if p <= 0.0 || n == 0 {
            return 0;
        }
        if p > 0.5 {
            return n - self.binomial(n, 1.0 - p);
        }
        let (skip, mut at, mut count) = ((1.0 - p).ln(), 0_u64, 0);
        loop {
            at = at.saturating_add(((1.0 - self.unit()).ln() / skip) as u64 + 1);
            if at > n {
                return count;
            }
            count += 1;
        }
    }
}
