//! When the alerts of Sloth's or Pyrra's own rules would have fired in a range of the past, asked of Prometheus.
//!
//! Over the error ratios that their rules recorded, where those cover the range; else over the queries of the SLO's file,
//! which is what these rules would have recorded. Their expressions are evaluated once a minute, as rules usually are.
//! Deliberately absent: `ALERTS`, which holds what fired only where the rules were loaded then, and routing.

use super::recorded::{Foreign, Tool};
use crate::engine::alert::AlertKind;
use crate::engine::{BurnClause, Labels, Speed};
use crate::prometheus::{Client, Fault};
use crate::query::RawSeries;
use crate::query::promql::{Asked, ask, expr, peers};
use crate::spec::SloSpec;
use crate::telemetry::compat::{SLOTH_RATIO, window_name};

/// Their rules are evaluated so often, seconds.
const STEP_S: i64 = 60;
/// Points of one range query; Prometheus refuses 11,001.
const POINTS_MAX: i64 = 10_000;
/// Recorded ratios are taken where they are there at this share of the range.
const COVERED: f64 = 0.95;
/// Pyrra's `for:` in a window of 28 days, by short window there, seconds.
const PYRRA_FOR: [(i64, i64); 4] = [(300, 120), (1800, 900), (7200, 3600), (21_600, 10_800)];
const PYRRA_BASE_S: i64 = 28 * 86_400;

/// One alert of theirs, from its first to its last moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Fired {
    /// Page or ticket.
    pub kind: AlertKind,
    /// Of which series, where the SLO is grouped.
    pub labels: Labels,
    /// Seconds since the epoch.
    pub from_s: i64,
    /// The first moment at which it was not out.
    pub to_s: i64,
}

/// Where their error ratios came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ratios {
    /// Their rules recorded them.
    Recorded,
    /// The queries of the file, asked now.
    Queries,
}

/// What their rules would have sent of one SLO.
#[derive(Debug, Clone, PartialEq)]
pub struct Replayed {
    /// Over what.
    pub ratios: Ratios,
    /// By kind and series, each in time order.
    pub fired: Vec<Fired>,
}

/// Asks for a range.
///
/// # Errors
/// When a query is not answered, or the SLO is of a kind that no rule of theirs could count.
pub async fn replay(
    client: &Client,
    spec: &SloSpec,
    foreign: &Foreign,
    from_s: i64,
    to_s: i64,
) -> Result<Replayed, Fault> {
    let of = ForeignAlerts { spec, foreign };
    let ratios = of.found(client, from_s, to_s).await?;
    let mut fired = Vec::new();
    for (speed, kind) in [(Speed::Fast, AlertKind::FastBurn), (Speed::Slow, AlertKind::SlowBurn)] {
        if spec.slo.mute.contains(&kind) {
            continue;
        }
        let clauses: Vec<&BurnClause> = spec.slo.burn.iter().filter(|clause| clause.speed == speed).collect();
        // Of Sloth one expression an alert; of Pyrra each clause is an alert, and waits for itself.
        let alerts: Vec<(Vec<&BurnClause>, i64)> = match foreign.tool {
            Tool::Sloth if clauses.is_empty() => Vec::new(),
            Tool::Sloth => vec![(clauses, 0)],
            Tool::Pyrra => clauses.into_iter().map(|clause| (vec![clause], for_s(clause, spec.slo.window_s))).collect(),
        };
        let mut spans = Vec::new();
        for (clauses, for_s) in alerts {
            let expr = of.expr(&clauses, ratios)?;
            for row in over_range(client, &expr, from_s - for_s, to_s).await? {
                let labels = of.labels(&row.0);
                spans.extend(runs(&row.1, for_s, from_s).map(|(from_s, to_s)| Fired {
                    kind,
                    labels: labels.clone(),
                    from_s,
                    to_s,
                }));
            }
        }
        fired.extend(joined(spans));
    }
    Ok(Replayed { ratios, fired })
}

