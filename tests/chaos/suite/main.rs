//! Real processes, killed, stopped and starved of storage, judged by oracles outside Weir.
