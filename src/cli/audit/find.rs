//! `audit list`, `audit show`, `audit export`.

use clap::{Args, ValueEnum};
use serde_json::Value;

use super::super::suggested::{Suggested, action_names};
use super::super::table::Table;
use super::super::{Exit, Format, print_out};
use super::{LogArgs, progress};
use crate::audit::checkpoint::{Anchor, notes};
use crate::audit::index::{Index, Place, Query, SearchError};
use crate::audit::record::{Entry, Kind};
use crate::audit::{export, prove};
use crate::clock::Clock;

type Outcome = Result<Exit, (Exit, String)>;

/// What is searched for.
#[derive(Debug, Clone, Args)]
pub struct QueryArgs {
    /// Only of this service
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// Only by this actor
    #[arg(long, value_name = "ACTOR")]
    actor: Option<String>,
    /// Only of this incident
    #[arg(long, value_name = "ID")]
    incident: Option<String>,
    /// Only this action: rollback, scale, restart, deploy, config, cordon, drain, or one of the policy's own
    #[arg(long, value_name = "ACTION", value_parser = Suggested(action_names), hide_possible_values = true)]
    action: Option<String>,
    /// Only records of this kind
    #[arg(long, value_name = "KIND", value_enum)]
    kind: Option<Kind>,
    /// Only what was decided so: allow, needs_approval, deny
    #[arg(long, value_name = "RESULT")]
    decision: Option<String>,
    /// Not before: RFC 3339, Unix seconds, or how long ago (24h, 7d)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Before: RFC 3339, Unix seconds, or how long ago
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

impl QueryArgs {
    fn query(&self, limit: Option<u64>) -> Result<Query, (Exit, String)> {
        let time = |flag: &str, text: &Option<String>| {
            text.as_deref().map(|text| moment_ms(flag, text)).transpose().map_err(|text| (Exit::Usage, text))
        };
        Ok(Query {
            service: self.service.clone(),
            actor: self.actor.clone(),
            incident: self.incident.clone(),
            action: self.action.clone(),
            kind: self.kind,
            decision: self.decision.clone(),
            since_ms: time("--since", &self.since)?,
            until_ms: time("--until", &self.until)?,
            limit,
        })
    }
}

/// A moment that was typed, milliseconds.
fn moment_ms(flag: &str, text: &str) -> Result<i64, String> {
    if let Ok(seconds) = text.parse::<f64>()
        && (0.0..1e11).contains(&seconds)
    {
        return Ok((seconds * 1000.0) as i64);
    }
    if let Ok(ago) = crate::spec::TimeSpan::parse(text) {
        return Ok(Clock::wall().now_ms() - ago.seconds() * 1000);
    }
    text.parse::<jiff::Timestamp>().map(jiff::Timestamp::as_millisecond).map_err(|error| {
        format!(
            "{flag} {text:?} is no moment ({error}): write 2026-11-01T12:00:00Z, Unix seconds, or 24h for a day ago"
        )
    })
}

/// Flags of `audit list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    #[command(flatten)]
    log: LogArgs,
    #[command(flatten)]
    query: QueryArgs,
    /// Most records
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: u64,
    /// Form of the output
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// Flags of `audit show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    #[command(flatten)]
    log: LogArgs,
    /// The record's number, or the id of a decision
    #[arg(value_name = "SEQ|DECISION_ID")]
    which: String,
    /// Also print the proof that the record is in the log of the last checkpoint; JSON alone
    #[arg(long)]
    proof: bool,
    /// Sentences before the records, or the records alone
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// Flags of `audit export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    #[command(flatten)]
    log: LogArgs,
    #[command(flatten)]
    query: QueryArgs,
    /// Form of the output
    #[arg(long, value_enum)]
    format: ExportFormat,
}

/// Form of what is exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ExportFormat {
    /// Decisions as OPA's decision log, one JSON array
    Opa,
    /// The same, one object a line
    OpaLines,
    /// Records as they are, one object a line
    Records,
}

fn failed(error: &SearchError) -> (Exit, String) {
    (Exit::Findings, error.to_string())
}

fn index(log: &LogArgs) -> Result<Index, (Exit, String)> {
    Index::open(&log.dir()?, &mut progress("reading the log")).map_err(|error| failed(&error))
}

fn read(index: &Index, place: &Place) -> Result<Entry, (Exit, String)> {
    index.read(place).map_err(|error| failed(&SearchError::Log(error)))
}

/// `audit list`.
pub fn list(args: &ListArgs) -> Outcome {
    let query = args.query.query(Some(args.limit))?;
    let index = index(&args.log)?;
    let places = index.search(&query).map_err(|error| failed(&error))?;
    let entries = places.iter().map(|place| read(&index, place)).collect::<Result<Vec<_>, _>>()?;
    print_out(&match args.format {
        Format::Text => table(&entries),
        Format::Json => {
            let records: Vec<&_> = entries.iter().map(|entry| &entry.members).collect();
            format!("{}\n", serde_json::to_string_pretty(&records).expect("records are JSON"))
        }
    });
    Ok(Exit::Ok)
}

