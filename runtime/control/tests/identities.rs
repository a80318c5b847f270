//! Who may speak to whom: a job's process answers the operator's certificate and nobody else's, and the operator speaks
//! to the job that it means and to no other.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::sync::Arc;
use std::time::SystemTime;

use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use weir_control::identity::Issued;
use weir_control::v1;
use weir_control::{
    Authority, CallError, ClientIdentity, Control, ControlClient, Refusal, Server, ServerIdentity, serve,
};

const UID: &str = "0f8a-1";
const OTHER_UID: &str = "0f8a-2";

/// Says its uid as its version, and no to everything else.
struct Job;

#[async_trait::async_trait]
impl Control for Job {
    async fn status(&self) -> Result<v1::StatusResponse, Refusal> {
        Ok(v1::StatusResponse { runtime_version: UID.to_owned(), ..v1::StatusResponse::default() })
    }

    async fn trigger_checkpoint(
        &self,
        _: v1::TriggerCheckpointRequest,
    ) -> Result<v1::TriggerCheckpointResponse, Refusal> {
        Err(Refusal::Failed("aborted: timeout".to_owned()))
    }

    async fn trigger_savepoint(&self, _: v1::TriggerSavepointRequest) -> Result<v1::TriggerSavepointResponse, Refusal> {
        Err(Refusal::Invalid("not a name".to_owned()))
    }

    async fn stop(&self, _: v1::StopRequest) -> Result<v1::StopResponse, Refusal> {
        Err(Refusal::Precondition("revision 3 runs".to_owned()))
    }

    async fn cancel(&self, _: v1::CancelRequest) -> Result<v1::CancelResponse, Refusal> {
        std::future::pending().await
    }

    async fn redeploy(&self, _: v1::RedeployRequest) -> Result<v1::RedeployResponse, Refusal> {
        Err(Refusal::Unavailable("not yet".to_owned()))
    }
}

fn authority() -> Authority {
    Authority::new(SystemTime::now()).unwrap()
}

fn job_of(authority: &Authority, uid: &str) -> Issued {
    authority.issue_job(uid, 1, SystemTime::now()).unwrap()
}

fn operator_of(authority: &Authority) -> Issued {
    authority.issue_operator(1, SystemTime::now()).unwrap()
}

fn client(issued: &Issued) -> ClientIdentity {
    ClientIdentity::from_pem(&issued.certificate, &issued.key, &issued.authority).unwrap()
}

async fn server_of(issued: &Issued) -> Server {
    let identity = ServerIdentity::from_pem(&issued.certificate, &issued.key, &issued.authority).unwrap();
    serve(TcpListener::bind("127.0.0.1:0").await.unwrap(), &identity, Arc::new(Job)).unwrap()
}

/// One call as `caller`, who means `uid`.
async fn call(server: &Server, caller: &ClientIdentity, uid: &str) -> Result<String, String> {
    let address = server.address.to_string();
    let client = ControlClient::connect(&address, caller, uid).await.map_err(|error| chain(&error))?;
    client.status().await.map(|status| status.runtime_version).map_err(|error| chain(&error))
}

fn chain(error: &dyn std::error::Error) -> String {
    let cause = error.source().map(|cause| format!(": {}", chain(cause)));
    format!("{error}{}", cause.unwrap_or_default())
}

#[tokio::test]
async fn the_operator_reaches_the_job_it_means() {
    let authority = authority();
    let server = server_of(&job_of(&authority, UID)).await;
    assert_eq!(call(&server, &client(&operator_of(&authority)), UID).await, Ok(UID.to_owned()));
}

#[tokio::test]
async fn an_authority_that_was_stored_goes_on_issuing() {
    let authority = authority();
    let server = server_of(&job_of(&authority, UID)).await;
    let again = Authority::from_pem(authority.certificate(), &authority.key()).unwrap();
    assert_eq!(call(&server, &client(&operator_of(&again)), UID).await, Ok(UID.to_owned()));
}

#[tokio::test]
async fn certificates_that_do_not_name_the_operator_are_refused() {
    let authority = authority();
    let server = server_of(&job_of(&authority, UID)).await;
    for uid in [UID, OTHER_UID] {
        let caller = client(&job_of(&authority, uid));
        let refused = call(&server, &caller, UID).await.unwrap_err();
        assert!(refused.contains("received fatal alert"), "{uid}: {refused}");
    }
}

#[tokio::test]
async fn certificates_of_another_authority_are_refused() {
    let (ours, theirs) = (authority(), authority());
    let server = server_of(&job_of(&ours, UID)).await;
    // It trusts our authority, but was issued by theirs.
    let issued = operator_of(&theirs);
    let caller = ClientIdentity::from_pem(&issued.certificate, &issued.key, ours.certificate()).unwrap();
    let refused = call(&server, &caller, UID).await.unwrap_err();
    assert!(refused.contains("received fatal alert"), "{refused}");
}

#[tokio::test]
async fn expired_certificates_are_refused() {
    let authority = authority();
    let server = server_of(&job_of(&authority, UID)).await;
    let long_ago = SystemTime::now() - weir_control::identity::LEAF_VALIDITY * 2;
    let caller = client(&authority.issue_operator(1, long_ago).unwrap());
    let refused = call(&server, &caller, UID).await.unwrap_err();
    assert!(refused.contains("received fatal alert"), "{refused}");
}

