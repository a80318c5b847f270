//! q19, the ten highest bids of each auction, updated whenever they change.

use serde::{Deserialize, Serialize};
use weir_connectors::nexmark::Bid;
use weir_engine::error::UserError;
use weir_engine::operators::process::{KeyedProcessFunction, ProcessContext};
use weir_engine::stream::Stream;
use weir_state::ValueHandle;

/// How many bids are kept per auction.
pub const TOP: usize = 10;

/// A bid that is among the highest of its auction, and its place when it came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Place, from 1.
    pub place: u64,
    /// The bid.
    #[serde(flatten)]
    pub bid: Bid,
}

struct Highest {
    bids: ValueHandle<Vec<Bid>>,
}

/// Order of places: the higher price first, then the earlier time, then the lower bidder.
pub fn order(bid: &Bid) -> (std::cmp::Reverse<u64>, i64, u64) {
    (std::cmp::Reverse(bid.price), bid.date_time, bid.bidder)
}

impl KeyedProcessFunction<u64, Bid> for Highest {
    type Out = Row;

    fn process(&mut self, bid: &Bid, ctx: &mut ProcessContext<'_, '_, u64, Row>) -> Result<(), UserError> {
        let full = ctx.value(self.bids).get()?.filter(|bids| bids.len() == TOP);
        if full.and_then(|bids| bids.last()).is_some_and(|lowest| order(bid) >= order(lowest)) {
            return Ok(());
        }
        let bids = ctx.value(self.bids).entry()?.get_or_insert_default();
        let place = bids.partition_point(|other| order(other) <= order(bid));
        bids.insert(place, bid.clone());
        bids.truncate(TOP);
        ctx.emit(Row { place: place as u64 + 1, bid: bid.clone() })
    }
}

/// A row for every bid that enters its auction's top ten.
pub fn query(bids: &Stream<Bid>) -> Stream<Row> {
    bids.key_by(|bid| bid.auction).process("top-bids", |states| Ok(Highest { bids: states.value("bids")? }))
}
