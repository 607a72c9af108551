//! The few forms that PromQL around a selector takes: a function, a range, a sum by labels.
//!
//! Deliberately absent: what is asked for and why. That is whoever asks.

use std::fmt::Display;

/// `operator (expr)`, or `operator by (a, b) (expr)`.
pub fn aggregate<S: AsRef<str>>(operator: &str, by: &[S], expr: &str) -> String {
    let by = if by.is_empty() { String::new() } else { format!(" by ({})", super::names(by)) };
    format!("{operator}{by} ({expr})")
}

/// `function(expr)`.
pub fn call(function: &str, expr: &str) -> String {
    format!("{function}({expr})")
}

/// `topk(most, expr)`.
pub fn topk(most: usize, expr: &str) -> String {
    format!("topk({most}, {expr})")
}

/// `selector[window]`; the window is a duration as PromQL writes it.
pub fn range(selector: &str, window: impl Display) -> String {
    format!("{selector}[{window}]")
}

/// `function(selector[window])`.
pub fn over(function: &str, selector: &str, window: impl Display) -> String {
    format!("{function}({selector}[{window}])")
}

/// `function((expr)[window:step])`.
pub fn subquery(function: &str, expr: &str, window: impl Display, step: impl Display) -> String {
    format!("{function}(({expr})[{window}:{step}])")
}

/// `(expr) <= most`.
pub fn at_most(expr: &str, most: f64) -> String {
    format!("({expr}) <= {most}")
}

/// `(expr) >= least`.
pub fn at_least(expr: &str, least: f64) -> String {
    format!("({expr}) >= {least}")
}

/// The worst of a summary's quantiles.
pub fn worst_quantile(summary: &str, quantile: &str) -> String {
    format!("max({summary}{{quantile={quantile:?}}})")
}

/// Which of these metrics there are: `{__name__=~"a|b"}`. The names are quoted for the regular expression.
pub fn any_of(metrics: &[String]) -> String {
    matching("", &[("__name__", &alternatives(metrics))])
}

/// A regular expression that matches each of these texts, and nothing else.
pub fn alternatives<S: AsRef<str>>(texts: &[S]) -> String {
    texts.iter().map(|text| regex::escape(text.as_ref())).collect::<Vec<_>>().join("|")
}

/// `metric{a=~"...",b=~"..."}`: each label by a regular expression. The metric may be empty where a label names it.
pub fn matching(metric: &str, patterns: &[(&str, &str)]) -> String {
    let quoted = |pattern: &str| pattern.replace('\\', "\\\\").replace('"', "\\\"");
    let matcher = |(label, pattern): &(&str, &str)| format!("{label}=~\"{}\"", quoted(pattern));
    format!("{metric}{{{}}}", patterns.iter().map(matcher).collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_together_is_promql() {
        let selector = r#"m{a="b"}"#;
        for text in [
            aggregate("sum", &["a", "b"], &over("increase", selector, "5m")),
            aggregate::<&str>("max", &[], selector),
            topk(3, selector),
            call("timestamp", selector),
            subquery("max_over_time", &at_most(selector, 1e18), "1d", "5m"),
            range(selector, "90s"),
            matching("m", &[("a", "x|\"y\""), ("b", &alternatives(&["c.d", "e-f"]))]),
            aggregate("count", &["__name__"], &any_of(&["a_total".into(), "b:c".into(), "d.e".into()])),
        ] {
            assert!(promql_parser::parser::parse(&text).is_ok(), "{text}");
        }
        assert_eq!(aggregate("count", &["a"], "m"), "count by (a) (m)");
        assert_eq!(any_of(&["a.b".into()]), r#"{__name__=~"a\\.b"}"#);
        let names = alternatives(&["a.b", "checkout-service"]);
        assert_eq!(matching("m", &[("deployment", &names)]), r#"m{deployment=~"a\\.b|checkout\\-service"}"#);
    }
}
