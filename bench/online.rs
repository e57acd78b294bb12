//! What the service of who is online does for one request: parsing it, the index, the reply.
//!
//! Not here: beside other designs (`tools/compare_online`), beside Redis (`tools/compare_redis`).

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use peerage::online::resp::{Arguments, Replies};
use peerage::online::service::{Options, Service};
use peerage::online::session::Session;
use peerage::online::{self, Hit, Online, Visitors};
use peerage::stdx::random::Random;
use peerage::time::{Instant, UnixMillis};

const USERS: u64 = 100_000;
const URLS: u64 = 10_000;
const NOW: UnixMillis = UnixMillis(1_700_000_000_000);

const OPTIONS: online::Options = online::Options {
    window_ms: 1_800_000,
    rows_max: 1_000_000,
    urls_max: 100_000,
    text_bytes_max: 64 << 20,
    seed: 7,
};

fn names(count: u64, prefix: &str) -> Vec<String> {
    (0..count).map(|number| format!("{prefix}{number:08}")).collect()
}

fn filled() -> (Online, Vec<String>, Vec<String>) {
    let mut index = Online::new(OPTIONS, NOW).expect("there is address space");
    let (users, urls) = (names(USERS, "visitor-"), names(URLS, "www.example.com/news/"));
    for (at, user) in users.iter().enumerate() {
        let url = urls[at % urls.len()].as_bytes();
        index.hit(&Hit { user: user.as_bytes(), url, at: NOW });
    }
    (index, users, urls)
}

fn pick<'a>(random: &mut Random, names: &'a [String]) -> &'a [u8] {
    let at = random.draw() % names.len() as u64;
    names[usize::try_from(at).expect("names fit memory")].as_bytes()
}

fn index(criterion: &mut Criterion) {
    let (mut index, users, urls) = filled();
    let mut random = Random::new(1);
    let mut group = criterion.benchmark_group("online");
    group.throughput(Throughput::Elements(1));
    group.bench_function("hit", |bencher| {
        bencher.iter(|| {
            let (user, url) = (pick(&mut random, &users), pick(&mut random, &urls));
            black_box(index.hit(&Hit { user, url, at: NOW }))
        });
    });
    let mut visitors = Visitors::default();
    group.bench_function("newest-10", |bencher| {
        bencher.iter(|| index.visitors(pick(&mut random, &urls), 10, None, &mut visitors));
    });
    group.bench_function("count", |bencher| bencher.iter(|| black_box(&index).count()));
    group.throughput(Throughput::Elements(32));
    group.bench_function("hits/32", |bencher| {
        bencher.iter(|| {
            let hits = (0..32).map(|_| {
                let (user, url) = (pick(&mut random, &users), pick(&mut random, &urls));
                Hit { user, url, at: NOW }
            });
            index.hits(hits, |outcome| {
                black_box(outcome);
            });
        });
    });
    group.finish();
}

fn pipeline(words: &[&[u8]], count: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..count {
        let mut request = Replies::new(&mut bytes, false);
        request.array(words.len());
        words.iter().for_each(|word| request.bulk(word));
    }
    bytes
}

fn sessions(criterion: &mut Criterion) {
    let options = Options {
        index: OPTIONS,
        user_bytes_max: 255,
        url_bytes_max: 2048,
        password: Box::default(),
        connections_max: 100,
    };
    let start = Instant::from_nanos(0);
    let mut service = Service::new(options, start, NOW).expect("there is address space");
    let mut session = Session::new(1, false, &service);
    let (mut scratch, mut out) = (Arguments::default(), Vec::new());
    let mut group = criterion.benchmark_group("online/session");
    for (name, words) in [
        ("ping", &[&b"PING"[..]][..]),
        ("count", &[b"ONLINE.COUNT"]),
        ("hit", &[b"ONLINE.HIT", b"visitor-00000001", b"www.example.com/", b"1700000000.123"]),
        ("newest-1", &[b"ONLINE.URL", b"www.example.com/", b"LIMIT", b"30"]),
    ] {
        let input = pipeline(words, 64);
        group.throughput(Throughput::Elements(64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                out.clear();
                let turn = session.handle_input(&input, &mut service, &mut scratch, &mut out);
                assert!(turn.consumed == input.len(), "a turn takes 64 requests");
                black_box(out.len())
            });
        });
    }
    group.finish();
}

criterion_group!(benches, index, sessions);
criterion_main!(benches);
