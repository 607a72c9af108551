//! `slowburn report --period 2026-10`: what a period came to, from the counts of a running daemon: objectives met, budgets in
//! events and minutes, incidents.
//!
//! Deliberately absent: a verdict where too little is known. A period of which nothing is known is `unknown`, and one that is
//! known in part says how much.

use clap::{Args, ValueEnum};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use serde::Serialize;
use serde_json::Value;

use super::remote::{Failure, Remote, RemoteArgs};
use super::{Exit, complain, print_out};
use crate::engine::text::seen;
use crate::incident::text::markdown;

/// Form of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ReportForm {
    /// Tables for people
    Markdown,
    /// One row a series
    Csv,
    /// One document
    Json,
}

/// Flags of `slowburn report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// The period: a month (2026-10), a quarter (2026-Q4) or a year (2026)
    #[arg(long, value_name = "PERIOD")]
    period: String,
    /// Whose midnight it begins at
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    time_zone: String,
    /// Only of this service
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    #[command(flatten)]
    remote: RemoteArgs,
    /// Form of the output
    #[arg(long, value_enum, default_value = "markdown")]
    format: ReportForm,
}

/// One series of one SLO over a period.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Row {
    slo: String,
    service: String,
    owner: String,
    series: String,
    objective: f64,
    /// `met`, `missed`, or `unknown` where nothing is known.
    result: &'static str,
    /// Share of the period so far that is known.
    coverage: f64,
    total: Option<u64>,
    bad: Option<u64>,
    good_percent: Option<f64>,
    /// How many events may have been bad.
    budget_events: Option<f64>,
    /// What was left of that; negative when overspent.
    budget_left_events: Option<f64>,
    /// How many minutes of nothing but bad events the period allows.
    budget_minutes: f64,
    /// As many such minutes its bad events come to, at its mean traffic.
    spent_minutes: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Report {
    period: String,
    from: i64,
    to: i64,
    /// The period goes on: it is as it stands so far.
    so_far: bool,
    slos: Vec<Row>,
    incidents: Vec<Value>,
}

/// Asks and prints.
pub async fn report(args: ReportArgs) -> Exit {
    match asked(&args).await {
        Ok(report) => {
            print_out(&match args.format {
                ReportForm::Markdown => text(&report),
                ReportForm::Csv => csv(&report),
                ReportForm::Json => format!("{}\n", serde_json::to_string_pretty(&report).expect("plain data")),
            });
            match report.slos.iter().any(|row| row.result == "missed") {
                true => Exit::Findings,
                false => Exit::Ok,
            }
        }
        Err(Failure { exit, text }) => {
            complain(&text);
            exit
        }
    }
}

/// `[start, end)` of a period.
fn span(period: &str, zone: &str) -> Result<(i64, i64), String> {
    let zone = TimeZone::get(zone).map_err(|error| format!("--time-zone {zone:?}: {error}"))?;
    let wrong = || format!("--period {period:?} is no period\n  = write: 2026-10, 2026-Q4 or 2026");
    let (year, rest) = period.split_once('-').map_or((period, None), |(year, rest)| (year, Some(rest)));
    let plain = |text: &str, digits: usize| text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    let year: i16 = year.parse().ok().filter(|_| plain(year, 4)).ok_or_else(wrong)?;
    let (month, months) = match rest {
        None => (1, 12),
        Some(rest) => match rest.strip_prefix('Q') {
            Some(quarter) if plain(quarter, 1) => (quarter.parse::<i8>().map_err(|_| wrong())? * 3 - 2, 3),
            None if plain(rest, 2) => (rest.parse::<i8>().map_err(|_| wrong())?, 1),
            _ => return Err(wrong()),
        },
    };
    let first = Date::new(year, month, 1).map_err(|_| wrong())?;
    let after = first.checked_add(months.months()).map_err(|_| wrong())?;
    let midnight = |date: Date| date.to_zoned(zone.clone()).map(|at| at.timestamp().as_second()).map_err(|_| wrong());
    Ok((midnight(first)?, midnight(after)?))
}

