//! `identities.yaml`: people, robots and pipelines, and what each proves itself by. Read as strictly as rules are.
//!
//! Tokens never stand in it, only their SHA-256: `printf %s "$TOKEN" | sha256sum`.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use super::files::FILE_BYTES_MAX;
use super::problem::{Code, Place, Problem, Severity};
use super::reader::{At, Fields, Report, nearest};
use super::tree::{self, Node, Value};
use crate::gate::identity::{Identities, Identity};
use crate::gate::principal::{ActorClass, Right, person_of, same_person};
use crate::gate::text::{is_of_one_script, is_plain, skeleton};

/// What somebody may do besides asking and answering.
pub type Rights = BTreeSet<Right>;

/// Most identities.
const IDENTITIES_MAX: usize = 10_000;
/// Longest issuer and subject together, bytes.
const JWT_SUBJECT_BYTES_MAX: usize = 1_000;
/// Most entries of one list of an identity.
const ENTRIES_MAX: usize = 100;
/// Longest name, bytes.
const NAME_BYTES_MAX: usize = 253;

/// SHA-256 of nothing: what the command for it gives where the variable is not set.
const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// What came of reading the file.
#[derive(Debug, Clone)]
pub struct LoadedIdentities {
    /// Everybody; complete only where [`LoadedIdentities::is_fatal`] is false.
    pub identities: Identities,
    /// All problems, in the order of the file.
    pub problems: Vec<Problem>,
    /// Every text that stands in it, where it is YAML and lists somebody.
    pub texts: Option<BTreeSet<String>>,
}

/// Identities that must not be used. Those of before stay, but for what the file does not have any more.
#[derive(Debug, Clone)]
pub struct UnusableIdentities {
    /// Why; for people.
    pub why: String,
    /// See [`LoadedIdentities::texts`].
    pub texts: Option<BTreeSet<String>>,
}

impl UnusableIdentities {
    /// What is left of those of before: a name or a credential that was taken out of the file is nobody's, although somewhere else in
    /// it there is a mistake. A file that cannot be read at all takes nothing from anybody.
    pub fn left_of(&self, before: Identities) -> Identities {
        match &self.texts {
            None => before,
            Some(texts) => before.only_with(&|text| texts.contains(text)),
        }
    }
}

impl LoadedIdentities {
    /// Whether it must not be used.
    pub fn is_fatal(&self) -> bool {
        self.problems.iter().any(|problem| problem.severity == Severity::Error)
    }

    /// All problems as text for people, without the lines themselves: a token may stand there by mistake.
    pub fn render(&self, colour: bool) -> String {
        self.problems.iter().map(|problem| problem.render(None, colour)).collect()
    }
}

/// Reads an identities file.
pub fn load(path: &Path) -> LoadedIdentities {
    let name = path.display().to_string();
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(FILE_BYTES_MAX as u64 + 1).read_to_string(&mut text));
    let reason = match read {
        Ok(bytes) if bytes > FILE_BYTES_MAX => format!("is over {} KiB", FILE_BYTES_MAX / 1024),
        Ok(_) => return load_text(&name, &text),
        Err(error) => error.to_string(),
    };
    let mut report = Report::new(&name, "");
    report.error_at(Place::default(), "", Code::Unreadable, format!("cannot be read: {reason}"));
    LoadedIdentities { identities: Identities::default(), problems: report.problems, texts: None }
}

/// Reads identities from a text, as if it were a file of this name.
pub fn load_text(name: &str, text: &str) -> LoadedIdentities {
    let mut report = Report::new(name, text);
    let (mut identities, mut texts) = (Identities::default(), None);
    match tree::parse(text) {
        Ok(documents) => match documents.as_slice() {
            [document] => {
                let listed = document
                    .get("identities")
                    .filter(|list| matches!(&list.value, Value::List(all) if !all.is_empty()));
                texts = listed.map(texts_of);
                identities.all = read(&At::root(document), &mut report);
            }
            [] => drop(report.error_at(Place::default(), "", Code::UnknownShape, "the file is empty")),
            [_, second, ..] => {
                let what = "identities are one document, and here a second one begins";
                report.error_at(second.place, "", Code::UnknownShape, what);
            }
        },
        Err(fault) => report.error_at(fault.place, "", Code::Syntax, fault.what).instead = fault.instead,
    }
    identities.all.sort_by(|a, b| a.name.cmp(&b.name));
    let mut problems = report.problems;
    problems.sort_by(|a, b| (a.line, a.column, &a.what).cmp(&(b.line, b.column, &b.what)));
    LoadedIdentities { identities, problems, texts }
}

