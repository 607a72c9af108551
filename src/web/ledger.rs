//! Copies of series of the ledger, for readers. The ledger belongs to the loop of the daemon, which lends nothing: it
//! gives away a copy of one series (some tens of kilobytes) between two steps of its work, and readers compute from that.

use tokio::sync::{mpsc, oneshot};

use crate::engine::{Labels, SeriesLedger};
use crate::incident::{Incident, Note};

/// Copies that are waited for at most; whoever comes then is told to come later.
const WAITING_MAX: usize = 32;

/// Asks for copies.
#[derive(Debug, Clone)]
pub struct LedgerReader(mpsc::Sender<LedgerRequest>);

/// What is asked of the loop that owns ledger and incidents.
#[derive(Debug)]
pub enum LedgerRequest {
    /// A copy of one series.
    Series {
        /// Of which SLO.
        slo_id: String,
        /// Which.
        labels: Labels,
        /// Where it goes; `None` where the ledger has none of it.
        answer: oneshot::Sender<Option<SeriesLedger>>,
    },
    /// Something that is said of an incident.
    Note {
        /// Which.
        id: String,
        /// What.
        note: Note,
        /// The incident with it, or why not.
        answer: oneshot::Sender<Result<Incident, String>>,
    },
}

/// Why there is no copy: the daemon is busy or stopping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Busy;

impl LedgerReader {
    /// A reader, and where its requests arrive.
    pub fn new() -> (Self, mpsc::Receiver<LedgerRequest>) {
        let (asks, asked) = mpsc::channel(WAITING_MAX);
        (LedgerReader(asks), asked)
    }

    /// A copy of a series; `None` where the ledger has none of it.
    ///
    /// # Errors
    /// Too many wait already, or nobody answers any more.
    pub async fn series(&self, slo_id: &str, labels: &Labels) -> Result<Option<SeriesLedger>, Busy> {
        let (answer, answered) = oneshot::channel();
        let request = LedgerRequest::Series { slo_id: slo_id.to_owned(), labels: labels.clone(), answer };
        self.0.try_send(request).map_err(|_| Busy)?;
        answered.await.map_err(|_| Busy)
    }

    /// Adds a note to an incident; it is stored when this answers.
    ///
    /// # Errors
    /// As of [`LedgerReader::series`]; within it, why the note is not taken.
    pub async fn note(&self, id: &str, note: Note) -> Result<Result<Incident, String>, Busy> {
        let (answer, answered) = oneshot::channel();
        self.0.try_send(LedgerRequest::Note { id: id.to_owned(), note, answer }).map_err(|_| Busy)?;
        answered.await.map_err(|_| Busy)
    }
}
