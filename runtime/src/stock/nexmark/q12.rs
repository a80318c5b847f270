//! q12, processing-time windows: bids per bidder in windows of the machine's clock.

use std::time::Duration;

use weir_connectors::nexmark::Bid;
use weir_engine::operators::aggregate::Count;
use weir_engine::stream::Stream;
use weir_engine::window::Tumbling;

use super::q11::Row;

const SIZE: Duration = Duration::from_secs(10);

/// Windows of 10 s of processing time. When bounded input ends, open windows are emitted.
pub fn query(bids: &Stream<Bid>) -> Stream<Row> {
    bids.map(|bid| bid.bidder).key_by(|&bidder| bidder).window(Tumbling::of(SIZE)).processing_time().aggregate_with(
        "bids-per-bidder",
        Count::new(),
        |&bidder, window, bids, emit| emit(Row { bidder, bids, start: window.start, end: window.end }),
    )
}
