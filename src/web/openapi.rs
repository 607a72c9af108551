//! `GET /openapi.json`: what can be asked, for machines. A test holds it against the router.

use axum::http::header;
use axum::response::{IntoResponse, Response};

/// The document.
pub const DOCUMENT: &str = include_str!("openapi.json");

/// `GET /openapi.json`.
pub async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT).into_response()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use regex::Regex;
    use serde_json::Value;

    use super::*;

    fn document() -> Value {
        serde_json::from_str(DOCUMENT).expect("the document is JSON")
    }

    /// `(path, method)` of every route, read from the source of the router.
    fn routes() -> BTreeSet<(String, String)> {
        let source = include_str!("../web.rs");
        let route = Regex::new(r#"\.route\(\s*"([^"]+)",\s*((?:get|post|any)\([^)]*\)(?:\.(?:get|post)\([^)]*\))*)"#);
        let method = Regex::new(r"(get|post|any)\(").expect("a pattern");
        let mut found = BTreeSet::new();
        for route in route.expect("a pattern").captures_iter(source) {
            for method in method.captures_iter(&route[2]) {
                // What takes any method is described by one that says that it changes something.
                found.insert((route[1].to_owned(), method[1].replace("any", "post")));
            }
        }
        found
    }

    #[test]
    fn every_route_is_described_and_nothing_else() {
        let document = document();
        let paths = document["paths"].as_object().expect("paths");
        let described = |(path, methods): (&String, &Value)| {
            let methods: Vec<_> = methods.as_object().expect("methods").keys().cloned().collect();
            methods.into_iter().map(|method| (path.clone(), method)).collect::<Vec<_>>()
        };
        let described: BTreeSet<_> = paths.iter().flat_map(described).collect();
        assert_eq!(routes(), described);
        assert!(described.len() > 20);
    }

    #[test]
    fn what_changes_something_says_that_it_needs_a_principal() {
        for (path, methods) in document()["paths"].as_object().expect("paths") {
            if let Some(post) = methods.get("post") {
                assert!(post["security"].is_array(), "{path}");
            }
        }
    }

    #[test]
    fn a_request_has_the_members_that_are_read() {
        let text = r#"{"service": "a", "action": "scale", "resource": "b/c", "from_version": "1", "to_version": "2",
            "from_replicas": 1, "replicas": 2, "arguments": {"x": 1}, "reason": "r", "incident_id": "i",
            "suspected_change": "s", "actor": "t", "break_glass": true, "idempotency_key": "k"}"#;
        let request: crate::gate::Request = serde_json::from_str(text).expect("every member is one");
        let written = serde_json::to_value(&request).expect("plain data");
        let members = |value: &Value| value.as_object().expect("an object").keys().cloned().collect::<BTreeSet<_>>();
        assert_eq!(members(&written), members(&document()["components"]["schemas"]["Request"]["properties"]));
    }

    /// The keys that a function of the answers writes, read from its source.
    fn written_by(function: &str) -> BTreeSet<String> {
        let source = include_str!("../gate_service/answer.rs");
        let begin = source.find(function).unwrap_or_else(|| panic!("there is no {function}"));
        let body = &source[begin..][..source[begin..].find("\n}\n").expect("it ends")];
        let key = Regex::new(r#"serialize_entry\("([a-z_]+)"|"([a-z_]+)":|\("([a-z_]+)", (?:request|decision|\(!)"#);
        let key = key.expect("a pattern");
        let named = |hit: regex::Captures<'_>| (1..4).find_map(|group| Some(hit.get(group)?.as_str().to_owned()));
        key.captures_iter(body).filter_map(named).collect()
    }

    #[test]
    fn what_the_gate_answers_is_described() {
        let document = document();
        for (function, schema) in [
            ("fn action(", "Action"),
            ("impl Serialize for Answered", "Decision"),
            ("fn data(", "Decision"),
            ("fn held(", "Decision"),
            ("pub fn permit(", "Permit"),
            ("pub fn approval(", "Approval"),
            ("pub fn halt(", "Halt"),
        ] {
            let described = document["components"]["schemas"][schema].to_string();
            let written = written_by(function);
            assert!(written.len() > 3, "{function}: {written:?}");
            for key in written {
                assert!(
                    described.contains(&format!("\"{key}\":")),
                    "{schema} does not say {key:?}, which {function} writes"
                );
            }
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = document();
        let reference = Regex::new(r##""\$ref": "#(/[^"]+)""##).expect("a pattern");
        let mut seen = 0;
        for found in reference.captures_iter(DOCUMENT) {
            assert!(document.pointer(&found[1]).is_some(), "{}", &found[1]);
            seen += 1;
        }
        assert!(seen > 20);
    }
}
