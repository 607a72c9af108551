//! The walls of the source tree, as tests: what is pure, which module may use which, what the map and the metric names
//! promise. Every check is a function from `(path, text)` to complaints, and is tested on a sample that breaks it.
//!
//! Sources are read as text, without comments and literals: enough to see paths, and it needs no compiler. Code for
//! tests (`tests.rs`, and what follows `#[cfg(test)]` at the left margin) may use what it likes.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use regex::Regex;
use slowburn::telemetry::compat::Foreign;
use slowburn::telemetry::names::{Kind, Metric};

#[path = "tidy/circles.rs"]
mod circles;
#[path = "tidy/documents.rs"]
mod documents;
#[path = "tidy/reference.rs"]
mod reference;

/// Modules that hold no clock and do no I/O.
const PURE: &[&str] = &["engine", "gate", "incident", "query"];

/// What the pure modules must not name. Time comes in as an argument, data as a value.
const IMPURE: &[&str] = &[
    "tokio",
    "tokio_util",
    "reqwest",
    "axum",
    "hyper",
    "hyper_util",
    "tower",
    "tracing",
    "metrics",
    "rusqlite",
    "std::fs",
    "std::env",
    "std::net",
    "std::thread",
    "std::process",
    "std::time::SystemTime",
    "std::time::Instant",
    "SystemTime",
    "Instant",
];

/// Which module may use which. Data walks one way: spec, query, prometheus, engine, then notify and web. `demo` stands
/// beside it all: nothing but `cli` may use it.
const ARROWS: &[(&str, &[&str])] = &[
    ("engine", &[]),
    ("gate", &["engine"]),
    ("incident", &["engine", "gate"]),
    ("spec", &["engine", "gate"]),
    ("query", &["engine", "spec"]),
    ("clock", &[]),
    ("outbound", &[]),
    ("telemetry", &[]),
    ("config", &["engine", "spec", "outbound", "telemetry"]),
    ("prometheus", &["engine", "spec", "query", "outbound", "clock", "telemetry"]),
    ("store", &["engine", "gate", "incident", "spec", "telemetry"]),
    ("audit", &["engine", "gate", "outbound", "clock", "telemetry"]),
    ("gate_service", &["engine", "gate", "prometheus", "audit", "clock", "telemetry"]),
    ("inspect", &["engine", "spec", "query", "prometheus", "clock", "telemetry"]),
    ("notify", &["engine", "outbound", "clock", "telemetry"]),
    ("mirror", &["engine", "outbound", "clock", "telemetry"]),
    (
        "web",
        &[
            "engine",
            "gate",
            "gate_service",
            "incident",
            "mirror",
            "spec",
            "query",
            "prometheus",
            "inspect",
            "store",
            "audit",
            "notify",
            "outbound",
            "clock",
            "telemetry",
        ],
    ),
    ("cluster", &["spec", "outbound", "clock", "telemetry"]),
    ("demo", &["engine", "prometheus", "clock"]),
    (
        "app",
        &[
            "engine",
            "gate",
            "gate_service",
            "incident",
            "spec",
            "query",
            "prometheus",
            "store",
            "audit",
            "notify",
            "outbound",
            "web",
            "config",
            "clock",
            "telemetry",
        ],
    ),
    (
        "cli",
        &[
            "engine",
            "gate",
            "gate_service",
            "incident",
            "mirror",
            "spec",
            "query",
            "prometheus",
            "inspect",
            "store",
            "audit",
            "notify",
            "outbound",
            "web",
            "config",
            "clock",
            "telemetry",
            "app",
            "cluster",
            "demo",
        ],
    ),
];

/// Circles of imports that may be, with the reason.
const CIRCLES: &[(&[&str], &str)] = &[
    (
        &["src/engine/ledger/judge.rs", "src/engine/ledger/series.rs"],
        "one type in two files: a series judges its own slices",
    ),
    (
        &[
            "src/query/increment/accumulator.rs",
            "src/query/increment/births.rs",
            "src/query/increment/cursors.rs",
            "src/query/increment/delta.rs",
            "src/query/increment/evidence.rs",
        ],
        "being untied: one state in several files, which its types go below",
    ),
];

