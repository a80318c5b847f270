use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn config(events: u64) -> NexmarkConfig {
    NexmarkConfig { events: Some(events), ..NexmarkConfig::default() }
}

fn read<E: Kind>(source: &Nexmark<E>, split: &SplitId, position: Option<&Position>, max: usize) -> Vec<E> {
    let mut reader = source.open(split, position).unwrap();
    let mut events = Vec::new();
    while reader.read(max, &mut events).unwrap() != Progress::End {}
    events
}

/// All events of a source, split by split.
fn read_all<E: Kind>(config: NexmarkConfig) -> Vec<E> {
    let source = Nexmark::<E>::new(config).unwrap();
    source.discover().unwrap().iter().flat_map(|split| read(&source, split, None, 777)).collect()
}

fn share(part: usize, whole: usize) -> f64 {
    part as f64 / whole as f64
}

#[track_caller]
fn assert_in(value: f64, range: Range<f64>) {
    assert!(range.contains(&value), "{value} is not in {range:?}");
}

#[test]
fn people_auctions_and_bids_come_1_to_3_to_46() {
    let config = || NexmarkConfig { splits: 3, ..config(1_000_000) };
    let people = read_all::<Person>(config());
    let auctions = read_all::<Auction>(config());
    assert_eq!((people.len(), auctions.len(), read_all::<Bid>(config()).len()), (20_000, 60_000, 920_000));
    let ids: BTreeSet<u64> = people.iter().map(|person| person.id).collect();
    assert_eq!(ids, (1000..21_000).collect());
    let ids: BTreeSet<u64> = auctions.iter().map(|auction| auction.id).collect();
    assert_eq!(ids, (1000..61_000).collect());
}

#[test]
fn hot_keys_are_as_hot_as_the_ratios_say() {
    let config = || NexmarkConfig { splits: 1, ..config(500_000) };
    let bids = read_all::<Bid>(config());
    let hot_auctions = bids.iter().filter(|bid| bid.auction.is_multiple_of(100)).count();
    assert_in(share(hot_auctions, bids.len()), 0.503..0.508);
    let hot_bidders = bids.iter().filter(|bid| bid.bidder % 100 == 1).count();
    assert_in(share(hot_bidders, bids.len()), 0.750..0.756);
    let auctions = read_all::<Auction>(config());
    let hot_sellers = auctions.iter().filter(|auction| auction.seller.is_multiple_of(100)).count();
    assert_in(share(hot_sellers, auctions.len()), 0.745..0.76);
    let hot_channels = bids.iter().filter(|bid| !bid.channel.starts_with("channel-")).count();
    assert_in(share(hot_channels, bids.len()), 0.498..0.502);
}

#[test]
fn bids_refer_to_auctions_in_flight_and_to_active_people() {
    let generator = Generator::new(&config(0)).unwrap();
    let mut people = BTreeMap::<u64, u64>::new();
    for number in 1_000_000..1_100_000 {
        if number % ROUND < BIDS.start {
            continue;
        }
        let bid = generator.bid(number);
        let newest = FIRST_ID + number / ROUND * 3 + 2;
        assert!((newest - 100..=newest + 10).contains(&bid.auction) || bid.auction == newest / 100 * 100);
        let newest = FIRST_ID + number / ROUND;
        assert!((newest - 1000..=newest + 10).contains(&bid.bidder));
        *people.entry(bid.bidder).or_default() += 1;
    }
    // 3010 people are active at some time; at both ends of the window some get no bid: 2 / 0.0115 = 174 of them.
    assert_in(people.len() as f64, 2_800.0..2_870.0);
}

#[test]
fn sizes_and_prices_are_as_configured() {
    let bids = read_all::<Bid>(config(200_000));
    let bytes: usize = bids.iter().map(|bid| 32 + bid.extra.len()).sum();
    assert_in(share(bytes, bids.len()), 99.0..101.0);
    let cheap = bids.iter().filter(|bid| bid.price < 100_000).count();
    assert_in(share(cheap, bids.len()), 0.495..0.505);
    assert!(bids.iter().all(|bid| (100..=100_000_000).contains(&bid.price)));
    let auctions = read_all::<Auction>(config(200_000));
    let bytes: usize = auctions.iter().map(|a| 56 + a.item_name.len() + a.description.len() + a.extra.len()).sum();
    assert_in(share(bytes, auctions.len()), 495.0..505.0);
    assert!(
        auctions.iter().all(|auction| auction.expires > auction.date_time && auction.reserve > auction.initial_bid)
    );
    let short = read_all::<Bid>(NexmarkConfig { average_bid_bytes: 0, ..config(1000) });
    assert!(short.iter().all(|bid| bid.extra.is_empty()));
}

#[test]
fn a_bid_takes_no_more_room_than_an_event() {
    assert_eq!(size_of::<Bid>(), 104);
    assert_eq!(size_of::<Event>(), size_of::<Bid>());
}

#[test]
fn a_source_of_one_kind_delivers_what_a_filter_over_all_events_does() {
    let config = || NexmarkConfig { out_of_order_group: 100, ..config(20_017) };
    let all = read_all::<Event>(config());
    let filtered: Vec<Bid> = all.iter().cloned().filter_map(Event::into_bid).collect();
    assert_eq!(read_all::<Bid>(config()), filtered);
    let filtered: Vec<Auction> = all.iter().cloned().filter_map(Event::into_auction).collect();
    assert_eq!(read_all::<Auction>(config()), filtered);
    let filtered: Vec<Person> = all.into_iter().filter_map(Event::into_person).collect();
    assert_eq!(read_all::<Person>(config()), filtered);
}

#[test]
fn other_seeds_give_other_events() {
    assert_ne!(read_all::<Bid>(config(100)), read_all::<Bid>(NexmarkConfig { seed: 1, ..config(100) }));
}

