//! Reading a tree strictly: every key must be asked for, every value must have its type, every fault is gathered.
//!
//! `At` is a node and the path that leads to it, `Fields` a map that knows which of its keys were asked for, and
//! `Report` where faults go. A reader asks for all it knows and calls `finish`: what nobody asked for is an error
//! with the nearest known key.

use std::collections::BTreeMap;

use super::duration::TimeSpan;
use super::problem::{Code, Place, Problem, Severity};
use super::tree::{Key, Node, Value};

/// Faults of one file.
pub(crate) struct Report<'f> {
    pub file: &'f str,
    pub source: &'f str,
    /// `service checkout`, once it is known.
    pub subject: String,
    /// Said of every fault instead of its path and subject, where those would lead into a document nobody wrote.
    pub context: Option<String>,
    pub problems: Vec<Problem>,
    errors: usize,
    /// Where faults go that are too many to be shown.
    overflow: Option<Problem>,
}

/// Most errors, and most warnings, that are kept of one file.
const SHOWN_MAX: usize = 200;

/// A node and the keys that lead to it, e.g. `slo.latency_p95_ms.sli`.
#[derive(Debug, Clone)]
pub(crate) struct At<'a> {
    pub node: &'a Node,
    pub path: String,
}

/// A map being read.
pub(crate) struct Fields<'a> {
    pub at: At<'a>,
    entries: &'a [(Key, Node)],
    asked: Vec<&'static str>,
}

impl<'f> Report<'f> {
    pub fn new(file: &'f str, source: &'f str) -> Self {
        Report { file, source, subject: String::new(), context: None, problems: Vec::new(), errors: 0, overflow: None }
    }

    pub fn error(&mut self, at: &At<'_>, code: Code, what: impl Into<String>) -> &mut Problem {
        self.at(Severity::Error, at.node.place, &at.path, code, what.into())
    }

    pub fn warn(&mut self, at: &At<'_>, code: Code, what: impl Into<String>) -> &mut Problem {
        self.at(Severity::Warning, at.node.place, &at.path, code, what.into())
    }

    /// An error at a place that is no whole node: a key, or a part of a text.
    pub fn error_at(&mut self, place: Place, path: &str, code: Code, what: impl Into<String>) -> &mut Problem {
        self.at(Severity::Error, place, path, code, what.into())
    }

    /// How many errors there are.
    pub fn errors(&self) -> usize {
        self.errors
    }

    /// A warning at a place that is no whole node.
    pub fn warn_at(&mut self, place: Place, path: &str, code: Code, what: impl Into<String>) -> &mut Problem {
        self.at(Severity::Warning, place, path, code, what.into())
    }

    /// The same fault at the same place is said once, however many SLOs it touches.
    fn at(&mut self, severity: Severity, place: Place, path: &str, code: Code, what: String) -> &mut Problem {
        let context = match (path.is_empty(), self.subject.is_empty()) {
            _ if self.context.is_some() => format!(" (in {})", self.context.as_deref().unwrap_or_default()),
            (true, true) => String::new(),
            (true, false) => format!(" (in {})", self.subject),
            (false, true) => format!(" (in {path})"),
            (false, false) => format!(" (in {path} of {})", self.subject),
        };
        let what = what + &context;
        let same = |p: &Problem| (p.line, p.column) == (place.line, place.column) && p.what == what;
        if let Some(index) = self.problems.iter().position(same) {
            return &mut self.problems[index];
        }
        let mut problem = Problem {
            severity,
            file: self.file.to_string(),
            line: place.line,
            column: place.column,
            length: place.length.max(1),
            what,
            about: self.context.clone().unwrap_or_else(|| self.subject.clone()),
            instead: None,
            code,
        };
        let earlier = match severity {
            Severity::Error => self.errors,
            Severity::Warning => self.problems.len() - self.errors,
        };
        if earlier > SHOWN_MAX {
            return self.overflow.insert(problem);
        }
        if earlier == SHOWN_MAX {
            problem.what = format!("over {SHOWN_MAX} {}s in this file: the rest is not shown", severity.as_str());
        }
        self.errors += usize::from(severity == Severity::Error);
        self.problems.push(problem);
        self.problems.last_mut().expect("one was pushed")
    }
}

