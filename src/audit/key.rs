//! The key that signs checkpoints (Ed25519), and the one that checks them, in the text forms of C2SP signed notes.
//!
//! ```text
//! PRIVATE+KEY+name+1f2e3d4c+base64(0x01 || seed)        signing.key, 0600
//! name+1f2e3d4c+base64(0x01 || public key)              key.pub, and what `slowburn audit key` prints
//! ```
//!
//! The keys of witnesses have 0x04 instead: what one use signs is no signature of the other.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use sha2::{Digest as _, Sha256};

/// What a key signs, as the algorithm byte of signed notes says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Signs {
    /// Notes: the key of a log.
    Notes = 1,
    /// Timestamped cosignatures of the notes of others: the key of a witness.
    Cosignatures = 4,
}

/// Longest key file, bytes.
const FILE_BYTES_MAX: u64 = 4096;
/// Longest name.
const NAME_BYTES_MAX: usize = 200;

/// Why there is no key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFault {
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for KeyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the key {} {}", self.path.display(), self.what)
    }
}

impl std::error::Error for KeyFault {}

/// What checks signatures of one log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    name: String,
    signs: Signs,
    bytes: [u8; 32],
}

impl PublicKey {
    /// That of no log: it checks nothing.
    pub(super) fn none() -> Self {
        PublicKey { name: "none".into(), signs: Signs::Notes, bytes: [0; 32] }
    }

    /// The log's origin.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it checks.
    pub fn signs(&self) -> Signs {
        self.signs
    }

    /// The first four bytes of `SHA-256(name || "\n" || algorithm || key)`, by which a signature names its key.
    pub fn id(&self) -> [u8; 4] {
        let hash = Sha256::new()
            .chain_update(&self.name)
            .chain_update([b'\n', self.signs as u8])
            .chain_update(self.bytes)
            .finalize();
        [hash[0], hash[1], hash[2], hash[3]]
    }

    /// Whether `signature` of `message` is by this key.
    pub fn checks(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.bytes).verify(message, signature).is_ok()
    }

    /// Reads `key.pub`, or a file like it.
    ///
    /// # Errors
    /// When it cannot be read or holds no key.
    pub fn load(path: &Path) -> Result<Self, KeyFault> {
        read(path)?.trim().parse().map_err(|what| KeyFault { path: path.to_owned(), what })
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = u32::from_be_bytes(self.id());
        write!(f, "{}+{id:08x}+{}", self.name, encoded(self.signs, &self.bytes))
    }
}

impl FromStr for PublicKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shape = "is no public key of a log: it looks like NAME+1f2e3d4c+AVx2...";
        let (name, id, signs, bytes) = split(text).ok_or(shape)?;
        let key = PublicKey { name: name.to_owned(), signs, bytes };
        if key.id() != id {
            return Err("has an id that does not belong to it: it was cut or changed".into());
        }
        Ok(key)
    }
}

/// What signs checkpoints. Never printed.
pub struct SigningKey {
    public: PublicKey,
    pair: Ed25519KeyPair,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("public", &self.public).finish_non_exhaustive()
    }
}

impl SigningKey {
    /// Reads the key at `path`, or makes it (0600) with this name; without a name it gets one of its own.
    ///
    /// # Errors
    /// When the file cannot be read or made, holds no key, or a key of another name.
    pub fn load_or_make(path: &Path, name: Option<&str>) -> Result<Self, KeyFault> {
        Self::load_or_make_for(Signs::Notes, path, name)
    }

    /// The same for a key of another use.
    ///
    /// # Errors
    /// As there, and where it is a key of another use.
    pub fn load_or_make_for(signs: Signs, path: &Path, name: Option<&str>) -> Result<Self, KeyFault> {
        let fault = |what: String| KeyFault { path: path.to_owned(), what };
        if let Some(name) = name {
            valid_name(name).map_err(&fault)?;
        }
        if !path.try_exists().map_err(|error| fault(format!("cannot be looked for: {error}")))? {
            Self::make(signs, path, name)?;
        }
        let mode = path.metadata().map_or(0, |file| file.permissions().mode());
        if mode & 0o077 != 0 {
            tracing::warn!(key = %path.display(), "other users may read the key that signs audit checkpoints: chmod 600");
        }
        let text = read(path)?;
        let key = Self::parse(text.trim()).map_err(&fault)?;
        match name {
            _ if key.public.signs != signs => {
                Err(fault(format!("is for {:?}, and not for {signs:?}", key.public.signs)))
            }
            Some(name) if name != key.public.name => Err(fault(format!(
                "is that of the log {:?}, and the settings call this log {name:?}: a log keeps its name; for a new one, \
                 begin with an empty directory",
                key.public.name
            ))),
            _ => Ok(key),
        }
    }

