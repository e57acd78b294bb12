//! One client of the service: who it is, what it may do, and its pipeline.
//!
//! Input: bytes received (`handle_input`), lines for who watches (`handle_lines`).
//! Output: bytes to be sent; whether the connection is at its end.
//! Owns: a name, bounded by `ONLINE_REQUEST_BYTES_MAX`.   Thread: `online`.
//! Invariants: each request has one reply, in the order of the requests; hits of one pipeline are
//! applied in batches, and before any question behind them is answered.
//! Not here: the wire (`online::resp`), the index (`online::service`), sockets (`daemon`).
//! Source: the command reference of redis.io for what is not about the index; redis-py, node-redis,
//! ioredis, redis-cli and redis-benchmark for what clients do with it.
//! Differs from the source: one user, one database, no transactions.

use std::fmt::Write as _;

use arrayvec::ArrayVec;

use crate::limits::{ONLINE_REPLIES_BYTES_MAX, ONLINE_TURN_COST_MAX, ONLINE_WATCH_BYTES_MAX};
use crate::online::Hit;
use crate::online::command::{self, COMMANDS, Description, Name, Question};
use crate::online::resp::{self, Arguments, Replies};
use crate::online::service::{FACTS, Lines, Service};

/// What became of a client's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// How many are done with.
    pub consumed: usize,
    /// There may be whole requests among the rest: they wait for the next turn.
    pub has_more: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Session {
    id: u64,
    name: Vec<u8>,
    is_version_3: bool,
    is_authenticated: bool,
    is_read_only: bool,
    is_watching: bool,
    is_over: bool,
    /// Lines that it was not sent since the last one that says so.
    lost: u64,
}

/// Hits of one pipeline that are applied at once.
const BATCH: usize = 32;

impl Session {
    /// A client that has just connected. `is_read_only`: it may only ask.
    #[must_use]
    pub const fn new(id: u64, is_read_only: bool, service: &Service) -> Self {
        Self {
            id,
            name: Vec::new(),
            is_version_3: false,
            is_authenticated: service.options().password.is_empty(),
            is_read_only,
            is_watching: false,
            is_over: false,
            lost: 0,
        }
    }

