//! `slowburn why`: why an act was allowed, refused or left to people, as the audit log has it, and what became of it.
//!
//! It asks the daemon, as `ask` does, for the newest records; what is older is found on the server with `slowburn audit list`.
//! Deliberately absent: deciding anew. What would be decided now says `slowburn ask --explain`.

use std::fmt::Write as _;

use clap::Args;
use serde_json::Value;

use super::approve::ended;
use super::context::beside;
use super::remote::{Failure, Remote, RemoteArgs};
use super::{Exit, Format, complain, print_out};

/// Records that are looked through.
const RECORDS: usize = 1000;

/// Flags of `slowburn why`.
#[derive(Debug, Args)]
pub struct WhyArgs {
    /// What was to be changed (deployment/checkout-service), or the id of a decision
    #[arg(value_name = "RESOURCE|DECISION")]
    what: String,
    /// Only of this service
    #[arg(long)]
    service: Option<String>,
    /// Decisions that are shown, the newest first
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=100))]
    last: u64,
    #[command(flatten)]
    remote: RemoteArgs,
    /// Form of the output
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// Says it.
pub async fn why(args: WhyArgs) -> Exit {
    ended(said(&args).await)
}

async fn said(args: &WhyArgs) -> Result<Exit, Failure> {
    // Only what comes after the host is of it.
    let mut path = reqwest::Url::parse("http://daemon/v1/audit").expect("a URL");
    path.query_pairs_mut().append_pair("limit", &RECORDS.to_string());
    if let Some(service) = &args.service {
        path.query_pairs_mut().append_pair("service", service);
    }
    let path = format!("{}?{}", path.path(), path.query().unwrap_or_default());
    let answer = Remote::new(&args.remote)?.get(&path).await?;
    let records = answer["records"].as_array().map_or(&[][..], Vec::as_slice);
    let shown = decisions(records, &args.what, args.last as usize);
    if shown.is_empty() {
        complain(&format!(
            "of {} no decision is among the {} newest records\n  = older ones: slowburn audit list, on the server",
            args.what,
            records.len()
        ));
        return Ok(Exit::Findings);
    }
    print_out(&match args.format {
        Format::Json => format!("{:#}\n", Value::from(shown.into_iter().cloned().collect::<Vec<_>>())),
        Format::Text => shown.iter().map(|decision| text_of(decision, records)).collect(),
    });
    Ok(Exit::Ok)
}

/// Decisions about something, the newest first, as the log lists them.
fn decisions<'a>(records: &'a [Value], what: &str, most: usize) -> Vec<&'a Value> {
    let is = |record: &&Value| {
        record["kind"] == "decision" && (record["resource"] == what || record["decision"]["id"] == what)
    };
    records.iter().filter(is).take(most).collect()
}

/// A text as a terminal may show it.
fn plain(value: &Value) -> String {
    crate::gate::text::plain(value.as_str().unwrap_or("-"))
}

