//! Rows: what is heard when, and what is known then.

use super::*;
use crate::mirror::wire::{GateStanding, SignalValue, Signals, Speaker, VERSION};

/// A word with a yes in it, from `at_s`, said at `now_ms` by the source's clock.
pub(crate) fn state(instance: &str, at_s: i64, now_ms: i64) -> ServiceState {
    let yes = SignalValue { value: 1, codes: Vec::new() };
    ServiceState {
        version: VERSION,
        source: Speaker { instance: instance.into(), version: "0.1.0".into(), config_hash: "c0ffee".into() },
        service: "checkout".into(),
        at: at_s,
        now_ms,
        poll_interval_s: 30,
        heartbeat_s: 10,
        gate: GateStanding::Decides,
        signals: Some(Signals {
            signals: [("mitigate".to_owned(), yes.clone()), ("risk".to_owned(), yes)].into(),
            change_state: serde_json::json!({"state": "idle"}),
        }),
        slos: Vec::new(),
    }
}

const S: i64 = 1000;
/// The source's clock is not ours.
const THEIRS: i64 = 1_790_000_000 * S;

fn told(at_s: i64, said_ms: i64) -> Told {
    Told { state: Arc::new(state("a", at_s, THEIRS)), said_ms }
}

fn word(mirror: &Mirror, now_ms: i64) -> &'static str {
    mirror.standing(now_ms).err().map_or("known", Unknown::as_str)
}

#[test]
fn a_word_holds_for_two_polls_whether_the_stream_is_open_or_not() {
    let mut mirror = Mirror::default();
    assert_eq!(word(&mirror, 0), "not_heard");
    mirror.lose(Unknown::SourceUnreachable);
    assert_eq!(word(&mirror, 0), "source_unreachable");
    mirror.opened();
    mirror.hear(told(1000, 5 * S));
    for (now_ms, expected) in
        [(5 * S, "known"), (65 * S, "known"), (65 * S + 1, "source_silent"), (i64::MAX, "source_silent")]
    {
        assert_eq!(word(&mirror, now_ms), expected, "{now_ms}");
    }
    mirror.lose(Unknown::SourceUnreachable);
    assert_eq!((word(&mirror, 65 * S), word(&mirror, 65 * S + 1)), ("known", "source_unreachable"));
    assert_eq!(mirror.last().map(|told| told.slice_age_s(65 * S)), Some(1_790_000_000 - 1000 + 60));
}

#[test]
fn a_source_that_speaks_and_evaluates_nothing_is_silent() {
    let mut mirror = Mirror::default();
    mirror.hear(told(1000, 0));
    // Signals change in between; the evaluation behind them is the same one.
    for said_ms in [20 * S, 40 * S, 60 * S] {
        mirror.hear(told(1000, said_ms));
        assert_eq!(word(&mirror, said_ms), "known");
    }
    assert_eq!(word(&mirror, 60 * S + 1), "source_silent");
    mirror.hear(told(1030, 70 * S));
    assert_eq!(word(&mirror, 70 * S), "known");
    // Another process of the same slice has evaluated it itself.
    mirror.hear(Told { state: Arc::new(state("b", 1030, THEIRS)), said_ms: 120 * S });
    assert_eq!(word(&mirror, 140 * S), "known");
    mirror.hear(told(0, 150 * S));
    assert_eq!(word(&mirror, 150 * S), "source_starting");
}

#[test]
fn what_is_taken_back_holds_no_longer_and_what_cannot_be_reached_does() {
    for (why, holds) in [
        (Unknown::ServiceUnknown, false),
        (Unknown::NotUnderstood, false),
        (Unknown::TooLarge, false),
        (Unknown::SourceUnreachable, true),
        (Unknown::SourceRefuses, true),
        (Unknown::SourceSilent, true),
    ] {
        let mut mirror = Mirror::default();
        mirror.hear(told(1000, 0));
        mirror.lose(why);
        assert_eq!(word(&mirror, S), if holds { "known" } else { why.as_str() });
    }
}

#[test]
fn what_lay_in_a_buffer_is_as_old_as_it_is() {
    let mut delays = Delays::default();
    // Clocks differ by a day; the first takes 50 ms, the next 20.
    let day = 86_400 * S;
    assert_eq!(delays.said_ms(THEIRS, THEIRS + day + 50), THEIRS + day + 50);
    assert_eq!(delays.said_ms(THEIRS + 30 * S, THEIRS + day + 30 * S + 20), THEIRS + day + 30 * S + 20);
    // This process stood still for ten minutes, and reads what came meanwhile.
    let woke = THEIRS + day + 630 * S;
    assert_eq!(delays.said_ms(THEIRS + 60 * S, woke), THEIRS + day + 60 * S + 20);
    assert_eq!(delays.told(state("a", 1_790_000_000, THEIRS + 90 * S), woke).err(), Some(Unknown::SourceSilent));
    let fresh = delays.told(state("a", 1_790_000_600, THEIRS + 629 * S), woke).expect("a second old");
    assert_eq!(fresh.age_ms(woke), S - 20);
    // The source's clock is set back by an hour: nothing it says can be told from what is old, until a new stream.
    let set_back = state("a", 1_789_996_000, THEIRS - 3600 * S + 660 * S);
    assert_eq!(delays.told(set_back.clone(), woke + 31 * S).err(), Some(Unknown::SourceSilent));
    assert!(Delays::default().told(set_back, woke + 31 * S).is_ok());
}
