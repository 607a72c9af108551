//! Freeze windows: times in which nothing is changed, weekly or once, in a time zone of their own.
//!
//! Zones come from the database compiled in, never from the machine: the same policy means the same times everywhere.

use jiff::civil::{DateTime, Time, Weekday};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{Timestamp, ToSpan as _};
use serde::{Deserialize, Serialize};

use super::principal::ActorClass;
use crate::engine::Seconds;

/// A time in which nothing is changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FreezeWindow {
    /// Why, for those whom it stops.
    pub reason: String,
    /// When.
    pub when: FreezeTime,
    /// IANA name of the zone the times are in.
    pub time_zone: String,
    /// Whom it stops.
    pub actors: Vec<ActorClass>,
    /// Whether `mitigate` goes on.
    pub mitigate_exempt: bool,
}

/// When a freeze window is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FreezeTime {
    /// Every week, from one moment of the week to another; may run over the week's end.
    Weekly {
        /// Begin.
        from: WeekTime,
        /// End, exclusive.
        until: WeekTime,
    },
    /// Once.
    Once {
        /// Begin, wall clock of the zone.
        from: DateTime,
        /// End, exclusive.
        until: DateTime,
    },
}

/// A moment of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct WeekTime {
    /// Day.
    pub day: Weekday,
    /// Wall clock, whole minutes.
    pub time: Time,
}

const DAYS: [(&str, Weekday); 7] = [
    ("Mon", Weekday::Monday),
    ("Tue", Weekday::Tuesday),
    ("Wed", Weekday::Wednesday),
    ("Thu", Weekday::Thursday),
    ("Fri", Weekday::Friday),
    ("Sat", Weekday::Saturday),
    ("Sun", Weekday::Sunday),
];

/// The zone of this IANA name.
pub fn zone(name: &str) -> Option<TimeZone> {
    TimeZoneDatabase::bundled().get(name).ok()
}

impl FreezeWindow {
    /// Until when it holds, if it holds at `now`. A zone that does not exist holds for ever: it was refused when the
    /// policy was read, and what cannot be read refuses.
    pub fn until(&self, now: Seconds) -> Option<Seconds> {
        let Some((zone, stamp)) = zone(&self.time_zone).zip(Timestamp::from_second(now).ok()) else {
            return Some(Seconds::MAX);
        };
        let here = stamp.to_zoned(zone.clone()).datetime();
        match &self.when {
            FreezeTime::Once { from, until } => held(&zone, *from, *until, stamp),
            FreezeTime::Weekly { from, until } => {
                let minute = |moment: &WeekTime| {
                    let day = i64::from(moment.day.to_monday_zero_offset());
                    day * 1440 + i64::from(moment.time.hour()) * 60 + i64::from(moment.time.minute())
                };
                // From a moment to itself is the whole week.
                let lasts = match (minute(until) - minute(from)).rem_euclid(7 * 1440) {
                    0 => 7 * 1440,
                    minutes => minutes,
                };
                let back = i64::from(here.weekday().to_monday_zero_offset());
                let monday = here.date().to_datetime(Time::midnight()).checked_sub(back.days()).ok()?;
                let ends = [-7, 0].into_iter().filter_map(|days: i64| {
                    let begins = monday.checked_add((days * 1440 + minute(from)).minutes()).ok()?;
                    held(&zone, begins, begins.checked_add(lasts.minutes()).ok()?, stamp)
                });
                ends.max()
            }
        }
    }
}

/// Until when a window holds, if it holds now. Where clocks are set back an hour comes twice: a window that begins or
/// ends within it begins at the first and ends at the last, so that it is in one piece.
fn held(zone: &TimeZone, from: DateTime, until: DateTime, now: Timestamp) -> Option<Seconds> {
    let begins = zone.to_ambiguous_timestamp(from).earlier();
    let ends = zone.to_ambiguous_timestamp(until).later();
    let begun = begins.is_ok_and(|begins| begins <= now);
    // An end that is no time never comes.
    let end = ends.map_or(Seconds::MAX, |end| end.as_second());
    (begun && now.as_second() < end).then_some(end)
}

