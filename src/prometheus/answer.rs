//! The JSON of `/api/v1/query` and `/api/v1/query_range`, read without copies of what is not kept.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, de};

use super::fault::Fault;
use crate::query::{LabelSets, RawLabels, RawSeries, Samples};

/// Most characters of a foreign text that reach a log or an error.
const EXCERPT: usize = 200;

/// A decoded answer.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    /// Series with labels sorted by name.
    pub series: Vec<RawSeries>,
    /// `warnings`: part of the data may be missing.
    pub warnings: Vec<String>,
    /// Series that hold native histograms only, which no counter SLI can read as they are.
    pub histograms: usize,
    /// Of those of a vector, how fine they are; an empty one does not tell.
    pub natives: Vec<Native>,
    /// Bytes of the body.
    pub bytes: usize,
    /// The server's clock when it began to answer, seconds since the epoch: the `Date` header.
    pub server_time_s: Option<i64>,
}

impl Answer {
    /// Samples in it.
    pub fn samples(&self) -> usize {
        self.series.iter().map(|series| series.samples.len()).sum()
    }

    /// Whether every sample is a finite number.
    pub fn finite(&self) -> bool {
        self.series.iter().all(|series| series.samples.iter().all(|(_, value)| value.is_finite()))
    }
}

/// A native histogram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Native {
    /// Labels in name order.
    pub labels: Vec<(String, String)>,
    /// Its resolution: -4 is the coarsest, 8 the finest.
    pub schema: i32,
}

/// Reads a body; `sets` are the label sets that earlier ones brought.
pub fn decode(body: &[u8], sets: &Mutex<LabelSets>) -> Result<Answer, Fault> {
    let envelope: Envelope<'_> = serde_json::from_slice(body).map_err(|error| {
        Fault::NotAnAnswer(format!("{error}; it begins with {:?}", excerpt(&String::from_utf8_lossy(body))))
    })?;
    if envelope.status.0 != "success" {
        let text = |text: Option<Text<'_>>| excerpt(&text.map_or(Cow::Borrowed("no reason given"), |t| t.0));
        return Err(Fault::Refused(text(envelope.error_type), text(envelope.error)));
    }
    let data = envelope.data.ok_or_else(|| Fault::NotAnAnswer("it says success and has no data".into()))?;
    let mut answer = Answer {
        warnings: envelope.warnings.unwrap_or_default().into_iter().filter_map(|w| of_the_data(&w.0)).collect(),
        bytes: body.len(),
        ..Answer::default()
    };
    match data.result {
        Results::Series(series) => {
            for one in series {
                let pairs = match (one.values, one.value) {
                    (Some(values), _) => values,
                    (None, Some(value)) => vec![value],
                    (None, None) => {
                        answer.histograms += 1;
                        let schema = one.histogram.and_then(|HistogramSchema(schema)| schema);
                        answer.natives.extend(schema.map(|schema| Native { labels: one.metric.owned(), schema }));
                        continue;
                    }
                };
                answer.series.push(RawSeries {
                    // Whoever panicked while he held them left them whole.
                    labels: sets.lock().unwrap_or_else(PoisonError::into_inner).of(&one.metric.0),
                    samples: Samples::new(pairs.into_iter().map(|pair| (pair.at_ms, pair.value)).collect()),
                });
            }
        }
        Results::Scalar(pair) => answer
            .series
            .push(RawSeries { labels: RawLabels::default(), samples: Samples::new(vec![(pair.at_ms, pair.value)]) }),
    }
    Ok(answer)
}

/// A warning, where it says that data may be missing. From 2.54 on a server also warns of the query itself
/// (`PromQL warning: bucket label "le" is missing`), which loses no data.
fn of_the_data(warning: &str) -> Option<String> {
    (!warning.trim_start().starts_with("PromQL ")).then(|| excerpt(warning))
}

/// The start of a foreign text, in one line.
pub fn excerpt(text: &str) -> String {
    let line: String = text.chars().take(EXCERPT).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(EXCERPT).is_some() { format!("{line}...") } else { line }
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    status: Text<'a>,
    #[serde(borrow)]
    data: Option<Data<'a>>,
    #[serde(borrow, rename = "errorType")]
    error_type: Option<Text<'a>>,
    #[serde(borrow)]
    error: Option<Text<'a>>,
    #[serde(borrow)]
    warnings: Option<Vec<Text<'a>>>,
}

#[derive(Deserialize)]
struct Data<'a> {
    #[serde(borrow)]
    result: Results<'a>,
}