async fn asked(args: &ReportArgs) -> Result<Report, Failure> {
    let usage = |text: String| Failure { exit: Exit::Usage, text };
    let (from, to) = span(&args.period, &args.time_zone).map_err(usage)?;
    let remote = Remote::new(&args.remote)?;
    let slos = remote.get("/v1/slos").await?;
    let wanted = |slo: &&Value| args.service.as_ref().is_none_or(|service| slo["service"] == service.as_str());
    let slos: Vec<&Value> = slos.as_array().into_iter().flatten().filter(wanted).collect();
    let newest = slos.iter().flat_map(|slo| slo["series"].as_array().into_iter().flatten());
    let newest = newest.filter_map(|series| series["at"].as_i64()).max().unwrap_or(0);
    if !slos.is_empty() && from >= newest {
        return Err(usage(format!("{} has not begun, or nothing of it was evaluated", args.period)));
    }
    let mut rows = Vec::new();
    for slo in slos {
        for series in slo["series"].as_array().into_iter().flatten() {
            rows.push(row(&remote, slo, series, from, to).await?);
        }
    }
    let incidents = remote.get("/v1/incidents").await?["incidents"].take();
    let within = |one: &Value| {
        let began = one["started_at"].as_i64().is_some_and(|at| at < to);
        let service = args.service.as_ref().is_none_or(|service| one["service"] == service.as_str());
        began && service && one["ended_at"].as_i64().is_none_or(|end| end >= from)
    };
    let incidents = incidents.as_array().into_iter().flatten().filter(|one| within(one)).cloned().collect();
    Ok(Report { period: args.period.clone(), from, to, so_far: newest < to, slos: rows, incidents })
}

async fn row(remote: &Remote, slo: &Value, series: &Value, from: i64, to: i64) -> Result<Row, Failure> {
    let id = slo["id"].as_str().unwrap_or_default();
    let query = [
        ("from", from.to_string()),
        ("to", to.to_string()),
        ("step", format!("{}s", to - from)),
        ("series", series["labels"].to_string()),
    ];
    let pairs: Vec<String> =
        query.iter().map(|(name, value)| format!("{name}={}", super::incidents::percent(value))).collect();
    let path = format!("/v1/slos/{}/history?{}", super::incidents::percent(id), pairs.join("&"));
    // Of what was never read there is no history, and of a service that is new none of this period.
    let history = match remote.get(&path).await {
        Ok(history) => history,
        Err(failure) if matches!(failure.exit, Exit::Usage) => Value::Null,
        Err(failure) => return Err(failure),
    };
    Ok(judged(slo, series, &history, to - from))
}

/// What the points of a period come to.
fn judged(slo: &Value, series: &Value, history: &Value, length_s: i64) -> Row {
    let text = |name: &str| slo[name].as_str().unwrap_or_default().to_owned();
    let points: Vec<&Value> = history["points"].as_array().into_iter().flatten().collect();
    let known: Vec<&&Value> = points.iter().filter(|point| point["total"].is_u64()).collect();
    let sum =
        |name: &str| (!known.is_empty()).then(|| known.iter().filter_map(|point| point[name].as_u64()).sum::<u64>());
    let (total, bad) = (sum("total"), sum("bad"));
    let length = |point: &Value| (point["to"].as_f64().unwrap_or(0.0) - point["from"].as_f64().unwrap_or(0.0)).max(0.0);
    let all: f64 = points.iter().map(|point| length(point)).sum();
    let seen: f64 = points.iter().map(|point| length(point) * point["coverage"].as_f64().unwrap_or(0.0)).sum();
    let budget = slo["budget_ratio"].as_f64().unwrap_or(0.0);
    let ratio = total.zip(bad).filter(|(total, _)| *total > 0).map(|(total, bad)| bad as f64 / total as f64);
    let minutes = length_s as f64 / 60.0;
    let result = match (ratio, total) {
        (Some(ratio), _) if ratio <= budget * (1.0 + 1e-9) => "met",
        (Some(_), _) => "missed",
        // Known, and nothing came: nothing was bad.
        (None, Some(_)) => "met",
        (None, None) => "unknown",
    };
    let labels = series["labels"].as_object().into_iter().flatten();
    let labels: Vec<String> =
        labels.map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default())).collect();
    Row {
        slo: text("id"),
        service: text("service"),
        owner: text("owner"),
        series: labels.join(" "),
        objective: slo["objective"].as_f64().unwrap_or(0.0),
        result,
        coverage: if all > 0.0 { (seen / all).clamp(0.0, 1.0) } else { 0.0 },
        total,
        bad,
        good_percent: ratio.map(|ratio| (1.0 - ratio) * 100.0),
        budget_events: total.map(|total| budget * total as f64),
        budget_left_events: total.zip(bad).map(|(total, bad)| budget * total as f64 - bad as f64),
        budget_minutes: budget * minutes,
        spent_minutes: ratio.map(|ratio| ratio * minutes),
    }
}

