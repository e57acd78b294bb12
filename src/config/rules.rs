//! What a text may look like: host names, file names, patterns, header values, content types.
//!
//! Input: one text of the configuration.   Output: nothing, or what is wrong with it, in words.
//! Owns: nothing.                          Thread: any, pure.
//! Invariants: a complaint begins with the text in quotes (but a secret's) and ends with a remedy,
//! on one line.
//! Not here: lists of such texts and doubles among them (`kinds.rs`, `relations.rs`).
//! Source: RFC 1123 2.1 (host names), RFC 9110 5.6.2 (token) and 8.3.1 (media type).

use std::net::{Ipv4Addr, Ipv6Addr};

use super::errors::quote;

/// A rule for one text.
pub(super) type Rule = fn(&str) -> Result<(), String>;

/// A host name in lower case, or an IP literal as the Host header has it; also a directory name,
/// so nothing that could leave the root passes.
pub(super) fn host_name(text: &str) -> Result<(), String> {
    let quoted = quote(text);
    if text.is_empty() {
        return Err(format!("{quoted} is empty; write a host name such as \"www.example.com\""));
    }
    if let Ok(address) = text.parse::<Ipv6Addr>() {
        return Err(format!("{quoted} is a bare IPv6 address; write \"[{address}]\""));
    }
    if let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return ipv6_literal(text, inner);
    }
    if let Some((name, port)) = text.rsplit_once(':')
        && !port.is_empty()
        && port.bytes().all(|byte| byte.is_ascii_digit())
    {
        return Err(format!("{quoted} has a port; write {}", quote(name)));
    }
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        let lower = quote(&text.to_ascii_lowercase());
        return Err(format!("{quoted} has capital letters; write {lower}"));
    }
    let allowed = |char: char| matches!(char, 'a'..='z' | '0'..='9' | '-' | '_' | '.');
    if let Some(char) = text.chars().find(|char| !allowed(*char)) {
        return Err(format!(
            "{quoted} has the character {char:?}; a host name has only a-z, 0-9, '-', '_' and '.'"
        ));
    }
    host_labels(text)
}

/// The directory for unknown hosts: none, or a host name.
pub(super) fn host_name_or_none(text: &str) -> Result<(), String> {
    if text.is_empty() { Ok(()) } else { host_name(text) }
}

/// The file that answers for a directory: none, or a plain file name.
pub(super) fn index(text: &str) -> Result<(), String> {
    let quoted = quote(text);
    if let Some(char) = text.chars().find(|char| *char == '/' || char.is_control()) {
        return Err(format!(
            "{quoted} has the character {char:?}; write a plain file name such as \"index.html\""
        ));
    }
    if text.starts_with('.') {
        return Err(format!("{quoted} begins with a dot; write a name such as \"index.html\""));
    }
    at_most(text, FILE_NAME_BYTES_MAX)
}

/// An address of an origin: a host name or an IP literal, and a port.
pub(super) fn origin_address(text: &str) -> Result<(), String> {
    let quoted = quote(text);
    if text.contains("://") {
        return Err(format!(
            "{quoted} is a URL; write host and port as in \"192.0.2.1:8080\", and the scheme apart"
        ));
    }
    let bare = text.parse::<Ipv6Addr>();
    let Some((host, port)) = text.rsplit_once(':').filter(|_| bare.is_err()) else {
        return without_port(text);
    };
    if text.ends_with(']') {
        return without_port(text);
    }
    origin_port(text, port)?;
    host_name(host)
}

/// The Host that requests ask an origin for: none, or a host name, perhaps with a port.
pub(super) fn host_header(text: &str) -> Result<(), String> {
    match text.rsplit_once(':') {
        Some((host, port)) if !text.ends_with(']') && text.parse::<Ipv6Addr>().is_err() => {
            origin_port(text, port)?;
            host_name(host)
        }
        _ => host_name_or_none(text),
    }
}

/// The path of a file: none, or any text that can be one.
pub(super) fn file(text: &str) -> Result<(), String> {
    let quoted = quote(text);
    if let Some(char) = text.chars().find(|char| char.is_control()) {
        return Err(format!("{quoted} has the control character {char:?}; take it out"));
    }
    if text.ends_with('/') {
        return Err(format!("{quoted} ends with '/'; write the path of a file"));
    }
    at_most(text, PATH_BYTES_MAX)
}

