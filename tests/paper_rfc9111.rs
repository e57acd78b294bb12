//! What a shared cache does, case by case, as RFC 9111 and its companions have it.
//!
//! `tests/data/freshness.txt` holds the cases; its head says how to read one. With `REWRITE=1` set,
//! what was found is written there in place of what was expected, and a person reads the diff.
//!
//! Not here: the files (`tests/serve`), exact tables of each parser (beside the code).
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::fmt::Write as _;

use peerage::cache::freshness::invalidate::{Target, plan_invalidation};
use peerage::cache::freshness::status::{CacheStatus, Fwd, Handled};
use peerage::cache::freshness::store::stored_fields;
use peerage::cache::freshness::validate::{
    Freshen, Stored, conditions, freshen, freshen_by_head, merge,
};
use peerage::cache::freshness::vary::{Nominated, Variants, emit_accept_encoding};
use peerage::cache::freshness::{
    ClientDirectives, Error, Fields, Freshness, LifetimeFrom, Method, Policy, Request,
    RequestControl, Response, ResponseControl, Reuse, Serve, SetCookie, StaleWhy, Store, date,
    plan_error, plan_serve, plan_store,
};
use peerage::limits::SECONDARY_KEY_BYTES_MAX;
use peerage::time::UnixSeconds;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/freshness.txt");

/// When the first answer comes, in every case.
const START: u64 = 1_700_000_000;

type Lines = Vec<(String, String)>;

/// Runs `take` over the lines as the core wants them.
fn with<T>(lines: &Lines, take: impl FnOnce(Fields<'_>) -> T) -> T {
    let slices: Vec<(&[u8], &[u8])> =
        lines.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
    take(Fields(&slices))
}

fn owned(lines: impl Iterator<Item = (impl AsRef<[u8]>, impl AsRef<[u8]>)>) -> Lines {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    lines.map(|(name, value)| (text(name.as_ref()), text(value.as_ref()))).collect()
}

/// `Name: value` pieces; a value `@n` is the date `n` seconds after the start.
fn parse_lines<'a>(pieces: impl Iterator<Item = &'a str>) -> Lines {
    let line = |piece: &str| {
        let (name, value) = piece.split_once(':').expect("a field has a colon");
        let value = value.trim();
        let value = match value.strip_prefix('@') {
            Some(offset) => {
                let at = START.checked_add_signed(offset.parse().unwrap()).unwrap();
                peerage::http::date::emit(UnixSeconds(at)).to_string()
            }
            None => value.to_owned(),
        };
        (name.to_owned(), value)
    };
    pieces.map(line).collect()
}

struct Entry {
    status: u16,
    lines: Lines,
    freshness: Freshness,
}

/// One cache with one key.
struct Cache {
    policy: Policy,
    stored: Variants<Entry>,
    method: Method,
    request: Lines,
    plan: Serve,
    ttl: Option<i64>,
}

impl Cache {
    fn new() -> Self {
        Self {
            policy: Policy::default(),
            stored: Variants::default(),
            method: Method::Get,
            request: Lines::new(),
            plan: Serve::Miss,
            ttl: None,
        }
    }

