//! The windows of an SLO: rolling ones, and periods of the calendar in a time zone.
//!
//! A rolling window always ends now. A calendar window begins at midnight of its zone on the first day of a week,
//! month, quarter or year, and its budget begins anew there. Days are those of the zone's clocks: a month in which they
//! are set forward is an hour shorter, and a midnight that does not exist is the first moment after it.
//!
//! The time zone database is compiled in, so the same rules give the same numbers on every machine. Deliberately
//! absent: a clock. The moment is an argument.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use serde::{Deserialize, Serialize};

use super::Seconds;
use super::exclusion::Exclusion;

const DAY_S: i64 = 86_400;
/// Past these no calendar is asked (years 5138 and -1199): the ledger holds nothing there.
const TIME_MAX_S: i64 = 100_000_000_000;

/// One window of an SLO.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Period {
    /// The last so many seconds.
    Rolling(i64),
    /// The week, month, quarter or year that is going on.
    Calendar(Calendar),
}

/// Periods of a calendar: which, where, and beginning when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calendar {
    /// What of the calendar.
    pub unit: CalendarUnit,
    /// Whose midnight.
    #[serde(with = "jiff::fmt::serde::tz::required")]
    pub zone: TimeZone,
    /// Of a week the weekday it begins on, 1 (Monday) to 7; of a quarter or a year the month that one of them begins
    /// in, 1 to 12. A month begins on its first day.
    pub starts: i8,
}

/// A period of the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CalendarUnit {
    /// Seven days.
    Week,
    /// From the first day of a month to the next.
    Month,
    /// Three months.
    Quarter,
    /// Twelve months.
    Year,
}

/// A budget that begins anew from a moment on, by somebody's decision. Numbers before it stay as they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetReset {
    /// From when on what is bad counts against the budget.
    pub at: Seconds,
    /// Series labels that must all be equal; empty for every series.
    pub when: BTreeMap<String, String>,
    /// Who decided it.
    pub author: String,
    /// Why.
    pub reason: String,
}

/// What of an SLO goes beyond one rolling window.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Terms {
    /// The main window where it is one of the calendar; `Slo::window_s` is then its nominal length.
    pub calendar: Option<Calendar>,
    /// Windows beside the main one. The promise holds over each of them.
    pub more: Vec<Period>,
    /// Budget resets, earliest first.
    pub resets: Vec<Arc<BudgetReset>>,
    /// What does not count.
    pub exclusions: Vec<Arc<Exclusion>>,
}

impl Terms {
    /// Whether there is nothing but one rolling window.
    pub fn is_plain(&self) -> bool {
        *self == Terms::default()
    }
}

impl CalendarUnit {
    /// As it is written in files, JSON and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            CalendarUnit::Week => "week",
            CalendarUnit::Month => "month",
            CalendarUnit::Quarter => "quarter",
            CalendarUnit::Year => "year",
        }
    }

    /// The length thresholds such as `2%` and `14d` are resolved with, seconds: 7, 30, 90 and 365 days.
    pub fn nominal_s(self) -> i64 {
        match self {
            CalendarUnit::Week => 7 * DAY_S,
            CalendarUnit::Month => 30 * DAY_S,
            CalendarUnit::Quarter => 90 * DAY_S,
            CalendarUnit::Year => 365 * DAY_S,
        }
    }

    /// The longest one there is, seconds: with a day for clocks that are set back.
    pub fn longest_s(self) -> i64 {
        match self {
            CalendarUnit::Week => 8 * DAY_S,
            CalendarUnit::Month => 32 * DAY_S,
            CalendarUnit::Quarter => 93 * DAY_S,
            CalendarUnit::Year => 367 * DAY_S,
        }
    }

    fn months(self) -> i32 {
        match self {
            CalendarUnit::Week => 0,
            CalendarUnit::Month => 1,
            CalendarUnit::Quarter => 3,
            CalendarUnit::Year => 12,
        }
    }
}

impl Calendar {
    /// Periods that begin on a Monday, on the first of a month, in January.
    pub fn new(unit: CalendarUnit, zone: TimeZone) -> Self {
        Calendar { unit, zone, starts: 1 }
    }

