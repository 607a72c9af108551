//! Files of rules, of this project and of others: no text panics the loader, and every problem has its place in the text.
//! Seeds: `cargo fuzz run -s none service tests/configs/good tests/configs/bad tests/configs/import`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use slowburn::spec::load_text;

fuzz_target!(|text: &str| {
    let loaded = load_text("any.yaml", text);
    drop(loaded.render(true));
    // YAML ends a line with a carriage return, too.
    let lines = text.matches(['\n', '\r']).count() + 2;
    assert!(loaded.problems.iter().all(|problem| problem.line <= lines));
    assert!(loaded.is_fatal() || loaded.model.slos.iter().all(|spec| spec.slo.objective < 100.0));
});
