//! Which file uses which, and where that goes round in a circle.
//!
//! An import is an edge to the file that holds what is imported: re-exports are followed to where it really is. A file and
//! those in its folder are one noun in several files, so what goes up and down between them is no circle.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;

use super::{code, is_test_code, module, unfold};

/// What a file says of others.
struct Source {
    own: Vec<String>,
    /// Imports: path, and the name it has here.
    uses: Vec<(Vec<String>, String)>,
    /// Re-exports, likewise.
    exports: Vec<(Vec<String>, String)>,
    /// Paths in the code itself.
    paths: BTreeSet<String>,
}

fn words(path: &str) -> Vec<String> {
    path.split("::").map(|word| word.trim().to_owned()).collect()
}

fn source(path: &str, text: &str) -> Source {
    let use_of = Regex::new(r"(pub(?:\([^)]*\))?\s+)?\buse\s+([^;]+);").expect("a valid pattern");
    let path_of = Regex::new(r"\b[a-z_]\w*(?:::\w+)+").expect("a valid pattern");
    let code = code(text);
    let own = module(path).into_iter().map(str::to_owned).collect();
    let mut source = Source { own, uses: Vec::new(), exports: Vec::new(), paths: BTreeSet::new() };
    for hit in use_of.captures_iter(&code) {
        let mut found = BTreeSet::new();
        unfold("", &hit[2], &mut found);
        let named = |path: String| {
            let mut path = words(&path);
            if path.last().is_some_and(|last| last == "self" || last == "*") && path.len() > 1 {
                path.pop();
            }
            let name = path.last().cloned().unwrap_or_default();
            (path, name)
        };
        let into = if hit.get(1).is_some() { &mut source.exports } else { &mut source.uses };
        into.extend(found.into_iter().map(named));
    }
    let rest = use_of.replace_all(&code, ";");
    source.paths.extend(path_of.find_iter(&rest).map(|path| path.as_str().to_owned()));
    source
}

/// The files of the crate by the module they are.
struct Crate<'a> {
    files: BTreeMap<Vec<String>, &'a str>,
    sources: BTreeMap<&'a str, Source>,
}

impl Crate<'_> {
    /// A path as it is named in the module `own`, from the root of the crate; `None` of what is no path of the crate.
    fn absolute(&self, own: &[String], path: &[String]) -> Option<Vec<String>> {
        let first = path.first()?;
        let child = || {
            let mut child = own.to_vec();
            child.push(first.clone());
            child
        };
        let (mut at, mut skip) = match first.as_str() {
            "crate" => (Vec::new(), 1),
            "self" => (own.to_vec(), 1),
            "super" => (own[..own.len().checked_sub(1)?].to_vec(), 1),
            _ if self.files.contains_key(&child()) => (own.to_vec(), 0),
            _ => return None,
        };
        while path.get(skip).is_some_and(|word| word == "super") {
            at.pop()?;
            skip += 1;
        }
        at.extend_from_slice(&path[skip..]);
        Some(at)
    }

    /// The file that really holds what this path from the root names.
    fn home(&self, path: &[String], depth: usize) -> Option<&str> {
        let at = (0..=path.len()).rev().find(|&at| self.files.contains_key(&path[..at]))?;
        let (file, rest) = (self.files[&path[..at]], &path[at..]);
        let followed = || {
            let (to, _) = self.sources[file].exports.iter().find(|(_, name)| rest.first() == Some(name))?;
            let mut to = self.absolute(&path[..at], to)?;
            to.extend_from_slice(&rest[1..]);
            self.home(&to, depth + 1)
        };
        if depth < 8 { followed().or(Some(file)) } else { Some(file) }
    }

    fn edges(&self, source: &Source) -> BTreeSet<&str> {
        let mut modules: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        let mut named: Vec<Vec<String>> = Vec::new();
        for (path, name) in &source.uses {
            let Some(path) = self.absolute(&source.own, path) else { continue };
            match self.files.contains_key(&path) {
                // What is used of it is named by a path.
                true => drop(modules.insert(name, path)),
                false => named.push(path),
            }
        }
        for path in source.paths.iter().map(|path| words(path)) {
            match modules.get(path[0].as_str()) {
                Some(module) => named.push([module.as_slice(), &path[1..]].concat()),
                None => named.extend(self.absolute(&source.own, &path)),
            }
        }
        named.iter().filter_map(|path| self.home(path, 0)).collect()
    }
}

/// Whether one file is in the folder of the other.
fn of_one_noun(a: &str, b: &str) -> bool {
    let folder = |file: &str| format!("{}/", file.trim_end_matches(".rs"));
    a == b || a.starts_with(&folder(b)) || b.starts_with(&folder(a))
}

/// The circles: files each of which leads to all others.
pub fn circles(files: &[(String, String)]) -> Vec<Vec<String>> {
    let product = files.iter().filter(|(path, _)| {
        path.starts_with("src/") && path.ends_with(".rs") && !is_test_code(path) && path != "src/main.rs"
    });
    let product: Vec<&(String, String)> = product.collect();
    let sources: BTreeMap<&str, Source> =
        product.iter().map(|(path, text)| (path.as_str(), source(path, text))).collect();
    let by_module = sources.iter().map(|(path, source)| (source.own.clone(), *path)).collect();
    let all = Crate { files: by_module, sources };
    let edges: BTreeMap<&str, BTreeSet<&str>> = all
        .sources
        .iter()
        .map(|(path, source)| (*path, all.edges(source).into_iter().filter(|to| !of_one_noun(path, to)).collect()))
        .collect();
    let reach = |from: &str| {
        let (mut seen, mut left) = (BTreeSet::new(), vec![from.to_owned()]);
        while let Some(at) = left.pop() {
            for to in edges.get(at.as_str()).into_iter().flatten() {
                if seen.insert((*to).to_owned()) {
                    left.push((*to).to_owned());
                }
            }
        }
        seen
    };
    let reached: BTreeMap<&str, BTreeSet<String>> = edges.keys().map(|path| (*path, reach(path))).collect();
    let mut circles: BTreeSet<Vec<String>> = BTreeSet::new();
    for (path, to) in &reached {
        if to.contains(*path) {
            let mut circle: Vec<String> =
                to.iter().filter(|other| reached[other.as_str()].contains(*path)).cloned().collect();
            circle.sort();
            circles.insert(circle);
        }
    }
    circles.into_iter().collect()
}
