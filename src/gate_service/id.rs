//! Ids of decisions, permits, approvals and halts: in the order of time, and nobody guesses the next one.

use ring::rand::{SecureRandom, SystemRandom};

/// Letters of Crockford's base 32: no two look alike.
const LETTERS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Makes ids.
pub struct Ids(SystemRandom);

impl Ids {
    pub fn new() -> Self {
        Ids(SystemRandom::new())
    }

    /// `PREFIX_` and 26 letters: 48 bits of time in milliseconds, 80 bits of chance. `None` where the system has no
    /// chance to give; then nothing may be issued.
    pub fn next(&self, prefix: &str, now_ms: i64) -> Option<String> {
        let mut bytes = [0u8; 16];
        bytes[..6].copy_from_slice(&now_ms.max(0).to_be_bytes()[2..]);
        self.0.fill(&mut bytes[6..]).ok()?;
        let number = u128::from_be_bytes(bytes);
        let letter = |place: u32| char::from(LETTERS[(number >> (5 * place)) as usize & 31]);
        let letters: String = (0..26).rev().map(letter).collect();
        Some(format!("{prefix}_{letters}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_as_time_does_and_never_repeat() {
        let ids = Ids::new();
        let at = |ms| ids.next("dec", ms).expect("chance");
        let (a, b, c) = (at(1_700_000_000_000), at(1_700_000_000_001), at(1_800_000_000_000));
        assert!(a < b && b < c, "{a} {b} {c}");
        assert_ne!(at(5), at(5));
        assert_eq!(a.len(), "dec_".len() + 26);
    }
}