struct ForeignAlerts<'a> {
    spec: &'a SloSpec,
    foreign: &'a Foreign,
}

impl ForeignAlerts<'_> {
    /// The recorded error ratio of a window.
    fn recorded(&self, window_s: i64) -> String {
        let window = window_name(window_s);
        match self.foreign.tool {
            Tool::Sloth => {
                peers::largest_without("sloth_window", &self.foreign.sloth_series(&format!("{SLOTH_RATIO}{window}")))
            }
            Tool::Pyrra => {
                let slo = expr::alternatives(&[&self.foreign.name]);
                expr::matching("", &[("__name__", &format!(".+:burnrate{window}")), ("slo", &slo)])
            }
        }
    }

    fn ratio(&self, window_s: i64, ratios: Ratios) -> Result<String, Fault> {
        if ratios == Ratios::Recorded {
            return Ok(self.recorded(window_s));
        }
        let unasked = Fault::NotAnAnswer;
        let source = self.spec.source.as_ref().map_err(|why| unasked(why.clone()))?;
        match ask(source, &self.spec.slo.by, "rate", &window_name(window_s)).map_err(unasked)? {
            Asked::Counts { bad, total } => Ok(peers::quotient(&bad, &total)),
            Asked::Ratio(ratio) => Ok(ratio),
            Asked::Bad(_) => Err(unasked("it counts slices of time, which no rule of theirs does".to_owned())),
        }
    }

    fn expr(&self, clauses: &[&BurnClause], ratios: Ratios) -> Result<String, Fault> {
        let budget = self.spec.slo.budget();
        let one = |clause: &&BurnClause| {
            let [short, long] = [clause.short_s, clause.long_s].map(|window_s| self.ratio(window_s, ratios));
            Ok(peers::both_over(&short?, &long?, clause.factor * budget))
        };
        Ok(peers::any(&clauses.iter().map(one).collect::<Result<Vec<_>, Fault>>()?))
    }

    /// Whether every ratio that the clauses ask was recorded all the time.
    async fn found(&self, client: &Client, from_s: i64, to_s: i64) -> Result<Ratios, Fault> {
        let mut windows: Vec<i64> =
            self.spec.slo.burn.iter().flat_map(|clause| [clause.short_s, clause.long_s]).collect();
        windows.sort_unstable();
        windows.dedup();
        let moments = ((to_s - from_s) / 300).max(1) as f64;
        for window_s in windows {
            let asked = peers::moments_with(&self.recorded(window_s), format_args!("{}s", to_s - from_s), "5m");
            let answer = client.query(&asked, to_s).await?;
            let there: f64 =
                answer.series.iter().filter_map(|row| row.samples.iter().last()).map(|(_, count)| count).sum();
            if there < COVERED * moments {
                return Ok(Ratios::Queries);
            }
        }
        Ok(Ratios::Recorded)
    }

    /// Which series of the SLO an alert is of.
    fn labels(&self, row: &RawSeries) -> Labels {
        let own = self.spec.origin.as_ref().map(|origin| &origin.labels);
        let every = self.spec.slo.by.iter().any(|name| name == crate::engine::EVERY_LABEL);
        let mut labels = Labels::new();
        for (name, value) in &row.labels {
            let theirs = name == "__name__"
                || name.starts_with("sloth_")
                || (name == "slo" && self.foreign.tool == Tool::Pyrra)
                || own.is_some_and(|own| own.get(name) == Some(value));
            if self.spec.slo.by.contains(name) || (every && !theirs) {
                labels.set(name.as_str(), value.as_str());
            }
        }
        labels
    }
}

/// The `for:` of the tier with this short window.
fn for_s(clause: &BurnClause, window_s: i64) -> i64 {
    let share = window_s as f64 / PYRRA_BASE_S as f64;
    let scaled = |seconds: i64| ((seconds as f64 * share / 60.0).round() as i64).max(1) * 60;
    PYRRA_FOR.iter().find(|(short_s, _)| scaled(*short_s) == clause.short_s).map_or(0, |(_, for_s)| scaled(*for_s))
}

