//! PromQL as it stands in SLIs: bare selectors that the `query` module may rewrite, and gauge expressions that are
//! sent as they are.
//!
//! Lengths, nesting and operators are counted before parsing: the parser is recursive and would overflow its stack.

use promql_parser::label::{MatchOp, Matcher};
use promql_parser::parser::{Expr, VectorSelector, value::ValueType};
use promql_parser::util::visitor::{ExprVisitor, ExprVisitorMut, walk_expr, walk_expr_mut};
use serde::Serialize;

use super::plain;
use super::unread::{self, Unread};

/// Why a text is not the PromQL that is needed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SelectorFault {
    pub what: String,
    /// The selector to write instead.
    pub selector: Option<String>,
    /// Where there is none: what to do.
    pub advice: Option<String>,
    /// The part of the text that is meant, characters from its start, and how many; `None` for all of it.
    pub part: Option<(usize, usize)>,
}

/// Longest PromQL text, bytes.
const BYTES_MAX: usize = 16 * 1024;
/// Deepest nesting of brackets.
const DEPTH_MAX: usize = 100;
/// Most operators: each may be one level of the parsed tree.
const OPERATORS_MAX: usize = 500;
/// Longest metric name, bytes.
const NAME_BYTES_MAX: usize = 256;

fn fault(what: impl Into<String>, selector: Option<String>) -> SelectorFault {
    SelectorFault { what: what.into(), selector, advice: None, part: None }
}

fn advised(what: impl Into<String>, advice: &str) -> SelectorFault {
    SelectorFault { what: what.into(), selector: None, advice: Some(advice.into()), part: None }
}

fn placed(found: Unread) -> SelectorFault {
    SelectorFault { what: found.what, selector: None, advice: Some(found.advice), part: Some(found.part) }
}

/// Parses PromQL within the bounds.
fn parse(text: &str) -> Result<Expr, SelectorFault> {
    if text.len() > BYTES_MAX {
        return Err(fault(format!("over {} KiB of PromQL", BYTES_MAX / 1024), None));
    }
    let (mut depth, mut operators) = (0_usize, 0_usize);
    for c in text.chars() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            '+' | '-' | '*' | '/' | '%' | '^' | '<' | '>' | '=' | '!' => operators += 1,
            _ => {}
        }
        if depth > DEPTH_MAX {
            return Err(fault(format!("brackets nested over {DEPTH_MAX} deep"), None));
        }
    }
    operators += text
        .split_whitespace()
        .filter(|word| matches!(word.to_lowercase().as_str(), "and" | "or" | "unless" | "atan2"))
        .count();
    if operators > OPERATORS_MAX {
        return Err(fault(format!("over {OPERATORS_MAX} operators"), None));
    }
    if text.contains("{{") {
        return Err(advised(
            "templates such as {{.window}} are not used: Slowburn chooses time ranges itself",
            "the bare selector, such as http_requests_total{job=\"checkout\"}",
        ));
    }
    if text.contains('$') && !text.contains('"') {
        return Err(fault("dashboard variables such as $interval are not known here", None));
    }
    if let Some(found) = unread::unpaired(text) {
        return Err(placed(found));
    }
    plain::parse(text).map_err(|error| {
        let first: String = error.lines().next().unwrap_or_default().chars().take(200).collect();
        let what = format!("not PromQL: {first}");
        if let Some(quoted) = quoted_name(text) {
            return fault("a metric name with dots is quoted, and stands inside the braces", Some(quoted));
        }
        if let Some(found) = unread::unquoted(text, &first) {
            return placed(found);
        }
        match text.contains('=') && !text.contains(['"', '\'', '`']) {
            true => advised(what, "label values in quotes, such as job=\"checkout\""),
            false => fault(what, None),
        }
    })
}

/// Whether every series that `narrow` selects is one that `wide` selects: the same metric, and no matcher of its own.
pub(crate) fn contains(wide: &VectorSelector, narrow: &VectorSelector) -> bool {
    wide.name == narrow.name && wide.matchers.matchers.iter().all(|own| narrow.matchers.matchers.contains(own))
}

