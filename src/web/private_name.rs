//! Names that nobody can own on the public internet, so that no page can be served under them and rebound to this server.
//!
//! Besides names without a dot and those of private zones it is `service.namespace`, as one namespace of a Kubernetes
//! cluster calls a service of another: where the namespace is the one this process runs in, or the service is called as
//! this program is, and never where the namespace is a top-level domain of the public DNS.
//!
//! Deliberately absent: a list of everything that may be private. What is not known here is named in the settings.

use std::sync::LazyLock;

/// Zones that are not delegated on the public internet (RFC 6761, 6762, 8375, 9476; `internal` by ICANN; `svc` of clusters).
const ZONES: [&str; 6] = [".localhost", ".local", ".internal", ".svc", ".home.arpa", ".test"];
/// Top-level domains, sorted, from the public suffix list of 2023-02: one that is newer is not known to be one.
const TOP_LEVEL: &str = include_str!("top_level.txt");
/// What services of this program are called where nobody thought of another name.
const OWN: &str = "slowburn";

/// The namespace that this process runs in.
static NAMESPACE: LazyLock<Option<String>> = LazyLock::new(|| {
    let named = std::fs::read_to_string("/var/run/secrets/kubernetes.io/serviceaccount/namespace").ok();
    let found = || namespace_of(&std::fs::read_to_string("/etc/resolv.conf").ok()?);
    named.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()).or_else(found)
});

/// Whether `name`, without a port, can be owned by nobody outside.
pub(super) fn is_private(name: &str) -> bool {
    is_private_in(name, NAMESPACE.as_deref())
}

fn is_private_in(name: &str, namespace: Option<&str>) -> bool {
    let name = name.to_ascii_lowercase();
    match name.split_once('.') {
        None => !name.is_empty(),
        Some(_) if ZONES.iter().any(|zone| name.ends_with(zone)) => true,
        Some((service, of)) => {
            is_label(service) && is_label(of) && (Some(of) == namespace || service == OWN) && !is_top_level(of)
        }
    }
}

/// A name as Kubernetes gives them to services and namespaces (RFC 1123).
fn is_label(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=63).contains(&text.len()) && text.chars().all(fits) && !text.starts_with('-') && !text.ends_with('-')
}

fn is_top_level(label: &str) -> bool {
    // What is written in other letters on the public internet begins so; no namespace need be called so.
    label.starts_with("xn--") || TOP_LEVEL.lines().any(|known| known == label)
}

/// The namespace in what the cluster writes into `/etc/resolv.conf`: `search monitoring.svc.cluster.local ...`.
fn namespace_of(resolv: &str) -> Option<String> {
    let searched = resolv.lines().filter_map(|line| line.strip_prefix("search ")).flat_map(str::split_whitespace);
    let mut namespaces = searched.filter_map(|zone| zone.split_once(".svc.")).map(|(namespace, _)| namespace);
    namespaces.find(|namespace| is_label(namespace)).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_of_a_cluster_is_private_and_a_domain_that_somebody_may_own_is_not() {
        for (name, namespace, expected) in [
            ("slowburn", None, true),
            ("slowburn.monitoring", None, true),
            ("Slowburn.Monitoring", None, true),
            ("slo-gate.monitoring", Some("monitoring"), true),
            ("slo-gate.ops.svc", None, true),
            // Nobody told of these.
            ("slo-gate.monitoring", None, false),
            ("rebound.evil", None, false),
            ("rebound.evil", Some("monitoring"), false),
            // A namespace may be called as a domain is; its names are those of whoever bought them.
            ("slowburn.dev", Some("dev"), false),
            ("evil.dev", Some("dev"), false),
            ("slowburn.io", None, false),
            ("slowburn.com", None, false),
            ("slowburn.xn--p1ai", None, false),
            ("slowburn.monitoring.evil.com", None, false),
            ("slowburn.monitoring.evil", Some("monitoring"), false),
            ("slowburn..monitoring", None, false),
            ("slowburn.", None, false),
            (".monitoring", Some("monitoring"), false),
            ("slow_burn.monitoring", Some("monitoring"), false),
            ("", None, false),
        ] {
            assert_eq!(is_private_in(name, namespace), expected, "{name} {namespace:?}");
        }
    }

    #[test]
    fn the_namespace_is_read_from_the_resolver_s_settings() {
        let text = "nameserver 10.96.0.10\nsearch monitoring.svc.cluster.local svc.cluster.local cluster.local\n";
        assert_eq!(namespace_of(text).as_deref(), Some("monitoring"));
        assert_eq!(namespace_of("search example.com\nnameserver 1.1.1.1\n"), None);
        assert!(TOP_LEVEL.lines().is_sorted() && TOP_LEVEL.lines().count() > 1000);
    }
}
