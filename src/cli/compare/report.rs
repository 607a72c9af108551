//! What a comparison found, for people and for machines.

use std::io::IsTerminal;

use serde::Serialize;

use crate::cli::table::Table;
use crate::inspect::compare::cause::Explained;
use crate::inspect::compare::evidence::percent;
use crate::inspect::compare::recorded::Foreign;
use crate::telemetry::compat::window_name;

/// Budgets that differ by less than this part of the budget agree, whatever their ratios.
const BUDGET_SAME: f64 = 0.001;
/// Widest line of an explanation.
const LINE_MAX: usize = 110;

/// How two numbers stand to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// They differ by no more than the tolerance.
    Agree,
    /// They differ by more.
    Differ,
    /// One of them, or both, is not there.
    NoData,
}

/// One number of both.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figure {
    /// `error_ratio` or `budget_left`.
    pub name: &'static str,
    /// The window: `30d`.
    pub window: String,
    /// What the other tool recorded; NaN (`null` in JSON, with `theirs_nan`) where it recorded 0/0.
    pub theirs: Option<f64>,
    /// It recorded 0/0.
    pub theirs_nan: bool,
    /// What the counts say.
    pub exact: Option<f64>,
    /// `theirs - exact`.
    pub difference: Option<f64>,
    /// `theirs / exact - 1`, of error ratios.
    pub relative: Option<f64>,
    /// `theirs / exact`, of error ratios.
    pub factor: Option<f64>,
}

impl Figure {
    /// An error ratio.
    pub fn ratio(window_s: i64, theirs: Option<f64>, exact: Option<f64>) -> Self {
        let (known, difference) = difference(theirs, exact);
        let factor = known.filter(|(_, exact)| *exact > 0.0).map(|(theirs, exact)| theirs / exact);
        Figure {
            name: "error_ratio",
            window: window_name(window_s),
            theirs,
            theirs_nan: theirs.is_some_and(|theirs| !theirs.is_finite()),
            exact,
            difference,
            relative: factor.map(|factor| factor - 1.0),
            factor,
        }
    }

    /// A budget.
    pub fn left(window_s: i64, theirs: Option<f64>, exact: Option<f64>) -> Self {
        let (_, difference) = difference(theirs, exact);
        Figure {
            name: "budget_left",
            difference,
            relative: None,
            factor: None,
            ..Figure::ratio(window_s, theirs, exact)
        }
    }

    fn cells(&self) -> [String; 5] {
        let points = self.name == "budget_left";
        let number = |value: Option<f64>| match value {
            None => "no data".to_owned(),
            Some(left) if points && left.is_finite() => format!("{:.1} %", left * 100.0),
            Some(ratio) => percent(ratio),
        };
        let difference = match (self.difference, self.relative) {
            (Some(points), _) if self.name == "budget_left" => format!("{:+.1} points", points * 100.0),
            (_, Some(relative)) => format!("{:+.1} %", relative * 100.0),
            (Some(0.0), None) => "none".to_owned(),
            _ => "-".to_owned(),
        };
        let factor = self.factor.map_or_else(|| "-".to_owned(), |factor| format!("{factor:.2}x"));
        let name = if points { "budget left" } else { "error ratio" };
        [format!("{name} {}", self.window), number(self.theirs), number(self.exact), difference, factor]
    }
}

/// Both where both are numbers, and theirs - exact.
fn difference(theirs: Option<f64>, exact: Option<f64>) -> (Option<(f64, f64)>, Option<f64>) {
    let known = theirs.filter(|theirs| theirs.is_finite()).zip(exact);
    (known, known.map(|(theirs, exact)| theirs - exact))
}

/// One SLO of both.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// Its id here.
    pub id: String,
    /// Its name there.
    #[serde(flatten)]
    pub foreign: Foreign,
    /// How they stand.
    pub verdict: Verdict,
    /// Error ratio and budget of the window first, then shorter windows.
    pub figures: Vec<Figure>,
    /// Why they differ.
    #[serde(flatten)]
    pub explained: Explained,
    /// Nothing at all is recorded under its name.
    pub nowhere: bool,
    /// What else is to be known.
    pub remarks: Vec<String>,
}

/// Whether the two agree within `tolerance`, a part of the larger.
pub fn verdict(ratio: &Figure, left: &Figure, tolerance: f64) -> Verdict {
    match (ratio.theirs, ratio.exact) {
        (Some(theirs), Some(_)) if !theirs.is_finite() => Verdict::Differ,
        (Some(theirs), Some(exact)) => {
            let close = (theirs - exact).abs() <= tolerance * theirs.abs().max(exact.abs());
            let budget = left.difference.is_some_and(|points| points.abs() <= BUDGET_SAME);
            // The same ratio against another objective is another budget.
            let far = left.difference.is_some_and(|points| {
                let most =
                    tolerance * left.theirs.zip(left.exact).map_or(1.0, |(a, b)| (1.0 - a).abs().max((1.0 - b).abs()));
                points.abs() > most.max(BUDGET_SAME)
            });
            if (close || budget) && !far { Verdict::Agree } else { Verdict::Differ }
        }
        _ => Verdict::NoData,
    }
}

/// For machines.
pub fn json(at_s: i64, tolerance: f64, rows: &[Row]) -> String {
    format!("{:#}\n", serde_json::json!({"at": at_s, "tolerance": tolerance, "slos": rows}))
}

