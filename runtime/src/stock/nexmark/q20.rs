//! q20, bids with the auction they are for: an unbounded join.

use weir_connectors::nexmark::{Auction, Bid};
use weir_engine::error::UserError;
use weir_engine::operators::co_process::CoProcessFunction;
use weir_engine::operators::process::ProcessContext;
use weir_engine::stream::Stream;
use weir_state::{ListHandle, ValueHandle};

use super::{Inputs, q9::Row};

/// Auctions of this category are of interest.
const CATEGORY: u64 = 10;

struct Join {
    auction: ValueHandle<Auction>,
    /// Bids that came before their auction, or whose auction is of no interest.
    waiting: ListHandle<Bid>,
}

impl CoProcessFunction<u64, Auction, Bid> for Join {
    type Out = Row;

    fn process_left(&mut self, auction: &Auction, ctx: &mut ProcessContext<'_, '_, u64, Row>) -> Result<(), UserError> {
        for bid in ctx.list(self.waiting).get()? {
            ctx.emit(Row { auction: auction.clone(), bid })?;
        }
        ctx.list(self.waiting).clear()?;
        Ok(ctx.value(self.auction).set(auction.clone())?)
    }

    fn process_right(&mut self, bid: &Bid, ctx: &mut ProcessContext<'_, '_, u64, Row>) -> Result<(), UserError> {
        match ctx.value(self.auction).get()?.cloned() {
            Some(auction) => ctx.emit(Row { auction, bid: bid.clone() }),
            None => Ok(ctx.list(self.waiting).push(bid.clone())?),
        }
    }
}

/// Every bid for an auction of category 10, with the auction.
pub fn query(inputs: &Inputs) -> Stream<Row> {
    let auctions = inputs.auctions.filter(|auction| auction.category == CATEGORY).key_by(|auction| auction.id);
    let bids = inputs.bids.key_by(|bid| bid.auction);
    auctions
        .connect(&bids)
        .process("join", |states| Ok(Join { auction: states.value("auction")?, waiting: states.list("waiting")? }))
}
