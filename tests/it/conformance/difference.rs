//! Where two answers to one question differ.

use std::collections::BTreeMap;

use serde_json::Value;

/// Relative difference of two values that counts as none: sums in another order, fused multiplications.
const TOLERANCE: f64 = 1e-9;

/// Points of each series, by label set.
type Rows = BTreeMap<String, Vec<Point>>;

#[derive(Debug)]
struct Point {
    at: f64,
    value: f64,
    /// The value as it was written.
    text: String,
}

impl Point {
    /// Equal numbers must also be written alike.
    fn agrees(&self, other: &Point) -> bool {
        self.at == other.at
            && if self.value == other.value { self.text == other.text } else { close(self.value, other.value) }
    }
}

/// Where two answers to one question differ, in one sentence; `None` when they say the same. Status codes are given
/// with the bodies. Error messages may differ, error types may not.
pub(super) fn difference(real: (u16, &str), simulated: (u16, &str)) -> Option<String> {
    if real.0 != simulated.0 {
        return Some(format!("status {} and {}: {} and {}", real.0, simulated.0, brief(real.1), brief(simulated.1)));
    }
    let parse = |body: &str| serde_json::from_str::<Value>(body);
    let (real, simulated) = match (parse(real.1), parse(simulated.1)) {
        (Ok(real), Ok(simulated)) => (real, simulated),
        (real, simulated) => return Some(format!("no JSON: {:?} and {:?}", real.err(), simulated.err())),
    };
    for pointer in ["/status", "/errorType", "/data/resultType", "/data/stats/samples/totalQueryableSamples"] {
        if real.pointer(pointer) != simulated.pointer(pointer) {
            return Some(format!("{pointer} {:?} and {:?}", real.pointer(pointer), simulated.pointer(pointer)));
        }
    }
    let rows = |answer: &Value| -> Result<Rows, String> {
        let result = answer.pointer("/data/result").unwrap_or(&Value::Null);
        match answer.pointer("/data/resultType").and_then(Value::as_str) {
            Some("scalar") => Ok(BTreeMap::from([("scalar".to_owned(), vec![point(result)?])])),
            Some(_) => result.as_array().ok_or("result is no array")?.iter().map(row).collect(),
            None => Ok(BTreeMap::new()),
        }
    };
    match (rows(&real), rows(&simulated)) {
        (Ok(real), Ok(simulated)) => difference_of_rows(&real, &simulated),
        (real, simulated) => Some(format!("malformed: {:?} and {:?}", real.err(), simulated.err())),
    }
}

fn difference_of_rows(real: &Rows, other: &Rows) -> Option<String> {
    if let Some(missing) = real.keys().find(|labels| !other.contains_key(*labels)) {
        return Some(format!("{missing} is missing ({} series and {})", real.len(), other.len()));
    }
    if let Some(extra) = other.keys().find(|labels| !real.contains_key(*labels)) {
        return Some(format!("{extra} is too much ({} series and {})", real.len(), other.len()));
    }
    for (labels, points) in real {
        let simulated = &other[labels];
        if points.len() != simulated.len() {
            return Some(format!("{labels} has {} points and {}", points.len(), simulated.len()));
        }
        if let Some((a, b)) = points.iter().zip(simulated).find(|(a, b)| !a.agrees(b)) {
            return Some(format!("{labels} has {a:?} and {b:?}"));
        }
    }
    None
}

fn close(a: f64, b: f64) -> bool {
    a.is_nan() && b.is_nan() || (a - b).abs() <= TOLERANCE * a.abs().max(b.abs())
}

fn row(row: &Value) -> Result<(String, Vec<Point>), String> {
    let labels = row.get("metric").ok_or("a row without metric")?.to_string();
    let points = match (row.get("value"), row.get("values").and_then(Value::as_array)) {
        (Some(value), None) => vec![point(value)?],
        (None, Some(values)) => values.iter().map(point).collect::<Result<_, _>>()?,
        _ => return Err("a row needs value or values".into()),
    };
    Ok((labels, points))
}

fn point(point: &Value) -> Result<Point, String> {
    let at = point.get(0).and_then(Value::as_f64).ok_or("a point without time")?;
    let text = point.get(1).and_then(Value::as_str).ok_or("a value that is no string")?;
    let value = match text {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        text => text.parse().map_err(|_| format!("{text:?} is no number"))?,
    };
    Ok(Point { at, value, text: text.to_owned() })
}

fn brief(body: &str) -> String {
    body.chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str =
        r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"a":"b"},"value":[1,"2"]}]}}"#;

    #[test]
    fn equal_answers_do_not_differ_whatever_their_order() {
        let two = |first: &str, second: &str| {
            let row = |name: &str| format!(r#"{{"metric":{{"a":"{name}"}},"values":[[1.5,"NaN"],[2,"+Inf"]]}}"#);
            format!(
                r#"{{"status":"success","data":{{"resultType":"matrix","result":[{},{}]}}}}"#,
                row(first),
                row(second)
            )
        };
        assert_eq!(difference((200, ONE), (200, ONE)), None);
        assert_eq!(difference((200, &two("x", "y")), (200, &two("y", "x"))), None);
    }

    #[test]
    fn every_difference_is_seen() {
        let others = [
            ONE.replace("\"2\"", "\"2.00001\""),
            ONE.replace("[1,", "[1.001,"),
            ONE.replace("\"b\"", "\"c\""),
            ONE.replace(r#"{"metric":{"a":"b"},"value":[1,"2"]}"#, ""),
            ONE.replace("vector", "matrix").replace("\"value\":[1,\"2\"]", "\"values\":[[1,\"2\"]]"),
            ONE.replace("success", "error"),
            ONE.replace("\"2\"", "\"2.0\""),
            ONE.replace("\"2\"", "2"),
            "not JSON".to_owned(),
        ];
        for other in others {
            assert!(difference((200, ONE), (200, &other)).is_some(), "{other}");
            assert!(difference((200, &other), (200, ONE)).is_some(), "{other}");
        }
        assert!(difference((400, ONE), (422, ONE)).is_some());
        let error = |kind: &str| format!(r#"{{"status":"error","errorType":"{kind}","error":"x"}}"#);
        assert!(difference((400, &error("bad_data")), (400, &error("execution"))).is_some());
    }
}
