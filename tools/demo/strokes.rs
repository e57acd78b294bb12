//! Pictures drawn piece by piece: a tree, lines in a current, tiles, seeds.
//!
//! Output: one `Image` per function, always the same.
//! Not here: pictures that are a function of the point; they are in `fields`.

use std::f64::consts::{FRAC_PI_2, PI, TAU};

use crate::{
    image::{HEIGHT, Image, Rgb, WIDTH, cell, hex, lit, mix, ramp, wheel},
    math::{Random, cos, exp, hash, index, layered_noise, sin, smooth},
};

/// A tree grown by one rule: each branch ends in two or three thinner ones.
pub fn tree() -> Image {
    let mut image = Image::shade(2, |x, y| {
        let sky = [0xbfd9dc, 0xdfe7d8, 0xf6e7c1, 0xf8cf9b];
        let colour = ramp(&sky, y / 350.0);
        let far = 322.0 - 22.0 * sin(x / 95.0 + 2.6) - 9.0 * sin(x / 41.0 + 1.0);
        let colour = mix(colour, hex(0xb9c3a0), smooth(-0.7, 0.7, y - far));
        let (grass, cover) = meadow(x, y, 0.0);
        mix(colour, grass, cover)
    });
    let mut random = Random::new(11);
    let mut leaves = Vec::new();
    branch(
        &mut image,
        &mut random,
        &mut leaves,
        Branch { foot: [322.0, 364.0], angle: -FRAC_PI_2, length: 78.0, radius: 11.5, depth: 0 },
    );
    // The grass before the foot of the trunk.
    image.paint([300.0, 340.0], [344.0, 390.0], 0.0, |x, y| meadow(x, y, 14.0));
    for [x, y, radius, tint] in leaves {
        let light = 0.82 + 0.3 * (1.0 - y / 300.0);
        let colours = [0x9e2a2b, 0xd1495b, 0xe76f51, 0xf4a261, 0xf2c14e];
        image.disc(x, y, radius, lit(ramp(&colours, tint), light));
    }
    image
}

/// Colour of the grass, and how much it covers from `below` pixels under its edge on.
fn meadow(x: f64, y: f64, below: f64) -> (Rgb, f64) {
    let depth = y - 352.0 + 16.0 * sin(x / 130.0 + 0.9) + 8.0 * sin(x / 57.0);
    let blades = 3.0 * below / 14.0 * sin(x * 1.9) * sin(x * 0.7);
    (ramp(&[0x8a9a5b, 0x4f6b3f], depth / 80.0), smooth(-0.7, 0.7, depth - below + blades))
}

struct Branch {
    foot: [f64; 2],
    angle: f64,
    length: f64,
    radius: f64,
    depth: u32,
}

fn branch(image: &mut Image, random: &mut Random, leaves: &mut Vec<[f64; 4]>, from: Branch) {
    let [x, y] = from.foot;
    let (tip_x, tip_y) = (x + from.length * cos(from.angle), y + from.length * sin(from.angle));
    let thin = from.radius * 0.68;
    let bark = ramp(&[0x3b2a2a, 0x5a3d33], f64::from(from.depth) / 8.0);
    image.stroke([x, y, from.radius], [tip_x, tip_y, thin], bark);
    if from.depth >= 4 {
        for _ in 0..3 {
            let (dx, dy) = (random.between(-9.0, 9.0), random.between(-9.0, 9.0));
            let (radius, tint) = (random.between(1.8, 3.9), random.next());
            leaves.push([tip_x + dx, tip_y + dy, radius, tint]);
        }
    }
    if from.depth == 8 {
        return;
    }
    let count = if random.next() < 0.3 && from.depth > 0 { 3 } else { 2 };
    for i in 0..count {
        let side = if count == 2 { f64::from(i) * 2.0 - 1.0 } else { f64::from(i) - 1.0 };
        let turn = side * random.between(0.25, 0.62) + random.between(-0.08, 0.08);
        // Branches that would hang are drawn back up towards the light.
        let angle = from.angle + turn - 0.06 * cos(from.angle);
        let length = from.length * random.between(0.7, 0.84);
        let child =
            Branch { foot: [tip_x, tip_y], angle, length, radius: thin, depth: from.depth + 1 };
        branch(image, random, leaves, child);
    }
}

/// How near two lines of the current may come, in pixels.
const LINE_GAP: f64 = 7.5;

/// Lines that follow a current and keep their distance.
pub fn flow() -> Image {
    let mut image = Image::shade(1, |x, y| {
        let (dx, dy) = ((x - 320.0) / 420.0, (y - 210.0) / 300.0);
        mix(hex(0x14213d), hex(0x0a1022), (dx * dx + dy * dy).min(1.0))
    });
    let mut random = Random::new(5);
    let mut taken = vec![false; WIDTH * HEIGHT];
    for _ in 0..9_000 {
        let seed = [random.between(0.0, WIDTH as f64), random.between(0.0, HEIGHT as f64)];
        let mut points = follow(&taken, seed, -1.0);
        points.reverse();
        points.extend(follow(&taken, seed, 1.0));
        if points.len() < 16 {
            continue;
        }
        for &[x, y] in &points {
            occupy(&mut taken, x, y);
        }
        draw_line(&mut image, &points);
    }
    image
}

