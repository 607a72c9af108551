//! Who is connected, how many from where, and who makes room: a connection that waits for its client (for a request, for the
//! rest of one, or for what was sent to be taken) is worth less than one that comes, so that probes and people are never kept
//! out by those who only hold the door.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::telemetry::names;

/// What a connection is doing.
#[derive(Debug)]
pub struct Phase(Mutex<Doing>);

#[derive(Debug)]
struct Doing {
    /// Requests that are being answered: more than one where a connection carries several at a time.
    answering: usize,
    /// Since when none is.
    since: Instant,
    /// Since when its client holds up a request that is being answered.
    stalled: Option<Instant>,
    /// It speaks HTTP/2.
    many: bool,
}

impl Phase {
    fn new() -> Arc<Self> {
        Arc::new(Phase(Mutex::new(Doing { answering: 0, since: Instant::now(), stalled: None, many: false })))
    }

    fn lock(&self) -> MutexGuard<'_, Doing> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its client neither sends the rest of its request nor takes what is sent to it. Told again, it is so since the first time.
    pub fn stalls(&self) {
        self.lock().stalled.get_or_insert_with(Instant::now);
    }

    /// Its client does.
    pub fn goes_on(&self) {
        self.lock().stalled = None;
    }

    /// Since when its client is what is waited for; `None` while a request is being answered.
    fn idle_since(&self) -> Option<Instant> {
        let doing = self.lock();
        if doing.answering == 0 { Some(doing.since) } else { doing.stalled }
    }

    /// It has a request; until what is returned is dropped it is being answered.
    pub fn serve(self: &Arc<Self>) -> Serving {
        self.lock().answering += 1;
        Serving(Arc::clone(self))
    }

    /// Whether no request is being answered.
    pub fn waits(&self) -> bool {
        self.lock().answering == 0
    }

    /// It turned out to speak HTTP/2, whose frames are not all of a request.
    pub fn carries_many(&self) {
        self.lock().many = true;
    }

    /// Whether it speaks HTTP/2.
    pub fn is_of_many(&self) -> bool {
        self.lock().many
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub struct Serving(Arc<Phase>);

impl Drop for Serving {
    fn drop(&mut self) {
        let mut doing = self.0.lock();
        doing.answering -= 1;
        if doing.answering == 0 {
            (doing.since, doing.stalled) = (Instant::now(), None);
        }
    }
}

struct Row {
    peer: IpAddr,
    phase: Arc<Phase>,
    cut: CancellationToken,
}

/// All connections.
pub struct Connections {
    rows: Mutex<(u64, BTreeMap<u64, Row>)>,
    left: Notify,
    most: usize,
    most_of_peer: usize,
}

/// The place of one connection, free again when it is dropped.
pub struct ConnectionSeat {
    all: Arc<Connections>,
    id: u64,
    /// What it is doing.
    pub phase: Arc<Phase>,
    /// Cancelled when it has to make room.
    pub cut: CancellationToken,
}

impl Connections {
    /// At most `most`, and `most_of_peer` from one address.
    pub fn new(most: usize, most_of_peer: usize) -> Arc<Self> {
        let rows = Mutex::default();
        Arc::new(Connections { rows, left: Notify::new(), most, most_of_peer })
    }

    fn lock(&self) -> MutexGuard<'_, (u64, BTreeMap<u64, Row>)> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a connection from `peer`; the one that waits longest for its client makes room, its own first. `None`:
    /// this address has too many that are all being answered. Waits while that is so of all there are.
    pub async fn admit(self: &Arc<Self>, peer: IpAddr) -> Option<ConnectionSeat> {
        loop {
            let left = self.left.notified();
            match self.try_admit(peer) {
                Some(seat) => return seat,
                None => left.await,
            }
        }
    }

    /// `None`: wait. `Some(None)`: go away.
    fn try_admit(self: &Arc<Self>, peer: IpAddr) -> Option<Option<ConnectionSeat>> {
        let mut rows = self.lock();
        let own = rows.1.values().filter(|row| row.peer == peer).count();
        let crowded = own >= self.most_of_peer;
        if crowded || rows.1.len() >= self.most {
            let own = rows.1.iter().filter(|(_, row)| !crowded || row.peer == peer);
            let idle = own.filter_map(|(id, row)| Some((row.phase.idle_since()?, *id)));
            let Some((_, oldest)) = idle.min() else { return crowded.then_some(None) };
            if let Some(row) = rows.1.remove(&oldest) {
                row.cut.cancel();
            }
        }
        rows.0 += 1;
        let (id, phase, cut) = (rows.0, Phase::new(), CancellationToken::new());
        rows.1.insert(id, Row { peer, phase: Arc::clone(&phase), cut: cut.clone() });
        metrics::gauge!(names::HTTP_CONNECTIONS).increment(1.0);
        Some(Some(ConnectionSeat { all: Arc::clone(self), id, phase, cut }))
    }
}

impl Drop for ConnectionSeat {
    fn drop(&mut self) {
        self.all.lock().1.remove(&self.id);
        self.all.left.notify_one();
        metrics::gauge!(names::HTTP_CONNECTIONS).decrement(1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(n: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, n])
    }

    #[tokio::test]
    async fn who_only_waits_makes_room_and_who_is_answered_does_not() {
        let all = Connections::new(3, 2);
        let first = all.admit(peer(1)).await.expect("room");
        let second = all.admit(peer(1)).await.expect("room");
        let busy = first.phase.serve();
        // A third of the same address: its own one that waits goes, not the one that is being answered.
        let third = all.admit(peer(1)).await.expect("room is made");
        assert_eq!((first.cut.is_cancelled(), second.cut.is_cancelled()), (false, true));
        let also_busy = third.phase.serve();
        assert!(all.admit(peer(1)).await.is_none(), "all of this address are being answered");
        let other = all.admit(peer(2)).await.expect("others have room");
        let more = all.admit(peer(3)).await.expect("the one that waits makes room");
        assert!(other.cut.is_cancelled());
        // Nobody waits any more: whoever comes has to, until one is answered.
        let busy_too = more.phase.serve();
        let waiting = tokio::spawn({
            let all = Arc::clone(&all);
            async move { all.admit(peer(4)).await.is_some() }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop((busy, first));
        assert!(waiting.await.expect("no panic"));
        drop((also_busy, busy_too));
    }

    #[test]
    fn a_connection_waits_when_the_last_of_its_requests_is_answered() {
        let phase = Phase::new();
        let (first, second) = (phase.serve(), phase.serve());
        drop(first);
        assert!(!phase.waits() && phase.idle_since().is_none(), "the other one is still being answered");
        drop(second);
        assert!(phase.waits() && phase.idle_since().is_some());
    }
}
