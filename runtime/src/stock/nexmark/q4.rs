//! q4, average price per category: an aggregate over the winning bids.

use serde::{Deserialize, Serialize};
use weir_engine::operators::aggregate::Aggregate;
use weir_engine::stream::Stream;

use super::{Inputs, q9};

/// The average of a category after so many auctions closed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Row {
    /// The category.
    pub category: u64,
    /// Auctions in the average.
    pub auctions: u64,
    /// Average winning price in cents, rounded down.
    pub average: u64,
}

#[derive(Clone)]
struct Average;

impl Aggregate for Average {
    type In = (u64, u64);
    type Acc = (u64, u64);
    type Out = (u64, u64);

    fn create(&self) -> (u64, u64) {
        (0, 0)
    }

    fn add(&self, (count, sum): &mut (u64, u64), (_, price): &(u64, u64)) {
        *count += 1;
        *sum += price;
    }

    fn merge(&self, (count, sum): &mut (u64, u64), other: (u64, u64)) {
        *count += other.0;
        *sum += other.1;
    }

    fn result(&self, &(count, sum): &(u64, u64)) -> (u64, u64) {
        (count, sum / count.max(1))
    }
}

/// The average winning price of each category, again after every auction that closes with a bid.
pub fn query(inputs: &Inputs) -> Stream<Row> {
    q9::query(inputs)
        .map(|row| (row.auction.category, row.bid.price))
        .key_by(|&(category, _)| category)
        .aggregate("category-average", Average)
        .map(|(category, (auctions, average))| Row { category, auctions, average })
}
