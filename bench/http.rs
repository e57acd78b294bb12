//! The two things a hit does in user space: parse a request, write a response head.
//!
//! Not here: that neither allocates (`tests/allocation.rs`), whole requests
//! (`tools/compare_static`).

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use peerage::http::date::DateLine;
use peerage::http::head::{Description, Persistence, Prepared};
use peerage::http::request::{HeadLimits, header_space, parse};
use peerage::time::UnixSeconds;

const LIMITS: HeadLimits =
    HeadLimits { header_bytes_max: 16_384, headers_max: 64, uri_bytes_max: 8192 };

const SHORT: &str = "GET /a.png HTTP/1.1\r\nHost: www.example.com\r\n\r\n";

const BROWSER: &str = "GET /gallery/2026/11/sunset-over-the-dunes-thumb.png HTTP/1.1\r\n\
    Host: www.example.com\r\nConnection: keep-alive\r\nsec-ch-ua-platform: \"Linux\"\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
    Chrome/139.0.0.0 Safari/537.36\r\n\
    sec-ch-ua: \"Chromium\";v=\"139\", \"Not;A=Brand\";v=\"99\"\r\n\
    sec-ch-ua-mobile: ?0\r\nAccept: image/avif,image/webp,image/apng,image/*,*/*;q=0.8\r\n\
    Sec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: image\r\n\
    Referer: https://www.example.com/gallery/2026/11/\r\nAccept-Encoding: gzip, deflate, br\r\n\
    Accept-Language: en-GB,en;q=0.9\r\n\r\n";

fn requests(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parse");
    for (name, text) in [("short", SHORT), ("browser", BROWSER)] {
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut space = header_space();
                let head = parse(black_box(text.as_bytes()), &mut space, &LIMITS);
                black_box(head.is_ok())
            });
        });
    }
    group.finish();
}

fn heads(criterion: &mut Criterion) {
    let prepared = Prepared::new(&Description {
        len: 12_345,
        modified_nanos: 784_111_777_000_000_001,
        now: UnixSeconds(u64::MAX),
        twin: 0,
        content_type: "image/png",
        coding: None,
        varies: false,
        cache_control: Some("public, max-age=86400"),
        server_name: "peerage",
        ranges: true,
    });
    let date = DateLine::new(UnixSeconds(784_111_778));
    let mut out = Vec::with_capacity(1024);
    criterion.bench_function("head/ok", |bencher| {
        bencher.iter(|| {
            out.clear();
            prepared.emit_ok(&mut out, black_box(&date), Persistence::Keep);
            black_box(out.len())
        });
    });
}

criterion_group!(benches, requests, heads);
criterion_main!(benches);
