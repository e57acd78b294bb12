//! The kinds of value a key can have: how each is read, checked, written and described.
//!
//! Input: one value of the file with its place.   Output: the typed value, or faults; and its text.
//! Owns: nothing.                                 Thread: any, pure.
//! Invariants: what `emit` writes, `read` takes back as the same value; a value out of its range
//! never comes out of `read`.
//! Not here: lists, addresses and tables (`lists.rs`), which key has which kind, and the names of a
//! choice (`keys.rs`).

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeInteger, DeValue};

use super::errors::quote;
use super::read::Report;
use super::rules::Rule;
use super::units::{KIB, emit_count, emit_duration, emit_size, parse_duration, parse_size};

/// One value of the file with its place.
pub(super) type Item<'a> = Spanned<DeValue<'a>>;

/// How a value of type `T` is read, written and described.
pub(super) trait Kind<T> {
    /// The value, or `None` after at least one fault was reported.
    fn read(&self, item: &Item<'_>, report: &mut Report<'_>) -> Option<T>;

    /// The value as the file would have it.
    fn emit(&self, value: &T) -> Emitted;

    /// The allowed values, in words.
    fn allowed(&self) -> String;
}

/// A value as the file would have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Emitted {
    /// Not written at all.
    Absent,
    /// A single value.
    Value(String),
    /// An array of single values.
    List(Vec<String>),
    /// A table of arrays, under a header of its own.
    Rows(Vec<(String, Vec<String>)>),
}

/// true or false.
pub(super) struct Flag;

impl Kind<bool> for Flag {
    fn read(&self, item: &Item<'_>, report: &mut Report<'_>) -> Option<bool> {
        let flag = item.get_ref().as_bool();
        if flag.is_none() {
            report.fault(item, format!("{} is not a boolean; write true or false", describe(item)));
        }
        flag
    }

    fn emit(&self, value: &bool) -> Emitted {
        Emitted::Value(value.to_string())
    }

    fn allowed(&self) -> String {
        "true or false".to_owned()
    }
}

/// A whole number without a unit.
pub(super) struct Count(pub(super) Bounds<u64>);

/// Bytes: a whole number, or text with a unit.
pub(super) struct Size(pub(super) Bounds<u64>);

/// A duration: text with a unit.
pub(super) struct Time(pub(super) Bounds<Duration>);

/// A range, and perhaps a zero outside it that means something of its own.
pub(super) struct Bounds<T> {
    low: T,
    high: T,
    zero: Option<&'static str>,
}

/// From `low` to `high`, both allowed.
pub(super) fn from<T>(low: T, high: T) -> Bounds<T> {
    Bounds { low, high, zero: None }
}

/// The same or zero, which means `zero`.
pub(super) fn zero_or<T>(zero: &'static str, low: T, high: T) -> Bounds<T> {
    Bounds { low, high, zero: Some(zero) }
}

impl<T: Copy + PartialOrd + Default> Bounds<T> {
    fn allowed(&self, text: impl Fn(T) -> String) -> String {
        let (low, high) = (text(self.low), text(self.high));
        match self.zero {
            None => format!("{low} to {high}"),
            Some(meaning) if self.low == T::default() => format!("{low} ({meaning}) to {high}"),
            Some(meaning) => format!("{} ({meaning}), or {low} to {high}", text(T::default())),
        }
    }

    fn check(&self, value: T, text: impl Fn(T) -> String) -> Result<T, String> {
        let zero = self.zero.is_some() && value == T::default();
        if zero || (self.low <= value && value <= self.high) {
            return Ok(value);
        }
        let (side, bound) =
            if value < self.low { ("below", self.low) } else { ("above", self.high) };
        let (shown, bound, allowed) = (text(value), text(bound), self.allowed(text));
        Err(format!("{shown} is {side} {bound}; allowed {allowed}"))
    }
}

/// A number the schema counts with.
pub(super) trait Number: Copy {
    fn from_wide(wide: u64) -> Option<Self>;
    fn to_wide(self) -> u64;
}

impl Number for u64 {
    fn from_wide(wide: u64) -> Option<u64> {
        Some(wide)
    }

    fn to_wide(self) -> u64 {
        self
    }
}

impl Number for u32 {
    fn from_wide(wide: u64) -> Option<u32> {
        u32::try_from(wide).ok()
    }

    fn to_wide(self) -> u64 {
        self.into()
    }
}

impl Number for usize {
    fn from_wide(wide: u64) -> Option<usize> {
        usize::try_from(wide).ok()
    }

    fn to_wide(self) -> u64 {
        u64::try_from(self).unwrap_or(u64::MAX)
    }
}

impl<N: Number> Kind<N> for Count {
    fn read(&self, item: &Item<'_>, report: &mut Report<'_>) -> Option<N> {
        let read = match item.get_ref() {
            DeValue::Integer(integer) => whole(integer, &<Count as Kind<N>>::allowed(self)),
            _ => Err(format!("{} is not a whole number; {}", describe(item), self.remedy(item))),
        };
        let checked = read.and_then(|number| self.0.check(number, emit_count));
        report.keep(item, checked.and_then(narrow))
    }

