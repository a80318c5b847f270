//! Bids per auction: a running count, or one count per window.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use weir_connectors::nexmark::{Bid, NexmarkBids};
use weir_engine::graph::Graph;
use weir_engine::operators::aggregate::Count;
use weir_engine::time::WatermarkStrategy;
use weir_engine::window::Tumbling;

use super::{Output, nexmark_config};
use crate::args::Args;
use crate::jobs::JobError;

/// The bids of an auction so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Running {
    auction: u64,
    bids: u64,
}

/// The bids of an auction within a window; times are milliseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct InWindow {
    auction: u64,
    window_start: i64,
    window_end: i64,
    bids: u64,
}

pub(crate) fn per_auction(args: &mut Args) -> Result<Graph, JobError> {
    let config = nexmark_config(args);
    let window =
        args.optional::<Duration>("window", "size of tumbling windows of event time; without it, a running count");
    let output = Output::from_args(args);

    let graph = Graph::new();
    let disorder = Duration::from_millis(config.max_out_of_orderness_ms());
    let watermarks = WatermarkStrategy::bounded(|bid: &Bid| bid.date_time, disorder);
    let bids = graph.source("bids", NexmarkBids::new(config)?, watermarks);
    let auctions = bids.map(|bid| bid.auction).key_by(|&auction| auction);
    match window {
        None => {
            let counts = auctions.aggregate("count", Count::new()).map(|(auction, bids)| Running { auction, bids });
            output.end(&counts, "out");
        }
        Some(size) => {
            let counts = auctions.window(Tumbling::of(size)).aggregate("count", Count::new()).map(|counted| InWindow {
                auction: counted.key,
                window_start: counted.window.start,
                window_end: counted.window.end,
                bids: counted.value,
            });
            output.end(&counts, "out");
        }
    }
    Ok(graph)
}
