//! Weir on a real Kubernetes of one node: installed by its chart, run by its operator, disturbed, and judged from outside.
//!
//! The cluster, the image and the operator are made once for all tests and taken away at the end; tests run one after the
//! other, each in a namespace of its own that enforces the `restricted` Pod Security Standard. A machine that cannot run a
//! cluster skips all of them and says why. `WEIR_E2E_KEEP=1` leaves the cluster up; one that is up already is used and left.

mod absence;
mod cluster;
mod command;
mod endings;
mod faults;
mod figures;
mod hostile;
mod job;
mod ledger;
mod lifecycle;
mod monitoring;
mod node;
mod permissions;
mod plain;
mod prometheus;
mod runner;
mod secrets;
mod zombie;

use runner::Test;

const TESTS: &[Test] = &[
    Test::short("plain::a_pod_that_is_killed_loses_and_repeats_nothing", plain::kills),
    Test::short("lifecycle::a_job_runs_and_shows_its_checkpoints", lifecycle::runs),
    Test::short("lifecycle::a_suspended_job_goes_on_where_it_stopped", lifecycle::suspends_and_resumes),
    Test::short("lifecycle::a_rescaled_job_loses_and_repeats_nothing", lifecycle::rescales),
    Test::short("lifecycle::an_upgraded_job_loses_and_repeats_nothing", lifecycle::upgrades),
    Test::short("lifecycle::a_finished_job_stays_finished", lifecycle::finishes),
    Test::short("lifecycle::a_deleted_job_leaves_what_its_policy_says", lifecycle::deletes),
    Test::short("hostile::the_api_server_refuses_most_of_them", hostile::refused_by_the_api_server),
    Test::short("hostile::the_operator_says_what_is_wrong_with_the_others", hostile::refused_by_the_operator),
    Test::short("faults::deleted_pods_lose_and_repeat_nothing", faults::deleted_pods),
    Test::short("faults::killed_processes_lose_and_repeat_nothing", faults::killed_processes),
    Test::short("faults::starved_processes_lose_and_repeat_nothing", faults::starved_processes),
    Test::short("monitoring::prometheus_has_what_is_documented", monitoring::scraped),
    Test::short("secrets::nothing_of_a_secret_is_to_be_read_elsewhere", secrets::kept),
    Test::short("endings::a_namespace_with_jobs_goes", endings::namespace),
    Test::short("endings::a_namespace_with_jobs_goes_without_its_bucket", endings::namespace_without_bucket),
    Test::short("absence::jobs_go_on_without_an_operator", absence::away),
    Test::short("absence::another_operator_restarts_no_job", absence::upgraded),
    Test::short("zombie::a_worker_on_a_silent_node_is_fenced", zombie::fenced),
    Test::short("figures::the_first_record_is_printed", figures::first_record),
    Test::long("figures::heavy_state_is_moved_without_loss", figures::heavy_state, "WEIR_E2E_STATE"),
    Test::short("permissions::the_operator_may_do_nothing_else", permissions::nothing_else),
    Test::short("permissions::every_granted_rule_is_used_and_none_is_missing", permissions::all_used),
    // Behind the last look at the operator's rights: it loses them here.
    Test::short("endings::jobs_outlive_the_chart", endings::uninstalled),
];

/// A number from the environment, for the long form of a test.
fn number(variable: &str, or: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(or)
}

fn main() -> std::process::ExitCode {
    runner::main(TESTS)
}
