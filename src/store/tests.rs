//! Each test keeps a live ledger beside the store, commits as the daemon does, and puts the state file together again.

use std::path::{Path, PathBuf};
use std::time::Instant;

use super::*;
use crate::engine::alert::AlertMachine;
use crate::engine::{Coverage, Slo, SloState, Unit, WindowSum};

const RES: i64 = 30;
/// Midnight of some day.
const T0: i64 = 1_790_035_200;
const DAY: i64 = 86_400;

fn slo(id: &str, unit: Unit) -> Slo {
    Slo {
        id: id.into(),
        service: id.into(),
        name: "x".into(),
        owner: "team".into(),
        objective: 99.0,
        window_s: 30 * DAY,
        terms: Default::default(),
        unit,
        burn: Vec::new(),
        confidence: None,
        weigh: Default::default(),
        severity: Vec::new(),
        by: Vec::new(),
        series_max: 100,
        annotations: Default::default(),
        labels: Default::default(),
        alerts: std::collections::BTreeMap::new(),
        mute: Vec::new(),
        resolution_s: None,
    }
}

/// A daemon's life as the store sees it.
struct Life {
    dir: PathBuf,
    _own: Option<tempfile::TempDir>,
    slos: Vec<Slo>,
    store: Store,
    ledger: Ledger,
    book: AlertMachine,
    statuses: Vec<(String, SeriesStatus)>,
    unfilled: BTreeSet<String>,
}

fn definitions_of(slos: &[Slo]) -> HashMap<String, String> {
    slos.iter().map(|slo| (slo.id.clone(), format!("{:?}", slo.unit))).collect()
}

impl Life {
    fn new(slos: Vec<Slo>) -> Self {
        let own = tempfile::tempdir().expect("a temporary folder");
        let dir = own.path().to_owned();
        let store = Store::open(&dir, RES, definitions_of(&slos)).expect("a new state file");
        Life {
            dir,
            _own: Some(own),
            slos,
            store,
            ledger: Ledger::new(RES),
            book: AlertMachine::new(),
            statuses: Vec::new(),
            unfilled: BTreeSet::new(),
        }
    }

    fn one() -> Self {
        Life::new(vec![slo("a", Unit::Events)])
    }

    fn book(&mut self, labels: &Labels, slices: Vec<SliceDelta>) -> Vec<(SeriesKey, Vec<SliceDelta>)> {
        let slos = self.slos.clone();
        let keyed = slos.iter().map(|slo| {
            self.ledger.series_mut(slo, labels).apply(&slices);
            (SeriesKey { slo_id: slo.id.clone(), labels: labels.clone() }, slices.clone())
        });
        keyed.collect()
    }

    fn commit(&mut self, at_s: i64, booked: &[(SeriesKey, Vec<SliceDelta>)]) -> Result<(), StoreError> {
        self.commit_joined(Now { at: at_s, trusted: true }, booked, &BTreeSet::new())?;
        while self.store.fold_some(&self.ledger, &BTreeSet::new())? {}
        Ok(())
    }

    fn commit_joined(
        &mut self,
        now: Now,
        booked: &[(SeriesKey, Vec<SliceDelta>)],
        joined: &BTreeSet<SeriesKey>,
    ) -> Result<(), StoreError> {
        let statuses: Vec<_> = self.statuses.iter().map(|(id, status)| (id.as_str(), status)).collect();
        self.store.commit(&Commit {
            now,
            position: now.at.to_string().into_bytes(),
            alerts: &self.book,
            statuses: &statuses,
            booked,
            ledger: &self.ledger,
            joined,
            unfilled: &self.unfilled,
            oldest_s: now.at - 32 * DAY,
        })
    }

    /// Polls each `step_s` up to `to_s`; every slice has its number's worth of events.
    fn live(&mut self, from_s: i64, to_s: i64, step_s: i64) {
        let mut at_s = from_s;
        while at_s < to_s {
            let next = (at_s + step_s).min(to_s);
            let booked = self.book(&Labels::new(), slices(at_s, next));
            self.commit(next, &booked).expect("a commit");
            at_s = next;
        }
    }

    fn keys(&self) -> Vec<SeriesKey> {
        let of = |slo: &Slo| -> Vec<SeriesKey> {
            let key = |labels: &Labels| SeriesKey { slo_id: slo.id.clone(), labels: labels.clone() };
            self.ledger.of(&slo.id).map(|(labels, _)| key(labels)).collect()
        };
        self.slos.iter().flat_map(of).collect()
    }

