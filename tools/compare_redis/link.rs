//! One question at a time, read in full.
//!
//! Input: arguments.   Output: a reply, or what came instead.
//! Owns: one connection.   Thread: the only one.
//! Not here: load (`client`).

use std::io::{Read as _, Write as _};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use socket2::Socket;

use crate::client::Address;
use crate::wire::{self, Reply, push_request, reply_end};

/// A connection.
#[derive(Debug)]
pub struct Link {
    socket: Socket,
}

impl Link {
    /// Connects.
    pub fn connect(address: &Address) -> Result<Self> {
        let socket = address.connect()?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { socket })
    }

    /// Asks a request given by its arguments. An error that is answered is an error here.
    pub fn ask(&mut self, arguments: &[&[u8]]) -> Result<Reply> {
        let mut request = Vec::new();
        push_request(&mut request, arguments);
        self.ask_bytes(&request)
    }

    /// The same with a request as bytes.
    pub fn ask_bytes(&mut self, request: &[u8]) -> Result<Reply> {
        let what = || format!("asking {}", request.escape_ascii());
        (&self.socket).write_all(request).with_context(what)?;
        let (mut reply, mut part) = (Vec::new(), [0; 16 * 1024]);
        loop {
            let read = (&self.socket).read(&mut part).with_context(what)?;
            ensure!(
                read > 0,
                "{}: the connection ended; until then came '{}'",
                what(),
                reply.escape_ascii()
            );
            reply.extend_from_slice(&part[..read]);
            let end = reply_end(&reply, 0);
            let end = end.with_context(|| format!("{}: {}", what(), reply.escape_ascii()))?;
            let Some(end) = end else { continue };
            ensure!(
                end == reply.len(),
                "{}: more than one reply: {}",
                what(),
                reply.escape_ascii()
            );
            match wire::parse(&reply).with_context(what)? {
                Reply::Error(text) => bail!("{} was answered with the error '{text}'", what()),
                reply => return Ok(reply),
            }
        }
    }
}

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
