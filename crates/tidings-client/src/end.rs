//! Which event is a stream's last, for the streams that everybody reads.
//!
//! An answer that breaks off looks like one that is complete, unless its last event is known.

use crate::incoming::ReceivedEvent;

/// The end of an answer of OpenAI's chat completions, and of those who speak like it: the data
/// `[DONE]`.
pub fn openai_chat(event: &ReceivedEvent) -> bool {
    event.data().trim() == "[DONE]"
}

/// The end of an answer of OpenAI's Responses: `response.completed`, `.incomplete`, `.failed`
/// or `.cancelled`.
pub fn openai_responses(event: &ReceivedEvent) -> bool {
    matches!(
        event.event_type(),
        "response.completed" | "response.incomplete" | "response.failed" | "response.cancelled"
    )
}

/// The end of an answer of Anthropic's Messages: `message_stop`.
pub fn anthropic(event: &ReceivedEvent) -> bool {
    event.event_type() == "message_stop"
}

/// Any of these.
pub fn any(event: &ReceivedEvent) -> bool {
    openai_chat(event) || openai_responses(event) || anthropic(event)
}

/// An event of the type `error`, by which APIs report what fails after their 200.
pub fn error(event: &ReceivedEvent) -> bool {
    event.event_type() == "error"
}
