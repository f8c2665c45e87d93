// Event streams in the browser: one class, and what it is made of.

export { EventSourceWrapper, EventSourceWrapper as default } from "./wrapper.js";
export { FetchEventSource } from "./event-source.js";
export { Decoder } from "./decode.js";
export { DEFAULT_POLICY, isPassing } from "./reconnect.js";