    /// Runs one line of a case; returns what is to be seen of it.
    fn run(&mut self, line: &str) -> String {
        let mut pieces = line.split('|').map(str::trim);
        let words: Vec<&str> = pieces.next().unwrap().split_whitespace().collect();
        let lines = parse_lines(pieces);
        let at = |word: &str| UnixSeconds(START + word.parse::<u64>().unwrap());
        match words[..] {
            ["policy", ..] => self.set_policy(&words[1..]),
            ["ask", method] => {
                self.ask(method, lines);
                String::new()
            }
            ["answer", status] => self.answer(status, UnixSeconds(START), lines),
            ["answer", status, asked] => {
                let ago: u64 = asked.strip_prefix("after=").unwrap().parse().unwrap();
                self.answer(status, UnixSeconds(START - ago), lines)
            }
            ["error", now, status] => self.error(status, at(now)),
            ["304", now] => self.freshen(304, at(now), &lines),
            ["head", now] => self.freshen(200, at(now), &lines),
            ["expire", now] => {
                let entry = with(&self.request, |request| self.stored.select(request));
                entry.unwrap().freshness.expire(at(now));
                String::new()
            }
            ["fields"] => {
                let entry = with(&self.request, |request| self.stored.select(request)).unwrap();
                entry
                    .lines
                    .iter()
                    .fold(String::new(), |text, (name, value)| text + &format!("{name}: {value}\n"))
            }
            ["coding"] => with(&self.request, emit_accept_encoding).to_string() + "\n",
            ["status"] => self.status(),
            ["invalidate", method, path, status] => invalidate(method, path, status, &lines),
            [now] => self.serve("GET", at(now), lines),
            [now, method] => self.serve(method, at(now), lines),
            _ => panic!("no such command: {line}"),
        }
    }

    fn set_policy(&mut self, settings: &[&str]) -> String {
        for setting in settings {
            let (key, value) = setting.split_once('=').unwrap();
            let number = || value.parse().unwrap();
            let lifetimes = &mut self.policy.lifetimes;
            match (key, value) {
                ("clients", "ignored") => self.policy.client_directives = ClientDirectives::Ignored,
                ("clients", "all") => self.policy.client_directives = ClientDirectives::All,
                ("cookies", "strip") => self.policy.set_cookie = SetCookie::Strip,
                ("default", _) => lifetimes.default_seconds = Some(number()),
                ("min", _) => lifetimes.min_seconds = number(),
                ("max", _) => lifetimes.max_seconds = number(),
                ("heuristic-max", _) => lifetimes.heuristic_max_seconds = number(),
                ("heuristic-percent", _) => lifetimes.heuristic_percent = number(),
                ("negative", _) => lifetimes.negative_seconds = number(),
                ("while-revalidate-max", _) => {
                    self.policy.stale_while_revalidate_max_seconds = number();
                }
                ("if-error", _) => self.policy.stale_if_error_default_seconds = number(),
                ("stale-max", _) => self.policy.stale_max_seconds = number(),
                _ => panic!("no such setting: {setting}"),
            }
        }
        String::new()
    }

    fn ask(&mut self, method: &str, lines: Lines) {
        self.method = Method::parse(method.as_bytes());
        self.request = lines;
    }

    fn answer(&mut self, status: &str, asked_at: UnixSeconds, lines: Lines) -> String {
        let status = status.parse().unwrap();
        let received_at = UnixSeconds(START);
        let method = self.method;
        let plan = with(&self.request, |fields| {
            let request = Request { method, fields };
            with(&lines, |fields| {
                let response = Response { status, fields, asked_at, received_at };
                plan_store(&request, &response, &self.policy)
            })
        });
        match plan {
            Store::Pass(why) => format!("passed: {}\n", why.as_str()),
            Store::Store { freshness, nominated } => {
                let lines = with(&lines, |fields| owned(stored_fields(fields, &self.policy)));
                let entry = Entry { status, lines, freshness };
                let stored = &mut self.stored;
                with(&self.request, |request| stored.insert(nominated, request, entry));
                format!("stored: {}\n", describe(&freshness))
            }
        }
    }

