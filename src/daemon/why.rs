//! What would be done for a request, and why: for the operator who wonders.
//!
//! Input: what the store saw under the URL's name, what the workers know of it.   Output: facts,
//! and the decision.
//! Thread: control.
//! Not here: deciding for real requests (`daemon::http::cached`), which looks at what clients say
//! as well.

use crate::cache::freshness::{
    Freshness, LifetimeFrom, Method, RequestControl, Reuse, Serve, StaleWhy, plan_serve,
};
use crate::cache::record::Record;
use crate::cache::store::Sight;
use crate::time::UnixSeconds;

use super::http::Fact;
use super::settings::Settings;

/// What is known of a URL's name.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// What lies in the tree.
    pub sight: &'a Sight,
    /// What the workers know beside that.
    pub facts: &'a [Fact],
}

/// Explains a plain GET of `url`, whose name in the tree is `key`, at `now`.
#[must_use]
pub fn explain(
    settings: &Settings,
    url: &str,
    key: &[u8],
    known: Known<'_>,
    now: UnixSeconds,
) -> (Vec<String>, String) {
    let (directory, path) = settings.split(key);
    let name = String::from_utf8_lossy(key.strip_prefix(b"/").unwrap_or(key)).into_owned();
    let mut lines = vec![format!("url {url}"), format!("file {name}")];
    let Some(site) = settings.origin_site(directory) else {
        lines.push("origin none".to_owned());
        let decision = match known.sight {
            Sight::Stored(_) | Sight::ByHand => "served from the tree",
            Sight::Missing | Sight::Other => "404: there is no such file, and no origin to ask",
            Sight::Unknown => "unknown: the disk does not say what is there",
        };
        return (lines, decision.to_owned());
    };
    let rule = site.rule(path, &settings.rule_default);
    lines.extend(known.facts.iter().map(Fact::to_string));
    let ask = |otherwise: &str| ask(known.facts).unwrap_or_else(|| otherwise.to_owned());
    let decision = match known.sight {
        Sight::ByHand => "hit: a file that was put there by hand is served as it is".to_owned(),
        Sight::Missing => ask("miss: nothing is stored; the origin is asked"),
        Sight::Other => ask("miss: the name is a directory or a link; the origin is asked"),
        Sight::Unknown => ask("miss: the disk does not say what is there"),
        Sight::Stored(head) => match Record::parse(head) {
            Err(error) => ask(&format!("miss: {error} lies beside the file; it is fetched anew")),
            Ok(record) => {
                describe(&record, now, &mut lines);
                let control = RequestControl::default();
                let freshness = Some(&record.freshness);
                let plan = plan_serve(freshness, Method::Get, &control, now, &rule.policy);
                let is_asked = !matches!(plan, Serve::Fresh { .. } | Serve::Stale { .. });
                if is_asked { ask(decision(plan)) } else { decision(plan).to_owned() }
            }
        },
    };
    (lines, decision)
}

fn describe(record: &Record, now: UnixSeconds, lines: &mut Vec<String>) {
    let Freshness { lifetime_seconds, from, reuse, .. } = record.freshness;
    let source = match from {
        LifetimeFrom::SMaxAge => "s-maxage",
        LifetimeFrom::MaxAge => "max-age",
        LifetimeFrom::Expires => "Expires",
        LifetimeFrom::Default => "the rule's default",
        LifetimeFrom::Negative => "the rule's time for errors",
        LifetimeFrom::Heuristic => "a guess from Last-Modified",
        LifetimeFrom::Nothing => "nothing",
    };
    let reuse = match reuse {
        Reuse::Plain => "fresh, and stale where that is allowed",
        Reuse::FreshOnly => "fresh only",
        Reuse::Never => "never without asking",
    };
    lines.push(format!("status {}", record.status));
    lines.push(format!("bytes {}", record.body_bytes));
    lines.push(format!("age_seconds {}", record.freshness.age(now)));
    lines.push(format!("lifetime_seconds {lifetime_seconds} ({source})"));
    lines.push(format!("ttl_seconds {}", record.freshness.ttl(now)));
    lines.push(format!("reuse {reuse}"));
    if !record.nominated.is_empty() {
        let names: Vec<&str> = record.nominated.names().collect();
        lines.push(format!("vary {}", names.join(", ")));
    }
    if !record.tags.is_empty() {
        lines.push(format!("tags {}", String::from_utf8_lossy(&record.tags)));
    }
}

