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
