//! Receipts that whoever has them checks alone: that a record is in the log, under a checkpoint that the log and enough
//! witnesses have signed (C2SP `tlog-proof`).
//!
//! ```text
//! c2sp.org/tlog-proof@v1
//! index 5
//! base64 of a hash, from the leaf up
//!
//! the checkpoint
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::client::COSIGNED;
use super::cosigned_at;
use super::policy::WitnessPolicy;
use crate::audit::checkpoint::{Anchor, notes};
use crate::audit::key::PublicKey;
use crate::audit::log::prove;
use crate::audit::merkle::{self, Hash};

const HEAD: &str = "c2sp.org/tlog-proof@v1";

/// The receipt of record `seq` of the log in `dir`, under the newest checkpoint that the policy takes.
///
/// # Errors
/// For people: no such checkpoint covers it yet, or the stored hashes do not give its root.
pub fn receipt(dir: &Path, key: &PublicKey, seq: u64, policy: &WitnessPolicy) -> Result<String, String> {
    let covers = "no checkpoint that enough witnesses have cosigned covers it yet";
    let (anchor, note) = newest(dir, key, policy, seq).ok_or(covers)?;
    let proof = prove(dir, seq, anchor.checkpoint).map_err(|error| error.to_string())?.ok_or(covers)?;
    let path: String = proof.path.iter().map(|hash| format!("{}\n", BASE64_STANDARD.encode(hash.0))).collect();
    Ok(format!("{HEAD}\nindex {seq}\n{path}\n{note}"))
}

/// The largest checkpoint over `seq` whose signatures, put together, are enough.
fn newest(dir: &Path, key: &PublicKey, policy: &WitnessPolicy, seq: u64) -> Option<(Anchor, String)> {
    let kept = std::fs::read_dir(dir.join(COSIGNED)).into_iter().flatten().flatten();
    let mut texts: Vec<String> = kept.filter_map(|file| std::fs::read_to_string(file.path()).ok()).collect();
    texts.extend(std::fs::read_to_string(dir.join("checkpoints")).ok().map(|text| notes(&text)).into_iter().flatten());
    // Of each checkpoint the lines of all who signed it, each once.
    let mut all: BTreeMap<(u64, String), BTreeSet<String>> = BTreeMap::new();
    for text in &texts {
        let ours = Anchor::parse(text).ok().filter(|anchor| anchor.check(key).is_ok() && anchor.checkpoint.size > seq);
        let (Some(anchor), Some((_, signed))) = (ours, text.rsplit_once("\n\n")) else { continue };
        let lines = all.entry((anchor.checkpoint.size, anchor.body().to_owned())).or_default();
        lines.extend(signed.lines().filter(|line| !line.is_empty()).map(str::to_owned));
    }
    all.into_iter().rev().find_map(|((_, body), lines)| {
        let note = format!("{body}\n{}", lines.iter().flat_map(|line| [line, "\n"]).collect::<String>());
        let anchor = Anchor::parse(&note).ok()?;
        suffices(&anchor, key, policy).then_some((anchor, note))
    })
}

fn suffices(anchor: &Anchor, key: &PublicKey, policy: &WitnessPolicy) -> bool {
    let signed = policy.witnesses.iter().filter(|row| cosigned_at(anchor, &row.key).is_some());
    let names: BTreeSet<&str> = signed.map(|row| row.name.as_str()).collect();
    anchor.check(key).is_ok() && policy.suffices(&names)
}

/// Whether a receipt shows that a record with this leaf is in the log of `key`; its number.
///
/// # Errors
/// Why not, for people.
pub fn check(text: &str, leaf: &Hash, key: &PublicKey, policy: &WitnessPolicy) -> Result<u64, String> {
    let (head, note) = text.split_once("\n\n").ok_or("it has no checkpoint")?;
    let mut lines = head.lines();
    if lines.next() != Some(HEAD) {
        return Err(format!("it does not begin with {HEAD}"));
    }
    let mut lines = lines.skip_while(|line| line.starts_with("extra "));
    let index =
        lines.next().and_then(|line| line.strip_prefix("index ")?.parse::<u64>().ok()).ok_or("it has no index")?;
    let hash = |line: &str| Some(Hash(BASE64_STANDARD.decode(line).ok()?.try_into().ok()?));
    let path = lines.map(hash).collect::<Option<Vec<_>>>().ok_or("a line of its path is no hash")?;
    let anchor = Anchor::parse(note).map_err(|fault| fault.to_string())?;
    anchor.check(key).map_err(|fault| fault.to_string())?;
    if !suffices(&anchor, key, policy) {
        return Err("too few witnesses have cosigned its checkpoint".into());
    }
    let at = &anchor.checkpoint;
    match merkle::included(leaf, index, at.size, &at.root, &path) {
        true => Ok(index),
        false => Err("its path does not lead from the record to the root that was signed".into()),
    }
}
