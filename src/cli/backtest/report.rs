//! What came of it, for people, machines and pull requests.

use std::fmt::Write as _;

use serde::Serialize;

use super::decisions::CountedDecisions;
use super::events::Label;
use super::lived::{self, Episode, Flipped};
use super::source::shown;
use super::truth::Truth;
use crate::cli::table::Table;
use crate::engine::alert::AlertKind;
use crate::gate::ReasonCode;

/// Differences that a report lists at most.
const LISTED_MAX: usize = 50;

/// What is told of a decision that would have been another one.
const FLIPS: [&str; 8] = ["decision", "when", "service", "asked by", "was", "would be", "no more", "new"];

/// A range under some policies.
#[derive(Serialize)]
pub struct Report {
    pub from: i64,
    pub to: i64,
    pub incidents: Vec<Label>,
    pub lived: Vec<Lived>,
    /// Only where an audit log was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decisions: Option<CountedDecisions>,
    /// The most that counts took at any moment, bytes.
    pub held_bytes: usize,
    /// Limits that are broken, in words.
    pub broken: Vec<String>,
}

/// What one policy would have sent.
#[derive(Serialize)]
pub struct Lived {
    pub name: String,
    /// Somebody else's clauses.
    pub peer: bool,
    pub pages: usize,
    pub tickets: usize,
    /// Hours in which a page was out.
    pub paging_h: f64,
    /// Only where incidents were given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub truth: Option<Truth>,
    pub episodes: Vec<Episode>,
    /// Decisions of the gate that are others than under the first policy; of the first, than they were.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub flips: Vec<Flipped>,
}

impl Lived {
    /// Episodes of a kind.
    pub fn of(&self, kind: AlertKind) -> impl Iterator<Item = &Episode> {
        self.episodes.iter().filter(move |episode| episode.kind == kind)
    }
}

impl Report {
    pub fn of(all: Vec<lived::Lived>, incidents: Vec<Label>, (from, to): (i64, i64)) -> Report {
        let one = |lived: lived::Lived| {
            let truth = (!incidents.is_empty()).then(|| Truth::of(&lived.episodes, &incidents));
            let count = |kind| lived.episodes.iter().filter(|episode| episode.kind == kind).count();
            let pages = lived.episodes.iter().filter(|episode| episode.kind == AlertKind::FastBurn);
            let paging_s: i64 = pages.map(|episode| episode.to.unwrap_or(to) - episode.from).sum();
            Lived {
                pages: count(AlertKind::FastBurn),
                tickets: count(AlertKind::SlowBurn),
                paging_h: paging_s as f64 / 3600.0,
                truth,
                peer: lived.policy.is_peer(),
                name: lived.policy.name,
                episodes: lived.episodes,
                flips: lived.flips,
            }
        };
        let lived = all.into_iter().map(one).collect();
        Report { from, to, incidents, lived, decisions: None, held_bytes: 0, broken: Vec::new() }
    }

    pub fn json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("a report has string keys only");
        text.push('\n');
        text
    }

    fn heading(&self) -> String {
        let days = (self.to - self.from) as f64 / 86_400.0;
        format!("{} to {} ({days:.1} days)", shown(self.from), shown(self.to))
    }

    pub fn text(&self) -> String {
        let mut table = Table::new([
            "policy",
            "pages",
            "tickets",
            "hours paging",
            "spent at a page",
            "incidents found",
            "false pages",
        ]);
        for lived in &self.lived {
            table.push(summary(lived));
        }
        let mut text = format!("{}\n\n{}", self.heading(), table.print());
        let mut list = Table::new(["from", "for", "policy", "kind", "slo", "spent", "budget left"]);
        let mut all: Vec<(&Lived, &Episode)> =
            self.lived.iter().flat_map(|lived| lived.episodes.iter().map(move |episode| (lived, episode))).collect();
        all.sort_by_key(|(_, episode)| episode.from);
        for (lived, episode) in &all {
            list.push([
                shown(episode.from),
                length(episode),
                lived.name.clone(),
                episode.kind.as_str().to_owned(),
                name(episode),
                percent(episode.spent),
                percent(episode.budget_left),
            ]);
        }
        if !all.is_empty() {
            let _ = write!(text, "\n{}", list.print());
        }
        if let Some(counted) = &self.decisions {
            let mut table = Table::new(FLIPS);
            self.flips().for_each(|row| table.push(row));
            let _ = writeln!(text, "\n{}", counted.text(self.flips().count()));
            if self.flips().next().is_some() {
                text += &table.print();
            }
        }
        text
    }

    /// Decisions that are others, with the policy under which they are.
    fn flips(&self) -> impl Iterator<Item = [String; 8]> {
        let first = self.lived.iter().find(|lived| !lived.peer).map(|lived| lived.name.as_str());
        self.lived.iter().flat_map(move |lived| {
            let against = first.filter(|first| *first != lived.name).unwrap_or("recorded");
            lived.flips.iter().map(move |Flipped { decision_id, flip }| {
                let codes =
                    |codes: &[ReasonCode]| codes.iter().map(|code| code.as_str()).collect::<Vec<_>>().join(", ");
                [
                    decision_id.clone(),
                    shown(flip.at),
                    flip.service.clone(),
                    flip.sub.clone(),
                    format!("{against}: {}", flip.before.as_str()),
                    format!("{}: {}", lived.name, flip.after.as_str()),
                    codes(&flip.gone),
                    codes(&flip.new),
                ]
            })
        })
    }

    /// `beside` takes the place of what two policies differ in.
    pub fn markdown(&self, beside: Option<String>) -> String {
        let mut text = format!("### What would have paged: {}\n\n", self.heading());
        text += "| policy | pages | tickets | hours paging | spent at a page | incidents found | false pages |\n|---|---|---|---|---|---|---|\n";
        for lived in &self.lived {
            let _ = writeln!(text, "| {} |", summary(lived).join(" | "));
        }
        for broken in &self.broken {
            let _ = writeln!(text, "\n**{broken}**");
        }
        match (beside, self.lived.as_slice()) {
            (Some(found), _) => text += &found,
            (None, [a, b, ..]) => text += &differences(a, b),
            _ => {}
        }
        if let Some(counted) = &self.decisions {
            let flips: Vec<[String; 8]> = self.flips().collect();
            let _ = writeln!(text, "\n{}", counted.text(flips.len()));
            if !flips.is_empty() {
                let _ = writeln!(text, "\n| {} |\n|{}", FLIPS.join(" | "), "---|".repeat(FLIPS.len()));
            }
            for row in flips.iter().take(LISTED_MAX) {
                let _ = writeln!(text, "| {} |", row.join(" | "));
            }
            if flips.len() > LISTED_MAX {
                let _ = writeln!(text, "\n{} more are not listed.", flips.len() - LISTED_MAX);
            }
        }
        text
    }
}

