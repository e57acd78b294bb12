//! The control socket's protocol, and one connection of it.
//!
//! Input: bytes as they arrive, answers, what was sent, time.   Output: commands, one at a time
//! (`poll_command`), bytes to send (`output`), the end (`is_over`).
//! Owns: a line being read, bounded by `CONTROL_LINE_BYTES_MAX`, and one answer.
//! Thread: any, pure.
//! Invariants: a command is handed out only after the answer to the one before was sent; none is
//! handed out that its sender may not give.
//! Not here: who the sender is (`sys::peer`), sockets (`daemon::control_socket`), what commands do.
//!
//! The protocol is lines, for people and scripts: `echo status | nc -NU /run/peerage/control.sock`.
//!
//! ```text
//! session = *( request answer )             in order; the next request may be sent ahead
//! request = *blank [ command ] *blank end   at most CONTROL_LINE_BYTES_MAX bytes; none if empty
//! command = "ping" | "help" | "status"
//!         | "why" gap URL
//!         | "purge" [ gap "soft" ] gap target
//! target  = "url" 1*( gap URL ) | "prefix" gap URL | "glob" gap URL
//!         | "host" gap NAME | "tag" gap NAME | "all"
//! answer  = *( text end ) outcome end
//! outcome = ( "ok" | "error" ) [ SP text ]
//! text    = *( %x20-7E )                    a backslash is \\, any other byte \x and two digits;
//!                                           a text that would read as an outcome begins with SP
//! blank   = SP | TAB        gap = 1*blank       end = [ CR ] LF from a client, LF from the daemon
//! URL, NAME = 1*( %x21-7E )
//! ```
//!
//! A URL is `http://HOST/PATH`, percent-encoded as a browser sends it, so it holds no blank. In a
//! prefix the path may end anywhere. In a glob it is a pattern: `*` is any run without `/`, `**`
//! any run, `?` one byte. A NAME is a host's without port, or one tag.
//!
//! A purge is answered when no worker can serve the old bytes any more, however long that takes.
//! After a line that is too long, or one that took longer than `LINE_TIMEOUT`, the connection is
//! closed: what follows cannot be told from its rest. The end of the input ends a last line as LF
//! does; what was asked is answered before the daemon closes.

mod wire;

pub use wire::{Answer, Command, HELP, Line, Rights, Target, WireError, parse_answer_line};

use crate::limits::CONTROL_LINE_BYTES_MAX;
use crate::time::{Duration, Instant};

/// How long a line may take from its first byte to its last, and an answer without progress.
pub const LINE_TIMEOUT: Duration = Duration::from_secs(10);

/// The state of one connection.
#[derive(Debug)]
pub struct Conn {
    rights: Rights,
    input: Vec<u8>,
    output: Vec<u8>,
    sent: usize,
    phase: Phase,
    /// Nothing more comes from the client.
    ended: bool,
    /// Nothing more is read: the connection ends with what is being sent.
    closing: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing is under way.
    Idle,
    /// A line has begun.
    Line { since: Instant },
    /// A command was handed out.
    Waits,
    /// An answer is being sent.
    Sends { progress: Instant },
}

impl Conn {
    /// A connection of somebody with `rights`.
    #[must_use]
    pub const fn new(rights: Rights) -> Self {
        Self {
            rights,
            input: Vec::new(),
            output: Vec::new(),
            sent: 0,
            phase: Phase::Idle,
            ended: false,
            closing: false,
        }
    }

    /// Whom it is from.
    #[must_use]
    pub const fn rights(&self) -> Rights {
        self.rights
    }

    /// How many bytes it takes now: the rest of the longest line with its end.
    #[must_use]
    pub fn room(&self) -> usize {
        if self.ended || self.closing {
            return 0;
        }
        (CONTROL_LINE_BYTES_MAX + 2).saturating_sub(self.input.len())
    }

    /// Takes `bytes`, at most `room`.
    ///
    /// # Panics
    /// If there are more.
    pub fn handle_input(&mut self, now: Instant, bytes: &[u8]) {
        assert!(bytes.len() <= self.room(), "the caller asked for the room there is");
        self.input.extend_from_slice(bytes);
        self.begin_line(now);
    }

    /// The client sends no more.
    pub fn handle_end(&mut self) {
        self.ended = true;
    }

