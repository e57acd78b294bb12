//! Whom TLS to origins trusts, and what it offers.
//!
//! Thread: made by any; each thread that begins sessions has its own (`for_thread`).
//! Invariants: there is no way to a configuration that does not verify certificates.
//! Not here: reading files (`config`, `sys::authorities`), the connection (`tls`).

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, RootCertStore};

use crate::limits::TLS_TICKETS_MAX;
use crate::time::{Duration, UnixSeconds};

use super::TlsError;

/// What all sessions to one origin have in common.
pub struct Options {
    pub(super) config: Arc<ClientConfig>,
    pub(super) clock: Arc<ToldTime>,
    authorities: Arc<RootCertStore>,
}

impl fmt::Debug for Options {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Options").field("authorities", &self.authorities.len()).finish()
    }
}

impl Options {
    /// Trusts the certificates of a PEM text and no others. Other sections of it are read over.
    ///
    /// # Errors
    /// If the text is damaged, has no certificate, or has one that is none of an authority's: the
    /// operator wrote this file for us, so nothing of it is left out in silence.
    pub fn from_pem(pem: &[u8]) -> Result<Self, TlsError> {
        let mut store = RootCertStore::empty();
        for (index, section) in CertificateDer::pem_slice_iter(pem).enumerate() {
            let number = index + 1;
            let unusable = |why: String| TlsError::Authority { number, why };
            let certificate = section.map_err(|error| unusable(error.to_string()))?;
            store.add(certificate).map_err(|error| unusable(error.to_string()))?;
        }
        if store.is_empty() {
            return Err(TlsError::NoAuthority);
        }
        Ok(Self::new(Arc::new(store)))
    }

    /// Trusts the system's authorities, as `sys::authorities` read them. Those that cannot be
    /// understood are left out: such stores hold relics, and nobody here chose them.
    ///
    /// # Errors
    /// If none is left.
    pub fn from_system(certificates: Vec<CertificateDer<'static>>) -> Result<Self, TlsError> {
        let mut store = RootCertStore::empty();
        let (added, _ignored) = store.add_parsable_certificates(certificates);
        if added == 0 {
            return Err(TlsError::NoSystemAuthority);
        }
        Ok(Self::new(Arc::new(store)))
    }

    /// The same for another thread. Only the authorities are shared, and they do not change;
    /// tickets to resume sessions with, and the time, are each thread's own.
    #[must_use]
    pub fn for_thread(&self) -> Self {
        Self::new(Arc::clone(&self.authorities))
    }

    fn new(authorities: Arc<RootCertStore>) -> Self {
        let clock = Arc::new(ToldTime::default());
        let time: Arc<dyn TimeProvider> = Arc::<ToldTime>::clone(&clock);
        let provider = Arc::new(ring::default_provider());
        let mut config = ClientConfig::builder_with_details(provider, time)
            .with_safe_default_protocol_versions()
            .expect("the provider has suites for TLS 1.2 and for 1.3")
            .with_root_certificates(Arc::clone(&authorities))
            .with_no_client_auth();
        // RFC 7301: an origin that would rather speak HTTP/2 is told that we do not.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.resumption = Resumption::in_memory_sessions(TLS_TICKETS_MAX);
        Self { config: Arc::new(config), clock, authorities }
    }
}

/// The time that certificates are judged by: that at which the latest session of these options
/// began. Atomic only because rustls wants to share it; one thread writes and reads it.
#[derive(Debug, Default)]
pub(super) struct ToldTime(AtomicU64);

impl ToldTime {
    pub(super) fn set(&self, now: UnixSeconds) {
        self.0.store(now.0, Ordering::Relaxed);
    }
}

impl TimeProvider for ToldTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.0.load(Ordering::Relaxed))))
    }
}
