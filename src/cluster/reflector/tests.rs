//! What is held, by what was heard.

use super::*;
use serde_json::Value;

fn object(name: &str, version: u64) -> Object {
    let key = ObjectKey { kind: "ServiceLevel".into(), namespace: "shop".into(), name: name.into() };
    Object {
        key: Arc::new(key),
        uid: format!("uid-{name}"),
        version: version.to_string(),
        generation: 1,
        created: String::new(),
        digest: version.to_string(),
        texts: Vec::new(),
        service: None,
        status: Value::Null,
    }
}

fn page(names: &[&str], version: u64, continued: Option<&str>) -> Heard {
    let objects = names.iter().map(|name| object(name, 1)).collect();
    Heard::Page { objects, version: version.to_string(), continued: continued.map(str::to_owned) }
}

fn held(reflector: &Reflector) -> Vec<String> {
    reflector.objects().iter().map(|object| format!("{}@{}", object.key.name, object.version)).collect()
}

fn watch(from: u64) -> Ask {
    Ask::Watch { from: from.to_string() }
}

fn list(continued: Option<&str>) -> Ask {
    Ask::Page { limit: PAGE, continued: continued.map(str::to_owned) }
}

#[test]
fn a_list_is_taken_whole_and_watched_from_its_version_on() {
    let mut reflector = Reflector::default();
    assert_eq!(reflector.next(), list(None));
    assert!(!reflector.hear(page(&["a"], 7, Some("b"))), "half a list is none");
    assert!(!reflector.is_synced() && held(&reflector).is_empty());
    assert_eq!(reflector.next(), list(Some("b")));
    assert!(reflector.hear(page(&["b"], 7, None)));
    assert!(reflector.is_synced());
    assert_eq!(held(&reflector), ["a@1", "b@1"]);
    assert_eq!(reflector.next(), watch(7));
    assert!(reflector.hear(Heard::Changed(object("a", 8))));
    assert!(!reflector.hear(Heard::Changed(object("a", 8))), "the same once more is no change");
    assert!(reflector.hear(Heard::Deleted(object("b", 9))));
    assert!(!reflector.hear(Heard::Deleted(object("b", 9))));
    assert_eq!((held(&reflector), reflector.next()), (vec!["a@8".to_owned()], watch(9)));
    assert!(!reflector.hear(Heard::Bookmark("40".into())));
    assert!(!reflector.hear(Heard::Ended));
    assert_eq!((reflector.next(), reflector.wait(1.0)), (watch(40), Duration::ZERO), "a watch that ended goes on");
}

#[test]
fn an_empty_list_is_a_list() {
    let mut reflector = Reflector::default();
    assert!(reflector.hear(page(&[], 3, None)), "that there is none is news");
    assert!(reflector.is_synced());
    assert_eq!(reflector.next(), watch(3));
}

#[test]
fn what_was_forgotten_is_listed_again_and_nothing_is_lost_meanwhile() {
    let mut reflector = Reflector::default();
    reflector.hear(page(&["a", "b"], 7, None));
    assert!(!reflector.hear(Heard::Expired));
    assert_eq!((reflector.next(), reflector.wait(0.5)), (list(None), Duration::ZERO), "at once");
    assert_eq!(held(&reflector), ["a@1", "b@1"], "held until there is another list");
    assert!(!reflector.hear(page(&["a"], 90, Some("c"))));
    // The place in the list is forgotten too: from the beginning, and not without a pause.
    assert!(!reflector.hear(Heard::Expired));
    assert_eq!(reflector.next(), list(None));
    assert!(reflector.wait(0.0) > Duration::ZERO);
    assert_eq!(held(&reflector), ["a@1", "b@1"]);
    assert!(reflector.hear(page(&["a"], 91, None)));
    assert_eq!((held(&reflector), reflector.next()), (vec!["a@1".to_owned()], watch(91)));
    reflector.hear(Heard::Expired);
    assert!(!reflector.hear(page(&["a"], 95, None)), "the same set is no change");
}

#[test]
fn failures_wait_longer_and_longer_and_keep_what_is_held() {
    let mut reflector = Reflector::default();
    reflector.hear(page(&["a"], 7, None));
    let waits: Vec<u128> = (0..9)
        .map(|_| {
            assert!(!reflector.hear(Heard::Failed("it is away".into())));
            reflector.wait(1.0).as_millis()
        })
        .collect();
    assert_eq!(waits, [800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000, 30_000, 30_000]);
    assert_eq!(reflector.wait(0.0), Duration::from_secs(15), "half of it at least, so that not all ask at once");
    assert_eq!((held(&reflector), reflector.next()), (vec!["a@1".to_owned()], watch(7)));
    assert_eq!(reflector.fault().map(|fault| fault.times), Some(9));
    reflector.hear(Heard::Bookmark("8".into()));
    assert_eq!((reflector.wait(1.0), reflector.fault()), (Duration::ZERO, None));
}

#[test]
fn a_page_that_is_too_large_is_asked_for_in_smaller_ones() {
    let mut reflector = Reflector::default();
    let limits: Vec<usize> = (0..6)
        .map(|_| {
            let Ask::Page { limit, .. } = reflector.next() else { panic!("it lists") };
            reflector.hear(Heard::TooLarge);
            limit
        })
        .collect();
    assert_eq!(limits, [500, 125, 31, 7, 1, 1]);
    assert!(reflector.fault().is_some(), "one object that is too large is a fault");
    reflector.hear(page(&["a"], 1, None));
    assert_eq!(reflector.next(), watch(1));
    reflector.hear(Heard::TooLarge);
    assert_eq!(reflector.next(), list(None), "what a watch cannot say, a list may");
}

#[test]
fn a_kind_that_nobody_defined_has_no_objects_and_one_that_is_taken_away_keeps_them() {
    let mut reflector = Reflector::default();
    assert!(reflector.hear(Heard::Undefined));
    assert!(reflector.is_synced() && reflector.wait(1.0) > Duration::ZERO);
    assert!(reflector.hear(page(&["a"], 2, None)));
    assert!(!reflector.hear(Heard::Undefined));
    assert_eq!((held(&reflector), reflector.next()), (vec!["a@1".to_owned()], list(None)));
}

#[test]
fn more_than_can_be_held_is_left_out_and_said() {
    let names: Vec<String> = (0..OBJECTS_MAX + 5).map(|n| format!("{n:06}")).collect();
    let mut reflector = Reflector::default();
    for (at, chunk) in names.chunks(PAGE).enumerate() {
        let chunk: Vec<&str> = chunk.iter().map(String::as_str).collect();
        reflector.hear(page(&chunk, 1, (at < names.len() / PAGE).then_some("more")));
    }
    assert_eq!(reflector.objects().len(), OBJECTS_MAX);
    assert!(reflector.is_synced() && reflector.fault().is_some_and(|fault| fault.what.contains("over 10000")));
    assert!(!reflector.hear(Heard::Changed(object("new", 2))));
    assert!(reflector.hear(Heard::Changed(object("000001", 2))), "what is held may change");
}
