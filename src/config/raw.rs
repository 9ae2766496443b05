//! The file's shape: the TOML tree with the environment laid over it, checked against the list of keys.
//!
//! Serde stops at its first complaint; an operator wants all of them. So the tree is walked by hand, and what is left when the
//! walk is done is read through [`Node`], which only ever finds values of the right kind.

use std::collections::BTreeMap;

use toml::{Table, Value};

use super::Mistake;
use super::keys::{self, KEYS, Key, Kind};

const PREFIX: &str = "LONEWATCH__";
/// How it is mistyped.
const ALMOST_PREFIX: &str = "LONEWATCH_";

/// The tree, and where the environment had a hand in it.
pub(super) struct Raw {
    root: Table,
    /// Paths that a variable set, with its name.
    variables: BTreeMap<String, String>,
}

/// One table of the tree, and its path.
pub(super) struct Node<'a> {
    raw: &'a Raw,
    table: &'a Table,
    path: String,
}

impl Raw {
    /// Reads the file and lays the environment over it.
    pub(super) fn read(toml_text: &str, env: impl Iterator<Item = (String, String)>, mistakes: &mut Vec<Mistake>) -> Self {
        let root = toml_text.parse::<Table>().unwrap_or_else(|error| {
            // Its own words would show the line, and a secret may stand there.
            let before = toml_text.bytes().take(error.span().map_or(0, |span| span.start));
            let line = before.filter(|byte| *byte == b'\n').count() + 1;
            let problem = format!("is no TOML in line {line}: {}", error.message().replace('\n', ", "));
            mistakes.push(Mistake::new("the configuration file", problem, "see https://toml.io"));
            Table::new()
        });
        let mut raw = Self { root, variables: BTreeMap::new() };
        let mut ours = Vec::new();
        for (name, value) in env {
            if name.starts_with(PREFIX) {
                ours.push((steps(&name), name, value));
            } else if let Some(path) = name.strip_prefix(ALMOST_PREFIX).filter(|path| path.contains("__")) {
                let mend = format!("perhaps {PREFIX}{path} is meant");
                mistakes.push(Mistake::new(&name, "is no variable of ours, and looks like one", mend));
            }
        }
        ours.sort();
        for (steps, name, value) in ours {
            raw.lay_over(&steps, &name, value, mistakes);
        }
        let mut complaints = Vec::new();
        check_table(&raw.root, "", "", &mut complaints);
        for mut mistake in complaints {
            mistake.key = raw.named(&mistake.key);
            mistakes.push(mistake);
        }
        raw
    }

    pub(super) fn root(&self) -> Node<'_> {
        Node { raw: self, table: &self.root, path: String::new() }
    }

    /// The path, with the variable that set it.
    fn named(&self, path: &str) -> String {
        self.variables.get(path).map_or_else(|| path.to_owned(), |variable| format!("{path} (from {variable})"))
    }

    fn lay_over(&mut self, steps: &[Step], variable: &str, value: String, mistakes: &mut Vec<Mistake>) {
        let Some((key, steps)) = key_of(steps) else {
            let problem = "is no key of the configuration";
            mistakes.push(Mistake::new(variable, problem, suggestion(&pattern_of(steps))));
            return;
        };
        let value = match (key.kind, value.parse::<i64>()) {
            (Kind::Integer, Ok(number)) => Value::Integer(number),
            (Kind::Integer, Err(_)) => {
                mistakes.push(Mistake::new(variable, format!("{value:?} is no whole number"), "write digits only"));
                return;
            }
            (Kind::Text | Kind::Choice(_) | Kind::Map, _) => Value::String(value),
        };
        match put(&mut self.root, &steps, value) {
            Ok(()) => {
                self.variables.insert(path_of(&steps), variable.to_owned());
            }
            Err(mend) => mistakes.push(Mistake::new(variable, "does not fit the file", mend)),
        }
    }
}

impl<'a> Node<'a> {
    /// The path of a key here, with the variable that set it.
    pub(super) fn key(&self, name: &str) -> String {
        self.raw.named(&join(&self.path, name))
    }

    /// Whether the key is there, of the right kind or not.
    pub(super) fn has(&self, name: &str) -> bool {
        self.table.contains_key(name)
    }

    pub(super) fn text(&self, name: &str) -> Option<&'a str> {
        self.table.get(name)?.as_str()
    }

    pub(super) fn integer(&self, name: &str) -> Option<i64> {
        self.table.get(name)?.as_integer()
    }

    pub(super) fn section(&self, name: &str) -> Option<Node<'a>> {
        let table = self.table.get(name)?.as_table()?;
        Some(Node { raw: self.raw, table, path: join(&self.path, name) })
    }

    /// The tables of an array; none where the key is absent.
    pub(super) fn sections(&self, name: &str) -> Option<Vec<Node<'a>>> {
        let array = self.table.get(name)?.as_array()?;
        let node = |(i, value): (usize, &'a Value)| {
            let path = format!("{}[{i}]", join(&self.path, name));
            value.as_table().map(|table| Node { raw: self.raw, table, path })
        };
        Some(array.iter().enumerate().filter_map(node).collect())
    }

    /// The values of a foreign table as text.
    pub(super) fn map(&self) -> impl Iterator<Item = (&'a String, String)> {
        self.table.iter().filter_map(|(key, value)| scalar(value).map(|value| (key, value)))
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Boolean(truth) => Some(truth.to_string()),
        Value::Datetime(_) | Value::Array(_) | Value::Table(_) => None,
    }
}

/// One level of a path. Numbers sort as numbers, so that elements are set from the first on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Index(usize),
    Name(String),
}

