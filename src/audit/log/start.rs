//! A log as a start finds it, held against what others remember of it.

use super::Options;
use crate::audit::memory::{self, Doubt};

/// What is remembered of the log elsewhere, held against what is here.
pub(super) fn doubted(options: &mut Options, log: &memory::Found<'_>, remembered: Option<&str>) -> Vec<Doubt> {
    let mut doubts = Vec::new();
    match remembered {
        Some(note) => doubts.extend(log.against("audit.head", note)),
        None if log.records == 0 && options.expected => doubts.push(Doubt::Gone),
        None => {}
    }
    doubts.extend(options.recalled.as_deref().and_then(|note| log.against("state.db", note)));
    for sink in &mut options.sinks {
        match sink.recall() {
            Ok(Some(text)) => doubts.extend(log.against_sink(sink.name(), &text)),
            Ok(None) => {}
            Err(why) => doubts.push(Doubt::Forgotten(format!("by {} cannot be read: {why}", sink.name()))),
        }
    }
    doubts
}

/// What witnesses have to say to the log as it was found; all are asked at once. One that is silent is no doubt: what waits
/// for it is a setting.
pub(super) fn confronted(options: &mut Options, note: &str) -> Vec<Doubt> {
    std::thread::scope(|scope| {
        let asked = options.sinks.iter_mut().map(|sink| scope.spawn(move || (sink.name(), sink.confront(note))));
        let asked: Vec<_> = asked.collect();
        let heard = asked.into_iter().filter_map(|thread| match thread.join() {
            Ok((_, Ok(doubt))) => doubt,
            Ok((sink, Err(why))) => {
                tracing::warn!(sink, why, "the audit log as it was found could not be shown to it");
                None
            }
            Err(_) => None,
        });
        heard.collect()
    })
}
