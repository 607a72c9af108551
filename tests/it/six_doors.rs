//! One request through every door of the real daemon: the API, the command line, AuthZEN, Envoy's external authorization over HTTP
//! and over gRPC, MCP, agentgateway's ExtMcp and admission. The answer, its reasons and what the audit log has of it are the same at
//! each, for an act that is allowed, one that needs people, one that is denied, one that is stopped after its permit was given, one
//! without fresh data, and with the gate gone.
//!
//! Each door has a service and a robot of its own, all alike, so that none stands in another's way; records are compared without
//! the names of those, without ids, times and places in the log, and without the name of the credential.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::gate_stage::{Stage, request};
use crate::grpc_doors::{called, check, headers_of, tool};
use crate::harness::parts::{eventually, http};

const LIMIT: Duration = Duration::from_secs(60);
/// Data is stale soon, and a permit still lives for some seconds of the wall.
const SPEED: f64 = 10.0;

/// Doors, each with the number of its service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Door {
    Api,
    CommandLine,
    AuthZen,
    ExtAuthz,
    ExtAuthzGrpc,
    Mcp,
    ExtMcp,
    Admission,
}

const DOORS: [Door; 8] = [
    Door::Api,
    Door::CommandLine,
    Door::AuthZen,
    Door::ExtAuthz,
    Door::ExtAuthzGrpc,
    Door::Mcp,
    Door::ExtMcp,
    Door::Admission,
];

/// What a door says: the answer in one of three words, the codes of the reasons in their order, and the permit.
#[derive(Debug, Clone, PartialEq)]
struct Said {
    answer: String,
    codes: Vec<String>,
    permit: Option<String>,
}

impl Said {
    /// An answer in our own words.
    fn of(body: &Value) -> Self {
        let reasons = body["reasons"].as_array().into_iter().flatten();
        Said {
            answer: body["decision"].as_str().unwrap_or_default().to_owned(),
            codes: unique(reasons.filter_map(|reason| reason["code"].as_str())),
            permit: body["permit"]["id"].as_str().map(str::to_owned),
        }
    }

    fn words(&self) -> (&str, &[String]) {
        (&self.answer, &self.codes)
    }
}

fn unique<'a>(codes: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for code in codes.filter(|code| !code.is_empty()) {
        if !all.iter().any(|known| known == code) {
            all.push(code.to_owned());
        }
    }
    all
}

impl Door {
    /// The number of its service.
    fn own(self) -> usize {
        DOORS.iter().position(|door| *door == self).expect("each is one of them")
    }

    fn robot(self) -> String {
        format!("robot/{}", self.own())
    }