/// Where PromQL may be put together as text, with the reason.
const PROMQL: &[(&str, &str)] = &[
    ("src/query/promql", "it is the printer"),
    ("src/demo", "it stands beside it all and is asked, it does not ask"),
    ("src/spec/import", "the texts of other tools, written as they write them and parsed before they are used"),
    ("src/spec/selector.rs", "what it advises to write instead is text for people"),
];

/// Names that say nothing of what is inside.
const EMPTY_NAMES: &[&str] = &["mod", "util", "utils", "helper", "helpers", "manager", "types", "common", "misc"];

// === Reading Rust

/// `text` without comments and literals, and without the code for tests at its end.
fn code(text: &str) -> String {
    static NOISE: LazyLock<Regex> = LazyLock::new(|| {
        let raw = r##"r#"(?s:.*?)"#|\br"[^"]*""##;
        let string = r#""(?s:\\.|[^"\\])*""#;
        let character = r"'(?:\\[^']+|[^'\\])'";
        Regex::new(&format!(r"//[^\n]*|/\*(?s:.*?)\*/|{raw}|{string}|{character}")).expect("a valid pattern")
    });
    let text = NOISE.replace_all(text, "\"\"");
    // Only a trailing block of tests begins at the left margin and ends the file.
    match text.find("\n#[cfg(test)]\nmod tests {") {
        Some(end) => text[..end].to_owned(),
        None => text.into_owned(),
    }
}

/// Every path that `code` names, `use` trees unfolded: `use std::{fs, env::var};` gives `std::fs` and `std::env::var`.
fn paths(code: &str) -> BTreeSet<String> {
    static USE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\buse\s+([^;]+);").expect("a valid pattern"));
    static PATH: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\b[A-Za-z_]\w*(?:::\w+)*").expect("a valid pattern"));
    let mut found = BTreeSet::new();
    for tree in USE.captures_iter(code) {
        unfold("", &tree[1], &mut found);
    }
    let rest = USE.replace_all(code, ";");
    found.extend(PATH.find_iter(&rest).map(|path| path.as_str().to_owned()));
    found
}

/// Unfolds one `use` tree under `prefix`.
fn unfold(prefix: &str, tree: &str, found: &mut BTreeSet<String>) {
    let tree = tree.trim().split(" as ").next().unwrap_or_default().trim();
    let Some((head, rest)) = tree.split_once('{') else {
        found.insert(format!("{prefix}{tree}").replace(char::is_whitespace, ""));
        return;
    };
    let (prefix, mut depth, mut start) = (format!("{prefix}{head}"), 0, 0);
    let inner = rest.rsplit_once('}').map_or(rest, |(inner, _)| inner);
    for (at, c) in inner.char_indices().chain([(inner.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                if !inner[start..at].trim().is_empty() {
                    unfold(&prefix, &inner[start..at], found);
                }
                start = at + 1;
            }
            _ => {}
        }
    }
}

/// The module that a source file is: `src/engine/alert.rs` is `[engine, alert]`, `src/lib.rs` is `[]`.
fn module(path: &str) -> Vec<&str> {
    let path = path.strip_prefix("src/").unwrap_or(path).trim_end_matches(".rs");
    if path == "lib" || path == "main" { Vec::new() } else { path.split('/').collect() }
}

fn is_test_code(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/")
}

// === Checks

/// Pure modules name nothing impure.
fn purity(path: &str, text: &str) -> Vec<String> {
    if !module(path).first().is_some_and(|top| PURE.contains(top)) || is_test_code(path) {
        return Vec::new();
    }
    let starts = |named: &str, banned: &str| named == banned || named.starts_with(&format!("{banned}::"));
    let named = paths(&code(text));
    let banned = IMPURE.iter().filter(|banned| {
        // A crate is only meant where something of it is used; `metrics` alone may be a variable.
        let is_crate = banned.chars().all(|c| c.is_lowercase() || c == '_');
        named.iter().any(|named| starts(named, banned) && !(is_crate && named == *banned))
    });
    banned.map(|banned| format!("{path} is pure, but names {banned}")).collect()
}

/// Modules use only what the arrows allow.
fn arrows(path: &str, text: &str) -> Vec<String> {
    let own = module(path);
    let Some(top) = own.first().filter(|_| !is_test_code(path)) else { return Vec::new() };
    let Some((_, allowed)) = ARROWS.iter().find(|(from, _)| from == top) else {
        return vec![format!("{path}: `{top}` has no row in the table of arrows (tests/tidy.rs)")];
    };
    let used: BTreeSet<String> = paths(&code(text)).iter().filter_map(|named| target(&own, named)).collect();
    let wrong = used.iter().filter(|used| used != top && !allowed.contains(&used.as_str()));
    wrong.map(|used| format!("{path}: `{top}` may not use `{used}`")).collect()
}

