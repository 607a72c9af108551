//! Events in a file: `time,total,bad`, one line for each step of time, ascending; and true incidents in another.
//!
//! A time is Unix seconds or RFC 3339 and stands for the beginning of its step. A step that is longer than a slice is
//! spread evenly over its slices; a step that is missing is unknown, not idle.

use std::fs::File;
use std::io::{BufRead, BufReader, Lines};
use std::path::Path;

use crate::engine::{Coverage, SliceDelta};

/// The longest step, seconds.
const STEP_MAX_S: i64 = 3600;

/// A file of events, read line by line.
pub struct Events {
    path: String,
    lines: Lines<BufReader<File>>,
    line: usize,
    next: Option<Row>,
    resolution_s: i64,
    /// Seconds of a step: the shortest between two lines.
    pub step_s: i64,
}

/// One line.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Row {
    at: i64,
    total: u64,
    bad: u64,
}

/// An incident that there was.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Label {
    pub from: i64,
    pub to: i64,
    /// The SLO it is of; any where it names none.
    pub slo: Option<String>,
}

impl Events {
    /// Opens a file, and looks at its beginning for how long its steps are.
    pub fn open(path: &Path, resolution_s: i64) -> Result<Self, String> {
        let mut ahead = Self::begin(path, resolution_s)?;
        let mut times = Vec::new();
        while let (Some(row), true) = (ahead.next, times.len() < 1000) {
            times.push(row.at);
            ahead.next = ahead.read()?;
        }
        let steps = times.windows(2).map(|pair| pair[1] - pair[0]);
        let step_s = steps.min().unwrap_or(resolution_s).clamp(resolution_s, STEP_MAX_S);
        Ok(Events { step_s, ..Self::begin(path, resolution_s)? })
    }

    fn begin(path: &Path, resolution_s: i64) -> Result<Self, String> {
        let shown = path.display().to_string();
        let file = File::open(path).map_err(|error| format!("{shown}: {error}"))?;
        let lines = BufReader::new(file).lines();
        let mut events = Events { path: shown, lines, line: 0, next: None, resolution_s, step_s: resolution_s };
        events.next = events.read()?;
        match events.next {
            Some(_) => Ok(events),
            None => Err(format!("{}: there are no events in it: write lines of time,total,bad", events.path)),
        }
    }

    /// When the first step begins.
    pub fn starts(&self) -> Option<i64> {
        self.next.map(|row| row.at)
    }

    /// Slices that begin before `end`, ascending; `None` when nothing is left.
    pub fn before(&mut self, end: i64) -> Result<Option<Vec<SliceDelta>>, String> {
        if self.next.is_none() {
            return Ok(None);
        }
        let mut deltas = Vec::new();
        while let Some(row) = self.next.filter(|row| row.at < end) {
            self.spread(row, &mut deltas);
            self.next = self.read()?;
            if self.next.is_some_and(|next| next.at < row.at) {
                return Err(format!("{}:{}: its time is before the one above: sort the lines", self.path, self.line));
            }
        }
        Ok(Some(deltas))
    }

    fn spread(&self, row: Row, deltas: &mut Vec<SliceDelta>) {
        let (first, slices) = (row.at.div_euclid(self.resolution_s), (self.step_s / self.resolution_s).max(1));
        let up_to = |count: u64, slice: i64| (u128::from(count) * slice as u128 / slices as u128) as u64;
        let part = |count: u64, slice: i64| up_to(count, slice + 1) - up_to(count, slice);
        deltas.extend((0..slices).map(|slice| {
            let bad = part(row.bad, slice);
            let total = part(row.total - row.bad, slice) + bad;
            SliceDelta { slice: first + slice, total, bad, coverage: Coverage::Known }
        }));
    }

    fn read(&mut self) -> Result<Option<Row>, String> {
        for text in self.lines.by_ref() {
            self.line += 1;
            let text = text.map_err(|error| format!("{}: {error}", self.path))?;
            let text = text.trim();
            let is_head = self.line == 1 && text.starts_with(|first: char| first.is_ascii_alphabetic());
            if text.is_empty() || text.starts_with('#') || is_head {
                continue;
            }
            let bad = |what: &str| format!("{}:{}: {what}: write time,total,bad", self.path, self.line);
            let cells: Vec<&str> = text.split(',').map(str::trim).collect();
            let &[at, total, of_them] = cells.as_slice() else { return Err(bad("three values are expected")) };
            let count = |cell: &str| cell.parse::<u64>().map_err(|_| bad(&format!("{cell:?} is no count")));
            let row = Row {
                at: time(at).ok_or_else(|| bad(&format!("{at:?} is no time")))?,
                total: count(total)?,
                bad: count(of_them)?,
            };
            if row.bad > row.total {
                return Err(bad("more are bad than there are"));
            }
            return Ok(Some(row));
        }
        Ok(None)
    }
}

/// Unix seconds or RFC 3339.
pub fn time(text: &str) -> Option<i64> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..1e12).contains(&seconds) => Some(seconds as i64),
        Ok(_) => None,
        Err(_) => text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_second),
    }
}

/// Reads true incidents: `start,end` or `start,end,slo`.
pub fn labels(path: &Path) -> Result<Vec<Label>, String> {
    let shown = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| format!("{shown}: {error}"))?;
    let mut labels = Vec::new();
    for (nth, line) in text.lines().enumerate().map(|(nth, line)| (nth + 1, line.trim())) {
        let is_head = nth == 1 && line.starts_with(|first: char| first.is_ascii_alphabetic());
        if line.is_empty() || line.starts_with('#') || is_head {
            continue;
        }
        let mut cells = line.split(',').map(str::trim);
        let from = cells.next().and_then(time);
        let to = cells.next().and_then(time);
        let slo = cells.next().filter(|slo| !slo.is_empty()).map(str::to_owned);
        match (from, to) {
            (Some(from), Some(to)) if from < to => labels.push(Label { from, to, slo }),
            _ => return Err(format!("{shown}:{nth}: {line:?}: write start,end or start,end,slo; the end is later")),
        }
    }
    Ok(labels)
}
