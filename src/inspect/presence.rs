//! What a Prometheus holds for each SLO: how many raw series every selector finds, how often they are scraped, and for
//! histograms the buckets around the threshold. Where nothing is found, why.
//!
//! A few cheap queries each (`count by (...)`), at the moment of asking. Deliberately absent: reading samples; this says
//! whether there is something to read.

use futures_util::{StreamExt, TryStreamExt, stream};
use serde::Serialize;

use super::missing::{self, NearMiss};
use crate::prometheus::{Client, Fault};
use crate::query::plan::{Survey, parse_le, same_bound};
use crate::query::promql::{expr, falls, request};
use crate::query::selector::Selector;
use crate::spec::model::Part;
use crate::spec::{Model, SliSource, SloSpec, shown};

/// Queries under way at once.
const CONCURRENCY: usize = 4;

/// The note of a native histogram.
pub(super) const NATIVE: &str = "a native histogram";
/// Parts that must be counters.
const COUNTERS: [&str; 4] = ["total", "bad", "good", "count"];
/// A counter falls when its process restarts; one that falls in more than this share of its samples is none.
const FALLS_MAX: f64 = 0.4;
/// Scrapes are looked at over this time.
const SCRAPES_OF: &str = "10m";

/// What one selector of an SLO finds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Found {
    /// The SLO.
    pub slo: String,
    /// `total`, `bad`, `good`, `count`, `bucket` or `value`.
    pub part: &'static str,
    /// What was looked for.
    pub selector: String,
    /// Raw series there are now.
    pub raw_series: usize,
    /// Series of the SLO they fall into, by its `by` labels.
    pub series: usize,
    /// Seconds between scrapes, of what is counted.
    pub scrape_s: Option<i64>,
    /// The bucket at the threshold, as the exporter spells it.
    pub bucket: Option<String>,
    /// What is wrong with that; `None` where nothing is.
    pub problem: Option<String>,
    /// What is worth knowing although nothing is wrong.
    pub note: Option<String>,
    /// A value that is looked for and not there, while another one is spelled nearly so.
    pub near: Option<NearMiss>,
}

impl Found {
    /// Nothing looked for, nothing found.
    #[cfg(test)]
    pub(crate) fn nothing() -> Self {
        Wanted::default().nothing()
    }
}

/// Looks for everything that the SLOs of `model` read, at `at_s`. SLOs without a source are left out; of several generations
/// the one that is `known` to be there is looked for.
///
/// A query that the server refuses is a problem of its own SLO.
///
/// # Errors
/// The first query that could not be answered for another reason.
pub async fn look(client: &Client, model: &Model, known: &Survey, at_s: i64) -> Result<Vec<Found>, Fault> {
    let wanted: Vec<Wanted> = model.slos.iter().flat_map(|spec| wanted(spec, known)).collect();
    let asked = stream::iter(wanted.into_iter().map(|wanted| wanted.look(client, at_s)));
    asked.buffered(CONCURRENCY).try_collect().await
}

/// One selector to look for.
#[derive(Debug, Default)]
struct Wanted {
    slo: String,
    part: &'static str,
    selector: String,
    by: Vec<String>,
    /// Bound of the bucket that has to be among the series.
    le: Option<f64>,
    /// What it may be as a native histogram.
    native: Option<String>,
    /// It is not there in any of its generations: their names.
    generations: Vec<String>,
}

fn wanted(spec: &SloSpec, known: &Survey) -> Vec<Wanted> {
    let (Ok(all), Ok(chosen)) = (&spec.source, known.source(spec)) else { return Vec::new() };
    let mut wanted = wanted_of(spec, &chosen);
    let is_found = known.of(&spec.slo.id).is_some_and(|known| known.generation.is_some());
    if let (SliSource::Generations(all), false) = (all, is_found) {
        wanted.truncate(1);
        let names = all.iter().map(|one| one.name.clone());
        wanted.iter_mut().for_each(|wanted| wanted.generations = names.clone().collect());
    }
    wanted
}

