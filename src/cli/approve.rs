//! `slowburn approve` and `slowburn approvals`: people answer what the gate asks.
//!
//! What is shown is what the gate observed; the words of the one who asks are marked as a claim.

use clap::Args;
use serde_json::{Value, json};

use super::remote::{Failure, Remote, RemoteArgs};
use super::table::Table;
use super::{Exit, Format, complain, print_out};

/// Flags of `slowburn approve`.
#[derive(Debug, Args)]
pub struct ApproveArgs {
    /// The approval
    id: String,
    /// Say no instead; needs --reason
    #[arg(long, requires = "reason")]
    reject: bool,
    /// Take back an approval that was not used yet; needs --reason
    #[arg(long, requires = "reason", conflicts_with = "reject")]
    revoke: bool,
    /// Why
    #[arg(long)]
    reason: Option<String>,
    /// The digest of what is approved, as `slowburn approvals ID` shows it: then nothing is asked
    #[arg(long, value_name = "sha256:...", conflicts_with_all = ["reject", "revoke"])]
    digest: Option<String>,
    #[command(flatten)]
    remote: RemoteArgs,
    /// Form of the output
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// Answers.
pub async fn approve(args: ApproveArgs) -> Exit {
    ended(approved(&args).await)
}

async fn approved(args: &ApproveArgs) -> Result<Exit, Failure> {
    let remote = Remote::new(&args.remote)?;
    let verdict = match (args.reject, args.revoke) {
        (true, _) => "reject",
        (_, true) => "revoke",
        _ => "approve",
    };
    // An approval is to what is shown here, by its digest, and to nothing else.
    let shown = remote.get(&format!("/v1/approvals/{}", args.id)).await?;
    let digest = match (verdict, &args.digest) {
        ("approve", Some(digest)) => Some(Value::from(digest.as_str())),
        ("approve", None) => {
            eprint!("{}", card(&shown));
            asked(&shown)?;
            Some(shown["action"]["digest"].clone())
        }
        _ => None,
    };
    let body = json!({"verdict": verdict, "reason": args.reason, "action_digest": digest});
    let approval = remote.post(&format!("/v1/approvals/{}", args.id), &body).await?;
    print_out(&match args.format {
        Format::Json => format!("{approval:#}\n"),
        Format::Text => card(&approval),
    });
    Ok(Exit::Ok)
}

/// The person at the terminal has seen the card and says so; without a terminal the digest has to be given.
fn asked(shown: &Value) -> Result<(), Failure> {
    use std::io::{BufRead as _, IsTerminal as _};
    let refused = |text: String| Failure { exit: Exit::Usage, text };
    if !std::io::stdin().is_terminal() {
        let what = format!(
            "there is no terminal to ask on: add --digest {} to approve what is shown",
            text(&shown["action"]["digest"])
        );
        return Err(refused(what));
    }
    eprint!("approve this? [y/N] ");
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    match read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes") {
        true => Ok(()),
        false => Err(refused("not approved".into())),
    }
}

