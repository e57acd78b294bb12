//! The client side of a connection, state by state.
//!
//! Not here: heads, fields, redirects, the pool, which are tested beside their code.

use super::super::request::header_space;
use super::*;

const OPTIONS: Options = Options {
    head: HeadLimits { head_bytes_max: 512, headers_max: 16 },
    connect_timeout: Duration::from_secs(3),
    first_byte_timeout: Duration::from_secs(10),
    between_bytes_timeout: Duration::from_secs(4),
};

fn at(seconds: u64) -> Instant {
    Instant::default().after(Duration::from_secs(seconds))
}

/// One step over `input` as text, with what it consumed.
fn step_at(conn: &mut Conn, now: Instant, input: &str) -> String {
    let mut space = header_space();
    match conn.handle_input(now, input.as_bytes(), &mut space, &OPTIONS) {
        Step::Head(response, consumed) => format!("head {} {consumed}", response.status),
        Step::Body(range, consumed) => format!("body {} {consumed}", &input[range]),
        Step::Consumed(consumed) => format!("consumed {consumed}"),
        Step::End(consumed) => format!("end {consumed}"),
        Step::Failed(error) => format!("failed {}", error.name()),
        Step::NeedMore => "more".to_owned(),
    }
}

fn step(conn: &mut Conn, input: &str) -> String {
    step_at(conn, at(0), input)
}

fn idle() -> Conn {
    let mut conn = Conn::new(at(0));
    conn.handle_connected();
    conn
}

fn asked() -> Conn {
    let mut conn = idle();
    conn.handle_request(at(0), Method::Get);
    conn
}

/// In the body of an answer with that framing field.
fn in_body(field: &str) -> Conn {
    let mut conn = asked();
    let head = format!("HTTP/1.1 200 OK\r\n{field}\r\n");
    assert_eq!(step(&mut conn, &head), format!("head 200 {}", head.len()));
    conn
}

const LENGTH_3: &str = "Content-Length: 3\r\n";
const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";

// Connect ---------------------------------------------------------------------------------------

#[test]
fn connecting_is_timed() {
    let mut conn = Conn::new(at(0));
    assert_eq!(conn.next_deadline(&OPTIONS), Some(at(3)));
    assert_eq!(conn.handle_timeout(at(2), &OPTIONS), None);
    assert_eq!(conn.handle_timeout(at(3), &OPTIONS), Some(Error::Timeout(Timeout::Connect)));
    assert!(!conn.is_reusable());
    assert_eq!(conn.next_deadline(&OPTIONS), None);
}

#[test]
fn a_close_while_connecting_is_no_connection() {
    assert_eq!(Conn::new(at(0)).handle_close(Close::Broken), Closed::Incomplete(Error::Connect));
}

// Idle ------------------------------------------------------------------------------------------

#[test]
fn an_idle_connection_says_nothing() {
    let mut conn = idle();
    assert!(conn.is_reusable());
    assert_eq!(conn.next_deadline(&OPTIONS), None);
    assert_eq!(step(&mut conn, ""), "more");
    assert_eq!(step(&mut conn, "HTTP/1.1 408 Timeout\r\n\r\n"), "failed unsolicited_bytes");
    assert!(!conn.is_reusable());
    assert_eq!(idle().handle_close(Close::Orderly), Closed::Unused);
}

#[test]
#[should_panic(expected = "one request at a time")]
fn a_second_request_is_our_bug() {
    asked().handle_request(at(0), Method::Get);
}

// FirstByte -------------------------------------------------------------------------------------

#[test]
fn the_first_byte_is_waited_for() {
    let mut conn = asked();
    assert!(conn.is_busy());
    assert_eq!(conn.next_deadline(&OPTIONS), Some(at(10)));
    assert_eq!(conn.handle_timeout(at(10), &OPTIONS), Some(Error::Timeout(Timeout::FirstByte)));
}