    async fn post(self, stage: &Stage, path: &str, headers: &[(&str, &str)], body: &Value) -> Option<(u16, Value)> {
        let token = format!("token-of-{}", self.robot());
        let mut request = http().post(format!("{}{path}", stage.url())).bearer_auth(token).json(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.timeout(Duration::from_secs(20)).send().await.ok()?;
        Some((answer.status().as_u16(), answer.json().await.ok()?))
    }

    /// Asks for this act, and begins it where it is allowed: `None` is no answer at all.
    async fn begin(self, stage: &Stage, act: &Value) -> Option<Said> {
        match self {
            Door::Api => {
                let asked = Said::of(&self.post(stage, "/v1/decisions", &[], act).await?.1);
                self.redeemed(stage, asked).await
            }
            Door::CommandLine => self.command(stage, act, &["--redeem"]).await,
            Door::AuthZen => {
                let asked = self.evaluated(stage, act).await?;
                self.redeemed(stage, asked).await
            }
            Door::ExtAuthz => self.through_envoy(stage, &headers_of(act)).await,
            Door::ExtAuthzGrpc => self.through_envoy_by_grpc(stage, headers_of(act)).await,
            Door::Mcp => self.called(stage, act, true).await,
            Door::ExtMcp => {
                let call = tool(&self.robot(), act["action"].as_str().expect("text"), act.clone(), json!({}));
                let answer = called(&stage.url(), json!([call])).await.remove(0);
                let (message, error) = (&answer["message"], &answer["message"]["error"]);
                match (answer["code"].as_i64()?, message["metadata"]["permit"].as_str()) {
                    (0, Some(permit)) => {
                        assert!(message["pass"].is_object() && error.is_null(), "{answer:#}");
                        Some(Said { answer: "allow".into(), codes: Vec::new(), permit: Some(permit.to_owned()) })
                    }
                    (0, None) => {
                        assert!(message["pass"].is_null() && error["code"] == "PERMISSION_DENIED", "{answer:#}");
                        Some(Said::of(&error["mcp_error"]))
                    }
                    _ => None,
                }
            }
            Door::Admission => {
                // A machine asks first, as the refusal tells it; the deed is held against the permit.
                let asked = Said::of(&self.post(stage, "/v1/decisions", &[], act).await?.1);
                match asked.permit {
                    Some(_) => self.admitted(stage, act).await,
                    None => {
                        let refused = self.admitted(stage, act).await?;
                        assert_eq!(refused.words(), ("deny", &["unknown_permit".to_owned()][..]));
                        Some(asked)
                    }
                }
            }
        }
    }

    /// Envoy's question over HTTP.
    async fn through_envoy(self, stage: &Stage, headers: &Value) -> Option<Said> {
        let headers = headers.as_object().expect("an object").iter();
        let headers: Vec<_> = headers.map(|(name, value)| (name.as_str(), value.as_str().expect("text"))).collect();
        let (status, answer) = self.post(stage, "/integrations/ext-authz/apis/x", &headers, &json!({})).await?;
        let said = Said::of(&answer);
        assert_eq!(status, if said.answer == "allow" { 200 } else { 403 }, "{answer:#}");
        Some(said)
    }

    /// The same over gRPC.
    async fn through_envoy_by_grpc(self, stage: &Stage, headers: Value) -> Option<Said> {
        let answer = called(&stage.url(), json!([check(&self.robot(), headers)])).await.remove(0);
        let (ok, denied) = (&answer["message"]["ok_response"], &answer["message"]["denied_response"]);
        assert_ne!(ok.is_object(), answer["code"] != 0 || denied.is_object(), "{answer:#}");
        if answer["code"] != 0 {
            return None;
        }
        if denied.is_object() {
            assert_eq!(denied["status"]["code"], "Forbidden", "{answer:#}");
            return Some(Said::of(&serde_json::from_str(denied["body"].as_str()?).expect("JSON")));
        }
        let header = |name: &str| {
            let mut all = ok["headers"].as_array().into_iter().flatten();
            Some(all.find(|one| one["header"]["key"] == name)?["header"]["value"].as_str()?.to_owned())
        };
        let codes = header("x-slowburn-reasons").unwrap_or_default();
        let (answer, codes) = (header("x-slowburn-decision")?, unique(codes.split(',')));
        Some(Said { answer, codes, permit: header("x-slowburn-permit") })
    }

    /// An evaluation of AuthZEN.
    async fn evaluated(self, stage: &Stage, act: &Value) -> Option<Said> {
        let (status, answer) = self.post(stage, "/access/v1/evaluation", &[], &evaluation(act)).await?;
        assert_eq!(status, 200, "{answer:#}");
        let context = &answer["context"];
        let word = match (answer["decision"].as_bool(), context["access_request"].is_object()) {
            (Some(true), _) => "allow",
            (_, true) => "needs_approval",
            (_, false) => "deny",
        };
        let codes = context["reasons"].as_array().into_iter().flatten();
        Some(Said {
            answer: word.into(),
            codes: unique(codes.filter_map(Value::as_str)),
            permit: context["permit"]["id"].as_str().map(str::to_owned),
        })
    }

    /// `request_action` of MCP.
    async fn called(self, stage: &Stage, act: &Value, begin: bool) -> Option<Said> {
        let mut arguments = act.clone();
        arguments["begin"] = begin.into();
        let call = json!({
            "jsonrpc": "2.0", "id": 1, "method": "tools/call",
            "params": {"name": "request_action", "arguments": arguments},
        });
        let headers = [("mcp-protocol-version", "2025-11-25"), ("accept", "application/json, text/event-stream")];
        let (_, answer) = self.post(stage, "/mcp", &headers, &call).await?;
        assert_eq!(answer["result"]["isError"], false, "a no is a result: {answer:#}");
        Some(Said::of(&answer["result"]["structuredContent"]))
    }

    /// Redeems what was allowed.
    async fn redeemed(self, stage: &Stage, asked: Said) -> Option<Said> {
        let Some(permit) = asked.permit.as_ref().filter(|_| asked.answer == "allow") else { return Some(asked) };
        let (_, answer) = self.post(stage, &format!("/v1/permits/{permit}/redeem"), &[], &json!({})).await?;
        Some(Said::of(&answer))
    }

    /// `slowburn ask`: its exit code says the same as its answer.
    async fn command(self, stage: &Stage, act: &Value, more: &[&str]) -> Option<Said> {
        let text = |member: &str| act[member].as_str().map(str::to_owned);
        let flags = [
            ("--service", "service"),
            ("--action", "action"),
            ("--resource", "resource"),
            ("--from-version", "from_version"),
            ("--to-version", "to_version"),
            ("--reason", "reason"),
            ("--incident", "incident_id"),
        ];
        let mut command = Command::new(env!("CARGO_BIN_EXE_slowburn"));
        command.args(["ask", "--format", "json", "--url", &stage.url()]).args(more);
        command.env("SLOWBURN_TOKEN", format!("token-of-{}", self.robot()));
        for (flag, member) in flags {
            command.args(text(member).map(|value| [flag.to_owned(), value]).into_iter().flatten());
        }
        let done =
            tokio::task::spawn_blocking(move || command.output().expect("the binary runs")).await.expect("it ends");
        let code = done.status.code();
        let Ok(answer) = serde_json::from_slice::<Value>(&done.stdout) else {
            assert_eq!(code, Some(5), "{}", String::from_utf8_lossy(&done.stderr));
            return None;
        };
        let said = Said::of(&answer);
        let no_data = said.codes.iter().any(|code| code.starts_with("data_"));
        let expected = match said.answer.as_str() {
            "allow" => 0,
            "needs_approval" => 3,
            // Without data it is no verdict on the change.
            _ if code == Some(4) => {
                assert!(no_data, "{answer:#}");
                4
            }
            _ => 2,
        };
        assert_eq!(code, Some(expected), "{answer:#}");
        Some(said)
    }

    /// The act as it reaches the API server, which asks here.
    async fn admitted(self, stage: &Stage, act: &Value) -> Option<Said> {
        let version = |member: &str| {
            let image = format!("registry.example.com/a:{}", act[member].as_str().unwrap_or("v42"));
            json!({"metadata": {}, "spec": {"template": {"spec": {"containers": [{"name": "a", "image": image}]}}}})
        };
        let (mut before, mut after) = (version("from_version"), version("to_version"));
        if act["action"] == "restart" {
            (before, after) = (version("-"), version("-"));
            after["spec"]["template"]["metadata"] =
                json!({"annotations": {"kubectl.kubernetes.io/restartedAt": "now"}});
        }
        let review = json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": {
                "uid": "u", "resource": {"group": "apps", "version": "v1", "resource": "deployments"},
                "name": format!("s{}", self.own()), "namespace": "shop", "operation": "UPDATE",
                "userInfo": {"username": format!("system:serviceaccount:s{}:robot", self.own())},
                "object": after, "oldObject": before,
            },
        });
        let sent = http().post(format!("{}/admission/changes", stage.url())).bearer_auth("token-of-kube-apiserver");
        let answer = sent.json(&review).timeout(Duration::from_secs(20)).send().await.ok()?;
        let answer: Value = answer.json().await.ok()?;
        let (response, notes) = (&answer["response"], &answer["response"]["auditAnnotations"]);
        let allowed = response["allowed"] == true;
        let word = notes["decision"].as_str().unwrap_or(if allowed { "allow" } else { "deny" });
        assert_eq!(allowed, word == "allow", "{answer:#}");
        let codes = notes["reasons"].as_str().unwrap_or_default().split(',');
        assert!(allowed || response["status"]["message"].as_str().is_some_and(|text| text.starts_with("slowburn: ")));
        Some(Said { answer: word.into(), codes: unique(codes), permit: notes["permit"].as_str().map(str::to_owned) })
    }

    /// Asks for a permit, where this door has a way to, and begins nothing.
    async fn hold(self, stage: &Stage, act: &Value) -> Option<String> {
        let said = match self {
            Door::CommandLine => self.command(stage, act, &["--idempotency-key", "held"]).await?,
            Door::AuthZen => self.evaluated(stage, act).await?,
            Door::Mcp | Door::ExtMcp => self.called(stage, act, false).await?,
            _ => Said::of(&self.post(stage, "/v1/decisions", &[], act).await?.1),
        };
        said.permit
    }

    /// Whether a permit is brought to this door, or the act asked for again, which gives the permit that still lives.
    fn brings(self) -> bool {
        !matches!(self, Door::CommandLine | Door::AuthZen | Door::Mcp | Door::ExtMcp)
    }

    /// A permit that was given before, presented at this door.
    async fn present(self, stage: &Stage, act: &Value, permit: &str) -> Option<Said> {
        let brought = json!({"x-slowburn-permit": permit});
        match self {
            Door::Admission => self.admitted(stage, act).await,
            Door::ExtAuthz => self.through_envoy(stage, &brought).await,
            Door::ExtAuthzGrpc => self.through_envoy_by_grpc(stage, brought).await,
            Door::CommandLine => self.command(stage, act, &["--redeem", "--idempotency-key", "held"]).await,
            Door::AuthZen | Door::Mcp | Door::ExtMcp => self.begin(stage, act).await,
            Door::Api => {
                let (_, answer) = self.post(stage, &format!("/v1/permits/{permit}/redeem"), &[], &json!({})).await?;
                Some(Said::of(&answer))
            }
        }
    }

    /// The act of its own service.
    fn act(self, action: &str) -> Value {
        request(action, self.own(), None)
    }

    /// What the audit log has of its service since `after`, oldest first, in comparable form; and up to where that is.
    async fn records(self, stage: &Stage, after: u64) -> (Vec<Value>, u64) {
        let answer = http().get(format!("{}/v1/audit?service=s{}&limit=1000", stage.url(), self.own())).send().await;
        let answer: Value = answer.expect("an answer").json().await.expect("JSON");
        let rows = answer["records"].as_array().unwrap_or_else(|| panic!("{answer:#}"));
        // What passes by itself (a permit runs out, an act is judged) may come in between, and is no answer.
        let asked = rows.iter().filter(|row| {
            ["decision", "approval", "permit", "presented", "revoked"].iter().any(|kind| row["kind"] == *kind)
        });
        let place = |row: &Value| row["log"]["seq"].as_u64().unwrap_or_else(|| panic!("{row:#}"));
        let mut rows: Vec<(u64, Value)> = asked.map(|row| (place(row), row.clone())).collect();
        rows.sort_by_key(|(seq, _)| *seq);
        let last = rows.last().map_or(after, |(seq, _)| *seq);
        let new = rows.into_iter().filter(|(seq, _)| *seq > after);
        (new.map(|(_, row)| self.comparable(row)).collect(), last)
    }

    fn comparable(self, mut record: Value) -> Value {
        drop_varying(&mut record);
        let own = self.own();
        // Ids, and how long something still lasts, stand in sentences too.
        let names = [
            (r"\b(hlt|prm|apr|dec)_[0-9a-z]+\b".to_owned(), "${1}_#"),
            (r"\b\d+[dhms]( \d+[hms])?\b".to_owned(), "#"),
            (format!("robot/{own}\\b"), "robot/#"),
            (format!("\\bs{own}\\b"), "s#"),
        ];
        let text = names.iter().fold(record.to_string(), |text, (pattern, name)| {
            regex::Regex::new(pattern).expect("a pattern").replace_all(&text, *name).into_owned()
        });
        serde_json::from_str(&text).expect("still JSON")
    }
}

