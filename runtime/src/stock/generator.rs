//! The arguments of everything that reads the Nexmark generator.

use weir_connectors::nexmark::NexmarkConfig;

use crate::args::Args;

/// Events that are generated unless the job says otherwise.
const EVENTS: u64 = 1_000_000;

/// Asks for `events`, `rate`, `splits` and `seed`; everything else is as the benchmark has it.
pub fn nexmark_config(args: &mut Args) -> NexmarkConfig {
    let defaults = NexmarkConfig::default();
    let events = args.get("events", EVENTS, "events to generate, of all kinds; 0 never ends");
    NexmarkConfig {
        events: (events > 0).then_some(events),
        rate: args.optional("rate", "events per second; as fast as possible if left out"),
        splits: args.within(
            "splits",
            1..=32_768,
            defaults.splits,
            "parts that are read in parallel; fixed once the job has state",
        ),
        seed: args.get("seed", defaults.seed, "other seeds give other events"),
        ..defaults
    }
}
