//! From options to a client that is configured once and for all.

use std::time::Duration;

use aws_config::BehaviorVersion;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{Builder, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation};

use super::document::WholeDocuments;
use crate::options::StoreOptions;

/// Bound of finding region and credentials in the environment, which may ask the machine's metadata service.
const CONFIG_TIMEOUT: Duration = Duration::from_secs(15);

/// Servers of one's own take any region; this is what their clients send by custom.
const CUSTOM_ENDPOINT_REGION: &str = "us-east-1";

pub(super) struct Connected {
    pub(super) client: Client,
    /// The endpoint's URL, or words for Amazon's own.
    pub(super) endpoint: String,
    /// Whether the endpoint is not Amazon's.
    pub(super) custom: bool,
}

/// Builds the client; no request is sent to the store.
pub(super) async fn connect(options: &StoreOptions) -> Result<Connected, String> {
    let endpoint =
        options.endpoint.clone().or_else(|| variable("AWS_ENDPOINT_URL_S3")).or_else(|| variable("AWS_ENDPOINT_URL"));
    if let Some(endpoint) = &endpoint {
        check_endpoint(endpoint)?;
    }
    let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12());
    let region = options.region.clone().or_else(|| variable("AWS_REGION")).or_else(|| variable("AWS_DEFAULT_REGION"));
    if let Some(region) = region.or_else(|| endpoint.is_some().then(|| CUSTOM_ENDPOINT_REGION.to_owned())) {
        loader = loader.region(Region::new(region));
    }
    if let Some(given) = &options.credentials {
        let token = given.session_token.as_ref().map(|token| token.expose().to_owned());
        loader = loader.credentials_provider(Credentials::new(
            &given.access_key,
            given.secret_key.expose(),
            token,
            None,
            "weir-options",
        ));
    }
    let shared = tokio::time::timeout(CONFIG_TIMEOUT, loader.load())
        .await
        .map_err(|_| format!("region and credentials could not be found in the environment within {CONFIG_TIMEOUT:?}: set spec.storage.region"))?;
    let Some(region) = shared.region() else {
        return Err("no region is set: give spec.storage.region or AWS_REGION, or spec.storage.endpoint for a server of your own".to_owned());
    };
    let name = endpoint.clone().unwrap_or_else(|| format!("Amazon S3 in {region}"));
    let mut builder = Builder::from(&shared)
        .interceptor(WholeDocuments)
        .retry_config(RetryConfig::disabled())
        .timeout_config(TimeoutConfig::builder().connect_timeout(options.connect_timeout).build());
    if let Some(endpoint) = &endpoint {
        // Trailing checksums are refused by several S3 servers (R2, Ceph, older MinIO), and host-style buckets need DNS entries.
        builder = builder
            .endpoint_url(endpoint)
            .force_path_style(true)
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
    }
    Ok(Connected { client: Client::from_conf(builder.build()), endpoint: name, custom: endpoint.is_some() })
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn check_endpoint(endpoint: &str) -> Result<(), String> {
    let host = endpoint.strip_prefix("http://").or_else(|| endpoint.strip_prefix("https://"));
    match host {
        Some(host) if !host.is_empty() && !host.starts_with(['/', ':']) && !host.contains(char::is_whitespace) => {
            Ok(())
        }
        _ => Err(format!("endpoint {endpoint:?} is not a URL: write http://host:port or https://host")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_without_scheme_or_host_is_refused_with_the_form_it_should_have() {
        for bad in ["minio:9000", "http://", "http://:9000", "ftp://x", "http:///x", "http://a b"] {
            let error = check_endpoint(bad).unwrap_err();
            assert!(error.contains("write http://host:port"), "{bad}: {error}");
        }
        for good in ["http://minio.storage:9000", "https://s3.example.org", "http://127.0.0.1:9000/"] {
            assert_eq!(check_endpoint(good), Ok(()), "{good}");
        }
    }
}
