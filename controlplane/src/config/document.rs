//! The configuration file as a tree of sections that are asked for what they may hold.
//!
//! A [`Section`] gives out values of checked types by key, and notes what is wrong: a missing key, a value of the wrong
//! kind, and, when it goes, each key it was never asked for. Reading goes on after a problem with a stand-in, so that
//! one look at a file tells all of them.

use std::cell::RefCell;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::kind::Kind;
use super::problem::{Fault, Problem, listed};

/// Keys whose values no message shows.
const SECRETS: [&str; 2] = ["secret", "maglev_seed"];

/// Longest value a message shows, in characters.
const SHOWN: usize = 64;

/// The text of a file and what was found wrong with it.
#[derive(Debug)]
pub(crate) struct Document<'a> {
    text: &'a str,
    problems: RefCell<Vec<Problem>>,
}

impl<'a> Document<'a> {
    pub(crate) const fn new(text: &'a str) -> Self {
        Self {
            text,
            problems: RefCell::new(Vec::new()),
        }
    }

    /// The tree, with its syntax errors noted.
    pub(crate) fn parse(&self) -> Spanned<DeTable<'a>> {
        let (tree, errors) = DeTable::parse_recoverable(self.text);
        for error in errors {
            let at = error.span().unwrap_or(0..0);
            let message = error.message().to_owned();
            self.note(at, String::new(), None, Fault::Syntax { message });
        }
        tree
    }

    /// Whether anything was found wrong so far.
    pub(crate) fn is_clean(&self) -> bool {
        self.problems.borrow().is_empty()
    }

    /// What was found wrong, in the order of the file.
    pub(crate) fn into_problems(self) -> Vec<Problem> {
        let mut problems = self.problems.into_inner();
        problems.sort_by(|a, b| (a.line, &a.key).cmp(&(b.line, &b.key)));
        problems.dedup();
        problems
    }

    fn note(&self, at: Range<usize>, key: String, value: Option<String>, fault: Fault) {
        self.problems.borrow_mut().push(Problem {
            line: self.line(at.start),
            key,
            value,
            fault,
        });
    }

    fn line(&self, offset: usize) -> usize {
        let before = self.text.as_bytes().iter().take(offset);
        1 + before.filter(|byte| **byte == b'\n').count()
    }

    /// The value as it stands in the file, on one line.
    fn shown(&self, key: &str, at: Range<usize>) -> Option<String> {
        if SECRETS.contains(&key) {
            return None;
        }
        let text = self.text.get(at)?;
        let mut shown: String = text.chars().take(SHOWN).collect();
        if let Some(end) = shown.find('\n') {
            shown.truncate(end);
        }
        if shown.len() < text.len() {
            shown.push('…');
        }
        Some(shown)
    }
}

/// A table of the file, or the place where one could be.
#[derive(Debug)]
pub(crate) struct Section<'a> {
    document: &'a Document<'a>,
    path: String,
    at: Range<usize>,
    table: Option<&'a DeTable<'a>>,
    asked: RefCell<Vec<&'static str>>,
}

impl<'a> Section<'a> {
    /// The whole file.
    pub(crate) fn root(document: &'a Document<'a>, tree: &'a Spanned<DeTable<'a>>) -> Self {
        Self::at(document, String::new(), 0..0, Some(tree.get_ref()))
    }

    fn at(
        document: &'a Document<'a>,
        path: String,
        at: Range<usize>,
        table: Option<&'a DeTable<'a>>,
    ) -> Self {
        Self {
            document,
            path,
            at,
            table,
            asked: RefCell::default(),
        }
    }

