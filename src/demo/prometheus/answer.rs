//! Answers as JSON, number by number as Prometheus writes them (`util/jsonutil/marshal.go`).

use std::collections::BTreeSet;
use std::fmt::Write;

use super::generation::Behaviour;
use crate::demo::promql::{Answer, Stats};
use crate::demo::scenario::Sample;
use crate::engine::Labels;

/// The body of a successful query.
pub(super) fn query(answer: &Answer, stats: Option<Stats>, behaviour: &Behaviour) -> String {
    let mut out = String::from(r#"{"status":"success","data":{"resultType":""#);
    match answer {
        Answer::Scalar(sample) => {
            out.push_str(r#"scalar","result":"#);
            // Scalars alone take another way through Prometheus, which never writes an exponent.
            push_point(&mut out, sample.at_ms, &plain(sample.value));
        }
        Answer::Vector(elements) => {
            out.push_str(r#"vector","result":["#);
            for (i, (labels, sample)) in elements.iter().enumerate() {
                push_series(&mut out, i, labels);
                out.push_str(r#""value":"#);
                push_sample(&mut out, sample);
                out.push('}');
            }
            out.push(']');
        }
        Answer::Matrix(rows) => {
            out.push_str(r#"matrix","result":["#);
            for (i, row) in rows.iter().enumerate() {
                push_series(&mut out, i, &row.labels);
                out.push_str(r#""values":["#);
                for (j, sample) in row.points.iter().enumerate() {
                    if j > 0 {
                        out.push(',');
                    }
                    push_sample(&mut out, sample);
                }
                out.push_str("]}");
            }
            out.push(']');
        }
    }
    if let Some(stats) = stats {
        push_stats(&mut out, stats);
    }
    out.push('}');
    for (name, texts) in [("warnings", &behaviour.warnings), ("infos", &behaviour.infos)] {
        if !texts.is_empty() {
            write!(out, r#","{name}":{}"#, serde_json::json!(texts)).expect("writing to a string");
        }
    }
    out.push('}');
    out
}

fn push_stats(out: &mut String, stats: Stats) {
    let timings = ["evalTotalTime", "resultSortTime", "queryPreparationTime", "innerEvalTime", "execQueueTime"];
    out.push_str(r#","stats":{"timings":{"#);
    for name in timings {
        write!(out, "\"{name}\":0,").expect("writing to a string");
    }
    let Stats { queryable, peak } = stats;
    write!(out, r#""execTotalTime":0}},"samples":{{"totalQueryableSamples":{queryable},"peakSamples":{peak}}}}}"#)
        .expect("writing to a string");
}

fn push_series(out: &mut String, index: usize, labels: &Labels) {
    if index > 0 {
        out.push(',');
    }
    out.push_str(r#"{"metric":"#);
    out.push_str(&label_set(labels));
    out.push(',');
}

fn push_sample(out: &mut String, sample: &Sample) {
    push_point(out, sample.at_ms, &number(sample.value));
}

fn push_point(out: &mut String, at_ms: i64, value: &str) {
    let (s, ms) = (at_ms / 1000, at_ms % 1000);
    match ms {
        0 => write!(out, "[{s},\"{value}\"]"),
        _ => write!(out, "[{s}.{:03},\"{value}\"]", ms.abs()),
    }
    .expect("writing to a string");
}

/// A value: without exponent from 1e-6 up to 1e21, as Go's `strconv` with `'e'` outside.
fn number(value: f64) -> String {
    let size = value.abs();
    if size != 0.0 && size.is_finite() && !(1e-6..1e21).contains(&size) {
        let text = format!("{value:e}");
        let (digits, exponent) = text.split_once('e').expect("an exponent was asked for");
        let (sign, exponent) = match exponent.strip_prefix('-') {
            Some(negative) => ('-', negative),
            None => ('+', exponent),
        };
        return format!("{digits}e{sign}{exponent:0>2}");
    }
    plain(value)
}

/// A value without exponent.
fn plain(value: f64) -> String {
    match value {
        f64::INFINITY => "+Inf".into(),
        f64::NEG_INFINITY => "-Inf".into(),
        _ => value.to_string(),
    }
}

/// The body of `/series`.
pub(super) fn label_sets<'a>(sets: impl Iterator<Item = &'a Labels>) -> String {
    let sets: Vec<String> = sets.map(label_set).collect();
    format!(r#"{{"status":"success","data":[{}]}}"#, sets.join(","))
}

/// The body of `/labels` and `/label/…/values`.
pub(super) fn strings(strings: BTreeSet<&str>) -> String {
    format!(r#"{{"status":"success","data":{}}}"#, serde_json::json!(strings))
}

/// The body of a refusal.
pub(super) fn error(kind: &str, why: &str) -> String {
    format!(r#"{{"status":"error","errorType":"{kind}","error":{}}}"#, serde_json::json!(why))
}

fn label_set(labels: &Labels) -> String {
    serde_json::to_string(labels).expect("labels are strings")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_go_writes_them() {
        let cases = [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (0.1, "0.1"),
            (1_700_000_000.123, "1700000000.123"),
            (1e6, "1000000"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (1.5e300, "1.5e+300"),
            (1e-6, "0.000001"),
            (9.9e-7, "9.9e-07"),
            (-1e-10, "-1e-10"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
            (f64::NAN, "NaN"),
        ];
        for (value, text) in cases {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn timestamps_keep_three_places_or_none() {
        let mut out = String::new();
        push_point(&mut out, 1_700_000_000_120, "1");
        push_point(&mut out, 1_700_000_000_000, "2");
        push_point(&mut out, 1_700_000_000_007, "3");
        assert_eq!(out, r#"[1700000000.120,"1"][1700000000,"2"][1700000000.007,"3"]"#);
    }
}
