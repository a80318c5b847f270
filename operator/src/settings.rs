//! What the process is told: flags, or variables of its environment.

use std::net::SocketAddr;

use clap::{Parser, ValueEnum};

/// The Weir operator: reconciles StreamJobs.
#[derive(Debug, Clone, Parser)]
#[command(name = "weir-operator", version)]
pub struct Settings {
    /// The operator's own namespace: its Lease and its authority are there.
    #[arg(long, env = "POD_NAMESPACE", default_value = "weir-system")]
    pub namespace: String,

    /// The namespace whose jobs are run; empty for all.
    #[arg(long, env = "WEIR_WATCH_NAMESPACE", default_value = "")]
    pub watch_namespace: String,

    /// The runtime image of jobs that name none.
    #[arg(long, env = "WEIR_RUNTIME_IMAGE", default_value = concat!("docker.io/weir/weir:", env!("CARGO_PKG_VERSION")))]
    pub runtime_image: String,

    /// Where /metrics, /livez and /readyz are served.
    #[arg(long, env = "WEIR_HTTP_ADDRESS", default_value = "0.0.0.0:8080")]
    pub http_address: SocketAddr,

    /// Who this process is in the leader election. Default: the host's name and a random number.
    #[arg(long, env = "POD_NAME")]
    pub identity: Option<String>,

    /// Jobs that are looked at at once.
    #[arg(long, env = "WEIR_CONCURRENCY", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub concurrency: u16,

    /// The form of the log; what it contains follows RUST_LOG.
    #[arg(long, value_enum, default_value_t = LogForm::Text)]
    pub log: LogForm,
}

/// The form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogForm {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Settings {
    /// The name in the leader election.
    pub fn holder(&self) -> String {
        let random = || {
            let mut bytes = [0_u8; 8];
            // A name that is not unique would share the leadership with its namesake.
            getrandom::fill(&mut bytes).expect("the system has randomness");
            format!("weir-operator-{:016x}", u64::from_be_bytes(bytes))
        };
        self.identity.clone().filter(|name| !name.is_empty()).unwrap_or_else(random)
    }
}
