//! The kinds of value that hold several: addresses, names, core numbers, methods, content types.
//!
//! Input: one array or table of the file.   Output: the typed list, or a fault for each bad entry.
//! Owns: nothing.                           Thread: any, pure.
//! Invariants: a list has no doubles and at most as many entries as its kind allows; each entry's
//! fault stands at the entry's own line.
//! Not here: single values (`kinds.rs`), doubles across keys (`relations.rs`).

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::errors::{key_name, quote};
use super::kinds::{Count, Emitted, Item, Kind, describe, from, quoted, string};
use super::mime::default_types;
use super::read::Report;
use super::rules::{self, Rule};
use super::schema::Methods;
use super::units::emit_count;

/// Addresses to listen on; "*:PORT" becomes one for IPv6 and one for IPv4.
pub(super) struct Addresses {
    /// A list as it could stand in the file.
    pub(super) example: &'static str,
    /// Fewest addresses: 0 or 1.
    pub(super) count_min: usize,
    /// Bound on the addresses, after "*" was read.
    pub(super) count_max: usize,
}

impl Kind<Vec<SocketAddr>> for Addresses {
    fn read(&self, item: &Item<'_>, report: &mut Report<'_>) -> Option<Vec<SocketAddr>> {
        let mut seen: BTreeMap<SocketAddr, usize> = BTreeMap::new();
        let mut list = Vec::new();
        let sound = each(item, self.example, report, |entry, report| {
            let text = string(entry, report)?;
            let addresses = report.keep(entry, addresses(text))?;
            for address in addresses {
                if let Some(line) = seen.insert(address, report.line(entry)) {
                    report.fault(entry, doubled(text, line));
                    return None;
                }
                list.push(address);
            }
            Some(())
        });
        if sound && list.len() < self.count_min {
            let remedy = format!("write at least one address, as in {}", self.example);
            report.fault(item, format!("the list is empty; {remedy}"));
            return None;
        }
        (bounded(list.len(), self.count_max, item, report) && sound).then_some(list)
    }

    fn emit(&self, value: &Vec<SocketAddr>) -> Emitted {
        Emitted::List(value.iter().map(|address| quoted(&address.to_string())).collect())
    }

    fn allowed(&self) -> String {
        let (least, most) = (self.count_min, self.count_max);
        if least == 0 {
            return format!("at most {most} different addresses");
        }
        format!("{least} to {most} different addresses")
    }
}

/// One address to listen on, or none.
pub(super) struct AddressOrNone;

impl Kind<Option<SocketAddr>> for AddressOrNone {
    fn read(&self, item: &Item<'_>, report: &mut Report<'_>) -> Option<Option<SocketAddr>> {
        let text = string(item, report)?;
        if text.is_empty() {
            return Some(None);
        }
        report.keep(item, address(text)).map(Some)
    }

    fn emit(&self, value: &Option<SocketAddr>) -> Emitted {
        Emitted::Value(quoted(&value.map(|address| address.to_string()).unwrap_or_default()))
    }

    fn allowed(&self) -> String {
        "one address, or \"\" (off)".to_owned()
    }
}

/// Core numbers.
pub(super) struct Cores {
    /// Bound on the entries.
    pub(super) count_max: usize,
    /// The highest number.
    pub(super) core_max: u64,
}

impl Kind<Vec<usize>> for Cores {
    fn read(&self, item: &Item<'_>, report: &mut Report<'_>) -> Option<Vec<usize>> {
        let kind = Count(from(0, self.core_max));
        let mut seen: BTreeMap<usize, usize> = BTreeMap::new();
        let mut list = Vec::new();
        let sound = each(item, "[2, 3]", report, |entry, report| {
            let core: usize = kind.read(entry, report)?;
            if let Some(line) = seen.insert(core, report.line(entry)) {
                report
                    .fault(entry, format!("core {core} is given twice (line {line}); remove one"));
                return None;
            }
            list.push(core);
            Some(())
        });
        (bounded(list.len(), self.count_max, item, report) && sound).then_some(list)
    }

    fn emit(&self, value: &Vec<usize>) -> Emitted {
        Emitted::List(value.iter().map(ToString::to_string).collect())
    }

