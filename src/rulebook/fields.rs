//! Reads a table of the source folder key by key. Every reader notes what is wrong and carries on, so that one run shows all
//! mistakes; `done` notes the keys that nobody asked for.

use std::cell::RefCell;
use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use super::duration;
use super::mistake::{Mistakes, suggestion};
use crate::ids::NameFault;

/// One table: where it stands, what is in it, which keys were asked for.
pub(super) struct Fields<'a> {
    file: &'a str,
    place: String,
    table: &'a Map<String, Value>,
    asked: RefCell<Vec<&'static str>>,
    mistakes: &'a Mistakes,
}

impl<'a> Fields<'a> {
    /// A table that stands at `place` of a file; the empty place is the file's top.
    pub(super) fn new(file: &'a str, place: String, table: &'a Map<String, Value>, mistakes: &'a Mistakes) -> Self {
        Self { file, place, table, asked: RefCell::default(), mistakes }
    }

    /// The key's path in the file.
    pub(super) fn path(&self, key: &str) -> String {
        let key = if key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-')) && !key.is_empty() {
            key.to_owned()
        } else {
            format!("{key:?}")
        };
        if self.place.is_empty() { key } else { format!("{}.{key}", self.place) }
    }

    /// Notes a mistake at a key.
    pub(super) fn note(&self, key: &str, wrong: impl Into<String>, mend: impl Into<String>) {
        self.mistakes.note(self.file, &self.path(key), wrong, mend);
    }

    /// The value of a key.
    pub(super) fn value(&self, key: &'static str) -> Option<&'a Value> {
        self.asked.borrow_mut().push(key);
        self.table.get(key)
    }

    /// Notes that a key must be there.
    pub(super) fn missing(&self, key: &str, mend: &str) {
        self.note(key, "is missing", mend);
    }

    fn wanted<T>(&self, key: &str, found: &Value, read: Option<T>, what: &str) -> Option<T> {
        if read.is_none() {
            self.note(key, format!("is {}", shown(found)), format!("write {what}"));
        }
        read
    }

    /// A text.
    pub(super) fn text(&self, key: &'static str) -> Option<&'a str> {
        let value = self.value(key)?;
        self.wanted(key, value, value.as_str(), "a text in quotes")
    }

    /// A name, read by its type's `parse`.
    pub(super) fn name<T>(&self, key: &'static str, parse: impl Fn(&str) -> Result<T, NameFault>) -> Option<T> {
        self.name_of(key, self.text(key)?, parse)
    }

    /// A name that stands at a key or as one.
    pub(super) fn name_of<T>(&self, key: &str, text: &str, parse: impl Fn(&str) -> Result<T, NameFault>) -> Option<T> {
        match parse(text) {
            Ok(name) => Some(name),
            Err(fault) => {
                self.note(key, format!("{:?} is not a {}", fault.text, fault.what), format!("use {}", fault.rule));
                None
            }
        }
    }

    /// A list of names; none where the key is absent.
    pub(super) fn names<T>(&self, key: &'static str, parse: impl Fn(&str) -> Result<T, NameFault> + Copy) -> Option<Vec<T>> {
        let value = self.value(key)?;
        let list = self.wanted(key, value, value.as_array(), "a list of names, as in [\"one\", \"two\"]")?;
        let mut names = Vec::new();
        for item in list {
            match item.as_str() {
                Some(text) => names.extend(self.name_of(key, text, parse)),
                None => self.note(key, format!("holds {}", shown(item)), "write names in quotes"),
            }
        }
        Some(names)
    }

    /// A yes or no.
    pub(super) fn flag(&self, key: &'static str) -> Option<bool> {
        let value = self.value(key)?;
        self.wanted(key, value, value.as_bool(), "true or false")
    }

    /// A number within limits.
    pub(super) fn number(&self, key: &'static str, limits: RangeInclusive<f64>) -> Option<f64> {
        let value = self.value(key)?;
        let number = value.as_f64().filter(|number| limits.contains(number));
        self.wanted(key, value, number, &format!("a number from {} to {}", limits.start(), limits.end()))
    }

    /// A whole number of percent.
    pub(super) fn percent(&self, key: &'static str) -> Option<u8> {
        let value = self.value(key)?;
        let percent = value.as_u64().and_then(|number| u8::try_from(number).ok()).filter(|percent| *percent <= 100);
        self.wanted(key, value, percent, "a whole number from 0 to 100")
    }

    /// A duration within limits, in milliseconds.
    pub(super) fn duration(&self, key: &'static str, limits: RangeInclusive<i64>) -> Option<i64> {
        let value = self.value(key)?;
        let millis = self.wanted(
            key,
            value,
            value.as_str().and_then(duration::parse),
            "a duration such as \"90s\", \"10m\" or \"1h30m\"",
        )?;
        if !limits.contains(&millis) {
            let (least, most) = (duration::text(*limits.start()), duration::text(*limits.end()));
            self.note(key, format!("is {}", duration::text(millis)), format!("write a duration from {least} to {most}"));
            return None;
        }
        Some(millis)
    }

    /// One of a few words.
    pub(super) fn one_of<T: Copy>(&self, key: &'static str, words: &[(&str, T)]) -> Option<T> {
        let word = self.text(key)?;
        let found = words.iter().find(|(known, _)| *known == word);
        if found.is_none() {
            self.note(key, format!("is {word:?}"), suggestion(word, words.iter().map(|(known, _)| *known)));
        }
        found.map(|(_, meaning)| *meaning)
    }

    /// A table within this one.
    pub(super) fn table(&self, key: &'static str) -> Option<Fields<'a>> {
        let value = self.value(key)?;
        self.inner(key, value)
    }

    /// The tables within this one, whatever their keys, as `[devices.NAME]`.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&'a str, Fields<'a>)> {
        self.table.iter().filter_map(|(key, value)| Some((key.as_str(), self.inner(key, value)?)))
    }

    fn inner(&self, key: &str, value: &'a Value) -> Option<Fields<'a>> {
        let table = self.wanted(key, value, value.as_object(), "a table, as in [name] or { key = value }")?;
        Some(Fields::new(self.file, self.path(key), table, self.mistakes))
    }

    /// Notes keys that exist in the format but that this version does not act on: said aloud, because a rule that is written and not kept
    /// is worse than none.
    pub(super) fn not_yet(&self, keys: &[&'static str]) {
        for key in keys {
            if self.value(key).is_some() {
                self.note(key, "is not supported yet", "remove it: this version would not act on it");
            }
        }
    }

    /// Notes every key that nobody asked for.
    pub(super) fn done(self) {
        let asked = self.asked.borrow();
        for key in self.table.keys().filter(|key| !asked.contains(&key.as_str())) {
            self.note(key, "is not a key that is known here", suggestion(key, asked.iter().copied()));
        }
    }
}

/// A value as a mistake shows it: short.
fn shown(value: &Value) -> String {
    match value {
        Value::Object(_) => "a table".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) => format!("{:?}", text.chars().take(60).collect::<String>()),
    }
}