/// What pages under one of two policies and not under the other, and what pages at another time.
fn differences(a: &Lived, b: &Lived) -> String {
    let meets = |one: &Episode, other: &Episode| {
        (&one.slo, &one.series) == (&other.slo, &other.series)
            && one.from < other.to.unwrap_or(i64::MAX)
            && other.from < one.to.unwrap_or(i64::MAX)
    };
    let mut rows: Vec<(i64, String)> = Vec::new();
    for (one, other) in [(a, b), (b, a)] {
        let alone = one.of(AlertKind::FastBurn).filter(|page| !other.of(AlertKind::FastBurn).any(|of| meets(page, of)));
        let row = |page: &Episode| {
            let cells = [shown(page.from), name(page), format!("only {}", one.name), length(page), percent(page.spent)];
            (page.from, format!("| {} |", cells.join(" | ")))
        };
        rows.extend(alone.map(row));
    }
    for page in a.of(AlertKind::FastBurn) {
        let Some(of) = b.of(AlertKind::FastBurn).find(|of| meets(page, of)).filter(|of| of.from != page.from) else {
            continue;
        };
        let later_min = (of.from - page.from) as f64 / 60.0;
        let when =
            format!("{} {:.1} min {}", b.name, later_min.abs(), if later_min > 0.0 { "later" } else { "earlier" });
        let cells =
            [shown(page.from), name(page), when, format!("{} / {}", length(page), length(of)), percent(of.spent)];
        rows.push((page.from, format!("| {} |", cells.join(" | "))));
    }
    rows.sort();
    if rows.is_empty() {
        return format!("\nEvery page of {} is one of {}, at the same moment.\n", a.name, b.name);
    }
    let more = rows.len().saturating_sub(LISTED_MAX);
    let mut text = format!("\n{} and {} differ in {} pages:\n\n", a.name, b.name, rows.len());
    text += "| when | slo | which | for | spent |\n|---|---|---|---|---|\n";
    for (_, row) in rows.iter().take(LISTED_MAX) {
        let _ = writeln!(text, "{row}");
    }
    if more > 0 {
        let _ = writeln!(text, "\n{more} more are not listed.");
    }
    text
}

fn summary(lived: &Lived) -> [String; 7] {
    let spent: Vec<f64> = lived.of(AlertKind::FastBurn).filter_map(|page| page.spent).collect();
    let mean = (!spent.is_empty()).then(|| spent.iter().sum::<f64>() / spent.len() as f64);
    let (found, wrong) = match &lived.truth {
        None => ("-".to_owned(), "-".to_owned()),
        Some(truth) => {
            let minutes = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.1} min"));
            let found = format!(
                "{} of {}, after {}, over {} after its end",
                truth.found,
                truth.incidents,
                minutes(truth.delay_min),
                minutes(truth.reset_min)
            );
            (found, truth.false_pages.to_string())
        }
    };
    let hours = format!("{:.1}", lived.paging_h);
    [lived.name.clone(), lived.pages.to_string(), lived.tickets.to_string(), hours, percent(mean), found, wrong]
}

pub fn name(episode: &Episode) -> String {
    if episode.series.is_empty() { episode.slo.clone() } else { format!("{}{}", episode.slo, episode.series) }
}

pub fn length(episode: &Episode) -> String {
    match episode.to {
        None => "goes on".into(),
        Some(to) => crate::spec::TimeSpan::from_seconds(to - episode.from)
            .map_or_else(|| format!("{}s", to - episode.from), |span| span.to_string()),
    }
}

fn percent(share: Option<f64>) -> String {
    share.map_or("-".into(), |share| format!("{:.1} %", share * 100.0))
}
