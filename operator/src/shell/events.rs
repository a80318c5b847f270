//! Events, said about a job or about its namespace.

use kube::runtime::events::{Event, EventType};
use kube::{Resource, ResourceExt};
use weir_api::StreamJob;

use super::context::Context;
use crate::lifecycle::Notice;

pub async fn tell(context: &Context, object: &StreamJob, notice: Notice) {
    tracing::info!(
        namespace = %object.namespace().unwrap_or_default(), job = %object.name_any(),
        reason = %notice.reason, warning = notice.warning, "{}", notice.note
    );
    if let Err(error) = context.recorder.publish(&event(notice), &object.object_ref(&())).await {
        tracing::debug!(%error, "an event was not taken");
    }
}

pub fn event(notice: Notice) -> Event {
    let Notice { warning, happened: _, reason, note } = notice;
    Event {
        type_: if warning { EventType::Warning } else { EventType::Normal },
        action: reason.clone(),
        reason,
        note: Some(note),
        secondary: None,
    }
}
