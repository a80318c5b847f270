//! Why a plan was not carried out to its end.

use super::apply::ApplyError;
use super::authority::IssuerError;
use super::context::Context;
use super::occasion::code;

/// Why a plan was not carried out to its end. The next look decides anew.
#[derive(Debug, thiserror::Error)]
pub enum ActError {
    /// An object could not be brought to what it should be.
    #[error("cannot bring an object to what it should be")]
    Apply(#[source] ApplyError),
    /// There is no certificate.
    #[error("cannot give the job a certificate")]
    Certificate(#[source] IssuerError),
    /// A call failed.
    #[error("cannot {verb} {what}")]
    Call {
        /// What was tried.
        verb: &'static str,
        /// On what.
        what: String,
        /// Why not.
        #[source]
        source: kube::Error,
    },
    /// Another process leads.
    #[error("this process does not lead any more")]
    NotLeading,
}

impl ActError {
    /// Whether somebody else wrote in between: nothing is wrong, the next look knows more.
    pub fn is_conflict(&self) -> bool {
        self.source_of_call().is_some_and(|source| code(source) == 409)
    }

    /// Whether the namespace ends: nothing can be created, and soon nothing is there.
    pub fn is_namespace_ending(&self) -> bool {
        let Some(kube::Error::Api(status)) = self.source_of_call() else { return false };
        let causes = status.details.iter().flat_map(|details| &details.causes);
        causes.into_iter().any(|cause| cause.reason == "NamespaceTerminating")
    }

    fn source_of_call(&self) -> Option<&kube::Error> {
        match self {
            ActError::Call { source, .. } => Some(source),
            ActError::Apply(ApplyError::Call { source, .. }) => Some(source),
            ActError::Certificate(IssuerError::Keep(ApplyError::Call { source, .. })) => Some(source),
            ActError::Apply(_) | ActError::Certificate(_) | ActError::NotLeading => None,
        }
    }
}

pub fn counted(context: &Context, error: ApplyError) -> ActError {
    if let ApplyError::Call { verb, source, .. } = &error {
        context.metrics.api_error(verb, code(source));
    }
    ActError::Apply(error)
}

/// Whoever was paused as leader finds out before it writes.
pub fn leading(context: &Context) -> Result<(), ActError> {
    if context.leads() { Ok(()) } else { Err(ActError::NotLeading) }
}
