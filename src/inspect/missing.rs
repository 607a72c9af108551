//! Why a selector finds nothing, or finds what it should not: a metric that is not there, a label that nobody has, a value
//! that no series has, a metric of another kind.
//!
//! Each is a cheap query or two, asked only where something is wrong. Deliberately absent: guesses that were not looked up.

use promql_parser::label::{MatchOp, Matcher};
use serde::Serialize;
use serde_json::Value;

use crate::prometheus::{Client, Fault};
use crate::query::RawSeries;
use crate::query::promql::expr;
use crate::query::selector::Selector;

/// Values of a label that are named.
const VALUES_SHOWN: usize = 5;
/// Values of a label that are looked through for one that was meant.
const VALUES_MAX: usize = 50;
/// Labels that every scraped series has.
const OF_TARGETS: [&str; 2] = ["job", "instance"];

/// Why `selector` finds no series; `part` is what it was looked for as (`total`, `count`, `bucket`, ...).
pub async fn why(client: &Client, selector: &str, part: &str, at_s: i64) -> Result<String, Fault> {
    let Ok(parsed) = Selector::parse(selector) else { return Ok("it has no value".to_owned()) };
    if count(client, &parsed.metric, at_s).await? == 0 {
        return no_metric(client, &parsed.metric, part, at_s).await;
    }
    Ok(match unmatched(client, &parsed.metric, parsed.matchers.iter(), true, at_s).await? {
        Some(text) => text,
        None => format!("{} has series, and none that all of these labels match", parsed.metric),
    })
}

/// Says so where a matcher asks bad events for a label that no series of the metric has. That a value is not there is no
/// fault (see [`values`]), nor what should not be there: what has not failed yet has no series, and some labels stand on
/// failures alone.
pub async fn label_of_bad(client: &Client, selector: &str, at_s: i64) -> Result<Option<String>, Fault> {
    match Selector::parse(selector) {
        Ok(parsed) if count(client, &parsed.metric, at_s).await? > 0 => {
            let asks = |op: &MatchOp| matches!(op, MatchOp::Equal | MatchOp::Re(_));
            let matchers = parsed.matchers.iter().filter(|matcher| asks(&matcher.op));
            unmatched(client, &parsed.metric, matchers, false, at_s).await
        }
        _ => Ok(None),
    }
}

/// The values that the label of a matcher has on series that everything else matches.
#[derive(Debug)]
pub struct Values {
    matcher: Matcher,
    there: Vec<String>,
}

/// A value that is looked for and not there, while another one is spelled nearly so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NearMiss {
    /// What is there, and what was looked for.
    pub said: String,
    /// The matcher as it should stand.
    pub write: String,
}

/// What the labels of a selector's matchers hold, for those that ask for values.
///
/// # Errors
/// What the server says.
pub async fn values(client: &Client, selector: &str, at_s: i64) -> Result<Vec<Values>, Fault> {
    let Ok(parsed) = Selector::parse(selector) else { return Ok(Vec::new()) };
    let mut all = Vec::new();
    for (place, matcher) in parsed.matchers.iter().enumerate() {
        if !matches!(matcher.op, MatchOp::Equal | MatchOp::Re(_)) {
            continue;
        }
        let mut others = parsed.clone();
        others.matchers.remove(place);
        let Ok(text) = others.to_promql() else { continue };
        let name = &matcher.name;
        let rows = client.query(&expr::aggregate("count", &[name], &text), at_s).await?.series;
        let there = rows.iter().map(|row| row.label(name).to_owned()).filter(|value| !value.is_empty());
        all.push(Values { matcher: matcher.clone(), there: there.take(VALUES_MAX).collect() });
    }
    Ok(all)
}

impl Values {
    /// What is there where nothing matches.
    pub fn instead(&self) -> Option<String> {
        let none = !self.there.is_empty() && !self.there.iter().any(|value| self.matcher.is_match(value));
        let shown: Vec<&str> = self.there.iter().take(VALUES_SHOWN).map(String::as_str).collect();
        none.then(|| format!("{} is {}", self.matcher.name, listed(&shown)))
    }

