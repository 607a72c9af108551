//! A matcher of Alertmanager: one label held against a text or a pattern, as routes, inhibitions and silences do it.

use std::collections::BTreeMap;

/// Largest program of a pattern, bytes.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// One label. A label that is not there is empty.
#[derive(Debug, Clone)]
pub struct Matcher {
    /// The label.
    pub name: String,
    /// Whether it has to fit; else it must not.
    pub equal: bool,
    value: LabelTest,
}

#[derive(Debug, Clone)]
enum LabelTest {
    Text(String),
    Pattern(regex::Regex),
}

impl Matcher {
    /// `op` is one of `=`, `!=`, `=~` and `!~`.
    ///
    /// # Errors
    /// The value is no pattern, for people.
    pub fn new(name: &str, op: &str, value: &str) -> Result<Self, String> {
        let pattern = || {
            let anchored = regex::RegexBuilder::new(&format!("^(?:{value})$")).size_limit(PATTERN_BYTES_MAX).build();
            anchored.map(LabelTest::Pattern).map_err(|error| format!("{value:?} is no regular expression: {error}"))
        };
        let (equal, value) = match op {
            "=" => (true, LabelTest::Text(value.into())),
            "!=" => (false, LabelTest::Text(value.into())),
            "=~" => (true, pattern()?),
            _ => (false, pattern()?),
        };
        Ok(Matcher { name: name.into(), equal, value })
    }

    /// As the API of Alertmanager says it.
    ///
    /// # Errors
    /// As of [`Matcher::new`].
    pub fn of_flags(name: &str, value: &str, is_equal: bool, is_regex: bool) -> Result<Self, String> {
        let op = match (is_equal, is_regex) {
            (true, false) => "=",
            (false, false) => "!=",
            (true, true) => "=~",
            (false, true) => "!~",
        };
        Matcher::new(name, op, value)
    }

    /// Whether this value of its label is what it wants.
    pub fn takes(&self, value: &str) -> bool {
        let fits = match &self.value {
            LabelTest::Text(text) => text == value,
            LabelTest::Pattern(pattern) => pattern.is_match(value),
        };
        fits == self.equal
    }

    /// Whether these labels are what it wants.
    pub fn fits(&self, labels: &BTreeMap<String, String>) -> bool {
        self.takes(labels.get(&self.name).map_or("", String::as_str))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_that_is_not_there_is_empty_and_patterns_are_whole() {
        let takes = |op: &str, value: &str, label: &str| Matcher::new("a", op, value).expect("a matcher").takes(label);
        assert!(takes("=", "x", "x") && !takes("=", "x", "xy") && takes("!=", "x", ""));
        assert!(takes("=~", "x|y", "y") && !takes("=~", "x|y", "xy") && takes("!~", "x.*", ""));
        assert!(Matcher::new("a", "=~", "(").is_err());
        assert!(Matcher::new("a", "=~", "(a{1000}){1000}").is_err(), "too large");
        assert!(Matcher::of_flags("a", "x", false, false).expect("a matcher").fits(&BTreeMap::new()));
    }
}