    fn serve(&mut self, method: &str, now: UnixSeconds, lines: Lines) -> String {
        self.ask(method, lines);
        let (method, policy, stored) = (self.method, self.policy, &mut self.stored);
        let (plan, ttl, sent) = with(&self.request, |request| {
            let asked = RequestControl::parse(request);
            let entry = stored.select(request);
            let freshness = entry.as_ref().map(|entry| entry.freshness);
            let plan = plan_serve(freshness.as_ref(), method, &asked, now, &policy);
            let sent = entry.map(|entry| with(&entry.lines, describe_conditions));
            (plan, freshness.map(|freshness| freshness.ttl(now)), sent.unwrap_or_default())
        });
        (self.plan, self.ttl) = (plan, ttl);
        match plan {
            Serve::Fresh { age_seconds } => format!("fresh, age {age_seconds}\n"),
            Serve::Stale { age_seconds, why: StaleWhy::Revalidating } => {
                format!("stale, age {age_seconds}, revalidating\n")
            }
            Serve::Stale { age_seconds, why: StaleWhy::Client } => {
                format!("stale, age {age_seconds}, the client allows it\n")
            }
            Serve::Revalidate(_) => format!("revalidate{sent}\n"),
            Serve::Miss => "miss\n".to_owned(),
            Serve::Pass => "pass\n".to_owned(),
            Serve::OnlyIfCached => "504\n".to_owned(),
        }
    }

    fn error(&mut self, status: &str, now: UnixSeconds) -> String {
        let error = match status {
            "unreachable" => Error::Unreachable,
            status => Error::Status(status.parse().unwrap()),
        };
        let (policy, stored) = (self.policy, &mut self.stored);
        let age = with(&self.request, |request| {
            let asked = RequestControl::parse(request);
            plan_error(&stored.select(request).unwrap().freshness, &asked, error, now, &policy)
        });
        age.map_or("failed\n".to_owned(), |age| format!("sent all the same, age {age}\n"))
    }

    fn freshen(&mut self, status: u16, now: UnixSeconds, lines: &Lines) -> String {
        let (method, policy, stored) = (self.method, self.policy, &mut self.stored);
        with(&self.request, |fields| {
            let request = Request { method, fields };
            let entry = stored.select(fields).expect("something is stored");
            let found = with(&entry.lines, |fields| {
                let old = Stored { status: entry.status, fields };
                with(lines, |fields| {
                    let new = Response { status, fields, asked_at: now, received_at: now };
                    let freshen = if status == 304 { freshen } else { freshen_by_head };
                    match freshen(&request, &old, &new, &policy) {
                        Freshen::Kept { fields, freshness, .. } => {
                            Ok((owned(fields.into_iter()), freshness))
                        }
                        Freshen::Spent { why, .. } => Err(format!("spent: {}\n", why.as_str())),
                        Freshen::Mismatch => Err("mismatch\n".to_owned()),
                    }
                })
            });
            match found {
                Ok((fields, freshness)) => {
                    (entry.lines, entry.freshness) = (fields, freshness);
                    format!("kept: {}\n", describe(&freshness))
                }
                Err(text) => text,
            }
        })
    }

    /// The Cache-Status of the last request, as if nothing else had happened.
    fn status(&self) -> String {
        let handled = match Fwd::of(&self.plan, !self.stored.is_empty()) {
            Some(why) => {
                Handled::Forwarded { why, origin_status: None, stored: false, collapsed: false }
            }
            None if self.plan == Serve::OnlyIfCached => Handled::Generated,
            None => Handled::Hit,
        };
        let ttl_seconds = self.ttl.filter(|_| handled == Handled::Hit);
        let mut text = Vec::new();
        CacheStatus { cache: "peerage", handled, ttl_seconds, detail: "" }.emit(&mut text);
        String::from_utf8(text).unwrap() + "\n"
    }
}

fn describe(freshness: &Freshness) -> String {
    let from = match freshness.from {
        LifetimeFrom::SMaxAge => "s-maxage",
        LifetimeFrom::MaxAge => "max-age",
        LifetimeFrom::Expires => "Expires",
        LifetimeFrom::Default => "default",
        LifetimeFrom::Negative => "negative",
        LifetimeFrom::Heuristic => "heuristic",
        LifetimeFrom::Nothing => "nothing",
    };
    let mut text = format!("{} s by {from}", freshness.lifetime_seconds);
    if freshness.initial_age_seconds > 0 {
        write!(text, ", age {}", freshness.initial_age_seconds).unwrap();
    }
    text += match freshness.reuse {
        Reuse::Plain => "",
        Reuse::FreshOnly => ", never stale",
        Reuse::Never => ", never unasked",
    };
    text
}