/// Members that differ from one act to the next, wherever they stand.
const VARYING: [&str; 25] = [
    "age_s",
    "clears_at",
    "seq",
    "prev",
    "hash",
    "leaf",
    "time",
    "at",
    "id",
    "log",
    "inputs",
    "via",
    "idempotency_key",
    "permit_id",
    "decision_id",
    "digest",
    "action_digest",
    "policy_digest",
    "expires_at",
    "issued_at",
    "nonce",
    "baseline",
    "view_digest",
    "asked_at",
    "epoch",
];

fn drop_varying(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|name, _| !VARYING.contains(&name.as_str()));
            members.values_mut().for_each(drop_varying);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_varying),
        Value::String(text) => {
            // Ids and moments inside of texts.
            let is_id = ["prm_", "apr_", "dec_", "hlt_", "sha256:"].iter().any(|begin| text.starts_with(begin));
            if is_id || text.parse::<jiff::Timestamp>().is_ok() {
                *text = "#".into();
            }
        }
        _ => {}
    }
}

/// Where two records differ.
fn differ(place: &str, own: &Value, theirs: &Value, found: &mut Vec<String>) {
    match (own, theirs) {
        (Value::Object(a), Value::Object(b)) if a.keys().eq(b.keys()) => {
            a.iter().for_each(|(name, value)| differ(&format!("{place}/{name}"), value, &b[name], found));
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).enumerate().for_each(|(n, (a, b))| differ(&format!("{place}/{n}"), a, b, found));
        }
        _ if own == theirs => {}
        _ => found.push(format!("{place}: {own}, and at the API {theirs}")),
    }
}

