// Event streams in the browser: the exports of the package.

/**
 * @typedef {import("./wrapper.js").Options} Options
 * @typedef {import("./wrapper.js").ErrorEvent} ErrorEvent
 * @typedef {import("./wrapper.js").CloseEvent} CloseEvent
 * @typedef {import("./wrapper.js").CloseReason} CloseReason
 * @typedef {import("./failure.js").Failure} Failure
 * @typedef {import("./reconnect.js").Policy} Policy
 * @typedef {import("./subscribe.js").HeaderFields} HeaderFields
 * @typedef {import("./subscribe.js").HeadersSource} HeadersSource
 * @typedef {import("./event-source.js").FetchEventSourceInit} FetchEventSourceInit
 * @typedef {import("./decode.js").DecodedEvent} DecodedEvent
 * @typedef {import("./decode.js").DecoderSink} DecoderSink
 */
/**
 * @template [Data=any]
 * @template {string} [Type=string]
 * @typedef {import("./wrapper.js").ReceivedEvent<Data, Type>} ReceivedEvent
 */

export { EventSourceWrapper, EventSourceWrapper as default } from "./wrapper.js";
export { FetchEventSource } from "./event-source.js";
export { Decoder } from "./decode.js";
export { DEFAULT_POLICY, isPassing } from "./reconnect.js";
