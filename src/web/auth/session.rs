//! Cookies of people who sign in: sealed, so that this server can read what only it wrote, and nobody else can.
//!
//! A sign-in takes no memory here: who it is and until when stands in the cookie itself, under a key that is made at each
//! start and kept nowhere, or that several replicas share by a file of their own. So sessions end at a restart, a backup
//! of the data directory signs nobody in, and a stranger can fill nothing up. Who a session is of is looked up among the
//! identities at each request: whoever is taken out of them is out at once.
//!
//! Deliberately absent: what a person may do (`auth` and the identities say that), and a list of sessions. Only those that
//! were ended by hand are remembered, until they would have ended anyway.

use std::collections::{BTreeSet, HashMap};
use std::sync::Mutex;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::gate::Right;

/// Longest cookie that is opened, bytes.
const COOKIE_BYTES_MAX: usize = 4096;
/// Time from the begin of a sign-in to its end, seconds.
pub const SIGN_IN_S: i64 = 600;
/// Most ids that are remembered as spent.
const SPENT_MAX: usize = 10_000;
/// Says that another process sent a request on, which has looked at where it came from. No page of another site can send it.
const FORWARDED: HeaderName = HeaderName::from_static("x-slowburn-forwarded");

/// Somebody who signed in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Its own id.
    pub id: String,
    /// What the issuer calls the person.
    pub who: String,
    /// What the person's groups may do; `None`: groups give nothing and take nothing.
    pub rights: Option<BTreeSet<Right>>,
    /// When it ends.
    pub until_s: i64,
}

/// A sign-in that has begun, in the browser that began it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    /// Comes back with the answer of the issuer.
    pub state: String,
    /// Comes back within the ID token.
    pub nonce: String,
    /// Proves to the issuer that whoever brings the code is whoever began (PKCE).
    pub verifier: String,
    /// Where on the page the person was.
    pub to: String,
    /// When it began.
    pub at_s: i64,
}

/// What seals and opens.
pub struct Sessions {
    key: LessSafeKey,
    random: SystemRandom,
    /// What the key seals is good for this issuer and client only.
    bound_to: String,
    session_name: String,
    sign_in_name: String,
    is_secure: bool,
    /// How long a session lasts.
    length_s: i64,
    /// Sessions that were ended, and sign-ins whose answer has come, with the moment at which they are over anyway.
    spent: Mutex<HashMap<String, i64>>,
}

impl Sessions {
    /// `secret` is what replicas share; without it a key is made. `page` is the address of the page, which decides how
    /// cookies are named.
    ///
    /// # Errors
    /// The secret is too short, or there is no source of randomness; for people.
    pub fn new(secret: Option<&str>, bound_to: &str, page: &reqwest::Url, length_s: i64) -> Result<Self, String> {
        let random = SystemRandom::new();
        let mut bytes = [0; 32];
        match secret {
            Some(secret) if secret.len() < 32 => {
                return Err(
                    "auth.oidc.session_key_file: a key has 32 bytes or more, such as those of: openssl rand -base64 32"
                        .into(),
                );
            }
            Some(secret) => bytes = Sha256::digest(format!("slowburn sessions v1\n{secret}")).into(),
            None => random.fill(&mut bytes).map_err(|_| "the system gives no random bytes")?,
        }
        let key = UnboundKey::new(&CHACHA20_POLY1305, &bytes).map_err(|_| "a session key cannot be used")?;
        let is_secure = page.scheme() == "https";
        // Cookies know no ports: two daemons on one machine have names of their own.
        let name = |what: &str| match is_secure {
            true => format!("__Host-slowburn-{what}"),
            false => format!("slowburn-{what}-{}", page.port_or_known_default().unwrap_or(80)),
        };
        Ok(Sessions {
            key: LessSafeKey::new(key),
            random,
            bound_to: bound_to.to_owned(),
            session_name: name("session"),
            sign_in_name: name("sign-in"),
            is_secure,
            length_s,
            spent: Mutex::default(),
        })
    }

