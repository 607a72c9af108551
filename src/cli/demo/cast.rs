//! Who acts in the demo: a release pipeline, an AI operator and a person on call. They ask the running daemon over HTTP as
//! anybody would, each with a token of its own, and tell what it answered.
//!
//! Deliberately absent: answers written in advance. What is told is what the gate said; where it says something else than
//! the story needs, the story says so and ends.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ring::rand::SecureRandom as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::sync::{mpsc, watch};

use crate::audit::key::PublicKey;
use crate::audit::verify::{self, Evidence};
use crate::clock::Clock;
use crate::demo::Scenario;
use crate::demo::fleet::Fleet;
use crate::demo::story::{Beat, Line};
use crate::engine::{SloState, Snapshot};
use crate::gate::Identities;
use crate::outbound::Transport;
use crate::spec;

use super::january::{CONFIG, MITIGATION, PERSON, PIPELINE};

mod node;

const OPERATOR: &str = "ai-operator/orca-ops";
const RESOURCE: &str = "deployment/checkout";
const INCIDENT: &str = "INC-2025-042";

/// What the operator claims; the gate holds it against the ledger.
const CLAIM: &str = "slo_burn_rate_exceeded";
/// Simulated seconds of quiet before anybody asks for anything.
const QUIET_S: i64 = 60;
/// Simulated seconds from the configuration that causes the incident to its first error.
const INCUBATION_S: i64 = 60;
/// Simulated seconds that the person on call takes to look.
const LOOKING_S: i64 = 300;
/// Longest wait for a verdict, simulated seconds.
const JUDGED_WITHIN_S: i64 = 1800;

/// Those who act, and the world they act in.
pub struct Cast {
    client: reqwest::Client,
    stage: Stage,
    fleet: Fleet,
    world: watch::Sender<Arc<Scenario>>,
    tokens: Tokens,
    lines: mpsc::UnboundedSender<Line>,
}

/// Where the story is played.
pub struct Stage {
    /// Address of the daemon.
    pub base: String,
    /// Address of the Prometheus that it reads.
    pub prometheus: String,
    /// Simulated time.
    pub clock: Clock,
    /// When the configuration is changed that breaks checkout, at the earliest.
    pub changes_at: i64,
    /// Where the audit log stands.
    pub audit_dir: PathBuf,
}

