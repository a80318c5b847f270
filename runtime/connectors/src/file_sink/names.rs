//! Names of hidden and final files.

use std::fmt::Write;

use weir_engine::sink::SinkContext;
use weir_protocol::CheckpointId;
use xxhash_rust::xxh3::xxh3_64;

const HIDDEN_SUFFIX: &str = ".inprogress";

/// Whose files these are: one subtask in one generation.
#[derive(Debug, Clone)]
pub(super) struct Author {
    /// What all hidden files of this job and operator begin with.
    prefix: String,
    operator: String,
    subtask: u32,
    generation: u64,
}

impl Author {
    pub(super) fn new(ctx: &SinkContext) -> Self {
        let operator = encoded(&ctx.operator);
        // The hash has a fixed width: an operator's name cannot be mistaken for the end of a job's.
        let prefix = format!(".weir-{:016x}-{operator}-", xxh3_64(ctx.job_id.as_bytes()));
        Self { prefix, operator, subtask: ctx.subtask, generation: ctx.generation }
    }

    /// The hidden name of this author's file `number`.
    pub(super) fn hidden(&self, number: u64) -> String {
        format!("{}{}-g{}-{number}{HIDDEN_SUFFIX}", self.prefix, self.subtask, self.generation)
    }

    /// The final name of part `part` (from 0) of an epoch; `extension` without its first dot.
    pub(super) fn target(&self, epoch: CheckpointId, part: usize, extension: &str) -> String {
        let Self { operator, subtask, .. } = self;
        match part {
            0 => format!("{operator}-{:010}-{subtask}.{extension}", epoch.0),
            // The underscore sorts after the dot: names in order are records in order.
            _ => format!("{operator}-{:010}-{subtask}_{part:04}.{extension}", epoch.0),
        }
    }

    /// The generation of a hidden file of this job and operator, whatever its subtask; `None` for all other files.
    pub(super) fn generation_of(&self, name: &str) -> Option<u64> {
        let rest = name.strip_prefix(&self.prefix)?.strip_suffix(HIDDEN_SUFFIX)?;
        let mut parts = rest.split('-');
        let (subtask, generation, number) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() || subtask.parse::<u32>().is_err() || number.parse::<u64>().is_err() {
            return None;
        }
        generation.strip_prefix('g')?.parse().ok()
    }
}

/// An operator's id as part of a file name: letters, digits, `-`, and `_` where it does not hide the file; all other
/// bytes as `%` and two hexadecimal digits.
fn encoded(operator: &str) -> String {
    let mut name = String::with_capacity(operator.len());
    for (index, byte) in operator.bytes().enumerate() {
        if byte.is_ascii_alphanumeric() || byte == b'-' || (byte == b'_' && index > 0) {
            name.push(char::from(byte));
        } else {
            write!(name, "%{byte:02X}").expect("writing to a string does not fail");
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn author(job: &str, operator: &str) -> Author {
        Author::new(&SinkContext {
            job_id: job.into(),
            operator: operator.into(),
            subtask: 3,
            parallelism: 4,
            generation: 12,
            restored_epoch: 0,
        })
    }

    #[test]
    fn names_are_fixed() {
        let author = author("job", "counts");
        assert_eq!(author.hidden(7), ".weir-a8cb4167536acdd9-counts-3-g12-7.inprogress");
        assert_eq!(author.target(CheckpointId(42), 0, "jsonl"), "counts-0000000042-3.jsonl");
        assert_eq!(author.target(CheckpointId(42), 1, "csv.gz"), "counts-0000000042-3_0001.csv.gz");
    }

    #[test]
    fn only_the_own_jobs_and_operators_hidden_files_are_recognised() {
        let names = ["a", "a-3", "a-3-g12", "b", "a/b", "_a", "a.b"];
        for (operator, other) in names.iter().flat_map(|left| names.map(|right| (left, right))) {
            let found = author("job", operator).generation_of(&author("job", other).hidden(7));
            assert_eq!(found, (*operator == other).then_some(12), "{operator} and {other}");
            assert_eq!(author("job", operator).generation_of(&author("other job", other).hidden(7)), None);
        }
        for name in ["a-0000000001-0.jsonl", ".weir-", ".weir-probe-1", ".weir-a8cb4167536acdd9-a-3-g12-7.tmp"] {
            assert_eq!(author("job", "a").generation_of(name), None, "{name}");
        }
    }

    #[test]
    fn operators_with_odd_names_get_plain_file_names() {
        assert_eq!(encoded("../_Größe 1_2-x"), "%2E%2E%2F_Gr%C3%B6%C3%9Fe%201_2-x");
        assert_eq!(encoded("_a"), "%5Fa");
    }
}
