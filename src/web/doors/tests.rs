//! The doors on the fixture's fleet: what each says in its own words, and that nothing but a yes reads as one.

use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Request};
use axum::http::{HeaderMap, Method};
use serde_json::{Value, json};
use std::net::SocketAddr;
use tower::ServiceExt;

use axum::http::StatusCode;

use crate::web::gate::tests::{ADA, Gate, ORCA, gate, rollback};

mod vectors;

/// One request with these headers.
async fn ask(
    gate: &Gate,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> (StatusCode, HeaderMap, Value) {
    let peer: SocketAddr = "127.0.0.1:40000".parse().expect("an address");
    let mut request = Request::builder().method(method).uri(path).header("host", "localhost");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.extension(ConnectInfo(peer)).body(Body::from(body.to_owned())).expect("a request");
    let answer = gate.router.clone().oneshot(request).await.expect("routers answer");
    let (parts, body) = answer.into_parts();
    let bytes = to_bytes(body, 1 << 20).await.expect("a whole body");
    (parts.status, parts.headers, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
}

/// Told by a person, so that version and cause are known.
async fn changed(gate: &Gate) {
    let change =
        json!({"service": "checkout", "resource": "deployment/checkout", "from_version": "v41", "version": "v42"});
    assert_eq!(gate.post(ADA, "/v1/changes", &change).await.0, StatusCode::OK);
}

async fn approve(gate: &Gate, id: &str) {
    let card = gate.get(&format!("/v1/approvals/{id}")).await.1;
    let yes = json!({"verdict": "approve", "action_digest": card["action"]["digest"]});
    assert_eq!(gate.post(ADA, &format!("/v1/approvals/{id}"), &yes).await.0, StatusCode::OK);
}

/// The rollback of the fixture, told of and approved: the next one who asks for it is let through.
async fn granted(gate: &Gate) {
    changed(gate).await;
    let asked = gate.post(ORCA, "/v1/decisions", &rollback()).await.1;
    approve(gate, asked["approval"]["id"].as_str().expect("a question")).await;
}

/// The rollback of the fixture as an evaluation.
fn evaluation() -> Value {
    json!({
        "subject": {"type": "service_account", "id": "system:serviceaccount:ops:orca"},
        "action": {"name": "rollback", "properties": {"from_version": "v42", "to_version": "v41"}},
        "resource": {"type": "deployment", "id": "shop/checkout", "properties": {"service": "checkout"}},
        "context": {"reason": "slo_burn_rate_exceeded", "ticket": 7},
        "unknown": {"is": "ignored"},
    })
}

const DEPLOY: [(&str, &str); 5] = [
    ("service", "checkout"),
    ("action", "deploy"),
    ("resource", "deployment/checkout"),
    ("from_version", "v42"),
    ("to_version", "v43"),
];

#[tokio::test(flavor = "multi_thread")]
async fn an_evaluation_that_needs_people_says_how_to_ask_them_and_is_decided_anew() {
    let gate = gate();
    changed(&gate).await;
    let (status, first) = gate.post(ORCA, "/access/v1/evaluation", &evaluation()).await;
    assert_eq!((status, &first["decision"]), (StatusCode::OK, &json!(false)), "{first:#}");
    let context = &first["context"];
    assert!(context["reasons"].to_string().contains("approval_required"), "{first:#}");
    assert!(context["audit"]["seq"].is_u64(), "it is on record: {first:#}");
    let endpoint = context["access_request"]["endpoint"].as_str().expect("where to ask");
    assert_eq!(endpoint, "http://localhost/access/v1/requests");
    let mut asked = evaluation();
    let submit = |asked: Value| {
        let gate = &gate;
        async move { gate.post(ORCA, "/access/v1/requests", &asked).await }
    };
    assert_eq!(submit(asked.clone()).await.1["title"], "invalid_denial_binding");
    asked["denial"] = json!({"evaluation_id": "dec_of_another"});
    assert_eq!(submit(asked.clone()).await.1["title"], "invalid_denial_binding");
    asked["denial"] = json!({"evaluation_id": context["evaluation_id"], "expires_at": "2020-01-01T00:00:00Z"});
    assert_eq!(submit(asked.clone()).await.0, StatusCode::GONE);
    asked["denial"]["expires_at"] = context["access_request"]["expires_at"].clone();
    let (status, task) = submit(asked).await;
    assert_eq!((status, &task["task"]["status"]), (StatusCode::ACCEPTED, &json!("pending")), "{task:#}");
    let id = task["task"]["id"].as_str().expect("an id").to_owned();
    let look = |token: &'static str| {
        let path = format!("/access/v1/tasks/{id}");
        let gate = &gate;
        async move { gate.send("127.0.0.1:40000", token, Method::GET, &path, "").await }
    };
    assert_eq!(look("").await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(look(ADA).await.1["title"], "unknown_task", "tasks are of whoever asked");
    approve(&gate, &id).await;
    let (_, task) = look(ORCA).await;
    assert_eq!((&task["task"]["status"], &task["result"]["mode"]), (&json!("approved"), &json!("reevaluate")));
    let mut again = evaluation();
    again["context"]["approval"] = task["result"]["approval"].clone();
    let (_, allowed) = gate.post(ORCA, "/access/v1/evaluation", &again).await;
    assert_eq!(allowed["decision"], true, "{allowed:#}");
    let permit = allowed["context"]["permit"]["id"].as_str().expect("a permit").to_owned();
    let (_, repeated) = gate.post(ORCA, "/access/v1/evaluation", &again).await;
    assert_eq!((&repeated["decision"], &repeated["context"]["permit"]["id"]), (&json!(true), &json!(permit)));
    assert_eq!(look(ORCA).await.1["task"]["status"], "expired", "what was used is no approval any more");
    let (_, redeemed) = gate.post(ORCA, &format!("/v1/permits/{permit}/redeem"), &json!({})).await;
    assert_eq!(redeemed["decision"], "allow", "{redeemed:#}");
    let (_, after) = gate.post(ORCA, "/access/v1/evaluation", &again).await;
    assert_eq!(after["decision"], false, "one act, one permit: {after:#}");
    assert!(after["context"]["next_action"].is_string(), "{after:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_taken_back_once_and_by_whoever_asked() {
    let gate = gate();
    changed(&gate).await;
    let first = gate.post(ORCA, "/access/v1/evaluation", &evaluation()).await.1;
    let mut asked = evaluation();
    asked["denial"] = json!({"evaluation_id": first["context"]["evaluation_id"]});
    let task = gate.post(ORCA, "/access/v1/requests", &asked).await.1;
    let path = format!("/access/v1/tasks/{}/cancel", task["task"]["id"].as_str().expect("an id"));
    assert_eq!(gate.post(ADA, &path, &json!({})).await.0, StatusCode::NOT_FOUND);
    assert_eq!(gate.post(ORCA, &path, &json!({})).await.1["task"]["status"], "cancelled");
    assert_eq!(gate.post(ORCA, &path, &json!({})).await.1["title"], "invalid_task_state");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_evaluation_is_a_400_and_what_means_no_act_is_a_no() {
    let gate = gate();
    let without = |key: &str| {
        let mut item = evaluation();
        item.as_object_mut().expect("an object").remove(key);
        item.to_string()
    };
    let with = |pointer: &str, value: Value| {
        let mut item = evaluation();
        *item.pointer_mut(pointer).expect("it is there") = value;
        item
    };
    let path = "/access/v1/evaluation";
    for body in [without("subject"), without("action"), without("resource"), "{".into(), String::new(), "[]".into()] {
        let (status, answer) = gate.send("127.0.0.1:40000", ORCA, Method::POST, path, &body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}: {answer}");
    }
    for pointer in ["/subject/id", "/action/name", "/resource/type", "/action/properties", "/context"] {
        let (status, answer) = gate.post(ORCA, path, &with(pointer, json!(7))).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{pointer}: {answer}");
    }
    let auth = ("authorization", "Bearer orca-token");
    let text = [auth, ("content-type", "text/plain"), ("x-request-id", "r-1")];
    assert_eq!(ask(&gate, Method::POST, path, &text, &evaluation().to_string()).await.0, StatusCode::BAD_REQUEST);
    let json_ = [auth, ("content-type", "application/json"), ("x-request-id", "r-1")];
    let (_, headers, _) = ask(&gate, Method::POST, path, &json_, &evaluation().to_string()).await;
    assert_eq!(headers.get("x-request-id").map(|id| id.as_bytes()), Some(&b"r-1"[..]));
    assert_eq!(gate.post("", path, &evaluation()).await.0, StatusCode::UNAUTHORIZED);
    for (pointer, value, code) in [
        ("/action/name", json!("can_read"), "malformed_request"),
        ("/action/properties", json!({"from_version": "v42", "to_versoin": "v41"}), "malformed_request"),
        ("/action/properties", json!({"from_version": "v42", "to_version": "*"}), "malformed_request"),
        ("/resource", json!({"type": "deployment", "id": "shop/stranger"}), "malformed_request"),
        ("/resource/properties", json!({"service": "nobody"}), "unknown_service"),
        ("/subject/id", json!("@ada"), "actor_mismatch"),
    ] {
        let (status, answer) = gate.post(ORCA, path, &with(pointer, value.clone())).await;
        assert_eq!((status, &answer["decision"]), (StatusCode::OK, &json!(false)), "{value}: {answer}");
        assert!(answer["context"]["reasons"].to_string().contains(code), "{value}: {answer:#}");
        assert!(answer["context"]["access_request"].is_null(), "{value}: {answer:#}");
    }
    gate.log.close();
    assert_eq!(gate.post(ORCA, path, &evaluation()).await.0, StatusCode::SERVICE_UNAVAILABLE);
}

/// A permit is of whom it was given to: the same evaluation for somebody else is none of theirs.
#[tokio::test(flavor = "multi_thread")]
async fn an_evaluation_is_true_for_nobody_but_its_subject() {
    let gate = gate();
    granted(&gate).await;
    let path = "/access/v1/evaluation";
    assert_eq!(gate.post(ORCA, path, &evaluation()).await.1["decision"], true);
    for subject in ["@ada", "ai-operator/other", "system:serviceaccount:ops:other", "deployer"] {
        let mut other = evaluation();
        other["subject"]["id"] = subject.into();
        let (status, answer) = gate.post(ORCA, path, &other).await;
        assert_eq!((status, &answer["decision"]), (StatusCode::OK, &json!(false)), "{subject}: {answer:#}");
        assert!(answer["context"]["reasons"].to_string().contains("actor_mismatch"), "{subject}: {answer:#}");
        assert!(answer["context"]["permit"].is_null(), "{subject}: {answer:#}");
        // Nor at the other doors, nor with a key of one's own.
        let mut asked = rollback();
        asked["actor"] = subject.into();
        assert_ne!(gate.post(ORCA, "/integrations/argo-rollouts", &asked).await.1["argo"], "allow", "{subject}");
    }
    assert_eq!(gate.post(ORCA, path, &evaluation()).await.1["decision"], true, "its own still lives");
    let mut keyed = rollback();
    keyed["idempotency_key"] = "mine".into();
    let told = gate.post(ORCA, "/v1/decisions", &keyed).await.1;
    assert_ne!(told["decision"], "allow", "one act at a time: {told:#}");
}

/// What stops an act by its action, or by who does it, stops it at each step.
#[tokio::test(flavor = "multi_thread")]
async fn a_canary_goes_on_with_nothing_that_its_own_action_is_halted_for() {
    let gate = gate();
    granted(&gate).await;
    let path = "/integrations/argo-rollouts";
    for scope in [json!({"action": "rollback"}), json!({"actor": "ai-operator/orca-ops"})] {
        assert_eq!(gate.post(ORCA, path, &rollback()).await.1["argo"], "allow");
        let halt = json!({"scope": scope, "reason": "x", "for_s": 60});
        let (status, halt) = gate.post(ADA, "/v1/halts", &halt).await;
        assert_eq!(status, StatusCode::OK, "{halt}");
        let (_, halted) = gate.post(ORCA, path, &rollback()).await;
        assert!(halted["argo"] == "deny" && halted["reasons"].to_string().contains("halted"), "{scope}: {halted:#}");
        let resume = format!("/v1/halts/{}/resume", halt["id"].as_str().expect("an id"));
        assert_eq!(gate.post(ADA, &resume, &json!({"reason": "over"})).await.0, StatusCode::OK);
    }
    // An action that the policy does not list was never begun, and does not go on.
    let hook = json!({
        "name": "checkout", "namespace": "shop", "metadata": {"token": "orca-token", "action": "restart"},
    });
    let (status, answer) = gate.post("", "/integrations/flagger/rollout", &hook).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{answer}");
    assert!(answer["reasons"].to_string().contains("action_not_allowed"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn several_evaluations_inherit_whole_members_and_end_where_they_are_told_to() {
    let gate = gate();
    changed(&gate).await;
    let mut several = evaluation();
    let deploy = json!({"name": "deploy", "properties": {"from_version": "v42", "to_version": "v43"}});
    several["evaluations"] = json!([{}, {"action": deploy}, {"action": {}}, {"resource": {"type": "deployment"}}]);
    let path = "/access/v1/evaluations";
    let (status, answer) = gate.post(ORCA, path, &several).await;
    let answers = answer["evaluations"].as_array().expect("a list").clone();
    assert_eq!((status, answers.len()), (StatusCode::OK, 4), "{answer:#}");
    assert!(answers[0]["context"]["reasons"].to_string().contains("approval_required"), "{answer:#}");
    assert!(answers[1]["context"]["reasons"].to_string().contains("fast_burn"), "{answer:#}");
    assert!(answers.iter().all(|one| one["decision"] == false));
    several["options"] = json!({"evaluations_semantic": "deny_on_first_deny"});
    assert_eq!(gate.post(ORCA, path, &several).await.1["evaluations"].as_array().map(Vec::len), Some(1));
    several["options"] = json!({"evaluations_semantic": "permit_on_first_permit"});
    assert_eq!(gate.post(ORCA, path, &several).await.1["evaluations"].as_array().map(Vec::len), Some(4));
    for wrong in [json!({"evaluations_semantic": "any"}), json!({"evaluations_semantic": 1})] {
        several["options"] = wrong;
        assert_eq!(gate.post(ORCA, path, &several).await.0, StatusCode::BAD_REQUEST);
    }
    // Without a list it is one evaluation.
    assert_eq!(gate.post(ORCA, path, &evaluation()).await.1["decision"], false);
    let mut many = evaluation();
    many["evaluations"] = vec![json!({}); 21].into();
    assert_eq!(gate.post(ORCA, path, &many).await.0, StatusCode::BAD_REQUEST);
    let metadata = gate.send("127.0.0.1:40000", "", Method::GET, "/.well-known/authzen-configuration", "").await.1;
    assert_eq!(metadata["policy_decision_point"], "http://localhost");
    assert_eq!(metadata["access_evaluation_endpoint"], "http://localhost/access/v1/evaluation");
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_lets_through_what_is_allowed_and_begins_it_there() {
    let gate = gate();
    changed(&gate).await;
    let act: Vec<(String, String)> = rollback()
        .as_object()
        .expect("an object")
        .iter()
        .map(|(name, value)| {
            (format!("x-slowburn-{}", name.replace('_', "-")), value.as_str().expect("text").to_owned())
        })
        .collect();
    let mut headers: Vec<(&str, &str)> = act.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let path = "/integrations/ext-authz/apis/apps/v1/deployments/checkout?x=1";
    assert_eq!(ask(&gate, Method::GET, path, &headers, "").await.0, StatusCode::UNAUTHORIZED);
    headers.push(("authorization", "Bearer orca-token"));
    let (status, said, answer) = ask(&gate, Method::PATCH, path, &headers, "").await;
    assert_eq!((status, &answer["decision"]), (StatusCode::FORBIDDEN, &json!("needs_approval")), "{answer:#}");
    assert!(said["x-slowburn-reasons"].to_str().expect("text").contains("approval_required"));
    approve(&gate, answer["approval"]["id"].as_str().expect("a question")).await;
    for (name, value) in
        [("x-slowburn-urgent", "yes"), ("x-slowburn-break-glass", "true"), ("x-slowburn-replicas", "x")]
    {
        let mut odd = headers.clone();
        odd.push((name, value));
        assert_eq!(ask(&gate, Method::GET, path, &odd, "").await.0, StatusCode::FORBIDDEN, "{name}");
    }
    let mut cut = headers.clone();
    cut.push(("x-envoy-auth-partial-body", "true"));
    assert_eq!(ask(&gate, Method::POST, path, &cut, "").await.0, StatusCode::FORBIDDEN);
    let (status, said, answer) = ask(&gate, Method::GET, path, &headers, "").await;
    assert_eq!((status, &answer["decision"]), (StatusCode::OK, &json!("allow")), "{answer:#}");
    let permit = said["x-slowburn-permit"].to_str().expect("text").to_owned();
    assert_eq!(gate.get(&format!("/v1/permits/{permit}")).await.1["state"], "redeemed");
    assert_eq!(ask(&gate, Method::GET, path, &headers, "").await.0, StatusCode::FORBIDDEN, "once");
    gate.log.close();
    assert_eq!(ask(&gate, Method::PUT, path, &headers, "").await.0, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permit_that_is_brought_to_envoy_is_redeemed_there_once() {
    let gate = gate();
    granted(&gate).await;
    let told = gate.post(ORCA, "/v1/decisions", &rollback()).await.1;
    let permit = told["permit"]["id"].as_str().expect("it was approved");
    let headers = [("authorization", "Bearer orca-token"), ("x-slowburn-permit", permit)];
    let other = [headers[0], headers[1], ("x-slowburn-service", "search")];
    let path = "/integrations/ext-authz/";
    assert_eq!(ask(&gate, Method::GET, path, &other, "").await.0, StatusCode::FORBIDDEN);
    let stolen = [("authorization", "Bearer ada-token"), headers[1]];
    assert_eq!(ask(&gate, Method::GET, path, &stolen, "").await.0, StatusCode::FORBIDDEN);
    let all = futures_util::future::join_all((0..20).map(|_| ask(&gate, Method::GET, path, &headers, ""))).await;
    assert_eq!(all.iter().filter(|(status, ..)| *status == StatusCode::OK).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_reads_one_word_and_its_own_act_does_not_stop_it() {
    let gate = gate();
    let path = "/integrations/argo-rollouts";
    let deploy: Value = DEPLOY.iter().copied().map(|(name, value)| (name.to_owned(), Value::from(value))).collect();
    let (status, refused) = gate.post(ORCA, path, &deploy).await;
    assert_eq!((status, &refused["argo"]), (StatusCode::OK, &json!("deny")), "{refused:#}");
    let nobody = json!({"service": "nobody", "action": "deploy", "resource": "deployment/x", "to_version": "v2"});
    assert_eq!(gate.post(ORCA, path, &nobody).await.1["argo"], "deny");
    changed(&gate).await;
    assert_eq!(gate.post(ORCA, path, &rollback()).await.1["argo"], "needs_approval");
    granted(&gate).await;
    let (_, told) = gate.post(ORCA, path, &rollback()).await;
    assert_eq!(told["argo"], "allow", "{told:#}");
    // The act is under way: the next measurement asks whether it may go on, and its own permit does not say no.
    let (_, again) = gate.post(ORCA, path, &rollback()).await;
    assert!(again["permit"].is_string() && again["argo"] == "allow", "{again:#}");
    let other = gate.post(ADA, path, &rollback()).await.1;
    assert!(other["argo"] != "allow" && other["reasons"].to_string().contains("change_in_flight"), "{other:#}");
    let halt = json!({"scope": {"service": "checkout"}, "reason": "x", "for_s": 60});
    assert_eq!(gate.post(ADA, "/v1/halts", &halt).await.0, StatusCode::OK);
    let (_, halted) = gate.post(ORCA, path, &rollback()).await;
    assert!(halted["argo"] == "deny" && halted["reasons"].to_string().contains("halted"), "{halted:#}");
    assert_eq!(gate.post(ADA, path, &json!({"service": "checkout"})).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(gate.post("", path, &deploy).await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread")]
async fn flagger_waits_unless_it_is_told_yes_and_never_rolls_back_unasked() {
    let gate = gate();
    let webhook = |more: Value| {
        let mut body = json!({
            "name": "checkout", "namespace": "shop", "phase": "Progressing", "checksum": "85d557f47b", "extra": 1,
            "metadata": {"token": "ada-token", "from_version": "v42"},
        });
        for (name, value) in more.as_object().expect("an object") {
            body["metadata"][name] = value.clone();
        }
        body
    };
    let hook = |name: &str| format!("/integrations/flagger/{name}");
    for name in ["confirm-rollout", "rollout", "rollback", "event", "nothing"] {
        let (status, answer) = gate.post("", &hook(name), &webhook(json!({"token": "nobody"}))).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{name}: {answer}");
    }
    let (status, answer) = gate.post("", &hook("confirm-rollout"), &webhook(json!({}))).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "it burns: {answer:#}");
    assert!(answer["reasons"].to_string().contains("fast_burn") && answer["audit"]["seq"].is_u64(), "{answer:#}");
    for name in ["rollout", "confirm-traffic-increase", "confirm-promotion", "rollback"] {
        let (status, answer) = gate.post("", &hook(name), &webhook(json!({}))).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{name}: {answer}");
    }
    assert_eq!(gate.post("", "/gate/check", &webhook(json!({}))).await.0, StatusCode::FORBIDDEN);
    let back = webhook(json!({"token": "orca-token", "to_version": "v41"}));
    changed(&gate).await;
    assert_eq!(gate.post("", &hook("rollback"), &back).await.0, StatusCode::FORBIDDEN);
    assert_eq!(gate.get("/v1/approvals").await.1["approvals"], json!([]), "nobody is asked by a look");
    granted(&gate).await;
    let (status, answer) = gate.post("", &hook("rollback"), &back).await;
    assert_eq!((status, &answer["decision"]), (StatusCode::OK, &json!("allow")), "{answer:#}");
    for name in ["post-rollout", "event"] {
        assert_eq!(gate.post("", &hook(name), &webhook(json!({}))).await.0, StatusCode::OK);
    }
    assert_eq!(gate.post("", &hook("nothing"), &webhook(json!({}))).await.0, StatusCode::NOT_FOUND);
    let foreign = webhook(json!({"service": "nobody"}));
    assert_eq!(gate.post("", &hook("confirm-rollout"), &foreign).await.0, StatusCode::FORBIDDEN);
    // The header decides where there is one.
    assert_eq!(gate.post("nobody", &hook("event"), &webhook(json!({}))).await.0, StatusCode::UNAUTHORIZED);
    gate.log.close();
    let other = webhook(json!({"to_version": "v44"}));
    assert_eq!(gate.post("", &hook("pre-rollout"), &other).await.0, StatusCode::SERVICE_UNAVAILABLE);
}

/// Whoever looks for a hole with explanations is held at whichever door it does so.
#[tokio::test(flavor = "multi_thread")]
async fn explanations_cost_the_same_at_every_door() {
    let canary = json!({
        "name": "checkout", "namespace": "shop",
        "metadata": {"token": "orca-token", "from_version": "v42", "to_version": "v41"},
    });
    let mut task = evaluation();
    task["denial"] = json!({"evaluation_id": "dec_1"});
    for (path, body) in [
        ("/integrations/flagger/rollback", &canary),
        ("/access/v1/requests", &task),
        ("/v1/decisions?explain", &rollback()),
    ] {
        let gate = gate();
        let mut asked = 0;
        while gate.post(ORCA, path, body).await.0 != StatusCode::TOO_MANY_REQUESTS {
            asked += 1;
            assert!(asked < 100, "{path} is not paced");
        }
        assert_eq!(
            gate.post(ORCA, "/v1/decisions?explain", &rollback()).await.0,
            StatusCode::TOO_MANY_REQUESTS,
            "{path}"
        );
        assert_eq!(gate.post(ORCA, "/v1/decisions", &rollback()).await.0, StatusCode::OK, "{path}: it may ask");
        assert_eq!(gate.post(ADA, "/v1/decisions?explain", &rollback()).await.0, StatusCode::OK, "{path}: people may");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strict_status_is_a_200_for_a_yes_alone() {
    let gate = gate();
    changed(&gate).await;
    let deploy: Value = DEPLOY.iter().copied().map(|(name, value)| (name.to_owned(), Value::from(value))).collect();
    for (token, path, body, expected) in [
        (ORCA, "/v1/decisions?status=strict", &deploy, StatusCode::FORBIDDEN),
        (ORCA, "/v1/decisions?status=strict", &rollback(), StatusCode::PRECONDITION_REQUIRED),
        (ADA, "/v1/decisions?status=lax", &deploy, StatusCode::BAD_REQUEST),
    ] {
        let (status, answer) = gate.post(token, path, body).await;
        assert_eq!(status, expected, "{path}: {answer:#}");
    }
    granted(&gate).await;
    let explained = gate.post(ORCA, "/v1/decisions?explain&status=strict", &rollback()).await;
    assert_eq!((explained.0, &explained.1["argo"]), (StatusCode::FORBIDDEN, &json!("would_allow")));
    assert_eq!(gate.post(ORCA, "/v1/decisions?status=strict", &rollback()).await.0, StatusCode::OK);
    let signal = |query: &'static str| gate.get(query);
    assert_eq!(signal("/v1/signals/checkout").await.0, StatusCode::OK);
    assert_eq!(signal("/v1/signals/checkout?status=strict").await.0, StatusCode::FORBIDDEN);
    assert_eq!(signal("/v1/signals/checkout?status=strict&class=observe").await.0, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(signal("/v1/signals/nobody?status=strict").await.0, StatusCode::NOT_FOUND);
    assert_eq!(signal("/v1/signals/checkout?status=stirct").await.0, StatusCode::BAD_REQUEST);
}

/// The same request at each door: the same word, reasons, and record but for ids and times.
#[tokio::test(flavor = "multi_thread")]
async fn every_door_records_the_same() {
    let mut records: Vec<(String, Value)> = Vec::new();
    for door in ["api", "authzen", "ext_authz", "argo"] {
        let gate = gate();
        changed(&gate).await;
        let auth = ("authorization", "Bearer orca-token");
        let body = rollback();
        let answer = match door {
            "api" => gate.post(ORCA, "/v1/decisions", &body).await.1,
            "authzen" => gate.post(ORCA, "/access/v1/evaluation", &evaluation()).await.1["context"].clone(),
            "argo" => gate.post(ORCA, "/integrations/argo-rollouts", &body).await.1,
            _ => {
                let names = ["service", "action", "resource", "from-version", "to-version", "reason"];
                let texts: Vec<(String, String)> = names
                    .iter()
                    .map(|name| {
                        (format!("x-slowburn-{name}"), body[name.replace('-', "_")].as_str().expect("text").into())
                    })
                    .collect();
                let mut headers: Vec<_> = texts.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
                headers.push(auth);
                ask(&gate, Method::GET, "/integrations/ext-authz/x", &headers, "").await.2
            }
        };
        let seq = answer["audit"]["seq"].as_u64().unwrap_or_else(|| panic!("{door}: {answer:#}"));
        let mut record = gate.get(&format!("/v1/audit/{seq}")).await.1["record"].clone();
        for (pointer, of) in [
            ("", "time"),
            ("", "log"),
            ("/decision", "id"),
            ("/event", "id"),
            ("/event", "at"),
            ("/event", "idempotency_key"),
            ("", "inputs"),
            ("/decision", "checks"),
        ] {
            record.pointer_mut(pointer).and_then(Value::as_object_mut).expect("an object").remove(of);
        }
        records.push((door.to_owned(), record));
    }
    for (door, record) in &records {
        assert_eq!(record, &records[0].1, "{door}");
        assert_eq!(record["decision"]["result"], "needs_approval", "{record:#}");
    }
}