    /// The period that `moment` lies in: its start, and the start of the next one.
    pub fn around(&self, moment: Seconds) -> (Seconds, Seconds) {
        let moment = moment.clamp(-TIME_MAX_S, TIME_MAX_S);
        let date = Timestamp::from_second(moment).unwrap_or_default().to_zoned(self.zone.clone()).date();
        let first = self.first_day(date);
        let next = self.next(first);
        let (start, end) = (self.midnight(first), self.midnight(next));
        match moment < end {
            true => (start, end),
            // Clocks set back over midnight show the old day once more when the new one has begun.
            false => (end, self.midnight(self.next(next))),
        }
    }

    fn first_day(&self, date: Date) -> Date {
        match self.unit {
            CalendarUnit::Week => {
                let starts = Weekday::from_monday_one_offset(self.starts).unwrap_or(Weekday::Monday);
                date.saturating_sub(i64::from(date.weekday().since(starts)).days())
            }
            CalendarUnit::Month | CalendarUnit::Quarter | CalendarUnit::Year => {
                let into = (i32::from(date.month()) - i32::from(self.starts)).rem_euclid(self.unit.months());
                date.first_of_month().saturating_sub(into.months())
            }
        }
    }

    fn next(&self, first: Date) -> Date {
        match self.unit {
            CalendarUnit::Week => first.saturating_add(7.days()),
            _ => first.saturating_add(self.unit.months().months()),
        }
    }

    /// The first moment of `date`; of a midnight that comes twice the first one.
    fn midnight(&self, date: Date) -> Seconds {
        date.to_zoned(self.zone.clone()).map_or(0, |zoned| zoned.timestamp().as_second())
    }

    /// The name of its zone: `UTC`, `Europe/Paris`.
    pub fn zone_name(&self) -> &str {
        self.zone.iana_name().unwrap_or("UTC")
    }
}

impl Period {
    /// What it is called in labels and tables: `30d`, `month`.
    pub fn label(&self) -> String {
        match self {
            Period::Rolling(length_s) => rolling_label(*length_s),
            Period::Calendar(calendar) => calendar.unit.as_str().to_owned(),
        }
    }

    /// What people read: `30d`, `the month (Europe/Paris)`.
    pub fn spoken(&self) -> String {
        match self {
            Period::Rolling(length_s) => rolling_label(*length_s),
            Period::Calendar(calendar) => format!("the {} ({})", calendar.unit.as_str(), calendar.zone_name()),
        }
    }

    /// The length thresholds are resolved with, seconds.
    pub fn nominal_s(&self) -> i64 {
        match self {
            Period::Rolling(length_s) => *length_s,
            Period::Calendar(calendar) => calendar.unit.nominal_s(),
        }
    }

    /// How much history it can need, seconds.
    pub fn longest_s(&self) -> i64 {
        match self {
            Period::Rolling(length_s) => *length_s,
            Period::Calendar(calendar) => calendar.unit.longest_s(),
        }
    }
}