fn wanted_of(spec: &SloSpec, source: &SliSource) -> Vec<Wanted> {
    let one = |part, selector: &str, le| Wanted {
        slo: spec.slo.id.clone(),
        part,
        selector: selector.to_owned(),
        by: spec.slo.by.clone(),
        le,
        native: None,
        generations: Vec::new(),
    };
    let histogram = |selector: &str, threshold| match Selector::parse(selector) {
        Err(_) => Vec::new(),
        Ok(base) => {
            let of = |suffix: &str| base.renamed(format!("{}_{suffix}", base.metric)).to_string();
            let all = [one("count", &of("count"), None), one("bucket", &of("bucket"), Some(threshold))];
            all.map(|wanted| Wanted { native: Some(selector.to_owned()), ..wanted }).into()
        }
    };
    match source {
        SliSource::Ratio { total, part: Part::Bad(bad) } => vec![one("total", total, None), one("bad", bad, None)],
        SliSource::Ratio { total, part: Part::Good(good) } => vec![one("total", total, None), one("good", good, None)],
        SliSource::Ratio { total, part: Part::Beside(bad) } => vec![one("good", total, None), one("bad", bad, None)],
        SliSource::Counters { total, part, good } => {
            let word = if *good { "good" } else { "bad" };
            let totals = total.iter().map(|selector| one("total", selector, None));
            totals.chain(part.iter().map(|selector| one(word, selector, None))).collect()
        }
        SliSource::Gauge { expr, .. } => vec![one("value", expr, None)],
        SliSource::Histogram { selector, threshold } => histogram(selector, *threshold),
        SliSource::Queue { histogram: selector, threshold, waiting, through, .. } => {
            let mut all = histogram(selector, *threshold);
            all.push(one("waiting", waiting, None));
            all.extend(through.iter().map(|through| one("through", through, None)));
            all
        }
        // A query of somebody else's is asked as it is, and a generation holds no generations.
        SliSource::Query { .. } | SliSource::Generations(_) => Vec::new(),
    }
}

impl Wanted {
    /// What is said while nothing is known.
    fn nothing(&self) -> Found {
        Found {
            slo: self.slo.clone(),
            part: self.part,
            selector: self.selector.clone(),
            raw_series: 0,
            series: 0,
            scrape_s: None,
            bucket: None,
            problem: None,
            note: None,
            near: None,
        }
    }

    async fn look(self, client: &Client, at_s: i64) -> Result<Found, Fault> {
        let found = self.nothing();
        match self.ask(client, at_s).await {
            Err(fault) if fault.is_of_the_query() => {
                Ok(Found { problem: Some(format!("its query is not answered: {fault}")), ..found })
            }
            asked => asked,
        }
    }

