//! Real processes, killed, stopped and starved of storage, judged by oracles outside Weir.
//!
//! Every test runs the binary `weir-chaos-job` as a user would and compares what it leaves behind with plain loops over
//! its input ([`oracle`]). `tests/README.md` says what each suite proves and how its long form is run.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod disk;
mod faults;
mod garbage;
mod input;
mod job;
mod kill;
mod oracle;
mod process;
mod random;
mod rescale;
mod store;
mod zombie;
