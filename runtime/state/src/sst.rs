//! Runs as files: RocksDB's block-based table format, written in key order, cut at a size, checksummed.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use rocksdb::{Options, SstFileWriter};
use weir_protocol::{KeyGroupRange, ObjectRef};

use crate::error::StateError;
use crate::run_buffer::split_head;

/// Last eight bytes of every block-based table, little endian.
const FOOTER_MAGIC: u64 = 0x88e2_41b7_85f4_cff7;
const READ_CHUNK: usize = 1 << 20;

/// A file of a run or base, complete on the local disk.
#[derive(Debug, Clone)]
pub(crate) struct WrittenFile {
    pub(crate) object: ObjectRef,
    pub(crate) local: PathBuf,
    pub(crate) entries: u64,
    pub(crate) key_groups: KeyGroupRange,
}

/// Writes one run: several files if it outgrows the size they are cut at.
pub(crate) struct RunWriter<'a, N> {
    options: &'a Options,
    max_bytes: u64,
    /// Object key and local path of the next file.
    name: N,
    current: Option<OpenFile<'a>>,
    files: Vec<WrittenFile>,
}

struct OpenFile<'a> {
    writer: SstFileWriter<'a>,
    key: String,
    local: PathBuf,
    entries: u64,
    bytes: u64,
    groups: Option<KeyGroupRange>,
}

impl<'a, N: FnMut() -> (String, PathBuf)> RunWriter<'a, N> {
    pub(crate) fn new(options: &'a Options, max_bytes: u64, name: N) -> Self {
        Self { options, max_bytes, name, current: None, files: Vec::new() }
    }

    /// Appends an entry; keys ascend strictly. `None` is a tombstone.
    pub(crate) fn put(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), StateError> {
        let file = self.open_file()?;
        let written = match value {
            Some(value) => file.writer.put(key, value),
            None => file.writer.delete(key),
        };
        written.map_err(|source| StateError::rocks("write run", &file.local, source))?;
        file.entries += 1;
        file.bytes += (key.len() + value.map_or(0, <[u8]>::len)) as u64;
        file.cover(key);
        Ok(())
    }

    /// True if the next entry would better go to a new file.
    pub(crate) fn is_full(&self) -> bool {
        self.current.as_ref().is_some_and(|file| file.bytes >= self.max_bytes)
    }

    /// Hides everything older in `start..end`, also where this file holds no key.
    pub(crate) fn hide(&mut self, start: &[u8], end: &[u8]) -> Result<(), StateError> {
        let file = self.open_file()?;
        file.writer.delete_range(start, end).map_err(|source| StateError::rocks("write base", &file.local, source))?;
        file.cover(start);
        // The end is exclusive; the group before it is the last one covered.
        if let Some((group, _, rest)) = split_head(end) {
            let last = if end[2..4] == [0, 0] && rest.is_empty() { u32::from(group.0) } else { u32::from(group.0) + 1 };
            if let Some(groups) = &mut file.groups {
                groups.end_exclusive = groups.end_exclusive.max(last);
            }
        }
        Ok(())
    }

    /// Completes the current file; the next entry opens another.
    pub(crate) fn cut(&mut self) -> Result<(), StateError> {
        let Some(OpenFile { mut writer, key, local, entries, groups, .. }) = self.current.take() else {
            return Ok(());
        };
        let partial = partial_path(&local);
        writer.finish().map_err(|source| StateError::rocks("finish run", &partial, source))?;
        let (length, crc32c) = checksum(&partial)?;
        std::fs::rename(&partial, &local).map_err(|source| StateError::local("rename run to", &local, source))?;
        let object = ObjectRef { key, length, crc32c };
        let key_groups = groups.expect("a file is opened by its first entry");
        self.files.push(WrittenFile { object, local, entries, key_groups });
        Ok(())
    }

    /// Completes the run.
    pub(crate) fn finish(mut self) -> Result<Vec<WrittenFile>, StateError> {
        self.cut()?;
        Ok(self.files)
    }

    fn open_file(&mut self) -> Result<&mut OpenFile<'a>, StateError> {
        if self.current.is_none() {
            let (key, local) = (self.name)();
            let writer = SstFileWriter::create(self.options);
            let partial = partial_path(&local);
            writer.open(&partial).map_err(|source| StateError::rocks("create run", &partial, source))?;
            self.current = Some(OpenFile { writer, key, local, entries: 0, bytes: 0, groups: None });
        }
        Ok(self.current.as_mut().expect("it has just been opened"))
    }
}

impl OpenFile<'_> {
    #[inline]
    fn cover(&mut self, key: &[u8]) {
        let Some((group, _, _)) = split_head(key) else { return };
        let group = u32::from(group.0);
        let groups = self.groups.get_or_insert(KeyGroupRange::new(group, group + 1));
        groups.end_exclusive = groups.end_exclusive.max(group + 1);
    }
}

/// Where a file is written before it has its name.
fn partial_path(local: &Path) -> PathBuf {
    local.with_extension("partial")
}

/// Length and CRC-32C of a file.
pub(crate) fn checksum(path: &Path) -> Result<(u64, u32), StateError> {
    let error = |source| StateError::local("read", path, source);
    let mut file = File::open(path).map_err(error)?;
    let mut chunk = vec![0; READ_CHUNK];
    let (mut length, mut crc) = (0, 0);
    loop {
        let read = file.read(&mut chunk).map_err(error)?;
        if read == 0 {
            return Ok((length, crc));
        }
        length += read as u64;
        crc = crc32c::crc32c_append(crc, &chunk[..read]);
    }
}

/// True if a local file has this length and ends like a table: then it was written to its end.
pub(crate) fn looks_complete(path: &Path, length: u64) -> bool {
    use std::os::unix::fs::FileExt;
    let Ok(file) = File::open(path) else { return false };
    let mut magic = [0; 8];
    file.metadata().is_ok_and(|metadata| metadata.len() == length)
        && length >= 8
        && file.read_exact_at(&mut magic, length - 8).is_ok()
        && u64::from_le_bytes(magic) == FOOTER_MAGIC
}