    /// Whether nothing more is read from it: it said so, or its bytes made no sense. What is to be
    /// sent still is.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        self.is_over
    }

    /// Whether it is sent lines.
    #[must_use]
    pub const fn is_watching(&self) -> bool {
        self.is_watching
    }

    /// The connection is gone.
    pub fn handle_end(&mut self, service: &mut Service) {
        self.set_watching(false, service);
        self.is_over = true;
    }

    fn set_watching(&mut self, watches: bool, service: &mut Service) {
        if self.is_watching != watches {
            self.is_watching = watches;
            service.set_watched(watches);
        }
    }

    /// Carries out the requests in `input`, as many as one turn allows, and appends the replies to
    /// `out`. `scratch` is anything: its memory is used.
    pub fn handle_input(
        &mut self,
        input: &[u8],
        service: &mut Service,
        scratch: &mut Arguments,
        out: &mut Vec<u8>,
    ) -> Turn {
        let mut replies = Replies::new(out, self.is_version_3);
        let mut hits = ArrayVec::<Hit<'_>, BATCH>::new();
        let (mut consumed, mut cost) = (0, 0);
        let mut has_more = false;
        while !self.is_over {
            has_more = cost >= ONLINE_TURN_COST_MAX || replies.len() >= ONLINE_REPLIES_BYTES_MAX;
            if has_more {
                break;
            }
            let rest = &input[consumed..];
            match resp::parse(rest, scratch) {
                Ok(None) => break,
                Ok(Some(used)) => {
                    consumed += used;
                    if let Some(hit) = self.plain_hit(rest, scratch, service) {
                        hits.push(hit);
                        cost += 1;
                        if hits.is_full() {
                            flush(&mut hits, service, &mut replies);
                        }
                    } else {
                        flush(&mut hits, service, &mut replies);
                        cost += self.carry_out(scratch, rest, service, &mut replies);
                    }
                }
                Err(error) => {
                    flush(&mut hits, service, &mut replies);
                    service.doings.protocol_errors += 1;
                    replies.error("ERR", format_args!("{error}"));
                    self.is_over = true;
                }
            }
        }
        flush(&mut hits, service, &mut replies);
        if self.is_over {
            // Lines would go on, and its end would never come.
            self.set_watching(false, service);
            consumed = input.len();
        }
        Turn { consumed, has_more }
    }

    /// Appends `lines` to `out` if the client watches and is not too far behind; `behind` is how
    /// many bytes it was not sent yet.
    pub fn handle_lines(
        &mut self,
        lines: &Lines,
        behind: usize,
        service: &mut Service,
        out: &mut Vec<u8>,
    ) {
        if !self.is_watching {
            return;
        }
        let is_behind = behind + out.len() > ONLINE_WATCH_BYTES_MAX;
        let missed = lines.lost + if is_behind { lines.count } else { 0 };
        self.lost += missed;
        service.doings.watch_lost += missed;
        if is_behind {
            return;
        }
        out.extend_from_slice(&lines.bytes);
        if self.lost > 0 {
            Replies::new(out, false).line(format_args!("{} lines lost", self.lost));
            self.lost = 0;
        }
    }

    /// The hit that a request is, where it may be applied in a batch.
    fn plain_hit<'i>(
        &self,
        input: &'i [u8],
        arguments: &Arguments,
        service: &Service,
    ) -> Option<Hit<'i>> {
        let name = arguments.in_input(0, input)?;
        if !name.eq_ignore_ascii_case(b"ONLINE.HIT") || !self.is_authenticated || self.is_read_only
        {
            return None;
        }
        match command::parse(&Name::new(name), arguments, input) {
            Some(Ok(Question::Hit { at, .. })) => Some(Hit {
                user: arguments.in_input(1, input)?,
                url: arguments.in_input(2, input)?,
                at: service.hit_time(at),
            }),
            _ => None,
        }
    }

    /// Carries out one request and replies to it. Returns what it cost.
    fn carry_out(
        &mut self,
        arguments: &Arguments,
        input: &[u8],
        service: &mut Service,
        replies: &mut Replies<'_>,
    ) -> u64 {
        let Some(written) = arguments.argument(0, input) else { return 1 };
        let name = Name::new(written);
        let is_for_anybody = matches!(name.bytes(), b"AUTH" | b"HELLO" | b"QUIT" | b"RESET");
        if !self.is_authenticated && !is_for_anybody {
            service.doings.errors += 1;
            replies.error("NOAUTH", format_args!("Authentication required."));
            return 1;
        }
        match command::parse(&name, arguments, input) {
            Some(Ok(question)) if self.is_read_only && question.is_change() => {
                service.doings.errors += 1;
                replies.error("READONLY", format_args!("this listener only answers questions"));
                1
            }
            Some(Ok(question)) => service.answer(&question, replies),
            Some(Err(error)) => {
                service.doings.errors += 1;
                replies.error("ERR", format_args!("{error}"));
                1
            }
            None => {
                let words = Words { arguments, input };
                match self.about_connection(&name, &words, service, replies) {
                    Ok(()) => service.doings.commands += 1,
                    Err(refusal) => {
                        service.doings.errors += 1;
                        replies.error(refusal.code, format_args!("{}", refusal.text));
                    }
                }
                1
            }
        }
    }

    fn about_connection(
        &mut self,
        name: &Name,
        words: &Words<'_>,
        service: &mut Service,
        replies: &mut Replies<'_>,
    ) -> Result<(), Refusal> {
        let Some(description) = name.description() else { return Err(unknown(words)) };
        let checked = description.check(words.count());
        checked.map_err(|error| Refusal::new("ERR", error.to_string()))?;
        match description.name {
            "PING" => match words.at(1) {
                None => replies.simple("PONG"),
                Some(word) => replies.bulk(word),
            },
            "ECHO" => replies.bulk(words.at(1).unwrap_or_default()),
            "SELECT" => select(words.at(1).unwrap_or_default(), replies)?,
            "ONLINE.WATCH" => {
                self.set_watching(true, service);
                replies.simple("OK");
            }
            "QUIT" => {
                self.is_over = true;
                replies.simple("OK");
            }
            "RESET" => {
                self.set_watching(false, service);
                self.name.clear();
                self.set_version(false, replies);
                self.is_authenticated = service.options().password.is_empty();
                replies.simple("RESET");
            }
            "AUTH" => {
                self.authenticate(words, service)?;
                replies.simple("OK");
            }
            "HELLO" => self.hello(words, service, replies)?,
            "CLIENT" => self.client(words, replies)?,
            "COMMAND" => list_commands(words, replies)?,
            "CONFIG" => show_configuration(words, service, replies)?,
            "INFO" => replies.bulk(self.describe(service).as_bytes()),
            _ => return Err(unknown(words)),
        }
        Ok(())
    }

    const fn set_version(&mut self, is_version_3: bool, replies: &mut Replies<'_>) {
        self.is_version_3 = is_version_3;
        replies.set_version(is_version_3);
    }

    /// `AUTH password` or `AUTH default password`.
    fn authenticate(&mut self, words: &Words<'_>, service: &mut Service) -> Result<(), Refusal> {
        let (user, password) = match (words.at(1), words.at(2), words.count()) {
            (Some(password), None, _) => (&b"default"[..], password),
            (Some(user), Some(password), 3) => (user, password),
            _ => return Err(Refusal::new("ERR", "syntax error")),
        };
        if service.options().password.is_empty() && words.count() == 2 {
            return Err(Refusal::new(
                "ERR",
                "AUTH <password> called without any password configured for the default user. Are \
                 you sure your configuration is correct?",
            ));
        }
        self.let_in(user, password, service)
    }

    fn let_in(&mut self, user: &[u8], given: &[u8], service: &mut Service) -> Result<(), Refusal> {
        let wanted = &service.options().password;
        if user == b"default" && (wanted.is_empty() || is_same(wanted, given)) {
            self.is_authenticated = true;
            return Ok(());
        }
        service.doings.wrong_passwords += 1;
        Err(Refusal::new("WRONGPASS", "invalid username-password pair or user is disabled."))
    }

    /// `HELLO [2|3 [AUTH user password] [SETNAME name]]`.
    fn hello(
        &mut self,
        words: &Words<'_>,
        service: &mut Service,
        replies: &mut Replies<'_>,
    ) -> Result<(), Refusal> {
        let is_version_3 = match words.at(1) {
            None => self.is_version_3,
            Some(b"2") => false,
            Some(b"3") => true,
            Some(word) if !word.is_empty() && word.iter().all(u8::is_ascii_digit) => {
                return Err(Refusal::new("NOPROTO", "unsupported protocol version"));
            }
            Some(_) => {
                let text = "Protocol version is not an integer or out of range";
                return Err(Refusal::new("ERR", text));
            }
        };
        let (mut at, mut name) = (2, None);
        while let Some(word) = words.at(at) {
            match (Name::new(word).bytes(), words.at(at + 1), words.at(at + 2)) {
                (b"AUTH", Some(user), Some(password)) => {
                    self.let_in(user, password, service)?;
                    at += 3;
                }
                (b"SETNAME", Some(word), _) => {
                    name = Some(word);
                    at += 2;
                }
                _ => return Err(Refusal::new("ERR", "Syntax error in HELLO option")),
            }
        }
        if !self.is_authenticated {
            return Err(Refusal::new(
                "NOAUTH",
                "HELLO must be called with the client already authenticated, otherwise the HELLO \
                 <proto> AUTH <user> <pass> option can be used to authenticate the client and \
                 select the RESP protocol version at the same time",
            ));
        }
        if let Some(name) = name {
            self.set_name(name)?;
        }
        self.set_version(is_version_3, replies);
        replies.map(7);
        // Clients look here for what they may use of Redis, so this is what a Redis would say.
        for (key, value) in [("server", "redis"), ("version", REDIS_VERSION)] {
            replies.bulk(key.as_bytes());
            replies.bulk(value.as_bytes());
        }
        replies.bulk(b"proto");
        replies.integer(if is_version_3 { 3 } else { 2 });
        replies.bulk(b"id");
        replies.integer(i64::try_from(self.id).unwrap_or(i64::MAX));
        for (key, value) in [("mode", "standalone"), ("role", "master")] {
            replies.bulk(key.as_bytes());
            replies.bulk(value.as_bytes());
        }
        replies.bulk(b"modules");
        replies.array(0);
        Ok(())
    }

    fn set_name(&mut self, name: &[u8]) -> Result<(), Refusal> {
        if !name.iter().all(u8::is_ascii_graphic) {
            let text = "Client names cannot contain spaces, newlines or special characters.";
            return Err(Refusal::new("ERR", text));
        }
        self.name = name.to_vec();
        Ok(())
    }

    fn client(&mut self, words: &Words<'_>, replies: &mut Replies<'_>) -> Result<(), Refusal> {
        match (Name::new(words.at(1).unwrap_or_default()).bytes(), words.count()) {
            (b"ID", 2) => replies.integer(i64::try_from(self.id).unwrap_or(i64::MAX)),
            (b"GETNAME", 2) if self.name.is_empty() => replies.null(),
            (b"GETNAME", 2) => replies.bulk(&self.name),
            (b"SETNAME", 3) => {
                self.set_name(words.at(2).unwrap_or_default())?;
                replies.simple("OK");
            }
            // What a client calls its library: nothing here depends on it.
            (b"SETINFO", 4) | (b"NO-EVICT" | b"NO-TOUCH", 3) => replies.simple("OK"),
            (b"INFO" | b"LIST", 2..) => {
                let name = String::from_utf8_lossy(&self.name);
                let version = if self.is_version_3 { 3 } else { 2 };
                let line = format!("id={} name={name} db=0 resp={version}\n", self.id);
                replies.bulk(line.as_bytes());
            }
            _ => return Err(unknown_subcommand("CLIENT", words)),
        }
        Ok(())
    }

    /// What `INFO` says, whatever section is asked for. ioredis waits for `loading:0`.
    fn describe(&self, service: &Service) -> String {
        let mut text = format!(
            "# Server\r\nredis_version:{REDIS_VERSION}\r\npeerage_version:{}\r\n\
             redis_mode:standalone\r\n\r\n# Persistence\r\nloading:0\r\n\r\n\
             # Replication\r\nrole:master\r\nconnected_slaves:0\r\n\r\n# Online\r\n",
            env!("CARGO_PKG_VERSION"),
        );
        for (fact, value) in FACTS.iter().zip(service.facts()) {
            // Formatting into memory does not fail.
            let _: std::fmt::Result = write!(text, "{}:{value}\r\n", fact.name);
        }
        text
    }
}

