//! `slowburn export grafana`: the dashboards, made of the one list of what they show (`dashboards/source.yaml`).
//!
//! What panels of a kind have in common, links, variables and marks on the axis of time are written once, here. The JSON files
//! in `dashboards/` are what this prints; tests hold them to it.
//!
//! Deliberately absent: an API of Grafana, and thresholds of its own: what is good or bad is said by states.

use serde::Deserialize;
use serde_json::{Map, Value, json};

/// What the dashboards show.
const SOURCE: &str = include_str!("../../../dashboards/source.yaml");

/// Columns of a dashboard.
const WIDTH: u64 = 24;

/// The choice of services and SLOs.
const OF: &str = r#"service=~"$service", slo_id=~"$slo""#;

/// States as numbers, worst last.
const STATES: [(&str, &str, &str); 5] = [
    ("ok", "ok", "green"),
    ("unknown", "unknown", "#8e8e8e"),
    ("slow_burn", "slow burn", "orange"),
    ("exhausted", "exhausted", "dark-red"),
    ("fast_burn", "fast burn", "red"),
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Source {
    dashboards: Vec<Dashboard>,
    annotations: Vec<Annotation>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Dashboard {
    file: String,
    uid: String,
    title: String,
    about: String,
    variables: Vec<String>,
    panels: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Entry {
    Row { row: String },
    Panel(Panel),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Panel {
    title: String,
    #[serde(default)]
    about: String,
    kind: String,
    at: String,
    unit: Option<String>,
    look: Option<String>,
    join: Option<String>,
    expr: Vec<PanelTarget>,
    #[serde(default)]
    columns: Vec<Column>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PanelTarget {
    is: String,
    legend: Option<String>,
    /// Why nothing may come of it while all is well; for the tests.
    #[serde(rename = "may_be_empty")]
    _may_be_empty: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Column {
    from: String,
    name: String,
    unit: Option<String>,
    look: Option<String>,
    link: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Annotation {
    name: String,
    colour: String,
    is: String,
    title: String,
    #[serde(rename = "may_be_empty")]
    _may_be_empty: Option<String>,
}

/// Every dashboard: its file name and its text.
pub fn dashboards() -> Vec<(String, String)> {
    let source: Source = serde_saphyr::from_str(SOURCE).expect("it is compiled in, and a test reads it");
    let of = |dashboard: &Dashboard| {
        let whole = whole(dashboard, &source.annotations);
        (dashboard.file.clone(), format!("{whole:#}\n"))
    };
    source.dashboards.iter().map(of).collect()
}

/// An expression with its abbreviations written out.
fn written_out(text: &str) -> String {
    let state = |(value, (name, ..)): (usize, &(&str, &str, &str))| {
        format!("{value} * slowburn_slo_state{{$OF, state=\"{name}\"}}")
    };
    let states: Vec<String> = STATES.iter().enumerate().rev().map(state).collect();
    let text = text.replace("$STATE", &states.join(" or "));
    text.replace("$OF", OF).replace("$rate", "$__rate_interval")
}

fn source_of_data() -> Value {
    json!({"type": "prometheus", "uid": "${datasource}"})
}

fn whole(dashboard: &Dashboard, annotations: &[Annotation]) -> Value {
    let has_services = dashboard.variables.iter().any(|name| name == "service");
    let marks: Vec<Value> = annotations.iter().filter(|_| has_services).map(mark).collect();
    json!({
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.about,
        "tags": ["slowburn", "slo"],
        "schemaVersion": 39,
        "version": 1,
        "editable": true,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "links": links(),
        "templating": {"list": variables(&dashboard.variables)},
        "annotations": {"list": marks},
        "panels": panels(&dashboard.panels),
    })
}

fn links() -> Value {
    json!([
        {
            "title": "Slowburn's page: incidents, runbooks, approvals", "type": "link", "icon": "external link", "url": "${page}",
            "targetBlank": true, "tooltip": "external_url of the daemon", "tags": [], "asDropdown": false,
            "includeVars": false, "keepTime": false,
        },
        {
            "title": "Slowburn", "type": "dashboards", "icon": "dashboard", "url": "", "targetBlank": false, "tooltip": "",
            "tags": ["slowburn"], "asDropdown": true, "includeVars": true, "keepTime": true,
        },
    ])
}

fn mark(annotation: &Annotation) -> Value {
    json!({
        "name": annotation.name,
        "datasource": source_of_data(),
        "enable": true,
        "hide": false,
        "iconColor": annotation.colour,
        "expr": written_out(&annotation.is),
        "step": "30s",
        "titleFormat": annotation.title,
        "textFormat": "",
        "tagKeys": "service",
        "useValueForTime": false,
    })
}

fn variables(wanted: &[String]) -> Vec<Value> {
    let all = json!({"text": ["All"], "value": ["$__all"]});
    let variable = |name: &str, label: &str, query: &str| {
        json!({
            "name": name, "label": label, "type": "query", "datasource": source_of_data(),
            "query": {"query": query, "refId": name}, "refresh": 2, "sort": 1, "multi": false, "includeAll": false,
        })
    };
    let with = |mut variable: Value, more: Value| {
        let (Value::Object(fields), Value::Object(more)) = (&mut variable, more) else { return variable };
        fields.extend(more);
        variable
    };
    let many = json!({"multi": true, "includeAll": true, "allValue": ".*", "current": all});
    let slos = "label_values(slowburn_slo_objective_ratio{service=~\"$service\"}, slo_id)";
    let mut list = vec![
        json!({"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "refresh": 1}),
        // Where people reach the page; a daemon without external_url does not say.
        with(variable("page", "Page", "label_values(slowburn_build_info, external_url)"), json!({"hide": 2})),
    ];
    list.extend(wanted.iter().map(|name| match name.as_str() {
        "service" => {
            with(variable("service", "Service", "label_values(slowburn_slo_objective_ratio, service)"), many.clone())
        }
        "slo" => with(variable("slo", "SLO", slos), many.clone()),
        "one_slo" => variable("slo", "SLO", slos),
        _ => with(
            variable("window", "Window", "label_values(slowburn_slo_burn_rate, window)"),
            json!({"current": {"text": "1h", "value": "1h"}}),
        ),
    }));
    list
}

/// Panels in lines, each as high as the highest in it.
fn panels(entries: &[Entry]) -> Vec<Value> {
    let (mut x, mut y, mut high) = (0, 0, 0);
    let mut made = Vec::new();
    for (n, entry) in entries.iter().enumerate() {
        let (width, height) = match entry {
            Entry::Row { .. } => (WIDTH, 1),
            Entry::Panel(panel) => {
                let (width, height) = panel.at.split_once('x').expect("the source says 10x4");
                (width.parse().expect("a number"), height.parse().expect("a number"))
            }
        };
        if x + width > WIDTH {
            (x, y, high) = (0, y + high, 0);
        }
        let place = json!({"x": x, "y": y, "w": width, "h": height});
        let mut panel = match entry {
            Entry::Row { row } => json!({"type": "row", "title": row, "collapsed": false, "panels": []}),
            Entry::Panel(panel) => one(panel),
        };
        panel["id"] = (n + 1).into();
        panel["gridPos"] = place;
        made.push(panel);
        (x, high) = (x + width, high.max(height));
    }
    made
}

fn one(panel: &Panel) -> Value {
    let is_table = panel.kind == "table";
    let instant = is_table || panel.kind == "stat";
    let target = |(n, target): (usize, &PanelTarget)| {
        let mut made = json!({
            "refId": char::from(b'A' + n as u8).to_string(),
            "datasource": source_of_data(),
            "expr": written_out(&target.is),
            "instant": instant,
            "range": !instant,
        });
        match (&target.legend, is_table) {
            (_, true) => made["format"] = "table".into(),
            (Some(legend), _) => made["legendFormat"] = legend.as_str().into(),
            (None, _) => made["legendFormat"] = "__auto".into(),
        }
        made
    };
    let mut defaults = Map::new();
    if let Some(unit) = &panel.unit {
        defaults.insert("unit".into(), unit.as_str().into());
    }
    let (mut overrides, mut options) = (Vec::new(), json!({}));
    match panel.kind.as_str() {
        "stat" => {
            options = json!({
                "colorMode": if panel.look.is_some() { "background" } else { "none" }, "graphMode": "none",
                "justifyMode": "center", "textMode": "value_and_name",
                "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": false},
            });
        }
        "timeseries" => {
            let custom = json!({
                "drawStyle": "line", "lineWidth": 1, "fillOpacity": 0, "spanNulls": false, "showPoints": "never",
            });
            defaults.insert("custom".into(), custom);
            defaults.insert("links".into(), json!([to_page("${__field.labels.slo_id}")]));
            options = json!({
                "legend": {"displayMode": "list", "placement": "bottom", "showLegend": true},
                "tooltip": {"mode": "multi", "sort": "desc"},
            });
        }
        "state-timeline" => {
            options = json!({
                "mergeValues": true, "showValue": "auto", "rowHeight": 0.9, "legend": {"showLegend": false},
            });
        }
        _ => {
            defaults.insert("custom".into(), json!({"align": "auto", "filterable": true}));
            overrides = panel.columns.iter().filter_map(of_column).collect();
        }
    }
    if panel.kind == "timeseries" && !panel.expr.iter().any(|target| target.is.contains("slo_id")) {
        defaults.remove("links");
    }
    look(panel.look.as_deref(), &mut defaults, &mut overrides);
    let mut made = json!({
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": source_of_data(),
        "targets": panel.expr.iter().enumerate().map(target).collect::<Vec<_>>(),
        "fieldConfig": {"defaults": defaults, "overrides": overrides},
        "options": options,
    });
    if is_table {
        made["transformations"] = transformations(panel);
    }
    made
}

/// Only the columns that are named, in their order and by their names.
fn transformations(panel: &Panel) -> Value {
    let mut steps = Vec::new();
    if let Some(field) = &panel.join {
        steps.push(json!({"id": "joinByField", "options": {"byField": field, "mode": "outer"}}));
    }
    let names: Vec<&str> = panel.columns.iter().map(|column| column.from.as_str()).collect();
    steps.push(json!({"id": "filterFieldsByName", "options": {"include": {"names": names}}}));
    let renamed: Map<String, Value> =
        panel.columns.iter().map(|column| (column.from.clone(), column.name.as_str().into())).collect();
    let placed: Map<String, Value> = names.iter().enumerate().map(|(n, name)| ((*name).to_owned(), n.into())).collect();
    steps.push(
        json!({"id": "organize", "options": {"excludeByName": {}, "renameByName": renamed, "indexByName": placed}}),
    );
    Value::Array(steps)
}

fn of_column(column: &Column) -> Option<Value> {
    let mut properties = Vec::new();
    if let Some(unit) = &column.unit {
        properties.push(json!({"id": "unit", "value": unit}));
    }
    if let Some(mappings) = column.look.as_deref().and_then(mappings) {
        properties.push(json!({"id": "mappings", "value": mappings}));
        properties.push(json!({"id": "custom.cellOptions", "value": {"type": "color-background"}}));
    }
    if column.link.is_some() {
        let dashboard = json!({
            "title": "Its dashboard", "url": "/d/slowburn-slo?var-slo=${__value.raw}&${datasource:queryparam}&${__url_time_range}",
        });
        properties.push(json!({"id": "links", "value": [to_page("${__value.raw}"), dashboard]}));
    }
    let matcher = json!({"id": "byName", "options": column.name});
    (!properties.is_empty()).then(|| json!({"matcher": matcher, "properties": properties}))
}

/// The SLO on Slowburn's page, with its runbook, curve and incident.
fn to_page(slo_id: &str) -> Value {
    json!({"title": "On Slowburn's page, with its runbook", "url": format!("${{page}}/#slo-{slo_id}"), "targetBlank": true})
}

/// Words and colours of numbers.
fn mappings(look: &str) -> Option<Value> {
    let words: Vec<(i64, &str, &str)> = match look {
        "state" => STATES.iter().enumerate().map(|(n, (_, word, colour))| (n as i64, *word, *colour)).collect(),
        "yesno" => vec![(1, "yes", "green"), (0, "no", "dark-red"), (-1, "not known", "#8e8e8e")],
        "worked" => vec![(1, "worked", "green"), (0, "failed: older rules are in force", "red")],
        "one" => vec![(1, "so", "blue")],
        _ => return None,
    };
    let of = |(n, (value, text, colour)): (usize, &(i64, &str, &str))| {
        (value.to_string(), json!({"text": text, "color": colour, "index": n}))
    };
    let options: Map<String, Value> = words.iter().enumerate().map(of).collect();
    Some(json!([{"type": "value", "options": options}]))
}

/// How the values of a panel are shown.
fn look(look: Option<&str>, defaults: &mut Map<String, Value>, overrides: &mut Vec<Value>) {
    let Some(look) = look else { return };
    let coloured = |name: &str, colour: &str| {
        json!({
            "matcher": {"id": "byName", "options": name},
            "properties": [{"id": "color", "value": {"mode": "fixed", "fixedColor": colour}}],
        })
    };
    let steps = |steps: &[(Option<f64>, &str)]| {
        let steps: Vec<Value> = steps.iter().map(|(value, colour)| json!({"value": value, "color": colour})).collect();
        json!({"mode": "absolute", "steps": steps})
    };
    match look {
        "state_words" => overrides.extend(STATES.iter().map(|(name, _, colour)| coloured(name, colour))),
        "data_words" => overrides.extend(
            [("fresh", "green"), ("partial", "orange"), ("stale", "dark-red"), ("absent", "#8e8e8e")]
                .map(|(name, colour)| coloured(name, colour)),
        ),
        // One that does not fire is no colour.
        "sev" => drop(defaults.insert("thresholds".into(), steps(&[(None, "transparent"), (Some(1.0), "red")]))),
        "lag" => drop(
            defaults
                .insert("thresholds".into(), steps(&[(None, "green"), (Some(120.0), "orange"), (Some(300.0), "red")])),
        ),
        "budget" => {
            drop(defaults.insert(
                "thresholds".into(),
                steps(&[(None, "dark-red"), (Some(0.0), "orange"), (Some(0.25), "green")]),
            ))
        }
        look => drop(mappings(look).map(|mappings| defaults.insert("mappings".into(), mappings))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The files are made of the source, so they cannot drift from one another. `UPDATE_EXPECT=1` writes them.
    #[test]
    fn the_dashboards_are_what_the_source_says() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards");
        let made = dashboards();
        for (name, text) in &made {
            let path = folder.join(name);
            if std::env::var_os("UPDATE_EXPECT").is_some() {
                std::fs::write(&path, text).expect("writable");
            }
            let kept = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(kept == *text, "{name} is not what dashboards/source.yaml says: UPDATE_EXPECT=1 writes it");
        }
        let files = std::fs::read_dir(&folder).expect("the folder").filter_map(Result::ok);
        let mut kept: Vec<String> = files.map(|file| file.file_name().to_string_lossy().into_owned()).collect();
        kept.sort();
        let mut known: Vec<String> = made.into_iter().map(|(name, _)| name).chain(["source.yaml".to_owned()]).collect();
        known.sort();
        assert_eq!(kept, known, "a file that nothing makes");
    }

    #[test]
    fn panels_have_ids_of_their_own_and_do_not_lie_on_one_another() {
        for (name, text) in dashboards() {
            let dashboard: Value = serde_json::from_str(&text).expect("JSON");
            let mut taken = std::collections::BTreeSet::new();
            let mut ids = std::collections::BTreeSet::new();
            for panel in dashboard["panels"].as_array().expect("a list") {
                let at = |key: &str| panel["gridPos"][key].as_u64().expect("a number");
                assert!(at("x") + at("w") <= WIDTH, "{name}: {panel}");
                for x in at("x")..at("x") + at("w") {
                    for y in at("y")..at("y") + at("h") {
                        assert!(taken.insert((x, y)), "{name}: {} lies on another", panel["title"]);
                    }
                }
                assert!(ids.insert(panel["id"].as_u64()), "{name}: {}", panel["id"]);
            }
        }
    }

    /// Every value is taken once of replicas, and no SLO is the sum of its whole and its parts.
    #[test]
    fn no_expression_sums_what_series_of_slos_say() {
        for (name, text) in dashboards() {
            let dashboard: Value = serde_json::from_str(&text).expect("JSON");
            for panel in dashboard["panels"].as_array().expect("a list") {
                for target in panel["targets"].as_array().into_iter().flatten() {
                    let expr = target["expr"].as_str().expect("text");
                    let sums = expr.starts_with("sum") || expr.contains("(sum") || expr.starts_with("avg");
                    assert!(!(sums && expr.contains("slowburn_slo_")), "{name}: {expr}");
                    assert!(!expr.contains("$OF") && !expr.contains("$STATE"), "{name}: {expr}");
                }
            }
        }
    }
}
