//! q5, hot items: the auctions with the most bids in each sliding window.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use weir_connectors::nexmark::Bid;
use weir_engine::operators::aggregate::{Aggregate, Count};
use weir_engine::stream::Stream;
use weir_engine::window::{Sliding, Tumbling, Windowed};

const SIZE: Duration = Duration::from_secs(10);
const SLIDE: Duration = Duration::from_secs(2);

/// One of the most wanted auctions of a window.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Row {
    /// End of the window in milliseconds.
    pub window_end: i64,
    /// The auction.
    pub auction: u64,
    /// Its bids in the window.
    pub bids: u64,
}

/// Keeps the keys with the highest count.
#[derive(Clone)]
struct Hottest;

impl Aggregate for Hottest {
    type In = Windowed<u64, u64>;
    type Acc = (u64, Vec<u64>);
    type Out = (u64, Vec<u64>);

    fn create(&self) -> Self::Acc {
        (0, Vec::new())
    }

    fn add(&self, (most, auctions): &mut Self::Acc, counted: &Self::In) {
        if counted.value > *most {
            *most = counted.value;
            auctions.clear();
        }
        if counted.value == *most {
            auctions.push(counted.key);
        }
    }

    fn merge(&self, acc: &mut Self::Acc, other: Self::Acc) {
        match acc.0.cmp(&other.0) {
            std::cmp::Ordering::Less => *acc = other,
            std::cmp::Ordering::Equal => acc.1.extend(other.1),
            std::cmp::Ordering::Greater => {}
        }
    }

    fn result(&self, acc: &Self::Acc) -> Self::Out {
        acc.clone()
    }
}

/// Windows of 10 s every 2 s; all auctions that share the highest count.
pub fn query(bids: &Stream<Bid>) -> Stream<Row> {
    bids.map(|bid| bid.auction)
        .key_by(|&auction| auction)
        .window(Sliding::of(SIZE, SLIDE))
        .aggregate("bids-per-auction", Count::new())
        // A window's counts carry its last millisecond, so they all fall into one window of one slide.
        .key_by(|counted| counted.window.end)
        .window(Tumbling::of(SLIDE))
        .aggregate_with("hottest", Hottest, |&window_end, _, (bids, auctions), emit| {
            auctions.into_iter().for_each(|auction| emit(Row { window_end, auction, bids }));
        })
}
