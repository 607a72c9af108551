//! A random truth, and the samples that are left of it after random mishaps on their way.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::query::samples::{RawSeries, Samples};

/// Time between scrapes, milliseconds.
pub const EVERY_MS: i64 = 30_000;
/// A glitch reads too low by so many events at most.
pub const GLITCH_MAX: u64 = 3;
const FROM_MS: i64 = 1_790_000_000_000;

/// What happens at a scrape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mishap {
    /// The process dies some time since the scrape before and begins anew; that many scrapes have no answer.
    Restart { away: u8 },
    /// Nobody scrapes for a while.
    Hole { scrapes: u8 },
    /// A label of the target is added, or has another name.
    Relabel,
    /// The same of a label of one series: of the good, or of the bad ones.
    RelabelOne { bad: bool },
    /// The last change of the target's labels is taken back.
    TakeBack,
    /// A label of the target has its other value, as where another replica is read from now on.
    Turn,
    /// The same of the labels of one series.
    TakeOneBack { bad: bool },
    /// One series reads too low, once.
    Glitch { bad: bool, less: u8 },
    /// A merged replica adds, a second later, what the scrape before saw.
    Older,
    /// The error series is not shown for a while.
    Hide { scrapes: u8 },
    /// The error series is forgotten for want of errors, which come again later than this many scrapes: it begins at nothing.
    Expire { scrapes: u8 },
    /// From here on another cluster has a target of the same address, older and busier.
    Double,
}

/// A truth and what befalls its samples.
#[derive(Debug, Clone)]
pub struct Story {
    pub seed: u64,
    /// Events between two scrapes, at most.
    pub pace: u64,
    /// Bad ones in a thousand.
    pub bad: u64,
    /// Events counted before the first scrape, good and bad.
    pub before: (u64, u64),
    pub scrapes: usize,
    pub mishaps: BTreeMap<usize, Mishap>,
    /// Whether the process says when it began.
    pub says_start: bool,
    /// Scrapes between reads, by turns.
    pub reads: Vec<usize>,
}

/// What a reader could know, and what is true.
#[derive(Debug)]
pub struct Told {
    pub series: Vec<RawSeries>,
    /// `(total, bad)` that the scrapes show.
    pub truth: (u64, u64),
    /// End of the last scrape, milliseconds.
    pub until_ms: i64,
}

fn mishap() -> impl Strategy<Value = Mishap> {
    prop_oneof![
        (0u8..3).prop_map(|away| Mishap::Restart { away }),
        (1u8..20).prop_map(|scrapes| Mishap::Hole { scrapes }),
        Just(Mishap::Relabel),
        any::<bool>().prop_map(|bad| Mishap::RelabelOne { bad }),
        Just(Mishap::TakeBack),
        Just(Mishap::Turn),
        any::<bool>().prop_map(|bad| Mishap::TakeOneBack { bad }),
        (any::<bool>(), 1..=GLITCH_MAX as u8).prop_map(|(bad, less)| Mishap::Glitch { bad, less }),
        Just(Mishap::Older),
        (1u8..60).prop_map(|scrapes| Mishap::Hide { scrapes }),
        (4u8..30).prop_map(|scrapes| Mishap::Expire { scrapes }),
        Just(Mishap::Double),
    ]
}

/// Any story of a counter that is no trickle, and whose process says when it began: what is left without the two is read
/// by rules of likelihood, which a seed in thousands defeats.
pub fn any_story() -> impl Strategy<Value = Story> {
    let before = prop_oneof![Just((0, 0)), (0u64..2_000_000, 0u64..50_000)];
    let pace = 100u64..3000;
    let bad = prop_oneof![Just(0u64), 1u64..30, 1u64..1000];
    // What was forgotten under one name and counted on under another cannot be told when the first name comes back.
    let mishaps = proptest::collection::btree_map(2usize..90, mishap(), 0..7).prop_map(|mut mishaps| {
        if mishaps.values().any(|mishap| matches!(mishap, Mishap::Expire { .. })) {
            mishaps.retain(|_, mishap| !matches!(mishap, Mishap::TakeBack | Mishap::TakeOneBack { .. } | Mishap::Turn));
        }
        mishaps
    });
    let reads = proptest::collection::vec(1usize..25, 1..6);
    let truth = (any::<u64>(), pace, bad, before);
    (truth, 5usize..100, mishaps, Just(true), reads).prop_map(
        |((seed, pace, bad, before), scrapes, mishaps, says_start, reads)| Story {
            seed,
            pace,
            bad,
            before,
            scrapes,
            mishaps,
            says_start,
            reads,
        },
    )
}

