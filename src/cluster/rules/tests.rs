//! One broken object is refused by itself, and nobody takes over what another one has.

use super::*;
use crate::cluster::object::digest;
use serde_json::{Value, json};

/// A service level, made at this second.
fn level(namespace: &str, name: &str, second: u32, spec: Value) -> Arc<Object> {
    object("ServiceLevel", namespace, name, second, spec)
}

fn object(kind: &str, namespace: &str, name: &str, second: u32, spec: Value) -> Arc<Object> {
    let text = json!({
        "apiVersion": "slowburn.dev/v1alpha1", "kind": kind,
        "metadata": {"name": name, "namespace": namespace}, "spec": spec,
    });
    let texts = vec![(String::new(), serde_json::to_string_pretty(&text).expect("JSON"))];
    let service = spec["name"].as_str().or(spec["service"].as_str()).unwrap_or(name).to_owned();
    Arc::new(Object {
        key: Arc::new(ObjectKey { kind: kind.into(), namespace: namespace.into(), name: name.into() }),
        uid: format!("{namespace}-{name}-{second}"),
        version: "1".into(),
        generation: 1,
        created: format!("2026-11-01T00:00:{second:02}Z"),
        digest: digest(&texts),
        texts,
        service: Some(service),
        status: Value::Null,
    })
}

fn with_objective(objective: f64) -> Value {
    let sli = json!({"total": "a", "bad": "a{code=\"5\"}"});
    json!({"owner": "pay", "slo": {"availability": {"objective": objective, "sli": sli}}})
}

fn settle_all(objects: &[Arc<Object>], goods: &Goods) -> Settled {
    let settled = settle(&[], objects, goods, &Options::default());
    assert!(!settled.loaded.is_fatal(), "{}", settled.loaded.render(false));
    settled
}

/// `checkout InForce, search Refused`, and the names of the services that are in force.
fn stands(settled: &Settled) -> (String, String) {
    let of = |(key, verdict): (&Arc<ObjectKey>, &Verdict)| {
        format!("{}/{} {}", key.namespace, key.name, verdict.standing.reason())
    };
    let verdicts: Vec<String> = settled.verdicts.iter().map(of).collect();
    let services: Vec<&str> = settled.loaded.model.services.iter().map(|service| service.name.as_str()).collect();
    (verdicts.join(", "), services.join(" "))
}

fn objective_of(settled: &Settled, id: &str) -> Option<f64> {
    settled.loaded.model.slo(id).map(|spec| spec.slo.objective)
}

#[test]
fn no_objects_are_no_fault() {
    let settled = settle_all(&[], &Goods::new());
    assert!(settled.loaded.model.slos.is_empty() && settled.verdicts.is_empty());
}

#[test]
fn a_broken_object_is_refused_its_last_good_version_stays_and_all_others_go_on() {
    let (a, b) = (level("shop", "a", 1, with_objective(99.0)), level("shop", "b", 2, with_objective(99.0)));
    let first = settle_all(&[a.clone(), b.clone()], &Goods::new());
    assert_eq!(stands(&first), ("shop/a InForce, shop/b InForce".into(), "a b".into()));
    assert_eq!(first.verdicts[&a.key].slos, Some(1));
    // One breaks, another one changes.
    let broken = Arc::new(Object {
        generation: 2,
        uid: a.uid.clone(),
        ..(*level("shop", "a", 1, with_objective(100.0))).clone()
    });
    let changed = level("shop", "b", 2, with_objective(98.0));
    let second = settle_all(&[broken.clone(), changed.clone()], &first.goods);
    assert_eq!(stands(&second), ("shop/a LastGoodInForce, shop/b InForce".into(), "a b".into()));
    let verdict = &second.verdicts[&a.key];
    assert_eq!(verdict.good, Some(1));
    let [words] = &verdict.words[..] else { panic!("{verdict:?}") };
    assert!(words.starts_with("an objective of 100 has no error budget"), "{words}");
    assert!(words.contains("(in spec.slo.availability"), "{words}");
    let kept = first.loaded.model.slo("a-availability").map(|spec| spec.slo.clone());
    assert_eq!(second.loaded.model.slo("a-availability").map(|spec| spec.slo.clone()), kept);
    assert_ne!(objective_of(&second, "b-availability"), objective_of(&first, "b-availability"));
    // One that was made anew under the name has no last good version.
    let another = Arc::new(Object { uid: "another".into(), ..(*broken).clone() });
    let third = settle_all(&[another, changed.clone()], &second.goods);
    assert_eq!(stands(&third), ("shop/a Refused, shop/b InForce".into(), "b".into()));
    // And one that is deleted is gone.
    let fourth = settle_all(&[changed], &second.goods);
    assert_eq!(stands(&fourth), ("shop/b InForce".into(), "b".into()));
    assert_eq!(fourth.goods.len(), 1);
}

