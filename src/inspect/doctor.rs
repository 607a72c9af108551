//! Whether metrics can be believed: counters that flicker, targets that are there twice, buckets that are not cumulative,
//! ratios that are none, selectors that stand the wrong way round. Each complaint comes with its evidence and, where there
//! is one, the line to write.
//!
//! Deliberately absent: repair. What the daemon does with such samples is `query::increment`'s; this says so beforehand.

mod buckets;
mod falls;
mod ratios;
mod shares;
mod targets;

use futures_util::{StreamExt, stream};
use serde::Serialize;

use super::presence::Found;
use crate::prometheus::answer::Answer;
use crate::prometheus::{Client, Fault};
use crate::query::selector::Selector;
use crate::spec::{Model, SliSource, SloSpec};

/// SLOs examined at once.
const CONCURRENCY: usize = 4;
/// How far back evidence is looked for, seconds; of selectors with more than [`MANY_SERIES`] only [`BRIEFLY_S`].
const BACK_S: i64 = 6 * 3600;
const BRIEFLY_S: i64 = 3600;
const MANY_SERIES: usize = 5_000;

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Complaint {
    /// A counter falls and comes back, or falls without its process beginning anew: several processes answer in turn.
    CounterFlickers,
    /// A counter falls again and again, as in a crash loop.
    FallsOften,
    /// A counter reads a little too low now and then.
    ReadsLower,
    /// A counter that a rule summed over processes, and that fell with one of them.
    SumOfProcesses,
    /// A counter is too large to count by ones.
    TooLarge,
    /// One target's series have several scrape times: two targets go by one name.
    TargetTwice,
    /// Larger buckets hold less than smaller ones.
    NotCumulative,
    /// Every observation is within the smallest bucket.
    AllUnderFirstBound,
    /// No observation is within the largest bucket.
    AllOverLastBound,
    /// A ratio lies under 0 or over 1.
    RatioOutside,
    /// More good events than events.
    GoodAboveTotal,
    /// More bad events than events.
    BadAboveTotal,
    /// The bad events are as many as all, or more: the two stand the wrong way round.
    Swapped,
    /// Most events are bad.
    MostlyBad,
    /// Nothing matches, and there is a value that is spelled nearly so.
    NearMiss,
    /// It could not be examined.
    NotAsked,
}

impl Complaint {
    /// Whether nothing that is counted from such a source is true.
    pub fn is_error(self) -> bool {
        use Complaint::*;
        match self {
            CounterFlickers | SumOfProcesses | TooLarge | NotCumulative | RatioOutside | GoodAboveTotal | Swapped => {
                true
            }
            FallsOften | ReadsLower | TargetTwice | AllUnderFirstBound | AllOverLastBound | BadAboveTotal
            | MostlyBad | NearMiss | NotAsked => false,
        }
    }
}

/// One complaint of one SLO.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// The SLO.
    pub slo: String,
    /// What is wrong.
    pub complaint: Complaint,
    /// What was seen.
    pub evidence: String,
    /// What to do, or to write.
    pub advice: Option<String>,
}

/// What a part of the examination found, before it is known of which SLO.
type Said = (Complaint, String, Option<String>);

/// Examines the SLOs of `model` of which something was `found`, by their samples up to `at_s`. What cannot be asked of one
/// of them is said of that one.
pub async fn examine(client: &Client, model: &Model, found: &[Found], at_s: i64) -> Vec<Finding> {
    let of_slo = |spec: &SloSpec| {
        let found: Vec<Found> = found.iter().filter(|found| found.slo == spec.slo.id).cloned().collect();
        let (targets, source, id) = (spec.target_labels.clone(), spec.source.clone().ok(), spec.slo.id.clone());
        async move {
            let patient = Patient { client, at_s, targets, found };
            let (said, fault) = patient.examine(source.as_ref()).await;
            let fault = fault.map(|fault| (Complaint::NotAsked, format!("it could not be examined: {fault}"), None));
            let said = said.into_iter().chain(fault);
            said.map(|(complaint, evidence, advice)| Finding { slo: id.clone(), complaint, evidence, advice }).collect()
        }
    };
    let examined = stream::iter(model.slos.iter().map(of_slo));
    let all: Vec<Vec<Finding>> = examined.buffered(CONCURRENCY).collect().await;
    all.into_iter().flatten().collect()
}

/// One SLO while it is examined.
struct Patient<'a> {
    client: &'a Client,
    at_s: i64,
    /// Labels that name a target.
    targets: Vec<String>,
    found: Vec<Found>,
}

impl Patient<'_> {
    /// Everything that is wrong, and the fault that ended the examination, if one did.
    async fn examine(&self, source: Option<&SliSource>) -> (Vec<Said>, Option<Fault>) {
        let mut said = Vec::new();
        let fault = self.look(source, &mut said).await.err();
        (said, fault)
    }

    async fn look(&self, source: Option<&SliSource>, said: &mut Vec<Said>) -> Result<(), Fault> {
        if let Some(SliSource::Query { bad, total, .. }) = source {
            said.extend(self.ratios(bad, total.as_deref()).await?);
        }
        said.extend(self.misspelled());
        if let Some(leading) = self.part(&["total", "good", "count"]) {
            said.extend(self.doubled(leading).await?);
        }
        for part in ["total", "count", "good", "bad"] {
            if let Some(found) = self.part(&[part]) {
                said.extend(self.too_large(found).await?);
            }
        }
        for part in ["total", "count", "good", "bad"] {
            let fell = match self.part(&[part]) {
                Some(found) => self.falls(found).await?,
                None => None,
            };
            // What is wrong with a target shows in all that it counts: once is enough.
            if let Some(fell) = fell {
                said.push(fell);
                break;
            }
        }
        if let Some(bucket) = self.part(&["bucket"]) {
            said.extend(self.buckets(bucket).await?);
        }
        said.extend(self.shares().await?);
        Ok(())
    }

    /// The first of these parts that has series.
    fn part(&self, parts: &[&str]) -> Option<&Found> {
        let of = |part: &&str| self.found.iter().find(|found| found.part == *part && found.raw_series > 0);
        parts.iter().find_map(of).filter(|found| Selector::parse(&found.selector).is_ok())
    }

    fn misspelled(&self) -> impl Iterator<Item = Said> + '_ {
        let near = |found: &Found| {
            let near = found.near.as_ref()?;
            Some((Complaint::NearMiss, format!("{}: {}", found.part, near.said), Some(near.write.clone())))
        };
        self.found.iter().filter_map(near)
    }

    async fn ask(&self, query: &str) -> Result<Answer, Fault> {
        self.client.query(query, self.at_s).await
    }

    /// The one number that a query answers with, 0 where it has none.
    async fn number(&self, query: &str) -> Result<f64, Fault> {
        Ok(self
            .ask(query)
            .await?
            .series
            .first()
            .and_then(|row| row.samples.iter().last())
            .map_or(0.0, |(_, value)| value))
    }

    /// The labels of a target as matchers.
    fn matchers(&self, target: &[(String, String)]) -> String {
        let quoted = |value: &String| serde_json::Value::from(value.as_str()).to_string();
        target.iter().map(|(name, value)| format!("{name}={}", quoted(value))).collect::<Vec<_>>().join(",")
    }
}

/// How far to look back at a selector, seconds.
fn back_s(found: &Found) -> i64 {
    if found.raw_series > MANY_SERIES { BRIEFLY_S } else { BACK_S }
}
