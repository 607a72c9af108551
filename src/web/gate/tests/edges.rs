//! What comes in at the edges: members without their names, and text that would act where it is shown.

use super::*;

/// Serde reads a row of values as the members of a struct, in their order. Nobody who asks the gate means that.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_of_values_is_no_request() {
    let gate = gate();
    let (_, asked) = gate.post(ORCA, "/v1/decisions", &rollback()).await;
    let approval = format!("/v1/approvals/{}", asked["approval"]["id"].as_str().expect("a question"));
    let digest = &asked["action"]["digest"];
    let glass = json!([
        "checkout",
        "deploy",
        "deployment/checkout",
        null,
        "v13",
        null,
        null,
        {},
        "x",
        null,
        null,
        null,
        true,
        null
    ]);
    for (path, body) in [
        ("/v1/decisions", &glass),
        ("/v1/decisions?explain", &glass),
        (approval.as_str(), &json!(["approve", null, digest])),
        ("/v1/halts", &json!(["global", "x", 60, false, false])),
        ("/v1/changes", &json!(["checkout", "deployment/checkout", null, "v41", "v42", null, null])),
        ("/v1/incidents/i", &json!(["rolled back", true, null, null])),
    ] {
        let (status, answer) = gate.post(ADA, path, body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{path}: {answer}");
        assert!(answer.to_string().contains("no object"), "{path}: {answer}");
    }
    let (_, halts) = gate.get("/v1/halts").await;
    assert_eq!(halts["halts"], json!([]), "nothing came of it");
}

/// A reason goes to chats: what they take for mentions, links and lines of their own is text there.
#[tokio::test(flavor = "multi_thread")]
async fn the_reason_of_an_emergency_is_text_wherever_it_is_shown() {
    let gate = gate();
    let mut emergency = rollback();
    emergency["break_glass"] = true.into();
    emergency["reason"] = "<!channel> INC-7\n<https://evil.example|click> \u{202e}7-CNI".into();
    let (_, answer) = gate.post(ADA, "/v1/decisions", &emergency).await;
    assert_eq!(answer["decision"], "allow", "{answer:#}");
    let alerts = gate.gate_service.alerts(&fixture::fleet().slos, fixture::AT);
    let [alert] = alerts.as_slice() else { panic!("one alert: {alerts:#?}") };
    assert!(alert.annotations["description"].contains("INC-7"), "{alert:#?}");
    for (name, text) in &alert.annotations {
        assert!(!text.contains(['<', '>', '\n', '\u{202e}']) || name == "dashboard", "{name}: {text:?}");
    }
}