    /// A word that nobody guesses.
    ///
    /// # Errors
    /// There is no source of randomness.
    pub fn word(&self) -> Result<String, String> {
        let mut bytes = [0; 32];
        self.random.fill(&mut bytes).map_err(|_| "the system gives no random bytes")?;
        Ok(BASE64_URL_SAFE_NO_PAD.encode(bytes))
    }

    /// The cookie of a session that begins now.
    ///
    /// # Errors
    /// As of [`Sessions::word`].
    pub fn start(&self, who: &str, rights: Option<BTreeSet<Right>>, now_s: i64) -> Result<HeaderValue, String> {
        let session = Session { id: self.word()?, who: who.to_owned(), rights, until_s: now_s + self.length_s };
        self.cookie(&self.session_name, &self.seal("session", &session)?, self.length_s)
    }

    /// The session that a request brings.
    pub fn session(&self, headers: &HeaderMap, now_s: i64) -> Option<Session> {
        let session: Session = self.open("session", brought(headers, &self.session_name)?)?;
        // A clock that was set back must not make it last.
        let left = session.until_s - now_s;
        let is_over = !(1..=self.length_s).contains(&left) || self.is_spent(&session.id);
        (!is_over).then_some(session)
    }

    /// Ends the session that a request brings, and the cookie with it.
    ///
    /// # Errors
    /// As of [`Sessions::word`].
    pub fn end(&self, headers: &HeaderMap, now_s: i64) -> Result<HeaderValue, String> {
        if let Some(session) = self.session(headers, now_s) {
            self.spend(&session.id, session.until_s, now_s);
        }
        self.cookie(&self.session_name, "", 0)
    }

    /// The cookie of a sign-in that begins.
    ///
    /// # Errors
    /// As of [`Sessions::word`].
    pub fn begin(&self, begun: &Begun) -> Result<HeaderValue, String> {
        self.cookie(&self.sign_in_name, &self.seal("sign-in", begun)?, SIGN_IN_S)
    }

    /// The sign-in that this browser began and whose answer has not come yet: an answer is taken once.
    pub fn begun(&self, headers: &HeaderMap, state: &str, now_s: i64) -> Option<Begun> {
        let begun: Begun = self.open("sign-in", brought(headers, &self.sign_in_name)?)?;
        let is_fresh = (0..=SIGN_IN_S).contains(&(now_s - begun.at_s));
        let fits = is_fresh && same(&begun.state, state) && !self.is_spent(&begun.state);
        if !fits {
            return None;
        }
        self.spend(&begun.state, begun.at_s + SIGN_IN_S, now_s);
        Some(begun)
    }

    /// Takes the cookie of a sign-in away.
    ///
    /// # Errors
    /// Never, in truth: an empty cookie is a header.
    pub fn forget_sign_in(&self) -> Result<HeaderValue, String> {
        self.cookie(&self.sign_in_name, "", 0)
    }

    /// The cookie of a session, as it was brought: what is sent on to another process, and no other cookie with it.
    pub fn to_send_on(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let value = brought(headers, &self.session_name)?;
        HeaderValue::from_str(&format!("{}={value}", self.session_name)).ok()
    }