/// The version of Redis whose commands about the connection these are.
const REDIS_VERSION: &str = "7.0.0";

/// Why a command about the connection is not carried out.
struct Refusal {
    code: &'static str,
    text: String,
}

impl Refusal {
    fn new(code: &'static str, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }
}

struct Words<'a> {
    arguments: &'a Arguments,
    input: &'a [u8],
}

impl<'a> Words<'a> {
    fn at(&self, at: usize) -> Option<&'a [u8]> {
        self.arguments.argument(at, self.input)
    }

    fn count(&self) -> usize {
        self.arguments.len()
    }

    fn from(&self, first: usize) -> impl Iterator<Item = &'a [u8]> {
        (first..self.count()).filter_map(|at| self.at(at))
    }
}

fn flush(hits: &mut ArrayVec<Hit<'_>, BATCH>, service: &mut Service, replies: &mut Replies<'_>) {
    if !hits.is_empty() {
        service.hits(hits, replies);
        hits.clear();
    }
}

/// Whether the two are the same; how long that takes does not tell how much of it is.
fn is_same(wanted: &[u8], given: &[u8]) -> bool {
    let differing = wanted.iter().zip(given).fold(0, |all, (a, b)| all | (a ^ b));
    wanted.len() == given.len() && std::hint::black_box(differing) == 0
}

