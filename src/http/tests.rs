//! The connection core, state by state.
//!
//! Not here: heads, ranges, conditions, which are tested beside their code.

use super::request::header_space;
use super::*;

const OPTIONS: Options = Options {
    head: HeadLimits { header_bytes_max: 1024, headers_max: 16, uri_bytes_max: 256 },
    body_bytes_max: 100,
    idle_timeout: Duration::from_secs(60),
    header_timeout: Duration::from_secs(10),
    body_timeout: Duration::from_secs(30),
    send_timeout: Duration::from_secs(20),
    send_rate_min: 1000,
    linger_timeout: Duration::from_secs(2),
    requests_per_connection: 3,
};

const T0: Instant = Instant::from_nanos(0);

fn at(seconds: u64) -> Instant {
    T0.after(Duration::from_secs(seconds))
}

/// One step over `input` as text, with what it consumed.
fn step(conn: &mut Conn, input: &str) -> String {
    let mut space = header_space();
    match conn.handle_input(T0, input.as_bytes(), &mut space, &OPTIONS) {
        Step::Request(request, consumed) => format!("request {} {consumed}", request.target),
        Step::Held(consumed) => format!("held {consumed}"),
        Step::Begun(request, consumed) if request.expects_continue => format!("asks {consumed}"),
        Step::Begun(_, consumed) => format!("begun {consumed}"),
        Step::Data(range, consumed) => format!("data {} {consumed}", &input[range]),
        Step::Consumed(consumed) => format!("consumed {consumed}"),
        Step::Refused(status) => format!("refused {}", status.code()),
        Step::NeedMore => "more".to_owned(),
    }
}

const GET: &str = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
const POST: &str = "POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n";

// Idle and Head ---------------------------------------------------------------------------------

#[test]
fn a_request_is_offered_again_until_it_is_answered() {
    let mut conn = Conn::new(T0);
    assert_eq!(step(&mut conn, GET), "request /a 28");
    assert_eq!(step(&mut conn, GET), "request /a 28");
    assert!(conn.handle_answer(T0, &OPTIONS));
    assert_eq!(step(&mut conn, GET), "more");
    conn.handle_sent(T0);
    assert_eq!(step(&mut conn, GET), "request /a 28");
}

#[test]
fn a_begun_head_is_timed_from_its_first_byte() {
    let mut conn = Conn::new(T0);
    assert_eq!(conn.next_deadline(&OPTIONS), at(60));
    assert_eq!(step(&mut conn, "GET /"), "more");
    assert!(conn.is_reading());
    assert_eq!(conn.next_deadline(&OPTIONS), at(10));
    assert_eq!(conn.handle_timeout(at(9), &OPTIONS), None);
    assert_eq!(conn.handle_timeout(at(10), &OPTIONS), Some(Timeout::Header));
}

#[test]
fn an_idle_connection_times_out() {
    let conn = Conn::new(T0);
    assert_eq!(conn.handle_timeout(at(59), &OPTIONS), None);
    assert_eq!(conn.handle_timeout(at(60), &OPTIONS), Some(Timeout::Idle));
}

// Body ------------------------------------------------------------------------------------------

#[test]
fn a_request_with_a_body_is_held_until_the_body_is_over() {
    let mut conn = Conn::new(T0);
    assert_eq!(step(&mut conn, POST), format!("begun {}", POST.len()));
    assert!(!conn.has_held());
    assert_eq!(step(&mut conn, "ab"), "consumed 2");
    assert_eq!(step(&mut conn, "cGET"), "held 1");
    assert!(conn.has_held());
    assert_eq!(conn.take_held(), POST.as_bytes());
    assert!(!conn.has_held());
}

#[test]
fn a_body_that_is_kept_is_handed_out() {
    let mut conn = Conn::new(T0);
    step(&mut conn, POST);
    conn.keep_body();
    assert_eq!(step(&mut conn, ""), "more");
    assert_eq!(step(&mut conn, "ab"), "data ab 2");
    assert_eq!(step(&mut conn, "cGET"), "data c 1");
    assert!(!conn.has_held());
    assert_eq!(step(&mut conn, ""), "held 0");
    assert_eq!(conn.take_held(), POST.as_bytes());
    // The next one is read over again.
    step(&mut conn, POST);
    assert_eq!(step(&mut conn, "abc"), "held 3");
}

