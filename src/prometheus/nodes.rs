//! What runs on nodes: their pods, from the series of kube-state-metrics, matched to the workloads that services name.
//!
//! | what | series |
//! |---|---|
//! | pods of a node, and what made them | `kube_pod_info` |
//! | whether a pod is ready | `kube_pod_status_ready{condition="true"}` |
//! | how many pods of a workload are ready anywhere | `kube_deployment_status_replicas_ready`, `kube_statefulset_status_replicas_ready` |
//!
//! Asked only for the nodes that some policy names. A node without a pod that was seen lately is not in the answer: nothing
//! seen is not an empty node. Deliberately absent: node conditions and taints, which the cluster acts on itself.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::{Instant, timeout_at};

use super::client::Client;
use super::fault::Fault;
use super::workloads::{RECENT_S, Wanted, newest};
use crate::query::promql::{expr, request};
use crate::query::samples::RawSeries;

/// A node as its pods show it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NodeSeen {
    /// Time of the oldest of the newest samples of its pods, seconds.
    pub at_s: i64,
    /// How often they are scraped, seconds.
    pub every_s: i64,
    /// By service and workload.
    pub tenants: BTreeMap<(String, String), TenantSeen>,
    /// Pods of no workload that a service names, by namespace; not those of daemon sets and of the node itself.
    pub strangers: BTreeMap<String, u32>,
}

/// Pods of one workload on a node.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TenantSeen {
    /// How many.
    pub pods: u32,
    /// How many of them are ready.
    pub ready: u32,
    /// How many are ready on other nodes; `None` where that is not seen.
    pub ready_elsewhere: Option<u32>,
}

/// Nodes by name.
pub type NodesSeen = BTreeMap<String, NodeSeen>;

/// A pod on a node.
struct NodePod {
    node: String,
    namespace: String,
    name: String,
    /// `deployment/checkout`; `None` where it is of nothing that is known here.
    workload: Option<String>,
    /// Every node has its own.
    daemon: bool,
    at_s: i64,
    every_s: i64,
}

/// Looks at the nodes of these pools (names, or beginnings that end with `*`) at `at_s`.
///
/// # Errors
/// A query was not answered in time: then nothing is known of any of them.
pub async fn look(
    client: &Client,
    pools: &BTreeSet<String>,
    wanted: &[(String, Wanted)],
    at_s: i64,
    deadline: Instant,
) -> Result<NodesSeen, Fault> {
    if pools.is_empty() {
        return Ok(NodesSeen::new());
    }
    let ask = async |selector: String| -> Result<Vec<RawSeries>, Fault> {
        let query = request::raw(&selector, RECENT_S);
        Ok(timeout_at(deadline, client.query(&query, at_s)).await.map_err(|_| Fault::Timeout)??.series)
    };
    let pods = ask(expr::matching("kube_pod_info", &[("node", &pattern(pools))])).await?;
    let pods: Vec<NodePod> = pods.iter().filter_map(|series| pod(series, at_s)).collect();
    let namespaces: BTreeSet<&str> = pods.iter().map(|pod| pod.namespace.as_str()).collect();
    let namespaces: Vec<&str> = namespaces.into_iter().collect();
    if namespaces.is_empty() {
        return Ok(NodesSeen::new());
    }
    let within = expr::alternatives(&namespaces);
    let ready = ask(expr::matching("kube_pod_status_ready", &[("condition", "true"), ("namespace", &within)])).await?;
    let mut totals: BTreeMap<(String, String), u32> = BTreeMap::new();
    for (kind, metric) in [
        ("deployment", "kube_deployment_status_replicas_ready"),
        ("statefulset", "kube_statefulset_status_replicas_ready"),
    ] {
        for series in ask(expr::matching(metric, &[("namespace", &within)])).await? {
            let Some((_, value, _)) = newest(&series, at_s) else { continue };
            let Some(count) = whole(value) else { continue };
            totals.insert((series.label("namespace").to_owned(), format!("{kind}/{}", series.label(kind))), count);
        }
    }
    let ready: BTreeSet<(&str, &str)> = ready
        .iter()
        .filter(|series| newest(series, at_s).is_some_and(|(_, value, _)| value == 1.0))
        .map(|series| (series.label("namespace"), series.label("pod")))
        .collect();
    Ok(put_together(&pods, &ready, &totals, wanted))
}

fn put_together(
    pods: &[NodePod],
    ready: &BTreeSet<(&str, &str)>,
    totals: &BTreeMap<(String, String), u32>,
    wanted: &[(String, Wanted)],
) -> NodesSeen {
    let mut nodes = NodesSeen::new();
    for pod in pods {
        let node = nodes.entry(pod.node.clone()).or_insert_with(|| NodeSeen { at_s: pod.at_s, ..NodeSeen::default() });
        (node.at_s, node.every_s) = (node.at_s.min(pod.at_s), node.every_s.max(pod.every_s));
        let of = |one: &&(String, Wanted)| {
            let here = one.1.namespace.as_deref().is_none_or(|namespace| namespace == pod.namespace);
            here && Some(&one.1.resource) == pod.workload.as_ref()
        };
        // Several services may name one workload: each of them has a say.
        let mut owners = wanted.iter().filter(of).peekable();
        if owners.peek().is_none() && !pod.daemon {
            *node.strangers.entry(pod.namespace.clone()).or_default() += 1;
        }
        for (service, one) in owners {
            let tenant = node.tenants.entry((service.clone(), one.resource.clone())).or_default();
            let first = tenant.pods == 0;
            tenant.pods += 1;
            tenant.ready += u32::from(ready.contains(&(pod.namespace.as_str(), pod.name.as_str())));
            // The same name in two namespaces is two workloads: the smaller one counts.
            let total = totals.get(&(pod.namespace.clone(), one.resource.clone())).copied();
            let known = tenant.ready_elsewhere.zip(total).map(|(known, total)| known.min(total));
            tenant.ready_elsewhere = if first { total } else { known };
        }
    }
    for tenant in nodes.values_mut().flat_map(|node| node.tenants.values_mut()) {
        // Counted by two exporters a moment apart: fewer than nothing is nothing.
        tenant.ready_elsewhere = tenant.ready_elsewhere.map(|all| all.saturating_sub(tenant.ready));
    }
    nodes
}

