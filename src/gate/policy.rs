//! The policy of one service: what may be done, by whom, when, and what must hold. Data only: `spec::policy` reads it
//! from `policy.yaml`, `decide` reads it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::action::{ActionClass, ActionKind, ActionName};
use super::answer::Answer;
use super::autonomy::Autonomy;
use super::canonical::Digest;
use super::freeze::FreezeWindow;
use super::principal::{ActorClass, Approver};
use super::request::Argument;

/// Life of a permit where the policy says nothing, seconds.
pub const PERMIT_TTL_DEFAULT_S: i64 = 120;
/// Longest life of a permit, seconds.
pub const PERMIT_TTL_MAX_S: i64 = 300;

/// The policy of one service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// The service it is for.
    pub service: String,
    /// What may be done at all; anything else is denied.
    pub allowed_actions: Vec<AllowedAction>,
    /// What must hold before anything is done.
    pub safety_checks: Vec<SafetyCheck>,
    /// How it is written down.
    pub logging: Logging,
    /// When nothing is changed.
    pub freeze: Vec<FreezeWindow>,
    /// Seconds after any observed change in which robots and pipelines change nothing; 0 = none.
    pub cool_down_s: i64,
    /// How often may be acted.
    pub rate_budgets: Vec<RateBudget>,
    /// One change of the service, and of its group, at a time.
    pub one_change_at_a_time: bool,
    /// Services of the same group are changed one after the other.
    pub dependency_group: Option<String>,
    /// Services this one depends on: where they burn alike, the cause may be there.
    pub dependencies: Vec<String>,
    /// Seconds after an act before it is judged.
    pub settle_s: i64,
    /// Longest time from a change to a burn that it is held to have caused, seconds.
    pub correlate_within_s: i64,
    /// Life of a permit, seconds; at most [`PERMIT_TTL_MAX_S`].
    pub permit_ttl_s: i64,
    /// What a change of pods costs while it runs.
    pub transition: Transition,
    /// What missing data means, where the policy is stricter than the table.
    pub data: DataRules,
}

/// One action that is allowed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AllowedAction {
    /// What it does.
    pub action: Action,
    /// Whether a person must approve it.
    pub require_approval: bool,
    /// Who may do it; empty: everybody who is known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub actors: Vec<RateActor>,
    /// Who may approve it.
    pub approvers: Vec<Approver>,
    /// How many distinct people must approve; at least 1.
    pub quorum: u32,
    /// Two people look at every act: a person needs the yes of another one, a robot of two.
    pub four_eyes: bool,
    /// A class other than the action's own.
    pub class: Option<ActionClass>,
    /// Targets that cannot be left again (a migrated schema): a person must approve. A trailing `*` matches the rest.
    pub irreversible: Vec<String>,
    /// How far a machine may go by itself, by what its acts came to; without it, as the row says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autonomy: Option<Autonomy>,
}

/// An action and its limits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Action {
    /// Back to an earlier version.
    Rollback {
        /// How many versions back at most; 1 is the version before this one.
        max_versions_back: u32,
    },
    /// Another number of replicas.
    Scale {
        /// Fewest replicas.
        min_replicas: u32,
        /// Most replicas.
        max_replicas: u32,
        /// Most replicas added or removed at once.
        max_step: Option<u32>,
        /// Highest predicted utilisation after a scale-down, ratio in (0, 1].
        max_utilization: f64,
    },
    /// Pods are replaced by the same version.
    Restart,
    /// A new version.
    Deploy,
    /// Another configuration.
    Config,
    /// A node takes no new pods.
    Cordon(NodeLimits),
    /// A node is emptied.
    Drain(NodeLimits),
    /// An action of this policy's own.
    Custom(CustomAction),
}

/// Which nodes, and what has to be left without them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeLimits {
    /// The pool: names of nodes, where a trailing `*` matches the rest. One of them is changed at a time.
    pub nodes: Vec<String>,
    /// Pods of each workload that have to be ready on other nodes.
    pub min_left: u32,
    /// Most nodes of the pool in any 24 h.
    pub max_per_day: u32,
    /// Namespaces whose pods are of no service and may go.
    pub ignore_namespaces: Vec<String>,
}