/// What becomes of a request for which the tree is not enough, where a worker knows.
fn ask(facts: &[Fact]) -> Option<String> {
    let is_pass = facts.iter().any(|fact| matches!(fact, Fact::Pass { .. }));
    if is_pass {
        let text = "pass: the origin is asked for each client alone; its last answer was for one";
        return Some(text.to_owned());
    }
    let is_fetching = facts.iter().any(|fact| matches!(fact, Fact::Fetching { .. }));
    if is_fetching {
        return Some("miss: the origin is being asked already; the request joins".to_owned());
    }
    facts.iter().find_map(|fact| match fact {
        Fact::Kept { status, .. } => {
            Some(format!("hit: an answer with status {status} is kept in memory"))
        }
        _ => None,
    })
}

fn decision(plan: Serve) -> &'static str {
    match plan {
        Serve::Fresh { .. } => "hit: what is stored is fresh",
        Serve::Stale { why: StaleWhy::Revalidating, .. } => {
            "stale hit: served at once, and the origin is asked behind it (stale-while-revalidate)"
        }
        Serve::Stale { why: StaleWhy::Client, .. } => "stale hit: the client allows it",
        Serve::Revalidate(_) => "revalidate: it is stale; the origin is asked whether it holds",
        Serve::Miss | Serve::Pass => "miss: the origin is asked",
        Serve::OnlyIfCached => "504: the client wants nothing but what is stored",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "[tree]\nroot = \"/tmp\"\n[[host]]\nname = \"a\"\n[host.origin]\n\
        addresses = [\"127.0.0.1:1\"]\n[[host]]\nname = \"b\"\n";

    fn decision_of(key: &str, sight: &Sight, facts: &[Fact]) -> String {
        let config = crate::config::parse(TEXT, "test.toml").expect("a good file");
        let settings = Settings::with_origins(&config).expect("no names, no authorities");
        let known = Known { sight, facts };
        explain(&settings, "http://x/", key.as_bytes(), known, UnixSeconds(0)).1
    }

    #[test]
    fn table_of_sights() {
        let table = [
            ("/a/x", Sight::Missing, "miss: nothing"),
            ("/a/x", Sight::ByHand, "hit: a file"),
            ("/a/x", Sight::Other, "miss: the name is a directory"),
            ("/a/x", Sight::Unknown, "miss: the disk"),
            ("/a/x", Sight::Stored(b"garbage"[..].into()), "miss: not a record"),
            ("/b/x", Sight::Missing, "404"),
            ("/b/x", Sight::ByHand, "served from the tree"),
        ];
        for (key, sight, expected) in table {
            let found = decision_of(key, &sight, &[]);
            assert!(found.starts_with(expected), "{key} {sight:?}: {found}");
        }
    }

    #[test]
    fn table_of_facts() {
        let fetching = Fact::Fetching { status: None, bytes: 0 };
        let kept = Fact::Kept { status: 404, ttl_seconds: 5 };
        let pass = Fact::Pass { seconds: 5 };
        let table: [(Sight, &[Fact], &str); 5] = [
            (Sight::Missing, &[fetching], "miss: the origin is being asked already"),
            (Sight::Missing, &[kept], "hit: an answer with status 404"),
            (Sight::Missing, &[fetching, pass], "pass"),
            (Sight::Stored(b"garbage"[..].into()), &[fetching], "miss: the origin is being"),
            (Sight::ByHand, &[fetching, kept, pass], "hit: a file"),
        ];
        for (sight, facts, expected) in table {
            let found = decision_of("/a/x", &sight, facts);
            assert!(found.starts_with(expected), "{sight:?} {facts:?}: {found}");
        }
    }
}
