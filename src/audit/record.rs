//! One audit record: what was done, by whom, when and why.
//!
//! The first nine keys stand in every record, in this order, `null` where a kind has nothing to say; everything else
//! follows in the order of canonical JSON. The line in the file and the leaf of the tree are made from the same members,
//! so a line that was changed in any byte differs from what its own content gives.
//!
//! Texts come from callers and are not trusted: they are cut at a length, and what a terminal would act on is written
//! out (`\u{1b}`). Values under keys that name secrets are not written at all.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::merkle::Hash;
use crate::gate::canonical;

/// Version of the record's shape.
pub const SCHEMA: &str = "safe-to-act.audit/v1";
/// Longest line, bytes.
pub const LINE_BYTES_MAX: usize = 256 * 1024;
/// The keys that stand first.
pub const HEAD: [&str; 9] =
    ["actor", "time", "action", "resource", "from_version", "to_version", "reason", "incident_id", "approval"];
/// Most characters of `reason`.
const REASON_CHARS_MAX: usize = 1024;
/// Most characters of the other texts of the head.
const NAME_CHARS_MAX: usize = 256;
/// Most characters of a text anywhere else.
const TEXT_CHARS_MAX: usize = 4096;

/// What a record tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Kind {
    /// The gate decided.
    Decision,
    /// An approval was asked for, granted, rejected, or ran out.
    Approval,
    /// A permit was made.
    Permit,
    /// A permit was presented.
    Presented,
    /// The change was observed.
    Acted,
    /// A permit or approval ran out unused.
    Expired,
    /// A permit was taken back.
    Revoked,
    /// What the change did to the service.
    Verdict,
    /// A policy came into force, or is not in force any more.
    PolicyLoad,
    /// Other people, robots or pipelines are known.
    Identities,
    /// A lever was pulled or released.
    Halt,
    /// A person went past the gate.
    BreakGlass,
    /// A person said what an incident came from, or what was done about it; or an alert of others was told of.
    Incident,
    /// A person took a log that could not be proved complete as it is.
    Accepted,
    /// Bytes that no answer stood on were dropped from the end.
    Gap,
    /// The clock went back.
    ClockStep,
    /// A process began to write.
    Boot,
    /// It stopped in good order.
    Shutdown,
}

impl Kind {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Decision => "decision",
            Kind::Approval => "approval",
            Kind::Permit => "permit",
            Kind::Presented => "presented",
            Kind::Acted => "acted",
            Kind::Expired => "expired",
            Kind::Revoked => "revoked",
            Kind::Verdict => "verdict",
            Kind::PolicyLoad => "policy_load",
            Kind::Identities => "identities",
            Kind::Halt => "halt",
            Kind::BreakGlass => "break_glass",
            Kind::Incident => "incident",
            Kind::Accepted => "accepted",
            Kind::Gap => "gap",
            Kind::ClockStep => "clock_step",
            Kind::Boot => "boot",
            Kind::Shutdown => "shutdown",
        }
    }
}

/// A record before the log gives it a place. Bodies are JSON, so that their types stay with those who make them.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Who, as the credential says: `ai-operator/orca-ops`.
    pub actor: String,
    /// When, milliseconds since the Unix epoch.
    pub time_ms: i64,
    /// What: `rollback`, or the name of the event.
    pub action: String,
    /// To what: `deployment/checkout-service`.
    pub resource: Option<String>,
    /// The version before.
    pub from_version: Option<String>,
    /// The version after.
    pub to_version: Option<String>,
    /// Why, in the words of the caller.
    pub reason: Option<String>,
    /// The incident it belongs to.
    pub incident_id: Option<String>,
    /// `{required, approved_by, approval_id, ...}`.
    pub approval: Option<Value>,
    /// What kind of record this is.
    pub kind: Kind,
    /// The service it is about.
    pub service: Option<String>,
    /// The credential: `{sub, via, delegation}`.
    pub principal: Option<Value>,
    /// What was decided: `{id, result, reasons, action_digest, ...}`; `id` and `result` can be searched for.
    pub decision: Option<Value>,
    /// What it was decided from: `{policy, snapshot, data_state}`, digests of bodies that are kept beside the log.
    pub inputs: Option<Value>,
    /// The tag that the policy wants on its records.
    pub incident_tag: Option<String>,
    /// The caller's trace.
    pub trace_id: Option<String>,
    /// Everything else that this kind of record has to say.
    pub event: Option<Value>,
}