/// The top module that a `crate::` or `super::` path of the module `own` leads to.
fn target(own: &[&str], named: &str) -> Option<String> {
    let mut at: Vec<&str> = Vec::new();
    for (i, part) in named.split("::").enumerate() {
        match part {
            "crate" if i == 0 => {}
            "super" if i == 0 => at = own[..own.len() - 1].to_vec(),
            "super" => drop(at.pop()),
            _ if i == 0 => return None,
            part => at.push(part),
        }
    }
    // An item of the crate root itself, or `super` as a word of its own.
    at.first().filter(|top| top.chars().all(|c| c.is_lowercase() || c == '_')).map(|top| (*top).to_owned())
}

/// PromQL is written in one place.
fn promql(path: &str, text: &str) -> Vec<String> {
    static MADE: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r#"(?s)\b(?:format|write|writeln|format_args)!\s*\((?:[^"()]*,)?\s*"((?:\\.|[^"\\])*)""#)
            .expect("a valid pattern")
    });
    static ASKED: LazyLock<Regex> = LazyLock::new(|| {
        let aggregated = r"\b(?:sum|count|max|min|avg|group|topk|bottomk|quantile|stddev)(?: ?(?:by|without) ?\(|\((?:\{|[a-z_]+\())";
        let called = r"\b(?:rate|irate|increase|delta|resets|changes|absent|timestamp|label_replace|histogram_\w+|\w+_over_time)\(";
        // `{selector}[{span}s]`, `{selector}[5m]`, `{metric}{{name=...`, ` offset {`.
        let around = r"[})]\[(?:\{\w*\}[smhdw:]|\d+[smhdw][\]:])|\}\{\{[\w{}]+(?:=~?|!)| offset \{";
        Regex::new(&format!("{aggregated}|{called}|{around}")).expect("a valid pattern")
    });
    if is_test_code(path) || PROMQL.iter().any(|(may, _)| path.starts_with(may)) {
        return Vec::new();
    }
    static COMMENT: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"(?m)^\s*//[^\n]*").expect("a valid pattern"));
    let text = COMMENT.replace_all(text, "");
    let text = text.find("\n#[cfg(test)]\nmod tests {").map_or(&*text, |end| &text[..end]);
    let made = MADE.captures_iter(text).map(|hit| hit[1].to_owned());
    let asked = made.filter(|literal| literal.contains('{') && ASKED.is_match(literal));
    asked.map(|literal| format!("{path}: PromQL is written in src/query/promql, not by {literal:?}")).collect()
}

/// A file opens with what it is for.
fn heads(path: &str, text: &str) -> Vec<String> {
    if is_test_code(path) || text.starts_with("#![doc = include_str!") {
        return Vec::new();
    }
    let head: String = text.lines().map_while(|line| line.strip_prefix("//!")).collect::<Vec<_>>().join(" ");
    match head.split_whitespace().count() >= 4 {
        true => Vec::new(),
        false => vec![format!("{path}: its head (`//!`) does not say what it is for")],
    }
}

/// Files are named by what is in them.
fn names(path: &str) -> Vec<String> {
    let stem = Path::new(path).file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let empty = path.ends_with(".rs") && EMPTY_NAMES.contains(&stem);
    if empty {
        vec![format!("{path}: name it after what is in it (foo.rs and foo/, never mod.rs)")]
    } else {
        Vec::new()
    }
}

