//! A real VictoriaMetrics with a data folder and a port of its own.

use std::io::Write as _;

use tempfile::TempDir;

use super::parts::{self, Generation, Process, http};

/// Lines sent in one import.
const LINES: usize = 50_000;

/// A running VictoriaMetrics; it ends with the test.
#[derive(Debug)]
pub struct VictoriaMetrics {
    process: Process,
    port: u16,
    _dir: TempDir,
}

impl VictoriaMetrics {
    /// Starts, and waits until it is ready.
    pub async fn start() -> Self {
        VictoriaMetrics::of(Generation::default()).await
    }

    /// The same of a generation.
    pub async fn of(generation: Generation) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let run = |port: u16| {
            let args = [
                format!("-storageDataPath={}", dir.path().join("data").display()),
                format!("-httpListenAddr=127.0.0.1:{port}"),
                "-retentionPeriod=100y".into(),
            ];
            Process::start(&generation.part("victoria-metrics"), args, &dir.path().join("victoria.log"))
        };
        let (process, port) = parts::start_on_free_port("/health", run).await;
        VictoriaMetrics { process, port, _dir: dir }
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The process: its CPU time, memory, log and signals.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Takes in a past in the OpenMetrics text format and makes it visible.
    pub async fn import(&self, openmetrics: &str) {
        let mut batch = Vec::new();
        let mut lines = 0;
        for line in openmetrics.lines().filter(|line| !line.starts_with('#')) {
            // OpenMetrics has seconds where the Prometheus format has milliseconds.
            let (series, seconds) = line.rsplit_once(' ').expect("a sample has a time");
            let ms = (seconds.parse::<f64>().expect("a time") * 1000.0).round() as i64;
            writeln!(batch, "{series} {ms}").expect("memory can be written");
            lines += 1;
            if lines % LINES == 0 {
                self.send("/api/v1/import/prometheus", std::mem::take(&mut batch)).await;
            }
        }
        self.send("/api/v1/import/prometheus", batch).await;
        self.send("/internal/force_flush", Vec::new()).await;
        self.send("/internal/resetRollupResultCache", Vec::new()).await;
    }

    async fn send(&self, path: &str, body: Vec<u8>) {
        let sent = http().post(format!("{}{path}", self.url())).body(body).send().await;
        let status = sent.expect("VictoriaMetrics answers").status();
        assert!(status.is_success(), "{path}: {status}");
    }
}
