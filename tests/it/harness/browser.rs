//! A real Chromium, driven by its DevTools protocol over a pipe: clicks and keys as people make them, what the console
//! says, and how many bytes a tab receives.
//!
//! Deliberately absent: a WebSocket client (the pipe needs none), and waiting for a time: what is waited for is a condition.

#![allow(dead_code, reason = "no single test uses all of it")]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::oneshot;

/// How long something on a page is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// Events that are kept of one browser.
const EVENTS_MAX: usize = 100_000;

/// Where Chromium is, if it is anywhere.
pub fn installed() -> Option<PathBuf> {
    let search: Vec<PathBuf> = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect();
    let names = ["chromium", "chromium-browser", "google-chrome"];
    names.iter().find_map(|name| search.iter().map(|dir| dir.join(name)).find(|path| path.is_file()))
}

/// A running browser; it ends with the test.
pub struct Browser {
    wire: Arc<Wire>,
    child: Child,
    _profile: TempDir,
}

struct Wire {
    input: Mutex<ChildStdin>,
    next: AtomicU64,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Value>>>,
    events: Mutex<Vec<Value>>,
}

impl Wire {
    async fn call(&self, session: Option<&str>, method: &str, params: Value) -> Value {
        let answer = self.ask(session, method, params).await;
        assert!(answer["error"].is_null(), "{method}: {}", answer["error"]);
        answer["result"].clone()
    }

    /// The whole answer, an error too.
    async fn ask(&self, session: Option<&str>, method: &str, params: Value) -> Value {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let mut message = json!({"id": id, "method": method, "params": params});
        if let Some(session) = session {
            message["sessionId"] = session.into();
        }
        let (answered, answer) = oneshot::channel();
        self.waiting.lock().expect("no panic holds it").insert(id, answered);
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.input.lock().expect("no panic holds it").write_all(&bytes).expect("Chromium reads");
        let answer = tokio::time::timeout(PATIENCE, answer).await;
        answer.unwrap_or_else(|_| panic!("{method} is not answered")).expect("Chromium lives")
    }

    fn heard(&self, message: Value) {
        match message["id"].as_u64() {
            Some(id) => {
                let waiting = self.waiting.lock().expect("no panic holds it").remove(&id);
                waiting.into_iter().for_each(|waiting| drop(waiting.send(message.clone())));
            }
            None => {
                let mut events = self.events.lock().expect("no panic holds it");
                if events.len() < EVENTS_MAX {
                    events.push(message);
                }
            }
        }
    }
}

