//! The data directory that these tests are about: the life that it comes from, and what a start makes of it.
//!
//! A start here is the daemon's, without its server and its loop: what is asked of the disk, the log and the gate.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::demo::count::{hash, unit};
use crate::engine::Ledger;
use crate::gate::policy::{Action, AllowedAction, Policy};
use crate::gate::{ActorClass, Approver, Principal, Via};
use crate::gate_service::{Blocked, HaltOrder, Poll, Posted, Rules, VoteOrder};
use crate::store::Store;
use crate::web::auth::tests::everybody;
use crate::web::fixture::{AT, fleet};

mod redeeming;
mod reloading;
mod tampering;

/// The one of the fleet that is well.
const SERVICE: &str = "llm-gateway";
const SLO: &str = "llm-gateway-ttfb-p95";

fn principal(sub: &str, class: ActorClass) -> Principal {
    Principal {
        sub: sub.into(),
        person: String::new(),
        rights: None,
        via: Via::Token,
        class,
        may_act_as: Default::default(),
        teams: Default::default(),
        delegation: Vec::new(),
    }
}

fn ada() -> Principal {
    principal("@ada", ActorClass::Human)
}

fn robot() -> Principal {
    principal("ai-operator/orca-ops", ActorClass::Robot)
}

fn rules() -> Rules {
    let rollback = AllowedAction {
        require_approval: true,
        approvers: vec![Approver::Person("@ada".into())],
        ..AllowedAction::new(Action::Rollback { max_versions_back: 1 })
    };
    let policy = Policy {
        allowed_actions: vec![AllowedAction::new(Action::Deploy), rollback],
        one_change_at_a_time: false,
        ..Policy::new(SERVICE)
    };
    Rules {
        policies: [(SERVICE.to_owned(), Arc::new(policy))].into(),
        services: [SERVICE.to_owned()].into(),
        workloads: BTreeMap::new(),
        current: true,
    }
}

fn change_to(action: &str, version: &str, break_glass: bool) -> Vec<u8> {
    json!({
        "service": SERVICE, "action": action, "resource": "deployment/llm-gateway", "from_version": "v42",
        "to_version": version, "reason": "release 4711", "break_glass": break_glass,
    })
    .to_string()
    .into_bytes()
}

/// A process that has started on a data directory.
struct Started {
    gate: GateService,
    log: Log,
}

/// What is asked of the disk, the log and the gate at a start.
async fn start(data: &Path, clock: &Clock, segment_bytes: u64) -> Started {
    let expected = had_state(Some(data));
    let memory_file = Some(data.join("audit.head"));
    let options = audit::Options { memory_file, expected, segment_bytes, ..audit::Options::new(data.join("audit")) };
    let log = open_log(options, clock.clone()).await.0.expect("a log, if only one that refuses");
    drop(Store::open(data, 30, Default::default()).expect("it opens"));
    let of_gate = (everybody(), None);
    let gate = open_gate(&log, data.join("audit"), &of_gate, clock, false).await;
    let gate = gate.expect("a gate that can be asked, whatever is the matter");
    gate.take_rules(rules(), "start");
    let mut snapshot = fleet();
    snapshot.slos.retain(|entry| entry.slo.id == SLO);
    gate.poll(Poll {
        snapshot: &snapshot,
        ledger: &Ledger::new(30),
        seen: BTreeMap::new(),
        nodes: Default::default(),
        unread: Default::default(),
        clock_skew_s: Some(0.0),
    });
    Started { log: gate.log(), gate }
}

impl Started {
    async fn ask(&self, who: &Principal, body: &[u8]) -> Result<Value, Blocked> {
        self.gate.decide(who, body).await.map(|answer| serde_json::to_value(&answer).expect("JSON"))
    }

    fn explain(&self, who: &Principal, body: &[u8]) -> String {
        let answer = self.gate.explain(who, body).expect("it is explained");
        serde_json::to_string(&answer).expect("JSON")
    }

    /// Asks for a permit that has to be given; its id.
    async fn permit(&self, version: &str) -> String {
        let answer = self.ask(&robot(), &change_to("deploy", version, false)).await.expect("an answer");
        answer["permit"]["id"].as_str().unwrap_or_else(|| panic!("{answer:#}")).to_owned()
    }

    /// Whether this permit is good for an act, and what is said of it.
    async fn redeems(&self, permit: &str) -> (bool, String) {
        match self.gate.redeem(&robot(), permit, None).await {
            Ok(answer) => (answer["decision"] == "allow", answer.to_string()),
            Err(blocked) => (false, blocked.to_string()),
        }
    }
}

