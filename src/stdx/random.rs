//! A small generator of pseudo-random numbers, for shapes that nobody gains from guessing.
//!
//! Thread: any, pure.
//! Not here: anything that a stranger must not guess (`sys` asks the kernel for that).
//! Source: xorshift64, Marsaglia, "Xorshift RNGs", Journal of Statistical Software 8(14), 2003.

/// The generator.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// One that a seed decides over.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        // Zero stays zero for ever.
        Self(seed | 1)
    }

    /// The next 64 bits, never all zero.
    pub const fn draw(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_over_all() {
        let mut one = Random::new(4);
        let mut other = one.clone();
        let drawn: Vec<u64> = (0..1000).map(|_| one.draw()).collect();
        assert!(drawn.iter().all(|word| *word != 0 && *word == other.draw()));
        assert_ne!(drawn[0], Random::new(8).draw());
    }
}
