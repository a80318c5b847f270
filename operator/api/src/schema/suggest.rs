//! The name someone probably meant.

use serde_json::Value;

use super::properties;
use crate::path::FieldPath;

/// Longer words are no slips of the pen, and comparing them costs.
const MAX_LENGTH: usize = 64;

/// The closest of `names` to `wrong`, if any is close: equal but for case and separators, or a few edits away.
pub(super) fn closest<'n>(wrong: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    if wrong.len() > MAX_LENGTH {
        return None;
    }
    let folded = fold(wrong);
    let reach = (folded.len() / 3).clamp(1, 3);
    names
        .map(|name| (distance(&folded, &fold(name)), name))
        .filter(|(edits, _)| *edits <= reach)
        .min()
        .map(|(_, name)| name)
}

/// Whether two names differ at most in case and separators.
pub(super) fn is_same(a: &str, b: &str) -> bool {
    fold(a) == fold(b)
}

/// The only field called `name`, but for case and separators, if there is exactly one.
pub(super) fn home_of(name: &str, schema: &Value) -> Option<FieldPath> {
    let mut homes = Vec::new();
    collect_homes(name, schema, &FieldPath::root(), &mut homes);
    match homes.len() {
        1 => homes.pop(),
        _ => None,
    }
}

fn collect_homes(name: &str, schema: &Value, path: &FieldPath, homes: &mut Vec<FieldPath>) {
    for (field, inner) in properties(schema).into_iter().flatten() {
        // Kubernetes' metadata has many fields, none of which belongs to a job.
        if field == "metadata" {
            continue;
        }
        if is_same(field, name) {
            homes.push(path.key(field));
        }
        collect_homes(name, inner, &path.key(field), homes);
    }
}

fn fold(name: &str) -> String {
    name.chars().filter(|c| !"-_ ".contains(*c)).flat_map(char::to_lowercase).collect()
}

/// Edits between two words: insert, delete, replace, or swap neighbours (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_pen_finds_its_name_and_a_stranger_finds_none() {
        let names = ["interval", "minPause", "timeout", "retained"];
        let check = |wrong: &str, expected: Option<&str>| {
            assert_eq!(closest(wrong, names.into_iter()), expected, "{wrong}");
        };
        check("intervall", Some("interval"));
        check("itnerval", Some("interval"));
        check("min_pause", Some("minPause"));
        check("MINPAUSE", Some("minPause"));
        check("retain", Some("retained"));
        check("timeuot", Some("timeout"));
        check("parallelism", None);
        check("x", None);
    }
}
