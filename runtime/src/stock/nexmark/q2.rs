//! q2, selection: a filter.

use serde::{Deserialize, Serialize};
use weir_connectors::nexmark::Bid;
use weir_engine::stream::Stream;

/// An auction and an offer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Row {
    /// The auction.
    pub auction: u64,
    /// Offer in cents.
    pub price: u64,
}

/// `SELECT auction, price FROM bid WHERE MOD(auction, 123) = 0`
pub fn query(bids: &Stream<Bid>) -> Stream<Row> {
    bids.filter(|bid| bid.auction.is_multiple_of(123)).map(|bid| Row { auction: bid.auction, price: bid.price })
}
