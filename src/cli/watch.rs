//! `slowburn run --watch`: rules are read again when their files change, without Kubernetes telling anybody and without a
//! signal. A ConfigMap that is swapped (`..data`) changes every path's target at once, and is seen as one change.
//!
//! Files are looked at, not subscribed to: what a kubelet, an NFS server or an editor does reaches no subscription reliably.
//! A change is taken once two looks agree, so that a folder that is being written is not read half. What is wrong in the
//! new files is logged by the daemon, and the last good ones stay; they are read again when they change again.
//!
//! Rules of a cluster ask for a reload in the same way.
//!
//! Deliberately absent: reading. Whoever owns the rules does that.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tracing::{info, warn};

use crate::cluster::Cluster;
use crate::spec::files::{Stamp, stamp};
use crate::web::Reload;

/// Looks at `paths` every `every` and asks for a reload after each change, until nobody takes it any more.
pub async fn watch(paths: Vec<PathBuf>, every: Duration, reload: mpsc::Sender<Reload>) {
    let mut taken = look(&paths).await;
    let mut before = taken.clone();
    info!(every_s = every.as_secs_f64(), "the files of the rules are watched");
    loop {
        tokio::time::sleep(every).await;
        let now = look(&paths).await;
        let settled = now == before;
        before = now;
        if !settled || before == taken {
            continue;
        }
        info!("the files of the rules have changed: they are read again");
        let (answer, answered) = oneshot::channel();
        if reload.send(Reload { answer, by: "files".into() }).await.is_err() {
            return;
        }
        taken.clone_from(&before);
        match answered.await {
            Ok(Ok(in_force)) => {
                info!(services = in_force.services, slos = in_force.slos, "the changed rules are in force")
            }
            Ok(Err(problems)) => {
                warn!(problems = problems.len(), "the changed rules are refused; the last good ones stay in force")
            }
            Err(_) => warn!("the reload was given up"),
        }
    }
}

/// Asks for a reload whenever rules of the cluster have changed, until nobody takes it any more.
pub async fn follow(cluster: Arc<Cluster>, reload: mpsc::Sender<Reload>) {
    let (ask, mut asked) = mpsc::channel::<oneshot::Sender<bool>>(1);
    let reloads = async move {
        while let Some(done) = asked.recv().await {
            let (answer, answered) = oneshot::channel();
            if reload.send(Reload { answer, by: "cluster".into() }).await.is_err() {
                return;
            }
            if done.send(matches!(answered.await, Ok(Ok(_)))).is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = cluster.run(ask) => {}
        () = reloads => {}
    }
}

async fn look(paths: &[PathBuf]) -> Stamp {
    let paths = paths.to_vec();
    tokio::task::spawn_blocking(move || stamp(&paths)).await.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// As a kubelet does it: the files are links into `..data`, which is a link that is renamed over.
    #[tokio::test(start_paused = true)]
    async fn a_swapped_config_map_is_one_reload_and_a_quiet_folder_none() {
        let dir = tempfile::tempdir().expect("a folder");
        let at = |name: &str| dir.path().join(name);
        let write = |version: &str, text: &str| {
            std::fs::create_dir(at(version)).expect("made");
            std::fs::write(at(version).join("a.yaml"), text).expect("written");
            symlink(version, at("..tmp")).expect("linked");
            std::fs::rename(at("..tmp"), at("..data")).expect("swapped");
        };
        write("..1", "name: a");
        symlink("..data/a.yaml", at("a.yaml")).expect("linked");
        let (reload, mut reloads) = mpsc::channel(1);
        tokio::spawn(watch(vec![dir.path().to_owned()], Duration::from_secs(10), reload));
        let quiet = tokio::time::timeout(Duration::from_secs(60), reloads.recv()).await;
        assert!(quiet.is_err(), "nothing changed");
        // Of equal length, and perhaps within one tick of the file system's clock.
        write("..2", "name: b");
        let asked = tokio::time::timeout(Duration::from_secs(60), reloads.recv()).await.expect("seen").expect("open");
        assert_eq!(asked.by, "files");
        drop(asked.answer.send(Err(vec!["wrong".into()])));
        let again = tokio::time::timeout(Duration::from_secs(60), reloads.recv()).await;
        assert!(again.is_err(), "what was refused is not asked for again");
        std::fs::write(at("b.yaml"), "name: c").expect("written");
        let asked = tokio::time::timeout(Duration::from_secs(60), reloads.recv()).await.expect("seen").expect("open");
        drop(asked);
        std::fs::remove_file(at("b.yaml")).expect("gone");
        assert!(tokio::time::timeout(Duration::from_secs(60), reloads.recv()).await.is_ok(), "a file less is a change");
    }
}
