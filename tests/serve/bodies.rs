//! Bodies of every size, byte for byte, to fast and slow readers.
//!
//! Not here: ranges (`basics`).

use std::io::{Read as _, Write as _};
use std::time::Duration;

use socket2::SockRef;

use crate::harness::{pattern, read_answer, start};

const SIZES: [usize; 12] =
    [0, 1, 4095, 4096, 4097, 65_000, 65_535, 65_536, 65_537, 1_048_576, 1_048_577, 5 << 20];

#[test]
fn every_size_arrives_whole_again_and_again() {
    let daemon = start("", "");
    for (seed, len) in (0_u8..).zip(SIZES) {
        daemon.put(&format!("{len}.bin"), &pattern(len, seed));
    }
    let mut stream = daemon.connect();
    // The first is cold, the third and later may come from the arena.
    for round in 0..6 {
        for (seed, len) in (0_u8..).zip(SIZES) {
            write!(stream, "GET /{len}.bin HTTP/1.1\r\nHost: a.example\r\n\r\n").unwrap();
            let answer = read_answer(&mut stream, false);
            assert!(answer.body == pattern(len, seed), "{len} bytes in round {round}");
        }
    }
    let metrics = daemon.metrics();
    assert!(metrics["peerage_files_hot_hits_total"] > 0.0, "the arena was used");
    assert!(metrics["peerage_http_sendfile_total"] > 0.0, "sendfile was used");
}

#[test]
fn slow_readers_get_the_same_bytes() {
    let daemon = start("", "");
    let bytes = pattern(3 << 20, 7);
    daemon.put("a.bin", &bytes);
    std::thread::scope(|scope| {
        for number in 0..8 {
            let (daemon, bytes) = (&daemon, &bytes);
            scope.spawn(move || {
                let mut stream = daemon.connect();
                SockRef::from(&stream).set_recv_buffer_size(8192).unwrap();
                stream.write_all(b"GET /a.bin HTTP/1.0\r\n\r\n").unwrap();
                let (mut all, mut piece) = (Vec::new(), vec![0; 50_000 + number * 7]);
                loop {
                    let count = stream.read(&mut piece).unwrap();
                    if count == 0 {
                        break;
                    }
                    all.extend_from_slice(&piece[..count]);
                    std::thread::sleep(Duration::from_millis(1));
                }
                assert!(all.ends_with(bytes), "connection {number}: {} bytes", all.len());
            });
        }
    });
}
