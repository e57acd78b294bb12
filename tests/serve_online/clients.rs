//! Clients as they come: redis-cli, redis-benchmark, redis-py, Perl. Where one is not installed its
//! test says so.

use std::process::{Command, Stdio};

use crate::service::{Service, start};

/// What a program printed; `None` where it is not installed.
fn run(program: &str, arguments: &[&str], input: &str) -> Option<String> {
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        eprintln!("skipped: {program} is not installed");
        return None;
    };
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program}: {text}{errors}");
    Some(text)
}

fn port(service: &Service) -> String {
    service.address.port().to_string()
}

#[test]
fn redis_cli() {
    let service = start("");
    let lines = "online.hit ann a/x\nonline.hit bob a/x\nonline.url a/x\nonline.count\nping\n\
                 online.user nobody\nonline.top\ncommand docs\n";
    for extra in [&["-2"][..], &["-3"]] {
        let port = port(&service);
        let arguments = [&["-p", &port][..], extra].concat();
        let Some(text) = run("redis-cli", &arguments, lines) else { return };
        let found: Vec<&str> = text.lines().collect();
        let [_, _, rest @ ..] = &found[..] else { panic!("{text}") };
        assert_eq!(rest[..4], ["bob", "ann", "2", "PONG"], "{text}");
        assert_eq!(rest[5..7], ["a/x", "2"], "{text}");
    }
    // `redis-cli INFO` and `--latency`-like tools look at these.
    let info = run("redis-cli", &["-p", &port(&service), "info"], "").unwrap();
    assert!(info.contains("loading:0\r\n") && info.contains("users:2\r\n"), "{info}");
}

#[test]
fn redis_benchmark() {
    let service = start("");
    let port = port(&service);
    let hit = ["ONLINE.HIT", "user:__rand_int__", "www.example.com/__rand_int__"];
    let options = ["-p", &port, "-n", "20000", "-P", "32", "-r", "1000", "-q"];
    let Some(text) = run("redis-benchmark", &[&options[..], &hit].concat(), "") else { return };
    assert!(text.contains("requests per second"), "{text}");
    assert_eq!((service.stat("users"), service.stat("errors")), (1000, 0));
}

const REDIS_PY: &str = r#"
import sys
try:
    import redis
except ImportError:
    print("skipped: redis-py is not installed")
    sys.exit(0)
port, password = int(sys.argv[1]), sys.argv[2]
for options in ({}, {"protocol": 3}):
    try:
        client = redis.Redis(port=port, password=password, decode_responses=True, **options)
    except TypeError:
        continue  # redis-py before 5 knows one protocol
    assert client.ping()
    client.execute_command("ONLINE.HIT", "ann", "a/x")
    earlier = float(client.execute_command("ONLINE.USER", "ann")[1]) - 5
    client.execute_command("ONLINE.HIT", "bob", "a/x", "%.3f" % earlier)
    assert client.execute_command("ONLINE.URL", "a/x") == ["ann", "bob"]
    assert client.execute_command("ONLINE.USER", "nobody") is None
    assert client.execute_command("ONLINE.COUNT") == 2
    assert client.info()["loading"] == 0
    assert client.config_get("save") == {"save": ""}
    pipeline = client.pipeline(transaction=False)
    for number in range(1000):
        pipeline.execute_command("ONLINE.HIT", "user%d" % number, "a/y")
    assert sum(pipeline.execute()) == 1000
    for number in range(1000):
        assert client.execute_command("ONLINE.DEL", "user%d" % number) == 1
    try:
        client.execute_command("ONLINE.URL", "a/x", "LIMIT", "many")
        raise SystemExit("no error")
    except redis.ResponseError as error:
        assert "number of rows" in str(error), error
    client.close()
try:
    redis.Redis(port=port, password="wrong password").ping()
    raise SystemExit("no error")
except redis.RedisError as error:  # which one differs between versions
    assert "invalid username-password" in str(error), error
print("done")
"#;

#[test]
fn redis_py() {
    let service = start("password = \"a-long-password\"");
    let arguments = ["-c", REDIS_PY, &port(&service), "a-long-password"];
    // The system's own may have it where another one comes first.
    for python in ["python3", "/usr/bin/python3"] {
        let Some(text) = run(python, &arguments, "") else { continue };
        if !text.starts_with("skipped") {
            assert_eq!(text, "done\n");
            return;
        }
        eprintln!("{text}");
    }
}

const PERL: &str = r#"
use strict; use warnings; use Online;
for my $place (@ARGV) {
    my $online = Online->new($place, 'a-long-password');
    $online->hit('ann', 'a/x');
    $online->hit("b\x{e9}\x{263a}", 'a/x', time - 5);
    my @names = $online->url('a/x', 30);
    die "@names" unless @names == 2 && $names[0] eq 'ann' && $names[1] eq "b\xc3\xa9\xe2\x98\xba";
    die unless $online->count == 2 && $online->count(60) == 2;
    die unless join(' ', $online->top(1)) eq 'a/x 2' && ($online->user('ann'))[0] eq 'a/x';
    die if $online->user('nobody');
    $online->send('ECHO', $_) for 1 .. 1000;
    $online->reply eq $_ or die for 1 .. 1000;
    eval { $online->ask('ONLINE.URL') };
    die $@ unless $@ =~ /wrong number of arguments/;
    die unless $online->del('ann') == 1 && $online->del('ann') == 0;
}
eval { Online->new($ARGV[0], 'wrong password') };
die $@ unless $@ =~ /invalid username-password/;
print "done\n";
"#;

#[test]
fn perl() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("online.sock");
    let socket = socket.to_str().unwrap();
    let service = start(&format!("password = \"a-long-password\"\nsocket = \"{socket}\""));
    let module = concat!(env!("CARGO_MANIFEST_DIR"), "/tools/clients");
    let address = service.address.to_string();
    let arguments = ["-I", module, "-e", PERL, &address, socket];
    let Some(text) = run("perl", &arguments, "") else { return };
    assert_eq!(text, "done\n");
    let lines = include_str!("../../tools/clients/Online.pm").lines().count();
    assert!(lines <= 60, "{lines} lines: a client is small enough to read");
}
