//! Nexmark: people, auctions and bids of an online auction, the events of the benchmark of the same name.
//!
//! Event `i` is a pure function of the seed and `i`, so a position is nothing but the number of the next event. Events
//! come in rounds of 50: one person, three auctions, 46 bids; split `k` of `n` delivers the rounds that leave the
//! remainder `k` when divided by `n`, so that every split has the same mix. Proportions, hot-key ratios and the choice
//! of keys follow the generators of Apache Beam and of the Flink Nexmark suite.

use std::marker::PhantomData;

use serde::{Deserialize, Serialize};
use weir_engine::record::Record;
use weir_engine::source::{ConnectorError, Position, Progress, Source, SplitId, SplitReader};

use crate::pace::{Clock, Pace};
use crate::split::{parse_share, share_ids};

mod config;
mod csv;
mod generator;
mod model;
mod tables;

pub use config::{NexmarkConfig, NexmarkConfigError};
pub use generator::{FIRST_ID, Generator, ROUND};
pub use model::{Auction, Bid, Event, Person};

use generator::{AUCTIONS, BIDS, EVENTS, Offsets, PEOPLE};

/// All events.
pub type NexmarkEvents = Nexmark<Event>;
/// Only the people; the other events are skipped, not made.
pub type NexmarkPeople = Nexmark<Person>;
/// Only the auctions; the other events are skipped, not made.
pub type NexmarkAuctions = Nexmark<Auction>;
/// Only the bids; the other events are skipped, not made.
pub type NexmarkBids = Nexmark<Bid>;

/// A source of the events of type `E`: [`Event`], [`Person`], [`Auction`] or [`Bid`]. Event `i` is the same in all four.
pub struct Nexmark<E> {
    config: NexmarkConfig,
    generator: Generator,
    clock: Clock,
    events: PhantomData<fn() -> E>,
}

/// A type of events that [`Nexmark`] delivers.
pub trait Kind: Record + sealed::Kind {}

impl<E: Record + sealed::Kind> Kind for E {}

mod sealed {
    use super::{Generator, Offsets};

    pub trait Kind: Sized {
        const NAME: &'static str;
        /// Where in a round these events stand.
        const OFFSETS: Offsets;
        fn make(generator: &Generator, number: u64) -> Self;
    }
}

impl sealed::Kind for Event {
    const NAME: &'static str = "events";
    const OFFSETS: Offsets = EVENTS;

    fn make(generator: &Generator, number: u64) -> Self {
        generator.event(number)
    }
}

impl sealed::Kind for Person {
    const NAME: &'static str = "people";
    const OFFSETS: Offsets = PEOPLE;

    fn make(generator: &Generator, number: u64) -> Self {
        generator.person(number)
    }
}

impl sealed::Kind for Auction {
    const NAME: &'static str = "auctions";
    const OFFSETS: Offsets = AUCTIONS;

    fn make(generator: &Generator, number: u64) -> Self {
        generator.auction(number)
    }
}

impl sealed::Kind for Bid {
    const NAME: &'static str = "bids";
    const OFFSETS: Offsets = BIDS;

    fn make(generator: &Generator, number: u64) -> Self {
        generator.bid(number)
    }
}

impl<E: Kind> Nexmark<E> {
    /// A source with this configuration.
    ///
    /// # Errors
    /// When a field of the configuration is out of range.
    pub fn new(config: NexmarkConfig) -> Result<Self, NexmarkConfigError> {
        let generator = Generator::new(&config)?;
        Ok(Self { config, generator, clock: Clock::system(), events: PhantomData })
    }
}

impl<E: Kind> Source for Nexmark<E> {
    type Item = E;

    fn discover(&self) -> Result<Vec<SplitId>, ConnectorError> {
        Ok(share_ids(E::NAME, self.config.splits))
    }