#[test]
fn of_two_namespaces_the_later_one_is_refused_by_name() {
    let (late, early) =
        (level("bank", "checkout", 9, with_objective(99.0)), level("shop", "checkout", 3, with_objective(99.0)));
    let settled = settle_all(&[late.clone(), early.clone()], &Goods::new());
    assert_eq!(stands(&settled), ("bank/checkout Refused, shop/checkout InForce".into(), "checkout".into()));
    let words = settled.verdicts[&late.key].words.concat();
    assert!(words.contains("\"checkout\" is not of this namespace: the ServiceLevel shop/checkout has it"), "{words}");
}

#[test]
fn who_is_in_force_keeps_its_name_against_an_older_object_that_turns_to_it() {
    let (old, young) = (level("shop", "a", 1, with_objective(99.0)), level("bank", "b", 5, with_objective(99.0)));
    let first = settle_all(&[old.clone(), young.clone()], &Goods::new());
    let mut spec = with_objective(99.0);
    spec["name"] = "b".into();
    let turned = Arc::new(Object { uid: old.uid.clone(), ..(*level("shop", "a", 1, spec)).clone() });
    let second = settle_all(&[turned, young.clone()], &first.goods);
    assert_eq!(stands(&second), ("bank/b InForce, shop/a LastGoodInForce".into(), "a b".into()));
}

#[test]
fn a_policy_goes_with_its_service_and_comes_back_with_it() {
    let service = level("shop", "a", 1, with_objective(99.0));
    let policy = object("ActionPolicy", "shop", "a", 2, json!({"allowed_actions": [{"type": "restart"}]}));
    let first = settle_all(&[service.clone(), policy.clone()], &Goods::new());
    assert_eq!(first.loaded.policies.len(), 1);
    let broken = Arc::new(Object { uid: "other".into(), ..(*level("shop", "a", 1, with_objective(100.0))).clone() });
    let second = settle_all(&[broken, policy.clone()], &first.goods);
    assert_eq!(second.loaded.policies.len(), 0);
    let of_policy = second.verdicts.iter().find(|(key, _)| key.kind == "ActionPolicy").expect("it is judged").1;
    assert!(of_policy.words.concat().contains("there is no service \"a\""), "{of_policy:?}");
    let third = settle_all(&[service, policy], &second.goods);
    assert_eq!(third.loaded.policies.len(), 1);
}

#[test]
fn files_that_are_wrong_are_no_fault_of_an_object() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("a.yaml"), "name: f\nowner: x\nslo: {availability: 100}\n").expect("written");
    let object = level("shop", "a", 1, with_objective(99.0));
    let settled = settle(&[folder.path().to_owned()], &[object], &Goods::new(), &Options::default());
    assert!(settled.loaded.is_fatal());
    assert_eq!(stands(&settled).0, "shop/a InForce");
}

#[test]
fn a_config_map_is_refused_whole_and_says_which_of_its_files() {
    let slo = |name: &str, query: &str| {
        format!(
            "apiVersion: openslo/v1\nkind: SLO\nmetadata: {{name: {name}}}\nspec:\n  service: web\n  budgetingMethod: Occurrences\n  \
             timeWindow: [{{duration: 30d, isRolling: true}}]\n  indicator:\n    metadata: {{name: {name}}}\n    spec:\n      ratioMetric:\n        \
             counter: true\n        good: {{metricSource: {{type: Prometheus, spec: {{query: 'g{{a=\"1\"}}'}}}}}}\n        \
             total: {{metricSource: {{type: Prometheus, spec: {{query: '{query}'}}}}}}\n  objectives: [{{target: 0.99}}]\n"
        )
    };
    let map = |name: &str, files: &[(&str, String)]| {
        let texts: Vec<(String, String)> =
            files.iter().map(|(file, text)| (format!("/{file}"), text.clone())).collect();
        let plain = level("shop", name, 1, Value::Null);
        let key = ObjectKey { kind: "ConfigMap".into(), namespace: "shop".into(), name: name.into() };
        Arc::new(Object { key: Arc::new(key), digest: digest(&texts), texts, service: None, ..(*plain).clone() })
    };
    let good = map("good", &[("a.yaml", slo("fast", "g")), ("b.yaml", slo("full", "g"))]);
    let bad = map("bad", &[("a.yaml", slo("other", "g")), ("b.yaml", slo("wrong", "sum by ("))]);
    let settled = settle_all(&[good.clone(), bad.clone()], &Goods::new());
    assert_eq!(stands(&settled).0, "shop/bad Refused, shop/good InForce");
    let words = settled.verdicts[&bad.key].words.concat();
    assert!(words.starts_with("b.yaml:") && words.contains("PromQL"), "{words}");
    let ids: Vec<&str> = settled.loaded.model.slos.iter().map(|spec| spec.slo.id.as_str()).collect();
    assert_eq!(ids.len(), 2, "{ids:?}");
}
