//! Several questions at once, and none in particular: which of these acts would be allowed, and what could be asked for at all.
//! Nothing here leaves a permit, a question or a record.

use serde::Deserialize;
use serde_json::{Value, json};

use super::command::unknown;
use super::{Blocked, GateService};
use crate::gate::Principal;
use crate::gate::decide::allowed;

/// Most options of one request.
pub const OPTIONS_MAX: usize = 10;

/// What is asked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptionsOrder {
    /// Acts, each a request as `POST /v1/decisions` takes it.
    #[serde(default)]
    pub options: Vec<Value>,
    /// The service whose actions are listed.
    pub service: Option<String>,
}

impl OptionsOrder {
    /// How many explanations it takes.
    pub fn cost(&self) -> usize {
        self.options.len() + usize::from(self.service.is_some())
    }
}

impl GateService {
    /// Answers all of them. An option that cannot be read is told of in its place, and the others are answered.
    ///
    /// # Errors
    /// It asks for nothing, for too much, or for a service that there is not.
    pub fn options(&self, principal: &Principal, order: &OptionsOrder) -> Result<Value, Blocked> {
        if order.cost() == 0 || order.options.len() > OPTIONS_MAX {
            let what = format!("options holds 1 to {OPTIONS_MAX} requests, or service names one");
            return Err(Blocked::Malformed(what));
        }
        let answers: Vec<Value> = order
            .options
            .iter()
            .map(|option| match self.explain(principal, &serde_json::to_vec(option).unwrap_or_default()) {
                Ok(answer) => serde_json::to_value(answer).expect("an answer is JSON"),
                Err(fault) => json!({"decision": "deny", "error": fault.to_string()}),
            })
            .collect();
        let listed = match &order.service {
            None => Value::Null,
            Some(service) => {
                let state = self.read();
                let now = self.now();
                let view = self.view(&state, service, now).ok_or_else(|| unknown("service", service))?;
                let rows = allowed(principal, state.policy(service).as_deref(), &view, &state.gate, now);
                serde_json::to_value(rows).expect("rows are plain data")
            }
        };
        Ok(json!({"schema": "safe-to-act/v1", "options": answers, "allowed": listed}))
    }
}
