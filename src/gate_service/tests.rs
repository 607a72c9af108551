//! The gate state and the log it is built from.

use serde_json::json;

use std::path::Path;

use super::*;
use crate::audit::{Kind, Log, Options as LogOptions, Record, Refused};
use crate::engine::{Ledger, Snapshot};
use crate::gate::observed::Change;

fn gate_service(dir: &Path) -> GateService {
    let clock = Clock::wall();
    let log = Log::open(LogOptions::new(dir), clock.clone()).expect("it opens");
    let identities = Identities::default();
    GateService::new(Options { log, dir: dir.to_owned(), clock, identities, external_url: None, follows: false })
        .expect("it opens")
}

fn change(version: &str) -> Event {
    let change = Change {
        service: "checkout".into(),
        resource: "deployment/checkout".into(),
        at: 1_790_000_000,
        from_version: None,
        version: Some(version.into()),
        generation: None,
        replicas: None,
        by: None,
    };
    Event { at: 1_790_000_000, kind: EventKind::ChangeObserved { change } }
}

fn poll(gate_service: &GateService) {
    let (snapshot, ledger) = (Snapshot::default(), Ledger::new(30));
    let seen = BTreeMap::new();
    gate_service.poll(Poll {
        snapshot: &snapshot,
        ledger: &ledger,
        seen,
        nodes: Default::default(),
        unread: Default::default(),
        clock_skew_s: None,
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_log_refused_is_forgotten_at_the_next_poll_and_nothing_is_allowed_before() {
    let folder = tempfile::tempdir().expect("a folder");
    let gate_service = gate_service(folder.path());
    let versions = || -> Vec<String> {
        let state = gate_service.state();
        state.gate.changes_of("checkout").filter_map(|change| change.version.clone()).collect()
    };
    let writable = || gate_service.is_writable(&gate_service.state());
    gate_service.note(&mut gate_service.state(), &[change("v41")]);
    // The next one is in the gate state, and the log does not take it: here for a number that JSON cannot carry.
    gate_service.state().gate.apply(&change("v42"));
    let refused = Record { event: Some(json!(u64::MAX)), ..Record::new(Kind::Acted, "a", "b", 0) };
    let answer = gate_service.log().append(refused).await;
    assert!(matches!(answer, Err(Refused::Number(_))), "{answer:?}");
    assert_eq!((versions(), writable()), (vec!["v41".to_owned(), "v42".to_owned()], false));
    poll(&gate_service);
    assert_eq!((versions(), writable()), (vec!["v41".to_owned()], true));
    // The log is closed: it cannot be built again, and nothing is allowed.
    gate_service.state().refusals_known += 1;
    gate_service.log().close();
    poll(&gate_service);
    assert!(!writable());
}

/// One of those who are on call.
fn someone(name: &str) -> crate::gate::identity::Identity {
    let named = crate::gate::identity::Identity::named(name, crate::gate::ActorClass::Human);
    crate::gate::identity::Identity { teams: vec!["oncall".into()], ..named }
}

/// A question that Bob has answered.
fn voted(now: Seconds) -> Event {
    let request = crate::gate::Request::parse(
        br#"{"service":"checkout","action":"restart","resource":"deployment/checkout","reason":"INC-7"}"#,
    );
    let request = request.expect("a request");
    let approval = crate::gate::approval::Approval {
        id: "apr_1".into(),
        decision_id: "dec_1".into(),
        sub: "orca".into(),
        actor: "orca".into(),
        person: String::new(),
        delegation: Vec::new(),
        action_digest: request.digest(),
        policy_digest: Policy::new("checkout").digest(),
        request,
        rule_digest: None,
        generation: None,
        covers: Vec::new(),
        from: vec![crate::gate::principal::Approver::Team("oncall".into())],
        need: 1,
        votes: vec![crate::gate::approval::Vote { by: "@bob".into(), person: "bob".into(), at: now, reason: None }],
        asked_at: now,
        expires_at: now + 900,
        state: crate::gate::approval::ApprovalState::Granted,
    };
    Event { at: now, kind: EventKind::ApprovalAsked { approval: Box::new(approval) } }
}

/// Votes of people who are gone lapse, also where the log did not take that when they went.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_log_did_not_take_of_people_who_went_is_noted_when_it_takes_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let gate_service = gate_service(folder.path());
    gate_service.take_identities(Identities { all: vec![someone("@ada"), someone("@bob")] }, "test");
    let asked = voted(gate_service.now());
    gate_service.note(&mut gate_service.state(), &[asked]);
    let have = || gate_service.read().gate.approval("apr_1").map(crate::gate::approval::Approval::have);
    poll(&gate_service);
    assert_eq!(have(), Some(1), "nobody is gone");
    // He goes, and at that moment the log refuses: what is in the gate state then is built from the log again.
    let refused = Record { event: Some(json!(u64::MAX)), ..Record::new(Kind::Acted, "a", "b", 0) };
    assert!(gate_service.log().append(refused).await.is_err());
    gate_service.state().identities = Identities { all: vec![someone("@ada")] };
    poll(&gate_service);
    assert_eq!(have(), Some(0), "he is nobody any more");
    drop(gate_service.log().settle());
    let text = std::fs::read_to_string(folder.path().join("00000000000000000000.jsonl")).expect("there");
    assert!(text.contains("approval_vote_lapsed"), "{text}");
}

/// What was only told of a workload is told: it makes no cure of a risk, and where metrics are named for it and show nothing, it is
/// nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_only_told_of_a_workload_is_marked_and_does_not_stand_in_for_what_is_watched() {
    use crate::prometheus::workloads::Seen;
    let folder = tempfile::tempdir().expect("a folder");
    let gate_service = gate_service(folder.path());
    let mut told = change("v41");
    if let EventKind::ChangeObserved { change } = &mut told.kind {
        (change.replicas, change.by) = (Some(2), Some("deployer".into()));
    }
    gate_service.note(&mut gate_service.state(), &[told]);
    let runs = |seen: Option<&BTreeMap<String, Seen>>| {
        let observed = gate_service.read().observed("checkout", seen, 1_790_000_100);
        let one = observed.workload("deployment/checkout").cloned();
        one.map(|one| (one.told, one.version, one.replicas, one.good_for_s.is_some()))
    };
    assert_eq!(runs(None), Some((true, Some("v41".into()), Some(2), false)), "nobody watches it: as it was told");
    let workload = "deployment/checkout".to_owned();
    gate_service.state().rules.workloads = [("checkout".to_owned(), BTreeSet::from([workload.clone()]))].into();
    assert_eq!(runs(None), None, "it is watched, and is not there");
    let seen = Seen {
        at_s: 1_790_000_090,
        replicas: Some(6),
        generation: Some(3),
        version: None,
        utilization: None,
        every_s: 15,
    };
    let seen = BTreeMap::from([(workload, seen)]);
    assert_eq!(
        runs(Some(&seen)),
        Some((false, Some("v41".into()), Some(6), true)),
        "what is seen goes before what is told"
    );
}

/// A log is accepted with its end in doubt: what it shows as unused may have been used, and is not used again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_still_to_be_used_ends_where_a_person_accepts_a_log_in_doubt() {
    let folder = tempfile::tempdir().expect("a folder");
    let start = || {
        let options = LogOptions {
            memory_file: Some(folder.path().join("audit.head")),
            expected: true,
            ..LogOptions::new(folder.path().join("audit"))
        };
        let (log, dir, clock) =
            (Log::open(options, Clock::wall()).expect("it opens"), folder.path().join("audit"), Clock::wall());
        let identities = Identities::default();
        let gate_service =
            GateService::new(Options { log, dir, clock, identities, external_url: None, follows: false });
        let gate_service = gate_service.expect("it opens");
        gate_service.take_rules(idle(), "test");
        gate_service
    };
    let first = start();
    drop(first.accept_log(&person(), "a new place").await);
    let body = json!({"service": "idle", "action": "restart", "resource": "deployment/idle", "reason": "INC-7", "break_glass": true});
    let given = first.decide(&person(), body.to_string().as_bytes()).await.expect("an answer");
    let given = serde_json::to_value(given).expect("JSON");
    let id = given["permit"]["id"].as_str().expect("a permit").to_owned();
    first.log().close();
    let second = start();
    assert_eq!(second.permit(&id).expect("it is remembered")["state"], "live");
    second.log().close();
    std::fs::remove_file(folder.path().join("audit.head")).expect("it is there");
    let third = start();
    assert_eq!(third.permit(&id).expect("it is remembered")["state"], "live");
    // Nobody uses it while that is in doubt, and a person in an emergency asks for another one.
    let redeemed = third.redeem(&person(), &id, None).await.expect("an answer");
    assert!(redeemed["decision"] == "deny" && redeemed.to_string().contains("log_in_doubt"), "{redeemed:#}");
    let another = third.decide(&person(), body.to_string().as_bytes()).await.expect("an answer");
    let another = serde_json::to_value(another).expect("JSON")["permit"]["id"].as_str().expect("a permit").to_owned();
    let redeemed = third.redeem(&person(), &another, None).await.expect("an answer");
    assert_eq!(redeemed["decision"], "allow", "{redeemed:#}");
    third.accept_log(&person(), "the volume was restored").await.expect("she may");
    let ended = third.permit(&id).expect("it is remembered");
    assert_eq!((&ended["state"], &ended["code"]), (&json!("revoked"), &json!("log_in_doubt")));
    let redeemed = third.redeem(&person(), &id, None).await.expect("an answer");
    assert_eq!(redeemed["decision"], "deny", "{redeemed:#}");
}

