//! The queries as jobs: each reads the generator or the files that `nexmark-events` wrote.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use weir_connectors::files::FileSource;
use weir_connectors::format::JsonLines;
use weir_connectors::nexmark::{Auction, Bid, Event, NexmarkBids, NexmarkConfig, NexmarkEvents, Person};
use weir_engine::graph::Graph;
use weir_engine::record::Record;
use weir_engine::stream::Stream;
use weir_engine::time::WatermarkStrategy;

use super::{Inputs, q0, q1, q2, q3, q4, q5, q7, q8, q9, q11, q12, q15, q16, q17, q18, q19, q20};
use crate::args::Args;
use crate::jobs::{JobError, Jobs};
use crate::stock::{Output, nexmark_config};

/// All queries.
pub(crate) fn jobs() -> Jobs {
    Jobs::new()
        .job("nexmark-q0", "Nexmark q0: every bid, passed through", |args| on_bids(args, q0::query))
        .job("nexmark-q1", "Nexmark q1: bids in another currency", |args| on_bids(args, q1::query))
        .job("nexmark-q2", "Nexmark q2: bids for every 123rd auction", |args| on_bids(args, q2::query))
        .job("nexmark-q3", "Nexmark q3: auctions by sellers of three states (unbounded join)", |args| {
            on_all(args, q3::query)
        })
        .job("nexmark-q4", "Nexmark q4: average winning price per category", |args| on_all(args, q4::query))
        .job("nexmark-q5", "Nexmark q5: auctions with the most bids in sliding windows", |args| {
            on_bids(args, q5::query)
        })
        .job("nexmark-q7", "Nexmark q7: highest bid in tumbling windows", |args| on_bids(args, q7::query))
        .job("nexmark-q8", "Nexmark q8: people who registered and sold in one window (window join)", |args| {
            on_all(args, q8::query)
        })
        .job("nexmark-q9", "Nexmark q9: the winning bid of each auction", |args| on_all(args, q9::query))
        .job("nexmark-q11", "Nexmark q11: bids per bidder and session", |args| on_bids(args, q11::query))
        .job("nexmark-q12", "Nexmark q12: bids per bidder in windows of processing time", |args| {
            on_bids(args, q12::query)
        })
        .job("nexmark-q15", "Nexmark q15: bidding statistics per day, with distinct counts", |args| {
            on_bids(args, q15::query)
        })
        .job("nexmark-q16", "Nexmark q16: bidding statistics per channel and day", |args| on_bids(args, q16::query))
        .job("nexmark-q17", "Nexmark q17: price statistics per auction and day", |args| on_bids(args, q17::query))
        .job("nexmark-q18", "Nexmark q18: the last bid of each bidder on each auction", |args| {
            on_bids(args, q18::query)
        })
        .job("nexmark-q19", "Nexmark q19: the ten highest bids of each auction", |args| on_bids(args, q19::query))
        .job("nexmark-q20", "Nexmark q20: bids with the auction they are for (unbounded join)", |args| {
            on_all(args, q20::query)
        })
}

/// Where the events come from, and where results go.
struct Ends {
    config: NexmarkConfig,
    /// A directory with the directories `person`, `auction` and `bid`, in JSON Lines.
    input: Option<PathBuf>,
    disorder: Duration,
    output: Output,
}

impl Ends {
    fn from_args(args: &mut Args) -> Self {
        let input = args.optional::<PathBuf>(
            "input",
            "read this directory, written by nexmark-events as JSON Lines, instead of generating",
        );
        let config = nexmark_config(args);
        let generated = Duration::from_millis(config.max_out_of_orderness_ms());
        let disorder = args.get(
            "disorder",
            Duration::from_secs(4),
            "how far out of order events may be within a file; for input only",
        );
        let disorder = if input.is_some() { disorder } else { generated };
        Self { config, input, disorder, output: Output::from_args(args) }
    }

    fn files<T: Record + DeserializeOwned>(
        &self,
        graph: &Graph,
        directory: &std::path::Path,
        kind: &str,
        time: fn(&T) -> i64,
    ) -> Stream<T> {
        graph.source(
            kind,
            FileSource::new(directory.join(kind), JsonLines::new()),
            WatermarkStrategy::bounded(time, self.disorder),
        )
    }
}

fn on_bids<T: Record + Serialize>(args: &mut Args, query: fn(&Stream<Bid>) -> Stream<T>) -> Result<Graph, JobError> {
    let ends = Ends::from_args(args);
    let graph = Graph::new();
    let bids = match &ends.input {
        Some(directory) => ends.files(&graph, directory, "bid", |bid: &Bid| bid.date_time),
        None => graph.source(
            "bids",
            NexmarkBids::new(ends.config.clone())?,
            WatermarkStrategy::bounded(|bid: &Bid| bid.date_time, ends.disorder),
        ),
    };
    ends.output.end(&query(&bids), "out");
    Ok(graph)
}

fn on_all<T: Record + Serialize>(args: &mut Args, query: fn(&Inputs) -> Stream<T>) -> Result<Graph, JobError> {
    let ends = Ends::from_args(args);
    let graph = Graph::new();
    let inputs = match &ends.input {
        Some(directory) => Inputs {
            bids: ends.files(&graph, directory, "bid", |bid: &Bid| bid.date_time),
            auctions: ends.files(&graph, directory, "auction", |auction: &Auction| auction.date_time),
            people: ends.files(&graph, directory, "person", |person: &Person| person.date_time),
        },
        None => Inputs::of(&graph.source(
            "events",
            NexmarkEvents::new(ends.config.clone())?,
            WatermarkStrategy::bounded(Event::date_time, ends.disorder),
        )),
    };
    ends.output.end(&query(&inputs), "out");
    Ok(graph)
}
