//! `weir-operator`: parse, init, run, report.

mod allocator;

use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;
use weir_operator::settings::{LogForm, Settings};

fn main() -> ExitCode {
    allocator::configure();
    allocator::share();
    let settings = Settings::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match settings.log {
        LogForm::Text => log.init(),
        LogForm::Json => log.json().init(),
    }
    // The only provider there is, installed before anything can look for one.
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        tracing::debug!("a TLS provider was installed already");
    }
    let mut threads = tokio::runtime::Builder::new_multi_thread();
    let runtime = match threads.worker_threads(2).on_thread_start(allocator::share).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "no runtime");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(weir_operator::run(settings)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = %anyhow::Error::new(error).chain().map(ToString::to_string).collect::<Vec<_>>().join(": "), "the operator ends");
            ExitCode::FAILURE
        }
    }
}