    fn cookie(&self, name: &str, value: &str, lasts_s: i64) -> Result<HeaderValue, String> {
        // Strict would lose it on the way back from the issuer, and behind the link of an alert.
        let secure = if self.is_secure { "; Secure" } else { "" };
        let text = format!("{name}={value}; Path=/; Max-Age={lasts_s}; HttpOnly; SameSite=Lax{secure}");
        let mut value = HeaderValue::from_str(&text).map_err(|_| "a cookie that is no header")?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// Sealed for one purpose: a sign-in that began is no session.
    fn seal(&self, purpose: &str, what: &impl Serialize) -> Result<String, String> {
        let mut bytes = serde_json::to_vec(what).map_err(|_| "a session that is no JSON")?;
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).map_err(|_| "the system gives no random bytes")?;
        let aad = Aad::from(format!("{purpose}\n{}", self.bound_to));
        self.key
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut bytes)
            .map_err(|_| "a session cannot be sealed")?;
        Ok(BASE64_URL_SAFE_NO_PAD.encode([&nonce[..], &bytes].concat()))
    }

    fn open<T: DeserializeOwned>(&self, purpose: &str, cookie: &str) -> Option<T> {
        let mut bytes = BASE64_URL_SAFE_NO_PAD.decode(cookie).ok()?;
        let (nonce, sealed) = bytes.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let aad = Aad::from(format!("{purpose}\n{}", self.bound_to));
        let plain = self.key.open_in_place(nonce, aad, sealed).ok()?;
        serde_json::from_slice(plain).ok()
    }

    fn is_spent(&self, id: &str) -> bool {
        self.spent.lock().unwrap_or_else(std::sync::PoisonError::into_inner).contains_key(id)
    }

    fn spend(&self, id: &str, until_s: i64, now_s: i64) {
        let mut spent = self.spent.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if spent.len() >= SPENT_MAX {
            spent.retain(|_, until_s| *until_s > now_s);
        }
        if spent.len() >= SPENT_MAX {
            // Whatever would be over first makes room.
            let first = spent.iter().min_by_key(|(_, until_s)| **until_s).map(|(id, _)| id.clone());
            first.map(|id| spent.remove(&id));
        }
        spent.insert(id.to_owned(), until_s);
    }
}

/// Whether the page itself sent a request that changes something: browsers say where such a request comes from, and the
/// guard has held that against our own names. A link that somebody follows says nothing.
pub fn of_own_page(headers: &HeaderMap) -> bool {
    headers.contains_key(header::ORIGIN) || headers.contains_key(FORWARDED)
}

/// The cookie of this name; two of them are as good as none.
fn brought<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let pairs = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut found = pairs.flat_map(|text| text.split(';')).filter_map(|pair| {
        let (own, value) = pair.trim().split_once('=')?;
        (own == name).then_some(value)
    });
    let first = found.next()?;
    (found.next().is_none() && first.len() <= COOKIE_BYTES_MAX).then_some(first)
}

