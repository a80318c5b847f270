//! The control API of a running job: messages, client, server, and the identities both sides prove.
//!
//! The coordinator serves it; the Weir operator is its only client on a cluster, and `weir ctl` on behalf of people. What
//! is said stands in `proto/weir/control/v1/control.proto`, with the rules by which it grows. What is here carries it:
//! [`serve`] with an implementation of [`Control`], [`ControlClient`], and [`identity`] with the certificates.
//!
//! **Contract.** TLS 1.3 and nothing older, certificates on both sides: a server talks to nobody but the operator's
//! identity, a client to nobody but the job it means. Who is refused is refused in the handshake, before a byte of HTTP.
//! Connections, handshakes and messages are bounded.

mod client;
pub mod exit_code;
pub mod identity;
mod server;
pub mod termination;
mod tls;

/// The messages of `weir.control.v1`, generated.
#[allow(missing_docs, clippy::all, reason = "generated; the comments are in the .proto")]
pub mod v1 {
    tonic::include_proto!("weir.control.v1");
}

pub use client::{CallError, ConnectError, ControlClient, LOOK_LIMIT};
pub use identity::{Authority, ClientIdentity, IdentityError, ServerIdentity};
pub use server::{Control, Refusal, ServeError, Server, serve};

/// Where a runtime pod serves the control API, unless something else is said.
pub const PORT: u16 = 7443;
/// Where a runtime pod serves metrics and probes, unless something else is said.
pub const HTTP_PORT: u16 = 9464;
