//! q15, bidding statistics per day: counts and distinct counts, updated with every bid.

use serde::{Deserialize, Serialize};
use weir_connectors::nexmark::Bid;
use weir_engine::error::UserError;
use weir_engine::operators::process::{KeyedProcessFunction, ProcessContext, States};
use weir_engine::stream::Stream;
use weir_state::{Key, MapHandle, StateError, ValueHandle};

use super::DAY_MS;
use super::statistics::{Ranked, rank};

/// Statistics of one day (and, in q16, one channel) so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Statistics {
    /// Bids.
    pub bids: Ranked,
    /// Distinct bidders.
    pub bidders: Ranked,
    /// Distinct auctions.
    pub auctions: Ranked,
    /// Latest event time in milliseconds.
    pub latest: i64,
}

/// A day's statistics.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Row {
    /// Days since the Unix epoch.
    pub day: i64,
    /// So far.
    #[serde(flatten)]
    pub statistics: Statistics,
}

/// Day (since the Unix epoch) of an event time.
pub(super) fn day(date_time: i64) -> i64 {
    date_time.div_euclid(DAY_MS)
}

/// The four numbers of a bid that statistics need.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Offer {
    pub auction: u64,
    pub bidder: u64,
    pub price: u64,
    pub date_time: i64,
}

/// Keeps [`Statistics`] of one key; bidders and auctions seen are entries of maps, so that a checkpoint costs the new ones.
pub(super) struct Collecting {
    statistics: ValueHandle<Statistics>,
    bidders: MapHandle<u64, u8>,
    auctions: MapHandle<u64, u8>,
}

impl Collecting {
    pub fn open<K: Key>(states: &mut States<'_, K>) -> Result<Self, StateError> {
        Ok(Self {
            statistics: states.value("statistics")?,
            bidders: states.map("bidders")?,
            auctions: states.map("auctions")?,
        })
    }

    /// Counts an offer; returns the statistics with it.
    pub fn add<K: Key, Out: weir_engine::record::Record>(
        &self,
        offer: &Offer,
        ctx: &mut ProcessContext<'_, '_, K, Out>,
    ) -> Result<Statistics, UserError> {
        let rank = rank(offer.price);
        let mut statistics = ctx.value(self.statistics).get()?.copied().unwrap_or_default();
        statistics.bids.add(rank);
        statistics.latest = statistics.latest.max(offer.date_time);
        let before = ctx.map(self.bidders).get(&offer.bidder)?.unwrap_or(0);
        let now = statistics.bidders.add_distinct(before, rank);
        if now != before {
            ctx.map(self.bidders).insert(offer.bidder, now)?;
        }
        let before = ctx.map(self.auctions).get(&offer.auction)?.unwrap_or(0);
        let now = statistics.auctions.add_distinct(before, rank);
        if now != before {
            ctx.map(self.auctions).insert(offer.auction, now)?;
        }
        ctx.value(self.statistics).set(statistics)?;
        Ok(statistics)
    }
}

struct PerDay(Collecting);

impl KeyedProcessFunction<i64, Offer> for PerDay {
    type Out = Row;

    fn process(&mut self, offer: &Offer, ctx: &mut ProcessContext<'_, '_, i64, Row>) -> Result<(), UserError> {
        let statistics = self.0.add(offer, ctx)?;
        let day = *ctx.key();
        ctx.emit(Row { day, statistics })
    }
}

/// One row per bid: the day's statistics including it.
pub fn query(bids: &Stream<Bid>) -> Stream<Row> {
    bids.map(|bid| Offer { auction: bid.auction, bidder: bid.bidder, price: bid.price, date_time: bid.date_time })
        .key_by(|offer| day(offer.date_time))
        .process("per-day", |states| Ok(PerDay(Collecting::open(states)?)))
}
