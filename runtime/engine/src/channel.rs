//! Channels between subtasks of one process, bounded in bytes.
//!
//! A batch takes as many permits as it has bytes (in units of [`UNIT`]), at most the whole budget, so that an oversize
//! batch still passes, alone. Control elements take none but keep their place. Dropping either end wakes the other.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::PollSemaphore;

use crate::element::Element;

/// Bytes per permit.
pub const UNIT: usize = 64;

/// The other end of a channel is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the other end of the channel is gone")]
pub struct Disconnected;

struct Message<T> {
    element: Element<T>,
    /// Gives the bytes back when the message is taken.
    _permit: Option<OwnedSemaphorePermit>,
}

/// The sending end.
pub struct Sender<T> {
    queue: mpsc::UnboundedSender<Message<T>>,
    permits: PollSemaphore,
    budget: u32,
}

/// The receiving end.
pub struct Receiver<T> {
    queue: mpsc::UnboundedReceiver<Message<T>>,
    permits: Arc<Semaphore>,
}

/// A channel that holds at most `budget_bytes` of batches (and one oversize batch at a time).
pub fn channel<T>(budget_bytes: usize) -> (Sender<T>, Receiver<T>) {
    let budget = u32::try_from(budget_bytes.div_ceil(UNIT)).unwrap_or(u32::MAX / 2).max(1);
    let permits = Arc::new(Semaphore::new(budget as usize));
    let (tx, rx) = mpsc::unbounded_channel();
    (Sender { queue: tx, permits: PollSemaphore::new(permits.clone()), budget }, Receiver { queue: rx, permits })
}

impl<T> Sender<T> {
    /// Waits until there is room for `bytes`; `None` permits mean control. The caller then sends at once.
    fn poll_room(
        &mut self,
        bytes: usize,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<OwnedSemaphorePermit>, Disconnected>> {
        if bytes == 0 {
            return Poll::Ready(Ok(None));
        }
        let wanted = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX).min(self.budget);
        match ready!(self.permits.poll_acquire_many(cx, wanted)) {
            Some(permit) => Poll::Ready(Ok(Some(permit))),
            None => Poll::Ready(Err(Disconnected)),
        }
    }

    /// Sends the element in `slot` once there is room for its `bytes` (0 for control elements); takes it out of `slot`
    /// when it was sent.
    ///
    /// # Errors
    /// When the receiver is gone.
    pub fn poll_send(
        &mut self,
        slot: &mut Option<(Element<T>, usize)>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Disconnected>> {
        let Some((_, bytes)) = slot else { return Poll::Ready(Ok(())) };
        let permit = ready!(self.poll_room(*bytes, cx))?;
        if let Some((element, _)) = slot.take() {
            self.queue.send(Message { element, _permit: permit }).map_err(|_| Disconnected)?;
        }
        Poll::Ready(Ok(()))
    }

    /// Bytes that wait in the channel, for metrics.
    pub fn queued_bytes(&self) -> usize {
        (self.budget as usize).saturating_sub(self.permits.available_permits()) * UNIT
    }
}

impl<T> Receiver<T> {
    /// The next element; `None` when the sender is gone and everything was taken.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<Element<T>>> {
        self.queue.poll_recv(cx).map(|message| message.map(|m| m.element))
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.permits.close();
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;
    use crate::batch::Batch;

    async fn send(tx: &mut Sender<u8>, element: Element<u8>, bytes: usize) -> Result<(), Disconnected> {
        let mut slot = Some((element, bytes));
        poll_fn(|cx| tx.poll_send(&mut slot, cx)).await
    }

    #[tokio::test]
    async fn a_full_channel_holds_batches_back_and_lets_control_keep_its_place() {
        let (mut tx, mut rx) = channel::<u8>(128);
        send(&mut tx, Element::Batch(Batch::untimed(vec![1])), 128).await.expect("room");
        send(&mut tx, Element::Watermark(7), 0).await.expect("control passes");
        let mut slot = Some((Element::Batch(Batch::untimed(vec![2])), 64));
        let blocked = futures::poll!(poll_fn(|cx| tx.poll_send(&mut slot, cx)));
        assert!(blocked.is_pending());
        assert!(matches!(poll_fn(|cx| rx.poll_recv(cx)).await, Some(Element::Batch(_))));
        poll_fn(|cx| tx.poll_send(&mut slot, cx)).await.expect("room again");
        assert!(matches!(poll_fn(|cx| rx.poll_recv(cx)).await, Some(Element::Watermark(7))));
        assert!(matches!(poll_fn(|cx| rx.poll_recv(cx)).await, Some(Element::Batch(_))));
    }

    #[tokio::test]
    async fn an_oversize_batch_passes_alone() {
        let (mut tx, mut rx) = channel::<u8>(64);
        send(&mut tx, Element::Batch(Batch::untimed(vec![0; 10_000])), 10_000).await.expect("passes");
        assert!(matches!(poll_fn(|cx| rx.poll_recv(cx)).await, Some(Element::Batch(_))));
    }

    #[tokio::test]
    async fn dropping_either_end_wakes_the_other() {
        let (mut tx, rx) = channel::<u8>(64);
        send(&mut tx, Element::Batch(Batch::untimed(vec![1])), 64).await.expect("room");
        let waiting = tokio::spawn(async move { send(&mut tx, Element::Batch(Batch::untimed(vec![2])), 64).await });
        drop(rx);
        assert_eq!(waiting.await.expect("no panic"), Err(Disconnected));
        let (tx, mut rx) = channel::<u8>(64);
        drop(tx);
        assert!(poll_fn(|cx| rx.poll_recv(cx)).await.is_none());
    }
}
