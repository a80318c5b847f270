//! q9, winning bids: the highest bid of each auction while it was open, decided when it closes.

use serde::{Deserialize, Serialize};
use weir_connectors::nexmark::{Auction, Bid};
use weir_engine::error::UserError;
use weir_engine::operators::co_process::CoProcessFunction;
use weir_engine::operators::process::{ProcessContext, TimeDomain, Timer};
use weir_engine::stream::Stream;
use weir_state::{ListHandle, ValueHandle};

use super::Inputs;

/// An auction and its winning bid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// The auction.
    pub auction: Auction,
    /// The winning bid.
    pub bid: Bid,
}

/// True if `bid` beats `other`: the higher price, then the earlier time, then the lower bidder.
pub fn beats(bid: &Bid, other: &Bid) -> bool {
    (bid.price, std::cmp::Reverse((bid.date_time, bid.bidder)))
        > (other.price, std::cmp::Reverse((other.date_time, other.bidder)))
}

struct Winning {
    auction: ValueHandle<Auction>,
    best: ValueHandle<Bid>,
    /// Bids that came before their auction.
    early: ListHandle<Bid>,
}

impl Winning {
    fn offer(&self, auction: &Auction, bid: &Bid, ctx: &mut ProcessContext<'_, '_, u64, Row>) -> Result<(), UserError> {
        if !(auction.date_time..=auction.expires).contains(&bid.date_time) {
            return Ok(());
        }
        if ctx.value(self.best).get()?.is_none_or(|best| beats(bid, best)) {
            ctx.value(self.best).set(bid.clone())?;
        }
        Ok(())
    }
}

impl CoProcessFunction<u64, Auction, Bid> for Winning {
    type Out = Row;

    fn process_left(&mut self, auction: &Auction, ctx: &mut ProcessContext<'_, '_, u64, Row>) -> Result<(), UserError> {
        for bid in ctx.list(self.early).get()? {
            self.offer(auction, &bid, ctx)?;
        }
        ctx.list(self.early).clear()?;
        ctx.value(self.auction).set(auction.clone())?;
        Ok(ctx.set_timer(TimeDomain::Event, auction.expires)?)
    }

    fn process_right(&mut self, bid: &Bid, ctx: &mut ProcessContext<'_, '_, u64, Row>) -> Result<(), UserError> {
        let open = ctx.value(self.auction).get()?.map(|auction| (auction.date_time, auction.expires));
        match open {
            Some((from, to)) if !(from..=to).contains(&bid.date_time) => Ok(()),
            Some(_) => {
                if ctx.value(self.best).get()?.is_none_or(|best| beats(bid, best)) {
                    ctx.value(self.best).set(bid.clone())?;
                }
                Ok(())
            }
            // Behind the watermark no auction follows that could have been open then.
            None if bid.date_time <= ctx.watermark() => Ok(()),
            None => {
                ctx.list(self.early).push(bid.clone())?;
                Ok(ctx.set_timer(TimeDomain::Event, bid.date_time)?)
            }
        }
    }

    fn on_timer(&mut self, timer: Timer, ctx: &mut ProcessContext<'_, '_, u64, Row>) -> Result<(), UserError> {
        let Some(auction) = ctx.value(self.auction).get()?.cloned() else {
            // No auction came with or before these bids.
            let mut early = ctx.list(self.early).get()?;
            early.retain(|bid| bid.date_time > timer.time);
            ctx.list(self.early).clear()?;
            for bid in early {
                ctx.list(self.early).push(bid)?;
            }
            return Ok(());
        };
        if auction.expires != timer.time {
            return Ok(());
        }
        let best = ctx.value(self.best).get()?.cloned();
        ctx.value(self.auction).clear()?;
        ctx.value(self.best).clear()?;
        match best {
            Some(bid) => ctx.emit(Row { auction, bid }),
            None => Ok(()),
        }
    }
}

/// One row per auction that had a bid between its start and its end.
pub fn query(inputs: &Inputs) -> Stream<Row> {
    let auctions = inputs.auctions.key_by(|auction| auction.id);
    let bids = inputs.bids.key_by(|bid| bid.auction);
    auctions.connect(&bids).process("winning-bids", |states| {
        Ok(Winning { auction: states.value("auction")?, best: states.value("best")?, early: states.list("early")? })
    })
}
