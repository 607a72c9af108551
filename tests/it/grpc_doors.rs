//! The doors over gRPC, asked by Google's own client with Envoy's own messages: what is allowed begins, nothing else is let
//! through, and what a proxy's client can bring about is a no and never a fault, at which a proxy may fail open.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use slowburn::clock::Clock;

use crate::admission::Authority;
use crate::decider::{Twin, leader_of};
use crate::gate_stage::{Stage, T0, request, robot, token};
use crate::harness::parts::{eventually, http};
use crate::newcomer::project;

const LIMIT: Duration = Duration::from_secs(60);

/// Makes these calls, one after the other: code, details and message of each.
pub fn call(target: &str, authority: Option<&std::path::Path>, calls: &Value) -> Vec<Value> {
    let parts = project("target/parts/python-grpc");
    assert!(parts.exists(), "{} is not there: tests/parts fetches it", parts.display());
    let mut command = Command::new("python3");
    command.arg(project("tests/it/harness/grpc/client.py")).arg(target).args(authority).env("PYTHONPATH", parts);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("python3 starts");
    child.stdin.take().expect("it is piped").write_all(calls.to_string().as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {errors}"))
}

/// The same beside what else the test does.
pub async fn called(target: &str, calls: Value) -> Vec<Value> {
    let target = target.trim_start_matches("http://").to_owned();
    tokio::task::spawn_blocking(move || call(&target, None, &calls)).await.expect("no panic")
}

/// Headers of a client of Envoy who wants this done.
pub fn headers_of(act: &Value) -> Value {
    let members = act.as_object().expect("an object").iter();
    let header = |(name, value): (&String, &Value)| {
        (
            format!("x-slowburn-{}", name.replace('_', "-")),
            json!(value.as_str().map_or(value.to_string(), str::to_owned)),
        )
    };
    Value::Object(members.map(header).collect())
}

/// Envoy's question whether its client, who is `who`, may go on.
pub fn check(who: &str, mut headers: Value) -> Value {
    if !who.is_empty() {
        headers["authorization"] = format!("Bearer {}", token(who)).into();
    }
    headers[":authority"] = "shop.example.com".into();
    headers["origin"] = "https://shop.example.com".into();
    let http = json!({
        "id": "7", "method": "PATCH", "path": "/apis/apps/v1/deployments/s0?x=1", "host": "shop.example.com",
        "scheme": "https", "protocol": "HTTP/2", "size": "-1", "headers": headers,
    });
    json!({"rpc": "check", "message": {"attributes": {
        "source": {"address": {"socket_address": {"address": "192.0.2.7", "port_value": 40000}}},
        "request": {"http": http},
    }}})
}

/// agentgateway's question whether this call of a tool may go on.
pub fn tool(who: &str, name: &str, arguments: Value, metadata: Value) -> Value {
    let mut message = json!({
        "service_names": ["cluster"], "method": "tools/call", "mcp_request": {"name": name, "arguments": arguments},
        "metadata_context": metadata, "headers": [{"key": "x-tenant", "value": "a"}],
    });
    if !who.is_empty() {
        let own = json!({"key": "authorization", "value": format!("Bearer {}", token(who))});
        message["headers"].as_array_mut().expect("a list").push(own);
    }
    json!({"rpc": "mcp_request", "message": message})
}

/// The headers that Envoy is told to send on.
fn sent_on(answer: &Value, name: &str) -> Option<String> {
    let headers = answer["message"]["ok_response"]["headers"].as_array()?.iter();
    let found = headers.filter(|one| one["header"]["key"] == name).collect::<Vec<_>>();
    assert!(found.iter().all(|one| one["append_action"] == "OVERWRITE_IF_EXISTS_OR_ADD"), "{answer:#}");
    Some(found.first()?["header"]["value"].as_str()?.to_owned())
}

/// A no that Envoy's client is told with this status.
fn denied(answer: &Value, status: &str) {
    assert_eq!(answer["code"], 0, "a no is an answer, or a proxy that fails open lets through: {answer:#}");
    assert_ne!(answer["message"]["status"]["code"].as_i64().unwrap_or(0), 0, "{answer:#}");
    assert_eq!(answer["message"]["denied_response"]["status"]["code"], status, "{answer:#}");
    assert!(answer["message"]["ok_response"].is_null());
}

async fn permit(stage: &Stage, id: &str) -> Value {
    let answer = http().get(format!("{}/v1/permits/{id}", stage.url())).send().await.expect("an answer");
    answer.json().await.expect("JSON")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn envoy_over_grpc_lets_through_what_is_allowed_and_begins_it_there() {
    let stage = Stage::start(2, None, 1.0).await;
    let (deploy, rollback, restart) = (
        headers_of(&request("deploy", 0, None)),
        headers_of(&request("rollback", 0, None)),
        headers_of(&request("restart", 0, None)),
    );
    let own = robot(0);
    let mut pinned = check(&own, json!({"x-slowburn-service": "s1", "x-slowburn-action": "restart"}));
    pinned["message"]["attributes"]["context_extensions"] = headers_of(&request("deploy", 1, None));
    let mut of_proxy = check("", deploy.clone());
    of_proxy["metadata"] = json!({"authorization": format!("Bearer {}", token(&own))});
    let mut both = check("nobody", headers_of(&request("deploy", 1, None)));
    both["metadata"] = of_proxy["metadata"].clone();
    both["message"]["attributes"]["request"]["http"]["headers"]["x-slowburn-to-version"] = "v44".into();
    let answers = called(
        &stage.url(),
        json!([
            check(&own, deploy.clone()),
            check(&own, deploy.clone()),
            check(&own, rollback.clone()),
            check(&own, restart),
            check("", deploy.clone()),
            check("nobody", deploy.clone()),
            pinned,
            both,
            of_proxy,
        ]),
    )
    .await;
    let first = &answers[0];
    assert_eq!((&first["code"], sent_on(first, "x-slowburn-decision")), (&json!(0), Some("allow".into())), "{first:#}");
    let id = sent_on(first, "x-slowburn-permit").expect("its permit");
    assert_eq!(permit(&stage, &id).await["state"], "redeemed");
    // The same act later is another one, with a permit of its own.
    assert_ne!(sent_on(&answers[1], "x-slowburn-permit"), Some(id));
    denied(&answers[2], "Forbidden");
    let body: Value =
        serde_json::from_str(answers[2]["message"]["denied_response"]["body"].as_str().expect("text")).expect("JSON");
    assert_eq!(body["decision"], "needs_approval", "{body:#}");
    denied(&answers[3], "Forbidden");
    denied(&answers[4], "Unauthorized");
    let named = answers[4]["message"]["denied_response"]["headers"].to_string();
    assert!(named.contains("www-authenticate"), "{named}");
    denied(&answers[5], "Unauthorized");
    // What the route stands for counts, and not what its client says.
    assert!(sent_on(&answers[6], "x-slowburn-permit").is_some(), "{:#}", answers[6]);
    // What the proxy itself brings counts, and without it what its client does.
    assert!(sent_on(&answers[7], "x-slowburn-permit").is_some(), "{:#}", answers[7]);
    assert!(sent_on(&answers[8], "x-slowburn-permit").is_some(), "{:#}", answers[8]);

    // A permit that is brought is redeemed once, however many bring it.
    let mut asked = request("deploy", 0, None);
    asked["to_version"] = "v45".into();
    let (_, told) = stage.wire().post(&own, "/v1/decisions", &asked).expect("an answer");
    let brought = json!({"x-slowburn-permit": told["permit"]["id"]});
    let mut many = check(&own, brought.clone());
    (many["times"], many["together"]) = (20.into(), true.into());
    let stolen = check(&robot(1), brought);
    let answers = called(&stage.url(), json!([stolen, many])).await;
    denied(&answers[0], "Forbidden");
    assert_eq!(
        answers[1..].iter().filter(|one| sent_on(one, "x-slowburn-permit").is_some()).count(),
        1,
        "{answers:#?}"
    );
    assert!(answers.iter().all(|one| one["code"] == 0));
}

#[test]
fn the_filters_that_the_page_shows_are_of_envoy() {
    let parts = ["python-grpc", "python"].map(|name| project("target/parts").join(name).display().to_string());
    let script = project("tests/it/harness/grpc/filters.py");
    let mut command = Command::new("python3");
    let output = command.arg(script).arg(project("docs/enforcement.md")).env("PYTHONPATH", parts.join(":")).output();
    let output = output.expect("python3 starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let expected = "envoy.filters.http.ext_authz http_service True\nenvoy.filters.http.ext_authz grpc_service True\n";
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agentgateway_is_told_of_every_call_of_a_tool_and_of_nothing_else() {
    let mut stage = Stage::start(2, None, 1.0).await;
    let own = robot(0);
    let (deploy, rollback) = (request("deploy", 0, None), request("rollback", 0, None));
    let without = |name: &str| {
        let mut act = deploy.clone();
        act.as_object_mut().expect("an object").remove(name);
        act
    };
    let with = |name: &str| {
        let mut act = deploy.clone();
        act[name] = true.into();
        act
    };
    let method = |method: &str| {
        json!({"rpc": "mcp_request", "message": {
            "method": method, "headers": [{"key": "Authorization", "value": format!("Bearer {}", token(&own))}],
        }})
    };
    let gateway = |subject: Option<&str>| {
        let subject = subject.map_or(json!({}), |subject| json!({"subject": subject}));
        let mut call = tool("", "deploy", request("deploy", 1, None), subject);
        call["metadata"] = json!({"authorization": format!("Bearer {}", token("kube-apiserver"))});
        call
    };
    let mut garbage = method("tools/call");
    garbage["message"]["mcp_request"] = "e25vdCBKU09O".into();
    let rows = [
        ("begins", tool(&own, "request_action", deploy.clone(), json!({})), "pass"),
        ("the tool's name is the action", tool(&own, "deploy", without("action"), json!({})), "pass"),
        ("pinned", tool(&own, "x", without("service"), json!({"service": "s0", "action": "deploy"})), "pass"),
        ("asks people", tool(&own, "rollback", rollback.clone(), json!({})), "needs_approval"),
        ("not listed", tool(&own, "restart", request("restart", 0, None), json!({})), "deny"),
        ("pinned otherwise", tool(&own, "deploy", deploy.clone(), json!({"service": "s1"})), "refused"),
        ("no such action", tool(&own, "get_pods", json!({"namespace": "shop"}), json!({})), "refused"),
        ("more than is known", tool(&own, "deploy", with("force"), json!({})), "refused"),
        ("an emergency", tool(&own, "deploy", with("break_glass"), json!({})), "refused"),
        ("as another", tool(&own, "deploy", deploy.clone(), json!({"subject": "robot/1"})), "deny"),
        (
            "as itself",
            tool(&own, "deploy", deploy.clone(), json!({"subject": "system:serviceaccount:s0:robot"})),
            "pass",
        ),
        ("odd settings", tool(&own, "deploy", deploy.clone(), json!({"tenant": "a"})), "refused"),
        ("half a replica", tool(&own, "scale", json!({}), json!({"replicas": 2.5})), "refused"),
        ("nobody", tool("", "deploy", deploy.clone(), json!({})), "refused"),
        ("a stranger", tool("nobody", "deploy", deploy.clone(), json!({})), "refused"),
        ("a gateway that does not say for whom", gateway(None), "refused"),
        ("a gateway that may not speak for it", gateway(Some("robot/1")), "deny"),
        ("no JSON", garbage, "refused"),
        ("no parameters", method("tools/call"), "refused"),
        ("reads", method("tools/list"), "pass"),
        ("unknown", method("tasks/cancel"), "refused"),
        (
            "",
            json!({"rpc": "mcp_response", "message": {"method": "tools/call", "mcp_response": {"content": []}}}),
            "pass",
        ),
    ];
    let calls: Vec<Value> = rows.iter().map(|(_, call, _)| call.clone()).collect();
    let answers = called(&stage.url(), calls.into()).await;
    for ((what, _, expected), answer) in rows.iter().zip(&answers) {
        let message = &answer["message"];
        assert_eq!(answer["code"], 0, "{what}: {answer:#}");
        match *expected {
            "pass" => assert!(message["pass"].is_object() && message["error"].is_null(), "{what}: {answer:#}"),
            "refused" => {
                assert!(message["pass"].is_null() && message["error"]["reason"].is_string(), "{what}: {answer:#}");
                assert!(message["error"]["mcp_error"].is_null(), "{what}: nothing was decided: {answer:#}");
            }
            word => {
                let error = &message["error"];
                assert_eq!(
                    (&error["code"], &error["mcp_error"]["decision"]),
                    (&json!("PERMISSION_DENIED"), &json!(word)),
                    "{what}: {answer:#}"
                );
                assert!(error["reason"].as_str().is_some_and(|text| text.starts_with(word)), "{what}: {answer:#}");
                assert!(error["mcp_error"]["decision_id"].is_string(), "{what}: it is on record: {answer:#}");
            }
        }
    }
    let id = answers[0]["message"]["metadata"]["permit"].as_str().expect("its permit");
    assert_eq!(permit(&stage, id).await["state"], "redeemed");
    assert!(answers[3]["message"]["error"]["mcp_error"]["approval"]["id"].is_string(), "{:#}", answers[3]);

    // What is counted is a call by its method, and by nothing that a stranger can choose.
    let text =
        http().get(format!("{}/metrics", stage.url())).send().await.expect("an answer").text().await.expect("text");
    let counted: Vec<&str> = text.lines().filter(|line| line.starts_with("slowburn_grpc_calls_total")).collect();
    let request = format!(
        "slowburn_grpc_calls_total{{method=\"agentgateway.dev.ext_mcp.ExtMcp/CheckRequest\",code=\"0\"}} {}",
        rows.len() - 1
    );
    assert!(counted.contains(&request.as_str()), "{counted:?}");

    // The gate is down: a fault, at which a gateway that fails closed denies.
    stage.process.kill();
    let answers = called(&stage.url(), json!([tool(&own, "deploy", deploy, json!({}))])).await;
    assert_eq!(answers[0]["code"], 14, "{:#}", answers[0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_call_is_a_fault_and_what_a_client_overdoes_is_a_no() {
    let stage = Stage::start(1, None, 1.0).await;
    let (own, deploy) = (robot(0), headers_of(&request("deploy", 0, None)));
    let mut long = check(&own, deploy.clone());
    long["message"]["attributes"]["request"]["http"]["body"] = "x".repeat(200_000).into();
    let mut huge = check(&own, deploy.clone());
    huge["message"]["attributes"]["request"]["http"]["body"] = "x".repeat(3 << 20).into();
    let mut long_tool = tool(&own, "deploy", request("deploy", 0, None), json!({}));
    long_tool["message"]["mcp_request"]["arguments"]["reason"] = "x".repeat(100_000).into();
    let mut compressed = check(&own, deploy.clone());
    compressed["gzip"] = true.into();
    let mut as_page = check(&own, deploy.clone());
    as_page["metadata"] = json!({"origin": "https://evil.example"});
    let mut cut = deploy.clone();
    cut["x-envoy-auth-partial-body"] = "true".into();
    let mut forwarded = deploy.clone();
    forwarded["x-slowburn-forwarded"] = "1".into();
    let mut odd = deploy.clone();
    odd["x-slowburn-urgent"] = "yes".into();
    let mut control = deploy.clone();
    control["x-slowburn-reason"] = "a\r\nx-slowburn-permit: prm_x".into();
    // A value of a map that is no text: the message of another client would not be readable as it stands in the protocol.
    let no_text = "0a1d221b12191a170a11782d736c6f776275726e2d726561736f6e1202fffe";
    let answers = called(
        &stage.url(),
        json!([
            long, huge, long_tool, check(&own, cut), check(&own, odd), check(&own, control), as_page,
            {"rpc": "check", "raw": no_text},
            {"rpc": "check", "raw": ""},
            compressed,
            {"rpc": "check", "raw": "0affffffff0f"},
            {"rpc": "mcp_request", "raw": "ff"},
            {"rpc": "/envoy.service.auth.v3.Authorization/Uncheck"},
            {"rpc": "/v1/decisions"},
            check(&own, forwarded),
        ]),
    )
    .await;
    denied(&answers[0], "PayloadTooLarge");
    denied(&answers[1], "PayloadTooLarge");
    assert_eq!(answers[2]["message"]["error"]["code"], "INVALID", "{:#}", answers[2]);
    for answer in &answers[3..7] {
        denied(answer, "Forbidden");
    }
    assert!(answers[6].to_string().contains("another site"), "{:#}", answers[6]);
    // Nobody in both, whatever else is in them.
    for answer in &answers[7..9] {
        assert!(answer["message"]["denied_response"].is_object(), "{answer:#}");
    }
    let codes: Vec<_> = answers[9..14].iter().map(|one| one["code"].as_i64()).collect();
    assert_eq!(codes, [Some(12), Some(3), Some(3), Some(12), Some(12)], "{:#?}", &answers[9..14]);
    // Whether it was sent on already is for processes of ours to say.
    assert!(sent_on(&answers[14], "x-slowburn-permit").is_some(), "{:#}", answers[14]);
    let wrong: Vec<Value> = answers
        .iter()
        .filter(|one| one["details"].as_str().is_some_and(|text| text.contains("token-of")))
        .cloned()
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_tls_grpc_is_spoken_to_those_who_speak_nothing_else() {
    let mut stage = Stage::start(1, None, 1.0).await;
    stage.process.kill();
    let authority = Authority::new();
    let (certificate, key) = authority.sign(&["localhost"]);
    for (name, text) in [("tls.pem", &certificate), ("tls.key", &key), ("ca.pem", &authority.pem)] {
        std::fs::write(stage.path(name), text).expect("writable");
    }
    let settings = std::fs::read_to_string(stage.path("slowburn.yaml")).expect("readable");
    std::fs::write(stage.path("slowburn.yaml"), settings + "tls: {cert_file: tls.pem, key_file: tls.key}\n")
        .expect("writable");
    stage.launch();
    let target = stage.url().replace("http://127.0.0.1", "localhost");
    // A client that speaks both gets HTTP/1.1, which pages and the API are.
    let ready = eventually("it serves", LIMIT, || async {
        let url = format!("https://{target}/readyz");
        let (ca, own) = (stage.path("ca.pem"), url.clone());
        let done = tokio::task::spawn_blocking(move || {
            let words = ["-s", "-o", "/dev/null", "-w", "%{http_version} %{http_code}", "--cacert"];
            Command::new("curl").args(words).arg(ca).arg(own).output().expect("curl is there")
        });
        let said = String::from_utf8(done.await.expect("no panic").stdout).expect("text");
        said.ends_with(" 200").then_some(said)
    })
    .await;
    assert_eq!(ready, "1.1 200");
    let ca = stage.path("ca.pem");
    let calls = json!([check(&robot(0), headers_of(&request("deploy", 0, None))), check("", json!({}))]);
    let answers = tokio::task::spawn_blocking(move || call(&target, Some(&ca), &calls)).await.expect("no panic");
    assert!(sent_on(&answers[0], "x-slowburn-permit").is_some(), "{:#}", answers[0]);
    denied(&answers[1], "Unauthorized");
}

/// Of two daemons that take turns at one gate, whichever is asked, the one that decides says what there is to say.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_to_a_daemon_that_does_not_decide_goes_on_to_the_one_that_does() {
    let mut stage = Stage::start(1, None, 1.0).await;
    stage.process.kill();
    let clock = Clock::scaled((T0 + 60) * 1000, 1.0);
    let twins = [Twin::start(&stage, "a", &clock, ""), Twin::start(&stage, "b", &clock, "")];
    let leader = leader_of(&twins, Instant::now()).await.0;
    let url = format!("http://127.0.0.1:{}", twins[1 - leader].port);
    let (own, act) = (robot(0), request("deploy", 0, None));
    eventually("the other one knows who decides, who is warm", LIMIT, || async {
        let sent =
            http().post(format!("{url}/v1/decisions?explain")).bearer_auth(token(&own)).json(&act).send().await.ok()?;
        let led = sent.headers().contains_key("x-slowburn-leader");
        (led && sent.json::<Value>().await.ok()?["decision"] == "allow").then_some(())
    })
    .await;
    let calls =
        json!([check(&own, headers_of(&act)), tool(&own, "deploy", act, json!({})), check("nobody", json!({}))]);
    let answers = called(&url, calls).await;
    assert_eq!(sent_on(&answers[0], "x-slowburn-decision").as_deref(), Some("allow"), "{:#}", answers[0]);
    assert!(sent_on(&answers[0], "x-slowburn-permit").is_some(), "{:#}", answers[0]);
    assert!(answers[1]["message"]["metadata"]["permit"].is_string(), "{:#}", answers[1]);
    denied(&answers[2], "Unauthorized");
    assert!(answers[2].to_string().contains("www-authenticate"), "{:#}", answers[2]);
}
