//! Sloth's alert windows: the two catalogs it brings, and documents of `kind: AlertWindows`.

use super::alerts::AlertTier;
use crate::engine::Speed;
use crate::spec::duration::TimeSpan;
use crate::spec::problem::Code;
use crate::spec::reader::{At, Fields, Report};

const DAY: i64 = 86_400;

/// One alert: share of the budget, in percent, that may be spent within the long window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Pair {
    pub percent: f64,
    pub short_s: i64,
    pub long_s: i64,
}

/// The alerts of one period.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Catalog {
    pub period_s: i64,
    pub page: [Pair; 2],
    pub ticket: [Pair; 2],
}

impl Catalog {
    /// What Sloth has where nobody gives it others: the windows of the SRE Workbook, for 30 and 28 days.
    pub fn built_in() -> Vec<Catalog> {
        let pair = |percent, short_s, long_s| Pair { percent, short_s, long_s };
        let of = |days: i64| Catalog {
            period_s: days * DAY,
            page: [pair(2.0, 300, 3600), pair(5.0, 1800, 21_600)],
            ticket: [pair(10.0, 7200, DAY), pair(10.0, 21_600, 3 * DAY)],
        };
        vec![of(30), of(28)]
    }

    /// Its alerts of one speed.
    pub fn tiers(&self, speed: Speed) -> Vec<AlertTier> {
        let pairs = if speed == Speed::Fast { &self.page } else { &self.ticket };
        let tier = |pair: &Pair| AlertTier {
            long_s: pair.long_s,
            short_s: Some(pair.short_s),
            threshold: format!("{}%", pair.percent),
            factor: pair.percent / 100.0 * self.period_s as f64 / pair.long_s as f64,
            speed,
            sev: None,
        };
        pairs.iter().map(tier).collect()
    }
}

/// Reads a document of `kind: AlertWindows`.
pub(crate) fn read(root: &At<'_>, report: &mut Report<'_>) -> Option<Catalog> {
    let mut fields = root.map(report)?;
    let (_, _, _) = (fields.filled("apiVersion"), fields.filled("kind"), fields.filled("metadata"));
    let spec = fields.need(report, "spec", "{sloPeriod: 30d, page: ..., ticket: ...}");
    fields.finish(report);
    let mut spec = spec?.map(report)?;
    let period = spec.need(report, "sloPeriod", "30d").and_then(|at| at.duration(report));
    let page = pairs(&mut spec, "page", report);
    let ticket = pairs(&mut spec, "ticket", report);
    spec.finish(report);
    Some(Catalog { period_s: period?.seconds(), page: page?, ticket: ticket? })
}

fn pairs(spec: &mut Fields<'_>, key: &'static str, report: &mut Report<'_>) -> Option<[Pair; 2]> {
    let example = "{quick: {errorBudgetPercent: 2, shortWindow: 5m, longWindow: 1h}, slow: ...}";
    let mut fields = spec.need(report, key, example)?.map(report)?;
    let example = "{errorBudgetPercent: 2, shortWindow: 5m, longWindow: 1h}";
    let quick = fields.need(report, "quick", example).and_then(|at| pair(&at, report));
    let slow = fields.need(report, "slow", example).and_then(|at| pair(&at, report));
    fields.finish(report);
    Some([quick?, slow?])
}

fn pair(at: &At<'_>, report: &mut Report<'_>) -> Option<Pair> {
    let mut fields = at.map(report)?;
    let percent = fields.need(report, "errorBudgetPercent", "2").and_then(|at| at.number(report).map(|n| (at, n)));
    let short = fields.need(report, "shortWindow", "5m").and_then(|at| at.duration(report));
    let long_at = fields.need(report, "longWindow", "1h");
    let long = long_at.as_ref().and_then(|at| at.duration(report));
    fields.finish(report);
    let (short, long): (TimeSpan, TimeSpan) = (short?, long?);
    let (percent_at, percent) = percent?;
    if percent <= 0.0 || percent > 100.0 {
        let what = format!("a share of the error budget is over 0 and at most 100 percent, found {percent}");
        report.error(&percent_at, Code::InvalidValue, what).write("errorBudgetPercent: 2");
        return None;
    }
    if short >= long {
        let what = format!("the short window {short} is not shorter than the long window {long}");
        report.error(&long_at?, Code::InvalidBurn, what).write("shortWindow: 5m, longWindow: 1h");
        return None;
    }
    Some(Pair { percent, short_s: short.seconds(), long_s: long.seconds() })
}
