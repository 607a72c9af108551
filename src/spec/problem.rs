//! What is wrong with a file: where, what, and what to write instead.
//!
//! A problem is data. The same value is printed for people (with the source line and a caret), serialized for
//! `--format json`, and turned into SARIF for code review. Loading never stops at the first one.

use std::fmt::Write as _;

use serde::Serialize;

/// How much a problem matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The file is refused.
    Error,
    /// The file loads, but something in it does not do what its author seems to expect.
    Warning,
}

impl Severity {
    /// `error` or `warning`.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        }
    }
}

/// The kind of a problem: stable, for tools that filter (`ruleId` in SARIF, `code` in JSON).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// The file or directory cannot be read, or is over a limit.
    Unreadable,
    /// Not YAML.
    Syntax,
    /// Neither a service nor a policy.
    UnknownShape,
    /// A key nobody reads.
    UnknownKey,
    /// A key given twice, or one thing given in two places.
    DuplicateKey,
    /// A number where a text belongs, a list where a map belongs, ...
    WrongType,
    /// A key that is needed is not there.
    MissingKey,
    /// A service without an owner.
    NoOwner,
    /// A service without an SLO.
    NoSlo,
    /// A name that cannot be part of an id or is no label name.
    InvalidName,
    /// An objective that leaves no budget, or is no percentage.
    InvalidObjective,
    /// A duration that is none, or whose length is not fixed.
    InvalidDuration,
    /// A number out of its range.
    InvalidValue,
    /// A burn-rate clause that cannot be read or resolved.
    InvalidBurn,
    /// A burn-rate clause that cannot fire, or fires without need.
    UselessBurn,
    /// Not a bare PromQL selector, or not PromQL.
    InvalidSelector,
    /// An SLI whose parts do not fit together.
    InvalidSli,
    /// An SLO that has no source of events.
    NoSource,
    /// A severity or condition that does not exist.
    InvalidSeverity,
    /// A row that can never match.
    Unreachable,
    /// A service, SLO or preset that is named but not there.
    UnknownReference,
    /// Two services, SLOs or policies of one name.
    DuplicateId,
    /// A daemon setting that is unsafe or contradicts another.
    InvalidSetting,
}

impl Code {
    /// `unknown-key`, ...: the same text as in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Code::Unreadable => "unreadable",
            Code::Syntax => "syntax",
            Code::UnknownShape => "unknown-shape",
            Code::UnknownKey => "unknown-key",
            Code::DuplicateKey => "duplicate-key",
            Code::WrongType => "wrong-type",
            Code::MissingKey => "missing-key",
            Code::NoOwner => "no-owner",
            Code::NoSlo => "no-slo",
            Code::InvalidName => "invalid-name",
            Code::InvalidObjective => "invalid-objective",
            Code::InvalidDuration => "invalid-duration",
            Code::InvalidValue => "invalid-value",
            Code::InvalidBurn => "invalid-burn",
            Code::UselessBurn => "useless-burn",
            Code::InvalidSelector => "invalid-selector",
            Code::InvalidSli => "invalid-sli",
            Code::NoSource => "no-source",
            Code::InvalidSeverity => "invalid-severity",
            Code::Unreachable => "unreachable",
            Code::UnknownReference => "unknown-reference",
            Code::DuplicateId => "duplicate-id",
            Code::InvalidSetting => "invalid-setting",
        }
    }
}

/// A place in a source text. Lines and columns count from 1, columns and lengths in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Place {
    /// Line; 0 where the whole file is meant.
    pub line: usize,
    /// Column.
    pub column: usize,
    /// Characters to underline; at least 1.
    pub length: usize,
}

/// One problem of one file.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Problem {
    /// Whether it refuses the file.
    pub severity: Severity,
    /// The file as it was named or found.
    pub file: String,
    /// Line from 1; 0 where the whole file is meant.
    pub line: usize,
    /// Column from 1, in characters.
    pub column: usize,
    /// How many characters are meant; at least 1.
    pub length: usize,
    /// What is wrong, and in which part of the document.
    pub what: String,
    /// The SLO, service, policy or preset it is in; empty where that is not known.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub about: String,
    /// What to write instead.
    pub instead: Option<String>,
    /// Its kind.
    pub code: Code,
}

/// Widest source line that is shown whole; of a longer one, the part around the caret.
const SHOWN_COLUMNS: usize = 140;

impl Problem {
    /// Says what to write instead.
    pub fn write(&mut self, instead: impl Into<String>) -> &mut Self {
        self.instead = Some(instead.into());
        self
    }

    /// What is wrong, without the part of the document it is in.
    pub fn gist(&self) -> &str {
        match self.what.rsplit_once(" (in ") {
            Some((gist, context)) if context.ends_with(')') => gist,
            _ => &self.what,
        }
    }

