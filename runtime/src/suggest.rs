//! The nearest of a few names, for messages about a name that does not exist. Pure.

/// The candidate that is most like `name`, if one is alike enough to be meant: at most a third of its letters differ.
pub(crate) fn closest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = |candidate: &str| candidate.chars().count().max(name.chars().count()).div_ceil(3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (distance(name, candidate), candidate.len().abs_diff(name.len()), candidate))
        .filter(|(distance, _, candidate)| *distance <= limit(candidate))
        .min()
        .map(|(_, _, candidate)| candidate)
}

/// Letters to insert, delete, replace or swap with their neighbour to make one text of the other (optimal string
/// alignment), without regard to case.
fn distance(one: &str, other: &str) -> usize {
    let one: Vec<char> = one.to_lowercase().chars().collect();
    let other: Vec<char> = other.to_lowercase().chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=other.len()).collect();
    for (row, a) in one.iter().enumerate() {
        let mut current = vec![row + 1];
        for (column, b) in other.iter().enumerate() {
            let replaced = above[column] + usize::from(a != b);
            let mut least = replaced.min(above[column + 1] + 1).min(current[column] + 1);
            if row > 0 && column > 0 && one[row - 1] == *b && *a == other[column - 1] {
                least = least.min(before[column - 1] + 1);
            }
            current.push(least);
        }
        before = std::mem::replace(&mut above, current);
    }
    above[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_finds_the_name_that_was_meant() {
        let names = ["nexmark-q1", "nexmark-q15", "word-count", "nexmark-events"];
        for (typed, meant) in [
            ("nexmark-q51", Some("nexmark-q15")),
            ("word_count", Some("word-count")),
            ("WordCount", Some("word-count")),
            ("nexmark-event", Some("nexmark-events")),
            ("kafka-to-s3", None),
            ("", None),
        ] {
            assert_eq!(closest(typed, names), meant, "{typed}");
        }
        assert_eq!(closest("x", []), None);
    }

    #[test]
    fn distances_count_letters() {
        for (one, other, expected) in
            [("", "", 0), ("", "abc", 3), ("abc", "abd", 1), ("abc", "acb", 1), ("abc", "ab", 1), ("ä", "a", 1)]
        {
            assert_eq!((distance(one, other), distance(other, one)), (expected, expected), "{one} {other}");
        }
    }
}
