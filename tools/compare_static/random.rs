//! Random bytes and numbers, the same in every run.
//!
//! Input: a seed.   Output: numbers.
//! Owns: 64 bits of state.   Thread: any, pure.

/// splitmix64.
#[derive(Debug)]
pub struct Random {
    /// The seed, and what became of it.
    pub state: u64,
}

impl Random {
    /// The next 64 bits.
    pub fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).expect("usize is at most 64 bits");
        usize::try_from(self.next() % bound).expect("below a usize")
    }

    /// So many bytes.
    #[allow(dead_code, reason = "compare_online takes numbers only")]
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(count + 8);
        while bytes.len() < count {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(count);
        bytes
    }
}
