//! Resources mean what the same files mean, and namespaces own what is theirs.

use std::sync::Arc;

use crate::spec::{ObjectKey, ObjectTexts, Options, load_text, load_with_objects};

fn service_level(namespace: &str, name: &str, spec: &str) -> String {
    format!(
        "apiVersion: slowburn.dev/v1alpha1\nkind: ServiceLevel\nmetadata: {{name: {name}, namespace: {namespace}, \
         uid: u, labels: {{a: b}}}}\nspec: {spec}\nstatus: {{whatever: 1}}\n"
    )
}

fn object(kind: &str, namespace: &str, name: &str, text: String) -> ObjectTexts {
    let key = Arc::new(ObjectKey { kind: kind.into(), namespace: namespace.into(), name: name.into() });
    ObjectTexts { key, texts: vec![(String::new(), text)] }
}

/// What is said of objects, by file.
fn said(objects: &[ObjectTexts]) -> Vec<(String, String)> {
    let options = Options { may_be_empty: true, ..Options::default() };
    let loaded = load_with_objects(&[], objects, &options);
    loaded.problems.iter().map(|problem| (problem.file.clone(), problem.what.clone())).collect()
}

const SPEC: &str = "{owner: pay, slo: {availability: {objective: 99.9, sli: {total: a, bad: 'a{code=\"5\"}'}}}}";

#[test]
fn a_resource_means_what_the_same_file_means() {
    let file =
        load_text("a.yaml", &format!("name: checkout\n{}\n", &SPEC[1..SPEC.len() - 1].replacen(", slo", "\nslo", 1)));
    assert!(!file.is_fatal(), "{}", file.render(false));
    let resource = load_text("b.yaml", &service_level("shop", "checkout", SPEC));
    assert!(!resource.is_fatal(), "{}", resource.render(false));
    assert_eq!(file.model, resource.model);
    assert_eq!(file.digest, resource.digest);
    // A name of its own wins over that of the object.
    let named =
        load_text("b.yaml", &service_level("shop", "checkout-slos", &SPEC.replacen('{', "{name: checkout, ", 1)));
    assert_eq!(file.model, named.model);
}

#[test]
fn a_fault_is_at_its_place_with_the_words_of_check() {
    let loaded = load_text("a.yaml", &service_level("shop", "checkout", "{owner: pay, slo: {availability: 100}}"));
    let problem = loaded.problems.first().expect("an objective of 100 has no budget");
    assert_eq!((problem.line, problem.column), (4, 40), "{}", loaded.render(false));
    assert!(problem.what.contains("an objective of 100 has no error budget"), "{problem:?}");
    assert!(problem.what.contains("(in spec.slo.availability"), "{problem:?}");
    for (text, says) in [
        ("apiVersion: slowburn.dev/v2\nkind: ServiceLevel\nspec: {}\n", "another version"),
        ("apiVersion: slowburn.dev/v1alpha1\nkind: Service\nspec: {}\n", "Slowburn has no \"Service\""),
        ("apiVersion: slowburn.dev/v1alpha1\nkind: ServiceLevel\nmetadata: {name: a}\n", "\"spec\" is missing"),
        ("apiVersion: slowburn.dev/v1alpha1\nkind: ServiceLevel\nspec: {}\nspecs: {}\n", "unknown key \"specs\""),
    ] {
        let loaded = load_text("a.yaml", text);
        assert!(loaded.problems.iter().any(|problem| problem.what.contains(says)), "{}", loaded.render(false));
    }
}

#[test]
fn workloads_are_those_of_the_own_namespace() {
    let spec =
        |workload: &str| SPEC.replacen('{', &format!("{{workloads: [{{resource: deployment/a{workload}}}], "), 1);
    let loaded = load_text("a.yaml", &service_level("shop", "checkout", &spec("")));
    assert_eq!(loaded.model.services[0].workloads[0].namespace.as_deref(), Some("shop"), "{}", loaded.render(false));
    let loaded = load_text("a.yaml", &service_level("shop", "checkout", &spec(", namespace: bank")));
    assert!(loaded.render(false).contains("deployment/a is in the namespace bank, and this object in shop"));
    assert!(loaded.is_fatal());
}

