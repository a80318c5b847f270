//! The operator as it is shipped, against a real API server, with everything between the two that can go wrong.
//!
//! [`server`] is the API server without nodes, [`kubelet`] and [`coordinator`] stand in for what a node would run, [`proxy`]
//! is what disturbs. [`scene`] takes one job through its life ([`life`]); the end of each phase, its objects ([`seen`]) and
//! what the job was told, must be that of a life in which nothing happened. `tests/README.md` says how long forms are run.

#![expect(clippy::unwrap_used, reason = "tests may panic")]

mod coordinator;
mod defaults;
mod disturbed;
mod figures;
mod kills;
mod kubelet;
mod leaders;
mod life;
mod operator;
mod proxy;
mod scene;
mod seen;
mod server;

use std::sync::LazyLock;

use tokio::runtime::Runtime;
use tokio::sync::OnceCell;

use scene::Stage;

/// One for all tests: what they share outlives each of them.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
});

/// Runs a test with what all tests share.
fn on_stage<T>(test: impl AsyncFnOnce(&'static Stage) -> T) -> T {
    static STAGE: OnceCell<Stage> = OnceCell::const_new();
    RUNTIME.block_on(async {
        let stage = STAGE.get_or_init(|| async {
            let server = server::Server::start().await;
            let kubelet = kubelet::Kubelet::start(server.admin.clone());
            Stage { server, kubelet }
        });
        test(stage.await).await
    })
}