/// A token for each, made anew at each start.
pub struct Tokens([(&'static str, String); 3]);

impl Tokens {
    /// # Errors
    /// The system gives no random bytes.
    pub fn new() -> Result<Self, String> {
        let random = ring::rand::SystemRandom::new();
        let token = || -> Result<String, String> {
            let mut bytes = [0; 16];
            random.fill(&mut bytes).map_err(|_| "the system gives no random bytes".to_owned())?;
            Ok(hex(&bytes))
        };
        Ok(Tokens([(OPERATOR, token()?), (PIPELINE, token()?), (PERSON, token()?)]))
    }

    fn of(&self, who: &str) -> &str {
        self.0.iter().find(|(name, _)| *name == who).map_or("", |(_, token)| token)
    }

    /// The token of the person on call, for whoever wants to answer on the page.
    pub fn person(&self) -> &str {
        self.of(PERSON)
    }

    /// Everybody, as `identities.yaml` would have them.
    pub fn identities(&self) -> Identities {
        let hash = |who| hex(&Sha256::digest(self.of(who)));
        let text = format!(
            "identities:\n  \
             - {{name: \"{PERSON}\", class: human, teams: [checkout-oncall, inference-oncall], token_sha256: [{}]}}\n  \
             - {{name: {OPERATOR}, class: robot, token_sha256: [{}]}}\n  \
             - {{name: {PIPELINE}, class: pipeline, token_sha256: [{}]}}\n",
            hash(PERSON),
            hash(OPERATOR),
            hash(PIPELINE)
        );
        spec::identity::load_text("identities.yaml", &text).identities
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Cast {
    /// A cast that asks the daemon of `stage`, changes `world`, and tells `lines`.
    ///
    /// # Errors
    /// No client can be made.
    pub fn new(
        mut stage: Stage,
        fleet: Fleet,
        world: watch::Sender<Arc<Scenario>>,
        tokens: Tokens,
        lines: mpsc::UnboundedSender<Line>,
    ) -> Result<Self, String> {
        for url in [&mut stage.base, &mut stage.prometheus] {
            url.truncate(url.trim_end_matches('/').len());
        }
        let client = Transport::new(&stage.base, None, Default::default())?.client();
        Ok(Cast { client, stage, fleet, world, tokens, lines })
    }

    /// The whole of it: a node that is drained, then from a quiet service to a verdict. Ends when the audit log has been verified.
    pub async fn play(self, snapshots: watch::Receiver<Arc<Snapshot>>) {
        if let Err(what) = self.acts(snapshots).await {
            self.tell(Beat::Denied, format!("the story ends here: {what}"));
        }
    }

    async fn acts(&self, mut snapshots: watch::Receiver<Arc<Snapshot>>) -> Result<(), String> {
        self.warm().await?;
        let begins = self.stage.clock.now();
        self.change(RESOURCE, begins - 20 * 3600, "v40", "v41").await?;
        self.change(CONFIG, begins - 22 * 3600, "c10", "c11").await?;
        let fleet = self.drains_a_node().await?;

        // Nothing is wrong, and the operator would roll back anyway.
        self.until(self.stage.clock.now() + QUIET_S).await;
        let act = format!("{OPERATOR} asks to roll checkout back from v41 to v40: {CLAIM}, it says");
        self.tell(Beat::Act, act);
        let answer = self.ask(OPERATOR, &rollback(RESOURCE, "v41", "v40")).await?;
        self.expect("needs_approval", &answer)?;
        self.until(self.stage.clock.now() + 60).await;
        self.vote(asked(&answer)?, "reject", "nothing burns, and v41 has run since yesterday").await?;

        // The configuration that causes the incident; at the full minute, as it is told of.
        let deployed = self.stage.changes_at.max((self.stage.clock.now() + 60).div_euclid(60) * 60);
        self.until(deployed).await;
        let ill = fleet.ill_from(deployed + INCUBATION_S);
        self.world.send_replace(Arc::new(ill.scenario.clone()));
        self.change(CONFIG, deployed, "c11", "c12").await?;
        self.tell(Beat::Act, format!("{PIPELINE} tells of a change: the rate limiter has config c12 now, c11 before"));

        burning(&mut snapshots).await?;
        self.until(self.stage.clock.now() + 60).await;
        self.tell(Beat::Act, format!("{PIPELINE} asks to deploy v42 into the burn"));
        self.expect("deny", &self.ask(PIPELINE, &deploy("v41", "v42")).await?)?;

        self.remembers().await?;
        let cure = rollback(CONFIG, "c12", "c11");
        self.tell(Beat::Act, format!("{OPERATOR} asks to revert the rate limiter's config from c12 to c11"));
        let answer = self.ask(OPERATOR, &cure).await?;
        self.expect("needs_approval", &answer)?;
        self.until(self.stage.clock.now() + LOOKING_S).await;
        self.vote(asked(&answer)?, "approve", "c12 came a minute before the errors, as c7 did in January").await?;
        let answer = self.ask(OPERATOR, &cure).await?;
        self.expect("allow", &answer)?;
        let permit = answer["permit"]["id"].as_str().ok_or("an allow without a permit")?;
        let path = format!("/v1/permits/{permit}/redeem");
        let redeemed = self.post(OPERATOR, &path, &json!({"request": cure})).await?;
        self.expect("allow", &redeemed)?;

        // The rollback itself, and what the world makes of it.
        let at = self.stage.clock.now();
        self.world.send_replace(Arc::new(ill.cured(at).scenario));
        self.change(CONFIG, at, "c12", "c11").await?;
        self.post(OPERATOR, &format!("/v1/permits/{permit}/outcome"), &json!({"applied": true})).await?;
        self.tell(
            Beat::Act,
            format!("{OPERATOR} redeemed its permit and reverted the config; it is judged in 5 minutes"),
        );
        self.judged(INCIDENT, "improved", at + JUDGED_WITHIN_S).await?;
        self.notes().await?;
        self.audited().await
    }

    /// The incident that goes on, in the one sentence that everybody is shown.
    async fn remembers(&self) -> Result<(), String> {
        let found = self.get("/v1/incidents?service=checkout&open=true").await?;
        let headline = found["incidents"][0]["headline"].as_str().ok_or("a burn that is no incident")?;
        self.tell(Beat::Incident, headline.to_owned());
        Ok(())
    }

    /// The person on call writes down what helped, for the next time.
    async fn notes(&self) -> Result<(), String> {
        let found = self.get("/v1/incidents?service=checkout").await?;
        let id = found["incidents"][0]["id"].as_str().ok_or("a burn that is no incident")?;
        let note = json!({"mitigation": MITIGATION, "helped": true, "cause": "config c12 of the rate limiter"});
        self.post(PERSON, &format!("/v1/incidents/{id}"), &note).await?;
        self.tell(Beat::Act, format!("{PERSON} notes what helped: {MITIGATION}"));
        Ok(())
    }

    fn tell(&self, beat: Beat, text: String) {
        // Nobody listens any more when the demo ends.
        drop(self.lines.send(Line { at: self.stage.clock.now(), beat, text }));
    }

    async fn until(&self, at: i64) {
        self.stage.clock.sleep_until(at * 1000).await;
    }

    /// Until history is read. Signals cost nothing: as slow as the wall that takes half a minute, and who asks for decisions all
    /// that time asks too often.
    async fn warm(&self) -> Result<(), String> {
        loop {
            let found = self.get("/v1/signals/checkout").await?;
            if found["signals"]["risk"]["value"].as_i64() >= Some(0) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn post(&self, who: &str, path: &str, body: &Value) -> Result<Value, String> {
        let request =
            self.client.post(format!("{}{path}", self.stage.base)).bearer_auth(self.tokens.of(who)).json(body);
        let answer = request.send().await.map_err(|error| format!("{path}: {error}"))?;
        let status = answer.status();
        let answer: Value = answer.json().await.map_err(|error| format!("{path}: {error}"))?;
        if status.is_success() { Ok(answer) } else { Err(format!("{path}: {status}: {}", answer["error"])) }
    }

    async fn get(&self, path: &str) -> Result<Value, String> {
        let answer = self.client.get(format!("{}{path}", self.stage.base)).send().await;
        let answer =
            answer.and_then(reqwest::Response::error_for_status).map_err(|error| format!("{path}: {error}"))?;
        answer.json().await.map_err(|error| format!("{path}: {error}"))
    }

    async fn ask(&self, who: &str, request: &Value) -> Result<Value, String> {
        self.post(who, "/v1/decisions", request).await
    }

    /// Tells what was answered.
    ///
    /// # Errors
    /// Another answer than the story needs.
    fn expect(&self, wanted: &str, answer: &Value) -> Result<(), String> {
        self.expect_saying(wanted, answer, "")
    }

    /// The same, with what was found put before a permit.
    fn expect_saying(&self, wanted: &str, answer: &Value, found: &str) -> Result<(), String> {
        let decision = answer["decision"].as_str().unwrap_or_default();
        let because = reasons(answer);
        let (beat, text) = match decision {
            "allow" => {
                let found = if found.is_empty() { String::new() } else { format!("{found}; ") };
                (Beat::Allowed, format!("allow: {found}a permit for this act, once, for two minutes"))
            }
            "needs_approval" => {
                let from = answer["approval"]["from"][0].as_str().unwrap_or("somebody");
                (Beat::Consent, format!("needs approval of {from}: {because}"))
            }
            _ => (Beat::Denied, because),
        };
        // A permit is told of when it is issued, not again when it is used.
        if decision != "allow" || answer["permit"]["state"].is_null() {
            self.tell(beat, text);
        }
        if decision == wanted { Ok(()) } else { Err(format!("{wanted} was due, and the gate said {decision}")) }
    }

    async fn change(&self, resource: &str, at: i64, from: &str, to: &str) -> Result<(), String> {
        let at = jiff::Timestamp::from_second(at).map_err(|error| error.to_string())?.to_string();
        let change = json!({
            "service": "checkout", "resource": resource, "at": at, "from_version": from, "version": to,
        });
        self.post(PIPELINE, "/v1/changes", &change).await.map(drop)
    }

    /// What the person says to the card as it stands; somebody may have been faster, on the page.
    async fn vote(&self, id: &str, verdict: &str, reason: &str) -> Result<(), String> {
        let path = format!("/v1/approvals/{id}");
        let card = self.get(&path).await?;
        if card["state"] == "pending" {
            let vote = json!({"verdict": verdict, "reason": reason, "action_digest": card["action"]["digest"]});
            self.post(PERSON, &path, &vote).await?;
            let beat = if verdict == "approve" { Beat::Consent } else { Beat::Denied };
            self.tell(beat, format!("{PERSON} {verdict}s: {reason}"));
        }
        Ok(())
    }

    /// Until the act of an incident is judged.
    ///
    /// # Errors
    /// Another verdict than the story needs, or none by then.
    async fn judged(&self, incident: &str, wanted: &str, until: i64) -> Result<(), String> {
        while self.stage.clock.now() < until {
            let found = self.get(&format!("/v1/audit?incident={incident}&limit=5")).await?;
            let mut records = found["records"].as_array().into_iter().flatten();
            if let Some(record) = records.find(|record| record["kind"] == "verdict") {
                let verdict = &record["event"]["verdict"];
                let outcome = verdict["outcome"].as_str().unwrap_or("not judged");
                let message = verdict["message"].as_str().unwrap_or_default();
                self.tell(Beat::Verdict, format!("{}: {message}", outcome.replace('_', " ")));
                return if outcome == wanted {
                    Ok(())
                } else {
                    Err(format!("{wanted} was to come of it, and it is {outcome}"))
                };
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Err("the act was not judged".into())
    }

    async fn audited(&self) -> Result<(), String> {
        let dir = self.stage.audit_dir.clone();
        let verified = tokio::task::spawn_blocking(move || {
            let key = PublicKey::load(&dir.join("key.pub")).map_err(|fault| fault.to_string())?;
            verify::verify(&dir, &key, &Evidence::default(), &mut |_, _| {}).map_err(|error| error.to_string())
        });
        let report = verified.await.map_err(|error| error.to_string())??;
        match report.faults.first() {
            None => {
                let (records, root) = (report.records, report.root.chars().take(12).collect::<String>());
                self.tell(
                    Beat::Audit,
                    format!("verified: {records} records, none edited, none missing; root {root}..."),
                );
                Ok(())
            }
            Some(fault) => Err(format!("the audit log has a fault: {fault}")),
        }
    }
}

/// The approval that a decision asks for.
fn asked(answer: &Value) -> Result<&str, String> {
    answer["approval"]["id"].as_str().ok_or_else(|| "nobody was asked".to_owned())
}

/// Until checkout burns fast.
async fn burning(snapshots: &mut watch::Receiver<Arc<Snapshot>>) -> Result<(), String> {
    let burns = |snapshot: &Arc<Snapshot>| {
        let slo = snapshot.slo("checkout-availability");
        slo.is_some_and(|slo| slo.series.iter().any(|series| series.state == SloState::FastBurn))
    };
    snapshots.wait_for(burns).await.map(drop).map_err(|_| "the daemon stopped".to_owned())
}

fn rollback(resource: &str, from: &str, to: &str) -> Value {
    json!({
        "service": "checkout", "action": "rollback", "resource": resource, "from_version": from, "to_version": to,
        "reason": CLAIM, "incident_id": INCIDENT,
    })
}

fn deploy(from: &str, to: &str) -> Value {
    json!({"service": "checkout", "action": "deploy", "resource": RESOURCE, "from_version": from, "to_version": to})
}

/// What was not just a warning, in the gate's own words.
fn reasons(answer: &Value) -> String {
    let all = answer["reasons"].as_array().into_iter().flatten();
    let strict = all.filter(|reason| reason["effect"] != "warn");
    let texts: Vec<&str> = strict.filter_map(|reason| reason["message"].as_str()).collect();
    texts.join("; ")
}