/// An act as an evaluation of AuthZEN.
fn evaluation(act: &Value) -> Value {
    let (kind, name) = act["resource"].as_str().and_then(|text| text.split_once('/')).expect("a resource");
    let service = act["service"].as_str().expect("text");
    let mut properties = serde_json::Map::new();
    for member in ["from_version", "to_version"] {
        if act[member].is_string() {
            properties.insert(member.into(), act[member].clone());
        }
    }
    json!({
        "subject": {"type": "service_account", "id": format!("system:serviceaccount:{service}:robot")},
        "action": {"name": act["action"], "properties": properties},
        "resource": {"type": kind, "id": name, "properties": {"service": service}},
        "context": {"reason": act["reason"], "incident_id": act["incident_id"]},
    })
}

/// Sends the act of each door through it; every answer has to be `answer`, with the same codes and the same new records.
async fn the_same(
    stage: &Stage,
    situation: &str,
    action: &str,
    answer: &str,
    seen: &mut BTreeMap<usize, u64>,
) -> Vec<String> {
    let mut first: Option<(Said, Vec<Value>)> = None;
    // All of them between two evaluations: what is known of a service does not change from door to door.
    polled(stage).await;
    let asked = DOORS.map(|door| async move { (door, door.begin(stage, &door.act(action)).await) });
    for (door, said) in futures_util::future::join_all(asked).await {
        let said = said.unwrap_or_else(|| panic!("{situation} {door:?}: no answer"));
        assert_eq!(said.answer, answer, "{situation} {door:?}: {said:?}");
        let after = seen.get(&door.own()).copied().unwrap_or_default();
        let wanted = first.as_ref().map_or(1, |(_, records)| records.len());
        let (records, last) = eventually("it is on record", LIMIT, || async {
            let (records, last) = door.records(stage, after).await;
            (records.len() >= wanted).then_some((records, last))
        })
        .await;
        seen.insert(door.own(), last);
        let (expected, kept) = first.get_or_insert_with(|| (said.clone(), records.clone()));
        assert_eq!(said.words(), expected.words(), "{situation}: {door:?} says otherwise than the API");
        assert_eq!(records.len(), kept.len(), "{situation}: {door:?} {records:#?}\n{kept:#?}");
        for (own, theirs) in records.iter().zip(kept.iter()) {
            let mut differences = Vec::new();
            differ("", own, theirs, &mut differences);
            assert!(
                differences.is_empty(),
                "{situation}: {door:?} is written down otherwise than the API: {differences:#?}"
            );
        }
    }
    let (said, records) = first.expect("there are doors");
    println!("{situation}: {answer} {:?}, {} records", said.codes, records.len());
    said.codes
}

