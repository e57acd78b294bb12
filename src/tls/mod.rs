//! The client's side of one TLS connection, to an origin.
//!
//! Input: ciphertext as it arrives (`handle_input`), plaintext to be sent (`send`), `close`.
//! Output: plaintext, appended to the caller's buffer; ciphertext (`poll_output`), to be written
//! to the socket after every call of the former and once after `new`.
//! Owns: the incomplete message, bounded by TLS_INPUT_BYTES_MAX; plaintext that waits for the
//! handshake, by TLS_PENDING_BYTES_MAX; ciphertext not yet polled, which is as much as `send` was
//! given and a few KiB.   Thread: any, pure.
//! Invariants: no plaintext comes or goes before the certificate is verified; after an error no
//! further byte is read, and every call returns that error; after `close_notify` of the other side
//! likewise nothing is read, and `has_peer_closed` tells the end from a cut (RFC 9112 9.8).
//! Not here: sockets and timeouts (`daemon`), reading certificates (`sys::authorities`), what the
//! plaintext means (`http::origin`). TLS itself, which rustls does.
//! Source: RFC 8446, RFC 5246, RFC 9525.
//! Differs from the house's shape: random numbers are the system's, drawn by the crypto library,
//! since no seeded generator may make keys.
//!
//! The owner of a socket:
//! ```text
//! connected:  session = Session::new(..)                     poll_output -> write
//! request:    session.send(head)          (at any time)      poll_output -> write
//! readable:   session.handle_input(read, &mut plain)         poll_output -> write, also on Err
//!             plain -> http::origin::Conn::handle_input; if has_peer_closed: Close::Orderly
//! FIN, reset: if !has_peer_closed: Close::Broken
//! done:       session.close()                                poll_output -> write, then shut down
//! ```

mod error;
mod options;

use std::fmt;
use std::mem;

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, InsufficientSizeError,
    UnbufferedStatus, WriteTraffic,
};

use crate::limits::{TLS_INPUT_BYTES_MAX, TLS_PENDING_BYTES_MAX, TLS_RECORD_BYTES_MAX};
use crate::time::UnixSeconds;

pub use error::TlsError;
pub use options::Options;

/// One connection.
pub struct Session {
    conn: UnbufferedClientConnection,
    /// Whom we talk to, for messages.
    name: String,
    /// What arrived and is no whole message yet.
    input: Vec<u8>,
    /// What is to be written to the socket.
    output: Vec<u8>,
    /// Plaintext that was to be sent before that was possible.
    pending: Vec<u8>,
    /// The error that ended this.
    error: Option<TlsError>,
    /// Whether a whole record arrived, so that the other side does speak TLS.
    has_record: bool,
    is_connected: bool,
    has_peer_closed: bool,
    close: Farewell,
}

/// How far our own `close_notify` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Farewell {
    No,
    Wanted,
    Sent,
}

impl fmt::Debug for Session {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Session")
            .field("name", &self.name)
            .field("error", &self.error)
            .field("is_connected", &self.is_connected)
            .field("has_peer_closed", &self.has_peer_closed)
            .field("close", &self.close)
            .finish_non_exhaustive()
    }
}

impl Session {
    /// Begins the handshake with the one whose certificate must be for `name`, a DNS name or an IP
    /// address without brackets, and be valid at `now`. Output is due at once.
    ///
    /// # Errors
    /// If `name` is neither, or the system has no random numbers.
    pub fn new(options: &Options, name: &str, now: UnixSeconds) -> Result<Self, TlsError> {
        let server = ServerName::try_from(name)
            .map_err(|_: rustls::pki_types::InvalidDnsNameError| TlsError::Name(name.to_owned()))?
            .to_owned();
        options.clock.set(now);
        let conn = UnbufferedClientConnection::new(options.config.clone(), server)
            .map_err(|error| TlsError::new(error, name, false))?;
        let mut session = Self {
            conn,
            name: name.to_owned(),
            input: Vec::new(),
            output: Vec::new(),
            pending: Vec::new(),
            error: None,
            has_record: false,
            is_connected: false,
            has_peer_closed: false,
            close: Farewell::No,
        };
        session.advance(&mut &[][..], &mut Vec::new())?;
        assert!(!session.output.is_empty(), "the client speaks first");
        Ok(session)
    }