#[test]
fn a_service_belongs_to_the_namespace_that_named_it_first() {
    let of =
        |namespace: &str, name: &str| object("ServiceLevel", namespace, name, service_level(namespace, name, SPEC));
    assert_eq!(said(&[of("shop", "checkout"), of("bank", "transfer")]), []);
    let both = said(&[of("shop", "checkout"), of("bank", "checkout")]);
    let [(file, what)] = &both[..] else { panic!("{both:?}") };
    assert_eq!(file, "ServiceLevel/bank/checkout");
    assert_eq!(what, "the service \"checkout\" is not of this namespace: the ServiceLevel shop/checkout has it");
    // A policy of another namespace governs nothing, whatever it is called.
    let policy = |namespace: &str| {
        let text = format!(
            "apiVersion: slowburn.dev/v1alpha1\nkind: ActionPolicy\nmetadata: {{name: checkout, namespace: {namespace}}}\n\
             spec: {{allowed_actions: [{{type: restart}}]}}\n"
        );
        object("ActionPolicy", namespace, "checkout", text)
    };
    assert_eq!(said(&[policy("shop"), of("shop", "checkout")]), []);
    let both = said(&[policy("bank"), of("shop", "checkout")]);
    let [(file, what)] = &both[..] else { panic!("{both:?}") };
    assert_eq!(file, "ActionPolicy/bank/checkout");
    assert!(what.ends_with("is not of this namespace: the ServiceLevel shop/checkout has it"), "{what}");
}

#[test]
fn files_come_before_objects_and_objects_of_other_tools_keep_their_namespace() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("z.yaml");
    std::fs::write(&file, format!("name: checkout\n{}\n", &SPEC[1..SPEC.len() - 1].replacen(", slo", "\nslo", 1)))
        .expect("written");
    let sloth = |namespace: &str, service: &str, slo: &str| {
        let text = format!(
            "apiVersion: sloth.slok.dev/v1\nkind: PrometheusServiceLevel\nmetadata: {{name: {slo}, namespace: {namespace}}}\n\
             spec: {{service: {service}, slos: [{{name: {slo}, objective: 99.9, alerting: {{pageAlert: {{disable: true}}, \
             ticketAlert: {{disable: true}}}}, sli: {{events: {{errorQuery: 'sum(rate(b{{code=\"5\"}}[{{{{.window}}}}]))', \
             totalQuery: 'sum(rate(b[{{{{.window}}}}]))'}}}}}}]}}\n"
        );
        object("PrometheusServiceLevel", namespace, slo, text)
    };
    let objects = [
        sloth("shop", "checkout", "errors"),
        sloth("shop", "search", "errors"),
        sloth("shop", "search", "slow"),
        sloth("bank", "search", "mine"),
    ];
    let loaded = load_with_objects(std::slice::from_ref(&file), &objects, &Options::default());
    let errors: Vec<&str> = loaded
        .problems
        .iter()
        .filter(|problem| problem.severity == crate::spec::Severity::Error)
        .map(|problem| problem.file.as_str())
        .collect();
    assert_eq!(
        errors,
        ["PrometheusServiceLevel/bank/mine", "PrometheusServiceLevel/shop/errors"],
        "{}",
        loaded.render(false)
    );
    assert!(loaded.render(false).contains(&format!("not of this namespace: {}:1:7 has it", file.display())));
    // Two objects of one namespace may have some of a service's SLOs each. Their owner, where none is named, is it.
    let search = loaded.model.services.iter().find(|service| service.name == "search").expect("it is loaded");
    assert_eq!(search.owner, "shop");
    assert_eq!(
        loaded.model.by_service()["search"].len(),
        2 + 1,
        "a refused one stands in the model until it is left out"
    );
}