/// The path of the control socket: none, or absolute and short.
pub(super) fn control_socket(text: &str) -> Result<(), String> {
    absolute_file(text, "/run/peerage/control.sock")?;
    at_most(text, SOCKET_PATH_BYTES_MAX)
}

/// The path of the socket that tells who is online: likewise.
pub(super) fn online_socket(text: &str) -> Result<(), String> {
    absolute_file(text, "/run/peerage/online.sock")?;
    at_most(text, SOCKET_PATH_BYTES_MAX)
}

/// The path of the snapshot of who is online: none, or absolute, since the daemon writes it.
pub(super) fn snapshot(text: &str) -> Result<(), String> {
    absolute_file(text, "/var/lib/peerage/online")
}

/// A user or group: none, or a name as `/etc/passwd` has it.
pub(super) fn account(text: &str) -> Result<(), String> {
    let quoted = quote(text);
    let allowed = |char: char| char.is_ascii_graphic() && !matches!(char, ':' | '/' | ',');
    if let Some(char) = text.chars().find(|char| !allowed(*char)) {
        return Err(format!(
            "{quoted} has the character {char:?}; write a name as in /etc/passwd, such as \
             \"www-data\""
        ));
    }
    if text.starts_with('-') {
        return Err(format!("{quoted} begins with '-'; write a name such as \"www-data\""));
    }
    at_most(text, ACCOUNT_BYTES_MAX)
}

/// The Server header: none, or a short header value.
pub(super) fn server_name(text: &str) -> Result<(), String> {
    header_text(text)?;
    at_most(text, SERVER_NAME_BYTES_MAX)
}

/// The name of a cache: a token.
pub(super) fn cache_name(text: &str) -> Result<(), String> {
    let quoted = quote(text);
    if text.is_empty() {
        return Err(format!("{quoted} is empty; write a name such as \"peerage\""));
    }
    if let Some(char) = text.chars().find(|char| !is_token_char(*char)) {
        return Err(format!(
            "{quoted} has the character {char:?}; write letters, digits, '-', '.' and '_' only"
        ));
    }
    at_most(text, CACHE_NAME_BYTES_MAX)
}

/// What a token of RFC 9110 consists of.
pub(super) fn is_token_char(char: char) -> bool {
    char.is_ascii_alphanumeric() || (char.is_ascii() && "!#$%&'*+-.^_`|~".contains(char))
}

/// The secret of PURGE: none, or too long to be guessed.
pub(super) fn purge_token(text: &str) -> Result<(), String> {
    secret(text, "token", TOKEN_BYTES_MIN, "off")
}

/// The secret of who may ask who is online: none, or long enough.
pub(super) fn online_password(text: &str) -> Result<(), String> {
    secret(text, "password", PASSWORD_BYTES_MIN, "none")
}

/// The value of a header: not empty.
pub(super) fn header_value(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err(format!(
            "{} is empty; write a value such as \"public, max-age=86400\"",
            quote(text)
        ));
    }
    header_text(text)?;
    at_most(text, HEADER_VALUE_BYTES_MAX)
}

/// A pattern over paths: `*` any run within one part, `**` any run, `?` one character.
pub(super) fn pattern(text: &str) -> Result<(), String> {
    let quoted = quote(text);
    if text.is_empty() {
        return Err(format!("{quoted} is empty; write a pattern such as \"*.png\" or \"/img/**\""));
    }
    if let Some(char) = text.chars().find(|char| char.is_control()) {
        return Err(format!("{quoted} has the control character {char:?}; take it out"));
    }
    if text.contains("***") {
        return Err(format!("{quoted} has three stars in a row; write \"**\" for any run"));
    }
    if text.contains('/') && !text.starts_with('/') && !text.starts_with("**") {
        return Err(format!(
            "{quoted} never matches, since a path begins with '/'; write {} or {}",
            quote(&format!("/{text}")),
            quote(&format!("**/{text}"))
        ));
    }
    at_most(text, PATTERN_BYTES_MAX)
}

