//! Event `number` as a function of the seed and the number.
//!
//! Random draw `k` of event `i` is `mix(s + k × GOLDEN)` with `s = mix(seed' + i × GOLDEN)`: SplitMix64 twice, no state.
//! Nothing here uses floating point, so that the same events come out on every machine.

use smol_str::{SmolStr, SmolStrBuilder};

use super::config::{NexmarkConfig, NexmarkConfigError};
use super::model::{Auction, Bid, Event, Person};
use super::tables::{
    CHANNELS, CITIES, Channels, FILLER_STARTS, FIRST_NAMES, GOLDEN, HOT_CHANNELS, LAST_NAMES, filler, mix, price,
};

/// Events per round: one person, then three auctions, then 46 bids.
pub const ROUND: u64 = 50;
/// The first person's and the first auction's id.
pub const FIRST_ID: u64 = 1000;

/// Part of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offsets {
    pub(super) start: u64,
    pub(super) end: u64,
}

pub(super) const EVENTS: Offsets = Offsets { start: 0, end: ROUND };
pub(super) const PEOPLE: Offsets = Offsets { start: 0, end: 1 };
pub(super) const AUCTIONS: Offsets = Offsets { start: 1, end: 4 };
pub(super) const BIDS: Offsets = Offsets { start: 4, end: ROUND };

const PEOPLE_PER_ROUND: u64 = PEOPLE.end - PEOPLE.start;
const AUCTIONS_PER_ROUND: u64 = AUCTIONS.end - AUCTIONS.start;

/// Among this many consecutive auctions (or people) one is hot.
const HOT_STRIDE: u64 = 100;
/// Ids up to this far ahead of the newest are used before their auction (or person) appears.
const ID_LEAD: u64 = 10;
const FIRST_CATEGORY: u64 = 10;
const CATEGORIES: u64 = 5;
/// Bids from a hot channel: all but one in this many.
const HOT_CHANNEL_RATIO: u64 = 2;
/// Within a group of events out of order, event `i` has the time of event `SHUFFLE × i` modulo the group. A prime.
pub(super) const SHUFFLE: u64 = 953;

const NANOS_PER_MILLI: u64 = 1_000_000;
/// Bytes of eight-byte fields.
const PERSON_FIXED_BYTES: usize = 16;
const AUCTION_FIXED_BYTES: usize = 56;
const BID_FIXED_BYTES: usize = 32;

/// Makes events. Cheap to clone.
#[derive(Clone)]
pub struct Generator {
    config: NexmarkConfig,
    seed: u64,
    bid_filler: FillerLength,
    channels: &'static Channels,
}

impl Generator {
    /// A generator for this configuration.
    ///
    /// # Errors
    /// When a field of the configuration is out of range.
    pub fn new(config: &NexmarkConfig) -> Result<Self, NexmarkConfigError> {
        config.validate()?;
        Ok(Self {
            seed: mix(config.seed.wrapping_add(GOLDEN)),
            bid_filler: FillerLength::new(config.average_bid_bytes, BID_FIXED_BYTES),
            config: config.clone(),
            channels: Channels::get(),
        })
    }

    /// Event `number`.
    #[inline]
    pub fn event(&self, number: u64) -> Event {
        let offset = number % ROUND;
        if offset >= BIDS.start {
            Event::Bid(self.bid(number))
        } else if offset >= AUCTIONS.start {
            Event::Auction(Box::new(self.auction(number)))
        } else {
            Event::Person(Box::new(self.person(number)))
        }
    }

    /// Event `number` as a bid, whatever its kind.
    #[inline]
    pub fn bid(&self, number: u64) -> Bid {
        let mut draws = self.draws(number);
        let auction = if draws.below(self.config.hot_auction_ratio) > 0 {
            newest_auction(number) / HOT_STRIDE * HOT_STRIDE
        } else {
            self.recent_auction(number, &mut draws)
        };
        let bidder = if draws.below(self.config.hot_bidder_ratio) > 0 {
            newest_person(number) / HOT_STRIDE * HOT_STRIDE + 1
        } else {
            self.recent_person(number, &mut draws)
        };
        let price = price(draws.next());
        let channel = if draws.below(HOT_CHANNEL_RATIO) > 0 {
            CHANNELS + draws.below(HOT_CHANNELS.len() as u64)
        } else {
            draws.below(CHANNELS)
        };
        let (channel, url) = self.channels.channel(channel);
        Bid {
            auction: FIRST_ID + auction,
            bidder: FIRST_ID + bidder,
            price,
            channel: SmolStr::new_static(channel),
            url: SmolStr::new_static(url),
            date_time: self.date_time(number),
            extra: self.bid_filler.draw(&mut draws),
        }
    }

    /// Event `number` as an auction; its id is unique only if the event is an auction.
    pub fn auction(&self, number: u64) -> Auction {
        let mut draws = self.draws(number);
        let seller = if draws.below(self.config.hot_seller_ratio) > 0 {
            newest_person(number) / HOT_STRIDE * HOT_STRIDE
        } else {
            self.recent_person(number, &mut draws)
        };
        let item_name = word(&mut draws, 3, 20);
        let description = word(&mut draws, 3, 100);
        let initial_bid = price(draws.next());
        let date_time = self.date_time(number);
        let used = AUCTION_FIXED_BYTES + item_name.len() + description.len();
        Auction {
            id: FIRST_ID + newest_auction(number),
            initial_bid,
            reserve: initial_bid + price(draws.next()),
            date_time,
            expires: date_time + self.auction_length_ms(number, date_time, &mut draws),
            seller: FIRST_ID + seller,
            category: FIRST_CATEGORY + draws.below(CATEGORIES),
            extra: FillerLength::new(self.config.average_auction_bytes, used).draw(&mut draws),
            item_name: SmolStr::new_static(item_name),
            description: SmolStr::new_static(description),
        }
    }

