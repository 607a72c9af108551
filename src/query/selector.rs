//! A vector selector as a value: parsed by promql-parser, compared, merged, printed and matched against label sets.
//!
//! Nothing is pasted: a selector is built as a tree, printed, parsed again and compared before it is used.

use std::collections::HashMap;
use std::fmt;

use promql_parser::label::{MatchOp, Matcher, Matchers};
use promql_parser::parser::{Expr, VectorSelector};
use regex::Regex;

use crate::spec::plain;
use crate::spec::selector::is_metric_name;

/// Longest expression that is parsed, bytes. The parser recurses, so length and depth are bounded before it runs.
pub const EXPR_BYTES_MAX: usize = 16 * 1024;
/// Deepest bracket nesting that is parsed; the parser overflows its stack somewhere past 5,000.
pub const EXPR_DEPTH_MAX: usize = 100;

/// A bare instant-vector selector with a fixed metric name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    /// Metric name.
    pub metric: String,
    /// Matchers in (name, operator, value) order, without `__name__`.
    pub matchers: Vec<Matcher>,
}

/// Refuses what the parser must not be given: too long, or nested too deeply.
pub fn bounded(expr: &str) -> Result<(), String> {
    if expr.len() > EXPR_BYTES_MAX {
        return Err(format!("the expression has {} bytes; at most {EXPR_BYTES_MAX} are read", expr.len()));
    }
    let mut depth = 0usize;
    for byte in expr.bytes() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > EXPR_DEPTH_MAX {
            return Err(format!("the expression nests brackets deeper than {EXPR_DEPTH_MAX}"));
        }
    }
    Ok(())
}

impl Selector {
    /// Parses `metric{label="value",...}`. Ranges, offsets, `@` and `or` matchers are refused with a reason.
    pub fn parse(text: &str) -> Result<Self, String> {
        bounded(text)?;
        match plain::parse(text) {
            Ok(Expr::VectorSelector(selector)) => Self::from_ast(selector),
            Ok(_) => {
                Err(format!("`{text}` is an expression; a bare selector like metric{{label=\"value\"}} is needed"))
            }
            Err(error) => Err(format!("`{text}` is not PromQL: {error}")),
        }
    }

    fn from_ast(selector: VectorSelector) -> Result<Self, String> {
        if selector.offset.is_some() || selector.at.is_some() {
            return Err("a selector must not have an offset or an @ modifier".into());
        }
        if !selector.matchers.or_matchers.is_empty() {
            return Err("`or` between matchers is not PromQL of Prometheus".into());
        }
        let (names, mut matchers): (Vec<Matcher>, Vec<Matcher>) =
            selector.matchers.matchers.into_iter().partition(|m| m.name == "__name__");
        let metric = match (selector.name, names.as_slice()) {
            (Some(name), []) => name,
            (None, [m]) if m.op == MatchOp::Equal => m.value.clone(),
            _ => return Err("a selector needs one fixed metric name".into()),
        };
        matchers.sort_by_key(sort_key);
        matchers.dedup();
        Ok(Selector { metric, matchers })
    }

    /// A selector of the same matchers on another metric, e.g. `x_bucket` for `x`.
    pub fn renamed(&self, metric: String) -> Self {
        Selector { metric, matchers: self.matchers.clone() }
    }

    /// Adds `name=~"v1|v2"` (values quoted), or `name="v"` for one value.
    pub fn with_values(mut self, name: &str, values: &[String]) -> Result<Self, String> {
        self.matchers.push(alternation(name, values)?);
        self.matchers.sort_by_key(sort_key);
        Ok(self)
    }

    /// Takes compiled patterns from `known` where they stand there, and puts the others into it: one costs 13 kB, and the
    /// SLOs of a fleet mostly have the same few.
    pub fn share(&mut self, known: &mut HashMap<String, Regex>) {
        for matcher in &mut self.matchers {
            let (MatchOp::Re(pattern) | MatchOp::NotRe(pattern)) = &mut matcher.op else { continue };
            match known.get(pattern.as_str()) {
                Some(shared) => *pattern = shared.clone(),
                None => drop(known.insert(pattern.as_str().to_owned(), pattern.clone())),
            }
        }
    }

    /// Whether a label set satisfies every matcher. `label` answers "" for an absent label, as in PromQL.
    pub fn matches<'a>(&self, label: impl Fn(&str) -> &'a str) -> bool {
        self.matchers.iter().all(|matcher| matcher.is_match(label(&matcher.name)))
    }

    /// Whether every series `other` selects is selected by `self` too, as far as equal matchers show it, and the values
    /// that `other` fixes: `code="500"` lies inside `code!="404"`.
    pub fn contains(&self, other: &Selector) -> bool {
        let fixes = |own: &Matcher, matcher: &Matcher| {
            own.op == MatchOp::Equal && own.name == matcher.name && matcher.is_match(&own.value)
        };
        let implied = |matcher: &Matcher| other.matchers.iter().any(|own| own == matcher || fixes(own, matcher));
        self.metric == other.metric && self.matchers.iter().all(implied)
    }

    /// The selector as an expression tree.
    pub fn to_ast(&self) -> VectorSelector {
        VectorSelector::new(Some(self.metric.clone()), Matchers::new(self.matchers.clone()))
    }

    /// Prints it and proves that the print parses back to the same selector.
    pub fn to_promql(&self) -> Result<String, String> {
        let text = self.to_string();
        let again = Selector::parse(&text)?;
        if again == *self { Ok(text) } else { Err(format!("`{text}` does not read back as what was meant")) }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_metric_name(&self.metric) {
            return write!(f, "{}", self.to_ast());
        }
        let quoted = self.metric.replace('\\', "\\\\").replace('"', "\\\"");
        let matchers = Matchers::new(self.matchers.clone()).to_string();
        let comma = if matchers.is_empty() { "" } else { "," };
        write!(f, "{{\"{quoted}\"{comma}{matchers}}}")
    }
}

