//! Incidents of the daemon: brought up to date by each evaluation, stored, and shown. What people say of them arrives here,
//! and is stored before it is answered.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::watch;

use super::saved::Saved;
use crate::engine::{AlertKind, Snapshot};
use crate::incident::book::{Book, Changes};
use crate::incident::similar::similar;
use crate::incident::story;
use crate::incident::{Incident, Note};

/// All incidents, and what of them is not stored yet.
pub struct Incidents {
    book: Book,
    unsaved: BTreeSet<String>,
    gone: Vec<String>,
    shown: watch::Sender<Arc<Book>>,
}

impl Incidents {
    /// Goes on with those of an earlier process; what readers see of them.
    pub fn new(restored: Vec<Incident>) -> (Self, watch::Receiver<Arc<Book>>) {
        let book = Book::restored(restored);
        let (shown, readers) = watch::channel(Arc::new(book.clone()));
        (Incidents { book, unsaved: BTreeSet::new(), gone: Vec::new(), shown }, readers)
    }

    /// Takes up those of an earlier process later than at the start. What is known here of one goes before what was stored.
    pub fn take_up(&mut self, restored: Vec<Incident>) {
        let own: Vec<Incident> = self.book.all().into_iter().cloned().collect();
        self.unsaved.extend(own.iter().map(|incident| incident.id.clone()));
        self.book = Book::restored(restored.into_iter().chain(own));
        self.shown.send_replace(Arc::new(self.book.clone()));
    }

    /// Takes an evaluation, stores what it changes, and lets its alerts say what is known of their incident.
    pub fn step(&mut self, snapshot: &mut Snapshot, changes: &Changes, saved: &mut Saved) {
        let (changed, gone) = self.book.step(snapshot, changes);
        self.unsaved.extend(changed.iter().cloned());
        self.gone.extend(gone);
        self.save(saved);
        if !changed.is_empty() {
            self.shown.send_replace(Arc::new(self.book.clone()));
        }
        self.annotate(snapshot);
    }

    /// Somebody says something of an incident: stored before it is shown.
    pub fn note(&mut self, id: &str, note: Note, saved: &mut Saved) -> Result<Incident, String> {
        let incident = self.book.note(id, note)?.clone();
        self.unsaved.insert(incident.id.clone());
        self.shown.send_replace(Arc::new(self.book.clone()));
        match self.save(saved) {
            true => Ok(incident),
            false => Err("it is in the audit log, and the state file does not take it yet".to_owned()),
        }
    }

    fn save(&mut self, saved: &mut Saved) -> bool {
        if self.unsaved.is_empty() && self.gone.is_empty() {
            return true;
        }
        let changed = self.unsaved.iter().filter_map(|id| self.book.get(id));
        let written = saved.put_incidents(changed, &self.gone).is_ok();
        if written {
            self.unsaved.clear();
            self.gone.clear();
        }
        written
    }

    /// What changed, and what was like it, beside each burn.
    fn annotate(&self, snapshot: &mut Snapshot) {
        let burns = |kind| matches!(kind, AlertKind::FastBurn | AlertKind::SlowBurn);
        for alert in snapshot.alerts.iter_mut().filter(|alert| alert.resolved_at.is_none() && burns(alert.kind)) {
            let Some(incident) = alert.labels.get("service").and_then(|service| self.book.open(service)) else {
                continue;
            };
            let like = similar(incident, self.book.all().into_iter());
            let texts = [
                ("incident", incident.id.clone()),
                ("change", story::changed(incident)),
                ("similar", story::alike(&like)),
            ];
            alert.annotations.extend(texts.map(|(name, text)| (name.to_owned(), text)));
        }
    }
}
