//! A picture in memory: colours, per-point shading, strokes and discs with soft edges.
//!
//! Invariants: colours are 0..1 per channel, as the screen takes them; coordinates are pixels from
//! the top left corner, the centre of the first pixel at 0.5.
//! Not here: the file format; that is `png`.

use crate::math::{channel, index, sin, whole};

/// Width of every picture in pixels.
pub const WIDTH: usize = 640;
/// Height of every picture in pixels.
pub const HEIGHT: usize = 420;

/// Red, green, blue.
pub type Rgb = [f64; 3];

/// A picture.
pub struct Image {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Rows from the top, each from the left.
    pub pixels: Vec<Rgb>,
}

impl Image {
    /// A picture whose pixel is the mean of `grain` x `grain` values of `colour(x, y)`.
    pub fn shade(grain: usize, colour: impl Fn(f64, f64) -> Rgb) -> Image {
        let part = 1.0 / grain as f64;
        let mut pixels = Vec::with_capacity(WIDTH * HEIGHT);
        for at in 0..WIDTH * HEIGHT {
            let (x, y) = ((at % WIDTH) as f64, (at / WIDTH) as f64);
            let mut sum = [0.0; 3];
            for sub in 0..grain * grain {
                let (i, j) = ((sub % grain) as f64 + 0.5, (sub / grain) as f64 + 0.5);
                let sample = colour(x + i * part, y + j * part);
                for (sum, value) in sum.iter_mut().zip(sample) {
                    *sum += value.clamp(0.0, 1.0) * part * part;
                }
            }
            pixels.push(sum);
        }
        Image { width: WIDTH, height: HEIGHT, pixels }
    }

    /// Half the size: each pixel the mean of four.
    pub fn halved(&self) -> Image {
        let (width, height) = (self.width / 2, self.height / 2);
        let pixels = (0..width * height).map(|at| {
            let corner = at / width * 2 * self.width + at % width * 2;
            let four = [corner, corner + 1, corner + self.width, corner + self.width + 1];
            let mean = |c: usize| four.iter().map(|&p| self.pixels[p][c]).sum::<f64>() / 4.0;
            [mean(0), mean(1), mean(2)]
        });
        Image { width, height, pixels: pixels.collect() }
    }

    /// The bytes of the picture, three per pixel, with the channels rounded to `levels` steps.
    pub fn bytes(&self, levels: f64) -> Vec<u8> {
        let steps = levels - 1.0;
        let round = |value: f64| channel((value * steps + 0.5).floor() / steps);
        self.pixels.iter().flatten().map(|&value| round(value)).collect()
    }

    /// A disc.
    pub fn disc(&mut self, x: f64, y: f64, radius: f64, colour: Rgb) {
        self.stroke([x, y, radius], [x, y, radius], colour);
    }

    /// A line with round ends, from `[x, y, radius]` to `[x, y, radius]`.
    pub fn stroke(&mut self, from: [f64; 3], to: [f64; 3], colour: Rgb) {
        let [ax, ay, ar] = from;
        let [bx, by, br] = to;
        let reach = ar.max(br) + 1.0;
        let length2 = (bx - ax) * (bx - ax) + (by - ay) * (by - ay);
        self.paint([ax.min(bx), ay.min(by)], [ax.max(bx), ay.max(by)], reach, |x, y| {
            let along = (x - ax) * (bx - ax) + (y - ay) * (by - ay);
            let t = if length2 > 0.0 { (along / length2).clamp(0.0, 1.0) } else { 0.0 };
            let (dx, dy) = (x - ax - t * (bx - ax), y - ay - t * (by - ay));
            let edge = ar + (br - ar) * t - (dx * dx + dy * dy).sqrt();
            (colour, (edge + 0.5).clamp(0.0, 1.0))
        });
    }

    /// Lays `colour(x, y)`, a colour and how much it covers, over the box of two corners widened
    /// by `reach`.
    pub fn paint(
        &mut self,
        low: [f64; 2],
        high: [f64; 2],
        reach: f64,
        colour: impl Fn(f64, f64) -> (Rgb, f64),
    ) {
        let bound = |value: f64, size: usize| index(value.max(0.0)).min(size);
        let columns = bound(low[0] - reach, self.width)..bound(high[0] + reach + 1.0, self.width);
        for row in bound(low[1] - reach, self.height)..bound(high[1] + reach + 1.0, self.height) {
            for column in columns.clone() {
                let (paint, cover) = colour(column as f64 + 0.5, row as f64 + 0.5);
                let pixel = &mut self.pixels[row * self.width + column];
                *pixel = mix(*pixel, paint, cover);
            }
        }
    }
}

/// `from` at 0, `to` at 1.
pub fn mix(from: Rgb, to: Rgb, t: f64) -> Rgb {
    [0, 1, 2].map(|c: usize| from[c] + (to[c] - from[c]) * t)
}

/// The colour `0xrrggbb`.
pub fn hex(colour: u32) -> Rgb {
    let [_, r, g, b] = colour.to_be_bytes();
    [r, g, b].map(|c| f64::from(c) / 255.0)
}

/// Each channel times `light`.
pub fn lit(colour: Rgb, light: f64) -> Rgb {
    colour.map(|c| (c * light).clamp(0.0, 1.0))
}

/// The colour at `t` in 0..1 of a row of colours at equal distances.
pub fn ramp(colours: &[u32], t: f64) -> Rgb {
    let last = colours.len() - 1;
    let at = t.clamp(0.0, 1.0) * last as f64;
    let i = index(at).min(last - 1);
    mix(hex(colours[i]), hex(colours[i + 1]), at - i as f64)
}

/// The colour at `t` of a closed row of colours, softly turning back to the first at 1.
pub fn wheel(colours: &[u32], t: f64) -> Rgb {
    let at = (t - t.floor()) * colours.len() as f64;
    let i = index(at) % colours.len();
    let u = at - at.floor();
    let u = 0.5 + 0.5 * sin((u - 0.5) * std::f64::consts::PI);
    mix(hex(colours[i]), hex(colours[(i + 1) % colours.len()]), u)
}

/// `#rrggbb`, for the pictures that are text.
pub fn web(colour: Rgb) -> String {
    let [r, g, b] = colour.map(channel);
    format!("#{r:02x}{g:02x}{b:02x}")
}

/// The grid cell `size` wide that `x` falls into, and how far into it.
pub fn cell(x: f64, size: f64) -> (i64, f64) {
    let i = whole(x / size);
    (i, x - i as f64 * size)
}