    /// Closes the file as a kill would, opens it again and answers what is in it.
    fn restart(&mut self) -> (Restored, Ledger) {
        let slos = self.slos.clone();
        self.reopen(&slos)
    }

    fn reopen(&mut self, slos: &[Slo]) -> (Restored, Ledger) {
        // The old connection holds the lock.
        self.store.db = Connection::open_in_memory().expect("memory");
        self.store = Store::open(&self.dir, RES, definitions_of(slos)).expect("it opens again");
        let saved = self.store.load().expect("it is whole").expect("something was saved");
        (saved, self.replayed(slos))
    }

    fn replayed(&self, slos: &[Slo]) -> Ledger {
        let mut ledger = Ledger::new(RES);
        let slo = |key: &SeriesKey| slos.iter().find(|slo| slo.id == key.slo_id).expect("an SLO in force");
        let found = self.store.ledgers(|key| Some(ledger.empty(slo(key)))).expect("every row can be read");
        for (key, series) in found {
            ledger.put_back(&key.slo_id, key.labels, series);
        }
        ledger
    }

    fn count(&self, table: &str) -> i64 {
        self.store.db.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).expect("a number")
    }

    /// Every window that burn policies and budgets ask for, at the last slices.
    fn assert_same(&self, restored: &Ledger, at_s: i64, what: &str) {
        let lengths = [300, 1800, 3600, 2 * 3600, 6 * 3600, DAY, 3 * DAY, 30 * DAY];
        for key in self.keys() {
            // A series that fell silent keeps its slices in memory for as long as nothing newer comes; on disk only its
            // five-minute slots stay. Windows whose edge cuts one of them may differ by an event.
            let silent = self.ledger.get(&key.slo_id, &key.labels).and_then(|series| series.newest())
                < Some((at_s - JOURNAL_S) / RES);
            let (lengths, backs): (&[i64], &[i64]) =
                if silent { (&lengths[7..], &[0]) } else { (&lengths, &[0, RES, 7 * RES]) };
            for back_s in backs {
                let windows = |ledger: &Ledger| -> Vec<WindowSum> {
                    let series = ledger.get(&key.slo_id, &key.labels).expect("the series");
                    lengths.iter().map(|&length_s| series.window(at_s - back_s, length_s)).collect()
                };
                assert_eq!(windows(restored), windows(&self.ledger), "{what}: {key:?}, {back_s} s back");
            }
            // Of what is known by the hour only, the newest slice is not.
            let in_journal = |newest: &i64| *newest >= (at_s - JOURNAL_S) / RES;
            let newest =
                |ledger: &Ledger| ledger.get(&key.slo_id, &key.labels).and_then(|s| s.newest()).filter(in_journal);
            assert_eq!(newest(restored), newest(&self.ledger), "{what}: {key:?}");
        }
    }
}

/// Slices that differ from each other: some idle, some partial, some unknown.
fn slices(from_s: i64, to_s: i64) -> Vec<SliceDelta> {
    (from_s / RES..to_s / RES)
        .filter(|slice| slice % 97 != 0)
        .map(|slice| {
            let coverage = if slice % 41 == 0 { Coverage::Partial } else { Coverage::Known };
            let total = (slice % 13).unsigned_abs();
            SliceDelta { slice, total, bad: u64::from(slice % 29 == 0 && total > 0), coverage }
        })
        .collect()
}

fn status(state: SloState, since: i64) -> SeriesStatus {
    use crate::engine::status::{DataHealth, DataReason, DataState, WindowStatus};
    SeriesStatus {
        labels: Labels::new(),
        at: since,
        state,
        since: Some(since),
        data: DataHealth { state: DataState::Fresh, reason: DataReason::None, newest: Some(since) },
        budget_remaining: None,
        exhaustion_s: None,
        window: WindowStatus {
            window_s: 30 * DAY,
            total: 0,
            bad: 0,
            error_ratio: None,
            burn_rate: None,
            undecided: None,
            bad_bounds: None,
        },
        coverage: 0.0,
        windows: Vec::new(),
        clauses: Vec::new(),
        page: None,
        ticket: None,
        onset: None,
        budgets: Vec::new(),
    }
}

