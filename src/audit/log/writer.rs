//! The one thread that writes the log: takes what waits, writes it in one piece, makes it durable, answers.
//!
//! A group that the disk did not take is cut off again, so that the file ends with the last record that was answered;
//! until that works nothing else is written. Checkpoints are signed after the answers, and wait for nobody.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::sync::oneshot;

use super::recovery::{self, Head};
use super::seat::{Hold, Seat};
use super::start::{confronted, doubted};
use super::{Answer, OpenError, Options, Receipt, Refused, Request, Seen, refused};
use crate::audit::checkpoint::Checkpoint;
use crate::audit::hashes::Hashes;
use crate::audit::key::{PublicKey, SigningKey};
use crate::audit::memory::{self, Doubt, Doubts, Memory};
use crate::audit::merkle::Hash;
use crate::audit::record::{self, Kind, LINE_BYTES_MAX, Record, time_text};
use crate::audit::segment::Segment;
use crate::audit::sink::Publisher;
use crate::clock::Clock;
use crate::telemetry::names;

/// Most records that share one `fdatasync`.
const GROUP_MAX: usize = 256;
/// Records of one moment come in any order; only a clock that goes back further than this was set, milliseconds.
pub(in crate::audit) const STEP_MS: i64 = 1_000;
/// What would be undone by an older copy of the log: signed, and sent elsewhere, as soon as it is written.
const SIGNED_AT_ONCE: [Kind; 5] = [Kind::Presented, Kind::Halt, Kind::Approval, Kind::BreakGlass, Kind::Accepted];
/// How often the free space is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(15);

type WriterReply = oneshot::Sender<Answer>;

/// What to do when a group is written.
enum Then {
    GoOn,
    /// What is on disk is proved: it can be remembered, signed and sent elsewhere.
    Sign,
    /// Somebody waits for all that was queued before.
    Tell(SyncSender<()>),
    Close,
}

/// What writes, with all that it holds open.
pub(super) struct Writer {
    options: Options,
    clock: Clock,
    key: SigningKey,
    origin: Arc<str>,
    head: Head,
    hashes: Hashes,
    file: File,
    length: u64,
    /// The end of the file is not known to be that of the last record.
    uncertain: bool,
    checkpoints: File,
    signed_at: Instant,
    looked_at: Option<Instant>,
    publishers: Vec<Publisher>,
    waiting: Arc<AtomicUsize>,
    refusals: Arc<AtomicU64>,
    seen: Arc<Mutex<Seen>>,
    doubts: Arc<Doubts>,
    /// What remembers the log; `None` where nothing does.
    memory: Option<Memory>,
    /// Records that were there before.
    had: u64,
    /// What spoke against the log of what is remembered of it elsewhere.
    recalled: Vec<Doubt>,
    forgotten: bool,
    /// A memory of the log is on disk.
    remembered: bool,
    /// Something was written that has to be signed at once.
    is_due: bool,
    /// Number of this process's first record: larger than that of any process before it.
    epoch: u64,
    /// Held while the process lives, or as long as a lease lasts.
    seat: Seat,
    /// The next file of records, begun; its name may not be on disk.
    next: Option<File>,
}

/// A group of records on its way to the disk.
struct Group {
    head: Head,
    bytes: Vec<u8>,
    hashes: Vec<Hash>,
    kinds: Vec<Kind>,
}

