//! Words of others in every place where people or programs read them: the page in a real browser, the page without its script,
//! the curve, post-mortems, metrics, alerts. The same table everywhere; nothing in it does more than be read.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::people::Desk;
use super::*;
use crate::engine::alert::AlertKind;
use crate::engine::text::is_unseen;
use crate::engine::{Labels, SloState};
use crate::incident::book::{Book, Changes};
use crate::incident::{Note, story};
use crate::web::fixture::{AT, HOSTILE};

/// A fleet of one SLO for each word, whose owner, labels, channel, runbook and notes it is.
fn fleet() -> Snapshot {
    let fleet = fixture::fleet();
    let (pattern, alert) = (&fleet.slos[0], &fleet.alerts[0]);
    let mut all = Snapshot { slos: Vec::new(), alerts: Vec::new(), ..fleet.clone() };
    for (n, word) in HOSTILE.into_iter().enumerate() {
        let mut slo = crate::engine::Slo::clone(&pattern.slo);
        slo.service = format!("svc-{n:02}");
        slo.id = format!("{}-availability", slo.service);
        slo.owner = word.to_owned();
        slo.by = vec!["model".into()];
        slo.annotations = BTreeMap::from(["runbook", "channel"].map(|name| (name.to_owned(), word.to_owned())));
        let labels: Labels = [("model", word)].into_iter().collect();
        let mut series = pattern.series.to_vec();
        for one in &mut series {
            (one.labels, one.state) = (labels.clone(), SloState::FastBurn);
        }
        let mut fired = alert.clone();
        (fired.slo_id, fired.series, fired.kind) = (slo.id.clone(), labels.clone(), AlertKind::FastBurn);
        fired.annotations = slo.annotations.clone();
        fired.labels = [("service", slo.service.as_str()), ("slo_id", &slo.id), ("owner", word)].into_iter().collect();
        all.alerts.push(fired);
        all.slos.push(crate::engine::SloSnapshot {
            slo: Arc::new(slo),
            series: series.into(),
            notes: [word.to_owned()].into(),
            whole: None,
        });
    }
    all
}

/// What a gate and incidents say, in which every text is the word.
fn says(word: &str) -> Value {
    let moment = |at: i64| jiff::Timestamp::from_second(at).expect("a moment").to_string();
    json!({
        "/v1/signals": {"services": [{
            "service": word, "change_state": {"state": word},
            "signals": {"mitigate": {"value": 0, "codes": [word]}, "risk": {"value": 0, "codes": [word]}},
        }]},
        "/v1/halts": {"halts": [{"scope": {"service": word}, "actors": [word], "owner": word, "until": moment(AT + 600), "reason": word}]},
        "/v1/approvals": {"approvals": [{
            "id": "apr_1", "state": "pending", "asked_by": word, "actor": word, "have": 0, "need": 1, "from": [word],
            "expires_at": moment(AT + 600), "observed": {"version": word}, "covers": [word],
            "votes": [{"by": word, "at": moment(AT)}], "claimed_reason": word,
            "context": {
                "alerts": [{"name": word, "summary": word, "since": moment(AT)}],
                "silences": [{"by": word, "comment": word, "until": moment(AT)}], "left_out": 0,
            },
            "action": {
                "type": word, "service": word, "resource": word, "from_version": word, "to_version": word, "arguments": {word: word},
                "digest": "d",
            },
        }]},
        "/v1/audit": {"records": [{
            "log": {"seq": 1}, "time": moment(AT), "kind": word, "actor": word, "action": word, "resource": word,
            "from_version": word, "to_version": word, "reason": word, "decision": {"result": word, "reasons": [word]},
        }]},
        "/v1/incidents": {"incidents": [{"id": "inc-1", "sev": word, "service": word, "headline": word}]},
        "/v1/incidents/inc-1": {
            "timeline": [{"at": AT, "kind": word, "text": word, "source": word}], "timeline_incomplete": word,
        },
        "/auth/session": {"issuer": word, "person": {"name": word, "class": "human", "via": word, "until": null}},
    })
}

