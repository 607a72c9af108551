//! A certificate authority of the test's own, and servers that speak TLS with what it signed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;
use tokio_rustls::server::TlsStream;

/// Longest wait for a client to say hello.
const HELLO_WITHIN: Duration = Duration::from_secs(10);

/// What a TLS server speaks with: a certificate for this machine; and the PEM of the authority that signed it.
pub fn authority() -> (TlsAcceptor, String) {
    slowburn::outbound::install_tls();
    let ca_key = rcgen::KeyPair::generate().expect("a key");
    let mut ca = rcgen::CertificateParams::new(Vec::new()).expect("no names");
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_cert = ca.self_signed(&ca_key).expect("a certificate");
    let issuer = rcgen::Issuer::new(ca, ca_key);
    let key = rcgen::KeyPair::generate().expect("a key");
    let names = vec!["localhost".into(), "127.0.0.1".into()];
    let cert = rcgen::CertificateParams::new(names).expect("names").signed_by(&key, &issuer);
    let cert = cert.expect("a certificate");
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], PrivatePkcs8KeyDer::from(key.serialize_der()).into())
        .expect("a server's configuration");
    (TlsAcceptor::from(Arc::new(config)), ca_cert.pem())
}

/// A listener whose connections speak TLS. A client that says nothing holds up no other one.
pub struct TlsListener {
    address: SocketAddr,
    greeted: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
}

impl TlsListener {
    /// On a free port of loopback.
    pub async fn bind(acceptor: TlsAcceptor) -> Self {
        let tcp = TcpListener::bind(("127.0.0.1", 0)).await.expect("loopback has a free port");
        let address = tcp.local_addr().expect("a bound socket has an address");
        let (greets, greeted) = mpsc::channel(64);
        tokio::spawn(async move {
            while let Ok((socket, peer)) = tcp.accept().await {
                let (acceptor, greets) = (acceptor.clone(), greets.clone());
                tokio::spawn(async move {
                    if let Ok(Ok(tls)) = tokio::time::timeout(HELLO_WITHIN, acceptor.accept(socket)).await {
                        drop(greets.send((tls, peer)).await);
                    }
                });
            }
        });
        TlsListener { address, greeted }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl axum::serve::Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.greeted.recv().await {
            Some(one) => one,
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        Ok(self.address)
    }
}