fn person() -> crate::gate::Principal {
    crate::gate::Principal {
        sub: "@ada".into(),
        person: String::new(),
        rights: None,
        via: crate::gate::Via::Token,
        class: crate::gate::ActorClass::Human,
        may_act_as: BTreeSet::new(),
        teams: BTreeSet::new(),
        delegation: Vec::new(),
    }
}

/// Rules of one service that has no policy.
fn idle() -> Rules {
    Rules { services: BTreeSet::from(["idle".to_owned()]), current: true, ..Rules::default() }
}

/// A log that cannot be opened keeps machines out, and no person in an emergency: not of a service without a policy either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_log_keeps_machines_out_and_no_person_in_an_emergency() {
    let folder = tempfile::tempdir().expect("a folder");
    Log::open(LogOptions::new(folder.path()), Clock::wall()).expect("it opens").close();
    std::fs::remove_file(folder.path().join("signing.key")).expect("it is there");
    let error = Log::open(LogOptions::new(folder.path()), Clock::wall()).expect_err("another key");
    let log = Log::refusing(folder.path(), &error);
    let (identities, clock) = (Identities::default(), Clock::wall());
    let dir = folder.path().to_owned();
    let gate_service = GateService::new(Options { log, dir, clock, identities, external_url: None, follows: false })
        .expect("it is there all the same");
    gate_service.take_rules(idle(), "test");
    let body = |glass: bool| {
        json!({"service": "idle", "action": "restart", "resource": "deployment/idle", "reason": "INC-7", "break_glass": glass})
            .to_string()
    };
    let robot = crate::gate::Principal { class: crate::gate::ActorClass::Robot, sub: "orca".into(), ..person() };
    let told = |answer: &Answered| serde_json::to_value(answer).expect("an answer is JSON");
    let explained = told(&gate_service.explain(&robot, body(false).as_bytes()).expect("it is explained"));
    assert_eq!(explained["decision"], "deny");
    for code in ["log_in_doubt", "audit_unwritable", "no_policy"] {
        assert!(explained.to_string().contains(code), "{code}: {explained:#}");
    }
    assert!(gate_service.decide(&person(), body(false).as_bytes()).await.is_err(), "nothing else is answered");
    let emergency = told(&gate_service.decide(&person(), body(true).as_bytes()).await.expect("an answer"));
    assert_eq!((&emergency["decision"], &emergency["audit"]), (&json!("allow"), &serde_json::Value::Null));
    assert!(gate_service.accept_log(&person(), "let us go on").await.is_err(), "what cannot be opened is not accepted");
}

