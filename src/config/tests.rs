//! Tests of the settings file.

use secrecy::ExposeSecret as _;

use super::*;

fn problems(text: &str) -> String {
    let loaded = load_text("slowburn.yaml", text);
    assert!(loaded.is_fatal(), "{text}");
    loaded.render(false)
}

#[test]
fn the_documented_example_is_the_default() {
    let loaded = load_text("example.yaml", EXAMPLE);
    assert_eq!(loaded.render(false), "");
    assert_eq!(loaded.settings, Settings::default());
    assert_eq!(Settings::default().faults(), []);
}

/// Lines of the example with what is commented out in force.
fn uncommented(lines: &str) -> String {
    let line = |line: &str| {
        let bare = line.trim_start();
        // A key, or one of a key: two columns further in.
        let is_key = |rest: &&str| {
            let word = rest.strip_prefix("  ").unwrap_or(rest).split(' ').next();
            word.is_some_and(|word| word.ends_with(':'))
        };
        let key = bare.strip_prefix("# ").filter(is_key);
        match key {
            Some(rest) if !rest.starts_with("Settings") && !rest.starts_with("basic") => {
                format!("{}{rest}\n", &line[..line.len() - bare.len()])
            }
            _ => format!("{line}\n"),
        }
    };
    lines.lines().map(line).collect()
}

#[test]
fn everything_in_the_example_can_be_uncommented() {
    // Whoever follows a daemon asks no Prometheus: one or the other.
    let begin = EXAMPLE.find("#follow:\n").expect("it is shown");
    let end = begin + EXAMPLE[begin..].find("\n\n").expect("it ends");
    let bare = |line: &str| format!("{}\n", line.strip_prefix('#').unwrap_or(line));
    let following = load_text("example.yaml", &EXAMPLE[begin..end].lines().map(bare).collect::<String>());
    assert!(!following.is_fatal(), "{}", following.render(false));
    assert!(following.settings.follow.is_some());
    let text = uncommented(&format!("{}{}", &EXAMPLE[..begin], &EXAMPLE[end..]));
    let loaded = load_text("example.yaml", &text);
    assert!(!loaded.is_fatal(), "{}", loaded.render(false));
    assert!(loaded.settings.external_url.is_some());
    assert!(loaded.settings.auth.oidc.is_some_and(|oidc| oidc.groups.is_some() && oidc.session_key_file.is_some()));
    assert!(loaded.settings.backfill.window.is_some());
    assert!(matches!(loaded.settings.prometheus.auth, Auth::Bearer(_)));
}

/// Whoever follows a daemon is none: of both in one file one is not meant.
#[test]
fn what_follows_a_daemon_has_nothing_that_a_daemon_has() {
    let follow = "follow:\n  url: https://slowburn.example:9595\n  service: checkout\n  bearer_token_file: token\n";
    let loaded = load_text("slowburn.yaml", follow);
    assert!(loaded.problems.is_empty(), "{}", loaded.render(false));
    let follows = loaded.settings.follow.expect("it does");
    assert_eq!(follows.service.as_deref(), Some("checkout"));
    assert!(matches!(follows.auth, Auth::Bearer(_)));
    for (more, what) in [
        ("prometheus: {url: 'http://a'}", "asks no Prometheus"),
        ("alertmanagers: [{url: 'http://a'}]", "raises no alerts"),
        ("webhooks: [{url: 'http://a'}]", "raises no alerts"),
        ("data_dir: data", "keeps nothing"),
        ("audit: {dir: audit}", "decides nothing"),
    ] {
        let text = problems(&format!("{follow}{more}\n"));
        assert!(text.contains(what), "{more}: {text}");
    }
    let text = load_text("slowburn.yaml", &follow.replace("https", "http")).render(false);
    assert!(text.contains("credentials go over plain http"), "{text}");
}