fn select(word: &[u8], replies: &mut Replies<'_>) -> Result<(), Refusal> {
    match word {
        b"0" => {
            replies.simple("OK");
            Ok(())
        }
        _ if !word.is_empty() && word.iter().all(u8::is_ascii_digit) => {
            Err(Refusal::new("ERR", "DB index is out of range"))
        }
        _ => Err(Refusal::new("ERR", "value is not an integer or out of range")),
    }
}

/// At most so many bytes of what a client wrote are in a message.
const QUOTED_BYTES_MAX: usize = 128;

fn shortened(word: &[u8]) -> String {
    word[..word.len().min(QUOTED_BYTES_MAX)].escape_ascii().to_string()
}

fn unknown(words: &Words<'_>) -> Refusal {
    let name = shortened(words.at(0).unwrap_or_default());
    let mut text = format!("unknown command '{name}', with args beginning with: ");
    for word in words.from(1) {
        if text.len() > QUOTED_BYTES_MAX {
            break;
        }
        // Formatting into memory does not fail.
        let _: std::fmt::Result = write!(text, "'{}' ", shortened(word));
    }
    Refusal::new("ERR", text)
}

fn unknown_subcommand(command: &str, words: &Words<'_>) -> Refusal {
    let name = shortened(words.at(1).unwrap_or_default());
    let text = format!("unknown subcommand or wrong number of arguments for '{name}' of {command}");
    Refusal::new("ERR", text)
}

