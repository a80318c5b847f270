//! Names of numbered splits: `<name>/<of>-<index>`, split `index` of `of`. The number of splits is part of the name, so
//! that a position is never taken for one of another division; the index comes last, which deals splits round robin.

use weir_engine::source::{ConnectorError, SplitId};

/// One of `of` equal shares of a generator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) of: u32,
    pub(crate) index: u32,
}

/// The ids of all shares.
pub(crate) fn share_ids(name: &str, of: u32) -> Vec<SplitId> {
    (0..of).map(|index| SplitId(format!("{name}/{of}-{index}"))).collect()
}

/// Reads an id made by [`share_ids`] with the same `name` and `of`.
pub(crate) fn parse_share(split: &SplitId, name: &str, of: u32) -> Result<Share, ConnectorError> {
    let index = split.0.strip_prefix(name).and_then(|rest| {
        let (count, index) = rest.strip_prefix('/')?.split_once('-')?;
        (count.parse() == Ok(of)).then_some(index.parse::<u32>().ok()?)
    });
    match index {
        Some(index) if index < of => Ok(Share { of, index }),
        _ => Err(ConnectorError::permanent(format!(
            "there is no split {split}: this source has the splits {name}/{of}-0 to {name}/{of}-{}; the number of splits of \
             a job with state cannot change",
            of.saturating_sub(1)
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_back() {
        for (index, id) in share_ids("bids", 3).iter().enumerate() {
            assert_eq!(parse_share(id, "bids", 3).unwrap(), Share { of: 3, index: index as u32 });
        }
    }

    #[test]
    fn shares_are_dealt_round_robin() {
        let subtasks: Vec<u32> = share_ids("bids", 6).iter().map(|id| id.subtask(4)).collect();
        assert_eq!(subtasks, [0, 1, 2, 3, 0, 1]);
    }

    #[test]
    fn ids_of_another_division_are_refused() {
        for id in ["bids/4-0", "bids/3-3", "bid/3-0", "bids", "bids/3", "bids/3-x", ""] {
            let error = parse_share(&SplitId(id.into()), "bids", 3).unwrap_err();
            assert!(error.message.contains("bids/3-0 to bids/3-2"), "{id}: {error}");
        }
    }
}