    fn allowed(&self) -> String {
        let (count, core) = (self.count_max, emit_count(self.core_max));
        format!("at most {count} different core numbers, 0 to {core}")
    }
}

/// Texts that follow one rule.
pub(super) struct Texts {
    /// The rule of each.
    pub(super) rule: Rule,
    /// What they are, in the plural.
    pub(super) what: &'static str,
    /// A list as it could stand in the file.
    pub(super) example: &'static str,
    /// Fewest entries: 0 or 1.
    pub(super) count_min: usize,
    /// Bound on the entries.
    pub(super) count_max: usize,
}

impl Kind<Vec<String>> for Texts {
    fn read(&self, item: &Item<'_>, report: &mut Report<'_>) -> Option<Vec<String>> {
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        let mut list = Vec::new();
        let sound = each(item, self.example, report, |entry, report| {
            let text = string(entry, report)?;
            report.keep(entry, (self.rule)(text))?;
            if let Some(line) = seen.insert(text.to_owned(), report.line(entry)) {
                report.fault(entry, doubled(text, line));
                return None;
            }
            report.place_entry(list.len(), entry);
            list.push(text.to_owned());
            Some(())
        });
        if sound && list.len() < self.count_min {
            let remedy = format!("write at least one entry, as in {}", self.example);
            report.fault(item, format!("the list is empty; {remedy}"));
            return None;
        }
        (bounded(list.len(), self.count_max, item, report) && sound).then_some(list)
    }

    fn emit(&self, value: &Vec<String>) -> Emitted {
        Emitted::List(value.iter().map(|text| quoted(text)).collect())
    }

    fn allowed(&self) -> String {
        let (least, most, what) = (self.count_min, self.count_max, self.what);
        if least == 0 {
            return format!("at most {most} different {what}");
        }
        format!("{least} to {most} different {what}")
    }
}

/// The methods a host answers.
pub(super) struct MethodList;

impl Kind<Methods> for MethodList {
    fn read(&self, item: &Item<'_>, report: &mut Report<'_>) -> Option<Methods> {
        let (mut get, mut methods) = (false, Methods::GET);
        let sound = each(item, "[\"GET\", \"HEAD\"]", report, |entry, report| {
            let text = string(entry, report)?;
            let given = match text {
                "GET" => &mut get,
                "HEAD" => &mut methods.head,
                "OPTIONS" => &mut methods.options,
                "POST" => &mut methods.post,
                "PUT" => &mut methods.put,
                "PATCH" => &mut methods.patch,
                "DELETE" => &mut methods.delete,
                _ => {
                    let (quoted, allowed) = (quote(text), self.allowed());
                    let what = format!("{quoted} is not a method to choose; allowed {allowed}");
                    report.fault(entry, what);
                    return None;
                }
            };
            if std::mem::replace(given, true) {
                report.fault(entry, format!("{} is given twice; remove one", quote(text)));
                return None;
            }
            Some(())
        });
        if sound && !get {
            report.fault(item, "GET is missing and cannot be refused; add \"GET\"".to_owned());
            return None;
        }
        sound.then_some(methods)
    }

    fn emit(&self, value: &Methods) -> Emitted {
        Emitted::List(value.names().map(quoted).collect())
    }

    fn allowed(&self) -> String {
        "\"GET\", perhaps with \"HEAD\", \"OPTIONS\", and in a host with an origin \"POST\", \
         \"PUT\", \"PATCH\", \"DELETE\""
            .to_owned()
    }
}

/// Extensions by content type in the file, content type by extension in the schema.
pub(super) struct Types {
    /// Bound on the content types, and on the extensions of one.
    pub(super) type_count_max: usize,
    /// Bound on the extensions of one content type.
    pub(super) extension_count_max: usize,
}

