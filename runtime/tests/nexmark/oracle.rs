//! The queries as plain loops over all events.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use weir_connectors::nexmark::{Auction, Bid, Event, Person};

fn bids(events: &[Event]) -> impl Iterator<Item = &Bid> {
    events.iter().filter_map(|event| if let Event::Bid(bid) = event { Some(bid) } else { None })
}

fn auctions(events: &[Event]) -> impl Iterator<Item = &Auction> {
    events.iter().filter_map(|event| if let Event::Auction(auction) = event { Some(auction.as_ref()) } else { None })
}

fn people(events: &[Event]) -> impl Iterator<Item = &Person> {
    events.iter().filter_map(|event| if let Event::Person(person) = event { Some(person.as_ref()) } else { None })
}

fn to_json<T: serde::Serialize>(value: &T) -> Value {
    serde_json::to_value(value).expect("events are valid JSON")
}

pub fn q0(events: &[Event]) -> Vec<Value> {
    bids(events).map(|b| json!({"auction": b.auction, "bidder": b.bidder, "price": b.price, "dateTime": b.date_time, "extra": b.extra})).collect()
}

pub fn q1(events: &[Event]) -> Vec<Value> {
    let row = |b: &Bid| json!({"auction": b.auction, "bidder": b.bidder, "price": b.price * 908 / 1000, "dateTime": b.date_time, "extra": b.extra});
    bids(events).map(row).collect()
}

pub fn q2(events: &[Event]) -> Vec<Value> {
    bids(events).filter(|b| b.auction % 123 == 0).map(|b| json!({"auction": b.auction, "price": b.price})).collect()
}

pub fn q3(events: &[Event]) -> Vec<Value> {
    let sellers: BTreeMap<u64, &Person> =
        people(events).filter(|p| ["OR", "ID", "CA"].contains(&p.state.as_str())).map(|p| (p.id, p)).collect();
    let mut rows = Vec::new();
    for auction in auctions(events).filter(|a| a.category == 10) {
        if let Some(p) = sellers.get(&auction.seller) {
            rows.push(json!({"name": p.name, "city": p.city, "state": p.state, "id": auction.id}));
        }
    }
    rows
}

pub fn q5(events: &[Event]) -> Vec<Value> {
    let mut windows = BTreeMap::<i64, BTreeMap<u64, u64>>::new();
    for bid in bids(events) {
        let mut end = bid.date_time.div_euclid(2000) * 2000 + 2000;
        while end - 10_000 <= bid.date_time {
            *windows.entry(end).or_default().entry(bid.auction).or_default() += 1;
            end += 2000;
        }
    }
    let mut rows = Vec::new();
    for (end, counts) in windows {
        let most = counts.values().copied().max().unwrap_or(0);
        rows.extend(
            counts
                .iter()
                .filter(|(_, count)| **count == most)
                .map(|(auction, bids)| json!({"window_end": end, "auction": auction, "bids": bids})),
        );
    }
    rows
}

pub fn q7(events: &[Event]) -> Vec<Value> {
    let mut windows = BTreeMap::<i64, Vec<&Bid>>::new();
    bids(events).for_each(|bid| windows.entry(bid.date_time.div_euclid(10_000)).or_default().push(bid));
    let mut rows = Vec::new();
    for bids in windows.values() {
        let highest = bids.iter().map(|bid| bid.price).max();
        rows.extend(
            bids.iter()
                .filter(|bid| Some(bid.price) == highest)
                .map(|b| json!({"auction": b.auction, "bidder": b.bidder, "price": b.price, "dateTime": b.date_time})),
        );
    }
    rows
}

pub fn q8(events: &[Event]) -> Vec<Value> {
    let sold: BTreeSet<(u64, i64)> = auctions(events).map(|a| (a.seller, a.date_time.div_euclid(10_000))).collect();
    people(events)
        .filter(|p| sold.contains(&(p.id, p.date_time.div_euclid(10_000))))
        .map(|p| json!({"id": p.id, "name": p.name, "window_start": p.date_time.div_euclid(10_000) * 10_000}))
        .collect()
}

pub fn q9(events: &[Event]) -> Vec<Value> {
    let mut best = BTreeMap::<u64, (&Auction, Option<&Bid>)>::new();
    best.extend(auctions(events).map(|auction| (auction.id, (auction, None))));
    for bid in bids(events) {
        let Some((auction, winner)) = best.get_mut(&bid.auction) else { continue };
        if bid.date_time < auction.date_time || bid.date_time > auction.expires {
            continue;
        }
        let wins = match winner {
            None => true,
            Some(other) if bid.price != other.price => bid.price > other.price,
            Some(other) if bid.date_time != other.date_time => bid.date_time < other.date_time,
            Some(other) => bid.bidder < other.bidder,
        };
        if wins {
            *winner = Some(bid);
        }
    }
    best.into_values()
        .filter_map(|(auction, bid)| bid.map(|bid| json!({"auction": to_json(auction), "bid": to_json(bid)})))
        .collect()
}

