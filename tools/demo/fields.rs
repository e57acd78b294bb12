//! Pictures that are a function of the point: fractals, waves, glass, sand and sky.
//!
//! Output: one `Image` per function, always the same.
//! Not here: pictures drawn stroke by stroke; they are in `strokes`.

use std::f64::consts::TAU;

use crate::{
    image::{HEIGHT, Image, Rgb, WIDTH, hex, lit, mix, ramp, wheel},
    math::{cos, exp, hash, index, layered_noise, ln, sin, smooth, whole},
};

const CENTRE: [f64; 2] = [WIDTH as f64 / 2.0, HEIGHT as f64 / 2.0];

/// Steps until `z = z * z + c` leaves the plane around zero, smooth between whole steps.
fn escape(mut z: [f64; 2], c: [f64; 2], steps_max: u32) -> Option<f64> {
    for step in 0..steps_max {
        let (x2, y2) = (z[0] * z[0], z[1] * z[1]);
        if x2 + y2 > 1e4 {
            return Some(f64::from(step) - ln(ln(x2 + y2) / ln(1e4)) / ln(2.0));
        }
        z = [x2 - y2 + c[0], 2.0 * z[0] * z[1] + c[1]];
    }
    None
}

/// A Julia set, turned to lie along the picture.
pub fn julia() -> Image {
    let colours = [0x0b1026, 0x16356b, 0x2f7fb5, 0xa8dcd9, 0xfdf3d0, 0xf6b860, 0xc2544d, 0x4b1d4f];
    Image::shade(3, |x, y| {
        let z = [(x - CENTRE[0]) / 205.0, (y - CENTRE[1]) / 205.0];
        match escape(z, [-0.7269, 0.1889], 400) {
            Some(steps) => ramp(&colours, ln(1.0 + steps * 0.11) / 3.3),
            None => hex(0x14081c),
        }
    })
}

/// A detail of the Mandelbrot set, in the valley of sea horses.
pub fn mandelbrot() -> Image {
    let colours = [0x1b0f3b, 0x5b2a86, 0xd1495b, 0xf79256, 0xfbd1a2, 0x7dcfb6, 0x1d6f8b];
    Image::shade(4, |x, y| {
        let c = [-0.743_49 + (x - CENTRE[0]) * 4.4e-6, 0.131_45 + (y - CENTRE[1]) * 4.4e-6];
        match escape([0.0, 0.0], c, 700) {
            Some(steps) => wheel(&colours, ln(steps.max(1.0)) * 0.95 - 2.6),
            None => hex(0x0b0618),
        }
    })
}

/// Sums of waves, as on the first colour screens.
pub fn plasma() -> Image {
    let colours = [0x12355b, 0x1f9e9a, 0xf4d35e, 0xee6c4d, 0x9b2f6b, 0x3b1f5b];
    Image::shade(2, |x, y| {
        let (u, v) = (x / 92.0, y / 92.0);
        let (dx, dy) = (u - 4.6 + sin(v * 0.7), v - 1.4);
        let ring = sin((dx * dx + dy * dy).sqrt() * 2.3);
        let sum = sin(u + 1.3 * sin(v * 0.9)) + sin(v * 1.4 + cos(u * 0.8)) + ring;
        wheel(&colours, 0.18 * sum + 0.42)
    })
}

/// Stained glass: each pane is all that lies nearest to its point.
pub fn glass() -> Image {
    let size = 58.0;
    Image::shade(3, |x, y| {
        let (cell_x, cell_y) = (whole(x / size), whole(y / size));
        let mut near = [(f64::MAX, [0.0; 2], 0.0); 2];
        for i in 0..25 {
            let (i, j) = (cell_x + i % 5 - 2, cell_y + i / 5 - 2);
            let px = (i as f64 + 0.12 + 0.76 * hash(i, j, 1)) * size;
            let py = (j as f64 + 0.12 + 0.76 * hash(i, j, 2)) * size;
            let distance = ((x - px) * (x - px) + (y - py) * (y - py)).sqrt();
            if distance < near[0].0 {
                near = [(distance, [px, py], hash(i, j, 3)), near[0]];
            } else if distance < near[1].0 {
                near[1] = (distance, [px, py], 0.0);
            }
        }
        let [(first, [px, py], tint), (second, [qx, qy], _)] = near;
        let apart = ((px - qx) * (px - qx) + (py - qy) * (py - qy)).sqrt();
        // Distance to the line half way between the two nearest points.
        let edge = (second * second - first * first) / (2.0 * apart);
        let (dx, dy) = ((px - 455.0) / 420.0, (py - 125.0) / 300.0);
        let sun = (dx * dx + dy * dy).sqrt();
        let colours =
            [0xfff3c4, 0xffd166, 0xf79256, 0xe4576a, 0x8a4fa3, 0x3d5fa8, 0x1f8a8a, 0x14506b];
        let pane = ramp(&colours, sun * 0.72 + (tint - 0.5) * 0.26);
        let glow = 0.86 + 0.2 * smooth(0.0, 26.0, edge) - 0.08 * (y - py) / size;
        mix(hex(0x15131c), lit(pane, glow), smooth(1.7, 3.2, edge))
    })
}