    fn emit(&self, value: &N) -> Emitted {
        Emitted::Value(value.to_wide().to_string())
    }

    fn allowed(&self) -> String {
        self.0.allowed(emit_count)
    }
}

impl Count {
    fn remedy(&self, item: &Item<'_>) -> String {
        match item.get_ref().as_str().map(str::parse::<u64>) {
            Some(Ok(number)) => format!("write {number} without quotes"),
            _ => format!("allowed {}", self.0.allowed(emit_count)),
        }
    }
}

impl<N: Number> Kind<N> for Size {
    fn read(&self, item: &Item<'_>, report: &mut Report<'_>) -> Option<N> {
        let read = match item.get_ref() {
            DeValue::Integer(integer) => whole(integer, &<Size as Kind<N>>::allowed(self)),
            DeValue::String(text) => parse_size(text),
            _ => Err(format!("{} is not a size; write it as in \"16 KiB\"", describe(item))),
        };
        let checked = read.and_then(|number| self.0.check(number, emit_size));
        report.keep(item, checked.and_then(narrow))
    }

    fn emit(&self, value: &N) -> Emitted {
        let bytes = value.to_wide();
        let exact = bytes > 0 && bytes.is_multiple_of(KIB);
        Emitted::Value(if exact { quoted(&emit_size(bytes)) } else { bytes.to_string() })
    }

    fn allowed(&self) -> String {
        self.0.allowed(emit_size)
    }
}

impl Kind<Duration> for Time {
    fn read(&self, item: &Item<'_>, report: &mut Report<'_>) -> Option<Duration> {
        let read = duration(item);
        report.keep(item, read.and_then(|duration| self.0.check(duration, emit_duration)))
    }

    fn emit(&self, value: &Duration) -> Emitted {
        Emitted::Value(quoted(&emit_duration(*value)))
    }

    fn allowed(&self) -> String {
        self.0.allowed(emit_duration)
    }
}

/// A duration of whole seconds: HTTP counts ages and lifetimes in them.
pub(super) struct Seconds(pub(super) Bounds<Duration>);

impl Seconds {
    fn seconds(&self, item: &Item<'_>, report: &mut Report<'_>) -> Option<Duration> {
        let whole = duration(item).and_then(|duration| {
            let floor = duration.as_secs();
            if duration.subsec_nanos() == 0 {
                return Ok(duration);
            }
            let (shown, next) = (emit_duration(duration), floor.saturating_add(1));
            Err(format!("{shown} is not whole seconds; write \"{floor} s\" or \"{next} s\""))
        });
        report.keep(item, whole.and_then(|duration| self.0.check(duration, emit_duration)))
    }
}

impl Kind<Duration> for Seconds {
    fn read(&self, item: &Item<'_>, report: &mut Report<'_>) -> Option<Duration> {
        self.seconds(item, report)
    }

    fn emit(&self, value: &Duration) -> Emitted {
        Emitted::Value(quoted(&emit_duration(*value)))
    }

    fn allowed(&self) -> String {
        self.0.allowed(emit_duration)
    }
}

/// A duration that may be left away, which is not the same as zero.
impl Kind<Option<Duration>> for Seconds {
    fn read(&self, item: &Item<'_>, report: &mut Report<'_>) -> Option<Option<Duration>> {
        self.seconds(item, report).map(Some)
    }

    fn emit(&self, value: &Option<Duration>) -> Emitted {
        value.map_or(Emitted::Absent, |value| Emitted::Value(quoted(&emit_duration(value))))
    }

    fn allowed(&self) -> String {
        self.0.allowed(emit_duration)
    }
}

