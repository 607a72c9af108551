//! A fleet in parts (`--select`), and statuses that somebody else outruns.

use super::*;

/// A process of its own for a part of the fleet.
struct PartOf {
    process: Process,
    port: u16,
}

impl PartOf {
    fn start(fleet: &Fleet, select: &[&str]) -> Self {
        let port = free_port();
        let settings = fleet.settings.replace(&format!("127.0.0.1:{}", fleet.port), &format!("127.0.0.1:{port}"));
        let settings = settings.replace("data_dir: data", &format!("data_dir: data-{port}"));
        let path = fleet.dir.path().join(format!("part-{port}.yaml"));
        std::fs::write(&path, settings).expect("written");
        let now = (fleet.clock.now_ms() as f64 / 1000.0).to_string();
        let config = path.display().to_string();
        let mut words = vec!["run", "--config", &config, "--clock-start", &now, "--clock-speed", "1"];
        words.extend(select.iter().flat_map(|term| ["--select", term]));
        let log = fleet.dir.path().join(format!("log-{port}"));
        PartOf { process: Process::start(Path::new(env!("CARGO_BIN_EXE_slowburn")), words, &log), port }
    }

    async fn has(&self, ids: &[&str]) {
        eventually(&format!("{ids:?} are in force"), LIMIT, || async {
            let answer = http().get(format!("http://127.0.0.1:{}/v1/slos", self.port)).send().await.ok()?;
            let slos: Value = answer.json().await.ok()?;
            let own: Vec<_> = slos.as_array()?.iter().filter_map(|slo| slo["id"].as_str()).collect();
            (own == ids).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_part_of_a_fleet_reads_and_tells_of_its_own_objects() {
    let objects = || [level("shop", "a", 99.0), level("bank", "b", 99.0), level("ship", "f", 99.0)];
    let mut fleet = Fleet::start(objects(), "", &[]).await;
    fleet.are_in_force(&["a-availability", "b-availability", "f-availability"]).await;
    for (namespace, name) in [("shop", "a"), ("bank", "b"), ("ship", "f")] {
        fleet.condition("servicelevels", (namespace, name), 1).await;
    }
    // It outgrows one process: two namespaces for one, a label for the other. Only the second part of the three changes.
    fleet.process.kill();
    let first = PartOf::start(&fleet, &["metadata.namespace=shop", "metadata.namespace=ship"]);
    first.has(&["a-availability", "f-availability"]).await;
    let observed = |namespace: &str, name: &str| {
        let kept = fleet.api.kept();
        kept.objects.get("servicelevels", namespace, name).expect("it is there")["status"]["observedGeneration"].clone()
    };
    for (object, objective) in [(("shop", "a"), 98.0), (("bank", "b"), 97.0)] {
        fleet.api.kept().objects.apply(level(object.0, object.1, objective));
    }
    fleet.condition("servicelevels", ("shop", "a"), 2).await;
    assert_eq!(observed("bank", "b"), 1, "nobody who reads it was started yet");
    let second = PartOf::start(&fleet, &["team=bank"]);
    second.has(&["b-availability"]).await;
    fleet.condition("servicelevels", ("bank", "b"), 2).await;
    // What leaves a part by its label leaves it there, and no other part takes it.
    let mut moved = level("bank", "b", 97.0);
    moved["metadata"]["labels"]["team"] = "other".into();
    fleet.api.kept().objects.apply(moved);
    second.has(&[]).await;
    first.has(&["a-availability", "f-availability"]).await;
    assert_eq!(observed("ship", "f"), 1, "nobody has anything new to say of it");
    drop((first.process, second.process));
}

/// Whoever else writes the objects meanwhile makes a status that names the version of before a conflict: it is judged and told
/// anew, and never written over what is newer.
#[tokio::test(flavor = "multi_thread")]
async fn a_status_that_is_outrun_is_told_of_the_newer_object() {
    let fleet = Fleet::start([level("shop", "a", 99.0)], "", &[]).await;
    fleet.condition("servicelevels", ("shop", "a"), 1).await;
    // A spec that has to be judged, and somebody else who touches the object while it is.
    let mut touched = level("shop", "a", 90.0);
    touched["metadata"]["annotations"] = json!({"n": "199"});
    fleet.api.kept().objects.outruns = Some(touched);
    fleet.api.kept().objects.apply(level("shop", "a", 90.0));
    eventually("a write is outrun", LIMIT, || async { (fleet.api.kept().objects.conflicts > 0).then_some(()) }).await;
    let kept = |fleet: &Fleet| fleet.api.kept().objects.get("servicelevels", "shop", "a").cloned().expect("there");
    let generation = kept(&fleet)["metadata"]["generation"].as_i64().expect("a number");
    let status = fleet.condition("servicelevels", ("shop", "a"), generation).await;
    assert_eq!(loaded(&status).1, "InForce");
    println!("{} conflicts, generation {generation}", fleet.api.kept().objects.conflicts);
    assert_eq!(kept(&fleet)["metadata"]["annotations"]["n"], "199", "what others wrote is as they wrote it");
}
