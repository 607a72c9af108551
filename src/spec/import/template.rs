//! The text of a foreign query: its window placeholder, and the tree it parses to.
//!
//! A placeholder becomes a range that nobody writes, so that the whole is PromQL; it is told from other ranges by its
//! length. Printed again, that range becomes `[slice]`, which `SliSource::Query` knows.

use std::time::Duration;

use promql_parser::parser::{self, Call, Expr, LabelModifier, MatrixSelector, VectorSelector};
use promql_parser::util::visitor::{ExprVisitor, ExprVisitorMut, walk_expr, walk_expr_mut};

use crate::spec::selector::{self, SelectorFault};

/// Stands for the window of the tool: a prime number of seconds, so that no range of a user is equal to it.
pub(crate) const WINDOW: Duration = Duration::from_secs(7919);
/// `WINDOW` as it is written, and as it is printed.
const SPELLED: [&str; 2] = ["7919s", "2h11m59s"];

/// How a tool marks the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    /// Sloth: `{{.window}}`, needed in every query.
    Braces,
    /// slo-generator: `[window]`.
    Word,
    /// No mark: ranges are written out, or there are none.
    None,
}

/// Parses a query; `WINDOW` stands where the mark was.
///
/// # Errors
/// Not PromQL of a vector or scalar; another template variable; no mark where one is needed.
pub(crate) fn parse(text: &str, mark: Mark) -> Result<Expr, SelectorFault> {
    let fault = |what: &str, advice: &str| {
        Err(SelectorFault { what: what.into(), selector: None, advice: Some(advice.into()) })
    };
    if SPELLED.iter().any(|spelled| text.contains(&format!("[{spelled}"))) {
        return fault("a range of 7919s cannot be told from the window", "another range");
    }
    let (plain, marks) = match mark {
        Mark::Braces => without_braces(text)?,
        Mark::Word => (text.replace("[window]", "[7919s]"), text.matches("[window]").count()),
        Mark::None => (text.to_string(), 0),
    };
    if mark == Mark::Braces && marks == 0 {
        return fault("this query has no {{.window}}", "the range as [{{.window}}]");
    }
    let expr = selector::gauge(&plain)?;
    if ranges(&expr).iter().filter(|range| **range == WINDOW).count() != marks {
        return fault(
            "the window may only stand as the range of a selector",
            "rate(http_requests_total[{{.window}}]), and no subquery or offset of it",
        );
    }
    Ok(expr)
}

/// Replaces `{{.window}}`, with or without blanks, and counts; anything else in double braces is refused.
fn without_braces(text: &str) -> Result<(String, usize), SelectorFault> {
    let (mut out, mut rest, mut count) = (String::with_capacity(text.len()), text, 0);
    while let Some(open) = rest.find("{{") {
        let (before, from) = rest.split_at(open);
        out += before;
        let inner = from[2..].split_once("}}");
        match inner {
            Some((name, after)) if name.trim().trim_matches('-').trim() == ".window" => {
                out += SPELLED[0];
                count += 1;
                rest = after;
            }
            _ => {
                let shown: String = from.chars().take(40).collect();
                return Err(SelectorFault {
                    what: format!("{shown:?}: a query knows only {{{{.window}}}}"),
                    selector: None,
                    advice: Some("the value itself".into()),
                });
            }
        }
    }
    Ok((out + rest, count))
}

/// All ranges of selectors in an expression.
pub(crate) fn ranges(expr: &Expr) -> Vec<Duration> {
    struct Ranges(Vec<Duration>);
    impl ExprVisitor for Ranges {
        type Error = ();

        fn pre_visit(&mut self, expr: &Expr) -> Result<bool, ()> {
            if let Expr::MatrixSelector(matrix) = expr {
                self.0.push(matrix.range);
            }
            Ok(true)
        }
    }
    let mut found = Ranges(Vec::new());
    let _ = walk_expr(&mut found, expr);
    found.0
}

