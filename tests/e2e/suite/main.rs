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
    Test { name: "plain::a_pod_that_is_killed_loses_and_repeats_nothing", run: plain::kills },
    Test { name: "lifecycle::a_job_runs_and_shows_its_checkpoints", run: lifecycle::runs },
    Test { name: "lifecycle::a_suspended_job_goes_on_where_it_stopped", run: lifecycle::suspends_and_resumes },
    Test { name: "lifecycle::a_rescaled_job_loses_and_repeats_nothing", run: lifecycle::rescales },
    Test { name: "lifecycle::an_upgraded_job_loses_and_repeats_nothing", run: lifecycle::upgrades },
    Test { name: "lifecycle::a_finished_job_stays_finished", run: lifecycle::finishes },
    Test { name: "lifecycle::a_deleted_job_leaves_what_its_policy_says", run: lifecycle::deletes },
    Test { name: "hostile::the_api_server_refuses_most_of_them", run: hostile::refused_by_the_api_server },
    Test { name: "hostile::the_operator_says_what_is_wrong_with_the_others", run: hostile::refused_by_the_operator },
    Test { name: "faults::deleted_pods_lose_and_repeat_nothing", run: faults::deleted_pods },
    Test { name: "faults::killed_processes_lose_and_repeat_nothing", run: faults::killed_processes },
    Test { name: "faults::starved_processes_lose_and_repeat_nothing", run: faults::starved_processes },
    Test { name: "monitoring::prometheus_has_what_is_documented", run: monitoring::scraped },
    Test { name: "secrets::nothing_of_a_secret_is_to_be_read_elsewhere", run: secrets::kept },
    Test { name: "endings::a_namespace_with_jobs_goes", run: endings::namespace },
    Test { name: "endings::a_namespace_with_jobs_goes_without_its_bucket", run: endings::namespace_without_bucket },
    Test { name: "absence::jobs_go_on_without_an_operator", run: absence::away },
    Test { name: "absence::another_operator_restarts_no_job", run: absence::upgraded },
    Test { name: "zombie::a_worker_on_a_silent_node_is_fenced", run: zombie::fenced },
    Test { name: "figures::the_first_record_is_printed", run: figures::first_record },
    Test { name: "figures::heavy_state_is_moved_without_loss", run: figures::heavy_state },
    Test { name: "permissions::the_operator_may_do_nothing_else", run: permissions::nothing_else },
    Test { name: "permissions::every_granted_rule_is_used_and_none_is_missing", run: permissions::all_used },
    // Behind the last look at the operator's rights: it loses them here.
    Test { name: "endings::jobs_outlive_the_chart", run: endings::uninstalled },
];

/// A number from the environment, for the long form of a test.
fn number(variable: &str, or: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(or)
}

fn main() -> std::process::ExitCode {
    runner::main(TESTS)
}
