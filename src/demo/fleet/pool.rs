//! The GPU nodes that serve `llm-chat`, as the exporters of a cluster tell of them: which pod is where, which of them are
//! ready (kube-state-metrics), and the errors of the cards (DCGM's exporter).
//!
//! Deliberately absent: conditions and taints of nodes, which nothing that reads this fleet asks for.

use super::FleetSite;
use crate::demo::count::Timeline;
use crate::demo::scenario::{Exposure, Gauge, Scenario};

/// Nodes of the pool; the last one is spare.
const NODES: [&str; 4] = ["k8s-gpu-16", "k8s-gpu-17", "k8s-gpu-18", "k8s-gpu-19"];
/// Where each engine of `llm-chat` runs, in the order of the engines.
const HOMES: [&str; 3] = ["k8s-gpu-16", "k8s-gpu-17", "k8s-gpu-18"];
/// The engine on the node with errors.
pub(super) const EVICTED: u64 = 1;
/// The node whose card has errors.
pub const SICK: &str = "k8s-gpu-17";
/// XID 79: the GPU has fallen off the bus.
const FALLEN_OFF_THE_BUS: f64 = 79.0;
/// From the eviction of a pod until the one that takes its place is ready, seconds.
pub(super) const STARTS_S: i64 = 45;

/// `errors_since`: when the card of one node fell off the bus. `drained`: when its pod was evicted, if it was.
pub(super) fn gpu_pool(scenario: &mut Scenario, site: &FleetSite, errors_since: i64, drained: Option<i64>) {
    let always = |value: f64| Gauge::Level { around: Timeline::new(value), swing: 0.0, seed: 0 };
    let exporter = scenario.pod(site.pod("dcgm-exporter", 0));
    for node in NODES {
        let healthy = Timeline::new(0.0);
        let errors = if node == SICK { healthy.during(errors_since, FOREVER, FALLEN_OFF_THE_BUS) } else { healthy };
        let labels = [("Hostname", node), ("gpu", "3"), ("modelName", "NVIDIA H100 80GB HBM3")];
        let gauge = Gauge::Level { around: errors, swing: 0.0, seed: 0 };
        scenario.gauge(exporter, "DCGM_FI_DEV_XID_ERRORS", &labels, gauge);
    }

    let states = scenario.pod(site.pod("kube-state-metrics", 0));
    let at = drained.unwrap_or(FOREVER);
    let stays = (i64::MIN, FOREVER);
    let pods = [
        ("x2x9k", HOMES[0], stays),
        ("m4t7q", HOMES[1], (i64::MIN, at)),
        ("c8v5z", HOMES[2], stays),
        ("j6w3n", NODES[3], (at, FOREVER)),
    ];
    for (suffix, node, (from, to)) in pods.into_iter().filter(|(.., (from, to))| from < to) {
        let name = format!("llm-chat-7d9f8b6c5-{suffix}");
        let whose = [("namespace", "serving"), ("pod", &name)];
        let made_by = [("created_by_kind", "ReplicaSet"), ("created_by_name", "llm-chat-7d9f8b6c5"), ("node", node)];
        let shown = || Exposure::new().within(vec![(from, to)]);
        let info: Vec<_> = whose.into_iter().chain(made_by).collect();
        scenario.shown_gauge(states, "kube_pod_info", &info, always(1.0), shown());
        // A pod that takes another's place is not ready at once.
        let ready = match from {
            i64::MIN => Timeline::new(1.0),
            from => Timeline::new(1.0).during(from, from + STARTS_S, 0.0),
        };
        let labels: Vec<_> = whose.into_iter().chain([("condition", "true")]).collect();
        let ready = Gauge::Level { around: ready, swing: 0.0, seed: 0 };
        scenario.shown_gauge(states, "kube_pod_status_ready", &labels, ready, shown());
    }
    for node in NODES {
        let pod = format!("dcgm-exporter-{}", &node[node.len() - 2..]);
        let made_by = [("created_by_kind", "DaemonSet"), ("created_by_name", "dcgm-exporter"), ("node", node)];
        let labels: Vec<_> = [("namespace", "gpu-operator"), ("pod", &*pod)].into_iter().chain(made_by).collect();
        scenario.gauge(states, "kube_pod_info", &labels, always(1.0));
    }
    let wanted = HOMES.len() as f64;
    let ready = Timeline::new(wanted).during(at, at.saturating_add(STARTS_S), wanted - 1.0);
    let of = [("namespace", "serving"), ("deployment", "llm-chat")];
    let levels = [
        ("kube_deployment_status_replicas_ready", ready),
        ("kube_deployment_spec_replicas", Timeline::new(wanted)),
        ("kube_deployment_metadata_generation", Timeline::new(12.0)),
    ];
    for (name, around) in levels {
        scenario.gauge(states, name, &of, Gauge::Level { around, swing: 0.0, seed: 0 });
    }
}

