//! The text of a foreign query: its window placeholder, and the tree it parses to.
//!
//! A placeholder becomes a range that nobody writes, so that the whole is PromQL; it is told from other ranges by its
//! length. Printed again, that range becomes `[slice]`, which `SliSource::Query` knows.

use std::time::Duration;

use promql_parser::parser::value::ValueType;
use promql_parser::parser::{
    self, BinaryExpr, Call, Expr, LabelModifier, MatrixSelector, VectorMatchCardinality, VectorSelector, token,
};
use promql_parser::util::visitor::{ExprVisitor, ExprVisitorMut, walk_expr, walk_expr_mut};

use crate::engine::EVERY_LABEL;
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
    /// OpenSLO: `{{.window}}` as Sloth has it, or ranges that are written out, or none.
    Perhaps,
    /// No mark: ranges are written out, or there are none.
    None,
}

/// Parses a query; `WINDOW` stands where the mark was.
///
/// # Errors
/// Not PromQL of a vector or scalar; another template variable; no mark where one is needed.
pub(crate) fn parse(text: &str, mark: Mark) -> Result<Expr, SelectorFault> {
    let fault = |what: &str, advice: &str| {
        Err(SelectorFault { what: what.into(), selector: None, advice: Some(advice.into()), part: None })
    };
    if SPELLED.iter().any(|spelled| text.contains(&format!("[{spelled}"))) {
        return fault("a range of 7919s cannot be told from the window", "another range");
    }
    let (plain, marks) = match mark {
        Mark::Braces | Mark::Perhaps => without_braces(text)?,
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
            _ => return Err(other_template(text, text.len() - from.len(), inner.map(|(name, _)| name))),
        }
    }
    Ok((out + rest, count))
}

/// What stands in double braces and is no window: a slip of the pen, or a template that somebody else fills in.
fn other_template(text: &str, at: usize, inner: Option<&str>) -> SelectorFault {
    let shown: String = match inner {
        Some(inner) => text[at..].chars().take(inner.chars().count() + 4).collect(),
        None => text[at..].chars().take(2).collect(),
    };
    let name = inner.map(|inner| inner.trim().trim_matches(['-', '.', '$']).trim().to_lowercase());
    let advice = match &name {
        None => "{{.window}}, closed by }}",
        Some(name) if strsim::normalized_damerau_levenshtein(name, "window") >= 0.5 => "{{.window}}",
        Some(_) => "the value itself; where a program fills it in, such as Helm, what that program prints",
    };
    let part = Some((text[..at].chars().count(), shown.chars().count()));
    let shown: String = shown.chars().take(60).collect();
    let what = format!("{shown}: a query knows only {{{{.window}}}}");
    SelectorFault { what, selector: None, advice: Some(advice.into()), part }
}

