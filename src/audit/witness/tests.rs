//! A witness signs what goes on from what it has seen, and nothing else; policies count whose word is enough.

use std::collections::BTreeSet;

use super::policy::WitnessPolicy;
use super::*;

struct Place {
    folder: tempfile::TempDir,
    key: SigningKey,
    hashes: Vec<Hash>,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let key = SigningKey::load_or_make(&folder.path().join("log.key"), Some("example.com/log")).expect("made");
        let (mut frontier, mut hashes) = (Frontier::default(), Vec::new());
        for n in 0..40_u64 {
            frontier.push(Hash::leaf(&n.to_be_bytes()), &mut hashes);
        }
        Place { folder, key, hashes }
    }

    fn read(&self, level: u32, index: u64) -> Result<Hash, ()> {
        Ok(self.hashes[merkle::position(level, index) as usize])
    }

    fn note(&self, size: u64) -> String {
        let mut read = |level, index| self.read(level, index);
        let root = Frontier::stored(size, &mut read).expect("stored").root();
        Checkpoint { origin: "example.com/log".into(), size, root }.sign(&self.key)
    }

    fn request(&self, old: u64, size: u64) -> AddCheckpoint {
        let mut read = |level, index| self.read(level, index);
        let proof =
            if 0 < old && old < size { merkle::consistency(old, size, &mut read).expect("stored") } else { vec![] };
        AddCheckpoint { old, proof, note: self.note(size) }
    }

    fn witness(&self) -> Witness {
        let logs = vec![self.key.public().clone()];
        Witness::open(&self.folder.path().join("witness"), Some("w.example"), logs).expect("it opens")
    }
}

#[test]
fn what_goes_on_is_signed_and_nothing_else() {
    let place = Place::new();
    let witness = place.witness();
    let ask = |request: &AddCheckpoint| witness.add(&request.text(), 1_790_000_000);
    let signed = |added: Added, note: &str| {
        let Added::Signed(line) = added else { panic!("{added:?}") };
        let anchor = Anchor::parse(&format!("{note}{line}")).expect("a note");
        assert_eq!(cosigned_at(&anchor, witness.public()), Some(1_790_000_000));
        assert_eq!(anchor.check(place.key.public()), Ok(()));
    };
    assert_eq!(ask(&place.request(3, 7)), Added::Conflict(0));
    for (old, size) in [(0, 0), (0, 5), (5, 5), (5, 6), (6, 32), (32, 33)] {
        let request = place.request(old, size);
        assert_eq!(AddCheckpoint::parse(&request.text()).as_ref(), Some(&request));
        signed(ask(&request), &request.note);
    }
    assert_eq!(ask(&place.request(0, 5)), Added::Conflict(33));
    assert_eq!(ask(&place.request(32, 40)), Added::Conflict(33));
    assert_eq!(ask(&place.request(33, 20)), Added::Malformed, "old > size");
    // Another history: of the same size, and of a larger one with any proof.
    let other = |size| Checkpoint { origin: "example.com/log".into(), size, root: Hash::of(b"other") }.sign(&place.key);
    for (size, proof) in [(33, vec![]), (40, place.request(33, 40).proof), (40, vec![])] {
        assert_eq!(ask(&AddCheckpoint { old: 33, proof, note: other(size) }), Added::Inconsistent, "{size}");
    }
    let mut wrong = place.request(33, 40);
    wrong.proof.reverse();
    assert_eq!(ask(&wrong), Added::Inconsistent);
    // By another key, of another log, in another form.
    let stranger = SigningKey::load_or_make(&place.folder.path().join("s.key"), Some("example.com/log")).expect("made");
    let forged = Checkpoint { origin: "example.com/log".into(), size: 40, root: Hash::of(b"x") }.sign(&stranger);
    assert_eq!(ask(&AddCheckpoint { old: 33, proof: vec![], note: forged }), Added::Untrusted);
    let unknown = Checkpoint { origin: "example.com/else".into(), size: 40, root: Hash::of(b"x") }.sign(&place.key);
    assert_eq!(ask(&AddCheckpoint { old: 0, proof: vec![], note: unknown }), Added::Unknown);
    for text in ["", "old 33", "old -1\n\nx", "old 033\n\nx", "old 33\nnot base64\n\nx", "new 33\n\nx"] {
        assert_eq!(witness.add(text, 1), Added::Malformed, "{text:?}");
    }
    signed(ask(&place.request(33, 40)), &place.note(40));
}

