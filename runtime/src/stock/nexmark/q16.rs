//! q16, channel statistics: as q15, per channel and day.

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;
use weir_connectors::nexmark::Bid;
use weir_engine::error::UserError;
use weir_engine::operators::process::{KeyedProcessFunction, ProcessContext};
use weir_engine::stream::Stream;

use super::q15::{Collecting, Offer, Statistics, day};

/// A channel's statistics of a day.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Row {
    /// The channel.
    pub channel: SmolStr,
    /// Days since the Unix epoch.
    pub day: i64,
    /// So far.
    #[serde(flatten)]
    pub statistics: Statistics,
}

struct PerChannel(Collecting);

impl KeyedProcessFunction<(SmolStr, i64), (SmolStr, Offer)> for PerChannel {
    type Out = Row;

    fn process(
        &mut self,
        (_, offer): &(SmolStr, Offer),
        ctx: &mut ProcessContext<'_, '_, (SmolStr, i64), Row>,
    ) -> Result<(), UserError> {
        let statistics = self.0.add(offer, ctx)?;
        let (channel, day) = ctx.key().clone();
        ctx.emit(Row { channel, day, statistics })
    }
}

/// One row per bid: the statistics of its channel and day including it.
pub fn query(bids: &Stream<Bid>) -> Stream<Row> {
    bids.map(|bid| {
        (bid.channel, Offer { auction: bid.auction, bidder: bid.bidder, price: bid.price, date_time: bid.date_time })
    })
    .key_by(|(channel, offer)| (channel.clone(), day(offer.date_time)))
    .process("per-channel", |states| Ok(PerChannel(Collecting::open(states)?)))
}
