//! Agents as people build them: the official TypeScript SDK in both of its versions and the official Python SDK in both eras of
//! the protocol, on the MCP server of the real daemon. Each uses every tool and does what an agent should not; all are told the
//! same, and what they did is on record.

use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use crate::gate_stage::{Stage, robot, token};
use crate::newcomer::project;

/// What agents are, each with the number of its service.
const AGENTS: [(&str, &str); 4] =
    [("TypeScript 1", "sdk"), ("TypeScript 2", "client"), ("Python, 2025-11-25", "legacy"), ("Python", "2026-07-28")];

fn command(n: usize, url: &str) -> Command {
    let (is_python, how) = (n >= 2, AGENTS[n].1);
    let fetched = |name: &str| {
        let path = project("target/parts").join(name);
        assert!(path.exists(), "{} is not there: tests/parts fetches it", path.display());
        path
    };
    let own: [String; 2] = [token(&robot(n)), format!("s{n}")];
    let script = |name: &str| -> PathBuf { project("tests/it/harness/agents").join(name) };
    let mut command = Command::new(if is_python { "python3" } else { "node" });
    if is_python {
        command.arg(script("agent.py")).env("PYTHONPATH", fetched("python-mcp"));
    } else {
        command.arg(script("agent.mjs")).arg(fetched("agents"));
    }
    command.arg(format!("{url}/mcp")).args(own).arg(how);
    command
}

/// What an agent was told, by what it did.
fn seen(n: usize, url: &str) -> Value {
    let output = command(n, url).output().expect("it starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {errors}", AGENTS[n].0);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{}: {error}: {errors}", AGENTS[n].0))
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_of_the_official_sdks_are_told_the_same_by_every_tool() {
    let stage = Stage::start(AGENTS.len(), None, 1.0).await;
    let url = stage.url();
    let all = tokio::task::spawn_blocking(move || (0..AGENTS.len()).map(|n| seen(n, &url)).collect::<Vec<_>>());
    for (n, seen) in all.await.expect("no panic").iter().enumerate() {
        let whose = AGENTS[n].0;
        let tools = json!(["explain", "request_action", "report_outcome", "service_state", "search_audit"]);
        assert_eq!(seen["tools"], tools, "{whose}");
        for (what, decision) in
            [("explained", "allow"), ("allowed", "allow"), ("asked", "needs_approval"), ("denied", "deny")]
        {
            // Also a deny is a result, and no fault to be tried again.
            assert_eq!(seen[what]["isError"], false, "{whose} {what}: {seen:#}");
            assert_eq!(seen[what]["said"]["decision"], decision, "{whose} {what}: {seen:#}");
            assert!(seen[what]["said"]["reasons"].as_array().is_some_and(|all| decision == "allow" || !all.is_empty()));
        }
        assert_eq!(seen["allowed"]["said"]["permit"]["state"], "redeemed", "{whose}");
        assert!(seen["explained"]["said"]["audit"].is_null(), "{whose}: an explanation is on no record");
        assert_eq!(seen["reported"]["said"]["applied"], false, "{whose}: {}", seen["reported"]);
        assert!(seen["asked"]["said"]["approval"]["id"].is_string(), "{whose}: {}", seen["asked"]);
        assert_eq!(seen["state"]["isError"], false, "{whose}: {}", seen["state"]);
        let records = seen["records"]["said"]["records"].as_array().expect("a list");
        for decision in ["allow", "needs_approval", "deny"] {
            assert!(
                records.iter().any(|record| record["decision"]["result"] == decision && record["actor"] == robot(n)),
                "{whose}: no record of {decision}: {records:#?}"
            );
        }
        for what in ["lacking", "unknown"] {
            assert_eq!(seen[what]["isError"], true, "{whose} {what}: {}", seen[what]);
        }
        // What it called wrongly is named to it.
        assert!(seen["unknown"]["text"].as_str().is_some_and(|text| text.contains("approved")), "{whose}: {seen:#}");
        assert!(seen["strange"]["fault"].as_str().is_some_and(|text| text.contains("approve")), "{whose}: {seen:#}");
        for what in ["stranger", "nobody", "elsewhere"] {
            let fault = seen[what].as_str().expect("a text");
            assert_ne!(fault, "connected", "{whose} {what}");
            assert!(!fault.contains("token-of"), "{whose} {what}: {fault}");
        }
    }
}
