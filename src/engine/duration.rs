//! Lengths of time as text: the one printer of them.
//!
//! Deliberately absent: reading them (`spec::duration`); the gate's texts, which stand in its log and stay as they are; and
//! the windows in names of other tools' series (`telemetry::compat`), which those tools spell.

/// Units, seconds, the largest first.
const UNITS: [(u64, char); 4] = [(86_400, 'd'), (3600, 'h'), (60, 'm'), (1, 's')];

/// All of it, as Prometheus and the reader of rules both take it back: `30d`, `1h30m`, `0s`. Less than nothing is nothing.
pub fn exact(seconds: i64) -> String {
    spelled(seconds, UNITS.len(), "")
}

/// The largest unit and the next one, where that says something: `1h`, `2d4h`; `between` them stands what is given.
pub fn rough(seconds: i64, between: &str) -> String {
    spelled(seconds, 2, between)
}

fn spelled(seconds: i64, units: usize, between: &str) -> String {
    let mut left = u64::try_from(seconds).unwrap_or(0);
    let largest = UNITS.iter().position(|(unit, _)| left >= *unit).unwrap_or(UNITS.len() - 1);
    let mut parts = Vec::new();
    for (unit, name) in UNITS.iter().skip(largest).take(units) {
        if left >= *unit || parts.is_empty() {
            parts.push(format!("{}{name}", left / unit));
        }
        left %= unit;
    }
    parts.join(between)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_spelled_whole_or_by_what_weighs_most() {
        for (seconds, whole, most) in [
            (-5, "0s", "0s"),
            (0, "0s", "0s"),
            (59, "59s", "59s"),
            (300, "5m", "5m"),
            (5400, "1h30m", "1h 30m"),
            (7_383, "2h3m3s", "2h 3m"),
            (86_405, "1d5s", "1d"),
            (187_200, "2d4h", "2d 4h"),
            (2_592_000, "30d", "30d"),
        ] {
            assert_eq!((exact(seconds).as_str(), rough(seconds, " ").as_str()), (whole, most), "{seconds}");
        }
    }
}
