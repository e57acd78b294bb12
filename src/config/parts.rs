//! The kinds of value that name a part of a request: whom it counts for, and as being on what.
//!
//! Input: one text of the file.   Output: the part, or what is wrong with it, in words.
//! Owns: nothing.                 Thread: any, pure.
//! Invariants: what `emit` writes, `read` takes back as the same part; a name that no request could
//! have does not pass.
//! Not here: how a part is found in a request (`daemon`).
//! Source: RFC 9110 5.6.2 (token), RFC 6265 4.1.1 (the name of a cookie), RFC 3986 2.3
//! (unreserved).

use super::errors::quote;
use super::kinds::{Emitted, Item, Kind, quoted, string};
use super::read::Report;
use super::rules::is_token_char;
use super::schema::{UrlFrom, UserFrom};

/// Whom a request counts for.
pub(super) struct UserPart;

impl Kind<UserFrom> for UserPart {
    fn read(&self, item: &Item<'_>, report: &mut Report<'_>) -> Option<UserFrom> {
        let text = string(item, report)?;
        report.keep(item, user(text))
    }

    fn emit(&self, value: &UserFrom) -> Emitted {
        Emitted::Value(quoted(&match value {
            UserFrom::Nobody => String::new(),
            UserFrom::Cookie(name) => format!("cookie:{name}"),
            UserFrom::Header(name) => format!("header:{name}"),
            UserFrom::Query(name) => format!("query:{name}"),
            UserFrom::Address => "address".to_owned(),
        }))
    }

    fn allowed(&self) -> String {
        USER_ALLOWED.to_owned()
    }
}

/// What a request counts as being on.
pub(super) struct UrlPart;

impl Kind<UrlFrom> for UrlPart {
    fn read(&self, item: &Item<'_>, report: &mut Report<'_>) -> Option<UrlFrom> {
        let text = string(item, report)?;
        report.keep(item, url(text))
    }

    fn emit(&self, value: &UrlFrom) -> Emitted {
        Emitted::Value(quoted(&match value {
            UrlFrom::Path => "path".to_owned(),
            UrlFrom::Referer => "referer".to_owned(),
            UrlFrom::Query(name) => format!("query:{name}"),
        }))
    }

    fn allowed(&self) -> String {
        URL_ALLOWED.to_owned()
    }
}

fn user(text: &str) -> Result<UserFrom, String> {
    match split(text) {
        ("", None) => Ok(UserFrom::Nobody),
        ("address", None) => Ok(UserFrom::Address),
        ("cookie", name) => token(text, name, "cookie:session").map(UserFrom::Cookie),
        ("header", name) => token(text, name, "header:X-User").map(UserFrom::Header),
        ("query", name) => parameter(text, name, "query:user").map(UserFrom::Query),
        _ => Err(format!("{} is no part of a request; allowed {USER_ALLOWED}", quote(text))),
    }
}

fn url(text: &str) -> Result<UrlFrom, String> {
    match split(text) {
        ("path", None) => Ok(UrlFrom::Path),
        ("referer", None) => Ok(UrlFrom::Referer),
        ("query", name) => parameter(text, name, "query:url").map(UrlFrom::Query),
        _ => Err(format!("{} is no part of a request; allowed {URL_ALLOWED}", quote(text))),
    }
}

/// What stands before the first ':', and what after it.
fn split(text: &str) -> (&str, Option<&str>) {
    text.split_once(':').map_or((text, None), |(part, name)| (part, Some(name)))
}

/// The name of a cookie or of a header field.
fn token(text: &str, name: Option<&str>, example: &str) -> Result<String, String> {
    let remedy = "write letters, digits, '-', '.' and '_' only";
    named(text, name, example, is_token_char, remedy)
}

/// The name of a parameter: characters that need no percent-encoding, so that it has one spelling.
fn parameter(text: &str, name: Option<&str>, example: &str) -> Result<String, String> {
    let is_unreserved =
        |char: char| char.is_ascii_alphanumeric() || matches!(char, '-' | '.' | '_' | '~');
    let remedy = "write letters, digits, '-', '.', '_' and '~' only";
    named(text, name, example, is_unreserved, remedy)
}

