//! The certificates of the authorities that this machine trusts.
//!
//! Thread: any, at start or reload. It reads files, some 200 KiB, so not on a worker; and before
//! the sandbox closes, since no configuration names them.
//! Not here: trusting them (`tls::Options`).

use rustls::pki_types::CertificateDer;
use rustls_native_certs::CertificateResult;

/// What was found.
#[derive(Debug)]
pub struct Authorities {
    /// The certificates.
    pub certificates: Vec<CertificateDer<'static>>,
    /// What could not be read, each with its place. There may be certificates nonetheless.
    pub errors: Vec<String>,
}

/// Reads them where this system keeps them, or where SSL_CERT_FILE and SSL_CERT_DIR say.
#[must_use]
pub fn system() -> Authorities {
    told(rustls_native_certs::load_native_certs())
}

fn told(found: CertificateResult) -> Authorities {
    let errors = found.errors.iter().map(ToString::to_string).collect();
    Authorities { certificates: found.certs, errors }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_told_with_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("none.pem");
        let found = rustls_native_certs::load_certs_from_paths(Some(&missing), None);
        let authorities = told(found);
        assert_eq!(authorities.certificates, []);
        assert_eq!(authorities.errors.len(), 1);
        assert!(authorities.errors[0].contains("none.pem"), "{}", authorities.errors[0]);
    }

    #[test]
    fn this_machine_has_some_or_says_nothing() {
        // Either is right: a small container has no store, and that is no error.
        let authorities = system();
        assert!(authorities.certificates.iter().all(|certificate| !certificate.is_empty()));
    }
}