impl Record {
    /// A record with what every kind has.
    pub fn new(kind: Kind, actor: impl Into<String>, action: impl Into<String>, time_ms: i64) -> Self {
        Record {
            actor: actor.into(),
            time_ms,
            action: action.into(),
            resource: None,
            from_version: None,
            to_version: None,
            reason: None,
            incident_id: None,
            approval: None,
            kind,
            service: None,
            principal: None,
            decision: None,
            inputs: None,
            incident_tag: None,
            trace_id: None,
            event: None,
        }
    }

    /// A record that the log writes of itself.
    pub(super) fn of_log(kind: Kind, time_ms: i64, event: Value) -> Self {
        Record { event: Some(event), ..Record::new(kind, "slowburn", kind.as_str(), time_ms) }
    }

    /// All members, at this place in the log.
    pub(super) fn members(self, origin: &str, seq: u64, prev: Option<&Hash>) -> Map<String, Value> {
        let mut map = Map::new();
        let name = |text: Option<String>| text.map_or(Value::Null, |text| tame(&text, NAME_CHARS_MAX).into());
        map.insert("actor".into(), name(Some(self.actor)));
        map.insert("time".into(), time_text(self.time_ms).into());
        map.insert("action".into(), name(Some(self.action)));
        map.insert("resource".into(), name(self.resource));
        map.insert("from_version".into(), name(self.from_version));
        map.insert("to_version".into(), name(self.to_version));
        let reason = self.reason.map_or(Value::Null, |text| tame(&text, REASON_CHARS_MAX).into());
        map.insert("reason".into(), reason);
        map.insert("incident_id".into(), name(self.incident_id));
        map.insert("approval".into(), self.approval.map_or(Value::Null, tame_value));
        map.insert("schema".into(), SCHEMA.into());
        map.insert("kind".into(), self.kind.as_str().into());
        let prev = prev.map_or(Value::Null, |hash| hash.to_string().into());
        map.insert("log".into(), json!({"origin": origin, "seq": seq, "prev": prev}));
        let texts = [("service", self.service), ("incident_tag", self.incident_tag), ("trace_id", self.trace_id)];
        for (key, text) in texts {
            text.map(|text| map.insert(key.into(), name(Some(text))));
        }
        let bodies = [
            ("principal", self.principal),
            ("decision", self.decision),
            ("inputs", self.inputs),
            ("event", self.event),
        ];
        for (key, body) in bodies {
            body.map(|body| map.insert(key.into(), tame_value(body)));
        }
        map
    }
}

/// RFC 3339, UTC, always with three places: texts sort as times do.
pub fn time_text(time_ms: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(time_ms).unwrap_or(jiff::Timestamp::MIN);
    format!("{time:.3}")
}

/// A record as it stands in the file, and the hash that stands for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rendered {
    /// The line, without its end.
    pub(crate) line: Vec<u8>,
    /// `SHA-256(0x00 || canonical JSON)`.
    pub(crate) leaf: Hash,
}

/// Writes the members as a line and as a leaf.
///
/// # Errors
/// The number that cannot be written without changing it.
pub(crate) fn render(map: &Map<String, Value>) -> Result<Rendered, String> {
    if let Some(number) = map.values().find_map(canonical::changed_number) {
        return Err(format!("{number} is a number that not every reader of JSON can hold: write it as a text"));
    }
    let member = |(key, value): (&String, &Value)| {
        let mut text = String::with_capacity(64);
        canonical::write_text(key, &mut text);
        text.push(':');
        canonical::write(value, &mut text);
        (HEAD.iter().position(|head| head == key).unwrap_or(HEAD.len()), text)
    };
    let mut members: Vec<(usize, String)> = canonical::sorted(map).into_iter().map(member).collect();
    let leaf = Hash::leaf(&object(&members));
    members.sort_by_key(|(place, _)| *place);
    Ok(Rendered { line: object(&members), leaf })
}