fn current(x: f64, y: f64) -> f64 {
    layered_noise(x / 210.0 + 3.0, y / 210.0 + 8.0, 2, 87) * TAU * 1.7 + 0.4
}

/// Points from `at` along the current until a line is near or the picture ends.
fn follow(taken: &[bool], mut at: [f64; 2], sign: f64) -> Vec<[f64; 2]> {
    let mut points = Vec::new();
    for _ in 0..130 {
        let inside = (0.0..WIDTH as f64).contains(&at[0]) && (0.0..HEIGHT as f64).contains(&at[1]);
        if !inside || taken[index(at[1]) * WIDTH + index(at[0])] {
            break;
        }
        points.push(at);
        let angle = current(at[0], at[1]);
        at = [at[0] + sign * 2.0 * cos(angle), at[1] + sign * 2.0 * sin(angle)];
    }
    points
}

fn occupy(taken: &mut [bool], x: f64, y: f64) {
    for row in index(y - LINE_GAP)..index(y + LINE_GAP + 1.0).min(HEIGHT) {
        for column in index(x - LINE_GAP)..index(x + LINE_GAP + 1.0).min(WIDTH) {
            let (dx, dy) = (column as f64 - x, row as f64 - y);
            taken[row * WIDTH + column] |= dx * dx + dy * dy < LINE_GAP * LINE_GAP;
        }
    }
}

fn draw_line(image: &mut Image, points: &[[f64; 2]]) {
    let [x, y] = points[points.len() / 2];
    let angle = current(x, y);
    let colours = [0x2ec4b6, 0x3a86ff, 0x8338ec, 0xff4d8d, 0xffbe0b, 0x9bdeac];
    let colour = wheel(&colours, angle / TAU * 1.1 + x / 1_400.0);
    let last = (points.len() - 1) as f64;
    let radius = |i: usize| 0.5 + 1.9 * sin(PI * i as f64 / last).max(0.0);
    for (i, pair) in points.windows(2).enumerate() {
        let ([ax, ay], [bx, by]) = (pair[0], pair[1]);
        image.stroke([ax, ay, radius(i)], [bx, by, radius(i + 1)], colour);
    }
}

/// Tiles with two arcs each (Truchet, 1704; Smith, 1987), turned at random.
pub fn truchet() -> Image {
    let size = 40.0;
    Image::shade(4, |x, y| {
        let ((i, u), (j, v)) = (cell(x, size), cell(y + 10.0, size));
        let u = if hash(i, j, 91) < 0.5 { u } else { size - u };
        let from = |cx: f64, cy: f64| ((u - cx) * (u - cx) + (v - cy) * (v - cy)).sqrt();
        let off = (from(0.0, 0.0) - 20.0).abs().min((from(size, size) - 20.0).abs());
        let place = (i as f64 * size + j as f64 * size * 1.2) / 1100.0;
        let ground = ramp(&[0x1d3557, 0x243b6b, 0x3a2f6b], place);
        let pipe = ramp(&[0xa8dadc, 0xf1faee, 0xffd6a5, 0xff9f9f], place);
        let colour = mix(ground, hex(0x0f1b33), smooth(14.2, 13.2, off));
        let colour = mix(colour, pipe, smooth(10.2, 9.4, off));
        let colour = mix(colour, hex(0xe63946), smooth(5.2, 4.4, off));
        mix(colour, hex(0xfff4e0), smooth(1.8, 1.0, off))
    })
}

/// Seeds as a sunflower sets them, each turned on by the golden angle (Vogel, 1979).
pub fn seeds() -> Image {
    let mut image = Image::shade(2, |x, y| {
        let (dx, dy) = ((x - 320.0) / 360.0, (y - 210.0) / 360.0);
        ramp(&[0x1c5d5a, 0x0f3d46, 0x0a2533], (dx * dx + dy * dy).sqrt())
    });
    let golden = PI * (3.0 - 5.0_f64.sqrt());
    for n in (0..1_320).rev() {
        let t = f64::from(n) / 1_320.0;
        let distance = 10.4 * (f64::from(n) + 0.4).sqrt();
        let angle = f64::from(n) * golden;
        let (x, y) = (320.0 + distance * cos(angle), 210.0 + distance * sin(angle));
        let colours = [0xfbeaa8, 0xf9c74f, 0xee8434, 0xd1495b, 0x9d4edd, 0x4c7fd9, 0x3ec6b0];
        bead(&mut image, [x, y], 3.6 + 5.6 * t.sqrt(), ramp(&colours, t * 1.2));
    }
    image
}

/// A disc with a soft shadow below and a light spot above.
fn bead(image: &mut Image, [x, y]: [f64; 2], radius: f64, colour: Rgb) {
    let corner = [x, y];
    image.paint(corner, corner, radius + 5.0, |px, py| {
        let (dx, dy) = (px - x - 1.5, py - y - 2.5);
        let off = (dx * dx + dy * dy).sqrt() / radius;
        (hex(0x06151c), 0.5 * exp(-off * off * 1.2))
    });
    image.paint(corner, corner, radius + 1.0, |px, py| {
        let (dx, dy) = (px - x, py - y);
        let cover = (radius + 0.5 - (dx * dx + dy * dy).sqrt()).clamp(0.0, 1.0);
        let (lx, ly) = (dx / radius + 0.35, dy / radius + 0.4);
        (lit(colour, 1.18 - 0.32 * (lx * lx + ly * ly).sqrt()), cover)
    });
}
