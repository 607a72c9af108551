//! What `slowburn check` prints for people: what is wrong first, then what was found, and last what the thresholds mean,
//! which changes with the files only.

use super::{Asked, Unplanned};
use crate::cli::colour_on;
use crate::cli::table::{Table, counted, paragraph};
use crate::engine::Speed;
use crate::engine::duration::exact;
use crate::inspect::dry_run::Looked;
use crate::inspect::fit::Fit;
use crate::inspect::presence::Found;
use crate::spec::{Explained, ExplainedClause, Loaded, TimeSpan, shown};

/// Everything, for people.
pub(super) fn text(loaded: &Loaded, explained: &[Explained], unplanned: &[Unplanned], asked: Option<&Asked>) -> String {
    let mut out = loaded.render(colour_on(&std::io::stdout()));
    if loaded.is_fatal() {
        return out;
    }
    out += &remarks(explained, unplanned, asked).print();
    if let Some(asked) = asked {
        out += &part(&sources(&asked.found).fitted());
        out += &part(&fits(&asked.fits, &asked.looked).fitted());
        if !asked.looked.is_empty() {
            out += &part(&looks(&asked.looked).fitted());
        }
    }
    if !explained.is_empty() {
        let table = thresholds(explained);
        out += &if asked.is_some() { part(&table) } else { table };
    }
    out
}

/// A table, apart from what is above it.
fn part(table: &str) -> String {
    format!("\n{table}")
}

/// What is to be said of SLOs: errors before warnings before what is only worth knowing, and what is to be said of many of
/// them once.
#[derive(Default)]
struct Remarks([Vec<Remark>; 3]);

struct Remark {
    text: String,
    advice: Option<String>,
    slos: Vec<String>,
}

/// How much a remark weighs, as its place among the remarks.
const ERROR: usize = 0;
const WARNING: usize = 1;
const NOTE: usize = 2;

impl Remarks {
    fn add(&mut self, weight: usize, slo: &str, text: String, advice: Option<&String>) {
        let same = |remark: &&mut Remark| remark.text == text && remark.advice.as_ref() == advice;
        match self.0[weight].iter_mut().find(same) {
            Some(remark) if remark.slos.iter().any(|own| own == slo) => {}
            Some(remark) => remark.slos.push(slo.to_owned()),
            None => self.0[weight].push(Remark { text, advice: advice.cloned(), slos: vec![slo.to_owned()] }),
        }
    }

    fn print(&self) -> String {
        let mut out = String::new();
        for Remark { text, advice, slos } in self.0.iter().flatten() {
            match slos.as_slice() {
                [slo] => out += &format!("{slo}: {text}\n"),
                slos => out += &format!("{}: {text}\n{}", counted(slos.len(), "SLO"), paragraph(&slos.join(", "), 4)),
            }
            out.extend(advice.iter().map(|advice| format!("  = {advice}\n")));
        }
        out
    }
}

fn remarks(explained: &[Explained], unplanned: &[Unplanned], asked: Option<&Asked>) -> Remarks {
    let mut remarks = Remarks::default();
    for Unplanned { slo, reason } in unplanned {
        remarks.add(ERROR, slo, format!("error: no request can be made of its source: {reason}"), None);
    }
    for found in asked.iter().flat_map(|asked| &asked.found) {
        match (&found.problem, &found.note) {
            (Some(problem), _) => remarks.add(ERROR, &found.slo, format!("{}: {problem}", found.part), None),
            (None, Some(note)) => remarks.add(NOTE, &found.slo, format!("{}: {note}", found.part), None),
            (None, None) => {}
        }
    }
    for finding in asked.iter().flat_map(|asked| &asked.findings) {
        let (weight, kind) = if finding.complaint.is_error() { (ERROR, "error") } else { (WARNING, "warning") };
        remarks.add(weight, &finding.slo, format!("{kind}: {}", finding.evidence), finding.advice.as_ref());
    }
    for slo in explained.iter().filter(|slo| slo.source.is_none()) {
        remarks.add(WARNING, &slo.id, slo.note.clone().unwrap_or_else(|| "no source of events".into()), None);
    }
    for fit in asked.iter().flat_map(|asked| &asked.fits) {
        fit.warnings.iter().for_each(|warning| remarks.add(NOTE, &fit.slo, warning.clone(), None));
    }
    remarks
}

