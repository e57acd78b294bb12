//! An origin that answers as its script says, and remembers what it was asked.
//!
//! Owns: one thread per connection; its port, also while it is down, so that nobody else gets it.
//! Not here: what the daemon makes of it (the modules beside).

use std::collections::HashMap;
use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

/// A connection, under TLS or not.
pub trait Stream: Read + Write + Send {}

impl<T: Read + Write + Send> Stream for T {}

/// Makes the server's side of TLS, or passes the connection on.
pub type Wrap = dyn Fn(TcpStream) -> io::Result<Box<dyn Stream>> + Send + Sync;

type Script = dyn Fn(&mut Exchange<'_>) + Send + Sync;

/// One request, and the way to answer it.
pub struct Exchange<'a> {
    /// As it was sent, with the query.
    pub target: String,
    /// Request line and fields.
    pub head: String,
    /// How many requests for this target there were, with this one.
    pub number: usize,
    stream: &'a mut BufReader<Box<dyn Stream>>,
    socket: &'a TcpStream,
    is_open: bool,
    is_reset: bool,
    origin: &'a Shared,
}

impl Exchange<'_> {
    /// The value of a request's field; empty if it is not there.
    pub fn field(&self, name: &str) -> &str {
        field(&self.head, name)
    }

    /// The method of the request.
    pub fn method(&self) -> &str {
        self.head.split(' ').next().unwrap_or_default()
    }

    /// Reads the body of the request, of the length that its head says.
    pub fn body(&mut self) -> Vec<u8> {
        let length = self.field("content-length").parse().unwrap_or(0);
        let mut body = vec![0; length];
        if self.stream.read_exact(&mut body).is_err() {
            (self.is_open, body) = (false, Vec::new());
        }
        body
    }

    /// The same in so many steps, each after such a pause.
    pub fn body_slowly(&mut self, steps: usize, pause: Duration) -> Vec<u8> {
        let length: usize = self.field("content-length").parse().unwrap_or(0);
        let mut body = vec![0; length];
        for part in body.chunks_mut(length.div_ceil(steps)) {
            std::thread::sleep(pause);
            self.stream.read_exact(part).unwrap();
        }
        body
    }

    /// Sends these bytes at once. Returns false where nobody takes them any more.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        let stream = self.stream.get_mut();
        let is_sent = stream.write_all(bytes.as_ref()).and_then(|()| stream.flush()).is_ok();
        self.is_open &= is_sent;
        is_sent
    }

    /// A 200 with these field lines (each with its CR LF) and this body.
    pub fn answer(&mut self, fields: &str, body: impl AsRef<[u8]>) {
        self.answer_with(200, fields, body);
    }

    /// The same with another status.
    pub fn answer_with(&mut self, status: u16, fields: &str, body: impl AsRef<[u8]>) {
        let body = body.as_ref();
        let head =
            format!("HTTP/1.1 {status} Scripted\r\n{fields}Content-Length: {}\r\n\r\n", body.len());
        self.send([head.as_bytes(), body].concat());
    }

    /// A 304 with these field lines.
    pub fn confirm(&mut self, fields: &str) {
        self.send(format!("HTTP/1.1 304 Not Modified\r\n{fields}\r\n"));
    }

    /// Ends the connection after this answer.
    pub fn close(&mut self) {
        self.is_open = false;
    }

    /// Ends it with a reset.
    pub fn reset(&mut self) {
        let socket = Socket::from(self.socket.try_clone().unwrap());
        socket.set_linger(Some(Duration::ZERO)).unwrap();
        (self.is_open, self.is_reset) = (false, true);
    }

    /// Whether the origin was stopped: scripts that wait give up then.
    pub fn is_over(&self) -> bool {
        self.origin.is_over.load(Ordering::SeqCst)
    }

    /// Waits until `holds`, or the origin is stopped.
    pub fn wait(&self, holds: impl Fn() -> bool) {
        while !holds() && !self.is_over() {
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits until the other side closes, or the origin is stopped. Nothing is expected to come.
    pub fn wait_close(&self) {
        let _set: io::Result<()> = self.socket.set_read_timeout(Some(Duration::from_millis(10)));
        while !self.is_over() {
            match self.socket.peek(&mut [0]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                _ => return,
            }
        }
    }
}

fn field<'a>(head: &'a str, name: &str) -> &'a str {
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value)
}

struct Shared {
    is_over: AtomicBool,
    counts: Mutex<HashMap<String, usize>>,
    heads: Mutex<Vec<String>>,
    connections: AtomicUsize,
    open: AtomicUsize,
    open_most: AtomicUsize,
    sockets: Mutex<Vec<(usize, TcpStream)>>,
    script: Box<Script>,
    wrap: Box<Wrap>,
}

/// A running origin; stopped with the value.
pub struct Origin {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    /// Keeps the port while nobody listens: a bound socket refuses connections.
    reserved: Option<Socket>,
    accepting: Option<std::thread::JoinHandle<()>>,
}

