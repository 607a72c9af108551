//! Window lengths as people and label values write them: `5m`, `36h`, `30d`.

/// The shortest text of a whole number of one unit: the largest of d, h, m, s that divides `seconds`.
pub fn text(seconds: i64) -> String {
    let units = [(86_400, "d"), (3_600, "h"), (60, "m")];
    let unit = units.into_iter().find(|(length, _)| seconds != 0 && seconds % length == 0);
    let (length, name) = unit.unwrap_or((1, "s"));
    format!("{}{name}", seconds / length)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_largest_unit_that_divides_is_used() {
        let cases = [(300, "5m"), (3600, "1h"), (129_600, "36h"), (2_592_000, "30d"), (90, "90s"), (0, "0s")];
        for (seconds, text) in cases {
            assert_eq!(super::text(seconds), text);
        }
    }
}