#[test]
fn nothing_was_saved_before_the_first_commit() {
    let mut life = Life::one();
    assert!(life.store.load().expect("an empty file").is_none());
    assert!(life.replayed(&life.slos.clone()).is_empty());
}

#[test]
fn everything_comes_back_as_it_was() {
    let mut life = Life::one();
    life.unfilled.insert("a".into());
    life.statuses = vec![("a".into(), status(SloState::FastBurn, T0 + 60))];
    life.live(T0, T0 + 3600, 30);
    life.statuses[0].1.budget_remaining = Some(0.5);
    life.live(T0 + 3600, T0 + 3630, 30);
    let (saved, ledger) = life.restart();
    assert_eq!((saved.at_s, saved.position), (T0 + 3630, (T0 + 3630).to_string().into_bytes()));
    assert_eq!(saved.unfilled, life.unfilled);
    assert_eq!(saved.alerts, life.book);
    assert_eq!((saved.statuses[0].1.state, saved.statuses[0].1.since), (SloState::FastBurn, Some(T0 + 60)));
    life.assert_same(&ledger, T0 + 3630, "after an hour");
}

/// Events, and quantile slices that are judged on what lies before them.
#[test]
fn hours_leave_the_journal_without_a_trace() {
    let judged = Unit::QuantileSlices { quantile: 0.95 };
    let mut life = Life::new(vec![slo("a", Unit::Events), slo("b", judged), slo("c", Unit::GaugeSlices)]);
    // Restarts at moments that lie differently to the hour, each after a stretch with another poll interval.
    let mut at_s = T0;
    for (stretch_s, step_s) in [(6 * 3600, 300), (3 * 3600 + 30, 30), (3570, 60), (15 * 3600, 600), (DAY * 4, 1800)] {
        life.live(at_s, at_s + stretch_s, step_s);
        at_s += stretch_s;
        let (saved, ledger) = life.restart();
        assert_eq!(saved.at_s, at_s);
        life.assert_same(&ledger, at_s, &format!("{} s after the start", at_s - T0));
        // The next life goes on from what the store gave, as a daemon does.
        life.ledger = ledger;
    }
}

#[test]
fn a_long_gap_is_caught_up_whole() {
    let mut life = Life::one();
    life.live(T0, T0 + 3600, 30);
    // Twenty hours in one poll, oldest first.
    let booked = life.book(&Labels::new(), slices(T0 + 3600, T0 + 21 * 3600));
    life.commit(T0 + 21 * 3600, &booked).expect("a commit");
    let (_, ledger) = life.restart();
    life.assert_same(&ledger, T0 + 21 * 3600, "a gap of 20 h");
    // A gap longer than everything that is kept finely.
    let late = T0 + 12 * DAY;
    let booked = life.book(&Labels::new(), slices(late - 60, late));
    life.commit(late, &booked).expect("a commit");
    let (_, ledger) = life.restart();
    life.assert_same(&ledger, late, "a gap of days");
}

#[test]
fn late_samples_reach_the_hours_they_belong_to() {
    let mut life = Life::one();
    life.live(T0, T0 + 30 * 3600, 300);
    let at_s = T0 + 30 * 3600;
    let mut late = slices(at_s - 20 * 3600, at_s - 20 * 3600 + 300);
    late.extend(slices(at_s, at_s + 300));
    let booked = life.book(&Labels::new(), late);
    life.commit(at_s + 300, &booked).expect("a commit");
    let (_, ledger) = life.restart();
    life.assert_same(&ledger, at_s + 300, "20 h late");
}