    /// Ciphertext that arrived. What it says is appended to `plain`, also where an error follows.
    ///
    /// # Errors
    /// The session is over; poll its output once more (an alert), then close the socket.
    pub fn handle_input(&mut self, ciphertext: &[u8], plain: &mut Vec<u8>) -> Result<(), TlsError> {
        // By pieces, so that what is kept is bounded whatever the caller reads at once.
        for piece in ciphertext.chunks(TLS_RECORD_BYTES_MAX) {
            self.check()?;
            if self.has_peer_closed {
                // RFC 8446 6.1: what follows close_notify is ignored.
                return Ok(());
            }
            if self.input.len() + piece.len() > TLS_INPUT_BYTES_MAX {
                return self.fail(TlsError::InputTooLong);
            }
            self.input.extend_from_slice(piece);
            self.advance(&mut &[][..], plain)?;
        }
        self.check()
    }

    /// Encrypts `plain`. Before the handshake is over it is kept, and goes out after it.
    ///
    /// # Errors
    /// `PendingTooLong`, where nothing of it is kept and the session goes on; else the session is
    /// over.
    ///
    /// # Panics
    /// After `close`: nothing may follow our `close_notify`.
    pub fn send(&mut self, plain: &[u8]) -> Result<(), TlsError> {
        assert!(self.close == Farewell::No, "nothing is sent after close_notify");
        self.check()?;
        if !self.is_connected {
            if self.pending.len() + plain.len() > TLS_PENDING_BYTES_MAX {
                return Err(TlsError::PendingTooLong);
            }
            self.pending.extend_from_slice(plain);
            return Ok(());
        }
        let mut rest = plain;
        let mut arrived = Vec::new();
        self.advance(&mut rest, &mut arrived)?;
        assert!(arrived.is_empty(), "all that arrived was read when it did");
        // Only used-up keys take the right to send away without an error.
        if rest.is_empty() { Ok(()) } else { self.fail(TlsError::KeysUsedUp) }
    }

    /// Ciphertext to be written to the socket now, in this order and once.
    pub fn poll_output(&mut self) -> Option<Vec<u8>> {
        if self.output.is_empty() { None } else { Some(mem::take(&mut self.output)) }
    }

    /// Whether the handshake is over, and with it the certificate verified.
    #[must_use]
    pub const fn is_connected(&self) -> bool {
        self.is_connected
    }

    /// Whether the other side sent `close_notify`: all it had to say has arrived. A connection that
    /// ends without was cut, by whomever.
    #[must_use]
    pub const fn has_peer_closed(&self) -> bool {
        self.has_peer_closed
    }

    /// Queues our `close_notify`. Where the handshake is not over there is none to be sent: what
    /// waits for it is dropped. Reading may go on.
    pub fn close(&mut self) {
        if self.close != Farewell::No || self.error.is_some() {
            return;
        }
        self.close = Farewell::Wanted;
        self.pending = Vec::new();
        if self.is_connected {
            // An error is kept, and met again at the next call: nobody sends or waits any more.
            let _kept = self.advance(&mut &[][..], &mut Vec::new());
        }
    }

    fn check(&self) -> Result<(), TlsError> {
        self.error.clone().map_or(Ok(()), Err)
    }

    fn fail(&mut self, error: TlsError) -> Result<(), TlsError> {
        self.input = Vec::new();
        self.pending = Vec::new();
        self.error = Some(error.clone());
        Err(error)
    }

    /// Reads all whole messages of the input, and sends what can be sent of `rest`, which is then
    /// empty.
    fn advance(&mut self, rest: &mut &[u8], plain: &mut Vec<u8>) -> Result<(), TlsError> {
        let mut read = 0;
        let outcome = loop {
            let step = self.step(read, rest, plain);
            match step {
                Ok((discard, goes_on)) => {
                    read += discard;
                    assert!(read <= self.input.len(), "no more is read than arrived");
                    if !goes_on {
                        break Ok(());
                    }
                }
                Err(error) => break Err(error),
            }
        };
        self.has_record |= read > 0;
        self.input.drain(..read);
        match outcome {
            Err(error) => {
                self.take_alert();
                let error = TlsError::new(error, &self.name, !self.has_record);
                self.fail(error)
            }
            Ok(()) => Ok(()),
        }
    }