impl<'a> At<'a> {
    pub fn root(node: &'a Node) -> Self {
        At { node, path: String::new() }
    }

    pub fn child(&self, node: &'a Node, key: &str) -> At<'a> {
        let path = if self.path.is_empty() { key.to_string() } else { format!("{}.{key}", self.path) };
        At { node, path }
    }

    /// The last key of the path, for `write:` lines.
    pub fn key(&self) -> &str {
        let last = self.path.rsplit('.').next().unwrap_or_default();
        last.split('[').next().unwrap_or_default()
    }

    fn wrong(&self, report: &mut Report<'_>, wanted: &str) {
        let what = format!("expected {wanted}, found {}", self.node.kind());
        report.error(self, Code::WrongType, what);
    }

    /// The place of a part of this text, `length` characters from `from` on. Quotes, escapes, indentation and line ends
    /// of the source are walked over; the whole node where that does not lead to the text.
    pub fn part(&self, from: usize, length: usize, source: &str) -> Place {
        let whole = self.node.place;
        let (Value::Text(text), Some(spelling)) = (&self.node.value, self.node.spelling(source)) else { return whole };
        let (mut line, mut column) = (whole.line, whole.column);
        let mut spelled = spelling.chars().peekable();
        let mut at = 0;
        let block = spelling.starts_with(['|', '>']);
        if block {
            // The header of a block ends with its line.
            while spelled.next().is_some_and(|c| c != '\n') {}
            (line, column) = (line + 1, 1);
        } else if spelling.starts_with(['"', '\'']) {
            spelled.next();
            column += 1;
        }
        let mut meant = text.trim().chars().filter(|c| !c.is_whitespace());
        let skipped = text.trim().chars().take(from).filter(|c| !c.is_whitespace()).count();
        let Some(first) = meant.clone().nth(skipped) else { return whole };
        for c in spelled {
            let is_wanted = at == skipped && c == first;
            if is_wanted {
                return Place { line, column, length };
            }
            match c {
                '\n' => (line, column) = (line + 1, 0),
                c if c.is_whitespace() => {}
                '\\' if !block && meant.clone().next() != Some('\\') => {}
                c if meant.next() == Some(c) => at += 1,
                _ => return whole,
            }
            column += 1;
        }
        whole
    }

    pub fn map(&self, report: &mut Report<'_>) -> Option<Fields<'a>> {
        let Value::Map(entries) = &self.node.value else {
            self.wrong(report, "a map of keys");
            return None;
        };
        let mut first: BTreeMap<&str, Place> = BTreeMap::new();
        for (key, _) in entries {
            if let Some(first) = first.get(key.name.as_str()) {
                let what = format!("the key {:?} is given twice, first on line {}", key.name, first.line);
                report.error_at(key.place, &self.path, Code::DuplicateKey, what).write("one of them");
            } else {
                first.insert(&key.name, key.place);
            }
        }
        Some(Fields { at: self.clone(), entries, asked: Vec::new() })
    }

    pub fn list(&self, report: &mut Report<'_>) -> Option<Vec<At<'a>>> {
        let Value::List(items) = &self.node.value else {
            let instead = match &self.node.value {
                Value::Text(text) if text.len() <= 100 => Some(format!("{}: [{text}]", self.key())),
                Value::Map(_) => Some("a list: each of its entries begins with `- `".to_string()),
                _ => None,
            };
            let what = format!("expected a list, found {}", self.node.kind());
            report.error(self, Code::WrongType, what).instead = instead;
            return None;
        };
        let item = |(i, node)| At { node, path: format!("{}[{i}]", self.path) };
        Some(items.iter().enumerate().map(item).collect())
    }

    /// A text that is not blank.
    pub fn text(&self, report: &mut Report<'_>) -> Option<&'a str> {
        match &self.node.value {
            Value::Text(text) if !text.trim().is_empty() => Some(text.trim()),
            Value::Text(_) => {
                report.error(self, Code::MissingKey, "this text is empty");
                None
            }
            Value::Number(_) | Value::Bool(_) => {
                let spelled = self.node.spelling(report.source).map(|s| format!("{}: \"{s}\"", self.key()));
                let what = format!("expected a text, found {}", self.node.kind());
                report.error(self, Code::WrongType, what).instead = spelled;
                None
            }
            _ => {
                self.wrong(report, "a text");
                None
            }
        }
    }

    /// A scalar as it is spelled: label values such as `1.0` and `true` are texts to Prometheus.
    pub fn spelled(&self, report: &mut Report<'_>) -> Option<String> {
        match &self.node.value {
            Value::Number(_) | Value::Bool(_) => match self.node.spelling(report.source) {
                Some(text) => Some(text.to_string()),
                None => self.text(report).map(str::to_string),
            },
            Value::Text(text) => Some(text.clone()),
            _ => {
                self.wrong(report, "a text");
                None
            }
        }
    }

    /// A finite number.
    pub fn number(&self, report: &mut Report<'_>) -> Option<f64> {
        match &self.node.value {
            Value::Number(number) if number.is_finite() => Some(*number),
            Value::Number(_) => {
                report.error(self, Code::InvalidValue, "expected a finite number");
                None
            }
            Value::Text(text) => {
                let unit_of_key = self.key().rsplit('_').next().unwrap_or_default();
                let digits = text.trim().trim_end_matches('%');
                let digits = digits.strip_suffix(unit_of_key).unwrap_or(digits).trim();
                let dotted = digits.replacen(',', ".", 1);
                let digits = if digits.matches(',').count() == 1 { dotted.as_str() } else { digits };
                let instead = digits.parse::<f64>().ok().map(|_| format!("{}: {digits}", self.key()));
                report.error(self, Code::WrongType, format!("expected a number, found the text {text:?}")).instead =
                    instead;
                None
            }
            _ => {
                self.wrong(report, "a number");
                None
            }
        }
    }

    /// A whole number in `range`.
    pub fn whole(&self, report: &mut Report<'_>, range: std::ops::RangeInclusive<u64>) -> Option<u64> {
        let number = self.number(report)?;
        if number.fract() != 0.0 || number < *range.start() as f64 || number > *range.end() as f64 {
            let (from, to) = (range.start(), range.end());
            let nearest = number.round().clamp(*from as f64, *to as f64);
            report
                .error(self, Code::InvalidValue, format!("expected a whole number from {from} to {to}"))
                .write(format!("{}: {nearest}", self.key()));
            return None;
        }
        Some(number as u64)
    }

    pub fn flag(&self, report: &mut Report<'_>) -> Option<bool> {
        match &self.node.value {
            Value::Bool(flag) => Some(*flag),
            Value::Text(text) if matches!(text.to_lowercase().as_str(), "yes" | "on" | "true") => {
                report.error(self, Code::WrongType, format!("expected true or false, found {text:?}")).instead =
                    Some(format!("{}: true", self.key()));
                None
            }
            Value::Text(text) if matches!(text.to_lowercase().as_str(), "no" | "off" | "false") => {
                report.error(self, Code::WrongType, format!("expected true or false, found {text:?}")).instead =
                    Some(format!("{}: false", self.key()));
                None
            }
            _ => {
                self.wrong(report, "true or false");
                None
            }
        }
    }

    /// A duration of whole seconds.
    pub fn duration(&self, report: &mut Report<'_>) -> Option<TimeSpan> {
        let text = match &self.node.value {
            Value::Number(_) => self.node.spelling(report.source).unwrap_or_default().to_string(),
            _ => self.text(report)?.to_string(),
        };
        match TimeSpan::parse(&text) {
            Ok(span) => Some(span),
            Err(fault) => {
                report.error(self, Code::InvalidDuration, fault.what).instead =
                    fault.instead.map(|instead| format!("{}: {instead}", self.key()));
                None
            }
        }
    }

    /// One of the words of `choices`.
    pub fn choice<T: Copy>(&self, report: &mut Report<'_>, choices: &[(&'static str, T)]) -> Option<T> {
        let text = self.text(report)?;
        if let Some((_, value)) = choices.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        let instead = nearest(text, &words).map(|word| format!("{}: {word}", self.key()));
        let what = match words.as_slice() {
            [only] => format!("expected {only}, found {text:?}"),
            _ => format!("{text:?} is not one of {}", words.join(", ")),
        };
        report.error(self, Code::InvalidValue, what).instead = instead;
        None
    }
}

impl<'a> Fields<'a> {
    /// The value of `key`; `None` where it is absent or empty.
    pub fn get(&mut self, key: &'static str) -> Option<At<'a>> {
        if !self.asked.contains(&key) {
            self.asked.push(key);
        }
        let (_, node) = self.entries.iter().find(|(k, _)| k.name == key)?;
        (node.value != Value::Null).then(|| self.at.child(node, key))
    }

    /// The value of `key`; `None` also where it is a blank text, as programs write what they know nothing of.
    pub fn filled(&mut self, key: &'static str) -> Option<At<'a>> {
        let is_blank = |at: &At<'_>| matches!(&at.node.value, Value::Text(text) if text.trim().is_empty());
        self.get(key).filter(|at| !is_blank(at))
    }

    /// The value of `key`; an error with an `example` where it is absent.
    pub fn need(&mut self, report: &mut Report<'_>, key: &'static str, example: &str) -> Option<At<'a>> {
        let found = self.get(key);
        if found.is_none() {
            report.error(&self.at, Code::MissingKey, format!("{key:?} is missing")).write(format!("{key}: {example}"));
        }
        found
    }

    /// Entries in the order of the file, each with its key; none of them is asked for by this.
    pub fn entries(&self) -> impl Iterator<Item = (&'a Key, At<'a>)> {
        let at = self.at.clone();
        self.entries.iter().map(move |(key, node)| (key, at.child(node, &key.name)))
    }

    /// The place of `key`, or of the map where there is no such key.
    pub fn place_of(&self, key: &str) -> Place {
        self.entries.iter().find(|(k, _)| k.name == key).map_or(self.at.node.place, |(k, _)| k.place)
    }

    /// Refuses every key that nobody asked for.
    pub fn finish(self, report: &mut Report<'_>) {
        for (key, _) in self.entries {
            if !self.asked.contains(&key.name.as_str()) {
                unknown_key(report, key, &self.at.path, &self.asked);
            }
        }
    }
}

/// Refuses `key`, naming the nearest of `known`, or all of them.
pub(crate) fn unknown_key(report: &mut Report<'_>, key: &Key, path: &str, known: &[&str]) {
    let problem = report.error_at(key.place, path, Code::UnknownKey, format!("unknown key {:?}", key.name));
    problem.instead = Some(match nearest(&key.name, known) {
        Some(word) => format!("{word}:"),
        None => format!("one of {}", known.join(", ")),
    });
}

/// The word of `known` that `word` was probably meant to be.
pub(crate) fn nearest<'w>(word: &str, known: &[&'w str]) -> Option<&'w str> {
    let folded = word.to_lowercase().replace('-', "_");
    known
        .iter()
        .map(|candidate| {
            (strsim::normalized_damerau_levenshtein(&folded, &candidate.to_lowercase().replace('-', "_")), *candidate)
        })
        .filter(|(likeness, _)| *likeness >= 0.6)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}