fn describe_conditions(stored: Fields<'_>) -> String {
    let sent = conditions(stored);
    let text = |value: &[u8]| String::from_utf8(value.to_vec()).unwrap();
    let mut found = String::new();
    if let Some(tag) = sent.none_match {
        write!(found, ", If-None-Match: {}", text(tag)).unwrap();
    }
    if let Some(date) = sent.modified_since {
        write!(found, ", If-Modified-Since: {}", text(date)).unwrap();
    }
    found
}

fn invalidate(method: &str, path: &str, status: &str, lines: &Lines) -> String {
    let target = Target { scheme: "http", authority: "a.example", path };
    let method = Method::parse(method.as_bytes());
    let paths =
        with(lines, |fields| plan_invalidation(method, &target, status.parse().unwrap(), fields));
    if paths.is_empty() { "nothing\n".to_owned() } else { paths.join(" ") + "\n" }
}

/// Runs a case: its title, its commands, `----`, what is expected. Returns it as it should read.
fn run_case(case: &str) -> String {
    let mut cache = Cache::new();
    let (head, _) = case.split_once("----\n").unwrap_or((case, ""));
    let found: String = head.lines().skip(1).map(|line| cache.run(line)).collect();
    format!("{head}----\n{found}")
}

#[test]
fn every_case_does_what_its_section_says() {
    let text = std::fs::read_to_string(PATH).unwrap();
    let (mut rewritten, mut wrong, mut cases) = (Vec::new(), Vec::new(), 0);
    for case in text.trim_end().split("\n\n") {
        if case.starts_with('#') {
            rewritten.push(case.to_owned());
            continue;
        }
        assert!(case.starts_with("RFC "), "which section? {case}");
        cases += 1;
        let found = run_case(&format!("{case}\n"));
        if found.trim_end() != case {
            wrong.push(format!("{case}\nfound:\n{found}"));
        }
        rewritten.push(found.trim_end().to_owned());
    }
    if std::env::var_os("REWRITE").is_some() {
        std::fs::write(PATH, rewritten.join("\n\n") + "\n").unwrap();
    }
    assert!(cases >= 130, "{cases} cases");
    assert!(wrong.is_empty(), "{} of {cases} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        usize::try_from(self.0 >> 33).expect("64 bits") % bound
    }

    fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// A field's value made of pieces that parsers stumble over.
    fn value(&mut self) -> Vec<u8> {
        const PIECES: &str = "max-age~s-maxage~no-cache~no-store~private~public~min-fresh~\
            max-stale~stale-if-error~stale-while-revalidate~must-understand~must-revalidate~\
            =~=~=~,~,~, ~;~ ~\t~\"~\"~\\~0~60~2147483648~99999999999999999999~-1~1.5~?1~:~(~)~*~\
            \u{e9}~Sun, 06 Nov 1994 08:49:37 GMT~06-Nov-94~W/\"x\"~/../a?b#c~http://a:80";
        let pieces: Vec<&str> = PIECES.split('~').collect();
        (0..self.below(9)).flat_map(|_| self.pick(&pieces).bytes()).collect()
    }

    fn lines(&mut self) -> Vec<(&'static str, Vec<u8>)> {
        const NAMES: &str = "Cache-Control~Cache-Control~CDN-Cache-Control~Expires~Date~Age~\
            Last-Modified~ETag~Vary~Set-Cookie~Pragma~Accept-Encoding~Location~Content-Location~\
            Connection~Accept";
        let names: Vec<&str> = NAMES.split('~').collect();
        (0..self.below(7)).map(|_| (self.pick(&names), self.value())).collect()
    }
}