/// What the clauses of SLOs come to, and which SLOs have the same numbers.
fn thresholds(explained: &[Explained]) -> String {
    let mut table = Table::new([
        "slo",
        "objective",
        "window",
        "counts",
        "alert",
        "clause",
        "factor",
        "error ratio",
        "budget",
        "seen after",
    ]);
    let mut same: Vec<(&Explained, Vec<&str>)> = Vec::new();
    for slo in explained {
        let numbers = |slo: &Explained| (slo.objective, slo.window.clone(), slo.unit.clone(), slo.clauses.clone());
        if let Some((_, ids)) = same.iter_mut().find(|(first, _)| numbers(first) == numbers(slo)) {
            ids.push(&slo.id);
            continue;
        }
        same.push((slo, Vec::new()));
        let mut head = [slo.id.clone(), format!("{} %", shown(slo.objective)), slo.window.clone(), slo.unit.clone()];
        let clauses: Vec<Option<&ExplainedClause>> = match slo.clauses.as_slice() {
            [] => vec![None],
            clauses => clauses.iter().map(Some).collect(),
        };
        for clause in clauses {
            let [id, objective, window, unit] = std::mem::take(&mut head);
            let [alert, text, factor, ratio, spent, seen] =
                clause.map(cells).unwrap_or_else(|| ["none", "-", "-", "-", "-", "-"].map(str::to_owned));
            table.push([id, objective, window, unit, alert, text, factor, ratio, spent, seen]);
        }
    }
    let mut out = table.fitted();
    for (first, ids) in same.iter().filter(|(_, ids)| !ids.is_empty()) {
        out += &paragraph(&format!("the same as {}: {}", first.id, ids.join(", ")), 0);
    }
    out
}

fn cells(clause: &ExplainedClause) -> [String; 6] {
    let speed = match clause.speed {
        Speed::Fast => "fast",
        Speed::Slow => "slow",
    };
    let percent = |ratio: f64| format!("{} %", shown(ratio * 100.0));
    [
        speed.to_owned(),
        clause.text.clone(),
        format!("{}x", shown(clause.factor)),
        percent(clause.error_ratio),
        percent(clause.budget_spent),
        time(clause.detection_s),
    ]
}

/// What each SLO reads, and how much of it is there.
fn sources(found: &[Found]) -> Table<5> {
    let mut table = Table::new(["slo", "part", "raw series", "series", "selector"]);
    let mut before = "";
    for found in found {
        let id = if found.slo == before { String::new() } else { found.slo.clone() };
        before = &found.slo;
        let raw = match (&found.problem, found.raw_series) {
            (Some(_), 0) => "MISSING".to_owned(),
            (_, raw) => raw.to_string(),
        };
        table.push([id, found.part.to_owned(), raw, found.series.to_string(), found.selector.clone()]);
    }
    table
}

/// How each SLO fits.
fn fits(fits: &[Fit], looked: &[Looked]) -> Table<7> {
    let mut table = Table::new([
        "slo",
        "events a day",
        "bucket",
        "scraped every",
        "longest window",
        "kept for",
        "burn if all fails",
    ]);
    let dash = || "-".to_owned();
    for fit in fits {
        let traffic = looked.iter().find(|looked| looked.slo == fit.slo).and_then(|looked| looked.events_per_day);
        table.push([
            fit.slo.clone(),
            traffic.map_or_else(dash, |events| format!("{events:.0}")),
            fit.bucket.clone().unwrap_or_else(dash),
            fit.scrape_s.map_or_else(dash, exact),
            exact(fit.window_s),
            fit.retention.clone().unwrap_or_else(|| "unknown".into()),
            format!("{}x", shown((fit.max_burn * 100.0).round() / 100.0)),
        ]);
    }
    table
}

/// How the last days would have looked.
fn looks(looked: &[Looked]) -> Table<8> {
    let mut table =
        Table::new(["slo", "days seen", "good", "budget left", "fast burns", "slow burns", "budget spent", "no data"]);
    for looked in looked {
        let percent = |share: Option<f64>, places: usize| {
            share.map_or("unknown".into(), |share| format!("{:.places$} %", share * 100.0))
        };
        let alerts = &looked.alerts;
        table.push([
            looked.slo.clone(),
            format!("{:.1} of {:.0}", looked.days, looked.days_asked),
            percent(looked.sli, 3),
            percent(looked.budget_left, 1),
            alerts.fast_burn.to_string(),
            alerts.slow_burn.to_string(),
            if alerts.budget > 0 { "yes".into() } else { "no".into() },
            alerts.data_missing.to_string(),
        ]);
    }
    table
}