#[test]
fn joined_history_survives_whatever_it_was_made_of() {
    for coarse in [false, true] {
        let mut life = Life::one();
        let at_s = T0 + 20 * DAY + 1230;
        life.live(at_s - 6 * 3600, at_s, 30);
        let labels = Labels::new();
        let mut older = crate::engine::SeriesLedger::new(RES, Unit::Events, 30 * DAY);
        let (from_s, to_s) = (T0 / HOUR_S * HOUR_S, (at_s - 6 * 3600) / 300 * 300);
        if coarse {
            let mut start_s = from_s;
            while start_s < to_s {
                let span_s = if start_s + 4 * DAY < to_s { 3600 } else { 300 };
                older.apply_coarse(start_s, span_s, 1000, 7, Coverage::Known);
                start_s += span_s;
            }
        } else {
            older.apply(&slices(from_s, to_s));
        }
        assert!(life.ledger.series_mut(&life.slos[0].clone(), &labels).absorb_older(older, i64::MIN, &[]));
        let joint = SliceDelta { slice: to_s / RES, total: 5, bad: 5, coverage: Coverage::Known };
        life.ledger.series_mut(&life.slos[0].clone(), &labels).apply(&[joint]);
        let keys = life.keys();
        let keys = keys.into_iter().collect();
        life.commit_joined(Now { at: at_s, trusted: true }, &[], &keys).expect("a commit");
        life.store.write_some(&life.keys(), &life.ledger, &BTreeSet::new()).expect("written");
        let (_, ledger) = life.restart();
        life.assert_same(&ledger, at_s, "just joined");
        life.live(at_s, at_s + 12 * 3600, 60);
        let (_, ledger) = life.restart();
        life.assert_same(&ledger, at_s + 12 * 3600, "half a day later");
    }
}

#[test]
fn a_commit_is_all_or_nothing_and_what_failed_is_written_later() {
    let mut life = Life::one();
    life.live(T0, T0 + 9 * 3600, 300);
    let before = life.restart().0;
    // No page may be added: every commit runs into a full disk somewhere in its middle.
    let pages: i64 = life.store.db.pragma_query_value(None, "page_count", |row| row.get(0)).expect("a number");
    life.store.db.pragma_update(None, "max_page_count", pages).expect("a pragma");
    let mut at_s = T0 + 9 * 3600;
    let mut failed = 0;
    for n in 0..300 {
        let labels = Labels::from_iter([("model", format!("m{n}"))]);
        let booked = life.book(&labels, slices(at_s, at_s + 300));
        at_s += 300;
        if let Err(error) = life.commit(at_s, &booked) {
            failed += 1;
            assert!(error.to_string().contains("disk is full"), "{error}");
        }
    }
    assert!(failed > 100, "{failed} commits failed");
    // A kill now finds a state of before, whole: the position of some poll, and no slice after it.
    let copy = tempfile::tempdir().expect("a folder");
    for name in ["state.db", "state.db-wal"] {
        std::fs::copy(life.dir.join(name), copy.path().join(name)).expect("copied");
    }
    let mut killed = Store::open(copy.path(), RES, definitions_of(&life.slos)).expect("it opens");
    let saved = killed.load().expect("it is whole").expect("a state");
    assert!((before.at_s..at_s).contains(&saved.at_s));
    assert_eq!(saved.position, saved.at_s.to_string().into_bytes());
    let read = killed.ledgers(|_| Some(life.ledger.empty(&life.slos[0]))).expect("every row can be read");
    let newest = read.iter().filter_map(|(_, series)| series.newest()).max().expect("something");
    assert!(newest < saved.at_s / RES, "nothing after its position");
    // Space again: the next commit holds what the failed ones held.
    life.store.db.pragma_update(None, "max_page_count", 1_000_000).expect("a pragma");
    let booked = life.book(&Labels::new(), slices(at_s, at_s + 300));
    life.commit(at_s + 300, &booked).expect("there is space again");
    let (saved, ledger) = life.restart();
    assert_eq!(saved.at_s, at_s + 300);
    life.assert_same(&ledger, at_s + 300, "after the failures");
}

#[test]
fn a_changed_definition_drops_history_and_a_changed_objective_does_not() {
    let mut life = Life::new(vec![slo("a", Unit::Events), slo("b", Unit::Events)]);
    life.live(T0, T0 + 3600, 60);
    let kept = Slo { objective: 99.99, window_s: 7 * DAY, ..life.slos[0].clone() };
    let changed = Slo { unit: Unit::GaugeSlices, ..life.slos[1].clone() };
    let (_, ledger) = life.reopen(&[kept.clone(), changed]);
    assert!(ledger.get("a", &Labels::new()).is_some());
    assert!(ledger.get("b", &Labels::new()).is_none());
    // Gone and back again: its history is still there.
    life.store.redefine(definitions_of(std::slice::from_ref(&kept))).expect("redefined");
    life.store.redefine(definitions_of(&life.slos.clone())).expect("redefined");
    assert!(life.replayed(&life.slos.clone()).get("b", &Labels::new()).is_some());
}