enum Results<'a> {
    Series(Vec<AnswerSeries<'a>>),
    Scalar(SamplePair),
}

/// A list whose first element tells whether it is `[time, "value"]` or a list of series.
impl<'de: 'a, 'a> Deserialize<'de> for Results<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Results<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of series, or [time, \"value\"]")
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                match seq.next_element::<AnswerHead>()? {
                    None => Ok(Results::Series(Vec::new())),
                    Some(AnswerHead::Time(at)) => {
                        let text: Text<'_> = seq.next_element()?.ok_or_else(|| de::Error::custom("no value"))?;
                        Ok(Results::Scalar(SamplePair { at_ms: millis(at)?, value: number(&text.0)? }))
                    }
                    Some(AnswerHead::Series(first)) => {
                        let mut series = vec![*first];
                        while let Some(next) = seq.next_element()? {
                            series.push(next);
                        }
                        Ok(Results::Series(series))
                    }
                }
            }
        }
        deserializer.deserialize_seq(List)
    }
}

enum AnswerHead<'a> {
    Time(f64),
    Series(Box<AnswerSeries<'a>>),
}

impl<'de: 'a, 'a> Deserialize<'de> for AnswerHead<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = AnswerHead<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a series or a time")
            }
            fn visit_f64<E: de::Error>(self, at: f64) -> Result<Self::Value, E> {
                Ok(AnswerHead::Time(at))
            }
            fn visit_i64<E: de::Error>(self, at: i64) -> Result<Self::Value, E> {
                Ok(AnswerHead::Time(at as f64))
            }
            fn visit_u64<E: de::Error>(self, at: u64) -> Result<Self::Value, E> {
                Ok(AnswerHead::Time(at as f64))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                AnswerSeries::deserialize(de::value::MapAccessDeserializer::new(map))
                    .map(|s| AnswerHead::Series(Box::new(s)))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

#[derive(Deserialize)]
struct AnswerSeries<'a> {
    #[serde(borrow)]
    metric: LabelPairs<'a>,
    values: Option<Vec<SamplePair>>,
    value: Option<SamplePair>,
    histogram: Option<HistogramSchema>,
}

/// The schema of a native histogram, by one of its buckets: each is `2^(2^-schema)` times as wide as the one below.
struct HistogramSchema(Option<i32>);

impl<'de> Deserialize<'de> for HistogramSchema {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Histogram {
            #[serde(default)]
            buckets: Vec<(i64, String, String, String)>,
        }
        let (_, histogram): (f64, Histogram) = Deserialize::deserialize(deserializer)?;
        let schema = |(_, lower, upper, _): &(i64, String, String, String)| {
            let (lower, upper): (f64, f64) = (lower.parse().ok()?, upper.parse().ok()?);
            let exact = -(upper / lower).log2().log2();
            // Zero buckets and those of custom bounds are no powers of two.
            (lower > 0.0 && upper.is_finite() && (exact - exact.round()).abs() < 1e-3).then_some(exact.round() as i32)
        };
        let schema = histogram.buckets.iter().find_map(schema);
        Ok(HistogramSchema(schema.filter(|schema| (-4..=8).contains(schema))))
    }
}

