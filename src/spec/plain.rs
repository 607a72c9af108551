//! Bare selectors as nearly everybody writes them, read without the parser.
//!
//! The parser compiles every regular expression it meets, and the SLOs of a fleet mostly have the same few (`5..`): of five
//! thousand files that took seconds. What is plain (a metric, matchers, quotes without escapes) is read here, with each
//! pattern compiled once for the process; everything else goes to the parser, which says what is wrong with it.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex};

use promql_parser::label::{MatchOp, Matcher, Matchers};
use promql_parser::parser::token::{T_EQL_REGEX, T_NEQ_REGEX};
use promql_parser::parser::{self, Expr, VectorSelector};

/// Patterns that are remembered, and the longest of them, bytes.
const PATTERNS_MAX: usize = 1_000;
const PATTERN_BYTES_MAX: usize = 200;

/// Words that are no metric and no label, or not always.
const WORDS: &[&str] = &[
    "and",
    "or",
    "unless",
    "atan2",
    "sum",
    "avg",
    "count",
    "min",
    "max",
    "group",
    "stddev",
    "stdvar",
    "topk",
    "bottomk",
    "count_values",
    "quantile",
    "limitk",
    "limit_ratio",
    "offset",
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "bool",
    "start",
    "end",
    "inf",
    "nan",
    "info",
    "anchored",
    "smoothed",
];

/// As `parser::parse`, which it falls back to.
pub fn parse(text: &str) -> Result<Expr, String> {
    match PlainReader(text.trim()).selector() {
        Some(selector) => Ok(Expr::VectorSelector(selector)),
        None => parser::parse(text),
    }
}

/// What is left to read.
struct PlainReader<'a>(&'a str);

impl<'a> PlainReader<'a> {
    /// A plain selector to the end of the text; `None` where it is none.
    fn selector(mut self) -> Option<VectorSelector> {
        let metric = self.name(|c| c == ':')?;
        let mut matchers = Vec::new();
        self.space();
        if self.takes("{") {
            self.space();
            while !self.takes("}") {
                matchers.push(self.matcher()?);
                self.space();
                if !self.takes(",") {
                    self.takes("}").then_some(())?;
                    break;
                }
                self.space();
            }
        }
        self.0.trim().is_empty().then(|| VectorSelector::new(Some(metric.to_owned()), Matchers::new(matchers)))
    }

    fn matcher(&mut self) -> Option<Matcher> {
        let name = self.name(|_| false).filter(|name| *name != "__name__")?;
        self.space();
        let operator = ["=~", "!~", "!=", "="].into_iter().find(|operator| self.takes(operator))?;
        self.space();
        let value = self.quoted()?;
        let op = match operator {
            "=" => MatchOp::Equal,
            "!=" => MatchOp::NotEqual,
            regex => compiled(regex == "=~", value)?,
        };
        Some(Matcher::new(op, name, value))
    }

    /// A name of letters, digits, underscores and what `more` allows, that is no word of the language.
    fn name(&mut self, more: impl Fn(char) -> bool) -> Option<&'a str> {
        let is_first = |c: char| c.is_ascii_alphabetic() || c == '_' || more(c);
        let end = self.0.find(|c: char| !is_first(c) && !c.is_ascii_digit()).unwrap_or(self.0.len());
        let (name, rest) = self.0.split_at(end);
        let plain = name.chars().next().is_some_and(is_first) && !WORDS.contains(&name.to_ascii_lowercase().as_str());
        self.0 = rest;
        plain.then_some(name)
    }

    /// A text between double quotes without escapes.
    fn quoted(&mut self) -> Option<&'a str> {
        let (value, rest) = self.0.strip_prefix('"')?.split_once('"')?;
        self.0 = rest;
        (!value.contains(['\\', '\n', '\r'])).then_some(value)
    }

    fn takes(&mut self, token: &str) -> bool {
        let rest = self.0.strip_prefix(token);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    fn space(&mut self) {
        self.0 = self.0.trim_start_matches([' ', '\t', '\n']);
    }
}

/// The pattern as the parser compiles it, from memory where it was compiled before.
fn compiled(matches: bool, pattern: &str) -> Option<MatchOp> {
    static KNOWN: LazyLock<Mutex<HashMap<(bool, String), MatchOp>>> = LazyLock::new(Mutex::default);
    let key = (matches, pattern.to_owned());
    let mut known = KNOWN.lock().ok()?;
    if let Some(op) = known.get(&key) {
        return Some(op.clone());
    }
    let id = if matches { T_EQL_REGEX } else { T_NEQ_REGEX };
    let op = Matcher::new_matcher(id, "a".to_owned(), pattern.to_owned()).ok()?.op;
    if known.len() < PATTERNS_MAX && pattern.len() <= PATTERN_BYTES_MAX {
        known.insert(key, op.clone());
    }
    Some(op)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_plain_is_read_as_the_parser_reads_it() {
        for text in [
            "up",
            "a:b_c{}",
            r#"http_requests_total{service="a b",code=~"5..|x"}"#,
            r#" m { a = "x" , b!="y" ,c!~"z.*", } "#,
            r#"m{a="{b}",c="a,b=c"}"#,
            r#"m{a=""}"#,
        ] {
            let read = PlainReader(text.trim()).selector().expect(text);
            assert_eq!(parser::parse(text), Ok(Expr::VectorSelector(read)), "{text}");
        }
    }

    #[test]
    fn the_rest_is_left_to_the_parser() {
        for text in [
            "",
            "sum(up)",
            "sum{a=\"b\"}",
            "up[5m]",
            "up offset 5m",
            r#"{a="x"}"#,
            r#"m{__name__="n"}"#,
            r#"m{a="\\d"}"#,
            "m{a='x'}",
            r#"m{a="x""#,
            r#"m{a=~"("}"#,
            r#"m{a="x" or b="y"}"#,
            r#"m{by="x"}"#,
            "5",
            "m n",
        ] {
            assert_eq!(PlainReader(text.trim()).selector(), None, "{text}");
            assert_eq!(format!("{:?}", parse(text)), format!("{:?}", parser::parse(text)), "{text}");
        }
    }

    proptest! {
        #[test]
        fn both_read_the_same(text in r#"[a-z:_]{1,6}\{([a-z_]{1,4}(=|!=|=~|!~)"[a-z0-9.*|{} ]{0,6}",? ?){0,3}\}"#) {
            if let Some(read) = PlainReader(text.trim()).selector() {
                prop_assert_eq!(parser::parse(&text), Ok(Expr::VectorSelector(read)));
            }
        }
    }
}
