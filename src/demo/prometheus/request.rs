//! Parameters of a request, read as Prometheus reads them.

use promql_parser::util::parse_duration;

use crate::demo::promql::{Data, Query, Refusal, matching};

/// Names and values in the order they came.
#[derive(Debug, Default)]
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Adds the pairs of a query string or a form.
    pub fn extend(&mut self, encoded: &str) {
        let mut url = reqwest::Url::parse("http://simulated/").expect("a constant URL");
        url.set_query(Some(encoded));
        self.0.extend(url.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned())));
    }

    /// The first value of `name` that is not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, value)| n == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    /// All values of `name`.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// A moment in milliseconds: seconds since the epoch with a fraction, or RFC 3339.
    pub fn time(&self, name: &str) -> Result<Option<i64>, Refusal> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let seconds = text.parse::<f64>().ok().filter(|s| s.is_finite() && s.abs() < 9e12);
        let rfc3339 = || text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond);
        let moment = seconds.map(|s| (s * 1000.0).round() as i64).or_else(rfc3339);
        moment.map(Some).ok_or_else(|| {
            Refusal::BadData(format!("invalid parameter \"{name}\": cannot parse \"{text}\" to a valid timestamp"))
        })
    }

    /// A duration in milliseconds: seconds with a fraction, or `1h30m`.
    pub fn duration(&self, name: &str) -> Result<Option<i64>, Refusal> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let seconds = text.parse::<f64>().ok().filter(|s| s.is_finite() && s.abs() < 9e9);
        let written = || parse_duration(text).ok().and_then(|d| i64::try_from(d.as_millis()).ok());
        let duration = seconds.map(|s| (s * 1000.0) as i64).or_else(written);
        duration.map(Some).ok_or_else(|| {
            Refusal::BadData(format!("invalid parameter \"{name}\": cannot parse \"{text}\" to a valid duration"))
        })
    }
}

/// Series with samples in [start, end] that one of the `match[]` selectors matches (all series without one).
pub(super) fn found(parameters: &Parameters, data: Data<'_>) -> Result<Vec<usize>, Refusal> {
    let from_ms = parameters.time("start")?.unwrap_or(0);
    let to_ms = parameters.time("end")?.unwrap_or(data.now_ms).min(data.now_ms);
    let mut found = Vec::new();
    for text in parameters.all("match[]") {
        let query = Query::parse(text).map_err(|refusal| super::invalid("match[]", refusal))?;
        let selector = query.selector().ok_or_else(|| {
            Refusal::BadData(format!("invalid parameter \"match[]\": {text:?} is not a series selector"))
        })?;
        found.extend(matching(data.scenario, selector)?);
    }
    if parameters.all("match[]").next().is_none() {
        found.extend(0..data.scenario.series().len());
    }
    found.retain(|&index| data.scenario.newest(index, from_ms, to_ms).is_some());
    found.sort_by_key(|&index| &data.scenario.series()[index].labels);
    found.dedup();
    Ok(found)
}
