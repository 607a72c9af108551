//! What is proposed of what a day kept: the highest objective, the smallest bucket that holds nearly all, the next round
//! age. Or why nothing is.

use crate::spec::{Family, TimeUnit, shown};

/// Objectives that are written, the highest that was kept.
const OBJECTIVES: [f64; 6] = [99.9, 99.5, 99.0, 98.0, 95.0, 90.0];
/// The clauses of the default policy that can fire where a tenth may fail.
const WIDE: &str = "{type: burn_rate, fast_burn: [\"6h/30m > 6x\"], slow_burn: [\"1d/2h > 3x\", \"3d/6h > 1x\"]}";
/// Share of requests that have to be within a bound of time for it to be written. A p95 needs 95 %, each slice of it.
const WITHIN: f64 = 0.98;
/// Ages that are written, seconds.
const AGES_S: [f64; 14] =
    [5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0, 21_600.0, 43_200.0, 90_000.0];

/// An SLO that the last day kept.
#[derive(Debug, Clone, PartialEq)]
pub struct ProposedSlo {
    /// Key of `slo:`.
    pub key: String,
    /// What to write behind it: an objective or a bound, or a map in one line.
    pub value: String,
    /// What it was taken from.
    pub because: String,
}

/// An SLO, or the key that was left out and why.
pub(super) type Proposal = Result<ProposedSlo, (String, String)>;

fn lately(span: &str) -> &'static str {
    if span == "1h" { "hour" } else { "day" }
}

/// The highest objective that was kept.
pub(super) fn availability(total: f64, bad: f64, span: &str) -> Proposal {
    let key = "availability".to_owned();
    if total < 1.0 {
        return Err((key, format!("no requests in the last {}", lately(span))));
    }
    let share = (bad / total).clamp(0.0, 1.0);
    let kept = |objective: &&f64| share <= (100.0 - **objective) / 100.0 + 1e-9;
    let Some(objective) = OBJECTIVES.iter().find(kept) else {
        let least = shown(OBJECTIVES[OBJECTIVES.len() - 1]);
        let why = format!(
            "{} % of about {total:.0} requests of the last {} failed, so not even {least} was kept: are these failures of the \
             service, or of its clients?",
            percent(share),
            lately(span)
        );
        return Err((key, why));
    };
    let because = format!("{} % of about {total:.0} requests of the last {} failed", percent(share), lately(span));
    // A tenth of all requests as a budget: the default policy has a clause that could never fire.
    let value = match *objective < 93.0 {
        true => format!("{{objective: {}, alert_policies: [{WIDE}]}}", shown(*objective)),
        false => shown(*objective),
    };
    Ok(ProposedSlo { key, value, because })
}

/// The smallest bucket that holds nearly all.
pub(super) fn bound_of(family: Family, bounds: &[(f64, f64)], total: f64, unit: TimeUnit, span: &str) -> Proposal {
    let word = family.as_str();
    let left_out = |why: String| Err((format!("{word}_p95_ms"), why));
    if total < 1.0 {
        return left_out(format!("no requests in the last {}", lately(span)));
    }
    let fits = |(_, within): &&(f64, f64)| within / total >= WITHIN;
    let Some(&(bound, within)) = bounds.iter().find(fits) else {
        return match bounds.last() {
            None => left_out("there is no bucket".into()),
            Some((top, within)) => left_out(format!(
                "only {} % are within the last bucket, {} {}",
                percent(within / total),
                shown(*top),
                unit.as_str()
            )),
        };
    };
    let seconds = bound / unit.per_second();
    let (key, value) = match seconds < 1.0 {
        true => (format!("{word}_p95_ms"), digits(seconds * 1000.0)),
        false => (format!("{word}_p95_s"), digits(seconds)),
    };
    let near = if value.len() > 7 {
        format!("about {}; ", shown(readable(value.parse().unwrap_or(bound))))
    } else {
        String::new()
    };
    let because = format!("{near}a bucket; {} % of the last {} were within it", percent(within / total), lately(span));
    Ok(ProposedSlo { key, value, because })
}