/// A content type with its parameters, such as `text/html; charset=utf-8`.
pub(super) fn content_type(text: &str) -> Result<(), String> {
    let (essence, parameters) = text.split_once(';').unwrap_or((text, "x"));
    content_essence(essence).map_err(|_| complain_of_type(text))?;
    header_text(text)?;
    if parameters.trim().is_empty() {
        return Err(format!("{} ends with ';'; take it away", quote(text)));
    }
    at_most(text, CONTENT_TYPE_BYTES_MAX)
}

/// A content type without parameters, such as `text/html`.
pub(super) fn content_essence(text: &str) -> Result<(), String> {
    if text.contains(';') {
        let essence = text.split(';').next().unwrap_or_default().trim_end();
        return Err(format!("{} has parameters; write {}", quote(text), quote(essence)));
    }
    let token = |part: &str| {
        let allowed =
            |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9') || b"!#$&^_.+-".contains(&byte);
        !part.is_empty() && part.bytes().all(allowed)
    };
    match text.split_once('/') {
        Some((kind, subtype)) if token(kind) && token(subtype) => {
            at_most(text, CONTENT_TYPE_BYTES_MAX)
        }
        _ => Err(complain_of_type(text)),
    }
}

/// A file name extension: lower case, without the dot.
pub(super) fn extension(text: &str) -> Result<(), String> {
    let quoted = quote(text);
    if let Some(rest) = text.strip_prefix('.') {
        return Err(format!("{quoted} begins with a dot; write {}", quote(rest)));
    }
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        let lower = quote(&text.to_ascii_lowercase());
        return Err(format!("{quoted} has capital letters; write {lower}, it matches both"));
    }
    let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'+' | b'-' | b'_');
    if text.is_empty() || !text.bytes().all(allowed) {
        return Err(format!("{quoted} is not an extension; write one such as \"png\""));
    }
    at_most(text, EXTENSION_BYTES_MAX)
}

/// The path of a file: none, or absolute.
fn absolute_file(text: &str, example: &str) -> Result<(), String> {
    file(text)?;
    if text.is_empty() || text.starts_with('/') {
        return Ok(());
    }
    Err(format!("{} is not absolute; write a path such as {}", quote(text), quote(example)))
}

/// A secret, or none. No complaint shows it: messages end in logs.
fn secret(text: &str, what: &str, bytes_min: usize, none: &str) -> Result<(), String> {
    if text.is_empty() {
        return Ok(());
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!(
            "the {what} has a blank or a character that is not visible ASCII; write {bytes_min} to \
             {SECRET_BYTES_MAX} visible ASCII characters, or \"\" ({none})"
        ));
    }
    if (bytes_min..=SECRET_BYTES_MAX).contains(&text.len()) {
        return Ok(());
    }
    let bytes = text.len();
    Err(format!(
        "the {what} is {bytes} bytes long; allowed {bytes_min} to {SECRET_BYTES_MAX}, or \"\" \
         ({none})"
    ))
}

/// What to say of an address that has a host only.
fn without_port(text: &str) -> Result<(), String> {
    let quoted = quote(text);
    if text.is_empty() {
        return Err(format!("{quoted} is empty; write an address such as \"192.0.2.1:8080\""));
    }
    let host = text.parse::<Ipv6Addr>().map_or(text.to_owned(), |bare| format!("[{bare}]"));
    Err(format!("{quoted} has no port; write it as in {}", quote(&format!("{host}:8080"))))
}

/// One spelling per port, so that doubles are found.
fn origin_port(text: &str, port: &str) -> Result<(), String> {
    let digits = port.bytes().all(|byte| byte.is_ascii_digit()) && !port.starts_with('0');
    if digits && port.parse::<u16>().is_ok() {
        return Ok(());
    }
    Err(format!("{} has no valid port; write a port from 1 to 65535 after the ':'", quote(text)))
}