/// `COMMAND`, `COMMAND COUNT`, `COMMAND LIST`, `COMMAND INFO name ...`, `COMMAND DOCS`.
fn list_commands(words: &Words<'_>, replies: &mut Replies<'_>) -> Result<(), Refusal> {
    let Some(word) = words.at(1) else {
        replies.array(COMMANDS.len());
        COMMANDS.iter().for_each(|command| describe_command(command, replies));
        return Ok(());
    };
    match Name::new(word).bytes() {
        b"COUNT" => replies.integer(i64::try_from(COMMANDS.len()).unwrap_or(i64::MAX)),
        b"LIST" => {
            replies.array(COMMANDS.len());
            for command in &COMMANDS {
                replies.bulk(command.name.to_ascii_lowercase().as_bytes());
            }
        }
        // There are none; redis-cli helps itself.
        b"DOCS" => replies.map(0),
        b"INFO" => {
            let names = words.count() - 2;
            replies.array(if names == 0 { COMMANDS.len() } else { names });
            for word in words.from(2) {
                match Name::new(word).description() {
                    Some(command) => describe_command(command, replies),
                    None => replies.null(),
                }
            }
            if names == 0 {
                COMMANDS.iter().for_each(|command| describe_command(command, replies));
            }
        }
        _ => return Err(unknown_subcommand("COMMAND", words)),
    }
    Ok(())
}

fn describe_command(command: &Description, replies: &mut Replies<'_>) {
    replies.array(10);
    replies.bulk(command.name.to_ascii_lowercase().as_bytes());
    replies.integer(command.arity);
    replies.array(2);
    replies.simple(if command.is_change { "write" } else { "readonly" });
    replies.simple("fast");
    // The first key, the last, and from one to the next: there are none.
    (0..3).for_each(|_| replies.integer(0));
    // Categories, tips, key specifications, subcommands.
    (0..4).for_each(|_| replies.array(0));
}

