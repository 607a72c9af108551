//! What a reload answers where the rules are refused: what stands in the way, and nothing else.

use crate::app::rules::{Outcome, Sources};
use crate::query::plan::Survey;
use crate::spec::load_texts;
use std::sync::Arc;

/// One error, and warnings beside it that stand in the way of nothing.
#[test]
fn a_refused_reload_counts_errors_and_no_warnings() {
    let warned = "name: chat\nowner: x\nslo: {availability: {objective: 99.9, window: 1d, sli: {total: m, bad: 'm{a=\"b\"}'}}}\n";
    let wrong = "name: shop\nslo: {availability: {objective: 99.9, sli: {total: m, bad: 'm{a=\"b\"}'}}}\n";
    let read = move || load_texts(&[("chat.yaml", warned), ("shop.yaml", wrong)], &Default::default());
    assert!(read().problems.len() > 1, "there is a warning: {}", read().render(false));
    let sources = Sources {
        read: Arc::new(read),
        access: None,
        resolution_s: 30,
        before: Default::default(),
        survey: Survey::default(),
    };
    let (Outcome::Refused { rendered, problems }, _) = sources.read() else { panic!("it is refused") };
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].contains("shop.yaml") && problems[0].contains("owner"), "{problems:?}");
    assert!(rendered.contains("warning") && rendered.contains("chat.yaml"), "for the log all of it: {rendered}");
}