impl NodeLimits {
    /// Whether a node of this name is of the pool.
    pub fn means(&self, node: &str) -> bool {
        self.nodes.iter().any(|pattern| matches(pattern, node))
    }
}

/// An action that is known to the policy alone. What it would do nobody can tell from here, so all of it is said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CustomAction {
    /// Its name.
    pub name: ActionName,
    /// What it is done to: the kind before the `/` of a resource.
    pub resource: String,
    /// Whether it can be taken back; else a person is asked, whatever else holds.
    pub reversible: bool,
    /// Its arguments, all of them needed, and nothing else taken.
    pub arguments: BTreeMap<String, Bounds>,
}

/// What an argument may be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bounds {
    /// A whole number from the first to the second, both included.
    Between(i64, i64),
    /// One of these words.
    OneOf(Vec<String>),
}

impl Bounds {
    /// Whether a value is within them.
    pub fn hold(&self, value: &Argument) -> bool {
        match (self, value) {
            (Bounds::Between(least, most), Argument::Number(number)) => (least..=most).contains(&number),
            (Bounds::OneOf(words), Argument::Word(word)) => words.contains(word),
            _ => false,
        }
    }
}

impl std::fmt::Display for Bounds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Bounds::Between(least, most) => write!(f, "{least} to {most}"),
            Bounds::OneOf(words) => f.write_str(&words.join(", ")),
        }
    }
}

impl Action {
    /// The limits of an action on nodes.
    pub fn of_nodes(&self) -> Option<&NodeLimits> {
        match self {
            Action::Cordon(limits) | Action::Drain(limits) => Some(limits),
            _ => None,
        }
    }

    /// Which action it limits.
    pub fn kind(&self) -> ActionKind {
        match self {
            Action::Rollback { .. } => ActionKind::Rollback,
            Action::Scale { .. } => ActionKind::Scale,
            Action::Restart => ActionKind::Restart,
            Action::Deploy => ActionKind::Deploy,
            Action::Config => ActionKind::Config,
            Action::Cordon(_) => ActionKind::Cordon,
            Action::Drain(_) => ActionKind::Drain,
            Action::Custom(custom) => ActionKind::Custom(custom.name),
        }
    }
}

/// A check that must hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SafetyCheck {
    /// What is checked.
    pub kind: CheckKind,
    /// Id of the SLO it looks at.
    pub slo: String,
    /// Its bound: percent for availability and budget, a burn rate for burning.
    pub threshold: f64,
}

/// The checks there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckKind {
    /// The SLI must stay at or over `threshold` percent.
    MustNotReduceAvailabilityBelow,
    /// At least `threshold` percent of the budget must be left.
    MustHaveBudgetLeft,
    /// The burn rate must not be over `threshold`.
    MustNotBurnFasterThan,
}

/// How decisions are recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Logging {
    /// Whether each decision goes to the audit log.
    pub audit: bool,
    /// A tag on the records.
    pub incident_tag: Option<String>,
}

/// How often may be acted: at most `max` permits in any `per_s` seconds, for each actor and action by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateBudget {
    /// Whom it limits; `None` is every robot and pipeline.
    pub actor: Option<RateActor>,
    /// Which action; `None` is each of them by itself.
    pub action: Option<ActionKind>,
    /// Most permits.
    pub max: u32,
    /// In so many seconds.
    pub per_s: i64,
}

/// Whom a rate budget limits, or an action is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RateActor {
    /// Everybody of a class.
    Class(ActorClass),
    /// One principal.
    Sub(String),
}

/// What a change of pods costs while it runs: of `max_unavailable` of the capacity for `duration_s`, every request is
/// held to be lost.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transition {
    /// Share of pods that may be gone at once, ratio in 0..=1. A rolling update that adds pods first has 0.
    pub max_unavailable: f64,
    /// How long, seconds.
    pub duration_s: i64,
}

