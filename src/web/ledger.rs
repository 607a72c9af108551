//! Copies of series of the ledger, for readers. The ledger belongs to the loop of the daemon, which lends nothing: it
//! gives away a copy of one series (some tens of kilobytes) between two steps of its work, and readers compute from that.

use tokio::sync::{mpsc, oneshot};

use crate::engine::{Labels, Ledger, SeriesLedger};

/// Copies that are waited for at most; whoever comes then is told to come later.
const WAITING_MAX: usize = 32;

/// Asks for copies.
#[derive(Debug, Clone)]
pub struct LedgerReader(mpsc::Sender<LedgerRequest>);

/// One series that somebody wants a copy of.
#[derive(Debug)]
pub struct LedgerRequest {
    slo_id: String,
    labels: Labels,
    answer: oneshot::Sender<Option<SeriesLedger>>,
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
        let request = LedgerRequest { slo_id: slo_id.to_owned(), labels: labels.clone(), answer };
        self.0.try_send(request).map_err(|_| Busy)?;
        answered.await.map_err(|_| Busy)
    }
}

impl LedgerRequest {
    /// Answers from `ledger`.
    pub fn answer(self, ledger: &Ledger) {
        // Nobody waits where the client is gone.
        drop(self.answer.send(ledger.get(&self.slo_id, &self.labels).cloned()));
    }
}
