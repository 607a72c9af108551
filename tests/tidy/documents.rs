//! Documents keep their word: links lead somewhere, and what they tell readers to write loads.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};
use std::sync::LazyLock;

use regex::Regex;

/// Words and lines of the README at most: it is the front door, not the house.
const README_MAX: (usize, usize) = (1_100, 120);

/// What begins other files than rules and settings, and parts of them.
const OTHERS: [&str; 13] = [
    "identities",
    "preset",
    "receivers",
    "scrape_configs",
    "workloads",
    "apiVersion",
    "http_filters",
    "mcpGuardrails",
    "metrics",
    "jobs",
    "deploy",
    "webhooks",
    "autonomy",
];

/// Links between the files of the project that lead nowhere: no such file, or no such heading in it.
pub fn links(path: &str, text: &str, files: &[(String, String)]) -> Vec<String> {
    static LINK: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\]\(([^)\s]+)\)").expect("a valid pattern"));
    let mut complaints = Vec::new();
    for link in LINK.captures_iter(text).map(|hit| hit[1].to_owned()) {
        if link.contains("://") || link.starts_with("mailto:") {
            continue;
        }
        let (file, heading) = link.split_once('#').unwrap_or((&link, ""));
        let target = if file.is_empty() { path.to_owned() } else { beside(path, file) };
        let there = files.iter().find(|(name, _)| *name == target);
        let folder = || files.iter().any(|(name, _)| name.starts_with(&format!("{}/", target.trim_end_matches('/'))));
        match there {
            None if !folder() => complaints.push(format!("{path} links to {link}, which is not there")),
            Some((_, text)) if !heading.is_empty() && !headings(text).contains(heading) => {
                complaints.push(format!("{path} links to {link}, and {target} has no such heading"));
            }
            _ => {}
        }
    }
    complaints
}

/// A path as it is named in a file beside it.
fn beside(path: &str, link: &str) -> String {
    let mut found = PathBuf::new();
    for part in Path::new(path).parent().into_iter().flat_map(Path::components).chain(Path::new(link).components()) {
        match part {
            Component::ParentDir => drop(found.pop()),
            Component::Normal(name) => found.push(name),
            _ => {}
        }
    }
    found.to_string_lossy().into_owned()
}