/// One decision for people: what was asked and answered, why, what others said then, and what came after it.
fn text_of(record: &Value, records: &[Value]) -> String {
    let decision = &record["decision"];
    let versions = match (record["from_version"].as_str(), record["to_version"].as_str()) {
        (Some(_), Some(_)) => format!(" {} to {}", plain(&record["from_version"]), plain(&record["to_version"])),
        (None, Some(_)) => format!(" to {}", plain(&record["to_version"])),
        _ => String::new(),
    };
    let mut out = format!(
        "{}: {} of {}{versions}, service {}, asked for by {} at {}\n",
        plain(&decision["result"]).to_uppercase().replace('_', " "),
        plain(&record["action"]),
        plain(&record["resource"]),
        plain(&record["service"]),
        plain(&record["actor"]),
        plain(&record["time"])
    );
    let mut line = |text: String| writeln!(out, "  {text}").expect("a String takes every write");
    if record["reason"].is_string() {
        line(format!("claimed by the requester: {}", plain(&record["reason"])));
    }
    let checks = decision["checks"].as_array().map_or(&[][..], Vec::as_slice);
    for code in decision["reasons"].as_array().into_iter().flatten() {
        let Some(check) = checks.iter().find(|check| check["code"] == *code) else {
            line(plain(code));
            continue;
        };
        line(format!("{}: {}", plain(code), plain(&check["message"])));
        if let Some(approval) = check["covered_by"].as_str() {
            line(format!("  settled by the approval {approval}{}", of_voters(approval, records)));
        } else if check["flip"].is_string() {
            line(format!("  {}", plain(&check["flip"])));
        }
    }
    if decision["result"] == "allow" {
        let held = checks.iter().filter(|check| check["effect"] == "allow").count();
        line(format!("{held} of {} checks held", checks.len()));
    }
    out += &beside(&record["inputs"]["context"]);
    let of_it = |later: &&Value| later["decision"]["id"] == decision["id"] && later["kind"] != "decision";
    for later in records.iter().rev().filter(of_it) {
        let what = plain(&later["event"]["kind"]).replace('_', " ");
        let came = match later["event"]["verdict"]["outcome"].as_str() {
            Some(_) => format!(": {}", plain(&later["event"]["verdict"]["outcome"])),
            None => String::new(),
        };
        writeln!(out, "  then: {what}{came}, {} at {}", plain(&later["actor"]), plain(&later["time"]))
            .expect("a String takes every write");
    }
    let seq = record["log"]["seq"].as_u64().map_or("-".to_owned(), |seq| seq.to_string());
    out + &format!("  audit record {seq}, decision {}\n", plain(&decision["id"]))
}

/// ` of @ada, @bob`: who gave an approval, as far as the records show it.
fn of_voters(approval: &str, records: &[Value]) -> String {
    let vote = |record: &&Value| record["event"]["kind"] == "approval_voted" && record["event"]["id"] == approval;
    let voters: Vec<String> = records.iter().rev().filter(vote).map(|vote| plain(&vote["actor"])).collect();
    if voters.is_empty() { String::new() } else { format!(" of {}", voters.join(", ")) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record(id: &str, resource: &str, kind: &str) -> Value {
        json!({
            "kind": kind, "actor": "orca", "action": "rollback", "resource": resource, "service": "checkout",
            "time": "2026-01-01T00:00:00Z", "log": {"seq": 7},
            "decision": {"id": id, "result": "deny", "reasons": ["not_burning", "unheard"], "checks": [
                {"code": "not_burning", "effect": "deny", "message": "nothing burns", "flip": "wait"}]},
        })
    }

    #[test]
    fn the_newest_decision_of_a_resource_or_of_an_id_is_found_and_told_with_its_reasons() {
        let records = [
            record("dec_3", "deployment/b", "decision"),
            record("dec_2", "deployment/a", "permit"),
            record("dec_2", "deployment/a", "decision"),
            record("dec_1", "deployment/a", "decision"),
        ];
        let ids = |what: &str, most| -> Vec<&str> {
            decisions(&records, what, most).iter().filter_map(|one| one["decision"]["id"].as_str()).collect()
        };
        assert_eq!(ids("deployment/a", 1), ["dec_2"]);
        assert_eq!(ids("deployment/a", 9), ["dec_2", "dec_1"]);
        assert_eq!(ids("dec_1", 9), ["dec_1"]);
        assert_eq!(ids("deployment/c", 9), [""; 0]);
        let text = text_of(&records[2], &records);
        assert_eq!(
            text,
            "DENY: rollback of deployment/a, service checkout, asked for by orca at 2026-01-01T00:00:00Z\n  \
             not_burning: nothing burns\n    wait\n  unheard\n  then: -, orca at 2026-01-01T00:00:00Z\n  \
             audit record 7, decision dec_2\n"
        );
        let mut covered = records[2].clone();
        covered["decision"]["checks"][0]["covered_by"] = "apr_1".into();
        let vote = |id: &str, by: &str| json!({"actor": by, "event": {"kind": "approval_voted", "id": id}});
        let text = text_of(&covered, &[vote("apr_2", "@eve"), vote("apr_1", "@bob"), vote("apr_1", "@ada")]);
        assert!(text.contains("nothing burns\n    settled by the approval apr_1 of @ada, @bob\n"), "{text}");
    }
}
