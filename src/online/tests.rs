//! The index by itself: orders, options, what a hit may bring.

use super::*;

const NOW: UnixMillis = UnixMillis(1_700_000_000_000);
const WINDOW_MS: u32 = 1_800_000;

const fn bounds() -> Options {
    Options {
        window_ms: WINDOW_MS,
        rows_max: 1000,
        urls_max: 100,
        text_bytes_max: 1 << 20,
        seed: 7,
    }
}

fn index(options: Options) -> Online {
    Online::new(options, NOW).expect("small")
}

/// A hit `ago` milliseconds before now.
fn hit<'a>(user: &'a str, url: &'a str, ago: u64) -> Hit<'a> {
    Hit { user: user.as_bytes(), url: url.as_bytes(), at: UnixMillis(NOW.0 - ago) }
}

fn on(index: &Online, url: &str) -> Vec<String> {
    let mut out = Visitors::default();
    let count = index.visitors(url.as_bytes(), 1000, None, &mut out);
    assert_eq!(count as usize, out.len());
    out.iter().map(|(name, _)| String::from_utf8_lossy(name).into_owned()).collect()
}

#[test]
fn a_hit_replaces_the_users_row() {
    let mut index = index(bounds());
    assert_eq!(index.hit(&hit("a", "/1", 20)), Outcome::Added);
    assert_eq!(index.hit(&hit("b", "/1", 10)), Outcome::Added);
    assert_eq!(index.hit(&hit("a", "/2", 5)), Outcome::Replaced);
    assert_eq!(
        (index.count(), on(&index, "/1"), on(&index, "/2")),
        (2, vec!["b".into()], vec!["a".into()])
    );
    let whereabouts = index.user(b"a").expect("it is there");
    assert_eq!(
        (whereabouts.url.as_slice(), whereabouts.at),
        (b"/2".as_slice(), UnixMillis(NOW.0 - 5))
    );
    assert_eq!(index.user(b"c"), None);
}

#[test]
fn newest_first_and_equals_by_arrival() {
    let mut index = index(bounds());
    for (user, ago) in [("a", 10), ("b", 5), ("late", 7), ("c", 5), ("later", 10), ("d", 0)] {
        index.hit(&hit(user, "/", ago));
    }
    assert_eq!(on(&index, "/"), ["d", "c", "b", "late", "later", "a"]);
    assert_eq!(index.rank(b"d"), Some(0));
    assert_eq!(index.rank(b"late"), Some(3));
    assert_eq!(index.rank(b"a"), Some(5));
    assert_eq!(index.rank(b"nobody"), None);
}

#[test]
fn what_is_too_old_or_has_no_name_changes_nothing() {
    let mut index = index(bounds());
    index.hit(&hit("a", "/", 5));
    let long = "x".repeat(ONLINE_NAME_BYTES_MAX + 1);
    let long_url = "x".repeat(ONLINE_URL_BYTES_MAX + 1);
    let window = u64::from(WINDOW_MS);
    for (bad, outcome) in [
        (hit("a", "/old", window + 1), Outcome::TooOld),
        (hit("", "/", 1), Outcome::BadName),
        (hit("a", "", 1), Outcome::BadName),
        (hit(&long, "/", 1), Outcome::BadName),
        (hit("a", &long_url, 1), Outcome::BadName),
    ] {
        assert_eq!(index.hit(&bad), outcome);
    }
    assert_eq!((index.count(), on(&index, "/")), (1, vec!["a".into()]));
    assert_eq!((index.tally().too_old, index.tally().bad_names), (1, 4));
    assert_eq!(index.hit(&hit("b", "/", window)), Outcome::Added, "just within the window");
}

#[test]
fn a_hit_from_the_future_is_one_of_now() {
    let mut index = index(bounds());
    index.hit(&Hit { user: b"a", url: b"/", at: UnixMillis(u64::MAX) });
    assert_eq!(index.user(b"a").expect("it is there").at, NOW);
    assert_eq!(index.tally().from_future, 1);
}