    async fn ask(self, client: &Client, at_s: i64) -> Result<Found, Fault> {
        let mut names = self.by.clone();
        names.extend(self.le.map(|_| "le".to_owned()));
        let by =
            if names.is_empty() { String::new() } else { format!(" by ({})", crate::query::promql::names(&names)) };
        let answer = client.query(&format!("count{by} ({})", self.selector), at_s).await?;
        let rows = answer.series.iter().map(|series| {
            let count = series.samples.iter().last().map_or(0.0, |(_, value)| value);
            (&series.labels, count as usize)
        });
        let mut found = self.nothing();
        let label = |labels: &[(String, String)], name: &str| {
            labels.iter().find(|(own, _)| own == name).map(|(_, value)| value.clone()).unwrap_or_default()
        };
        if let (true, Some(native)) = (answer.series.is_empty(), &self.native) {
            let counted = match client.query(&request::count(&expr::call("histogram_count", native), &[]), at_s).await {
                Ok(counted) => counted,
                // A server that knows no native histograms refuses to be asked about them; any other fault says nothing.
                Err(fault) if fault.is_refusal() => Default::default(),
                Err(fault) => return Err(fault),
            };
            let newest = counted.series.first().and_then(|series| series.samples.iter().last());
            if let Some((_, series)) = newest.filter(|(_, series)| *series > 0.0) {
                (found.raw_series, found.series) = (series as usize, 1);
                found.note = Some(NATIVE.to_owned());
                return Ok(found);
            }
        }
        let mut bounds = Vec::new();
        let mut groups = std::collections::BTreeSet::new();
        for (labels, count) in rows {
            if let Some(wanted) = self.le {
                let Some(bound) = parse_le(&label(labels, "le")) else { continue };
                bounds.push((bound, label(labels, "le"), count));
                if !same_bound(bound, wanted) {
                    continue;
                }
                found.bucket = Some(label(labels, "le"));
            }
            found.raw_series += count;
            groups.insert(self.by.iter().map(|name| label(labels, name)).collect::<Vec<_>>());
        }
        found.series = groups.len();
        found.problem = match (self.le, found.raw_series, found.part) {
            (Some(threshold), 0, _) if !bounds.is_empty() => missing_bucket(threshold, bounds, &mut found),
            (_, 0, "bad") => missing::label_of_bad(client, &found.selector, at_s).await?,
            (_, 0, part) => {
                let why = missing::why(client, &found.selector, part, at_s).await?;
                // That one generation of several has no metric there is no news; what is wrong with one that has is.
                let of_all = !self.generations.is_empty() && why.starts_with("there is no metric");
                let none =
                    || format!("none of the generations of these metrics is there ({})", self.generations.join(", "));
                Some(if of_all { none() } else { why })
            }
            _ => unlabelled(&self.by, &groups),
        };
        if found.raw_series > 0 {
            found.scrape_s = match found.part {
                "total" | "good" | "count" | "value" => scrape(client, &found.selector, at_s).await?,
                _ => None,
            };
        }
        if found.problem.is_none() && found.raw_series > 0 {
            found.problem = missing::other_kind(client, &found.selector, found.part).await;
        }
        if found.problem.is_none() && found.raw_series > 0 && COUNTERS.contains(&found.part) {
            found.problem = no_counter(client, &found.selector, at_s).await?;
        }
        if found.part == "bad" && found.problem.is_none() {
            let values = missing::values(client, &found.selector, at_s).await?;
            found.near = values.iter().find_map(missing::Values::near);
            if found.raw_series == 0 {
                let there = values
                    .iter()
                    .find_map(missing::Values::instead)
                    .map(|there| format!("; {there}"))
                    .unwrap_or_default();
                found.note = Some(format!("none yet: counts as no bad events{there}"));
            }
        }
        Ok(found)
    }
}

/// Seconds between scrapes of what a selector finds, as the last ten minutes of its fullest series show them: the median, so
/// that neither a target that was found a minute ago nor a scrape that failed makes it longer.
async fn scrape(client: &Client, selector: &str, at_s: i64) -> Result<Option<i64>, Fault> {
    let Ok(selector) = Selector::parse(selector) else { return Ok(None) };
    let counted = expr::over("count_over_time", &selector.to_string(), SCRAPES_OF);
    let fullest = client.query(&expr::topk(1, &counted), at_s).await?;
    let Some(fullest) = fullest.series.first() else { return Ok(None) };
    let label = |of: Selector, (name, value): &(String, String)| of.with_values(name, std::slice::from_ref(value));
    let Ok(alone) = fullest.labels.iter().try_fold(selector, label) else { return Ok(None) };
    let samples = client.query(&expr::range(&alone.to_string(), SCRAPES_OF), at_s).await?;
    Ok(samples.series.first().and_then(|row| median_gap_s(row.samples.iter().map(|(at_ms, _)| at_ms))))
}

fn median_gap_s(times_ms: impl Iterator<Item = i64>) -> Option<i64> {
    let times_ms: Vec<i64> = times_ms.collect();
    let mut gaps: Vec<i64> = times_ms.windows(2).map(|pair| pair[1] - pair[0]).collect();
    gaps.sort_unstable();
    gaps.get(gaps.len() / 2).map(|ms| ((ms + 500) / 1000).max(1))
}

/// Says so when a metric falls as often as only a gauge does.
async fn no_counter(client: &Client, selector: &str, at_s: i64) -> Result<Option<String>, Fault> {
    let answer = client.query(&falls::share(selector, "30m"), at_s).await?;
    let share = answer.series.first().and_then(|series| series.samples.iter().last()).map_or(0.0, |(_, share)| share);
    let percent = (share * 100.0).round();
    Ok((share > FALLS_MAX)
        .then(|| format!("it falls in {percent} % of its samples, and a counter only rises: it is a gauge")))
}