fn steps(variable: &str) -> Vec<Step> {
    let levels = variable[PREFIX.len()..].split("__");
    levels.map(|level| level.parse().map_or_else(|_| Step::Name(level.to_lowercase()), Step::Index)).collect()
}

fn path_of(steps: &[Step]) -> String {
    steps.iter().fold(String::new(), |path, step| match step {
        Step::Index(index) => format!("{path}[{index}]"),
        Step::Name(name) => join(&path, name),
    })
}

fn pattern_of(steps: &[Step]) -> String {
    steps.iter().fold(String::new(), |path, step| match step {
        Step::Index(_) => path + "[]",
        Step::Name(name) => join(&path, name),
    })
}

/// The key that a variable names, and the steps to its value. Below a foreign table `_` stands for `.`.
fn key_of(steps: &[Step]) -> Option<(&'static Key, Vec<Step>)> {
    if let Some(key) = keys::find(&pattern_of(steps)).filter(|key| key.kind != Kind::Map) {
        return Some((key, steps.to_vec()));
    }
    let (Step::Name(last), parents) = steps.split_last()? else { return None };
    let key = keys::find(&pattern_of(parents)).filter(|key| key.kind == Kind::Map)?;
    let mut steps = parents.to_vec();
    steps.push(Step::Name(last.replace('_', ".")));
    Some((key, steps))
}

/// Sets one value, making the tables and elements on its way. Fails with the mend.
fn put(table: &mut Table, steps: &[Step], value: Value) -> Result<(), String> {
    let is_section = "the file has another kind of value there: make it a section, or leave it to the variables";
    match steps {
        [Step::Name(name)] => {
            table.insert(name.clone(), value);
            Ok(())
        }
        [Step::Name(name), Step::Index(index), rest @ ..] => {
            let array = table.entry(name).or_insert_with(|| Value::Array(Vec::new())).as_array_mut().ok_or(is_section)?;
            if *index > array.len() {
                return Err(format!("elements count from 0 without gaps: the next is number {}", array.len()));
            }
            if *index == array.len() {
                array.push(Value::Table(Table::new()));
            }
            put(array[*index].as_table_mut().ok_or(is_section)?, rest, value)
        }
        [Step::Name(name), rest @ ..] => {
            let inner = table.entry(name).or_insert_with(|| Value::Table(Table::new())).as_table_mut().ok_or(is_section)?;
            put(inner, rest, value)
        }
        [] | [Step::Index(_), ..] => Err(is_section.to_owned()),
    }
}

fn check_table(table: &Table, path: &str, pattern: &str, mistakes: &mut Vec<Mistake>) {
    for (name, value) in table {
        let (path, pattern) = (join(path, name), join(pattern, name));
        if let Some(key) = keys::find(&pattern) {
            mistakes.extend(kind_mistake(key, value, path));
        } else if is_parent(&format!("{pattern}[].")) {
            match value {
                Value::Array(elements) if elements.iter().all(Value::is_table) => {
                    for (i, element) in elements.iter().filter_map(Value::as_table).enumerate() {
                        check_table(element, &format!("{path}[{i}]"), &format!("{pattern}[]"), mistakes);
                    }
                }
                _other => mistakes.push(Mistake::new(
                    path,
                    "is not a list of tables",
                    format!("begin each with [[{}]]", pattern.replace("[]", "")),
                )),
            }
        } else if is_parent(&format!("{pattern}.")) {
            match value {
                Value::Table(inner) => check_table(inner, &path, &pattern, mistakes),
                _other => {
                    mistakes.push(Mistake::new(path, "is not a section", format!("write [{pattern}] on a line of its own")));
                }
            }
        } else {
            mistakes.push(Mistake::new(path, "is no key of the configuration", suggestion(&pattern)));
        }
    }
}

fn is_parent(prefix: &str) -> bool {
    KEYS.iter().any(|key| key.path.starts_with(prefix))
}

fn kind_mistake(key: &Key, value: &Value, path: String) -> Option<Mistake> {
    let (problem, mend) = match (key.kind, value) {
        (Kind::Text, Value::String(_)) | (Kind::Integer, Value::Integer(_)) => return None,
        (Kind::Choice(words), Value::String(text)) if words.contains(&text.as_str()) => return None,
        (Kind::Map, Value::Table(inner)) => {
            let (bad, _) = inner.iter().find(|(_, value)| scalar(value).is_none())?;
            (
                format!("{bad:?} is no text, number or truth value"),
                "quote names that contain dots: \"sasl.username\" = \"...\"".into(),
            )
        }
        (Kind::Text, _) => ("is no text".to_owned(), "put it between quotes".to_owned()),
        (Kind::Integer, _) => ("is no whole number".to_owned(), "write digits without quotes".to_owned()),
        (Kind::Choice(words), _) => ("is none of the possible words".to_owned(), format!("write one of: {}", words.join(", "))),
        (Kind::Map, _) => ("is not a section".to_owned(), format!("write [{}] on a line of its own", key.path)),
    };
    Some(Mistake::new(path, problem, mend))
}

/// The nearest key, where one is near; else where to look.
fn suggestion(pattern: &str) -> String {
    let near = KEYS.iter().map(|key| (distance(pattern, key.path), key.path)).min();
    match near {
        Some((far, path)) if far <= 3 => format!("perhaps {path} is meant; docs/CONFIGURATION.md lists all keys"),
        Some(_) | None => "docs/CONFIGURATION.md lists all keys".to_owned(),
    }
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = corner + usize::from(x != *y);
            corner = row[j + 1];
            row[j + 1] = replaced.min(corner + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
