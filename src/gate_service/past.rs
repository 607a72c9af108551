//! What the gate remembers of a service's past: changes that were seen or posted, and verdicts on acts. Read by whoever
//! lays it beside the numbers. And what people say of incidents, on its way into the log: no decision ever reads that.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::command::unwritten;
use super::record::principal_of;
use super::{Blocked, GateService};
use crate::audit::record::{Kind, Record};
use crate::gate::Right;
use crate::gate::observed::Change;
use crate::gate::principal::{ActorClass, Principal};
use crate::gate::reason::{ReasonCode, Refusal};
use crate::gate::verdict::Verdict;

/// What is remembered of one service, each in the order of time.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PastOf {
    /// Changes.
    pub changes: Vec<Change>,
    /// Verdicts.
    pub verdicts: Vec<Verdict>,
}

impl GateService {
    /// What is remembered of a service.
    pub fn past_of(&self, service: &str) -> PastOf {
        let state = self.read();
        PastOf {
            changes: state.gate.changes_of(service).cloned().collect(),
            verdicts: state.gate.verdicts_of(service).cloned().collect(),
        }
    }
}

/// What a person or a pipeline adds to an incident.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IncidentOrder {
    /// What was done about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mitigation: Option<String>,
    /// Whether that helped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub helped: Option<bool>,
    /// What it came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// Where it is talked about: a number or an address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
}

impl GateService {
    /// What may have to do with incidents: every change that is remembered, and which services depend on which.
    pub fn suspects(&self) -> (Vec<Change>, BTreeMap<String, Vec<String>>) {
        let state = self.read();
        let dependencies = state.rules.policies.iter();
        let dependencies = dependencies.map(|(service, policy)| (service.clone(), policy.dependencies.clone()));
        (state.gate.changes().cloned().collect(), dependencies.collect())
    }

    /// Writes down what somebody says of an incident, before it is taken.
    ///
    /// # Errors
    /// A robot, somebody without the right to tell of changes who is no person, or the log cannot be written.
    pub async fn note_incident(
        &self,
        principal: &Principal,
        id: &str,
        service: &str,
        order: &IncidentOrder,
    ) -> Result<Value, Blocked> {
        self.may_tell(principal, "a robot does not say what an incident came from: people and pipelines do")?;
        let mut record = Record::new(Kind::Incident, principal.sub.as_str(), "incident_note", self.0.clock.now_ms());
        record.incident_id = Some(id.to_owned());
        record.service = Some(service.to_owned());
        record.reason = order.mitigation.clone().or_else(|| order.cause.clone());
        record.principal = Some(principal_of(principal));
        record.event = Some(json!({"incident_note": order}));
        let receipt = self.log().append(record).await.map_err(unwritten)?;
        Ok(json!({"recorded": true, "audit": receipt}))
    }

    /// Whether somebody may tell of what no decision reads.
    ///
    /// # Errors
    /// A robot, for which `robot` says why; somebody without the right to tell of changes who is no person; this process does
    /// not decide.
    pub(super) fn may_tell(&self, principal: &Principal, robot: &str) -> Result<(), Blocked> {
        if principal.class == ActorClass::Robot {
            return Err(Blocked::Forbidden(robot.into()));
        }
        if !principal.class.is_human() && !principal.has(Right::Changes) {
            let what = format!("{} has not the right {:?}", principal.sub, Right::Changes.as_str());
            return Err(Refusal::new(ReasonCode::RightMissing, what).into());
        }
        if !self.leads() {
            return Err(Blocked::Unavailable("another process decides, and this one only explains".into()));
        }
        Ok(())
    }
}