/// Metrics used outside are in the table of names.
fn metric_names(path: &str, text: &str) -> Vec<String> {
    static NAME: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"\bslowburn_[a-z0-9_]+(\.\w)?").expect("a valid pattern"));
    // `slowburn_test.yaml` is a file.
    let used: BTreeSet<&str> = NAME
        .captures_iter(text)
        .filter(|hit| hit.get(1).is_none())
        .map(|hit| hit.get(0).map_or("", |hit| hit.as_str()))
        .collect();
    let known = |name: &str| {
        let of_histogram = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
        Metric::named(name).is_some_and(|metric| metric.kind != Kind::Histogram)
            || of_histogram.and_then(Metric::named).is_some_and(|metric| metric.kind == Kind::Histogram)
    };
    let unknown = used.into_iter().filter(|name| !known(name));
    let own = unknown.map(|name| format!("{path}: no metric is called {name} (src/telemetry/names.rs)"));
    // What other tools call theirs: colons are part of these names.
    static FOREIGN: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"(?:^|[^\w:])(slo:[a-z_]+(?::\w+)?|sloth_slo_\w+|pyrra_\w+(?::\w+)?)").expect("a valid pattern")
    });
    let used: BTreeSet<&str> =
        FOREIGN.captures_iter(text).map(|hit| hit.get(1).map_or("", |hit| hit.as_str())).collect();
    let unknown = used.into_iter().filter(|name| Foreign::named(name).is_none());
    let foreign = unknown.map(|name| format!("{path}: no series is called {name} (src/telemetry/compat.rs)"));
    own.chain(foreign).collect()
}

/// Nothing tells of the machine it was written on.
fn machine_paths(path: &str, text: &str) -> Vec<String> {
    static FOLDER: LazyLock<Regex> = LazyLock::new(|| {
        let folders = ["work", "root", "home"].map(|top| format!("/{top}/")).join("|");
        Regex::new(&format!(r#"(?m)(?:^|[\s"'`=:(\[<>,])({folders})"#)).expect("a valid pattern")
    });
    let line = |hit: regex::Captures<'_>| text[..hit.get(1).map_or(0, |hit| hit.start())].matches('\n').count() + 1;
    FOLDER.captures_iter(text).map(|hit| format!("{path}:{}: a path of one machine", line(hit))).collect()
}

/// The map names every room (`src/engine.rs` or `src/engine/…`), and nothing that is not there. A path counts as named
/// when it stands in backticks. What a file is for stands at its own head.
fn map(text: &str, files: &BTreeSet<String>) -> Vec<String> {
    static QUOTED: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"`([^`\s]+)`").expect("a valid pattern"));
    let roots = ["src/", "tests/", "rules/", "dashboards/", "deploy/", "benches/"];
    let quoted: BTreeSet<&str> =
        QUOTED.captures_iter(text).map(|hit| hit.get(1).map_or("", |hit| hit.as_str())).collect();
    let there = |path: &str| {
        let folder = format!("{}/", path.trim_end_matches('/'));
        files.contains(path) || files.iter().any(|file| file.starts_with(&folder))
    };
    let is_path =
        |word: &&&str| roots.iter().any(|root| word.starts_with(root)) && !word.contains(['*', '{', '<', '…']);
    let gone = quoted.iter().filter(is_path).filter(|path| !there(path));
    let rooms = files.iter().filter_map(|file| file.strip_prefix("src/")?.strip_suffix(".rs"));
    let rooms = rooms.filter(|room| !room.contains('/') && !["lib", "main"].contains(room));
    let is_named = |room: &&str| {
        let (file, folder) = (format!("src/{room}.rs"), format!("src/{room}/"));
        quoted.iter().any(|word| *word == file || word.starts_with(&folder) || format!("{word}/") == folder)
    };
    gone.map(|path| format!("ARCHITECTURE.md names `{path}`, which is not there"))
        .chain(rooms.filter(|room| !is_named(room)).map(|room| format!("ARCHITECTURE.md does not name src/{room}.rs")))
        .collect()
}

/// A source file opens with what it is for: a doc comment whose first paragraph is a sentence of at least four words.
fn head(path: &str, text: &str) -> Vec<String> {
    if is_test_code(path) || ["src/lib.rs"].contains(&path) {
        return Vec::new();
    }
    let lines = text.lines().take_while(|line| line.starts_with("//! "));
    let first: Vec<&str> = lines.filter_map(|line| line.strip_prefix("//! ")).collect();
    let first = first.join(" ");
    if first.split_whitespace().count() < 4 || !first.trim_end().ends_with(['.', ':', '?', '!']) {
        return vec![format!("{path}: its head says in a sentence what the file is for")];
    }
    Vec::new()
}

