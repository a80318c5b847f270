//! Requests that carry a nonce are carried out once per process: who asks again gets the same answer.

use std::future::Future;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;
use weir_control::Refusal;

type Answer<T> = Option<Result<T, Refusal>>;

/// What was asked under a number, and where its answer comes.
type Asked<T> = (u64, watch::Receiver<Answer<T>>);

/// The last request of one kind.
#[derive(Debug, Clone)]
pub(crate) struct Once<T> {
    last: Arc<Mutex<Option<Asked<T>>>>,
}

impl<T> Default for Once<T> {
    fn default() -> Self {
        Self { last: Arc::default() }
    }
}

impl<T: Clone + Send + Sync + 'static> Once<T> {
    /// The nonce of the last request that was carried out.
    pub(crate) fn done(&self) -> Option<u64> {
        let last = self.last.lock();
        let (nonce, answer) = last.as_ref()?;
        matches!(&*answer.borrow(), Some(Ok(_))).then_some(*nonce)
    }

    /// Carries `request` out, unless that was done or is being done for the same nonce. One that failed is tried again. Goes
    /// on when the caller goes away.
    pub(crate) async fn ask(
        &self,
        nonce: Option<u64>,
        request: impl Future<Output = Result<T, Refusal>> + Send + 'static,
    ) -> Result<T, Refusal> {
        let mut answer = {
            let mut last = self.last.lock();
            let known = last.as_ref().filter(|(of, answer)| Some(*of) == nonce && is_good(answer));
            match known {
                Some((_, answer)) => answer.clone(),
                None => {
                    let (done, answer) = watch::channel(None);
                    tokio::spawn(async move {
                        let result = request.await;
                        done.send_replace(Some(result));
                    });
                    if let Some(nonce) = nonce {
                        *last = Some((nonce, answer.clone()));
                    }
                    answer
                }
            }
        };
        let gone = || Refusal::Failed("the request was lost".to_owned());
        let result = answer.wait_for(Option::is_some).await.map_err(|_| gone())?.clone();
        result.unwrap_or_else(|| Err(gone()))
    }
}

/// Done, or still being done.
fn is_good<T>(answer: &watch::Receiver<Answer<T>>) -> bool {
    match &*answer.borrow() {
        None => answer.has_changed().is_ok(),
        Some(result) => result.is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_nonce_is_carried_out_once_and_a_failure_again() {
        let (once, calls) = (Once::default(), Arc::new(AtomicU64::new(0)));
        let ask = |nonce, works: bool| {
            let (once, calls) = (once.clone(), calls.clone());
            async move {
                let request = async move {
                    let call = calls.fetch_add(1, Ordering::Relaxed);
                    if works { Ok(call) } else { Err(Refusal::Failed("no".to_owned())) }
                };
                once.ask(nonce, request).await
            }
        };
        assert_eq!(ask(Some(7), false).await, Err(Refusal::Failed("no".to_owned())));
        assert_eq!(once.done(), None);
        assert_eq!(ask(Some(7), true).await, Ok(1));
        assert_eq!(ask(Some(7), true).await, Ok(1));
        assert_eq!(once.done(), Some(7));
        assert_eq!(ask(Some(8), true).await, Ok(2));
        assert_eq!(ask(None, true).await, Ok(3));
        assert_eq!(once.done(), Some(8));
    }
}
