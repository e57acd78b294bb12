//! The control socket: commands of people and scripts on this box, on control's thread.
//!
//! Input: readable and writable sockets, answers.   Output: `poll_command`, after every input until
//! `None`; each has its answer by `answer`, now or much later.
//! Owns: at most `CONTROL_CONNECTIONS_MAX` connections.   Thread: control.
//! Not here: the protocol (`admin::control`), what commands do (`daemon::control`), binding
//! (`sys::local`).

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};

use crate::admin::control::{Answer, Command, Conn, Rights};
use crate::limits::CONTROL_CONNECTIONS_MAX;
use crate::sys::peer::{Peer, own_uid};
use crate::time::{Duration, Instant};

/// A connection's number; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnId(pub u64);

/// Who may purge, besides root.
#[derive(Clone, Copy, Debug)]
pub struct Operators {
    /// The daemon's user.
    pub uid: u32,
    /// A group, if one is configured.
    pub gid: Option<u32>,
}

impl Operators {
    /// This process's user, and that group. To be asked once the process is who it stays.
    #[must_use]
    pub fn with_group(gid: Option<u32>) -> Self {
        Self { uid: own_uid(), gid }
    }

    fn rights(&self, peer: &Peer) -> Rights {
        let is_operator =
            peer.uid == 0 || peer.uid == self.uid || self.gid.is_some_and(|gid| peer.is_in(gid));
        if is_operator { Rights::Operator } else { Rights::Anyone }
    }
}

struct SocketConn {
    id: ConnId,
    stream: UnixStream,
    peer: Peer,
    state: Conn,
    /// When it last sent something, or was answered.
    active: Instant,
    broken: bool,
}

/// See the module.
pub struct ControlSocket {
    listener: UnixListener,
    operators: Operators,
    conns: Vec<SocketConn>,
    commands: VecDeque<(ConnId, Command)>,
    next: u64,
    /// The listener failed (EMFILE): it is left alone until then, for it would fail again at once.
    deaf_until: Instant,
    is_deaf: bool,
}

impl ControlSocket {
    /// Answers at `listener`, which is non-blocking.
    #[must_use]
    pub fn new(listener: UnixListener, operators: Operators) -> Self {
        Self {
            listener,
            operators,
            conns: Vec::new(),
            commands: VecDeque::new(),
            next: 0,
            deaf_until: Instant::from_nanos(0),
            is_deaf: false,
        }
    }

    /// What to wait for: the descriptor, and whether it is to be written.
    #[must_use]
    pub fn sources(&self) -> Vec<(BorrowedFd<'_>, bool)> {
        let conns = self.conns.iter().filter(|conn| conn.is_watched());
        let conns = conns.map(|conn| (conn.stream.as_fd(), conn.is_sending()));
        // A listener is never writable: so it is not waited for.
        std::iter::once((self.listener.as_fd(), self.is_deaf)).chain(conns).collect()
    }

    /// Acts on all that is ready, as told by `ready` in the order of `sources`; nothing else may be
    /// called between the two.
    pub fn handle(&mut self, now: Instant, ready: &[bool]) {
        let mut place = 0;
        for conn in &mut self.conns {
            let is_watched = conn.is_watched();
            place += usize::from(is_watched);
            if is_watched && ready.get(place) == Some(&true) {
                conn.read(now);
            }
            conn.state.handle_timeout(now);
            conn.advance(now, &mut self.commands);
        }
        self.conns.retain(|conn| !conn.is_over());
        self.is_deaf = now < self.deaf_until;
        if ready.first() == Some(&true) && !self.is_deaf {
            self.accept(now);
        }
    }

    /// The next command that somebody has to carry out and answer.
    pub fn poll_command(&mut self) -> Option<(ConnId, Command)> {
        self.commands.pop_front()
    }

    /// The answer to the command that `id` waits for; it may be gone.
    pub fn answer(&mut self, now: Instant, id: ConnId, answer: &Answer) {
        let Some(conn) = self.conns.iter_mut().find(|conn| conn.id == id) else { return };
        if !conn.state.waits_for_answer() {
            return;
        }
        conn.active = now;
        conn.state.handle_answer(now, answer);
        conn.advance(now, &mut self.commands);
        self.conns.retain(|conn| !conn.is_over());
    }

