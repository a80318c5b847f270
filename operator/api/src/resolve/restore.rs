//! `spec.restoreFrom`: exactly one thing to start from.

use crate::bounds;
use crate::invalid::Invalid;
use crate::resolved::RestoreFrom;
use crate::spec::{EMPTY, EXACTLY_ONE, RestoreFromSpec};

const PATH: &str = "spec.restoreFrom";

pub(super) fn resolve_restore_from(spec: &RestoreFromSpec) -> Result<RestoreFrom, Invalid> {
    let RestoreFromSpec { journal, savepoint, checkpoint, empty, allow_duplicates } = spec;
    let restored = match (journal, savepoint, checkpoint, empty) {
        (Some(uri), None, None, None) => RestoreFrom::Journal(uri.clone()),
        (None, Some(uri), None, None) => RestoreFrom::Savepoint(uri.clone()),
        (None, None, Some(id), None) => RestoreFrom::Checkpoint {
            id: bounds::CHECKPOINT_ID.check("spec.restoreFrom.checkpoint", *id)?,
            allow_duplicates: allow_duplicates.unwrap_or(false),
        },
        (None, None, None, Some(true)) => RestoreFrom::Empty,
        (None, None, None, Some(false)) => {
            let (allowed, hint) = EMPTY;
            return Err(Invalid::new("spec.restoreFrom.empty", false, allowed, hint));
        }
        _ => {
            let (allowed, hint) = EXACTLY_ONE;
            return Err(Invalid::new(PATH, named(spec), allowed, hint));
        }
    };
    match restored {
        RestoreFrom::Checkpoint { .. } | RestoreFrom::Repeating(_) => Ok(restored),
        RestoreFrom::Journal(_) | RestoreFrom::Savepoint(_) | RestoreFrom::Empty => match allow_duplicates {
            Some(true) => Ok(RestoreFrom::Repeating(Box::new(restored))),
            Some(false) | None => Ok(restored),
        },
    }
}

fn named(spec: &RestoreFromSpec) -> String {
    let names: Vec<&str> = [
        ("journal", spec.journal.is_some()),
        ("savepoint", spec.savepoint.is_some()),
        ("checkpoint", spec.checkpoint.is_some()),
        ("empty", spec.empty.is_some()),
    ]
    .into_iter()
    .filter_map(|(name, given)| given.then_some(name))
    .collect();
    match names.split_last() {
        None => "none of them".to_owned(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
    }
}