#[test]
fn it_remembers_over_a_restart_and_does_not_start_without_its_memory() {
    let place = Place::new();
    let dir = place.folder.path().join("witness");
    let witness = place.witness();
    assert!(matches!(witness.add(&place.request(0, 20).text(), 5), Added::Signed(_)));
    let other = Witness::open(&dir, None, Vec::new()).expect_err("one at a time");
    assert!(other.contains("another witness"), "{other}");
    let key = witness.public().clone();
    drop(witness);
    let witness = place.witness();
    assert_eq!(witness.public(), &key);
    assert_eq!(witness.add(&place.request(0, 30).text(), 6), Added::Conflict(20));
    let note = witness.checkpoint(&Hash::of(b"example.com/log").hex()).expect("it has seen it");
    assert_eq!(cosigned_at(&Anchor::parse(&note).expect("a note"), &key), Some(5));
    drop(witness);
    let seen = dir.join("seen.json");
    let kept = std::fs::read(&seen).expect("there");
    for lost in [None, Some(&b""[..]), Some(&kept[..kept.len() / 2])] {
        match lost {
            None => std::fs::remove_file(&seen).expect("there"),
            Some(bytes) => std::fs::write(&seen, bytes).expect("written"),
        }
        let error = Witness::open(&dir, None, vec![]).expect_err("it has forgotten");
        assert!(error.contains("seen.json"), "{error}");
    }
    std::fs::write(&seen, &kept).expect("written");
    let witness = place.witness();
    assert_eq!(witness.forget("example.com/log"), Ok(20));
    assert!(matches!(witness.add(&place.request(0, 30).text(), 7), Added::Signed(_)));
}

#[test]
fn a_policy_says_whose_word_is_enough() {
    let folder = tempfile::tempdir().expect("a folder");
    let key = |name: &str| {
        let key = SigningKey::load_or_make_for(Signs::Cosignatures, &folder.path().join(name), Some(name));
        key.expect("made").public().to_string()
    };
    let log = SigningKey::load_or_make(&folder.path().join("log"), Some("log")).expect("made").public().to_string();
    let (a, b, c) = (key("a.example"), key("b.example"), key("c.example"));
    let head =
        format!("# all of ours\nlog {log}\nwitness a {a} http://a/\nwitness b {b}\n\nwitness c\t{c}  https://c\n");
    let suffices = |tail: &str, signed: &[&str]| {
        let policy = WitnessPolicy::parse(&format!("{head}{tail}\n")).expect("a policy");
        policy.suffices(&signed.iter().copied().collect::<BTreeSet<_>>())
    };
    for (tail, signed, expected) in [
        ("quorum none", &[][..], true),
        ("quorum a", &[], false),
        ("quorum a", &["b", "c"], false),
        ("quorum a", &["a"], true),
        ("group g any a b\nquorum g", &["b"], true),
        ("group g all a b\nquorum g", &["b"], false),
        ("group g 2 a b c\nquorum g", &["a", "c"], true),
        ("group g 2 a b c\nquorum g", &["a"], false),
        ("group g any a b\ngroup h all g c\nquorum h", &["b", "c"], true),
        ("group g any a b\ngroup h all g c\nquorum h", &["a", "b"], false),
    ] {
        assert_eq!(suffices(tail, signed), expected, "{tail} {signed:?}");
    }
    for (tail, why) in [
        ("", "needs one"),
        ("quorum a\nquorum a", "needs one"),
        ("quorum d", "no witness or group"),
        ("group g 0 a\nquorum g", "no number"),
        ("group g 3 a b\nquorum g", "no number"),
        ("group g any\nquorum g", "no number"),
        ("group g any d\nquorum g", "before it"),
        ("group g any a a\nquorum g", "already"),
        ("group g any a\ngroup h any a\nquorum g", "already"),
        ("group a any b\nquorum a", "taken"),
        (&format!("witness d {a}\nquorum d"), "twice"),
        (&format!("witness d {log}\nquorum d"), "is needed"),
        (&format!("log {a}\nquorum a"), "is needed"),
        ("witness d x+00000000+AA==\nquorum d", "line 7"),
        ("qourum a\nquorum a", "is none of"),
    ] {
        let error = WitnessPolicy::parse(&format!("{head}{tail}\n")).expect_err(tail);
        assert!(error.contains(why), "{tail}: {error}");
    }
}
