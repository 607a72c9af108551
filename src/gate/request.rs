//! What is asked for, read strictly. Everything in here is a claim of the caller: it says what should be done, and
//! proves nothing about the service or the sender.
//!
//! An unknown member, a member that does not belong to the action, an empty text, a wildcard: each is refused. An
//! empty selector once meant "everything" elsewhere; here it means nothing.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::action::ActionKind;
use super::canonical::Digest;
use super::reason::ReasonCode;
use super::text::{is_plain, plain};

/// Longest request, bytes.
pub const REQUEST_BYTES_MAX: usize = 64 * 1024;
/// Longest name of a service, a resource, a version or an actor, bytes.
pub const NAME_BYTES_MAX: usize = 253;
/// Longest claimed reason, bytes.
pub const REASON_BYTES_MAX: usize = 1024;
/// Most arguments of one request.
pub const ARGUMENTS_MAX: usize = 16;
/// Most replicas that can be asked for.
pub const REPLICAS_MAX: u32 = 100_000;

/// A request to change something, well-formed. Members are those of the audit record (semantics, section 8).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The service that is changed.
    pub service: String,
    /// What is done.
    pub action: ActionKind,
    /// What it is done to: `deployment/checkout-service`.
    pub resource: String,
    /// The version that runs now, as the caller believes. Checked against what is observed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_version: Option<String>,
    /// The version to go to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_version: Option<String>,
    /// Replicas now, as the caller believes. Checked against what is observed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_replicas: Option<u32>,
    /// Replicas to go to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u32>,
    /// Arguments of an action that the policy defines; it says within which bounds.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub arguments: BTreeMap<String, Argument>,
    /// Why, as the caller says. `slo_burn_rate_exceeded` and its like are checked against the ledger; any other text is
    /// shown to people and read by nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The incident it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident_id: Option<String>,
    /// The version whose arrival is held to be the cause. Without it: the newest change of the resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspected_change: Option<String>,
    /// Who the caller says it is. Counts only where the principal may act as that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// A person's emergency: admitted against every check, loudly, for 15 minutes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub break_glass: bool,
    /// The same key by the same principal gives the same decision back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
}

/// An argument: a whole number, or a word out of those that the policy names. No other text has a say.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Argument {
    /// A whole number.
    Number(i64),
    /// A word.
    Word(String),
}

impl std::fmt::Display for Argument {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Argument::Number(number) => number.fmt(f),
            Argument::Word(word) => f.write_str(word),
        }
    }
}

/// Why a request is no request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestFault {
    /// For log, metric, answer and record.
    pub code: ReasonCode,
    /// What is wrong and what to write instead.
    pub what: String,
}

impl std::fmt::Display for RequestFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for RequestFault {}

impl Request {
    /// Reads a request for one of the actions that are known here. See [`Request::parse_among`].
    ///
    /// # Errors
    /// As of that, and an action that only a policy defines.
    pub fn parse(body: &[u8]) -> Result<Self, RequestFault> {
        Request::parse_among(body, |_| false)
    }

    /// Reads a request. `defined` tells whether some policy defines an action that is not known here.
    ///
    /// # Errors
    /// A body over [`REQUEST_BYTES_MAX`], no JSON, an unknown or doubled member, an unknown action, a member that the
    /// action lacks or does not take, an empty or overlong text, a wildcard.
    pub fn parse_among(body: &[u8], defined: impl Fn(ActionKind) -> bool) -> Result<Self, RequestFault> {
        let fault = |code, what: String| RequestFault { code, what };
        if body.len() > REQUEST_BYTES_MAX {
            let what = format!("the request has {} bytes: at most {REQUEST_BYTES_MAX} are read", body.len());
            return Err(fault(ReasonCode::RequestTooLarge, what));
        }
        if body.trim_ascii_start().first() != Some(&b'{') {
            return Err(fault(ReasonCode::MalformedRequest, "the request is no object of JSON".into()));
        }
        unambiguous(body).map_err(|what| fault(ReasonCode::MalformedRequest, what))?;
        // What is asked for comes first: who misspells an action is told so, whatever else is wrong.
        #[derive(Deserialize)]
        struct Asked {
            action: ActionKind,
        }
        if let Ok(Asked { action: action @ ActionKind::Custom(_) }) = serde_json::from_slice(body)
            && !defined(action)
        {
            let known = ActionKind::NAMES.map(|(name, _)| name).join(", ");
            let what = format!("{} is none of {known}, and no policy defines it", action.as_str());
            return Err(fault(ReasonCode::UnknownAction, what));
        }
        let mut request: Request = serde_json::from_slice(body).map_err(|error| {
            let text = error.to_string();
            let code = match () {
                () if text.starts_with("unknown field") => ReasonCode::UnknownField,
                () if text.starts_with("unknown variant") => ReasonCode::UnknownAction,
                () => ReasonCode::MalformedRequest,
            };
            fault(code, format!("the request is not as it should be: {text}"))
        })?;
        request.reason = request.reason.map(|reason| plain(&reason));
        request.check().map_err(|what| fault(ReasonCode::MalformedRequest, what))?;
        Ok(request)
    }

    /// The node that it is about.
    pub fn node(&self) -> Option<&str> {
        self.resource.strip_prefix("node/").filter(|_| self.action.is_of_node())
    }

    /// Whether it is the cordon that comes before this drain of the same node.
    pub fn prepares(&self, later: &Request) -> bool {
        let in_turn = (self.action, later.action) == (ActionKind::Cordon, ActionKind::Drain);
        in_turn && self.resource == later.resource
    }

