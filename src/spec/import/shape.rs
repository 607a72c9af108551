//! What a foreign query counts, where that can be read from it exactly.
//!
//! `sum by (l) (rate(m{...}[w]))` counts what the counter `m` gains, for each `l`. Two of those, divided or subtracted
//! in the ways people write ratios, are two counters or a histogram, and Slowburn reads their raw samples. Everything
//! else keeps its query and says why.

use promql_parser::label::{MatchOp, Matcher};
use promql_parser::parser::{
    BinModifier, BinaryExpr, Expr, LabelModifier, VectorMatchCardinality, VectorSelector, token,
};

use super::template::WINDOW;
use crate::spec::selector;

/// One count: what a counter gains, summed by labels.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Count {
    pub selector: VectorSelector,
    /// Sorted.
    pub by: Vec<String>,
}

/// What was read exactly.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Exact {
    Bad {
        total: Count,
        bad: Count,
    },
    Good {
        total: Count,
        good: Count,
    },
    /// Good events are those in the bucket.
    Histogram {
        selector: VectorSelector,
        le: f64,
        by: Vec<String>,
    },
}

/// Why it cannot be.
pub(crate) type Why = String;

/// Why a difference counts nothing at all: more is taken off than is there.
pub(crate) const BELOW_ZERO: &str = "all events are taken from a part of them, which is never over zero";

/// How to read, and what was passed over while reading.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    /// Selectors without a range are counters.
    pub bare: bool,
    /// Written-out ranges, `[5m]`, stand for the window.
    pub fixed: bool,
    /// What was rewritten without changing what is counted.
    pub notes: Vec<String>,
}

impl Reading {
    fn note(&mut self, note: impl Into<String>) {
        let note = note.into();
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// Bad events and all events.
    pub fn events(&mut self, bad: &Expr, total: &Expr) -> Result<Exact, Why> {
        let total = self.count(total)?;
        let exact = match self.strip(bad) {
            Expr::Binary(difference) if difference.op.id() == token::T_SUB => {
                plain_matching(difference.modifier.as_ref(), &total.by)?;
                let (all, part) = (self.count(&difference.lhs)?, self.count(&difference.rhs)?);
                if all != total && (part == total || selector::contains(&part.selector, &all.selector)) {
                    return Err(BELOW_ZERO.into());
                }
                if all != total {
                    return Err("what the errors are taken from is not the total".into());
                }
                Exact::Good { good: part, total }
            }
            other => Exact::Bad { bad: self.count(other)?, total },
        };
        settled(exact)
    }

    /// Good events and all events.
    pub fn good_events(&mut self, good: &Expr, total: &Expr) -> Result<Exact, Why> {
        let (good, total) = (self.count(good)?, self.count(total)?);
        settled(Exact::Good { total, good })
    }

    /// A ratio of bad events, or of good ones.
    pub fn ratio(&mut self, expr: &Expr, of_good: bool) -> Result<Exact, Why> {
        match self.strip(expr) {
            Expr::Binary(one_minus) if one_minus.op.id() == token::T_SUB && is_number(&one_minus.lhs, 1.0) => {
                self.ratio(&one_minus.rhs, !of_good)
            }
            Expr::Binary(division) if division.op.id() == token::T_DIV => {
                let by = self.count(&division.rhs)?.by;
                plain_matching(division.modifier.as_ref(), &by)?;
                match of_good {
                    false => self.events(&division.lhs, &division.rhs),
                    true => match self.events(&division.lhs, &division.rhs)? {
                        // A good part that is a difference: what is taken off is bad.
                        Exact::Good { total, good } => settled(Exact::Bad { total, bad: good }),
                        Exact::Bad { total, bad } => settled(Exact::Good { total, good: bad }),
                        Exact::Histogram { .. } => Err("events over the bucket's bound are the good ones".into()),
                    },
                }
            }
            _ => Err("it is no division of two counts".into()),
        }
    }

    /// One count.
    pub fn one(&mut self, expr: &Expr) -> Result<Count, Why> {
        self.count(expr)
    }

    /// A count behind brackets, sums, a rate and what keeps a query from having no answer.
    fn count(&mut self, expr: &Expr) -> Result<Count, Why> {
        match self.strip(expr) {
            Expr::Aggregate(sum) if sum.op.id() == token::T_SUM => {
                let by = match &sum.modifier {
                    None => Vec::new(),
                    Some(LabelModifier::Include(labels)) => sorted(labels.labels.clone()),
                    Some(LabelModifier::Exclude(_)) => {
                        return Err(
                            "`without` leaves labels that are not named: each series of its answer is judged by itself"
                                .into(),
                        );
                    }
                };
                let mut count = self.summed(&sum.expr)?;
                count.by = by;
                Ok(count)
            }
            Expr::VectorSelector(vs) if self.bare => Ok(Count { selector: counter(vs)?, by: Vec::new() }),
            Expr::Binary(plus) if plus.op.id() == token::T_ADD => {
                let (a, b) = (self.count(&plus.lhs)?, self.count(&plus.rhs)?);
                joined(&a, &b).ok_or_else(|| "it adds counts of different selectors".to_string())
            }
            Expr::Call(_) => Err("it is not summed: each series of its answer is judged by itself".into()),
            other => Err(format!("it is no sum of a rate ({})", kind(other))),
        }
    }

    /// What stands inside of a sum.
    fn summed(&mut self, expr: &Expr) -> Result<Count, Why> {
        match self.strip(expr) {
            Expr::Call(call) => {
                if !matches!(call.func.name, "rate" | "increase") {
                    return Err(format!("{}() does not count", call.func.name));
                }
                let Some(Expr::MatrixSelector(matrix)) = call.args.args.first().map(|arg| &**arg) else {
                    return Err(format!("{}() of something else than a counter", call.func.name));
                };
                if matrix.range != WINDOW {
                    if !self.fixed {
                        return Err("a range is written out beside the window".into());
                    }
                    self.note("ranges that are written out stand for the window: each increment is counted once");
                }
                Ok(Count { selector: counter(&matrix.vs)?, by: Vec::new() })
            }
            inner => self.count(inner),
        }
    }

    /// The expression without brackets and guards that only matter where there are no events.
    fn strip<'e>(&mut self, expr: &'e Expr) -> &'e Expr {
        match expr {
            Expr::Paren(paren) => self.strip(&paren.expr),
            Expr::Binary(or) if or.op.id() == token::T_LOR && is_constant_vector(&or.rhs) => {
                self.note("`or vector(...)` is left out: no bad events are none, and no events are no ratio");
                self.strip(&or.lhs)
            }
            Expr::Binary(compared) if is_guard(compared) => {
                self.note("`> 0` is left out: without events there is no ratio");
                self.strip(&compared.lhs)
            }
            Expr::Call(call) if matches!(call.func.name, "clamp_min" | "clamp_max") => {
                match call.args.args.as_slice() {
                    [inner, bound] if matches!(&**bound, Expr::NumberLiteral(n) if n.val == 0.0 || n.val == 1.0) => {
                        self.note(format!("{}() is left out: counts keep a ratio between 0 and 1", call.func.name));
                        self.strip(inner)
                    }
                    _ => expr,
                }
            }
            other => other,
        }
    }
}