fn ipv6_literal(text: &str, inner: &str) -> Result<(), String> {
    let Ok(address) = inner.parse::<Ipv6Addr>() else {
        return Err(format!(
            "{} is not an IPv6 address in brackets; write one such as \"[2001:db8::1]\"",
            quote(text)
        ));
    };
    // One host, one directory: two spellings of an address would be two hosts.
    if address.to_string() == inner {
        return Ok(());
    }
    Err(format!("{} is not the usual spelling; write \"[{address}]\"", quote(text)))
}

fn host_labels(text: &str) -> Result<(), String> {
    let quoted = quote(text);
    for label in text.split('.') {
        let complaint = if label.is_empty() {
            "an empty part between dots"
        } else if label.len() > LABEL_BYTES_MAX {
            "a part longer than 63 characters"
        } else if label.starts_with('-') || label.ends_with('-') {
            "a part that begins or ends with '-'"
        } else {
            continue;
        };
        return Err(format!("{quoted} has {complaint}; write a name such as \"www.example.com\""));
    }
    let last = text.rsplit('.').next().unwrap_or_default();
    if last.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<Ipv4Addr>().is_err() {
        return Err(format!(
            "{quoted} ends in a number but is no IPv4 address; write one such as \"192.0.2.1\""
        ));
    }
    at_most(text, HOST_NAME_BYTES_MAX)
}

/// Printable ASCII with spaces inside only: RFC 9110 5.5 strips them at the ends.
fn header_text(text: &str) -> Result<(), String> {
    let quoted = quote(text);
    let visible = |char: char| char == ' ' || char.is_ascii_graphic();
    if let Some(char) = text.chars().find(|char| !visible(*char)) {
        return Err(format!("{quoted} has the character {char:?}; write visible ASCII only"));
    }
    if text.trim() != text {
        return Err(format!("{quoted} has a space at an end; write {}", quote(text.trim())));
    }
    Ok(())
}

fn at_most(text: &str, bytes_max: usize) -> Result<(), String> {
    if text.len() <= bytes_max {
        return Ok(());
    }
    let bytes = text.len();
    Err(format!("{} is {bytes} bytes long; allowed at most {bytes_max}", quote(text)))
}

fn complain_of_type(text: &str) -> String {
    format!("{} is not a content type; write one in lower case such as \"image/png\"", quote(text))
}

/// RFC 1035 2.3.4.
const LABEL_BYTES_MAX: usize = 63;

/// RFC 1035 2.3.4: 255 on the wire are 253 in text.
const HOST_NAME_BYTES_MAX: usize = 253;

/// NAME_MAX of Linux.
const FILE_NAME_BYTES_MAX: usize = 255;

/// PATH_MAX of Linux less the final NUL.
const PATH_BYTES_MAX: usize = 4095;

/// sun_path of Linux less the final NUL.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// The bound of useradd(8).
const ACCOUNT_BYTES_MAX: usize = 32;

/// It is sent with every response, so it stays short.
const SERVER_NAME_BYTES_MAX: usize = 64;

/// It is sent with every response of a cache, and caches in a row add up.
const CACHE_NAME_BYTES_MAX: usize = 64;

/// 16 random characters have at least 80 bits; nobody guesses that over a network.
const TOKEN_BYTES_MIN: usize = 16;

/// It guards listeners that are private in the first place, and people type it; fewer characters
/// are found by trying.
const PASSWORD_BYTES_MIN: usize = 8;

/// A token has to fit the smallest head of a request, and 128 characters hold any digest.
const SECRET_BYTES_MAX: usize = 128;

/// Room for every directive of RFC 9111 with its largest figure, and no more: the head of a
/// response has a bound too.
const HEADER_VALUE_BYTES_MAX: usize = 256;

/// Matching costs at most pattern times path, so both are bounded.
const PATTERN_BYTES_MAX: usize = 256;

/// RFC 6838 4.2 bounds type and subtype at 127 each; no registered one comes near 128 together.
const CONTENT_TYPE_BYTES_MAX: usize = 128;

