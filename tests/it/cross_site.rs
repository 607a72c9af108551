//! A page of another site in a real browser whose every request carries the certificate of a person who may approve, halt and
//! reload: whatever way it sends something, nothing is changed. The same from the server's own page is done.
//!
//! The certificate is lent by a proxy that speaks for the browser, as one beside a workload does; what the daemon sees is what
//! the browser says of itself.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::{PrivatePkcs8KeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::gate_stage::{Stage, request, robot};
use crate::harness::browser::Browser;
use crate::harness::parts::{eventually, http};

const LIMIT: Duration = Duration::from_secs(60);

/// Gives each connection to a port of its own on to `to`, over TLS, as whoever has the certificate.
async fn lend(to: SocketAddr, config: ClientConfig) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    let connector = TlsConnector::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let connector = connector.clone();
            tokio::spawn(async move {
                let name = ServerName::try_from("localhost").expect("a name");
                if let Ok(stream) = TcpStream::connect(to).await
                    && let Ok(mut server) = connector.connect(name, stream).await
                {
                    drop(copy_bidirectional(&mut client, &mut server).await);
                }
            });
        }
    });
    port
}

/// Another site: one page, whatever is asked for.
async fn site(page: String) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let page = page.clone();
            tokio::spawn(async move {
                let head = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\nconnection: close\r\ncontent-length: ";
                drop(client.read(&mut [0; 4096]).await);
                drop(client.write_all(format!("{head}{}\r\n\r\n{page}", page.len()).as_bytes()).await);
            });
        }
    });
    port
}

/// The daemon of a stage over TLS, where Ada proves herself by a certificate; and where a browser reaches it with that.
async fn behind_certificates(stage: &mut Stage) -> String {
    slowburn::outbound::install_tls();
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&key).expect("a certificate");
    let issuer = Issuer::new(params, key);
    let signed = |name: &str| {
        let key = KeyPair::generate().expect("a key");
        let certificate = CertificateParams::new(vec![name.to_owned()]).expect("a name").signed_by(&key, &issuer);
        (certificate.expect("a certificate"), key)
    };
    let ((server, server_key), (ada, ada_key)) = (signed("localhost"), signed("ada.example.org"));
    stage.process.kill();
    let write = |name: &str, text: String| std::fs::write(stage.path(name), text).expect("written");
    let read = |name: &str| std::fs::read_to_string(stage.path(name)).expect("there");
    write("tls.crt", server.pem());
    write("tls.key", server_key.serialize_pem());
    write("clients.pem", authority.pem());
    let tls = "tls: {cert_file: tls.crt, key_file: tls.key, client_ca_file: clients.pem}\n";
    write("slowburn.yaml", read("slowburn.yaml") + tls);
    let named = read("identities.yaml").replace("name: \"@ada\",", "name: \"@ada\", mtls_names: [ada.example.org],");
    assert!(named.contains("ada.example.org"), "{named}");
    write("identities.yaml", named);
    stage.launch();
    let mut roots = RootCertStore::empty();
    roots.add(authority.der().clone()).expect("a certificate");
    let config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![ada.der().clone()], PrivatePkcs8KeyDer::from(ada_key.serialize_der()).into())
        .expect("a certificate with its key");
    let to = stage.url().trim_start_matches("http://").parse().expect("an address");
    format!("http://localhost:{}", lend(to, config).await)
}

