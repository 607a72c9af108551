//! A real Prometheus with a data folder and a port of its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use super::parts::{self, Generation, Process, http};

/// What a Prometheus is started with.
#[derive(Debug, Default)]
pub struct PromOptions {
    /// Which Prometheus.
    pub generation: Generation,
    /// The past, in the OpenMetrics text format.
    pub past: Option<Past>,
    /// Targets by job name, as `host:port`; scraped every second unless `scrape_interval` says otherwise.
    pub targets: Vec<(String, String)>,
    /// `1s` when empty.
    pub scrape_interval: String,
    /// A rule file, evaluated every second unless its groups have intervals.
    pub rules: Option<String>,
    /// More flags, `--enable-feature=…` for one.
    pub flags: Vec<String>,
    /// What a page says of `job` and `instance` stands.
    pub honor_labels: bool,
}

/// Where the past comes from. Samples carry timestamps; the last line is `# EOF`.
#[derive(Debug)]
pub enum Past {
    File(PathBuf),
    Text(String),
    /// A folder of ready blocks. They are linked, not copied: several servers may stand on one past.
    Blocks(PathBuf),
}

/// A running Prometheus; it ends with the test.
#[derive(Debug)]
pub struct Prometheus {
    process: Process,
    port: u16,
    generation: Generation,
    flags: Vec<String>,
    dir: TempDir,
}

impl Prometheus {
    /// Makes blocks of the past, starts, and waits until it is ready.
    pub async fn start(options: PromOptions) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let data = dir.path().join("data");
        match &options.past {
            Some(Past::File(file)) => create_blocks(options.generation, file, &data),
            Some(Past::Text(text)) => {
                let file = dir.path().join("past.om");
                std::fs::write(&file, text).expect("the temporary folder can be written");
                create_blocks(options.generation, &file, &data);
            }
            Some(Past::Blocks(blocks)) => link(blocks, &data),
            None => {}
        }
        std::fs::write(dir.path().join("prometheus.yml"), config(&options)).expect("writable");
        if let Some(rules) = &options.rules {
            std::fs::write(dir.path().join("rules.yml"), rules).expect("writable");
        }
        let PromOptions { generation, flags, .. } = options;
        let start = |port| run(generation, dir.path(), port, &flags);
        let (process, port) = parts::start_on_free_port("/-/ready", start).await;
        Prometheus { process, port, generation, flags, dir }
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The process: its CPU time, memory, log and signals.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// SIGKILL: connections are refused from now on.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts again on the same port with the same data, and waits until it is ready.
    pub async fn restart(&mut self) {
        self.process.kill();
        self.process = run(self.generation, self.dir.path(), self.port, &self.flags);
        assert!(parts::ready(&mut self.process, self.port, "/-/ready").await, "{}", self.process.log());
    }

    /// Evaluates recording rules over the past, `(from_s, to_s)`, as promtool does it, and starts again with what they
    /// recorded. Rules that read what others record belong into a later call. A block is one range query, so it must hold
    /// fewer than 11,000 evaluations: intervals of a minute and more.
    pub async fn backfill(&mut self, rules: &str, from_s: i64, to_s: i64) {
        let (file, data) = (self.dir.path().join("past-rules.yml"), self.dir.path().join("data"));
        std::fs::write(&file, rules).expect("writable");
        let output = Command::new(self.generation.part("promtool"))
            .args(["tsdb", "create-blocks-from", "--quiet", "--max-block-duration=162h", "rules"])
            .args([format!("--url={}", self.url()), format!("--start={from_s}"), format!("--end={to_s}")])
            .arg(format!("--output-dir={}", data.display()))
            .arg(&file)
            .output()
            .expect("promtool starts");
        assert!(output.status.success(), "promtool: {}", String::from_utf8_lossy(&output.stderr));
        self.restart().await;
    }

    /// Hangs: connections are accepted by the kernel, nothing is answered, until [`Prometheus::resume`].
    pub fn hang(&self) {
        self.process.hang();
    }

