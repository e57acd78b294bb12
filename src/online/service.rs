//! The service of who is online: the index with its clock, its limits, and its answers.
//!
//! Input: questions of clients, hits of clients and of feeds, the time, many times a second.
//! Output: replies, and lines for those who watch.
//! Owns: the index; lines of one turn, bounded by `ONLINE_WATCH_BYTES_MAX`.
//! Thread: `online`.
//! Invariants: the index's time goes as the monotonic clock does, whatever the wall clock does:
//! nobody leaves or stays for a clock that was set. Clients say and are told wall-clock time.
//! Not here: connections (`online::session`), the index (`online`), threads and sockets (`daemon`).
//! Source: `MONITOR` of Redis for the lines.

use crate::limits::{
    ONLINE_CULL_ROWS, ONLINE_NAME_BYTES_MAX, ONLINE_URL_BYTES_MAX, ONLINE_WATCH_BYTES_MAX,
};
use crate::online::command::{Question, When};
use crate::online::resp::Replies;
use crate::online::{
    Hit, NoMemory, Online, Options as IndexOptions, Outcome, Tally, UrlCount, Visitors,
};
use crate::time::{Instant, UnixMillis};

/// What the service may take and grant.
#[derive(Clone, Debug)]
pub struct Options {
    /// Of the index.
    pub index: IndexOptions,
    /// Longest name of a user.
    pub user_bytes_max: usize,
    /// Longest url.
    pub url_bytes_max: usize,
    /// What clients must say; empty where they need not.
    pub password: Box<[u8]>,
    /// Connections, for those who ask.
    pub connections_max: usize,
}

/// What the shell counts, shown to clients with the rest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Connections there are.
    pub connections: u64,
    /// Connections there were.
    pub accepted: u64,
    /// Hits of this box's own workers that found no room in the queue.
    pub feed_dropped: u64,
    /// Bytes of requests begun and replies not taken.
    pub connection_bytes: u64,
    /// Connections closed for those, or since they took no reply for too long.
    pub slow_closed: u64,
}

/// What the service did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Doings {
    /// Commands carried out.
    pub commands: u64,
    /// Commands refused, for whatever reason.
    pub errors: u64,
    /// Passwords that were wrong.
    pub wrong_passwords: u64,
    /// Connections whose bytes were no requests.
    pub protocol_errors: u64,
    /// Hits that came from feeds.
    pub fed: u64,
    /// Lines that somebody who watches was not sent, for being behind.
    pub watch_lost: u64,
    /// How often the wall clock was set by more than a second.
    pub clock_steps: u64,
}

/// Lines for those who watch.
#[derive(Debug, Default)]
pub struct Lines {
    /// The lines themselves.
    pub bytes: Vec<u8>,
    /// Those among them.
    pub count: u64,
    /// Those that found no room.
    pub lost: u64,
}

/// The two clocks.
#[derive(Clone, Copy, Debug)]
struct TimeScale {
    start: Instant,
    /// The index's time at the start; then it was the wall clock's.
    base: UnixMillis,
    /// The index's time.
    now: UnixMillis,
    /// What has to be added to the index's time for the wall clock's.
    offset: i64,
}

/// How far the wall clock may be off from where it was seen last, in milliseconds, before that
/// counts: it is slewed all the time, and times that are asked for twice should be the same.
const CLOCK_SLACK_MS: u64 = 1000;

impl TimeScale {
    const fn new(now: Instant, wall: UnixMillis) -> Self {
        Self { start: now, base: wall, now: wall, offset: 0 }
    }

    /// Returns whether the wall clock was set.
    fn handle_time(&mut self, now: Instant, wall: UnixMillis) -> bool {
        let passed = u64::try_from(now.since(self.start).as_millis()).unwrap_or(u64::MAX);
        self.now = UnixMillis(self.base.0.saturating_add(passed));
        let offset = wall.0.cast_signed().saturating_sub(self.now.0.cast_signed());
        let is_set = offset.abs_diff(self.offset) > CLOCK_SLACK_MS;
        if is_set {
            self.offset = offset;
        }
        is_set
    }