impl Writer {
    pub(super) fn open(mut options: Options, clock: Clock, waiting: Arc<AtomicUsize>) -> Result<Self, OpenError> {
        let dir = options.dir.clone();
        let file_error = |path: &Path| {
            let path = path.to_owned();
            move |error: io::Error| OpenError::File(path, error)
        };
        let seat = match options.seat.take() {
            Some(seat) => seat,
            None => Seat::take(&dir, None)?,
        };
        let key_file = options.key_file.clone().unwrap_or_else(|| dir.join("signing.key"));
        let key = SigningKey::load_or_make(&key_file, options.origin.as_deref()).map_err(OpenError::Key)?;
        let public_file = dir.join("key.pub");
        let public = format!("{}\n", key.public());
        // Written over it would be empty for a moment, and on a full disk for good.
        if std::fs::read_to_string(&public_file).ok().as_ref() != Some(&public) {
            std::fs::write(&public_file, public).map_err(file_error(&public_file))?;
        }
        let found = recovery::find(&dir, key.public())?;
        let path = dir.join("checkpoints");
        let checkpoints = OpenOptions::new().append(true).create(true).open(&path).map_err(file_error(&path))?;
        recovery::mend_checkpoints(&path, &checkpoints).map_err(file_error(&path))?;
        let had = found.head.frontier.size();
        let doubts = Arc::new(Doubts::default());
        let memory =
            options.memory_file.as_ref().map(|path| Memory::open(path).map_err(file_error(path))).transpose()?;
        doubts.unproved.store(memory.is_some(), Ordering::Release);
        let remembered = memory.as_ref().map(Memory::note).transpose().map_err(file_error(&dir))?.flatten();
        let log = memory::Found { records: had, hashes: &found.hashes, key: key.public() };
        let recalled = doubted(&mut options, &log, remembered.as_deref());
        doubts.add(recalled.iter().cloned());
        let root = found.head.frontier.root();
        let shown = Checkpoint { origin: key.public().name().to_owned(), size: had, root }.sign(&key);
        doubts.add(confronted(&mut options, &shown));
        let forgotten = memory.is_some() && remembered.is_none() && had > 0;
        if let (Some(memory), Some(path), None, 0) = (&memory, &options.memory_file, &remembered, had)
            && !doubts.any()
        {
            memory.begin(path, &key).map_err(file_error(path))?;
        }
        let publishers = std::mem::take(&mut options.sinks).into_iter();
        let publishers = publishers.map(|sink| Publisher::start(sink, Arc::clone(&doubts)));
        let publishers = publishers.collect::<io::Result<Vec<_>>>().map_err(file_error(&dir))?;
        let origin: Arc<str> = key.public().name().into();
        let checkpoint = Checkpoint { origin: origin.to_string(), size: found.signed, root: Hash::of(b"") };
        let mut writer = Writer {
            options,
            clock,
            key,
            origin,
            head: found.head,
            hashes: found.hashes,
            file: found.file,
            length: found.length,
            uncertain: false,
            checkpoints,
            signed_at: Instant::now(),
            looked_at: None,
            publishers,
            waiting,
            refusals: Arc::default(),
            seen: Arc::new(Mutex::new(Seen { checkpoint, note: String::new(), refusing: None })),
            doubts,
            // A log that went on without one is remembered from the next start on: until then no record may say so.
            remembered: memory.is_some() && !forgotten,
            memory,
            had,
            recalled,
            forgotten,
            is_due: false,
            epoch: 0,
            seat,
            next: None,
        };
        writer.begin(&found.torn, found.last_kind.as_deref())?;
        Ok(writer)
    }