fn number(value: Option<f64>, places: usize) -> String {
    value.map_or_else(|| "unknown".to_owned(), |value| format!("{value:.places$}"))
}

fn text(report: &Report) -> String {
    let day = |at: i64| Timestamp::from_second(at).map(|at| at.to_string()).unwrap_or_default();
    let mut text = format!("# {}\n\nFrom {} to {}", report.period, day(report.from), day(report.to));
    text += if report.so_far { ", as it stands so far.\n\n" } else { ".\n\n" };
    text += "| SLO | objective | good | result | events | bad | budget left, events | budget, minutes | spent, minutes | known |\n";
    text += "|---|---|---|---|---|---|---|---|---|---|\n";
    for row in &report.slos {
        let count = |count: Option<u64>| count.map_or_else(|| "unknown".to_owned(), |count| count.to_string());
        let name = format!("{} {}", row.slo, row.series);
        text += &format!(
            "| {} | {} % | {} % | {} | {} | {} | {} | {:.1} | {} | {:.1} % |\n",
            markdown(name.trim()),
            row.objective,
            number(row.good_percent, 4),
            row.result,
            count(row.total),
            count(row.bad),
            number(row.budget_left_events, 0),
            row.budget_minutes,
            number(row.spent_minutes, 1),
            row.coverage * 100.0
        );
    }
    text += "\n## Incidents\n\n";
    if report.incidents.is_empty() {
        text += "None is remembered.\n";
    }
    for one in &report.incidents {
        let of = |name: &str| markdown(one[name].as_str().unwrap_or_default());
        text += &format!("- {} {}: {}\n", of("sev"), of("id"), of("headline"));
    }
    text
}

fn csv(report: &Report) -> String {
    let mut text =
        "slo,series,service,owner,objective,result,known,total,bad,good_percent,budget_events,budget_left_events,\
                    budget_minutes,spent_minutes\n"
            .to_owned();
    for row in &report.slos {
        let count = |count: Option<u64>| count.map(|count| count.to_string()).unwrap_or_default();
        let number = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
        let cells = [
            cell(&row.slo),
            cell(&row.series),
            cell(&row.service),
            cell(&row.owner),
            row.objective.to_string(),
            row.result.to_owned(),
            row.coverage.to_string(),
            count(row.total),
            count(row.bad),
            number(row.good_percent),
            number(row.budget_events),
            number(row.budget_left_events),
            row.budget_minutes.to_string(),
            number(row.spent_minutes),
        ];
        text += &cells.join(",");
        text.push('\n');
    }
    text
}