    /// As many at once as there may be in all; the rest is accepted in the next round.
    fn accept(&mut self, now: Instant) {
        for _ in 0..CONTROL_CONNECTIONS_MAX {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    log::warn!("control.socket: accept failed: {error}");
                    self.deaf_until = now.after(Duration::from_secs(1));
                    self.is_deaf = true;
                    return;
                }
            };
            let peer = stream.set_nonblocking(true).and_then(|()| Peer::of(&stream));
            let peer = match peer {
                Ok(peer) => peer,
                Err(error) => {
                    log::warn!("control.socket: who connects is not to be told: {error}");
                    continue;
                }
            };
            let rights = self.operators.rights(&peer);
            if !self.make_room(rights) {
                refuse(&stream);
                continue;
            }
            self.next += 1;
            let (id, state) = (ConnId(self.next), Conn::new(rights));
            self.conns.push(SocketConn { id, stream, peer, state, active: now, broken: false });
        }
    }

    /// Whether there is room for one more with these `rights`. Strangers never push out operators:
    /// anybody on the box can open as many connections as there may be.
    fn make_room(&mut self, rights: Rights) -> bool {
        if self.conns.len() < CONTROL_CONNECTIONS_MAX {
            return true;
        }
        let places = self.conns.iter().enumerate();
        let idle = places.filter(|(_, conn)| conn.state.is_idle() && conn.state.rights() <= rights);
        match idle.min_by_key(|(_, conn)| (conn.state.rights(), conn.active)) {
            Some((place, _)) => {
                self.conns.remove(place);
                true
            }
            None => false,
        }
    }
}

impl SocketConn {
    fn is_sending(&self) -> bool {
        !self.state.output().is_empty()
    }

    /// Who has closed its side and waits for an answer is readable for ever.
    fn is_watched(&self) -> bool {
        self.is_sending() || self.state.room() > 0
    }

    fn is_over(&self) -> bool {
        self.broken || self.state.is_over()
    }

    fn read(&mut self, now: Instant) {
        let room = self.state.room();
        if self.is_sending() || room == 0 {
            return;
        }
        let mut bytes = [0; 4096];
        let room = room.min(bytes.len());
        match self.stream.read(&mut bytes[..room]) {
            Ok(0) => self.state.handle_end(),
            Ok(count) => {
                self.active = now;
                self.state.handle_input(now, &bytes[..count]);
            }
            Err(error) => self.note(&error),
        }
    }

    /// Sends what there is, and takes the next command when all of it is sent.
    fn advance(&mut self, now: Instant, commands: &mut VecDeque<(ConnId, Command)>) {
        while !self.broken {
            while !self.broken && self.is_sending() {
                match self.stream.write(self.state.output()) {
                    Ok(count) => self.state.handle_sent(now, count),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                    Err(error) => self.note(&error),
                }
            }
            match self.state.poll_command(now) {
                Some(command) => {
                    if command.rights() == Rights::Operator {
                        let Peer { uid, pid, .. } = self.peer;
                        log::info!("control.socket: uid {uid}, pid {pid}: {}", command.emit());
                    }
                    commands.push_back((self.id, command));
                }
                // A refusal is to be sent, or there is nothing more.
                None if self.is_sending() => {}
                None => return,
            }
        }
    }

    fn note(&mut self, error: &io::Error) {
        let is_passing =
            matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted);
        self.broken |= !is_passing;
    }
}

