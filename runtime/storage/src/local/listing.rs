//! The files below a directory in the order of their keys, read no further than needed.

use std::fs;
use std::io;
use std::path::Path;

use crate::key::SCRATCH;
use crate::store::Listed;

/// The objects below `root` whose keys begin with `prefix`, ascending, at most `limit`. A missing directory is empty.
pub(super) fn list(root: &Path, prefix: &str, limit: usize) -> io::Result<Vec<Listed>> {
    let folder = prefix.rsplit_once('/').map_or("", |(folder, _)| folder);
    let start = if folder.is_empty() { String::new() } else { format!("{folder}/") };
    let mut found = Vec::new();
    walk(root, &start, prefix, limit, &mut found)?;
    Ok(found)
}

/// Visits the folder whose keys begin with `above` (empty, or ending in a slash) in key order.
fn walk(root: &Path, above: &str, prefix: &str, limit: usize, found: &mut Vec<Listed>) -> io::Result<()> {
    for name in sorted_names(root, above)? {
        if found.len() >= limit {
            return Ok(());
        }
        let key = format!("{above}{name}");
        if key.ends_with('/') {
            if key.starts_with(prefix) || prefix.starts_with(&key) {
                walk(root, &key, prefix, limit, found)?;
            }
        } else if key.starts_with(prefix) {
            match fs::metadata(root.join(&key)) {
                Ok(file) => found.push(Listed { length: file.len(), key }),
                // Deleted since the folder was read.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// The names in a folder, those of folders with a slash behind, because that is how they sort among keys.
fn sorted_names(root: &Path, above: &str) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(root.join(above)) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        let kind = entry.file_type()?;
        // A name that is not UTF-8, or a link, is nobody's object.
        let Ok(mut name) = entry.file_name().into_string() else { continue };
        if above.is_empty() && name == SCRATCH {
            continue;
        }
        if kind.is_dir() {
            name.push('/');
        } else if !kind.is_file() {
            continue;
        }
        names.push(name);
    }
    names.sort_unstable();
    Ok(names)
}