#[test]
fn names_of_every_length_are_told_apart() {
    let mut index = index(Options { urls_max: 1000, ..bounds() });
    let name = |len: usize, last: char| {
        let mut name = "n".repeat(len - 1);
        name.push(last);
        name
    };
    let lens = [1, 2, 7, 8, 9, 15, 16, 17, 55, 56, 57, 112, 113, 255];
    for len in lens {
        for last in ['a', 'b', '\0'] {
            let name = name(len, last);
            assert_eq!(index.hit(&hit(&name, &name, 0)), Outcome::Added, "{len} {last:?}");
        }
    }
    for len in lens {
        let name = name(len, '\0');
        assert_eq!(on(&index, &name), std::slice::from_ref(&name));
        assert_eq!(index.user(name.as_bytes()).expect("it is there").url, name.as_bytes());
        assert!(index.remove(name.as_bytes()) && !index.remove(name.as_bytes()));
    }
    assert_eq!(index.count() as usize, lens.len() * 2);
}

#[test]
fn rows_leave_for_their_age_in_slices() {
    let mut index = index(bounds());
    for at in 0..500_u64 {
        index.hit(&hit(&format!("u{at}"), &format!("/{}", at % 7), 500 - at));
    }
    index.handle_time(UnixMillis(NOW.0 + u64::from(WINDOW_MS) - 250));
    // Those of more than 250 ms ago are too old, though they are there still.
    assert_eq!(index.count_since(UnixMillis(0)), 250);
    assert!(index.cull(100), "there are more");
    assert_eq!(index.count(), 400);
    assert!(index.cull(149));
    assert!(!index.cull(100));
    assert_eq!((index.count(), index.tally().culled), (250, 250));
    index.handle_time(UnixMillis(index.now().0 + 10_000));
    while index.cull(100) {}
    assert_eq!((index.count(), index.urls()), (0, 7), "the urls were left just now");
    index.handle_time(UnixMillis(index.now().0 + u64::from(WINDOW_MS) + 1));
    index.cull(100);
    assert_eq!((index.urls(), index.tally().urls_reclaimed), (0, 7));
}

#[test]
fn a_reader_answers_as_the_owner_does() {
    let mut index = index(bounds());
    for at in 0..10_u64 {
        index.hit(&hit(&format!("u{at}"), "/", at * 100));
    }
    let reader = index.reader();
    let (mut theirs, mut ours) = (Visitors::default(), Visitors::default());
    let mut compare = |index: &Online| {
        let now = index.now().0;
        for since in [0, 1, now - u64::from(WINDOW_MS) - 1, now - 350, now, now + 5, u64::MAX] {
            for since in [None, Some(UnixMillis(since))] {
                let count = index.visitors(b"/", 5, since, &mut ours);
                assert_eq!(reader.visitors(b"/", 5, since, &mut theirs), Ok(count));
                assert!(theirs.iter().eq(ours.iter()), "{since:?}");
            }
        }
        for user in ["u0", "u9", "nobody"] {
            let mut place = Whereabouts::default();
            let is_there = reader.user(user.as_bytes(), &mut place).expect("nobody writes");
            assert_eq!(is_there.then_some(place), index.user(user.as_bytes()), "{user}");
        }
        assert_eq!(reader.count(), index.count());
    };
    compare(&index);
    // Some are too old, and not culled yet.
    index.handle_time(UnixMillis(NOW.0 + u64::from(WINDOW_MS) - 450));
    compare(&index);
    index.cull(100);
    compare(&index);
}

#[test]
fn a_clock_may_leap() {
    let mut index = index(bounds());
    for leap in [u64::from(WINDOW_MS) + 1, 1 << 31, 1 << 32, (1 << 32) + 1, 1 << 40] {
        index.hit(&Hit { user: b"a", url: b"/", at: index.now() });
        let now = UnixMillis(index.now().0 + leap);
        index.handle_time(now);
        assert_eq!((index.count(), index.user(b"a")), (0, None), "{leap}");
        index.handle_time(UnixMillis(5));
        assert_eq!(index.now(), now, "a clock that goes back is not followed");
        assert_eq!(index.hit(&Hit { user: b"b", url: b"/", at: now }), Outcome::Added);
        assert_eq!(on(&index, "/"), ["b"]);
        index.remove(b"b");
    }
}

#[test]
fn the_oldest_goes_where_there_is_no_room() {
    let mut index = index(Options { rows_max: 3, ..bounds() });
    for (user, ago) in [("a", 4), ("b", 9), ("c", 3), ("d", 2)] {
        assert_eq!(index.hit(&hit(user, "/", ago)), Outcome::Added);
    }
    assert_eq!(on(&index, "/"), ["d", "c", "a"]);
    assert_eq!(index.tally().evicted, 1);
}

