//! q18, the last bid of each bidder on each auction, updated with every newer one.

use weir_connectors::nexmark::Bid;
use weir_engine::error::UserError;
use weir_engine::operators::process::{KeyedProcessFunction, ProcessContext};
use weir_engine::stream::Stream;
use weir_state::ValueHandle;

struct Last {
    bid: ValueHandle<Bid>,
}

/// True if `bid` replaces `other`: the later one, then the higher price, then the text of channel and filler.
pub fn replaces(bid: &Bid, other: &Bid) -> bool {
    (bid.date_time, bid.price, &bid.channel, &bid.extra) > (other.date_time, other.price, &other.channel, &other.extra)
}

impl KeyedProcessFunction<(u64, u64), Bid> for Last {
    type Out = Bid;

    fn process(&mut self, bid: &Bid, ctx: &mut ProcessContext<'_, '_, (u64, u64), Bid>) -> Result<(), UserError> {
        if ctx.value(self.bid).get()?.is_some_and(|last| !replaces(bid, last)) {
            return Ok(());
        }
        ctx.value(self.bid).set(bid.clone())?;
        ctx.emit(bid.clone())
    }
}

/// The last bid per bidder and auction, again whenever it changes.
pub fn query(bids: &Stream<Bid>) -> Stream<Bid> {
    bids.key_by(|bid| (bid.bidder, bid.auction)).process("last-bid", |states| Ok(Last { bid: states.value("bid")? }))
}
