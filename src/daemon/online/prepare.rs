//! The service of who is online before its thread is started: what is bound, and what is read.
//!
//! Input: a checked configuration.   Output: the thread's assignment.
//! Thread: main.
//! Not here: the order of all that is done at a start (`daemon::start`).

use std::sync::Arc;

use crate::config::{Config, UserFrom};
use crate::limits::LISTEN_BACKLOG;
use crate::online::Options as IndexOptions;
use crate::online::service::{Options, Service};
use crate::stdx::num::{index, narrow};
use crate::sys::clock::{Clock, unix_millis};
use crate::sys::local::listen_at;
use crate::sys::probe::kernel_can_install;
use crate::sys::process::random_seed;
use crate::sys::socket::keep_alive;

use super::counters::OnlineCounters;
use super::{Assignment, Door, Listener, read_snapshot};
use crate::daemon::start::{StartError, bind_failed, failed, listen_patiently};
use crate::daemon::topology::{ControlLine, OnlineEnds};

/// What the thread will need.
pub struct Prepared {
    service: Service,
    doors: Vec<Door>,
    connections: usize,
}

/// Binds the listeners, makes the index and reads what an earlier life knew; `None` where it is
/// off. `descriptors` is the limit of this process.
///
/// # Errors
/// What kept it from that, with the key.
pub fn prepare(config: &Config, descriptors: u64) -> Result<Option<Prepared>, StartError> {
    let online = &config.online;
    if !online.enabled {
        return Ok(None);
    }
    if online.user == UserFrom::Address && !kernel_can_install() {
        let what = "\"address\" needs Linux 6.8 or newer; name a cookie, a header or a parameter";
        return Err(failed("online.user", config, what.to_owned()));
    }
    let mut doors = Vec::new();
    for (key, addresses, is_read_only) in [
        ("online.listen", &online.listen, false),
        ("online.listen_read_only", &online.listen_read_only, true),
    ] {
        for address in addresses {
            let listener = listen_patiently(*address)
                .and_then(|listener| keep_alive(&listener).map(|()| listener))
                .map_err(|error| bind_failed(key, *address, config, &error))?;
            doors.push(Door { listener: Listener::Tcp(listener), is_read_only });
        }
    }
    // A table of descriptors that the kernel bounds by the same limit, without counting them.
    let spare = LISTEN_BACKLOG as usize * (doors.len() + 1);
    let table = index(descriptors).saturating_sub(spare).max(1);
    let connections = online.connections_max.min(table);
    if connections < online.connections_max {
        log::warn!(
            "online.connections_max is lowered to {connections}: the limit of open files is \
             {descriptors} (LimitNOFILE=, `ulimit -n`)"
        );
    }
    let options = Options {
        index: IndexOptions {
            window_ms: u32::try_from(online.window.as_millis()).unwrap_or(u32::MAX),
            rows_max: narrow(online.users_max),
            urls_max: narrow(online.urls_max),
            text_bytes_max: online.text_bytes_max,
            seed: random_seed(),
        },
        user_bytes_max: online.user_bytes_max,
        url_bytes_max: online.url_bytes_max,
        password: online.password.as_bytes().into(),
        connections_max: connections,
    };
    // The thread has a clock of its own, and tells the time before anything else.
    let service = Service::new(options, Clock::default().now(), unix_millis());
    let mut service = service.map_err(|error| {
        let what = format!("the index: {error}; lower it, or urls_max, or text_bytes_max");
        failed("online.users_max", config, what)
    })?;
    if !online.snapshot.as_os_str().is_empty() {
        read_snapshot(&online.snapshot, &mut service);
    }
    for door in &doors {
        if let Listener::Tcp(listener) = &door.listener
            && let Ok(address) = listener.local_addr()
        {
            let to = if door.is_read_only { "answers questions" } else { "is asked and told" };
            log::info!("who is online {to} at {address}");
        }
    }
    Ok(Some(Prepared { service, doors, connections }))
}

impl Prepared {
    /// Listens at the Unix socket as well. Without it the service is there all the same: it is a
    /// warning.
    pub fn bind_socket(&mut self, config: &Config) {
        let path = &config.online.socket;
        if path.as_os_str().is_empty() {
            return;
        }
        match listen_at(path) {
            Ok(listener) => {
                self.doors.push(Door { listener: Listener::Local(listener), is_read_only: false });
            }
            Err(error) => log::warn!("online.socket: {error}; serving without it"),
        }
    }

    /// What the thread is started with.
    pub fn into_assignment(
        self,
        config: &Config,
        ends: OnlineEnds,
        counters: Arc<OnlineCounters>,
        control: ControlLine,
    ) -> Assignment {
        let online = &config.online;
        Assignment {
            service: self.service,
            doors: self.doors,
            connections: self.connections,
            connection_bytes: online.connection_bytes_max,
            snapshot: Some(online.snapshot.clone()).filter(|file| !file.as_os_str().is_empty()),
            counters,
            ends,
            control,
        }
    }
}
