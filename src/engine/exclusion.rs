//! Exclusions: spans of time that do not count, such as an announced maintenance or an incident that was agreed on.
//!
//! An exclusion deletes nothing. The slices stay in the ledger, and every evaluation leaves out what the exclusions in
//! force at that moment say: one that is added, changed or withdrawn later changes the numbers of the past with it.
//!
//! Deliberately absent: which SLOs it is for. An SLO carries its own (`Terms::exclusions`).

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use serde::{Deserialize, Serialize};

use super::{Labels, Seconds};

/// Longest span of an exclusion, seconds.
pub const SPAN_MAX_S: i64 = 366 * 86_400;

/// What does not count, and who says so.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Exclusion {
    /// Its name; unique.
    pub name: String,
    /// When.
    #[serde(flatten)]
    pub span: Span,
    /// Series labels that must all be equal; empty for every series.
    pub when: BTreeMap<String, String>,
    /// Who decided it.
    pub author: String,
    /// Why.
    pub reason: String,
    /// Taken back: it stays to be seen, and excludes nothing.
    pub withdrawn: Option<Withdrawal>,
}

/// Who took an exclusion back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Withdrawal {
    /// Who.
    pub author: String,
    /// Why.
    pub reason: String,
}

/// When something does not count.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Span {
    /// Once: from its start to before its end.
    Once {
        /// Start.
        from: Seconds,
        /// End.
        to: Seconds,
    },
    /// Again and again.
    Weekly(Weekly),
}

/// On weekdays, by the clocks of a time zone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Weekly {
    /// Weekdays, 1 (Monday) to 7, ascending.
    pub weekdays: Vec<i8>,
    /// Time of the day. Where the clocks skip it, it begins when it would have been that late.
    pub at: Time,
    /// How long it lasts, seconds.
    pub length_s: i64,
    /// Whose clocks.
    #[serde(with = "jiff::fmt::serde::tz::required")]
    pub time_zone: TimeZone,
    /// The first one does not begin before this.
    pub since: Option<Seconds>,
    /// The last one begins before this.
    pub until: Option<Seconds>,
}

impl Exclusion {
    /// Whether it is about this series.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.when.iter().all(|(name, value)| labels.get(name) == Some(value))
    }

    /// Whether `moment` lies in it.
    pub fn holds(&self, moment: Seconds) -> bool {
        self.withdrawn.is_none() && self.span.within(moment, moment + 1).next().is_some()
    }
}

impl Span {
    /// The spans that touch `[from, to)`, ascending; not cut to it.
    pub fn within(&self, from: Seconds, to: Seconds) -> impl Iterator<Item = (Seconds, Seconds)> {
        let (once, weekly) = match self {
            Span::Once { from, to } => (Some((*from, *to)), None),
            Span::Weekly(weekly) => (None, Some(weekly.starting(from - weekly.length_s, to))),
        };
        once.into_iter().chain(weekly.into_iter().flatten()).filter(move |span| span.0 < to && span.1 > from)
    }
}

impl Weekly {
    /// Those of the days from `from` to `to`, a day more at both ends.
    fn starting(&self, from: Seconds, to: Seconds) -> impl Iterator<Item = (Seconds, Seconds)> {
        let moment = |seconds: Seconds| Timestamp::from_second(seconds.clamp(-SECONDS_MAX, SECONDS_MAX));
        let date = |seconds| moment(seconds).unwrap_or_default().to_zoned(self.time_zone.clone()).date();
        let (first, last) = (date(from), date(to));
        let days = std::iter::successors(Some(first), |day: &Date| day.checked_add(1.day()).ok());
        days.take_while(move |day| *day <= last)
            .filter(|day| self.weekdays.contains(&day.weekday().to_monday_one_offset()))
            .filter_map(|day| {
                Some(day.to_datetime(self.at).to_zoned(self.time_zone.clone()).ok()?.timestamp().as_second())
            })
            .filter(|start| {
                self.since.is_none_or(|since| *start >= since) && self.until.is_none_or(|until| *start < until)
            })
            .map(|start| (start, start + self.length_s))
    }
}

const SECONDS_MAX: i64 = 100_000_000_000;

/// What does not count of one series, as ascending spans that do not touch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cuts(Vec<(Seconds, Seconds)>);

impl Cuts {
    /// What `exclusions` leave out of `[from, to)` of the series `labels`.
    pub fn of(exclusions: &[Arc<Exclusion>], labels: &Labels, from: Seconds, to: Seconds) -> Self {
        let in_force = exclusions.iter().filter(|one| one.withdrawn.is_none() && one.matches(labels));
        let mut spans: Vec<_> = in_force.flat_map(|one| one.span.within(from, to)).collect();
        spans.sort_unstable();
        let mut cuts: Vec<(Seconds, Seconds)> = Vec::with_capacity(spans.len());
        for (start, end) in spans {
            match cuts.last_mut() {
                Some(last) if start <= last.1 => last.1 = last.1.max(end),
                _ => cuts.push((start, end)),
            }
        }
        Cuts(cuts)
    }

    /// Those that reach into `[from, to)`.
    pub fn within(&self, from: Seconds, to: Seconds) -> &[(Seconds, Seconds)] {
        let first = self.0.partition_point(|span| span.1 <= from);
        let end = self.0.partition_point(|span| span.0 < to);
        &self.0[first..end.max(first)]
    }

    /// Whether nothing is left out.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