/// All files below a folder, with what is in them.
#[derive(Clone, PartialEq)]
struct Files(BTreeMap<PathBuf, Vec<u8>>);

impl Files {
    fn of(folder: &Path) -> Self {
        fn walk(at: &Path, folder: &Path, found: &mut BTreeMap<PathBuf, Vec<u8>>) {
            for entry in std::fs::read_dir(at).expect("a folder").map(|entry| entry.expect("an entry").path()) {
                match entry.is_dir() {
                    true => walk(&entry, folder, found),
                    false => {
                        let name = entry.strip_prefix(folder).expect("it is below").to_owned();
                        found.insert(name, std::fs::read(&entry).expect("readable"));
                    }
                }
            }
        }
        let mut found = BTreeMap::new();
        walk(folder, folder, &mut found);
        Files(found)
    }

    fn put(&self, folder: &Path) {
        for (name, bytes) in &self.0 {
            let path = folder.join(name);
            std::fs::create_dir_all(path.parent().expect("it has one")).expect("made");
            std::fs::write(path, bytes).expect("written");
        }
    }

    /// The files of records, oldest first.
    fn segments(&self) -> Vec<&PathBuf> {
        self.0.keys().filter(|name| name.extension().is_some_and(|end| end == "jsonl")).collect()
    }

    /// How many records there are.
    fn records(&self) -> usize {
        self.segments().iter().map(|name| self.0[*name].split(|byte| *byte == b'\n').count() - 1).sum()
    }
}

/// A data directory as a process left it, with what is known of its life.
struct Left {
    clock: Clock,
    segment_bytes: u64,
    files: Files,
    /// What it was like earlier.
    earlier: Vec<Files>,
    /// Permits that were used.
    used: Vec<String>,
    /// One that was not.
    live: String,
    /// Machines may change nothing here until a person lifts it.
    halted: bool,
}

impl Left {
    /// Two processes: the first one ended in order, the second one too or as a kill leaves it.
    async fn by(seed: u64) -> Self {
        let (halted, killed) = (seed.is_multiple_of(2), seed / 2 % 2 == 1);
        // One file of records, or many.
        let segment_bytes = if seed / 4 % 2 == 1 { 6 << 10 } else { 64 << 20 };
        let folder = tempfile::tempdir().expect("a folder");
        let (data, clock) = (folder.path(), Clock::scaled((AT + 21) * 1000, 1.0));
        let now = || Files::of(data);
        let mut earlier = Vec::new();
        let first = start(data, &clock, segment_bytes).await;
        for (hours, from, to) in [(4, "v40", "v41"), (2, "v41", "v42")] {
            let at = jiff::Timestamp::from_second(AT - hours * 3600).ok();
            let posted = Posted {
                service: SERVICE.into(),
                resource: "deployment/llm-gateway".into(),
                at,
                from_version: Some(from.into()),
                version: Some(to.into()),
                generation: None,
                replicas: None,
            };
            first.gate.post_change(&principal("deployer", ActorClass::Pipeline), posted).await.expect("told");
        }
        let mut used = vec![first.permit("v43").await];
        earlier.push(now());
        assert!(first.redeems(&used[0]).await.0);
        earlier.push(now());
        first.log.close();
        earlier.push(now());
        let second = start(data, &clock, segment_bytes).await;
        used.push(second.permit("v44").await);
        earlier.push(now());
        assert!(second.redeems(&used[1]).await.0);
        earlier.push(now());
        let live = second.permit("v45").await;
        let asked = second.ask(&robot(), &change_to("rollback", "v41", false)).await.expect("an answer");
        let (id, digest) = (&asked["approval"]["id"], &asked["action"]["digest"]);
        let order = json!({"verdict": "approve", "action_digest": digest});
        let order: VoteOrder = serde_json::from_value(order).expect("an order");
        earlier.push(now());
        second.gate.vote(&ada(), id.as_str().unwrap_or_else(|| panic!("{asked:#}")), order).await.expect("she may");
        for n in 0..seed % 5 {
            drop(second.ask(&robot(), &change_to("config", &format!("w{n}"), false)).await.expect("an answer"));
        }
        if halted {
            earlier.push(now());
            let order = json!({"scope": {"service": SERVICE}, "reason": "INC-7", "for_s": 3600});
            let order: HaltOrder = serde_json::from_value(order).expect("an order");
            second.gate.halt(&ada(), order).await.expect("she may");
        }
        let files = if killed { Some(now()) } else { None };
        second.log.close();
        let files = files.unwrap_or_else(now);
        Left { clock, segment_bytes, files, earlier, used, live, halted }
    }

    async fn start(&self, data: &Path) -> Started {
        start(data, &self.clock, self.segment_bytes).await
    }
}
