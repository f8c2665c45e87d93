//! Predicates for the last event of well-known APIs.
//!
//! If the last event is not known, a truncated stream looks like a complete one.

use crate::received::ReceivedEvent;

/// The last event of OpenAI's chat completions and compatible APIs: its data is `[DONE]`.
pub fn openai_chat(event: &ReceivedEvent) -> bool {
    event.data().trim() == "[DONE]"
}

/// The last event of OpenAI's Responses API: its type is `response.completed`, `.incomplete`,
/// `.failed` or `.cancelled`.
pub fn openai_responses(event: &ReceivedEvent) -> bool {
    matches!(
        event.event_type(),
        "response.completed" | "response.incomplete" | "response.failed" | "response.cancelled"
    )
}

/// The last event of Anthropic's Messages API: its type is `message_stop`.
pub fn anthropic(event: &ReceivedEvent) -> bool {
    event.event_type() == "message_stop"
}

/// Any of these.
pub fn any(event: &ReceivedEvent) -> bool {
    openai_chat(event) || openai_responses(event) || anthropic(event)
}

/// An event of the type `error`, with which APIs report a failure after status 200.
pub fn error(event: &ReceivedEvent) -> bool {
    event.event_type() == "error"
}
