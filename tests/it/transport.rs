//! The way to Prometheus: a private CA, credentials and tenant headers, all of which may change while they are used, and
//! secrets that stay where they belong.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use secrecy::SecretString;
use slowburn::outbound::{Authorization, SecretFile};
use slowburn::prometheus::{Client, ClientOptions, Fault};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::harness::authority::authority;
use crate::harness::parts::{Server, serve};

const BODY: &str = r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#;

/// A server that speaks TLS with what `acceptor` holds, answers every request with an empty matrix and remembers what
/// it was asked.
async fn tls_prometheus(acceptor: Arc<Mutex<TlsAcceptor>>) -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let accepting = acceptor.lock().expect("no panic holds it").accept(socket);
            let Ok(mut tls) = accepting.await else { continue };
            let mut request = vec![0; 8192];
            let read = tls.read(&mut request).await.unwrap_or(0);
            log.lock().expect("no panic holds it").push(String::from_utf8_lossy(&request[..read]).into_owned());
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", BODY.len());
            drop(tls.write_all(format!("{head}{BODY}").as_bytes()).await);
            drop(tls.shutdown().await);
        }
    });
    (port, asked)
}

#[tokio::test]
async fn a_private_ca_is_trusted_only_where_it_is_given() {
    let (acceptor, ca) = authority();
    let (port, asked) = tls_prometheus(Arc::new(Mutex::new(acceptor))).await;
    let dir = tempfile::tempdir().expect("a temporary folder");
    let ca_file = dir.path().join("ca.pem");
    std::fs::write(&ca_file, ca).expect("writable");
    let url = format!("https://localhost:{port}/prefix/");
    let mut options = ClientOptions::new(&url);
    options.ca_file = Some(ca_file);
    options.authorization = Authorization::fixed(&SecretString::from("Bearer s3cret-token")).expect("a header");
    options.headers = vec![("X-Scope-OrgID".into(), SecretString::from("tenant-1"))];
    let client = Client::new(&options).expect("a client");
    assert!(client.query("up[1m]", 1_700_000_000).await.is_ok());
    let request = asked.lock().expect("no panic holds it").join("\n").to_lowercase();
    assert!(request.starts_with("post /prefix/api/v1/query"), "{request}");
    assert!(request.contains("authorization: bearer s3cret-token"), "{request}");
    assert!(request.contains("x-scope-orgid: tenant-1"), "{request}");

    // The same server without the CA: refused, and the reason names no secret.
    options.ca_file = Some(dir.path().join("other.pem"));
    let other = rcgen::generate_simple_self_signed(vec!["localhost".into()]).expect("a certificate").cert.pem();
    std::fs::write(options.ca_file.as_ref().expect("just set"), other).expect("writable");
    let fault = Client::new(&options).expect("a client").query("up[1m]", 1_700_000_000).await;
    let Err(Fault::Unreachable(why)) = fault else { panic!("{fault:?}") };
    assert!(!why.contains("s3cret"), "{why}");
}

#[tokio::test]
async fn an_authority_that_is_replaced_is_trusted_without_a_restart() {
    let (first, first_ca) = authority();
    let acceptor = Arc::new(Mutex::new(first));
    let (port, _) = tls_prometheus(Arc::clone(&acceptor)).await;
    let dir = tempfile::tempdir().expect("a temporary folder");
    let ca_file = dir.path().join("ca.pem");
    std::fs::write(&ca_file, first_ca).expect("writable");
    let mut options = ClientOptions::new(format!("https://localhost:{port}"));
    options.ca_file = Some(ca_file.clone());
    let client = Client::new(&options).expect("a client");
    client.query("up", 1_700_000_000).await.expect("the first authority");

    let (second, second_ca) = authority();
    *acceptor.lock().expect("no panic holds it") = second;
    let fault = client.query("up", 1_700_000_000).await;
    assert!(matches!(fault, Err(Fault::Unreachable(_))), "signed by nobody that is trusted: {fault:?}");
    std::fs::write(dir.path().join("next"), second_ca).expect("writable");
    std::fs::rename(dir.path().join("next"), &ca_file).expect("one file system");
    client.query("up", 1_700_000_000).await.expect("the second authority");
    std::fs::write(&ca_file, "half a bundle").expect("writable");
    client.query("up", 1_700_000_000).await.expect("a file that is no bundle changes nothing");
}