/// `CONFIG GET name ...`: what clients and redis-benchmark look for.
fn show_configuration(
    words: &Words<'_>,
    service: &Service,
    replies: &mut Replies<'_>,
) -> Result<(), Refusal> {
    if Name::new(words.at(1).unwrap_or_default()).bytes() != b"GET" || words.count() < 3 {
        let text = "only CONFIG GET name is offered; change the configuration file and restart";
        return Err(Refusal::new("ERR", text));
    }
    let connections = service.options().connections_max.to_string();
    let known = [
        ("save", ""),
        ("appendonly", "no"),
        ("databases", "1"),
        ("timeout", "0"),
        ("maxmemory", "0"),
        ("maxclients", &connections),
    ];
    let is_asked = |name: &str| {
        words.from(2).any(|word| word == b"*" || word.eq_ignore_ascii_case(name.as_bytes()))
    };
    let found = || known.iter().filter(|(name, _)| is_asked(name));
    replies.map(found().count());
    for (name, value) in found() {
        replies.bulk(name.as_bytes());
        replies.bulk(value.as_bytes());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::online::service::tests::{service, with_password};

    /// A client and its service.
    struct Bench {
        session: Session,
        service: Service,
    }

    fn connected(service: Service) -> Bench {
        Bench { session: Session::new(7, false, &service), service }
    }

    impl Bench {
        fn send(&mut self, input: &[u8]) -> (Turn, String) {
            let (mut scratch, mut out) = (Arguments::default(), Vec::new());
            let Self { session, service } = self;
            let turn = session.handle_input(input, service, &mut scratch, &mut out);
            (turn, String::from_utf8(out).unwrap())
        }

        /// The reply to one line, with blanks for line ends.
        fn ask(&mut self, line: &str) -> String {
            let (turn, text) = self.send(format!("{line}\r\n").as_bytes());
            assert_eq!(turn, Turn { consumed: line.len() + 2, has_more: false });
            text.replace("\r\n", " ").trim_end().to_owned()
        }
    }

    fn request(words: &[&str]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut replies = Replies::new(&mut bytes, false);
        replies.array(words.len());
        words.iter().for_each(|word| replies.bulk(word.as_bytes()));
        bytes
    }

    #[test]
    fn table_of_commands_about_the_connection() {
        let table = [
            ("PING", "+PONG"),
            ("ping hello", "$5 hello"),
            ("ECHO hello", "$5 hello"),
            ("ECHO", "-ERR wrong number of arguments for 'echo' command"),
            ("SELECT 0", "+OK"),
            ("SELECT 1", "-ERR DB index is out of range"),
            ("SELECT x", "-ERR value is not an integer or out of range"),
            ("CLIENT ID", ":7"),
            ("CLIENT GETNAME", "$-1"),
            (
                "CLIENT SETNAME 'a b'",
                "-ERR Client names cannot contain spaces, newlines or special characters.",
            ),
            ("CLIENT SETNAME me", "+OK"),
            ("CLIENT GETNAME", "$2 me"),
            ("CLIENT INFO", "$25 id=7 name=me db=0 resp=2\n"),
            ("CLIENT SETINFO LIB-NAME x", "+OK"),
            (
                "CLIENT KILL x",
                "-ERR unknown subcommand or wrong number of arguments for 'KILL' of CLIENT",
            ),
            ("COMMAND COUNT", ":22"),
            ("COMMAND DOCS ping", "*0"),
            (
                "COMMAND INFO online.hit x",
                "*2 *10 $10 online.hit :-3 *2 +write +fast :0 :0 :0 *0 *0 *0 *0 $-1",
            ),
            ("CONFIG GET save", "*2 $4 save $0 "),
            ("CONFIG GET nothing", "*0"),
            (
                "CONFIG SET save x",
                "-ERR only CONFIG GET name is offered; change the configuration file and restart",
            ),
            (
                "AUTH x",
                "-ERR AUTH <password> called without any password configured for the default \
                 user. Are you sure your configuration is correct?",
            ),
            ("AUTH default x", "+OK"),
            ("AUTH other x", "-WRONGPASS invalid username-password pair or user is disabled."),
            (
                "GET \"a\\x00\" b",
                "-ERR unknown command 'GET', with args beginning with: 'a\\x00' 'b' ",
            ),
            ("RESET", "+RESET"),
            ("CLIENT GETNAME", "$-1"),
            ("", ""),
            ("QUIT", "+OK"),
        ];
        let mut bench = connected(service());
        for (line, expected) in table {
            assert_eq!(bench.ask(line), expected.trim_end(), "{line}");
        }
        assert!(bench.session.is_over());
        let (turn, text) = bench.send(b"PING\r\n");
        assert_eq!((turn.consumed, &*text), (6, ""), "nothing is read after QUIT");
    }

    #[test]
    fn hello_is_what_clients_want() {
        let mut bench = connected(service());
        let tail = "$2 id :7 $4 mode $10 standalone $4 role $6 master $7 modules *0";
        let head = "$6 server $5 redis $7 version $5 7.0.0 $5 proto";
        assert_eq!(bench.ask("HELLO"), format!("*14 {head} :2 {tail}"));
        assert_eq!(bench.ask("HELLO 3 SETNAME me"), format!("%7 {head} :3 {tail}"));
        assert_eq!(bench.ask("ONLINE.USER nobody"), "_");
        assert_eq!(bench.ask("CLIENT GETNAME"), "$2 me");
        for (line, expected) in [
            ("HELLO 4", "-NOPROTO unsupported protocol version"),
            ("HELLO x", "-ERR Protocol version is not an integer or out of range"),
            ("HELLO 3 SETNAME", "-ERR Syntax error in HELLO option"),
        ] {
            assert_eq!(bench.ask(line), expected);
        }
        assert_eq!(bench.ask("HELLO 2"), format!("*14 {head} :2 {tail}"));
        let info = bench.ask("INFO");
        assert!(info.contains("loading:0") && info.contains("users:0"), "{info}");
    }

    #[test]
    fn a_password_is_asked_for() {
        let mut bench = connected(with_password(b"open sesame"));
        for line in ["PING", "ONLINE.COUNT", "ONLINE.HIT a b", "INFO", "x", "ONLINE.URL"] {
            assert_eq!(bench.ask(line), "-NOAUTH Authentication required.", "{line}");
        }
        let (_, text) = bench.send(&request(&["ONLINE.HIT", "a", "b"]));
        assert_eq!(text, "-NOAUTH Authentication required.\r\n");
        for line in
            ["AUTH x", "AUTH 'open sesam'", "AUTH me 'open sesame'", "HELLO 3 AUTH default x"]
        {
            assert!(bench.ask(line).starts_with("-WRONGPASS"), "{line}");
        }
        assert!(bench.ask("HELLO 3").starts_with("-NOAUTH HELLO must be called"));
        assert_eq!(bench.service.doings.wrong_passwords, 4);
        assert_eq!(bench.ask("AUTH 'open sesame'"), "+OK");
        assert_eq!(bench.ask("ONLINE.COUNT"), ":0");
        assert_eq!(
            (bench.ask("RESET"), bench.ask("PING").as_str()),
            ("+RESET".into(), "-NOAUTH Authentication required.")
        );
        assert!(bench.ask("HELLO 3 AUTH default 'open sesame'").starts_with("%7 "));
    }

    #[test]
    fn who_may_only_ask_changes_nothing() {
        let mut bench = connected(service());
        bench.ask("ONLINE.HIT ann a");
        bench.session = Session::new(8, true, &bench.service);
        for line in ["ONLINE.HIT bob a", "ONLINE.DEL ann"] {
            assert_eq!(bench.ask(line), "-READONLY this listener only answers questions");
        }
        let (_, text) = bench.send(&request(&["ONLINE.HIT", "bob", "a"]));
        assert!(text.starts_with("-READONLY"), "{text}");
        assert_eq!(bench.ask("ONLINE.URL a"), "*1 $3 ann");
    }

    #[test]
    fn a_pipeline_is_answered_in_order() {
        let mut input = Vec::new();
        let mut expected = String::new();
        for number in 0..100 {
            input.extend(request(&["online.hit", &format!("user{}", number % 70), "a"]));
            expected += if number < 70 { ":1\r\n" } else { ":0\r\n" };
            if number % 40 == 39 {
                input.extend_from_slice(b"ONLINE.COUNT\r\n");
                expected += if number < 70 { ":40\r\n" } else { ":70\r\n" };
            }
            if number == 50 {
                input.extend(request(&["ONLINE.HIT", "", "a"]));
                expected += "-ERR a user has 1 to 20 bytes, a url 1 to 30\r\n";
            }
        }
        for part in [input.len(), 1000, 1] {
            let mut bench = connected(service());
            let mut found = String::new();
            let mut left = Vec::new();
            for bytes in input.chunks(part) {
                left.extend_from_slice(bytes);
                let (turn, text) = bench.send(&left);
                left.drain(..turn.consumed);
                found += &text;
            }
            assert_eq!((&found, left.len()), (&expected, 0), "in parts of {part}");
        }
    }

    #[test]
    fn a_turn_is_bounded_by_cost_and_by_bytes() {
        let mut bench = connected(service());
        let (turn, text) = bench.send(&b"PING\r\n".repeat(5000));
        assert_eq!(turn, Turn { consumed: 1024 * 6, has_more: true });
        assert_eq!(text.len(), 1024 * 7);
        let echo = request(&["ECHO", &"x".repeat(60_000)]);
        let (turn, text) = bench.send(&echo.repeat(10));
        assert_eq!(turn, Turn { consumed: 5 * echo.len(), has_more: true });
        assert!(text.len() < ONLINE_REPLIES_BYTES_MAX + 65_000);
    }

    #[test]
    fn what_is_no_request_ends_it_with_an_error() {
        let mut bench = connected(service());
        let (turn, text) = bench.send(b"PING\r\n*1\r\n:5\r\nPING\r\n");
        assert_eq!(text, "+PONG\r\n-ERR Protocol error: expected '$', got ':'\r\n");
        assert_eq!((turn.consumed, bench.session.is_over()), (20, true));
        assert_eq!(bench.service.doings.protocol_errors, 1);
    }

    #[test]
    fn who_watches_is_sent_lines_and_told_of_those_it_missed() {
        let mut bench = connected(service());
        assert_eq!(bench.ask("ONLINE.WATCH"), "+OK");
        assert_eq!(bench.ask("ONLINE.WATCH"), "+OK");
        assert_eq!(bench.service.watchers(), 1);
        bench.ask("ONLINE.HIT ann a");
        let lines = bench.service.take_lines();
        let mut out = Vec::new();
        let far = 2 * ONLINE_WATCH_BYTES_MAX;
        bench.session.handle_lines(&lines, far, &mut bench.service, &mut out);
        assert_eq!((out.len(), bench.service.doings.watch_lost), (0, 1));
        bench.session.handle_lines(&lines, 0, &mut bench.service, &mut out);
        let expected = "+1700000000.500 \"ann\" \"a\"\r\n+1 lines lost\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        assert_eq!(bench.ask("RESET"), "+RESET");
        assert_eq!((bench.service.watchers(), bench.session.is_watching()), (0, false));
        bench.ask("ONLINE.WATCH");
        bench.session.handle_end(&mut bench.service);
        assert_eq!(bench.service.watchers(), 0);
    }
}
