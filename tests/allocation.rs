//! What a hit costs beside the kernel's work: no allocation, and one waiting system call a batch.
//!
//! The daemon runs inside this process, so that one counting allocator sees its workers. Other
//! threads of it allocate about once a second; so the claim is that there are stretches of
//! thousands of hits without any allocation at all.
//!
//! Not here: the figures (`bench/results/static.md`).
#![expect(clippy::disallowed_methods, reason = "the daemon and its client need a thread each")]
#![allow(unsafe_code, reason = "a global allocator is unsafe to write")]
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use peerage::config::{Config, UserFrom};
use peerage::http::date::DateLine;
use peerage::http::head::{Description, Persistence, Prepared};
use peerage::http::request::{HeadLimits, header_space, parse};
use peerage::time::UnixSeconds;

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: hands every call on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const REQUEST: &[u8] =
    b"GET /a.bin HTTP/1.1\r\nHost: a\r\nAccept: image/*\r\nCookie: id=ann\r\n\r\n";
const LARGE: &[u8] = b"GET /large.bin HTTP/1.1\r\nHost: a\r\nCookie: id=bob\r\n\r\n";

/// Sends `request` on a warm connection and reads the whole answer, without allocating.
fn hit(stream: &mut TcpStream, request: &[u8], answer_len: usize, buffer: &mut [u8]) {
    stream.write_all(request).unwrap();
    let mut left = answer_len;
    while left > 0 {
        let room = left.min(buffer.len());
        left -= stream.read(&mut buffer[..room]).unwrap();
    }
}

/// Fewest allocations seen in a stretch of `hits`.
fn fewest(stream: &mut TcpStream, request: &[u8], answer_len: usize, hits: u32) -> u64 {
    let mut buffer = vec![0; 1 << 20];
    let mut fewest = u64::MAX;
    for _ in 0..20 {
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        for _ in 0..hits {
            hit(stream, request, answer_len, &mut buffer);
        }
        fewest = fewest.min(ALLOCATIONS.load(Ordering::Relaxed) - before);
    }
    fewest
}

/// Length of the answer to `request`, head included, as first received.
fn answer_len(stream: &mut TcpStream, request: &[u8], body_len: usize) -> usize {
    stream.write_all(request).unwrap();
    let mut seen = Vec::new();
    let mut byte = [0];
    while !seen.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        seen.push(byte[0]);
    }
    assert!(seen.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&seen));
    let mut body = vec![0; body_len];
    stream.read_exact(&mut body).unwrap();
    seen.len() + body_len
}

#[test]
fn a_hit_allocates_nothing_and_neither_do_its_parts() {
    parts_allocate_nothing();
    for (hot_bytes, is_fed) in [(0, false), (1 << 20, false), (1 << 20, true)] {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("a.bin"), vec![7; 5000]).unwrap();
        std::fs::write(directory.path().join("large.bin"), vec![7; 300_000]).unwrap();
        let probes = [(); 2].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
        let [address, online] = probes.map(|probe| probe.local_addr().unwrap());
        let mut config = Config::default();
        config.tree.root = directory.path().to_owned();
        config.tree.default_host = ".".to_owned();
        config.tree.hot_bytes_max = hot_bytes;
        config.server.listen = vec![address];
        config.server.workers = 1;
        config.admin.listen = None;
        // Each hit of a worker says who is online as well.
        config.online.enabled = is_fed;
        config.online.listen = vec![online];
        config.online.user = UserFrom::Cookie("id".to_owned());
        config.online.paths = vec!["**".to_owned()];
        config.limits.requests_per_connection = 1_000_000;
        // It runs until this process ends.
        std::thread::spawn(move || peerage::daemon::start::run(&config, None));
        let mut stream = connect(address);
        for (request, len, hits) in [(REQUEST, 5000, 500), (LARGE, 300_000, 100)] {
            let answer = answer_len(&mut stream, request, len);
            let allocations = fewest(&mut stream, request, answer, hits);
            let kind = format!("{hits} hits, hot {hot_bytes}, fed {is_fed}");
            assert_eq!(allocations, 0, "in the best stretch of {kind}");
        }
        if is_fed {
            let (mut asking, mut reply) = (connect(online), [0; 4]);
            asking.write_all(b"ONLINE.COUNT\r\n").unwrap();
            asking.read_exact(&mut reply).unwrap();
            assert_eq!(&reply, b":2\r\n", "both users were told of");
        }
    }
}

fn connect(address: std::net::SocketAddr) -> TcpStream {
    for _ in 0..200 {
        if let Ok(stream) = TcpStream::connect(address) {
            return stream;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("the daemon does not listen at {address}");
}

fn parts_allocate_nothing() {
    let limits = HeadLimits { header_bytes_max: 4096, headers_max: 32, uri_bytes_max: 1024 };
    let prepared = Prepared::new(&Description {
        len: 5,
        modified_nanos: 1,
        now: UnixSeconds(u64::MAX),
        twin: 0,
        content_type: "image/png",
        coding: None,
        varies: false,
        cache_control: None,
        server_name: "peerage",
        ranges: true,
    });
    let date = DateLine::new(UnixSeconds(1));
    let mut out = Vec::with_capacity(1024);
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    for _ in 0..1000 {
        let mut space = header_space();
        assert!(parse(REQUEST, &mut space, &limits).is_ok());
        out.clear();
        prepared.emit_ok(&mut out, &date, Persistence::Keep);
    }
    assert_eq!(ALLOCATIONS.load(Ordering::Relaxed), before);
}