impl Browser {
    /// Starts it with a profile of its own.
    ///
    /// # Panics
    /// Where there is none: tests/parts installs it.
    pub fn start() -> Self {
        let profile = tempfile::tempdir().expect("a temporary folder");
        let program = installed().expect("there is no Chromium: tests/parts installs it");
        // Chromium reads from descriptor 3 and writes to 4.
        let line = "exec \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>&1";
        let mut child = Command::new("sh")
            .args(["-c", line, "chromium"])
            .arg(program)
            .args(["--headless", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--disable-quic"])
            .args(["--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"])
            .args(["--hide-scrollbars", "--mute-audio", "--disable-dev-shm-usage"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh starts");
        let (input, output) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        let wire = Arc::new(Wire {
            input: Mutex::new(input),
            next: AtomicU64::new(1),
            waiting: Mutex::default(),
            events: Mutex::default(),
        });
        let reader = Arc::clone(&wire);
        std::thread::spawn(move || {
            let mut output = BufReader::new(output);
            let mut message = Vec::new();
            while output.read_until(0, &mut message).is_ok_and(|read| read > 0) {
                message.pop();
                if let Ok(value) = serde_json::from_slice(&message) {
                    reader.heard(value);
                }
                message.clear();
            }
            // Whoever still waits is told.
            reader.waiting.lock().expect("no panic holds it").clear();
        });
        Browser { wire, child, _profile: profile }
    }

    /// An empty tab whose console and traffic are listened to.
    pub async fn tab(&self) -> Tab {
        let target = self.wire.call(None, "Target.createTarget", json!({"url": "about:blank"})).await;
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let attached = self.wire.call(None, "Target.attachToTarget", attach).await;
        let session = attached["sessionId"].as_str().expect("a session").to_owned();
        let tab = Tab { wire: Arc::clone(&self.wire), session };
        for domain in ["Page", "Runtime", "Log", "Network"] {
            tab.call(&format!("{domain}.enable"), json!({})).await;
        }
        tab
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A tab.
pub struct Tab {
    wire: Arc<Wire>,
    session: String,
}

impl Tab {
    pub async fn call(&self, method: &str, params: Value) -> Value {
        self.wire.call(Some(&self.session), method, params).await
    }

    /// Opens an address and waits until it is loaded.
    pub async fn open(&self, url: &str) {
        let went = self.call("Page.navigate", json!({"url": url})).await;
        assert!(went["errorText"].is_null(), "{url}: {}", went["errorText"]);
        self.until("document.readyState === 'complete'").await;
    }

    /// What an expression comes to.
    pub async fn eval(&self, expression: &str) -> Value {
        let asked = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let answer = self.call("Runtime.evaluate", asked).await;
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {}", answer["exceptionDetails"]);
        answer["result"]["value"].clone()
    }

    /// Whether an expression is true; while one page gives way to another, nothing is.
    async fn holds(&self, expression: &str) -> bool {
        let asked = json!({"expression": format!("!!({expression})"), "returnByValue": true});
        let answer = self.wire.ask(Some(&self.session), "Runtime.evaluate", asked).await;
        answer["result"]["result"]["value"] == true
    }

    /// Waits until an expression is true.
    #[track_caller]
    pub fn until(&self, expression: &str) -> impl Future<Output = ()> {
        let place = std::panic::Location::caller();
        async move {
            let start = Instant::now();
            while !self.holds(expression).await {
                if start.elapsed() > PATIENCE {
                    let shown = self.eval("document.body.innerText").await;
                    panic!("{place}: never: {expression}\n{}", shown.as_str().unwrap_or_default());
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }

    /// What the elements of a selector say, as a person reads them.
    pub async fn texts(&self, selector: &str) -> Vec<String> {
        let asked = format!("[...document.querySelectorAll({})].map((one) => one.innerText)", json!(selector));
        serde_json::from_value(self.eval(&asked).await).expect("a list of texts")
    }

    /// The document as it stands now.
    pub async fn document(&self) -> String {
        self.eval("document.documentElement.outerHTML").await.as_str().expect("a text").to_owned()
    }

    /// Clicks with a mouse where the first element of a selector is.
    pub async fn click(&self, selector: &str) {
        let middle = format!(
            "(() => {{ const one = document.querySelector({}); one.scrollIntoView({{block: 'center'}}); \
             const box = one.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2]; }})()",
            json!(selector)
        );
        let at = self.eval(&middle).await;
        for kind in ["mousePressed", "mouseReleased"] {
            let event = json!({"type": kind, "x": at[0], "y": at[1], "button": "left", "clickCount": 1});
            self.call("Input.dispatchMouseEvent", event).await;
        }
    }

    /// Types into whatever has the focus, a key at a time.
    pub async fn type_text(&self, text: &str) {
        for letter in text.chars() {
            let letter = letter.to_string();
            self.call("Input.dispatchKeyEvent", json!({"type": "keyDown", "text": letter, "key": letter})).await;
            self.call("Input.dispatchKeyEvent", json!({"type": "keyUp", "key": letter})).await;
        }
    }

    /// The size of the window, and the theme that people ask for.
    pub async fn look(&self, width: u32, height: u32, dark: bool) {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        self.call("Emulation.setDeviceMetricsOverride", size).await;
        let theme = if dark { "dark" } else { "light" };
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": theme}]});
        self.call("Emulation.setEmulatedMedia", features).await;
    }

    /// A picture, for people to look at.
    pub async fn picture(&self, path: &std::path::Path) {
        let picture =
            self.call("Page.captureScreenshot", json!({"format": "png", "captureBeyondViewport": true})).await;
        let bytes =
            base64::Engine::decode(&base64::prelude::BASE64_STANDARD, picture["data"].as_str().expect("a picture"));
        std::fs::write(path, bytes.expect("base64")).expect("the folder takes files");
    }

    fn events(&self) -> Vec<Value> {
        let events = self.wire.events.lock().expect("no panic holds it");
        events.iter().filter(|event| event["sessionId"] == self.session.as_str()).cloned().collect()
    }

    /// What the page did wrong: exceptions, errors on the console, and what its content policy refused.
    pub fn faults(&self) -> Vec<String> {
        let fault = |event: &Value| match event["method"].as_str()? {
            "Runtime.exceptionThrown" => Some(event["params"]["exceptionDetails"].to_string()),
            "Runtime.consoleAPICalled" if event["params"]["type"] == "error" => {
                Some(event["params"]["args"].to_string())
            }
            "Log.entryAdded" if event["params"]["entry"]["level"] == "error" => {
                Some(event["params"]["entry"].to_string())
            }
            _ => None,
        };
        self.events().iter().filter_map(fault).collect()
    }

    /// What the browser counted of this tab so far: layouts, or seconds of CPU of its main thread, whatever else the
    /// machine does (`LayoutCount`, `TaskDuration`).
    pub async fn metric(&self, name: &str) -> f64 {
        self.call("Performance.enable", json!({"timeDomain": "threadTicks"})).await;
        let said = self.call("Performance.getMetrics", json!({})).await;
        let mut metrics = said["metrics"].as_array().expect("a list").iter();
        metrics.find(|one| one["name"] == name).and_then(|one| one["value"].as_f64()).expect("it is counted")
    }

    /// Bytes that came over the network so far, as they were on the wire.
    pub fn received(&self) -> u64 {
        let mut requests: HashMap<String, (u64, u64)> = HashMap::new();
        for event in self.events() {
            let (params, method) = (&event["params"], event["method"].as_str().unwrap_or_default());
            let request = requests.entry(params["requestId"].to_string()).or_default();
            let bytes = |value: &Value| value.as_f64().unwrap_or(0.0) as u64;
            match method {
                "Network.responseReceived" => request.0 += bytes(&params["response"]["encodedDataLength"]),
                "Network.dataReceived" => request.0 += bytes(&params["encodedDataLength"]),
                "Network.loadingFinished" => request.1 = bytes(&params["encodedDataLength"]),
                _ => {}
            }
        }
        requests.values().map(|(parts, whole)| parts.max(whole)).sum()
    }
}
