//! The Nexmark queries as typed graphs: q0–q5, q7–q9, q11, q12, q15–q20.
//!
//! The queries are those of the Nexmark suite for Flink (github.com/nexmark/nexmark). Where its SQL emits an updated row
//! per input row, so do these; where it retracts (q4), the row is emitted once the auction it depends on has closed.
//! Ties that SQL leaves to the order of arrival are broken by the records' own fields, so that a result does not depend
//! on timing or parallelism.

mod jobs;
pub mod q0;
pub mod q1;
pub mod q11;
pub mod q12;
pub mod q15;
pub mod q16;
pub mod q17;
pub mod q18;
pub mod q19;
pub mod q2;
pub mod q20;
pub mod q3;
pub mod q4;
pub mod q5;
pub mod q7;
pub mod q8;
pub mod q9;
mod statistics;

pub(crate) use jobs::jobs;

use weir_connectors::nexmark::{Auction, Bid, Event, Person};
use weir_engine::stream::Stream;

/// The three streams that queries read.
pub struct Inputs {
    /// Offers.
    pub bids: Stream<Bid>,
    /// Things for sale.
    pub auctions: Stream<Auction>,
    /// Sellers and bidders.
    pub people: Stream<Person>,
}

impl Inputs {
    /// The three streams of one stream of events.
    pub fn of(events: &Stream<Event>) -> Self {
        Self {
            bids: events.flat_map(|event, emit| event.into_bid().into_iter().for_each(emit)),
            auctions: events.flat_map(|event, emit| event.into_auction().into_iter().for_each(emit)),
            people: events.flat_map(|event, emit| event.into_person().into_iter().for_each(emit)),
        }
    }
}

/// Milliseconds of a day.
pub(crate) const DAY_MS: i64 = 24 * 60 * 60 * 1000;
