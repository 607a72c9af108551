//! TLS of the server: its certificate, and the names in the certificates that clients bring.
//!
//! A client certificate is asked for where an authority for clients is given, and never demanded: reads and bearer
//! tokens work without one. A certificate that the authority did not sign ends the handshake. Files that change are read again
//! by the next handshake, for whoever renews a certificate tells nobody; what cannot be used, or is half written, changes
//! nothing. Connections that stand keep what they began with.
//!
//! Deliberately absent: who a name belongs to (`auth`), and revocation lists: client certificates here are short-lived.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};

use crate::clock::since_boot;
use crate::outbound::FileStamp;

/// Largest file of certificates, bytes.
const BYTES_MAX: u64 = 1 << 20;
/// How often the files are looked at, at most.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Most names of one certificate that are looked at.
const NAMES_MAX: usize = 32;

/// HTTP/2, as it is named in a handshake.
pub(super) const HTTP2: &[u8] = b"h2";

/// Where the server's certificate is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM: the certificate, then those between it and its authority.
    pub cert_file: PathBuf,
    /// PEM: its private key.
    pub key_file: PathBuf,
    /// PEM: authorities that sign certificates of clients; `None`: clients bring none.
    pub client_ca_file: Option<PathBuf>,
}

/// The server's side of TLS.
#[derive(Debug)]
pub struct Tls {
    files: TlsFiles,
    config: RwLock<Arc<ServerConfig>>,
    /// DNS names of the server's own certificate.
    names: RwLock<Vec<String>>,
    /// What the files looked like when they were read last, and when somebody looked.
    looked: Mutex<(Vec<Option<FileStamp>>, Duration)>,
}

/// The DNS names and URIs (SPIFFE ids) of a certificate that a client proved to hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PeerNames(pub Vec<String>);

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// A file cannot be read, holds no certificate or key, or the two do not belong together. The text is for people
    /// and holds nothing of the key.
    pub fn load(files: TlsFiles) -> Result<Self, String> {
        let looked = Mutex::new((stamps(&files), since_boot()));
        let config = RwLock::new(Arc::new(config_of(&files)?));
        let names = RwLock::new(own_names(&files));
        Ok(Tls { files, config, names, looked })
    }

    /// Reads the files again; with an error the old certificate stays in use.
    ///
    /// # Errors
    /// As of [`Tls::load`].
    pub fn reload(&self) -> Result<(), String> {
        let fresh = Arc::new(config_of(&self.files)?);
        *self.config.write().unwrap_or_else(std::sync::PoisonError::into_inner) = fresh;
        *self.names.write().unwrap_or_else(std::sync::PoisonError::into_inner) = own_names(&self.files);
        Ok(())
    }

    /// Whether the files are others than those that were read last; looked at once a second. What cannot be used is tried
    /// again when it changes again: a key that comes after its certificate does.
    fn changed(&self) -> bool {
        let mut looked = self.looked.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let now = since_boot();
        if now.saturating_sub(looked.1) < LOOK_EVERY {
            return false;
        }
        let found = stamps(&self.files);
        // A file that is gone for a moment changes nothing.
        let changed = found.iter().all(Option::is_some) && found != looked.0;
        looked.1 = now;
        if changed {
            looked.0 = found;
        }
        changed
    }

    /// Whether the server's certificate is for this name.
    pub fn has_name(&self, name: &str) -> bool {
        let names = self.names.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        names.iter().any(|own| own.eq_ignore_ascii_case(name))
    }

    /// What the next handshake is made with: the files as they are now, where they can be used.
    pub fn acceptor(&self) -> TlsAcceptor {
        if self.changed() {
            match self.reload() {
                Ok(()) => info!(cert_file = %self.files.cert_file.display(), "the server's certificate was replaced"),
                Err(why) => warn!("{why}; the certificate of before stays in use until the files are right"),
            }
        }
        let config = self.config.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        TlsAcceptor::from(Arc::clone(&config))
    }
}

impl PeerNames {
    /// The names of a certificate that the handshake has verified. One that cannot be read has none.
    pub fn of(certificates: Option<&[CertificateDer<'_>]>) -> Self {
        let Some(der) = certificates.and_then(|chain| chain.first()) else { return PeerNames::default() };
        let Ok(certificate) = webpki::EndEntityCert::try_from(der) else { return PeerNames::default() };
        let uris = certificate.valid_uri_names().map(str::to_owned);
        let names = certificate.valid_dns_names().map(str::to_owned);
        PeerNames(uris.chain(names).take(NAMES_MAX).collect())
    }
}

fn stamps(files: &TlsFiles) -> Vec<Option<FileStamp>> {
    [Some(&files.cert_file), Some(&files.key_file), files.client_ca_file.as_ref()]
        .into_iter()
        .flatten()
        .map(|path| FileStamp::of(path))
        .collect()
}

fn config_of(files: &TlsFiles) -> Result<ServerConfig, String> {
    crate::outbound::install_tls();
    let chain = certificates(&files.cert_file)?;
    let key_pem = read(&files.key_file)?;
    let key = PrivateKeyDer::from_pem_slice(&key_pem)
        .map_err(|_| format!("{} holds no private key in PEM form", files.key_file.display()))?;
    let builder = ServerConfig::builder();
    let builder = match &files.client_ca_file {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for authority in certificates(path)? {
                roots
                    .add(authority)
                    .map_err(|error| format!("{}: an authority cannot be used: {error}", path.display()))?;
            }
            let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).allow_unauthenticated().build();
            builder.with_client_cert_verifier(verifier.map_err(|error| format!("{}: {error}", path.display()))?)
        }
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|error| {
        format!("{} and {} do not belong together: {error}", files.cert_file.display(), files.key_file.display())
    })?;
    // The first of ours that a client speaks as well is taken: HTTP/2 is for those that speak nothing else, as gRPC does.
    config.alpn_protocols = vec![b"http/1.1".to_vec(), HTTP2.to_vec()];
    Ok(config)
}

/// DNS names of the first certificate of the file; a wildcard is no name.
fn own_names(files: &TlsFiles) -> Vec<String> {
    let Ok(chain) = certificates(&files.cert_file) else { return Vec::new() };
    PeerNames::of(Some(&chain)).0.into_iter().filter(|name| !name.contains(['*', ':', '/'])).collect()
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = read(path)?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match read {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(format!("{} holds no certificate in PEM form", path.display())),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(BYTES_MAX + 1).read_to_end(&mut bytes));
    match read {
        Ok(_) if bytes.len() as u64 <= BYTES_MAX => Ok(bytes),
        Ok(_) => Err(format!("{} is over {} KiB", path.display(), BYTES_MAX / 1024)),
        Err(error) => Err(format!("{} cannot be read: {error}", path.display())),
    }
}

#[cfg(test)]
pub(crate) mod tests;
