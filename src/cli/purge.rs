//! `peerage purge`: what a running daemon has fetched is served no more.
//!
//! Thread: main.
//! Not here: what a purge takes along (`cache::purge`), its order (`daemon::purges`).

use crate::admin::control::{Command, Target};
use crate::limits::CONTROL_LINE_BYTES_MAX;

use super::client::Daemon;

/// Returns when no worker can serve the old bytes any more. Every variant of a URL goes with it.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("target").required(true).multiple(false))]
pub struct Purge {
    /// URLs, as in http://www.example.com/logo.gif.
    #[arg(value_name = "URL", group = "target")]
    urls: Vec<String>,
    /// Every URL that begins so.
    #[arg(long, value_name = "URL", group = "target")]
    prefix: Option<String>,
    /// Every URL whose path matches, as in 'http://www.example.com/a/*.gif': * is any run without
    /// /, ** any run, ? one character.
    #[arg(long, value_name = "URL", group = "target")]
    glob: Option<String>,
    /// Everything of a host.
    #[arg(long, value_name = "NAME", group = "target")]
    host: Option<String>,
    /// Everything that its origin gave this tag, by Surrogate-Key or Cache-Tag.
    #[arg(long, value_name = "NAME", group = "target")]
    tag: Option<String>,
    /// Everything.
    #[arg(long, group = "target")]
    all: bool,
    /// Only mark it stale: the origin is asked at the next request, and what did not change stays.
    #[arg(long)]
    soft: bool,
    #[command(flatten)]
    daemon: Daemon,
}

impl Purge {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let mut connection = self.daemon.connect()?;
        for target in self.targets() {
            connection.ask(&Command::Purge { soft: self.soft, target })?;
        }
        Ok(())
    }

    fn targets(&self) -> Vec<Target> {
        let one = |text: &Option<String>, target: fn(String) -> Target| text.clone().map(target);
        let target = one(&self.prefix, Target::Prefix)
            .or_else(|| one(&self.glob, Target::Glob))
            .or_else(|| one(&self.host, Target::Host))
            .or_else(|| one(&self.tag, Target::Tag))
            .or_else(|| self.all.then_some(Target::All));
        target.map_or_else(|| lines_of(&self.urls), |target| vec![target])
    }
}

/// As many URLs together as a line takes.
fn lines_of(urls: &[String]) -> Vec<Target> {
    const WORDS_BYTES: usize = "purge soft url".len();
    let (mut lines, mut line, mut bytes) = (Vec::new(), Vec::new(), WORDS_BYTES);
    for url in urls {
        if bytes + 1 + url.len() > CONTROL_LINE_BYTES_MAX && !line.is_empty() {
            lines.push(Target::Urls(std::mem::take(&mut line)));
            bytes = WORDS_BYTES;
        }
        bytes += 1 + url.len();
        line.push(url.clone());
    }
    lines.push(Target::Urls(line));
    lines
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        purge: Purge,
    }

    fn targets(line: &str) -> Option<Vec<Target>> {
        let words = std::iter::once("purge").chain(line.split_whitespace());
        Line::try_parse_from(words).ok().map(|line| line.purge.targets())
    }

    #[test]
    fn one_kind_of_target_is_named() {
        let urls = |urls: &[&str]| Target::Urls(urls.iter().map(|url| (*url).into()).collect());
        assert_eq!(targets("u v --soft"), Some(vec![urls(&["u", "v"])]));
        assert_eq!(targets("--prefix u -s x"), Some(vec![Target::Prefix("u".into())]));
        assert_eq!(targets("--glob u"), Some(vec![Target::Glob("u".into())]));
        assert_eq!(targets("--host h"), Some(vec![Target::Host("h".into())]));
        assert_eq!(targets("--tag t"), Some(vec![Target::Tag("t".into())]));
        assert_eq!(targets("--all -c f"), Some(vec![Target::All]));
        for bad in ["", "--soft", "u --all", "--tag t --host h", "--all -c f -s x"] {
            assert_eq!(targets(bad), None, "{bad}");
        }
    }

    #[test]
    fn many_urls_take_several_lines() {
        let urls: Vec<String> = (0..1000).map(|number| format!("http://h/{number:030}")).collect();
        let lines = lines_of(&urls);
        assert!(lines.len() > 4);
        let mut found = Vec::new();
        for target in lines {
            let line = Command::Purge { soft: true, target: target.clone() }.emit();
            assert!(line.len() <= CONTROL_LINE_BYTES_MAX);
            let Target::Urls(urls) = target else { panic!("{target:?}") };
            found.extend(urls);
        }
        assert_eq!(found, urls);
    }
}