/// One whose mishaps are ordinary and lie apart, so that every event can be counted: a busy process of some age, and
/// nothing that looks like something else.
pub fn plain_story() -> impl Strategy<Value = Story> {
    let kinds = prop_oneof![
        (0u8..2).prop_map(|away| Mishap::Restart { away }),
        (1u8..6).prop_map(|scrapes| Mishap::Hole { scrapes }),
        Just(Mishap::Relabel),
        Just(Mishap::TakeBack),
        Just(Mishap::Turn),
        (1u8..8).prop_map(|scrapes| Mishap::Hide { scrapes }),
    ];
    // Forgotten early, as long as it stands high: one that had little may come back with more, and nobody can tell.
    let forgotten = proptest::option::weighted(0.3, (4u8..8).prop_map(|scrapes| Mishap::Expire { scrapes }));
    let mishaps = (forgotten, proptest::collection::vec(kinds, 0..6)).prop_map(|(forgotten, kinds)| {
        let kinds = forgotten.into_iter().chain(kinds);
        kinds.enumerate().map(|(n, kind)| (12 + 14 * n, kind)).collect::<BTreeMap<_, _>>()
    });
    (any_story(), mishaps, 10u64..3000).prop_map(|(story, mishaps, pace)| Story {
        pace,
        bad: story.bad.max(20),
        before: (500_000 + story.before.0, 20_000 + story.before.1),
        scrapes: 100,
        mishaps,
        ..story
    })
}

/// A process that counts.
#[derive(Debug, Default)]
struct Process {
    good: u64,
    bad: u64,
    /// As of its last scrape: `None` before the first one.
    shown: Option<(u64, u64)>,
    started_ms: i64,
}

impl Process {
    fn work(&mut self, story: &Story, per_mille: u64, busier: u64, turn: u64) {
        let events = hash(story.seed, turn * 2) % (story.pace * busier + 1);
        let bad = (0..events.min(4000)).filter(|&i| hash(story.seed ^ 0xBAD, turn << 12 | i) % 1000 < per_mille).count()
            as u64;
        self.good += events - bad;
        self.bad += bad;
    }

    /// Its exporter forgets the errors.
    fn forget_errors(&mut self) {
        self.shown = self.shown.map(|(total, bad)| (total - bad, 0));
        self.bad = 0;
    }

    /// What a scrape is the first to show: of a process that began before there were scrapes, the first one shows nothing new.
    fn scraped(&mut self, truth: &mut (u64, u64)) {
        if let Some((total, bad)) = self.shown {
            truth.0 += self.good + self.bad - total;
            truth.1 += self.bad - bad;
        }
        self.shown = Some((self.good + self.bad, self.bad));
    }
}

/// Samples by label set.
#[derive(Debug, Default)]
struct Samplings(BTreeMap<LabelSet, Vec<(i64, f64)>>);

type LabelSet = Vec<(String, String)>;

impl Samplings {
    fn push(&mut self, name: &str, extra: &[(&str, &str)], at_ms: i64, value: f64) {
        let own = [("__name__", name), ("instance", "i1"), ("job", "j"), ("service", "a")];
        let mut labels: Vec<(String, String)> = own
            .iter()
            .chain(extra)
            .filter(|(name, _)| !name.is_empty())
            .map(|&(n, v)| (n.to_owned(), v.to_owned()))
            .collect();
        labels.sort();
        self.0.entry(labels).or_default().push((at_ms, value));
    }
}