fn table(entries: &[Entry]) -> String {
    let mut table = Table::new(["seq", "time", "kind", "actor", "action", "resource", "result", "reason"]);
    for entry in entries {
        let text = |path: &str| entry.text(path).unwrap_or_default().to_owned();
        let resource = match (entry.text("resource"), entry.text("from_version"), entry.text("to_version")) {
            (Some(resource), Some(from), Some(to)) => format!("{resource} {from} -> {to}"),
            (resource, ..) => resource.or(entry.text("service")).unwrap_or_default().to_owned(),
        };
        let reason = match entry.text("incident_id") {
            Some(incident) => format!("{} ({incident})", text("reason")),
            None => text("reason"),
        };
        table.push([
            entry.seq.to_string(),
            text("time"),
            text("kind"),
            text("actor"),
            text("action"),
            resource,
            text("decision.result"),
            reason.trim().to_owned(),
        ]);
    }
    table.print()
}

/// `audit show`.
pub fn show(args: &ShowArgs) -> Outcome {
    let index = index(&args.log)?;
    let places = match args.which.parse::<u64>() {
        Ok(seq) => index.of_seq(seq).map(|place| place.into_iter().collect()),
        Err(_) => index.of_decision(&args.which),
    };
    let places: Vec<Place> = places.map_err(|error| failed(&error))?;
    if places.is_empty() {
        return Err((Exit::Findings, format!("the log has no record {}", args.which)));
    }
    let entries = places.iter().map(|place| read(&index, place)).collect::<Result<Vec<_>, _>>()?;
    if !args.proof && matches!(args.format, Format::Text) {
        let sentences = entries.iter().map(|entry| format!("{}\n", crate::audit::sentence::sentence(entry)));
        print_out(&format!("{}\n", sentences.collect::<String>()));
    }
    for entry in &entries {
        let mut shown = Value::Object(entry.members.clone());
        if args.proof {
            shown["proof"] = proof(args, entry)?;
        }
        print_out(&format!("{}\n", ordered(&shown)));
    }
    Ok(Exit::Ok)
}

/// Indented, with the keys of the head first.
fn ordered(record: &Value) -> String {
    let Some(members) = record.as_object() else { return record.to_string() };
    let mut keys: Vec<&String> = members.keys().collect();
    let head = &crate::audit::record::HEAD;
    keys.sort_by_key(|key| head.iter().position(|first| first == key).unwrap_or(head.len()));
    let member = |key: &String| {
        let value = serde_json::to_string_pretty(&members[key]).expect("a value is JSON").replace('\n', "\n  ");
        format!("  {}: {value}", Value::from(key.as_str()))
    };
    format!("{{\n{}\n}}", keys.into_iter().map(member).collect::<Vec<_>>().join(",\n"))
}

fn proof(args: &ShowArgs, entry: &Entry) -> Result<Value, (Exit, String)> {
    let dir = args.log.dir()?;
    let unreadable = |error: std::io::Error| (Exit::Findings, format!("no proof can be made: {error}"));
    let text = std::fs::read(dir.join("checkpoints")).map_err(unreadable)?;
    let last = notes(&String::from_utf8_lossy(&text)).iter().rev().find_map(|note| Anchor::parse(note).ok());
    let Some(anchor) = last else { return Ok(Value::Null) };
    let proof = prove(&dir, entry.seq, anchor.checkpoint).map_err(unreadable)?;
    Ok(serde_json::to_value(proof).expect("a proof is JSON"))
}

/// `audit export`.
pub fn export(args: &ExportArgs) -> Outcome {
    let query = args.query.query(None)?;
    let index = index(&args.log)?;
    let places = index.search(&query).map_err(|error| failed(&error))?;
    let mut first = true;
    // The oldest first, as it happened.
    for place in places.iter().rev() {
        let entry = read(&index, place)?;
        let object = match args.format {
            ExportFormat::Records => Some(Value::Object(entry.members)),
            ExportFormat::Opa | ExportFormat::OpaLines => export::opa(&entry),
        };
        let Some(object) = object else { continue };
        let before = match args.format {
            ExportFormat::Opa => ["[", ",\n"][usize::from(!first)],
            _ => "",
        };
        let after = if args.format == ExportFormat::Opa { "" } else { "\n" };
        print_out(&format!("{before}{object}{after}"));
        first = false;
    }
    if args.format == ExportFormat::Opa {
        print_out(if first { "[]\n" } else { "]\n" });
    }
    Ok(Exit::Ok)
}