    /// The next command that somebody has to answer. Refusals are answered here.
    pub fn poll_command(&mut self, now: Instant) -> Option<Command> {
        while matches!(self.phase, Phase::Idle | Phase::Line { .. }) && !self.closing {
            let (line, has_end) = match self.input.iter().position(|byte| *byte == b'\n') {
                Some(end) => (end, true),
                None if self.ended && !self.input.is_empty() => (self.input.len(), false),
                None if self.room() == 0 && !self.ended => {
                    self.closing = true;
                    self.begin_answer(now, &Answer::error(WireError::TooLong));
                    return None;
                }
                None => return None,
            };
            let parsed = Command::parse(&self.input[..line]);
            self.input.drain(..line + usize::from(has_end));
            self.phase = Phase::Idle;
            match parsed {
                Ok(None) => self.begin_line(now),
                Ok(Some(command)) if command.rights() <= self.rights => {
                    self.phase = Phase::Waits;
                    return Some(command);
                }
                Ok(Some(_)) => {
                    let reason = "you may not: only root, the daemon's user and the members of \
                                  control.group purge";
                    self.begin_answer(now, &Answer::error(reason));
                }
                Err(error) => {
                    self.closing = error == WireError::TooLong;
                    self.begin_answer(now, &Answer::error(error));
                }
            }
        }
        None
    }

    /// The answer to the command that was handed out.
    ///
    /// # Panics
    /// If none was.
    pub fn handle_answer(&mut self, now: Instant, answer: &Answer) {
        assert_eq!(self.phase, Phase::Waits, "an answer is for a command");
        self.begin_answer(now, answer);
    }

    /// What is to be sent.
    #[must_use]
    pub fn output(&self) -> &[u8] {
        &self.output[self.sent..]
    }

    /// `bytes` of it were taken.
    ///
    /// # Panics
    /// If there were not that many.
    pub fn handle_sent(&mut self, now: Instant, bytes: usize) {
        assert!(bytes <= self.output().len(), "no more is sent than there is");
        if bytes == 0 {
            return;
        }
        self.sent += bytes;
        self.phase = Phase::Sends { progress: now };
        if self.sent == self.output.len() {
            // One long answer must not be kept for as long as the connection lives.
            (self.output, self.sent) = (Vec::new(), 0);
            self.phase = Phase::Idle;
            self.begin_line(now);
        }
    }

    /// Time has passed; a line that was not ended in time is refused.
    pub fn handle_timeout(&mut self, now: Instant) {
        match self.phase {
            Phase::Line { since } if now.since(since) >= LINE_TIMEOUT => {
                self.closing = true;
                let reason = format!("the line was not ended within {} s", LINE_TIMEOUT.as_secs());
                self.begin_answer(now, &Answer::error(reason));
            }
            // It does not read: there is no way to tell it anything.
            Phase::Sends { progress } if now.since(progress) >= LINE_TIMEOUT => {
                self.closing = true;
                self.output.clear();
                self.sent = 0;
                self.phase = Phase::Idle;
            }
            _ => {}
        }
    }

