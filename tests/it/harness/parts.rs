//! The real binaries, processes that end with the test, and waiting for things to become true.

use std::ffi::OsStr;
use std::fs::File;
use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use axum::Router;
use tokio::task::JoinHandle;

/// Which generation of the real programs (see `tests/parts`). Tests that do not say run on the oldest, or on the one that
/// `SLOWBURN_GENERATION` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generation {
    /// That of the machine's own suite: Prometheus 2.42 of Debian 12.
    Oldest,
    /// Prometheus 2.53 of Debian 13.
    Middle,
    /// What Debian's testing suite has: Prometheus 3.5 or newer.
    Newest,
}

impl Default for Generation {
    fn default() -> Self {
        match std::env::var("SLOWBURN_GENERATION").as_deref() {
            Ok("middle") => Generation::Middle,
            Ok("newest") => Generation::Newest,
            Ok("oldest") | Err(_) => Generation::Oldest,
            Ok(other) => panic!("SLOWBURN_GENERATION is oldest, middle or newest, and not {other:?}"),
        }
    }
}

impl Generation {
    /// What has to hold for all of them is tested at both ends.
    pub const ENDS: [Generation; 2] = [Generation::Oldest, Generation::Newest];

    /// The path of a real program: from `SLOWBURN_PARTS_DIR` (the oldest only), else `target/parts`, else `PATH`.
    ///
    /// # Panics
    /// When it is nowhere: a test that needs a real part fails without it, it is never skipped.
    pub fn part(self, name: &str) -> PathBuf {
        let fetched = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/parts");
        let mut folders: Vec<PathBuf> = Vec::new();
        match self {
            Generation::Oldest => {
                folders.extend(std::env::var_os("SLOWBURN_PARTS_DIR").map(PathBuf::from));
                folders.push(fetched.join("root/usr/bin"));
                folders.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
            }
            Generation::Middle => folders.push(fetched.join("middle")),
            Generation::Newest => folders.push(fetched.join("newest")),
        }
        let found = folders.iter().map(|folder| folder.join(name)).find(|path| path.is_file());
        found.unwrap_or_else(|| {
            panic!(
                "{name} ({self:?}) is not there. Run tests/parts to fetch it, or tests/run to fetch everything and run \
                 all tests."
            )
        })
    }

    /// What a program calls its version, such as `2.42.0+ds`.
    pub fn version(self, name: &str) -> String {
        let output = Command::new(self.part(name)).arg("--version").output().expect("the program starts");
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        let mut words = text.split_whitespace().skip_while(|word| *word != "version").skip(1);
        words.next().unwrap_or_else(|| panic!("{name} says no version: {text}")).to_owned()
    }
}

/// A program of the default generation.
pub fn part(name: &str) -> PathBuf {
    Generation::default().part(name)
}

