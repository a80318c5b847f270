//! q11, user sessions: bids per bidder and session.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use weir_connectors::nexmark::Bid;
use weir_engine::operators::aggregate::Count;
use weir_engine::stream::Stream;
use weir_engine::window::Session;

const GAP: Duration = Duration::from_secs(10);

/// A session.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Row {
    /// The bidder.
    pub bidder: u64,
    /// Bids in the session.
    pub bids: u64,
    /// First bid in milliseconds.
    pub start: i64,
    /// Last bid plus the gap in milliseconds.
    pub end: i64,
}

/// Sessions end after 10 s without a bid.
pub fn query(bids: &Stream<Bid>) -> Stream<Row> {
    bids.map(|bid| bid.bidder).key_by(|&bidder| bidder).window(Session::with_gap(GAP)).aggregate_with(
        "sessions",
        Count::new(),
        |&bidder, window, bids, emit| emit(Row { bidder, bids, start: window.start, end: window.end }),
    )
}
