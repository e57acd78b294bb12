//! The certificates of the authorities that this machine trusts.
//!
//! Thread: any, at start or reload. It reads files, some 200 KiB, so not on a worker; and before
//! the sandbox closes, since no configuration names them.
//! Not here: trusting them (`tls::Options`).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

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

/// Where most systems have a directory of them.
const USUAL: &str = "/etc/ssl/certs";

/// The directories that `system` needs to read now or later: those that SSL_CERT_FILE and
/// SSL_CERT_DIR say, and where the links in directories of certificates lead.
#[must_use]
pub fn places() -> BTreeSet<PathBuf> {
    let named = |variable| std::env::var_os(variable).unwrap_or_default();
    let mut found = places_of(Path::new(&named("SSL_CERT_FILE")));
    for directory in std::env::split_paths(&named("SSL_CERT_DIR")).chain([USUAL.into()]) {
        let entries = std::fs::read_dir(&directory).into_iter().flatten().flatten();
        entries.for_each(|entry| found.extend(places_of(&entry.path())));
        found.insert(directory);
    }
    found.retain(|place| place.exists());
    found
}

/// The directories to read `file` from now or later, when another may have its name: its own, and
/// that to which it is a link. One that lies directly below `/` is all that is read there.
#[must_use]
pub fn places_of(file: &Path) -> BTreeSet<PathBuf> {
    let place = |file: &Path| match file.parent() {
        Some(parent) if parent.parent().is_some() => parent.to_owned(),
        _ => file.to_owned(),
    };
    let linked = std::fs::canonicalize(file).ok();
    let mut found: BTreeSet<PathBuf> = linked.iter().map(|file| place(file)).collect();
    found.insert(place(file));
    found.retain(|place| place.exists());
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_those_of_the_name_and_of_what_it_leads_to() {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (link, file) = (here.path().join("link"), there.path().join("a.pem"));
        std::fs::write(&file, "").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let both = [here.path(), there.path()].map(|path| path.canonicalize().unwrap());
        assert_eq!(places_of(&link), BTreeSet::from(both.clone()));
        assert_eq!(places_of(&file), BTreeSet::from([both[1].clone()]));
        assert_eq!(places_of(Path::new("/proc")), BTreeSet::from([PathBuf::from("/proc")]));
        assert_eq!(places_of(Path::new("")), BTreeSet::new());
        assert_eq!(places_of(Path::new("/none/at/all")), BTreeSet::new());
    }

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
