//! Who asks, as authentication has established it. Nothing a request says of its sender gets in here.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// What kind of actor somebody is. It follows from the credential, never from the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActorClass {
    /// A person.
    Human,
    /// An operator program, such as an AI agent.
    Robot,
    /// A delivery pipeline.
    Pipeline,
}

impl ActorClass {
    /// All classes.
    pub const ALL: [ActorClass; 3] = [ActorClass::Human, ActorClass::Robot, ActorClass::Pipeline];

    /// As in policies, records and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            ActorClass::Human => "human",
            ActorClass::Robot => "robot",
            ActorClass::Pipeline => "pipeline",
        }
    }

    /// Whether it is a person.
    pub fn is_human(self) -> bool {
        self == ActorClass::Human
    }
}

/// What somebody may do besides asking, answering and reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Right {
    /// Go past the checks in an emergency. People only.
    BreakGlass,
    /// Stop changes. People only.
    Halt,
    /// Lift halts. People only.
    Resume,
    /// Tell of changes. People and pipelines.
    Changes,
    /// Load rules again. People and pipelines.
    Reload,
    /// Take an audit log that cannot be proved complete as it is. People only.
    AcceptLog,
}

impl Right {
    /// All of them.
    pub const ALL: [Right; 6] =
        [Right::BreakGlass, Right::Halt, Right::Resume, Right::Changes, Right::Reload, Right::AcceptLog];

    /// As in the identities file.
    pub fn as_str(self) -> &'static str {
        match self {
            Right::BreakGlass => "break_glass",
            Right::Halt => "halt",
            Right::Resume => "resume",
            Right::Changes => "changes",
            Right::Reload => "reload",
            Right::AcceptLog => "accept_log",
        }
    }
}

/// How a principal was authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Via {
    /// A bearer token whose hash stands in the identities file.
    Token,
    /// A Kubernetes TokenReview with our audience.
    TokenReview,
    /// A token that an issuer of the settings gave to a machine.
    Jwt,
    /// A client certificate.
    Mtls,
    /// A sign-in at the issuer of the settings.
    Oidc,
    /// A Kubernetes API server, which asks whether to admit what this one changes.
    Admission,
    /// The user of this machine, at the command line.
    Local,
}

impl Via {
    /// As in records.
    pub fn as_str(self) -> &'static str {
        match self {
            Via::Token => "token",
            Via::TokenReview => "token_review",
            Via::Jwt => "jwt",
            Via::Mtls => "mtls",
            Via::Oidc => "oidc",
            Via::Admission => "admission",
            Via::Local => "local",
        }
    }
}

/// Somebody authenticated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Principal {
    /// The name in the identities file: `@ada`, `ai-operator/orca-ops`.
    pub sub: String,
    /// The person behind the name, where several names are one; empty: the name itself.
    #[serde(default)]
    pub person: String,
    /// What a person may do besides asking and answering; `None`: everything.
    #[serde(default)]
    pub rights: Option<BTreeSet<Right>>,
    /// How that is known.
    pub via: Via,
    /// Human, robot or pipeline.
    pub class: ActorClass,
    /// Names it may give as `actor` besides its own.
    pub may_act_as: BTreeSet<String>,
    /// Teams it belongs to.
    pub teams: BTreeSet<String>,
    /// On whose behalf it acts, outermost first. None of them may approve what it asks for.
    pub delegation: Vec<String>,
}

impl Principal {
    /// The actor that a claimed name stands for: its own name without a claim, else the claim where it may act as that.
    /// `None` is a mismatch.
    pub fn actor<'a>(&'a self, claim: Option<&'a str>) -> Option<&'a str> {
        match claim {
            None => Some(&self.sub),
            Some(claim) if claim == self.sub || self.may_act_as.contains(claim) => Some(claim),
            Some(_) => None,
        }
    }

    /// The person behind it.
    pub fn person(&self) -> &str {
        if self.person.is_empty() { person_of(&self.sub) } else { &self.person }
    }

    /// Whether a name is of this person: its own, or that of the person behind it.
    pub fn is_person(&self, name: &str) -> bool {
        same_person(name, &self.sub) || person_of(name) == self.person()
    }

    /// Whether both are one person, or this one acts on behalf of the other.
    pub fn is_one_with(&self, other: &Principal) -> bool {
        let own = [self.sub.as_str(), self.person()].into_iter().chain(self.delegation.iter().map(String::as_str));
        own.into_iter().any(|name| other.is_person(name))
    }

    /// Whether it may do this.
    pub fn has(&self, right: Right) -> bool {
        match &self.rights {
            Some(rights) => rights.contains(&right),
            None => match right {
                Right::Changes => self.class != ActorClass::Robot,
                _ => self.class.is_human(),
            },
        }
    }

    /// Whether an approver of a policy means this principal. Only a person is ever one.
    pub fn is(&self, approver: &Approver) -> bool {
        self.class.is_human()
            && match approver {
                Approver::Team(team) => self.teams.contains(team),
                Approver::Person(person) => self.is_person(person),
            }
    }
}

/// Somebody who may approve.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Approver {
    /// Anybody of a team.
    Team(String),
    /// One person.
    Person(String),
}

impl std::fmt::Display for Approver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Approver::Team(team) => write!(f, "team:{team}"),
            Approver::Person(person) => write!(f, "person:{person}"),
        }
    }
}

/// `@ada` and `ada` are the same person.
pub fn same_person(a: &str, b: &str) -> bool {
    person_of(a) == person_of(b)
}

/// The person that a name is of, where nothing else is said.
pub fn person_of(name: &str) -> &str {
    name.strip_prefix('@').unwrap_or(name)
}
