//! A function that keeps the same books in a value, a map, a list and timers, and closes them at the end.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use weir::prelude::*;

use crate::Event;

/// A timer that is due when the input has ended, and never before.
const END_OF_INPUT: i64 = i64::MAX - 1;

/// What a timer found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closed {
    kind: String,
    key: u32,
    at: i64,
    count: u64,
    sum: i64,
    /// The ids, added up; 0 for a bucket.
    ids: u64,
}

/// Counts per bucket of event time, and remembers every event of a key.
pub struct Ledger {
    buckets: MapHandle<i64, (u64, i64)>,
    seen: MapHandle<u64, Vec<u8>>,
    order: ListHandle<u64>,
    sum: ValueHandle<i64>,
    bucket: i64,
    padding: usize,
}

impl Ledger {
    /// Declares the states.
    pub fn open(states: &mut States<'_, u32>, bucket: Duration, padding: usize) -> Result<Self, UserError> {
        Ok(Self {
            buckets: states.map("buckets")?,
            seen: states.map("seen")?,
            order: states.list("order")?,
            sum: states.value("sum")?,
            bucket: i64::try_from(bucket.as_millis())?.max(1),
            padding,
        })
    }

    /// Bytes that do not compress and that nobody but this id has.
    fn padding(&self, id: u64) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.padding + 8);
        let mut state = id;
        while bytes.len() < self.padding {
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            bytes.extend_from_slice(&(mixed ^ (mixed >> 31)).to_le_bytes());
        }
        bytes.truncate(self.padding);
        bytes
    }
}

type Ctx<'a, 'b> = ProcessContext<'a, 'b, u32, Closed>;

impl KeyedProcessFunction<u32, Event> for Ledger {
    type Out = Closed;

    fn process(&mut self, event: &Event, ctx: &mut Ctx<'_, '_>) -> Result<(), UserError> {
        let at = (event.time.div_euclid(self.bucket) + 1) * self.bucket;
        ctx.set_timer(TimeDomain::Event, at)?;
        ctx.set_timer(TimeDomain::Event, END_OF_INPUT)?;
        let (count, sum) = ctx.map(self.buckets).get(&at)?.unwrap_or_default();
        ctx.map(self.buckets).insert(at, (count + 1, sum + event.value))?;
        if ctx.map(self.seen).get(&event.id)?.is_some() {
            return Err(format!("state holds event {} already", event.id).into());
        }
        ctx.map(self.seen).insert(event.id, self.padding(event.id))?;
        ctx.list(self.order).push(event.id)?;
        *ctx.value(self.sum).entry()?.get_or_insert(0) += event.value;
        Ok(())
    }

    fn on_timer(&mut self, timer: Timer, ctx: &mut Ctx<'_, '_>) -> Result<(), UserError> {
        let (key, at) = (*ctx.key(), timer.time);
        if at != END_OF_INPUT {
            let Some((count, sum)) = ctx.map(self.buckets).get(&at)? else {
                return Err(format!("the timer of key {key} at {at} has no bucket").into());
            };
            ctx.map(self.buckets).remove(&at)?;
            return ctx.emit(Closed { kind: "bucket".to_owned(), key, at, count, sum, ids: 0 });
        }
        if !ctx.map(self.buckets).is_empty()? {
            return Err(format!("key {key} ends with open buckets").into());
        }
        let seen = ctx.map(self.seen).entries()?;
        if let Some((id, _)) = seen.iter().find(|(id, bytes)| *bytes != self.padding(*id)) {
            return Err(format!("what state keeps of event {id} is damaged").into());
        }
        let mut order = ctx.list(self.order).get()?;
        order.sort_unstable();
        if !order.iter().eq(seen.iter().map(|(id, _)| id)) {
            return Err(format!("list and map of key {key} disagree").into());
        }
        let sum = ctx.value(self.sum).get()?.copied().unwrap_or(0);
        let ids = order.iter().fold(0_u64, |sum, id| sum.wrapping_add(*id));
        ctx.emit(Closed { kind: "final".to_owned(), key, at: 0, count: seen.len() as u64, sum, ids })
    }
}
