//! AuthZEN by its shapes: each case of `vectors.json` as an enforcement point sends it, and where the parts are found.

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{ask, granted};
use crate::web::gate::tests::gate;

/// A body with the parts in place of their names.
fn whole(value: &Value, parts: &Value) -> Value {
    match value {
        Value::String(name) if name.starts_with('$') => parts[name].clone(),
        Value::Array(items) => items.iter().map(|item| whole(item, parts)).collect(),
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| (name.clone(), whole(value, parts)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        other => other.clone(),
    }
}

fn vectors() -> Value {
    serde_json::from_str(include_str!("../vectors.json")).expect("JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enforcement_point_gets_what_the_specification_says() {
    let gate = gate();
    granted(&gate).await;
    let vectors = vectors();
    let cases = vectors["cases"].as_array().expect("cases");
    assert!(cases.len() > 40, "{} cases", cases.len());
    for case in cases {
        let name = case["name"].as_str().expect("a name");
        let text = |member: &str, default: &'static str| case[member].as_str().unwrap_or(default).to_owned();
        let path = text("path", "/access/v1/evaluation");
        let body = match case["raw"].as_str() {
            Some(raw) => raw.to_owned(),
            None => whole(&case["body"], &vectors["parts"]).to_string(),
        };
        let method: Method = text("method", "POST").parse().expect("a method");
        let token = format!("Bearer {}", text("token", "orca-token"));
        let kind = text("type", "application/json");
        let mut headers = vec![("x-request-id", name)];
        if case["token"] != "" {
            headers.push(("authorization", &token));
        }
        if !kind.is_empty() {
            headers.push(("content-type", &kind));
        }
        let (status, headers, answer) = ask(&gate, method, &path, &headers, &body).await;
        assert_eq!(status.as_u16(), case["status"].as_u64().unwrap_or(200) as u16, "{name}: {answer}");
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        assert_eq!(header("x-request-id"), Some(name), "whatever is answered carries the id");
        assert_eq!(header("www-authenticate").is_some(), status == StatusCode::UNAUTHORIZED, "{name}");
        if !status.is_success() {
            continue;
        }
        assert_eq!(header("content-type"), Some("application/json"), "{name}");
        let one = |answer: &Value| {
            assert!(answer["context"].is_object() || answer["context"].is_null(), "{name}: {answer}");
            answer["decision"].as_bool().unwrap_or_else(|| panic!("{name}: {answer}"))
        };
        match case["decisions"].as_array() {
            None => assert_eq!(case["decision"], one(&answer), "{name}: {answer:#}"),
            Some(expected) => {
                assert!(answer.get("decision").is_none(), "{name}: {answer}");
                let decisions: Vec<Value> =
                    answer["evaluations"].as_array().expect("a list").iter().map(|answer| one(answer).into()).collect();
                assert_eq!(&decisions, expected, "{name}: {answer:#}");
            }
        }
    }
    // Whoever names no id gets none, or one of ours, and an answer.
    let (status, headers, _) = ask(&gate, Method::POST, "/access/v1/evaluation", &[], "").await;
    assert!(status.is_client_error() && !headers.contains_key("x-request-id"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_offered_is_found_and_what_is_not_offered_is_not_named() {
    let gate = gate();
    let id = [("x-request-id", "r-7")];
    let (status, headers, found) = ask(&gate, Method::GET, "/.well-known/authzen-configuration", &id, "").await;
    assert_eq!((status, headers.get("x-request-id").map(|id| id.as_bytes())), (StatusCode::OK, Some(&b"r-7"[..])));
    assert_eq!(headers["content-type"], "application/json");
    let base = found["policy_decision_point"].as_str().expect("where it is");
    for (name, value) in found.as_object().expect("an object") {
        match value {
            Value::String(url) => assert!(url.starts_with(base) && !url.contains(['?', '#']), "{name}: {url}"),
            Value::Array(words) => assert!(words.iter().all(Value::is_string), "{name}"),
            other => panic!("{name}: {other}"),
        }
        assert!(!name.starts_with("search_"), "search is not offered");
        assert!(!value.is_null(), "what is not there is not named");
    }
    for endpoint in ["access_evaluation_endpoint", "access_evaluations_endpoint", "access_request_endpoint"] {
        let path = found[endpoint].as_str().and_then(|url| url.strip_prefix(base)).expect("an endpoint").to_owned();
        let asked = [("authorization", "Bearer orca-token"), ("content-type", "application/json")];
        assert_eq!(ask(&gate, Method::POST, &path, &asked, "{}").await.0, StatusCode::BAD_REQUEST, "{path} is served");
    }
    // No tenants here.
    assert_eq!(ask(&gate, Method::GET, "/.well-known/authzen-configuration/a", &[], "").await.0, StatusCode::NOT_FOUND);
    assert_ne!(found, json!({}));
}