/// Every test that a page names is there: `` `gate::tests::threats::a_permit_expires` ``, or `` `it::gate::…` `` for one of
/// `tests/it`.
fn named_tests(path: &str, text: &str, files: &[(String, String)]) -> Vec<String> {
    static NAME: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"`([a-z_0-9]+(?:::[a-z_0-9]+)+)`").expect("a valid pattern"));
    let is_there = |name: &str| {
        let mut parts: Vec<&str> = name.split("::").collect();
        let test = parts.pop().unwrap_or_default();
        let home = if parts.first() == Some(&"it") { "tests" } else { "src" };
        let mut homes = vec![format!("{home}/{}.rs", parts.join("/"))];
        if parts.last() == Some(&"tests") {
            parts.pop();
            homes.push(format!("{home}/{}.rs", parts.join("/")));
        }
        let declared = Regex::new(&format!(r"fn {test}\(")).expect("a word");
        files.iter().any(|(file, text)| homes.contains(file) && declared.is_match(text))
    };
    let names: BTreeSet<&str> = NAME.captures_iter(text).map(|hit| hit.get(1).map_or("", |hit| hit.as_str())).collect();
    let gone = names.into_iter().filter(|name| !is_there(name));
    gone.map(|name| format!("{path} names the test {name}, which is not there")).collect()
}

// === The tree

/// Every file of the project with its path; what is built or kept locally is left out.
fn tree() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut files, mut folders) = (Vec::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the project") {
            let path = entry.expect("an entry").path();
            let name = path.strip_prefix(root).expect("under the root").to_str().expect("plain names").to_owned();
            if ["target", "data", ".git", "fuzz/target", "fuzz/corpus"].contains(&name.as_str()) {
                continue;
            } else if path.is_dir() {
                folders.push(path);
            } else {
                let bytes = fs::read(&path).expect("a readable file");
                files.push((name, String::from_utf8_lossy(&bytes).into_owned()));
            }
        }
    }
    files.sort();
    assert!(files.iter().any(|(path, _)| path == "src/lib.rs"), "this is not the project: {}", root.display());
    files
}

fn sources() -> Vec<(String, String)> {
    tree().into_iter().filter(|(path, _)| path.starts_with("src/") && path.ends_with(".rs")).collect()
}

#[track_caller]
fn none(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn pure_modules_hold_no_clock_and_do_no_io() {
    none(sources().iter().flat_map(|(path, text)| purity(path, text)).collect());
}

#[test]
fn no_import_runs_against_the_arrows() {
    none(sources().iter().flat_map(|(path, text)| arrows(path, text)).collect());
}

#[test]
fn imports_go_round_in_no_circle() {
    let allowed = |circle: &Vec<String>| CIRCLES.iter().any(|(may, _)| may == circle);
    let wrong = circles::circles(&sources()).into_iter().filter(|circle| !allowed(circle));
    none(wrong.map(|circle| format!("these files import each other in a circle: {}", circle.join(", "))).collect());
}

#[test]
fn promql_is_written_in_one_place() {
    none(sources().iter().flat_map(|(path, text)| promql(path, text)).collect());
}

#[test]
fn each_source_file_opens_with_what_it_is_for() {
    none(sources().iter().flat_map(|(path, text)| heads(path, text)).collect());
}

#[test]
fn files_are_named_after_what_is_in_them() {
    none(tree().iter().flat_map(|(path, _)| names(path)).collect());
}

#[test]
fn every_metric_used_outside_exists() {
    let outside = |path: &str| ["rules/", "dashboards/", "deploy/"].iter().any(|folder| path.starts_with(folder));
    none(tree().iter().filter(|(path, _)| outside(path)).flat_map(|(path, text)| metric_names(path, text)).collect());
}

#[test]
fn no_file_tells_of_the_machine_it_was_written_on() {
    none(tree().iter().flat_map(|(path, text)| machine_paths(path, text)).collect());
}

#[test]
fn every_file_says_at_its_head_what_it_is_for() {
    none(sources().iter().flat_map(|(path, text)| head(path, text)).collect());
}

#[test]
fn the_map_names_every_room_and_nothing_else() {
    let files = tree();
    let (_, text) = files.iter().find(|(path, _)| path == "ARCHITECTURE.md").expect("the map is there");
    none(map(text, &files.iter().map(|(path, _)| path.clone()).collect()));
}

#[test]
fn every_test_that_the_page_of_the_gate_names_exists() {
    let files = tree();
    let (path, text) = files.iter().find(|(path, _)| path == "docs/gate.md").expect("the page of the gate");
    let rows = text.lines().filter(|line| line.starts_with("| ") && line.contains("::")).count();
    assert!(rows > 30, "only {rows} rows name a test");
    none(named_tests(path, text, &files));
}

#[test]
fn what_the_manifests_ship_loads() {
    let shipped = |path: &str| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect(path);
    let rules = "deploy/kubernetes/base/checkout.yaml";
    let loaded = slowburn::spec::load_text(rules, &shipped(rules));
    assert!(loaded.problems.is_empty(), "{}", loaded.render(false));
    for folder in ["base", "sidecar/service", "sidecar/agent"] {
        let settings = format!("deploy/kubernetes/{folder}/slowburn.yaml");
        let loaded = slowburn::config::load_text(&settings, &shipped(&settings));
        assert!(loaded.problems.is_empty(), "{}", loaded.render(false));
        assert_eq!(loaded.settings.follow.is_some(), folder != "base");
    }
}

#[test]
fn the_example_of_a_preset_loads() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/preset");
    let loaded = slowburn::spec::load(&[folder]);
    assert!(loaded.problems.is_empty() && loaded.model.slos.len() == 2, "{}", loaded.render(false));
}

