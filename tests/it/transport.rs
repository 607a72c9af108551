//! The way to Prometheus: a private CA, credentials and tenant headers, and secrets that stay where they belong.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use secrecy::SecretString;
use slowburn::prometheus::{Client, ClientOptions, Fault};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;

const BODY: &str = r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#;

/// A certificate for `localhost` and the authority that signed it, both PEM; and a server that speaks TLS with it,
/// answers every request with an empty matrix and remembers what it was asked.
async fn tls_prometheus() -> (u16, String, Arc<Mutex<Vec<String>>>) {
    slowburn::prometheus::client::install_tls();
    let ca_key = rcgen::KeyPair::generate().expect("a key");
    let mut ca = rcgen::CertificateParams::new(Vec::new()).expect("no names");
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_cert = ca.self_signed(&ca_key).expect("a certificate");
    let issuer = rcgen::Issuer::new(ca, ca_key);
    let key = rcgen::KeyPair::generate().expect("a key");
    let cert = rcgen::CertificateParams::new(vec!["localhost".into()]).expect("a name").signed_by(&key, &issuer);
    let cert = cert.expect("a certificate");
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], PrivatePkcs8KeyDer::from(key.serialize_der()).into())
        .expect("a server's configuration");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let Ok(mut tls) = acceptor.accept(socket).await else { continue };
            let mut request = vec![0; 8192];
            let read = tls.read(&mut request).await.unwrap_or(0);
            log.lock().expect("no panic holds it").push(String::from_utf8_lossy(&request[..read]).into_owned());
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", BODY.len());
            drop(tls.write_all(format!("{head}{BODY}").as_bytes()).await);
            drop(tls.shutdown().await);
        }
    });
    (port, ca_cert.pem(), asked)
}

#[tokio::test]
async fn a_private_ca_is_trusted_only_where_it_is_given() {
    let (port, ca, asked) = tls_prometheus().await;
    let dir = tempfile::tempdir().expect("a temporary folder");
    let ca_file = dir.path().join("ca.pem");
    std::fs::write(&ca_file, ca).expect("writable");
    let url = format!("https://localhost:{port}/prefix/");
    let mut options = ClientOptions::new(&url);
    options.ca_file = Some(ca_file);
    options.bearer = Some(SecretString::from("s3cret-token"));
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
async fn secrets_are_never_printed() {
    let mut options = ClientOptions::new("http://127.0.0.1:1/");
    options.bearer = Some(SecretString::from("s3cret-token"));
    options.basic = Some(("user".into(), SecretString::from("s3cret-password")));
    options.timeout = Duration::from_secs(2);
    let client = Client::new(&options).expect("a client");
    let fault = client.query("up", 1).await.expect_err("nobody listens on port 1");
    for text in [format!("{options:?}"), format!("{client:?}"), fault.to_string(), format!("{fault:?}")] {
        assert!(!text.contains("s3cret"), "{text}");
    }
    options.bearer = Some(SecretString::from("s3cret\nline"));
    let error = Client::new(&options).expect_err("no header carries a line break");
    assert!(!error.contains("s3cret"), "{error}");
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
    options.basic = Some(("user".into(), SecretString::from("pass:word/?#")));
    let answer = Client::new(&options).expect("a client").query("up[1m]", 1_700_000_000).await;
    assert!(answer.is_ok(), "{answer:?}");
    let request = asked.await.expect("a request");
    // base64 of user:pass:word/?#
    assert!(request.contains("dXNlcjpwYXNzOndvcmQvPyM="), "{request}");
}