#[test]
fn definitions_change_with_the_source_and_not_with_the_objective() {
    let digest = |objective: &str, metric: &str| {
        let text = format!(
            "name: a\nowner: t\nslo:\n  availability: {{objective: {objective}, sli: {{total: '{metric}', bad: '{metric}{{code=\"5\"}}'}}}}\n"
        );
        let loaded = crate::spec::load_text("a.yaml", &text);
        definitions(&loaded.model, 30)["a-availability"].clone()
    };
    assert_eq!(digest("99.9", "m_total"), digest("99.5", "m_total"));
    assert_ne!(digest("99.9", "m_total"), digest("99.9", "n_total"));
    // Stored in state files: a new version must not change it.
    assert_eq!(digest("99.9", "m_total"), "2d2b9edb40dbd87e8b8f7cc237e95cfe 30");
}

#[test]
fn two_daemons_cannot_share_a_state_file() {
    let life = Life::one();
    let error = Store::open(&life.dir, RES, HashMap::new()).expect_err("it is locked").to_string();
    assert!(error.contains("Another process has it open; two daemons need a data directory each"), "{error}");
}

#[test]
fn what_cannot_be_used_says_why() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let open = |dir: &Path| Store::open(dir, RES, HashMap::new()).expect_err("it cannot be used").to_string();

    let file = dir.path().join("a-file");
    std::fs::write(&file, "x").expect("written");
    let error = open(&file.join("state"));
    assert!(error.contains("data directory") && error.contains("cannot be made"), "{error}");

    let taken = dir.path().join("taken");
    std::fs::create_dir_all(taken.join("state.db")).expect("made");
    let error = open(&taken);
    assert!(error.contains("state.db") && error.contains("in a directory that it may write"), "{error}");

    let foreign = dir.path().join("foreign");
    std::fs::create_dir(&foreign).expect("made");
    std::fs::write(foreign.join("state.db"), "certainly no database, but long enough to be looked at".repeat(100))
        .expect("written");
    let error = open(&foreign);
    assert!(error.contains("not a database") && error.contains("Move it away"), "{error}");

    let newer = dir.path().join("newer");
    drop(Store::open(&newer, RES, HashMap::new()).expect("a new one"));
    Connection::open(newer.join("state.db")).and_then(|db| db.pragma_update(None, "user_version", 7)).expect("set");
    let error = open(&newer);
    assert!(error.contains("version 7, this Slowburn reads versions 2 and 3"), "{error}");
}

#[test]
fn a_damaged_row_is_named_and_never_guessed_at() {
    for (sql, at_replay) in [
        ("UPDATE state SET alerts = '[{'", false),
        ("UPDATE status SET status = x'00'", false),
        ("UPDATE series SET labels = 'x'", false),
        ("UPDATE journal SET entry = x'ffffff'", true),
        ("UPDATE hour SET slot = x'ff'", true),
        ("UPDATE five SET slots = 'text'", true),
        ("UPDATE past SET hours = x'ff'", true),
    ] {
        let mut life = Life::one();
        life.statuses = vec![("a".into(), status(SloState::Ok, T0))];
        life.live(T0, T0 + 12 * 3600, 600);
        life.store.db.execute(sql, []).expect("damaged");
        let mut opened = || {
            life.store.db = Connection::open_in_memory().expect("memory");
            life.store = Store::open(&life.dir, RES, definitions_of(&life.slos))?;
            life.store.load()?;
            assert!(at_replay, "{sql}: it was read");
            life.store.ledgers(|_| Some(life.ledger.empty(&life.slos[0]))).map(drop)
        };
        let error = opened().expect_err("it is damaged").to_string();
        assert!(error.contains("a row is damaged") && error.contains("Move it away"), "{sql}: {error}");
    }
}

