//! Pictures that are text: three of the gallery, the logo, the icon.
//!
//! Output: complete SVG files; numbers have two decimals at most, so that they stay short.
//! Not here: pixels; see `fields` and `strokes`.

use std::{f64::consts::TAU, fmt::Write};

use crate::{
    image::{HEIGHT, WIDTH, lit, ramp, web},
    math::{Random, cos, sin},
};

/// An SVG file the size of the other pictures, around `body`.
fn frame(title: &str, body: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         width=\"{WIDTH}\" height=\"{HEIGHT}\">\n<title>{title}</title>\n{body}</svg>\n"
    )
}

/// `x` with two decimals at most.
fn short(x: f64) -> String {
    let text = format!("{x:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

/// Appends a line to `body`; memory takes every byte.
fn add(body: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(body, "{line}").expect("memory takes every byte");
}

/// Ellipses turned around one centre.
pub fn rosette() -> String {
    let mut body = String::from(
        "<defs><radialGradient id=\"g\"><stop stop-color=\"#3a2360\"/>\
         <stop offset=\"1\" stop-color=\"#150d2b\"/></radialGradient></defs>\n\
         <rect width=\"640\" height=\"420\" fill=\"url(#g)\"/>\n\
         <g fill=\"none\" stroke-width=\"1.4\" transform=\"translate(320 210)\">\n",
    );
    for ring in 0..3 {
        let (rx, ry) = ([186, 128, 70][ring], [74, 46, 22][ring]);
        let count = [30, 24, 18][ring];
        for i in 0..count {
            let turn = short(f64::from(i) * 180.0 / f64::from(count));
            let t = f64::from(i) / f64::from(count);
            let wave = 0.5 - 0.5 * cos(t * TAU + ring as f64);
            let colour = web(ramp(&[0x5bc8e8, 0x8f7bf0, 0xff6fae, 0xffb86b, 0xffe9a8], wave));
            add(
                &mut body,
                format_args!(
                    "<ellipse rx=\"{rx}\" ry=\"{ry}\" stroke=\"{colour}\" stroke-opacity=\".8\" \
                     transform=\"rotate({turn})\"/>"
                ),
            );
        }
    }
    body.push_str("<circle r=\"9\" fill=\"#ffe9a8\"/>\n</g>\n");
    frame("Rosette", &body)
}

/// Cubes seen from a corner, at different heights.
pub fn cubes() -> String {
    let mut body = String::from(
        "<defs><linearGradient id=\"g\" x2=\"0\" y2=\"1\"><stop stop-color=\"#fbe9d7\"/>\
         <stop offset=\"1\" stop-color=\"#f4b9a0\"/></linearGradient></defs>\n\
         <rect width=\"640\" height=\"420\" fill=\"url(#g)\"/>\n\
         <g stroke=\"#2b2440\" stroke-opacity=\".25\" stroke-width=\".8\">\n",
    );
    let (half, quarter) = (30.0, 17.3);
    for sum in 0..17_i32 {
        for i in 0..=sum {
            let (i, j) = (f64::from(i), f64::from(sum - i));
            if i > 8.0 || j > 8.0 {
                continue;
            }
            let (dx, dy) = (i - 4.0, j - 4.0);
            let far = (dx * dx + dy * dy).sqrt();
            let rise = 36.0 + 34.0 * cos(far * 1.05);
            let (x, y) = (320.0 + (i - j) * half, 110.0 + (i + j) * quarter - rise);
            let colour = ramp(&[0x2a6f8f, 0x35a29f, 0xf6c667, 0xf07b5a, 0xc8456b], rise / 72.0);
            cube(&mut body, [x, y], [half, quarter], rise + 12.0, colour);
        }
    }
    body.push_str("</g>\n");
    frame("Cubes", &body)
}

/// One block: its top, its left and its right side.
fn cube(
    body: &mut String,
    [x, y]: [f64; 2],
    [half, quarter]: [f64; 2],
    drop: f64,
    colour: [f64; 3],
) {
    let (h, q, d) = (short(half), short(quarter), short(drop));
    let at = format!("M{} {}", short(x), short(y));
    let (top, left, right) =
        (web(lit(colour, 1.08)), web(lit(colour, 0.82)), web(lit(colour, 0.6)));
    add(body, format_args!("<path fill=\"{top}\" d=\"{at}m-{h} 0l{h}-{q} {h} {q}-{h} {q}z\"/>"));
    add(body, format_args!("<path fill=\"{left}\" d=\"{at}m-{h} 0l{h} {q}v{d}l-{h}-{q}z\"/>"));
    add(body, format_args!("<path fill=\"{right}\" d=\"{at}m{h} 0l-{h} {q}v{d}l{h}-{q}z\"/>"));
}

/// A moon over a sea of layered waves.
pub fn waves() -> String {
    let mut body = String::from(
        "<defs><linearGradient id=\"g\" x2=\"0\" y2=\"1\"><stop stop-color=\"#0f2147\"/>\
         <stop offset=\".6\" stop-color=\"#3d5a94\"/><stop offset=\"1\" stop-color=\"#9db4d8\"/>\
         </linearGradient><radialGradient id=\"m\"><stop offset=\".3\" stop-color=\"#fff4d2\" \
         stop-opacity=\".55\"/><stop offset=\"1\" stop-color=\"#fff4d2\" stop-opacity=\"0\"/>\
         </radialGradient></defs>\n<rect width=\"640\" height=\"420\" fill=\"url(#g)\"/>\n",
    );
    let mut random = Random::new(3);
    for _ in 0..60 {
        let (x, y) = (short(random.between(4.0, 636.0)), short(random.between(4.0, 170.0)));
        let r = short(random.between(0.4, 1.3));
        add(&mut body, format_args!("<circle cx=\"{x}\" cy=\"{y}\" r=\"{r}\" fill=\"#fff\"/>"));
    }
    body.push_str(
        "<circle cx=\"196\" cy=\"120\" r=\"120\" fill=\"url(#m)\"/>\n\
         <circle cx=\"196\" cy=\"120\" r=\"44\" fill=\"#fff6dc\"/>\n",
    );
    for layer in 0..7 {
        let depth = f64::from(layer);
        let (base, height) = (206.0 + 29.0 * depth, 5.0 + 2.2 * depth);
        let length = 92.0 + 24.0 * depth;
        let mut path = String::from("M0 420");
        for step in 0..=64 {
            let x = f64::from(step) * 10.0;
            let y = base + height * sin((x / length + depth * 1.7) * TAU / 2.0 + depth)
                - 0.35 * height * sin(x / length * TAU + depth * 2.0);
            path.push_str(&format!("L{} {}", short(x), short(y)));
        }
        let colour = web(ramp(&[0x7fa3cf, 0x3f74ad, 0x1f5188, 0x143a66, 0x0a1f3d], depth / 6.0));
        add(&mut body, format_args!("<path fill=\"{colour}\" d=\"{path}L640 420z\"/>"));
    }
    frame("Waves", &body)
}

/// The sign of the program: boxes around one picture, each joined to the next.
pub fn logo() -> String {
    let mut body = String::new();
    let places = [[48.0, 13.0], [83.0, 73.0], [13.0, 73.0]];
    let colours = ["#e8604c", "#f2b544", "#2a9d8f"];
    body.push_str(
        "<path d=\"M48 13L83 73H13z\" fill=\"none\" stroke=\"#8a93a6\" stroke-width=\"5\" \
         stroke-linejoin=\"round\"/>\n",
    );
    for (place, colour) in places.iter().zip(colours) {
        let (x, y) = (short(place[0] - 12.0), short(place[1] - 12.0));
        add(
            &mut body,
            format_args!(
                "<rect x=\"{x}\" y=\"{y}\" width=\"24\" height=\"24\" rx=\"6\" fill=\"{colour}\"/>"
            ),
        );
    }
    body.push_str("<circle cx=\"48\" cy=\"53\" r=\"9\" fill=\"#3d6bb3\"/>\n");
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 96 96\" width=\"96\" \
         height=\"96\">\n<title>peerage</title>\n{body}</svg>\n"
    )
}