pub fn q11(events: &[Event]) -> Vec<Value> {
    let mut times = BTreeMap::<u64, Vec<i64>>::new();
    bids(events).for_each(|bid| times.entry(bid.bidder).or_default().push(bid.date_time));
    let mut rows = Vec::new();
    for (bidder, mut times) in times {
        times.sort();
        let mut from = 0;
        for at in 0..times.len() {
            let ends = times.get(at + 1).is_none_or(|next| next - times[at] > 10_000);
            if ends {
                rows.push(
                    json!({"bidder": bidder, "bids": at + 1 - from, "start": times[from], "end": times[at] + 10_000}),
                );
                from = at + 1;
            }
        }
    }
    rows
}

fn rank(price: u64) -> usize {
    if price < 10_000 {
        0
    } else if price < 1_000_000 {
        1
    } else {
        2
    }
}

#[derive(Default)]
struct Day {
    bids: [u64; 4],
    bidders: [BTreeSet<u64>; 4],
    auctions: [BTreeSet<u64>; 4],
    latest: i64,
}

impl Day {
    fn add(&mut self, bid: &Bid) -> Value {
        for at in [3, rank(bid.price)] {
            self.bids[at] += 1;
            self.bidders[at].insert(bid.bidder);
            self.auctions[at].insert(bid.auction);
        }
        self.latest = self.latest.max(bid.date_time);
        let sets = |sets: &[BTreeSet<u64>; 4]| json!({"total": sets[3].len(), "ranks": [sets[0].len(), sets[1].len(), sets[2].len()]});
        json!({
            "bids": {"total": self.bids[3], "ranks": self.bids[..3]},
            "bidders": sets(&self.bidders), "auctions": sets(&self.auctions), "latest": self.latest,
        })
    }
}

pub fn q15(events: &[Event]) -> Vec<Value> {
    let mut days = BTreeMap::<i64, Day>::new();
    let row = |bid: &Bid| {
        let day = bid.date_time.div_euclid(86_400_000);
        let mut row = days.entry(day).or_default().add(bid);
        row["day"] = day.into();
        row
    };
    bids(events).map(row).collect()
}

pub fn q16(events: &[Event]) -> Vec<Value> {
    let mut days = BTreeMap::<(String, i64), Day>::new();
    let row = |bid: &Bid| {
        let day = bid.date_time.div_euclid(86_400_000);
        let mut row = days.entry((bid.channel.to_string(), day)).or_default().add(bid);
        row["day"] = day.into();
        row["channel"] = bid.channel.as_str().into();
        row
    };
    bids(events).map(row).collect()
}

pub fn q17(events: &[Event]) -> Vec<Value> {
    let mut prices = BTreeMap::<(u64, i64), Vec<u64>>::new();
    let row = |bid: &Bid| {
        let day = bid.date_time.div_euclid(86_400_000);
        let prices = prices.entry((bid.auction, day)).or_default();
        prices.push(bid.price);
        let in_rank = |wanted: usize| prices.iter().filter(|&&price| rank(price) == wanted).count();
        let (count, sum) = (prices.len() as u64, prices.iter().sum::<u64>());
        json!({
            "auction": bid.auction, "day": day, "bids": {"total": count, "ranks": [in_rank(0), in_rank(1), in_rank(2)]},
            "min": prices.iter().min(), "max": prices.iter().max(), "average": sum / count, "sum": sum,
        })
    };
    bids(events).map(row).collect()
}

pub fn q18(events: &[Event]) -> Vec<Value> {
    let mut last = BTreeMap::<(u64, u64), &Bid>::new();
    let mut rows = Vec::new();
    for bid in bids(events) {
        let key = |b: &Bid| (b.date_time, b.price, b.channel.clone(), b.extra.clone());
        let older = last.get(&(bid.bidder, bid.auction)).is_none_or(|other| key(other) < key(bid));
        if older {
            last.insert((bid.bidder, bid.auction), bid);
            rows.push(to_json(bid));
        }
    }
    rows
}

pub fn q19(events: &[Event]) -> Vec<Value> {
    let mut all = BTreeMap::<u64, Vec<&Bid>>::new();
    let mut rows = Vec::new();
    for bid in bids(events) {
        let earlier = all.entry(bid.auction).or_default();
        // Bids that stand before this one: a higher price, or the same price earlier, or by a lower bidder, or first here.
        let before = |other: &Bid| {
            other.price > bid.price
                || (other.price == bid.price && (other.date_time, other.bidder) <= (bid.date_time, bid.bidder))
        };
        let place = earlier.iter().filter(|other| before(other)).count() + 1;
        earlier.push(bid);
        if place <= 10 {
            let mut row = to_json(bid);
            row["place"] = place.into();
            rows.push(row);
        }
    }
    rows
}

pub fn q20(events: &[Event]) -> Vec<Value> {
    let wanted: BTreeMap<u64, &Auction> = auctions(events).filter(|a| a.category == 10).map(|a| (a.id, a)).collect();
    bids(events)
        .filter_map(|bid| {
            wanted.get(&bid.auction).map(|auction| json!({"auction": to_json(*auction), "bid": to_json(bid)}))
        })
        .collect()
}
