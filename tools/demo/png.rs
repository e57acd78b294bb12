//! A PNG writer for true colour: signature, IHDR, IDAT, IEND.
//!
//! Input: rows of red, green, blue bytes.   Output: the file's bytes.
//! Invariants: the same bytes in give the same bytes out, as long as Cargo.lock holds flate2.
//! Source: PNG, third edition (W3C, 2025): 5.3 chunks, 9.2 filters, 11.2.1 IHDR.
//! Not here: palettes, alpha and interlacing; no picture needs them.

use std::io::Write;

use flate2::{Compression, Crc, write::ZlibEncoder};

/// Bytes of a pixel.
const PIXEL_BYTES: usize = 3;
/// PNG 9.2, in the order of their type bytes: none, sub, up, Paeth. Average is left out: on drawn
/// pictures it never won.
const FILTERS: [u8; 4] = [0, 1, 2, 4];

/// The file of a picture.
pub fn encode(width: usize, height: usize, bytes: &[u8]) -> Vec<u8> {
    assert_eq!(bytes.len(), width * height * PIXEL_BYTES, "{width} x {height}");
    let mut head = Vec::new();
    for size in [width, height] {
        let size = u32::try_from(size).expect("a picture is a few hundred pixels wide");
        head.extend(size.to_be_bytes());
    }
    // Eight bits per channel, true colour, deflate, filters per row, not interlaced.
    head.extend([8, 2, 0, 0, 0]);
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    chunk(&mut file, *b"IHDR", &head);
    chunk(&mut file, *b"IDAT", &smallest(width, bytes));
    chunk(&mut file, *b"IEND", &[]);
    file
}

/// PNG 5.3: length, type, data, check sum over type and data.
fn chunk(file: &mut Vec<u8>, kind: [u8; 4], data: &[u8]) {
    let length = u32::try_from(data.len()).expect("a picture is below four gigabytes");
    let mut crc = Crc::new();
    crc.update(&kind);
    crc.update(data);
    file.extend(length.to_be_bytes());
    file.extend(kind);
    file.extend(data);
    file.extend(crc.sum().to_be_bytes());
}

/// The rows compressed in each of five ways, the shortest kept: one filter for all rows suits
/// pictures of few colours, a choice per row suits the rest.
fn smallest(width: usize, bytes: &[u8]) -> Vec<u8> {
    let row_bytes = width * PIXEL_BYTES;
    let per_row = deflate(&filtered(row_bytes, bytes, &FILTERS));
    let others = FILTERS.iter().map(|&filter| deflate(&filtered(row_bytes, bytes, &[filter])));
    others.fold(per_row, |best, other| if other.len() < best.len() { other } else { best })
}

/// Each row behind the type byte of the filter among `choice` that leaves the least.
fn filtered(row_bytes: usize, bytes: &[u8], choice: &[u8]) -> Vec<u8> {
    let mut above = vec![0; row_bytes];
    let mut out = Vec::with_capacity(bytes.len() + bytes.len() / row_bytes);
    for row in bytes.chunks_exact(row_bytes) {
        let candidates = choice.iter().map(|&filter| filter_row(filter, row, &above));
        // PNG 12.7: the sum of the differences, read as signed, guesses well which row packs best.
        let cost = |row: &Vec<u8>| -> u64 {
            row[1..].iter().map(|&byte| u64::from(byte.cast_signed().unsigned_abs())).sum()
        };
        out.extend(candidates.min_by_key(cost).expect("there is at least one filter"));
        above.copy_from_slice(row);
    }
    out
}

fn filter_row(filter: u8, row: &[u8], above: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(row.len() + 1);
    out.push(filter);
    for (i, &byte) in row.iter().enumerate() {
        let before = |row: &[u8]| if i < PIXEL_BYTES { 0 } else { row[i - PIXEL_BYTES] };
        let guess = match filter {
            1 => before(row),
            2 => above[i],
            4 => paeth(before(row), above[i], before(above)),
            _ => 0,
        };
        out.push(byte.wrapping_sub(guess));
    }
    out
}

/// PNG 9.4: the neighbour closest to left + up - up left.
fn paeth(left: u8, up: u8, corner: u8) -> u8 {
    let guess = i16::from(left) + i16::from(up) - i16::from(corner);
    let off = |byte: u8| (guess - i16::from(byte)).abs();
    if off(left) <= off(up) && off(left) <= off(corner) {
        left
    } else if off(up) <= off(corner) {
        up
    } else {
        corner
    }
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("memory takes every byte")
}
