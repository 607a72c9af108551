//! `audit verify`, `audit key`, `audit receipt`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value;

use super::super::table::counted;
use super::super::{Exit, Format, complain, print_out};
use super::{LogArgs, progress};
use crate::audit::Hash;
use crate::audit::key::PublicKey;
use crate::audit::verify::{Evidence, Report};

type Outcome = Result<Exit, (Exit, String)>;

/// Largest file of anchors or receipts that is read, bytes.
const EVIDENCE_BYTES_MAX: u64 = 1 << 30;

/// Flags of `audit verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    #[command(flatten)]
    log: LogArgs,
    /// The public key, or a file that holds it; without it that beside the log is taken
    #[arg(long, value_name = "KEY|FILE")]
    key: Option<String>,
    /// Checkpoints that were kept elsewhere: the file sink's, or a log of stdout (repeatable)
    #[arg(long, value_name = "FILE")]
    anchor: Vec<PathBuf>,
    /// Receipts that callers kept: JSON lines with `seq` and `leaf`, at the top or under `audit` (repeatable)
    #[arg(long, value_name = "FILE")]
    receipts: Vec<PathBuf>,
    /// Form of the output
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// Flags of `audit receipt`.
#[derive(Debug, Args)]
pub struct ReceiptArgs {
    #[command(flatten)]
    log: LogArgs,
    /// The record's number
    #[arg(value_name = "SEQ")]
    seq: u64,
    /// The policy that says whose cosignatures are enough
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
}

/// `audit receipt`.
pub fn receipt(args: &ReceiptArgs) -> Outcome {
    let dir = args.log.dir()?;
    let key = PublicKey::load(&dir.join("key.pub")).map_err(|fault| (Exit::Usage, fault.to_string()))?;
    let policy = super::super::wiring::witness_policy(&args.policy).map_err(|what| (Exit::Usage, what))?;
    let receipt = crate::audit::witness::proof::receipt(&dir, &key, args.seq, &policy);
    print_out(&receipt.map_err(|what| (Exit::Findings, what))?);
    Ok(Exit::Ok)
}

/// `audit key`.
pub fn key(args: &LogArgs) -> Outcome {
    let key = PublicKey::load(&args.dir()?.join("key.pub")).map_err(|fault| (Exit::Usage, fault.to_string()))?;
    print_out(&format!("{key}\n"));
    Ok(Exit::Ok)
}

/// `audit verify`.
pub fn verify(args: &VerifyArgs) -> Outcome {
    let dir = args.log.dir()?;
    let usage = |text: String| (Exit::Usage, text);
    let key = match &args.key {
        Some(text) if !Path::new(text).exists() => {
            text.parse().map_err(|what| usage(format!("--key {text}: it {what}")))
        }
        Some(path) => PublicKey::load(Path::new(path)).map_err(|fault| usage(fault.to_string())),
        None => PublicKey::load(&dir.join("key.pub")).map_err(|fault| usage(fault.to_string())),
    }?;
    let mut evidence = Evidence::default();
    for path in &args.anchor {
        evidence.anchors.push((name(path), text(path).map_err(usage)?));
    }
    for path in &args.receipts {
        receipts(&text(path).map_err(usage)?, &mut evidence.receipts)
            .map_err(|what| usage(format!("{}: {what}", path.display())))?;
    }
    let report = crate::audit::verify::verify(&dir, &key, &evidence, &mut progress("verifying"))
        .map_err(|error| usage(format!("the audit log in {} cannot be read: {error}", dir.display())))?;
    match args.format {
        Format::Json => {
            print_out(&format!("{}\n", serde_json::to_string_pretty(&report).expect("a report is JSON")));
        }
        Format::Text => print_out(&shown(&report, args)),
    }
    if args.key.is_none() {
        complain(
            "the key was taken from the log's own directory: whoever may write there could have changed it too. Keep \
             what `slowburn audit key` prints elsewhere, and give it with --key",
        );
    }
    Ok(if report.faults.is_empty() { Exit::Ok } else { Exit::Findings })
}

fn shown(report: &Report, args: &VerifyArgs) -> String {
    let mut out = format!("log      {}\n", report.origin);
    out += &format!("records  {} (root {})\n", report.records, report.root);
    out += &format!("signed   {} by checkpoints beside the log\n", report.signed);
    out += &match (args.anchor.is_empty() && args.receipts.is_empty(), report.anchored) {
        (true, _) => {
            "anchored nothing was given: a log that was cut off or written anew as a whole would not show\n".into()
        }
        (false, records) => format!("anchored {records} by checkpoints and receipts that were kept elsewhere\n"),
    };
    if report.torn_bytes > 0 {
        let bytes = counted(report.torn_bytes, "byte");
        out += &format!("torn     {bytes} of half a record at the end: nobody was answered on it\n");
    }
    for fault in &report.faults {
        out += &format!("{fault}\n");
    }
    out += &match report.faults.len() {
        0 => "ok: every record is the one that was written\n".to_owned(),
        n => format!("{}: the log is not what was written\n", counted(n, "fault")),
    };
    out
}

fn name(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}

fn text(path: &Path) -> Result<String, String> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(EVIDENCE_BYTES_MAX).read_to_end(&mut bytes));
    read.map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn receipts(text: &str, to: &mut BTreeMap<u64, Hash>) -> Result<(), String> {
    let values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    for value in values {
        let value = value.map_err(|error| format!("receipts are objects of JSON with seq and leaf ({error})"))?;
        let receipt = value.get("audit").unwrap_or(&value);
        let leaf = receipt.get("leaf").and_then(Value::as_str).map(str::parse);
        match (receipt.get("seq").and_then(Value::as_u64), leaf) {
            (Some(seq), Some(Ok(leaf))) => drop(to.insert(seq, leaf)),
            _ => {
                let shown: String = value.to_string().chars().take(200).collect();
                return Err(format!("no receipt: {shown}; it has a seq and a leaf of sha256:..."));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What was taken for receipts may be anything: so much of it is shown that it can be found.
    #[test]
    fn what_is_no_receipt_is_named_in_a_line() {
        let refused = |text: &str| receipts(text, &mut BTreeMap::new()).expect_err("it is none");
        let long = "x".repeat(100_000);
        for text in [format!("\"{long}\""), format!("{{\"seq\": 1, \"leaf\": \"{long}\"}}"), long.clone()] {
            let said = refused(&text);
            assert!(said.len() < 400 && !said.contains('\n'), "{} bytes: {}", said.len(), &said[..100]);
        }
        let leaf = Hash::of(b"x");
        let mut found = BTreeMap::new();
        let two = format!(
            "{}\n{}",
            json!({"seq": 7, "leaf": leaf.to_string()}),
            json!({"audit": {"seq": 8, "leaf": leaf.to_string()}})
        );
        receipts(&two, &mut found).expect("two receipts");
        assert_eq!(found, [(7, leaf), (8, leaf)].into());
    }
}