/// A copy that was not finished, a disk that lost blocks: nothing is guessed, and the message says what to do.
#[test]
fn a_state_file_of_which_a_part_is_gone_is_said_to_be_damaged() {
    let mut life = Life::one();
    life.statuses = vec![("a".into(), status(SloState::Ok, T0))];
    life.live(T0, T0 + 30 * 3600, 600);
    let definitions = definitions_of(&life.slos);
    let empty = life.ledger.empty(&life.slos[0]);
    // What is in the write-ahead log goes to the file when it is closed.
    life.store.db = Connection::open_in_memory().expect("memory");
    let whole = std::fs::read(life.dir.join(FILE)).expect("it is there");
    let read = |bytes: &[u8]| -> Result<(bool, usize), StoreError> {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::write(dir.path().join(FILE), bytes).expect("written");
        let mut store = Store::open(dir.path(), RES, definitions.clone())?;
        let found = store.load()?.is_some();
        Ok((found, store.ledgers(|_| Some(empty.clone()))?.len()))
    };
    assert_eq!(read(&whole).expect("whole"), (true, 1));
    let mut gone = 0;
    for sixteenth in 1..16 {
        let at = whole.len() * sixteenth / 16;
        let mut zeroed = whole.clone();
        zeroed[at..].fill(0);
        let cut = read(&whole[..at]).expect_err(&format!("cut at {at} of {}", whole.len()));
        // Pages that nothing needs may be empty.
        for error in [Some(cut), read(&zeroed).err()].into_iter().flatten().map(|error| error.to_string()) {
            let says = ["damaged", "malformed", "not a database"].iter().any(|word| error.contains(word));
            assert!(says && error.contains("Move it away"), "at {at}: {error}");
            gone += usize::from(error.contains("a part of it is gone"));
        }
    }
    assert!(gone > 0, "some of them begin as a state file does, and hold other values");
}

#[test]
fn another_resolution_is_refused() {
    let mut life = Life::one();
    life.live(T0, T0 + 60, 30);
    life.store.db = Connection::open_in_memory().expect("memory");
    let mut store = Store::open(&life.dir, 60, definitions_of(&life.slos)).expect("it opens");
    let error = store.load().expect_err("slices differ").to_string();
    assert!(error.contains("slices of 30s, now they are 60s"), "{error}");
}

#[test]
fn a_clock_set_back_loses_nothing() {
    let mut life = Life::one();
    life.live(T0, T0 + 10 * 3600, 300);
    life.commit(T0 + 5 * 3600, &[]).expect("a commit");
    let booked = life.book(&Labels::new(), slices(T0 + 10 * 3600, T0 + 10 * 3600 + 60));
    life.commit(T0 + 5 * 3600 + 60, &booked).expect("a commit");
    let (_, ledger) = life.restart();
    life.assert_same(&ledger, T0 + 10 * 3600 + 60, "set back by 5 h");
}

/// Forty days of a series that lives, and of children that come for an hour each day and never again.
#[test]
fn the_file_stops_growing() {
    let mut life = Life::one();
    let mut rows = Vec::new();
    for day in 0..80 {
        let day_s = T0 + day * DAY;
        let child = Labels::from_iter([("model", format!("day-{day}"))]);
        let booked = life.book(&child, slices(day_s, day_s + 3600));
        life.statuses = vec![("a".into(), SeriesStatus { labels: child.clone(), ..status(SloState::Ok, day_s) })];
        life.commit(day_s + 3600, &booked).expect("a commit");
        life.live(day_s + 3600, day_s + DAY, 3600);
        life.statuses.clear();
        let counts: Vec<i64> = ["series", "hour", "five", "journal", "status"].map(|table| life.count(table)).into();
        rows.push(counts);
    }
    println!("rows of series, hour, five, journal, status: day 40 {:?}, day 80 {:?}", rows[39], rows[79]);
    assert_eq!(rows[39], rows[79]);
    assert!(rows[79][0] <= 36 && rows[79][1] <= 34 && rows[79][2] <= 34 && rows[79][3] <= 30, "{:?}", rows[79]);
}

/// Not a time limit, a number to look at: `cargo test --release -- --nocapture ten_thousand`.
#[test]
fn ten_thousand_series_commit_as_one() {
    let mut life = Life::one();
    let labels: Vec<Labels> = (0..10_000).map(|n| Labels::from_iter([("path", format!("/p/{n}"))])).collect();
    let slo = life.slos[0].clone();
    let size = |life: &Life| {
        ["state.db", "state.db-wal"]
            .iter()
            .filter_map(|name| life.dir.join(name).metadata().ok())
            .map(|m| m.len())
            .sum::<u64>()
    };
    let mut last = (0, 0);
    for poll in 0..4 {
        let at_s = T0 + poll * RES;
        let booked: Vec<_> = labels
            .iter()
            .map(|labels| {
                let delta = SliceDelta { slice: at_s / RES, total: 1000, bad: 1, coverage: Coverage::Known };
                life.ledger.series_mut(&slo, labels).apply(&[delta]);
                (SeriesKey { slo_id: slo.id.clone(), labels: labels.clone() }, vec![delta])
            })
            .collect();
        let before = life
            .store
            .db
            .query_row("SELECT coalesce(sum(length(entry)), 0) FROM journal", [], |row| row.get::<_, i64>(0))
            .expect("a number");
        let began = Instant::now();
        life.commit(at_s + RES, &booked).expect("a commit");
        let took = began.elapsed();
        let after: i64 =
            life.store.db.query_row("SELECT sum(length(entry)) FROM journal", [], |row| row.get(0)).expect("a number");
        println!("poll {poll}: {took:?}, {} bytes of journal, file {} bytes", after - before, size(&life));
        last = (after - before, life.count("journal"));
    }
    assert!(last.0 < 150_000, "a poll of 10,000 series takes {} bytes", last.0);
    assert_eq!(last.1, 10_000 + 3);
}

