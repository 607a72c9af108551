//! The last good versions of objects, on disk: a restart has them although the newest ones are refused, or the API server is away.
//!
//! Deliberately absent: anything that is worth a history. The file is written whole, and one that cannot be read is none.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tracing::warn;

use super::rules::{Good, Goods};
use crate::spec::ObjectKey;

/// The file in the data directory.
pub const FILE: &str = "cluster.json";
/// Largest file that is read, bytes.
const BYTES_MAX: u64 = 512 << 20;
/// The form of the file.
const FORM: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Kept {
    form: u32,
    objects: Vec<KeptObject>,
}

#[derive(Serialize, Deserialize)]
struct KeptObject {
    kind: String,
    namespace: String,
    name: String,
    #[serde(flatten)]
    good: Good,
}

/// Reads them; none where there is no file, or one that cannot be read, which is said.
pub fn read(dir: &Path) -> Goods {
    let path = dir.join(FILE);
    let Ok(file) = File::open(&path) else { return Goods::new() };
    let mut text = Vec::new();
    let read = file.take(BYTES_MAX).read_to_end(&mut text).map_err(|error| error.to_string());
    let kept = read.and_then(|_| serde_json::from_slice::<Kept>(&text).map_err(|error| error.to_string()));
    match kept {
        Ok(kept) if kept.form == FORM => {
            let key = |one: &KeptObject| ObjectKey {
                kind: one.kind.clone(),
                namespace: one.namespace.clone(),
                name: one.name.clone(),
            };
            kept.objects.into_iter().map(|one| (Arc::new(key(&one)), one.good)).collect()
        }
        Ok(kept) => {
            warn!(form = kept.form, "the stored rules of the cluster are of another version and are not read");
            Goods::new()
        }
        Err(error) => {
            warn!(file = %path.display(), error, "the stored rules of the cluster cannot be read");
            Goods::new()
        }
    }
}

/// Writes them, beside the file and then over it.
///
/// # Errors
/// The disk.
pub fn write(dir: &Path, goods: &Goods) -> std::io::Result<()> {
    let objects = goods.iter().map(|(key, good)| KeptObject {
        kind: key.kind.clone(),
        namespace: key.namespace.clone(),
        name: key.name.clone(),
        good: good.clone(),
    });
    let text = serde_json::to_vec(&Kept { form: FORM, objects: objects.collect() })?;
    let beside = dir.join(format!("{FILE}.new"));
    let mut file = File::create(&beside)?;
    file.write_all(&text)?;
    file.sync_all()?;
    fs::rename(&beside, dir.join(FILE))?;
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_what_is_no_such_file_is_none() {
        let dir = tempfile::tempdir().expect("a folder");
        assert!(read(dir.path()).is_empty());
        let key = ObjectKey { kind: "ServiceLevel".into(), namespace: "shop".into(), name: "a".into() };
        let good = Good {
            uid: "u".into(),
            generation: 3,
            created: "2026-11-01T00:00:00Z".into(),
            texts: vec![("".into(), "{}".into())],
        };
        let goods = Goods::from([(Arc::new(key), good)]);
        write(dir.path(), &goods).expect("written");
        assert_eq!(read(dir.path()), goods);
        fs::write(dir.path().join(FILE), "{\"form\": 2, \"objects\": []}").expect("written");
        assert!(read(dir.path()).is_empty());
        fs::write(dir.path().join(FILE), "{\"form\": 1, \"obj").expect("written");
        assert!(read(dir.path()).is_empty());
    }
}
