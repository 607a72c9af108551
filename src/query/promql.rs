//! The only place that writes PromQL.
//!
//! [`request`] is what the daemon asks, [`indicator`] an SLI as a server can evaluate it by itself,
//! [`rules`] what Prometheus and Alertmanager would say without Slowburn, [`peers`] what rules of other tools ask. Selectors are trees
//! (`selector`) that are printed, parsed again and compared; what is written around them stands here, and nowhere else:
//! `tests/tidy.rs` looks for it.

pub mod expr;
pub mod falls;
pub mod indicator;
pub mod peers;
pub mod request;
pub mod rules;

pub use indicator::{Asked, Counts, Selectors, ask, presence};

/// Label names as they stand in `by (...)`: what is no plain name is quoted, as Prometheus wants it from 3.0 on.
pub fn names<S: AsRef<str>>(labels: &[S]) -> String {
    let plain = |name: &str| {
        let mut chars = name.chars();
        chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
            && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    let name = |name: &S| match name.as_ref() {
        name if plain(name) => name.to_owned(),
        name => format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\"")),
    };
    labels.iter().map(name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_are_not_plain_are_quoted() {
        assert_eq!(names(&["model", "service.name", "le"]), r#"model, "service.name", le"#);
        assert_eq!(names::<&str>(&[]), "");
        let grouped = format!("sum by ({}) (up)", names(&["a.b", "c"]));
        assert!(promql_parser::parser::parse(&grouped).is_ok(), "{grouped}");
    }
}
