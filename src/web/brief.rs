//! `GET /v1/slos?brief=true`: a fleet as a list shows it, for pages that read it after every evaluation.
//!
//! Of each SLO the worst series, in numbers as people read them: what nobody sees change is the same bytes, and a thousand SLOs
//! are some dozen kilobytes on the wire. Everything of one SLO is at `/v1/slos/{id}`.
//!
//! Deliberately absent: a judgement of its own. Which series is worst is told by state and budget, as everywhere.

use serde::Serialize;
use serde_json::{Map, Value};

use super::view::{SloView, urgency};
use crate::engine::{Labels, SeriesStatus, SloSnapshot};

/// Digits that fractions keep: those that anybody is shown.
const DIGITS: i32 = 3;
/// Digits of what is left of a budget, which may be thousands of percent.
const DIGITS_OF_BUDGET: i32 = 4;
/// Characters of labels of other series, by which a filter finds an SLO.
const LABELS_MAX: usize = 2_000;

/// One SLO.
#[derive(Debug, Serialize)]
pub struct Brief<'a> {
    /// As at `/v1/slos/{id}`, but `series` has the worst alone.
    #[serde(flatten)]
    slo: Map<String, Value>,
    /// How many series it has.
    series_count: usize,
    /// Labels of the others, in words.
    labels: Vec<&'a Labels>,
}

impl<'a> Brief<'a> {
    /// What a list shows of an SLO.
    pub fn of(entry: &'a SloSnapshot) -> Self {
        let worst = worst(&entry.series);
        let shown = SloView { series: worst.map(std::slice::from_ref).unwrap_or_default(), ..SloView::of(entry) };
        let Ok(Value::Object(mut slo)) = serde_json::to_value(shown) else { unreachable!("a view is an object") };
        slo.remove("clauses");
        for series in slo.get_mut("series").and_then(Value::as_array_mut).into_iter().flatten() {
            let Some(fields) = series.as_object_mut() else { continue };
            // The windows of clauses are in the clauses.
            fields.remove("windows");
            fields.remove("page");
            fields.remove("ticket");
            if let Some(window) = fields.get_mut("window").and_then(Value::as_object_mut) {
                window.remove("error_ratio");
                window.remove("burn_rate");
            }
            for (name, value) in fields {
                round(value, if name == "budget_remaining" { DIGITS_OF_BUDGET } else { DIGITS });
            }
        }
        let others = entry.series.iter().filter(|series| worst.is_none_or(|worst| series.labels != worst.labels));
        let mut left = LABELS_MAX;
        let labels = others.map(|series| &series.labels);
        let labels = labels.take_while(|labels| {
            let length: usize = labels.iter().map(|(name, value)| name.len() + value.len()).sum();
            left = left.saturating_sub(length);
            left > 0
        });
        Brief { slo, series_count: entry.series.len(), labels: labels.collect() }
    }
}

/// The series that a person has to know of first, and of those the one with the least budget.
fn worst(series: &[SeriesStatus]) -> Option<&SeriesStatus> {
    let budget = |series: &SeriesStatus| series.budget_remaining.unwrap_or(f64::INFINITY);
    series.iter().max_by(|a, b| urgency(a.state).cmp(&urgency(b.state)).then(budget(b).total_cmp(&budget(a))))
}

/// Leaves so many digits of every fraction in it.
fn round(value: &mut Value, digits: i32) {
    match value {
        Value::Number(number) if number.is_f64() => {
            // Written with so many digits and read again: 0.1, and not 0.1 and a little.
            let exact = number.as_f64().unwrap_or_default();
            let text = format!("{exact:.*e}", digits as usize - 1);
            *value = text.parse::<f64>().map_or(Value::Null, Value::from);
        }
        Value::Array(items) => items.iter_mut().for_each(|item| round(item, digits)),
        Value::Object(fields) => fields.values_mut().for_each(|field| round(field, digits)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::web::fixture;

    #[test]
    fn fractions_keep_the_digits_that_are_shown_and_counts_all_of_theirs() {
        let mut value = json!([0.123456, -42.37777, 1_234_567, 12345.678, 0.0, 1e-9, null, {"a": 14.4, "b": 99.99951}]);
        round(&mut value, 4);
        assert_eq!(value, json!([0.1235, -42.38, 1_234_567, 12350.0, 0.0, 1e-9, null, {"a": 14.4, "b": 100.0}]));
    }

    #[test]
    fn a_list_shows_the_worst_series_and_says_how_many_there_are() {
        let fleet = fixture::fleet();
        let llm = fleet.slo("llm-gateway-availability").expect("it is there");
        let brief = serde_json::to_value(Brief::of(llm)).expect("JSON");
        assert_eq!(brief["series"].as_array().map(Vec::len), Some(1));
        assert_eq!(brief["series"][0]["labels"], json!({"model": "llama-70b", "tier": "realtime"}));
        assert_eq!((&brief["series_count"], brief["labels"].as_array().map(Vec::len)), (&json!(4), Some(3)));
        assert_eq!((&brief["state"], &brief["objective"]), (&json!("slow_burn"), &json!(99.5)));
        assert!(brief["series"][0]["windows"].is_null() && brief["series"][0]["clauses"][0]["burn_long"].is_number());
    }
}