/// Whoever votes and is gone at the next start, or when another process takes over, has not voted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn votes_of_people_who_are_gone_count_at_no_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = gate_service(folder.path());
    first.take_identities(Identities { all: vec![someone("@ada"), someone("@bob")] }, "test");
    first.note(&mut first.state(), &[voted(first.now())]);
    let have = |of: &GateService| of.read().gate.approval("apr_1").map(crate::gate::approval::Approval::have);
    assert_eq!(have(&first), Some(1));
    first.log().close();
    let other = tempfile::tempdir().expect("a folder");
    for file in std::fs::read_dir(folder.path()).expect("a folder").map(|file| file.expect("a file").path()) {
        if let (true, Some(name)) = (file.is_file(), file.file_name()) {
            std::fs::copy(&file, other.path().join(name)).expect("copied");
        }
    }
    let start_at = |dir: &Path, all: &[&str], follows: bool| {
        let log = Log::open(LogOptions::new(dir), Clock::wall()).expect("it opens");
        let identities = Identities { all: all.iter().copied().map(someone).collect() };
        let (dir, clock) = (dir.to_owned(), Clock::wall());
        let of = GateService::new(Options { log: log.clone(), dir, clock, identities, external_url: None, follows });
        (of.expect("it opens"), log)
    };
    let start = |all: &[&str], follows| start_at(folder.path(), all, follows);
    let (alone, log) = start_at(other.path(), &["@ada"], false);
    assert_eq!(have(&alone), Some(0), "he is nobody any more");
    log.close();
    let (second, log) = start(&["@ada", "@bob"], false);
    assert_eq!(have(&second), Some(1), "nobody is gone");
    log.close();
    let (third, log) = start(&["@ada"], true);
    assert_eq!(have(&third), None, "it follows");
    third.take_over(log.clone()).expect("it takes over");
    assert_eq!(have(&third), Some(0), "he is nobody any more");
    log.close();
    let (fourth, _) = start(&["@ada", "@bob"], false);
    assert_eq!(have(&fourth), Some(0), "that is on record");
}

