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
        let end = match &self.when {
            FreezeTime::Once { from, until } => (*from <= here && here < *until).then_some(*until)?,
            FreezeTime::Weekly { from, until } => {
                let minute = |day: Weekday, time: Time| {
                    i64::from(day.to_monday_zero_offset()) * 1440
                        + i64::from(time.hour()) * 60
                        + i64::from(time.minute())
                };
                let (start, stop) = (minute(from.day, from.time), minute(until.day, until.time));
                let at = minute(here.weekday(), here.time());
                let inside = if start < stop { (start..stop).contains(&at) } else { at >= start || at < stop };
                if !inside {
                    return None;
                }
                let left = (stop - at).rem_euclid(7 * 1440);
                let begun = here.date().to_datetime(Time::constant(here.hour(), here.minute(), 0, 0));
                begun.checked_add(left.minutes()).ok()?
            }
        };
        Some(zone.to_timestamp(end).map_or(Seconds::MAX, |end| end.as_second()))
    }
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