/// What a page can do to send something elsewhere; each act in each way.
fn page(target: &str, acts: &[(String, Value)]) -> String {
    let script = r#"
    const form = (url, type, text) => {
      const frame = document.createElement("iframe");
      frame.name = "f" + Math.random();
      const form = Object.assign(document.createElement("form"), { method: "post", action: url, enctype: type, target: frame.name });
      // What stands around the name and the value makes JSON of it where the type is text/plain.
      const input = Object.assign(document.createElement("input"), { name: text.slice(0, -1) + ',"z":"', value: '"}' });
      form.append(input);
      document.body.append(frame, form);
      form.submit();
    };
    const json = { "content-type": "application/json" };
    const ways = [
      (url, text) => fetch(url, { method: "POST", mode: "no-cors", credentials: "include", body: text }),
      (url, text) => fetch(url, { method: "POST", mode: "no-cors", body: new Blob([text], { type: "text/plain" }) }),
      (url, text) => fetch(url, { method: "POST", mode: "no-cors", headers: json, body: text }),
      (url, text) => fetch(url, { method: "POST", credentials: "include", headers: json, body: text }),
      (url, text) => fetch(url, { method: "PUT", headers: json, body: text }),
      (url, text) => fetch(url, { method: "POST", mode: "no-cors", keepalive: true, body: new URLSearchParams({ text }) }),
      (url) => fetch(url, { method: "POST", mode: "no-cors" }),
      (url, text) => { navigator.sendBeacon(url, text); },
      (url, text) => { navigator.sendBeacon(url, new Blob([text], { type: "application/json" })); },
      (url, text) => form(url, "text/plain", text),
      (url, text) => form(url, "application/x-www-form-urlencoded", text),
      (url, text) => form(url, "multipart/form-data", text),
      (url) => { document.body.append(Object.assign(new Image(), { src: url })); },
    ];
    (async () => {
      for (const [path, body] of ACTS)
        for (const way of ways)
          try { await way(TARGET + path, JSON.stringify(body)); } catch { }
      window.sent = true;
    })();
    "#;
    let script = script.replace("ACTS", &json!(acts).to_string()).replace("TARGET", &json!(target).to_string());
    format!("<!doctype html><title>win</title><body><script>{script}</script>")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_another_site_changes_nothing_with_the_certificate_of_its_visitor() {
    let mut stage = Stage::start(1, None, 1.0).await;
    let mut wire = stage.wire();
    let (status, asked) = wire.post(&robot(0), "/v1/decisions", &request("rollback", 0, None)).expect("an answer");
    assert_eq!((status, &asked["decision"]), (200, &json!("needs_approval")), "{asked:#}");
    let (status, given) = wire.post(&robot(0), "/v1/decisions", &request("deploy", 0, None)).expect("an answer");
    assert_eq!((status, &given["decision"]), (200, &json!("allow")), "{given:#}");
    let target = behind_certificates(&mut stage).await;
    let get = async |path: &str| {
        let answer = http().get(format!("{target}{path}")).send().await.ok()?;
        (answer.status() == 200).then_some(answer.text().await.ok()?)
    };
    eventually("it answers", LIMIT, || get("/healthz")).await;
    let id = asked["approval"]["id"].as_str().expect("a question");
    let permit = given["permit"]["id"].as_str().expect("a permit");
    let mut deploy = request("deploy", 0, None);
    deploy["break_glass"] = true.into();
    let halt = json!({"scope": "global", "reason": "x", "for_s": 604_800, "people": true});
    let vote = json!({"verdict": "approve", "action_digest": asked["action"]["digest"]});
    let change = json!({"service": "s0", "resource": "deployment/s0", "version": "v99"});
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {"name": "request_action", "arguments": request("deploy", 0, None)}});
    let evaluation = json!({"subject": {"type": "user", "id": "@ada"}, "action": {"name": "restart"},
        "resource": {"type": "deployment", "id": "s0", "properties": {"service": "s0"}}});
    let acts: Vec<(String, Value)> = [
        ("/v1/halts", halt.clone()),
        (&format!("/v1/approvals/{id}"), vote),
        (&format!("/v1/permits/{permit}/redeem"), json!({})),
        (&format!("/v1/permits/{permit}/release"), json!({})),
        ("/v1/decisions", deploy),
        ("/v1/changes", change),
        ("/v1/audit/accept", json!({"reason": "x"})),
        ("/-/reload", json!({})),
        ("/mcp", call),
        ("/access/v1/evaluation", evaluation),
        ("/integrations/argo-rollouts", request("restart", 0, None)),
        ("/integrations/ext-authz/?x-slowburn-action=restart", json!({})),
    ]
    .map(|(path, body)| (path.to_owned(), body))
    .into();
    let hers = async || {
        let text = get("/v1/audit?limit=50").await.expect("it answers");
        let found: Value = serde_json::from_str(&text).expect("JSON");
        let records = found["records"].as_array().cloned().unwrap_or_default();
        records.iter().filter(|one| one["actor"] == "@ada" || one["principal"]["sub"] == "@ada").count()
    };
    let before = hers().await;
    let evil = site(page(&target, &acts)).await;
    let browser = Browser::start();
    let tab = browser.tab().await;
    tab.open(&format!("http://127.0.0.1:{evil}/")).await;
    tab.until("window.sent").await;
    // They came, with her certificate, and were refused for what the browser said of them.
    let refused = eventually("every way but the last was refused", LIMIT, || async {
        let metrics = get("/metrics").await?;
        let of = |line: &&str| {
            line.contains("route=\"/v1/halts\"") && (line.contains("\"403\"") || line.contains("\"415\""))
        };
        let counts = metrics.lines().filter(of).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        Some(counts.sum::<f64>()).filter(|refused| *refused >= 8.0)
    })
    .await;
    println!("{refused} requests for a halt were refused");
    assert_eq!(hers().await, before, "something was done in her name");
    assert!(get("/v1/halts").await.expect("it answers").contains("\"halts\":[]"));
    let card = get(&format!("/v1/approvals/{id}")).await.expect("it answers");
    let card: Value = serde_json::from_str(&card).expect("JSON");
    assert_eq!((&card["state"], &card["have"]), (&json!("pending"), &json!(0)), "{card:#}");
    let card: Value =
        serde_json::from_str(&get(&format!("/v1/permits/{permit}")).await.expect("it answers")).expect("JSON");
    assert_ne!(card["state"], "redeemed", "{card:#}");
    // The certificate is hers: from the server's own page the halt is set.
    tab.open(&format!("{target}/")).await;
    let own = format!(
        "fetch('/v1/halts', {{method: 'POST', headers: {{'content-type': 'application/json'}}, body: {}}}).then((a) => a.status)",
        json!(halt.to_string())
    );
    assert_eq!(tab.eval(&own).await, 200);
    assert_eq!(hers().await, before + 1, "it is on record as hers");
}
