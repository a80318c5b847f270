//! Weir on a real Kubernetes of one node: installed by its chart, run by its operator, disturbed, and judged from outside.
//!
//! The cluster, the image and the operator are made once for all tests and taken away at the end; tests run one after the
//! other, each in a namespace of its own that enforces the `restricted` Pod Security Standard. A machine that cannot run a
//! cluster skips all of them and says why. `WEIR_E2E_KEEP=1` leaves the cluster up; one that is up already is used and left.

mod cluster;
mod command;
mod ledger;
mod plain;
mod runner;

use runner::Test;

const TESTS: &[Test] = &[Test { name: "plain::a_pod_that_is_killed_loses_and_repeats_nothing", run: plain::kills }];

fn main() -> std::process::ExitCode {
    runner::main(TESTS)
}
