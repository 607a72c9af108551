//! The series of other tools that Slowburn can expose beside its own, so that dashboards made for them go on working.
//!
//! Sloth's and Pyrra's names, labels and units, as their generated rules record them; what each means here is its HELP
//! text. They are off by default: where the other tool still runs, its series would be doubled. `tests/tidy.rs` holds
//! names of this form used in `rules/`, `dashboards/` and `deploy/` to this table.

use std::fmt;
use std::str::FromStr;

use super::names::Kind;

/// Which of them are exposed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Compat {
    /// The fifteen series that Sloth records.
    pub sloth: bool,
    /// `ALERTS` as Prometheus shows it for Sloth's alerts. Its name belongs to Prometheus, so it has a switch of its own.
    pub sloth_alerts: bool,
    /// The generic series that Pyrra records.
    pub pyrra: bool,
}

/// One switch of [`Compat`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Switch {
    /// [`Compat::sloth`].
    Sloth,
    /// [`Compat::sloth_alerts`].
    SlothAlerts,
    /// [`Compat::pyrra`].
    Pyrra,
}

/// Windows that Sloth records beside the SLO's own, seconds.
pub const SLOTH_WINDOWS_S: [i64; 7] = [300, 1800, 3600, 7200, 21_600, 86_400, 259_200];
/// The window of Pyrra's rates, seconds.
pub const PYRRA_RATE_S: i64 = 300;

impl Switch {
    /// All, as they are written: in settings and on the command line.
    pub const WRITTEN: [(&'static str, Switch); 3] =
        [("sloth", Switch::Sloth), ("sloth-alerts", Switch::SlothAlerts), ("pyrra", Switch::Pyrra)];
}

impl FromStr for Switch {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Switch::WRITTEN.into_iter().find(|(word, _)| *word == text);
        found.map(|(_, switch)| switch).ok_or_else(|| {
            format!("{text:?} is no set of series: write sloth, sloth-alerts or pyrra, with commas between them")
        })
    }
}

impl fmt::Display for Switch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, _) =
            Switch::WRITTEN.into_iter().find(|(_, switch)| switch == self).expect("every switch is written");
        f.write_str(word)
    }
}

impl Compat {
    /// Switches one on.
    pub fn switch_on(&mut self, switch: Switch) {
        match switch {
            Switch::Sloth => self.sloth = true,
            Switch::SlothAlerts => self.sloth_alerts = true,
            Switch::Pyrra => self.pyrra = true,
        }
    }

    /// The windows that must be known of every SLO, seconds, ascending; none where nothing is switched on.
    pub fn windows_s(&self) -> &'static [i64] {
        match (self.sloth, self.pyrra) {
            (true, _) => &SLOTH_WINDOWS_S,
            (false, true) => &[PYRRA_RATE_S],
            (false, false) => &[],
        }
    }
}

/// A series of another tool.
#[derive(Debug, Clone, Copy)]
pub struct Foreign {
    /// Name; where [`Foreign::windowed`], a window follows it.
    pub name: &'static str,
    /// Whether the length of a window ends the name: `5m`, `30d`, `4w`.
    pub windowed: bool,
    /// Counter or gauge.
    pub kind: Kind,
    /// HELP text.
    pub help: &'static str,
}

/// Error ratio of a window; the window ends the name.
pub const SLOTH_RATIO: &str = "slo:sli_error:ratio_rate";
/// The objective as a ratio.
pub const SLOTH_OBJECTIVE: &str = "slo:objective:ratio";
/// The error budget as a ratio.
pub const SLOTH_BUDGET: &str = "slo:error_budget:ratio";
/// Length of the SLO's window, days.
pub const SLOTH_PERIOD: &str = "slo:time_period:days";
/// Burn rate of the last five minutes.
pub const SLOTH_CURRENT: &str = "slo:current_burn_rate:ratio";
/// Burn rate of the SLO's window.
pub const SLOTH_PERIOD_BURN: &str = "slo:period_burn_rate:ratio";
/// What is left of the budget.
pub const SLOTH_REMAINING: &str = "slo:period_error_budget_remaining:ratio";
/// Always 1.
pub const SLOTH_INFO: &str = "sloth_slo_info";
/// Alerts that fire.
pub const ALERTS: &str = "ALERTS";
/// The objective as a ratio.
pub const PYRRA_OBJECTIVE: &str = "pyrra_objective";
/// Length of the SLO's window, seconds.
pub const PYRRA_WINDOW: &str = "pyrra_window";
/// Share of good events.
pub const PYRRA_AVAILABILITY: &str = "pyrra_availability";
/// Events a second.
pub const PYRRA_REQUESTS: &str = "pyrra_requests:rate5m";
/// Bad events a second.
pub const PYRRA_ERRORS: &str = "pyrra_errors:rate5m";
/// Events, counted.
pub const PYRRA_REQUESTS_TOTAL: &str = "pyrra_requests_total";
/// Bad events, counted.
pub const PYRRA_ERRORS_TOTAL: &str = "pyrra_errors_total";

const fn gauge(name: &'static str, help: &'static str) -> Foreign {
    Foreign { name, windowed: false, kind: Kind::Gauge, help }
}

