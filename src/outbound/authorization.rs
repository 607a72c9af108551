//! The `Authorization` of a request, from a secret that may rotate.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret as _, SecretString};
use tracing::warn;

use super::secret::SecretFile;

/// Makes what is used of a secret. The error is for people and holds none of it.
type Make<T> = dyn Fn(&SecretString) -> Result<T, String> + Send + Sync;

/// What a secret file stands for, read again for each use. While the file cannot be used, which a rotation may make so
/// for a moment, it is what it was last.
pub struct Rotating<T> {
    file: SecretFile,
    make: Box<Make<T>>,
    /// The last good one, and whether it was said since then that the file cannot be used.
    last: Mutex<(T, bool)>,
}

impl<T: Clone> Rotating<T> {
    /// Reads `file` for the first time.
    ///
    /// # Errors
    /// The file cannot be used; for people, without any of the secret.
    pub fn new(
        file: SecretFile,
        make: impl Fn(&SecretString) -> Result<T, String> + Send + Sync + 'static,
    ) -> Result<Self, String> {
        let first = file.read().map_err(|fault| fault.to_string()).and_then(|secret| make(&secret))?;
        Ok(Rotating { file, make: Box::new(make), last: Mutex::new((first, false)) })
    }

    /// What the file stands for now.
    pub fn now(&self) -> T {
        let read = self.file.read().map_err(|fault| fault.to_string()).and_then(|secret| (self.make)(&secret));
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match read {
            Ok(made) => *last = (made, false),
            Err(why) => {
                if !last.1 {
                    warn!(file = %self.file.path().display(), "{why}; what it held before is used");
                }
                last.1 = true;
            }
        }
        last.0.clone()
    }
}

impl<T> fmt::Debug for Rotating<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Rotating").field(&self.file.path()).finish()
    }
}

/// How requests to one server say who they are. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub enum Authorization {
    /// They do not.
    #[default]
    None,
    /// A header that never changes.
    Fixed(HeaderValue),
    /// A header from a file.
    Rotating(Arc<Rotating<HeaderValue>>),
}

impl Authorization {
    /// A whole header value: `Bearer …`, `Basic …`.
    ///
    /// # Errors
    /// When HTTP cannot carry it. The error does not quote it.
    pub fn fixed(header: &SecretString) -> Result<Self, String> {
        value(header.expose_secret()).map(Authorization::Fixed)
    }

    /// A bearer token in a file.
    ///
    /// # Errors
    /// The file cannot be used.
    pub fn bearer(file: SecretFile) -> Result<Self, String> {
        let make = |token: &SecretString| value(&format!("Bearer {}", token.expose_secret()));
        Rotating::new(file, make).map(|header| Authorization::Rotating(Arc::new(header)))
    }

    /// A user name, and a password in a file (RFC 7617).
    ///
    /// # Errors
    /// The file cannot be used.
    pub fn basic(username: String, password: SecretFile) -> Result<Self, String> {
        let make = move |password: &SecretString| {
            let pair = format!("{username}:{}", password.expose_secret());
            value(&format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair)))
        };
        Rotating::new(password, make).map(|header| Authorization::Rotating(Arc::new(header)))
    }

    /// The header to send now.
    pub fn header(&self) -> Option<HeaderValue> {
        match self {
            Authorization::None => None,
            Authorization::Fixed(header) => Some(header.clone()),
            Authorization::Rotating(header) => Some(header.now()),
        }
    }

    /// The header to try with when the server refused `sent`: `None` while it would be the same one.
    pub fn renewed(&self, sent: Option<&HeaderValue>) -> Option<HeaderValue> {
        self.header().filter(|now| sent != Some(now))
    }
}

fn value(text: &str) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::from_str(text)
        .map_err(|_| "the credentials hold characters that no HTTP header can carry".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_anew_and_a_rotation_is_survived() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("token");
        let write = |text: &str| std::fs::write(&path, text).expect("writable");
        write("first\n");
        let authorization = Authorization::bearer(SecretFile::new(&path)).expect("a token");
        let shown = || authorization.header().map(|header| header.to_str().expect("ASCII").to_owned());
        let first = authorization.header();
        assert_eq!(shown().as_deref(), Some("Bearer first"));
        assert_eq!(authorization.renewed(first.as_ref()), None, "nothing else to try with");
        write("");
        assert_eq!(shown().as_deref(), Some("Bearer first"), "half written");
        std::fs::remove_file(&path).expect("it is there");
        assert_eq!(shown().as_deref(), Some("Bearer first"), "gone for a moment");
        write("second");
        assert!(authorization.renewed(first.as_ref()).is_some());
        assert_eq!(shown().as_deref(), Some("Bearer second"));
        write("pass:word/?#");
        let basic = Authorization::basic("user".into(), SecretFile::new(&path)).expect("a password");
        assert_eq!(basic.header().expect("a header").to_str().expect("ASCII"), "Basic dXNlcjpwYXNzOndvcmQvPyM=");
        assert!(!format!("{authorization:?} {basic:?}").contains("pass:word"));
    }

    #[test]
    fn what_cannot_be_used_at_first_is_said_without_the_secret() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("token");
        assert!(Authorization::bearer(SecretFile::new(&path)).is_err_and(|why| why.contains("cannot be opened")));
        std::fs::write(&path, "s3cret\nline").expect("writable");
        let why = Authorization::bearer(SecretFile::new(&path)).expect_err("two lines");
        assert!(!why.contains("s3cret"), "{why}");
        assert!(Authorization::fixed(&SecretString::from("Bearer a\nb")).is_err_and(|why| !why.contains("Bearer")));
    }
}