impl Origin {
    /// One that answers each request as `script` does.
    pub fn start(script: impl Fn(&mut Exchange<'_>) + Send + Sync + 'static) -> Self {
        Self::start_wrapped(|stream| Ok(Box::new(stream)), script)
    }

    /// The same, below what `wrap` makes of a connection.
    pub fn start_wrapped(
        wrap: impl Fn(TcpStream) -> io::Result<Box<dyn Stream>> + Send + Sync + 'static,
        script: impl Fn(&mut Exchange<'_>) + Send + Sync + 'static,
    ) -> Self {
        let any = "127.0.0.1:0".parse().unwrap();
        Self::start_at(any, wrap, script).unwrap()
    }

    /// The same at [::1]; says so where this machine has no IPv6.
    pub fn start_at_v6(
        wrap: impl Fn(TcpStream) -> io::Result<Box<dyn Stream>> + Send + Sync + 'static,
        script: impl Fn(&mut Exchange<'_>) + Send + Sync + 'static,
    ) -> Option<Self> {
        let started = Self::start_at("[::1]:0".parse().unwrap(), wrap, script);
        started.inspect_err(|error| eprintln!("skipped: [::1]: {error}")).ok()
    }

    fn start_at(
        any: SocketAddr,
        wrap: impl Fn(TcpStream) -> io::Result<Box<dyn Stream>> + Send + Sync + 'static,
        script: impl Fn(&mut Exchange<'_>) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let reserved = bind(any)?;
        let address = reserved.local_addr().unwrap().as_socket().unwrap();
        let shared = Shared {
            is_over: AtomicBool::new(true),
            counts: Mutex::default(),
            heads: Mutex::default(),
            connections: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            open_most: AtomicUsize::new(0),
            sockets: Mutex::default(),
            script: Box::new(script),
            wrap: Box::new(wrap),
        };
        let shared = Arc::new(shared);
        let mut origin = Self { address, shared, reserved: Some(reserved), accepting: None };
        origin.restart();
        Ok(origin)
    }

    /// Listens (again), at the same port.
    pub fn restart(&mut self) {
        let Some(socket) = self.reserved.take() else { return };
        socket.listen(1024).unwrap();
        self.shared.is_over.store(false, Ordering::SeqCst);
        let listener = TcpListener::from(socket);
        let shared = Arc::clone(&self.shared);
        self.accepting = Some(std::thread::spawn(move || accept(&listener, &shared)));
    }

    /// Closes everything: connections are refused from now on.
    pub fn stop(&mut self) {
        let Some(accepting) = self.accepting.take() else { return };
        self.shared.is_over.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
        accepting.join().unwrap();
        for (_, socket) in self.shared.sockets.lock().unwrap().drain(..) {
            drop(socket.shutdown(Shutdown::Both));
        }
        let end = std::time::Instant::now() + Duration::from_secs(10);
        self.reserved = loop {
            match bind(self.address) {
                Ok(socket) => break Some(socket),
                Err(error) => assert!(std::time::Instant::now() < end, "{error}"),
            }
            std::thread::sleep(Duration::from_millis(5));
        };
    }

    /// How many requests there were for this target.
    pub fn count(&self, target: &str) -> usize {
        self.shared.counts.lock().unwrap().get(target).copied().unwrap_or(0)
    }

    /// How many there were at all.
    pub fn total(&self) -> usize {
        self.shared.counts.lock().unwrap().values().sum()
    }

    /// The heads of all requests, oldest first.
    pub fn heads(&self) -> Vec<String> {
        self.shared.heads.lock().unwrap().clone()
    }

    /// A field of the last request.
    pub fn last_field(&self, name: &str) -> String {
        self.heads().last().map_or_else(String::new, |head| field(head, name).to_owned())
    }

    /// How many connections there were.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// How many are open.
    pub fn open(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// How many were open at once, at most.
    pub fn open_most(&self) -> usize {
        self.shared.open_most.load(Ordering::SeqCst)
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.stop();
    }
}

fn bind(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.is_over.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        stream.set_nodelay(true).unwrap();
        let number = shared.connections.fetch_add(1, Ordering::SeqCst);
        shared.sockets.lock().unwrap().push((number, stream.try_clone().unwrap()));
        let open = shared.open.fetch_add(1, Ordering::SeqCst) + 1;
        shared.open_most.fetch_max(open, Ordering::SeqCst);
        let shared = Arc::clone(shared);
        std::thread::spawn(move || {
            // A reset is what a close is after this, as long as nothing was shut down before.
            if converse(&stream, &shared).is_ok() {
                drop(stream.shutdown(Shutdown::Both));
            }
            shared.sockets.lock().unwrap().retain(|(other, _)| *other != number);
            drop(stream);
            shared.open.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

/// Answers the requests of one connection, one after the other.
fn converse(socket: &TcpStream, shared: &Shared) -> io::Result<()> {
    let mut stream = BufReader::new((shared.wrap)(socket.try_clone()?)?);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut head)? == 0 {
                return Ok(());
            }
        }
        let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
        shared.heads.lock().unwrap().push(head.clone());
        let number = {
            let mut counts = shared.counts.lock().unwrap();
            let count = counts.entry(target.clone()).or_default();
            *count += 1;
            *count
        };
        let mut exchange = Exchange {
            target,
            head,
            number,
            stream: &mut stream,
            socket,
            is_open: true,
            is_reset: false,
            origin: shared,
        };
        (shared.script)(&mut exchange);
        match exchange {
            Exchange { is_reset: true, .. } => return Err(io::ErrorKind::ConnectionReset.into()),
            Exchange { is_open: false, .. } => return Ok(()),
            _ => {}
        }
    }
}
