//! Identifiers and points in time, as types.
//!
//! All of them are plain values with a total order, a text form and a stable serde form (the inner number or string), so
//! that they can be keys of ordered maps, parts of object names and fields of stored records.

use serde::{Deserialize, Serialize};

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub String);

        impl $name {
            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text)
            }
        }
    };
}

number_id! {
    /// A checkpoint's id: monotone over the job's life, never reused, not even by aborted ones. It also names the epoch
    /// that its barrier closes. The first one of a job is 1; 0 stands for "before any checkpoint".
    CheckpointId(u64)
}

impl CheckpointId {
    /// The id after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

number_id! {
    /// One reign of one coordinator. Every deployment is a new generation; the first one of a journal is 1.
    Generation(u64)
}

impl Generation {
    /// The generation after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

number_id! {
    /// Position of an entry in the journal; the first entry is 1.
    Sequence(u64)
}

impl Sequence {
    /// The position after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The position before this one, if there is one.
    pub fn previous(self) -> Option<Self> {
        (self.0 > 1).then(|| Self(self.0 - 1))
    }
}

number_id! {
    /// Number of a keyed state within a job; part of every stored key.
    StateId(u16)
}

number_id! {
    /// Ordinal of a worker process, from 0.
    WorkerIndex(u32)
}

number_id! {
    /// Index of a parallel instance of an operator, from 0.
    SubtaskIndex(u32)
}

text_id! {
    /// A job's id: drawn by the journal's first claim, kept through restarts, upgrades and adoptions.
    JobId
}

text_id! {
    /// A dataflow operator's id: chosen by the job's author, unique within the job; state and splits are stored under it.
    OperatorId
}

number_id! {
    /// A point in time in milliseconds since the Unix epoch. The protocol never reads a clock: it is told.
    Millis(i64)
}

impl Millis {
    /// This point plus `duration` milliseconds, saturating.
    #[must_use]
    pub fn plus(self, duration: u64) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration).unwrap_or(i64::MAX)))
    }

    /// Milliseconds from `earlier` to here; 0 if `earlier` lies later (clocks may step back).
    pub fn since(self, earlier: Self) -> u64 {
        u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_their_bare_value_in_json() {
        assert_eq!(serde_json::to_string(&CheckpointId(17)).unwrap(), "17");
        assert_eq!(serde_json::to_string(&OperatorId::from("count")).unwrap(), "\"count\"");
    }

    #[test]
    fn times_saturate_and_never_go_negative() {
        assert_eq!(Millis(i64::MAX).plus(5), Millis(i64::MAX));
        assert_eq!(Millis(5).plus(u64::MAX), Millis(i64::MAX));
        assert_eq!(Millis(5).since(Millis(9)), 0);
        assert_eq!(Millis(i64::MAX).since(Millis(i64::MIN)), i64::MAX as u64);
    }

    #[test]
    fn text_ids_respect_width() {
        assert_eq!(format!("{:>6}|{:<4}|", OperatorId::from("map"), CheckpointId(7)), "   map|7   |");
    }
}