    /// A value that does not match, and that what was written nearly is.
    pub fn near(&self) -> Option<NearMiss> {
        let written: Vec<&str> = match &self.matcher.op {
            MatchOp::Equal => vec![&self.matcher.value],
            MatchOp::Re(_) => self.matcher.value.split('|').collect(),
            _ => return None,
        };
        let is_there = |written: &str| self.there.iter().any(|value| value == written);
        let missed = || self.there.iter().filter(|value| !self.matcher.is_match(value));
        let pairs = written.iter().filter(|written| !is_there(written)).filter_map(|written| {
            let near = missed().find(|value| alike(written, value))?;
            Some((*written, near.as_str()))
        });
        let pairs: Vec<(&str, &str)> = pairs.collect();
        let (first, near) = *pairs.first()?;
        let corrected: Vec<&str> =
            written.iter().map(|own| pairs.iter().find(|(old, _)| old == own).map_or(*own, |(_, new)| *new)).collect();
        let (name, op) = (&self.matcher.name, &self.matcher.op);
        Some(NearMiss {
            said: format!("there is {name}={near:?}, and {first:?} is written"),
            write: format!("{name}{op}{:?}", corrected.join("|")),
        })
    }
}

/// Whether somebody who wrote `written` may have meant `value`: the same but for case and punctuation, one the beginning
/// of the other, or a slip of the pen.
fn alike(written: &str, value: &str) -> bool {
    let plain = |text: &str| -> Vec<char> {
        text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
    };
    let (a, b) = (plain(written), plain(value));
    if a == b {
        return !a.is_empty();
    }
    // Numbers that differ by a digit are other numbers, and a pattern is no value.
    let is_word = |text: &[char]| text.len() >= 4 && text.iter().any(|c| c.is_alphabetic());
    let plain_text = written.chars().all(|c| c.is_alphanumeric() || "_- ".contains(c));
    plain_text
        && is_word(&a)
        && is_word(&b)
        && (a.starts_with(&b) || b.starts_with(&a) || distance(&a, &b) <= a.len() / 4)
}

/// Letters to add, drop or change.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let change = corner + usize::from(x != y);
            corner = row[j + 1];
            row[j + 1] = change.min(corner + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// The first of these matchers that no series of `metric` satisfies, in words.
async fn unmatched<'a>(
    client: &Client,
    metric: &String,
    matchers: impl Iterator<Item = &'a Matcher>,
    values_too: bool,
    at_s: i64,
) -> Result<Option<String>, Fault> {
    for matcher in matchers {
        let alone = Selector { metric: metric.clone(), matchers: vec![matcher.clone()] };
        let Ok(text) = alone.to_promql() else { continue };
        if count(client, &text, at_s).await? > 0 {
            continue;
        }
        let name = &matcher.name;
        let rows = client.query(&expr::aggregate("count", &[name], metric), at_s).await?.series;
        let values = rows.iter().map(|row| row.label(name)).filter(|value| !value.is_empty());
        let values: Vec<&str> = values.take(VALUES_SHOWN).collect();
        if values.is_empty() {
            let labels = labels_of(client, metric, at_s).await?;
            return Ok(Some(format!("no series of {metric} has a label {name}; its labels are {labels}")));
        }
        if values_too {
            return Ok(Some(format!("no series of {metric} has {matcher}; {name} is {}", listed(&values))));
        }
    }
    Ok(None)
}

/// Says so where Prometheus knows a metric as something that cannot be read as `part`.
pub async fn other_kind(client: &Client, selector: &str, part: &str) -> Option<String> {
    let metric = Selector::parse(selector).ok()?.metric;
    let kind = kind_of(client, &metric).await?;
    match (part, kind.as_str()) {
        ("total" | "bad" | "good" | "through", "gauge") => Some(format!(
            "{metric} is a gauge, and a counter belongs here: of a gauge write sli: {{gauge: ..., max: ...}}"
        )),
        ("value" | "waiting", "counter") => {
            Some(format!("{metric} is a counter, and a value belongs here: a gauge, a quantile or a rate of it"))
        }
        _ => None,
    }
}

async fn no_metric(client: &Client, metric: &str, part: &str, at_s: i64) -> Result<String, Fault> {
    let base = ["_bucket", "_count"].iter().find_map(|end| metric.strip_suffix(end)).unwrap_or(metric);
    let is_histogram = ["bucket", "count"].contains(&part);
    match kind_of(client, base).await.as_deref() {
        Some("summary") if is_histogram => {
            return Ok(format!(
                "{base} is a summary: it has quantiles and no buckets. Write sli: {{gauge: '{}'}}",
                expr::worst_quantile(base, "0.95")
            ));
        }
        Some(kind @ ("counter" | "gauge")) if is_histogram => {
            return Ok(format!("{base} is a {kind}, and a histogram belongs here"));
        }
        Some("histogram") if !is_histogram => {
            return Ok(format!("{metric} is a histogram: what it counts is {metric}_count"));
        }
        _ => {}
    }
    let others = match metric.strip_suffix("_total") {
        Some(short) => vec![short.to_owned()],
        None => vec![format!("{metric}_total"), format!("{metric}_seconds"), format!("{metric}_count")],
    };
    for other in others {
        if count(client, &other, at_s).await? > 0 {
            return Ok(format!("there is no metric {metric}, but there is {other}"));
        }
    }
    Ok(format!("there is no metric {metric}"))
}

