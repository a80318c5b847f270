//! Object names below a job's root. The only place that builds or parses them.
//!
//! ```text
//! journal/<counting down>.json    manifests/c0000000017-g3.json
//! runs/g3/<worker>/<unique>.sst   savepoints/<name>/...
//! ```

use crate::ids::{CheckpointId, Generation, Sequence, WorkerIndex};

/// Prefix of journal entries.
pub const JOURNAL: &str = "journal/";
/// Prefix of manifests.
pub const MANIFESTS: &str = "manifests/";
/// Prefix of runs and bases.
pub const RUNS: &str = "runs/";
/// Prefix of savepoints.
pub const SAVEPOINTS: &str = "savepoints/";

const SUFFIX: &str = ".json";
/// Digits of `u64::MAX`; fixed width makes text order number order.
const SEQUENCE_DIGITS: usize = 20;

/// Name of journal entry `sequence`. The number counts down, so that the newest entry lists first.
pub fn journal_key(sequence: Sequence) -> String {
    format!("{JOURNAL}{:0SEQUENCE_DIGITS$}{SUFFIX}", u64::MAX - sequence.0)
}

/// The entry that a listed object is; `None` if the name is not one of a journal entry.
pub fn parse_journal_key(key: &str) -> Option<Sequence> {
    let digits = key.strip_prefix(JOURNAL)?.strip_suffix(SUFFIX)?;
    if digits.len() != SEQUENCE_DIGITS || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let sequence = u64::MAX - digits.parse::<u64>().ok()?;
    (sequence > 0).then_some(Sequence(sequence))
}

/// Name of the manifest that `generation` writes for `checkpoint`.
pub fn manifest_key(checkpoint: CheckpointId, generation: Generation) -> String {
    format!("{MANIFESTS}c{:010}-g{generation}{SUFFIX}", checkpoint.0)
}

/// The checkpoint and generation of a listed manifest.
pub fn parse_manifest_key(key: &str) -> Option<(CheckpointId, Generation)> {
    let name = key.strip_prefix(MANIFESTS)?.strip_prefix('c')?.strip_suffix(SUFFIX)?;
    let (checkpoint, generation) = name.split_once("-g")?;
    let parsed = (CheckpointId(checkpoint.parse().ok()?), Generation(generation.parse().ok()?));
    (manifest_key(parsed.0, parsed.1) == key).then_some(parsed)
}

/// Prefix of the runs that one worker writes in one generation.
pub fn runs_prefix(generation: Generation, worker: WorkerIndex) -> String {
    format!("{RUNS}g{generation}/{worker}/")
}

/// The generation that wrote a run; `None` if the name is not one of a run.
pub fn parse_run_generation(key: &str) -> Option<Generation> {
    let (generation, _) = key.strip_prefix(RUNS)?.strip_prefix('g')?.split_once('/')?;
    generation.parse().ok().map(Generation)
}

/// Prefix of a savepoint's objects.
pub fn savepoint_prefix(name: &str) -> String {
    format!("{SAVEPOINTS}{name}/")
}

/// Name of a savepoint's manifest; written last, so that its presence means the savepoint is complete.
pub fn savepoint_manifest_key(name: &str) -> String {
    format!("{SAVEPOINTS}{name}/manifest{SUFFIX}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_equal_the_documented_layout() {
        assert_eq!(journal_key(Sequence(1)), "journal/18446744073709551614.json");
        assert_eq!(manifest_key(CheckpointId(17), Generation(3)), "manifests/c0000000017-g3.json");
        assert_eq!(runs_prefix(Generation(3), WorkerIndex(0)), "runs/g3/0/");
        assert_eq!(savepoint_manifest_key("before-upgrade"), "savepoints/before-upgrade/manifest.json");
    }

    #[test]
    fn newer_entries_list_first_across_all_digit_lengths() {
        let sequences = [1, 2, 9, 10, 99, 100, 12_345_678_901, u64::MAX - 1, u64::MAX];
        for pair in sequences.windows(2) {
            assert!(journal_key(Sequence(pair[1])) < journal_key(Sequence(pair[0])), "{pair:?}");
        }
        for sequence in sequences {
            assert_eq!(parse_journal_key(&journal_key(Sequence(sequence))), Some(Sequence(sequence)));
        }
    }

    #[test]
    fn foreign_names_are_not_taken_for_ours() {
        for key in [
            "journal/1.json",
            "journal/+8446744073709551614.json",
            "journal/18446744073709551615.json",
            "journal/18446744073709551614.json.tmp",
            "journal/99999999999999999999.json",
            "manifests/18446744073709551614.json",
        ] {
            assert_eq!(parse_journal_key(key), None, "{key}");
        }
        for key in ["manifests/c17-g3.json", "manifests/c0000000017-g03.json", "manifests/c0000000017.json"] {
            assert_eq!(parse_manifest_key(key), None, "{key}");
        }
        assert_eq!(parse_manifest_key("manifests/c0000000017-g3.json"), Some((CheckpointId(17), Generation(3))));
        assert_eq!(parse_run_generation("runs/g12/0/abc.sst"), Some(Generation(12)));
        assert_eq!(parse_run_generation("savepoints/a/runs/g12/0/abc.sst"), None);
    }
}
