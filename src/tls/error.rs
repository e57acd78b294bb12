//! What goes wrong with TLS to an origin, and what an operator can do about it.
//!
//! Thread: any, pure.
//! Invariants: every message names the remedy; text that the other side chose is cut to printable
//! ASCII before it gets into one.
//! Not here: which addresses are tried next (`http::origin::pool`).

use std::fmt;

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage};

/// Names of a certificate that a message lists; the rest are counted.
const NAMES_SHOWN_MAX: usize = 4;

/// Why there is no session, or why one is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsError {
    /// The PEM text has no certificate.
    NoAuthority,
    /// The system has no usable authority.
    NoSystemAuthority,
    /// A certificate of the PEM text, counted from 1, cannot be used as an authority.
    Authority {
        /// Which one.
        number: usize,
        /// What is wrong with it.
        why: String,
    },
    /// This is neither a DNS name nor an IP address.
    Name(String),
    /// The first bytes that arrived are not TLS.
    NotTls,
    /// No known authority signed the certificate.
    UnknownAuthority {
        /// The name that was asked for.
        name: String,
    },
    /// A signature is not by the key it should be by, most often that of an authority that was
    /// made anew under its old name.
    Signature {
        /// The name that was asked for.
        name: String,
    },
    /// The certificate is for others.
    NameMismatch {
        /// The name that was asked for.
        name: String,
        /// Those of the certificate.
        presented: Vec<String>,
    },
    /// The certificate's time is over.
    Expired {
        /// The name that was asked for.
        name: String,
        /// For how many seconds; 0 where that is not known.
        seconds: u64,
    },
    /// The certificate's time has not begun.
    NotYetValid {
        /// The name that was asked for.
        name: String,
        /// For how many more seconds; 0 where that is not known.
        seconds: u64,
    },
    /// Something else is wrong with the certificate.
    Certificate {
        /// The name that was asked for.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// No version, suite or group in common.
    Incompatible(String),
    /// The origin gave up, and says why.
    Alert(AlertDescription),
    /// The origin sent what TLS does not allow here, or what was sent was changed on its way.
    Protocol(String),
    /// An unfinished message is longer than `TLS_INPUT_BYTES_MAX`.
    InputTooLong,
    /// More than `TLS_PENDING_BYTES_MAX` were to be kept until the handshake is over.
    PendingTooLong,
    /// The keys have encrypted as much as is safe; a new connection has new ones.
    KeysUsedUp,
}

impl TlsError {
    /// What rustls found, in a session with `name`; `is_first` if no whole record had arrived.
    pub(super) fn new(error: Error, name: &str, is_first: bool) -> Self {
        match error {
            Error::InvalidCertificate(error) => Self::of_certificate(error, name.to_owned()),
            Error::NoCertificatesPresented => {
                Self::Certificate { name: name.to_owned(), why: "there is none".to_owned() }
            }
            Error::InvalidMessage(
                InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
            ) if is_first => Self::NotTls,
            Error::AlertReceived(alert) => Self::Alert(alert),
            Error::PeerIncompatible(why) => Self::Incompatible(format!("{why:?}")),
            Error::EncryptError => Self::KeysUsedUp,
            other => Self::Protocol(printable(&other.to_string())),
        }
    }

    fn of_certificate(error: CertificateError, name: String) -> Self {
        match error {
            CertificateError::UnknownIssuer => Self::UnknownAuthority { name },
            CertificateError::BadSignature => Self::Signature { name },
            CertificateError::NotValidForName => Self::NameMismatch { name, presented: Vec::new() },
            CertificateError::NotValidForNameContext { presented, .. } => {
                let presented = presented.iter().map(|name| plain_name(name)).collect();
                Self::NameMismatch { name, presented }
            }
            CertificateError::Expired => Self::Expired { name, seconds: 0 },
            CertificateError::ExpiredContext { time, not_after } => {
                let seconds = time.as_secs().saturating_sub(not_after.as_secs());
                Self::Expired { name, seconds }
            }
            CertificateError::NotValidYet => Self::NotYetValid { name, seconds: 0 },
            CertificateError::NotValidYetContext { time, not_before } => {
                let seconds = not_before.as_secs().saturating_sub(time.as_secs());
                Self::NotYetValid { name, seconds }
            }
            other => Self::Certificate { name, why: printable(&other.to_string()) },
        }
    }
}

/// `example.com` of `DnsName("example.com")`, which is how they come.
fn plain_name(name: &str) -> String {
    let inner = name.split_once("(\"").and_then(|(_, rest)| rest.strip_suffix("\")"));
    printable(inner.unwrap_or(name))
}

fn printable(text: &str) -> String {
    text.chars().map(|c| if c == ' ' || c.is_ascii_graphic() { c } else { '?' }).collect()
}

impl std::error::Error for TlsError {}

