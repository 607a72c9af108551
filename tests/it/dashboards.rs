//! The dashboards on a real Prometheus that scrapes a demo under two names, as two replicas would be: every expression is
//! answered, says what the API says, and no table loses a row where it is joined.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use crate::harness::parts::part;
use crate::harness::prometheus::{PromOptions, Prometheus};
use crate::newcomer::{Demo, MINUTE, project};

/// One expression of a dashboard.
#[derive(Debug, Clone)]
struct Asked {
    dashboard: String,
    panel: String,
    expr: String,
    /// By which field its table is joined.
    join: Option<String>,
    /// Why nothing may come of it while all is well.
    may_be_empty: Option<String>,
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// An expression as a dashboard asks it whose variables have been chosen.
fn chosen(dashboard: &str, expr: &str) -> String {
    let slo = if dashboard == "slo.json" { "llm-chat-availability" } else { ".*" };
    let values = [("$service", ".*"), ("$slo", slo), ("$window", "1h"), ("$__rate_interval", "10s")];
    values.iter().fold(expr.to_owned(), |expr, (name, value)| expr.replace(name, value))
}

/// Every expression of every dashboard, with what the source says of it.
fn everything() -> Vec<Asked> {
    let read = |path: &str| std::fs::read_to_string(project(path)).expect("it is there");
    let source: Value = serde_saphyr::from_str(&read("dashboards/source.yaml")).expect("YAML");
    let mut all = Vec::new();
    for wanted in source["dashboards"].as_array().expect("a list") {
        let file = text(&wanted["file"]);
        let made: Value = serde_json::from_str(&read(&format!("dashboards/{file}"))).expect("JSON");
        let panels = made["panels"].as_array().expect("a list");
        for (panel, wanted) in panels.iter().zip(wanted["panels"].as_array().expect("a list")) {
            let join = panel["transformations"][0]["options"]["byField"].as_str().map(str::to_owned);
            let targets = panel["targets"].as_array().into_iter().flatten();
            for (target, wanted) in targets.zip(wanted["expr"].as_array().into_iter().flatten()) {
                all.push(Asked {
                    dashboard: file.clone(),
                    panel: text(&panel["title"]),
                    expr: chosen(&file, &text(&target["expr"])),
                    join: join.clone(),
                    may_be_empty: wanted["may_be_empty"].as_str().map(str::to_owned),
                });
            }
        }
        for mark in made["annotations"]["list"].as_array().expect("a list") {
            let marks = source["annotations"].as_array().expect("a list");
            let wanted = marks.iter().find(|one| one["name"] == mark["name"]).expect("it is of the source");
            all.push(Asked {
                dashboard: file.clone(),
                panel: format!("mark: {}", text(&mark["name"])),
                expr: chosen(&file, &text(&mark["expr"])),
                join: None,
                may_be_empty: wanted["may_be_empty"].as_str().map(str::to_owned),
            });
        }
    }
    all
}

/// What the API said of each SLO, again and again: state, least budget, highest burn of an hour, objective, events.
type Said = BTreeMap<(String, &'static str), BTreeSet<u64>>;

fn note(said: &mut Said, slos: &Value) {
    let states = ["ok", "unknown", "slow_burn", "exhausted", "fast_burn"];
    for slo in slos.as_array().into_iter().flatten() {
        let series = || slo["series"].as_array().into_iter().flatten();
        let mut put = |what: &'static str, value: Option<f64>| {
            let value = value.into_iter().map(f64::to_bits);
            said.entry((text(&slo["id"]), what)).or_default().extend(value);
        };
        put("state", states.iter().position(|state| slo["state"] == *state).map(|n| n as f64));
        put("budget", series().filter_map(|one| one["budget_remaining"].as_f64()).reduce(f64::min));
        let burn = |one: &Value| {
            let mut windows = one["windows"].as_array()?.iter();
            windows.find(|window| window["window_s"] == 3600)?["burn_rate"].as_f64()
        };
        put("burn", series().filter_map(burn).reduce(f64::max));
        put("events", series().filter_map(|one| one["window"]["total"].as_f64()).reduce(f64::max));
    }
}

/// Rows of an instant answer: labels and value.
fn rows(answer: &Value) -> Vec<(BTreeMap<String, String>, f64)> {
    let list = answer["data"]["result"].as_array().into_iter().flatten();
    list.map(|row| {
        let labels = serde_json::from_value(row["metric"].clone()).expect("labels");
        (labels, text(&row["value"][1]).parse().expect("a number"))
    })
    .collect()
}

/// Grafana's own packages.
fn packages() -> PathBuf {
    let packages = project("target/parts/grafana");
    assert!(packages.is_dir(), "Grafana's packages are not there: tests/parts fetches them");
    packages
}

/// What Grafana's own code makes of tables, given their answers: each table's columns and rows.
fn drawn(panels: &[Value]) -> Vec<Value> {
    let mut node = Command::new("node")
        .arg(project("tests/it/harness/grafana/tables.cjs"))
        .arg(packages())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("node starts");
    let mut input = node.stdin.take().expect("piped");
    input.write_all(&serde_json::to_vec(panels).expect("JSON")).expect("node reads");
    drop(input);
    let output = node.wait_with_output().expect("node ends");
    assert!(output.status.success(), "node failed: {}", output.status);
    serde_json::from_slice(&output.stdout).expect("a list of tables")
}

/// What Grafana's types say against dashboards.
fn faults(files: &[PathBuf]) -> Vec<String> {
    let script = project("tests/it/harness/grafana/schema.mjs");
    let node = Command::new("node").arg(script).arg(packages()).args(files).output().expect("node starts");
    assert!(node.status.success(), "{}", String::from_utf8_lossy(&node.stderr));
    String::from_utf8_lossy(&node.stdout).lines().map(str::to_owned).collect()
}

#[test]
fn the_dashboards_are_of_grafanas_own_types() {
    let files = ["fleet", "safe-to-act", "slo", "slowburn"].map(|name| project(&format!("dashboards/{name}.json")));
    assert_eq!(faults(&files), Vec::<String>::new());
    // And what is not is seen.
    let made = std::fs::read_to_string(&files[0]).expect("it is there");
    let dir = tempfile::tempdir().expect("a temporary folder");
    for (right, wrong) in [
        ("\"gridPos\"", "\"gridPosition\""),
        ("\"w\": 24", "\"w\": \"24\""),
        ("\"type\": \"dashboards\"", "\"type\": \"boards\""),
        ("\"mode\": \"absolute\"", "\"mode\": \"exact\""),
    ] {
        let file = dir.path().join("wrong.json");
        assert!(made.contains(right), "{right}");
        std::fs::write(&file, made.replacen(right, wrong, 1)).expect("writable");
        assert_eq!(faults(&[file]).len(), 1, "{wrong}");
    }
}

/// Every table of every dashboard, drawn by Grafana's code: each row that Prometheus answered is there once, with its
/// labels and its value under the column's name.
async fn no_table_loses_a_row(prometheus: &Prometheus) {
    let mut panels = Vec::new();
    for file in ["fleet.json", "safe-to-act.json", "slo.json", "slowburn.json"] {
        let made = std::fs::read_to_string(project(&format!("dashboards/{file}"))).expect("it is there");
        let made: Value = serde_json::from_str(&made).expect("JSON");
        for panel in made["panels"].as_array().expect("a list").iter().filter(|panel| panel["type"] == "table") {
            let mut answers = serde_json::Map::new();
            for target in panel["targets"].as_array().expect("a list") {
                let expr = chosen(file, &text(&target["expr"]));
                answers.insert(text(&target["refId"]), prometheus.answer(&expr, None).await);
            }
            let mut panel = panel.clone();
            panel["answers"] = answers.into();
            panels.extend([thinned(panel.clone()), panel]);
        }
    }
    assert!(panels.len() >= 8, "only {} tables were found", panels.len());
    let tables = drawn(&panels);
    let mut values = 0;
    for (panel, tables) in panels.iter().zip(tables) {
        values += holds_every_row(panel, &tables);
    }
    assert!(values >= 60, "only {values} values were looked for");
}

/// A panel each of whose answers lacks another row, as where something is unknown.
fn thinned(mut panel: Value) -> Value {
    for (n, answer) in panel["answers"].as_object_mut().expect("a map").values_mut().enumerate() {
        let rows = answer["data"]["result"].as_array_mut().expect("a vector");
        if n < rows.len() {
            rows.remove(n);
        }
    }
    panel
}

/// Looks for each row of a panel's answers in its table; how many values were found there.
fn holds_every_row(panel: &Value, tables: &Value) -> usize {
    let title = text(&panel["title"]);
    let steps = panel["transformations"].as_array().expect("a list");
    let options = |id: &str| steps.iter().find(|step| step["id"] == id).map(|step| &step["options"]);
    let names = &options("organize").expect("columns are named")["renameByName"];
    let answers = panel["answers"].as_object().expect("a map");
    let answered: Vec<_> =
        answers.iter().flat_map(|(of, answer)| rows(answer).into_iter().map(move |row| (of, row))).collect();
    if answered.is_empty() {
        return 0;
    }
    assert_eq!(tables.as_array().map(Vec::len), Some(1), "{title}: {tables}");
    let columns: Vec<String> = serde_json::from_value(tables[0]["columns"].clone()).expect("names");
    let table: Vec<Vec<Value>> = serde_json::from_value(tables[0]["rows"].clone()).expect("rows");
    let column = |name: &str| columns.iter().position(|column| names[name] == column.as_str());
    let key = options("joinByField").map(|join| text(&join["byField"]));
    let mut keys = BTreeSet::new();
    let mut values = 0;
    for (of, (labels, value)) in &answered {
        let keeps = |row: &&Vec<Value>| {
            let of_key = labels.iter().filter(|(name, _)| key.as_ref().is_none_or(|key| key == *name));
            of_key.into_iter().all(|(name, value)| column(name).is_none_or(|at| row[at] == value.as_str()))
        };
        let found: Vec<_> = table.iter().filter(keeps).collect();
        assert_eq!(found.len(), 1, "{title}: {of} {labels:?} is in the table {} times: {table:?}", found.len());
        for (name, value) in labels {
            assert!(column(name).is_none_or(|at| found[0][at] == value.as_str()), "{title}: {labels:?}, {found:?}");
        }
        keys.insert(key.as_ref().map_or_else(|| format!("{labels:?}"), |key| labels[key].clone()));
        let shown = column(&format!("Value #{of}")).or_else(|| column("Value")).map(|at| &found[0][at]);
        if let Some(shown) = shown {
            let said = shown.as_f64().or_else(|| shown.as_str().and_then(|text| text.parse().ok()));
            assert!(said.is_some_and(|said| said.total_cmp(value).is_eq()), "{title}: {shown}, not {value}");
            values += 1;
        }
    }
    assert_eq!(table.len(), keys.len(), "{title}: {table:?}");
    values
}

#[tokio::test(flavor = "multi_thread")]
async fn every_expression_of_the_dashboards_is_answered_and_says_what_the_api_says() {
    let demo = Demo::start(&["--speed", "60"]).await;
    let target = demo.page.trim_start_matches("http://").to_owned();
    let other = target.replace("127.0.0.1", "localhost");
    let targets = vec![("slowburn".to_owned(), target), ("replica".to_owned(), other)];
    let prometheus = Prometheus::start(PromOptions { targets, ..PromOptions::default() }).await;
    let said: Arc<Mutex<Said>> = Arc::default();
    let (listening, page) = (Arc::clone(&said), demo.page.clone());
    let listener = tokio::spawn(async move {
        loop {
            let answer = crate::harness::parts::http().get(format!("{page}/v1/slos")).send().await;
            if let Ok(Ok(slos)) = async { Ok::<_, reqwest::Error>(answer?.json::<Value>().await) }.await {
                note(&mut listening.lock().expect("no panic holds it"), &slos);
            }
            tokio::time::sleep(Duration::from_millis(60)).await;
        }
    });

    let all = everything();
    assert!(all.len() >= 60, "only {} expressions were found", all.len());
    let mut open: Vec<&Asked> = all.iter().filter(|asked| asked.may_be_empty.is_none()).collect();
    let of =
        [("SLOs", 0, "state"), ("SLOs", 1, "budget"), ("SLOs", 2, "burn"), ("Events of the SLO's window", 0, "events")];
    let mut unequal: Vec<(&str, usize, &'static str)> = of.to_vec();
    // Some panels are about what happens in a story: each expression is asked until it answers.
    while !open.is_empty() || !unequal.is_empty() {
        assert!(demo.started.elapsed() < 2 * MINUTE, "never answered: {open:#?}, never equal: {unequal:?}");
        let mut still_open = Vec::new();
        for asked in open {
            let rows = rows(&prometheus.answer(&asked.expr, None).await);
            if let Some(field) = &asked.join {
                let keys: BTreeSet<&String> = rows.iter().filter_map(|(labels, _)| labels.get(field)).collect();
                assert_eq!(keys.len(), rows.len(), "a row is lost where {} is joined by {field}: {rows:?}", asked.expr);
            }
            if rows.is_empty() {
                still_open.push(asked);
            }
        }
        open = still_open;
        let mut still_unequal = Vec::new();
        for (panel, n, what) in unequal {
            let of_panel = |asked: &&Asked| asked.dashboard == "fleet.json" && asked.panel == panel;
            let asked = all.iter().filter(of_panel).nth(n).expect("the panel has it");
            let rows = rows(&prometheus.answer(&asked.expr, None).await);
            // What was scraped last may have been said a moment ago, or is read in a moment.
            tokio::time::sleep(Duration::from_millis(120)).await;
            let said = said.lock().expect("no panic holds it");
            let known = |id: &String, value: f64| {
                said.get(&(id.clone(), what)).is_some_and(|values| values.contains(&value.to_bits()))
            };
            let is_equal = rows.iter().all(|(labels, value)| labels.get("slo_id").is_some_and(|id| known(id, *value)));
            if rows.is_empty() || !is_equal {
                still_unequal.push((panel, n, what));
            }
        }
        unequal = still_unequal;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    listener.abort();

    no_table_loses_a_row(&prometheus).await;

    // The table has every SLO once, whichever part is joined; and the objective is what the rules say.
    let slos = demo.json("/v1/slos").await;
    let objectives: BTreeMap<String, f64> = slos
        .as_array()
        .expect("a list")
        .iter()
        .map(|slo| (text(&slo["id"]), slo["objective"].as_f64().expect("a number")))
        .collect();
    let of_table: Vec<&Asked> =
        all.iter().filter(|asked| asked.dashboard == "fleet.json" && asked.panel == "SLOs").collect();
    let table = rows(&prometheus.answer(&of_table[3].expr, None).await);
    let shown: BTreeMap<String, f64> =
        table.into_iter().map(|(labels, value)| (labels["slo_id"].clone(), value)).collect();
    assert!(shown.keys().eq(objectives.keys()), "{shown:?}");
    assert!(shown.iter().all(|(id, value)| (value * 100.0 - objectives[id]).abs() < 1e-9), "{shown:?}");
    // Links lead to the page of the daemon.
    let page = rows(&prometheus.answer("slowburn_build_info", None).await);
    assert!(page.iter().all(|(labels, _)| labels.get("external_url") == Some(&demo.page)), "{page:?}");

    let file = demo.dir.path().join("metrics.txt");
    std::fs::write(&file, demo.text("/metrics").await).expect("writable");
    let promtool = Command::new(part("promtool"))
        .args(["check", "metrics"])
        .stdin(std::fs::File::open(&file).expect("just written"))
        .output()
        .expect("promtool starts");
    let said = format!("{}{}", String::from_utf8_lossy(&promtool.stdout), String::from_utf8_lossy(&promtool.stderr));
    assert!(promtool.status.success() && said.is_empty(), "{said}");
}
