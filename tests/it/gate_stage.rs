//! Many services behind the gate of the real binary, on a real Prometheus, and clients that cost next to nothing.
//! `benches/gate.rs` includes it by path.
//!
//! Each service is well, runs `v42`, and has a policy of its own: a deploy is allowed, a rollback needs a yes, nothing
//! else is listed. Each has a robot of its own, and there is one pipeline that tells of changes.

#![allow(dead_code, reason = "the bench neither restarts the daemon nor reads its log")]

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use slowburn::clock::Clock;

use crate::harness::parts::{Process, free_port};
use crate::harness::prometheus::{Past, PromOptions, Prometheus};

/// On the slice grid, and on no grid of minutes or hours: where the daemon's clock begins.
pub const T0: i64 = 1_790_000_010;
const HOUR: i64 = 3600;
const REQUESTS: &str = "http_requests_total";
const LIMIT: Duration = Duration::from_secs(120);

/// Now by the wall, on the slice grid as [`T0`] is.
pub fn of_the_wall() -> i64 {
    jiff::Timestamp::now().as_second() / 60 * 60 + 30
}

/// The daemon, its Prometheus and its files.
pub struct Stage {
    pub process: Process,
    _prometheus: Prometheus,
    port: u16,
    dir: tempfile::TempDir,
    services: usize,
    clock: Clock,
    speed: f64,
    /// What starts the daemon; nothing: it is started as it is.
    pub starter: Vec<String>,
}

impl Stage {
    /// Starts both and waits until the gate decides. `folder`: where the audit log is kept, else a temporary one;
    /// `speed`: how many times as fast as the wall the daemon's clock runs.
    pub async fn start(services: usize, folder: Option<&Path>, speed: f64) -> Self {
        Stage::with(services, folder, speed, ["", ""]).await
    }

    /// The same with more members of `auth` in the settings, and more identities.
    pub async fn with(services: usize, folder: Option<&Path>, speed: f64, more: [&str; 2]) -> Self {
        Stage::at(T0, services, folder, speed, more).await
    }

    /// The same from another moment on: what others are told has to be of their time. It is [`of_the_wall`], or [`T0`].
    pub async fn at(t0: i64, services: usize, folder: Option<&Path>, speed: f64, more: [&str; 2]) -> Self {
        let mut text = format!("# TYPE {REQUESTS} counter\n");
        for service in 0..services {
            for (code, gain) in [("200", 300), ("500", 0)] {
                let labels = format!("service=\"s{service}\",job=\"j\",instance=\"i{service}\",code=\"{code}\"");
                for (n, at) in (t0 - 6 * HOUR + 7..t0 + 2 * HOUR).step_by(30).enumerate() {
                    text += &format!("{REQUESTS}{{{labels}}} {} {at}\n", gain * n);
                }
            }
        }
        text += "# EOF\n";
        let prometheus =
            Prometheus::start(PromOptions { past: Some(Past::Text(text)), ..PromOptions::default() }).await;
        let dir = match folder {
            Some(folder) => tempfile::tempdir_in(folder),
            None => tempfile::tempdir(),
        };
        let dir = dir.expect("a temporary folder");
        let write = |name: &str, text: String| std::fs::write(dir.path().join(name), text).expect("writable");
        std::fs::create_dir_all(dir.path().join("rules")).expect("writable");
        for service in (0..services).map(|n| format!("s{n}")) {
            let m = format!("{REQUESTS}{{service=\"{service}\"");
            let slo = format!(
                "name: {service}\nowner: team\nslo:\n  availability:\n    objective: 99.9\n    window: 1d\n    \
                 sli: {{total: '{m}}}', bad: '{m},code=\"500\"}}'}}\n"
            );
            write(&format!("rules/{service}.yaml"), slo);
            let policy = format!(
                "service: {service}\nallowed_actions:\n  - {{type: deploy}}\n  - {{type: rollback, max_versions_back: 1, \
                 require_approval: true, approvers: [{{team: oncall}}]}}\nsafety_checks: []\none_change_at_a_time: false\n"
            );
            write(&format!("rules/{service}.policy.yaml"), policy);
        }
        let mut identities = "identities:\n".to_owned();
        let robots = (0..services).map(|n| (robot(n), "robot", ""));
        let others = [("deployer", "pipeline", ""), ("@ada", "human", "oncall"), ("kube-apiserver", "pipeline", "")];
        let others = others.map(|(name, class, team)| (name.to_owned(), class, team));
        for (name, class, team) in robots.chain(others) {
            let hash: String = Sha256::digest(token(&name)).iter().map(|byte| format!("{byte:02x}")).collect();
            // In a cluster each robot is a service account of its service.
            let subject = match name.strip_prefix("robot/") {
                Some(n) => format!(", k8s_subjects: [\"system:serviceaccount:s{n}:robot\"]"),
                None if name == "kube-apiserver" => ", may_act_as: [kube-apiserver]".to_owned(),
                None => String::new(),
            };
            identities += &format!(
                "  - {{name: \"{name}\", class: {class}, teams: [{team}], token_sha256: [{hash}]{subject}}}\n"
            );
        }
        identities += more[1];
        write("identities.yaml", identities);
        let port = free_port();
        let settings = format!(
            "prometheus: {{url: \"{}\"}}\nlisten: 127.0.0.1:{port}\ndata_dir: data\n\
             auth: {{identities: identities.yaml, requests_per_minute: 100000{}}}\n",
            prometheus.url(),
            more[0]
        );
        write("slowburn.yaml", settings);
        let clock = Clock::scaled(t0 * 1000, speed);
        let process = launch(dir.path(), &clock, speed, &[]);
        let starter = Vec::new();
        let mut stage = Stage { process, _prometheus: prometheus, port, dir, services, clock, speed, starter };
        stage.warm();
        let mut wire = stage.wire();
        for service in 0..services {
            for (ago, from, to) in [(4 * HOUR, "v40", "v41"), (2 * HOUR, "v41", "v42")] {
                let at = jiff::Timestamp::from_second(t0 - ago).expect("a time").to_string();
                let change = json!({
                    "service": format!("s{service}"), "resource": format!("deployment/s{service}"), "at": at,
                    "from_version": from, "version": to,
                });
                let (status, answer) = wire.post("deployer", "/v1/changes", &change).expect("an answer");
                assert_eq!(status, 200, "{answer}");
            }
        }
        stage
    }