    fn make(signs: Signs, path: &Path, name: Option<&str>) -> Result<(), KeyFault> {
        let fault = |what: String| KeyFault { path: path.to_owned(), what };
        let mut random = [0; 36];
        SystemRandom::new()
            .fill(&mut random)
            .map_err(|_| fault("cannot be made: the system gives no random".into()))?;
        let (seed, own) = random.split_at(32);
        let own: String = own.iter().map(|byte| format!("{byte:02x}")).collect();
        let name = name.map_or_else(|| format!("slowburn/{own}"), str::to_owned);
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).expect("a seed of 32 bytes is a key");
        let id = u32::from_be_bytes(public(signs, &name, &pair).id());
        // Whole or not at all: a second start would not read half a key.
        let half = path.with_extension("new");
        let written = || {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&half)?;
            writeln!(file, "PRIVATE+KEY+{name}+{id:08x}+{}", encoded(signs, seed))?;
            file.sync_all()?;
            std::fs::rename(&half, path)
        };
        written().map_err(|error| fault(format!("cannot be made: {error}")))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let shape = "holds no signing key: it begins with PRIVATE+KEY+";
        let (name, id, signs, seed) = text.strip_prefix("PRIVATE+KEY+").and_then(split).ok_or(shape)?;
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| shape)?;
        let public = public(signs, name, &pair);
        if public.id() != id {
            return Err("has an id that does not belong to it: it was cut or changed".into());
        }
        Ok(SigningKey { public, pair })
    }

    /// What checks its signatures.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs `message`.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        let mut signature = [0; 64];
        signature.copy_from_slice(self.pair.sign(message).as_ref());
        signature
    }
}

fn public(signs: Signs, name: &str, pair: &Ed25519KeyPair) -> PublicKey {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(pair.public_key().as_ref());
    PublicKey { name: name.to_owned(), signs, bytes }
}

/// A name that a note can carry: no white space, no plus, nothing that acts.
fn valid_name(name: &str) -> Result<(), String> {
    let fits = |c: char| c.is_ascii_graphic() && c != '+';
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.chars().all(fits) {
        return Err(format!(
            "cannot be named {name:?}: an origin is up to 200 printable ASCII characters, no + or space"
        ));
    }
    Ok(())
}

fn encoded(signs: Signs, key: &[u8]) -> String {
    BASE64_STANDARD.encode([&[signs as u8], key].concat())
}

fn split(text: &str) -> Option<(&str, [u8; 4], Signs, [u8; 32])> {
    let mut parts = text.splitn(3, '+');
    let (name, id, key) = (parts.next()?, parts.next()?, parts.next()?);
    valid_name(name).ok()?;
    let id = (id.len() == 8).then(|| u32::from_str_radix(id, 16).ok())??;
    let key = BASE64_STANDARD.decode(key).ok()?;
    let (algorithm, key) = key.split_first()?;
    let key: [u8; 32] = key.try_into().ok()?;
    let signs = [Signs::Notes, Signs::Cosignatures].into_iter().find(|signs| *signs as u8 == *algorithm)?;
    Some((name, id.to_be_bytes(), signs, key))
}

fn read(path: &Path) -> Result<String, KeyFault> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text));
    read.map_err(|error| KeyFault { path: path.to_owned(), what: format!("cannot be read: {error}") })?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_private_and_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("signing.key");
        let made = SigningKey::load_or_make(&path, Some("example.com/log")).expect("made");
        assert_eq!(path.metadata().expect("there").permissions().mode() & 0o777, 0o600);
        let again = SigningKey::load_or_make(&path, None).expect("read");
        assert_eq!(made.public(), again.public());
        assert!(made.public().checks(b"message", &again.sign(b"message")));
        assert!(!made.public().checks(b"another", &again.sign(b"message")));
        // The seed may hold a + of its own.
        let seed =
            std::fs::read_to_string(&path).expect("there").splitn(5, '+').last().expect("a seed").trim().to_owned();
        assert!(!format!("{made:?}").contains(&seed));
        let fault = SigningKey::load_or_make(&path, Some("example.com/other")).expect_err("another name");
        assert!(fault.to_string().contains("example.com/log"), "{fault}");
    }

    #[test]
    fn a_public_key_is_read_as_it_is_written_and_a_changed_one_is_not() {
        // The example key of golang.org/x/mod/sumdb/note.
        let text = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
        let key: PublicKey = text.parse().expect("a key");
        assert_eq!(key.to_string(), text);
        for wrong in [&text[..text.len() - 1], &text.replace("c74f", "c74e"), "a b+00000000+AQ==", "", "+++"] {
            assert!(wrong.parse::<PublicKey>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn two_logs_without_a_name_have_different_ones() {
        let folder = tempfile::tempdir().expect("a folder");
        let name = |file: &str| {
            let key = SigningKey::load_or_make(&folder.path().join(file), None).expect("made");
            key.public().name().to_owned()
        };
        assert_ne!(name("a"), name("b"));
    }
}
