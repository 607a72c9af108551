//! The audit log: who did what, when and why, in files that cannot be edited quietly.
//!
//! ```text
//! DIR/00000000000000000000.jsonl   records, one JSON object a line, chained by SHA-256; a new file after 64 MiB
//! DIR/checkpoints                  signed statements "the log has N records and this Merkle root"
//! DIR/signing.key  DIR/key.pub     what signs them (0600), and what checks them
//! DIR/hashes                       the Merkle tree's hashes; can be made again from the records
//! DIR/index.db                     what records are found by; can be made again from the records
//! DIR/bodies/                      what decisions were made from, by digest
//! DIR/cosigned/                the last checkpoint that each witness has cosigned
//! DIR/lock                         held by the one process that writes; shared by those that a lease lets write by turns
//! DIR/holder                       whose turn it is, where a lease decides
//! DIR/../audit.head                what is remembered of the log outside of it
//! ```
//!
//! [`Log::append`] answers when the record is on disk (`fdatasync`, shared by all who wait), or refuses: the gate turns a
//! refusal into a deny. What a log alone cannot show, that its end is missing or that all of it was written anew, is
//! shown by the checkpoints that were sent elsewhere.
//!
//! Deliberately absent: deleting records. What has to be forgotten is kept outside and named by its digest.

pub mod bodies;
pub mod checkpoint;
pub mod export;
mod hashes;
pub mod index;
pub mod key;
mod log;
pub mod memory;
pub mod merkle;
pub mod proof;
pub mod record;
mod segment;
pub mod sentence;
pub mod sink;
pub mod verify;
pub mod witness;

pub use bodies::Bodies;
pub use checkpoint::{Anchor, Checkpoint};
pub use log::{Hold, Log, OpenError, Options, Proof, Receipt, Refused, Seat, Waiting, prove};
pub use memory::Doubt;
pub use merkle::Hash;
pub use record::{Kind, Record};

/// Gives every record of the log in `dir`, oldest first, to `take`. A torn tail, which no answer stood on, is left out.
///
/// # Errors
/// A file cannot be read, or a line is no record.
pub fn entries(dir: &std::path::Path, mut take: impl FnMut(&record::Entry)) -> std::io::Result<()> {
    for segment in segment::Segment::list(dir)? {
        let mut lines = segment.lines(0)?;
        while let Some(next) = lines.next()? {
            let segment::Next::Line(begins, line) = next else { continue };
            let entry = record::Entry::read(&line).map_err(|what| {
                let what = format!("{} at byte {begins}: {what}", segment.path.display());
                std::io::Error::new(std::io::ErrorKind::InvalidData, what)
            })?;
            take(&entry);
        }
    }
    Ok(())
}
