//! An HTTP client whose certificate authority may be replaced while it is used.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use reqwest::header::HeaderMap;
use tracing::{info, warn};

/// Largest bundle of authorities that is read, bytes.
const BUNDLE_BYTES_MAX: u64 = 8 << 20;

/// Makes ring the process's TLS provider; harmless when called twice.
pub fn install_tls() {
    drop(rustls::crypto::ring::default_provider().install_default());
}

/// A client with our settings: ring for TLS, no redirects, a private authority if there is one. For a plain `http://`
/// URL no store of authorities is needed, so a container without one works. Cheap to clone.
#[derive(Clone)]
pub struct Transport {
    inner: Arc<TransportInner>,
}

struct TransportInner {
    plain: bool,
    ca_file: Option<PathBuf>,
    headers: HeaderMap,
    held: Mutex<Held>,
}

/// The client in use, and what its authority's file looked like when it was made.
struct Held {
    client: reqwest::Client,
    stamp: Option<FileStamp>,
}

/// What changes when a file is rewritten or another one is put in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileStamp {
    modified: Option<SystemTime>,
    bytes: u64,
    #[cfg(unix)]
    file: u64,
}

impl FileStamp {
    /// Of the file at `path`, through links; `None`: there is none.
    pub fn of(path: &Path) -> Option<Self> {
        let data = fs::metadata(path).ok()?;
        Some(FileStamp {
            modified: data.modified().ok(),
            bytes: data.len(),
            #[cfg(unix)]
            file: std::os::unix::fs::MetadataExt::ino(&data),
        })
    }
}

impl Transport {
    /// A client for `url` that sends `headers` with each request.
    ///
    /// # Errors
    /// The file of the authority cannot be used, or there is no store of authorities; for people.
    pub fn new(url: &str, ca_file: Option<&Path>, headers: HeaderMap) -> Result<Self, String> {
        install_tls();
        let plain = url.starts_with("http://");
        let stamp = ca_file.and_then(FileStamp::of);
        let held = Mutex::new(Held { client: build(plain, ca_file, &headers)?, stamp });
        Ok(Transport { inner: Arc::new(TransportInner { plain, ca_file: ca_file.map(Path::to_owned), headers, held }) })
    }

    /// The client for the next request: another one when the authority's file changed.
    pub fn client(&self) -> reqwest::Client {
        let mut held = self.inner.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(path) = &self.inner.ca_file {
            let stamp = FileStamp::of(path);
            // A file that is gone for a moment changes nothing.
            if stamp.is_some() && stamp != held.stamp {
                held.stamp = stamp;
                match build(self.inner.plain, Some(path), &self.inner.headers) {
                    Ok(client) => {
                        info!(ca_file = %path.display(), "the certificate authority was replaced");
                        held.client = client;
                    }
                    Err(why) => warn!("{why}; the authority before it is trusted until the file is right"),
                }
            }
        }
        held.client.clone()
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").field("ca_file", &self.inner.ca_file).finish_non_exhaustive()
    }
}

fn build(plain: bool, ca_file: Option<&Path>, headers: &HeaderMap) -> Result<reqwest::Client, String> {
    let mut builder = reqwest::Client::builder()
        .default_headers(headers.clone())
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(Duration::from_secs(5))
        .pool_idle_timeout(Duration::from_secs(90))
        // A watch that waits on a connection nobody ended is told of it.
        .tcp_keepalive(Duration::from_secs(30))
        .user_agent(concat!("slowburn/", env!("CARGO_PKG_VERSION")));
    if let Some(path) = ca_file {
        let size = fs::metadata(path).map_or(0, |data| data.len());
        if size > BUNDLE_BYTES_MAX {
            return Err(format!("ca_file {} has {size} bytes: that is no PEM bundle", path.display()));
        }
        let pem = fs::read(path).map_err(|error| format!("cannot read ca_file {}: {error}", path.display()))?;
        let certs = reqwest::Certificate::from_pem_bundle(&pem)
            .map_err(|error| format!("ca_file {} is no PEM bundle: {error}", path.display()))?;
        if certs.is_empty() {
            return Err(format!("ca_file {} holds no certificate", path.display()));
        }
        builder = builder.tls_certs_only(certs);
    } else if plain {
        builder = builder.tls_certs_only([]);
    }
    builder.build().map_err(|error| {
        format!("cannot set up TLS: {error}. Is there a CA store? Give a ca_file, or set SSL_CERT_FILE")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_that_is_replaced_is_noticed_and_a_broken_one_is_not_taken() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("ca.pem");
        let authority =
            || rcgen::generate_simple_self_signed(vec!["a.example".into()]).expect("a certificate").cert.pem();
        fs::write(&path, authority()).expect("writable");
        let transport = Transport::new("https://a.example", Some(&path), HeaderMap::new()).expect("a client");
        let stamp = || transport.inner.held.lock().expect("not poisoned").stamp;
        let first = stamp();
        transport.client();
        assert_eq!(stamp(), first);
        fs::write(folder.path().join("next"), authority() + "\n").expect("writable");
        fs::rename(folder.path().join("next"), &path).expect("one file system");
        transport.client();
        assert_ne!(stamp(), first);
        fs::write(&path, "no PEM").expect("writable");
        transport.client();
        fs::remove_file(&path).expect("it is there");
        transport.client();
        assert!(Transport::new("https://a.example", Some(&path), HeaderMap::new()).is_err());
        fs::write(&path, "no PEM").expect("writable");
        assert!(Transport::new("https://a.example", Some(&path), HeaderMap::new()).is_err());
    }
}