/// The expression as PromQL that is asked as it is: where the window stood is `range`.
pub(crate) fn with_window(expr: &Expr, range: &str) -> String {
    expr.to_string().replace(&format!("[{}]", SPELLED[1]), &format!("[{range}]"))
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

/// The labels that the series of an answer have, sorted; `None` where nobody knows them beforehand, as of a query that
/// is not summed.
pub(crate) fn labels_of(expr: &Expr) -> Option<Vec<String>> {
    match expr {
        Expr::NumberLiteral(_) | Expr::StringLiteral(_) => Some(Vec::new()),
        Expr::Paren(paren) => labels_of(&paren.expr),
        Expr::Unary(unary) => labels_of(&unary.expr),
        Expr::Subquery(subquery) => labels_of(&subquery.expr),
        Expr::Aggregate(aggregate) => match (&aggregate.modifier, aggregate.op.id()) {
            (_, token::T_TOPK | token::T_BOTTOMK | token::T_LIMITK | token::T_LIMIT_RATIO) => {
                labels_of(&aggregate.expr)
            }
            (_, token::T_COUNT_VALUES) | (Some(LabelModifier::Exclude(_)), _) => None,
            (Some(LabelModifier::Include(labels)), _) => Some(sorted(labels.labels.clone())),
            (None, _) => Some(Vec::new()),
        },
        Expr::Call(call) => labels_of_call(call),
        Expr::Binary(binary) => labels_of_binary(binary),
        Expr::VectorSelector(_) | Expr::MatrixSelector(_) | Expr::Extension(_) => None,
    }
}

fn labels_of_call(call: &Call) -> Option<Vec<String>> {
    match call.func.name {
        "vector" | "scalar" | "time" | "pi" => Some(Vec::new()),
        "histogram_quantile" | "histogram_fraction" => {
            let labels = labels_of(call.args.args.last()?)?;
            Some(labels.into_iter().filter(|label| label != "le").collect())
        }
        "label_replace" | "label_join" => {
            let mut labels = labels_of(call.args.args.first()?)?;
            if let Some(Expr::StringLiteral(name)) = call.args.args.get(1).map(|arg| &**arg) {
                labels.push(name.val.clone());
            }
            Some(sorted(labels))
        }
        _ => match call.args.args.iter().find(|arg| !matches!(***arg, Expr::NumberLiteral(_) | Expr::StringLiteral(_)))
        {
            Some(arg) => labels_of(arg),
            None => Some(Vec::new()),
        },
    }
}

fn labels_of_binary(binary: &BinaryExpr) -> Option<Vec<String>> {
    let is_scalar = |expr: &Expr| expr.value_type() == ValueType::Scalar;
    if is_scalar(&binary.lhs) || is_scalar(&binary.rhs) {
        return labels_of(if is_scalar(&binary.lhs) { &binary.rhs } else { &binary.lhs });
    }
    let (left, right) = (labels_of(&binary.lhs), labels_of(&binary.rhs));
    let both = |left: Vec<String>, right: Vec<String>| Some(sorted(left.into_iter().chain(right).collect()));
    let matching = binary.modifier.as_ref().and_then(|modifier| modifier.matching.as_ref());
    match (binary.op.id(), binary.modifier.as_ref().map(|modifier| &modifier.card)) {
        (token::T_LOR, _) => both(left?, right?),
        (token::T_LAND | token::T_LUNLESS, _) => left,
        (_, Some(VectorMatchCardinality::ManyToOne(more))) => both(left?, more.labels.clone()),
        (_, Some(VectorMatchCardinality::OneToMany(more))) => both(right?, more.labels.clone()),
        _ => match (matching, left, right) {
            (Some(LabelModifier::Include(on)), _, _) => Some(sorted(on.labels.clone())),
            (Some(LabelModifier::Exclude(ignored)), left, _) => {
                Some(left?.into_iter().filter(|label| !ignored.labels.contains(label)).collect())
            }
            // Only series with equal labels meet, so both sides have the same.
            (None, Some(left), Some(right)) => both(left, right),
            (None, left, right) => left.or(right),
        },
    }
}

/// What an SLO of these queries fans out to: the labels of their answer, or each label set of it.
pub(crate) fn fan_out(queries: &[&Expr]) -> Vec<String> {
    let labels: Option<Vec<Vec<String>>> = queries.iter().map(|expr| labels_of(expr)).collect();
    labels.map_or_else(|| vec![EVERY_LABEL.to_string()], |labels| sorted(labels.concat()))
}

fn sorted(mut labels: Vec<String>) -> Vec<String> {
    labels.sort();
    labels.dedup();
    labels
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
    fn a_query_whose_labels_nobody_knows_fans_out_to_each_series_of_its_answer() {
        for (text, wanted) in [
            ("rate(m[5m])", "*"),
            ("count_over_time(up[5m]) - sum_over_time(up[5m])", "*"),
            ("sum without (instance) (rate(m[5m]))", "*"),
            ("topk(3, rate(m[5m]))", "*"),
            ("clamp_max(rate(m[5m]), 1)", "*"),
            ("(1 - avg_over_time(up[5m])) > 0", "*"),
            ("rate(a[5m]) / on (job) group_left rate(b[5m])", "*"),
            ("sum(rate(m[5m]))", ""),
            ("sum(rate(m[5m])) or vector(0)", ""),
            ("max by (b, a) (m) * 2", "a,b"),
            ("rate(a[5m]) / on (job, instance) rate(b[5m])", "instance,job"),
            ("sum by (a, b) (m) / ignoring (b) sum by (a) (n)", "a"),
            ("sum by (a) (m) / on (a) group_left (b) sum by (a, b) (n)", "a,b"),
            ("histogram_quantile(0.9, sum by (le, a) (rate(m_bucket[5m])))", "a"),
            ("label_replace(sum by (a) (m), \"z\", \"$1\", \"a\", \"(.*)\")", "a,z"),
            ("sum by (a) (m) / rate(b[5m])", "a"),
        ] {
            let expr = selector::gauge(text).expect(text);
            assert_eq!(fan_out(&[&expr]).join(","), wanted, "{text}");
        }
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
