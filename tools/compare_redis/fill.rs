//! Fills a server with all users, and proves that it answers rightly before it is measured.
//!
//! Input: a server, the workload.   Output: the memory that the users take.
//! Owns: nothing.   Thread: the only one.
//! Invariants: after it the server has every user once, and the newest lists of the urls looked at
//! are those that the workload says, name by name, late hits included; so those of two servers are
//! the same.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::cases::NEWEST_MAX;
use crate::client::{Client, Expected, Source};
use crate::link::Link;
use crate::random::Random;
use crate::server::Peer;
use crate::wire::Reply;
use crate::words::Words;
use crate::workload::{Hit, Workload};

/// What the users of a server take.
#[derive(Debug)]
pub struct Memory {
    /// By the server's own word; or why it is not known.
    pub stated: Result<i64, String>,
    /// By the kernel's.
    pub resident: i64,
}

/// Sends the filling hits, whose times begin at `begin_ms`, and compares the answers.
pub fn fill(peer: &Peer, workload: &Workload, begin_ms: u64) -> Result<Memory> {
    let stated = || peer.stated_bytes().map_err(|error| format!("{error:#}"));
    let (before, resident) = (stated(), peer.resident_bytes()?);
    let address = &peer.addresses[1];
    for hits in [&workload.first, &workload.second] {
        // All of one list is answered before the next begins: a user is only once in each.
        let mut client = Client::connect(address, CONNECTIONS, PIPELINE)?;
        let mut source = Fill { words: &peer.words, workload, hits: hits.iter(), begin_ms };
        let figures = client.run(&mut source, Expected::NoError, FILL_TIME_MAX)?;
        ensure!(
            source.hits.next().is_none(),
            "only {} of {} users within {FILL_TIME_MAX:?}; choose fewer --users",
            figures.replies,
            hits.len()
        );
    }
    let resident = peer.resident_bytes()? - resident;
    let stated = before.and_then(|before| Ok(stated()? - before));
    if let Err(error) = &stated {
        eprintln!("{}: memory by its own word is not known: {error}", peer.kind.name());
    }
    for address in &peer.addresses {
        let mut link = Link::connect(address)?;
        verify(&mut link, &peer.words, workload)
            .with_context(|| format!("over {}", address.transport()))?;
    }
    Ok(Memory { stated, resident })
}

/// Compares a server's answers with the workload's.
fn verify(link: &mut Link, words: &Words, workload: &Workload) -> Result<()> {
    let mut request = Vec::new();
    words.push_counts(&mut request, 1);
    let reply = link.ask_bytes(&request)?;
    ensure!(
        reply == Reply::Integer(workload.users.into()),
        "{} users were sent; a count is answered with {reply}",
        workload.users
    );
    let urls = sample(workload);
    for (url, names) in urls.iter().zip(workload.newest(&urls, NEWEST_MAX)) {
        request.clear();
        let url = &workload.urls[*url as usize];
        words.push_newest(&mut request, url);
        let reply = link.ask_bytes(&request)?;
        let wanted = names.iter().map(|name| Reply::Bulk(Some(name.clone().into_bytes())));
        let wanted = Reply::Array(wanted.collect());
        ensure!(reply == wanted, "the newest of {url} are\n{reply}\nbut should be\n{wanted}");
    }
    Ok(())
}

/// Half of them popular (by the Zipf law), half uniformly chosen.
fn sample(workload: &Workload) -> Vec<u32> {
    let mut random = Random { state: 5 };
    let popular: Vec<u32> = (0..SAMPLE / 2).map(|at| workload.choice(at * 977).url).collect();
    let any = (0..SAMPLE / 2).map(|_| random.below(workload.urls.len()));
    let any = any.map(|url| u32::try_from(url).expect("urls are counted in a u32"));
    popular.iter().copied().chain(any).collect()
}

/// The filling hits as requests.
struct Fill<'a> {
    words: &'a Words,
    workload: &'a Workload,
    hits: std::slice::Iter<'a, Hit>,
    begin_ms: u64,
}

impl Source for Fill<'_> {
    fn fill(&mut self, out: &mut Vec<u8>, count: usize) -> usize {
        let mut pushed = 0;
        for hit in self.hits.by_ref().take(count) {
            self.words.push_hit(out, self.workload, *hit, self.begin_ms);
            pushed += 1;
        }
        pushed
    }
}

/// Urls whose newest users are compared.
const SAMPLE: usize = 20;
const CONNECTIONS: usize = 4;
const PIPELINE: usize = 64;
const FILL_TIME_MAX: Duration = Duration::from_secs(120);
