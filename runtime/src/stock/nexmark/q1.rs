//! q1, currency conversion: a map.

use weir_engine::stream::Stream;

use super::{Inputs, q0};

/// `SELECT auction, bidder, 0.908 * price, dateTime, extra FROM bid`, in whole cents, rounded down.
pub fn query(inputs: &Inputs) -> Stream<q0::Row> {
    q0::query(inputs).map(|row| q0::Row { price: row.price * 908 / 1000, ..row })
}
