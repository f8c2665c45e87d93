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

/// Asks the journal for the newest event of the topic, and reads backwards from there until there
/// are enough events, or the reads are used up.
async fn search(hub: &Hub, topic: Topic, rights: &Rights) -> Result<FoundEvents, ReadError> {
    let journal = hub.journal();
    let edges = journal.edges();
    let last = edges.last.position;
    let selectors = Selectors::topic(topic);
    // A newest event that was published after `edges` were read is found too: with `last` as the
    // end, it would hide the event before it, and not be found itself.
    let newest = journal.read_last(Position::START, Position::MAX, &selectors, rights).await?;
    // Without an index the journal may have looked at its oldest updates only.
    let knows_newest = newest.through >= last;
    let mut newest = newest.records;
    newest.sort_by_key(|record| record.position);
    let mut search = BackwardSearch {
        hub,
        selectors,
        rights,
        begin: edges.first.previous(),
        until: last,
        events: VecDeque::new(),
        reads: OPERATOR_SEARCH_READS - 1,
    };
    if knows_newest {
        let Some(newest) = newest.pop() else {
            return Ok(FoundEvents { events: VecDeque::new(), is_complete: true });
        };
        search.until = newest.position.previous();
        search.events.push_back(newest);
    }
    let is_complete = search.run().await?;
    let mut events = search.events;
    if events.is_empty() && !is_complete {
        events.extend(newest);
    }
    Ok(FoundEvents { events, is_complete })
}

/// A search from the newest position to the oldest.
struct BackwardSearch<'a> {
    hub: &'a Hub,
    selectors: Selectors,
    rights: &'a Rights,
    /// The position before the oldest update.
    begin: Position,
    /// All events of the topic after this position were found.
    until: Position,
    /// The oldest first.
    events: VecDeque<Arc<Record>>,
    /// How often the journal may still be read.
    reads: usize,
}

impl BackwardSearch<'_> {
    /// Returns whether all events were found that are to be shown. Otherwise the reads are used up.
    async fn run(&mut self) -> Result<bool, ReadError> {
        // Large events take a read each, so the first step has no more positions than are shown.
        let mut step = OPERATOR_EVENTS as u64;
        while self.events.len() < OPERATOR_EVENTS && self.until > self.begin {
            let from = Position::new(self.until.number().saturating_sub(step)).max(self.begin);
            let reads = self.reads;
            let Some(mut part) = self.part(from).await? else { return Ok(false) };
            part.append(&mut self.events);
            self.events = part;
            self.until = from;
            if reads - self.reads == 1 {
                step = step.saturating_mul(4);
            }
        }
        Ok(true)
    }

    /// The last events after `from`, as many as are still to be found. `None` if the reads are used
    /// up before: what was read then may not be the last events.
    async fn part(&mut self, from: Position) -> Result<Option<VecDeque<Arc<Record>>>, ReadError> {
        let journal = self.hub.journal();
        let (selectors, until) = (&self.selectors, self.until);
        let mut part = VecDeque::new();
        let mut after = from;
        while after < until {
            let Some(reads) = self.reads.checked_sub(1) else { return Ok(None) };
            self.reads = reads;
            let batch = match journal.read_at_hand(after, until, selectors, self.rights) {
                Some(batch) => batch,
                None => journal.read(after, until, selectors, self.rights).await?,
            };
            part.extend(batch.records);
            while part.len() + self.events.len() > OPERATOR_EVENTS {
                part.pop_front();
            }
            after = batch.through;
        }
        Ok(Some(part))
    }
}

fn shown(record: &Record) -> Value {
    let event = record.update.event();
    let data = event.data();
    let (text, is_whole) = shortened(data, OPERATOR_DATA_SHOWN);
    json!({
        "id": shortened(record.id().as_str(), OPERATOR_TEXT_SHOWN).0,
        "type": shortened(event.event_type(), OPERATOR_TEXT_SHOWN).0,
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
