//! q7, highest bid: the bids with the highest price of each tumbling window, in two steps so that no key is hot.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use weir_connectors::nexmark::Bid;
use weir_engine::operators::aggregate::Aggregate;
use weir_engine::stream::Stream;
use weir_engine::window::Tumbling;

const SIZE: Duration = Duration::from_secs(10);
/// Partial maxima per window.
const SHARDS: u64 = 64;

/// A bid with the highest price of its window.
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
}

/// Keeps the rows with the highest price.
#[derive(Clone)]
struct Highest;

impl Aggregate for Highest {
    type In = Row;
    type Acc = Vec<Row>;
    type Out = Vec<Row>;

    fn create(&self) -> Vec<Row> {
        Vec::new()
    }

    fn add(&self, acc: &mut Vec<Row>, row: &Row) {
        let highest = acc.first().map_or(0, |best| best.price);
        if row.price > highest {
            acc.clear();
        }
        if row.price >= highest {
            acc.push(row.clone());
        }
    }

    fn merge(&self, acc: &mut Vec<Row>, other: Vec<Row>) {
        other.iter().for_each(|row| self.add(acc, row));
    }

    fn result(&self, acc: &Vec<Row>) -> Vec<Row> {
        acc.clone()
    }
}

/// The highest bids of each 10 s.
pub fn query(bids: &Stream<Bid>) -> Stream<Row> {
    bids.map(|Bid { auction, bidder, price, date_time, .. }| Row { auction, bidder, price, date_time })
        .key_by(|row| row.auction % SHARDS)
        .window(Tumbling::of(SIZE))
        .aggregate_with("highest-of-shard", Highest, |_, window, rows, emit| {
            rows.into_iter().for_each(|row| emit((window.end, row)))
        })
        .key_by(|&(window_end, _)| window_end)
        .window(Tumbling::of(SIZE))
        .aggregate_with("highest", Unwrapped(Highest), |_, _, rows, emit| rows.into_iter().for_each(emit))
}

/// The second step's input carries its window's end.
#[derive(Clone)]
struct Unwrapped(Highest);

impl Aggregate for Unwrapped {
    type In = (i64, Row);
    type Acc = Vec<Row>;
    type Out = Vec<Row>;

    fn create(&self) -> Vec<Row> {
        self.0.create()
    }

    fn add(&self, acc: &mut Vec<Row>, (_, row): &(i64, Row)) {
        self.0.add(acc, row);
    }

    fn merge(&self, acc: &mut Vec<Row>, other: Vec<Row>) {
        self.0.merge(acc, other);
    }

    fn result(&self, acc: &Vec<Row>) -> Vec<Row> {
        self.0.result(acc)
    }
}