/// For people: the numbers side by side, then why.
pub fn text(rows: &[Row]) -> String {
    let mut table = Table::new(["slo", "figure", "theirs", "exact", "difference", "factor", ""]);
    let (nowhere, rows): (Vec<&Row>, Vec<&Row>) = rows.iter().partition(|row| row.nowhere);
    for row in &rows {
        let mut head = (row.id.clone(), word(row.verdict).to_owned());
        for figure in row.figures.iter().filter(|figure| is_shown(figure, row)) {
            let (id, verdict) = std::mem::take(&mut head);
            let [name, theirs, exact, difference, factor] = figure.cells();
            table.push([id, name, theirs, exact, difference, factor, verdict]);
        }
    }
    let mut out = table.print();
    let width = match std::io::stdout().is_terminal() {
        true => terminal_size::terminal_size().map_or(LINE_MAX, |(width, _)| usize::from(width.0)),
        false => LINE_MAX,
    };
    if rows.is_empty() {
        out.clear();
    }
    let width = width.clamp(40, LINE_MAX);
    for row in rows.iter().filter(|row| row.verdict != Verdict::Agree || !row.remarks.is_empty()) {
        out += &reasons(row, width);
    }
    if !nowhere.is_empty() {
        let names: Vec<String> = nowhere.iter().map(|row| format!("{} ({})", row.id, row.foreign.name)).collect();
        let head = match nowhere.len() {
            1 => "1 SLO is recorded nowhere".to_owned(),
            several => format!("{several} SLOs are recorded nowhere"),
        };
        out += &format!("\n{head}, as there is nothing under these names in the last 5 minutes:\n");
        out += &paragraph("", "", &names.join(", "), width);
    }
    out
}

/// The window of the budget, and of shorter ones those people look at: five minutes and about an hour.
fn is_shown(figure: &Figure, row: &Row) -> bool {
    let main = row.figures.first().is_some_and(|first| first.window == figure.window);
    main || ["5m", "1h", "1h4m"].contains(&figure.window.as_str())
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Agree => "agree",
        Verdict::Differ => "DIFFER",
        Verdict::NoData => "NO DATA",
    }
}

fn reasons(row: &Row, width: usize) -> String {
    let mut out = format!("\n{} ({} {}): {}\n", row.id, row.foreign.tool.as_str(), row.foreign.name, word(row.verdict));
    let share =
        |share: Option<f64>| share.map_or_else(String::new, |share| format!("{} %", (share * 100.0).round() as i64));
    if row.verdict == Verdict::Differ {
        let counts = |share: Option<f64>| share.is_none_or(|share| share.abs() >= 0.005);
        for cause in row.explained.causes.iter().filter(|cause| counts(cause.share)) {
            out += &paragraph(cause.cause.as_str(), &share(cause.share), &cause.evidence, width);
        }
        if let Some(rest) = row.explained.unexplained_share {
            out += &paragraph("unexplained", &share(Some(rest)), "", width);
        }
    }
    for remark in &row.remarks {
        out += &paragraph("note", "", remark, width);
    }
    out
}

/// A line with a name, a share and a text that goes on under itself.
fn paragraph(name: &str, share: &str, text: &str, width: usize) -> String {
    let head = format!("  {name:21} {share:>6}  ");
    let indent = head.chars().count();
    let mut lines = vec![head.clone()];
    let mut used = indent;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if used > indent && used + length > width {
            lines.push(" ".repeat(indent));
            used = indent;
        }
        let line = lines.last_mut().expect("there is always a line");
        line.push_str(word);
        line.push(' ');
        used += length + 1;
    }
    lines.iter().map(|line| format!("{}\n", line.trim_end())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(theirs: Option<f64>, exact: Option<f64>, left: (f64, f64)) -> Verdict {
        let ratio = Figure::ratio(2_592_000, theirs, exact);
        verdict(&ratio, &Figure::left(2_592_000, Some(left.0), Some(left.1)), 0.01)
    }

    #[test]
    fn no_data_is_never_agreement() {
        assert_eq!(judged(None, Some(0.0), (1.0, 1.0)), Verdict::NoData);
        assert_eq!(judged(Some(0.0), None, (1.0, 1.0)), Verdict::NoData);
        assert_eq!(judged(Some(f64::NAN), Some(0.0), (1.0, 1.0)), Verdict::Differ);
        assert_eq!(judged(Some(f64::INFINITY), Some(0.5), (1.0, 1.0)), Verdict::Differ);
    }

    #[test]
    fn the_tolerance_is_a_part_of_the_ratio_and_never_hides_a_budget() {
        assert_eq!(judged(Some(0.001), Some(0.001_005), (0.0, -0.005)), Verdict::Agree);
        assert_eq!(judged(Some(0.001), Some(0.001_2), (0.0, -0.2)), Verdict::Differ);
        // A tenth of a thousandth of the budget is no difference, even where one ratio is twice the other.
        assert_eq!(judged(Some(2e-8), Some(1e-8), (0.999_98, 0.999_99)), Verdict::Agree);
        // The same ratio against another objective.
        assert_eq!(judged(Some(0.001), Some(0.001), (0.0, 0.9)), Verdict::Differ);
    }

    #[test]
    fn nothing_is_made_up_where_there_is_no_number() {
        let figure = Figure::ratio(300, Some(f64::NAN), Some(0.0));
        assert_eq!(figure.cells(), ["error ratio 5m", "NaN", "0.0000 %", "-", "-"]);
        let figure = Figure::left(2_592_000, None, Some(0.5));
        assert_eq!(figure.cells(), ["budget left 30d", "no data", "50.0 %", "-", "-"]);
        assert_eq!(
            serde_json::to_value(Figure::ratio(300, Some(f64::NAN), None)).expect("JSON")["theirs"],
            serde_json::Value::Null
        );
    }

    #[test]
    fn a_text_goes_on_under_itself() {
        let text = paragraph("note", "", "one two three four", 42);
        assert_eq!(text, format!("  note{}one two\n{}three four\n", " ".repeat(26), " ".repeat(32)));
    }
}