impl Kind<BTreeMap<String, String>> for Types {
    fn read(&self, item: &Item<'_>, report: &mut Report<'_>) -> Option<BTreeMap<String, String>> {
        let Some(table) = item.get_ref().as_table() else {
            let remedy = "write [mime.types] and rows such as \"image/png\" = [\"png\"] below it";
            report.fault(item, format!("{} is not a table; {remedy}", describe(item)));
            return None;
        };
        let mut sound = bounded(table.len(), self.type_count_max, item, report);
        let mut given: BTreeMap<String, (String, usize)> = BTreeMap::new();
        for (content_type, list) in table {
            let name = content_type.get_ref();
            let mut report = report.below(&key_name(name));
            if let Err(complaint) = rules::content_type(name) {
                report.fault(list, complaint);
                sound = false;
            }
            sound &= self.read_row(name, list, &mut given, &mut report);
        }
        let mut types = default_types();
        types.extend(given.into_iter().map(|(extension, (name, _))| (extension, name)));
        sound.then_some(types)
    }

    fn emit(&self, value: &BTreeMap<String, String>) -> Emitted {
        let mut rows: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (extension, content_type) in value {
            rows.entry(content_type).or_default().push(quoted(extension));
        }
        Emitted::Rows(rows.into_iter().map(|(name, list)| (quoted(name), list)).collect())
    }

    fn allowed(&self) -> String {
        let (types, extensions) = (self.type_count_max, self.extension_count_max);
        format!("at most {types} content types with {extensions} extensions each")
    }
}

impl Types {
    fn read_row(
        &self,
        content_type: &str,
        list: &Item<'_>,
        given: &mut BTreeMap<String, (String, usize)>,
        report: &mut Report<'_>,
    ) -> bool {
        let mut count = 0;
        let sound = each(list, "[\"png\"]", report, |entry, report| {
            let extension = string(entry, report)?;
            report.keep(entry, rules::extension(extension))?;
            count += 1;
            let row = (content_type.to_owned(), report.line(entry));
            if let Some((_, line)) = given.insert(extension.to_owned(), row) {
                report.fault(entry, doubled(extension, line));
                return None;
            }
            Some(())
        });
        bounded(count, self.extension_count_max, list, report) && sound
    }
}

/// Call `visit` for each entry of an array; whether all of them, and the array, were sound.
fn each<'a>(
    item: &'a Item<'a>,
    example: &str,
    report: &mut Report<'_>,
    mut visit: impl FnMut(&'a Item<'a>, &mut Report<'_>) -> Option<()>,
) -> bool {
    let Some(array) = item.get_ref().as_array() else {
        report.fault(item, format!("{} is not a list; write one as in {example}", describe(item)));
        return false;
    };
    let mut sound = true;
    for entry in array.iter() {
        sound &= visit(entry, report).is_some();
    }
    sound
}

fn bounded(count: usize, count_max: usize, item: &Item<'_>, report: &mut Report<'_>) -> bool {
    if count > count_max {
        report.fault(item, format!("{count} entries are too many; allowed at most {count_max}"));
    }
    count <= count_max
}

fn doubled(text: &str, line: usize) -> String {
    format!("{} is given twice (line {line}); remove one", quote(text))
}

fn addresses(text: &str) -> Result<Vec<SocketAddr>, String> {
    let Some(port) = text.strip_prefix("*:") else {
        return address(text).map(|address| vec![address]);
    };
    let port: u16 = port.parse().map_err(|_| bad_port(text))?;
    Ok(vec![
        SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)),
        SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)),
    ])
}

fn address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    if let Ok(ip) = bare.parse::<IpAddr>() {
        let address = quote(&SocketAddr::from((ip, 8080)).to_string());
        return Err(format!("{} has no port; write it as in {address}", quote(text)));
    }
    match text.rsplit_once(':') {
        Some((host, _)) if parses_as_host(host) => Err(bad_port(text)),
        _ => Err(format!(
            "{} is not an address with a port; write one such as \"192.0.2.1:80\" or \
             \"[2001:db8::1]:80\", names are not looked up",
            quote(text)
        )),
    }
}

fn parses_as_host(host: &str) -> bool {
    let inner = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    inner.map_or(host.parse::<Ipv4Addr>().is_ok(), |inner| inner.parse::<Ipv6Addr>().is_ok())
}

fn bad_port(text: &str) -> String {
    format!("{} has no valid port; write a port from 0 to 65535 after the ':'", quote(text))
}