#[test]
fn what_the_readme_shows_loads() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).expect("the README");
    let block = readme.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a block of YAML");
    let loaded = slowburn::spec::load_text("README.md", block);
    assert!(loaded.problems.is_empty() && loaded.model.slos.len() == 2, "{}", loaded.render(false));
}

/// Pages that users read.
fn documents() -> Vec<(String, String)> {
    tree().into_iter().filter(|(path, _)| path.ends_with(".md")).collect()
}

#[test]
fn every_link_of_a_document_leads_somewhere() {
    let files = tree();
    none(documents().iter().flat_map(|(path, text)| documents::links(path, text, &files)).collect());
}

#[test]
fn what_the_documents_show_loads() {
    none(documents().iter().flat_map(|(path, text)| documents::blocks(path, text)).collect());
}

#[test]
fn every_alert_on_slowburn_itself_has_a_runbook() {
    let read = |path: &str| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect(path);
    none(documents::runbooks(&read("rules/prometheus/slowburn.yaml"), &read("docs/runbooks.md")));
}

#[test]
fn the_book_has_every_page() {
    let pages: Vec<String> = documents().into_iter().map(|(path, _)| path).collect();
    let ours =
        pages.into_iter().filter(|path| path.starts_with("docs/") && path != "docs/SUMMARY.md").collect::<Vec<_>>();
    let summary =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/SUMMARY.md")).expect("the summary");
    none(documents::left_out(&summary, &ours));
}

#[test]
fn the_readme_is_a_front_door() {
    none(
        documents()
            .iter()
            .filter(|(path, _)| path == "README.md")
            .flat_map(|(_, text)| documents::readme(text))
            .collect(),
    );
}

// === Each check fails where it should

#[test]
fn impure_code_is_seen_through_every_way_of_naming_it() {
    for bad in [
        "use tokio::sync::watch;",
        "use std::{collections::BTreeMap, fs};",
        "use std::{\n    env::{self, var},\n};",
        "fn now() -> u64 { std::time::SystemTime::now() }",
        "use std::time::{Duration, Instant};",
        "fn f(at: Instant) {}",
        "fn f() { metrics::counter!(\"a\").increment(1); }",
        "fn f() { tracing::warn!(\"a\"); }",
        "/* fine */ use std::net::IpAddr; // really",
        "fn f() { std::thread::sleep(d) }",
    ] {
        assert!(!purity("src/engine/burn.rs", bad).is_empty(), "{bad}");
        assert!(!purity("src/query.rs", bad).is_empty(), "{bad}");
        assert_eq!(purity("src/web/api.rs", bad), [""; 0], "{bad}");
        assert_eq!(purity("src/engine/burn/tests.rs", bad), [""; 0], "{bad}");
    }
    for good in [
        "//! Speaks of std::fs and tokio::spawn.\nuse std::time::Duration;",
        "const TEXT: &str = \"use tokio::sync;\";",
        "let metrics = 3; let c = '\"'; let d = \"tokio::x\";",
        "fn f() {}\n\n#[cfg(test)]\nmod tests {\n    use std::fs;\n}",
    ] {
        assert_eq!(purity("src/engine/burn.rs", good), [""; 0], "{good}");
    }
}