/// One tick of a wrong clock, as far as it may be off: what is kept is what was kept, and stays so.
#[test]
fn a_clock_that_is_wrong_for_a_tick_drops_nothing() {
    for jump_s in [40 * DAY, -2 * 3600, 400 * DAY] {
        let mut life = Life::one();
        life.live(T0, T0 + 3 * DAY, 300);
        let at_s = T0 + 3 * DAY;
        let counts = |life: &Life| ["series", "hour", "five", "past"].map(|table| life.count(table));
        let before = counts(&life);
        let wrong = Now { at: at_s + jump_s, trusted: false };
        life.commit_joined(wrong, &[], &BTreeSet::new()).expect("a commit");
        assert_eq!(counts(&life), before, "{jump_s}");
        life.live(at_s, at_s + 3600, 30);
        let (_, ledger) = life.restart();
        life.assert_same(&ledger, at_s + 3600, &format!("{jump_s} s off for a tick"));
    }
}

/// A kill while joined history is being written: every series is as it was before it or after it, and the file says which
/// of them are still to be read.
#[test]
fn a_kill_between_two_parts_of_joined_history_leaves_the_others_to_be_read_again() {
    let mut life = Life::new(vec![slo("a", Unit::Events), slo("b", Unit::Events)]);
    let at_s = T0 + 20 * DAY + 1230;
    life.live(at_s - 6 * 3600, at_s, 30);
    let recent = life.replayed(&life.slos.clone());
    for slo in life.slos.clone() {
        let mut older = life.ledger.empty(&slo);
        older.apply(&slices(T0, at_s - 6 * 3600));
        assert!(life.ledger.series_mut(&slo, &Labels::new()).absorb_older(older, i64::MIN, &[]));
    }
    let keys: BTreeSet<SeriesKey> = life.keys().into_iter().collect();
    life.unfilled = BTreeSet::from(["a".into(), "b".into()]);
    // Hours turn meanwhile.
    let mut at = at_s;
    while at < at_s + 3 * 3600 {
        at += 600;
        let booked = life.book(&Labels::new(), slices(at - 600, at));
        life.commit_joined(Now { at, trusted: true }, &booked, &keys).expect("a commit");
    }
    let first: Vec<SeriesKey> = keys.iter().take(1).cloned().collect();
    life.store.write_some(&first, &life.ledger, &BTreeSet::from(["b".into()])).expect("written");
    let (saved, ledger) = life.restart();
    assert_eq!(saved.unfilled, BTreeSet::from(["b".into()]));
    let window =
        |ledger: &Ledger, id: &str, length_s| ledger.get(id, &Labels::new()).expect("the series").window(at, length_s);
    assert_eq!(window(&ledger, "a", 30 * DAY), window(&life.ledger, "a", 30 * DAY));
    assert_eq!(window(&ledger, "b", 3600), window(&life.ledger, "b", 3600));
    let begins = |ledger: &Ledger| ledger.get("b", &Labels::new()).and_then(|series| series.begins()).expect("slices");
    let earlier_s = begins(&recent) - begins(&ledger);
    assert!((0..300).contains(&earlier_s), "its older history joins on where it would have before: {earlier_s} s");
}

