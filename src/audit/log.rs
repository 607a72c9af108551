//! The log as those see it who append to it: one queue, one writing thread, an answer when the record is on disk.
//!
//! Whoever appends waits for `fdatasync`; all that wait together share one. A record is refused, never dropped: when the
//! queue is full, when the disk does not take it, when the log is closed. After a refusal nothing of the record is in
//! the log, but for [`Refused::Late`], where it may come to be there although nobody was told so.

mod fault;
mod receipt;
mod recovery;
mod seat;
mod start;
#[cfg(test)]
mod tests;
mod writer;

pub use fault::{OpenError, Refused};
pub use receipt::{Proof, Receipt, prove};
pub use seat::{Hold, Seat};
pub(super) use writer::STEP_MS;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

use super::checkpoint::Checkpoint;
use super::key::PublicKey;
use super::memory::{Doubt, Doubts};
use super::merkle::Hash;
use super::proof::{self, Glance};
use super::record::Record;
use super::sink::Sink;
use super::witness::watch::{Stops, Watch};
use crate::clock::Clock;
use crate::telemetry::names;

/// How a log is kept.
pub struct Options {
    /// Its directory; made where it is missing.
    pub dir: PathBuf,
    /// Its name in records and checkpoints; `None`: that of its key, or a new one.
    pub origin: Option<String>,
    /// The signing key; `None`: `DIR/signing.key`.
    pub key_file: Option<PathBuf>,
    /// A file of records is followed by a new one after so many bytes.
    pub segment_bytes: u64,
    /// Most records that wait; further ones are refused.
    pub queue: usize,
    /// Longest wait for an answer.
    pub answer_within: Duration,
    /// A checkpoint is signed after so many records.
    pub checkpoint_records: u64,
    /// A checkpoint is signed after this time when there is something new.
    pub checkpoint_every: Duration,
    /// What remembers the log outside of its directory; `None`: nothing does.
    pub memory_file: Option<PathBuf>,
    /// What is remembered of the log with the state of an earlier process.
    pub recalled: Option<String>,
    /// There is state of an earlier process: its log has to be here.
    pub expected: bool,
    /// Where checkpoints go besides the log's directory.
    pub sinks: Vec<Box<dyn Sink>>,
    /// Most bytes of bodies that are kept beside the log, for whoever keeps some.
    pub bodies_bytes_max: u64,
    /// Several processes take turns at it; where others are told to reach this one.
    pub turns: Option<String>,
    /// The seat of its writer, where it was taken before; `None`: it is taken when the log is opened.
    pub seat: Option<Seat>,
    /// Who witnesses the log, and what waits where they are too few; the sinks ask them.
    pub watch: Option<(Arc<Watch>, Stops)>,
}

impl Options {
    /// The defaults, in this directory.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Options {
            dir: dir.into(),
            origin: None,
            key_file: None,
            segment_bytes: 64 << 20,
            queue: 4096,
            answer_within: Duration::from_secs(5),
            checkpoint_records: 64,
            checkpoint_every: Duration::from_secs(60),
            memory_file: None,
            recalled: None,
            expected: false,
            sinks: Vec::new(),
            bodies_bytes_max: 1 << 30,
            turns: None,
            seat: None,
            watch: None,
        }
    }
}

type Answer = Result<Receipt, Refused>;

/// A record on its way to the disk.
#[derive(Debug)]
pub struct Waiting {
    answer: oneshot::Receiver<Answer>,
    within: Duration,
}

impl Waiting {
    /// Waits until it is there.
    ///
    /// # Errors
    /// Why it is not. Whoever asked must be told no.
    pub async fn written(self) -> Answer {
        match tokio::time::timeout(self.within, self.answer).await {
            Ok(answer) => answer.unwrap_or(Err(Refused::Closed)),
            Err(_) => Err(refused(Refused::Late)),
        }
    }
}

/// What the writing thread is asked.
enum Request {
    Append(Box<Record>, oneshot::Sender<Answer>),
    /// What is on disk is proved, and can be signed.
    Sign,
    /// To be told when all that was queued before is on disk or refused.
    Settle(SyncSender<()>),
    Close,
}

/// What the writing thread lets others see.
#[derive(Debug, Clone)]
struct Seen {
    checkpoint: Checkpoint,
    /// The signed note of it.
    note: String,
    /// Why the last group was refused; `None` while all is well.
    refusing: Option<Refused>,
}

/// The log, open for appending; clones append to the same one.
#[derive(Debug, Clone)]
pub struct Log(Arc<LogShared>);

