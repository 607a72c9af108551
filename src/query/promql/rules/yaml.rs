//! Groups of rules as the YAML file that Prometheus loads.
//!
//! Written by hand, for the comments; every text that is not ours is quoted as JSON, which YAML reads.

use std::fmt::Write;

use super::{Group, HEAD, Rule, What};

/// The file: the head, then each SLO's groups; what has no rules is named with its reason.
pub fn file(groups: &[Group], left_out: &[(String, String)]) -> String {
    let mut text = comment("", HEAD);
    for (id, why) in left_out {
        text += &comment("", &format!("\nNot exported: {id}: {why}"));
    }
    text += if groups.is_empty() { "groups: []\n" } else { "groups:\n" };
    for group in groups {
        text += &comment("  ", &group.comment);
        line(&mut text, format_args!("  - name: {}", json(&group.name)));
        if let Some(interval) = &group.interval {
            line(&mut text, format_args!("    interval: {interval}"));
        }
        text += "    rules:\n";
        group.rules.iter().for_each(|rule| write_rule(&mut text, rule));
    }
    text
}

fn write_rule(text: &mut String, rule: &Rule) {
    match &rule.what {
        What::Record(name) => line(text, format_args!("      - record: {name}")),
        What::Alert { name, .. } => line(text, format_args!("      - alert: {name}")),
    }
    if rule.expr.contains('\n') && !rule.expr.chars().any(|c| c.is_control() && c != '\n') {
        text.push_str("        expr: |-\n");
        rule.expr.lines().for_each(|part| line(text, format_args!("          {part}")));
    } else {
        line(text, format_args!("        expr: {}", json(&rule.expr)));
    }
    if let What::Alert { wait: Some(wait), .. } = &rule.what {
        line(text, format_args!("        for: {wait}"));
    }
    text.push_str("        labels:\n");
    for (name, value) in &rule.labels {
        line(text, format_args!("          {name}: {}", json(value)));
    }
    if let What::Alert { annotations, .. } = &rule.what {
        text.push_str("        annotations:\n");
        for (name, value) in annotations {
            line(text, format_args!("          {}: {}", json(name), json(value)));
        }
    }
}

/// Lines behind `#`; nothing for no text.
fn comment(indent: &str, text: &str) -> String {
    text.lines().map(|line| format!("{indent}# {line}").trim_end().to_owned() + "\n").collect()
}

fn json(text: &str) -> String {
    serde_json::to_string(text).expect("text is JSON")
}

fn line(text: &mut String, parts: std::fmt::Arguments<'_>) {
    writeln!(text, "{parts}").expect("a String takes every write");
}