#[test]
fn an_open_address_is_refused_unless_it_is_asked_for() {
    let text = problems("listen: 0.0.0.0:9595\n");
    assert!(text.contains("no identities are configured"), "{text}");
    assert!(text.contains("listen_anywhere: true"), "{text}");
    let loaded = load_text("slowburn.yaml", "listen: 0.0.0.0:9595\nlisten_anywhere: true\n");
    assert!(!loaded.is_fatal());
    assert!(load_text("slowburn.yaml", "listen: \"[::1]:9595\"\n").problems.is_empty());
    let loaded = load_text("slowburn.yaml", "listen: 0.0.0.0:9595\nauth: {identities: identities.yaml}\n");
    assert!(!loaded.is_fatal());
    assert!(loaded.render(false).contains("tokens come over plain http"), "{}", loaded.render(false));
    let tls = "listen: 0.0.0.0:9595\nauth: {identities: i.yaml}\ntls: {cert_file: a.crt, key_file: a.key}\n";
    let text = load_text("slowburn.yaml", tls).render(false);
    assert!(text.contains("links in alerts lead to http://0.0.0.0:9595, which nobody can open"), "{text}");
    let linked = format!("{tls}external_url: https://slowburn.example.com\n");
    assert!(load_text("slowburn.yaml", &linked).problems.is_empty());
}

#[test]
fn credentials_that_nobody_can_have_are_refused() {
    assert!(problems("auth: {token_review: {audience: slowburn}}\n").contains("knows nobody without auth.identities"));
    let text = problems("tls: {cert_file: a, key_file: b, client_ca_file: c}\n");
    assert!(text.contains("knows nobody without auth.identities"), "{text}");
    assert!(problems("auth: {identities: i, token_review: {}}\n").contains("audience"));
    assert!(problems("auth: {requests_per_minute: 0}\n").contains("requests_per_minute"));
    assert!(problems("tls: {cert_file: a}\n").contains("key_file"));
}

#[test]
fn a_lease_is_for_a_log_that_is_shared() {
    assert!(problems("audit: {lease: {}}\n").contains("a log that all share"));
    for (wrong, what) in [
        ("{name: ../nodes}", "no name of Kubernetes"),
        ("{namespace: a/b}", "no name of Kubernetes"),
        ("{duration: 1s}", "3 s to 1 m"),
        ("{duration: 2m}", "3 s to 1 m"),
        ("{url: 'ftp://api'}", "ftp"),
        ("{holder: me}", "holder"),
    ] {
        let text = problems(&format!("audit: {{dir: /shared, lease: {wrong}}}\n"));
        assert!(text.contains(what), "{wrong}: {text}");
    }
    let loaded = load_text("s", "audit: {dir: /shared, lease: {}}\n");
    assert!(loaded.problems.is_empty(), "{}", loaded.render(false));
    let lease = loaded.settings.audit.lease.expect("it is set");
    assert_eq!((lease.url.as_str(), lease.namespace.as_deref()), ("https://kubernetes.default.svc", None));
    assert!(lease.ca_file.is_some_and(|file| file.ends_with("ca.crt")) && lease.token_file.path().ends_with("token"));
}