/// Whichever pool it is of.
fn pattern(pools: &BTreeSet<String>) -> String {
    let one = |pool: &String| match pool.strip_suffix('*') {
        Some(start) => format!("{}.*", regex::escape(start)),
        None => regex::escape(pool),
    };
    pools.iter().map(one).collect::<Vec<_>>().join("|")
}

fn pod(series: &RawSeries, asked_s: i64) -> Option<NodePod> {
    let (at_s, _, every_s) = newest(series, asked_s)?;
    let (kind, by) = (series.label("created_by_kind"), series.label("created_by_name"));
    let workload = match kind {
        // A replica set is named after its deployment and the template of its pods.
        "ReplicaSet" => by.rsplit_once('-').map(|(deployment, _)| format!("deployment/{deployment}")),
        "StatefulSet" => Some(format!("statefulset/{by}")),
        _ => None,
    };
    Some(NodePod {
        node: series.label("node").to_owned(),
        namespace: series.label("namespace").to_owned(),
        name: series.label("pod").to_owned(),
        workload,
        daemon: matches!(kind, "DaemonSet" | "Node"),
        at_s,
        every_s,
    })
}

fn whole(value: f64) -> Option<u32> {
    (value >= 0.0 && value.fract() == 0.0 && value <= f64::from(u32::MAX)).then_some(value as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::samples::Samples;

    fn info(node: &str, namespace: &str, pod: &str, kind: &str, by: &str) -> RawSeries {
        let labels = [
            ("created_by_kind", kind),
            ("created_by_name", by),
            ("namespace", namespace),
            ("node", node),
            ("pod", pod),
        ];
        let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        RawSeries { labels: labels.into(), samples: Samples::new(vec![(970_000, 1.0), (1_000_000, 1.0)]) }
    }

    fn wanted(service: &str, resource: &str, namespace: Option<&str>) -> (String, Wanted) {
        let one = Wanted {
            resource: resource.into(),
            namespace: namespace.map(str::to_owned),
            version_label: String::new(),
            utilization: None,
        };
        (service.to_owned(), one)
    }

    #[test]
    fn pods_are_matched_to_the_services_that_name_their_workloads() {
        let series = [
            info("gpu-17", "llm", "vllm-6c9-aaaaa", "ReplicaSet", "vllm-6c9"),
            info("gpu-17", "llm", "vllm-6c9-bbbbb", "ReplicaSet", "vllm-6c9"),
            info("gpu-17", "test", "vllm-6c9-ccccc", "ReplicaSet", "vllm-6c9"),
            info("gpu-17", "llm", "cache-0", "StatefulSet", "cache"),
            info("gpu-17", "kube-system", "dcgm-x", "DaemonSet", "dcgm"),
            info("gpu-18", "kube-system", "dcgm-y", "DaemonSet", "dcgm"),
        ];
        let pods: Vec<NodePod> = series.iter().filter_map(|series| pod(series, 1_010)).collect();
        let ready = BTreeSet::from([("llm", "vllm-6c9-aaaaa")]);
        let key = |namespace: &str, of: &str| (namespace.to_owned(), of.to_owned());
        let totals = BTreeMap::from([(key("llm", "deployment/vllm"), 4), (key("test", "deployment/vllm"), 1)]);
        let all = [wanted("chat", "deployment/vllm", Some("llm")), wanted("shop", "statefulset/cache", None)];
        let nodes = put_together(&pods, &ready, &totals, &all);
        let node = &nodes["gpu-17"];
        assert_eq!(node.strangers, BTreeMap::from([("test".to_owned(), 1)]));
        let tenant = |service: &str, of: &str| &node.tenants[&(service.to_owned(), of.to_owned())];
        // Two of its pods are here, one is ready; of the four that are ready three are elsewhere.
        let vllm = TenantSeen { pods: 2, ready: 1, ready_elsewhere: Some(3) };
        assert_eq!(tenant("chat", "deployment/vllm"), &vllm);
        assert_eq!(tenant("shop", "statefulset/cache"), &TenantSeen { pods: 1, ready: 0, ready_elsewhere: None });
        assert!(nodes["gpu-18"].tenants.is_empty() && nodes["gpu-18"].strangers.is_empty());
    }

    #[test]
    fn what_ended_is_not_there_and_a_pool_is_a_pattern_of_its_own() {
        assert!(pod(&info("gpu-17", "llm", "a", "ReplicaSet", "b-c"), 1_100).is_none(), "three scrapes ago");
        let pools = BTreeSet::from(["k8s.gpu-*".to_owned(), "node-1".to_owned()]);
        assert_eq!(pattern(&pools), r"k8s\.gpu\-.*|node\-1");
    }
}