/// A text of a user in a table that spreadsheets open: it is quoted, one line, and never a formula, whichever mark the
/// spreadsheet takes for the end of a cell.
fn cell(text: &str) -> String {
    let mut safe = String::from("\"");
    let mut begins = true;
    for c in seen(text).chars() {
        // Wide signs are taken for the narrow ones.
        let formula = matches!(c, '=' | '+' | '-' | '@' | '\u{ff1d}' | '\u{ff0b}' | '\u{ff0d}' | '\u{ff20}');
        if begins && formula {
            safe.push('\'');
        }
        begins = matches!(c, ';' | ',' | '|') || begins && (c.is_whitespace() || c == '"');
        if c == '"' {
            safe.push('"');
        }
        safe.push(c);
    }
    safe.push('"');
    safe
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn periods_begin_at_the_midnight_of_their_zone() {
        let at = |text: &str| text.parse::<Timestamp>().expect(text).as_second();
        assert_eq!(span("2026-10", "UTC"), Ok((at("2026-10-01T00:00:00Z"), at("2026-11-01T00:00:00Z"))));
        // The clocks of Paris are set back within it: it is an hour longer.
        let paris = span("2026-10", "Europe/Paris").expect("a month");
        assert_eq!(paris, (at("2026-09-30T22:00:00Z"), at("2026-10-31T23:00:00Z")));
        assert_eq!(span("2026-Q4", "UTC"), Ok((at("2026-10-01T00:00:00Z"), at("2027-01-01T00:00:00Z"))));
        assert_eq!(span("2026", "UTC"), Ok((at("2026-01-01T00:00:00Z"), at("2027-01-01T00:00:00Z"))));
        for wrong in ["2026-13", "2026-00", "2026-Q5", "2026-Q0", "26-10", "2026-1", "last", "", "2026-10-01"] {
            assert!(span(wrong, "UTC").expect_err(wrong).contains("is no period"), "{wrong}");
        }
        assert!(span("2026-10", "Mars").is_err());
    }

    fn slo() -> Value {
        json!({"id": "checkout-availability", "service": "checkout", "owner": "team", "objective": 99.9, "budget_ratio": 0.001})
    }

    #[test]
    fn what_is_unknown_is_neither_met_nor_missed() {
        let series = json!({"labels": {}});
        let of = |points: Value| judged(&slo(), &series, &json!({"points": points}), 30 * 86_400);
        let point = |total: Value, bad: Value, coverage: f64| json!({"from": 0, "to": 600, "total": total, "bad": bad, "coverage": coverage});
        let met = of(json!([point(json!(600_000), json!(300), 1.0), point(json!(400_000), json!(200), 0.5)]));
        assert_eq!((met.result, met.total, met.bad, met.coverage), ("met", Some(1_000_000), Some(500), 0.75));
        assert_eq!((met.budget_events, met.budget_left_events), (Some(1000.0), Some(500.0)));
        assert!((met.budget_minutes - 43.2).abs() < 1e-9 && (met.spent_minutes.expect("known") - 21.6).abs() < 1e-9);
        let missed = of(json!([point(json!(1000), json!(2), 1.0)]));
        assert_eq!((missed.result, missed.budget_left_events), ("missed", Some(-1.0)));
        let nothing = of(json!([point(Value::Null, Value::Null, 0.0)]));
        assert_eq!((nothing.result, nothing.total, nothing.coverage), ("unknown", None, 0.0));
        assert_eq!(of(Value::Null).result, "unknown");
        assert_eq!(of(json!([point(json!(0), json!(0), 1.0)])).result, "met");
    }

    /// Fields of a row, as a spreadsheet takes it apart at `mark`, whatever stands in quotes.
    fn fields(row: &str, mark: char) -> Vec<String> {
        let (mut all, mut quoted) = (vec![String::new()], false);
        for c in row.chars() {
            match c {
                '"' => quoted = !quoted,
                c if c == mark && !quoted => all.push(String::new()),
                c => all.last_mut().expect("one").push(c),
            }
        }
        all
    }

    #[test]
    fn no_cell_is_a_formula_whichever_mark_ends_it() {
        for word in crate::web::fixture::HOSTILE {
            let row = [cell(word), cell("team"), cell(word)].join(",");
            assert!(!row.contains(['\n', '\r', '\u{202e}', '\u{200b}']), "{row:?}");
            assert_eq!(fields(&row, ',').len(), 3, "{row:?}");
            // A spreadsheet that ends cells at another mark, or knows no quotes.
            let torn = [fields(&row, ','), row.split(['"', ';', ',', '\t', '|']).map(str::to_owned).collect()].concat();
            for field in torn {
                let first = field.trim_start().chars().next();
                assert!(
                    !first.is_some_and(|c| "=+-@\u{ff1d}\u{ff0b}\u{ff0d}\u{ff20}".contains(c)),
                    "{field:?} of {row:?}"
                );
            }
        }
    }

    #[test]
    fn a_cell_is_no_formula_and_a_row_is_one_row() {
        assert_eq!(cell("=cmd|' /C calc'!A0"), "\"'=cmd|' /C calc'!A0\"");
        assert_eq!(cell("a \"b\", c"), "\"a \"\"b\"\", c\"");
        let series = json!({"labels": {"model": "<b>|x"}});
        let row = judged(&slo(), &series, &json!({"points": []}), 86_400);
        let report =
            Report { period: "2026-10".into(), from: 0, to: 86_400, so_far: true, slos: vec![row], incidents: vec![] };
        let text = text(&report);
        assert!(text.contains("model=&lt;b&gt;\\|x") && text.contains("as it stands so far"), "{text}");
    }
}
