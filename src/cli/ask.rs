//! `slowburn ask`: may this be done now? And what follows a yes: `redeem` before the act, `outcome` after it.
//!
//! The exit code is the answer, so a pipeline that stops on anything but 0 is closed when in doubt.

use std::time::Duration;

use clap::Args;
use serde_json::{Map, Value, json};

use super::approve::ended;
use super::context;
use super::remote::{Failure, Remote, RemoteArgs};
use super::suggested::{Suggested, action_names};
use super::{Exit, Format, complain, print_out};

/// Time between two looks at an approval that is waited for.
const LOOK: Duration = Duration::from_secs(2);

/// Flags of `slowburn ask`.
#[derive(Debug, Args)]
pub struct AskArgs {
    /// The service that is changed
    #[arg(long)]
    service: String,
    /// rollback, scale, restart, deploy, config, cordon, drain, or an action of the policy's own
    #[arg(long, value_parser = Suggested(action_names), hide_possible_values = true)]
    action: String,
    /// What is changed, e.g. deployment/checkout-service, pod/NAME, node/k8s-gpu-17
    #[arg(long)]
    resource: String,
    /// The version that runs now
    #[arg(long, value_name = "VERSION")]
    from_version: Option<String>,
    /// The version to go to
    #[arg(long, value_name = "VERSION")]
    to_version: Option<String>,
    /// Replicas now
    #[arg(long, value_name = "N")]
    from_replicas: Option<u32>,
    /// Replicas to go to
    #[arg(long, value_name = "N")]
    replicas: Option<u32>,
    /// An argument of an action of the policy's own, e.g. percent=5; can be repeated
    #[arg(long = "arg", value_name = "NAME=VALUE", value_parser = argument)]
    arguments: Vec<(String, Value)>,
    /// Why; slo_burn_rate_exceeded and its like are checked against the ledger
    #[arg(long)]
    reason: Option<String>,
    /// The incident it belongs to
    #[arg(long, value_name = "ID")]
    incident: Option<String>,
    /// The version whose arrival is held to be the cause
    #[arg(long, value_name = "VERSION")]
    suspected_change: Option<String>,
    /// On whose behalf, where the caller may act as that
    #[arg(long)]
    actor: Option<String>,
    /// The same key gives the same decision back
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// For people, in an emergency: goes past the checks, loudly; needs --reason
    #[arg(long, requires = "reason")]
    break_glass: bool,
    /// Only tell what would be decided: no permit, no approval, no record
    #[arg(long)]
    explain: bool,
    /// Where a person must say yes, wait for it this long
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, conflicts_with = "explain")]
    wait: Option<Duration>,
    /// Redeem the permit at once: on exit 0 the act may begin
    #[arg(long, conflicts_with = "explain")]
    redeem: bool,
    #[command(flatten)]
    remote: RemoteArgs,
    /// Form of the output
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

impl AskArgs {
    /// The same, asked without consequences.
    ///
    /// # Errors
    /// It asks for consequences.
    pub(super) fn only_explained(self) -> Result<Self, String> {
        if self.redeem || self.wait.is_some() {
            return Err("an explanation gives no permit: --redeem and --wait are flags of `ask`".into());
        }
        Ok(AskArgs { explain: true, ..self })
    }

    fn body(&self) -> Value {
        let mut body = Map::new();
        let mut put = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                body.insert(key.into(), value);
            }
        };
        let text = |value: &Option<String>| value.clone().map(Value::from);
        put("service", Some(self.service.clone().into()));
        put("action", Some(self.action.clone().into()));
        put("resource", Some(self.resource.clone().into()));
        put("from_version", text(&self.from_version));
        put("to_version", text(&self.to_version));
        put("from_replicas", self.from_replicas.map(Value::from));
        put("replicas", self.replicas.map(Value::from));
        let arguments: Map<String, Value> = self.arguments.iter().cloned().collect();
        put("arguments", (!arguments.is_empty()).then_some(Value::Object(arguments)));
        put("reason", text(&self.reason));
        put("incident_id", text(&self.incident));
        put("suspected_change", text(&self.suspected_change));
        put("actor", text(&self.actor));
        put("idempotency_key", text(&self.idempotency_key));
        put("break_glass", self.break_glass.then_some(Value::Bool(true)));
        Value::Object(body)
    }
}

