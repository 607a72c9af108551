//! Who there is: people, robots and pipelines with what they prove themselves by. Data only; `spec::identity` reads it
//! and authentication uses it.
//!
//! Deliberately absent: secrets. A token stands here as its SHA-256.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::principal::{ActorClass, Principal, Right, Via, same_person};

/// Everybody of `identities.yaml`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identities {
    /// In name order; names are unique.
    pub all: Vec<Identity>,
}

/// One person, robot or pipeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// `@ada`, `ai-operator/orca-ops`.
    pub name: String,
    /// The person behind it: two names of one person are one approval.
    #[serde(default)]
    pub person: Option<String>,
    /// What it may do besides asking and answering; `None`: what its class may.
    #[serde(default)]
    pub rights: Option<BTreeSet<Right>>,
    /// Which of the three it is.
    pub class: ActorClass,
    /// Teams it belongs to; only a person's teams approve.
    pub teams: Vec<String>,
    /// SHA-256 of bearer tokens, 64 lower-case hexadecimal digits each.
    pub token_sha256: Vec<String>,
    /// Subjects of Kubernetes tokens: `system:serviceaccount:ops:orca`.
    pub k8s_subjects: Vec<String>,
    /// Names of client certificates: a DNS or URI name (SPIFFE) of the certificate.
    pub mtls_names: Vec<String>,
    /// Who gives a robot or pipeline its tokens, a blank, and what it is called there:
    /// `https://token.actions.githubusercontent.com repo:acme/shop:environment:production`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub jwt_subjects: Vec<String>,
    /// What the issuer at which people sign in calls this person.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub oidc_subjects: Vec<String>,
    /// Names it may give as `actor`.
    pub may_act_as: Vec<String>,
    /// People on whose behalf it acts; none of them may approve what it asks for.
    pub on_behalf_of: Vec<String>,
}

#[cfg(test)]
impl Identity {
    /// Who has this name and nothing to prove it by.
    pub fn named(name: &str, class: ActorClass) -> Self {
        Identity {
            name: name.into(),
            person: None,
            rights: None,
            class,
            teams: Vec::new(),
            token_sha256: Vec::new(),
            k8s_subjects: Vec::new(),
            mtls_names: Vec::new(),
            jwt_subjects: Vec::new(),
            oidc_subjects: Vec::new(),
            may_act_as: Vec::new(),
            on_behalf_of: Vec::new(),
        }
    }
}

impl Identities {
    /// The principal that an identity is, once `via` has proved it. On whose behalf it acts are those names and the
    /// people behind them.
    pub fn principal(&self, one: &Identity, via: Via) -> Principal {
        let mut principal = one.principal(via);
        let people = one.on_behalf_of.iter().filter_map(|name| self.like(name)?.person.clone());
        principal.delegation.extend(people);
        principal
    }

    /// What is left of them where only some names and credentials still are somebody's.
    pub fn only_with(mut self, is: &dyn Fn(&str) -> bool) -> Identities {
        self.all.retain(|one| is(&one.name));
        for one in &mut self.all {
            for list in [
                &mut one.token_sha256,
                &mut one.k8s_subjects,
                &mut one.mtls_names,
                &mut one.jwt_subjects,
                &mut one.oidc_subjects,
            ] {
                list.retain(|credential| is(credential));
            }
        }
        self
    }

    /// Who has this name, with or without its `@`.
    pub fn like(&self, name: &str) -> Option<&Identity> {
        self.all.iter().find(|one| same_person(&one.name, name))
    }

    /// Whether this is a name that somebody acts under.
    pub fn acts(&self, name: &str) -> bool {
        self.all.iter().any(|one| one.name == name || one.may_act_as.iter().any(|own| own == name))
    }

    /// Who has this name.
    pub fn named(&self, name: &str) -> Option<&Identity> {
        self.all.binary_search_by(|identity| identity.name.as_str().cmp(name)).ok().map(|found| &self.all[found])
    }

    /// Who proves itself by this Kubernetes subject.
    pub fn by_k8s_subject(&self, subject: &str) -> Option<&Identity> {
        self.all.iter().find(|identity| identity.k8s_subjects.iter().any(|own| own == subject))
    }

    /// Whom an issuer of tokens for machines means by this (`jwt_subject`).
    pub fn by_jwt_subject(&self, subject: &str) -> Option<&Identity> {
        self.all.iter().find(|one| !one.class.is_human() && one.jwt_subjects.iter().any(|own| own == subject))
    }

    /// Who proves itself by a certificate with this name.
    pub fn by_mtls_name(&self, name: &str) -> Option<&Identity> {
        self.all.iter().find(|identity| identity.mtls_names.iter().any(|own| own == name))
    }

    /// Whom the issuer means by this subject.
    pub fn by_oidc_subject(&self, subject: &str) -> Option<&Identity> {
        self.all.iter().find(|one| one.class.is_human() && one.oidc_subjects.iter().any(|own| own == subject))
    }

    /// People of a team.
    pub fn people_of<'a>(&'a self, team: &'a str) -> impl Iterator<Item = &'a Identity> {
        self.all.iter().filter(move |one| one.class.is_human() && one.teams.iter().any(|own| own == team))
    }
}

/// What an issuer calls somebody, as it stands in `jwt_subjects`.
pub fn jwt_subject(issuer: &str, subject: &str) -> String {
    format!("{issuer} {subject}")
}

impl Identity {
    /// Whether there is anything that it can prove itself by.
    pub fn can_prove_itself(&self) -> bool {
        [&self.token_sha256, &self.k8s_subjects, &self.mtls_names, &self.oidc_subjects, &self.jwt_subjects]
            .iter()
            .any(|all| !all.is_empty())
    }

    /// The principal this identity is, once `via` has proved it.
    pub fn principal(&self, via: Via) -> Principal {
        Principal {
            sub: self.name.clone(),
            person: self.person.clone().unwrap_or_default(),
            rights: self.rights.clone(),
            via,
            class: self.class,
            may_act_as: self.may_act_as.iter().cloned().collect(),
            teams: self.teams.iter().cloned().collect(),
            delegation: self.on_behalf_of.clone(),
        }
    }
}
