//! Which files a source consists of.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::error::FileError;

/// Where files are looked for.
#[derive(Debug, Clone)]
pub(super) enum Roots {
    /// A file, or a directory of files.
    Path { path: PathBuf, recursive: bool },
    /// These files.
    List(Vec<PathBuf>),
}

/// A file of the source.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Found {
    /// Its name among the files of the source.
    pub(super) name: String,
    pub(super) path: PathBuf,
    pub(super) length: u64,
}

impl Roots {
    /// All files that exist now, in the order of their names (lists: as given).
    pub(super) fn list(&self) -> Result<Vec<Found>, FileError> {
        match self {
            Self::Path { path, recursive } => {
                let metadata = stat(path)?;
                if metadata.is_file() {
                    return Ok(vec![Found { name: file_name(path)?, path: path.clone(), length: metadata.len() }]);
                }
                let mut found = Vec::new();
                walk(path, "", *recursive, &mut found)?;
                found.sort();
                Ok(found)
            }
            Self::List(paths) => {
                let mut names = BTreeSet::new();
                paths
                    .iter()
                    .map(|path| {
                        let name = utf8(path, path.to_str())?;
                        if !names.insert(name.clone()) {
                            return Err(FileError::NamedTwice { path: path.clone() });
                        }
                        Ok(Found { name, path: path.clone(), length: stat(path)?.len() })
                    })
                    .collect()
            }
        }
    }

    /// The path of the file with this name, whether it exists or not.
    pub(super) fn path_of(&self, name: &str) -> Result<PathBuf, FileError> {
        match self {
            Self::Path { path, .. } if !path.is_dir() && path.file_name() == Some(name.as_ref()) => Ok(path.clone()),
            Self::Path { path, .. } => Ok(path.join(name)),
            Self::List(paths) => match paths.iter().find(|path| path.to_str() == Some(name)) {
                Some(path) => Ok(path.clone()),
                None => Err(FileError::Foreign { split: name.to_owned() }),
            },
        }
    }
}

/// True for files that are not, or not yet, to be read.
fn is_ignored(name: &str) -> bool {
    name.starts_with(['.', '_']) || name.ends_with(".tmp") || name.ends_with(".inprogress")
}

fn walk(directory: &Path, prefix: &str, recursive: bool, found: &mut Vec<Found>) -> Result<(), FileError> {
    let listing = |source| FileError::List { path: directory.to_owned(), source };
    for entry in fs::read_dir(directory).map_err(listing)? {
        let entry = entry.map_err(listing)?;
        let path = entry.path();
        let lossy = entry.file_name().to_string_lossy().into_owned();
        if is_ignored(&lossy) {
            continue;
        }
        let name = format!("{prefix}{}", utf8(&path, entry.file_name().to_str())?);
        // A link to a directory is not entered: it could lead back here.
        if entry.file_type().map_err(listing)?.is_dir() {
            if recursive {
                walk(&path, &format!("{name}/"), recursive, found)?;
            }
            continue;
        }
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() => found.push(Found { name, path, length: metadata.len() }),
            Ok(_) => {}
            // Renamed or removed since it was listed, or a link to nothing.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(FileError::Open { path, source }),
        }
    }
    Ok(())
}

fn stat(path: &Path) -> Result<fs::Metadata, FileError> {
    fs::metadata(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => FileError::Missing { path: path.to_owned() },
        _ => FileError::Open { path: path.to_owned(), source },
    })
}

fn file_name(path: &Path) -> Result<String, FileError> {
    utf8(path, path.file_name().and_then(|name| name.to_str()))
}

fn utf8(path: &Path, name: Option<&str>) -> Result<String, FileError> {
    name.map(str::to_owned).ok_or_else(|| FileError::Name { path: path.to_owned() })
}
