//! Refuses XML answers that break off.
//!
//! The SDK's parser takes a document without its end for a short one: a listing cut after its first object, with a `Content-Length`
//! that agrees, is a listing of one object. So every document must end with the end of its root element.

use aws_sdk_s3::config::interceptors::AfterDeserializationInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;

/// The answer's document has no end.
#[derive(Debug, thiserror::Error)]
#[error("the answer's XML document breaks off after {length} bytes")]
pub(super) struct CutDocument {
    length: usize,
}

/// Checks the documents of successful answers; what is streamed (objects) is not a document.
#[derive(Debug)]
pub(super) struct WholeDocuments;

impl Intercept for WholeDocuments {
    fn name(&self) -> &'static str {
        "WholeDocuments"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let answer = context.response();
        match answer.body().bytes() {
            Some(body) if answer.status().is_success() && !is_whole(body) => {
                Err(CutDocument { length: body.len() }.into())
            }
            _ => Ok(()),
        }
    }
}

/// Whether a body is no document, or one that ends with its root element.
fn is_whole(body: &[u8]) -> bool {
    let text = String::from_utf8_lossy(body);
    let Some(document) = text.trim().strip_prefix('<') else { return true };
    // Behind declarations and comments, which begin with "?" or "!", comes the root element.
    let Some(root) =
        std::iter::once(document).chain(document.split('<').skip(1)).find(|tag| !tag.starts_with(['?', '!']))
    else {
        return false;
    };
    let name: &str = root.split(|c: char| c.is_whitespace() || c == '>' || c == '/').next().unwrap_or_default();
    let end = text.trim_end();
    end.ends_with(&format!("</{name}>")) || (end.ends_with("/>") && document.ends_with(root))
}

#[cfg(test)]
mod tests {
    use super::is_whole;

    #[test]
    fn every_cut_of_a_document_is_noticed() {
        let whole = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult xmlns=\"http://x/\"><Name>a</Name><Contents><Key>k</Key></Contents></ListBucketResult>";
        assert!(is_whole(whole.as_bytes()));
        assert!(is_whole(format!("{whole}\n").as_bytes()));
        for cut in 1..whole.len() {
            assert!(!is_whole(&whole.as_bytes()[..cut]), "{}", &whole[..cut]);
        }
    }

    #[test]
    fn what_is_no_document_is_whole() {
        for body in ["", "  \n", "{\"json\": 1}", "<Empty/>", "<?xml version=\"1.0\"?><Empty xmlns=\"x\"/>"] {
            assert!(is_whole(body.as_bytes()), "{body}");
        }
    }
}