    /// One state of rustls; returns how much input it used, and whether there may be another. Each
    /// but the last uses input or takes something that was queued, so they come to an end.
    fn step(
        &mut self,
        read: usize,
        rest: &mut &[u8],
        plain: &mut Vec<u8>,
    ) -> Result<(usize, bool), rustls::Error> {
        let UnbufferedStatus { mut discard, state } =
            self.conn.process_tls_records(&mut self.input[read..]);
        let mut goes_on = true;
        match state? {
            ConnectionState::ReadTraffic(mut traffic) => {
                while let Some(record) = traffic.next_record() {
                    let record = record?;
                    discard += record.discard;
                    plain.extend_from_slice(record.payload);
                }
            }
            ConnectionState::EncodeTlsData(mut data) => encode(&mut data, &mut self.output)?,
            // `poll_output` is the promise to transmit.
            ConnectionState::TransmitTlsData(data) => data.done(),
            ConnectionState::PeerClosed => self.has_peer_closed = true,
            ConnectionState::WriteTraffic(mut traffic) => {
                self.is_connected = true;
                encrypt(&mut traffic, &mem::take(&mut self.pending), &mut self.output)?;
                encrypt(&mut traffic, mem::take(rest), &mut self.output)?;
                if self.close == Farewell::Wanted {
                    self.close = Farewell::Sent;
                    put(&mut self.output, 0, |space| traffic.queue_close_notify(space))?;
                }
                goes_on = false;
            }
            ConnectionState::BlockedHandshake | ConnectionState::Closed => goes_on = false,
            // Early data is a server's; anything else would be new in rustls.
            other => return Err(rustls::Error::General(format!("unknown state {other:?}"))),
        }
        Ok((discard, goes_on))
    }

    /// After an error, takes the alert that tells the other side. rustls must not see any input
    /// again: it would fail anew, and asserts that it alerts once.
    fn take_alert(&mut self) {
        while self.conn.wants_write() {
            let UnbufferedStatus { state, .. } = self.conn.process_tls_records(&mut []);
            let Ok(ConnectionState::EncodeTlsData(mut data)) = state else { return };
            if encode(&mut data, &mut self.output).is_err() {
                return;
            }
        }
    }
}

fn encode<Data>(
    data: &mut EncodeTlsData<'_, Data>,
    output: &mut Vec<u8>,
) -> Result<(), rustls::Error> {
    put(output, 0, |space| {
        data.encode(space).map_err(|error| match error {
            EncodeError::InsufficientSize(size) => EncryptError::InsufficientSize(size),
            EncodeError::AlreadyEncoded => EncryptError::EncryptExhausted,
        })
    })
}

fn encrypt<Data>(
    traffic: &mut WriteTraffic<'_, Data>,
    plain: &[u8],
    output: &mut Vec<u8>,
) -> Result<(), rustls::Error> {
    if plain.is_empty() {
        return Ok(());
    }
    // Where a key update goes first it needs more, and says so.
    let records = plain.len().div_ceil(PLAIN_BYTES_MAX);
    let guess = plain.len() + records * RECORD_OVERHEAD;
    put(output, guess, |space| traffic.encrypt(plain, space))
}

/// Appends to `output` what `write` writes, into `guess` bytes or as many as it asks for.
fn put(
    output: &mut Vec<u8>,
    guess: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, EncryptError>,
) -> Result<(), rustls::Error> {
    let begin = output.len();
    output.resize(begin + guess, 0);
    let mut written = write(&mut output[begin..]);
    if let Err(EncryptError::InsufficientSize(InsufficientSizeError { required_size })) = written {
        output.resize(begin + required_size, 0);
        written = write(&mut output[begin..]);
    }
    output.truncate(begin + written.as_ref().map_or(0, |length| *length));
    written.map(|_| ()).map_err(|_| rustls::Error::EncryptError)
}

/// Plaintext of one record (RFC 8446 5.1).
const PLAIN_BYTES_MAX: usize = 1 << 14;
/// What a record adds to it, at most: header 5, nonce of TLS 1.2 8, type 1, tag 16.
const RECORD_OVERHEAD: usize = 30;

#[cfg(test)]
mod tests;