/// Until a poll has just passed.
async fn polled(stage: &Stage) {
    let at = || async {
        let answer = http().get(format!("{}/v1/signals/s0", stage.url())).send().await.ok()?;
        answer.json::<Value>().await.ok()?["at"].as_i64()
    };
    let before = eventually("an evaluation", LIMIT, at).await;
    eventually("the next one", LIMIT, || async { at().await.filter(|at| *at != before) }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_request_is_answered_and_written_down_the_same_at_every_door() {
    let mut stage = Stage::start(DOORS.len(), None, SPEED).await;
    let mut seen = BTreeMap::new();
    for door in DOORS {
        seen.insert(door.own(), door.records(&stage, 0).await.1);
    }
    let denied = the_same(&stage, "not listed", "restart", "deny", &mut seen).await;
    assert_eq!(denied[0], "action_not_allowed", "{denied:?}");
    let asked = the_same(&stage, "people are needed", "rollback", "needs_approval", &mut seen).await;
    assert!(asked.contains(&"approval_required".to_owned()), "{asked:?}");
    the_same(&stage, "well", "deploy", "allow", &mut seen).await;

    // Stopped between the permit and the act: the same no wherever it is presented.
    let act = |door: Door| {
        let mut act = door.act("deploy");
        act["to_version"] = "v44".into();
        act
    };
    let mut permits = BTreeMap::new();
    // Where it is brought it is held against what has changed; where the act is asked for again it is revoked, and decided anew.
    let mut expected: BTreeMap<bool, (Said, Vec<Value>)> = BTreeMap::new();
    for door in DOORS {
        // A poll revokes by itself what has lost its grounds: between two of them, the door is the first to see it.
        polled(&stage).await;
        let permit = door.hold(&stage, &act(door)).await;
        let permit = permit.unwrap_or_else(|| panic!("{door:?} gives no permit"));
        let after = door.records(&stage, 0).await.1;
        let own = json!({"scope": {"service": format!("s{}", door.own())}, "reason": "INC-7", "for_s": 86_400});
        let (status, halt) = stage.wire().post("@ada", "/v1/halts", &own).expect("an answer");
        assert_eq!(status, 200, "{halt}");
        let said = door.present(&stage, &act(door), &permit).await.expect("an answer");
        assert_eq!(said.answer, "deny");
        let wanted = expected.get(&door.brings()).map_or(1, |(_, records)| records.len());
        let records = eventually("it is on record", LIMIT, || async {
            let records = door.records(&stage, after).await.0;
            (records.len() >= wanted).then_some(records)
        })
        .await;
        let (first, kept) = expected.entry(door.brings()).or_insert_with(|| (said.clone(), records.clone()));
        assert_eq!(said.words(), first.words(), "{door:?}");
        let mut differences = Vec::new();
        differ("", &Value::from(records), &Value::from(kept.clone()), &mut differences);
        assert!(differences.is_empty(), "{door:?}: {differences:#?}");
        let resume = format!("/v1/halts/{}/resume", halt["id"].as_str().expect("an id"));
        assert_eq!(stage.wire().post("@ada", &resume, &json!({"reason": "over"})).expect("an answer").0, 200);
        permits.insert(door.own(), permit);
    }
    let order = json!({"scope": "global", "reason": "INC-7", "for_s": 86_400});
    let (status, halt) = stage.wire().post("@ada", "/v1/halts", &order).expect("an answer");
    assert_eq!(status, 200, "{halt}");
    let codes: Vec<&str> = expected.values().map(|(said, _)| said.codes[0].as_str()).collect();
    assert_eq!(codes, ["halted", "state_worsened"]);
    for door in DOORS {
        seen.insert(door.own(), door.records(&stage, 0).await.1);
    }
    let halted = the_same(&stage, "halted", "deploy", "deny", &mut seen).await;
    assert!(halted.contains(&"halted".to_owned()), "{halted:?}");
    let resume = format!("/v1/halts/{}/resume", halt["id"].as_str().expect("an id"));
    assert_eq!(stage.wire().post("@ada", &resume, &json!({"reason": "over"})).expect("an answer").0, 200);

    // Prometheus is silent, and the data grows old.
    stage.prometheus().hang();
    eventually("the data is old", LIMIT, || async {
        // By the snapshot, and not by its age alone: the next one may say that the data are there in part, until they are old.
        let answer = http().get(format!("{}/v1/slos", stage.url())).send().await.ok()?;
        let all: Value = answer.json().await.ok()?;
        let old = |slo: &Value| slo["series"][0]["data"]["state"] == "stale";
        all.as_array().is_some_and(|all| all.len() == DOORS.len() && all.iter().all(old)).then_some(())
    })
    .await;
    for door in DOORS {
        seen.insert(door.own(), door.records(&stage, 0).await.1);
    }
    let stale = the_same(&stage, "old data", "deploy", "deny", &mut seen).await;
    assert!(stale.contains(&"data_stale".to_owned()), "{stale:?}");

    // The gate is gone: nobody has a yes, and the command line says that it is none.
    stage.process.kill();
    for door in DOORS {
        assert_eq!(door.begin(&stage, &door.act("deploy")).await, None, "{door:?}");
        assert_eq!(door.present(&stage, &act(door), &permits[&door.own()]).await, None, "{door:?}: a permit is no yes");
    }
}