/// What missing data means. Every field can only make the table stricter, but for `absent_mitigate`, which may ask a
/// person where the table denies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataRules {
    /// Robots and pipelines, mitigate, partial data.
    pub partial_mitigate: Answer,
    /// Robots and pipelines, mitigate, stale data.
    pub stale_mitigate: Answer,
    /// Robots and pipelines, mitigate, no data.
    pub absent_mitigate: Answer,
    /// Fewer events than this in the long window of the first burn clause count as partial data.
    pub min_events: u64,
}

impl Default for DataRules {
    /// The table of semantics, section 7.
    fn default() -> Self {
        DataRules {
            partial_mitigate: Answer::NeedsApproval,
            stale_mitigate: Answer::NeedsApproval,
            absent_mitigate: Answer::Deny,
            min_events: 10,
        }
    }
}

impl Default for Transition {
    /// A quarter of the pods for a minute. Kubernetes replaces a quarter at a time by default; that all of their
    /// requests are lost is the pessimistic reading.
    fn default() -> Self {
        Transition { max_unavailable: 0.25, duration_s: 60 }
    }
}

impl Default for Logging {
    fn default() -> Self {
        Logging { audit: true, incident_tag: None }
    }
}

impl Policy {
    /// A policy that allows nothing.
    pub fn new(service: impl Into<String>) -> Self {
        Policy {
            service: service.into(),
            allowed_actions: Vec::new(),
            safety_checks: Vec::new(),
            logging: Logging::default(),
            freeze: Vec::new(),
            cool_down_s: 0,
            rate_budgets: Vec::new(),
            one_change_at_a_time: true,
            dependency_group: None,
            dependencies: Vec::new(),
            settle_s: 300,
            correlate_within_s: 6 * 3600,
            permit_ttl_s: PERMIT_TTL_DEFAULT_S,
            transition: Transition::default(),
            data: DataRules::default(),
        }
    }

    /// The row of an action.
    pub fn allowed(&self, kind: ActionKind) -> Option<&AllowedAction> {
        self.allowed_actions.iter().find(|row| row.action.kind() == kind)
    }

    /// SHA-256 of the policy in canonical form: what permits and approvals are bound to.
    pub fn digest(&self) -> Digest {
        Digest::of(self).expect("texts, flags and finite numbers have a JSON form")
    }

    /// SHA-256 of what the policy says of one action: what an approval is bound to. Rows and budgets of other actions, and
    /// how things are logged, are no part of it, so whoever edits those voids nothing that people said to this one.
    pub fn rule_digest(&self, kind: ActionKind) -> Digest {
        let mut rule = Policy { logging: Logging::default(), ..self.clone() };
        let asks = self.allowed(kind).is_some_and(|row| !row.approvers.is_empty());
        // Where it names nobody itself, those of all rows are asked.
        rule.allowed_actions.retain(|row| row.action.kind() == kind || !asks && !row.approvers.is_empty());
        rule.rate_budgets.retain(|budget| budget.action.is_none_or(|of| of == kind));
        rule.digest()
    }

    /// Whether any row can end in a question to a person.
    pub fn asks_people(&self) -> bool {
        self.allowed_actions.iter().any(|row| row.require_approval || row.four_eyes || row.autonomy.is_some())
    }
}

impl AllowedAction {
    /// An action that needs nobody's yes.
    pub fn new(action: Action) -> Self {
        AllowedAction {
            action,
            require_approval: false,
            actors: Vec::new(),
            approvers: Vec::new(),
            quorum: 1,
            four_eyes: false,
            class: None,
            irreversible: Vec::new(),
            autonomy: None,
        }
    }

    /// Whether `version` is a target that cannot be left again.
    pub fn is_irreversible(&self, version: &str) -> bool {
        self.irreversible.iter().any(|pattern| matches(pattern, version))
    }
}

/// Whether a name is meant by a pattern: the same, or one that begins like it where it ends with `*`.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    }
}