/// Every text in a list, however deep.
fn texts_of(list: &Node) -> BTreeSet<String> {
    let (mut found, mut left) = (BTreeSet::new(), vec![list]);
    while let Some(node) = left.pop() {
        match &node.value {
            Value::Text(text) => drop(found.insert(text.clone())),
            Value::List(items) => left.extend(items),
            Value::Map(entries) => left.extend(entries.iter().map(|(_, value)| value)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    found
}

fn read(root: &At<'_>, report: &mut Report<'_>) -> Vec<Identity> {
    let Some(mut fields) = root.map(report) else { return Vec::new() };
    let example = "[{name: \"@ada\", class: human, teams: [checkout-oncall], token_sha256: [...]}]";
    let Some(at) = fields.need(report, "identities", example) else { return Vec::new() };
    fields.finish(report);
    let items = at.list(report).unwrap_or_default();
    if items.len() > IDENTITIES_MAX {
        report.error(&at, Code::InvalidValue, format!("over {IDENTITIES_MAX} identities"));
        return Vec::new();
    }
    let (mut all, mut places): (Vec<Identity>, Vec<At<'_>>) = (Vec::new(), Vec::new());
    for item in items {
        let Some(identity) = read_one(&item, report) else { continue };
        check_against(&identity, &all, &item, report);
        all.push(identity);
        places.push(item);
    }
    check_together(&all, &places, report);
    all
}

fn read_one(at: &At<'_>, report: &mut Report<'_>) -> Option<Identity> {
    let mut fields = at.map(report)?;
    let name_at = fields.need(report, "name", "\"@ada\"");
    let name = name_at.as_ref().and_then(|at| name_of(at, report));
    let classes = ActorClass::ALL.map(|class| (class.as_str(), class));
    let class = fields.need(report, "class", "human").and_then(|at| at.choice(report, &classes));
    let person = fields.get("person").and_then(|at| name_of(&at, report)).map(|name| person_of(&name).to_owned());
    let rights_at = fields.get("rights");
    let rights = rights_at.as_ref().map(|at| rights(at, report));
    let teams = names(&mut fields, "teams", report);
    let hashes_at = fields.get("token_sha256");
    let token_sha256 = hashes_at.map(|at| hashes(&at, report)).unwrap_or_default();
    let k8s_subjects = names(&mut fields, "k8s_subjects", report);
    let mtls_names = names(&mut fields, "mtls_names", report);
    let tokens_at = fields.get("jwt_subjects");
    let jwt_subjects = tokens_at.as_ref().map(|at| jwt_subjects(at, report)).unwrap_or_default();
    let subjects_at = fields.get("oidc_subjects");
    let oidc_subjects = subjects_at.as_ref().map(|at| subjects(at, report)).unwrap_or_default();
    let may_act_as = names(&mut fields, "may_act_as", report);
    let on_behalf_of = names(&mut fields, "on_behalf_of", report);
    fields.finish(report);
    let identity = Identity {
        name: name?,
        person,
        rights,
        class: class?,
        teams,
        token_sha256,
        k8s_subjects,
        mtls_names,
        jwt_subjects,
        oidc_subjects,
        may_act_as,
        on_behalf_of,
    };
    if let (Some(at), false) = (&subjects_at, identity.class.is_human()) {
        report.error(at, Code::InvalidValue, "only a human signs in").write("token_sha256, k8s_subjects or mtls_names");
    }
    if let (Some(at), true) = (&tokens_at, identity.class.is_human()) {
        let what = "a human signs in: whatever holds a token of theirs could approve";
        report.error(at, Code::InvalidValue, what).write("oidc_subjects, or token_sha256");
    }
    if let (Some(at), false) = (&rights_at, identity.class.is_human()) {
        let fits =
            |right: &Right| matches!((right, identity.class), (Right::Changes | Right::Reload, ActorClass::Pipeline));
        if let Some(right) = identity.rights.iter().flatten().find(|right| !fits(right)) {
            let what = format!("a {} cannot have the right {}", identity.class.as_str(), right.as_str());
            report.error(at, Code::InvalidValue, what).write("changes or reload for a pipeline, none for a robot");
        }
    }
    if let (Some(_), false) = (&identity.person, identity.class.is_human()) {
        report.error(at, Code::InvalidValue, "only a human has a person behind it").write("no person");
    }
    if !identity.can_prove_itself() {
        let what = format!("{} has nothing to prove itself by, and can never ask", identity.name);
        report
            .warn(at, Code::MissingKey, what)
            .write("token_sha256, k8s_subjects, jwt_subjects, mtls_names or oidc_subjects");
    }
    Some(identity)
}

/// A credential belongs to one identity, and a name too.
fn check_against(identity: &Identity, all: &[Identity], at: &At<'_>, report: &mut Report<'_>) {
    for earlier in all {
        if same_person(&earlier.name, &identity.name) {
            let what = format!("{} and {} are the same name", earlier.name, identity.name);
            report.error(at, Code::DuplicateId, what).write("another name");
        } else if skeleton(&earlier.name) == skeleton(&identity.name) {
            let what = format!("{:?} looks like {:?}: one would be taken for the other", identity.name, earlier.name);
            report.error(at, Code::DuplicateId, what).write("a name that cannot be mistaken");
        }
        let lists = [
            ("token_sha256", &earlier.token_sha256, &identity.token_sha256),
            ("k8s_subjects", &earlier.k8s_subjects, &identity.k8s_subjects),
            ("mtls_names", &earlier.mtls_names, &identity.mtls_names),
            ("jwt_subjects", &earlier.jwt_subjects, &identity.jwt_subjects),
            ("oidc_subjects", &earlier.oidc_subjects, &identity.oidc_subjects),
        ];
        for (key, of_earlier, own) in lists {
            if own.iter().any(|one| of_earlier.contains(one)) {
                let what = format!("{} and {} share a credential ({key})", earlier.name, identity.name);
                report.error(at, Code::DuplicateId, what).write("a credential of its own for each");
            }
        }
    }
}

/// What only all of them together show: whom somebody acts as, and for whom.
fn check_together(all: &[Identity], places: &[At<'_>], report: &mut Report<'_>) {
    for (one, at) in all.iter().zip(places) {
        for name in &one.may_act_as {
            if let Some(other) =
                all.iter().find(|other| skeleton(&other.name) == skeleton(name) && other.name != one.name)
            {
                let what = format!("{} would act as {}, who is somebody else", one.name, other.name);
                report.error(at, Code::DuplicateId, what).write("may_act_as: names that nobody has");
            }
        }
        for name in &one.on_behalf_of {
            if !all.iter().any(|other| same_person(&other.name, name)) {
                let known: Vec<&str> = all.iter().map(|other| other.name.as_str()).collect();
                let what = format!("{} acts on behalf of {name}, who is nobody here", one.name);
                report.error(at, Code::UnknownReference, what).instead =
                    nearest(name, &known).map(|word| format!("on_behalf_of: [{word:?}]"));
            }
        }
        // Whoever is counted by the person behind them must not be two by a name that only looks like it.
        if let Some(person) = &one.person {
            let like = |name: &str| person_of(name) != person && skeleton(name) == skeleton(person);
            let names = all.iter().flat_map(|other| [Some(&other.name), other.person.as_ref()]);
            if let Some(name) = names.flatten().find(|name| like(name)) {
                let what = format!("the person {person:?} behind {} looks like {name:?}, and is another", one.name);
                report.error(at, Code::DuplicateId, what).write("the same spelling for the same person");
            }
        }
        // The person behind a name is told by that name too.
        for other in
            all.iter().filter(|other| other.name != one.name && one.person.is_some() && !other.class.is_human())
        {
            if one.person.as_deref() == Some(person_of(&other.name)) {
                let what = format!("the person behind {} has the name of {}, which is none", one.name, other.name);
                report.error(at, Code::InvalidValue, what).write("person: the name of a human");
            }
        }
    }
}

/// Reads a list of rights.
pub(crate) fn rights(at: &At<'_>, report: &mut Report<'_>) -> Rights {
    let rights = Right::ALL.map(|right| (right.as_str(), right));
    list(at, report).iter().filter_map(|item| item.choice(report, &rights)).collect()
}

fn name_of(at: &At<'_>, report: &mut Report<'_>) -> Option<String> {
    let text = at.text(report)?;
    let unfit = text.is_empty()
        || text.len() > NAME_BYTES_MAX
        || text == "slowburn"
        || text.contains('*')
        || text.chars().any(|c| c.is_control() || c.is_whitespace())
        || !is_plain(text);
    if unfit {
        report
            .error(
                at,
                Code::InvalidName,
                format!(
                    "{text:?} is no name: 1 to {NAME_BYTES_MAX} bytes without blanks, * or marks that hide or turn text"
                ),
            )
            .write("\"@ada\", or ai-operator/orca-ops");
        return None;
    }
    if !is_of_one_script(text) {
        let what = format!("{text:?} has letters of several scripts in one word: some would be taken for others");
        report.error(at, Code::InvalidName, what).write("letters of one script");
        return None;
    }
    Some(text.to_string())
}

fn list<'a>(at: &At<'a>, report: &mut Report<'_>) -> Vec<At<'a>> {
    let items = at.list(report).unwrap_or_default();
    if items.len() > ENTRIES_MAX {
        report.error(at, Code::InvalidValue, format!("over {ENTRIES_MAX} entries"));
        return Vec::new();
    }
    items
}

fn names(fields: &mut Fields<'_>, key: &'static str, report: &mut Report<'_>) -> Vec<String> {
    let Some(at) = fields.get(key) else { return Vec::new() };
    list(&at, report).iter().filter_map(|item| name_of(item, report)).collect()
}

/// What the issuer calls somebody: its own text, of which nothing is shown as a name.
fn subjects(at: &At<'_>, report: &mut Report<'_>) -> Vec<String> {
    let mut found = Vec::new();
    for item in list(at, report) {
        let Some(text) = item.text(report) else { continue };
        if text.is_empty() || text.len() > NAME_BYTES_MAX || text.chars().any(char::is_control) {
            let what = format!("a subject is 1 to {NAME_BYTES_MAX} bytes without control characters");
            report.error_at(item.node.place, "oidc_subjects", Code::InvalidValue, what);
        } else {
            found.push(text.to_string());
        }
    }
    found
}

/// An issuer and what it calls somebody, a blank between them.
fn jwt_subjects(at: &At<'_>, report: &mut Report<'_>) -> Vec<String> {
    let mut found = Vec::new();
    for item in list(at, report) {
        let Some(text) = item.text(report) else { continue };
        let (issuer, subject) = text.split_once(' ').unwrap_or((text, ""));
        let is_url = issuer.starts_with("https://") || issuer.starts_with("http://");
        let what = match (is_url, subject) {
            (false, _) | (_, "") => "it is an issuer, a blank, and what that calls the machine".to_owned(),
            (_, subject) if subject.contains('*') => {
                "a subject is what stands in the token: there are no patterns".to_owned()
            }
            _ if text.len() > JWT_SUBJECT_BYTES_MAX || text.chars().any(char::is_control) => {
                format!("it has at most {JWT_SUBJECT_BYTES_MAX} bytes, and no control characters")
            }
            _ => {
                found.push(text.to_string());
                continue;
            }
        };
        report
            .error_at(item.node.place, "jwt_subjects", Code::InvalidValue, what)
            .write("\"https://token.actions.githubusercontent.com repo:acme/shop:environment:production\"");
    }
    found
}

fn hashes(at: &At<'_>, report: &mut Report<'_>) -> Vec<String> {
    let mut found = Vec::new();
    for item in list(at, report) {
        let Some(text) = item.text(report) else { continue };
        if text == EMPTY_SHA256 {
            report
                .error_at(item.node.place, "token_sha256", Code::InvalidValue, "this is the SHA-256 of no token at all")
                .write("the output of: printf %s \"$TOKEN\" | sha256sum, with a TOKEN that is set");
        } else if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)) {
            found.push(text.to_string());
        } else {
            // What stands there may be the token itself: it is not shown.
            report
                .error_at(
                    item.node.place,
                    "token_sha256",
                    Code::InvalidValue,
                    "this is no SHA-256: 64 lower-case hexadecimal digits",
                )
                .write("the output of: printf %s \"$TOKEN\" | sha256sum");
        }
    }
    found
}

#[cfg(test)]
mod tests;
