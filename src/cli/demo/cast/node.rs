//! The story of a GPU node: a card fell off the bus, and the operator asks to drain the node. What runs on it is well and
//! has enough pods elsewhere: allowed, once. A second node is refused while the first is not judged; then the ledger says
//! what the drain came to.

use serde_json::{Value, json};

use super::{Cast, OPERATOR};
use crate::demo::fleet::{Fleet, SICK};
use crate::demo::story::Beat;

const INCIDENT: &str = "INC-2025-041";
/// The node that is asked for while the first one is under way.
const NEXT: &str = "k8s-gpu-18";
/// Longest wait until what runs on the node is seen, simulated seconds.
const SEEN_WITHIN_S: i64 = 600;
/// Longest wait for the verdict, simulated seconds.
const JUDGED_WITHIN_S: i64 = 1200;

impl Cast {
    /// From the error of a card to the verdict on the drain. The world as it is then.
    pub(super) async fn drains_a_node(&self) -> Result<Fleet, String> {
        let xid = self.xid_of(SICK).await?;
        let act = format!("{OPERATOR} asks to drain {SICK}: DCGM tells of XID {xid}, a GPU has fallen off the bus");
        self.tell(Beat::Act, act);
        let request = drain(SICK, xid);
        let until = self.stage.clock.now() + SEEN_WITHIN_S;
        while self.stage.clock.now() < until {
            let answer = self.post(OPERATOR, "/v1/decisions?explain", &request).await?;
            if answer["decision"] == "allow" {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        let answer = self.ask(OPERATOR, &request).await?;
        let found = messages(&answer, &["node.left", "slo.headroom"]);
        self.expect_saying("allow", &answer, &found)?;
        let permit = answer["permit"]["id"].as_str().ok_or("an allow without a permit")?;
        let path = format!("/v1/permits/{permit}/redeem");
        self.expect("allow", &self.post(OPERATOR, &path, &json!({"request": request})).await?)?;

        // The drain itself, and what the world makes of it.
        let at = self.stage.clock.now();
        let fleet = self.fleet.drained(at);
        self.world.send_replace(std::sync::Arc::new(fleet.scenario.clone()));
        self.post(OPERATOR, &format!("/v1/permits/{permit}/outcome"), &json!({"applied": true})).await?;
        self.tell(Beat::Act, format!("{OPERATOR} redeemed its permit and drained {SICK}; it is judged in 2 minutes"));

        self.until(at + 30).await;
        self.tell(Beat::Act, format!("{OPERATOR} presents the same permit once more"));
        self.expect("deny", &self.post(OPERATOR, &path, &json!({"request": request})).await?)?;
        self.tell(Beat::Act, format!("{OPERATOR} asks to drain {NEXT} as well, to be on the safe side"));
        self.expect("deny", &self.ask(OPERATOR, &drain(NEXT, xid)).await?)?;
        self.judged(INCIDENT, "no_effect", at + JUDGED_WITHIN_S).await?;
        Ok(fleet)
    }

    /// The error that the cards of a node report, as anybody asks Prometheus for it.
    async fn xid_of(&self, node: &str) -> Result<u64, String> {
        let query = format!("DCGM_FI_DEV_XID_ERRORS{{Hostname=\"{node}\"}} > 0");
        let url =
            reqwest::Url::parse_with_params(&format!("{}/api/v1/query", self.stage.prometheus), [("query", &query)]);
        let url = url.map_err(|error| error.to_string())?;
        let answer = self.client.get(url).send().await.map_err(|error| error.to_string())?;
        let answer: Value = answer.json().await.map_err(|error| error.to_string())?;
        let value = answer["data"]["result"][0]["value"][1].as_str().and_then(|value| value.parse().ok());
        value.ok_or_else(|| format!("{node} has no errors"))
    }
}

fn drain(node: &str, xid: u64) -> Value {
    json!({
        "service": "llm-chat", "action": "drain", "resource": format!("node/{node}"),
        "reason": format!("XID {xid}: GPU has fallen off the bus"), "incident_id": INCIDENT,
    })
}

/// What checks of these names found, in the gate's own words.
fn messages(answer: &Value, names: &[&str]) -> String {
    let all = answer["checks"].as_array().into_iter().flatten();
    let these = all.filter(|check| check["id"].as_str().is_some_and(|id| names.contains(&id)));
    let mut texts: Vec<&str> = these.filter_map(|check| check["message"].as_str()).collect();
    texts.dedup();
    texts.join("; ")
}