#[test]
fn the_first_byte_is_waited_for_from_the_end_of_the_request_on() {
    let mut conn = asked();
    conn.handle_sent(at(9));
    assert_eq!(conn.next_deadline(&OPTIONS), Some(at(19)));
    assert_eq!(step_at(&mut conn, at(10), "H"), "more");
    // Not once it answers: a head does not become younger by what is still sent.
    conn.handle_sent(at(11));
    let timeout = conn.handle_timeout(at(20), &OPTIONS);
    assert!(matches!(timeout, Some(Error::Timeout(_))), "{timeout:?}");
}

#[test]
fn only_a_kept_connection_may_be_retried() {
    let unanswered = Closed::Incomplete(Error::EarlyClose(Stage::FirstByte));
    let mut conn = asked();
    assert_eq!(conn.handle_close(Close::Orderly), unanswered);
    assert!(!conn.may_retry(), "the first request");
    let mut kept = in_body("Content-Length: 0\r\n");
    assert_eq!(step(&mut kept, ""), "end 0");
    kept.handle_request(at(0), Method::Get);
    assert_eq!(kept.handle_close(Close::Broken), unanswered);
    assert!(kept.may_retry());
    let mut kept = in_body("Content-Length: 0\r\n");
    assert_eq!(step(&mut kept, ""), "end 0");
    kept.handle_request(at(0), Method::Get);
    assert_eq!(step(&mut kept, "H"), "more");
    assert_eq!(
        kept.handle_close(Close::Broken),
        Closed::Incomplete(Error::EarlyClose(Stage::Head))
    );
    assert!(!kept.may_retry(), "a byte of the answer came");
}

#[test]
fn interim_answers_are_read_over_and_bounded() {
    let interim = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    let mut conn = asked();
    for second in 1..=u64::from(ORIGIN_INTERIMS_MAX) {
        assert_eq!(step_at(&mut conn, at(second), interim), format!("consumed {}", interim.len()));
        assert_eq!(conn.next_deadline(&OPTIONS), Some(at(second + 10)));
    }
    assert_eq!(step(&mut conn, interim), "failed malformed_head");
    let mut conn = asked();
    step(&mut conn, interim);
    let early = Closed::Incomplete(Error::EarlyClose(Stage::Head));
    assert_eq!(conn.handle_close(Close::Orderly), early);
    assert_eq!(step(&mut asked(), "HTTP/1.1 101 Switching\r\n\r\n"), "failed malformed_head");
}

// Head ------------------------------------------------------------------------------------------

#[test]
fn a_head_that_trickles_has_the_time_of_a_first_byte() {
    let mut conn = asked();
    let head = "HTTP/1.1 200 OK\r\n";
    for second in 9..18 {
        let come = usize::try_from(second).expect("small") - 8;
        assert_eq!(step_at(&mut conn, at(second), &head[..come]), "more");
        assert_eq!(conn.handle_timeout(at(second), &OPTIONS), None);
    }
    assert_eq!(conn.next_deadline(&OPTIONS), Some(at(19)));
    assert_eq!(conn.handle_timeout(at(19), &OPTIONS), Some(Error::Timeout(Timeout::FirstByte)));
}

#[test]
fn a_head_that_stops_is_timed_by_its_last_byte() {
    let mut conn = asked();
    assert_eq!(step_at(&mut conn, at(1), "HT"), "more");
    assert_eq!(step_at(&mut conn, at(2), "HTTP"), "more");
    assert_eq!(step_at(&mut conn, at(4), "HTTP"), "more", "the same bytes again");
    assert_eq!(conn.handle_timeout(at(6), &OPTIONS), Some(Error::Timeout(Timeout::BetweenBytes)));
}