    /// Starts the daemon again after its end.
    pub fn launch(&mut self) {
        self.process = launch(self.dir.path(), &self.clock, self.speed, &self.starter);
    }

    /// The same, and waits until the gate decides.
    pub fn restart(&mut self) {
        self.launch();
        self.warm();
    }

    /// Until history is read and every service has been seen.
    fn warm(&mut self) {
        let start = Instant::now();
        let last = self.services - 1;
        loop {
            let mut wire = self.wire();
            let explained = wire.post(&robot(last), "/v1/decisions?explain", &request("deploy", last, None));
            if let Ok((200, answer)) = &explained
                && answer["data"]["state"] == "fresh"
                && !answer.to_string().contains("not_warm")
            {
                return;
            }
            assert!(!self.process.has_exited(), "it ended:\n{}", self.process.log());
            assert!(start.elapsed() < LIMIT, "not warm: {explained:?}\n{}", self.process.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Where it is reached.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The Prometheus that it reads.
    pub fn prometheus(&self) -> &Prometheus {
        &self._prometheus
    }

    /// The time that it runs by.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// A client.
    pub fn wire(&self) -> Wire {
        Wire::new(self.port)
    }

    /// A request for a decision that says it has `length` bytes of body, and has these.
    pub fn raw(&self, who: &str, length: usize, body: &str) -> Vec<u8> {
        let head = format!(
            "POST /v1/decisions HTTP/1.1\r\nhost: 127.0.0.1:{}\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n",
            self.port,
            token(who)
        );
        (head + body).into_bytes()
    }

    /// Where the audit log is.
    pub fn audit_dir(&self) -> PathBuf {
        self.dir.path().join("data/audit")
    }

    /// Its folder, for what a test wants to keep beside it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

fn launch(dir: &Path, clock: &Clock, speed: f64, starter: &[String]) -> Process {
    let now = (clock.now_ms() as f64 / 1000.0).to_string();
    let path = |name: &str| dir.join(name).display().to_string();
    let args =
        ["run", "--config", &path("slowburn.yaml"), "--rules", &path("rules"), "--clock-start", &now, "--clock-speed"];
    let binary = env!("CARGO_BIN_EXE_slowburn");
    let mut words: Vec<String> = starter.to_vec();
    // Who starts it brings the binary too.
    if words.is_empty() {
        words.push(binary.to_owned());
    }
    words.extend(args.into_iter().map(str::to_owned).chain([speed.to_string()]));
    Process::start(Path::new(&words[0]), &words[1..], &dir.join("log"))
}

/// The robot of a service.
pub fn robot(service: usize) -> String {
    format!("robot/{service}")
}

pub fn token(name: &str) -> String {
    format!("token-of-{name}")
}

/// A request to change a service. `deploy` is allowed, `rollback` needs a yes, `restart` is denied.
pub fn request(action: &str, service: usize, key: Option<&str>) -> Value {
    let mut request = json!({
        "service": format!("s{service}"), "action": action, "resource": format!("deployment/s{service}"),
        "reason": "release 4711", "incident_id": "INC-7",
    });
    let versions = match action {
        "deploy" => Some(("v42", "v43")),
        "rollback" => Some(("v42", "v41")),
        _ => None,
    };
    if let Some((from, to)) = versions {
        (request["from_version"], request["to_version"]) = (from.into(), to.into());
    }
    if let Some(key) = key {
        request["idempotency_key"] = key.into();
    }
    request
}

/// One connection that is kept open and made anew when it broke; blocks.
pub struct Wire {
    port: u16,
    stream: Option<BufReader<TcpStream>>,
}

impl Wire {
    /// To a port of this machine.
    pub fn new(port: u16) -> Self {
        Wire { port, stream: None }
    }

    /// Posts JSON and reads the answer.
    ///
    /// # Errors
    /// When no whole answer came: what became of the request is not known.
    pub fn post(&mut self, who: &str, path: &str, body: &Value) -> io::Result<(u16, Value)> {
        let (status, answer) = self.send(&self.bytes(who, path, body))?;
        Ok((status, serde_json::from_slice(&answer).unwrap_or(Value::Null)))
    }

    /// Asks for JSON.
    ///
    /// # Errors
    /// As [`Wire::post`].
    pub fn got(&mut self, who: &str, path: &str) -> io::Result<(u16, Value)> {
        let head = format!(
            "GET {path} HTTP/1.1\r\nhost: 127.0.0.1:{}\r\nauthorization: Bearer {}\r\n\r\n",
            self.port,
            token(who)
        );
        let (status, answer) = self.send(head.as_bytes())?;
        Ok((status, serde_json::from_slice(&answer).unwrap_or(Value::Null)))
    }

    /// The bytes of such a request, for those who send it many times.
    pub fn bytes(&self, who: &str, path: &str, body: &Value) -> Vec<u8> {
        let body = body.to_string();
        format!(
            "POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{}\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            self.port,
            token(who),
            body.len()
        )
        .into_bytes()
    }

    /// Sends a request as it is: status and body of the answer.
    ///
    /// # Errors
    /// As [`Wire::post`].
    pub fn send(&mut self, request: &[u8]) -> io::Result<(u16, Vec<u8>)> {
        let answer = self.exchange(request);
        if answer.is_err() {
            self.stream = None;
        }
        answer
    }

    fn exchange(&mut self, request: &[u8]) -> io::Result<(u16, Vec<u8>)> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect(("127.0.0.1", self.port))?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(Duration::from_secs(30)))?;
                self.stream.insert(BufReader::with_capacity(32 * 1024, stream))
            }
        };
        stream.get_mut().write_all(request)?;
        let broken = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
        let (mut line, mut status, mut length) = (String::new(), None, 0);
        loop {
            line.clear();
            if stream.read_line(&mut line)? == 0 {
                return Err(broken("the connection ended before the answer"));
            }
            match line.trim_end() {
                "" => break,
                line if status.is_none() => status = line.split(' ').nth(1).and_then(|code| code.parse().ok()),
                line => {
                    if let Some((name, value)) = line.split_once(':')
                        && name.eq_ignore_ascii_case("content-length")
                    {
                        length = value.trim().parse().map_err(|_| broken("a length that is no number"))?;
                    }
                }
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body)?;
        Ok((status.ok_or_else(|| broken("no status"))?, body))
    }
}
