//! `slowburn incidents`: what burned, as a running daemon remembers it; one of them whole, or all for training.

use clap::{Args, ValueEnum};
use serde_json::Value;

use super::remote::{Failure, Remote, RemoteArgs};
use super::table::Table;
use super::{Exit, complain, print_out};

/// Form of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum IncidentsForm {
    /// For people
    Text,
    /// One document
    Json,
    /// One incident with its timeline a line
    Jsonl,
    /// The draft of a post-mortem
    Markdown,
}

/// Flags of `slowburn incidents`.
#[derive(Debug, Args)]
pub struct IncidentsArgs {
    /// Id of one of them; without it, all
    #[arg(value_name = "ID")]
    id: Option<String>,
    #[command(flatten)]
    remote: RemoteArgs,
    /// Only of this service
    #[arg(long, value_name = "NAME", conflicts_with = "id")]
    service: Option<String>,
    /// Say what was done about it
    #[arg(long, value_name = "TEXT", requires = "id")]
    mitigation: Option<String>,
    /// Whether that helped
    #[arg(long, value_name = "true|false", requires = "id")]
    helped: Option<bool>,
    /// Say what it came from
    #[arg(long, value_name = "TEXT", requires = "id")]
    cause: Option<String>,
    /// Say where it is talked about
    #[arg(long, value_name = "TEXT", requires = "id")]
    ticket: Option<String>,
    /// Form of the output
    #[arg(long, value_enum, default_value = "text")]
    format: IncidentsForm,
}

/// Asks and prints.
pub async fn incidents(args: IncidentsArgs) -> Exit {
    match asked(&args).await {
        Ok(text) => {
            print_out(&text);
            Exit::Ok
        }
        Err(Failure { exit, text }) => {
            complain(&text);
            exit
        }
    }
}

async fn asked(args: &IncidentsArgs) -> Result<String, Failure> {
    let remote = Remote::new(&args.remote)?;
    if let Some(id) = &args.id {
        let mut said = serde_json::Map::new();
        for (name, text) in [("mitigation", &args.mitigation), ("cause", &args.cause), ("ticket", &args.ticket)] {
            said.extend(text.as_ref().map(|text| (name.to_owned(), Value::from(text.as_str()))));
        }
        said.extend(args.helped.map(|helped| ("helped".to_owned(), Value::from(helped))));
        if !said.is_empty() {
            remote.post(&path_of(id), &Value::Object(said)).await?;
        }
        let incident = remote.get(&path_of(id)).await?;
        return Ok(match args.format {
            IncidentsForm::Text => whole(&incident),
            IncidentsForm::Json => pretty(&incident),
            IncidentsForm::Jsonl => format!("{incident}\n"),
            IncidentsForm::Markdown => text(&incident, "draft").to_owned(),
        });
    }
    let query = args.service.as_ref().map(|service| format!("?service={}", percent(service))).unwrap_or_default();
    let listed = remote.get(&format!("/v1/incidents{query}")).await?;
    let rows = listed["incidents"].as_array().cloned().unwrap_or_default();
    match args.format {
        IncidentsForm::Text => Ok(table(&rows)),
        IncidentsForm::Json => Ok(pretty(&listed)),
        IncidentsForm::Jsonl | IncidentsForm::Markdown => {
            let mut all = String::new();
            for row in &rows {
                let incident = remote.get(&path_of(text(row, "id"))).await?;
                all += &match args.format {
                    IncidentsForm::Markdown => format!("{}\n", text(&incident, "draft")),
                    _ => format!("{incident}\n"),
                };
            }
            Ok(all)
        }
    }
}

fn path_of(id: &str) -> String {
    format!("/v1/incidents/{}", percent(id))
}

/// A segment of a path, or a value of a query.
pub(super) fn percent(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

fn at(value: &Value) -> String {
    let time = value.as_i64().and_then(|at| jiff::Timestamp::from_second(at).ok());
    time.map_or_else(|| "-".to_owned(), |time| time.to_string())
}

fn table(rows: &[Value]) -> String {
    if rows.is_empty() {
        return "Nothing has burned yet.\n".to_owned();
    }
    let mut table = Table::new(["incident", "sev", "began", "over", "what"]);
    for row in rows {
        let over = if row["ended_at"].is_null() { "not over".to_owned() } else { at(&row["ended_at"]) };
        table.push([
            text(row, "id").into(),
            text(row, "sev").into(),
            at(&row["started_at"]),
            over,
            text(row, "headline").into(),
        ]);
    }
    table.print()
}

fn whole(incident: &Value) -> String {
    let mut said = format!("{} {}\n{}\n\n", text(incident, "sev"), text(incident, "id"), text(incident, "headline"));
    let mut table = Table::new(["when", "what", "", "source"]);
    for moment in incident["timeline"].as_array().into_iter().flatten() {
        table.push([
            at(&moment["at"]),
            text(moment, "kind").into(),
            text(moment, "text").into(),
            text(moment, "source").into(),
        ]);
    }
    said += &table.print();
    if let Some(why) = incident["timeline_incomplete"].as_str() {
        said += &format!("not all: {why}\n");
    }
    said
}
