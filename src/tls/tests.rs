//! A session against rustls' own server, in memory: handshakes, their failures, ends and cuts.

use std::io::{Read as _, Write as _};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{AlertDescription, ServerConfig, ServerConnection, SupportedProtocolVersion, version};

use super::*;

/// 2026-01-01.
const NOW: UnixSeconds = UnixSeconds(1_767_225_600);
const DAY: u64 = 24 * 3600;
const NAME: &str = "origin.example";
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: origin.example\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const BOTH: &[&SupportedProtocolVersion] = &[&version::TLS13, &version::TLS12];
const OLD: &[&SupportedProtocolVersion] = &[&version::TLS12];

// ---- the other side ----

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    authority_called("an authority")
}

fn authority_called(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate for `names` from 2025-01-01 to 2027-01-01, and its key.
fn certificate(
    issuer: &CertifiedIssuer<'static, KeyPair>,
    names: &[&str],
) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.not_before = date_time_ymd(2025, 1, 1);
    params.not_after = date_time_ymd(2027, 1, 1);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, issuer).unwrap();
    (certificate.der().clone(), PrivatePkcs8KeyDer::from(key.serialize_der()).into())
}

fn server_config(
    issuer: &CertifiedIssuer<'static, KeyPair>,
    names: &[&str],
    versions: &[&'static SupportedProtocolVersion],
) -> ServerConfig {
    let (certificate, key) = certificate(issuer, names);
    ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap()
}

struct Pair {
    session: Session,
    server: ServerConnection,
    /// Plaintext that came to us.
    plain: Vec<u8>,
    /// Bytes of ciphertext that come to us at once.
    piece: usize,
}

impl Pair {
    fn new(options: &Options, config: ServerConfig) -> Self {
        let session = Session::new(options, NAME, NOW).unwrap();
        let server = ServerConnection::new(Arc::new(config)).unwrap();
        Self { session, server, plain: Vec::new(), piece: usize::MAX }
    }

    /// A pair that trusts each other, after the handshake.
    fn connected(versions: &[&'static SupportedProtocolVersion]) -> Self {
        let issuer = authority();
        let options = Options::from_pem(issuer.pem().as_bytes()).unwrap();
        let mut pair = Self::new(&options, server_config(&issuer, &[NAME], versions));
        pair.run().unwrap();
        assert!(pair.session.is_connected());
        pair
    }

    /// Hands our output over; the server's error is kept by the server.
    fn feed_server(&mut self) -> bool {
        let Some(output) = self.session.poll_output() else { return false };
        let mut rest = &output[..];
        while !rest.is_empty() {
            self.server.read_tls(&mut rest).unwrap();
            if self.server.process_new_packets().is_err() {
                return false;
            }
        }
        true
    }

    fn server_output(&mut self) -> Vec<u8> {
        let mut ciphertext = Vec::new();
        while self.server.wants_write() {
            self.server.write_tls(&mut ciphertext).unwrap();
        }
        ciphertext
    }

    /// To and fro until both are silent.
    fn run(&mut self) -> Result<(), TlsError> {
        loop {
            let was_sent = self.feed_server();
            let ciphertext = self.server_output();
            if !was_sent && ciphertext.is_empty() {
                return Ok(());
            }
            for piece in ciphertext.chunks(self.piece) {
                self.session.handle_input(piece, &mut self.plain)?;
            }
        }
    }

    fn server_reads(&mut self) -> Vec<u8> {
        let mut read = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = self.server.reader().read(&mut buffer) {
            read.extend_from_slice(&buffer[..count]);
        }
        read
    }

    fn server_sends(&mut self, plain: &[u8]) -> Vec<u8> {
        self.server.set_buffer_limit(None);
        self.server.writer().write_all(plain).unwrap();
        self.server_output()
    }
}

/// The error of a handshake with `server`, asking for `name` at `now`.
fn refusal(options: &Options, config: ServerConfig, name: &str, now: UnixSeconds) -> TlsError {
    let mut pair = Pair::new(options, config);
    pair.session = Session::new(options, name, now).unwrap();
    pair.session.send(REQUEST).unwrap();
    let error = pair.run().unwrap_err();
    assert!(!pair.session.is_connected());
    assert!(pair.plain.is_empty());
    assert_eq!(pair.session.handle_input(b"more", &mut pair.plain), Err(error.clone()));
    assert_eq!(pair.session.send(REQUEST), Err(error.clone()));
    // The alert tells the server, and the request does not follow it.
    assert!(pair.session.output.len() < 64, "{} bytes", pair.session.output.len());
    pair.feed_server();
    assert_eq!(pair.server_reads(), b"");
    error
}

// ---- options ----

#[test]
fn options_need_a_usable_authority() {
    let good = authority().pem();
    let damaged = good.replace("\nMII", "\n*II");
    let cut = good[..good.len() / 2].to_owned();
    let none = "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";
    assert!(Options::from_pem(good.as_bytes()).is_ok());
    assert!(Options::from_pem(format!("a comment\n{good}{good}").as_bytes()).is_ok());
    assert_eq!(Options::from_pem(b"").unwrap_err(), TlsError::NoAuthority);
    assert_eq!(Options::from_pem(b"hello").unwrap_err(), TlsError::NoAuthority);
    for (bad, expected) in [(&damaged, 1), (&cut, 1), (&format!("{good}{none}"), 2)] {
        let error = Options::from_pem(bad.as_bytes()).unwrap_err();
        assert!(matches!(error, TlsError::Authority { number, .. } if number == expected));
    }
}

#[test]
fn options_leave_relics_of_the_system_out() {
    let good = authority().der().clone();
    let relic = CertificateDer::from(b"relic".to_vec());
    assert!(Options::from_system(vec![relic.clone(), good]).is_ok());
    let error = Options::from_system(vec![relic]).unwrap_err();
    assert_eq!(error, TlsError::NoSystemAuthority);
}

#[test]
fn a_name_is_of_dns_or_an_address() {
    let options = Options::from_pem(authority().pem().as_bytes()).unwrap();
    for good in ["a", "a.example", "192.0.2.1", "2001:db8::1"] {
        assert!(Session::new(&options, good, NOW).is_ok(), "{good}");
    }
    for bad in ["", "a b", "[2001:db8::1]", "a.example:443", "-\u{e9}"] {
        let error = Session::new(&options, bad, NOW).unwrap_err();
        assert_eq!(error, TlsError::Name(bad.to_owned()));
    }
}

// ---- handshake, request, answer ----

#[test]
fn a_request_is_answered_under_both_versions() {
    for versions in [BOTH, OLD] {
        let mut pair = Pair::connected(versions);
        assert_eq!(pair.server.protocol_version(), Some(versions[0].version));
        assert_eq!(pair.server.alpn_protocol(), None);
        pair.session.send(REQUEST).unwrap();
        pair.feed_server();
        assert_eq!(pair.server_reads(), REQUEST);
        let ciphertext = pair.server_sends(ANSWER);
        pair.session.handle_input(&ciphertext, &mut pair.plain).unwrap();
        assert_eq!(pair.plain, ANSWER);
        assert!(!pair.session.has_peer_closed());
    }
}

#[test]
fn every_size_of_piece_gives_the_same() {
    let issuer = authority();
    let options = Options::from_pem(issuer.pem().as_bytes()).unwrap();
    for versions in [BOTH, OLD] {
        for piece in (1..40).chain([100, 700, 5000]) {
            let config = server_config(&issuer, &[NAME], versions);
            // Without tickets of before: a full handshake each time.
            let mut pair = Pair::new(&options.for_thread(), config);
            pair.piece = piece;
            pair.session.send(REQUEST).unwrap();
            pair.run().unwrap();
            assert_eq!(pair.server_reads(), REQUEST);
            pair.server.writer().write_all(ANSWER).unwrap();
            pair.run().unwrap();
            assert_eq!(pair.plain, ANSWER, "pieces of {piece}");
        }
    }
}

#[test]
fn an_answer_may_be_split_anywhere() {
    let mut pair = Pair::connected(BOTH);
    for round in 0.. {
        // Two records, so that one split lies between them.
        let mut ciphertext = pair.server_sends(ANSWER);
        ciphertext.extend(pair.server_sends(ANSWER));
        let Some((head, tail)) = ciphertext.split_at_checked(round) else { return };
        pair.plain.clear();
        pair.session.handle_input(head, &mut pair.plain).unwrap();
        pair.session.handle_input(tail, &mut pair.plain).unwrap();
        assert_eq!(pair.plain, [ANSWER, ANSWER].concat(), "split at {round}");
    }
}

#[test]
fn what_is_sent_early_goes_out_after_the_handshake_in_order() {
    let issuer = authority();
    let options = Options::from_pem(issuer.pem().as_bytes()).unwrap();
    let mut pair = Pair::new(&options, server_config(&issuer, &[NAME], BOTH));
    pair.session.send(b"one ").unwrap();
    pair.session.send(b"two ").unwrap();
    let long = vec![b'x'; TLS_PENDING_BYTES_MAX - 7];
    assert_eq!(pair.session.send(&long), Err(TlsError::PendingTooLong));
    pair.session.send(b"three ").unwrap();
    pair.run().unwrap();
    pair.session.send(b"four").unwrap();
    pair.run().unwrap();
    assert_eq!(pair.server_reads(), b"one two three four");
}

#[test]
fn large_bodies_pass_both_ways() {
    for versions in [BOTH, OLD] {
        let body: Vec<u8> = (0..1_u32 << 18).flat_map(u32::to_le_bytes).collect();
        assert_eq!(body.len(), 1 << 20);
        let mut pair = Pair::connected(versions);
        for (size, piece) in [(body.len(), usize::MAX), (body.len(), 4096), (70_000, 7)] {
            pair.plain.clear();
            let ciphertext = pair.server_sends(&body[..size]);
            for piece in ciphertext.chunks(piece) {
                pair.session.handle_input(piece, &mut pair.plain).unwrap();
                assert!(pair.session.input.len() < TLS_RECORD_BYTES_MAX);
            }
            assert!(pair.plain == body[..size], "{} of {size} bytes", pair.plain.len());
        }
        pair.session.send(&body).unwrap();
        let output = pair.session.poll_output().unwrap();
        assert!(output.len() <= body.len() + 64 * RECORD_OVERHEAD, "{} bytes", output.len());
        assert_eq!(pair.session.poll_output(), None);
        let (mut rest, mut read) = (&output[..], Vec::new());
        while !rest.is_empty() {
            pair.server.read_tls(&mut rest).unwrap();
            pair.server.process_new_packets().unwrap();
            read.extend(pair.server_reads());
        }
        assert!(read == body, "{} bytes", read.len());
    }
}

#[test]
fn new_keys_are_no_matter() {
    let mut pair = Pair::connected(BOTH);
    for _ in 0..3 {
        pair.server.refresh_traffic_keys().unwrap();
        pair.server.writer().write_all(ANSWER).unwrap();
        pair.run().unwrap();
        pair.session.send(REQUEST).unwrap();
        pair.run().unwrap();
        assert_eq!(pair.server_reads(), REQUEST);
    }
    assert_eq!(pair.plain, ANSWER.repeat(3));
}

#[test]
fn tickets_stay_with_their_thread() {
    let issuer = authority();
    let options = Options::from_pem(issuer.pem().as_bytes()).unwrap();
    let config = server_config(&issuer, &[NAME], BOTH);
    let other = options.for_thread();
    for (options, expected) in [
        (&options, rustls::HandshakeKind::Full),
        (&options, rustls::HandshakeKind::Resumed),
        (&other, rustls::HandshakeKind::Full),
    ] {
        let mut pair = Pair::new(options, config.clone());
        pair.run().unwrap();
        assert_eq!(pair.server.handshake_kind(), Some(expected));
    }
}

#[test]
fn an_address_is_verified_as_one() {
    let issuer = authority();
    let options = Options::from_pem(issuer.pem().as_bytes()).unwrap();
    let mut pair = Pair::new(&options, server_config(&issuer, &["192.0.2.1"], BOTH));
    pair.session = Session::new(&options, "192.0.2.1", NOW).unwrap();
    pair.run().unwrap();
    assert!(pair.session.is_connected());
    assert_eq!(pair.server.server_name(), None);
    let config = server_config(&issuer, &["192.0.2.1"], BOTH);
    let error = refusal(&options, config, "192.0.2.2", NOW);
    assert!(matches!(error, TlsError::NameMismatch { .. }), "{error:?}");
}

#[test]
fn http_1_1_is_offered_and_nothing_else() {
    let issuer = authority();
    let options = Options::from_pem(issuer.pem().as_bytes()).unwrap();
    let mut config = server_config(&issuer, &[NAME], BOTH);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let mut pair = Pair::new(&options, config.clone());
    pair.run().unwrap();
    assert_eq!(pair.server.alpn_protocol(), Some(&b"http/1.1"[..]));
    config.alpn_protocols = vec![b"h2".to_vec()];
    let error = refusal(&options, config, NAME, NOW);
    assert_eq!(error, TlsError::Alert(AlertDescription::NoApplicationProtocol));
    assert!(error.to_string().contains("HTTP/1.1"), "{error}");
}

// ---- refusals ----

#[test]
fn a_wrong_name_is_refused() {
    let issuer = authority();
    let options = Options::from_pem(issuer.pem().as_bytes()).unwrap();
    for versions in [BOTH, OLD] {
        let config = server_config(&issuer, &["a.example", "b.example"], versions);
        let error = refusal(&options, config, NAME, NOW);
        let presented = vec!["a.example".to_owned(), "b.example".to_owned()];
        assert_eq!(error, TlsError::NameMismatch { name: NAME.to_owned(), presented });
        assert_eq!(
            error.to_string(),
            "the origin's certificate is not for `origin.example` but for `a.example`, \
             `b.example`; set host.origin.tls_name to a name it is for, or replace it at the origin"
        );
    }
}

#[test]
fn an_unknown_authority_is_refused() {
    let options = Options::from_pem(authority().pem().as_bytes()).unwrap();
    for versions in [BOTH, OLD] {
        let other = authority_called("another");
        let error = refusal(&options, server_config(&other, &[NAME], versions), NAME, NOW);
        assert_eq!(error, TlsError::UnknownAuthority { name: NAME.to_owned() });
        assert!(error.to_string().contains("host.origin.ca_file"), "{error}");
        // One of the same name and another key.
        let anew = authority();
        let error = refusal(&options, server_config(&anew, &[NAME], versions), NAME, NOW);
        assert_eq!(error, TlsError::Signature { name: NAME.to_owned() });
        assert!(error.to_string().contains("made anew"), "{error}");
    }
}

#[test]
fn a_certificate_out_of_its_time_is_refused() {
    let issuer = authority();
    let options = Options::from_pem(issuer.pem().as_bytes()).unwrap();
    for (now, expected) in [
        (NOW.0 + 366 * DAY, "the certificate of `origin.example` has expired (1 d ago); "),
        (NOW.0 - 366 * DAY, "the certificate of `origin.example` is not valid yet (1 d to go)"),
    ] {
        let config = server_config(&issuer, &[NAME], BOTH);
        let error = refusal(&options, config, NAME, UnixSeconds(now));
        assert!(error.to_string().starts_with(expected), "{error}");
    }
    // The same options, and the time is right again.
    let mut pair = Pair::new(&options, server_config(&issuer, &[NAME], BOTH));
    pair.run().unwrap();
    assert!(pair.session.is_connected());
}

#[test]
fn another_protocol_is_told_from_broken_tls() {
    let options = Options::from_pem(authority().pem().as_bytes()).unwrap();
    for banner in [
        &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"220 mail.example ESMTP\r\n",
    ] {
        for piece in [1, 1000] {
            let mut session = Session::new(&options, NAME, NOW).unwrap();
            let mut plain = Vec::new();
            let mut pieces = banner.chunks(piece);
            let error = pieces.find_map(|part| session.handle_input(part, &mut plain).err());
            assert_eq!(error, Some(TlsError::NotTls), "{}", banner.escape_ascii());
            assert!(plain.is_empty());
        }
    }
}

#[test]
fn hostile_headers_are_refused_before_their_bytes_are_kept() {
    let options = Options::from_pem(authority().pem().as_bytes()).unwrap();
    for header in [
        // A record of 64 KiB; an empty one; application data in the clear; an alert of one byte.
        &[22, 3, 3, 255, 255][..],
        &[22, 3, 3, 0, 0],
        &[23, 3, 3, 0, 1, 0],
        &[21, 3, 3, 0, 1, 0],
        // A handshake message of 16 MiB.
        &[22, 3, 3, 0, 5, 2, 255, 255, 255, 0],
        // HelloRequest instead of ServerHello.
        &[22, 3, 3, 0, 4, 0, 0, 0, 0],
    ] {
        let mut session = Session::new(&options, NAME, NOW).unwrap();
        let mut plain = Vec::new();
        let error = session.handle_input(header, &mut plain).unwrap_err();
        assert!(matches!(error, TlsError::Protocol(_)), "{header:?}: {error:?}");
        assert!(session.input.is_empty());
    }
}

#[test]
fn what_is_kept_of_a_message_is_bounded() {
    // A message of 60 KiB in records of one byte each: it never ends within the bound.
    let options = Options::from_pem(authority().pem().as_bytes()).unwrap();
    let mut session = Session::new(&options, NAME, NOW).unwrap();
    let mut plain = Vec::new();
    let mut records = vec![22, 3, 3, 0, 4, 2, 0, 0xf0, 0];
    records.extend([22, 3, 3, 0, 1, 0].repeat(1000));
    session.handle_input(&records, &mut plain).unwrap();
    let more = [22, 3, 3, 0, 1, 0].repeat(1000);
    let ended = (0..60).find_map(|_| {
        assert!(session.input.len() <= TLS_INPUT_BYTES_MAX);
        session.handle_input(&more, &mut plain).err()
    });
    assert_eq!(ended, Some(TlsError::InputTooLong));
    assert!(session.input.is_empty());
}

#[test]
fn noise_is_never_more_than_an_error() {
    // xorshift64; the seed is arbitrary.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 40).unwrap()
    };
    let issuer = authority();
    let options = Options::from_pem(issuer.pem().as_bytes()).unwrap();
    let config = server_config(&issuer, &[NAME], BOTH);
    for round in 0..60 {
        let mut pair = Pair::new(&options.for_thread(), config.clone());
        if round % 2 == 0 {
            pair.run().unwrap();
            pair.server.writer().write_all(ANSWER).unwrap();
        } else {
            pair.feed_server();
        }
        let mut ciphertext = pair.server_output();
        let at = next() % ciphertext.len();
        ciphertext[at] ^= 1 << (next() % 8);
        let result = pair.session.handle_input(&ciphertext, &mut pair.plain);
        // No error where a length grew and waits for the rest, or in the few bytes that nobody
        // looks at (the version of a record); nothing that was changed gets through.
        assert!(result.is_err() || pair.plain.is_empty(), "round {round}, byte {at}");
    }
}

#[test]
fn changed_ciphertext_is_refused_and_the_other_side_told() {
    let mut pair = Pair::connected(BOTH);
    let mut ciphertext = pair.server_sends(ANSWER);
    ciphertext.extend(pair.server_sends(ANSWER));
    *ciphertext.last_mut().unwrap() ^= 1;
    let error = pair.session.handle_input(&ciphertext, &mut pair.plain).unwrap_err();
    assert!(matches!(error, TlsError::Protocol(_)), "{error:?}");
    assert_eq!(pair.plain, ANSWER, "what came before it stands");
    let alert = pair.session.poll_output().unwrap();
    pair.server.read_tls(&mut &alert[..]).unwrap();
    let told = pair.server.process_new_packets().unwrap_err();
    assert_eq!(told, rustls::Error::AlertReceived(AlertDescription::BadRecordMac));
}

// ---- ends ----

#[test]
fn an_orderly_end_is_told_from_a_cut() {
    for versions in [BOTH, OLD] {
        let mut pair = Pair::connected(versions);
        let ciphertext = pair.server_sends(ANSWER);
        pair.session.handle_input(&ciphertext, &mut pair.plain).unwrap();
        assert!(!pair.session.has_peer_closed(), "a FIN here would be a cut");
        pair.server.send_close_notify();
        let mut end = pair.server_output();
        let last = end.split_off(end.len() - 1);
        pair.session.handle_input(&end, &mut pair.plain).unwrap();
        assert!(!pair.session.has_peer_closed(), "a FIN here would be one, too");
        pair.session.handle_input(&last, &mut pair.plain).unwrap();
        assert!(pair.session.has_peer_closed());
        // What follows is ignored, in any amount.
        for _ in 0..20 {
            pair.session.handle_input(&[0; 16 * 1024], &mut pair.plain).unwrap();
        }
        assert_eq!(pair.plain, ANSWER);
        assert!(pair.session.input.is_empty());
        pair.session.close();
        pair.feed_server();
        assert!(pair.server.process_new_packets().unwrap().peer_has_closed());
    }
}

#[test]
fn an_answer_and_its_end_may_come_at_once() {
    let mut pair = Pair::connected(BOTH);
    pair.server.writer().write_all(ANSWER).unwrap();
    pair.server.send_close_notify();
    let mut ciphertext = pair.server_output();
    ciphertext.extend_from_slice(b"noise");
    pair.session.handle_input(&ciphertext, &mut pair.plain).unwrap();
    assert_eq!(pair.plain, ANSWER);
    assert!(pair.session.has_peer_closed());
}

#[test]
fn our_end_is_told_once() {
    for versions in [BOTH, OLD] {
        let mut pair = Pair::connected(versions);
        pair.session.send(REQUEST).unwrap();
        pair.session.close();
        pair.session.close();
        pair.feed_server();
        assert!(pair.server.process_new_packets().unwrap().peer_has_closed());
        assert_eq!(pair.server_reads(), REQUEST);
        assert_eq!(pair.session.poll_output(), None);
        // Reading goes on.
        let ciphertext = pair.server_sends(ANSWER);
        pair.session.handle_input(&ciphertext, &mut pair.plain).unwrap();
        assert_eq!(pair.plain, ANSWER);
    }
}

#[test]
fn closed_before_the_handshake_is_over_nothing_is_sent() {
    let issuer = authority();
    let options = Options::from_pem(issuer.pem().as_bytes()).unwrap();
    let mut pair = Pair::new(&options, server_config(&issuer, &[NAME], BOTH));
    pair.session.send(REQUEST).unwrap();
    pair.session.close();
    pair.run().unwrap();
    assert_eq!(pair.server_reads(), b"");
    assert!(pair.server.process_new_packets().unwrap().peer_has_closed());
}

#[test]
fn a_farewell_in_the_handshake_ends_nothing() {
    // Nobody signed it, so anybody may have sent it: what follows it will be a cut.
    let options = Options::from_pem(authority().pem().as_bytes()).unwrap();
    let mut session = Session::new(&options, NAME, NOW).unwrap();
    session.handle_input(&[21, 3, 3, 0, 2, 1, 0], &mut Vec::new()).unwrap();
    assert!(!session.has_peer_closed());
    assert!(!session.is_connected());
}

#[test]
fn an_alert_of_the_other_side_is_told() {
    let options = Options::from_pem(authority().pem().as_bytes()).unwrap();
    let mut session = Session::new(&options, NAME, NOW).unwrap();
    let unrecognised = [21, 3, 3, 0, 2, 2, 112];
    let error = session.handle_input(&unrecognised, &mut Vec::new()).unwrap_err();
    assert_eq!(error, TlsError::Alert(AlertDescription::UnrecognisedName));
    assert!(error.to_string().contains("host.origin.tls_name"), "{error}");
}

#[test]
#[should_panic(expected = "nothing is sent after close_notify")]
fn sending_after_the_end_is_our_bug() {
    let mut pair = Pair::connected(BOTH);
    pair.session.close();
    let _unreached = pair.session.send(REQUEST);
}