#[test]
fn a_file_of_version_2_is_taken_on_and_folded() {
    let mut life = Life::one();
    life.live(T0, T0 + 20 * 3600, 300);
    life.store.db.execute_batch("DROP TABLE past; PRAGMA user_version=2").expect("as it was");
    let (_, ledger) = life.restart();
    life.assert_same(&ledger, T0 + 20 * 3600, "taken on");
    life.live(T0 + 20 * 3600, T0 + 2 * DAY, 300);
    assert_eq!(life.count("past"), 1);
    assert!(life.count("hour") <= 33, "{} hours have a row of their own", life.count("hour"));
    let (_, ledger) = life.restart();
    life.assert_same(&ledger, T0 + 2 * DAY, "folded");
}

/// A state file as it was written, in its folder.
fn kept(version: i64) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/state-{version}.db.gz"))
}

/// Whoever makes a new format runs this with `UPDATE_EXPECT=1` and keeps the file that it writes; old ones stay as they are.
#[test]
fn state_files_of_every_format_that_landed_are_read() {
    use std::io::{Read as _, Write as _};
    let mut life = Life::one();
    let now_s = T0 + 3 * HOUR_S;
    life.live(T0, now_s, 300);
    if std::env::var_os("UPDATE_EXPECT").is_some() && !kept(SCHEMA).exists() {
        life.store.db.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").expect("everything is in one file");
        let bytes = std::fs::read(life.dir.join(FILE)).expect("readable");
        std::fs::create_dir_all(kept(SCHEMA).parent().expect("a folder")).expect("writable");
        let file = std::fs::File::create(kept(SCHEMA)).expect("writable");
        let mut packed = flate2::write::GzEncoder::new(file, flate2::Compression::best());
        packed.write_all(&bytes).and_then(|()| packed.finish().map(drop)).expect("written");
    }
    for version in 2..=SCHEMA {
        let packed =
            std::fs::read(kept(version)).unwrap_or_else(|error| panic!("format {version} is not kept: {error}"));
        let (mut bytes, dir) = (Vec::new(), tempfile::tempdir().expect("a temporary folder"));
        flate2::read::GzDecoder::new(&*packed).read_to_end(&mut bytes).expect("it was packed");
        std::fs::write(dir.path().join(FILE), bytes).expect("written");
        let opened = Store::open(dir.path(), RES, definitions_of(&life.slos));
        let mut store = opened.unwrap_or_else(|error| panic!("format {version}: {error}"));
        let saved = store.load().expect("it is whole").expect("something was saved");
        assert_eq!((saved.at_s, saved.position), (now_s, now_s.to_string().into_bytes()), "format {version}");
        let mut ledger = Ledger::new(RES);
        let found = store.ledgers(|_| Some(ledger.empty(&life.slos[0]))).expect("every row can be read");
        for (key, series) in found {
            ledger.put_back(&key.slo_id, key.labels, series);
        }
        life.assert_same(&ledger, now_s, &format!("format {version}"));
    }
}

#[test]
fn what_must_be_said_of_history_survives_with_the_definition_it_is_said_of() {
    let mut life = Life::new(vec![slo("a", Unit::Events), slo("b", Unit::Events)]);
    let said = |id: &str, until_s: i64| Said { slo_id: id.into(), until_s, note: format!("{id} until {until_s}") };
    life.live(T0, T0 + HOUR_S, 600);
    let all = [said("a", T0 + 9 * HOUR_S), said("a", T0 + 20 * HOUR_S), said("b", T0 + 20 * HOUR_S)];
    life.store.put_said(&all).expect("written");
    life.restart();
    assert_eq!(life.store.said().expect("read"), all);
    // b counts something else for a while: what is said then replaces nothing of what was said of it before.
    let (before, mut other) = (definitions_of(&life.slos), definitions_of(&life.slos));
    other.insert("b".into(), "other".into());
    life.store.redefine(other).expect("read");
    assert_eq!(life.store.said().expect("read"), all[..2]);
    life.store.put_said(&all[1..2]).expect("written");
    assert_eq!(life.store.said().expect("read"), all[1..2]);
    life.store.redefine(before).expect("read");
    let found = life.store.said().expect("read");
    assert!(found.len() == 2 && all[1..].iter().all(|one| found.contains(one)), "{found:?}");
    // What no window holds is dropped, whosever it is.
    life.live(T0 + HOUR_S, T0 + 21 * HOUR_S, 3600);
    life.store.redefine(HashMap::new()).expect("read");
    life.store.put_said(&[]).expect("written");
    life.store.redefine(definitions_of(&life.slos)).expect("read");
    assert!(life.store.said().expect("read").is_empty());
}
