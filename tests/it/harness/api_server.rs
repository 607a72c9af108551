//! The part of a Kubernetes API server that keeps Leases (and, in `objects`, what holds rules), with its real optimistic concurrency: every write names the version
//! that it replaces, and of two that name one the second gets a 409. It speaks TLS with a certificate of an authority of its
//! own; tokens are checked, and rotate. On a bad day it answers late, in vain, or with a conflict where there is none, says
//! nothing of a write that it took, takes one when nobody waits for it any more, or reads what was before.
//! And a proxy before it that drops what goes through it, as a network does that is cut.

#[path = "api_server/objects.rs"]
pub mod objects;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};
use slowburn::demo::count::hash;
use tokio::task::JoinHandle;

use super::authority::{TlsListener, authority};

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/slowburn/leases";

/// A write that was taken: who held the lease from then on.
#[derive(Debug, Clone)]
pub struct Held {
    pub holder: String,
    pub at: Instant,
}

/// What requests share.
pub type Shared = Arc<Mutex<Kept>>;

#[derive(Default)]
pub struct Kept {
    lease: Option<Value>,
    version: u64,
    tokens: BTreeSet<String>,
    /// What is no Lease.
    pub objects: objects::Objects,
    /// What was asked for, as RBAC calls it.
    pub verbs: BTreeSet<String>,
    /// Every write that was taken, oldest first.
    pub held: Vec<Held>,
    /// Answers by status.
    pub conflicts: usize,
    pub refused: usize,
    /// The Lease as it was before the last write.
    before: Option<Value>,
    /// Seed of a bad day; `None`: all is well.
    bad_day: Option<u64>,
    asked: u64,
    /// What went wrong, how often.
    pub wrongs: BTreeMap<&'static str, usize>,
}

/// What goes wrong with one request.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Wrong {
    Nothing,
    /// A 409 to a write that nothing speaks against.
    Conflict,
    /// It is overloaded or broken, and does nothing.
    Fails,
    /// The answer takes its time.
    Late,
    /// What was asked for is done late, whether somebody still waits or not.
    DoneLate,
    /// It is done, and the answer is a 504.
    Lost,
    /// It reads what was there before the last write.
    Stale,
}

/// It ends with the test.
pub struct ApiServer {
    address: std::net::SocketAddr,
    task: JoinHandle<()>,
    kept: Arc<Mutex<Kept>>,
    /// PEM of the authority that signed its certificate.
    pub ca: String,
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl ApiServer {
    pub async fn start() -> Self {
        let kept = Arc::<Mutex<Kept>>::default();
        let app = Router::new().fallback(answer).with_state(Arc::clone(&kept));
        let (acceptor, ca) = authority();
        let listener = TlsListener::bind(acceptor).await;
        let address = listener.address();
        let task = tokio::spawn(async move { axum::serve(listener, app).await.expect("a bound listener serves") });
        ApiServer { address, task, kept, ca }
    }

    /// From now on about every seventh request goes wrong in one way or another.
    pub fn has_a_bad_day(&self, seed: u64) {
        self.kept().bad_day = Some(seed);
    }

    pub fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().expect("not poisoned")
    }

    /// These tokens are good, and no others.
    pub fn know(&self, tokens: impl IntoIterator<Item = String>) {
        self.kept().tokens = tokens.into_iter().collect();
    }

    /// A way to it that can be cut.
    pub fn proxy(&self) -> Cable {
        Cable::to(self.address)
    }
}

async fn answer(
    State(kept): State<Arc<Mutex<Kept>>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if !uri.path().starts_with(LEASES) {
        let known = kept.lock().expect("not poisoned").knows(&headers);
        let found = match known {
            true => objects::answer(&kept, &method, &uri, &headers, &body).await,
            false => Some(StatusCode::UNAUTHORIZED.into_response()),
        };
        return found.unwrap_or_else(|| StatusCode::NOT_FOUND.into_response());
    }
    let wrong = kept.lock().expect("not poisoned").goes_wrong(&method);
    let late = Duration::from_millis(1_200);
    if wrong == Wrong::Fails {
        return [StatusCode::INTERNAL_SERVER_ERROR, StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS]
            [body.len() % 3]
            .into_response();
    }
    // What was asked for goes on although whoever asked gave up.
    let does = tokio::spawn(async move {
        if wrong == Wrong::DoneLate {
            tokio::time::sleep(late).await;
        }
        respond(&kept, wrong, (method, uri, headers, body))
    });
    let answer = does.await.expect("no panic");
    match wrong {
        Wrong::Lost => StatusCode::GATEWAY_TIMEOUT.into_response(),
        Wrong::Late => {
            tokio::time::sleep(late).await;
            answer
        }
        _ => answer,
    }
}

fn respond(
    kept: &Mutex<Kept>,
    wrong: Wrong,
    (method, uri, headers, body): (Method, Uri, HeaderMap, Bytes),
) -> Response {
    let mut kept = kept.lock().expect("not poisoned");
    if !kept.knows(&headers) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let body: Option<Value> = serde_json::from_slice(&body).ok();
    let result = match (method, uri.path().strip_prefix(LEASES)) {
        (Method::GET, Some("/slowburn")) if wrong == Wrong::Stale && kept.before.is_some() => {
            Ok(kept.before.clone().expect("it was just looked at"))
        }
        (Method::GET, Some("/slowburn")) => kept.read(),
        (Method::POST | Method::PUT, Some("" | "/slowburn")) if wrong == Wrong::Conflict => Err(StatusCode::CONFLICT),
        (Method::POST, Some("")) => kept.create(body),
        (Method::PUT, Some("/slowburn")) => kept.update(body),
        _ => Err(StatusCode::FORBIDDEN),
    };
    match result {
        Ok(lease) => ([(header::CONTENT_TYPE, "application/json")], lease.to_string()).into_response(),
        Err(status) => {
            kept.conflicts += usize::from(status == StatusCode::CONFLICT);
            status.into_response()
        }
    }
}