/// A label of `by` that no series carries.
fn unlabelled(by: &[String], groups: &std::collections::BTreeSet<Vec<String>>) -> Option<String> {
    let empty = |(place, _): &(usize, &String)| groups.iter().all(|values| values[*place].is_empty());
    by.iter().enumerate().find(empty).map(|(_, name)| format!("no series has the label {name} of `by`"))
}

/// What a threshold without a bucket of its own comes to: between two it is interpolated, which is worth knowing; above
/// all of them nothing can be said.
fn missing_bucket(threshold: f64, mut bounds: Vec<(f64, String, usize)>, found: &mut Found) -> Option<String> {
    if bounds.is_empty() {
        return Some("no series".to_owned());
    }
    bounds.sort_by(|a, b| a.0.total_cmp(&b.0));
    let below = bounds.iter().rev().find(|(bound, ..)| *bound < threshold);
    let above = bounds.iter().find(|(bound, ..)| *bound > threshold && bound.is_finite());
    let le = |of: &(f64, String, usize)| format!("le=\"{}\"", of.1);
    let threshold = shown(threshold);
    let Some(above) = above else {
        return Some(match below {
            Some(below) => format!(
                "no bucket at {threshold}, and the largest is {}: nothing tells how many took longer",
                le(below)
            ),
            None => format!("no bucket at {threshold}; there is le=\"+Inf\" alone"),
        });
    };
    found.raw_series = above.2;
    let near = match below {
        Some(below) => format!("the nearest, {} and {}", le(below), le(above)),
        None => format!("0 and the smallest, {}", le(above)),
    };
    found.note = Some(format!("no bucket at {threshold}: interpolated between {near}"));
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(threshold: f64, texts: &[&str]) -> (Option<String>, Option<String>) {
        let bounds = texts.iter().map(|text| (parse_le(text).expect("a bound"), (*text).to_owned(), 1)).collect();
        let mut found = Found { part: "bucket", ..Found::nothing() };
        (missing_bucket(threshold, bounds, &mut found), found.note)
    }

    #[test]
    fn the_nearest_buckets_are_named_as_the_exporter_spells_them() {
        let all = ["+Inf", "1.0", "0.5", "0.25", "2.5"];
        let note = |text: &str| (None, Some(text.to_owned()));
        let problem = |text: &str| (Some(text.to_owned()), None);
        assert_eq!(
            missing(0.8, &all),
            note("no bucket at 0.8: interpolated between the nearest, le=\"0.5\" and le=\"1.0\"")
        );
        assert_eq!(missing(0.1, &all), note("no bucket at 0.1: interpolated between 0 and the smallest, le=\"0.25\""));
        assert_eq!(
            missing(5.0, &all),
            problem("no bucket at 5, and the largest is le=\"2.5\": nothing tells how many took longer")
        );
        assert_eq!(missing(5.0, &["+Inf"]), problem("no bucket at 5; there is le=\"+Inf\" alone"));
        assert_eq!(missing(5.0, &[]), problem("no series"));
    }

    #[test]
    fn the_scrape_interval_of_a_young_target_is_told_from_what_is_there() {
        let of = |times: &[i64]| median_gap_s(times.iter().map(|second| second * 1000));
        assert_eq!(of(&[540, 555, 570, 585, 600]), Some(15), "five scrapes in ten minutes");
        assert_eq!(of(&[0, 30, 60, 240, 270, 300]), Some(30), "with a hole");
        assert_eq!((of(&[600]), of(&[])), (None, None));
    }

    #[test]
    fn a_label_that_nobody_carries_is_named() {
        let by = ["model".to_owned(), "tier".to_owned()];
        let groups = |rows: &[[&str; 2]]| rows.iter().map(|row| row.map(str::to_owned).to_vec()).collect();
        assert_eq!(
            unlabelled(&by, &groups(&[["a", ""], ["b", ""]])).as_deref(),
            Some("no series has the label tier of `by`")
        );
        assert_eq!(unlabelled(&by, &groups(&[["a", ""], ["", "x"]])), None);
    }
}