/// The shortest text of a whole number of one unit: `5m`, `36h`, `30d`.
pub fn rolling_label(seconds: i64) -> String {
    let units = [(DAY_S, "d"), (3_600, "h"), (60, "m")];
    let unit = units.into_iter().find(|(length, _)| seconds != 0 && seconds % length == 0);
    let (length, name) = unit.unwrap_or((1, "s"));
    format!("{}{name}", seconds / length)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> Seconds {
        text.parse::<Timestamp>().expect(text).as_second()
    }

    fn zone(name: &str) -> TimeZone {
        TimeZone::get(name).expect(name)
    }

    #[test]
    fn periods_begin_at_midnight_of_their_zone_whatever_the_clocks_did() {
        let cases = [
            (CalendarUnit::Month, "UTC", 1, "2026-02-10T00:00:00Z", "2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z"),
            (CalendarUnit::Month, "UTC", 1, "2028-02-29T23:59:59Z", "2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z"),
            // The clocks of Paris go forward on 29 March: this month has 743 hours.
            (
                CalendarUnit::Month,
                "Europe/Paris",
                1,
                "2026-03-15T12:00:00Z",
                "2026-02-28T23:00:00Z",
                "2026-03-31T22:00:00Z",
            ),
            // And back on 25 October: 745.
            (
                CalendarUnit::Month,
                "Europe/Paris",
                1,
                "2026-10-31T22:59:59Z",
                "2026-09-30T22:00:00Z",
                "2026-10-31T23:00:00Z",
            ),
            (CalendarUnit::Week, "UTC", 1, "2026-11-25T04:00:00Z", "2026-11-23T00:00:00Z", "2026-11-30T00:00:00Z"),
            (
                CalendarUnit::Week,
                "America/New_York",
                7,
                "2026-11-01T12:00:00Z",
                "2026-11-01T04:00:00Z",
                "2026-11-08T05:00:00Z",
            ),
            (CalendarUnit::Quarter, "UTC", 1, "2026-11-25T04:00:00Z", "2026-10-01T00:00:00Z", "2027-01-01T00:00:00Z"),
            // A fiscal year that begins in February.
            (CalendarUnit::Quarter, "UTC", 2, "2026-01-31T00:00:00Z", "2025-11-01T00:00:00Z", "2026-02-01T00:00:00Z"),
            (
                CalendarUnit::Year,
                "Asia/Kolkata",
                4,
                "2026-03-31T18:29:59Z",
                "2025-03-31T18:30:00Z",
                "2026-03-31T18:30:00Z",
            ),
            // Midnight of 31 March 2024 did not exist in Beirut:
            // the day, and here the week, begins at 01:00.
            (
                CalendarUnit::Week,
                "Asia/Beirut",
                7,
                "2024-03-31T12:00:00Z",
                "2024-03-30T22:00:00Z",
                "2024-04-06T21:00:00Z",
            ),
            // Clocks were set back from 00:01 to 23:01: the second 23:30 of the old day lies in the new month's first hour.
            (
                CalendarUnit::Month,
                "America/St_Johns",
                1,
                "1992-10-25T03:00:00Z",
                "1992-10-01T02:30:00Z",
                "1992-11-01T03:30:00Z",
            ),
        ];
        for (unit, name, starts, moment, start, end) in cases {
            let calendar = Calendar { starts, ..Calendar::new(unit, zone(name)) };
            assert_eq!(calendar.around(at(moment)), (at(start), at(end)), "{unit:?} in {name} at {moment}");
        }
    }

    #[test]
    fn labels_are_what_people_write() {
        let month = Period::Calendar(Calendar::new(CalendarUnit::Month, zone("Europe/Paris")));
        assert_eq!((month.label().as_str(), month.spoken().as_str()), ("month", "the month (Europe/Paris)"));
        let cases = [(300, "5m"), (3600, "1h"), (129_600, "36h"), (2_592_000, "30d"), (90, "90s"), (0, "0s")];
        for (seconds, text) in cases {
            assert_eq!(Period::Rolling(seconds).label(), text);
        }
    }

    proptest! {
        /// A month after a month, without a gap, and no longer than the ledger is told.
        #[test]
        fn periods_tile_time(
            unit in prop_oneof![
                Just(CalendarUnit::Week), Just(CalendarUnit::Month), Just(CalendarUnit::Quarter), Just(CalendarUnit::Year)
            ],
            name in prop_oneof![
                Just("UTC"), Just("Europe/Paris"), Just("America/St_Johns"), Just("Asia/Beirut"), Just("Pacific/Apia")
            ],
            starts in 1_i8..=7,
            moment in 0_i64..4_000_000_000,
        ) {
            let calendar = Calendar { starts, ..Calendar::new(unit, zone(name)) };
            let (start, end) = calendar.around(moment);
            prop_assert!(start <= moment && moment < end);
            prop_assert!(end - start <= unit.longest_s(), "{} days", (end - start) / DAY_S);
            prop_assert_eq!(calendar.around(start), (start, end));
            prop_assert_eq!(calendar.around(end - 1), (start, end));
            prop_assert_eq!(calendar.around(end).0, end);
            let text = serde_json::to_string(&calendar).expect("it has a name");
            prop_assert_eq!(serde_json::from_str::<Calendar>(&text).expect("it reads back"), calendar);
        }
    }
}