    const fn inner(&self, wall: UnixMillis) -> UnixMillis {
        UnixMillis(wall.0.saturating_add_signed(self.offset.saturating_neg()))
    }

    const fn wall(&self, inner: UnixMillis) -> UnixMillis {
        UnixMillis(inner.0.saturating_add_signed(self.offset))
    }

    const fn when(&self, when: When) -> UnixMillis {
        match when {
            When::At(wall) => self.inner(wall),
            When::Ago(millis) => UnixMillis(self.now.0.saturating_sub(millis)),
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Service {
    online: Online,
    options: Options,
    time: TimeScale,
    /// What the shell counts.
    pub traffic: Traffic,
    /// What was done.
    pub doings: Doings,
    watchers: u64,
    lines: Lines,
    visitors: Visitors,
}

impl Service {
    /// An empty service; `wall` is what the wall clock says.
    ///
    /// # Errors
    /// Where the address space cannot be had.
    ///
    /// # Panics
    /// If a bound is zero or above its maximum: the configuration checks them.
    pub fn new(options: Options, now: Instant, wall: UnixMillis) -> Result<Self, NoMemory> {
        assert!(options.user_bytes_max <= ONLINE_NAME_BYTES_MAX, "checked");
        assert!(options.url_bytes_max <= ONLINE_URL_BYTES_MAX, "checked");
        Ok(Self {
            online: Online::new(options.index, wall)?,
            options,
            time: TimeScale::new(now, wall),
            traffic: Traffic::default(),
            doings: Doings::default(),
            watchers: 0,
            lines: Lines::default(),
            visitors: Visitors::default(),
        })
    }

    /// The index.
    #[must_use]
    pub const fn index(&self) -> &Online {
        &self.online
    }

    /// What it was made with.
    #[must_use]
    pub const fn options(&self) -> &Options {
        &self.options
    }

    /// Tells the time, before anything else in a turn.
    pub fn handle_time(&mut self, now: Instant, wall: UnixMillis) {
        self.doings.clock_steps += u64::from(self.time.handle_time(now, wall));
        self.online.handle_time(self.time.now);
    }

    /// Lets up to `ONLINE_CULL_ROWS` users go that were not seen for too long. True where there may
    /// be more.
    pub fn cull(&mut self) -> bool {
        self.online.cull(ONLINE_CULL_ROWS)
    }

    /// One more watches, or one less.
    pub const fn set_watched(&mut self, begins: bool) {
        self.watchers = if begins { self.watchers + 1 } else { self.watchers.saturating_sub(1) };
    }

    /// How many watch.
    #[must_use]
    pub const fn watchers(&self) -> u64 {
        self.watchers
    }

    /// The lines since they were last taken, for `put_back` once they are with everybody.
    #[must_use]
    pub fn take_lines(&mut self) -> Lines {
        std::mem::take(&mut self.lines)
    }

    /// Gives the memory of lines back.
    pub fn put_back(&mut self, mut lines: Lines) {
        lines.bytes.clear();
        self.lines = Lines { bytes: lines.bytes, count: 0, lost: 0 };
    }

    /// Calls `each` with user, url and wall-clock time of every row, newest first.
    pub fn each_row(&self, mut each: impl FnMut(&[u8], &[u8], UnixMillis)) {
        self.online.each_row(|user, url, at| each(user, url, self.time.wall(at)));
    }

    /// Applies hits of an earlier life, whose times are the wall clock's.
    pub fn restore(&mut self, hits: &[Hit<'_>]) {
        let time = self.time;
        let inner: Vec<Hit<'_>> =
            hits.iter().map(|hit| Hit { at: time.inner(hit.at), ..*hit }).collect();
        self.apply(&inner, |_, _, _| {});
    }

    /// When a client's hit was, in the index's time.
    #[must_use]
    pub fn hit_time(&self, at: Option<When>) -> UnixMillis {
        at.map_or(self.time.now, |at| self.time.when(at))
    }

    /// Applies hits of one client, and replies to each.
    pub fn hits(&mut self, hits: &[Hit<'_>], replies: &mut Replies<'_>) {
        self.doings.commands += hits.len() as u64;
        self.apply(hits, |outcome, options, errors| {
            *errors += u64::from(reply_to_hit(outcome, options, replies));
        });
    }

    /// Applies hits of a feed; what cannot be done with them is counted.
    pub fn feed<'a>(&mut self, hits: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) {
        let at = self.time.now;
        let mut batch = arrayvec::ArrayVec::<Hit<'a>, 32>::new();
        let mut hits = hits.into_iter();
        loop {
            batch.clear();
            batch.extend(hits.by_ref().take(32).map(|(user, url)| Hit { user, url, at }));
            if batch.is_empty() {
                return;
            }
            self.doings.fed += batch.len() as u64;
            self.apply(&batch, |_, _, _| {});
        }
    }

    fn apply(&mut self, hits: &[Hit<'_>], mut each: impl FnMut(Outcome, &Options, &mut u64)) {
        let (options, errors) = (&self.options, &mut self.doings.errors);
        let mut outcomes = hits.iter();
        let watched = self.watchers > 0;
        let (time, lines) = (&self.time, &mut self.lines);
        // One that is too long is one without a name to the index, which counts it so.
        let named = hits.iter().map(|hit| {
            let fits =
                hit.user.len() <= options.user_bytes_max && hit.url.len() <= options.url_bytes_max;
            if fits { *hit } else { Hit { user: b"", ..*hit } }
        });
        self.online.hits(named, |outcome| {
            let hit = outcomes.next().expect("each hit has one outcome");
            each(outcome, options, errors);
            if watched && matches!(outcome, Outcome::Added | Outcome::Replaced) {
                lines.push(time.wall(hit.at.min(time.now)), hit);
            }
        });
    }

    /// Answers one question. Returns what that cost, where an easy one costs 1.
    pub fn answer(&mut self, question: &Question<'_>, replies: &mut Replies<'_>) -> u64 {
        match *question {
            Question::Hit { user, url, at } => {
                let at = self.hit_time(at);
                self.hits(&[Hit { user, url, at }], replies);
                return 1;
            }
            Question::Del { user } => replies.integer(self.online.remove(user).into()),
            Question::Count { window_ms: None } => replies.integer(self.online.count().into()),
            Question::Count { window_ms: Some(window) } => {
                let since = UnixMillis(self.time.now.0.saturating_sub(window));
                replies.integer(self.online.count_since(since).into());
            }
            Question::Url { url, limit, since, times, count } => {
                let since = since.map(|since| self.time.when(since));
                let users = self.online.visitors(url, limit, since, &mut self.visitors);
                self.list(times, count.then_some(users), replies);
            }
            Question::Newest { limit, since, times } => {
                let since = since.map(|since| self.time.when(since));
                self.online.newest(limit, since, &mut self.visitors);
                self.list(times, None, replies);
            }
            Question::User { name } => match self.online.user(name) {
                None => replies.null(),
                Some(found) => {
                    replies.array(2);
                    replies.bulk(&found.url);
                    replies.seconds(self.time.wall(found.at));
                }
            },
            Question::Rank { name } => match self.online.rank(name) {
                None => replies.null(),
                Some(rank) => replies.integer(rank.into()),
            },
            Question::Top { limit } => list_urls(&self.online.top(limit), replies),
            Question::Prefix { prefix, limit } => {
                list_urls(&self.online.urls_prefix(prefix, limit), replies);
            }
            Question::Stats => self.stats(replies),
        }
        self.doings.commands += 1;
        match *question {
            // Up to 64 rows are as cheap as the request.
            Question::Url { .. } | Question::Newest { .. } => 1 + self.visitors.len() as u64 / 64,
            // Slices of time are added up, and rows of one are looked at.
            Question::Count { window_ms: Some(_) } => 8,
            // All urls are looked at, and perhaps all of a slice of time.
            Question::Top { .. } | Question::Prefix { .. } | Question::Rank { .. } => {
                8 + u64::from(self.online.urls()) / 64
            }
            _ => 1,
        }
    }

    /// The visitors found, with their times and their number if wanted.
    fn list(&self, times: bool, count: Option<u32>, replies: &mut Replies<'_>) {
        let each = if times { 2 } else { 1 };
        replies.array(self.visitors.len() * each + usize::from(count.is_some()));
        if let Some(count) = count {
            replies.integer(count.into());
        }
        for (name, at) in self.visitors.iter() {
            replies.bulk(name);
            if times {
                replies.seconds(self.time.wall(at));
            }
        }
    }

    fn stats(&self, replies: &mut Replies<'_>) {
        replies.map(FACTS.len());
        for (fact, value) in FACTS.iter().zip(self.facts()) {
            replies.bulk(fact.name.as_bytes());
            replies.integer(i64::try_from(value).unwrap_or(i64::MAX));
        }
    }

    /// All that is counted, in the order of `FACTS`.
    #[must_use]
    pub fn facts(&self) -> [u64; FACTS.len()] {
        let Tally {
            added,
            replaced,
            too_old,
            from_future,
            bad_names,
            no_room,
            culled,
            evicted,
            urls_reclaimed,
        } = self.online.tally();
        let Traffic { connections, accepted, feed_dropped, connection_bytes, slow_closed } =
            self.traffic;
        let doings = &self.doings;
        let index = &self.options.index;
        [
            self.online.count().into(),
            index.rows_max.into(),
            self.online.urls().into(),
            index.urls_max.into(),
            self.online.bytes(),
            index.window_ms.into(),
            added,
            replaced,
            too_old,
            from_future,
            bad_names,
            no_room,
            doings.fed,
            feed_dropped,
            culled,
            evicted,
            urls_reclaimed,
            doings.commands,
            doings.errors,
            doings.wrong_passwords,
            doings.protocol_errors,
            connections,
            self.options.connections_max as u64,
            connection_bytes,
            accepted,
            slow_closed,
            self.watchers,
            doings.watch_lost,
            doings.clock_steps,
        ]
    }
}

/// Something that is counted.
#[derive(Clone, Copy, Debug)]
pub struct Fact {
    /// Its name in `ONLINE.STATS`, and behind `peerage_online_` in the metrics.
    pub name: &'static str,
    /// Whether it only grows; else it is what there is now.
    pub is_total: bool,
    /// What it is.
    pub help: &'static str,
}

const fn now(name: &'static str, help: &'static str) -> Fact {
    Fact { name, is_total: false, help }
}

const fn total(name: &'static str, help: &'static str) -> Fact {
    Fact { name, is_total: true, help }
}

/// All that is counted.
pub const FACTS: [Fact; 29] = [
    now("users", "Users who are online."),
    now("users_max", "Most users; beyond, the one seen longest ago goes."),
    now("urls", "Urls known, those included that nobody is on any more."),
    now("urls_max", "Most urls."),
    now("bytes", "Bytes of memory that the index takes."),
    now("window_ms", "How long a user stays after the last hit."),
    total("hits_added", "Hits of users who were not there."),
    total("hits_replaced", "Hits of users who were."),
    total("hits_too_old", "Hits older than the window; nothing changed."),
    total("hits_from_future", "Hits from the future, taken as of now."),
    total("hits_bad_name", "Hits whose user or url is empty or too long; nothing changed."),
    total("hits_no_room", "Hits dropped for want of room for the url or the name."),
    total("hits_fed", "Hits that came from this box's own workers."),
    total("hits_feed_dropped", "Hits of the workers that found no room in the queue."),
    total("users_culled", "Users who left, not seen for the window."),
    total("users_evicted", "Users who left for want of room."),
    total("urls_reclaimed", "Urls that left, since nobody was on them."),
    total("commands", "Commands of clients carried out."),
    total("errors", "Commands of clients refused."),
    total("wrong_passwords", "Passwords that were wrong."),
    total("protocol_errors", "Connections closed, since their bytes were no requests."),
    now("connections", "Connections of clients."),
    now("connections_max", "Most connections; more wait."),
    now("connection_bytes", "Bytes of requests begun and of replies not taken."),
    total("connections_accepted", "Connections of clients so far."),
    total("connections_slow_closed", "Connections closed for replies that were not taken."),
    now("watchers", "Clients that watch."),
    total("watch_lines_lost", "Lines that clients who watch missed, for being behind."),
    total("clock_steps", "Times that the wall clock was set by more than a second."),
];

impl Lines {
    fn push(&mut self, at: UnixMillis, hit: &Hit<'_>) {
        if self.bytes.len() + 4 * (hit.user.len() + hit.url.len()) + 64 > ONLINE_WATCH_BYTES_MAX {
            self.lost += 1;
            return;
        }
        self.count += 1;
        // In quotes as an inline request could have them.
        let (user, url) = (hit.user.escape_ascii(), hit.url.escape_ascii());
        let (seconds, millis) = (at.0 / 1000, at.0 % 1000);
        Replies::new(&mut self.bytes, false)
            .line(format_args!("{seconds}.{millis:03} \"{user}\" \"{url}\""));
    }
}

/// Returns whether it is an error.
fn reply_to_hit(outcome: Outcome, options: &Options, replies: &mut Replies<'_>) -> bool {
    match outcome {
        Outcome::Added => replies.integer(1),
        Outcome::Replaced => replies.integer(0),
        Outcome::TooOld => {
            let seconds = options.index.window_ms / 1000;
            replies.error(
                "TOOOLD",
                format_args!("the hit is older than the window of {seconds} s; nothing changed"),
            );
        }
        Outcome::BadName => replies.error(
            "ERR",
            format_args!(
                "a user has 1 to {} bytes, a url 1 to {}",
                options.user_bytes_max, options.url_bytes_max
            ),
        ),
        Outcome::NoRoom => replies.error(
            "NOROOM",
            format_args!(
                "no room for the url or the name; raise online.text_bytes_max or urls_max"
            ),
        ),
    }
    !matches!(outcome, Outcome::Added | Outcome::Replaced)
}

fn list_urls(urls: &[UrlCount], replies: &mut Replies<'_>) {
    replies.array(2 * urls.len());
    for UrlCount { url, count } in urls {
        replies.bulk(url);
        replies.integer((*count).into());
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::time::Duration;

    pub const NOW: Instant = Instant::from_nanos(5_000_000_000);
    pub const WALL: UnixMillis = UnixMillis(1_700_000_000_500);

    /// A service for a few users, with a window of a minute.
    pub fn service() -> Service {
        with_password(b"")
    }

    pub fn with_password(password: &[u8]) -> Service {
        let index = IndexOptions {
            window_ms: 60_000,
            rows_max: 1000,
            urls_max: 100,
            text_bytes_max: 1 << 16,
            seed: 7,
        };
        let options = Options {
            index,
            user_bytes_max: 20,
            url_bytes_max: 30,
            password: password.into(),
            connections_max: 10,
        };
        Service::new(options, NOW, WALL).unwrap()
    }

    fn ask(service: &mut Service, question: &Question<'_>) -> String {
        let mut bytes = Vec::new();
        service.answer(question, &mut Replies::new(&mut bytes, false));
        String::from_utf8(bytes).unwrap().replace("\r\n", " ")
    }

    fn hit(service: &mut Service, user: &str, url: &str, at: Option<When>) -> String {
        ask(service, &Question::Hit { user: user.as_bytes(), url: url.as_bytes(), at })
    }

    fn where_is(service: &mut Service, name: &str) -> String {
        ask(service, &Question::User { name: name.as_bytes() })
    }

    #[test]
    fn clients_say_and_are_told_the_wall_clocks_time() {
        let mut service = service();
        assert_eq!(hit(&mut service, "ann", "a", None), ":1 ");
        assert_eq!(where_is(&mut service, "ann"), "*2 $1 a $14 1700000000.500 ");
        let early = Some(When::At(UnixMillis(1_699_999_990_000)));
        assert_eq!(hit(&mut service, "bob", "a", early), ":1 ");
        assert_eq!(where_is(&mut service, "bob"), "*2 $1 a $14 1699999990.000 ");
        assert_eq!(hit(&mut service, "bob", "b", Some(When::Ago(1500))), ":0 ");
        assert_eq!(where_is(&mut service, "bob"), "*2 $1 b $14 1699999999.000 ");
        let url = Question::Url { url: b"a", limit: 9, since: None, times: true, count: true };
        assert_eq!(ask(&mut service, &url), "*3 :1 $3 ann $14 1700000000.500 ");
        let old = Some(When::At(UnixMillis(1_699_999_000_000)));
        assert!(hit(&mut service, "bob", "b", old).starts_with("-TOOOLD"));
        // One from the future was just now.
        let late = Some(When::At(UnixMillis(1_700_009_000_000)));
        assert_eq!(hit(&mut service, "cat", "c", late), ":1 ");
        assert_eq!(where_is(&mut service, "cat"), "*2 $1 c $14 1700000000.500 ");
        assert_eq!(service.online.tally().from_future, 1);
    }

    #[test]
    fn a_wall_clock_that_is_set_moves_nobody() {
        for set_to in [1_600_000_000_000, 1_900_000_000_000, 0] {
            let mut service = service();
            hit(&mut service, "ann", "a", None);
            service.handle_time(NOW.after(Duration::from_secs(10)), UnixMillis(set_to));
            assert!(!service.cull());
            assert_eq!(ask(&mut service, &Question::Count { window_ms: None }), ":1 ");
            assert_eq!(service.doings.clock_steps, 1);
            // It was ten seconds ago, by whatever clock.
            let ago = set_to.saturating_sub(10_000);
            let expected = format!("{}.{:03}", ago / 1000, ago % 1000);
            assert!(where_is(&mut service, "ann").contains(&expected), "{expected}");
            let then = Some(When::At(UnixMillis(set_to)));
            assert_eq!(hit(&mut service, "bob", "a", then), ":1 ");
            let newest = Question::Newest { limit: 9, since: None, times: false };
            assert_eq!(ask(&mut service, &newest), "*2 $3 bob $3 ann ");
            service.handle_time(NOW.after(Duration::from_secs(61)), UnixMillis(set_to + 51_000));
            assert!(!service.cull());
            assert_eq!(ask(&mut service, &newest), "*1 $3 bob ");
            assert_eq!(service.doings.clock_steps, 1);
        }
    }

    #[test]
    fn a_clock_that_is_slewed_does_not_change_what_was_told() {
        let mut service = service();
        hit(&mut service, "ann", "a", None);
        let first = where_is(&mut service, "ann");
        service.handle_time(NOW.after(Duration::from_secs(1)), UnixMillis(WALL.0 + 1_900));
        assert_eq!((where_is(&mut service, "ann"), service.doings.clock_steps), (first, 0));
    }

    #[test]
    fn counts_go_back_as_far_as_asked() {
        let mut service = service();
        for second in 0..50_u64 {
            let now = NOW.after(Duration::from_secs(second));
            service.handle_time(now, UnixMillis(WALL.0 + second * 1000));
            hit(&mut service, &format!("user{second}"), "a", None);
        }
        for (window_ms, expected) in [(None, 50), (Some(10_000), 11), (Some(0), 1)] {
            let found = ask(&mut service, &Question::Count { window_ms });
            assert_eq!(found, format!(":{expected} "), "{window_ms:?}");
        }
        assert_eq!(ask(&mut service, &Question::Rank { name: b"user40" }), ":9 ");
        assert_eq!(ask(&mut service, &Question::Rank { name: b"nobody" }), "$-1 ");
        assert_eq!(ask(&mut service, &Question::Del { user: b"user40" }), ":1 ");
        assert_eq!(ask(&mut service, &Question::Del { user: b"user40" }), ":0 ");
        assert_eq!(where_is(&mut service, "user40"), "$-1 ");
    }

    #[test]
    fn urls_are_listed_busiest_first_and_by_prefix() {
        let mut service = service();
        for (user, url) in [("a", "x/1"), ("b", "x/2"), ("c", "x/2"), ("d", "y/1")] {
            hit(&mut service, user, url, None);
        }
        let top = Question::Top { limit: 2 };
        assert_eq!(ask(&mut service, &top), "*4 $3 x/2 :2 $3 x/1 :1 ");
        let prefix = Question::Prefix { prefix: b"x/", limit: 9 };
        assert_eq!(ask(&mut service, &prefix), "*4 $3 x/1 :1 $3 x/2 :2 ");
    }

    #[test]
    fn what_is_too_long_is_refused_and_counted() {
        let mut service = service();
        let (long_user, long_url) = ("u".repeat(21), "v".repeat(31));
        for (user, url) in [(&*long_user, "a"), ("u", &*long_url), ("", "a"), ("u", "")] {
            let found = hit(&mut service, user, url, None);
            assert_eq!(found, "-ERR a user has 1 to 20 bytes, a url 1 to 30 ", "{user} {url}");
        }
        assert_eq!(service.online.tally().bad_names, 4);
        service.feed([(long_user.as_bytes(), &b"a"[..]), (b"bob", b"a")]);
        assert_eq!((service.doings.fed, service.doings.errors), (2, 4));
        assert_eq!(ask(&mut service, &Question::Count { window_ms: None }), ":1 ");
        let stats = ask(&mut service, &Question::Stats);
        assert!(stats.starts_with("*58 $5 users :1 "), "{stats}");
        assert!(stats.contains("$13 hits_bad_name :5 "), "{stats}");
    }

    #[test]
    fn lines_are_made_only_while_somebody_watches() {
        let mut service = service();
        hit(&mut service, "ann", "a", None);
        assert_eq!(service.take_lines().count, 0);
        service.set_watched(true);
        hit(&mut service, "b\"\\\n", "\u{e9}", None);
        service.feed([(&b"cat"[..], &b"c"[..]), (b"", b"c")]);
        let lines = service.take_lines();
        let expected = "+1700000000.500 \"b\\\"\\\\\\n\" \"\\xc3\\xa9\"\r\n\
                        +1700000000.500 \"cat\" \"c\"\r\n";
        assert_eq!((std::str::from_utf8(&lines.bytes), lines.count), (Ok(expected), 2));
        service.put_back(lines);
        service.set_watched(false);
        hit(&mut service, "dan", "a", None);
        assert_eq!(service.take_lines().count, 0);
    }

    #[test]
    fn lines_of_one_turn_are_bounded() {
        let mut service = service();
        service.set_watched(true);
        let hits = (0..30_000).map(|_| (&b"somebody"[..], &b"www.example.com/"[..]));
        service.feed(hits);
        let lines = service.take_lines();
        assert!(lines.bytes.len() <= ONLINE_WATCH_BYTES_MAX && lines.lost > 0);
        assert_eq!(lines.count + lines.lost, 30_000);
    }
}