#[derive(Debug)]
struct LogShared {
    dir: PathBuf,
    public: PublicKey,
    queue: SyncSender<Request>,
    waiting: Arc<AtomicUsize>,
    refusals: Arc<AtomicU64>,
    answer_within: Duration,
    bodies_bytes_max: u64,
    seen: Arc<Mutex<Seen>>,
    doubts: Arc<Doubts>,
    /// Records that there were before this process.
    had: u64,
    /// What spoke against it when it was opened, of what is remembered of it elsewhere.
    recalled: Vec<Doubt>,
    epoch: u64,
    /// How long this process may write; `None`: as long as it lives.
    hold: Option<Hold>,
    /// Something outside of the directory should remember the log, and did not when it was opened.
    forgotten: bool,
    watch: Option<(Arc<Watch>, Stops)>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Log {
    /// Opens the log, or begins it, and writes that this process does so. What a crash left half written at its end is
    /// dropped, which a `gap` record tells.
    ///
    /// # Errors
    /// When the directory or key cannot be used, another process has it, or the log is not what its checkpoints say.
    pub fn open(options: Options, clock: Clock) -> Result<Self, OpenError> {
        let (queue, requests) = sync_channel(options.queue.max(1));
        let waiting = Arc::new(AtomicUsize::new(0));
        let (dir, answer_within) = (options.dir.clone(), options.answer_within);
        let (bodies_bytes_max, watch) = (options.bodies_bytes_max, options.watch.clone());
        let writer = writer::Writer::open(options, clock, Arc::clone(&waiting))?;
        let (seen, public, refusals) = (writer.seen(), writer.public().clone(), writer.refusals());
        let (doubts, had, recalled, forgotten) =
            (writer.doubts(), writer.had(), writer.recalled(), writer.is_forgotten());
        let (epoch, hold) = (writer.epoch(), writer.hold());
        let thread = std::thread::Builder::new().name("audit-log".into()).spawn(move || writer.run(&requests));
        let thread = Mutex::new(Some(thread.map_err(|error| OpenError::File(dir.clone(), error))?));
        Ok(Log(Arc::new(LogShared {
            dir,
            public,
            queue,
            waiting,
            refusals,
            answer_within,
            bodies_bytes_max,
            seen,
            doubts,
            had,
            recalled,
            epoch,
            hold,
            forgotten,
            watch,
            thread,
        })))
    }

    /// A log that cannot be opened, for whoever has to go on without: it refuses every record and says why.
    pub fn refusing(dir: impl Into<PathBuf>, why: &OpenError) -> Self {
        let log = Self::of_another(dir, why);
        log.0.doubts.add([Doubt::Damaged(why.to_string())]);
        log
    }

    /// A log that another process writes, for one that waits for its turn: nothing is to be said of it here.
    pub fn of_another(dir: impl Into<PathBuf>, why: &OpenError) -> Self {
        let dir = dir.into();
        let public = match PublicKey::load(&dir.join("key.pub")) {
            Ok(public) => public,
            Err(_) => PublicKey::none(),
        };
        let (queue, _) = sync_channel(1);
        let checkpoint = Checkpoint { origin: public.name().to_owned(), size: 0, root: Hash::of(b"") };
        let refusing = Some(Refused::Damaged(why.to_string()));
        let doubts = Arc::new(Doubts::default());
        Log(Arc::new(LogShared {
            dir,
            public,
            queue,
            waiting: Arc::default(),
            refusals: Arc::default(),
            answer_within: Duration::from_secs(5),
            bodies_bytes_max: 1 << 30,
            seen: Arc::new(Mutex::new(Seen { checkpoint, note: String::new(), refusing })),
            doubts,
            had: 0,
            recalled: Vec::new(),
            epoch: 0,
            hold: None,
            forgotten: false,
            watch: None,
            thread: Mutex::new(None),
        }))
    }

    /// Reads the whole log: every record goes to `take`, and what does not fit comes to be a doubt, as does a record of which
    /// `take` says that it is nothing that it knows.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn prove_whole(&self, take: impl FnMut(Glance<'_>) -> bool) -> std::io::Result<()> {
        let proved = proof::prove(&self.0.dir, &self.0.public, self.0.had, self.0.forgotten, take)?;
        // Who remembers the log elsewhere may not have heard yet that a person took it as it is.
        self.0.doubts.drop_if(|doubt| self.0.recalled.contains(doubt) && doubt.is_among(&proved.accepted));
        self.0.doubts.add(proved.doubts);
        self.0.doubts.unproved.store(false, Ordering::Release);
        // Where the queue is full there is something to be signed soon anyway.
        drop(self.0.queue.try_send(Request::Sign));
        Ok(())
    }

    /// Why the log cannot be proved complete; nothing where it can.
    pub fn doubts(&self) -> Vec<Doubt> {
        self.0.doubts.rows().clone()
    }

    /// Whether nothing speaks against it; cheap.
    pub fn is_proved(&self) -> bool {
        !self.0.doubts.any()
    }

    /// A number that grows with every process that writes the log: what this one says goes before what one before it said.
    pub fn epoch(&self) -> u64 {
        self.0.epoch
    }

