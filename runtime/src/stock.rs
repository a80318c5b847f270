//! The job graphs of the stock `weir` binary.
//!
//! They are ordinary graphs: everything they use is public, and a binary of your own may offer them beside its own with
//! [`Jobs::and`].

pub mod nexmark;

mod bids;
mod csv;
mod events;
mod generator;
mod output;
mod words;

pub use generator::nexmark_config;
pub use output::Output;

use crate::jobs::Jobs;

/// All of them.
pub fn jobs() -> Jobs {
    Jobs::new()
        .job("nexmark-bids-per-auction", "counts the bids of each auction over a generated stream", bids::per_auction)
        .job(
            "nexmark-events",
            "writes generated people, auctions and bids to files, so that others can read the same input",
            events::write,
        )
        .job("word-count", "counts the words of text files", words::count)
        .job("csv-pass-through", "reads bids from CSV files, keeps every auction's number and price", csv::pass_through)
        .job("csv-count", "reads bids from CSV files, counts those of each auction", csv::count)
        .job("csv-window", "reads bids from CSV files, counts those of each bidder in tumbling windows", csv::window)
        .and(nexmark::jobs())
}

#[cfg(test)]
pub(crate) use bids::per_auction as bids_per_auction;

#[cfg(test)]
pub(crate) fn test_sink<T: weir_engine::record::Record>() -> weir_connectors::blackhole::Blackhole<T> {
    weir_connectors::blackhole::Blackhole::new()
}

#[cfg(test)]
mod tests;
