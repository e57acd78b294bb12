//! What would be done for a request, and why: for the operator who wonders.
//!
//! Input: what the store saw under the URL's name.   Output: facts, and the decision.
//! Thread: control.
//! Not here: deciding for real requests (`daemon::http::cached`), which looks at more: what is
//! being fetched, what small errors are kept in memory, what clients say.

use crate::cache::freshness::{
    Freshness, LifetimeFrom, Method, RequestControl, Reuse, Serve, StaleWhy, plan_serve,
};
use crate::cache::record::Record;
use crate::cache::store::Sight;
use crate::time::UnixSeconds;

use super::settings::Settings;

/// Explains a plain GET of `url`, whose name in the tree is `key`, at `now`.
#[must_use]
pub fn explain(
    settings: &Settings,
    url: &str,
    key: &[u8],
    sight: &Sight,
    now: UnixSeconds,
) -> (Vec<String>, String) {
    let (directory, path) = settings.split(key);
    let name = String::from_utf8_lossy(key.strip_prefix(b"/").unwrap_or(key)).into_owned();
    let mut lines = vec![format!("url {url}"), format!("file {name}")];
    let Some(site) = settings.origin_site(directory) else {
        lines.push("origin none".to_owned());
        let decision = match sight {
            Sight::Stored(_) | Sight::ByHand => "served from the tree",
            Sight::Missing | Sight::Other => "404: there is no such file, and no origin to ask",
            Sight::Unknown => "unknown: the disk does not say what is there",
        };
        return (lines, decision.to_owned());
    };
    let rule = site.rule(path, &settings.rule_default);
    let decision = match sight {
        Sight::ByHand => "hit: a file that was put there by hand is served as it is".to_owned(),
        Sight::Missing => "miss: nothing is stored; the origin is asked".to_owned(),
        Sight::Other => "miss: the name is a directory or a link; the origin is asked".to_owned(),
        Sight::Unknown => "miss: the disk does not say what is there".to_owned(),
        Sight::Stored(head) => match Record::parse(head) {
            Err(error) => format!("miss: {error} lies beside the file; it is fetched anew"),
            Ok(record) => {
                describe(&record, now, &mut lines);
                let control = RequestControl::default();
                let freshness = Some(&record.freshness);
                decision(plan_serve(freshness, Method::Get, &control, now, &rule.policy))
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

fn decision(plan: Serve) -> String {
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
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "[tree]\nroot = \"/tmp\"\n[[host]]\nname = \"a\"\n[host.origin]\n\
        addresses = [\"127.0.0.1:1\"]\n[[host]]\nname = \"b\"\n";

    fn decision_of(key: &str, sight: &Sight) -> String {
        let config = crate::config::parse(TEXT, "test.toml").expect("a good file");
        let settings = Settings::with_origins(&config).expect("no names, no authorities");
        explain(&settings, "http://x/", key.as_bytes(), sight, UnixSeconds(0)).1
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
            let found = decision_of(key, &sight);
            assert!(found.starts_with(expected), "{key} {sight:?}: {found}");
        }
    }
}
