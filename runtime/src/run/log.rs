//! Log lines on standard error: text for people, JSON for collectors. Never a credential, whatever `RUST_LOG` says.

use std::io::IsTerminal;

use tracing::{Level, Metadata};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use super::console::{Console, Lines};

/// What is logged unless `RUST_LOG` says otherwise.
const DEFAULT_FILTER: &str = "info";

/// The form of log lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// One line of text each.
    #[default]
    Text,
    /// One JSON object each.
    Json,
}

impl<'a> MakeWriter<'a> for Console {
    type Writer = Lines;

    fn make_writer(&'a self) -> Lines {
        self.log()
    }
}

/// Begins logging. A program that has set up its own logging keeps it.
pub(crate) fn init(format: Format, console: &Console) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let lines = tracing_subscriber::fmt::layer().with_writer(console.clone());
    let lines = match format {
        Format::Text => lines.with_ansi(std::io::stderr().is_terminal()).with_target(false).boxed(),
        Format::Json => lines.json().flatten_event(true).with_current_span(false).boxed(),
    };
    let lines = lines.with_filter(filter_fn(holds_no_credential));
    let _ = tracing_subscriber::registry().with(filter).with(lines).try_init();
}

/// False for what the S3 client says below INFO: access keys, and at TRACE whole requests with session tokens.
fn holds_no_credential(said: &Metadata<'_>) -> bool {
    *said.level() <= Level::INFO || !said.target().starts_with("aws_")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Said(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Said {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_s3_client_says_nothing_below_info() {
        let said = Said::default();
        let writer = said.clone();
        let lines = tracing_subscriber::fmt::layer().with_writer(move || writer.clone());
        let lines = lines.with_filter(filter_fn(holds_no_credential));
        let subscriber = tracing_subscriber::registry().with(EnvFilter::new("trace")).with(lines);
        tracing::subscriber::with_default(subscriber, || {
            tracing::debug!(target: "aws_smithy_runtime::client", "a key");
            tracing::trace!(target: "aws_sigv4", "a token");
            tracing::warn!(target: "aws_config", "a warning");
            tracing::debug!(target: "weir_storage", "a detail");
        });
        let said = String::from_utf8(said.0.lock().clone()).unwrap();
        assert!(!said.contains("a key") && !said.contains("a token"), "{said}");
        assert!(said.contains("a warning") && said.contains("a detail"), "{said}");
    }
}