/// The `# TYPE` of a metric, where targets say one.
async fn kind_of(client: &Client, metric: &str) -> Option<String> {
    let pairs = [("metric", metric.to_owned()), ("limit", "1".to_owned())];
    let data: Value = client.get("api/v1/metadata", &pairs).await.ok()?;
    Some(data[metric][0]["type"].as_str()?.to_owned())
}

/// Series of a selector.
async fn count(client: &Client, selector: &str, at_s: i64) -> Result<u64, Fault> {
    let answer = client.query(&expr::call("count", selector), at_s).await?;
    Ok(answer.series.first().and_then(|row| row.samples.iter().last()).map_or(0, |(_, count)| count as u64))
}

/// Labels that a series of a metric has, beside those of its target.
async fn labels_of(client: &Client, metric: &str, at_s: i64) -> Result<String, Fault> {
    let answer = client.query(&expr::topk(1, metric), at_s).await?;
    let names = |row: &RawSeries| -> Vec<String> {
        let own = |name: &String| name != "__name__" && !OF_TARGETS.contains(&name.as_str());
        row.labels.iter().map(|(name, _)| name.clone()).filter(own).collect()
    };
    let mut names = answer.series.first().map(names).unwrap_or_default();
    names.extend(OF_TARGETS.map(str::to_owned));
    Ok(names.join(", "))
}

fn listed(values: &[&str]) -> String {
    let all: Vec<String> = values.iter().map(|value| format!("{value:?}")).collect();
    let more = if values.len() == VALUES_SHOWN { ", ..." } else { "" };
    format!("{}{more}", all.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(matcher: &str, there: &[&str]) -> Values {
        let selector = Selector::parse(&format!("m{{{matcher}}}")).expect("a selector");
        Values { matcher: selector.matchers[0].clone(), there: there.iter().map(|&value| value.to_owned()).collect() }
    }

    fn write(matcher: &str, there: &[&str]) -> Option<String> {
        values(matcher, there).near().map(|near| near.write)
    }

    #[test]
    fn a_value_that_is_spelled_nearly_so_is_named() {
        assert_eq!(
            write("grpc_code=\"Unavailable\"", &["OK", "UNAVAILABLE"]).as_deref(),
            Some("grpc_code=\"UNAVAILABLE\"")
        );
        assert_eq!(
            write("grpc_code=~\"Unavailable|DeadlineExceeded|Internal\"", &["OK", "UNAVAILABLE", "DEADLINE_EXCEEDED"])
                .as_deref(),
            Some("grpc_code=~\"UNAVAILABLE|DEADLINE_EXCEEDED|Internal\"")
        );
        assert_eq!(write("result=~\"fail|error\"", &["ok", "failed"]).as_deref(), Some("result=~\"failed|error\""));
        assert_eq!(write("result=\"eror\"", &["ok", "error"]).as_deref(), Some("result=\"error\""));
        // One of two is right, the other is not.
        assert_eq!(write("s=~\"ERROR|Timeout\"", &["OK", "ERROR", "TIMEOUT"]).as_deref(), Some("s=~\"ERROR|TIMEOUT\""));
    }

    #[test]
    fn what_has_not_failed_yet_is_no_slip_of_the_pen() {
        assert_eq!(write("code=~\"5..\"", &["200", "404"]), None);
        assert_eq!(write("code=\"500\"", &["200", "501"]), None);
        assert_eq!(write("result=\"error\"", &["ok", "denied"]), None);
        assert_eq!(write("code=\"500\"", &["500", "200"]), None);
        let instead = values("code=\"500\"", &["200", "404"]).instead();
        assert_eq!(instead.as_deref(), Some("code is \"200\", \"404\""));
        assert_eq!(values("code=\"500\"", &["500", "200"]).instead(), None);
    }
}