/// A record in its place whose event is none that is known, as a newer version may have written it, is a doubt.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_record_tells_that_nobody_knows_is_a_doubt() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = gate_service(folder.path());
    let event = json!({"at": 1_790_000_000, "kind": "permit_admired", "id": "prm_1"});
    let record = Record { event: Some(event), ..Record::new(Kind::Presented, "orca", "redeem", 0) };
    first.log().append(record).await.expect("it is a record");
    first.log().close();
    let second = gate_service(folder.path());
    let doubts: Vec<String> = second.log().doubts().iter().map(ToString::to_string).collect();
    assert!(doubts.len() == 1 && doubts[0].starts_with("unread@"), "{doubts:?}");
}

/// A start in doubt lets machines wait; a named person with a reason ends that, on record.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn machines_wait_until_a_person_has_accepted_the_log() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = || LogOptions {
        memory_file: Some(folder.path().join("audit.head")),
        expected: true,
        ..LogOptions::new(folder.path().join("audit"))
    };
    let start = || {
        let log = Log::open(options(), Clock::wall()).expect("it opens");
        let dir = folder.path().join("audit");
        let options = Options {
            log,
            dir,
            clock: Clock::wall(),
            identities: Identities::default(),
            external_url: None,
            follows: false,
        };
        let gate_service = GateService::new(options).expect("it opens");
        gate_service.take_rules(idle(), "test");
        gate_service
    };
    let robot = crate::gate::Principal { class: crate::gate::ActorClass::Robot, sub: "orca".into(), ..person() };
    let body = json!({"service": "idle", "action": "restart", "resource": "deployment/idle"}).to_string();
    let waits = |gate_service: &GateService| {
        let answer = gate_service.explain(&robot, body.as_bytes()).expect("it is explained");
        serde_json::to_string(&answer).expect("JSON").contains("log_in_doubt")
    };
    // State of an earlier process, and no log of it.
    let gate_service = start();
    assert!(waits(&gate_service));
    assert!(gate_service.accept_log(&robot, "please").await.is_err(), "a robot accepts nothing");
    assert!(gate_service.accept_log(&person(), " ").await.is_err(), "without a reason nothing is accepted");
    gate_service.log().close();
    let gate_service = start();
    assert!(waits(&gate_service), "a restart accepts nothing");
    let accepted = gate_service.accept_log(&person(), "the disk was replaced").await.expect("she may");
    assert!(accepted["accepted"].as_array().is_some_and(|doubts| !doubts.is_empty()), "{accepted}");
    assert!(!waits(&gate_service));
    gate_service.log().close();
    let gate_service = start();
    assert!(!waits(&gate_service), "it was accepted for good");
    gate_service.log().close();
    let text = std::fs::read_to_string(folder.path().join("audit/00000000000000000000.jsonl")).expect("there");
    let record = text.lines().find(|line| line.contains("\"kind\":\"accepted\"")).expect("it is on record");
    assert!(record.contains("@ada") && record.contains("the disk was replaced"), "{record}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gate_waits_for_the_history_of_the_service_asked_about_and_for_no_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let gate_service = gate_service(folder.path());
    let warm = |service: &str| gate_service.read().health(service, true, &gate_service.log(), true).warm;
    assert!(!warm("checkout"), "nothing was evaluated yet");
    let (snapshot, ledger) = (Snapshot { at: 1_790_000_010, ..Snapshot::default() }, Ledger::new(30));
    gate_service.poll(Poll {
        snapshot: &snapshot,
        ledger: &ledger,
        seen: BTreeMap::new(),
        nodes: Default::default(),
        unread: ["search".to_owned()].into(),
        clock_skew_s: None,
    });
    assert_eq!((warm("checkout"), warm("search")), (true, false));
}