    fn open(
        &self,
        split: &SplitId,
        position: Option<&Position>,
    ) -> Result<Box<dyn SplitReader<Item = E>>, ConnectorError> {
        let share = parse_share(split, E::NAME, self.config.splits)?;
        let cursor = Cursor { share: u64::from(share.index), shares: u64::from(share.of), offsets: E::OFFSETS };
        let misfit =
            |position| ConnectorError::permanent(format!("position {position} does not belong to split {split}"));
        let (next, started) = match position {
            None => (cursor.first(), None),
            Some(position) => {
                let stored =
                    NexmarkPosition::deserialize(position).map_err(|error| misfit(position).caused_by(error))?;
                if !cursor.contains(stored.event) {
                    return Err(misfit(position));
                }
                (stored.event, stored.started)
            }
        };
        Ok(Box::new(NexmarkReader {
            generator: self.generator.clone(),
            cursor,
            next,
            end: self.config.events.unwrap_or(u64::MAX),
            pace: Pace::new(self.config.rate, started, &self.clock),
            events: PhantomData,
        }))
    }

    fn is_bounded(&self) -> bool {
        self.config.events.is_some()
    }
}

/// What is stored in checkpoints: the number of the next event, and when a rate-limited source started (microseconds since the Unix epoch).
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct NexmarkPosition {
    event: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    started: Option<i64>,
}

/// The event numbers of one split: its rounds, and in each round the offsets of the wanted events.
#[derive(Debug, Clone)]
struct Cursor {
    share: u64,
    shares: u64,
    offsets: Offsets,
}

impl Cursor {
    fn first(&self) -> u64 {
        self.share * ROUND + self.offsets.start
    }

    fn contains(&self, event: u64) -> bool {
        event / ROUND % self.shares == self.share && (self.offsets.start..self.offsets.end).contains(&(event % ROUND))
    }

    /// End of the wanted events in the round of `event`.
    fn stop(&self, event: u64) -> u64 {
        event / ROUND * ROUND + self.offsets.end
    }

    /// The first wanted event in this split's round after that of `event`.
    fn next_round(&self, event: u64) -> u64 {
        (event / ROUND + self.shares) * ROUND + self.offsets.start
    }

    /// Number of wanted events of this split from `from` (one of them) to below `to`.
    fn count(&self, from: u64, to: u64) -> u64 {
        if to <= from {
            return 0;
        }
        let whole_rounds = (to / ROUND - from / ROUND) / self.shares;
        let width = self.offsets.end - self.offsets.start;
        let last_round = from / ROUND + whole_rounds * self.shares;
        let in_last = to.saturating_sub(last_round * ROUND + self.offsets.start).min(width);
        whole_rounds * width + in_last - (from % ROUND - self.offsets.start)
    }
}

struct NexmarkReader<E> {
    generator: Generator,
    cursor: Cursor,
    next: u64,
    end: u64,
    pace: Option<Pace>,
    events: PhantomData<fn() -> E>,
}

impl<E: Kind> SplitReader for NexmarkReader<E> {
    type Item = E;

    fn read(&mut self, max: usize, out: &mut Vec<E>) -> Result<Progress, ConnectorError> {
        let limit = self.pace.as_ref().map_or(self.end, |pace| pace.due().min(self.end));
        let mut room = max as u64;
        while room > 0 && self.next < limit {
            let stop = self.cursor.stop(self.next);
            let count = room.min(stop.min(limit) - self.next);
            let generator = &self.generator;
            out.extend((self.next..self.next + count).map(|number| E::make(generator, number)));
            room -= count;
            self.next += count;
            if self.next == stop {
                self.next = self.cursor.next_round(stop - 1);
            }
        }
        Ok(match &self.pace {
            _ if self.next >= self.end => Progress::End,
            Some(pace) if self.next >= limit => Progress::WaitFor(pace.wait(self.next)),
            _ => Progress::Ready,
        })
    }

    fn position(&self) -> Position {
        let started = self.pace.as_ref().map(Pace::started);
        serde_json::to_value(NexmarkPosition { event: self.next, started }).expect("two integers are valid JSON")
    }

    fn lag(&self) -> Option<u64> {
        let due = self.pace.as_ref()?.due().min(self.end);
        Some(self.cursor.count(self.next, due))
    }
}

#[cfg(test)]
mod tests;