fn named(
    text: &str,
    name: Option<&str>,
    example: &str,
    is_allowed: impl Fn(char) -> bool,
    remedy: &str,
) -> Result<String, String> {
    let shown = quote(text);
    let Some(name) = name.filter(|name| !name.is_empty()) else {
        return Err(format!("{shown} has no name; write it as in {}", quote(example)));
    };
    if let Some(char) = name.chars().find(|char| !is_allowed(*char)) {
        return Err(format!("{shown} has the character {char:?} in its name; {remedy}"));
    }
    let bytes = name.len();
    if bytes > NAME_BYTES_MAX {
        return Err(format!(
            "{shown} has a name of {bytes} bytes; allowed at most {NAME_BYTES_MAX}"
        ));
    }
    Ok(name.to_owned())
}

const USER_ALLOWED: &str =
    "cookie:NAME, header:NAME, query:NAME (NAME of 1 to 64 bytes), address, or \"\" (nobody)";

const URL_ALLOWED: &str = "path, referer, query:NAME (NAME of 1 to 64 bytes)";

/// Names in use have 2 to 40 bytes, and each request's are compared with it.
const NAME_BYTES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_written_as_they_were_read() {
        let name = "x".repeat(NAME_BYTES_MAX);
        for (text, part) in [
            ("", UserFrom::Nobody),
            ("address", UserFrom::Address),
            ("cookie:!#$%&'*+-.^_`|~", UserFrom::Cookie("!#$%&'*+-.^_`|~".to_owned())),
            ("header:X-User", UserFrom::Header("X-User".to_owned())),
            ("query:a-._~9", UserFrom::Query("a-._~9".to_owned())),
            (format!("cookie:{name}").as_str(), UserFrom::Cookie(name.clone())),
        ] {
            assert_eq!(user(text), Ok(part.clone()));
            assert_eq!(UserPart.emit(&part), Emitted::Value(format!("\"{text}\"")));
        }
        for (text, part) in [
            ("path", UrlFrom::Path),
            ("referer", UrlFrom::Referer),
            ("query:url", UrlFrom::Query("url".to_owned())),
            (format!("query:{name}").as_str(), UrlFrom::Query(name.clone())),
        ] {
            assert_eq!(url(text), Ok(part.clone()));
            assert_eq!(UrlPart.emit(&part), Emitted::Value(format!("\"{text}\"")));
        }
    }

    #[test]
    fn names_that_no_request_has_do_not_pass() {
        for text in ["cookie:a b", "header:a:b", "cookie:a=b", "cookie:\u{e9}", "header:a\0"] {
            assert!(user(text).unwrap_err().contains(" in its name; write letters, "), "{text:?}");
        }
        for text in ["query:a b", "query:a%20", "query:a+b", "query:a&b", "query:\u{e9}"] {
            assert!(user(text).unwrap_err().contains("'_' and '~' only"), "{text:?}");
            assert_eq!(url(text).unwrap_err(), user(text).unwrap_err());
        }
        for text in ["cookie", "cookie:", "header", "header:", "query", "query:"] {
            assert!(user(text).unwrap_err().contains(" has no name; write it as in "), "{text:?}");
        }
        let name = "x".repeat(NAME_BYTES_MAX + 1);
        for part in ["cookie", "header", "query"] {
            let complaint = user(&format!("{part}:{name}")).unwrap_err();
            assert!(complaint.ends_with(" has a name of 65 bytes; allowed at most 64"), "{part}");
        }
    }

    #[test]
    fn what_is_no_part_is_told_what_is() {
        for text in ["Cookie:a", "address:", "ip", "path", " ", "none"] {
            assert!(user(text).unwrap_err().ends_with(USER_ALLOWED), "{text:?}");
        }
        for text in ["", "Path", "path:", "referrer", "referer:a", "cookie:a", "address"] {
            assert!(url(text).unwrap_err().ends_with(URL_ALLOWED), "{text:?}");
        }
    }
}
