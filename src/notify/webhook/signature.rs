//! Standard Webhooks signatures (standard-webhooks/standard-webhooks, spec v1): an HMAC-SHA256 over
//! `id.timestamp.body`, so that a receiver can tell who sent a page, that it is whole, and that it is not a replay.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use sha2::Sha256;

use crate::outbound::{Rotating, SecretFile};

/// The key messages of a webhook are signed with. Never printed.
#[derive(Debug, Clone)]
pub enum SigningKey {
    /// One that never changes.
    Fixed(SecretSlice<u8>),
    /// One in a file, which may be replaced.
    Rotating(Arc<Rotating<SecretSlice<u8>>>),
}

impl SigningKey {
    /// The key that a file holds, read again for each message.
    ///
    /// # Errors
    /// The file cannot be used. The message does not quote it.
    pub fn of_file(file: SecretFile) -> Result<Self, String> {
        let make = |secret: &SecretString| key(secret).map_err(str::to_owned);
        Rotating::new(file, make).map(|key| SigningKey::Rotating(Arc::new(key)))
    }

    /// The key a secret stands for: `whsec_<base64>` the bytes it encodes, anything else itself.
    ///
    /// # Errors
    /// When the secret is empty, or what follows `whsec_` is not Base64. The message does not quote it.
    pub fn new(secret: &SecretString) -> Result<Self, &'static str> {
        key(secret).map(SigningKey::Fixed)
    }

    /// The `webhook-signature` of one message: `v1,` and the Base64 of the HMAC.
    pub(super) fn sign(&self, id: &str, timestamp: &str, body: &[u8]) -> String {
        let key = match self {
            SigningKey::Fixed(key) => key.clone(),
            SigningKey::Rotating(key) => key.now(),
        };
        let mut mac = Hmac::<Sha256>::new_from_slice(key.expose_secret()).expect("HMAC takes keys of every length");
        for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
            mac.update(part);
        }
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

fn key(secret: &SecretString) -> Result<SecretSlice<u8>, &'static str> {
    let secret = secret.expose_secret();
    let key = match secret.strip_prefix("whsec_") {
        Some(encoded) => STANDARD
            .decode(encoded)
            .map_err(|_| "the webhook secret begins with whsec_, but what follows is not Base64")?,
        None => secret.as_bytes().to_vec(),
    };
    if key.is_empty() { Err("the webhook secret is empty") } else { Ok(key.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(secret: &str) -> Result<SigningKey, &'static str> {
        SigningKey::new(&SecretString::from(secret))
    }

    /// The example of the specification's own libraries.
    #[test]
    fn the_reference_example_has_the_reference_signature() {
        let signature = key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("a key").sign(
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            "1614265330",
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn every_part_counts() {
        let sign = |secret, id, time, body: &str| key(secret).expect("a key").sign(id, time, body.as_bytes());
        let signature = sign("k", "a", "1", "x");
        let others = [("l", "a", "1", "x"), ("k", "b", "1", "x"), ("k", "a", "2", "x"), ("k", "a", "1", "y")];
        for (secret, id, time, body) in others {
            assert_ne!(signature, sign(secret, id, time, body));
        }
    }

    #[test]
    fn a_malformed_secret_is_refused_and_none_is_shown() {
        assert!(key("").is_err());
        assert!(key("whsec_").is_err());
        assert!(key("whsec_not base64").is_err_and(|message| !message.contains("not base64")));
        assert!(!format!("{:?}", key("hunter2")).contains("hunter2"));
    }
}
