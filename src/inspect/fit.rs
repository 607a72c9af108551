//! Whether an SLO can work on a Prometheus: traffic, buckets, history, scrape interval, and thresholds that can fire.
//!
//! Deliberately absent: asking. It is made of what was found ([`super::presence`]) and how the last weeks looked
//! ([`super::dry_run`]).

use serde::Serialize;

use super::dry_run::Looked;
use super::presence::{Found, NATIVE};
use crate::engine::duration::exact;
use crate::engine::{Slo, Unit, chance};
use crate::spec::{SloSpec, TimeSpan, shown};

const DAY_S: f64 = 86_400.0;

/// How one SLO fits.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Fit {
    /// The SLO.
    pub slo: String,
    /// `le="0.5"` where there is a bucket at the threshold, `interpolated` between two, `native`, `none`; `None` where it
    /// has no histogram.
    pub bucket: Option<String>,
    /// Seconds between scrapes.
    pub scrape_s: Option<i64>,
    /// Length of a slice, seconds.
    pub resolution_s: i64,
    /// Longest window, seconds.
    pub window_s: i64,
    /// How long the server keeps samples, as it says.
    pub retention: Option<String>,
    /// The same, seconds.
    pub retention_s: Option<i64>,
    /// The burn rate while everything fails: `1 / (1 - objective)`.
    pub max_burn: f64,
    /// What to know before relying on it.
    pub warnings: Vec<String>,
}

/// What the server says of itself.
#[derive(Debug, Clone, Default)]
pub struct Retention {
    /// As it spells it: `15d`, `15d or 10GiB`.
    pub text: Option<String>,
    /// The time in it, seconds.
    pub seconds: Option<i64>,
}

impl Retention {
    /// Reads `storageRetention`.
    pub fn parse(text: &str) -> Self {
        let time = text.split(" or ").find_map(|part| TimeSpan::parse(part.trim()).ok());
        Retention { text: Some(text.to_owned()), seconds: time.map(TimeSpan::seconds) }
    }
}

/// Puts together what is known of one SLO.
pub fn fit(spec: &SloSpec, found: &[Found], looked: Option<&Looked>, resolution_s: i64, retention: &Retention) -> Fit {
    let slo = &spec.slo;
    let own = || found.iter().filter(|found| found.slo == slo.id);
    let bucket = own().find(|found| found.part == "bucket");
    let scrape_s = own().filter_map(|found| found.scrape_s).max();
    let window_s = slo.longest_s();
    let mut fit = Fit {
        slo: slo.id.clone(),
        bucket: bucket.map(|found| match &found.bucket {
            Some(le) => format!("le={le:?}"),
            None if found.note.as_deref() == Some(NATIVE) => "native".into(),
            None if found.problem.is_none() => "interpolated".into(),
            None => "none".into(),
        }),
        scrape_s,
        resolution_s,
        window_s,
        retention: retention.text.clone(),
        retention_s: retention.seconds,
        max_burn: 1.0 / slo.budget(),
        warnings: Vec::new(),
    };
    if let Some(scrape_s) = scrape_s.filter(|&scrape_s| scrape_s > resolution_s) {
        fit.warnings.push(format!(
            "scraped every {}, and a slice is {}: set resolution to {} or scrape more often",
            exact(scrape_s),
            exact(resolution_s),
            exact(scrape_s)
        ));
    }
    if let Some(kept_s) = retention.seconds.filter(|&kept_s| kept_s < window_s) {
        fit.warnings.push(format!(
            "samples are kept for {} and its longest window is {}: with data_dir what was read is remembered",
            exact(kept_s),
            exact(window_s)
        ));
    }
    if let Some(looked) = looked {
        if looked.days <= 0.0 && own().any(|found| found.raw_series > 0) {
            fit.warnings.push("it has series, and no history yet".into());
        }
        fit.warnings.extend(slo.burn.iter().filter_map(|clause| never(slo, clause, looked)));
        fit.warnings.extend(looked.note.clone());
    }
    fit
}

/// A clause that cannot fire at this traffic: even if everything failed it could be chance.
fn never(slo: &Slo, clause: &crate::engine::BurnClause, looked: &Looked) -> Option<String> {
    let confidence = slo.confidence.filter(|_| slo.unit != Unit::RatioSlices)?.of(clause.speed);
    let days = Some(looked.days).filter(|days| *days > 0.0)?;
    let in_long = looked.total as f64 / days * clause.long_s as f64 / DAY_S;
    let events = in_long.floor() as u64;
    let certain = events > 0 && chance::tail(events, events, slo.budget()) <= confidence;
    (!certain).then(|| {
        format!(
            "`{}` cannot fire: it sees about {} {} in {}, and were all of them bad that could be chance",
            clause.text,
            shown((in_long * 10.0).round() / 10.0),
            if slo.unit == Unit::Events { "events" } else { "slices" },
            exact(clause.long_s)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec;

    fn spec_of(text: &str) -> SloSpec {
        let text =
            format!("name: a\nowner: x\nslo: {{availability: {{{text}, sli: {{total: m, bad: 'm{{a=\"b\"}}'}}}}}}\n");
        spec::load_text("a.yaml", &text).model.slos.remove(0)
    }

    fn found(scrape_s: i64) -> Found {
        Found {
            slo: "a-availability".into(),
            part: "total",
            selector: "m".into(),
            raw_series: 1,
            series: 1,
            scrape_s: Some(scrape_s),
            ..Found::nothing()
        }
    }

    fn looked(total: u64) -> Looked {
        Looked { slo: "a-availability".into(), days: 10.0, total, ..Looked::default() }
    }

    #[test]
    fn nothing_is_said_of_what_fits() {
        let kept = Retention::parse("90d");
        let fit = fit(&spec_of("objective: 99.9"), &[found(15)], Some(&looked(10_000_000)), 30, &kept);
        assert_eq!(fit.warnings, [""; 0]);
        assert_eq!((fit.max_burn, fit.retention_s, fit.scrape_s), (1000.0, Some(90 * 86_400), Some(15)));
    }

    #[test]
    fn slow_scrapes_short_retention_and_no_history_are_said() {
        let kept = Retention::parse("15d or 10GiB");
        let fit = fit(&spec_of("objective: 99.9"), &[found(60)], Some(&Looked::default()), 30, &kept);
        let text = fit.warnings.join("\n");
        assert!(text.contains("scraped every 1m, and a slice is 30s"), "{text}");
        assert!(text.contains("kept for 15d and its longest window is 30d"), "{text}");
        assert!(text.contains("no history yet"), "{text}");
        assert_eq!(Retention::parse("10GiB").seconds, None);
    }

    #[test]
    fn a_threshold_that_cannot_fire_at_this_traffic_is_named() {
        // Two requests an hour at 90 %: both failing happens by chance in one of a hundred hours.
        let fit = |total| {
            fit(
                &spec_of("objective: 90, alert_policies: [{type: burn_rate, fast_burn: '1h > 2x'}]"),
                &[found(15)],
                Some(&looked(total)),
                30,
                &Retention::default(),
            )
        };
        let said = fit(2 * 24 * 10).warnings;
        assert!(said[0].contains("`1h > 2x` cannot fire: it sees about 2 events in 1h"), "{said:?}");
        assert_eq!(fit(4 * 24 * 10).warnings, [""; 0]);
    }
}
