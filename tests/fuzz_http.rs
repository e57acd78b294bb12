//! A short run of the fuzz entries: mutated requests and answers, cut anywhere, find the same.
//!
//! Not here: the invariants (`peerage::http::fuzz`), exact answers (`tests/serve/corpus.rs`,
//! `tests/origin_corpus.rs`).

use peerage::http::Method;
use peerage::http::fuzz::{Found, drive, drive_origin};
use peerage::http::origin::Close;

const SEEDS: [&str; 8] = [
    "GET /a.png HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\nRange: bytes=0-1\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "PUT /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n\
     3\r\nabc\r\n0\r\nT: v\r\n\r\nGET / HTTP/1.0\r\n\r\n",
    "GET http://h:80/%41%2e?q HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nHost: a\r\nIf-None-Match: \"x\", W/\"y\"\r\n\r\n",
    "\r\nHEAD / HTTP/1.1\r\nhost:[::1]:80\r\nAccept-Encoding: gzip;q=0.1, br\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "GET /../../etc/passwd HTTP/1.1\r\nHost: ..\r\n\r\n",
];

const ANSWERS: [&str; 9] = [
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nT: v\r\n\r\n",
    "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
    "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi",
    "HTTP/1.1 302 Found\r\nLocation: http://a:80/x\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\nConnection: close, x\r\n\r\n\
     hello",
    "HTTP/1.1 200 OK\r\nX : y\r\nVary: *\r\nVia: 1.1 no-one\r\n\r\nuntil the end",
    "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 9\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
];

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        usize::try_from(self.0 >> 33).expect("64 bits") % bound
    }
}

fn mutate(random: &mut Random, seeds: &[&str]) -> Vec<u8> {
    const INTERESTING: &[u8] = b"\r\n\0 :/.%;,\"0fx\xff\tGH";
    let mut bytes = seeds[random.below(seeds.len())].as_bytes().to_vec();
    for _ in 0..random.below(6) {
        let at = random.below(bytes.len());
        match random.below(5) {
            0 => bytes[at] = INTERESTING[random.below(INTERESTING.len())],
            1 => bytes.insert(at, INTERESTING[random.below(INTERESTING.len())]),
            2 => drop(bytes.remove(at)),
            3 => {
                let end = at + random.below(bytes.len() - at);
                let copy = bytes[at..end].to_vec();
                bytes.splice(at..at, copy);
            }
            _ => bytes.extend_from_slice(seeds[random.below(seeds.len())].as_bytes()),
        }
        if bytes.is_empty() {
            bytes.push(b'G');
        }
    }
    bytes
}

#[test]
fn what_is_found_does_not_depend_on_the_cuts() {
    let mut random = Random(2026);
    for round in 0..60_000 {
        let bytes = mutate(&mut random, &SEEDS);
        let whole = drive(&bytes, &[]);
        let mut cuts: Vec<usize> =
            (0..random.below(8)).map(|_| random.below(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        let cut = drive(&bytes, &cuts);
        // A limit may be noticed before the bytes that would have been another error.
        let refused = |found: &[Found]| matches!(found.last(), Some(Found::Refused(_)));
        let same = whole == cut
            || (refused(&whole)
                && refused(&cut)
                && whole[..whole.len() - 1] == cut[..cut.len() - 1]);
        let text = String::from_utf8_lossy(&bytes);
        assert!(same, "round {round}: {text:?} cut at {cuts:?}: {whole:?} is not {cut:?}");
    }
}

#[test]
fn byte_by_byte_finds_the_same() {
    for seed in SEEDS {
        let cuts: Vec<usize> = (0..seed.len()).collect();
        assert_eq!(drive(seed.as_bytes(), &cuts), drive(seed.as_bytes(), &[]), "{seed:?}");
    }
}

#[test]
fn an_answer_does_not_depend_on_the_cuts() {
    let mut random = Random(9112);
    for round in 0..60_000 {
        let bytes = mutate(&mut random, &ANSWERS);
        let method = if random.below(4) == 0 { Method::Head } else { Method::Get };
        let close = [None, Some(Close::Orderly), Some(Close::Broken)][random.below(3)];
        let whole = drive_origin(&bytes, &[], method, close);
        let mut cuts: Vec<usize> =
            (0..random.below(8)).map(|_| random.below(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        let cut = drive_origin(&bytes, &cuts, method, close);
        let text = String::from_utf8_lossy(&bytes);
        assert_eq!(whole, cut, "round {round}: {text:?} cut at {cuts:?}");
    }
}

#[test]
fn noise_from_an_origin_never_panics() {
    const WORDS: &[u8] = b"\r\n\0 :;,09af\xffHTTP/1.";
    let mut random = Random(1);
    for _ in 0..20_000 {
        let start =
            ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"]
                [random.below(3)];
        let mut bytes = start.as_bytes().to_vec();
        let length = random.below(64);
        bytes.extend((0..length).map(|_| WORDS[random.below(WORDS.len())]));
        let cuts: Vec<usize> = (0..bytes.len()).collect();
        let whole = drive_origin(&bytes, &[], Method::Get, Some(Close::Orderly));
        let pieces = drive_origin(&bytes, &cuts, Method::Get, Some(Close::Orderly));
        assert_eq!(whole, pieces, "{:?}", String::from_utf8_lossy(&bytes));
    }
}
