//! The last events of a topic, read from the journal on request.

use std::collections::VecDeque;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};
use tidings_core::journal::ReadError;
use tidings_core::model::{Position, Record, Rights, Selectors, Topic};

use super::super::refusal::Refusal;
use super::json::{milliseconds, no_store, read_json, shortened};
use super::viewer::Viewer;
use crate::hub::Hub;
use crate::limits::{
    OPERATOR_DATA_SHOWN, OPERATOR_EVENTS, OPERATOR_SEARCH_READS, OPERATOR_SEARCH_TIME,
    OPERATOR_TEXT_SHOWN,
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LastEvents {
    topic: String,
}

/// The last events of a topic that the request may read.
pub(super) async fn last_events(
    State(hub): State<Hub>,
    request: Request,
) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let viewer = Viewer::of(&hub, &parts).await?;
    let Some(rights) = viewer.rights() else {
        return Err(Refusal::new(
            StatusCode::UNAUTHORIZED,
            "events are shown only to a token that may read them, because this hub does not allow \
             subscribing without a token",
        ));
    };
    let LastEvents { topic } = read_json(&hub, &parts, body).await?;
    if topic.is_empty() || topic.len() > hub.limits().topic_bytes {
        let detail = format!("a topic has 1 to {} bytes", hub.limits().topic_bytes);
        return Err(Refusal::bad_request(detail));
    }
    let Ok(_turn) = hub.operator().searches().try_acquire() else {
        return Err(unavailable("other searches are running; try again".to_owned()));
    };
    let search = search(&hub, topic.into(), &rights);
    let found = match tokio::time::timeout(OPERATOR_SEARCH_TIME, search).await {
        Ok(found) => found.map_err(|error| unavailable(format!("the journal: {error}")))?,
        Err(_) => return Err(unavailable("the journal took too long to answer".to_owned())),
    };
    let events: Vec<_> = found.events.iter().rev().map(|record| shown(record)).collect();
    Ok(no_store(json!({ "events": events, "isComplete": found.is_complete })))
}

/// The result of a search.
struct FoundEvents {
    /// The oldest first.
    events: VecDeque<Arc<Record>>,
    /// The journal has no further ones, or there are as many as are shown.
    is_complete: bool,
}

/// Reads backwards in growing steps from the newest event of the topic, which the journal knows by
/// its index, until there are enough or the reads are used up.
async fn search(hub: &Hub, topic: Topic, rights: &Rights) -> Result<FoundEvents, ReadError> {
    const STEP_FIRST: u64 = 512;
    let journal = hub.journal();
    let edges = journal.edges();
    let selectors = Selectors::topic(topic);
    let last = edges.last.position;
    let newest = journal.read_last(Position::START, last, &selectors, rights).await?;
    let Some(newest) = newest.records.iter().map(|record| record.position).max() else {
        return Ok(FoundEvents { events: VecDeque::new(), is_complete: true });
    };
    let mut events: VecDeque<Arc<Record>> = VecDeque::new();
    let (mut until, mut step) = (newest, STEP_FIRST);
    let mut reads = 0;
    let begin = edges.first.previous();
    loop {
        let from = Position::new(until.number().saturating_sub(step)).max(begin);
        let mut part: VecDeque<Arc<Record>> = VecDeque::new();
        let mut after = from;
        while after < until {
            if reads == OPERATOR_SEARCH_READS {
                // What was read of this part may not be its last events.
                return Ok(FoundEvents { events, is_complete: false });
            }
            reads += 1;
            let batch = match journal.read_at_hand(after, until, &selectors, rights) {
                Some(batch) => batch,
                None => journal.read(after, until, &selectors, rights).await?,
            };
            part.extend(batch.records);
            while part.len() + events.len() > OPERATOR_EVENTS {
                part.pop_front();
            }
            after = batch.through;
        }
        part.append(&mut events);
        events = part;
        if events.len() >= OPERATOR_EVENTS || from <= begin {
            return Ok(FoundEvents { events, is_complete: true });
        }
        (until, step) = (from, step.saturating_mul(4));
    }
}

fn shown(record: &Record) -> Value {
    let event = record.update.event();
    let data = event.data();
    let (text, is_whole) = shortened(data, OPERATOR_DATA_SHOWN);
    json!({
        "id": shortened(record.id().as_str(), OPERATOR_TEXT_SHOWN).0,
        "type": event.event_type(),
        "time": milliseconds(record.time),
        "isPrivate": record.update.is_private(),
        "topics": record.update.topics().len(),
        "data": text,
        "isWhole": is_whole,
        "bytes": data.len(),
    })
}

fn unavailable(detail: String) -> Refusal {
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, detail)
        .with(header::RETRY_AFTER, HeaderValue::from_static("1"))
}
