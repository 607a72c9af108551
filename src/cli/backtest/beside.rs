//! What Sloth's or Pyrra's own rules would have sent beside what Slowburn would have: how many each, and each difference
//! with the numbers of ours at that moment.
//!
//! An alert of theirs and one of ours are the same where they are of one SLO, series and kind and out at the same time:
//! ours is held for a while, so it may be several of theirs.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::lived::Episode;
use super::policy::THEIRS;
use super::report::{Lived, length, name};
use super::source::shown;
use crate::cli::table::Table;
use crate::engine::alert::AlertKind;

/// Differences that are listed at most.
const LISTED_MAX: usize = 100;
const KINDS: [(AlertKind, &str); 2] = [(AlertKind::FastBurn, "pages"), (AlertKind::SlowBurn, "tickets")];

/// Theirs, and what is held against it: the first policy of ours.
fn pair(lived: &[Lived]) -> Option<(&Lived, &Lived)> {
    let theirs = lived.iter().find(|lived| lived.name == THEIRS)?;
    Some((theirs, lived.iter().find(|lived| !lived.peer)?))
}

fn meets(one: &Episode, other: &Episode) -> bool {
    (&one.slo, &one.series, one.kind) == (&other.slo, &other.series, other.kind)
        && one.from <= other.to.unwrap_or(i64::MAX)
        && other.from <= one.to.unwrap_or(i64::MAX)
}

/// How often theirs and ours went out, by SLO, series and kind.
fn counts(theirs: &Lived, ours: &Lived) -> BTreeMap<(String, &'static str), [usize; 2]> {
    let mut all = BTreeMap::new();
    for (kind, word) in KINDS {
        for (nth, lived) in [theirs, ours].into_iter().enumerate() {
            for episode in lived.of(kind) {
                all.entry((name(episode), word)).or_insert([0; 2])[nth] += 1;
            }
        }
    }
    all
}

/// A difference: when, of what, which, for how long, why.
type AlertDifference = (i64, [String; 5]);

fn differences(theirs: &Lived, ours: &Lived) -> Vec<AlertDifference> {
    let mut all: Vec<AlertDifference> = Vec::new();
    for (kind, word) in KINDS {
        let word = word.trim_end_matches('s');
        let mut push = |episode: &Episode, which: String, why: String| {
            let cells = [shown(episode.from), format!("{} {word}", name(episode)), which, length(episode), why];
            all.push((episode.from, cells));
        };
        for episode in theirs.of(kind) {
            match ours.of(kind).find(|own| meets(episode, own)) {
                None => {
                    let why = episode.ours.as_ref().map_or("-".to_owned(), |ours| format!("ours then: {ours}"));
                    push(episode, "only theirs".into(), why);
                }
                Some(own) => {
                    let first = !theirs.of(kind).any(|other| other.from < episode.from && meets(other, own));
                    let minutes = (own.from - episode.from) as f64 / 60.0;
                    if first && minutes.abs() > 1.0 {
                        let when = if minutes > 0.0 { "later" } else { "earlier" };
                        let paged = kind == AlertKind::SlowBurn
                            && ours.of(AlertKind::FastBurn).any(|page| {
                                (&page.slo, &page.series) == (&episode.slo, &episode.series)
                                    && page.from <= own.from
                                    && page.to.is_none_or(|to| to >= episode.from)
                            });
                        let why = match &episode.ours {
                            _ if minutes > 0.0 && paged => "ours paged, and a page keeps its ticket quiet".to_owned(),
                            Some(ours) if minutes > 0.0 => format!("ours then: {ours}"),
                            _ => "-".to_owned(),
                        };
                        push(episode, format!("ours {:.1} min {when}", minutes.abs()), why);
                    }
                }
            }
        }
        for own in ours.of(kind) {
            match theirs.of(kind).filter(|episode| meets(episode, own)).count() {
                0 => {
                    let grouped = own.series.is_empty()
                        && ours.episodes.iter().any(|one| one.slo == own.slo && !one.series.is_empty());
                    let why = match grouped {
                        true => "all series together; theirs judges each alone",
                        false => "no window of theirs was over its bound",
                    };
                    push(own, "only ours".into(), why.into());
                }
                1 => {}
                several => {
                    let which = format!("one of ours, {several} of theirs");
                    push(own, which, "ours is held while it may come back".into());
                }
            }
        }
    }
    all.sort();
    all
}

/// `Theirs paged 3 times, ours 3`, and what differs.
pub fn text(lived: &[Lived]) -> String {
    let Some((theirs, ours)) = pair(lived) else { return String::new() };
    let mut table = Table::new(["slo", "kind", "theirs", "ours"]);
    for ((slo, word), [theirs, ours]) in counts(theirs, ours) {
        table.push([slo, word.to_owned(), theirs.to_string(), ours.to_string()]);
    }
    let mut text = format!("\n{}\n", sentence(theirs, ours));
    text += &table.print();
    let all = differences(theirs, ours);
    if !all.is_empty() {
        let mut table = Table::new(["when", "slo", "which", "for", "why"]);
        all.iter().take(LISTED_MAX).for_each(|(_, cells)| table.push(cells.clone()));
        let _ = write!(text, "\n{}", table.print());
    }
    if all.len() > LISTED_MAX {
        let _ = writeln!(text, "{} more differences are not listed", all.len() - LISTED_MAX);
    }
    text
}

/// The same for a pull request; `None` where theirs were not asked for.
pub fn markdown(lived: &[Lived]) -> Option<String> {
    let (theirs, ours) = pair(lived)?;
    let all = differences(theirs, ours);
    let mut text = format!("\n{}\n\n", sentence(theirs, ours));
    if !all.is_empty() {
        text += "| when | slo | which | for | why |\n|---|---|---|---|---|\n";
        for (_, cells) in all.iter().take(LISTED_MAX) {
            let _ = writeln!(text, "| {} |", cells.join(" | "));
        }
    }
    Some(text)
}

fn sentence(theirs: &Lived, ours: &Lived) -> String {
    let differ = differences(theirs, ours).len();
    let end = if differ == 0 { "no difference".into() } else { format!("{differ} differences") };
    format!(
        "Their rules page {} times and {} page {}; tickets {} and {}; {end}",
        theirs.pages, ours.name, ours.pages, theirs.tickets, ours.tickets
    )
}