/// A matcher of `total` on a label that `part`, of the same metric, says nothing of: `part` then counts what `total` does not.
pub(crate) fn left_open(part: &VectorSelector, total: &VectorSelector) -> Option<String> {
    let narrows = |own: &&Matcher| matches!(own.op, MatchOp::Equal | MatchOp::Re(_)) && own.name != "le";
    let said = |own: &&Matcher| part.matchers.matchers.iter().any(|other| other.name == own.name);
    (part.name.is_some() && part.name == total.name)
        .then(|| total.matchers.matchers.iter().filter(narrows).find(|own| !said(own)))
        .flatten()
        .map(|own| own.to_string())
}

/// Reads a bare instant-vector selector of one metric, `http_requests_total{job="checkout"}`.
///
/// # Errors
/// Not PromQL; a function, operator, range, `offset` or `@`; `or` between matchers; no single metric name.
pub(crate) fn selector(text: &str) -> Result<VectorSelector, SelectorFault> {
    let expr = parse(text)?;
    let Expr::VectorSelector(mut found) = expr else {
        let what = match &expr {
            Expr::MatrixSelector(_) => {
                "a selector must not have a range: Slowburn reads raw samples and chooses ranges itself"
            }
            Expr::Subquery(_) => "a subquery is no selector: Slowburn chooses ranges itself",
            Expr::Call(_) | Expr::Aggregate(_) => {
                "functions and aggregations are not needed: Slowburn counts increments of raw samples itself"
            }
            _ => "expected one bare selector, without operators or brackets around it",
        };
        return Err(fault(what, only_selector(&expr)));
    };
    let bare = || {
        let plain = VectorSelector { offset: None, at: None, ..found.clone() };
        Some(plain.to_string())
    };
    if found.offset.is_some() {
        return Err(fault("a selector must not have an offset: Slowburn evaluates at its own times", bare()));
    }
    if found.at.is_some() {
        return Err(fault("a selector must not have an @ time: Slowburn evaluates at its own times", bare()));
    }
    if !found.matchers.or_matchers.is_empty() {
        return Err(advised(
            "`or` between matchers is an extension of VictoriaMetrics that cannot be rewritten safely",
            "one regular expression, such as code=~\"500|503\"",
        ));
    }
    name_first(&mut found)?;
    // The printer sorts matchers; sorted here too, so that what is printed and read again can be compared.
    found.matchers.matchers.sort_by_cached_key(Matcher::to_string);
    let printed = found.to_string();
    match plain::parse(&printed) {
        Ok(Expr::VectorSelector(again)) if again == found => Ok(found),
        _ => Err(fault("this selector cannot be rewritten safely: metric and label names must be plain", None)),
    }
}

/// There must be one metric name. A plain one is moved in front of the braces; any other, as Prometheus has them from 3.0
/// on (`{"http.server.request.count"}`), stands as a matcher, which prints to what every server reads.
fn name_first(found: &mut VectorSelector) -> Result<(), SelectorFault> {
    let name = match &found.name {
        Some(name) => name.clone(),
        None => {
            let names = found.matchers.find_matchers("__name__");
            let [Matcher { op: MatchOp::Equal, value, .. }] = names.as_slice() else {
                return Err(fault(
                    "a selector must name one metric",
                    Some(format!("http_requests_total{{{}}}", found.matchers)).filter(|_| names.is_empty()),
                ));
            };
            value.clone()
        }
    };
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
        return Err(fault("a metric name has up to 256 bytes and no control characters", None));
    }
    name_metric(found, &name);
    Ok(())
}

/// Lets a selector name this metric.
pub(crate) fn name_metric(selector: &mut VectorSelector, metric: &str) {
    selector.matchers.matchers.retain(|matcher| matcher.name != "__name__");
    selector.name = is_metric_name(metric).then(|| metric.to_owned());
    if selector.name.is_none() {
        selector.matchers.matchers.push(Matcher::new(MatchOp::Equal, "__name__", metric));
    }
}