/// Seconds for people: `52s`, `2m10s`, `7h12m`.
fn time(seconds: f64) -> String {
    let whole = seconds.ceil().max(1.0) as i64;
    let rounded = if whole >= 7_200 { (whole + 59) / 60 * 60 } else { whole };
    TimeSpan::from_seconds(rounded).map_or_else(|| format!("{rounded}s"), |span| span.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::doctor::{Complaint, Finding};
    use crate::spec;

    fn explained(text: &str) -> Vec<Explained> {
        spec::load_text("a.yaml", text).model.slos.iter().map(spec::explain).collect()
    }

    #[test]
    fn thresholds_are_those_of_the_workbook() {
        let slos = explained(
            "name: a\nowner: x\nslo: {availability: {objective: 99.9, sli: {total: m, bad: 'm{a=\"b\"}'}}}\n",
        );
        let cells = cells(&slos[0].clauses[0]);
        assert_eq!(cells, ["fast", "1h/5m > 14.4x", "14.4x", "1.44 %", "2 %", "52s"]);
    }

    #[test]
    fn an_slo_stands_once_above_its_parts() {
        let found = |part, raw_series, problem: Option<&str>| Found {
            slo: "a-latency-p95".into(),
            part,
            selector: "m".into(),
            raw_series,
            series: 1,
            problem: problem.map(str::to_owned),
            ..Found::nothing()
        };
        let text = sources(&[found("count", 3, None), found("bucket", 0, Some("no series"))]).print();
        assert_eq!(
            text,
            "slo            part    raw series  series  selector\n\
             a-latency-p95  count   3           1       m\n               bucket  MISSING     1       m\n"
        );
    }

    /// A Prometheus that keeps two weeks, and finds one bad selector and one missing metric among three SLOs.
    fn asked(ids: &[&str]) -> Asked {
        let kept = "samples are kept for 15d and its longest window is 30d: with data_dir what was read is remembered";
        let fit = |slo: &&str| Fit {
            slo: (*slo).to_owned(),
            bucket: None,
            scrape_s: Some(15),
            resolution_s: 30,
            window_s: 30 * 86_400,
            retention: Some("15d".into()),
            retention_s: Some(15 * 86_400),
            max_burn: 1000.0,
            warnings: vec![kept.to_owned()],
        };
        let found = |slo: &&str| Found { slo: (*slo).to_owned(), part: "total", raw_series: 1, ..Found::nothing() };
        let mut asked = Asked {
            found: ids.iter().map(found).collect(),
            findings: vec![Finding {
                slo: ids[0].to_owned(),
                complaint: Complaint::NearMiss,
                evidence: "there is a=\"c\", and \"b\" is written".into(),
                advice: Some("a=\"c\"".into()),
            }],
            fits: ids.iter().map(fit).collect(),
            looked: Vec::new(),
        };
        asked.found[1].problem = Some("there is no metric m".into());
        asked.found[2].note = Some("none yet: counts as no bad events".into());
        asked
    }

    const THREE: &str = "name: a\nowner: x\nslo:\n  \
        availability: {objective: 99.9, sli: {total: m, bad: 'm{a=\"b\"}'}}\n  custom:\n    \
        - {name: b, objective: 99.9, events: {total: n, bad: 'n{a=\"b\"}'}}\n    \
        - {name: c, objective: 99, events: {total: n, bad: 'n{a=\"b\"}'}}\n";

    #[test]
    fn what_is_wrong_comes_first_and_the_clauses_last() {
        let loaded = spec::load_text("a.yaml", THREE);
        assert!(loaded.problems.is_empty(), "{}", loaded.render(false));
        let ids: Vec<&str> = loaded.model.slos.iter().map(|spec| spec.slo.id.as_str()).collect();
        let out = text(&loaded, &explained(THREE), &[], Some(&asked(&ids)));
        let at = |words: &str| out.find(words).unwrap_or_else(|| panic!("{words}:\n{out}"));
        let order = [
            at(&format!("{}: total: there is no metric m", ids[1])),
            at(&format!("{}: warning: there is a=\"c\"", ids[0])),
            at("  = a=\"c\""),
            at(&format!("{}: total: none yet", ids[2])),
            at("3 SLOs: samples are kept for 15d"),
            at(&format!("    {}\n", ids.join(", "))),
            at("raw series"),
            at("burn if all fails"),
            at("seen after"),
        ];
        assert_eq!(order[0], 0, "{out}");
        assert!(order.is_sorted(), "{order:?}\n{out}");
        assert_eq!(out.matches("samples are kept").count(), 1, "{out}");
        assert!(out.lines().all(|line| line.chars().count() <= 110), "{out}");
    }

    #[test]
    fn the_same_clauses_are_printed_once() {
        let out = thresholds(&explained(THREE));
        // 99.9 % twice, and 99 % with other error ratios: of the clause, and of its factor.
        assert_eq!(out.matches(" 14.4x ").count(), 2 * 2, "{out}");
        assert!(out.ends_with("the same as a-availability: a-b\n"), "{out}");
        assert!(out.contains(" 1.44 % ") && out.contains(" 14.4 % "), "{out}");
        assert!(out.lines().all(|line| line.chars().count() <= 100), "{out}");
    }
}
