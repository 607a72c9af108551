//! The table of reasons in `docs/gate.md` is that of the code: each reason once, in order, with its meaning and what
//! clears it.

use std::collections::{BTreeMap, BTreeSet};

use super::cases::{Case, Dice};
use crate::gate::ReasonCode;

const DOC: &str = include_str!("../../../docs/gate.md");

/// Rows of the table: code, meaning, what clears it.
fn rows() -> Vec<(String, String, String)> {
    let section = DOC.split("\n## Reasons\n").nth(1).expect("a section of reasons");
    let section = section.split("\n## ").next().expect("its text");
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    rows.map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [code, meaning, clears] = cells.as_slice() else { panic!("{line}: three cells") };
        (code.trim_matches('`').to_string(), (*meaning).to_string(), (*clears).to_string())
    })
    .collect()
}

#[test]
fn the_table_has_every_reason_once_and_no_other() {
    let written: Vec<(String, String)> = rows().into_iter().map(|(code, meaning, _)| (code, meaning)).collect();
    let known: Vec<(String, String)> =
        ReasonCode::ALL.iter().map(|code| (code.to_string(), code.meaning().to_string())).collect();
    for (written, known) in written.iter().zip(&known) {
        assert_eq!(written, known);
    }
    assert_eq!(written.len(), known.len(), "the table has other rows than the code has reasons");
}

/// What decisions say would clear a reason stands in its row.
#[test]
fn what_clears_a_reason_is_what_the_table_says() {
    let rows: BTreeMap<String, String> = rows().into_iter().map(|(code, _, clears)| (code, clears)).collect();
    let mut seen = BTreeSet::new();
    let mut dice = Dice(7);
    for _ in 0..1_500 {
        for check in Case::of(&mut dice).decide().checks {
            if let Some(by) = check.clear_by {
                seen.insert((check.code.to_string(), by.as_str()));
            }
        }
    }
    assert!(seen.len() > 40, "{seen:?}");
    for (code, by) in seen {
        let clears = &rows[&code];
        assert!(clears.contains(&format!("`{by}`")), "{code}: decisions say `{by}`, the table says {clears}");
    }
}
