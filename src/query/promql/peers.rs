//! What rules of other tools ask around the error ratios of an SLO, as far as their alerts are made of it.
//!
//! Deliberately absent: which windows and bounds. Those are the clauses of the SLO.

/// `(bad) / (total)`.
pub fn quotient(bad: &str, total: &str) -> String {
    format!("({bad}) / ({total})")
}

/// Both windows of a clause over its bound.
pub fn both_over(short: &str, long: &str, bound: f64) -> String {
    format!("((({short}) > {bound}) and (({long}) > {bound}))")
}

/// Any of these.
pub fn any(all: &[String]) -> String {
    all.join(" or ")
}

/// The largest of what differs in one label alone.
pub fn largest_without(label: &str, expr: &str) -> String {
    format!("max without ({label}) ({expr})")
}

/// At how many moments, `step` apart, there was any series in the `window` before.
pub fn moments_with(expr: &str, window: impl std::fmt::Display, step: impl std::fmt::Display) -> String {
    format!("count_over_time((count({expr}))[{window}:{step}])")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_together_is_promql() {
        let ratio = quotient("sum(rate(a[5m]))", "sum(rate(b[5m]))");
        let clause = both_over(&ratio, &largest_without("sloth_window", "x:y{a=\"b\"}"), 0.0144);
        for text in [any(&[clause.clone(), clause]), moments_with("x:y", "1d", "5m")] {
            assert!(promql_parser::parser::parse(&text).is_ok(), "{text}");
        }
    }
}