impl fmt::Display for TlsError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAuthority => out.write_str(
                "no certificate in host.origin.ca_file; it must hold those of the authorities \
                 that sign the origin's, each between BEGIN CERTIFICATE and END CERTIFICATE",
            ),
            Self::NoSystemAuthority => out.write_str(
                "the system has no usable certificate of an authority; install its package \
                 (ca-certificates), or name a file in host.origin.ca_file",
            ),
            Self::Authority { number, why } => write!(
                out,
                "certificate {number} of host.origin.ca_file cannot be used: {why}; replace it or \
                 take it out"
            ),
            Self::Name(name) => write!(
                out,
                "`{}` is neither a DNS name nor an IP address; set host.origin.tls_name to what \
                 the origin's certificate is for",
                printable(name)
            ),
            Self::UnknownAuthority { name } => write!(
                out,
                "no known authority signed the certificate of `{name}`; name the one that did in \
                 host.origin.ca_file, and have the origin send all certificates in between"
            ),
            Self::Signature { name } => write!(
                out,
                "a signature in the certificate of `{name}`, or by its key, is wrong; if its \
                 authority was made anew, name the new one in host.origin.ca_file"
            ),
            Self::NameMismatch { name, presented } => fmt_mismatch(out, name, presented),
            Self::Expired { name, seconds } => {
                write!(out, "the certificate of `{name}` has expired")?;
                fmt_span(out, *seconds, "ago")?;
                out.write_str("; renew it at the origin, or set this machine's clock")
            }
            Self::NotYetValid { name, seconds } => {
                write!(out, "the certificate of `{name}` is not valid yet")?;
                fmt_span(out, *seconds, "to go")?;
                out.write_str("; set this machine's clock, or replace it at the origin")
            }
            Self::Certificate { name, why } => write!(
                out,
                "the certificate of `{name}` cannot be accepted: {why}; replace it at the origin"
            ),
            Self::Alert(alert) => {
                write!(out, "the origin refused with alert {alert:?}; {}", alert_remedy(*alert))
            }
            _ => self.fmt_protocol(out),
        }
    }
}

impl TlsError {
    fn fmt_protocol(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotTls => out.write_str(
                "the origin does not answer with TLS; check its port, or write http:// for it",
            ),
            Self::Incompatible(why) => write!(
                out,
                "the origin offers nothing that is still safe ({why}); it needs TLS 1.2 or 1.3 \
                 with ECDHE and AES-GCM or ChaCha20-Poly1305"
            ),
            Self::Protocol(why) => write!(
                out,
                "the origin broke the TLS protocol ({why}); if it persists, look for what is \
                 between peerage and the origin"
            ),
            Self::InputTooLong => out.write_str(
                "the origin sent a TLS message beyond 64 KiB; shorten its chain of certificates",
            ),
            Self::PendingTooLong => out.write_str(
                "too much was to be sent before the TLS handshake was over; send it after",
            ),
            Self::KeysUsedUp => {
                out.write_str("the keys of this TLS connection are used up; connect anew")
            }
            _ => out.write_str("TLS failed; see the origin's log"),
        }
    }
}

fn fmt_mismatch(out: &mut fmt::Formatter<'_>, name: &str, presented: &[String]) -> fmt::Result {
    write!(out, "the origin's certificate is not for `{name}`")?;
    let shown = &presented[..presented.len().min(NAMES_SHOWN_MAX)];
    if !shown.is_empty() {
        write!(out, " but for `{}`", shown.join("`, `"))?;
    }
    if presented.len() > shown.len() {
        write!(out, " and {} more", presented.len() - shown.len())?;
    }
    out.write_str("; set host.origin.tls_name to a name it is for, or replace it at the origin")
}

fn fmt_span(out: &mut fmt::Formatter<'_>, seconds: u64, what: &str) -> fmt::Result {
    const HOUR: u64 = 3600;
    const DAY: u64 = 24 * HOUR;
    match seconds {
        0 => Ok(()),
        1..HOUR => write!(out, " ({} min {what})", seconds / 60),
        HOUR..DAY => write!(out, " ({} h {what})", seconds / HOUR),
        _ => write!(out, " ({} d {what})", seconds / DAY),
    }
}

/// RFC 8446 6.2 and RFC 6066 3.
fn alert_remedy(alert: AlertDescription) -> &'static str {
    match alert {
        AlertDescription::UnrecognisedName => {
            "it serves no such name: set host.origin.tls_name to one that it serves"
        }
        AlertDescription::HandshakeFailure
        | AlertDescription::ProtocolVersion
        | AlertDescription::InsufficientSecurity => {
            "it needs TLS 1.2 or 1.3 with ECDHE and AES-GCM or ChaCha20-Poly1305, and perhaps \
             another host.origin.tls_name"
        }
        AlertDescription::NoApplicationProtocol => "let it speak HTTP/1.1 on this port",
        AlertDescription::CertificateRequired | AlertDescription::AccessDenied => {
            "it asks for a certificate of ours, which peerage has not: let it know us by address"
        }
        _ => "its log says why",
    }
}