    /// Whether this process may write it now. Where a lease decides that, it ends although nothing of this process runs.
    pub fn is_held(&self) -> bool {
        self.0.hold.as_ref().is_none_or(Hold::holds)
    }

    /// What waits because too few witnesses have seen it; nothing where none are asked for.
    pub fn unwitnessed(&self) -> Stops {
        match &self.0.watch {
            Some((watch, stops)) if !watch.is_enough() => *stops,
            _ => Stops::Nothing,
        }
    }

    /// Whether it could not be opened: then nothing can be read of it, and nobody can accept it as it is.
    pub fn is_damaged(&self) -> bool {
        self.0.doubts.rows().iter().any(|doubt| matches!(doubt, Doubt::Damaged(_)))
    }

    /// Appends a record and waits until it is on disk.
    ///
    /// # Errors
    /// Why it is not. Whoever asked must be told no.
    pub async fn append(&self, record: Record) -> Answer {
        self.submit(record)?.written().await
    }

    /// [`Log::append`] for threads that may block; it waits as long as the disk takes.
    ///
    /// # Errors
    /// As there.
    pub fn append_blocking(&self, record: Record) -> Answer {
        self.submit(record)?.answer.blocking_recv().unwrap_or(Err(Refused::Closed))
    }

    /// Queues a record: the log has records in the order in which they were queued. Never waits.
    ///
    /// # Errors
    /// When it is not queued.
    pub fn submit(&self, record: Record) -> Result<Waiting, Refused> {
        let (reply, answer) = oneshot::channel();
        self.0.waiting.fetch_add(1, Ordering::Relaxed);
        let sent = self.0.queue.try_send(Request::Append(Box::new(record), reply));
        let Err(error) = sent else { return Ok(Waiting { answer, within: self.0.answer_within }) };
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
        Err(refused(match error {
            TrySendError::Full(_) => Refused::Full,
            TrySendError::Disconnected(_) => self.health().err().unwrap_or(Refused::Closed),
        }))
    }

    fn seen(&self) -> Seen {
        self.0.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the last records could be written; why not.
    ///
    /// # Errors
    /// What the last record was refused for.
    pub fn health(&self) -> Result<(), Refused> {
        let seen = self.0.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.refusing.clone().map_or(Ok(()), Err)
    }

    /// How many records were queued and then refused since the log was opened. Whoever kept something of them in mind
    /// has to forget it.
    pub fn refusals(&self) -> u64 {
        self.0.refusals.load(Ordering::Acquire)
    }

    /// Waits until everything that was queued before is on disk or refused. Blocks, as long as an answer may take.
    ///
    /// # Errors
    /// When the log refuses, does not answer in time, or is closed.
    pub fn settle(&self) -> Result<(), Refused> {
        let (told, tells) = sync_channel(1);
        self.0.queue.try_send(Request::Settle(told)).map_err(|error| match error {
            TrySendError::Full(_) => Refused::Full,
            TrySendError::Disconnected(_) => Refused::Closed,
        })?;
        tells.recv_timeout(self.0.answer_within).map_err(|_| Refused::Late)?;
        self.health()
    }

    /// Most bytes of bodies that are kept beside it.
    pub fn bodies_bytes_max(&self) -> u64 {
        self.0.bodies_bytes_max
    }

    /// Where it is kept.
    pub fn dir(&self) -> &std::path::Path {
        &self.0.dir
    }

    /// The last signed checkpoint.
    pub fn checkpoint(&self) -> Checkpoint {
        self.seen().checkpoint
    }

    /// The last signed checkpoint, as the note that was signed.
    pub fn note(&self) -> String {
        self.seen().note
    }

    /// What checks the log's signatures.
    pub fn public_key(&self) -> &PublicKey {
        &self.0.public
    }

    /// The proof that record `seq` is in the log of the last checkpoint; `None` while that does not cover it.
    ///
    /// # Errors
    /// When the stored hashes cannot be read, or do not give the signed root.
    pub fn prove(&self, seq: u64) -> std::io::Result<Option<Proof>> {
        prove(&self.0.dir, seq, self.seen().checkpoint)
    }

    /// Writes that the process stops, signs a last checkpoint, waits for the sinks (5 s at most) and ends the thread.
    /// Blocks. Later records are refused.
    pub fn close(&self) {
        let thread = self.0.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(thread) = thread else { return };
        drop(self.0.queue.send(Request::Close));
        drop(thread.join());
        self.0.seen.lock().unwrap_or_else(PoisonError::into_inner).refusing = Some(Refused::Closed);
    }
}

/// Counts it.
fn refused(why: Refused) -> Refused {
    metrics::counter!(names::AUDIT_REFUSED_TOTAL, "reason" => why.as_str()).increment(1);
    why
}