impl From<WeekTime> for String {
    fn from(moment: WeekTime) -> String {
        let day = DAYS.iter().find(|(_, day)| *day == moment.day).map_or("", |(name, _)| name);
        format!("{day} {:02}:{:02}", moment.time.hour(), moment.time.minute())
    }
}

impl TryFrom<String> for WeekTime {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let fault = || format!("{text:?} is no moment of a week: write Fri 16:00");
        let (day, time) = text.trim().split_once(' ').ok_or_else(fault)?;
        let (_, day) = DAYS.iter().find(|(name, _)| name.eq_ignore_ascii_case(day)).ok_or_else(fault)?;
        let (hour, minute) = time.trim().split_once(':').ok_or_else(fault)?;
        let number = |text: &str| text.parse::<i8>().ok().filter(|_| text.len() == 2 && !text.starts_with(['+', '-']));
        let (hour, minute) = number(hour).zip(number(minute)).ok_or_else(fault)?;
        Ok(WeekTime { day: *day, time: Time::new(hour, minute, 0, 0).map_err(|_| fault())? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(from: &str, until: &str) -> FreezeWindow {
        let moment = |text: &str| WeekTime::try_from(text.to_owned()).expect("a moment");
        FreezeWindow {
            reason: "x".into(),
            when: FreezeTime::Weekly { from: moment(from), until: moment(until) },
            time_zone: "Europe/Berlin".into(),
            actors: vec![ActorClass::Robot],
            mitigate_exempt: false,
        }
    }

    fn at(text: &str) -> Seconds {
        text.parse::<Timestamp>().expect("a time").as_second()
    }

    /// On 2026-10-25 the hour from 02:00 to 03:00 comes twice in Berlin: 00:00Z to 01:00Z, and 01:00Z to 02:00Z.
    #[test]
    fn a_window_is_in_one_piece_where_clocks_are_set_back() {
        let freeze = window("Sat 20:00", "Sun 02:30");
        let end = Some(at("2026-10-25T01:30:00Z"));
        for (now, expected) in [
            ("2026-10-24T17:59:00Z", None),
            ("2026-10-24T18:00:00Z", end),
            ("2026-10-25T00:29:00Z", end),
            ("2026-10-25T00:31:00Z", end),
            ("2026-10-25T00:59:00Z", end),
            ("2026-10-25T01:00:00Z", end),
            ("2026-10-25T01:29:59Z", end),
            ("2026-10-25T01:30:00Z", None),
        ] {
            assert_eq!(freeze.until(at(now)), expected, "{now}");
        }
        // One that begins in the hour that comes twice begins at the first.
        let freeze = window("Sun 02:30", "Sun 04:00");
        for now in ["2026-10-25T00:30:00Z", "2026-10-25T01:10:00Z", "2026-10-25T02:59:00Z"] {
            assert_eq!(freeze.until(at(now)), Some(at("2026-10-25T03:00:00Z")), "{now}");
        }
        // In spring 02:30 does not come at all.
        let freeze = window("Sat 20:00", "Sun 02:30");
        assert!(freeze.until(at("2026-03-29T00:59:00Z")).is_some());
        assert_eq!(freeze.until(at("2026-03-29T02:00:00Z")), None);
    }

    #[test]
    fn a_window_runs_over_the_end_of_the_week() {
        let freeze = window("Fri 16:00", "Mon 08:00");
        for (now, held) in [
            ("2026-06-05T13:59:00Z", false),
            ("2026-06-05T14:00:00Z", true),
            ("2026-06-07T23:00:00Z", true),
            ("2026-06-08T05:59:00Z", true),
            ("2026-06-08T06:00:00Z", false),
            ("2026-06-10T12:00:00Z", false),
        ] {
            assert_eq!(freeze.until(at(now)).is_some(), held, "{now}");
        }
        assert!(window("Mon 00:00", "Mon 00:00").until(at("2026-06-10T12:00:00Z")).is_some(), "the whole week");
    }
}