/// A string that follows a rule; the second field is the rule in words.
pub(super) struct Text(pub(super) Rule, pub(super) &'static str);

impl Text {
    fn text(&self, item: &Item<'_>, report: &mut Report<'_>) -> Option<String> {
        let text = string(item, report)?;
        report.keep(item, self.0(text).map(|()| text.to_owned()))
    }
}

impl Kind<String> for Text {
    fn read(&self, item: &Item<'_>, report: &mut Report<'_>) -> Option<String> {
        self.text(item, report)
    }

    fn emit(&self, value: &String) -> Emitted {
        Emitted::Value(quoted(value))
    }

    fn allowed(&self) -> String {
        self.1.to_owned()
    }
}

/// A text that may be left away, which is not the same as an empty one.
impl Kind<Option<String>> for Text {
    fn read(&self, item: &Item<'_>, report: &mut Report<'_>) -> Option<Option<String>> {
        self.text(item, report).map(Some)
    }

    fn emit(&self, value: &Option<String>) -> Emitted {
        value.as_ref().map_or(Emitted::Absent, |text| Emitted::Value(quoted(text)))
    }

    fn allowed(&self) -> String {
        self.1.to_owned()
    }
}

/// The path of a file, or none: a text whose rule lets the empty one pass.
impl Kind<PathBuf> for Text {
    fn read(&self, item: &Item<'_>, report: &mut Report<'_>) -> Option<PathBuf> {
        self.text(item, report).map(PathBuf::from)
    }

    fn emit(&self, value: &PathBuf) -> Emitted {
        Emitted::Value(quoted(&value.to_string_lossy()))
    }

    fn allowed(&self) -> String {
        self.1.to_owned()
    }
}

/// A directory.
pub(super) struct Directory;

impl Kind<PathBuf> for Directory {
    fn read(&self, item: &Item<'_>, report: &mut Report<'_>) -> Option<PathBuf> {
        let text = string(item, report)?;
        let checked = if text.is_empty() {
            Err("\"\" is empty; write a directory such as \"/var/lib/peerage/tree\"".to_owned())
        } else if text.contains('\0') {
            Err(format!("{} has a zero byte; take it out", quote(text)))
        } else {
            Ok(Path::new(text).to_path_buf())
        };
        report.keep(item, checked)
    }

    fn emit(&self, value: &PathBuf) -> Emitted {
        if value.as_os_str().is_empty() {
            return Emitted::Absent;
        }
        Emitted::Value(quoted(&value.to_string_lossy()))
    }

    fn allowed(&self) -> String {
        "a directory; relative to the one of this file".to_owned()
    }
}

/// One of a few names.
pub(super) struct Choice<T: 'static> {
    /// What is chosen, with its article.
    pub(super) what: &'static str,
    /// Every value with its name.
    pub(super) names: &'static [(&'static str, T)],
}

impl<T: Copy + PartialEq> Kind<T> for Choice<T> {
    fn read(&self, item: &Item<'_>, report: &mut Report<'_>) -> Option<T> {
        let text = string(item, report)?;
        let chosen = self.names.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
        let (what, allowed) = (self.what, self.allowed());
        report.keep(
            item,
            chosen.ok_or_else(|| format!("{} is not {what}; allowed {allowed}", quote(text))),
        )
    }

    fn emit(&self, value: &T) -> Emitted {
        let name = self.names.iter().find(|(_, named)| named == value);
        let (name, _) = name.expect("every value of the type is in the table of its names");
        Emitted::Value(quoted(name))
    }

    fn allowed(&self) -> String {
        self.names.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
    }
}

/// The duration of a text with a unit, or what is wrong with it.
fn duration(item: &Item<'_>) -> Result<Duration, String> {
    match item.get_ref() {
        DeValue::String(text) => parse_duration(text),
        _ => Err(format!("{} is not a duration; write it as in \"10 s\"", describe(item))),
    }
}

/// The text of a string, or a fault.
pub(super) fn string<'a>(item: &'a Item<'_>, report: &mut Report<'_>) -> Option<&'a str> {
    let text = item.get_ref().as_str();
    if text.is_none() {
        let single = !matches!(item.get_ref(), DeValue::Array(_) | DeValue::Table(_));
        let remedy = if single { "write it in quotes" } else { "write one string in quotes" };
        report.fault(item, format!("{} is not a string; {remedy}", describe(item)));
    }
    text
}

/// What a value is, in words.
pub(super) fn describe(item: &Item<'_>) -> String {
    match item.get_ref() {
        DeValue::String(text) => format!("the string {}", quote(text)),
        DeValue::Integer(integer) => format!("the integer {}", cut(integer)),
        DeValue::Float(float) => format!("the number {}", cut(float)),
        DeValue::Boolean(flag) => format!("the boolean {flag}"),
        DeValue::Datetime(date) => format!("the date {date}"),
        DeValue::Array(_) => "an array".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

/// Text as a TOML string on one line.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for char in text.chars() {
        match char {
            '"' | '\\' => out.extend(['\\', char]),
            char if char.is_control() => out.push_str(&format!("\\U{:08X}", u32::from(char))),
            char => out.push(char),
        }
    }
    out.push('"');
    out
}

/// The integer in the file's own spelling, with an absurdly long one cut.
fn cut(number: &impl Display) -> String {
    let text = number.to_string();
    if text.len() <= 40 {
        text
    } else {
        format!("{}...", text.chars().take(40).collect::<String>())
    }
}

fn whole(integer: &DeInteger<'_>, allowed: &str) -> Result<u64, String> {
    let wide = i128::from_str_radix(integer.as_str(), integer.radix());
    let side = match wide.map(u64::try_from) {
        Ok(Ok(number)) => return Ok(number),
        Ok(Err(_)) if integer.as_str().starts_with('-') => "below 0",
        _ => "above all limits",
    };
    Err(format!("{} is {side}; allowed {allowed}", cut(integer)))
}

fn narrow<N: Number>(wide: u64) -> Result<N, String> {
    N::from_wide(wide).ok_or_else(|| format!("{wide} does not fit this machine; lower it"))
}
