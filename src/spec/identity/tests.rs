//! Who may be in a file of identities, and what is said of the others.

use super::*;

const HASH: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

fn refused(text: &str) -> String {
    let loaded = load_text("identities.yaml", text);
    assert!(loaded.is_fatal(), "{text}");
    loaded.render(false)
}

#[test]
fn only_machines_have_subjects_of_issuers_and_each_is_said_in_full() {
    let issuer = "https://token.actions.githubusercontent.com";
    let text = format!(
        "identities:\n  - {{name: ci, class: pipeline, jwt_subjects: ['{issuer} repo:acme/shop:ref:refs/heads/main']}}\n"
    );
    let loaded = load_text("identities.yaml", &text);
    assert!(loaded.problems.is_empty(), "{}", loaded.render(false));
    let known = |subject: &str| loaded.identities.by_jwt_subject(subject).is_some();
    assert!(
        known(&format!("{issuer} repo:acme/shop:ref:refs/heads/main")) && !known("repo:acme/shop:ref:refs/heads/main")
    );
    for (subject, said) in [
        ("repo:acme/shop:pull_request", "it is an issuer, a blank, and"),
        ("https://token.actions.githubusercontent.com", "it is an issuer, a blank, and"),
        ("https://token.actions.githubusercontent.com repo:acme/*", "there are no patterns"),
    ] {
        let text = refused(&format!("identities:\n  - {{name: ci, class: pipeline, jwt_subjects: ['{subject}']}}\n"));
        assert!(text.contains(said) && text.contains("identities.yaml:2:"), "{text}");
    }
    let person = refused(&text.replace("class: pipeline", "class: human"));
    assert!(person.contains("a human signs in"), "{person}");
    let shared = text.clone() + &text.replace("identities:\n", "").replace("name: ci", "name: cd");
    assert!(refused(&shared).contains("share a credential (jwt_subjects)"));
}

#[test]
fn only_people_sign_in_and_nobody_shares_a_subject() {
    let text = "identities:\n  - {name: '@ada', class: human, oidc_subjects: ['auth0|7f', 'a b@example.com']}\n";
    let loaded = load_text("identities.yaml", text);
    assert!(loaded.problems.is_empty(), "{}", loaded.render(false));
    let known = |subject| loaded.identities.by_oidc_subject(subject).map(|one| one.name.as_str());
    assert_eq!((known("auth0|7f"), known("AUTH0|7F"), known("")), (Some("@ada"), None, None));
    let robot = refused("identities:\n  - {name: orca, class: robot, oidc_subjects: [x]}\n");
    assert!(robot.contains("only a human signs in"), "{robot}");
    let shared = format!("{text}  - {{name: '@bob', class: human, oidc_subjects: ['auth0|7f']}}\n");
    assert!(refused(&shared).contains("share a credential (oidc_subjects)"));
    assert!(
        refused("identities:\n  - {name: '@a', class: human, oidc_subjects: [\"\\u0007\"]}\n")
            .contains("control characters")
    );
}

#[test]
fn everybody_is_read() {
    let text = format!(
        "identities:\n  - {{name: '@ada-admin', class: human, person: '@ada', rights: [halt]}}\n  - name: ai-operator/orca-ops\n    class: robot\n    k8s_subjects: [system:serviceaccount:ops:orca]\n    \
         may_act_as: [ai-operator/orca]\n    on_behalf_of: ['@ada']\n  - name: '@ada'\n    class: human\n    \
         teams: [checkout-oncall]\n    token_sha256: [{HASH}]\n"
    );
    let loaded = load_text("identities.yaml", &text);
    assert!(loaded.render(false).contains("@ada-admin has nothing to prove itself by"));
    let admin = loaded.identities.named("@ada-admin").expect("she is there");
    assert_eq!(admin.person.as_deref(), Some("ada"));
    assert_eq!(admin.rights.as_ref().map(|rights| rights.iter().copied().collect::<Vec<_>>()), Some(vec![Right::Halt]));
    let ada = loaded.identities.named("@ada").expect("she is there");
    assert_eq!((ada.class, ada.teams.as_slice()), (ActorClass::Human, &["checkout-oncall".to_string()][..]));
    let orca = loaded.identities.by_k8s_subject("system:serviceaccount:ops:orca").expect("it is there");
    assert_eq!(orca.on_behalf_of, ["@ada"]);
}

