//! Handshakes on a real socket, with an authority of the test's own.

use std::net::SocketAddr;
use std::path::Path;

use axum::Router;
use axum::extract::Request;
use axum::routing::get;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::web::server::{Limits, serve_router};

/// An authority that signs for servers and clients.
pub(crate) struct Authority {
    pub pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Authority { pem, issuer: Issuer::new(params, key) }
    }

    /// Certificate and key for these names; those with `://` are URIs.
    pub fn sign(&self, names: &[&str]) -> (String, String) {
        let (uris, dns): (Vec<&str>, Vec<&str>) = names.iter().partition(|name| name.contains("://"));
        let mut params =
            CertificateParams::new(dns.iter().map(|&name| name.to_owned()).collect::<Vec<_>>()).expect("names");
        let uri = |name: &&str| SanType::URI((*name).try_into().expect("ASCII"));
        params.subject_alt_names.extend(uris.iter().map(uri));
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    }
}

fn files(dir: &Path, authority: &Authority, names: &[&str]) -> TlsFiles {
    let (certificate, key) = authority.sign(names);
    let write = |name: &str, text: &str| {
        let path = dir.join(name);
        std::fs::write(&path, text).expect("writable");
        path
    };
    TlsFiles {
        cert_file: write("tls.crt", &certificate),
        key_file: write("tls.key", &key),
        client_ca_file: Some(write("clients.pem", &authority.pem)),
    }
}

/// A server that answers the names of its client.
async fn served(tls: Arc<Tls>) -> SocketAddr {
    let names = |request: Request| async move {
        request.extensions().get::<PeerNames>().map_or("plain".into(), |names| names.0.join(" "))
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let at = listener.local_addr().expect("bound");
    let limits = Limits { handshake_timeout: std::time::Duration::from_millis(300), ..Limits::default() };
    let router = Router::new().route("/", get(names));
    tokio::spawn(async move { serve_router(listener, router, &limits, Some(tls), CancellationToken::new()).await });
    at
}

async fn ask(at: SocketAddr, trusted: &Authority, bring: Option<(String, String)>) -> Result<String, reqwest::Error> {
    crate::outbound::install_tls();
    let ca = reqwest::Certificate::from_pem(trusted.pem.as_bytes()).expect("a certificate");
    let mut client = reqwest::Client::builder().tls_certs_only([ca]).resolve("slowburn.test", at);
    if let Some((certificate, key)) = bring {
        let both = format!("{key}{certificate}");
        client = client.identity(reqwest::Identity::from_pem(both.as_bytes()).expect("a key and a certificate"));
    }
    let url = format!("https://slowburn.test:{}/", at.port());
    client.build().expect("a client").get(url).send().await?.text().await
}

#[tokio::test]
async fn a_client_proves_its_names_or_has_none() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let authority = Authority::new();
    let at = served(Arc::new(Tls::load(files(dir.path(), &authority, &["slowburn.test"])).expect("good files"))).await;
    assert_eq!(ask(at, &authority, None).await.expect("no certificate is needed"), "");
    let own = authority.sign(&["spiffe://example.org/deployer", "deployer.example.org"]);
    let answered = ask(at, &authority, Some(own)).await.expect("a good certificate");
    assert_eq!(answered, "spiffe://example.org/deployer deployer.example.org");
    let forged = Authority::new().sign(&["spiffe://example.org/deployer"]);
    assert!(ask(at, &authority, Some(forged)).await.is_err(), "another authority's certificate");
}

#[tokio::test]
async fn a_silent_handshake_is_cut_off_and_a_new_certificate_needs_no_restart() {
    use tokio::io::AsyncReadExt as _;
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (old, new) = (Authority::new(), Authority::new());
    let tls = Arc::new(Tls::load(files(dir.path(), &old, &["slowburn.test"])).expect("good files"));
    let at = served(Arc::clone(&tls)).await;
    let mut silent = tokio::net::TcpStream::connect(at).await.expect("the port is open");
    assert_eq!(silent.read(&mut [0; 16]).await.unwrap_or(0), 0, "closed without a word");
    assert!(ask(at, &old, None).await.is_ok());
    assert!(ask(at, &new, None).await.is_err());
    files(dir.path(), &new, &["slowburn.test"]);
    tls.reload().expect("good files");
    assert!(ask(at, &new, None).await.is_ok());
    std::fs::write(dir.path().join("tls.key"), "nonsense").expect("writable");
    assert!(tls.reload().is_err_and(|error| error.contains("no private key")));
    assert!(ask(at, &new, None).await.is_ok(), "the old one stays in use");
}

/// As cert-manager and a kubelet write them: one file after the other, and nobody says so.
#[tokio::test]
async fn files_that_are_renewed_are_read_without_being_told() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (old, new) = (Authority::new(), Authority::new());
    let tls = Arc::new(Tls::load(files(dir.path(), &old, &["slowburn.test"])).expect("good files"));
    let at = served(Arc::clone(&tls)).await;
    let soon = async |trusted: &Authority| {
        for _ in 0..100 {
            if ask(at, trusted, None).await.is_ok() {
                return true;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        false
    };
    assert!(soon(&old).await);
    let (certificate, key) = new.sign(&["slowburn.test"]);
    std::fs::write(dir.path().join("tls.crt"), certificate).expect("writable");
    tokio::time::sleep(LOOK_EVERY).await;
    assert!(ask(at, &old, None).await.is_ok(), "a certificate without its key is not taken");
    std::fs::write(dir.path().join("tls.key"), key).expect("writable");
    assert!(soon(&new).await, "both are there");
    // A Secret that is swapped: for a moment there is no file.
    std::fs::remove_file(dir.path().join("tls.key")).expect("it was there");
    tokio::time::sleep(LOOK_EVERY).await;
    assert!(ask(at, &new, None).await.is_ok());
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let authority = Authority::new();
    let good = files(dir.path(), &authority, &["a.test"]);
    let (_, other_key) = authority.sign(&["b.test"]);
    let other = dir.path().join("other.key");
    std::fs::write(&other, other_key).expect("writable");
    let fault = |files: TlsFiles| Tls::load(files).err().unwrap_or_default();
    assert!(fault(TlsFiles { key_file: other, ..good.clone() }).contains("do not belong together"));
    assert!(fault(TlsFiles { cert_file: dir.path().join("none"), ..good.clone() }).contains("cannot be read"));
    assert!(fault(TlsFiles { client_ca_file: Some(good.key_file.clone()), ..good }).contains("no certificate"));
}