/// The metric that a selector of [`selector`] names.
pub(crate) fn metric_of(selector: &VectorSelector) -> &str {
    let named = || selector.matchers.matchers.iter().find(|matcher| matcher.name == "__name__");
    selector.name.as_deref().or_else(|| named().map(|matcher| matcher.value.as_str())).unwrap_or_default()
}

/// Whether a metric name may stand in front of the braces; others are quoted inside them.
pub(crate) fn is_metric_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_' || c == ':')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
}

/// The quoted form of a selector that begins with a name with dots, such as `http.server.requests{job="a"}`: from 3.0 on
/// Prometheus has such names, and PromQL wants them in quotes.
fn quoted_name(text: &str) -> Option<String> {
    let text = text.trim();
    let end = text.find(|c: char| !(c.is_alphanumeric() || "_:.-/".contains(c))).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let begins = name.chars().next().is_some_and(|c| c.is_alphabetic() || c == '_');
    if !begins || !name.contains('.') || name.ends_with('.') {
        return None;
    }
    match rest.trim().strip_prefix('{') {
        None if rest.trim().is_empty() => Some(format!("{{\"{name}\"}}")),
        None => None,
        Some(matchers) => Some(format!("{{\"{name}\", {}", matchers.trim_start())),
    }
}

/// The selector inside an expression that has exactly one, without its range, offset and `@`.
fn only_selector(expr: &Expr) -> Option<String> {
    let mut found = FoundSelectors(Vec::new());
    let _ = walk_expr(&mut found, expr);
    match found.0.as_slice() {
        [only] => Some(VectorSelector { offset: None, at: None, ..only.clone() }.to_string()),
        _ => None,
    }
}

struct FoundSelectors(Vec<VectorSelector>);

impl ExprVisitor for FoundSelectors {
    type Error = ();

    fn pre_visit(&mut self, expr: &Expr) -> Result<bool, ()> {
        match expr {
            Expr::VectorSelector(selector) => self.0.push(selector.clone()),
            Expr::MatrixSelector(matrix) => self.0.push(matrix.vs.clone()),
            _ => {}
        }
        Ok(true)
    }
}

/// Reads any PromQL that gives an instant vector or a scalar.
///
/// # Errors
/// Not PromQL, or of another type.
pub(crate) fn gauge(text: &str) -> Result<Expr, SelectorFault> {
    let expr = parse(text)?;
    match expr.value_type() {
        ValueType::Vector | ValueType::Scalar => Ok(expr),
        ValueType::Matrix => {
            let what = "a range vector has no single value per slice";
            Err(advised(what, &format!("max_over_time({text}), or another function of a range")))
        }
        ValueType::String => Err(fault("a text is no value", None)),
    }
}

/// Whether the expression drops series by comparing them: dropped reads as "no data".
pub(crate) fn drops_series(expr: &Expr) -> bool {
    match expr {
        Expr::Paren(inner) => drops_series(&inner.expr),
        Expr::Binary(binary) => binary.op.is_comparison_operator() && !binary.return_bool(),
        _ => false,
    }
}

/// Adds label matchers to every selector of the expression.
pub(crate) fn narrow(expr: &mut Expr, labels: &[(String, String)]) {
    struct Narrow<'l>(&'l [(String, String)]);
    impl ExprVisitorMut for Narrow<'_> {
        type Error = ();

        fn pre_visit(&mut self, expr: &mut Expr) -> Result<bool, ()> {
            match expr {
                Expr::VectorSelector(selector) => narrow_selector(selector, self.0),
                Expr::MatrixSelector(matrix) => narrow_selector(&mut matrix.vs, self.0),
                _ => {}
            }
            Ok(true)
        }
    }
    let _ = walk_expr_mut(&mut Narrow(labels), expr);
}

