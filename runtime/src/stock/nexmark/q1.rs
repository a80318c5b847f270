//! q1, currency conversion: a map.

use weir_connectors::nexmark::Bid;
use weir_engine::stream::Stream;

use super::q0;

/// `SELECT auction, bidder, 0.908 * price, dateTime, extra FROM bid`, in whole cents, rounded down.
pub fn query(bids: &Stream<Bid>) -> Stream<q0::Row> {
    q0::query(bids).map(|row| q0::Row { price: row.price * 908 / 1000, ..row })
}