    pub fn resume(&self) {
        self.process.resume();
    }

    /// An instant query at `at` (Unix seconds; now without): the whole answer.
    ///
    /// # Panics
    /// When it is not a success.
    pub async fn answer(&self, query: &str, at: Option<f64>) -> Value {
        let mut form = vec![("query", query.to_owned())];
        form.extend(at.map(|at| ("time", at.to_string())));
        let sent = http().post(format!("{}/api/v1/query", self.url())).form(&form).send().await;
        let answer: Value = sent.expect("Prometheus answers").json().await.expect("Prometheus answers JSON");
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        answer
    }

    /// An instant query with a vector result: values by label set.
    pub async fn query(&self, query: &str, at: Option<f64>) -> BTreeMap<BTreeMap<String, String>, f64> {
        let answer = self.answer(query, at).await;
        let rows = answer["data"]["result"].as_array().expect("a vector").iter();
        rows.map(|row| {
            let labels = serde_json::from_value(row["metric"].clone()).expect("labels");
            (labels, row["value"][1].as_str().and_then(|text| text.parse().ok()).expect("a number"))
        })
        .collect()
    }

    /// An instant query with one number as its result; `None` without a row.
    pub async fn number(&self, query: &str, at: Option<f64>) -> Option<f64> {
        let rows = self.query(query, at).await;
        assert!(rows.len() <= 1, "{query}: {rows:?}");
        rows.into_values().next()
    }
}

/// Makes TSDB blocks of an OpenMetrics file. promtool reads the whole file once per block, and would cut 30 days into
/// 360 blocks of 2 h; the longest block allowed here holds 60 days.
pub fn create_blocks(generation: Generation, openmetrics: &Path, data: &Path) {
    let output = Command::new(generation.part("promtool"))
        .args(["tsdb", "create-blocks-from", "openmetrics", "--max-block-duration=1458h", "--quiet"])
        .args([openmetrics, data])
        .output()
        .expect("promtool starts");
    assert!(output.status.success(), "promtool: {}", String::from_utf8_lossy(&output.stderr));
}

/// Prometheus never writes into a block that is complete, so hard links will do.
fn link(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("the temporary folder can be written");
    for entry in std::fs::read_dir(from).expect("a folder of blocks") {
        let entry = entry.expect("readable");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("known").is_dir() {
            link(&entry.path(), &target);
        } else {
            std::fs::hard_link(entry.path(), target).expect("both folders are on one file system");
        }
    }
}

fn config(options: &PromOptions) -> String {
    let interval = if options.scrape_interval.is_empty() { "1s" } else { &options.scrape_interval };
    let mut text = format!(
        "global: {{scrape_interval: {interval}, scrape_timeout: {interval}, evaluation_interval: 1s}}\nscrape_configs:\n"
    );
    let mut jobs: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (job, target) in &options.targets {
        jobs.entry(job).or_default().push(target);
    }
    if jobs.is_empty() {
        text = text.replace("scrape_configs:\n", "scrape_configs: []\n");
    }
    for (job, targets) in jobs {
        let honor = options.honor_labels;
        text +=
            &format!("  - {{job_name: {job:?}, honor_labels: {honor}, static_configs: [{{targets: {targets:?}}}]}}\n");
    }
    if options.rules.is_some() {
        text += "rule_files: [rules.yml]\n";
    }
    text
}

fn run(generation: Generation, dir: &Path, port: u16, flags: &[String]) -> Process {
    let args = [
        format!("--config.file={}", dir.join("prometheus.yml").display()),
        format!("--storage.tsdb.path={}", dir.join("data").display()),
        "--storage.tsdb.retention.time=100y".into(),
        format!("--web.listen-address=127.0.0.1:{port}"),
        "--web.enable-lifecycle".into(),
    ];
    Process::start(&generation.part("prometheus"), args.iter().chain(flags), &dir.join("prometheus.log"))
}