#[test]
fn a_secret_written_into_the_file_is_refused_and_not_printed() {
    for line in [
        "prometheus: {url: \"http://p\", basic: {username: a, password: hunter2}}",
        "prometheus: {url: \"http://a:hunter2@p\"}",
        "prometheus: {headers: {Authorization: Bearer hunter2}}",
        "webhooks: [{url: \"https://x\", secret: hunter2}]",
        "webhooks: [{url: \"https://a:hunter2@x\"}]",
        "webhooks: [{url: \"ftp://x/hunter2\", token: 1}]",
    ] {
        let text = problems(line);
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[test]
fn the_path_of_a_webhook_does_not_reach_the_log() {
    let loaded = load_text("s", "webhooks: [{url: \"https://hooks.example.com/T000/hunter2\"}]\n");
    let shown = format!("{:?}", loaded.settings);
    assert!(shown.contains("https://hooks.example.com") && !shown.contains("hunter2"), "{shown}");
}

#[test]
fn all_problems_come_at_once_and_in_order() {
    let text = problems("resolution: 7s\nlisten: here\nlog: {level: loud}\npoll_intervall: 30s\nresend: 1M\n");
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("slowburn.yaml:")).collect();
    assert_eq!(lines.len(), 4, "{text}");
    assert!(text.contains("= write: poll_interval:"), "{text}");
}

#[test]
fn a_slice_divides_five_minutes_and_polls_fall_on_slices() {
    assert!(problems("resolution: 7s\n").contains("does not divide 5 minutes"));
    // What divides 5 minutes and is shorter than any slice would end the start in a panic.
    for short in ["1s", "2s", "3s", "4s", "5s", "6s"] {
        let text = problems(&format!("resolution: {short}\n"));
        assert!(text.contains("is shorter than 10 s"), "{short}: {text}");
    }
    for resolution_s in 1..=300 {
        let refused = !load_text("s", &format!("resolution: {resolution_s}s\npoll_interval: {resolution_s}s\n"))
            .problems
            .is_empty();
        assert!(refused != crate::engine::ledger::RESOLUTIONS_S.contains(&resolution_s), "{resolution_s}");
    }
    assert!(problems("resolution: 20s\npoll_interval: 30s\n").contains("do not fall on slices"));
    assert!(load_text("s", "resolution: 15s\nevaluation_delay: 0s\noverlap: 0s\n").problems.is_empty());
}

#[test]
fn checkpoints_go_to_one_place_each() {
    let loaded =
        load_text("s", "audit: {checkpoints: [{stdout: true}, {file: a}, {webhook: \"https://x/hunter2\"}]}\n");
    assert!(loaded.problems.is_empty(), "{}", loaded.render(false));
    assert_eq!(loaded.settings.audit.checkpoints.len(), 3);
    assert!(!format!("{:?}", loaded.settings).contains("hunter2"));
    for wrong in ["{}", "{stdout: false}", "{stdout: true, file: a}", "{file: a, webhook: \"https://x\"}"] {
        let text = problems(&format!("audit: {{checkpoints: [{wrong}]}}\n"));
        assert!(text.contains("write: stdout: true, file: PATH or webhook: URL"), "{text}");
    }
    assert!(problems("audit: {origin: \"a b\"}\n").contains("without + and space"));
}

#[test]
fn a_secret_file_is_trimmed_bounded_and_never_shown() {
    let folder = std::env::temp_dir().join(format!("slowburn-secret-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        std::fs::write(&path, bytes).expect("a file");
        SecretFile::new(path)
    };
    let secret = write("good", b"hunter2\r\n").read().expect("readable");
    assert_eq!(secret.expose_secret(), "hunter2");
    assert!(!format!("{secret:?}").contains("hunter2"));
    for (name, bytes) in
        [("empty", &b"\n"[..]), ("lines", b"hunter2\nmore"), ("bytes", b"\xff\xfe"), ("long", &[b'a'; 20_000])]
    {
        let fault = write(name, bytes).read().expect_err(name).to_string();
        assert!(!fault.contains("hunter2") && fault.contains(name), "{fault}");
    }
    assert!(SecretFile::new(folder.join("none")).read().is_err());
    std::fs::remove_dir_all(&folder).expect("removed");
}

#[test]
fn series_of_other_tools_are_asked_for_by_name() {
    let loaded = load_text("slowburn.yaml", "compat: [sloth, sloth-alerts]\n");
    assert_eq!(loaded.render(false), "");
    assert_eq!(loaded.settings.compat, Compat { sloth: true, sloth_alerts: true, pyrra: false });
    let text = problems("compat: [sloht]\n");
    assert!(text.contains("\"sloht\" is not one of sloth, sloth-alerts, pyrra"), "{text}");
    assert!(text.contains("slowburn.yaml:1:10"), "{text}");
    let text = problems("compat: [sloth-alerts, pyrra]\n");
    assert!(text.contains("write: compat: [sloth, sloth-alerts]") || text.contains("[sloth, sloth-alerts]"), "{text}");
    problems("compat: sloth\n");
}

#[test]
fn issuers_of_tokens_for_machines_are_asked_safely_and_know_somebody() {
    let with = |rest: &str| format!("auth:\n  identities: i.yaml\n  jwt:\n    - {{{rest}}}\n");
    let good = "issuer: https://token.actions.githubusercontent.com, audience: https://slowburn.example.com";
    let loaded = load_text("slowburn.yaml", &with(good));
    assert_eq!(loaded.render(false), "");
    assert_eq!(loaded.settings.auth.jwt[0].audience, "https://slowburn.example.com");
    let oidc =
        "  oidc: {issuer: https://token.actions.githubusercontent.com, client_id: https://slowburn.example.com}\n";
    for (text, said) in [
        (with("issuer: https://ci.example.com"), "audience"),
        (with("issuer: http://ci.example.com, audience: a"), "feigned"),
        (with(good).replace("identities: i.yaml", "requests_per_minute: 10"), "of nobody without auth.identities"),
        (with(good) + &format!("    - {{{good}}}\n"), "stands there twice"),
        (format!("external_url: https://s.example.com\n{}{oidc}", with(good)), "their tokens would be alike"),
        (with(good) + "follow: {url: 'http://127.0.0.1:1', service: s}\n", "decides nothing"),
    ] {
        let problems = problems(&text);
        assert!(problems.contains(said), "{text}: {problems}");
    }
}

#[test]
fn people_sign_in_only_where_it_is_safe_and_leads_somewhere() {
    let head =
        "external_url: https://slowburn.example.com\nauth:\n  identities: i.yaml\n  oidc:\n    client_id: slowburn\n";
    let with = |rest: &str| format!("{head}{rest}");
    let loaded = load_text("slowburn.yaml", &with("    issuer: https://sso.example.com/\n"));
    assert_eq!(loaded.render(false), "");
    let oidc = loaded.settings.auth.oidc.expect("it is read");
    // A slash at its end is part of an issuer's name.
    assert_eq!((oidc.issuer.as_str(), oidc.person_claim.as_str()), ("https://sso.example.com/", "sub"));
    assert_eq!((oidc.session.seconds(), oidc.groups), (8 * 3600, None));
    let good = "    issuer: https://sso.example.com\n";
    for (text, said) in [
        (with(""), "issuer"),
        (with("    issuer: http://sso.example.com\n"), "feigned"),
        (with("    issuer: https://sso.example.com?a=b\n"), "no ?query"),
        (with("    issuer: https://u:p@sso.example.com\n"), "no user name or password"),
        (with(&format!("{good}    session: 48h\n")), "5 m to 24 h"),
        (with(&format!("{good}    client_secret: abc\n")), "client_secret_file"),
        (with(&format!("{good}    person_claim: \"a b\"\n")), "is no word"),
        (with(&format!("{good}    groups: {{claim: groups, rights: {{sre: [haltt]}}}}\n")), "halt"),
        (with(&format!("{good}    groups: {{claim: groups}}\n")), "rights"),
        (with(good).replace("identities: i.yaml", "requests_per_minute: 10"), "knows nobody without auth.identities"),
        (with(good).replace("external_url: https://slowburn.example.com", "listen: 127.0.0.1:1"), "sends people back"),
        (with(good) + "audit: {dir: a, advertise: 'http://b:1'}\n", "none at the others"),
    ] {
        let problems = problems(&text);
        assert!(problems.contains(said), "{text}: {problems}");
        assert!(!problems.contains("u:p"), "{problems}");
    }
    let local = with("    issuer: http://127.0.0.1:4000\n").replace("https://slowburn", "http://slowburn");
    let loaded = load_text("slowburn.yaml", &local);
    assert!(!loaded.is_fatal() && loaded.render(false).contains("sign-ins of people come over plain http"));
}

#[test]
fn rules_of_a_cluster_are_ours_unless_others_are_named() {
    let cluster = |text: &str| {
        let loaded = load_text("s", text);
        assert!(!loaded.is_fatal(), "{}", loaded.render(false));
        loaded.settings.cluster.expect("it is set")
    };
    assert_eq!(cluster("cluster: {}\n"), Cluster::default());
    let text = "cluster: {kinds: [ConfigMap, ServiceLevel, ConfigMap], namespaces: [shop], labels: 'a in (b, c)'}\n";
    let found = cluster(text);
    assert_eq!(found.kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>(), ["ServiceLevel", "ConfigMap"]);
    assert_eq!((found.namespaces.as_slice(), found.labels.as_deref()), (&["shop".to_owned()][..], Some("a in (b, c)")));
    assert_eq!(cluster("cluster: {url: \"http://127.0.0.1:8001\"}\n").ca_file, None);
    assert!(problems("cluster: {kinds: [Deployment]}\n").contains("is not one of ServiceLevel, ActionPolicy"));
    assert!(problems("cluster: {labels: \"a=b;c\"}\n").contains("is no label selector"));
    assert!(problems("cluster: {namespaces: [Shop]}\n").contains("is no name of Kubernetes"));
    let mut selected = Cluster::default();
    for term in ["metadata.namespace=shop", "team=pay", "tier in (a, b)"] {
        selected.select(term).expect(term);
    }
    assert_eq!((selected.namespaces, selected.labels), (vec!["shop".into()], Some("team=pay,tier in (a, b)".into())));
    assert!(Cluster::default().select("metadata.namespace=Shop").is_err());
    assert!(Cluster::default().select("a;b").is_err() && Cluster::default().select(" ").is_err());
}
