//! `slowburn halt`, `slowburn resume`, `slowburn halts`: levers that stop changes, for a time and with a reason.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::approve::ended;
use super::remote::{Failure, Remote, RemoteArgs};
use super::suggested::{Suggested, action_names};
use super::table::Table;
use super::{Exit, Format, print_out};

/// Flags of `slowburn halt`.
#[derive(Debug, Args)]
#[group(id = "scope", required = true, multiple = false)]
pub struct ScopeArgs {
    /// Everything
    #[arg(long)]
    global: bool,
    /// One service
    #[arg(long)]
    service: Option<String>,
    /// One principal, or one name that somebody acts under, e.g. ai-operator/orca-ops
    #[arg(long)]
    actor: Option<String>,
    /// One action on every service
    #[arg(long, value_parser = Suggested(action_names), hide_possible_values = true)]
    action: Option<String>,
}

/// Flags of `slowburn halt`.
#[derive(Debug, Args)]
pub struct HaltArgs {
    #[command(flatten)]
    scope: ScopeArgs,
    /// Why
    #[arg(long)]
    reason: String,
    /// How long; a halt that nobody lifts ends by itself
    #[arg(long = "for", value_name = "DURATION", default_value = "1h", value_parser = humantime::parse_duration)]
    lasts: Duration,
    /// People too; without it robots and pipelines
    #[arg(long)]
    people: bool,
    /// The service or actor need not be known yet
    #[arg(long)]
    future: bool,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// Pulls a lever.
pub async fn halt(args: HaltArgs) -> Exit {
    ended(halted(&args).await)
}

async fn halted(args: &HaltArgs) -> Result<Exit, Failure> {
    let remote = Remote::new(&args.remote)?;
    let scope = match &args.scope {
        ScopeArgs { service: Some(service), .. } => json!({"service": service}),
        ScopeArgs { actor: Some(actor), .. } => json!({"actor": actor}),
        ScopeArgs { action: Some(action), .. } => json!({"action": action}),
        _ => json!("global"),
    };
    let mut body = json!({"scope": scope, "reason": args.reason, "for_s": args.lasts.as_secs(), "people": args.people});
    if args.future {
        body["future"] = true.into();
    }
    let halt = remote.post("/v1/halts", &body).await?;
    print_out(&format!("halted until {}: slowburn resume {}\n", text(&halt["until"]), text(&halt["id"])));
    Ok(Exit::Ok)
}

/// Flags of `slowburn resume`.
#[derive(Debug, Args)]
pub struct ResumeArgs {
    /// The halt
    id: String,
    /// Why
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// Releases a lever.
pub async fn resume(args: ResumeArgs) -> Exit {
    ended(resumed(&args).await)
}

async fn resumed(args: &ResumeArgs) -> Result<Exit, Failure> {
    let remote = Remote::new(&args.remote)?;
    remote.post(&format!("/v1/halts/{}/resume", args.id), &json!({"reason": args.reason})).await?;
    print_out(&format!("resumed {}\n", args.id));
    Ok(Exit::Ok)
}

/// Flags of `slowburn halts`.
#[derive(Debug, Args)]
pub struct HaltsArgs {
    #[command(flatten)]
    remote: RemoteArgs,
    /// Form of the output
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// Lists the levers that are pulled.
pub async fn halts(args: HaltsArgs) -> Exit {
    ended(listed(&args).await)
}

async fn listed(args: &HaltsArgs) -> Result<Exit, Failure> {
    let answer = Remote::new(&args.remote)?.get("/v1/halts").await?;
    if args.format == Format::Json {
        print_out(&format!("{answer:#}\n"));
        return Ok(Exit::Ok);
    }
    let mut table = Table::new(["halt", "scope", "stops", "owner", "until", "reason"]);
    for row in answer["halts"].as_array().into_iter().flatten() {
        let actors: Vec<String> = row["actors"].as_array().into_iter().flatten().map(text).collect();
        let scope = match &row["scope"] {
            Value::Object(scope) => scope.iter().map(|(kind, of)| format!("{kind} {}", text(of))).collect(),
            other => text(other),
        };
        table.push([
            text(&row["id"]),
            scope,
            actors.join(", "),
            text(&row["owner"]),
            text(&row["until"]),
            text(&row["reason"]),
        ]);
    }
    print_out(&table.print());
    Ok(Exit::Ok)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or("-").to_owned()
}
