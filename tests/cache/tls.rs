//! Origins under TLS: who is trusted, and what a broken connection leaves.
//!
//! Not here: the session without sockets (`src/tls/tests.rs`).

use std::io;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::client::Pending;
use crate::harness::{await_true, pattern};
use crate::origin::{Exchange, Origin, Stream};
use crate::peer::{Peer, Setup};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A server with a certificate for `name`, good until the end of that year.
fn config(authority: &Authority, name: &str, year: i32) -> Arc<ServerConfig> {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(year, 12, 31);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    let key: PrivateKeyDer<'static> = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    Arc::new(config)
}

/// TLS that says farewell when it ends, as `close_notify` asks for.
struct Polite(StreamOwned<ServerConnection, TcpStream>, bool);

impl io::Read for Polite {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl io::Write for Polite {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.0.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Drop for Polite {
    fn drop(&mut self) {
        if self.1 {
            self.0.conn.send_close_notify();
            drop(io::Write::flush(&mut self.0));
        }
    }
}

/// An origin under TLS; `polite`: it ends connections as it should.
fn origin(
    config: Arc<ServerConfig>,
    polite: bool,
    script: impl Fn(&mut Exchange<'_>) + Send + Sync + 'static,
) -> Origin {
    Origin::start_wrapped(wrap(config, polite), script)
}

/// The server's side of TLS.
fn wrap(
    config: Arc<ServerConfig>,
    polite: bool,
) -> impl Fn(TcpStream) -> io::Result<Box<dyn Stream>> + Send + Sync {
    move |stream| {
        let session = ServerConnection::new(Arc::clone(&config)).map_err(io::Error::other)?;
        Ok(Box::new(Polite(StreamOwned::new(session, stream), polite)))
    }
}

fn simple(exchange: &mut Exchange<'_>) {
    let body = format!("{} {}", exchange.target, exchange.number);
    exchange.answer("Cache-Control: max-age=1000\r\n", body);
}

/// A daemon that trusts `authority` only.
fn start(origin: &Origin, authority: &Authority, lines: &str) -> Peer {
    start_as(Setup::of(origin), authority, lines)
}

fn start_as(setup: Setup, authority: &Authority, lines: &str) -> Peer {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(directory.path().join("tree")).unwrap();
    let file = Path::new("authorities.pem");
    std::fs::write(directory.path().join(file), authority.pem()).unwrap();
    setup
        .origin(&format!(
            "scheme = \"https\"
ca_file = \"authorities.pem\"
failures_max = 100
{lines}"
        ))
        .start_in(directory)
}

#[test]
fn a_trusted_origin_is_asked_and_its_connection_kept() {
    let trusted = authority("trusted");
    let origin = origin(config(&trusted, "a.example", 2099), true, simple);
    let peer = start(&origin, &trusted, "");
    for number in 0..10 {
        let target = format!("/{number}");
        assert_eq!(peer.get(&target).text(), format!("{target} 1"));
        assert_eq!(peer.await_hit(&target).text(), format!("{target} 1"));
    }
    assert!(origin.connections() < 5, "{}", origin.connections());
    assert_eq!(origin.last_field("host"), "a.example");
}

#[test]
fn bodies_go_to_it_whole() {
    let trusted = authority("trusted");
    let origin = origin(config(&trusted, "a.example", 2099), true, |exchange| {
        let body = exchange.body();
        exchange.answer("", body);
    });
    let limits = "[limits]\nbody_bytes_max = \"32 MiB\"";
    let setup = Setup::of(&origin).methods(&["POST", "PUT"]).server(limits);
    let peer = start_as(setup, &trusted, "");
    // A record, a piece that is sealed at once, many of them.
    let lens = [0, 1, 16_384, 16_385, 256 << 10, (256 << 10) + 1, 512 << 10, 1 << 20, 24 << 20];
    for len in lens {
        for method in ["POST", "PUT", "PUT"] {
            let head =
                format!("{method} /a HTTP/1.1\r\nHost: a.example\r\nContent-Length: {len}\r\n\r\n");
            let body = pattern(len, 5);
            let sent = [head.as_bytes(), &body].concat();
            let reply = Pending::send_bytes(peer.address, &sent).finish();
            assert!(reply.status == 200 && reply.body == body, "{method} {len}: {}", reply.head);
        }
    }
    // A POST is sent on a new one.
    assert_eq!((origin.total(), origin.connections()), (3 * lens.len(), lens.len()));
    await_true(20, "them to be gone", || peer.metric("peerage_http_body_memory_bytes") == 0.0);
}

#[test]
fn an_answer_to_a_part_of_a_body_is_passed_on() {
    let trusted = authority("trusted");
    let origin = origin(config(&trusted, "a.example", 2099), true, |exchange| {
        if exchange.number == 1 {
            // Whoever sent on would take what is left of the body for a request.
            exchange.answer_with(413, "", "too much");
        }
        let body = exchange.body();
        exchange.answer("", body.len().to_string());
    });
    let limits = "[limits]\nbody_bytes_max = \"32 MiB\"";
    let one = "connections_max = 1";
    let setup = Setup::of(&origin).methods(&["POST"]).server(limits).origin(one);
    let peer = start_as(setup, &trusted, "");
    let len = 24 << 20;
    let head = format!("POST /a HTTP/1.1\r\nHost: a.example\r\nContent-Length: {len}\r\n\r\n");
    let sent = [head.as_bytes(), &pattern(len, 5)].concat();
    let reply = Pending::send_bytes(peer.address, &sent).finish();
    assert_eq!((reply.status, reply.text()), (413, "too much".to_owned()));
    let reply = Pending::send_bytes(peer.address, &sent).finish();
    assert_eq!((reply.status, reply.text()), (200, len.to_string()));
    assert_eq!(origin.connections(), 2);
}

#[test]
fn large_bodies_come_whole() {
    const LEN: usize = 5 << 20;
    let trusted = authority("trusted");
    let origin = origin(config(&trusted, "a.example", 2099), true, |exchange| {
        let body = pattern(LEN, 6);
        if exchange.target == "/close" {
            exchange.send("HTTP/1.1 200 OK\r\nCache-Control: max-age=1000\r\n\r\n");
            exchange.send(body);
            exchange.close();
        } else {
            exchange.answer("Cache-Control: max-age=1000\r\n", body);
        }
    });
    let peer = start(&origin, &trusted, "");
    for target in ["/length", "/close"] {
        let reply = peer.get(target);
        assert!(reply.is_whole && reply.body == pattern(LEN, 6), "{target}: {}", reply.head);
        assert!(peer.await_hit(target).body == reply.body, "{target}");
    }
}

#[test]
fn the_name_of_the_certificate_may_be_another() {
    let trusted = authority("trusted");
    let origin = origin(config(&trusted, "origin.example", 2099), true, simple);
    let peer = start(&origin, &trusted, "tls_name = \"origin.example\"");
    assert_eq!(peer.get("/a").text(), "/a 1");
    assert_eq!(origin.last_field("host"), "a.example");
}

#[test]
fn the_name_of_the_certificate_may_be_an_address() {
    let trusted = authority("trusted");
    let wrap = wrap(config(&trusted, "::1", 2099), true);
    let Some(origin) = Origin::start_at_v6(wrap, simple) else { return };
    let peer = start(&origin, &trusted, &format!("host_header = \"{}\"", origin.address));
    assert_eq!(peer.get("/a").text(), "/a 1");
    drop(peer);
    let peer = start(&origin, &trusted, "");
    assert_eq!(peer.get("/b").status, 502, "its certificate is not for the host's name");
    assert_eq!(origin.total(), 1);
}

/// Nothing is got from it, no request is sent to it, and it is counted.
fn expect_refusal(origin: &Origin, peer: &Peer, why: &str) {
    for _ in 0..2 {
        let reply = peer.get("/a");
        assert_eq!(reply.status, 502, "{why}: {}", reply.head);
    }
    assert_eq!(origin.total(), 0, "{why}");
    assert!(peer.files().is_empty());
    assert!(peer.metric("peerage_origin_refusals_total") >= 1.0, "{why}");
}

#[test]
fn strangers_are_not_trusted() {
    let trusted = authority("trusted");
    let stranger = authority("a stranger");
    for (why, config) in [
        ("another name", config(&trusted, "b.example", 2099)),
        ("an unknown authority", config(&stranger, "a.example", 2099)),
        ("too old", config(&trusted, "a.example", 2021)),
    ] {
        let origin = origin(config, true, simple);
        let peer = start(&origin, &trusted, "");
        expect_refusal(&origin, &peer, why);
        peer.await_said("origin a.example at ");
    }
}

/// A file of `authority` where the daemon has no business once it serves.
fn elsewhere(authority: &Authority, name: &str) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join(name);
    std::fs::write(&file, authority.pem()).unwrap();
    (directory, file)
}

#[test]
fn authorities_of_the_system_are_trusted_and_no_others() {
    let (trusted, stranger) = (authority("trusted"), authority("a stranger"));
    let good = origin(config(&trusted, "a.example", 2099), true, simple);
    let bad = origin(config(&stranger, "a.example", 2099), true, simple);
    // Files of such a directory are named after a hash.
    let (directory, file) = elsewhere(&trusted, "01234567.0");
    let lines = "scheme = \"https\"\nfailures_max = 100";
    for (variable, path) in [("SSL_CERT_FILE", &*file), ("SSL_CERT_DIR", directory.path())] {
        let start = |origin| Setup::of(origin).origin(lines).environment(variable, path).start();
        assert_eq!(start(&good).get("/a").text(), format!("/a {}", good.count("/a")));
        expect_refusal(&bad, &start(&bad), variable);
    }
}

#[test]
fn authorities_are_read_anew_by_a_reload() {
    let (trusted, stranger) = (authority("trusted"), authority("a stranger"));
    let (_directory, file) = elsewhere(&trusted, "01234567.0");
    let ca_file = format!("ca_file = \"{}\"", file.display());
    for lines in ["", &ca_file] {
        std::fs::write(&file, trusted.pem()).unwrap();
        let (old, new) =
            (config(&trusted, "a.example", 2099), config(&stranger, "a.example", 2099));
        let (old, new) = (origin(old, true, simple), origin(new, true, simple));
        let of = |origin: &Origin| {
            format!("addresses = [\"{}\"]\nscheme = \"https\"\n{lines}", origin.address)
        };
        let mut setup = Setup::alone().environment("SSL_CERT_FILE", &file);
        setup.origin = of(&old);
        let peer = setup.start();
        assert_eq!(peer.get("/a").text(), "/a 1");
        assert!(peer.reload_origin(&of(&new)), "{lines}: {:?}", peer.said());
        await_true(20, "a refusal", || peer.get("/b").status == 502);
        std::fs::write(&file, stranger.pem()).unwrap();
        assert!(peer.reload_origin(&of(&new)), "{lines}: {:?}", peer.said());
        await_true(20, "trust", || peer.get("/c").status == 200);
        // One that is damaged changes nothing.
        std::fs::write(&file, "nonsense").unwrap();
        assert!(!peer.reload_origin(&of(&new)), "{lines}: {:?}", peer.said());
        assert_eq!(peer.get("/d").text(), "/d 1");
    }
}

#[test]
fn failed_handshakes_are_counted() {
    let (trusted, stranger) = (authority("trusted"), authority("a stranger"));
    let origin = origin(config(&stranger, "a.example", 2099), true, simple);
    let peer = start(&origin, &trusted, "");
    assert_eq!(peer.get("/a").status, 502);
    assert!(peer.errors("connect") >= 1.0, "the metric counts it");
}

#[test]
fn plain_http_where_tls_is_expected_is_refused() {
    let trusted = authority("trusted");
    let plain = Origin::start(simple);
    let peer = start(&plain, &trusted, "connect_timeout = \"1 s\"");
    // It waits for the end of a head, and we for the begin of a handshake.
    let reply = peer.get("/a");
    assert!(matches!(reply.status, 502 | 504), "{}", reply.head);
    let eager = Origin::start_wrapped(
        |mut stream| {
            io::Write::write_all(&mut stream, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")?;
            Ok(Box::new(stream))
        },
        simple,
    );
    let peer = start(&eager, &trusted, "");
    expect_refusal(&eager, &peer, "plain HTTP");
}

#[test]
fn an_end_without_farewell_is_a_cut() {
    let trusted = authority("trusted");
    for polite in [true, false] {
        let origin = origin(config(&trusted, "a.example", 2099), polite, |exchange| {
            exchange.send("HTTP/1.1 200 OK\r\nCache-Control: max-age=1000\r\n\r\nbody");
            exchange.close();
        });
        let peer = start(&origin, &trusted, "");
        let reply = peer.get("/a");
        assert_eq!((reply.status, reply.is_whole), (200, polite), "{}", reply.head);
        if polite {
            assert_eq!(peer.await_hit("/a").text(), "body");
        } else {
            peer.await_tidy();
            assert!(peer.files().is_empty());
            assert_eq!(peer.errors("early_close"), 1.0);
        }
    }
}