#[test]
fn noise_never_panics_and_its_ages_never_fall() {
    let mut random = Random(9111);
    for round in 0..60_000 {
        let (asked, answered) = (random.lines(), random.lines());
        let asked: Vec<(&[u8], &[u8])> =
            asked.iter().map(|(n, v)| (n.as_bytes(), &v[..])).collect();
        let lines: Vec<(&[u8], &[u8])> =
            answered.iter().map(|(n, v)| (n.as_bytes(), &v[..])).collect();
        let request = Request { method: Method::Get, fields: Fields(&asked) };
        let response = Response {
            status: random.pick(&[200, 301, 302, 404, 503]),
            fields: Fields(&lines),
            asked_at: UnixSeconds(random.pick(&[0, START, START + 9])),
            received_at: UnixSeconds(random.pick(&[0, START, u64::MAX])),
        };
        let policy = Policy { client_directives: ClientDirectives::All, ..Policy::default() };
        let target = Target { scheme: "http", authority: "a", path: "/a?b" };
        let paths = plan_invalidation(Method::Unsafe, &target, 200, response.fields);
        assert!(paths.iter().all(|path| path.starts_with('/')), "round {round}: {paths:?}");
        let codings = emit_accept_encoding(request.fields);
        let again = emit_accept_encoding(Fields(&[(b"Accept-Encoding", codings.as_bytes())]));
        assert_eq!(again, codings, "round {round}");
        let once = merge(response.fields, request.fields, &policy);
        assert_eq!(
            merge(Fields(&once), request.fields, &policy).len(),
            once.len(),
            "round {round}"
        );
        let stored = Stored { status: response.status, fields: response.fields };
        let mut new = response;
        new.fields = request.fields;
        if freshen(&request, &stored, &new, &policy) == Freshen::Mismatch {
            let by_head = freshen_by_head(&request, &stored, &new, &policy);
            assert_eq!(by_head, Freshen::Mismatch, "round {round}");
        }
        if let Ok(nominated) = Nominated::parse(response.fields) {
            let bytes = nominated.key(request.fields).map_or(0, |key| key.len());
            assert!(bytes <= SECONDARY_KEY_BYTES_MAX, "round {round}: {bytes}");
        }
        let control = ResponseControl::parse(response.fields);
        let freshness = Freshness::new(&response, &control, &policy);
        ages_never_fall(&freshness, &RequestControl::parse(request.fields), &policy, round);
        if control.no_store && !control.must_understand || control.private {
            let plan = plan_store(&request, &response, &policy);
            assert!(matches!(plan, Store::Pass(_)), "round {round}: {plan:?}");
        }
    }
}

fn ages_never_fall(freshness: &Freshness, asked: &RequestControl, policy: &Policy, round: u32) {
    let mut before = 0;
    let mut ended = false;
    for passed in [0, 1, 59, 60, 3600, 1 << 31, 1 << 40, u64::MAX] {
        let now = UnixSeconds(freshness.received_at.0.saturating_add(passed));
        let age = freshness.age(now);
        assert!(age >= before, "round {round}: {age} after {before}");
        before = age;
        assert!(!(ended && freshness.is_fresh(now)), "round {round}: fresh again");
        ended = !freshness.is_fresh(now);
        match plan_serve(Some(freshness), Method::Get, asked, now, policy) {
            Serve::Fresh { age_seconds } => {
                assert_eq!(age_seconds, age);
                assert!(freshness.is_fresh(now) && freshness.reuse != Reuse::Never);
            }
            Serve::Stale { .. } => assert_eq!(freshness.reuse, Reuse::Plain, "round {round}"),
            _ => {}
        }
    }
}

#[test]
fn dates_are_read_as_they_are_written() {
    let mut random = Random(6);
    for _ in 0..100_000 {
        let time = UnixSeconds(u64::try_from(random.below(1 << 31)).unwrap() * 100);
        let text = peerage::http::date::emit(time);
        assert_eq!(date::parse(text.as_bytes(), UnixSeconds(START)), Some(time), "{text}");
    }
}