    /// Whether it waits for bytes, and for nothing else.
    #[must_use]
    pub const fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Idle | Phase::Line { .. })
    }

    /// Whether a command was handed out and not answered.
    #[must_use]
    pub fn waits_for_answer(&self) -> bool {
        self.phase == Phase::Waits
    }

    /// Whether nothing more will happen on it.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.is_idle() && (self.closing || (self.ended && self.input.is_empty()))
    }

    fn begin_line(&mut self, now: Instant) {
        if self.phase == Phase::Idle && !self.input.is_empty() {
            self.phase = Phase::Line { since: now };
        }
    }

    fn begin_answer(&mut self, now: Instant, answer: &Answer) {
        answer.emit(&mut self.output);
        self.phase = Phase::Sends { progress: now };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Instant = Instant::from_nanos(0);

    fn later(seconds: u64) -> Instant {
        NOW.after(Duration::from_secs(seconds))
    }

    fn conn(bytes: &str) -> Conn {
        let mut conn = Conn::new(Rights::Operator);
        conn.handle_input(NOW, bytes.as_bytes());
        conn
    }

    /// What it sends now, taken as if the socket took all.
    fn sent(conn: &mut Conn) -> String {
        let text = String::from_utf8(conn.output().to_vec()).unwrap();
        conn.handle_sent(NOW, text.len());
        text
    }

    #[test]
    fn commands_are_handed_out_one_at_a_time() {
        let mut conn = conn("ping\nstatus\n\nhel");
        assert_eq!(conn.poll_command(NOW), Some(Command::Ping));
        assert_eq!(conn.poll_command(NOW), None);
        assert!(conn.waits_for_answer() && !conn.is_idle());
        conn.handle_answer(NOW, &Answer::ok(""));
        assert_eq!(conn.poll_command(NOW), None, "the answer is not sent yet");
        conn.handle_sent(NOW, 1);
        assert_eq!(conn.poll_command(NOW), None);
        assert_eq!(sent(&mut conn), "k\n");
        assert_eq!(conn.poll_command(NOW), Some(Command::Status));
        conn.handle_answer(NOW, &Answer::ok("x"));
        assert_eq!(sent(&mut conn), "ok x\n");
        assert_eq!(conn.poll_command(NOW), None);
        conn.handle_input(NOW, b"p\n");
        assert_eq!(conn.poll_command(NOW), Some(Command::Help));
    }

    #[test]
    fn refusals_leave_the_connection_open() {
        let mut conn = Conn::new(Rights::Anyone);
        conn.handle_input(NOW, b"nonsense\npurge all\nping\n");
        assert_eq!(conn.poll_command(NOW), None);
        assert!(sent(&mut conn).starts_with("error unknown command nonsense"));
        assert_eq!(conn.poll_command(NOW), None);
        assert!(sent(&mut conn).starts_with("error you may not"));
        assert_eq!(conn.poll_command(NOW), Some(Command::Ping));
        assert!(!conn.is_over());
    }

    #[test]
    fn the_end_of_input_ends_the_last_line() {
        let mut conn = conn("ping\nhelp");
        conn.handle_end();
        assert_eq!(conn.room(), 0);
        for expected in [Command::Ping, Command::Help] {
            assert_eq!(conn.poll_command(NOW), Some(expected));
            assert!(!conn.is_over(), "an answer is due");
            conn.handle_answer(NOW, &Answer::ok(""));
            assert!(!conn.is_over(), "it is not sent");
            assert_eq!(sent(&mut conn), "ok\n");
        }
        assert_eq!(conn.poll_command(NOW), None);
        assert!(conn.is_over());
    }

    #[test]
    fn a_long_line_ends_the_connection() {
        let longest = format!("why {}\r\n", "x".repeat(CONTROL_LINE_BYTES_MAX - 4));
        let mut good = conn(&longest);
        assert!(matches!(good.poll_command(NOW), Some(Command::Why(_))));
        for end in ["\n", ""] {
            let mut conn = conn(&"x".repeat(CONTROL_LINE_BYTES_MAX + 1));
            let rest = if end.is_empty() { "x" } else { end };
            conn.handle_input(NOW, rest.as_bytes());
            assert_eq!(conn.poll_command(NOW), None);
            assert_eq!(conn.room(), 0);
            assert!(sent(&mut conn).starts_with("error a line has at most"));
            assert!(conn.is_over());
        }
    }

    #[test]
    fn slow_lines_and_slow_readers_are_given_up_and_the_idle_are_not() {
        let mut idle = conn("");
        idle.handle_timeout(later(1000));
        assert!(!idle.is_over() && idle.output().is_empty());
        let mut slow = conn("pi");
        slow.handle_input(later(9), b"n");
        slow.handle_timeout(later(9));
        assert!(slow.output().is_empty());
        slow.handle_timeout(later(10));
        assert!(sent(&mut slow).starts_with("error the line was not ended"));
        assert!(slow.is_over());
        let mut reader = conn("ping\n");
        assert_eq!(reader.poll_command(NOW), Some(Command::Ping));
        reader.handle_timeout(later(1000));
        assert!(reader.waits_for_answer(), "a command takes as long as it takes");
        reader.handle_answer(later(1000), &Answer::ok("text"));
        reader.handle_sent(later(1009), 1);
        reader.handle_timeout(later(1010));
        assert!(!reader.is_over());
        reader.handle_timeout(later(1019));
        assert!(reader.is_over());
    }

    proptest! {
        #[test]
        fn garbage_is_answered_line_by_line_and_never_panics(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..3000), 0..8),
            commands in prop::collection::vec("(ping|purge all|why|x|\r| |\n){0,6}", 0..8),
            rights in prop_oneof![Just(Rights::Anyone), Just(Rights::Operator)],
        ) {
            let mut conn = Conn::new(rights);
            let all = chunks.iter().zip(&commands).flat_map(|(c, d)| [&c[..], d.as_bytes()]);
            for chunk in all {
                let mut rest = chunk;
                while !rest.is_empty() && conn.room() > 0 {
                    let (now, later) = rest.split_at(rest.len().min(conn.room()));
                    conn.handle_input(NOW, now);
                    rest = later;
                    drain(&mut conn);
                }
            }
            conn.handle_end();
            drain(&mut conn);
            prop_assert!(conn.is_over());
        }
    }

    /// Answers and sends until nothing is left to do.
    fn drain(conn: &mut Conn) {
        loop {
            if let Some(command) = conn.poll_command(NOW) {
                assert!(command.rights() <= conn.rights());
                conn.handle_answer(NOW, &Answer::ok(""));
            }
            let len = conn.output().len();
            if len == 0 {
                return;
            }
            conn.handle_sent(NOW, len);
        }
    }
}