#[test]
fn mistakes_are_named_with_their_place() {
    let row = |rest: &str| format!("identities: [{{name: a, class: human, {rest}}}]\n");
    let two = |a: &str, b: &str| format!("identities:\n  - {{class: robot, {a}}}\n  - {{class: robot, {b}}}\n");
    let people = |a: &str, b: &str| two(&format!("name: {a}"), &format!("name: {b}")).replace("robot", "human");
    for (text, expected) in [
        ("identities: [{name: a, class: alien}]\n".to_string(), "identities.yaml:1:31: error"),
        ("identities: [{class: human}]\n".into(), "name"),
        (row("tokens: [x]"), "tokens"),
        (row("teams: ['*']"), "is no name"),
        ("identities: [{name: slowburn, class: robot}]\n".into(), "is no name"),
        (two("name: '@ada'", "name: ada"), "are the same name"),
        (
            two(&format!("name: a, token_sha256: [{HASH}]"), &format!("name: b, token_sha256: [{HASH}]")),
            "share a credential",
        ),
        (two("name: '@ada'", "name: '@аda'"), "several scripts"),
        (two("name: '@aop'", "name: '@аор'"), "looks like"),
        (two("name: '@ada'", "name: '@Ada'"), "looks like"),
        (two("name: ops", "name: 0ps"), "looks like"),
        ("identities: [{name: \"@ada\\u200b\", class: human}]\n".into(), "hide or turn"),
        ("identities: [{name: \"@ad\\u202ea\", class: human}]\n".into(), "hide or turn"),
        (two("name: '@ada'", "name: orca, may_act_as: ['@ada']"), "who is somebody else"),
        (two("name: '@ada'", "name: orca, may_act_as: [ada]"), "who is somebody else"),
        (two("name: '@ada'", "name: orca, on_behalf_of: ['@adda']"), "who is nobody here"),
        (two("name: '@am'", "name: '@arn'"), "looks like"),
        (two("name: ops", "name: 'o\u{1d18}s'"), "several scripts"),
        (two("name: ops", "name: 'team/o\u{440}s'"), "several scripts"),
        (people("'@bob'", "'@bob-admin', person: b\u{43e}b"), "several scripts"),
        (people("'@bob'", "'@bob-admin', person: Bob"), "looks like"),
        (people("'@a1', person: robert", "'@a2', person: r0bert"), "looks like"),
        (row("rights: [everything]"), "everything"),
        ("identities: [{name: a, class: robot, rights: [halt]}]\n".into(), "cannot have the right"),
        ("identities: [{name: a, class: pipeline, rights: [break_glass]}]\n".into(), "cannot have the right"),
        ("identities: [{name: a, class: robot, person: ada}]\n".into(), "only a human"),
        (row(&format!("token_sha256: [{EMPTY_SHA256}]")), "of no token at all"),
        ("people: []\n".into(), "identities"),
        (String::new(), "empty"),
    ] {
        let said = refused(&text);
        assert!(said.contains(expected), "{text}: {said}");
    }
}

#[test]
fn names_of_one_script_are_names_whichever_it_is() {
    for name in ["@борис", "@josé", "@田中taro", "team/θεο", "ai-operator/orca-2", "@bob.o'hara"] {
        let text = format!("identities: [{{name: \"{name}\", class: human, person: \"{name}\"}}]\n");
        assert!(
            !load_text("identities.yaml", &text).is_fatal(),
            "{}",
            load_text("identities.yaml", &text).render(false)
        );
    }
}

/// Whatever is wrong elsewhere in the file: who was taken out of it is out, and so is a credential.
#[test]
fn what_was_taken_out_of_a_file_with_a_mistake_is_out() {
    let hash = |n: u8| format!("{n:064x}");
    let row = |name: &str, class: &str, hashes: &[u8]| {
        let hashes: Vec<String> = hashes.iter().map(|n| format!("'{}'", hash(*n))).collect();
        format!("  - {{name: '{name}', class: {class}, token_sha256: [{}]}}\n", hashes.join(", "))
    };
    let before = format!(
        "identities:\n{}{}{}",
        row("@ada", "human", &[1, 2]),
        row("@bob", "human", &[3]),
        row("orca", "robot", &[4])
    );
    let loaded = load_text("identities.yaml", &before);
    assert!(!loaded.is_fatal(), "{}", loaded.render(false));
    let left = |text: &str| {
        let now = load_text("identities.yaml", text);
        assert!(now.is_fatal(), "{text}");
        UnusableIdentities { why: now.render(false), texts: now.texts }.left_of(loaded.identities.clone())
    };
    let has =
        |left: &Identities, name: &str, n: u8| left.named(name).is_some_and(|one| one.token_sha256.contains(&hash(n)));
    let wrong = row("@eve", "alien", &[5]);
    let one = left(&format!("identities:\n{}{}{wrong}", row("@ada", "human", &[1]), row("orca", "robot", &[4])));
    assert_eq!((has(&one, "@ada", 1), has(&one, "@ada", 2), has(&one, "orca", 4)), (true, false, true));
    assert!(one.named("@bob").is_none() && one.named("@eve").is_none(), "{one:?}");
    // What is only a comment is not there.
    let commented =
        left(&format!("identities:\n{}#{}{wrong}", row("@ada", "human", &[1, 2]), row("@bob", "human", &[3])));
    assert!(commented.named("@bob").is_none() && has(&commented, "@ada", 2));
    // Half a file, none at all, or another one says nothing of anybody.
    for text in ["", "identities: [{name: '@ada', class", "identities: []\n", "people: []\n"] {
        let loaded_again = load_text("identities.yaml", text);
        let left =
            UnusableIdentities { why: String::new(), texts: loaded_again.texts }.left_of(loaded.identities.clone());
        assert_eq!(left, loaded.identities, "{text}");
    }
}

#[test]
fn a_token_in_place_of_its_hash_is_refused_by_what_is_wrong_with_it() {
    let said = refused("identities: [{name: a, class: human, token_sha256: [hunter2-hunter2]}]\n");
    assert!(said.contains("this is no SHA-256") && !said.contains("hunter2"), "{said}");
}

#[test]
fn one_that_can_never_ask_is_a_warning() {
    let loaded = load_text("identities.yaml", "identities: [{name: a, class: human}]\n");
    assert!(!loaded.is_fatal());
    assert!(loaded.render(false).contains("nothing to prove itself by"));
}
