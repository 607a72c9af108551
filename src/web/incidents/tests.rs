//! Incidents over HTTP: who may say something of one, that it is written down first, and what everybody may read.

use std::sync::Mutex;

use axum::http::StatusCode;
use serde_json::json;
use tokio::sync::watch;

use super::*;
use crate::incident::book::Changes;
use crate::web::fixture;
use crate::web::gate::tests::{ADA, ORCA, gate};
use crate::web::{App, LedgerReader, LedgerRequest};

/// Lets what burns in the fixture's fleet be incidents, and a daemon take notes on them.
pub(crate) fn burn(app: &mut App) {
    let mut book = Book::default();
    book.step(&fixture::fleet(), &Changes::default());
    let (shown, incidents) = watch::channel(Arc::new(book.clone()));
    let (reader, mut asked) = LedgerReader::new();
    (app.incidents, app.ledger) = (incidents, Some(reader));
    let book = Mutex::new(book);
    tokio::spawn(async move {
        while let Some(request) = asked.recv().await {
            if let LedgerRequest::Note { id, note, answer } = request {
                let mut book = book.lock().expect("nobody panics with it");
                let noted = book.note(&id, note).cloned();
                shown.send_replace(Arc::new(book.clone()));
                drop(answer.send(noted));
            }
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn incidents_are_listed_and_one_is_told_whole() {
    let gate = gate();
    let (status, listed) = gate.get("/v1/incidents").await;
    assert_eq!(status, StatusCode::OK);
    let of = |listed: &Value| -> Vec<String> {
        let rows = listed["incidents"].as_array().expect("a list").iter();
        rows.map(|row| row["service"].as_str().expect("a service").to_owned()).collect()
    };
    assert_eq!(of(&listed), ["checkout", "llm-gateway"], "{listed}");
    let (_, one) = gate.get("/v1/incidents?service=checkout&open=true").await;
    assert_eq!(of(&one), ["checkout"]);
    let id = one["incidents"][0]["id"].as_str().expect("an id");
    assert!(id.starts_with("checkout-2026"), "{id}");
    let (status, told) = gate.get(&format!("/v1/incidents/{id}")).await;
    assert_eq!((status, &told["sev"], &told["ended_at"]), (StatusCode::OK, &json!("SEV-1"), &Value::Null));
    assert_eq!((&told["changes"], &told["similar"]), (&json!([]), &json!([])));
    let headline = told["headline"].as_str().expect("text");
    assert!(headline.contains("No change found before it. No similar incident found."), "{headline}");
    assert_eq!(told["timeline"][0]["kind"], "alert");
    let (status, _) = gate.get("/v1/incidents/none").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_says_what_helped_and_it_is_on_record() {
    let gate = gate();
    let (_, listed) = gate.get("/v1/incidents?service=checkout").await;
    let path = format!("/v1/incidents/{}", listed["incidents"][0]["id"].as_str().expect("an id"));
    let said = json!({"mitigation": "revert config and flush cache", "helped": true, "ticket": "INC-2025-042"});
    let (status, answer) = gate.post(ORCA, &path, &said).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "a robot does not: {answer}");
    let (status, answer) = gate.post("", &path, &said).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED, "{answer}");
    for (wrong, says) in [
        (json!({}), "nothing is said"),
        (json!({"cause": "a\u{202e}b"}), "hide or turn"),
        (json!({"cause": "x".repeat(2000)}), "longer than"),
        (json!({"who": "me"}), "unknown field"),
    ] {
        let (status, answer) = gate.post(ADA, &path, &wrong).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{wrong}: {answer}");
        assert!(answer["error"].as_str().expect("an error").contains(says), "{answer}");
    }
    let (status, answer) = gate.post(ADA, &path, &said).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(answer["notes"][0]["by"], "@ada");
    let seq = answer["audit"]["seq"].as_u64().expect("a receipt");
    let (_, record) = gate.get(&format!("/v1/audit/{seq}")).await;
    let text = record.to_string();
    assert!(text.contains("incident_note") && text.contains("flush cache") && text.contains("@ada"), "{text}");
    let (_, told) = gate.get(&path).await;
    assert_eq!(told["notes"][0]["mitigation"], said["mitigation"]);
    let kinds: Vec<_> = told["timeline"].as_array().expect("a timeline").iter().map(|it| &it["kind"]).collect();
    assert!(kinds.contains(&&json!("note")), "{kinds:?}");
    assert!(
        told["draft"].as_str().expect("a draft").contains("Mitigation: revert config and flush cache [said by @ada")
    );
    gate.log.close();
}
