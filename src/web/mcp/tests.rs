//! Both eras of the protocol on the fixture's fleet: what they want of a request, every tool, and what no tool takes.

use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Request};
use axum::http::Method;
use std::net::SocketAddr;
use tower::ServiceExt;

use super::*;
use crate::web::gate::tests::{ADA, Gate as Stand, ORCA, gate, rollback};

async fn send(gate: &Stand, method: Method, headers: &[(&str, &str)], body: &str) -> (StatusCode, HeaderMap, Value) {
    let peer: SocketAddr = "127.0.0.1:40000".parse().expect("an address");
    let mut request = Request::builder().method(method).uri("/mcp").header("host", "localhost");
    request =
        request.header("content-type", "application/json").header("accept", "application/json, text/event-stream");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.extension(ConnectInfo(peer)).body(Body::from(body.to_owned())).expect("a request");
    let (parts, body) = gate.router.clone().oneshot(request).await.expect("routers answer").into_parts();
    let bytes = to_bytes(body, 1 << 20).await.expect("a whole body");
    (parts.status, parts.headers, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
}

const AUTH: (&str, &str) = ("authorization", "Bearer orca-token");

async fn legacy(gate: &Stand, method: &str, params: Value) -> (StatusCode, Value) {
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    let headers = [AUTH, ("mcp-protocol-version", "2025-11-25")];
    let (status, _, answer) = send(gate, Method::POST, &headers, &body.to_string()).await;
    (status, answer)
}

async fn tool(gate: &Stand, name: &str, arguments: Value) -> Value {
    let (status, answer) = legacy(gate, "tools/call", json!({"name": name, "arguments": arguments})).await;
    assert_eq!(status, StatusCode::OK, "{answer:#}");
    answer["result"].clone()
}

fn modern(method: &str, mut params: Value) -> Value {
    params["_meta"] = json!({VERSION_KEY: MODERN, CAPABILITIES_KEY: {}});
    json!({"jsonrpc": "2.0", "id": "a", "method": method, "params": params})
}

#[tokio::test(flavor = "multi_thread")]
async fn older_clients_begin_with_initialize_and_keep_no_session() {
    let gate = gate();
    for (asked, given) in [("2024-11-05", "2024-11-05"), ("2025-11-25", "2025-11-25"), ("2099-01-01", "2025-11-25")] {
        let body = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize",
            "params": {"protocolVersion": asked, "capabilities": {"elicitation": {}}, "clientInfo": {"name": "t", "version": "1"}}});
        let (status, headers, answer) = send(&gate, Method::POST, &[AUTH], &body.to_string()).await;
        assert_eq!((status, &answer["result"]["protocolVersion"]), (StatusCode::OK, &json!(given)), "{answer:#}");
        assert!(!headers.contains_key("mcp-session-id") && answer["result"]["resultType"].is_null());
    }
    let told = json!({"jsonrpc": "2.0", "method": "notifications/initialized"}).to_string();
    assert_eq!(send(&gate, Method::POST, &[AUTH], &told).await.0, StatusCode::ACCEPTED);
    assert_eq!(legacy(&gate, "ping", json!({})).await.1["result"], json!({}));
    let (status, answer) = legacy(&gate, "resources/list", json!({})).await;
    assert_eq!((status, &answer["error"]["code"]), (StatusCode::OK, &json!(NO_METHOD)));
    for method in [Method::GET, Method::DELETE] {
        assert_eq!(send(&gate, method, &[AUTH], "").await.0, StatusCode::METHOD_NOT_ALLOWED);
    }
    let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}).to_string();
    let odd = [AUTH, ("mcp-protocol-version", "1999-01-01")];
    assert_eq!(send(&gate, Method::POST, &odd, &ping).await.2["error"]["code"], NO_VERSION);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stateless_revision_says_everything_in_each_request() {
    let gate = gate();
    let headers = |method: &'static str, name: Option<&'static str>| {
        let mut headers = vec![AUTH, ("mcp-protocol-version", MODERN), ("mcp-method", method)];
        headers.extend(name.map(|name| ("mcp-name", name)));
        headers
    };
    let post = |headers: Vec<(&'static str, &'static str)>, body: Value| {
        let gate = &gate;
        async move { send(gate, Method::POST, &headers, &body.to_string()).await }
    };
    let (status, _, answer) = post(headers("server/discover", None), modern("server/discover", json!({}))).await;
    let result = &answer["result"];
    assert_eq!(
        (status, &result["supportedVersions"], &result["resultType"]),
        (StatusCode::OK, &json!([MODERN]), &json!("complete"))
    );
    let (_, _, list) = post(headers("tools/list", None), modern("tools/list", json!({}))).await;
    let names: Vec<&str> =
        list["result"]["tools"].as_array().expect("tools").iter().filter_map(|tool| tool["name"].as_str()).collect();
    assert_eq!(names, ["explain", "request_action", "report_outcome", "service_state", "search_audit"]);
    assert!(list["result"]["ttlMs"].is_u64());
    let call = modern("tools/call", json!({"name": "explain", "arguments": rollback()}));
    let (status, _, answer) = post(headers("tools/call", Some("explain")), call.clone()).await;
    assert_eq!((status, &answer["result"]["isError"]), (StatusCode::OK, &json!(false)), "{answer:#}");
    assert_eq!(answer["result"]["structuredContent"]["decision"], "needs_approval");
    for (headers, body, code) in [
        (headers("tools/call", Some("request_action")), call.clone(), HEADERS_DIFFER),
        (headers("tools/call", None), call.clone(), HEADERS_DIFFER),
        (headers("tools/list", Some("explain")), call.clone(), HEADERS_DIFFER),
        (vec![AUTH], call.clone(), HEADERS_DIFFER),
        (headers("tools/list", None), json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}), INVALID_PARAMS),
        (
            headers("tools/list", None),
            json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": {VERSION_KEY: MODERN}}}),
            INVALID_PARAMS,
        ),
        (
            vec![AUTH],
            json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": {VERSION_KEY: "2031-01-01"}}}),
            NO_VERSION,
        ),
    ] {
        let (status, _, answer) = post(headers, body).await;
        assert_eq!((status, &answer["error"]["code"]), (StatusCode::BAD_REQUEST, &json!(code)), "{answer:#}");
    }
    // What a gateway reads of a call is what the call is.
    let with = |more: &[(&'static str, &'static str)]| {
        let mut all = headers("tools/call", Some("explain"));
        all.extend_from_slice(more);
        all
    };
    for more in [&[("mcp-param-service", "checkout")][..], &[("mcp-param-service", "=?base64?Y2hlY2tvdXQ=?=")]] {
        assert_eq!(post(with(more), call.clone()).await.0, StatusCode::OK, "{more:?}");
    }
    for more in [
        &[("mcp-param-service", "search")][..],
        &[("mcp-param-service", "")],
        &[("mcp-param-service", "=?base64?Y2hl!?=")],
        &[("mcp-param-service", "checkout"), ("mcp-param-service", "search")],
        &[("mcp-name", "request_action")],
        &[("mcp-method", "tools/list")],
        &[("mcp-protocol-version", MODERN)],
    ] {
        let (status, _, answer) = post(with(more), call.clone()).await;
        assert_eq!((status, &answer["error"]["code"]), (StatusCode::BAD_REQUEST, &json!(HEADERS_DIFFER)), "{more:?}");
    }
    let (status, _, answer) = post(headers("initialize", None), modern("initialize", json!({}))).await;
    assert_eq!((status, &answer["error"]["code"]), (StatusCode::NOT_FOUND, &json!(NO_METHOD)));
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_and_other_sites_get_no_further() {
    let gate = gate();
    let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).to_string();
    let (status, headers, _) = send(&gate, Method::POST, &[], &list).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    let says = headers["www-authenticate"].to_str().expect("text");
    assert!(says.contains("resource_metadata=\"http://localhost/.well-known/oauth-protected-resource\""), "{says}");
    let (_, metadata) =
        gate.send("127.0.0.1:40000", "", Method::GET, "/.well-known/oauth-protected-resource", "").await;
    assert_eq!(metadata["resource"], "http://localhost/mcp");
    let foreign = [AUTH, ("origin", "https://evil.example")];
    assert_eq!(send(&gate, Method::POST, &foreign, &list).await.0, StatusCode::FORBIDDEN);
    for (body, code) in [
        ("{", PARSE),
        ("[]", INVALID_REQUEST),
        ("{}", INVALID_REQUEST),
        ("7", INVALID_REQUEST),
        (r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#, INVALID_REQUEST),
        (r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#, INVALID_REQUEST),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":[]}"#, INVALID_PARAMS),
    ] {
        let (status, _, answer) = send(&gate, Method::POST, &[AUTH], body).await;
        assert_eq!((status, &answer["error"]["code"]), (StatusCode::BAD_REQUEST, &json!(code)), "{body}: {answer}");
    }
    let answer =
        json!({"jsonrpc": "2.0", "id": 1, "result": {"action": "accept", "content": {"approved": true}}}).to_string();
    assert_eq!(
        send(&gate, Method::POST, &[AUTH], &answer).await.0,
        StatusCode::ACCEPTED,
        "an answer that nobody waits for"
    );
    assert_eq!(gate.get("/v1/approvals").await.1["approvals"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_asks_acts_and_reports_by_tools_alone() {
    let gate = gate();
    let change =
        json!({"service": "checkout", "resource": "deployment/checkout", "from_version": "v41", "version": "v42"});
    assert_eq!(gate.post(ADA, "/v1/changes", &change).await.0, StatusCode::OK);
    let state = tool(&gate, "service_state", json!({"service": "checkout"})).await["structuredContent"].clone();
    assert!(state["service"].is_object() && state["signals"]["signals"]["risk"]["value"] == 0, "{state:#}");
    assert!(state["allowed"].to_string().contains("rollback"), "{state:#}");
    let explained = tool(&gate, "explain", rollback()).await["structuredContent"].clone();
    assert!(explained["audit"].is_null() && explained["decision"] == "needs_approval", "{explained:#}");
    let asked = tool(&gate, "request_action", rollback()).await;
    assert_eq!((&asked["isError"], &asked["structuredContent"]["decision"]), (&json!(false), &json!("needs_approval")));
    let text = asked["content"][0]["text"].as_str().expect("text");
    assert!(text.contains("approval_required") && text.contains("People are asked"), "{text}");
    let path = format!("/v1/approvals/{}", asked["structuredContent"]["approval"]["id"].as_str().expect("a question"));
    let card = gate.get(&path).await.1;
    let yes = json!({"verdict": "approve", "action_digest": card["action"]["digest"]});
    assert_eq!(gate.post(ORCA, &path, &yes).await.0, StatusCode::FORBIDDEN, "an agent approves nothing");
    assert_eq!(gate.post(ADA, &path, &yes).await.0, StatusCode::OK);
    let mut begin = rollback();
    begin["begin"] = true.into();
    let begun = tool(&gate, "request_action", begin.clone()).await["structuredContent"].clone();
    assert_eq!((&begun["decision"], &begun["permit"]["state"]), (&json!("allow"), &json!("redeemed")), "{begun:#}");
    let permit = begun["permit"]["id"].clone();
    let again = tool(&gate, "request_action", begin).await["structuredContent"].clone();
    assert!(again["decision"] != "allow", "one yes, one act: {again:#}");
    let done = tool(&gate, "report_outcome", json!({"permit": permit, "applied": true, "note": "done"})).await;
    assert_eq!((&done["isError"], &done["structuredContent"]["applied"]), (&json!(false), &json!(true)), "{done:#}");
    let found =
        tool(&gate, "search_audit", json!({"service": "checkout", "limit": 3})).await["structuredContent"].clone();
    assert_eq!(found["records"].as_array().map(Vec::len), Some(3), "{found:#}");
    // A deny is a result with reasons.
    let deploy =
        json!({"service": "checkout", "action": "deploy", "resource": "deployment/checkout", "to_version": "v43"});
    let denied = tool(&gate, "request_action", deploy).await;
    assert_eq!((&denied["isError"], &denied["structuredContent"]["decision"]), (&json!(false), &json!("deny")));
    assert!(denied["structuredContent"]["audit"]["seq"].is_u64(), "{denied:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_arguments_are_told_of_and_do_nothing() {
    let gate = gate();
    let mut glass = rollback();
    (glass["break_glass"], glass["reason"]) = (true.into(), "x".into());
    let mut begin = rollback();
    begin["begin"] = "yes".into();
    let mut odd = rollback();
    odd["urgent"] = true.into();
    for (name, arguments) in [
        ("request_action", json!({})),
        ("request_action", odd.clone()),
        ("request_action", begin),
        ("request_action", glass),
        ("explain", odd),
        ("report_outcome", json!({"permit": "p"})),
        ("report_outcome", json!({"permit": "p", "applied": "yes"})),
        ("report_outcome", json!({"permit": "nope", "applied": true})),
        ("report_outcome", json!({"permit": "p", "applied": true, "x": 1})),
        ("service_state", json!({"service": "nobody"})),
        ("service_state", json!({})),
        ("search_audit", json!({"limit": "x"})),
        ("search_audit", json!({"servcie": "checkout"})),
        ("search_audit", json!({"since": "yesterday"})),
    ] {
        let answer = tool(&gate, name, arguments.clone()).await;
        assert_eq!(answer["isError"], true, "{name} {arguments}: {answer:#}");
    }
    let (_, answer) = legacy(&gate, "tools/call", json!({"name": "approve", "arguments": {}})).await;
    assert_eq!(answer["error"]["code"], INVALID_PARAMS);
    let (_, answer) = legacy(&gate, "tools/call", json!({"name": "explain", "arguments": []})).await;
    assert_eq!(answer["error"]["code"], INVALID_PARAMS);
    gate.log.close();
    let answer = tool(&gate, "request_action", rollback()).await;
    assert!(answer["isError"] == true && answer.to_string().contains("the answer is no"), "{answer:#}");
}