/// The longest in use is `webmanifest`.
const EXTENSION_BYTES_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_that_pass() {
        for text in ["a", "www.example.com", "192.0.2.1", "[2001:db8::1]", "my_box-1", "1.x"] {
            assert_eq!(host_name(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn host_names_that_could_leave_the_root_do_not_pass() {
        for text in ["", ".", "..", "a/b", "../a", "a..b", "a.", ".a", "-a", "a-", "a\0", "[..]"] {
            assert!(host_name(text).is_err(), "{text:?}");
        }
        for text in ["1.2.3", "1.2.3.256", "[::01]", "[::1", "a:80", "A", "a b", "\u{e9}"] {
            assert!(host_name(text).is_err(), "{text:?}");
        }
        assert!(host_name(&"a".repeat(64)).is_err());
        assert!(host_name(&"a.".repeat(127)).is_err());
    }

    #[test]
    fn addresses_of_origins_have_one_spelling() {
        for text in ["a:1", "a_b.example.com:65535", "192.0.2.1:80", "[2001:db8::1]:443"] {
            assert_eq!(origin_address(text), Ok(()), "{text}");
            assert_eq!(host_header(text), Ok(()), "{text}");
        }
        for text in ["", "a", "192.0.2.1", "[2001:db8::1]"] {
            assert_eq!(host_header(text), Ok(()), "{text}");
            assert!(origin_address(text).is_err(), "{text}");
        }
        for text in ["a:", "a:0", "a:01", "a:+1", "A:1", "a:1:2", "::1:80", "[::01]:1", "u@a:1"] {
            assert!(origin_address(text).is_err(), "{text}");
            assert!(host_header(text).is_err(), "{text}");
        }
    }

    #[test]
    fn names_of_caches_are_tokens() {
        for text in ["peerage", "box-1.example.com", "!#$%&'*+-.^_`|~"] {
            assert_eq!(cache_name(text), Ok(()), "{text}");
        }
        for text in ["", "a b", "a/b", "a\"", "a:1", "a(b)", "\u{e9}", "a\0"] {
            assert!(cache_name(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn no_complaint_shows_the_secret() {
        for text in ["s3cret", "s3cret s3cret s3cret", "s3cret-s3cret-s3cr\u{e9}t"] {
            assert!(!purge_token(text).unwrap_err().contains("s3c"), "{text}");
        }
        for text in ["s3cret", "s3cret s3cret", "s3cret-\u{e9}t"] {
            assert!(!online_password(text).unwrap_err().contains("s3c"), "{text}");
        }
        assert_eq!(purge_token(""), Ok(()));
        assert_eq!(purge_token("0123456789abcdef"), Ok(()));
        assert_eq!(online_password(""), Ok(()));
        assert_eq!(online_password("01234567"), Ok(()));
    }

    #[test]
    fn sockets_and_snapshots_are_absolute() {
        let rules: [(Rule, usize); 3] = [
            (control_socket, SOCKET_PATH_BYTES_MAX),
            (online_socket, SOCKET_PATH_BYTES_MAX),
            (snapshot, PATH_BYTES_MAX),
        ];
        for (rule, bytes_max) in rules {
            assert_eq!(rule(""), Ok(()));
            assert_eq!(rule(&format!("/{}", "x".repeat(bytes_max - 1))), Ok(()));
            assert!(rule(&format!("/{}", "x".repeat(bytes_max))).is_err());
            for text in ["a", "./a", "/a/", "/", "/a\0"] {
                assert!(rule(text).is_err(), "{text:?}");
            }
        }
    }

    #[test]
    fn content_types_and_extensions() {
        for text in ["image/png", "text/html; charset=utf-8", "application/vnd.ms-fontobject"] {
            assert_eq!(content_type(text), Ok(()), "{text}");
        }
        for text in ["", "png", "image/", "/png", "Image/png", "image/png;", "a/b/c", "a/b; \n"] {
            assert!(content_type(text).is_err(), "{text:?}");
        }
        for text in ["", ".png", "PNG", "p g", "tar.gz", "abcdefghijklmnopq"] {
            assert!(extension(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn patterns_that_never_match_are_refused() {
        for text in ["*", "**", "*.png", "/img/**", "**/a/?.gif", "f\u{fc}r.png"] {
            assert_eq!(pattern(text), Ok(()), "{text}");
        }
        for text in ["", "img/*.png", "***", "a\n", "*/a"] {
            assert!(pattern(text).is_err(), "{text:?}");
        }
    }
}
