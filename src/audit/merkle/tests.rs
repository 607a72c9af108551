//! Tests of the tree: the vectors that certificate logs share, and everything against the recursive definition.

use std::convert::Infallible;

use proptest::prelude::*;

use super::*;

/// The inputs of the reference tests of RFC 6962 (certificate-transparency, Trillian and others share them).
const INPUTS: [&str; 8] =
    ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal")).collect()
}

fn hash(hex: &str) -> Hash {
    format!("sha256:{hex}").parse().expect("a digest")
}

/// The definition, word for word: RFC 9162, 2.1.1.
fn naive_root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Hash::of(b""),
        [leaf] => *leaf,
        _ => {
            let mut k = 1;
            while k * 2 < leaves.len() {
                k *= 2;
            }
            Hash::node(&naive_root(&leaves[..k]), &naive_root(&leaves[k..]))
        }
    }
}

struct Tree {
    leaves: Vec<Hash>,
    stored: Vec<Hash>,
    frontier: Frontier,
}

fn tree(leaves: impl IntoIterator<Item = Hash>) -> Tree {
    let mut tree = Tree { leaves: Vec::new(), stored: Vec::new(), frontier: Frontier::default() };
    for leaf in leaves {
        tree.frontier.push(leaf, &mut tree.stored);
        tree.leaves.push(leaf);
    }
    tree
}

impl Tree {
    fn read(&self) -> impl FnMut(u32, u64) -> Result<Hash, Infallible> + '_ {
        |level, index| Ok(self.stored[position(level, index) as usize])
    }
}

fn numbered(n: u64) -> Tree {
    tree((0..n).map(|i| Hash::leaf(&i.to_be_bytes())))
}

#[test]
fn roots_are_those_that_certificate_logs_have() {
    let roots = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];
    assert_eq!(Frontier::default().root(), hash("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"));
    for (n, root) in (1..).zip(roots) {
        let tree = tree(INPUTS[..n].iter().map(|input| Hash::leaf(&bytes(input))));
        assert_eq!(tree.frontier.root(), hash(root), "{n} leaves");
    }
}

#[test]
fn proofs_are_those_that_certificate_logs_have() {
    let tree = tree(INPUTS.iter().map(|input| Hash::leaf(&bytes(input))));
    let path = |hexes: &[&str]| hexes.iter().map(|hex| hash(hex)).collect::<Vec<_>>();
    let first_of_eight = path(&[
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ]);
    assert_eq!(inclusion(0, 8, &mut tree.read()), Ok(first_of_eight));
    let from_six_to_eight = path(&[
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]);
    assert_eq!(consistency(6, 8, &mut tree.read()), Ok(from_six_to_eight));
}

#[test]
fn every_small_tree_agrees_with_the_definition() {
    for size in 0..70 {
        let tree = numbered(size);
        assert_eq!(tree.frontier.root(), naive_root(&tree.leaves));
        assert_eq!(stored_for(size), tree.stored.len() as u64);
        assert_eq!(Frontier::stored(size, &mut tree.read()).map(|kept| kept.root()), Ok(tree.frontier.root()));
        for level in 0..7 {
            for index in 0..size >> level {
                let leaves = &tree.leaves[(index << level) as usize..((index + 1) << level) as usize];
                assert_eq!(tree.stored[position(level, index) as usize], naive_root(leaves));
            }
        }
    }
}

#[test]
fn every_proof_of_a_small_tree_holds_and_no_other() {
    let tree = numbered(37);
    for size in 1..=37_u64 {
        let root = naive_root(&tree.leaves[..size as usize]);
        for seq in 0..size {
            let Ok(path) = inclusion(seq, size, &mut tree.read());
            let leaf = tree.leaves[seq as usize];
            assert!(included(&leaf, seq, size, &root, &path), "{seq} of {size}");
            assert!(!included(&Hash::leaf(b"other"), seq, size, &root, &path));
            for other in (0..size).filter(|other| *other != seq) {
                assert!(!included(&leaf, other, size, &root, &path), "{seq} of {size} taken for {other}");
            }
        }
        for old in 1..=size {
            let old_root = naive_root(&tree.leaves[..old as usize]);
            let Ok(path) = consistency(old, size, &mut tree.read());
            assert!(consistent(old, &old_root, size, &root, &path), "{old} to {size}");
            assert!(!consistent(old, &Hash::leaf(b"other"), size, &root, &path));
            assert!(!consistent(old, &old_root, size, &Hash::leaf(b"other"), &path));
        }
    }
}

#[test]
fn a_digest_is_read_as_it_is_written_and_nothing_else_is() {
    let digest = Hash::of(b"abc");
    assert_eq!(digest.to_string().parse(), Ok(digest));
    for wrong in ["", "sha256:", "sha256:0g", &digest.hex(), &digest.to_string().to_uppercase(), &format!("{digest}0")]
    {
        assert!(wrong.parse::<Hash>().is_err(), "{wrong}");
    }
}

proptest! {
    #[test]
    fn proofs_hold_in_trees_of_any_size(size in 1_u64..3000, seq in any::<prop::sample::Index>(), flip in any::<prop::sample::Index>()) {
        let tree = numbered(size);
        let root = naive_root(&tree.leaves);
        prop_assert_eq!(tree.frontier.root(), root);
        let seq = seq.index(size as usize) as u64;
        let Ok(mut path) = inclusion(seq, size, &mut tree.read());
        let leaf = tree.leaves[seq as usize];
        prop_assert!(included(&leaf, seq, size, &root, &path));
        if !path.is_empty() {
            let at = flip.index(path.len());
            path[at].0[0] ^= 1;
            prop_assert!(!included(&leaf, seq, size, &root, &path));
        }
        let old = seq + 1;
        let Ok(mut path) = consistency(old, size, &mut tree.read());
        let old_root = naive_root(&tree.leaves[..old as usize]);
        prop_assert!(consistent(old, &old_root, size, &root, &path));
        if !path.is_empty() {
            let at = flip.index(path.len());
            path[at].0[31] ^= 1;
            prop_assert!(!consistent(old, &old_root, size, &root, &path));
        }
    }
}
