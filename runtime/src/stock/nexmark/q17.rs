//! q17, auction statistics: counts and prices per auction and day, updated with every bid.

use serde::{Deserialize, Serialize};
use weir_connectors::nexmark::Bid;
use weir_engine::operators::aggregate::Aggregate;
use weir_engine::stream::Stream;

use super::q15::{Offer, day};
use super::statistics::{Ranked, rank};

/// An auction's day so far.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Row {
    /// The auction.
    pub auction: u64,
    /// Days since the Unix epoch.
    pub day: i64,
    /// Bids.
    pub bids: Ranked,
    /// Lowest price in cents.
    pub min: u64,
    /// Highest price in cents.
    pub max: u64,
    /// Average price in cents, rounded down.
    pub average: u64,
    /// Sum of prices in cents.
    pub sum: u64,
}

#[derive(Clone)]
struct Prices;

impl Aggregate for Prices {
    type In = Offer;
    type Acc = (Ranked, u64, u64, u64);
    type Out = (Ranked, u64, u64, u64);

    fn create(&self) -> Self::Acc {
        (Ranked::default(), u64::MAX, 0, 0)
    }

    fn add(&self, (bids, min, max, sum): &mut Self::Acc, offer: &Offer) {
        bids.add(rank(offer.price));
        *min = offer.price.min(*min);
        *max = offer.price.max(*max);
        *sum += offer.price;
    }

    fn merge(&self, acc: &mut Self::Acc, other: Self::Acc) {
        acc.0.total += other.0.total;
        acc.0.ranks.iter_mut().zip(other.0.ranks).for_each(|(mine, theirs)| *mine += theirs);
        acc.1 = acc.1.min(other.1);
        acc.2 = acc.2.max(other.2);
        acc.3 += other.3;
    }

    fn result(&self, acc: &Self::Acc) -> Self::Out {
        *acc
    }
}

/// One row per bid: its auction's statistics of the day including it.
pub fn query(bids: &Stream<Bid>) -> Stream<Row> {
    bids.map(|bid| Offer { auction: bid.auction, bidder: bid.bidder, price: bid.price, date_time: bid.date_time })
        .key_by(|offer| (offer.auction, day(offer.date_time)))
        .aggregate("per-auction", Prices)
        .map(|((auction, day), (bids, min, max, sum))| Row {
            auction,
            day,
            bids,
            min,
            max,
            average: sum / bids.total.max(1),
            sum,
        })
}