/// A running program. It is killed when dropped; when the test failed, the end of its log is printed.
///
/// It stays in the process group of the test, so that whoever ends that group ends it too.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `program`, both outputs appended to `log`.
    pub fn start(program: &Path, args: impl IntoIterator<Item = impl AsRef<OsStr>>, log: &Path) -> Self {
        let output = File::options().create(true).append(true).open(log).expect("the log can be opened");
        let child = Command::new(program)
            .args(args)
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a file handle can be cloned"))
            .stderr(output)
            .spawn()
            .unwrap_or_else(|error| panic!("{} does not start: {error}", program.display()));
        Process { child, log: log.to_owned() }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn has_exited(&mut self) -> bool {
        self.child.try_wait().expect("a child can be waited for").is_some()
    }

    /// Waits until it exits by itself; `None` when a signal ended it.
    ///
    /// # Panics
    /// When it still runs after `limit`.
    pub async fn exit_code(&mut self, limit: Duration) -> Option<i32> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                return status.code();
            }
            assert!(start.elapsed() < limit, "it still runs after {limit:?}:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// SIGKILL, and waits for the end.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Stops it: the kernel still accepts connections, but nobody answers. Returns when its last thread stands still.
    pub fn hang(&self) {
        self.signal("STOP");
        let stands_still = |thread: std::io::Result<std::fs::DirEntry>| {
            let stat = thread.and_then(|thread| std::fs::read_to_string(thread.path().join("stat")));
            stat.is_ok_and(|stat| stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" T")))
        };
        let threads = || std::fs::read_dir(format!("/proc/{}/task", self.pid())).expect("the process lives");
        while !threads().all(stands_still) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Goes on after [`Process::hang`].
    pub fn resume(&self) {
        self.signal("CONT");
    }

    /// Sends a signal by name: `TERM`, `HUP`.
    pub fn signal(&self, name: &str) {
        let line = format!("kill -{name} {}", self.pid());
        assert!(Command::new("sh").args(["-c", &line]).status().expect("sh starts").success(), "{line}");
    }

    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// CPU time used so far, user and system, in seconds (`/proc/PID/stat`, fields 14 and 15, 100 ticks a second).
    pub fn cpu_seconds(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("the process lives");
        let after_name = stat.rsplit(')').next().expect("a name in brackets");
        let fields: Vec<&str> = after_name.split_whitespace().collect();
        let ticks = |field: usize| fields[field - 3].parse::<f64>().expect("a number of ticks");
        (ticks(14) + ticks(15)) / 100.0
    }

    /// Resident memory in bytes (`VmRSS` of `/proc/PID/status`).
    pub fn rss_bytes(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// What of that is its own and not pages of the program, in bytes (`RssAnon`).
    pub fn own_bytes(&self) -> u64 {
        self.memory("RssAnon:")
    }

    /// The most it ever had resident, in bytes (`VmHWM`).
    pub fn rss_peak_bytes(&self) -> u64 {
        self.memory("VmHWM:")
    }

    fn memory(&self, what: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("the process lives");
        let line = status.lines().find_map(|line| line.strip_prefix(what)).expect("a line of each kind");
        let kib = line.split_whitespace().next().and_then(|n| n.parse::<u64>().ok()).expect("a number of kB");
        kib * 1024
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let end = lines[lines.len().saturating_sub(40)..].join("\n");
            eprintln!("--- the end of {} ---\n{end}\n---", self.log.display());
        }
    }
}

/// A port of 127.0.0.1 that was free a moment ago. Somebody else may take it first: start again with another then.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has a free port");
    listener.local_addr().expect("a bound socket has an address").port()
}

/// An HTTP client without proxies, redirects or a CA store.
pub fn http() -> &'static reqwest::Client {
    static CLIENT: OnceLock<()> = OnceLock::new();
    CLIENT.get_or_init(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    thread_local! {
        // One per test thread: a pooled connection belongs to the runtime of the test that opened it.
        static LOCAL: &'static reqwest::Client = Box::leak(Box::new(
            reqwest::Client::builder()
                .no_proxy()
                .tls_certs_only([])
                .redirect(reqwest::redirect::Policy::none())
                .build()
                .expect("a client without TLS roots can always be built"),
        ));
    }
    LOCAL.with(|client| *client)
}

/// Serves `app` on a free port of loopback while the handle lives.
pub async fn serve(app: Router) -> Server {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("loopback has a free port");
    let address = listener.local_addr().expect("a bound socket has an address");
    let task = tokio::spawn(async move { axum::serve(listener, app).await.expect("a bound listener serves") });
    Server { address, task }
}

/// A server of the test's own process; it ends when dropped.
#[derive(Debug)]
pub struct Server {
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Asks again every 50 ms until `ask` answers `Some`.
///
/// # Panics
/// When `limit` has passed, naming `what` was waited for.
pub async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    limit: Duration,
    mut ask: impl FnMut() -> F,
) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Starts a server on a free port and waits until `GET {url}{ready_path}` is 200; tries other ports when the chosen
/// one was taken meanwhile.
pub async fn start_on_free_port(ready_path: &str, start: impl Fn(u16) -> Process) -> (Process, u16) {
    for _ in 0..5 {
        let port = free_port();
        let mut process = start(port);
        if ready(&mut process, port, ready_path).await {
            return (process, port);
        }
        assert!(process.log().contains("address already in use"), "it exited:\n{}", process.log());
    }
    panic!("five free ports in a row were taken by somebody else");
}

/// Waits until the server on `port` is ready; false when it has exited.
///
/// # Panics
/// When it is not ready within a minute.
pub async fn ready(process: &mut Process, port: u16, ready_path: &str) -> bool {
    let url = format!("http://127.0.0.1:{port}{ready_path}");
    let start = Instant::now();
    while !process.has_exited() {
        let answer = http().get(&url).timeout(Duration::from_secs(2)).send().await;
        if answer.is_ok_and(|answer| answer.status().is_success()) {
            // Somebody else may answer on the port; ours would have exited by now if it could not have it.
            return !process.has_exited();
        }
        assert!(start.elapsed() < Duration::from_secs(60), "not ready at {url}:\n{}", process.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    false
}