/// `percent=5` is a number, `region=eu` a word.
fn argument(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    let value = value.parse::<i64>().map_or_else(|_| Value::from(value), Value::from);
    Ok((name.to_owned(), value))
}

/// Asks and prints.
pub async fn ask(args: AskArgs) -> Exit {
    ended(asked(&args).await)
}

async fn asked(args: &AskArgs) -> Result<Exit, Failure> {
    let remote = Remote::new(&args.remote)?;
    let path = if args.explain { "/v1/decisions?explain" } else { "/v1/decisions" };
    let mut answer = remote.post(path, &args.body()).await?;
    if let (Some(limit), Some(id)) = (args.wait, answer["approval"]["id"].as_str().map(str::to_owned)) {
        complain(&format!("waiting for approval {id}"));
        if granted(&remote, &id, limit).await? {
            // A yes is for this very request: asked again, it is found.
            answer = remote.post(path, &args.body()).await?;
        }
    }
    if args.redeem && answer["decision"] == "allow" {
        let permit = answer["permit"]["id"].as_str().unwrap_or_default().to_owned();
        let redeemed = remote.post(&format!("/v1/permits/{permit}/redeem"), &json!({})).await?;
        print(args.format, &redeemed);
        return Ok(exit_of(&redeemed));
    }
    print(args.format, &answer);
    Ok(if args.explain { exit_of_explained(&answer) } else { exit_of(&answer) })
}

/// Waits until people have answered; `false` is no yes in time.
async fn granted(remote: &Remote, id: &str, limit: Duration) -> Result<bool, Failure> {
    let until = tokio::time::Instant::now() + limit;
    loop {
        let approval = remote.get(&format!("/v1/approvals/{id}")).await?;
        match approval["state"].as_str() {
            Some("pending") if tokio::time::Instant::now() < until => tokio::time::sleep(LOOK).await,
            state => return Ok(state == Some("granted")),
        }
    }
}

/// An answer without a decision is no yes.
fn exit_of(answer: &Value) -> Exit {
    let blind = matches!(answer["data"]["state"].as_str(), Some("absent" | "stale"));
    match answer["decision"].as_str() {
        // Only a permit is a yes: one to redeem, or the one that was redeemed.
        Some("allow") if answer["permit"]["id"].is_string() => Exit::Ok,
        Some("needs_approval") => Exit::NeedsApproval,
        Some("deny") if blind => Exit::NoData,
        Some("deny") => Exit::Denied,
        _ => Exit::Unreachable,
    }
}

/// What would be decided has no permit.
fn exit_of_explained(answer: &Value) -> Exit {
    match answer["decision"].as_str() {
        Some("allow") => Exit::Ok,
        _ => exit_of(answer),
    }
}

fn print(format: Format, answer: &Value) {
    let text = match format {
        Format::Json => format!("{answer:#}\n"),
        Format::Text => text_of(answer),
    };
    print_out(&text);
}