/// A server that takes only the tokens in `valid`, and counts what it refused.
async fn guarded(valid: Arc<Mutex<Vec<String>>>, refused: Arc<AtomicU64>) -> Server {
    let answer = move |headers: HeaderMap| {
        let (valid, refused) = (Arc::clone(&valid), Arc::clone(&refused));
        async move {
            // Late enough that tokens change while requests are under way.
            tokio::time::sleep(Duration::from_millis(3)).await;
            let token = headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
            if valid.lock().expect("no panic holds it").iter().any(|valid| token == format!("Bearer {valid}")) {
                return (StatusCode::OK, BODY);
            }
            refused.fetch_add(1, Ordering::Relaxed);
            (StatusCode::UNAUTHORIZED, "{}")
        }
    };
    serve(Router::new().fallback(answer)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_rotates_under_load_fails_no_request() {
    let valid = Arc::new(Mutex::new(vec!["token-0".to_owned()]));
    let requests_refused = Arc::new(AtomicU64::new(0));
    let server = guarded(Arc::clone(&valid), Arc::clone(&requests_refused)).await;
    let dir = tempfile::tempdir().expect("a temporary folder");
    let file = dir.path().join("token");
    std::fs::write(&file, "token-0\n").expect("writable");
    let mut options = ClientOptions::new(format!("http://{}", server.address));
    options.authorization = Authorization::bearer(SecretFile::new(&file)).expect("a token");
    let client = Client::new(&options).expect("a client");

    let done = Arc::new(AtomicU64::new(0));
    let stop = CancellationToken::new();
    let load: Vec<_> = (0..8)
        .map(|_| {
            let (client, done, stop) = (client.clone(), Arc::clone(&done), stop.clone());
            tokio::spawn(async move {
                while !stop.is_cancelled() {
                    client.query("up", 1_700_000_000).await?;
                    client.query_range("up", 1_700_000_000, 1_700_000_060, 30).await?;
                    done.fetch_add(2, Ordering::Relaxed);
                }
                Ok::<_, Fault>(())
            })
        })
        .collect();
    for n in 1..=20 {
        tokio::time::sleep(Duration::from_millis(40)).await;
        // Issuers let a new token in before the old one is over; the file is replaced between the two.
        let (old, new) = (format!("token-{}", n - 1), format!("token-{n}"));
        *valid.lock().expect("no panic holds it") = vec![old, new.clone()];
        std::fs::write(dir.path().join("next"), format!("{new}\n")).expect("writable");
        std::fs::rename(dir.path().join("next"), &file).expect("one file system");
        *valid.lock().expect("no panic holds it") = vec![new];
    }
    stop.cancel();
    for task in load {
        task.await.expect("no panic").expect("no request failed");
    }
    let (done, refused) = (done.load(Ordering::Relaxed), requests_refused.load(Ordering::Relaxed));
    println!("{done} requests, 20 rotations, {refused} refused and sent again");
    assert!(done > 100, "{done}");

    // What is refused for good is a fault, asked once.
    *valid.lock().expect("no panic holds it") = vec!["of somebody else".into()];
    let fault = client.query("up", 1_700_000_000).await;
    assert!(matches!(fault, Err(Fault::Status(401, _))), "{fault:?}");
    assert_eq!(requests_refused.load(Ordering::Relaxed), refused + 1);
}

#[tokio::test]
async fn secrets_are_never_printed() {
    let mut options = ClientOptions::new("http://127.0.0.1:1/");
    options.authorization = Authorization::fixed(&SecretString::from("Bearer s3cret-token")).expect("a header");
    options.timeout = Duration::from_secs(2);
    let client = Client::new(&options).expect("a client");
    let fault = client.query("up", 1).await.expect_err("nobody listens on port 1");
    for text in [format!("{options:?}"), format!("{client:?}"), fault.to_string(), format!("{fault:?}")] {
        assert!(!text.contains("s3cret"), "{text}");
    }
}

#[tokio::test]
async fn basic_credentials_are_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let asked = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.expect("a connection");
        let mut request = vec![0; 8192];
        let read = socket.read(&mut request).await.expect("a request");
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{BODY}", BODY.len());
        socket.write_all(head.as_bytes()).await.expect("an answer");
        String::from_utf8_lossy(&request[..read]).into_owned()
    });
    let mut options = ClientOptions::new(format!("http://127.0.0.1:{port}"));
    let dir = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(dir.path().join("password"), "pass:word/?#\n").expect("writable");
    let password = SecretFile::new(dir.path().join("password"));
    options.authorization = Authorization::basic("user".into(), password).expect("a header");
    let answer = Client::new(&options).expect("a client").query("up[1m]", 1_700_000_000).await;
    assert!(answer.is_ok(), "{answer:?}");
    let request = asked.await.expect("a request");
    // base64 of user:pass:word/?#
    assert!(request.contains("dXNlcjpwYXNzOndvcmQvPyM="), "{request}");
}
