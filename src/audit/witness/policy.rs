//! Whose cosignatures are enough, as C2SP `tlog-policy` writes it.
//!
//! ```text
//! log       example.com/checkout+7f1c2a90+AX...
//! witness   w1 w1.example+0b5c1d22+BK... http://10.0.0.7:9596
//! witness   w2 w2.example+91aa0c3e+BP... http://10.0.0.8:9596
//! group     both all w1 w2
//! quorum    both
//! ```

use std::collections::{BTreeMap, BTreeSet};

use crate::audit::key::{PublicKey, Signs};

/// Longest file, bytes.
pub const FILE_BYTES_MAX: usize = 64 * 1024;
/// Most witnesses, and most groups.
const ROWS_MAX: usize = 64;

/// One witness.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// What the policy calls it.
    pub name: String,
    /// What checks its cosignatures.
    pub key: PublicKey,
    /// Where it is asked; `None`: it only checks.
    pub url: Option<String>,
}

/// A policy as it was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WitnessPolicy {
    /// Keys of logs that it is for; empty: for the one that names it.
    pub logs: Vec<PublicKey>,
    /// All of them, in the order of the file.
    pub witnesses: Vec<Row>,
    groups: BTreeMap<String, (usize, Vec<String>)>,
    /// `None`: no cosignature is needed.
    quorum: Option<String>,
}

impl WitnessPolicy {
    /// Reads a policy.
    ///
    /// # Errors
    /// The line, and what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > FILE_BYTES_MAX {
            return Err(format!("it is longer than {FILE_BYTES_MAX} bytes"));
        }
        let mut policy = WitnessPolicy::default();
        let (mut taken, mut quorums) = (BTreeSet::new(), 0);
        for (n, line) in text.lines().enumerate() {
            let words: Vec<&str> = line.split([' ', '\t']).filter(|word| !word.is_empty()).collect();
            let at = |what: String| format!("line {}: {what}", n + 1);
            match words.as_slice() {
                [] => {}
                [first, ..] if first.starts_with('#') => {}
                ["log", key] | ["log", key, _] => policy.logs.push(key_of(key, Signs::Notes).map_err(at)?),
                ["witness", name, key] => policy.witness(name, key, None).map_err(at)?,
                ["witness", name, key, url] => policy.witness(name, key, Some(url)).map_err(at)?,
                ["group", name, most, members @ ..] => {
                    policy.group(name, most, members, &mut taken).map_err(at)?;
                }
                ["quorum", name] => {
                    quorums += 1;
                    if *name != "none" && !policy.is_defined(name) {
                        return Err(at(format!("there is no witness or group {name:?}")));
                    }
                    policy.quorum = (*name != "none").then(|| (*name).to_owned());
                }
                _ => return Err(at("is none of log, witness, group and quorum, or not of their form".into())),
            }
        }
        match quorums {
            1 => Ok(policy),
            _ => Err(format!("it has {quorums} lines of quorum, and needs one: quorum NAME, or quorum none")),
        }
    }

    fn is_defined(&self, name: &str) -> bool {
        self.groups.contains_key(name) || self.witnesses.iter().any(|row| row.name == name)
    }

    fn witness(&mut self, name: &str, key: &str, url: Option<&str>) -> Result<(), String> {
        let key = key_of(key, Signs::Cosignatures)?;
        if name == "none" || self.is_defined(name) {
            return Err(format!("the name {name:?} is taken"));
        }
        if self.witnesses.iter().any(|row| row.key == key) {
            return Err(format!("the key {key} stands here twice: two names are not two witnesses"));
        }
        if self.witnesses.len() == ROWS_MAX {
            return Err(format!("there are over {ROWS_MAX} witnesses"));
        }
        let url = url.map(|url| url.trim_end_matches('/').to_owned());
        self.witnesses.push(Row { name: name.to_owned(), key, url });
        Ok(())
    }

    fn group(&mut self, name: &str, most: &str, members: &[&str], taken: &mut BTreeSet<String>) -> Result<(), String> {
        if name == "none" || self.is_defined(name) {
            return Err(format!("the name {name:?} is taken"));
        }
        for member in members {
            if !self.is_defined(member) {
                return Err(format!("there is no witness or group {member:?} before it"));
            }
            if !taken.insert((*member).to_owned()) {
                return Err(format!("{member:?} is in a group already"));
            }
        }
        let needed = match most {
            "all" => Some(members.len()),
            "any" => Some(1),
            number => number.parse().ok(),
        };
        let Some(needed) = needed.filter(|needed| (1..=members.len()).contains(needed)) else {
            return Err(format!("{most:?} of {} members is no number of them, any or all", members.len()));
        };
        if self.groups.len() == ROWS_MAX {
            return Err(format!("there are over {ROWS_MAX} groups"));
        }
        let members = members.iter().map(|member| (*member).to_owned()).collect();
        self.groups.insert(name.to_owned(), (needed, members));
        Ok(())
    }

    /// Whether these witnesses, by name, are enough.
    pub fn suffices(&self, signed: &BTreeSet<&str>) -> bool {
        self.quorum.as_deref().is_none_or(|name| self.holds(name, signed))
    }

    /// Members are defined before their group, so this ends.
    fn holds(&self, name: &str, signed: &BTreeSet<&str>) -> bool {
        match self.groups.get(name) {
            Some((needed, members)) => members.iter().filter(|member| self.holds(member, signed)).count() >= *needed,
            None => signed.contains(name),
        }
    }
}

fn key_of(text: &str, signs: Signs) -> Result<PublicKey, String> {
    let key: PublicKey = text.parse().map_err(|what| format!("{text} {what}"))?;
    match key.signs() == signs {
        true => Ok(key),
        false => Err(format!("{text} is a key for {:?}, and one for {signs:?} is needed", key.signs())),
    }
}