    /// `file:line:col: error: what`, the source line with a caret below it, and `= write: ...`; ends with a newline.
    /// `source` is the text of the file; without it, or where its line may hold a secret, no line is shown.
    pub fn render(&self, source: Option<&str>, colour: bool) -> String {
        let paint = |code: &str, text: &str| match colour {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_string(),
        };
        let mut out = clean(&self.file);
        if self.line > 0 {
            let _ = write!(out, ":{}:{}", self.line, self.column);
        }
        let label = match self.severity {
            Severity::Error => paint("1;31", "error"),
            Severity::Warning => paint("1;33", "warning"),
        };
        let _ = writeln!(out, ": {label}: {}", clean(&self.what));
        let gutter = self.line.to_string().len() + 1;
        if let Some(line) = source.and_then(|text| lines(text).nth(self.line.checked_sub(1)?)) {
            let (shown, caret) = self.underline(line);
            let _ = writeln!(out, "{:gutter$} |", "");
            let _ = writeln!(out, " {} | {shown}", self.line);
            if let Some(caret) = caret {
                let _ = writeln!(out, "{:gutter$} | {}", "", paint("1;31", &caret));
            }
        }
        if let Some(instead) = &self.instead {
            let _ = writeln!(out, "{:gutter$} = write: {}", "", clean(instead));
        }
        out
    }

    /// The source line as it may be shown, and the line of blanks and carets below it.
    fn underline(&self, line: &str) -> (String, Option<String>) {
        if may_hold_secret(line) {
            return ("(not shown: the line may hold a secret)".into(), None);
        }
        let chars: Vec<char> = line.chars().collect();
        let start = self.column.saturating_sub(1).min(chars.len());
        let from = if chars.len() > SHOWN_COLUMNS { start.saturating_sub(SHOWN_COLUMNS / 2) } else { 0 };
        let to = chars.len().min(from + SHOWN_COLUMNS);
        let plain = |c: &char| if c.is_control() { ' ' } else { *c };
        let mut shown: String = chars[from..to].iter().map(plain).collect();
        let mut before = start - from;
        if from > 0 {
            shown.insert_str(0, "...");
            before += 3;
        }
        if to < chars.len() {
            shown.push_str("...");
        }
        let carets = self.length.clamp(1, to.saturating_sub(start).max(1));
        (shown, Some(format!("{}{}", " ".repeat(before), "^".repeat(carets))))
    }
}

/// Text that reaches a terminal: control characters of a file must not steer it.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Whether a source line looks as if somebody wrote a secret into it. Keys that name files are fine.
fn may_hold_secret(line: &str) -> bool {
    let lower = line.to_lowercase();
    let keyed = ["password", "passwd", "token", "secret", "authorization", "api_key", "apikey", "api-key"]
        .iter()
        .flat_map(|word| lower.match_indices(word).map(|(at, _)| &lower[at + word.len()..]))
        .any(|rest| rest.trim_start_matches(['"', '\'']).trim_start().starts_with(':'));
    let in_url = lower
        .split("://")
        .skip(1)
        .any(|rest| rest.split(['/', '"', '\'', ' ']).next().is_some_and(|authority| authority.contains('@')));
    keyed || in_url
}

/// Problems as a SARIF 2.1.0 log (OASIS, 2020): what code hosts show beside the changed lines.
pub fn sarif(problems: &[Problem]) -> serde_json::Value {
    let rules: std::collections::BTreeSet<&str> = problems.iter().map(|problem| problem.code.as_str()).collect();
    let results: Vec<_> = problems
        .iter()
        .map(|problem| {
            let text = match &problem.instead {
                Some(instead) => format!("{}\nwrite: {instead}", problem.what),
                None => problem.what.clone(),
            };
            let mut location = serde_json::json!({ "artifactLocation": { "uri": uri(&problem.file) } });
            if problem.line > 0 {
                location["region"] = serde_json::json!({
                    "startLine": problem.line,
                    "startColumn": problem.column,
                    "endColumn": problem.column + problem.length.max(1),
                });
            }
            serde_json::json!({
                "ruleId": problem.code.as_str(),
                "level": problem.severity.as_str(),
                "message": { "text": text },
                "locations": [{ "physicalLocation": location }],
            })
        })
        .collect();
    serde_json::json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "slowburn",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules.iter().map(|id| serde_json::json!({ "id": id })).collect::<Vec<_>>(),
            }},
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

/// The lines of a text as YAML counts them: a carriage return alone ends one too (YAML 1.2.2, section 5.4).
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.split('\n').flat_map(|line| line.strip_suffix('\r').unwrap_or(line).split('\r'))
}

/// A path as a URI reference (RFC 3986): what is not unreserved or a slash is percent-encoded.
fn uri(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => out.push(byte as char),
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}