/// Two sets of rings and what appears between them.
pub fn moire() -> Image {
    Image::shade(4, |x, y| {
        let rings = |cx: f64, cy: f64, period: f64| {
            let (dx, dy) = (x - cx, y - cy);
            let at = (dx * dx + dy * dy).sqrt() / period;
            smooth(-0.35, 0.35, sin(at * TAU))
        };
        let (a, b) = (rings(262.0, 210.0, 24.0), rings(378.0, 210.0, 24.0));
        let paper = mix(hex(0xfbf1e3), hex(0xf3e2cd), y / HEIGHT as f64);
        let first = mix(paper, hex(0x1f6f8b), a);
        let both = hex(0x16213e);
        mix(first, mix(hex(0xe8604c), both, a), b)
    })
}

/// Dunes before a setting sun.
pub fn dunes() -> Image {
    Image::shade(2, |x, y| {
        let sky = [0x2b2d5b, 0x5d3a72, 0xa84a72, 0xe8745a, 0xf9a857, 0xfcd581];
        let mut colour = ramp(&sky, y / 262.0);
        let (dx, dy) = (x - 446.0, y - 190.0);
        let distance = (dx * dx + dy * dy).sqrt();
        colour = mix(colour, hex(0xffe3a3), 0.75 * exp(-distance / 95.0));
        colour = mix(colour, hex(0xfff6da), smooth(47.0, 45.5, distance));
        for layer in 0..5 {
            colour = dune(colour, f64::from(layer), x, y);
        }
        colour
    })
}

/// Lays the dune of `layer`, 0 the farthest, over `below`.
fn dune(below: Rgb, layer: f64, x: f64, y: f64) -> Rgb {
    let far = 1.0 - layer / 4.0;
    let length = 150.0 + 70.0 * layer;
    let phase = 1.9 * layer + 0.6;
    let swell = |x: f64| {
        let bend = x / length + phase;
        // A sine bent over to one side: sand climbs slowly and falls steeply.
        sin(bend + 0.45 * sin(bend)) + 0.22 * sin(2.3 * bend + layer)
    };
    let crest = 236.0 + 36.0 * layer - (9.0 + 6.5 * layer) * swell(x);
    let slope = swell(x + 1.0) - swell(x - 1.0);
    let light = 0.5 + slope * length * 0.28;
    let shade = ramp(&[0x3a1d3f, 0x7e3350, 0xc65f4f, 0xf0a05a], light);
    let depth = (y - crest) / (46.0 + 20.0 * layer);
    let body = mix(shade, hex(0x2a1636), 0.85 * smooth(0.0, 1.6, depth));
    let haze = mix(body, hex(0xf0a468), 0.62 * far * far);
    mix(below, haze, smooth(-0.6, 0.6, y - crest))
}

/// Stars before a faint cloud.
pub fn stars() -> Image {
    Image::shade(2, |x, y| {
        let (u, v) = (x / 230.0, y / 230.0);
        let warp = layered_noise(u + 5.0, v + 2.0, 2, 21);
        let cloud = layered_noise(u * 1.5 + warp * 1.2, v * 1.5 - warp, 5, 31);
        let band = exp(-((y - 330.0 + 0.42 * x) / 105.0) * ((y - 330.0 + 0.42 * x) / 105.0));
        let sky = ramp(&[0x050814, 0x0b1230, 0x111a40], 0.3 + 0.7 * y / HEIGHT as f64);
        let tint = ramp(&[0x1f3a93, 0x7a3fa0, 0xd9577f, 0xf7b27a], smooth(0.25, 0.75, warp));
        let mut colour = mix(sky, tint, 0.85 * band * smooth(0.3, 0.9, cloud));
        for (size, share, seed) in [(16.0, 0.42, 41), (47.0, 0.5, 51), (131.0, 0.62, 61)] {
            for i in 0..9 {
                let (i, j) = (whole(x / size) + i % 3 - 1, whole(y / size) + i / 3 - 1);
                if hash(i, j, seed) < share {
                    colour = star(colour, [x, y], [i, j], size, seed);
                }
            }
        }
        colour
    })
}

