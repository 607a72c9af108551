//! A real OpenID Connect issuer: npm's oidc-provider, with forms that sign in whoever types a name.

use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use super::browser::Tab;
use super::parts::{self, Process};

/// The client that it knows.
pub const CLIENT: (&str, &str) = ("slowburn", "a secret of the tests + more");

/// A running issuer; it ends with the test.
pub struct Issuer {
    process: Process,
    url: String,
    _dir: TempDir,
}

impl Issuer {
    /// Starts it on a free port, with a client that is sent back to `redirect_uri`.
    ///
    /// # Panics
    /// Where node or the package is missing: tests/parts fetches it.
    pub async fn start(redirect_uri: &str) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let packages = root.join("target/parts/issuer");
        assert!(packages.join("node_modules").is_dir(), "the issuer is not there: tests/parts fetches it");
        let script = root.join("tests/it/harness/issuer/issuer.mjs");
        let dir = tempfile::tempdir().expect("a temporary folder");
        let [script, packages] = [script, packages].map(|path| path.display().to_string());
        let args = [script.as_str(), &packages, CLIENT.0, CLIENT.1, redirect_uri];
        let search: Vec<_> = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect();
        let node = search.iter().map(|folder| folder.join("node")).find(|path| path.is_file());
        let process =
            Process::start(&node.expect("node is not there: tests/parts installs it"), args, &dir.path().join("log"));
        let url = parts::eventually("the issuer says where it is", Duration::from_secs(60), || async {
            process.log().lines().find(|line| line.starts_with("http://")).map(str::to_owned)
        });
        let url = url.await;
        Issuer { process, url, _dir: dir }
    }

    /// Its name, and where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// It is gone.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// A person at its forms, as `subject`; the browser is at the first of them.
    pub async fn fill_in(&self, tab: &Tab, subject: &str) {
        tab.until("document.querySelector('input[name=login]')").await;
        tab.click("input[name=login]").await;
        tab.type_text(subject).await;
        tab.click("input[name=password]").await;
        tab.type_text("any").await;
        tab.click("button[type=submit]").await;
        tab.until("document.querySelector('input[name=prompt][value=consent]')").await;
        tab.click("button[type=submit]").await;
    }
}