impl Story {
    /// Plays it.
    pub fn told(&self) -> Told {
        let mut out = Samplings::default();
        let mut truth = (0, 0);
        let mut process = Process { good: self.before.0, bad: self.before.1, ..Process::default() };
        // What a young process counted before its first scrape is news to a reader that was there before it.
        let young = self.before == (0, 0);
        process.started_ms = FROM_MS - if young { 12_000 } else { 86_400_000 * 3 };
        process.shown = young.then_some((0, 0));
        let mut other: Option<Process> = None;
        let (mut team, mut own) = (0u32, [0u32; 2]);
        let (mut unseen, mut hidden, mut faultless) = (0u8, 0u8, 0u8);
        let mut replica = "a";
        let mut before: Option<(u64, u64)> = None;
        let mut at_ms = FROM_MS;
        for scrape in 0..self.scrapes {
            at_ms = FROM_MS + scrape as i64 * EVERY_MS + (hash(self.seed ^ 0x7E, scrape as u64) % 40) as i64;
            let (mut glitch, mut older) = ([0u64; 2], false);
            match self.mishaps.get(&scrape) {
                Some(&Mishap::Restart { away }) => {
                    process = Process { shown: Some((0, 0)), started_ms: at_ms - 11_000, ..Process::default() };
                    unseen = unseen.max(away);
                }
                Some(&Mishap::Hole { scrapes }) => unseen = unseen.max(scrapes),
                Some(Mishap::Relabel) => team += 1,
                Some(&Mishap::RelabelOne { bad }) => own[usize::from(bad)] += 1,
                Some(Mishap::TakeBack) => team = team.saturating_sub(1),
                Some(Mishap::Turn) => replica = if replica == "a" { "b" } else { "a" },
                Some(&Mishap::TakeOneBack { bad }) => {
                    own[usize::from(bad)] = own[usize::from(bad)].saturating_sub(1);
                }
                Some(&Mishap::Glitch { bad, less }) => glitch[usize::from(bad)] = u64::from(less),
                Some(Mishap::Older) => older = true,
                Some(&Mishap::Hide { scrapes }) => hidden = hidden.max(scrapes),
                Some(&Mishap::Expire { scrapes }) => {
                    process.forget_errors();
                    faultless = faultless.max(scrapes);
                }
                Some(Mishap::Double) => {
                    let (good, bad) = (3_000_000 + self.seed % 1_000_000, 7_000);
                    other.get_or_insert(Process { good, bad, ..Process::default() });
                }
                None => {}
            }
            process.work(self, if faultless > 0 { 0 } else { self.bad }, 1, scrape as u64);
            faultless = faultless.saturating_sub(1);
            if let Some(other) = &mut other {
                other.work(self, self.bad, 2, 1000 + scrape as u64);
            }
            if unseen > 0 {
                unseen -= 1;
                continue;
            }
            process.scraped(&mut truth);
            let label = |name: &str, which: u32| if which == 0 { String::new() } else { format!("{name}{which}") };
            let (team, own) = (label("team", team), own.map(|which| label("own", which)));
            let shows_bad = hidden == 0;
            hidden = hidden.saturating_sub(1);
            let mut show = |at_ms: i64, good: u64, bad: u64| {
                out.push(
                    "req_total",
                    &[("code", "200"), (own[0].as_str(), "x"), (team.as_str(), "x"), ("replica", replica)],
                    at_ms,
                    good as f64,
                );
                if shows_bad && bad > 0 {
                    out.push(
                        "req_total",
                        &[("code", "500"), (own[1].as_str(), "x"), (team.as_str(), "x"), ("replica", replica)],
                        at_ms,
                        bad as f64,
                    );
                }
            };
            show(at_ms, process.good.saturating_sub(glitch[0]), process.bad.saturating_sub(glitch[1]));
            if let Some((good, bad)) = before.filter(|_| older) {
                show(at_ms + 1_040, good, bad);
            }
            before = Some((process.good, process.bad));
            let target = [(team.as_str(), "x"), ("replica", replica)];
            out.push("up", &target, at_ms, 1.0);
            if self.says_start {
                out.push("process_start_time_seconds", &target, at_ms, process.started_ms as f64 / 1000.0);
            }
            if let Some(other) = &mut other {
                other.scraped(&mut truth);
                let (at_ms, cluster) = (at_ms + 11_213, ("cluster", "west"));
                out.push("req_total", &[("code", "200"), cluster], at_ms, other.good as f64);
                out.push("req_total", &[("code", "500"), cluster], at_ms, other.bad as f64);
                out.push("up", &[cluster], at_ms, 1.0);
                if self.says_start {
                    out.push("process_start_time_seconds", &[cluster], at_ms, (FROM_MS / 1000 - 400_000) as f64);
                }
            }
        }
        let series = out
            .0
            .into_iter()
            .map(|(labels, samples)| RawSeries { labels: labels.into(), samples: Samples::new(samples) });
        Told { series: series.collect(), truth, until_ms: at_ms + 15_000 }
    }
}

/// Chance that is the same each time.
fn hash(seed: u64, n: u64) -> u64 {
    let mut z = seed ^ n.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