    fn value(&self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.asked.borrow_mut().push(key);
        self.table.and_then(|table| table.get(key))
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    /// Whether the file has the key.
    pub(crate) fn has(&self, key: &'static str) -> bool {
        self.value(key).is_some()
    }

    /// Whether the key's value is this text.
    pub(crate) fn is_text(&self, key: &'static str, text: &str) -> bool {
        self.value(key).and_then(|v| v.get_ref().as_str()) == Some(text)
    }

    /// Whether the key's value is a list.
    pub(crate) fn is_list(&self, key: &'static str) -> bool {
        self.items(key).is_some()
    }

    /// Line of the key's value, or of the section where it is missing.
    pub(crate) fn line(&self, key: &'static str) -> usize {
        let at = self.value(key).map_or(self.at.start, |v| v.span().start);
        self.document.line(at)
    }

    /// Notes that something is wrong with the key, or with the section for want of it.
    pub(crate) fn blame(&self, key: &'static str, fault: Fault) {
        let value = self.value(key);
        let at = value.map_or_else(|| self.at.clone(), Spanned::span);
        // The text of a table is but its first line.
        let value = value.filter(|value| match value.get_ref() {
            DeValue::Table(_) => false,
            DeValue::Array(items) => !items.iter().any(|item| item.get_ref().is_table()),
            _ => true,
        });
        let shown = value.and_then(|v| self.document.shown(key, v.span()));
        self.document.note(at, self.path_of(key), shown, fault);
    }

    /// The same of one item of a list.
    pub(crate) fn blame_item(&self, key: &'static str, index: usize, fault: Fault) {
        let item = self.items(key).and_then(|items| items.get(index));
        let at = item.map_or_else(|| self.at.clone(), Spanned::span);
        let shown = item.and_then(|v| self.document.shown(key, v.span()));
        let path = format!("{}[{index}]", self.path_of(key));
        self.document.note(at, path, shown, fault);
    }

    /// Notes that something is wrong with the section as a whole.
    pub(crate) fn blame_all(&self, fault: Fault) {
        self.document
            .note(self.at.clone(), self.path.clone(), None, fault);
    }

    /// The value of the key, if it is there and right.
    pub(crate) fn optional<T>(&self, key: &'static str, kind: &Kind<T>) -> Option<T> {
        let value = self.value(key)?;
        let taken = kind.read(value.get_ref());
        if taken.is_none() {
            let expected = kind.expected();
            self.blame(key, Fault::Expected { expected });
        }
        taken
    }

    /// The value of the key, or its default.
    pub(crate) fn or<T>(&self, key: &'static str, kind: &Kind<T>, default: T) -> T {
        self.optional(key, kind).unwrap_or(default)
    }

    /// The value of a key that must be there; `None` was noted.
    pub(crate) fn required<T>(&self, key: &'static str, kind: &Kind<T>) -> Option<T> {
        if !self.has(key) {
            let expected = kind.expected();
            self.blame(key, Fault::Missing { expected });
        }
        self.optional(key, kind)
    }

    /// The items of a list that are right, each with its index.
    pub(crate) fn list<T>(&self, key: &'static str, kind: &Kind<T>) -> Vec<(usize, T)> {
        let mut taken = Vec::new();
        for (index, item) in self.items_or_blame(key, kind).iter().enumerate() {
            match kind.read(item.get_ref()) {
                Some(value) => taken.push((index, value)),
                None => {
                    let expected = kind.expected();
                    self.blame_item(key, index, Fault::Expected { expected });
                }
            }
        }
        taken
    }

    fn items(&self, key: &'static str) -> Option<&'a [Spanned<DeValue<'a>>]> {
        let array = self.value(key)?.get_ref().as_array()?;
        Some(array)
    }

    fn items_or_blame<T>(&self, key: &'static str, kind: &Kind<T>) -> &'a [Spanned<DeValue<'a>>] {
        if self.has(key) && self.items(key).is_none() {
            let expected = format!("a list, each item {}", kind.expected());
            self.blame(key, Fault::Expected { expected });
        }
        self.items(key).unwrap_or_default()
    }

    /// The section under the key; an empty one where there is none.
    pub(crate) fn section(&self, key: &'static str) -> Section<'a> {
        let Some(value) = self.value(key) else {
            return Self::at(self.document, self.path_of(key), self.at.clone(), None);
        };
        if value.get_ref().as_table().is_none() {
            let expected = format!("a table, [{}]", self.path_of(key));
            self.blame(key, Fault::Expected { expected });
        }
        let table = value.get_ref().as_table();
        Self::at(self.document, self.path_of(key), value.span(), table)
    }

    /// The section under the key, if there is one.
    pub(crate) fn optional_section(&self, key: &'static str) -> Option<Section<'a>> {
        self.has(key).then(|| self.section(key))
    }

    /// The sections of an array of tables.
    pub(crate) fn sections(&self, key: &'static str) -> Vec<Section<'a>> {
        if self.has(key) && self.items(key).is_none() {
            let expected = format!("an array of tables, [[{}]]", self.path_of(key));
            self.blame(key, Fault::Expected { expected });
        }
        let items = self.items(key).unwrap_or_default().iter().enumerate();
        let sections = items.map(|(index, item)| {
            if item.get_ref().as_table().is_none() {
                let expected = "a table".to_owned();
                self.blame_item(key, index, Fault::Expected { expected });
            }
            let path = format!("{}[{index}]", self.path_of(key));
            Self::at(self.document, path, item.span(), item.get_ref().as_table())
        });
        sections.collect()
    }
}

impl Drop for Section<'_> {
    /// Notes the keys that nobody asked for.
    fn drop(&mut self) {
        let Some(table) = self.table else { return };
        let mut asked = self.asked.take();
        asked.sort_unstable();
        asked.dedup();
        for (key, _) in table.iter() {
            let name = key.get_ref().as_ref();
            if asked.contains(&name) {
                continue;
            }
            let allowed = listed(asked.iter().copied());
            let path = self.path_of(name);
            self.document
                .note(key.span(), path, None, Fault::UnknownKey { allowed });
        }
    }
}