#[test]
fn event_times_follow_the_numbers_exactly() {
    let config = NexmarkConfig { inter_event_delay_ns: 333, base_time: -5, ..config(0) };
    let generator = Generator::new(&config).unwrap();
    for number in [0, 1, 3003, 3004, 1_000_000, 123_456_789_012, 9_999_999_999_999] {
        let expected = -5 + i64::try_from(u128::from(number) * 333 / 1_000_000).unwrap();
        assert_eq!(generator.date_time(number), expected, "event {number}");
    }
}

#[test]
fn disorder_stays_within_its_bound_and_only_reorders() {
    let times = |group| {
        let config = NexmarkConfig { splits: 1, out_of_order_group: group, ..config(100_000) };
        let bound = config.max_out_of_orderness_ms().cast_signed();
        (read_all::<Event>(config).iter().map(Event::date_time).collect::<Vec<_>>(), bound)
    };
    let (ordered, bound) = times(1);
    assert!(ordered.is_sorted() && bound == 0);
    let (mut shuffled, bound) = times(1000);
    let mut newest = i64::MIN;
    let mut behind = 0;
    for &time in &shuffled {
        newest = newest.max(time);
        behind = behind.max(newest - time);
    }
    assert!((bound / 2..=bound).contains(&behind), "{behind} of {bound}");
    shuffled.sort_unstable();
    assert_eq!(shuffled, ordered);
}

#[test]
fn the_first_twenty_events_are_golden() {
    let source = NexmarkEvents::new(NexmarkConfig { splits: 1, ..config(20) }).unwrap();
    let events = read(&source, &source.discover().unwrap()[0], None, 20);
    let found: String = events.iter().map(|event| serde_json::to_string(event).unwrap() + "\n").collect();
    let golden = include_str!("../../tests/golden/nexmark-first-20.jsonl");
    assert_eq!(found, golden, "the generator's events are part of recorded measurements and must not change");
    let parsed: Vec<Event> = golden.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(parsed, events);
}

#[test]
fn a_position_of_another_split_or_kind_is_refused() {
    let source = NexmarkBids::new(config(1000)).unwrap();
    let split = &source.discover().unwrap()[1];
    for position in [serde_json::json!({"event": 4}), serde_json::json!({"event": 50}), serde_json::json!({"at": 54})] {
        let Err(error) = source.open(split, Some(&position)) else { panic!("{position} was taken") };
        assert!(error.message.contains("bids/4-1"), "{error}");
    }
    assert!(source.open(split, Some(&serde_json::json!({"event": 54}))).is_ok());
    assert!(source.open(&SplitId("events/4-1".into()), None).is_err());
}

#[test]
fn a_rate_limited_source_delivers_what_is_due_also_after_a_restore() {
    let now = Arc::new(AtomicI64::new(0));
    let mut source =
        NexmarkEvents::new(NexmarkConfig { rate: Some(100), splits: 2, ..NexmarkConfig::default() }).unwrap();
    source.clock = Clock::from_fn({
        let now = Arc::clone(&now);
        move || now.load(Ordering::Relaxed)
    });
    let split = &source.discover().unwrap()[0];
    let mut out = Vec::new();
    let mut reader = source.open(split, None).unwrap();
    assert_eq!(reader.read(1000, &mut out).unwrap(), Progress::WaitFor(Duration::from_millis(10)));
    now.store(2_000_000, Ordering::Relaxed);
    assert_eq!(reader.position(), serde_json::json!({"event": 1, "started": 0}));
    let mut restored = source.open(split, Some(&reader.position())).unwrap();
    assert_eq!(restored.lag(), Some(100));
    assert_eq!(restored.read(1000, &mut out).unwrap(), Progress::WaitFor(Duration::from_millis(10)));
    assert_eq!(out.len(), 101);
    let generator = &source.generator;
    assert_eq!(out, [0..50, 100..150, 200..201].into_iter().flatten().map(|i| generator.event(i)).collect::<Vec<_>>());
    assert!(!source.is_bounded());
}

proptest! {
    #[test]
    fn a_reader_opened_at_any_position_delivers_what_followed(
        events in 0u64..400, splits in 1u32..5, max in 1usize..60, reads in 0usize..20, seed in any::<u64>(),
    ) {
        fn check<E: Kind + PartialEq + std::fmt::Debug>(config: NexmarkConfig, max: usize, reads: usize) {
            let source = Nexmark::<E>::new(config).unwrap();
            for split in source.discover().unwrap() {
                let mut reader = source.open(&split, None).unwrap();
                let mut events = Vec::new();
                for _ in 0..reads {
                    reader.read(max, &mut events).unwrap();
                }
                events.extend(read(&source, &split, Some(&reader.position()), 13));
                assert_eq!(events, read(&source, &split, None, 1000));
            }
        }
        let config = NexmarkConfig { events: Some(events), splits, seed, ..NexmarkConfig::default() };
        check::<Event>(config.clone(), max, reads);
        check::<Bid>(config.clone(), max, reads);
        check::<Auction>(config, max, reads);
    }

    #[test]
    fn the_lag_counts_what_a_reader_would_deliver(
        shares in 1u64..4, share in 0u64..4, from in 0usize..100, to in 0u64..700, kind in 0usize..4,
    ) {
        let cursor = Cursor { share: share % shares, shares, offsets: [EVENTS, PEOPLE, AUCTIONS, BIDS][kind] };
        let wanted = |range: Range<u64>| range.filter(|&number| cursor.contains(number));
        let from = wanted(0..u64::MAX).nth(from).unwrap();
        prop_assert_eq!(cursor.count(from, to), wanted(from..to.max(from)).count() as u64);
    }
}