/// The names that headings go by in links.
fn headings(text: &str) -> BTreeSet<String> {
    let heading = |line: &str| {
        let words = line.trim_start_matches('#').trim().to_lowercase();
        let kept = words.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    text.lines().filter(|line| line.starts_with('#')).map(heading).collect()
}

/// Blocks of YAML that do not load as what they are shown to be: settings, a policy, a service, or SLOs of one.
pub fn blocks(path: &str, text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    for block in fenced(text, "yaml") {
        let key = |name: &str| block.lines().any(|line| line.starts_with(&format!("{name}:")));
        let first = block.lines().next().unwrap_or_default();
        let said = if first.starts_with("# slowburn.yaml") || key("audit") {
            let loaded = slowburn::config::load_text(path, &block);
            (!loaded.problems.is_empty()).then(|| loaded.render(false))
        } else if block.contains("apiVersion: slowburn.dev/") {
            let loaded = slowburn::spec::load_text(path, &block);
            loaded.is_fatal().then(|| loaded.render(false))
        } else if OTHERS.iter().any(|name| key(name)) || first.starts_with('-') {
            None
        } else {
            let whole = match () {
                () if ["service", "name", "exclusions", "budget_resets"].into_iter().any(key) => block.clone(),
                () if key("slo") => format!("name: example\nowner: team\n{block}"),
                () => format!("name: example\nowner: team\nslo:\n{}", indented(&block)),
            };
            // What is about other services finds one.
            let other = ("checkout.yaml", "name: checkout\nowner: team\nslo:\n  availability: 99.9\n");
            let others = if ["exclusions", "budget_resets"].into_iter().any(key) { vec![other] } else { vec![] };
            let texts: Vec<(&str, &str)> = others.into_iter().chain([(path, whole.as_str())]).collect();
            let loaded = slowburn::spec::load_texts(&texts, &slowburn::spec::Options::default());
            // An SLO without a source is only warned of: examples leave out what they are not about.
            loaded.is_fatal().then(|| loaded.render(false))
        };
        complaints.extend(said.map(|said| format!("{path} shows what does not load:\n{block}\n{said}")));
    }
    complaints
}

/// Alerts on Slowburn itself without a runbook of their own name.
pub fn runbooks(rules: &str, page: &str) -> Vec<String> {
    let known = headings(page);
    let mut complaints = Vec::new();
    for block in rules.split("- alert: ").skip(1) {
        let name = block.split_whitespace().next().unwrap_or_default().to_owned();
        let anchor = name.to_lowercase();
        if !block.contains(&format!("runbooks.html#{anchor}\n")) || !known.contains(&anchor) {
            complaints.push(format!("{name} has no runbook_url, or docs/runbooks.md has no heading of its name"));
        }
    }
    complaints
}

/// Pages that the book leaves out: `SUMMARY.md` has to name each.
pub fn left_out(summary: &str, pages: &[String]) -> Vec<String> {
    let named = |page: &&String| !summary.contains(&format!("({})", page.trim_start_matches("docs/")));
    pages.iter().filter(named).map(|page| format!("docs/SUMMARY.md does not name {page}")).collect()
}

/// The blocks of one language, without the indent of the list that they stand in.
fn fenced(text: &str, language: &str) -> Vec<String> {
    let (mut blocks, mut open): (Vec<String>, Option<usize>) = (Vec::new(), None);
    for line in text.lines() {
        let fence = line.trim_start();
        match open {
            None if fence == format!("```{language}") => {
                open = Some(line.len() - fence.len());
                blocks.push(String::new());
            }
            Some(_) if fence == "```" => open = None,
            Some(indent) => {
                let block = blocks.last_mut().expect("one is open");
                block.push_str(line.get(indent..).unwrap_or_default());
                block.push('\n');
            }
            None => {}
        }
    }
    blocks
}

fn indented(block: &str) -> String {
    block.lines().map(|line| format!("  {line}\n")).collect()
}

/// Whether the README became longer than a front door is.
pub fn readme(text: &str) -> Vec<String> {
    let (words, lines) = (text.split_whitespace().count(), text.lines().count());
    let long = words > README_MAX.0 || lines > README_MAX.1;
    long.then(|| {
        format!("README.md has {words} words in {lines} lines; {} and {} are enough", README_MAX.0, README_MAX.1)
    })
    .into_iter()
    .collect()
}

#[test]
fn links_and_blocks_that_are_wrong_are_seen() {
    let files =
        [("docs/a.md".to_owned(), "# One\n\n## How it `is`\n".to_owned()), ("src/b.rs".to_owned(), String::new())];
    let said = |text: &str| links("docs/a.md", text, &files).len();
    assert_eq!(said("[a](a.md) [b](#how-it-is) [c](../src/b.rs) [d](../src) [e](https://example.com/x#y)"), 0);
    assert_eq!(said("[a](b.md) [b](#how-it-was) [c](../b.rs)"), 3);
    assert!(blocks("a.md", "```yaml\navailability: 99.9\n```\n").is_empty());
    let wrong = "1. So:\n   ```yaml\n   availability: 100\n   ```\n```yaml\n# slowburn.yaml\nlisten_at: x\n```\n";
    assert_eq!(blocks("a.md", wrong).len(), 2);
    let rules =
        "- alert: A\n  runbook_url: https://x/runbooks.html#a\n- alert: B\n  runbook_url: https://x/runbooks.html#c\n";
    assert_eq!(runbooks(rules, "## A\n## B\n").len(), 1);
    assert_eq!(left_out("[a](a.md)", &["docs/a.md".into(), "docs/b.md".into()]).len(), 1);
    assert_eq!(readme(&"word ".repeat(README_MAX.0 + 1)).len(), 1);
}
