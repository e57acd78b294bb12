//! The index of who is online against models of it, and against readers on other threads.
//!
//! Not here: single rules of the index (unit tests beside it), sockets.

mod model;
mod race;

use peerage::online::Options;
use peerage::time::UnixMillis;

/// A small generator of pseudo-random numbers: xorshift64*, Vigna 2016.
pub struct Random(pub u64);

impl Random {
    /// The next number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % end
    }
}

/// When the tests begin.
pub const START: UnixMillis = UnixMillis(1_700_000_000_000);

/// Room for all that a test does.
pub const BOUNDS: Options =
    Options { window_ms: 1000, rows_max: 5000, urls_max: 1000, text_bytes_max: 1 << 20, seed: 3 };