/// The expression as `SliSource::Query` has it, `[slice]` for the window; `increase` becomes `rate`, whose unit is
/// known. Bare counters are wrapped in `rate` where `counters` says so.
pub(crate) fn foreign(expr: &Expr, counters: bool) -> String {
    struct Rewrite {
        wrap: bool,
        rate: parser::Function,
    }
    impl ExprVisitorMut for Rewrite {
        type Error = ();

        fn pre_visit(&mut self, expr: &mut Expr) -> Result<bool, ()> {
            match expr {
                Expr::Call(call) if call.func.name == "increase" && takes_window(call) => call.func = self.rate.clone(),
                Expr::VectorSelector(vs) if self.wrap => *expr = rated(vs, self.rate.clone()),
                _ => {}
            }
            Ok(true)
        }
    }
    let Ok(Expr::Call(call)) = parser::parse("rate(m[1m])") else { return expr.to_string() };
    let mut changed = expr.clone();
    let mut rewrite = Rewrite { wrap: counters && ranges(expr).is_empty(), rate: call.func };
    let _ = walk_expr_mut(&mut rewrite, &mut changed);
    changed.to_string().replace(&format!("[{}]", SPELLED[1]), "[slice]")
}

fn takes_window(call: &Call) -> bool {
    matches!(call.args.args.first().map(|arg| &**arg), Some(Expr::MatrixSelector(matrix)) if matrix.range == WINDOW)
}

fn rated(vs: &VectorSelector, rate: parser::Function) -> Expr {
    let matrix = Expr::MatrixSelector(MatrixSelector { vs: vs.clone(), range: WINDOW });
    Expr::Call(Call { func: rate, args: parser::FunctionArgs::new_args(matrix) })
}

/// The labels that an expression is summed by, where the outermost aggregations agree on them.
pub(crate) fn grouping(expr: &Expr) -> Vec<String> {
    match expr {
        Expr::Paren(paren) => grouping(&paren.expr),
        Expr::Binary(binary) => {
            let (left, right) = (grouping(&binary.lhs), grouping(&binary.rhs));
            if right.is_empty() { left } else { right }
        }
        Expr::Aggregate(aggregate) => match &aggregate.modifier {
            Some(LabelModifier::Include(labels)) => {
                let mut labels = labels.labels.clone();
                labels.sort();
                labels.dedup();
                labels
            }
            _ => Vec::new(),
        },
        Expr::Call(call) => match call.args.args.as_slice() {
            [only] => grouping(only),
            [_, second] => grouping(second).into_iter().filter(|label| label != "le").collect(),
            _ => Vec::new(),
        },
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_is_found_in_every_spelling_and_printed_as_the_slice() {
        for text in ["rate(m[{{.window}}])", "rate(m[{{ .window }}])", "rate(m[{{- .window -}}])"] {
            let expr = parse(text, Mark::Braces).expect(text);
            assert_eq!(ranges(&expr), [WINDOW]);
            assert_eq!(foreign(&expr, false), "rate(m[slice])");
        }
        assert_eq!(
            parse("sum(increase(m[window]))", Mark::Word).map(|e| foreign(&e, false)),
            Ok("sum(rate(m[slice]))".into())
        );
        assert_eq!(
            parse("sum(a) + sum(b)", Mark::None).map(|e| foreign(&e, true)),
            Ok("sum(rate(a[slice])) + sum(rate(b[slice]))".into())
        );
    }

    #[test]
    fn what_is_no_window_is_refused() {
        for (text, mark) in [
            ("rate(m[5m])", Mark::Braces),
            ("rate(m[{{.windw}}])", Mark::Braces),
            ("rate(m[{{.window}]", Mark::Braces),
            ("rate(m[{{.window}}]) or rate(m[7919s])", Mark::Braces),
            ("max_over_time(m[{{.window}}:1m])", Mark::Braces),
            ("m offset {{.window}}", Mark::Braces),
            ("m[window]", Mark::Word),
        ] {
            assert!(parse(text, mark).is_err(), "{text}");
        }
    }
}