/// The next round age over the oldest.
pub(super) fn age_of(oldest_s: f64, span: &str) -> Proposal {
    let key = "feature_freshness_max_delay_s".to_owned();
    match AGES_S.iter().find(|age| **age >= oldest_s * 1.1) {
        Some(age) => {
            let because = format!("the oldest of the last {} was {oldest_s:.0} s", lately(span));
            Ok(ProposedSlo { key, value: shown(*age), because })
        }
        None => Err((key, format!("the oldest of the last {} was {oldest_s:.0} s", lately(span)))),
    }
}

/// A number with the digits a bucket has, without those that a multiplication adds.
fn digits(number: f64) -> String {
    let rounded = (number * 1e9).round() / 1e9;
    let near = (rounded - number).abs() <= 1e-12 * number.abs();
    format!("{}", if near { rounded } else { number })
}

/// A number with three digits that count.
fn readable(number: f64) -> f64 {
    let digits = 2 - number.abs().max(1e-9).log10().floor() as i32;
    let scale = 10f64.powi(digits);
    (number * scale).round() / scale
}

fn percent(share: f64) -> String {
    shown((share * 100_000.0).round() / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_objective_that_was_kept_is_written() {
        let of = |total, bad| availability(total, bad, "1d").expect("requests").value;
        assert_eq!([of(1e6, 0.0), of(1e6, 1000.0), of(1e6, 1001.0), of(1e6, 30_000.0)], ["99.9", "99.9", "99.5", "95"]);
        let wide = format!(
            "name: a\nowner: b\ntelemetry: {{preset: fastapi, match: {{job: a}}}}\nslo:\n  availability: {}\n",
            of(100.0, 9.0)
        );
        let loaded = crate::spec::load_texts(&[("a.yaml", &wide)], &crate::spec::Options::default());
        assert_eq!(loaded.render(false), "", "what is written has nothing that check would say of it");
        let (_, why) = availability(100.0, 50.0, "1d").expect_err("an objective that is not kept is none");
        assert!(why.contains("50 % of about 100 requests") && why.contains("not even 90 was kept"), "{why}");
        let (key, why) = availability(0.0, 0.0, "1h").expect_err("nothing");
        assert_eq!((key.as_str(), why.as_str()), ("availability", "no requests in the last hour"));
    }

    #[test]
    fn a_bound_is_a_bucket_in_the_unit_that_reads_best() {
        let of = |bounds: &[(f64, f64)], unit| bound_of(Family::Latency, bounds, 1000.0, unit, "1d");
        let found = of(&[(0.1, 500.0), (0.25, 985.0), (1.0, 1000.0)], TimeUnit::Seconds).expect("a bucket");
        assert_eq!((found.key.as_str(), found.value.as_str()), ("latency_p95_ms", "250"));
        let found = of(&[(100.0, 500.0), (2500.0, 980.0)], TimeUnit::Milliseconds).expect("a bucket");
        assert_eq!((found.key.as_str(), found.value.as_str()), ("latency_p95_s", "2.5"));
        assert!(found.because.contains("98 % of the last day"), "{found:?}");
        let (_, why) = of(&[(0.1, 500.0)], TimeUnit::Seconds).expect_err("half of it is over the last bucket");
        assert_eq!(why, "only 50 % are within the last bucket, 0.1 s");
        assert_eq!(digits(12.78340394885894), "12.78340394885894");
        assert_eq!(digits(0.29 * 1000.0), "290");
    }

    #[test]
    fn an_age_is_rounded_up() {
        assert_eq!(age_of(290.0, "1d").expect("an age").value, "600");
        assert_eq!(age_of(250.0, "1d").expect("an age").value, "300");
        assert!(age_of(1e9, "1d").is_err());
    }
}