/// Labels in name order, borrowed as far as they can be.
struct LabelPairs<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl LabelPairs<'_> {
    fn owned(self) -> Vec<(String, String)> {
        self.0.into_iter().map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for LabelPairs<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = LabelPairs<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a label set")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::with_capacity(map.size_hint().unwrap_or(8));
                while let Some((name, value)) = map.next_entry::<Text<'de>, Text<'de>>()? {
                    pairs.push((name.0, value.0));
                }
                pairs.sort();
                Ok(LabelPairs(pairs))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

struct SamplePair {
    at_ms: i64,
    value: f64,
}

impl<'de> Deserialize<'de> for SamplePair {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (at, text): (f64, Text<'de>) = Deserialize::deserialize(deserializer)?;
        Ok(SamplePair { at_ms: millis(at)?, value: number(&text.0)? })
    }
}

fn millis<E: de::Error>(at: f64) -> Result<i64, E> {
    if at.abs() < 1e13 { Ok((at * 1000.0).round() as i64) } else { Err(E::custom(format!("{at} is no time"))) }
}

/// Prometheus writes `NaN`, `+Inf` and `-Inf`, which Rust reads as they are.
fn number<E: de::Error>(text: &str) -> Result<f64, E> {
    text.parse().map_err(|_| E::custom(format!("{:?} is no number", excerpt(text))))
}

/// A string, borrowed from the body where it has no escapes.
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Borrow;
        impl<'de> Visitor<'de> for Borrow {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Borrow)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &[u8]) -> Result<Answer, Fault> {
        decode(body, &Mutex::default())
    }

    #[test]
    fn a_matrix_with_warnings_and_odd_numbers_is_read() {
        let body = br#"{"status":"success","data":{"resultType":"matrix","result":[
            {"metric":{"__name__":"m","b":"x\"y","a":"1"},"values":[[1700000000.123,"1e+06"],[1700000030,"NaN"],[1700000060,"+Inf"]]},
            {"metric":{},"histogram":[1,{"count":"3"}]}]},"warnings":["one store is down"],"infos":["x"],"new":{"field":[1]}}"#;
        let answer = read(body).expect("readable");
        assert_eq!(answer.series.len(), 1);
        assert_eq!(answer.series[0].label("b"), "x\"y");
        let samples: Vec<_> = answer.series[0].samples.iter().collect();
        assert_eq!(samples[0], (1_700_000_000_123, 1e6));
        assert!(samples[1].1.is_nan() && samples[2].1.is_infinite());
        assert_eq!((answer.histograms, answer.warnings.as_slice()), (1, ["one store is down".to_owned()].as_slice()));
        assert!(!answer.finite());
    }

    #[test]
    fn what_a_server_says_of_the_query_is_no_loss_of_data() {
        let body = br#"{"status":"success","data":{"resultType":"vector","result":[]},"infos":["PromQL info: metric might not be a counter"],
            "warnings":["PromQL warning: encountered a mix of histograms and floats","PromQL warning: bucket label \"le\" is missing",
            "fetch series for one store: context deadline exceeded"]}"#;
        let answer = read(body).expect("readable");
        assert_eq!(answer.warnings, ["fetch series for one store: context deadline exceeded"]);
    }

    #[test]
    fn a_native_histogram_tells_how_fine_it_is() {
        let schema = |buckets: &str| {
            let body = format!(
                r#"{{"status":"success","data":{{"resultType":"vector","result":[{{"metric":{{"a":"b"}},"histogram":[1,
                {{"count":"3","sum":"1","buckets":[{buckets}]}}]}}]}}}}"#
            );
            read(body.as_bytes()).expect("readable").natives.first().map(|native| native.schema)
        };
        assert_eq!(schema(r#"[0,"0.03125","0.0340783666457893","1"]"#), Some(3));
        assert_eq!(schema(r#"[3,"-0.001","0.001","1"],[0,"0.5","1","2"]"#), Some(0));
        assert_eq!(schema(r#"[3,"-0.001","0.001","1"]"#), None, "only its zero bucket");
        assert_eq!(schema(r#"[0,"1","3","1"]"#), None, "no power of two");
        assert_eq!(schema(""), None);
    }

    #[test]
    fn vectors_and_scalars_are_read() {
        let body =
            br#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"a":"1"},"value":[5,"2"]}]}}"#;
        assert_eq!(read(body).expect("a vector").series[0].samples.iter().next(), Some((5000, 2.0)));
        let body = br#"{"status":"success","data":{"resultType":"scalar","result":[5.5,"2"]}}"#;
        assert_eq!(read(body).expect("a scalar").series[0].samples.iter().next(), Some((5500, 2.0)));
    }

    #[test]
    fn what_is_no_answer_is_a_fault_and_never_a_panic() {
        let whole = br#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"a":"1"},"values":[[5,"2"]]}]}}"#;
        for cut in 0..whole.len() {
            assert!(matches!(read(&whole[..cut]), Err(Fault::NotAnAnswer(_))), "{cut}");
        }
        for body in [
            "<html><body>502 Bad Gateway</body></html>",
            "{}",
            r#"{"status":"success"}"#,
            r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[5,"two"]]}]}}"#,
            r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1e300,"2"]]}]}}"#,
            r#"{"status":"success","data":{"resultType":"matrix","result":{"a":1}}}"#,
        ] {
            assert!(matches!(read(body.as_bytes()), Err(Fault::NotAnAnswer(_))), "{body}");
        }
        let refused = r#"{"status":"error","errorType":"too_many_requests","error":"limit \"x\""}"#;
        assert_eq!(
            read(refused.as_bytes()).err(),
            Some(Fault::Refused("too_many_requests".into(), "limit \"x\"".into()))
        );
    }
}