#[tokio::test]
async fn a_server_that_is_another_job_or_nobody_of_ours_is_refused() {
    let authority = authority();
    let caller = client(&operator_of(&authority));
    let other = server_of(&job_of(&authority, OTHER_UID)).await;
    let refused = call(&other, &caller, UID).await.unwrap_err();
    assert!(refused.contains("not valid for name"), "{refused}");
    let foreign = server_of(&job_of(&self::authority(), UID)).await;
    let refused = call(&foreign, &caller, UID).await.unwrap_err();
    assert!(refused.contains("invalid peer certificate"), "{refused}");
    // The operator's own certificate is no job's.
    let operator = server_of(&operator_of(&authority)).await;
    let refused = call(&operator, &caller, UID).await.unwrap_err();
    assert!(refused.contains("invalid peer certificate"), "{refused}");
}

/// A handshake by hand, as a client with `versions`, and with the certificate if one is given.
async fn shake_hands(
    server: &Server,
    authority: &Authority,
    versions: &[&'static rustls::SupportedProtocolVersion],
    caller: Option<&Issued>,
) -> Result<(), String> {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
    use tokio::io::AsyncReadExt;

    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.certificate().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots);
    let config = match caller {
        Some(issued) => builder
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap(),
            )
            .unwrap(),
        None => builder.with_no_client_auth(),
    };
    let tcp = TcpStream::connect(server.address).await.unwrap();
    let name = ServerName::try_from(format!("job-{UID}.weir.internal")).unwrap();
    let mut stream =
        TlsConnector::from(Arc::new(config)).connect(name, tcp).await.map_err(|error| error.to_string())?;
    // The server's side of HTTP/2 begins with its settings; a refusal comes instead of them.
    let mut first = [0; 1];
    stream.read_exact(&mut first).await.map(|_| ()).map_err(|error| error.to_string())
}

#[tokio::test]
async fn tls_1_2_and_callers_without_a_certificate_are_refused() {
    use rustls::version::{TLS12, TLS13};

    let authority = authority();
    let server = server_of(&job_of(&authority, UID)).await;
    let operator = operator_of(&authority);
    assert_eq!(shake_hands(&server, &authority, &[&TLS13], Some(&operator)).await, Ok(()));
    let refused = shake_hands(&server, &authority, &[&TLS12], Some(&operator)).await.unwrap_err();
    assert!(refused.contains("ProtocolVersion"), "{refused}");
    let refused = shake_hands(&server, &authority, &[&TLS13], None).await.unwrap_err();
    assert!(refused.contains("CertificateRequired"), "{refused}");
}

#[tokio::test]
async fn refusals_keep_their_kind_and_their_words() {
    let authority = authority();
    let server = server_of(&job_of(&authority, UID)).await;
    let address = server.address.to_string();
    let client = ControlClient::connect(&address, &client(&operator_of(&authority)), UID).await.unwrap();
    let limit = weir_control::LOOK_LIMIT;
    let refused = client.stop(v1::StopRequest::default(), limit).await.unwrap_err();
    assert!(matches!(&refused, CallError::Precondition(reason) if reason == "revision 3 runs"), "{refused:?}");
    assert!(!refused.can_retry());
    let refused = client.trigger_savepoint(v1::TriggerSavepointRequest::default(), limit).await.unwrap_err();
    assert!(matches!(&refused, CallError::Invalid(reason) if reason == "not a name"), "{refused:?}");
    for refused in [
        client.trigger_checkpoint(v1::TriggerCheckpointRequest::default(), limit).await.unwrap_err(),
        client.redeploy(v1::RedeployRequest::default(), limit).await.unwrap_err(),
    ] {
        assert!(matches!(&refused, CallError::Refused(_)) && refused.can_retry(), "{refused:?}");
    }
}

#[tokio::test]
async fn a_server_that_has_gone_is_no_refusal_and_one_that_is_back_is_found_again() {
    let authority = authority();
    let issued = job_of(&authority, UID);
    let server = server_of(&issued).await;
    let address = server.address;
    let client = ControlClient::connect(&address.to_string(), &client(&operator_of(&authority)), UID).await.unwrap();
    client.status().await.unwrap();
    server.shutdown().await;
    let broken = client.status().await.unwrap_err();
    assert!(matches!(broken, CallError::Broken { .. }), "{broken:?}");
    let identity = ServerIdentity::from_pem(&issued.certificate, &issued.key, &issued.authority).unwrap();
    let listener = TcpListener::bind(address).await.unwrap();
    let _server = serve(listener, &identity, Arc::new(Job)).unwrap();
    assert_eq!(client.status().await.unwrap().runtime_version, UID);
}

#[test]
fn identities_are_three_files_and_say_which_one_is_missing() {
    let directory = tempfile::tempdir().unwrap();
    let issued = operator_of(&authority());
    let refused = ClientIdentity::from_directory(directory.path()).unwrap_err().to_string();
    assert!(refused.starts_with("cannot read ") && refused.ends_with("tls.crt"), "{refused}");
    for (name, text) in
        [("tls.crt", &issued.certificate), ("tls.key", &issued.certificate), ("ca.crt", &issued.authority)]
    {
        std::fs::write(directory.path().join(name), text).unwrap();
    }
    let refused = ClientIdentity::from_directory(directory.path()).unwrap_err().to_string();
    assert!(refused.ends_with("tls.key holds no private key"), "{refused}");
    std::fs::write(directory.path().join("tls.key"), &issued.key).unwrap();
    ClientIdentity::from_directory(directory.path()).unwrap();
}