/// Where a machine begins is told before it has done anything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_machines_begin_and_how_far_they_may_go_is_told_of_every_policy_with_stages() {
    let folder = tempfile::tempdir().expect("a folder");
    let gate_service = gate_service(folder.path());
    let text = "service: checkout\nallowed_actions:\n  - {type: deploy}\n  - {type: restart, approvers: [{team: oncall}], \
                autonomy: {starts: approval, at_most: proven, raise_after: 3}}\n";
    let service = "name: checkout\nowner: team\nslo: {availability: {objective: 99.9, sli: {total: a, bad: 'a{code=\"500\"}'}}}\n";
    let texts = [("checkout.yaml", service), ("policy.yaml", text)];
    let loaded = crate::spec::load_texts(&texts, &crate::spec::Options::default());
    let policies = loaded.policies.iter().map(|policy| (policy.service.clone(), Arc::new(policy.clone())));
    let policies: BTreeMap<String, Arc<Policy>> = policies.collect();
    assert_eq!(policies.len(), 1, "{}", loaded.render(false));
    gate_service.take_rules(Rules { policies, current: true, ..Rules::default() }, "start");
    let told = gate_service.operators()["autonomy"].clone();
    let expected = json!([{
        "service": "checkout", "operator": null, "action": "restart", "stage": "approval", "at_most": "proven", "improved": 0,
        "raise_after": 3,
    }]);
    assert_eq!(told, expected);
}