#[test]
fn imports_against_the_arrows_are_seen() {
    for (path, bad) in [
        ("src/engine/alert.rs", "use crate::spec::Model;"),
        ("src/engine/alert/machine.rs", "use super::super::super::notify::Event;"),
        ("src/engine.rs", "use super::web;"),
        ("src/query/plan.rs", "use crate::{engine::Slo, prometheus::Source};"),
        ("src/notify.rs", "fn f() { crate::web::serve() }"),
        ("src/app.rs", "use crate::demo::Fleet;"),
        ("src/demo.rs", "use crate::app::run;"),
        ("src/newcomer.rs", "fn f() {}"),
    ] {
        assert_eq!(arrows(path, bad).len(), 1, "{path}: {bad}");
    }
    for (path, good) in [
        ("src/engine/alert/machine.rs", "use super::super::labels::Labels; use crate::engine::Seconds;"),
        ("src/spec/read.rs", "use crate::engine::Slo;\n#[cfg(test)]\nmod tests { use crate::config::load; }"),
        ("src/spec/tests.rs", "use crate::config::load;"),
        ("src/cli.rs", "use crate::demo::Fleet;"),
        ("src/lib.rs", "pub use crate::web::serve;"),
        ("src/web/api.rs", "use super::{Site, view}; use crate::clock::Clock;"),
    ] {
        assert_eq!(arrows(path, good), [""; 0], "{path}: {good}");
    }
}

#[test]
fn circles_are_seen_through_re_exports_and_paths() {
    let of = |files: &[(&str, &str)]| {
        let files: Vec<_> = files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
        circles::circles(&files)
    };
    let both = [vec!["src/a/b.rs".to_owned(), "src/a/c.rs".to_owned()]];
    let a = ("src/a.rs", "mod b; mod c; pub use b::B; pub use c::C as D;\npub use c::C;");
    assert_eq!(of(&[a, ("src/a/b.rs", "use super::c::C;"), ("src/a/c.rs", "use crate::a::b::B;")]), both);
    assert_eq!(of(&[a, ("src/a/b.rs", "use super::C;"), ("src/a/c.rs", "use crate::a::{self, B};")]), both);
    assert_eq!(
        of(&[a, ("src/a/b.rs", "use super::c;\nfn f() { c::g() }"), ("src/a/c.rs", "fn g() { super::b::f() }")]),
        both
    );
    assert_eq!(
        of(&[("src/a.rs", "mod b; use crate::c::C;"), ("src/c.rs", "use crate::a::b::B;"), ("src/a/b.rs", "")]),
        [[""; 0]; 0]
    );
    assert_eq!(of(&[a, ("src/a/b.rs", "use super::c::C;"), ("src/a/c.rs", "// use super::b::B;")]), [[""; 0]; 0]);
    let up_and_down = [("src/a.rs", "mod b; use b::B; pub struct A;"), ("src/a/b.rs", "use super::A;")];
    assert_eq!(of(&up_and_down), [[""; 0]; 0], "a file and those in its folder are one noun");
}

#[test]
fn promql_that_is_put_together_elsewhere_is_seen() {
    for bad in [
        r#"format!("{}[{window_s}s]", fetch.expr)"#,
        r#"format!("sum by ({keep}) ({m})")"#,
        r#"format!("count({selector})")"#,
        r#"let e = &format!(\n    "increase({m}[5m])"\n);"#,
        r#"write!(out, "{m} offset {s}s")"#,
        r#"format!("{metric}{{{kind}=~\"{names}\"}}")"#,
        r#"format!("max(rate({m}[1m]))")"#,
    ] {
        assert_eq!(promql("src/prometheus/source.rs", &bad.replace("\\n", "\n")).len(), 1, "{bad}");
        assert_eq!(promql("src/query/promql/request.rs", bad), [""; 0]);
    }
    for good in [
        r#"format!("{path}[{i}]")"#,
        r#"format!("at most {max} of {count} are read")"#,
        r#"// format!("count({selector})")"#,
        r#"let fixed = "sum(rate(m[5m]))";"#,
        r#"expr::call("count", selector)"#,
        "fn f() {}\n#[cfg(test)]\nmod tests {\n let a = format!(\"count({selector})\"); }",
    ] {
        assert_eq!(promql("src/prometheus/source.rs", good), [""; 0], "{good}");
    }
}

