//! What the bench prints: one markdown table, targets beside what was measured.

use std::fmt::Display;

/// Rows as they come; a missed target is remembered.
#[derive(Debug, Default)]
pub struct Table {
    missed: Vec<String>,
}

impl Table {
    /// A table that is printed while it grows: the heading.
    pub fn begin(title: &str) -> Self {
        println!("\n| {title} | measured | target | |\n| --- | ---: | ---: | --- |");
        Table::default()
    }

    /// Headings between rows.
    pub fn part(&self, title: &str) {
        println!("| **{title}** | | | |");
    }

    /// A number without a target.
    pub fn say(&self, what: &str, value: impl Display) {
        println!("| {what} | {value} | | |");
    }

    /// A number that must not be more than its target, in the target's own unit.
    pub fn at_most(&mut self, what: &str, value: f64, target: f64, unit: &str) {
        self.judge(what, number(value, unit), format!("<= {}", number(target, unit)), value <= target);
    }

    /// A number that must not be less than its target.
    pub fn at_least(&mut self, what: &str, value: f64, target: f64, unit: &str) {
        self.judge(what, number(value, unit), format!(">= {}", number(target, unit)), value >= target);
    }

    /// Something that is so or is not.
    #[allow(dead_code, reason = "not every bench has one")]
    pub fn holds(&mut self, what: &str, is_so: bool) {
        self.judge(what, if is_so { "yes" } else { "no" }.into(), "yes".into(), is_so);
    }

    fn judge(&mut self, what: &str, value: String, target: String, met: bool) {
        println!("| {what} | {value} | {target} | {} |", if met { "met" } else { "**missed**" });
        if !met {
            self.missed.push(what.to_owned());
        }
    }

    /// What was missed.
    pub fn missed(&self) -> &[String] {
        &self.missed
    }
}

/// A number for people: thousands apart, three digits where it is small.
pub fn number(value: f64, unit: &str) -> String {
    let digits = match value.abs() {
        v if v >= 100.0 || v == v.trunc() => 0,
        v if v >= 1.0 => 2,
        _ => 4,
    };
    let text = format!("{value:.digits$}");
    let (whole, rest) = text.split_once('.').map_or((text.as_str(), String::new()), |(w, r)| (w, format!(".{r}")));
    let (sign, figures) = whole.strip_prefix('-').map_or(("", whole), |figures| ("-", figures));
    let mut apart = String::new();
    for (place, figure) in figures.chars().enumerate() {
        if place > 0 && (figures.len() - place) % 3 == 0 {
            apart.push(',');
        }
        apart.push(figure);
    }
    let space = if unit.is_empty() { "" } else { " " };
    format!("{sign}{apart}{rest}{space}{unit}")
}
