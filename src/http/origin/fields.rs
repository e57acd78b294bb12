//! Which fields pass a proxy, and which are between two neighbours only (RFC 9110 section 7.6.1).
//!
//! Input: the fields of a head, in order.   Output: those that are passed on, in order.
//! Owns: nothing.   Thread: any, pure.
//! Not here: which of them a cache stores.
//! Source: RFC 9110 sections 7.6.1 and 11.7; RFC 9112 appendix C.2.

/// Fields that a proxy never passes on. The first is the list of the others that a sender adds;
/// Proxy-Connection and HTTP2-Settings are sent without being named there by those who err.
const HOP_BY_HOP: [&str; 11] = [
    "connection",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// `fields` without those that concern this connection only, by their nature or because a
/// Connection field names them. The work is the number of fields times the bytes of Connection,
/// both bounded by the head they came in.
pub fn end_to_end<'a, I>(fields: I) -> impl Iterator<Item = (&'a str, &'a [u8])> + Clone
where
    I: Iterator<Item = (&'a str, &'a [u8])> + Clone,
{
    let all = fields.clone();
    fields.filter(move |(name, _)| !is_hop_by_hop(name) && !is_named(all.clone(), name))
}

fn is_hop_by_hop(name: &str) -> bool {
    HOP_BY_HOP.iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// Whether a Connection field among `fields` names `name`.
fn is_named<'a>(fields: impl Iterator<Item = (&'a str, &'a [u8])>, name: &str) -> bool {
    fields
        .filter(|(field, _)| field.eq_ignore_ascii_case("connection"))
        .any(|(_, value)| options(value).any(|option| option.eq_ignore_ascii_case(name.as_bytes())))
}

/// The options of one Connection field.
pub(super) fn options(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_between_neighbours_stays_there() {
        let fields: [(&str, &[u8]); 9] = [
            ("Accept", b"*/*"),
            ("Connection", b"close, X-Secret"),
            ("x-secret", b"1"),
            ("Keep-Alive", b"timeout=5"),
            ("TE", b"trailers"),
            ("Cookie", b"a=b"),
            ("connection", b"x-other"),
            ("X-Other", b"2"),
            ("X-Secret-Too", b"3"),
        ];
        let left: Vec<&str> = end_to_end(fields.into_iter()).map(|(name, _)| name).collect();
        assert_eq!(left, ["Accept", "Cookie", "X-Secret-Too"]);
    }
}
