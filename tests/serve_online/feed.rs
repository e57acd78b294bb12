//! Hits of the daemon's own workers.

use crate::harness::await_true;
use crate::service::{Service, signal, start, start_with};

/// Asks for `path`, and returns where `user` is soon afterwards; "" for nowhere.
fn seen(service: &Service, path: &str, fields: &str, user: &str) -> String {
    service.get_with(path, fields);
    // A hit that is none is not there later either: one that is one comes behind it.
    service
        .get_with("/flag.html?u=flag", "Cookie: u=flag\r\nX-U: flag\r\nReferer: http://flag/\r\n");
    let mut client = service.client();
    await_true(5, "the flag", || client.ask(&["ONLINE.USER", "flag"]) != "(nil)");
    let found = client.ask(&["ONLINE.USER", user]);
    client.ask(&["ONLINE.DEL", "flag"]);
    client.ask(&["ONLINE.DEL", user]);
    let url = found.split(' ').next().unwrap();
    if url == "(nil)" { String::new() } else { url.to_owned() }
}

fn with_files(online: &str) -> Service {
    let service = start(online);
    for name in ["a.html", "a.png", "flag.html", "b/c d.html"] {
        service.put(name, b"x");
    }
    service.await_status("/b/c%20d.html", 200, 5);
    service
}

#[test]
fn users_are_told_by_cookie_field_or_parameter() {
    for (user, path, fields) in [
        ("cookie:u", "/a.html", "Cookie: x=1; u=ann\r\n"),
        ("header:x-u", "/a.html", "X-U: ann\r\n"),
        ("query:u", "/a.html?x=1&u=ann", ""),
    ] {
        let service = with_files(&format!("user = \"{user}\""));
        assert_eq!(seen(&service, path, fields, "ann"), "a.example/a.html", "{user}");
        assert_eq!(seen(&service, "/a.html", "", "ann"), "", "{user}");
        assert_eq!(service.stat("hits_feed_dropped"), 0);
    }
}

#[test]
fn the_address_is_a_user_as_well() {
    let service = with_files("user = \"address\"");
    service.get("/a.html");
    await_true(5, "the address", || service.client().ask(&["ONLINE.USER", "127.0.0.1"]) != "(nil)");
}

#[test]
fn only_what_is_there_and_counts_is_a_hit() {
    let service = with_files("user = \"query:u\"\npaths = [\"*.html\"]");
    let is_at = |path: &str| seen(&service, path, "", "ann");
    assert_eq!(is_at("/a.html?u=ann"), "a.example/a.html");
    assert_eq!(is_at("/b/c%20d.html?u=ann"), "a.example/b/c");
    for path in
        ["/a.png?u=ann", "/nothing.html?u=ann", "/a.html?u=", "/b/?u=ann", "/%zz.html?u=ann"]
    {
        assert_eq!(is_at(path), "", "{path}");
    }
    // It was sent before: that nothing of it has changed does not matter.
    let etag = service.get("/a.html").field("etag").to_owned();
    let fields = format!("If-None-Match: {etag}\r\n");
    assert_eq!(seen(&service, "/a.html?u=ann", &fields, "ann"), "a.example/a.html");
    let head = "HEAD /a.html?u=ann HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n";
    assert!(service.raw(head).starts_with("HTTP/1.1 200"));
    assert_eq!(seen(&service, "/a.png", "", "ann"), "", "HEAD is no visit");
    let long = format!("/a.html?u={}", "u".repeat(300));
    service.get(&long);
    await_true(5, "it to be counted", || service.stat("hits_bad_name") == 1);
}

#[test]
fn urls_come_from_the_referer_or_a_parameter_where_configured() {
    let service = with_files("user = \"cookie:u\"\nurl = \"referer\"");
    let fields = "Cookie: u=ann\r\nReferer: https://WWW.example.com/p?q=1\r\n";
    assert_eq!(seen(&service, "/a.png", fields, "ann"), "www.example.com/p");
    assert_eq!(seen(&service, "/a.png", "Cookie: u=ann\r\n", "ann"), "");
    let service = with_files("user = \"cookie:u\"\nurl = \"query:page\"");
    // The flag says no page: so another way to know that it was seen.
    service.get_with("/a.png?page=news%2F1", "Cookie: u=ann\r\n");
    let mut client = service.client();
    await_true(5, "the hit", || client.ask(&["ONLINE.USER", "ann"]).starts_with("news/1 "));
}

#[test]
fn which_requests_count_follows_a_reload() {
    let service = with_files("");
    service.get("/a.html?u=ann");
    let file = service.file();
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{text}user = \"query:u\"\n")).unwrap();
    signal(&service, "-HUP");
    service.await_said("is in force");
    service.get("/a.html?u=bob");
    let mut client = service.client();
    await_true(5, "bob", || client.ask(&["ONLINE.USER", "bob"]) != "(nil)");
    assert_eq!(client.ask(&["ONLINE.COUNT"]), "1");
}

#[test]
fn all_workers_hits_arrive() {
    let service = start_with("workers = 2", "user = \"query:u\"");
    service.put("a.html", b"x");
    service.await_status("/a.html", 200, 5);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let service = &service;
            scope.spawn(move || {
                for number in 0..100 {
                    service.get(&format!("/a.html?u=user{thread}-{number}"));
                }
            });
        }
    });
    await_true(5, "all hits", || service.stat("users") == 400);
    assert_eq!((service.stat("hits_fed"), service.stat("hits_feed_dropped")), (400, 0));
    let metrics = service.metrics();
    assert!(metrics["peerage_online_users"] <= 400.0);
}