    /// Event `number` as a person; its id is unique only if the event is a person.
    pub fn person(&self, number: u64) -> Person {
        let mut draws = self.draws(number);
        let name = joined(&[draws.pick(&FIRST_NAMES), " ", draws.pick(&LAST_NAMES)]);
        let email_address = joined(&[word(&mut draws, 3, 7), "@", word(&mut draws, 3, 5), ".com"]);
        let credit_card = card_number(&mut draws);
        let (city, state) = draws.pick(&CITIES);
        let used = PERSON_FIXED_BYTES + name.len() + email_address.len() + credit_card.len() + city.len() + state.len();
        Person {
            id: FIRST_ID + newest_person(number),
            name,
            email_address,
            credit_card,
            city: SmolStr::new_static(city),
            state: SmolStr::new_static(state),
            date_time: self.date_time(number),
            extra: FillerLength::new(self.config.average_person_bytes, used).draw(&mut draws),
        }
    }

    /// Event time of event `number` in milliseconds since the Unix epoch.
    #[inline]
    pub fn date_time(&self, number: u64) -> i64 {
        self.in_order_time(self.shuffled(number))
    }

    fn in_order_time(&self, number: u64) -> i64 {
        let delay = self.config.inter_event_delay_ns;
        let (millions, rest) = (number / NANOS_PER_MILLI, number % NANOS_PER_MILLI);
        let millis = millions.saturating_mul(delay).saturating_add(rest * delay / NANOS_PER_MILLI);
        self.config.base_time.saturating_add_unsigned(millis)
    }

    #[inline]
    fn shuffled(&self, number: u64) -> u64 {
        let group = self.config.out_of_order_group;
        if group == 1 {
            return number;
        }
        let offset = number % group;
        number - offset + offset * SHUFFLE % group
    }

    fn auction_length_ms(&self, number: u64, date_time: i64, draws: &mut Draws) -> i64 {
        let events = self.config.in_flight_auctions * ROUND / AUCTIONS_PER_ROUND;
        let horizon = self.in_order_time(self.shuffled(number).saturating_add(events)).saturating_sub(date_time);
        1 + draws.below((horizon.unsigned_abs() * 2).max(1)).cast_signed()
    }

    #[inline]
    fn recent_auction(&self, number: u64, draws: &mut Draws) -> u64 {
        let newest = newest_auction(number);
        let oldest = newest.saturating_sub(self.config.in_flight_auctions);
        oldest + draws.below(newest - oldest + 1 + ID_LEAD)
    }

    #[inline]
    fn recent_person(&self, number: u64, draws: &mut Draws) -> u64 {
        let people = newest_person(number) + 1;
        let active = people.min(self.config.active_people);
        people - active + draws.below(active + ID_LEAD)
    }

    #[inline]
    fn draws(&self, number: u64) -> Draws {
        Draws { state: mix(self.seed.wrapping_add(number.wrapping_mul(GOLDEN))) }
    }
}

/// Index of the newest person at event `number`.
#[inline]
fn newest_person(number: u64) -> u64 {
    number / ROUND * PEOPLE_PER_ROUND
}

/// Index of the newest auction at event `number`; before the first one it is 0.
#[inline]
fn newest_auction(number: u64) -> u64 {
    let auctions = (number % ROUND + 1).saturating_sub(AUCTIONS.start).min(AUCTIONS_PER_ROUND);
    (number / ROUND * AUCTIONS_PER_ROUND + auctions).saturating_sub(1)
}

/// The random draws of one event.
struct Draws {
    state: u64,
}

impl Draws {
    #[inline]
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GOLDEN);
        mix(self.state)
    }

    /// Uniform below `bound`, with a bias of at most `bound` / 2^64.
    #[inline]
    fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    fn pick<T: Copy>(&mut self, table: &[T]) -> T {
        table[self.below(table.len() as u64) as usize]
    }
}

/// How long `extra` is: a fifth around what the other fields leave of the average size.
#[derive(Clone, Copy)]
struct FillerLength {
    least: usize,
    span: u64,
}

impl FillerLength {
    fn new(average: u32, used: usize) -> Self {
        let left = (average as usize).saturating_sub(used);
        let delta = (left + 2) / 5;
        Self { least: left - delta, span: 2 * delta as u64 }
    }

    #[inline]
    fn draw(self, draws: &mut Draws) -> SmolStr {
        if self.least == 0 {
            return SmolStr::default();
        }
        let random = draws.next();
        let length = self.least + ((u128::from(random) * u128::from(self.span)) >> 64) as usize;
        SmolStr::new_static(filler(random as usize % FILLER_STARTS, length))
    }
}

fn word(draws: &mut Draws, least: usize, most: usize) -> &'static str {
    let random = draws.next();
    let length = least + ((u128::from(random) * (most - least) as u128) >> 64) as usize;
    filler(random as usize % FILLER_STARTS, length)
}

fn joined(parts: &[&str]) -> SmolStr {
    let mut text = SmolStrBuilder::new();
    for part in parts {
        text.push_str(part);
    }
    text.finish()
}

fn card_number(draws: &mut Draws) -> SmolStr {
    let mut text = SmolStrBuilder::new();
    for group in 0..4 {
        if group > 0 {
            text.push(' ');
        }
        for _ in 0..4 {
            text.push(char::from(b'0' + draws.below(10) as u8));
        }
    }
    text.finish()
}