/// All of them.
pub const ALL: &[Foreign] = &[
    Foreign {
        name: SLOTH_RATIO,
        windowed: true,
        kind: Kind::Gauge,
        help: "Share of bad events in the window that ends the name: sum of bad by sum of all, no mean of ratios. NaN when unknown.",
    },
    gauge(SLOTH_OBJECTIVE, "Objective of the SLO, 0 to 1."),
    gauge(SLOTH_BUDGET, "Error budget of the SLO: 1 - objective."),
    gauge(SLOTH_PERIOD, "Length of the window of the SLO in days."),
    gauge(SLOTH_CURRENT, "Burn rate of the last 5 minutes. NaN when unknown."),
    gauge(SLOTH_PERIOD_BURN, "Share of the error budget spent in the window of the SLO. NaN when unknown."),
    gauge(SLOTH_REMAINING, "Share of the error budget that is left; negative when overspent. NaN when unknown."),
    gauge(SLOTH_INFO, "Always 1; the labels describe the SLO."),
    gauge(ALERTS, "Always 1; a burn alert of the SLO that fires."),
    gauge(PYRRA_OBJECTIVE, "Objective of the SLO, 0 to 1."),
    gauge(PYRRA_WINDOW, "Length of the window of the SLO in seconds."),
    gauge(PYRRA_AVAILABILITY, "Share of good events in the window of the SLO. NaN when unknown."),
    gauge(PYRRA_REQUESTS, "Events a second over the last 5 minutes. NaN when unknown."),
    gauge(PYRRA_ERRORS, "Bad events a second over the last 5 minutes. NaN when unknown."),
    Foreign {
        name: PYRRA_REQUESTS_TOTAL,
        windowed: false,
        kind: Kind::Counter,
        help: "Events read since Slowburn started.",
    },
    Foreign {
        name: PYRRA_ERRORS_TOTAL,
        windowed: false,
        kind: Kind::Counter,
        help: "Bad events read since Slowburn started.",
    },
];

impl Foreign {
    /// The row of `name`, whose window may follow it.
    pub fn named(name: &str) -> Option<&'static Foreign> {
        let fits = |foreign: &&Foreign| match name.strip_prefix(foreign.name) {
            Some("") => !foreign.windowed,
            Some(window) => foreign.windowed && is_window(window),
            None => false,
        };
        ALL.iter().find(fits)
    }
}

/// Whether a text is the length of a window as Prometheus writes it: `5m`, `1h30m`, `4w`.
fn is_window(text: &str) -> bool {
    let mut rest = text;
    let mut parts = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 || !matches!(rest.as_bytes().get(digits), Some(b's' | b'm' | b'h' | b'd' | b'w' | b'y')) {
            return false;
        }
        rest = &rest[digits + 1..];
        parts += 1;
    }
    parts > 0
}

/// A length as Prometheus prints it, the way the names of windows are made: `30d`, but `4w` for 28 days and `1w` for 7.
pub fn window_name(seconds: i64) -> String {
    let mut rest = seconds.max(0);
    // Years and weeks stand only where nothing would be left of them; the other units are taken in turn.
    for (length_s, unit) in [(31_536_000, "y"), (604_800, "w")] {
        if rest > 0 && rest % length_s == 0 {
            return format!("{}{unit}", rest / length_s);
        }
    }
    let mut text = String::new();
    for (length_s, unit) in [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")] {
        if rest >= length_s {
            text += &format!("{}{unit}", rest / length_s);
            rest %= length_s;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_named_as_prometheus_prints_them() {
        let day = 86_400;
        for (seconds, name) in [
            (300, "5m"),
            (3600, "1h"),
            (5400, "1h30m"),
            (7200, "2h"),
            (day, "1d"),
            (3 * day, "3d"),
            (7 * day, "1w"),
            (28 * day, "4w"),
            (30 * day, "30d"),
            (90 * day, "90d"),
            (365 * day, "1y"),
            (0, "0s"),
        ] {
            assert_eq!(window_name(seconds), name);
            assert!(is_window(name), "{name}");
        }
    }

    #[test]
    fn a_name_is_known_with_its_window_and_only_with_one() {
        for known in ["slo:sli_error:ratio_rate5m", "slo:sli_error:ratio_rate4w", "pyrra_requests:rate5m", "ALERTS"] {
            assert!(Foreign::named(known).is_some(), "{known}");
        }
        for unknown in ["slo:sli_error:ratio_rate", "slo:sli_error:ratio_rate5", "slo:objective:ratio5m", "pyrra_burn"]
        {
            assert!(Foreign::named(unknown).is_none(), "{unknown}");
        }
    }

    #[test]
    fn the_switches_are_read_as_they_are_written() {
        for (word, switch) in Switch::WRITTEN {
            assert_eq!(word.parse::<Switch>(), Ok(switch));
            assert_eq!(switch.to_string(), word);
        }
        let message = "Sloth".parse::<Switch>().expect_err("no switch");
        assert!(message.contains("write sloth, sloth-alerts or pyrra"), "{message}");
    }

    #[test]
    fn sloth_brings_the_window_of_pyrra() {
        let of = |sloth, pyrra| Compat { sloth, pyrra, sloth_alerts: false }.windows_s().to_vec();
        assert_eq!(of(false, false), [0; 0]);
        assert_eq!(of(false, true), [300]);
        assert_eq!(of(true, true), SLOTH_WINDOWS_S);
        assert!(SLOTH_WINDOWS_S.contains(&PYRRA_RATE_S));
    }
}