/// `name="v"` or `name=~"v1|v2"`, with the values escaped for the regular expression.
pub fn alternation(name: &str, values: &[String]) -> Result<Matcher, String> {
    match values {
        [] => Err(format!("no value for label {name}")),
        [value] => Ok(Matcher::new(MatchOp::Equal, name, value)),
        _ => {
            let value = values.iter().map(|v| regex::escape(v)).collect::<Vec<_>>().join("|");
            let re = Regex::new(&format!("^(?:{value})$")).map_err(|error| error.to_string())?;
            Ok(Matcher::new(MatchOp::Re(re), name, &value))
        }
    }
}

fn sort_key(matcher: &Matcher) -> (String, String, String) {
    (matcher.name.clone(), matcher.op.to_string(), matcher.value.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_patterns_are_compiled_once_and_match_as_before() {
        let mut known = HashMap::new();
        let mut all: Vec<Selector> = ["a{code=~\"5..\"}", "b{code=~\"5..\",x!~\"y.*\"}", "c{x!~\"y.*\"}"]
            .map(|text| Selector::parse(text).expect("a selector"))
            .into();
        all.iter_mut().for_each(|selector| selector.share(&mut known));
        assert_eq!(known.len(), 2);
        let of = |code: &'static str, x: &'static str| move |name: &str| if name == "code" { code } else { x };
        assert!(all[0].matches(of("503", "")) && !all[0].matches(of("404", "")));
        assert!(all[1].matches(of("503", "z")) && !all[1].matches(of("503", "yes")));
        assert_eq!(all[1].to_promql().expect("it prints"), "b{code=~\"5..\",x!~\"y.*\"}");
    }

    #[test]
    fn what_is_printed_reads_back() {
        for text in [
            r#"up"#,
            r#"http_requests_total{code=~"5..",service="a\"b\\c"}"#,
            r#"m{a!="x",b!~"y.*|z{2}"}"#,
            r#"vllm:request_success_total{model_name="llama-3"}"#,
            r#"{"gen_ai.server.request.count",job="aigw","http.response.status_code"=~"5.."}"#,
            r#"{"größe in \"MB\""}"#,
            r#"{__name__="a.b",c="d"}"#,
        ] {
            let selector = Selector::parse(text).expect(text);
            assert_eq!(Selector::parse(&selector.to_promql().expect(text)).as_ref(), Ok(&selector));
        }
    }

    #[test]
    fn what_is_no_bare_selector_is_refused() {
        for text in [
            "sum(up)",
            "up[5m]",
            "up offset 5m",
            "up @ 5",
            r#"{a="x"}"#,
            r#"up{a="x" or b="y"}"#,
            "",
            "up{",
            r#"{__name__=~"a|b"}"#,
        ] {
            assert!(Selector::parse(text).is_err(), "{text}");
        }
        assert!(Selector::parse(&"(".repeat(20_000)).is_err());
        assert!(Selector::parse(&"a".repeat(20_000)).is_err());
    }

    #[test]
    fn a_selector_lies_inside_another_by_its_matchers_or_by_the_values_it_fixes() {
        let parse = |text| Selector::parse(text).expect("a selector");
        let all = parse(r#"m{service="a",code!="404",tier=~"x|y"}"#);
        assert!(all.contains(&parse(r#"m{service="a",code="500",tier="x"}"#)));
        assert!(all.contains(&parse(r#"m{service="a",code!="404",tier=~"x|y",method="GET"}"#)));
        for outside in [
            r#"m{service="a",code="404",tier="x"}"#,
            r#"m{service="a",code=~"5..",tier="x"}"#,
            r#"m{service="a",code="500",tier="z"}"#,
            r#"m{service="a",code="500"}"#,
            r#"n{service="a",code="500",tier="x"}"#,
        ] {
            assert!(!all.contains(&parse(outside)), "{outside}");
        }
    }

    #[test]
    fn merged_values_are_escaped() {
        let merged = Selector::parse("m")
            .and_then(|s| s.with_values("service", &["a.b".into(), "c|d".into(), "e\\f\"".into()]))
            .expect("a selector");
        let again = Selector::parse(&merged.to_promql().expect("printable")).expect("parsable");
        for (value, wanted) in
            [("a.b", true), ("c|d", true), ("e\\f\"", true), ("axb", false), ("c", false), ("", false)]
        {
            assert_eq!(again.matches(|_| value), wanted, "{value}");
        }
    }
}