/// Beyond the end of any story, and not beyond what milliseconds can count.
const FOREVER: i64 = i64::MAX / 10_000;

#[cfg(test)]
mod tests {
    use super::super::{Fleet, fleet};
    use super::*;

    const NOW: i64 = 1_760_000_000;

    /// Values of a metric within the half minute before `at`, by one of its labels.
    fn seen(fleet: &Fleet, metric: &str, label: &str, at: i64) -> Vec<(String, f64)> {
        let all = fleet.scenario.series().iter().enumerate();
        let named = all.filter(|(_, series)| series.labels.get("__name__") == Some(metric));
        let seen = named.filter_map(|(index, series)| {
            let sample = fleet.scenario.newest(index, (at - 30) * 1000, at * 1000)?;
            Some((series.labels.get(label).unwrap_or_default().to_owned(), sample.value))
        });
        seen.collect()
    }

    #[test]
    fn one_card_fell_off_the_bus_before_the_story_begins_and_the_others_are_well() {
        let errors = seen(&fleet(1, NOW, 480), "DCGM_FI_DEV_XID_ERRORS", "Hostname", NOW);
        let sick: Vec<_> = errors.iter().filter(|(_, xid)| *xid != 0.0).collect();
        assert_eq!((errors.len(), sick), (4, vec![&(SICK.to_owned(), 79.0)]));
        let day_before = seen(&fleet(1, NOW, 480), "DCGM_FI_DEV_XID_ERRORS", "Hostname", NOW - 86_400);
        assert!(day_before.iter().all(|(_, xid)| *xid == 0.0), "{day_before:?}");
    }

    #[test]
    fn a_drain_moves_the_pod_of_the_node_and_changes_nothing_that_was() {
        let before = fleet(1, NOW, 480);
        let at = NOW + 100;
        let after = before.drained(at);
        let nodes = |fleet: &Fleet, at| {
            let all = seen(fleet, "kube_pod_info", "node", at).into_iter().map(|(node, _)| node);
            let mut nodes: Vec<String> = all.collect();
            nodes.sort();
            // Each node has the pod of its daemon set.
            NODES
                .iter()
                .for_each(|node| drop(nodes.remove(nodes.iter().position(|one| one == node).expect("its own"))));
            nodes
        };
        for when in [NOW - 3600, NOW, at] {
            assert_eq!(nodes(&before, when), HOMES, "{when}");
            assert_eq!(nodes(&after, when), HOMES, "{when}");
        }
        assert_eq!(nodes(&after, at + 60), ["k8s-gpu-16", "k8s-gpu-18", "k8s-gpu-19"]);
        let ready = |at| {
            let of = seen(&after, "kube_deployment_status_replicas_ready", "deployment", at);
            let pods = seen(&after, "kube_pod_status_ready", "pod", at).iter().map(|(_, ready)| ready).sum::<f64>();
            (of[0].1, pods)
        };
        assert_eq!((ready(at), ready(at + 40), ready(at + STARTS_S + 30)), ((3.0, 3.0), (2.0, 2.0), (3.0, 3.0)));
        let truth = |fleet: &Fleet| fleet.scenario.truth("llm-chat-availability-llama-3.3-70b-batch", NOW - 3600, at);
        assert_eq!(truth(&before), truth(&after));
    }
}
