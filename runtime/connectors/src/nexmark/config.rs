//! What can be set about the events, with the defaults of the benchmark.

use serde::{Deserialize, Serialize};

/// Configuration of the generator. The defaults are those of Apache Beam and the Flink suite.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct NexmarkConfig {
    /// Number of events (of all kinds, also for a source of one kind); `None`: no end.
    pub events: Option<u64>,
    /// Events per second over all splits and kinds: event `i` is due at `start + i / rate`. `None`: as fast as possible.
    pub rate: Option<u64>,
    /// Into how many splits the events are divided. Cannot change while a job has state.
    pub splits: u32,
    /// Other seeds give other events.
    pub seed: u64,
    /// Event time of event 0 in milliseconds since the Unix epoch.
    pub base_time: i64,
    /// Event time between two events in nanoseconds.
    pub inter_event_delay_ns: u64,
    /// Event times are shuffled within groups of this many events; 1: in order. Not a multiple of 953.
    pub out_of_order_group: u64,
    /// One in this many bids is not for a hot auction.
    pub hot_auction_ratio: u64,
    /// One in this many auctions is not by a hot seller.
    pub hot_seller_ratio: u64,
    /// One in this many bids is not by a hot bidder.
    pub hot_bidder_ratio: u64,
    /// How many of the newest auctions get bids.
    pub in_flight_auctions: u64,
    /// How many of the newest people sell and bid.
    pub active_people: u64,
    /// Average size of a person in bytes; what the other fields leave is filled by `extra`.
    pub average_person_bytes: u32,
    /// Average size of an auction in bytes; what the other fields leave is filled by `extra`.
    pub average_auction_bytes: u32,
    /// Average size of a bid in bytes; what the numbers leave is filled by `extra`, 0 leaves `extra` empty.
    pub average_bid_bytes: u32,
}

impl Default for NexmarkConfig {
    fn default() -> Self {
        Self {
            events: None,
            rate: None,
            splits: 4,
            seed: 0,
            base_time: 1_436_918_400_000,
            inter_event_delay_ns: 100_000,
            out_of_order_group: 1,
            hot_auction_ratio: 2,
            hot_seller_ratio: 4,
            hot_bidder_ratio: 4,
            in_flight_auctions: 100,
            active_people: 1000,
            average_person_bytes: 200,
            average_auction_bytes: 500,
            average_bid_bytes: 100,
        }
    }
}

/// A field is out of range.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("nexmark: {field} is {found}; {allowed}")]
pub struct NexmarkConfigError {
    field: &'static str,
    found: u64,
    allowed: &'static str,
}

/// Largest average size of an event in bytes; `extra` is a slice of a table of this size.
pub(super) const MAX_AVERAGE_BYTES: u32 = 16 * 1024;
/// Bounds that keep event times and products of event numbers within 64 bits.
const MAX_DELAY_NS: u64 = 1_000_000_000_000;
const MAX_GROUP: u64 = 1_000_000;
const MAX_RATIO: u64 = 1_000_000;
const MAX_KEYS: u64 = 1_000_000_000;
const MAX_SPLITS: u64 = 32_768;

impl NexmarkConfig {
    /// How far in event time an event can be behind a preceding one, in milliseconds: the bound for watermarks.
    pub fn max_out_of_orderness_ms(&self) -> u64 {
        ((self.out_of_order_group - 1) * self.inter_event_delay_ns).div_ceil(1_000_000)
    }

    pub(super) fn validate(&self) -> Result<(), NexmarkConfigError> {
        let bytes = u64::from(MAX_AVERAGE_BYTES);
        let ranges = [
            ("splits", u64::from(self.splits), 1, MAX_SPLITS, "allowed are 1 to 32768"),
            ("rate", self.rate.unwrap_or(1), 1, u64::MAX, "allowed are 1 and above; leave it out for no limit"),
            ("interEventDelayNs", self.inter_event_delay_ns, 0, MAX_DELAY_NS, "allowed are 0 to 10^12 (1000 s)"),
            ("outOfOrderGroup", self.out_of_order_group, 1, MAX_GROUP, "allowed are 1 to 10^6"),
            ("hotAuctionRatio", self.hot_auction_ratio, 1, MAX_RATIO, "allowed are 1 (none is hot) to 10^6"),
            ("hotSellerRatio", self.hot_seller_ratio, 1, MAX_RATIO, "allowed are 1 (none is hot) to 10^6"),
            ("hotBidderRatio", self.hot_bidder_ratio, 1, MAX_RATIO, "allowed are 1 (none is hot) to 10^6"),
            ("inFlightAuctions", self.in_flight_auctions, 1, MAX_KEYS, "allowed are 1 to 10^9"),
            ("activePeople", self.active_people, 1, MAX_KEYS, "allowed are 1 to 10^9"),
            ("averagePersonBytes", u64::from(self.average_person_bytes), 0, bytes, "allowed are 0 to 16384"),
            ("averageAuctionBytes", u64::from(self.average_auction_bytes), 0, bytes, "allowed are 0 to 16384"),
            ("averageBidBytes", u64::from(self.average_bid_bytes), 0, bytes, "allowed are 0 to 16384"),
        ];
        for (field, found, least, most, allowed) in ranges {
            if !(least..=most).contains(&found) {
                return Err(NexmarkConfigError { field, found, allowed });
            }
        }
        let (field, found) = ("outOfOrderGroup", self.out_of_order_group);
        if found.is_multiple_of(super::generator::SHUFFLE) {
            return Err(NexmarkConfigError { field, found, allowed: "multiples of 953 cannot be shuffled" });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_out_of_range_are_refused_by_name() {
        let config = NexmarkConfig::default;
        for (config, message) in [
            (NexmarkConfig { splits: 0, ..config() }, "nexmark: splits is 0; allowed are 1 to 32768"),
            (
                NexmarkConfig { rate: Some(0), ..config() },
                "nexmark: rate is 0; allowed are 1 and above; leave it out for no limit",
            ),
            (
                NexmarkConfig { out_of_order_group: 1906, ..config() },
                "nexmark: outOfOrderGroup is 1906; multiples of 953 cannot be shuffled",
            ),
            (NexmarkConfig { active_people: 0, ..config() }, "nexmark: activePeople is 0; allowed are 1 to 10^9"),
            (
                NexmarkConfig { average_bid_bytes: 20_000, ..config() },
                "nexmark: averageBidBytes is 20000; allowed are 0 to 16384",
            ),
        ] {
            assert_eq!(config.validate().unwrap_err().to_string(), message);
        }
        assert_eq!(config().validate(), Ok(()));
    }

    #[test]
    fn unknown_fields_are_refused_and_missing_ones_have_defaults() {
        let config: NexmarkConfig = serde_json::from_str(r#"{"events": 7, "outOfOrderGroup": 11}"#).unwrap();
        assert_eq!(config, NexmarkConfig { events: Some(7), out_of_order_group: 11, ..NexmarkConfig::default() });
        assert_eq!(config.max_out_of_orderness_ms(), 1);
        assert!(serde_json::from_str::<NexmarkConfig>(r#"{"event": 7}"#).is_err());
    }
}