    /// SHA-256 of the act in canonical form: what is done, to what, from where to where. What a permit and an approval
    /// are bound to. The words around it (reason, incident, suspected change) are no part of it: whoever asks again in
    /// other words asks for the same.
    pub fn digest(&self) -> Digest {
        let act = Request {
            actor: None,
            idempotency_key: None,
            reason: None,
            incident_id: None,
            suspected_change: None,
            ..self.clone()
        };
        Digest::of(&act).expect("texts, numbers and flags have a JSON form")
    }

    /// What its members must hold together.
    fn check(&self) -> Result<(), String> {
        name("service", &self.service)?;
        name("resource", &self.resource)?;
        if !self.resource.split_once('/').is_some_and(|(kind, of)| !kind.is_empty() && !of.is_empty()) {
            return Err(format!("resource {:?} names no object: write deployment/checkout-service", self.resource));
        }
        let names = [
            ("from_version", &self.from_version),
            ("to_version", &self.to_version),
            ("incident_id", &self.incident_id),
            ("suspected_change", &self.suspected_change),
            ("actor", &self.actor),
            ("idempotency_key", &self.idempotency_key),
        ];
        for (member, value) in names {
            value.as_deref().map_or(Ok(()), |value| name(member, value))?;
        }
        if let Some(reason) = &self.reason
            && (reason.trim().is_empty() || reason.len() > REASON_BYTES_MAX)
        {
            return Err(format!("reason is empty or over {REASON_BYTES_MAX} bytes"));
        }
        self.members_of_action()?;
        self.arguments()
    }

    /// Each action has its own arguments: none may be missing, none may be left over.
    fn members_of_action(&self) -> Result<(), String> {
        let action = self.action.as_str();
        let versions = (self.from_version.is_some(), self.to_version.is_some());
        let replicas = (self.from_replicas.is_some(), self.replicas.is_some());
        match self.action {
            ActionKind::Rollback if versions != (true, true) => {
                return Err("rollback needs from_version and to_version".into());
            }
            ActionKind::Deploy if !versions.1 => return Err("deploy needs to_version".into()),
            ActionKind::Scale if !replicas.1 => return Err("scale needs replicas".into()),
            ActionKind::Scale | ActionKind::Restart if versions.1 => {
                return Err(format!("{action} takes no to_version: it keeps the version"));
            }
            ActionKind::Cordon | ActionKind::Drain if versions != (false, false) => {
                return Err(format!("{action} takes no versions: a node has none here"));
            }
            ActionKind::Cordon | ActionKind::Drain if !self.resource.starts_with("node/") => {
                return Err(format!("{action} is of a node: write node/k8s-gpu-17"));
            }
            _ => {}
        }
        if self.action != ActionKind::Scale && (replicas.0 || replicas.1) {
            return Err(format!("{action} takes no replicas: ask for scale"));
        }
        if self.replicas.max(self.from_replicas).is_some_and(|replicas| replicas > REPLICAS_MAX) {
            return Err(format!("over {REPLICAS_MAX} replicas"));
        }
        Ok(())
    }

    /// Only actions of a policy have arguments, and each is a number or a plain word.
    fn arguments(&self) -> Result<(), String> {
        if !matches!(self.action, ActionKind::Custom(_)) && !self.arguments.is_empty() {
            return Err(format!("{} takes no arguments", self.action.as_str()));
        }
        if self.arguments.len() > ARGUMENTS_MAX {
            return Err(format!("over {ARGUMENTS_MAX} arguments"));
        }
        for (key, value) in &self.arguments {
            name("the name of an argument", key)?;
            if let Argument::Word(word) = value {
                name(key, word)?;
            }
        }
        Ok(())
    }
}

/// Whether no object in this JSON has a member twice, however deep: of two readers one would take the first and one the last.
///
/// # Errors
/// One has, or it is no JSON.
pub fn unambiguous(body: &[u8]) -> Result<(), String> {
    serde_json::from_slice::<OnceEach>(body)
        .map(|OnceEach| ())
        .map_err(|error| format!("the request is not as it should be: {error}"))
}

/// Any JSON whose objects have each member once.
struct OnceEach;

impl<'de> Deserialize<'de> for OnceEach {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(OnceEach)
    }
}

impl<'de> Visitor<'de> for OnceEach {
    type Value = OnceEach;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        let mut seen = BTreeSet::new();
        while let Some(key) = map.next_key::<String>()? {
            if seen.contains(&key) {
                return Err(serde::de::Error::custom(format_args!("duplicate field `{key}`")));
            }
            seen.insert(key);
            map.next_value::<OnceEach>()?;
        }
        Ok(OnceEach)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self, A::Error> {
        while seq.next_element::<OnceEach>()?.is_some() {}
        Ok(OnceEach)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(OnceEach)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(OnceEach)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(OnceEach)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(OnceEach)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(OnceEach)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(OnceEach)
    }
}

/// A name that means one thing: not empty, not a pattern, printable, without blanks.
pub(crate) fn name(member: &str, value: &str) -> Result<(), String> {
    if value.is_empty() {
        return Err(format!("{member} is empty: nothing is not everything"));
    }
    if value.len() > NAME_BYTES_MAX {
        return Err(format!("{member} is over {NAME_BYTES_MAX} bytes"));
    }
    if value.contains('*') {
        return Err(format!("{member} {value:?} is a pattern: name one thing"));
    }
    if value.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(format!("{member} {value:?} holds blanks or control characters"));
    }
    if !is_plain(value) {
        return Err(format!(
            "{member} {:?} holds marks that hide or turn text, or letters in a second form",
            plain(value)
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
