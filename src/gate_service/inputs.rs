//! What a decision rested on, as it is kept: so that it can be made again.
//!
//! What many decisions share (the view of a poll, the policy) is kept once beside the log, by its digest; what is of this
//! one stands in its record, unless it is long. Bodies are handed to the system outside the gate_service's lock and before
//! the answer, maybe after the record: a crash between the two leaves a record that nobody was answered on.

use serde_json::{Value, json};

use crate::audit::Hash;
use crate::engine::Seconds;
use crate::gate::policy::Policy;
use crate::gate::request::Request;
use crate::gate::view::View;
use crate::gate::{GateState, Principal};

/// Longest slice of the gate state that stands in the record of a decision, bytes.
const INLINE_BYTES_MAX: usize = 64 * 1024;

/// What is to be kept beside the log.
pub(super) struct InputBody {
    pub digest: Hash,
    pub bytes: Vec<u8>,
}

fn bytes(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("inputs are plain data")
}

/// What the record says of the inputs (see [`crate::gate::replay::Inputs`]), and the bodies that it names. What runs is
/// as of the very second, so it stands in the record: the rest of the view is one body for all decisions of a poll.
pub(super) fn kept(
    request: &Request,
    principal: &Principal,
    policy: Option<&Policy>,
    mut view: Option<View>,
    gate: &GateState,
    now: Seconds,
) -> (Value, Vec<InputBody>) {
    let mut bodies = Vec::with_capacity(3);
    let mut body = |bytes: Vec<u8>| -> Value {
        let digest = Hash::of(&bytes);
        bodies.push(InputBody { digest, bytes });
        digest.to_string().into()
    };
    let observed = view.as_mut().map(|view| std::mem::take(&mut view.observed));
    let mut kept = json!({
        "request": request, "principal": principal, "now": now, "observed": observed,
        "view": body(bytes(&view)), "policy_body": body(bytes(&policy)),
    });
    let gate = serde_json::to_value(gate.slice(request, policy, &principal.sub, now));
    let gate = gate.expect("the gate is plain data");
    let text = bytes(&gate);
    match text.len() <= INLINE_BYTES_MAX {
        true => kept["gate"] = gate,
        false => kept["gate_body"] = body(text),
    }
    (kept, bodies)
}
