//! q0, pass through: the cost of reading and writing alone.

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;
use weir_connectors::nexmark::Bid;
use weir_engine::stream::Stream;

/// A bid without its channel.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// The auction.
    pub auction: u64,
    /// Who bids.
    pub bidder: u64,
    /// Offer in cents.
    pub price: u64,
    /// Event time in milliseconds.
    pub date_time: i64,
    /// Filler.
    pub extra: SmolStr,
}

/// `SELECT auction, bidder, price, dateTime, extra FROM bid`
pub fn query(bids: &Stream<Bid>) -> Stream<Row> {
    bids.map(|bid| Row {
        auction: bid.auction,
        bidder: bid.bidder,
        price: bid.price,
        date_time: bid.date_time,
        extra: bid.extra,
    })
}
