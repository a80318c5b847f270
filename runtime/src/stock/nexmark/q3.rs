//! q3, local item suggestion: an unbounded join of people and their auctions.

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;
use weir_connectors::nexmark::{Auction, Person};
use weir_engine::error::UserError;
use weir_engine::operators::co_process::CoProcessFunction;
use weir_engine::operators::process::ProcessContext;
use weir_engine::stream::Stream;
use weir_state::{ListHandle, ValueHandle};

use super::Inputs;

/// Who sells what, where.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Row {
    /// Seller's name.
    pub name: SmolStr,
    /// Seller's city.
    pub city: SmolStr,
    /// Seller's state.
    pub state: SmolStr,
    /// The auction.
    pub id: u64,
}

type Place = (SmolStr, SmolStr, SmolStr);

struct Join {
    /// The person, once known.
    person: ValueHandle<Place>,
    /// Auctions that came before their seller.
    waiting: ListHandle<u64>,
}

fn row((name, city, state): Place, id: u64) -> Row {
    Row { name, city, state, id }
}

impl CoProcessFunction<u64, Auction, Person> for Join {
    type Out = Row;

    fn process_left(&mut self, auction: &Auction, ctx: &mut ProcessContext<'_, '_, u64, Row>) -> Result<(), UserError> {
        match ctx.value(self.person).get()?.cloned() {
            Some(place) => ctx.emit(row(place, auction.id)),
            None => Ok(ctx.list(self.waiting).push(auction.id)?),
        }
    }

    fn process_right(&mut self, person: &Person, ctx: &mut ProcessContext<'_, '_, u64, Row>) -> Result<(), UserError> {
        let place = (person.name.clone(), person.city.clone(), person.state.clone());
        for auction in ctx.list(self.waiting).get()? {
            ctx.emit(row(place.clone(), auction))?;
        }
        ctx.list(self.waiting).clear()?;
        Ok(ctx.value(self.person).set(place)?)
    }
}

/// Auctions of category 10 by sellers in Oregon, Idaho and California.
pub fn query(inputs: &Inputs) -> Stream<Row> {
    let auctions = inputs.auctions.filter(|auction| auction.category == 10).key_by(|auction| auction.seller);
    let people =
        inputs.people.filter(|person| matches!(person.state.as_str(), "OR" | "ID" | "CA")).key_by(|person| person.id);
    auctions.connect(&people).process("local-sellers", |states| {
        Ok(Join { person: states.value("person")?, waiting: states.list("waiting")? })
    })
}