#[test]
fn heads_that_say_nothing_are_seen() {
    assert_eq!(heads("src/a.rs", "use crate::b;\n").len(), 1);
    assert_eq!(heads("src/a.rs", "//! Things.\nuse crate::b;\n").len(), 1);
    assert_eq!(heads("src/a.rs", "//! What a request is made of.\nuse crate::b;\n"), [""; 0]);
    assert_eq!(heads("src/a/tests.rs", "use super::*;\n"), [""; 0]);
}

#[test]
fn empty_names_are_seen() {
    for bad in ["src/engine/mod.rs", "src/web/utils.rs", "tests/it/helpers.rs", "src/types.rs"] {
        assert_eq!(names(bad).len(), 1, "{bad}");
    }
    assert_eq!(names("src/engine/model.rs"), [""; 0]);
    assert_eq!(names("deploy/common.yaml"), [""; 0]);
}

#[test]
fn metrics_that_do_not_exist_are_seen() {
    let complaints = |text: &str| metric_names("rules/x.yaml", text).len();
    assert_eq!(complaints("expr: rate(slowburn_poll_total[5m]) > 0"), 1);
    assert_eq!(complaints("slowburn_polls_total_bucket"), 1, "a counter has no buckets");
    assert_eq!(complaints("slowburn_poll_duration_seconds > 1"), 1, "a histogram has only its parts");
    assert_eq!(complaints("slo:period_burn_rate:ratios + pyrra_requests:rate6m / slo:sli_error:ratio_rate"), 3);
    assert_eq!(complaints("slo:period_burn_rate:ratio + pyrra_requests:rate5m / slo:sli_error:ratio_rate30d"), 0);
    assert_eq!(complaints("slowburn_poll_duration_seconds_bucket{le=\"1\"} slowburn_slo_state slowburn_test.yaml"), 0);
}

#[test]
fn tests_that_do_not_exist_are_seen() {
    let files = [
        ("src/a/tests.rs", "fn one() {}"),
        ("src/b.rs", "mod tests { fn two() {} }"),
        ("tests/it/c.rs", "fn three() {}"),
    ];
    let files = files.map(|(path, text)| (path.to_owned(), text.to_owned()));
    let complaints = |text: &str| named_tests("docs/a.md", text, &files).len();
    assert_eq!(complaints("`a::tests::one`, `b::tests::two`, `it::c::three`, `one`"), 0);
    assert_eq!(complaints("`a::tests::two`, `b::tests::on`, `it::c::four`, `it::d::three`"), 4);
}

#[test]
fn machine_paths_are_seen() {
    for top in ["work", "root", "home"] {
        let bad = format!("fine\nlet p = \"/{top}/x\";");
        assert_eq!(machine_paths("a.rs", &bad), ["a.rs:2: a path of one machine"]);
    }
    assert_eq!(machine_paths("a", "target/parts/root/usr https://example.com/home/page"), [""; 0]);
}

#[test]
fn a_map_that_is_not_true_is_seen() {
    let files = ["src/lib.rs", "src/engine.rs", "src/engine/burn.rs", "rules/a.yaml"].map(str::to_owned).into();
    for whole in ["`src/engine.rs`, `rules/`, `rules/*.yml`, `foo.rs`", "`src/engine/burn.rs`", "`src/engine`"] {
        assert_eq!(map(whole, &files), [""; 0]);
    }
    assert_eq!(map("src/engine.rs", &files), ["ARCHITECTURE.md does not name src/engine.rs"]);
    let stale = "`src/engine.rs` `src/burn.rs` `deploy/`";
    assert_eq!(map(stale, &files).len(), 2, "{:?}", map(stale, &files));
}

#[test]
fn files_without_a_head_are_seen() {
    assert_eq!(head("src/a.rs", "//! Counts what is there,\n//! and nothing else.\n\nuse b;\n"), [""; 0]);
    for bare in ["use b;\n", "// Counts what is there.\n", "//! Counts.\n", "//! Counts what is there\n\nuse b;\n"] {
        assert_eq!(head("src/a.rs", bare).len(), 1, "{bare}");
    }
    assert_eq!(head("src/a/tests.rs", "use b;\n"), [""; 0]);
}