/// Adds label matchers; one of the same name in the selector is replaced, so that a preset's default can be changed.
pub(crate) fn narrow_selector(selector: &mut VectorSelector, labels: &[(String, String)]) {
    for (name, value) in labels {
        let matchers = &mut selector.matchers.matchers;
        matchers.retain(|matcher| !(matcher.name == *name && matches!(matcher.op, MatchOp::Equal)));
        matchers.push(Matcher::new(MatchOp::Equal, name, value));
    }
}

/// Names of the metrics an expression reads, sorted; none where it cannot be parsed.
pub(crate) fn metrics(text: &str) -> Vec<String> {
    let mut found = FoundSelectors(Vec::new());
    if let Ok(expr) = gauge(text) {
        let _ = walk_expr(&mut found, &expr);
    }
    let names: std::collections::BTreeSet<String> = found.0.into_iter().filter_map(|selector| selector.name).collect();
    names.into_iter().collect()
}

/// A unit of time of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum TimeUnit {
    /// `s`
    #[serde(rename = "s")]
    Seconds,
    /// `ms`
    #[serde(rename = "ms")]
    Milliseconds,
    /// `us`
    #[serde(rename = "us")]
    Microseconds,
}

impl TimeUnit {
    /// `s`, `ms` or `us`.
    pub fn as_str(self) -> &'static str {
        match self {
            TimeUnit::Seconds => "s",
            TimeUnit::Milliseconds => "ms",
            TimeUnit::Microseconds => "us",
        }
    }

    /// How many of it a second has.
    pub fn per_second(self) -> f64 {
        match self {
            TimeUnit::Seconds => 1.0,
            TimeUnit::Milliseconds => 1e3,
            TimeUnit::Microseconds => 1e6,
        }
    }

    /// The unit a metric's name ends in (Prometheus, "Metric and label naming").
    pub fn of_metric(name: &str) -> Option<Self> {
        let base =
            ["_bucket", "_count", "_sum", "_total"].iter().fold(name, |n, suffix| n.strip_suffix(suffix).unwrap_or(n));
        let ends = |suffixes: &[&str]| suffixes.iter().any(|suffix| base.ends_with(suffix));
        if ends(&["_milliseconds", "_millis", "_ms"]) {
            Some(TimeUnit::Milliseconds)
        } else if ends(&["_microseconds", "_us"]) {
            Some(TimeUnit::Microseconds)
        } else if ends(&["_seconds"]) {
            Some(TimeUnit::Seconds)
        } else {
            None
        }
    }

    /// The unit in which all metrics of the expression are, where they agree.
    pub fn of_expr(expr: &Expr) -> Option<Self> {
        let mut found = FoundSelectors(Vec::new());
        let _ = walk_expr(&mut found, expr);
        let mut units = found.0.iter().map(|selector| selector.name.as_deref().and_then(TimeUnit::of_metric));
        let first = units.next().flatten()?;
        units.all(|unit| unit == Some(first)).then_some(first)
    }
}

/// Whether `name` can be a label name of a Prometheus from 3.0 on: any text; `__` in front is reserved.
pub(crate) fn is_any_label_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 128
        && !name.starts_with("__")
        && !name.chars().any(|c| c.is_control() || c == '"')
}

