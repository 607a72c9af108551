//! How many series `/metrics` shows of each SLO.
//!
//! Every series that a scrape stores costs the Prometheus that stores it. Ten an SLO answer what a dashboard asks
//! ("how is it, how much is left, how fast does it go"); what can be worked out of those is left out until somebody
//! wants it ready-made.

use std::fmt;
use std::str::FromStr;

/// How much of each SLO is exposed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Detail {
    /// At most ten series an SLO with one window: objective, state, state of the data, budget left, events of the
    /// window, and the burn rates of the long windows of its policy (two fast, two slow).
    #[default]
    Lean,
    /// Everything: each window's burn rate, error ratio and events, thresholds, bounds, coverage, age, exhaustion.
    Full,
}

impl Detail {
    /// Both, as they are written in settings and on the command line.
    pub const WRITTEN: [(&'static str, Detail); 2] = [("lean", Detail::Lean), ("full", Detail::Full)];
}

impl FromStr for Detail {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Detail::WRITTEN.into_iter().find(|(word, _)| *word == text);
        found.map(|(_, detail)| detail).ok_or_else(|| format!("{text:?} is neither lean nor full"))
    }
}

impl fmt::Display for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Detail::Lean => "lean",
            Detail::Full => "full",
        })
    }
}