fn object(members: &[(usize, String)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    for (_, member) in members {
        out.push(if out.is_empty() { b'{' } else { b',' });
        out.extend_from_slice(member.as_bytes());
    }
    if out.is_empty() {
        out.push(b'{');
    }
    out.push(b'}');
    out
}

/// A record that was read, with its place in the log.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its members.
    pub members: Map<String, Value>,
    /// Its number; the first is 0.
    pub seq: u64,
    /// The leaf before it; none before the first.
    pub prev: Option<Hash>,
    /// Its own leaf.
    pub leaf: Hash,
}

impl Entry {
    /// Reads one line. It has to be exactly what its content gives.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(line: &[u8]) -> Result<Self, String> {
        let members: Map<String, Value> = serde_json::from_slice(line).map_err(|error| format!("no JSON: {error}"))?;
        let rendered = render(&members)?;
        if rendered.line != line {
            return Err("not in the form in which records are written".into());
        }
        let log = members.get("log");
        let seq = log.and_then(|log| log.get("seq")).and_then(Value::as_u64).ok_or("no log.seq")?;
        let prev = match log.and_then(|log| log.get("prev")) {
            Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text.parse()?),
            _ => return Err("no log.prev".into()),
        };
        Ok(Entry { seq, prev, leaf: rendered.leaf, members })
    }

    /// The text of a member; a dot leads into objects: `decision.id`.
    pub fn text(&self, path: &str) -> Option<&str> {
        let mut parts = path.split('.');
        let mut value = self.members.get(parts.next()?)?;
        for part in parts {
            value = value.get(part)?;
        }
        value.as_str()
    }

    /// Its time, milliseconds since the Unix epoch.
    pub fn time_ms(&self) -> Option<i64> {
        self.text("time")?.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond)
    }
}

/// Keys whose texts are secrets wherever they stand.
const SECRET_KEYS: [&str; 10] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "password",
    "passwd",
    "secret",
    "token",
    "access_token",
    "api_key",
    "private_key",
];

fn tame_value(mut value: Value) -> Value {
    tame_within(&mut value);
    value
}

/// Only what has to change is written anew: nearly every text is as tame as it comes.
fn tame_within(value: &mut Value) {
    match value {
        Value::String(text) if !is_tame(text, TEXT_CHARS_MAX) => *text = tame(text, TEXT_CHARS_MAX),
        Value::Array(items) => items.iter_mut().for_each(tame_within),
        Value::Object(map) => {
            if map.keys().any(|key| !is_tame(key, NAME_CHARS_MAX)) {
                *map =
                    std::mem::take(map).into_iter().map(|(key, value)| (tame(&key, NAME_CHARS_MAX), value)).collect();
            }
            for (key, value) in map.iter_mut() {
                match value {
                    Value::String(text) if SECRET_KEYS.iter().any(|secret| key.eq_ignore_ascii_case(secret)) => {
                        *text = "[not recorded]".into();
                    }
                    value => tame_within(value),
                }
            }
        }
        _ => {}
    }
}

fn is_tame(text: &str, chars_max: usize) -> bool {
    text.len() <= chars_max && text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

/// `text` without what acts on a terminal or turns its order round, cut at `chars_max` with a mark that says so.
fn tame(text: &str, chars_max: usize) -> String {
    if is_tame(text, chars_max) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len().min(4 * chars_max));
    for (i, c) in text.chars().enumerate() {
        if i == chars_max {
            out.push_str(&format!("…[{} more]", text.chars().count() - i));
            break;
        }
        match c {
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() || turns_text(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}

/// Marks that change the order or the lines of the text around them, or that cannot be seen.
fn turns_text(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests;