/// Flags of `slowburn approvals`.
#[derive(Debug, Args)]
pub struct ApprovalsArgs {
    /// One of them, whole
    id: Option<String>,
    #[command(flatten)]
    remote: RemoteArgs,
    /// Form of the output
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// Lists what waits for people.
pub async fn approvals(args: ApprovalsArgs) -> Exit {
    ended(listed(&args).await)
}

async fn listed(args: &ApprovalsArgs) -> Result<Exit, Failure> {
    let remote = Remote::new(&args.remote)?;
    let path = args.id.as_ref().map_or("/v1/approvals".to_owned(), |id| format!("/v1/approvals/{id}"));
    let answer = remote.get(&path).await?;
    print_out(&match (args.format, &args.id) {
        (Format::Json, _) => format!("{answer:#}\n"),
        (Format::Text, Some(_)) => card(&answer),
        (Format::Text, None) => table(&answer),
    });
    Ok(Exit::Ok)
}

/// A text as a terminal may show it: marks that hide or turn text are left out.
fn text(value: &Value) -> String {
    crate::gate::text::plain(value.as_str().unwrap_or("-"))
}

fn table(answer: &Value) -> String {
    let mut table = Table::new(["approval", "state", "service", "action", "asked by", "yes", "until"]);
    for row in answer["approvals"].as_array().into_iter().flatten() {
        table.push([
            text(&row["id"]),
            text(&row["state"]),
            text(&row["action"]["service"]),
            text(&row["action"]["type"]),
            text(&row["asked_by"]),
            format!("{} of {}", row["have"], row["need"]),
            text(&row["expires_at"]),
        ]);
    }
    table.print()
}

fn card(approval: &Value) -> String {
    let action = &approval["action"];
    let mut out = format!(
        "{} {}: {} of {} of service {}, asked by {}{}\n",
        text(&approval["id"]),
        text(&approval["state"]),
        text(&action["type"]),
        text(&action["resource"]),
        text(&action["service"]),
        text(&approval["asked_by"]),
        match &approval["actor"] {
            Value::String(actor) if approval["asked_by"] != *actor => format!(" as {}", text(&approval["actor"])),
            _ => String::new(),
        },
    );
    for (name, from, to) in [("version", "from_version", "to_version"), ("replicas", "from_replicas", "replicas")] {
        if !action[to].is_null() {
            out += &format!("  {name}: {} -> {} (asked for)\n", plain(&action[from]), plain(&action[to]));
        }
    }
    // What nothing here can observe is part of the act all the same.
    for (name, value) in action["arguments"].as_object().into_iter().flatten() {
        out += &format!("  {}: {} (asked for)\n", crate::gate::text::plain(name), plain(value));
    }
    for (name, value) in approval["observed"].as_object().into_iter().flatten() {
        out += &format!("  observed {name}: {}\n", plain(value));
    }
    if approval["claimed_reason"].is_string() {
        out += &format!("  claimed by the requester: {}\n", text(&approval["claimed_reason"]));
    }
    for reason in approval["covers"].as_array().into_iter().flatten() {
        let settled = match reason.as_str() {
            Some("approval_required") => "the policy asks for a person".to_owned(),
            _ => text(reason),
        };
        out += &format!("  an approval settles: {settled}\n");
    }
    out += &super::context::beside(&approval["context"]);
    for vote in approval["votes"].as_array().into_iter().flatten() {
        out += &format!("  approved by {} at {}\n", text(&vote["by"]), text(&vote["at"]));
    }
    out += &format!("  digest {}\n", text(&action["digest"]));
    out += &format!("  {} of {}, until {}\n", approval["have"], approval["need"], text(&approval["expires_at"]));
    out
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(_) => text(value),
        Value::Null => "unknown".into(),
        other => other.to_string(),
    }
}

pub(super) fn ended(outcome: Result<Exit, Failure>) -> Exit {
    outcome.unwrap_or_else(|failure| {
        complain(&failure.text);
        failure.exit
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All that an approval binds to is shown, each as the text that it is.
    #[test]
    fn a_card_shows_the_whole_act_in_plain_words() {
        let mut asked = json!({
            "id": "apr_1", "state": "pending", "asked_by": "orca", "actor": "orca", "need": 2, "have": 0,
            "action": {
                "type": "flush-cache", "service": "checkout", "resource": "cache/a", "digest": "sha256:1",
                "arguments": {"percent": 20, "region": "eu\u{202e}su"},
            },
            "observed": {"version": "v41\u{202e}04v\n  2 of 2"}, "claimed_reason": "it\u{200b} is full",
        });
        let shown = card(&asked);
        for part in [
            "flush-cache of cache/a of service checkout, asked by orca\n",
            "  percent: 20 (asked for)\n",
            "  region: eusu (asked for)\n",
            "  observed version: v4104v 2 of 2\n",
            "claimed by the requester: it is full\n",
            "  0 of 2, until",
        ] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        asked["actor"] = "robot/sub".into();
        assert!(card(&asked).contains("asked by orca as robot/sub\n"), "{}", card(&asked));
        asked["action"] =
            json!({"type": "scale", "replicas": 7, "service": "checkout", "resource": "deployment/checkout"});
        assert!(card(&asked).contains("  replicas: unknown -> 7 (asked for)\n"), "{}", card(&asked));
    }
}