#[test]
fn a_kept_body_is_the_same_however_it_is_cut() {
    let head = "PUT /p HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunks = "3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nT: v\r\n\r\n";
    let long = POST.replace("th: 3", "th: 5");
    for (head, body) in [(head, chunks), (&long, "abcde")] {
        let text = format!("{head}{body}GET /a HTTP/1.1\r\nHost: h\r\n\r\n");
        for cut in 1..text.len() {
            let (mut conn, mut data, mut at, mut seen) = (Conn::new(T0), Vec::new(), 0, Vec::new());
            for end in [cut, text.len()] {
                loop {
                    let (mut space, input) = (header_space(), &text.as_bytes()[at..end]);
                    at += match conn.handle_input(T0, input, &mut space, &OPTIONS) {
                        Step::NeedMore => break,
                        Step::Begun(_, consumed) => {
                            conn.keep_body();
                            consumed
                        }
                        Step::Data(range, consumed) => {
                            data.extend_from_slice(&input[range]);
                            consumed
                        }
                        Step::Held(consumed) => {
                            seen.push("held");
                            consumed
                        }
                        Step::Request(_, consumed) => {
                            seen.push("request");
                            consumed
                        }
                        Step::Consumed(consumed) => consumed,
                        Step::Refused(status) => panic!("{status:?} at {cut}"),
                    };
                }
            }
            assert_eq!((data.as_slice(), at), (&b"abcde"[..], text.len()), "cut at {cut}");
            assert_eq!(seen, ["held", "request"], "cut at {cut}");
        }
    }
}

#[test]
fn a_kept_body_is_refused_as_one_that_is_read_over() {
    let head = "PUT /p HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (body, expected) in [("65\r\n", "refused 413"), ("3\nabc", "refused 400")] {
        let mut conn = Conn::new(T0);
        step(&mut conn, head);
        conn.keep_body();
        assert_eq!(step(&mut conn, body), expected);
    }
}

#[test]
fn a_body_is_timed() {
    let mut conn = Conn::new(T0);
    step(&mut conn, POST);
    assert_eq!(conn.handle_timeout(at(29), &OPTIONS), None);
    assert_eq!(conn.handle_timeout(at(30), &OPTIONS), Some(Timeout::Body));
}

#[test]
fn expectations_are_met_before_the_body_comes() {
    let mut conn = Conn::new(T0);
    let head = "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n";
    assert_eq!(step(&mut conn, head), format!("asks {}", head.len()));
    assert_eq!(step(&mut conn, "abc"), "held 3");
}

#[test]
fn a_body_too_large_is_refused_at_once() {
    let mut conn = Conn::new(T0);
    let head = "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 101\r\nExpect: 100-continue\r\n\r\n";
    assert_eq!(step(&mut conn, head), "refused 413");
}

#[test]
fn a_chunked_body_is_never_taken_for_a_request() {
    let mut conn = Conn::new(T0);
    let head = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(step(&mut conn, head), format!("begun {}", head.len()));
    assert_eq!(
        step(&mut conn, "1c\r\nGET /a HTTP/1.1\r\nHost: h\r\n\r\n\r\n0\r\n\r\nGET"),
        "held 39"
    );
}

#[test]
fn a_body_behind_a_batch_of_answers_is_still_a_body() {
    let mut conn = Conn::new(T0);
    conn.handle_answer(T0, &OPTIONS);
    conn.handle_next(T0);
    assert_eq!(step(&mut conn, POST), format!("begun {}", POST.len()));
    // The answer before it is sent meanwhile.
    conn.handle_wait(T0);
    assert!(!conn.has_held());
    conn.handle_sent(at(1));
    assert!(!conn.has_held());
    assert_eq!(step(&mut conn, "GET /"), "held 3");
    assert!(conn.has_held());
}

// Answer ----------------------------------------------------------------------------------------

#[test]
fn the_last_request_says_so() {
    let mut conn = Conn::new(T0);
    assert!(conn.handle_answer(T0, &OPTIONS));
    assert!(conn.handle_answer(T0, &OPTIONS));
    assert!(!conn.handle_answer(T0, &OPTIONS));
    assert_eq!(conn.requests(), 3);
}

#[test]
fn a_stalled_reader_times_out_and_a_slow_one_too() {
    let mut conn = Conn::new(T0);
    conn.handle_answer(T0, &OPTIONS);
    assert_eq!(conn.handle_timeout(at(19), &OPTIONS), None);
    assert_eq!(conn.handle_timeout(at(20), &OPTIONS), Some(Timeout::Send));
    conn.handle_progress(at(19), 29_000);
    assert_eq!(conn.handle_timeout(at(29), &OPTIONS), None);
    assert_eq!(conn.handle_timeout(at(30), &OPTIONS), Some(Timeout::SendRate));
    conn.handle_progress(at(30), 10_000);
    assert_eq!(conn.handle_timeout(at(31), &OPTIONS), None);
}

// Linger ----------------------------------------------------------------------------------------

#[test]
fn after_the_last_response_input_is_only_read_over() {
    let mut conn = Conn::new(T0);
    conn.handle_last_sent(T0);
    assert!(conn.is_lingering());
    assert_eq!(step(&mut conn, GET), "consumed 28");
    assert_eq!(step(&mut conn, ""), "more");
    assert_eq!(conn.handle_timeout(at(2), &OPTIONS), Some(Timeout::Linger));
}
