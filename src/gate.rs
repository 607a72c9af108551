//! Safe to act: may this change be made now, by this actor? A pure function of a request, who asks, the policy, what
//! the ledger says of the service, what was decided before, and a moment.
//!
//! ```text
//! request ─┐
//! principal├─► decide ─► Decision ─► GateState::record ─► events ─► (audit log, then the answer)
//! policy  ─┤                ▲
//! view    ─┤  engine::Snapshot, Ledger
//! state   ─┘  a fold over events: permits, approvals, halts, changes, verdicts
//! ```
//!
//! - Every check runs, the strictest one wins: `allow < needs_approval < deny`. A check that cannot be answered refuses.
//! - The gate has two sides. `risk` needs headroom. `mitigate` needs necessity and must do no harm: blocking the cure
//!   because it burns is the classic mistake, and curing what is healthy because somebody claims it burns the other.
//! - What a caller says is a claim. Versions, replicas and burns are taken from what is observed.
//! - All state is a fold over [`Event`]s. Whoever has the events has the state, after a restart too.
//!
//! Deliberately absent: a clock, chance (ids come in as arguments), credentials, disk, HTTP. Who asks has been
//! authenticated before; what is decided is written down by the caller, before it is answered.

pub mod action;
pub mod answer;
pub mod approval;
pub mod autonomy;
pub mod canonical;
pub mod check;
pub mod decide;
pub mod event;
pub mod freeze;
pub mod halt;
pub mod identity;
pub mod observed;
pub mod permit;
pub mod policy;
pub mod principal;
pub mod reason;
pub mod replay;
pub mod request;
pub mod signals;
pub mod state;
#[cfg(test)]
pub(crate) mod tests;
pub mod text;
pub mod verdict;
pub mod view;

pub use action::{ActionClass, ActionKind};
pub use answer::Answer;
pub use approval::{Approval, ApprovalState};
pub use autonomy::{Autonomy, Stage};
pub use canonical::Digest;
pub use check::{Check, ClearBy, Decision, Effect};
pub use decide::decide;
pub use event::{Event, EventKind};
pub use halt::{Halt, HaltScope};
pub use identity::{Identities, Identity};
pub use observed::{Change, Observed, Workload};
pub use permit::{Permit, PermitState};
pub use policy::Policy;
pub use principal::{ActorClass, Approver, Principal, Right, Via};
pub use reason::ReasonCode;
pub use replay::Inputs;
pub use request::{Request, RequestFault};
pub use signals::{ChangeState, Signal};
pub use state::{GateState, Ids};
pub use verdict::{Outcome, TrustRecord, Verdict};
pub use view::{Health, SloView, View};
