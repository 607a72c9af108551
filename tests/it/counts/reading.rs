//! Four ways to read the same past.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use slowburn::engine::Snapshot;
use slowburn::web::view::SloView;

use crate::daemon::{Driven, options};

/// What one way of reading says of one service's SLO: its JSON, as the API and `eval` print it.
#[derive(Debug)]
pub struct Reading(Value);

impl Reading {
    fn series(&self) -> &Value {
        &self.0["series"][0]
    }

    /// `(total, bad)` of each window, seconds.
    pub fn windows(&self) -> BTreeMap<i64, (u64, u64)> {
        let series = self.series();
        let windows = series["windows"].as_array().into_iter().flatten().chain([&series["window"]]);
        let counts = |window: &Value| {
            let number = |key: &str| window[key].as_u64().unwrap_or(0);
            (window["window_s"].as_i64().unwrap_or(0), (number("total"), number("bad")))
        };
        windows.map(counts).collect()
    }

    /// `(total, bad)` of one of its windows.
    pub fn window(&self, window_s: i64) -> (u64, u64) {
        self.windows().get(&window_s).copied().unwrap_or_default()
    }

    pub fn state(&self) -> &str {
        self.series()["state"].as_str().unwrap_or("none")
    }

    /// `state reason` of its data, where that is not fresh.
    pub fn data(&self) -> Option<String> {
        let data = &self.series()["data"];
        let (state, reason) = (data["state"].as_str().unwrap_or("absent"), data["reason"].as_str().unwrap_or(""));
        (state != "fresh").then(|| format!("{state} {reason}"))
    }

    /// Why its counts cannot be trusted in full, if it says so. That targets or samples are away just now, or that history
    /// is still read, says nothing of how counters were read.
    pub fn fault(&self) -> Option<String> {
        const OF_THE_MOMENT: [&str; 4] = ["series_missing", "samples_old", "filling", "clock_skew"];
        let data = self.data().filter(|data| !OF_THE_MOMENT.iter().any(|reason| data.ends_with(reason)));
        data.or_else(|| Some(self.notes()).filter(|notes| !notes.is_empty()))
    }

    pub fn notes(&self) -> String {
        let notes = self.0["notes"]
            .as_array()
            .into_iter()
            .flatten()
            .chain(self.series()["notes"].as_array().into_iter().flatten());
        notes.filter_map(Value::as_str).collect::<Vec<_>>().join("; ")
    }
}

/// By service.
pub type Readings = BTreeMap<String, Reading>;

fn by_service(slos: Vec<Value>) -> Readings {
    let service = |slo: &Value| slo["service"].as_str().expect("a service").to_owned();
    slos.into_iter().map(|slo| (service(&slo), Reading(slo))).collect()
}

/// All of it at once, by the command.
pub fn at_once(url: &str, rules: &Path, at: i64) -> Readings {
    let out = Command::new(env!("CARGO_BIN_EXE_slowburn"))
        .args(["eval", "--prometheus-url", url, "--format", "json", "--at", &at.to_string(), "--rules"])
        .arg(rules)
        .output()
        .expect("the binary runs");
    let said = String::from_utf8_lossy(&out.stderr);
    by_service(serde_json::from_slice(&out.stdout).unwrap_or_else(|error| panic!("{error}: {said}")))
}

/// By a daemon that starts at `from` with what history there is, and lives until `to`.
pub async fn by_a_daemon(url: &str, rules: &[(&str, String)], from: i64, to: i64) -> Readings {
    let mut driven = Driven::new(options(url, rules, None));
    driven.tick(from).await;
    let snapshot = driven.live(from, to).await;
    assert_eq!(snapshot.at, to);
    of_snapshot(&snapshot)
}

/// The same by one that is started anew again and again, and away in between: now and then for some minutes.
pub async fn by_restarts(url: &str, rules: &[(&str, String)], from: i64, to: i64) -> Readings {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let start = || Driven::new(options(url, rules, Some(dir.path().to_owned())));
    let mut driven = start();
    driven.tick(from).await;
    let mut at = from;
    for (lives_s, away_s) in [(330, 30), (90, 60), (60, 240), (570, 30), (30, 30), (30, 330)].into_iter().cycle() {
        driven.live(at, to.min(at + lives_s)).await;
        at += lives_s + away_s;
        if at >= to {
            break;
        }
        drop(driven);
        driven = start();
        driven.tick(at).await;
    }
    let snapshot = driven.tick(to).await;
    assert_eq!(snapshot.at, to);
    of_snapshot(&snapshot)
}

fn of_snapshot(snapshot: &Snapshot) -> Readings {
    by_service(snapshot.slos.iter().map(|slo| serde_json::to_value(SloView::of(slo)).expect("JSON")).collect())
}