/// A socket that was just accepted has room for a line; if not, the end says it as well.
fn refuse(mut stream: &UnixStream) {
    let mut bytes = Vec::new();
    Answer::error("busy: too many connections; try again").emit(&mut bytes);
    drop(stream.write(&bytes));
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::net::Shutdown;
    use std::path::PathBuf;

    use super::*;
    use crate::sys::local::listen_at;
    use crate::sys::socket::wait_readable;

    const NOW: Instant = Instant::from_nanos(0);

    struct Bench {
        socket: ControlSocket,
        path: PathBuf,
        _directory: tempfile::TempDir,
    }

    /// A socket whose operators have these numbers.
    fn bench(operators: Operators) -> Bench {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let socket = ControlSocket::new(listen_at(&path).unwrap(), operators);
        Bench { socket, path, _directory: directory }
    }

    fn own() -> Operators {
        Operators::with_group(None)
    }

    impl Bench {
        fn connect(&mut self, now: Instant) -> UnixStream {
            let stream = UnixStream::connect(&self.path).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            self.round(now);
            stream
        }

        fn round(&mut self, now: Instant) {
            let ready = wait_readable(&self.socket.sources(), Duration::ZERO).unwrap();
            self.socket.handle(now, &ready);
        }
    }

    fn line(stream: &UnixStream) -> String {
        let mut text = String::new();
        BufReader::with_capacity(1, stream).read_line(&mut text).unwrap();
        text
    }

    #[test]
    fn commands_wait_for_their_answers_in_order() {
        let mut bench = bench(own());
        let mut stream = bench.connect(NOW);
        stream.write_all(b"purge all\nping\nnonsense\n").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        bench.round(NOW);
        let (id, command) = bench.socket.poll_command().unwrap();
        assert!(matches!(command, Command::Purge { .. }));
        bench.round(NOW);
        bench.round(NOW);
        assert_eq!(bench.socket.poll_command(), None);
        assert_eq!(bench.socket.sources().len(), 1, "it is not watched: it would never sleep");
        bench.socket.answer(NOW, id, &Answer::ok("purged"));
        assert_eq!(bench.socket.poll_command(), Some((id, Command::Ping)));
        bench.socket.answer(NOW, id, &Answer::ok(""));
        assert_eq!((line(&stream), line(&stream)), ("ok purged\n".into(), "ok\n".into()));
        assert!(line(&stream).starts_with("error unknown command nonsense"));
        assert_eq!(line(&stream), "", "the daemon closes after the last answer");
        assert!(bench.socket.conns.is_empty());
        bench.socket.answer(NOW, id, &Answer::ok("too late"));
    }

    #[test]
    fn rights_go_by_user_and_group() {
        let (one, _other) = UnixStream::pair().unwrap();
        let mut peer = Peer::of(&one).unwrap();
        peer.uid = 1000;
        let rights = |uid, gid| Operators { uid, gid }.rights(&peer);
        assert_eq!(rights(999, None), Rights::Anyone);
        assert_eq!(rights(1000, None), Rights::Operator);
        assert_eq!(rights(999, Some(peer.gid)), Rights::Operator);
        assert_eq!(rights(999, Some(u32::MAX)), Rights::Anyone);
        peer.uid = 0;
        assert_eq!(Operators { uid: 999, gid: None }.rights(&peer), Rights::Operator);
    }

    #[test]
    fn the_oldest_idle_connection_makes_room_and_never_an_operators_for_a_stranger() {
        let mut bench = bench(own());
        let later = |seconds: usize| NOW.after(Duration::from_secs(seconds as u64));
        let mut streams: Vec<UnixStream> =
            (0..CONTROL_CONNECTIONS_MAX).map(|at| bench.connect(later(at))).collect();
        assert!(!bench.socket.make_room(Rights::Anyone));
        // The first is busy, so the second is the oldest idle one.
        streams[0].write_all(b"ping\n").unwrap();
        bench.round(later(100));
        let (id, _) = bench.socket.poll_command().unwrap();
        streams.push(bench.connect(later(101)));
        assert_eq!(line(&streams[1]), "");
        assert_eq!(bench.socket.conns.len(), CONTROL_CONNECTIONS_MAX);
        bench.socket.answer(later(101), id, &Answer::ok(""));
        assert_eq!(line(&streams[0]), "ok\n");
    }

    #[test]
    fn a_full_house_of_busy_ones_refuses() {
        let mut bench = bench(own());
        let streams: Vec<UnixStream> = (0..CONTROL_CONNECTIONS_MAX)
            .map(|_| {
                let mut stream = bench.connect(NOW);
                stream.write_all(b"status\n").unwrap();
                bench.round(NOW);
                stream
            })
            .collect();
        let one_more = bench.connect(NOW);
        assert!(line(&one_more).starts_with("error busy"));
        drop(streams);
    }
}