/// Marks of a text that nobody sees.
fn unseen(text: &str) -> String {
    text.chars().filter(|c| is_unseen(*c) && !matches!(c, '\n' | '\t')).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_shows_words_and_runs_none() {
    let stand = fixture::stand();
    stand.snapshot.send_replace(Arc::new(fleet()));
    let Some(desk) = Desk::new(stand, says(HOSTILE[0])).await else { return };
    desk.open("").await;
    let tab = &desk.tab;
    for word in HOSTILE {
        *desk.gate.lock().expect("no panic holds it") = says(word);
        tab.eval("gateText = ''; incidentsText = ''; openIncidents.clear(); Promise.all([readGate(), readIncidents(), readPerson()]).then(() => toggleIncident('inc-1'))").await;
        tab.until("document.querySelector('.timeline td') && document.querySelector('.approval')").await;
        // What is written is what is read: text, with what is not seen shown to be there.
        let seen: String = word.chars().map(|c| if is_unseen(c) { '\u{fffd}' } else { c }).collect();
        let cells = tab
            .eval("[...document.querySelectorAll('.timeline td:nth-child(3), .halt b')].map((one) => one.textContent)")
            .await;
        assert_eq!(cells, json!([seen, format!("halted: service {seen}")]), "{word:?}");
        let found = tab
            .eval(
                "({broken: window.broken ?? null, scripts: document.scripts.length, made: document.querySelectorAll( \
                 'main svg, main style, main textarea, main title, main img:not(.curve img), [onload], [onerror], [onmouseover]').length, \
                 links: [...document.querySelectorAll('a')].map((a) => a.href).filter((to) => !/^https?:/.test(to)), \
                 text: document.body.innerText + [...document.querySelectorAll('*')].flatMap((one) => [...one.attributes]) \
                   .filter((one) => ['title', 'alt', 'aria-label', 'id', 'href'].includes(one.name)).map((one) => one.value).join(' ')})",
            )
            .await;
        assert_eq!(
            (&found["broken"], &found["scripts"], &found["made"]),
            (&Value::Null, &json!(1), &json!(0)),
            "{word:?}"
        );
        assert_eq!(found["links"], json!([]), "{word:?}");
        assert_eq!(unseen(found["text"].as_str().expect("text")), "", "{word:?}");
    }
    desk.tab.until("document.querySelectorAll('.slo .pill.fast_burn').length >= 22").await;
    assert_eq!(desk.faults(), Vec::<String>::new());
}

#[test]
fn without_its_script_the_page_shows_words_too() {
    let mut odd = fleet();
    for (entry, word) in odd.slos.iter_mut().zip(HOSTILE) {
        let mut slo = crate::engine::Slo::clone(&entry.slo);
        slo.id = word.to_owned();
        entry.slo = Arc::new(slo);
    }
    let rows = rows(&odd);
    assert_eq!(rows.matches('<').count(), rows.matches("<tr>").count() * 10, "{rows}");
    assert_eq!(unseen(&rows), "", "{rows}");
    for word in HOSTILE {
        let safe = escape(word);
        assert!(!safe.contains(['<', '>', '"', '\'']) && unseen(&safe).is_empty() && !safe.contains('\n'), "{safe}");
    }
}

/// One that burned, of which everything that others say is the word.
fn incident(word: &str) -> crate::incident::Incident {
    let mut book = Book::default();
    book.step(&fixture::fleet(), &Changes::default());
    let mut one = book.all().first().map(|one| (*one).clone()).expect("checkout burns");
    one.owner = word.to_owned();
    one.burns[0].series = [("model", word)].into_iter().collect();
    // Made of numbers, not of words.
    one.burns[0].said = Some("error rate up".to_owned());
    let said = || Some(word.to_owned());
    one.notes.push(Note {
        at: AT,
        by: word.to_owned(),
        mitigation: said(),
        helped: Some(true),
        cause: said(),
        ticket: said(),
    });
    one
}

/// What is left of Markdown when all that is said not to be markup is taken away.
fn markup(text: &str) -> String {
    let mut left = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => drop(chars.next()),
            c => left.push(c),
        }
    }
    left.replace("&lt;", "").replace("&gt;", "").replace("&amp;", "")
}

#[test]
fn a_post_mortem_has_the_form_it_has_whatever_people_say() {
    let form = |word: &str| {
        let one = incident(word);
        let timeline = story::timeline(
            &one,
            vec![story::Moment { at: AT, kind: "alert_of_others".into(), text: word.into(), source: word.into() }],
        );
        let draft = story::draft(&one, &[], &timeline);
        let lines: Vec<String> = draft
            .lines()
            .map(|line| {
                let left = markup(line);
                left.chars()
                    .filter(|c| matches!(c, '<' | '>' | '`' | '*' | '_' | '|' | '#' | '!' | '~' | '$'))
                    .collect::<String>()
                    + if left.starts_with("- ") { "-" } else { "" }
            })
            .collect();
        assert_eq!(unseen(&draft), "", "{draft}");
        lines
    };
    let calm = form("calm");
    assert!(calm.len() > 20, "{calm:?}");
    for word in HOSTILE {
        assert_eq!(form(word), calm, "{word:?}");
    }
}

#[test]
fn chats_and_alerts_are_told_nothing_that_calls_or_turns() {
    for word in HOSTILE {
        let one = incident(word);
        for text in [story::headline(&one, &[]), crate::incident::text::plain(word)] {
            assert!(!text.contains(['<', '>', '\n', '\r']) && unseen(&text).is_empty(), "{text:?}");
        }
    }
}

#[test]
fn a_metric_has_one_sample_a_line_whatever_its_labels_say() {
    let text = crate::web::exposition::render(&fleet(), &fixture::info(), AT + 21);
    // Lines end where the format ends them: names, labels in quotes, a number.
    let sample = regex::Regex::new(
        r#"^[a-z_:][a-z0-9_:]*(\{([a-zA-Z_][a-zA-Z0-9_]*="(\\.|[^"\\\n])*",?)*\})? [0-9eE+.NaInf-]+$"#,
    )
    .expect("a pattern");
    let mut samples = 0;
    for line in text.split('\n').filter(|line| !line.is_empty() && !line.starts_with('#')) {
        assert!(sample.is_match(line), "{line:?}");
        samples += 1;
    }
    assert!(samples > 22, "{samples}");
    assert!(text.split('\n').filter(|line| line.starts_with("slowburn_up ")).count() <= 1);
}