    /// The first records of this process.
    fn begin(&mut self, torn: &[u8], last_kind: Option<&str>) -> Result<(), OpenError> {
        let now_ms = self.clock.now_ms();
        let records = self.head.frontier.size();
        let mut first = Vec::new();
        if !torn.is_empty() {
            tracing::warn!(bytes = torn.len(), "the end of the audit log was half a record, which no answer stood on");
            let event = json!({"bytes": torn.len(), "digest": Hash::of(torn).to_string()});
            first.push((Record::of_log(Kind::Gap, now_ms, event), None));
        }
        let mut event = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "key": self.key.public().to_string(),
            "records": records,
            "remembered": self.remembered,
            "stopped_in_order": records == 0 || last_kind == Some(Kind::Shutdown.as_str()),
        });
        if let Some(holder) = self.seat.holder() {
            event["holder"] = holder.into();
        }
        self.epoch = records;
        first.push((Record::of_log(Kind::Boot, now_ms, event), None));
        self.commit(first).map_err(OpenError::Refused)?;
        self.sign();
        Ok(())
    }

    pub(super) fn doubts(&self) -> Arc<Doubts> {
        Arc::clone(&self.doubts)
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(super) fn hold(&self) -> Option<Hold> {
        self.seat.hold().cloned()
    }

    pub(super) fn had(&self) -> u64 {
        self.had
    }

    pub(super) fn recalled(&self) -> Vec<Doubt> {
        self.recalled.clone()
    }

    /// Something outside should remember the log, and does not.
    pub(super) fn is_forgotten(&self) -> bool {
        self.forgotten
    }

    pub(super) fn seen(&self) -> Arc<Mutex<Seen>> {
        Arc::clone(&self.seen)
    }

    pub(super) fn refusals(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.refusals)
    }

    pub(super) fn public(&self) -> &PublicKey {
        self.key.public()
    }

    /// Serves requests until the log is closed, or nobody is left who could append.
    pub(super) fn run(mut self, requests: &Receiver<Request>) {
        loop {
            self.look();
            let (group, then) = self.next(requests);
            if !group.is_empty() {
                drop(self.commit(group));
            }
            match then {
                Then::GoOn => {}
                Then::Sign => {
                    self.remember();
                    self.is_due = true;
                }
                Then::Tell(who) => drop(who.try_send(())),
                Then::Close => break,
            }
            let unsigned = self.unsigned();
            let is_due = self.signed_at.elapsed() >= self.options.checkpoint_every;
            let asked = std::mem::take(&mut self.is_due);
            if asked || unsigned >= self.options.checkpoint_records || (unsigned > 0 && is_due) {
                self.sign();
            }
        }
        self.end();
    }

    fn next(&self, requests: &Receiver<Request>) -> (Vec<(Record, Option<WriterReply>)>, Then) {
        let due = self.options.checkpoint_every.saturating_sub(self.signed_at.elapsed());
        let wait = if self.unsigned() > 0 { due.min(LOOK_EVERY) } else { LOOK_EVERY };
        let mut group = Vec::new();
        let mut next = requests.recv_timeout(wait);
        loop {
            match next {
                Ok(Request::Append(record, reply)) => group.push((*record, Some(reply))),
                Ok(Request::Settle(who)) => return (self.taken(group), Then::Tell(who)),
                Ok(Request::Sign) => return (self.taken(group), Then::Sign),
                Ok(Request::Close) | Err(RecvTimeoutError::Disconnected) => return (self.taken(group), Then::Close),
                Err(RecvTimeoutError::Timeout) => return (self.taken(group), Then::GoOn),
            }
            if group.len() == GROUP_MAX {
                return (self.taken(group), Then::GoOn);
            }
            next = requests.try_recv().map_err(|_| RecvTimeoutError::Timeout);
        }
    }

    fn taken<T>(&self, group: Vec<T>) -> Vec<T> {
        let before = self.waiting.fetch_sub(group.len(), Ordering::Relaxed);
        metrics::gauge!(names::AUDIT_QUEUE_LENGTH).set(before.saturating_sub(group.len()) as f64);
        group
    }

    fn unsigned(&self) -> u64 {
        self.head.frontier.size() - self.lock_seen().checkpoint.size
    }

    fn lock_seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a group and answers; an error is the one that all of it got.
    fn commit(&mut self, records: Vec<(Record, Option<WriterReply>)>) -> Result<(), Refused> {
        let mut group = Group { head: self.head.clone(), bytes: Vec::new(), hashes: Vec::new(), kinds: Vec::new() };
        let mut answers = Vec::with_capacity(records.len());
        for (record, reply) in records {
            answers.push((self.stage(record, &mut group), reply));
        }
        let written = if group.bytes.is_empty() { Ok(()) } else { self.write(&group.bytes) };
        {
            let mut seen = self.lock_seen();
            if let (None, Err(why)) = (&seen.refusing, &written) {
                tracing::error!(reason = why.as_str(), "the audit log cannot be written: {why}");
            } else if let (Some(_), Ok(())) = (&seen.refusing, &written) {
                tracing::info!("the audit log can be written again");
            }
            seen.refusing = written.clone().err();
            metrics::gauge!(names::AUDIT_WRITABLE).set(if written.is_ok() { 1.0 } else { 0.0 });
        }
        if written.is_ok() {
            self.head = group.head;
            if let Err(error) = self.hashes.append(&group.hashes) {
                tracing::warn!(%error, "hashes of the audit log could not be stored; the next start makes them again");
            }
            let is_accepted = group.kinds.contains(&Kind::Accepted);
            if is_accepted {
                self.doubts.clear();
            }
            self.remember();
            // An acceptance counts only where it is signed: whoever is told of it must not be asked again after a crash.
            if is_accepted {
                self.sign();
                self.sync();
            } else {
                self.is_due |= group.kinds.iter().any(|kind| SIGNED_AT_ONCE.contains(kind));
            }
            for kind in group.kinds {
                metrics::counter!(names::AUDIT_RECORDS_TOTAL, "kind" => kind.as_str()).increment(1);
            }
        }
        for (answer, reply) in answers {
            let answer = answer.and_then(|receipt| written.clone().map(|()| receipt));
            let answer = answer.map_err(refused);
            if answer.is_err() {
                self.refusals.fetch_add(1, Ordering::AcqRel);
            }
            // Who no longer waits was told nothing; the record stands.
            reply.map(|reply| reply.send(answer));
        }
        written
    }

    /// Has what is on disk remembered, before anybody is answered. What is remembered while there is a doubt shows it.
    fn remember(&mut self) {
        let Some(memory) = self.memory.as_ref().filter(|_| !self.doubts.hold()) else { return };
        let (size, root) = (self.head.frontier.size(), self.head.frontier.root());
        let checkpoint = Checkpoint { origin: self.origin.to_string(), size, root };
        if let Err(error) = memory.remember(&checkpoint, &self.key) {
            tracing::warn!(%error, "the state of the audit log cannot be remembered outside of its directory");
        }
    }

    /// Gives a record its place after those of the group.
    fn stage(&self, record: Record, group: &mut Group) -> Answer {
        let time_ms = record.time_ms;
        if time_ms + STEP_MS < group.head.time_ms {
            let event = json!({"from": time_text(group.head.time_ms), "to": time_text(time_ms)});
            group.head.time_ms = time_ms;
            self.stage(Record::of_log(Kind::ClockStep, time_ms, event), group)?;
        }
        let (seq, kind) = (group.head.frontier.size(), record.kind);
        let members = record.members(&self.origin, seq, group.head.prev.as_ref());
        let rendered = record::render(&members).map_err(Refused::Number)?;
        if rendered.line.len() >= LINE_BYTES_MAX {
            return Err(Refused::TooLarge);
        }
        group.bytes.extend_from_slice(&rendered.line);
        group.bytes.push(b'\n');
        group.head.frontier.push(rendered.leaf, &mut group.hashes);
        group.head.prev = Some(rendered.leaf);
        group.head.time_ms = group.head.time_ms.max(time_ms);
        group.kinds.push(kind);
        let checkpoint = self.lock_seen().checkpoint.size;
        Ok(Receipt { origin: Arc::clone(&self.origin), seq, leaf: rendered.leaf, checkpoint })
    }

    /// Writes bytes at the end and makes them durable, or leaves the end as it was.
    fn write(&mut self, bytes: &[u8]) -> Result<(), Refused> {
        let begun = Instant::now();
        let written = self.try_write(bytes);
        metrics::histogram!(names::AUDIT_SYNC_DURATION_SECONDS).record(begun.elapsed().as_secs_f64());
        written.map_err(|error| match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => Refused::DiskFull,
            _ => Refused::Disk(error.to_string()),
        })
    }

    fn try_write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.still_ours()?;
        self.mend()?;
        // A lock on a share may be lost without a word: whoever finds the log longer than it left it writes no more.
        if self.file.metadata()?.len() != self.length {
            return Err(io::Error::other("another process has written to it"));
        }
        if self.length >= self.options.segment_bytes {
            self.rotate()?;
            self.still_ours()?;
        }
        self.uncertain = true;
        let written = self.file.write_all(bytes).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            // What can be said of the file is said now; if not, the next write tries first.
            drop(self.mend());
            return Err(error);
        }
        // On disk, and answered to nobody yet: if the log was claimed meanwhile, this is no part of it, or nobody is told.
        self.still_ours()?;
        self.uncertain = false;
        self.length += bytes.len() as u64;
        Ok(())
    }

    fn still_ours(&self) -> io::Result<()> {
        match self.seat.is_ours() {
            true => Ok(()),
            false => Err(io::Error::other("it is not this process's turn to write it any more")),
        }
    }

    /// Cuts off what a write left behind that failed.
    fn mend(&mut self) -> io::Result<()> {
        if self.uncertain {
            self.file.set_len(self.length)?;
            self.file.sync_data()?;
            self.uncertain = false;
        }
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        let next = match self.next.take() {
            Some(next) => next,
            None => Segment::new(&self.options.dir, self.head.frontier.size()).begin()?,
        };
        if let Err(error) = next.sync_all().and_then(|()| File::open(&self.options.dir)?.sync_all()) {
            self.next = Some(next);
            return Err(error);
        }
        self.file = next;
        self.length = 0;
        Ok(())
    }

    /// Signs a checkpoint of what is on disk, and leaves it for the sinks.
    fn sign(&mut self) {
        self.signed_at = Instant::now();
        if self.doubts.hold() || !self.seat.is_ours() {
            return;
        }
        let (size, root) = (self.head.frontier.size(), self.head.frontier.root());
        let checkpoint = Checkpoint { origin: self.origin.to_string(), size, root };
        let note = checkpoint.sign(&self.key);
        if let Err(error) = self.checkpoints.write_all(format!("{note}\n").as_bytes()) {
            tracing::warn!(%error, "a checkpoint of the audit log could not be kept beside it");
        }
        metrics::gauge!(names::AUDIT_LAST_CHECKPOINT_TIMESTAMP_SECONDS).set(self.clock.now() as f64);
        for publisher in &self.publishers {
            publisher.leave(&note);
        }
        let mut seen = self.lock_seen();
        seen.checkpoint = checkpoint;
        seen.note = note;
    }

    /// The last records of this process.
    fn end(mut self) {
        // Whoever's turn is over leaves the log as it is.
        if self.seat.is_ours() {
            let event = json!({"records": self.head.frontier.size()});
            drop(self.commit(vec![(Record::of_log(Kind::Shutdown, self.clock.now_ms(), event), None)]));
            self.sign();
        }
        self.sync();
        for publisher in std::mem::take(&mut self.publishers) {
            publisher.stop();
        }
    }

    /// Has what stands beside the records outlive a power cut.
    fn sync(&self) {
        let memory = self.memory.as_ref().map_or(Ok(()), Memory::sync);
        let synced = memory.and_then(|()| self.hashes.sync()).and_then(|()| self.checkpoints.sync_data());
        if let Err(error) = synced {
            tracing::warn!(%error, "hashes and checkpoints of the audit log are not on disk yet");
        }
    }

    /// Looks at the disk now and then.
    fn look(&mut self) {
        if self.looked_at.is_some_and(|at| at.elapsed() < LOOK_EVERY) {
            return;
        }
        self.looked_at = Some(Instant::now());
        if let Some(used) = disk_used(&self.options.dir) {
            metrics::gauge!(names::AUDIT_DISK_USED_RATIO).set(used);
        }
    }
}

/// The used share of the disk that `dir` is on, as `df` says it.
fn disk_used(dir: &Path) -> Option<f64> {
    use std::os::unix::ffi::OsStrExt as _;
    let path = std::ffi::CString::new(dir.as_os_str().as_bytes()).ok()?;
    let mut disk = std::mem::MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: the path ends with a zero, and statvfs fills the struct whenever it returns 0.
    let disk = unsafe { (libc::statvfs(path.as_ptr(), disk.as_mut_ptr()) == 0).then(|| disk.assume_init()) }?;
    let used = disk.f_blocks.saturating_sub(disk.f_bfree) as f64;
    let usable = used + disk.f_bavail as f64;
    (usable > 0.0).then(|| used / usable)
}
