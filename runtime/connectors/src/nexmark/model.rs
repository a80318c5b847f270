//! The three kinds of events. Field names in JSON and CSV are those of the Flink suite (`dateTime`, `emailAddress`, …).
//!
//! Strings are [`SmolStr`]: the generator's strings are slices of tables and cost no allocation, short ones read from
//! files are stored inline.

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

/// Someone who sells and bids.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Person {
    /// Unique and ascending.
    pub id: u64,
    /// First and last name.
    pub name: SmolStr,
    /// An e-mail address.
    pub email_address: SmolStr,
    /// A card number of four groups of four digits.
    pub credit_card: SmolStr,
    /// A city.
    pub city: SmolStr,
    /// The state's abbreviation.
    pub state: SmolStr,
    /// Event time in milliseconds since the Unix epoch.
    pub date_time: i64,
    /// Filler.
    pub extra: SmolStr,
}

/// Something for sale.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Auction {
    /// Unique and ascending.
    pub id: u64,
    /// What is sold.
    pub item_name: SmolStr,
    /// More about it.
    pub description: SmolStr,
    /// Where bidding starts, in cents.
    pub initial_bid: u64,
    /// The lowest price at which it is sold, in cents.
    pub reserve: u64,
    /// Event time in milliseconds since the Unix epoch.
    pub date_time: i64,
    /// When bidding ends, in milliseconds since the Unix epoch.
    pub expires: i64,
    /// The selling person's id.
    pub seller: u64,
    /// 10 to 14.
    pub category: u64,
    /// Filler.
    pub extra: SmolStr,
}

/// An offer for an auction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Bid {
    /// The auction's id.
    pub auction: u64,
    /// The bidding person's id.
    pub bidder: u64,
    /// The offer in cents.
    pub price: u64,
    /// Where the bid came from: one of four hot channels or `channel-0` to `channel-9999`.
    pub channel: SmolStr,
    /// An address that belongs to the channel.
    pub url: SmolStr,
    /// Event time in milliseconds since the Unix epoch.
    pub date_time: i64,
    /// Filler.
    pub extra: SmolStr,
}

/// Any of the three. The rare, larger kinds are boxed: an event is as large as a bid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Event {
    /// One in 50.
    Person(Box<Person>),
    /// Three in 50.
    Auction(Box<Auction>),
    /// 46 in 50.
    Bid(Bid),
}

impl Event {
    /// Event time in milliseconds since the Unix epoch.
    pub fn date_time(&self) -> i64 {
        match self {
            Self::Person(person) => person.date_time,
            Self::Auction(auction) => auction.date_time,
            Self::Bid(bid) => bid.date_time,
        }
    }

    /// The bid, if it is one.
    pub fn into_bid(self) -> Option<Bid> {
        if let Self::Bid(bid) = self { Some(bid) } else { None }
    }

    /// The auction, if it is one.
    pub fn into_auction(self) -> Option<Auction> {
        if let Self::Auction(auction) = self { Some(*auction) } else { None }
    }

    /// The person, if it is one.
    pub fn into_person(self) -> Option<Person> {
        if let Self::Person(person) = self { Some(*person) } else { None }
    }
}
