//! The job that runs in the pods of the e2e tests.
//!
//! It numbers what it does so that an outsider can tell whether anything was lost or done twice: numbers come in order, each
//! belongs to a key, each key counts its numbers in state, and number and count go to a ledger outside of the cluster
//! (`ledger.rs`). Number `n` belongs to key `n mod keys`, so whoever has all numbers below `end` knows every line.

mod ledger;

use serde::{Deserialize, Serialize};
use weir::prelude::*;

use ledger::LedgerSink;

/// A line of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The number.
    id: u64,
    /// Its key.
    key: u64,
    /// How many numbers the key has seen, this one included.
    nth: u64,
}

/// Counts in state.
struct Counting {
    count: ValueHandle<u64>,
    ballast: ValueHandle<Vec<u8>>,
    ballast_bytes: usize,
}

impl KeyedProcessFunction<u64, (u64, u64)> for Counting {
    type Out = Entry;

    fn process(
        &mut self,
        &(key, id): &(u64, u64),
        ctx: &mut ProcessContext<'_, '_, u64, Entry>,
    ) -> Result<(), UserError> {
        let count = ctx.value(self.count).entry()?.get_or_insert(0);
        *count += 1;
        let nth = *count;
        if self.ballast_bytes > 0 && nth == 1 {
            ctx.value(self.ballast).set(ballast(key, self.ballast_bytes))?;
        }
        ctx.emit(Entry { id, key, nth })
    }
}

/// Bytes that do not compress and that no other key has.
fn ballast(key: u64, bytes: usize) -> Vec<u8> {
    let mut state = key;
    let mut next = || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        (mixed ^ (mixed >> 27)).to_le_bytes()
    };
    std::iter::repeat_with(&mut next).flatten().take(bytes).collect()
}

fn build(args: &mut Args) -> Result<Graph, JobError> {
    let ledger: String = args.required("ledger", "host:port of the ledger");
    let book: String = args.required("book", "name of the book in the ledger");
    let end = args.optional::<u64>("end", "numbers to deliver; unlimited if left out");
    let rate = args.within("rate", 1..=10_000_000_u64, 2_000, "numbers per second");
    let keys = args.within("keys", 1..=10_000_000_u64, 1_000, "keys");
    let ballast_bytes = args.within("ballast", 0..=1_048_576_usize, 0, "bytes of state per key that never change");

    let numbers = end.map_or_else(Sequence::unbounded, Sequence::bounded).splits(4).rate(rate);
    let graph = Graph::new();
    graph
        .source("numbers", numbers, WatermarkStrategy::none())
        .map(move |id| (id % keys, id))
        .key_by(|(key, _)| *key)
        .process("counting", move |states: &mut States<'_, u64>| {
            Ok(Counting { count: states.value("count")?, ballast: states.value("ballast")?, ballast_bytes })
        })
        .sink("ledger", LedgerSink::new(ledger, book));
    Ok(graph)
}

fn main() -> std::process::ExitCode {
    weir::main(
        Jobs::new()
            .job("ledger", "writes numbers into a ledger that an outsider can check", build)
            .and(weir::stock::jobs()),
    )
}