impl Kept {
    /// Whether a request has a good token.
    fn knows(&mut self, headers: &HeaderMap) -> bool {
        let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        let known = bearer.is_some_and(|token| self.tokens.contains(token));
        self.refused += usize::from(!known);
        known
    }

    fn goes_wrong(&mut self, method: &Method) -> Wrong {
        self.asked += 1;
        let Some(seed) = self.bad_day else { return Wrong::Nothing };
        let reads = *method == Method::GET;
        let (wrong, name) = match hash(seed, self.asked) % 48 {
            0 if !reads => (Wrong::Conflict, "conflict"),
            0 | 1 if reads => (Wrong::Stale, "stale"),
            2 | 3 => (Wrong::Fails, "fails"),
            4 => (Wrong::Late, "late"),
            5 => (Wrong::DoneLate, "done late"),
            6 | 7 if !reads => (Wrong::Lost, "lost"),
            _ => return Wrong::Nothing,
        };
        *self.wrongs.entry(name).or_default() += 1;
        wrong
    }

    fn read(&mut self) -> Result<Value, StatusCode> {
        self.verbs.insert("get".into());
        self.lease.clone().ok_or(StatusCode::NOT_FOUND)
    }

    fn create(&mut self, lease: Option<Value>) -> Result<Value, StatusCode> {
        self.verbs.insert("create".into());
        let mut lease = valid(lease)?;
        if self.lease.is_some() || lease["metadata"].get("resourceVersion").is_some() {
            return Err(StatusCode::CONFLICT);
        }
        lease["metadata"]["uid"] = format!("uid-{}", self.version).into();
        lease["metadata"]["labels"] = json!({"kept": "beside it"});
        Ok(self.take(lease))
    }

    fn update(&mut self, lease: Option<Value>) -> Result<Value, StatusCode> {
        self.verbs.insert("update".into());
        let lease = valid(lease)?;
        let is = self.lease.as_ref().ok_or(StatusCode::NOT_FOUND)?;
        // Without a version it would win over anybody; nobody who elects may send that.
        let version = lease["metadata"]["resourceVersion"].as_str().ok_or(StatusCode::UNPROCESSABLE_ENTITY)?;
        if is["metadata"]["resourceVersion"] != version || is["metadata"]["uid"] != lease["metadata"]["uid"] {
            return Err(StatusCode::CONFLICT);
        }
        assert_eq!(is["metadata"]["labels"], lease["metadata"]["labels"], "what others keep beside it");
        Ok(self.take(lease))
    }

    fn take(&mut self, mut lease: Value) -> Value {
        self.version += 1;
        lease["metadata"]["resourceVersion"] = self.version.to_string().into();
        let holder = lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned();
        self.held.push(Held { holder, at: Instant::now() });
        self.before = self.lease.take();
        self.lease.insert(lease).clone()
    }

    /// Somebody deletes it.
    pub fn delete(&mut self) {
        self.lease = None;
    }
}

/// What a real one would take as a Lease.
fn valid(lease: Option<Value>) -> Result<Value, StatusCode> {
    let lease = lease.ok_or(StatusCode::BAD_REQUEST)?;
    let spec = &lease["spec"];
    let time = |name: &str| match &spec[name] {
        Value::Null => true,
        Value::String(text) => text.len() == 27 && text.parse::<jiff::Timestamp>().is_ok(),
        _ => false,
    };
    let lasts = spec["leaseDurationSeconds"].as_i64().is_some_and(|seconds| seconds > 0);
    let is_one = lease["kind"] == "Lease" && lease["apiVersion"] == "coordination.k8s.io/v1";
    if is_one && lasts && time("renewTime") && time("acquireTime") {
        Ok(lease)
    } else {
        Err(StatusCode::UNPROCESSABLE_ENTITY)
    }
}

/// A way to a server. Cut, it takes what is sent and hands nothing on; nobody is told.
pub struct Cable {
    pub port: u16,
    cut: Arc<AtomicBool>,
    ended: Arc<AtomicBool>,
}

impl Cable {
    /// One to this address.
    pub fn to(server: std::net::SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has a free port");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let (cut, ended) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (cut_too, ended_too) = (Arc::clone(&cut), Arc::clone(&ended));
        std::thread::spawn(move || {
            for near in listener.incoming() {
                if ended_too.load(Ordering::Acquire) {
                    return;
                }
                let (Ok(near), Ok(far)) = (near, TcpStream::connect(server)) else { continue };
                for (from, to) in [(near.try_clone(), far.try_clone()), (Ok(far), Ok(near))] {
                    let (Ok(from), Ok(to)) = (from, to) else { continue };
                    let cut = Arc::clone(&cut_too);
                    std::thread::spawn(move || hand_on(from, to, &cut));
                }
            }
        });
        Cable { port, cut, ended }
    }

    pub fn cut(&self) {
        self.cut.store(true, Ordering::Release);
    }

    pub fn mend(&self) {
        self.cut.store(false, Ordering::Release);
    }
}

fn hand_on(mut from: TcpStream, mut to: TcpStream, cut: &AtomicBool) {
    let mut bytes = [0; 16 * 1024];
    drop(from.set_read_timeout(Some(Duration::from_secs(120))));
    while let Ok(read @ 1..) = from.read(&mut bytes) {
        if !cut.load(Ordering::Acquire) && to.write_all(&bytes[..read]).is_err() {
            break;
        }
    }
    drop(to.shutdown(Shutdown::Both));
    drop(from.shutdown(Shutdown::Both));
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}