/// Adds the star of one cell of the grid to `below`.
fn star(below: Rgb, [x, y]: [f64; 2], [i, j]: [i64; 2], size: f64, seed: u64) -> Rgb {
    let dx = x - (i as f64 + hash(i, j, seed + 1)) * size;
    let dy = y - (j as f64 + hash(i, j, seed + 2)) * size;
    let radius = 0.45 + size / 85.0 * (0.35 + hash(i, j, seed + 3));
    let distance = (dx * dx + dy * dy).sqrt();
    let colours = [0x9db8ff, 0xffffff, 0xfff1d6, 0xffc48a];
    let colour = ramp(&colours, hash(i, j, seed + 4));
    let disc = smooth(radius + 0.6, radius - 0.4, distance);
    let halo = if size > 100.0 { 0.55 * exp(-distance / (radius * 2.6)) } else { 0.0 };
    // Four faint rays on the largest, as a mirror's struts would draw them.
    let ray = |a: f64, b: f64| 0.5 * exp(-a.abs() / 0.7 - b.abs() / 9.0);
    let rays = if size > 100.0 { ray(dx, dy) + ray(dy, dx) } else { 0.0 };
    mix(below, colour, (disc + halo + rays).min(1.0))
}

/// Columns of the grid on which the coral grows.
const CORAL_WIDTH: usize = 214;
/// Rows of that grid.
const CORAL_HEIGHT: usize = 140;

/// Two substances that feed on each other (Gray and Scott, 1984), after some thousand steps.
pub fn coral() -> Image {
    let grown = grow();
    let at = |column: i64, row: i64| {
        let column = usize::try_from(column.rem_euclid(CORAL_WIDTH as i64)).unwrap_or(0);
        let row = usize::try_from(row.rem_euclid(CORAL_HEIGHT as i64)).unwrap_or(0);
        grown[row * CORAL_WIDTH + column]
    };
    let height = |x: f64, y: f64| {
        let (x, y) = (x / 3.0 - 0.5, y / 3.0 - 0.5);
        let (i, j) = (whole(x), whole(y));
        let fade = |t: f64| t * t * (3.0 - 2.0 * t);
        let (u, v) = (fade(x - x.floor()), fade(y - y.floor()));
        let top = at(i, j) + (at(i + 1, j) - at(i, j)) * u;
        let bottom = at(i, j + 1) + (at(i + 1, j + 1) - at(i, j + 1)) * u;
        top + (bottom - top) * v
    };
    Image::shade(2, |x, y| {
        let h = height(x, y);
        let slope = height(x - 2.0, y - 2.0) - height(x + 2.0, y + 2.0);
        let reef = ramp(&[0xf2685c, 0xfb9a7a, 0xffd0a8], (h - 0.2) * 5.0);
        let sea = mix(hex(0x0c3547), hex(0x12637a), (x + y) / 1060.0);
        let colour = mix(sea, reef, smooth(0.15, 0.2, h));
        lit(colour, 1.0 - 1.6 * slope)
    })
}

/// The amount of the second substance in each cell, the edges joined.
fn grow() -> Vec<f64> {
    let cells = CORAL_WIDTH * CORAL_HEIGHT;
    let mut a = vec![1.0; cells];
    let mut b = vec![0.0; cells];
    for seed in 0..26 {
        let (x, y) = (hash(seed, 0, 71) * CORAL_WIDTH as f64, hash(seed, 1, 71));
        let corner = index(y * CORAL_HEIGHT as f64) * CORAL_WIDTH + index(x);
        for i in 0..25 {
            b[(corner + i % 5 + i / 5 * CORAL_WIDTH) % cells] = 0.9;
        }
    }
    let (feed, kill) = (0.0545, 0.062);
    for _ in 0..4_200 {
        let (old_a, old_b) = (a.clone(), b.clone());
        for cell in 0..cells {
            let (column, row) = (cell % CORAL_WIDTH, cell / CORAL_WIDTH);
            let left = row * CORAL_WIDTH + (column + CORAL_WIDTH - 1) % CORAL_WIDTH;
            let right = row * CORAL_WIDTH + (column + 1) % CORAL_WIDTH;
            let up = (cell + cells - CORAL_WIDTH) % cells;
            let down = (cell + CORAL_WIDTH) % cells;
            let around = |v: &[f64]| v[left] + v[right] + v[up] + v[down] - 4.0 * v[cell];
            let eaten = old_a[cell] * old_b[cell] * old_b[cell];
            a[cell] += 0.2 * around(&old_a) - eaten + feed * (1.0 - old_a[cell]);
            b[cell] += 0.1 * around(&old_b) + eaten - (feed + kill) * old_b[cell];
        }
    }
    b
}