fn kind(expr: &Expr) -> String {
    match expr {
        Expr::Aggregate(aggregate) => aggregate.op.to_string(),
        Expr::Binary(binary) => format!("`{}`", binary.op),
        Expr::Unary(_) => "a sign".into(),
        Expr::NumberLiteral(_) => "a number".into(),
        Expr::VectorSelector(_) => "a value as it is".into(),
        Expr::Subquery(_) => "a subquery".into(),
        _ => "another expression".into(),
    }
}

/// A selector that the query module can read.
fn counter(vs: &VectorSelector) -> Result<VectorSelector, Why> {
    let mut found = selector::selector(&vs.to_string()).map_err(|fault| fault.what)?;
    let name = found.name.clone().unwrap_or_default();
    // The bucket up to infinity is the count.
    if let (Some(base), Some(bound)) = (name.strip_suffix("_bucket"), le_of(&found))
        && bound == f64::INFINITY
    {
        found.name = Some(format!("{base}_count"));
        found.matchers.matchers.retain(|matcher| matcher.name != "le");
    }
    Ok(found)
}

/// The bound that a selector's `le` fixes: `0.5`, or a regular expression of one number's spellings.
pub(crate) fn le_of(vs: &VectorSelector) -> Option<f64> {
    let found = vs.matchers.find_matchers("le");
    let [matcher] = found.as_slice() else { return None };
    let number = |text: &str| text.trim().parse::<f64>().ok().filter(|bound| !bound.is_nan());
    match &matcher.op {
        MatchOp::Equal => number(&matcher.value),
        MatchOp::Re(_) => {
            let plain = matcher.value.replace("(\\.0)?", "").replace("\\.", ".");
            let mut spellings = plain.split('|').map(number);
            let first = spellings.next()??;
            spellings.all(|bound| bound == Some(first)).then_some(first)
        }
        _ => None,
    }
}

