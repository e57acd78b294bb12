//! The few functions the pictures need, from the four operations and the square root alone.
//!
//! Invariants: the standard library's sin, exp and ln differ in the last bit from one system to
//! the next; these give the same bits everywhere, so the pictures do too.
//! Not here: colours and drawing; they are in `image`.

use std::f64::consts::{FRAC_PI_2, LN_2, LOG2_E, PI, TAU};

/// Sine, to about nine digits.
pub fn sin(x: f64) -> f64 {
    let turns = (x / TAU + 0.5).floor();
    let mut r = x - turns * TAU;
    if r > FRAC_PI_2 {
        r = PI - r;
    } else if r < -FRAC_PI_2 {
        r = -PI - r;
    }
    let r2 = r * r;
    let mut sum = 1.0;
    for k in [13.0 * 12.0, 11.0 * 10.0, 9.0 * 8.0, 7.0 * 6.0, 5.0 * 4.0, 3.0 * 2.0] {
        sum = 1.0 - r2 / k * sum;
    }
    r * sum
}

/// Cosine.
pub fn cos(x: f64) -> f64 {
    sin(x + FRAC_PI_2)
}

/// e to the power of `x`, for `x` within 60 of zero; beyond that it stays at the bound.
pub fn exp(x: f64) -> f64 {
    let x = x.clamp(-60.0, 60.0);
    let halvings = (x * LOG2_E + 0.5).floor();
    let r = x - halvings * LN_2;
    let mut sum = 1.0;
    for k in [9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0] {
        sum = 1.0 + r / k * sum;
    }
    let factor = if halvings < 0.0 { 0.5 } else { 2.0 };
    for _ in 0..whole(halvings.abs()) {
        sum *= factor;
    }
    sum
}

/// Natural logarithm of a positive number.
pub fn ln(x: f64) -> f64 {
    assert!(x > 0.0, "ln of {x}");
    let (mut x, mut doublings) = (x, 0.0);
    while x > 1.5 {
        x *= 0.5;
        doublings += 1.0;
    }
    while x < 0.75 {
        x *= 2.0;
        doublings -= 1.0;
    }
    let s = (x - 1.0) / (x + 1.0);
    let mut sum = 0.0;
    for k in [13.0, 11.0, 9.0, 7.0, 5.0, 3.0, 1.0] {
        sum = sum * s * s + 1.0 / k;
    }
    2.0 * s * sum + doublings * LN_2
}

/// The whole number below `x`.
#[expect(clippy::cast_possible_truncation, reason = "pictures are a few hundred pixels wide")]
pub fn whole(x: f64) -> i64 {
    x.floor() as i64
}

/// The index that `x` falls into, zero for anything negative.
pub fn index(x: f64) -> usize {
    usize::try_from(whole(x)).unwrap_or(0)
}

/// A colour channel, from 0..1 to 0..255.
#[expect(clippy::cast_possible_truncation, reason = "clamped to 0..=255 on the line")]
#[expect(clippy::cast_sign_loss, reason = "clamped to 0..=255 on the line")]
pub fn channel(x: f64) -> u8 {
    (x * 255.0 + 0.5).clamp(0.0, 255.0) as u8
}

/// 0 below `from`, 1 above `to`, smooth between.
pub fn smooth(from: f64, to: f64, x: f64) -> f64 {
    let t = ((x - from) / (to - from)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// A number in 0..1 that belongs to a point of a grid.
pub fn hash(x: i64, y: i64, seed: u64) -> f64 {
    let mut h = seed;
    for word in [x, y] {
        h = (h ^ word.cast_unsigned()).wrapping_add(0x9e37_79b9_7f4a_7c15);
        h = (h ^ (h >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        h = (h ^ (h >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        h ^= h >> 31;
    }
    (h >> 11) as f64 / (1_u64 << 53) as f64
}

/// Smooth noise in 0..1 with one bump per unit of length.
pub fn noise(x: f64, y: f64, seed: u64) -> f64 {
    let (cell_x, cell_y) = (whole(x), whole(y));
    let fade = |t: f64| t * t * t * (t * (t * 6.0 - 15.0) + 10.0);
    let (u, v) = (fade(x - x.floor()), fade(y - y.floor()));
    let row = |y: i64| {
        let (a, b) = (hash(cell_x, y, seed), hash(cell_x + 1, y, seed));
        a + (b - a) * u
    };
    let (top, bottom) = (row(cell_y), row(cell_y + 1));
    top + (bottom - top) * v
}

/// `octaves` layers of noise, each twice as fine and half as strong, in 0..1.
pub fn layered_noise(x: f64, y: f64, octaves: u32, seed: u64) -> f64 {
    let (mut sum, mut weight, mut scale, mut total) = (0.0, 1.0, 1.0, 0.0);
    for octave in 0..octaves {
        sum += weight * noise(x * scale, y * scale, seed + u64::from(octave));
        total += weight;
        weight *= 0.5;
        scale *= 2.0;
    }
    sum / total
}

/// Numbers in 0..1, one after the other, from a seed.
pub struct Random {
    seed: u64,
    drawn: i64,
}

impl Random {
    /// The sequence of this seed.
    pub fn new(seed: u64) -> Random {
        Random { seed, drawn: 0 }
    }

    /// The next one.
    pub fn next(&mut self) -> f64 {
        self.drawn += 1;
        hash(self.drawn, 0, self.seed)
    }

    /// The next one, spread over `from..to`.
    pub fn between(&mut self, from: f64, to: f64) -> f64 {
        from + (to - from) * self.next()
    }
}