/// Whether `name` can be a label name everywhere; `__` in front is reserved.
pub(crate) fn is_label_name(name: &str) -> bool {
    let mut chars = name.chars();
    name.len() <= 128
        && !name.starts_with("__")
        && chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String, SelectorFault> {
        selector(text).map(|found| found.to_string())
    }

    #[test]
    fn a_bare_selector_is_printed_in_one_form() {
        assert_eq!(read(" m { a = 'x' } ").as_deref(), Ok("m{a=\"x\"}"));
        assert_eq!(read("{__name__=\"m\",a=\"x\"}").as_deref(), Ok("m{a=\"x\"}"));
        assert_eq!(read("vllm:e2e_request_latency_seconds").as_deref(), Ok("vllm:e2e_request_latency_seconds"));
    }

    #[test]
    fn names_of_prometheus_three_are_read_in_quotes_and_printed_for_every_server() {
        let text = r#"{"gen_ai.server.request.count", job="aigw", "http.response.status_code"=~"5.."}"#;
        let printed = read(text).expect("it is PromQL");
        assert!(printed.contains(r#"__name__="gen_ai.server.request.count""#), "{printed}");
        assert!(printed.contains(r#""http.response.status_code"=~"5..""#), "{printed}");
        assert_eq!(selector(text).as_ref().map(metric_of), Ok("gen_ai.server.request.count"));
        assert_eq!(read(r#"{"plain_total",a="b"}"#).as_deref(), Ok(r#"plain_total{a="b"}"#));
        let advice = |text: &str| selector(text).expect_err(text).selector;
        assert_eq!(advice(r#"a.b.count{job="x"}"#).as_deref(), Some(r#"{"a.b.count", job="x"}"#));
        assert_eq!(advice("a.b.count").as_deref(), Some(r#"{"a.b.count"}"#));
        assert_eq!(advice("1.5 + "), None);
    }

    #[test]
    fn what_is_no_bare_selector_is_refused_with_the_selector_in_it() {
        for text in [
            "rate(m{a=\"x\"}[5m])",
            "sum(m{a=\"x\"})",
            "m{a=\"x\"}[5m]",
            "m{a=\"x\"} offset 5m",
            "m{a=\"x\"} @ 1",
            "(m{a=\"x\"})",
        ] {
            assert_eq!(read(text).map_err(|fault| fault.selector), Err(Some("m{a=\"x\"}".into())), "{text}");
        }
        for text in [
            "{a=\"x\"}",
            "m{a=\"x\" or b=\"y\"}",
            "{__name__=~\"m.*\"}",
            "1",
            "\"m\"",
            "m{",
            "m{a=x}",
            "rate(m[{{.window}}])",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn deep_or_long_promql_is_refused_before_it_is_parsed() {
        for text in [
            "(".repeat(20_000),
            "-".repeat(15_000),
            "1+".repeat(8_000) + "1",
            "a or ".repeat(3_000) + "a",
            "{".repeat(16_000),
        ] {
            assert!(gauge(&text).is_err());
        }
    }

    #[test]
    fn the_worst_promql_within_the_bounds_fits_a_small_stack() {
        let deep = format!("{}m{}", "(".repeat(DEPTH_MAX), ")".repeat(DEPTH_MAX));
        let wide = "m + ".repeat(OPERATORS_MAX) + "m";
        let signs = "-".repeat(OPERATORS_MAX) + "m";
        let parse = move || [deep, wide, signs].iter().map(|text| gauge(text).is_ok()).collect::<Vec<_>>();
        let thread = std::thread::Builder::new().stack_size(1 << 20).spawn(parse).expect("a thread");
        assert_eq!(thread.join().expect("no overflow"), [true, true, true]);
    }

    #[test]
    fn a_match_reaches_every_selector_and_cannot_break_out_of_its_quotes() {
        let mut expr = gauge("max(a{x=\"1\"}) - min_over_time(b[5m])").expect("valid");
        narrow(&mut expr, &[("svc".into(), "a\"}) or (up{x=\"".into())]);
        let printed = expr.to_string();
        assert_eq!(printed.matches("svc=").count(), 2, "{printed}");
        let again = plain::parse(&printed).expect("still PromQL");
        assert_eq!(again.to_string(), printed);
        assert_eq!(again.value_type(), expr.value_type());
        assert!(!again.to_string().contains(",x=\"\""), "the label value stays inside its quotes: {printed}");
    }

    #[test]
    fn units_come_from_metric_names() {
        let unit = |text: &str| TimeUnit::of_expr(&gauge(text).expect(text));
        assert_eq!(unit("time() - last_success_timestamp_seconds"), Some(TimeUnit::Seconds));
        assert_eq!(unit("rate(d_ms_sum[5m]) / rate(d_ms_count[5m])"), Some(TimeUnit::Milliseconds));
        assert_eq!(unit("a_seconds / b_ms"), None);
        assert_eq!(unit("up"), None);
    }
}