/// The groupings agree, the parts differ, and a count and its bucket are a histogram.
fn settled(exact: Exact) -> Result<Exact, Why> {
    let (total, part) = match &exact {
        Exact::Bad { total, bad: part } | Exact::Good { total, good: part } => (total, part),
        Exact::Histogram { .. } => return Ok(exact),
    };
    if total.by != part.by {
        return Err("its parts are grouped by different labels".into());
    }
    if total.selector == part.selector {
        return Err("both of its parts select the same".into());
    }
    let base = |vs: &VectorSelector, suffix: &str| vs.name.as_deref()?.strip_suffix(suffix).map(str::to_string);
    if let (Exact::Good { .. }, Some(count), Some(bucket), Some(le)) =
        (&exact, base(&total.selector, "_count"), base(&part.selector, "_bucket"), le_of(&part.selector))
    {
        let mut plain = part.selector.clone();
        plain.matchers.matchers.retain(|matcher| matcher.name != "le");
        if count == bucket && plain.matchers == total.selector.matchers {
            plain.name = Some(bucket);
            return Ok(Exact::Histogram { selector: plain, le, by: total.by.clone() });
        }
    }
    Ok(match exact {
        Exact::Bad { total, bad } => Exact::Bad { total: spelled(total)?, bad: spelled(bad)? },
        Exact::Good { total, good } => Exact::Good { total: spelled(total)?, good: spelled(good)? },
        Exact::Histogram { .. } => exact,
    })
}

/// A whole `le` is written `1` by some and `1.0` by others: both are matched.
fn spelled(count: Count) -> Result<Count, Why> {
    let Some(bound) = le_of(&count.selector).filter(|bound| bound.fract() == 0.0 && bound.abs() < 1e15) else {
        return Ok(count);
    };
    let mut selector = count.selector;
    selector.matchers.matchers.retain(|matcher| matcher.name != "le");
    let value = format!("{bound:.0}(\\.0)?");
    let re = regex::Regex::new(&format!("^(?:{value})$")).map_err(|error| error.to_string())?;
    selector.matchers.matchers.push(Matcher::new(MatchOp::Re(re), "le", &value));
    Ok(Count { selector: counter(&selector)?, by: count.by })
}

/// Two counts of one metric whose only difference is the value that each fixes for one label: no event is in both.
fn joined(a: &Count, b: &Count) -> Option<Count> {
    if a.by != b.by || a.selector.name != b.selector.name {
        return None;
    }
    let only = |own: &Count, other: &Count| -> Option<Matcher> {
        let mut rest = own.selector.matchers.matchers.iter().filter(|m| !other.selector.matchers.matchers.contains(m));
        let first = rest.next()?;
        rest.next().is_none().then(|| first.clone())
    };
    let (left, right) = (only(a, b)?, only(b, a)?);
    if left.name != right.name || left.op != MatchOp::Equal || right.op != MatchOp::Equal {
        return None;
    }
    let values = [left.value.clone(), right.value];
    let value = values.iter().map(|value| regex::escape(value)).collect::<Vec<_>>().join("|");
    let re = regex::Regex::new(&format!("^(?:{value})$")).ok()?;
    let mut selector = a.selector.clone();
    selector.matchers.matchers.retain(|matcher| *matcher != left);
    selector.matchers.matchers.push(Matcher::new(MatchOp::Re(re), &left.name, &value));
    Some(Count { selector: counter(&selector).ok()?, by: a.by.clone() })
}

/// Matching that pairs equal groups: none said, or `on` the very labels of the sums.
fn plain_matching(modifier: Option<&BinModifier>, by: &[String]) -> Result<(), Why> {
    let Some(modifier) = modifier else { return Ok(()) };
    let paired = match &modifier.matching {
        None => true,
        Some(LabelModifier::Include(labels)) => sorted(labels.labels.clone()) == by,
        Some(LabelModifier::Exclude(labels)) => labels.labels.is_empty(),
    };
    match paired && modifier.card == VectorMatchCardinality::OneToOne {
        true => Ok(()),
        false => Err("its parts are matched on other labels than they are summed by".into()),
    }
}

fn sorted(mut labels: Vec<String>) -> Vec<String> {
    labels.sort();
    labels.dedup();
    labels
}

fn is_number(expr: &Expr, wanted: f64) -> bool {
    match expr {
        Expr::Paren(paren) => is_number(&paren.expr, wanted),
        Expr::NumberLiteral(number) => number.val == wanted,
        _ => false,
    }
}

/// `vector(0)`, `vector(1)`.
fn is_constant_vector(expr: &Expr) -> bool {
    match expr {
        Expr::Paren(paren) => is_constant_vector(&paren.expr),
        Expr::Call(call) => {
            let arg = call.args.args.first();
            call.func.name == "vector" && arg.is_some_and(|arg| is_number(arg, 0.0) || is_number(arg, 1.0))
        }
        _ => false,
    }
}

/// `> 0`, `!= 0`, `>= 0`, as filters.
fn is_guard(compared: &BinaryExpr) -> bool {
    matches!(compared.op.id(), token::T_GTR | token::T_NEQ | token::T_GTE)
        && !compared.return_bool()
        && is_number(&compared.rhs, 0.0)
}
