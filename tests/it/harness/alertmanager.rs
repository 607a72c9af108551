//! A real Alertmanager with a data folder and a port of its own.

use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use super::parts::{self, Generation, Process, http};

/// A configuration that notifies nobody.
pub const SILENT: &str = "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n";

/// A running Alertmanager, a cluster of one; it ends with the test.
#[derive(Debug)]
pub struct Alertmanager {
    process: Process,
    port: u16,
    generation: Generation,
    dir: TempDir,
}

impl Alertmanager {
    /// Starts with this configuration, and waits until it is ready.
    pub async fn start(config: &str) -> Self {
        Alertmanager::of(Generation::default(), config).await
    }

    /// The same of a generation.
    pub async fn of(generation: Generation, config: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(dir.path().join("alertmanager.yml"), config).expect("the temporary folder can be written");
        let (process, port) = parts::start_on_free_port("/-/ready", |port| run(generation, dir.path(), port)).await;
        Alertmanager { process, port, generation, dir }
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn process(&self) -> &Process {
        &self.process
    }

    /// SIGKILL: connections are refused from now on.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts again on the same port and data. Alertmanager keeps silences and its notification log, not alerts.
    pub async fn restart(&mut self) {
        self.process.kill();
        self.process = run(self.generation, self.dir.path(), self.port);
        assert!(parts::ready(&mut self.process, self.port, "/-/ready").await, "{}", self.process.log());
    }

    /// The alerts it holds that have not ended, as its API shows them.
    pub async fn alerts(&self) -> Vec<Value> {
        let sent = http().get(format!("{}/api/v2/alerts", self.url())).send().await;
        sent.expect("Alertmanager answers").json().await.expect("Alertmanager answers a JSON array")
    }
}

fn run(generation: Generation, dir: &Path, port: u16) -> Process {
    let args = [
        format!("--config.file={}", dir.join("alertmanager.yml").display()),
        format!("--storage.path={}", dir.join("data").display()),
        format!("--web.listen-address=127.0.0.1:{port}"),
        "--cluster.listen-address=".into(),
    ];
    let program = generation.part("prometheus-alertmanager");
    Process::start(&program, args, &dir.join("alertmanager.log"))
}