/// Compared in full, so that time tells nothing.
pub fn same(one: &str, other: &str) -> bool {
    let differs = one.bytes().zip(other.bytes()).fold(0, |sum, (a, b)| sum | (a ^ b));
    one.len() == other.len() && std::hint::black_box(differs) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_772_443_800;

    fn sessions(secret: Option<&str>, bound_to: &str, page: &str) -> Sessions {
        Sessions::new(secret, bound_to, &page.parse().expect("a URL"), 3600).expect("a key")
    }

    /// What a browser sends back.
    fn sent(cookies: &[&HeaderValue]) -> HeaderMap {
        let pair = |cookie: &&HeaderValue| cookie.to_str().expect("text").split(';').next().expect("a pair").to_owned();
        let text = cookies.iter().map(pair).collect::<Vec<_>>().join("; ");
        HeaderMap::from_iter([(header::COOKIE, HeaderValue::from_str(&text).expect("text"))])
    }

    #[test]
    fn a_session_is_known_until_it_ends_or_is_ended() {
        let own = sessions(None, "issuer client", "https://slo.example.com");
        let rights = Some(BTreeSet::from([Right::Halt]));
        let cookie = own.start("ada", rights.clone(), NOW).expect("a cookie");
        let text = cookie.to_str().expect("text");
        for part in
            ["__Host-slowburn-session=", "; Path=/; ", "; HttpOnly", "; SameSite=Lax", "; Secure", "Max-Age=3600"]
        {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        assert!(!text.contains("Domain") && !text.contains("ada") && cookie.is_sensitive(), "{text}");
        let headers = sent(&[&cookie]);
        let session = own.session(&headers, NOW + 3599).expect("it lives");
        assert_eq!((session.who.as_str(), &session.rights), ("ada", &rights));
        assert_eq!(own.session(&headers, NOW + 3600), None, "it is over");
        assert_eq!(own.session(&headers, NOW - 1), None, "a clock that was set back makes nothing last");
        let gone = own.end(&headers, NOW).expect("a cookie");
        assert!(gone.to_str().expect("text").contains("Max-Age=0"));
        assert_eq!(own.session(&headers, NOW), None, "a copy of the cookie is as dead as the cookie");
    }

    #[test]
    fn what_another_wrote_or_was_written_for_something_else_is_no_session() {
        let key = Some("0123456789abcdef0123456789abcdef");
        let (own, page) = (sessions(key, "issuer client", "https://slo.example.com"), "https://slo.example.com");
        let cookie = own.start("ada", None, NOW).expect("a cookie");
        assert!(sessions(key, "issuer client", page).session(&sent(&[&cookie]), NOW).is_some(), "replicas share a key");
        assert!(sessions(key, "other client", page).session(&sent(&[&cookie]), NOW).is_none());
        assert!(sessions(None, "issuer client", page).session(&sent(&[&cookie]), NOW).is_none());
        assert!(Sessions::new(Some("short"), "", &page.parse().expect("a URL"), 1).is_err());
        assert!(own.session(&sent(&[&cookie, &cookie]), NOW).is_none(), "two of one name");
        let text = cookie.to_str().expect("text").to_owned();
        let value = text.split(['=', ';']).nth(1).expect("a value");
        for wrong in [
            value[..value.len() - 1].to_owned(),
            value.replacen(&value[20..21], "-", 1),
            String::new(),
            "A".repeat(5000),
        ] {
            let header = HeaderValue::from_str(&format!("__Host-slowburn-session={wrong}")).expect("text");
            if wrong != value {
                assert!(own.session(&HeaderMap::from_iter([(header::COOKIE, header)]), NOW).is_none(), "{wrong}");
            }
        }
        // A sign-in that began is no session, whatever it is called.
        let begun = Begun { state: "s".into(), nonce: "n".into(), verifier: "v".into(), to: "/".into(), at_s: NOW };
        let begun = own.begin(&begun).expect("a cookie").to_str().expect("text").replace("sign-in=", "session=");
        assert!(own.session(&sent(&[&HeaderValue::from_str(&begun).expect("text")]), NOW).is_none());
    }

    #[test]
    fn an_answer_is_taken_once_from_the_browser_that_began_within_ten_minutes() {
        let own = sessions(None, "", "http://127.0.0.1:9595");
        let begun = Begun {
            state: own.word().expect("random"),
            nonce: "n".into(),
            verifier: "v".into(),
            to: "/".into(),
            at_s: NOW,
        };
        let cookie = own.begin(&begun).expect("a cookie");
        let text = cookie.to_str().expect("text");
        assert!(text.starts_with("slowburn-sign-in-9595=") && !text.contains("Secure"), "{text}");
        let headers = sent(&[&cookie]);
        assert_eq!(own.begun(&headers, "another state", NOW), None);
        assert_eq!(own.begun(&headers, &begun.state, NOW + SIGN_IN_S + 1), None);
        assert_eq!(own.begun(&HeaderMap::new(), &begun.state, NOW), None, "another browser");
        assert_eq!(own.begun(&headers, &begun.state, NOW + 1), Some(begun.clone()));
        assert_eq!(own.begun(&headers, &begun.state, NOW + 1), None, "a second time");
        // What is remembered is bounded.
        for n in 0..2 * SPENT_MAX {
            own.spend(&n.to_string(), NOW + 10 + i64::from(n % 7 == 0), NOW);
        }
        assert!(own.spent.lock().expect("not poisoned").len() <= SPENT_MAX);
    }
}