#[test]
fn urls_make_room_for_urls() {
    let mut index = index(Options { urls_max: 3, ..bounds() });
    for at in 0..10 {
        assert_eq!(
            index.hit(&hit("wanders", &format!("/{at}"), 10 - at)),
            if at == 0 { Outcome::Added } else { Outcome::Replaced }
        );
    }
    assert_eq!((index.urls(), index.count()), (3, 1));
    for at in 0..5 {
        let user = format!("u{at}");
        assert_eq!(index.hit(&hit(&user, &format!("/u{at}"), 0)), Outcome::Added, "{at}");
    }
    assert_eq!((index.urls(), index.count()), (3, 3));
    // All are on one url: nothing would come of letting the oldest of them go but a few.
    let mut full = super::Online::new(Options { urls_max: 1, ..bounds() }, NOW).expect("small");
    for at in 0..100 {
        full.hit(&hit(&format!("u{at}"), "/", 0));
    }
    assert_eq!(full.hit(&hit("v", "/other", 0)), Outcome::NoRoom);
    assert_eq!((full.count(), full.tally().evicted), (84, 16));
}

#[test]
fn long_names_are_refused_where_their_bytes_have_no_room() {
    let mut index = index(Options { text_bytes_max: 64 * 4, ..bounds() });
    let long = "x".repeat(200);
    assert_eq!(index.hit(&hit(&long, "/", 0)), Outcome::NoRoom);
    assert_eq!(index.hit(&hit("a", &long, 0)), Outcome::Added, "'/' was nobody's");
    assert_eq!(index.hit(&hit("b", "/", 0)), Outcome::Added, "a went for it");
    assert_eq!((on(&index, "/"), on(&index, &long)), (vec!["b".into()], vec![]));
}

#[test]
fn counts_of_windows_are_exact() {
    let mut index = index(bounds());
    for at in 0..1000_u64 {
        index.hit(&hit(&format!("u{at}"), "/", at * 1700));
    }
    for since in [0, 1, 511, 512, 1700, 1701, 5000, 600_000, 1_699_999, 1_800_000] {
        let expected = (0..1000).filter(|at| at * 1700 <= since).count();
        assert_eq!(index.count_since(UnixMillis(NOW.0 - since)) as usize, expected, "{since}");
    }
    assert_eq!(index.count_since(UnixMillis(NOW.0 + 1)), 0);
    let mut out = Visitors::default();
    assert_eq!(index.visitors(b"/", 1000, Some(UnixMillis(NOW.0 - 5000)), &mut out), 1000);
    assert_eq!(out.len(), 3);
    index.newest(2, None, &mut out);
    assert_eq!(out.iter().map(|(name, _)| name.to_vec()).collect::<Vec<_>>(), [b"u0", b"u1"]);
}

#[test]
fn prefixes_and_the_busiest() {
    let mut index = index(bounds());
    for (user, url) in [
        ("anna", "/a/1"),
        ("bert", "/a/1"),
        ("berta", "/a/2"),
        ("c", "/b"),
        ("d", "/b"),
        ("e", "/b"),
    ] {
        index.hit(&hit(user, url, 0));
    }
    index.hit(&hit("e", "/a/", 0));
    let names = |found: Vec<UrlCount>| -> Vec<(String, u32)> {
        found
            .into_iter()
            .map(|url| (String::from_utf8(url.url).expect("ASCII"), url.count))
            .collect()
    };
    let expected = [("/a/".to_owned(), 1), ("/a/1".to_owned(), 2), ("/a/2".to_owned(), 1)];
    assert_eq!(names(index.urls_prefix(b"/a", 10)), expected);
    assert_eq!(names(index.urls_prefix(b"/a/1", 10)), expected[1..2]);
    assert_eq!(names(index.urls_prefix(b"", 2)), expected[..2]);
    assert_eq!(names(index.urls_prefix(b"/c", 10)), []);
    let top = names(index.top(3));
    assert_eq!(top[..2], [("/a/1".to_owned(), 2), ("/b".to_owned(), 2)]);
    assert_eq!((top.len(), index.top(0).len(), index.top(100).len()), (3, 0, 4));
    let mut users = Vec::new();
    index.users_prefix(b"bert", 10, |name| users.push(name.to_vec()));
    assert_eq!(users, [b"bert".to_vec(), b"berta".to_vec()]);
}