/// The answer for people: the verdict, then what speaks against it, then what comes next.
fn text_of(answer: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let action = &answer["action"];
    let mut out = format!(
        "{}: {} of {} ({})\n",
        text(&answer["decision"]).to_uppercase().replace('_', " "),
        text(&action["type"]),
        text(&action["resource"]),
        text(&action["class"])
    );
    for reason in answer["reasons"].as_array().into_iter().flatten() {
        out += &format!("  {}: {}\n", text(&reason["code"]), text(&reason["message"]));
        if let Some(flip) = reason["flip"].as_str() {
            out += &format!("    {flip}\n");
        }
    }
    out += &context::beside(&answer["context"]);
    if let Some(id) = answer["approval"]["id"].as_str() {
        let from: Vec<String> = answer["approval"]["from"].as_array().into_iter().flatten().map(text).collect();
        let (have, need) = (&answer["approval"]["have"], &answer["approval"]["need"]);
        out += &format!("  approval {id}: {have} of {need} from {}\n", from.join(", "));
        out += &format!("    slowburn approve {id}\n");
    }
    if let Some(id) = answer["permit"]["id"].as_str() {
        out += &format!("  permit {id}, until {}\n", text(&answer["permit"]["expires_at"]));
    }
    if let Some(seconds) = answer["retry_after_s"].as_i64() {
        out += &format!("  ask again in {seconds} s\n");
    }
    if let Some(seq) = answer["audit"]["seq"].as_u64() {
        out += &format!("  audit record {seq}, decision {}\n", text(&answer["decision_id"]));
    }
    out
}

/// Flags of `slowburn redeem`.
#[derive(Debug, Args)]
pub struct RedeemArgs {
    /// The permit
    permit: String,
    #[command(flatten)]
    remote: RemoteArgs,
    /// Form of the output
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// Redeems a permit: every check runs again.
pub async fn redeem(args: RedeemArgs) -> Exit {
    ended(redeemed(&args).await)
}

async fn redeemed(args: &RedeemArgs) -> Result<Exit, Failure> {
    let remote = Remote::new(&args.remote)?;
    let answer = remote.post(&format!("/v1/permits/{}/redeem", args.permit), &json!({})).await?;
    print(args.format, &answer);
    Ok(exit_of(&answer))
}

/// Flags of `slowburn release`.
#[derive(Debug, Args)]
pub struct ReleaseArgs {
    /// The permit that will not be used
    permit: String,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// Gives a permit back, so that others need not wait until it expires.
pub async fn release(args: ReleaseArgs) -> Exit {
    ended(released(&args).await)
}

async fn released(args: &ReleaseArgs) -> Result<Exit, Failure> {
    let remote = Remote::new(&args.remote)?;
    remote.post(&format!("/v1/permits/{}/release", args.permit), &json!({})).await?;
    print_out(&format!("released {}\n", args.permit));
    Ok(Exit::Ok)
}

/// Flags of `slowburn outcome`.
#[derive(Debug, Args)]
pub struct OutcomeArgs {
    /// The permit that was redeemed
    permit: String,
    /// It was not done after all
    #[arg(long)]
    not_applied: bool,
    /// What there is to say of it
    #[arg(long)]
    note: Option<String>,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// Reports that the act is done, or was not.
pub async fn outcome(args: OutcomeArgs) -> Exit {
    ended(reported(&args).await)
}

async fn reported(args: &OutcomeArgs) -> Result<Exit, Failure> {
    let remote = Remote::new(&args.remote)?;
    let body = json!({"applied": !args.not_applied, "note": args.note});
    let answer = remote.post(&format!("/v1/permits/{}/outcome", args.permit), &body).await?;
    print_out(&format!("reported; judged at {}\n", answer["judged_at"].as_str().unwrap_or("an unknown time")));
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_allow_is_exit_0() {
        let exit = |decision: &str, data: &str| {
            exit_of(&json!({"decision": decision, "data": {"state": data}, "permit": {"id": "prm_1"}}))
        };
        assert_eq!(exit("allow", "fresh"), Exit::Ok);
        assert_eq!(exit("needs_approval", "partial"), Exit::NeedsApproval);
        assert_eq!(exit("deny", "fresh"), Exit::Denied);
        assert_eq!(exit("deny", "absent"), Exit::NoData);
        let without = json!({"decision": "allow", "permit": null});
        assert_eq!((exit_of(&without), exit_of_explained(&without)), (Exit::Unreachable, Exit::Ok));
        for strange in [json!({}), json!({"decision": "ALLOW"}), json!({"decision": true}), json!([])] {
            assert_eq!(exit_of(&strange), Exit::Unreachable, "{strange}");
        }
    }
}