/// The moments at which each series of an answer is there.
async fn over_range(client: &Client, expr: &str, from_s: i64, to_s: i64) -> Result<Vec<(RawSeries, Vec<i64>)>, Fault> {
    let mut all: Vec<(RawSeries, Vec<i64>)> = Vec::new();
    let mut begin_s = from_s;
    while begin_s <= to_s {
        let until_s = to_s.min(begin_s + (POINTS_MAX - 1) * STEP_S);
        for row in client.query_range(expr, begin_s, until_s, STEP_S).await?.series {
            let times = row.samples.iter().map(|(at_ms, _)| at_ms / 1000);
            match all.iter_mut().find(|(known, _)| known.labels == row.labels) {
                Some((_, known)) => known.extend(times),
                None => {
                    let times = times.collect();
                    all.push((row, times));
                }
            }
        }
        begin_s += POINTS_MAX * STEP_S;
    }
    Ok(all)
}

/// Stretches of moments in a row that hold for longer than `for_s`, without that time; none before `from_s`.
fn runs(times: &[i64], for_s: i64, from_s: i64) -> impl Iterator<Item = (i64, i64)> + use<> {
    let mut runs: Vec<(i64, i64)> = Vec::new();
    for &at_s in times {
        match runs.last_mut() {
            Some((_, to_s)) if *to_s == at_s => *to_s = at_s + STEP_S,
            _ => runs.push((at_s, at_s + STEP_S)),
        }
    }
    let out = runs.into_iter().map(move |(begin_s, to_s)| ((begin_s + for_s).max(from_s), to_s));
    out.filter(|(begin_s, to_s)| begin_s < to_s)
}

/// Alerts of one kind and series that overlap are one: tiers of Pyrra go out under one name.
fn joined(mut spans: Vec<Fired>) -> Vec<Fired> {
    spans.sort_by(|a, b| (&a.labels, a.from_s).cmp(&(&b.labels, b.from_s)));
    let mut all: Vec<Fired> = Vec::new();
    for span in spans {
        match all.last_mut() {
            Some(last) if last.labels == span.labels && span.from_s <= last.to_s => {
                last.to_s = last.to_s.max(span.to_s)
            }
            _ => all.push(span),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_in_a_row_are_one_alert_that_waits_for_its_time() {
        let times = [600, 660, 720, 900, 960];
        assert_eq!(runs(&times, 0, 0).collect::<Vec<_>>(), [(600, 780), (900, 1020)]);
        assert_eq!(runs(&times, 120, 0).collect::<Vec<_>>(), [(720, 780)]);
        assert_eq!(runs(&times, 0, 700).collect::<Vec<_>>(), [(700, 780), (900, 1020)]);
    }

    #[test]
    fn tiers_that_overlap_are_one_alert_and_series_stay_apart() {
        let of = |pod: &str, from_s, to_s| {
            let mut labels = Labels::new();
            labels.set("pod", pod);
            Fired { kind: AlertKind::FastBurn, labels, from_s, to_s }
        };
        let all = joined(vec![of("b", 0, 60), of("a", 60, 300), of("a", 0, 120), of("a", 360, 420)]);
        assert_eq!(all, [of("a", 0, 300), of("a", 360, 420), of("b", 0, 60)]);
    }

    #[test]
    fn the_time_that_pyrra_waits_is_that_of_the_tier() {
        let clause =
            |short_s| BurnClause { speed: Speed::Fast, long_s: 12 * short_s, short_s, factor: 14.0, text: "".into() };
        // As Pyrra writes them for 30 and for 28 days.
        for (short_s, right_s) in [(300, 120), (32 * 60, 16 * 60), (129 * 60, 64 * 60), (386 * 60, 193 * 60)] {
            assert_eq!(for_s(&clause(short_s), 30 * 86_400), right_s, "{short_s}");
        }
        assert_eq!(for_s(&clause(1800), PYRRA_BASE_S), 900);
    }
}
