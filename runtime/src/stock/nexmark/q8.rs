//! q8, monitor new users: people who registered and sold something in the same window.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;
use weir_engine::operators::aggregate::Count;
use weir_engine::stream::Stream;
use weir_engine::window::Tumbling;

use super::Inputs;

const SIZE: Duration = Duration::from_secs(10);

/// A new seller.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Row {
    /// The person.
    pub id: u64,
    /// Their name.
    pub name: SmolStr,
    /// Start of the window in milliseconds.
    pub window_start: i64,
}

/// Windows of 10 s; each new seller once per window.
pub fn query(inputs: &Inputs) -> Stream<Row> {
    let people = inputs.people.map(|person| (person.id, person.name)).key_by(|&(id, _)| id);
    let sellers = inputs
        .auctions
        .map(|auction| auction.seller)
        .key_by(|&seller| seller)
        .window(Tumbling::of(SIZE))
        .aggregate("sellers", Count::new());
    people.window_join(&sellers.key_by(|seller| seller.key), Tumbling::of(SIZE)).process(
        "new-sellers",
        |(id, name), _, window, emit| {
            emit(Row { id: *id, name: name.clone(), window_start: window.start });
        },
    )
}