#[test]
fn after_an_error_nothing_is_read() {
    let mut conn = asked();
    assert_eq!(step(&mut conn, "SSH-2.0-x"), "failed malformed_head");
    assert_eq!(step(&mut conn, "HTTP/1.1 200 OK\r\n\r\n"), "more");
    assert_eq!(conn.handle_close(Close::Orderly), Closed::Unused);
    assert!(!conn.is_reusable());
}

// Body ------------------------------------------------------------------------------------------

#[test]
fn a_body_with_a_length_ends_there() {
    let mut conn = in_body(LENGTH_3);
    assert_eq!(step(&mut conn, "ab"), "body ab 2");
    assert_eq!(step(&mut conn, ""), "more");
    assert_eq!(step(&mut conn, "cHTTP"), "body c 1");
    assert!(!conn.is_reusable());
    assert_eq!(step(&mut conn, "HTTP"), "end 0");
    assert_eq!(step(&mut conn, "HTTP"), "failed unsolicited_bytes");
    assert!(!conn.is_reusable());
}

#[test]
fn a_chunked_body_is_handed_out_without_its_frame() {
    let mut conn = in_body(CHUNKED);
    let text = "3;x\r\nabc\r\n1\r\nd\r\n0\r\nTrailer: x\r\n\r\n";
    assert_eq!(step(&mut conn, text), "body abc 8");
    assert_eq!(step(&mut conn, &text[8..]), "body d 6");
    assert_eq!(step(&mut conn, &text[14..]), "end 19");
    assert!(conn.is_reusable());
    conn.handle_request(at(0), Method::Head);
    assert_eq!(conn.requests(), 2);
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n";
    assert_eq!(step(&mut conn, head), format!("head 200 {}", head.len()));
    assert_eq!(step(&mut conn, ""), "end 0");
    assert!(conn.is_reusable());
}

#[test]
fn an_early_close_is_never_an_end() {
    let early = Closed::Incomplete(Error::EarlyClose(Stage::Body));
    for field in [LENGTH_3, CHUNKED] {
        assert_eq!(in_body(field).handle_close(Close::Orderly), early, "{field}");
    }
    let mut conn = in_body(CHUNKED);
    step(&mut conn, "3\r\nabc");
    assert_eq!(step(&mut conn, "\r\n0\r\n"), "consumed 5");
    assert_eq!(conn.handle_close(Close::Orderly), early, "the last empty line is missing");
}

#[test]
fn a_body_until_close_is_whole_only_after_an_orderly_one() {
    let mut conn = in_body("");
    assert_eq!(step(&mut conn, "any"), "body any 3");
    assert_eq!(conn.handle_close(Close::Orderly), Closed::Complete);
    assert!(!conn.is_reusable());
    let early = Closed::Incomplete(Error::EarlyClose(Stage::Body));
    assert_eq!(in_body("").handle_close(Close::Broken), early);
}

#[test]
fn an_answer_that_closes_ends_the_connection() {
    let mut conn = in_body("Content-Length: 1\r\nConnection: close\r\n");
    assert_eq!(step(&mut conn, "ab"), "body a 1");
    assert_eq!(step(&mut conn, "b"), "end 0");
    assert_eq!(step(&mut conn, "b"), "more", "void");
    assert!(!conn.is_reusable());
    assert_eq!(conn.handle_close(Close::Broken), Closed::Unused);
}

#[test]
fn a_body_is_timed_but_not_while_we_pause() {
    let mut conn = in_body(LENGTH_3);
    assert_eq!(conn.next_deadline(&OPTIONS), Some(at(4)));
    step_at(&mut conn, at(3), "a");
    assert_eq!(conn.next_deadline(&OPTIONS), Some(at(7)));
    conn.handle_pause();
    assert_eq!(conn.next_deadline(&OPTIONS), None);
    conn.handle_resume(at(20));
    assert_eq!(conn.handle_timeout(at(23), &OPTIONS), None);
    assert_eq!(conn.handle_timeout(at(24), &OPTIONS), Some(Error::Timeout(Timeout::BetweenBytes)));
}
