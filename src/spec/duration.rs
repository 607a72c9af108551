//! Durations as people write them: `30s`, `5m`, `1h`, `30d`, `1h 30m`.
//!
//! humantime reads them; what it reads too generously is refused here: its `M` is a month of 30.44 days (a typo
//! away from `m`), and a year of 365.25 days is not the year of anybody's SLO. Zero and parts of a second are
//! refused because slices are whole seconds.

use std::fmt;
use std::time::Duration;

/// A length of time, at least one second, in whole seconds; at most ten years of 365 days.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeSpan(i64);

/// Why a text is not a [`TimeSpan`].
#[derive(Debug, Clone, PartialEq)]
pub struct DurationFault {
    /// What is wrong.
    pub what: String,
    /// What to write instead.
    pub instead: Option<String>,
}

const SECONDS_MAX: i64 = 10 * 365 * 86_400;

impl TimeSpan {
    /// A span of `seconds`; `None` outside 1 s to 10 years.
    pub fn from_seconds(seconds: i64) -> Option<Self> {
        (1..=SECONDS_MAX).contains(&seconds).then_some(TimeSpan(seconds))
    }

    /// Its length in seconds.
    pub fn seconds(self) -> i64 {
        self.0
    }

    /// Its length as the standard library has it.
    pub fn duration(self) -> Duration {
        Duration::from_secs(self.0.unsigned_abs())
    }

    /// Reads a duration such as `30d`.
    ///
    /// # Errors
    /// Not a duration, zero, with a part of a second, over ten years, or in months or years, whose length varies.
    pub fn parse(text: &str) -> Result<Self, DurationFault> {
        let text = text.trim();
        let fault = |what: String, instead: Option<&str>| DurationFault { what, instead: instead.map(str::to_string) };
        let number_end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        if number_end == text.len() && text.parse::<f64>().is_ok() {
            let instead = (text != "0").then(|| format!("{text}s, {text}m, {text}h or {text}d"));
            return Err(fault(format!("the duration {text} has no unit"), instead.as_deref()));
        }
        let units = text.split(|c: char| !c.is_alphabetic()).filter(|unit| !unit.is_empty());
        for unit in units {
            match unit {
                "M" => {
                    let minutes = text.replace('M', "m");
                    let what = format!("{text:?} means months, and a month has no fixed length");
                    return Err(fault(what, Some(&format!("{minutes} (minutes), or days such as 30d"))));
                }
                "month" | "months" => {
                    return Err(fault(format!("{text:?}: a month has no fixed length"), Some("30d")));
                }
                "y" | "yr" | "year" | "years" => {
                    return Err(fault(format!("{text:?}: a year has no fixed length"), Some("365d")));
                }
                _ => {}
            }
        }
        let shown: String = text.chars().take(40).collect();
        let span = humantime::parse_duration(text)
            .map_err(|_| fault(format!("{shown:?} is not a duration"), Some("30s, 5m, 1h or 30d")))?;
        if span.is_zero() {
            return Err(fault("a duration of zero".into(), Some("at least 1s")));
        }
        if span.subsec_nanos() != 0 {
            return Err(fault(format!("{shown:?} has a part of a second"), Some("whole seconds, such as 1s")));
        }
        i64::try_from(span.as_secs())
            .ok()
            .and_then(TimeSpan::from_seconds)
            .ok_or_else(|| fault(format!("{shown:?} is over ten years"), None))
    }
}

impl fmt::Display for TimeSpan {
    /// In days, hours, minutes and seconds, so that Prometheus and this reader both take it back: `30d`, `1h30m`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::engine::duration::exact(self.0))
    }
}

impl serde::Serialize for TimeSpan {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_prometheus_and_people_write_is_read_and_printed_like_prometheus() {
        for (text, seconds, printed) in [
            ("30s", 30, "30s"),
            ("5m", 300, "5m"),
            ("1h", 3_600, "1h"),
            ("1h 30m", 5_400, "1h30m"),
            ("90m", 5_400, "1h30m"),
            ("30d", 2_592_000, "30d"),
            ("4w", 2_419_200, "28d"),
            ("365d", 31_536_000, "365d"),
        ] {
            let span = TimeSpan::parse(text).expect(text);
            assert_eq!(span.seconds(), seconds, "{text}");
            assert_eq!(span.to_string(), printed, "{text}");
        }
    }

    #[test]
    fn months_years_zero_parts_and_bare_numbers_are_refused() {
        for text in [
            "5M",
            "1month",
            "2 months",
            "1y",
            "1 year",
            "0s",
            "500ms",
            "1s 1ns",
            "90",
            "0",
            "-5m",
            "",
            "d",
            "999999999999999999999d",
            "20000w",
        ] {
            assert!(TimeSpan::parse(text).is_err(), "{text}");
        }
    }
}
