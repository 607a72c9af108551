//! A witness that is asked: it gets each new checkpoint with the proof that it goes on from the last one, and its
//! cosignature is kept beside the log.
//!
//! It is asked before a start writes anything, too. What it answers then is worth more than every file of this machine:
//! that it has seen more of the log than there is, or another history of it, is a [`Doubt`].

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use tokio::runtime::{Builder, Runtime};

use super::policy::Row;
use super::watch::Watch;
use super::{AddCheckpoint, SIZE_TYPE, cosigned_at};
use crate::audit::checkpoint::Anchor;
use crate::audit::hashes::Hashes;
use crate::audit::memory::Doubt;
use crate::audit::merkle;
use crate::audit::sink::Sink;
use crate::outbound::Transport;

/// Longest wait for an answer: a start waits for it.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Longest answer, bytes.
const ANSWER_BYTES_MAX: usize = 16 * 1024;
/// Its answer may have been lost, and what it has seen be newer than we think: how often it is asked in one go.
const TRIES: usize = 3;
/// Where cosigned checkpoints are kept, in the log's directory: one file for each witness.
pub(super) const COSIGNED: &str = "cosigned";

/// One witness of the policy.
#[derive(Debug)]
pub struct Client {
    row: Row,
    url: reqwest::Url,
    transport: Transport,
    /// The log's directory.
    dir: PathBuf,
    watch: Arc<Watch>,
    /// How far it has seen the log, as far as we know.
    seen: u64,
    contradiction: Option<Doubt>,
    /// Made on a thread of its own: one may not end where others run.
    runtime: Option<Runtime>,
}

/// What it answered.
enum Heard {
    /// The status, and the body.
    Answer(u16, String),
    Silence(String),
}

impl Client {
    /// The witness of this row, at this URL of its `add-checkpoint`.
    pub fn new(row: Row, url: reqwest::Url, transport: Transport, dir: &Path, watch: Arc<Watch>) -> Self {
        let dir = dir.to_owned();
        Client { row, url, transport, dir, watch, seen: 0, contradiction: None, runtime: None }
    }

    fn name_of_it(&self) -> String {
        format!("witness {}", self.row.name)
    }

    fn post(&mut self, body: String) -> Heard {
        let made = || Builder::new_current_thread().enable_all().build();
        let runtime = match self.runtime.take().map_or_else(made, Ok) {
            Ok(runtime) => runtime,
            Err(error) => return Heard::Silence(format!("no runtime: {error}")),
        };
        let request = self.transport.client().post(self.url.clone()).timeout(TIMEOUT).body(body);
        let heard = runtime.block_on(async {
            let mut answer = request.header(CONTENT_TYPE, "text/plain; charset=utf-8").send().await?;
            let mut text = Vec::new();
            while let Some(chunk) = answer.chunk().await? {
                text.extend_from_slice(&chunk[..chunk.len().min(ANSWER_BYTES_MAX - text.len())]);
                if text.len() == ANSWER_BYTES_MAX {
                    break;
                }
            }
            Ok::<_, reqwest::Error>((answer.status().as_u16(), String::from_utf8_lossy(&text).into_owned()))
        });
        self.runtime = Some(runtime);
        match heard {
            Ok((status, text)) => Heard::Answer(status, text),
            Err(error) => Heard::Silence(error.without_url().to_string()),
        }
    }

    /// Has it sign this note. `Ok(Some)`: it knows another log.
    fn ask(&mut self, note: &str) -> Result<Option<Doubt>, String> {
        let by = self.name_of_it();
        let size = Anchor::parse(note).map_err(|fault| fault.to_string())?.checkpoint.size;
        for _ in 0..TRIES {
            let proof = match self.seen {
                old if 0 < old && old < size => {
                    let hashes = Hashes::read_only(&self.dir).map_err(|error| error.to_string())?;
                    let mut read = |level, index| hashes.read(level, index);
                    merkle::consistency(old, size, &mut read).map_err(|error| error.to_string())?
                }
                _ => Vec::new(),
            };
            let request = AddCheckpoint { old: self.seen, proof, note: note.to_owned() };
            match self.post(request.text()) {
                Heard::Silence(why) => return Err(why),
                Heard::Answer(200, lines) => {
                    self.take(note, &lines)?;
                    self.seen = size;
                    return Ok(None);
                }
                Heard::Answer(409, text) => {
                    let seen = text.trim_end().parse().map_err(|_| format!("409 without {SIZE_TYPE}"))?;
                    if seen > size {
                        return Ok(Some(Doubt::Shorter { by, size: seen, records: size }));
                    }
                    self.seen = seen;
                }
                Heard::Answer(422, _) => return Ok(Some(Doubt::Fork { by, size: self.seen })),
                Heard::Answer(403, _) => {
                    let what = "it knows this log by another key".to_owned();
                    return Ok(Some(Doubt::OtherLog { by, what }));
                }
                Heard::Answer(404, _) => return Err("it does not know this log: give it the log's public key".into()),
                Heard::Answer(status, _) => return Err(format!("it answered {status}")),
            }
        }
        Err("it changes its mind on how far it has seen the log".into())
    }

    /// Keeps the note with the cosignature, if it is one.
    fn take(&self, note: &str, lines: &str) -> Result<(), String> {
        let cosigned = format!("{note}{}\n", lines.trim_end_matches('\n'));
        let anchor = Anchor::parse(&cosigned).map_err(|fault| format!("its cosignature cannot be read: {fault}"))?;
        if cosigned_at(&anchor, &self.row.key).is_none() {
            return Err(format!("its cosignature is not by {}", self.row.key));
        }
        let folder = self.dir.join(COSIGNED);
        let id = u32::from_be_bytes(self.row.key.id());
        let (half, file) = (folder.join(format!("{id:08x}.new")), folder.join(format!("{id:08x}")));
        let kept = std::fs::create_dir_all(&folder)
            .and_then(|()| std::fs::write(&half, &cosigned))
            .and_then(|()| std::fs::rename(&half, file));
        if let Err(error) = kept {
            tracing::warn!(%error, witness = self.row.name, "a cosigned checkpoint could not be kept");
        }
        Ok(())
    }

    /// Asks, and notes what came of it.
    fn asked(&mut self, note: &str) -> Result<Option<Doubt>, String> {
        let heard = self.ask(note);
        self.watch.note(&self.row.name, matches!(heard, Ok(None)));
        heard.map_err(|why| format!("{}: {why}", self.row.name))
    }
}

impl Sink for Client {
    fn name(&self) -> &'static str {
        "witness"
    }

    fn publish(&mut self, note: &str) -> Result<(), String> {
        match self.asked(note)? {
            None => Ok(()),
            Some(doubt) => {
                let what = doubt.to_string();
                self.contradiction = Some(doubt);
                Err(what)
            }
        }
    }

    fn confront(&mut self, note: &str) -> Result<Option<Doubt>, String> {
        self.asked(note)
    }

    fn contradiction(&mut self) -> Option<Doubt> {
        self.contradiction.take()
    }
}
