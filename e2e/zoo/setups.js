// Third-party clients that read the hub, and their known faults. docs/clients.md shows this list, and zoo.test.js
// checks both.

/**
 * @typedef {import("./faults.js").FaultName} FaultName
 * @typedef {"javascript" | "chromium" | "firefox" | "python" | "go" | "java" | "rust" | "php"} Program
 *
 * @typedef {object} SetUp
 * @property {string} name unique, as its program knows it
 * @property {Program} program that it runs in
 * @property {boolean} [alone] whether a process reads one stream of it
 * @property {string} [shown] another name for the document
 * @property {string} package whose version is in the program's lock file, or nothing for a part of
 *   the platform
 * @property {string} [how] the setting, transport or loop that makes the set-up
 * @property {FaultName[]} [breaks] the faults that it does not survive
 * @property {boolean} [varies] whether that depends on how much its browser has read before the cut
 * @property {import("./blocks.js").Block[]} [events] blocks that it reports although they are not events
 * @property {import("./blocks.js").Form[]} [lost] forms of data that it reports as something else
 * @property {string} [own] its own fault that explains it
 * @property {string} [avoid] the setting or set-up that avoids it
 */

const ID_EARLY = "Stores the id of an event before its blank line has arrived.";
/** @type {import("./blocks.js").Block[]} */
const EMPTY = ["id", "end", "type", "retry", "comment"];
/** @type {import("./blocks.js").Block[]} */
const NO_COMMENT = ["id", "end", "type", "retry"];
const LOOP = "a loop";

/** @type {SetUp[]} */
export const SET_UPS = [
  { name: "eventsource2", shown: "eventsource", program: "javascript", package: "eventsource2", breaks: ["tail"], own: "Keeps the lines of an incomplete event for the next connection.", avoid: "version 3 or later" },
  { name: "eventsource3", shown: "eventsource", program: "javascript", package: "eventsource3" },
  { name: "eventsource4", program: "javascript", package: "eventsource" },
  { name: "eventsource4 over undici", program: "javascript", package: "eventsource", how: "`fetch` of undici" },
  { name: "undici EventSource", program: "javascript", package: "undici", how: "its `EventSource`" },
  { name: "extended-eventsource", program: "javascript", package: "extended-eventsource", breaks: ["tail"], own: ID_EARLY, events: EMPTY },
  { name: "launchdarkly-eventsource", program: "javascript", package: "launchdarkly-eventsource", how: "`readTimeoutMillis` beyond the heartbeat", own: "Without the setting it reconnects after 5 s of silence." },
  { name: "eventsource-client", program: "javascript", package: "eventsource-client" },
  { name: "event-source-plus", program: "javascript", package: "event-source-plus", lost: ["lines"] },
  { name: "fortaine fetch-event-source", program: "javascript", package: "@fortaine/fetch-event-source", breaks: ["tail"], own: ID_EARLY, events: EMPTY },
  { name: "waylaidwanderer fetch-event-source", program: "javascript", package: "@waylaidwanderer/fetch-event-source", breaks: ["tail"], own: ID_EARLY, events: EMPTY },
  { name: "sentool fetch-event-source", program: "javascript", alone: true, package: "@sentool/fetch-event-source", how: LOOP, own: "Uses one buffer for all streams of a page; keeps only the last of several data lines.", events: EMPTY, lost: ["lines"] },
  { name: "eventsource-parser", program: "javascript", package: "eventsource-parser", how: `Node's \`fetch\`, ${LOOP}` },
  { name: "eventsource-parser over undici", program: "javascript", package: "eventsource-parser", how: `\`fetch\` of undici, ${LOOP}` },
  { name: "fetch-event-stream", program: "javascript", package: "fetch-event-stream", how: LOOP, events: NO_COMMENT },
  { name: "@azure/core-sse", program: "javascript", package: "@azure/core-sse", how: LOOP },
  { name: "parse-sse", program: "javascript", package: "parse-sse", how: LOOP, lost: ["empty"] },
  { name: "EventSource of Chromium", program: "chromium", package: "" },
  { name: "EventSource of Firefox", program: "firefox", package: "", breaks: ["drain", "kill"], own: "Stops for good when its reconnect is refused.", avoid: "the [browser package](browser.md), or reconnecting-eventsource" },
  { name: "event-source-polyfill", program: "chromium", package: "event-source-polyfill" },
  { name: "event-source-polyfill, named", program: "chromium", package: "event-source-polyfill", how: '`lastEventIdQueryParameterName: "lastEventID"`' },
  { name: "reconnecting-eventsource", program: "chromium", package: "reconnecting-eventsource" },
  { name: "sse.js", program: "chromium", package: "sse.js", how: "`autoReconnect: true`" },
  { name: "fetch-event-source", program: "chromium", package: "@microsoft/fetch-event-source", breaks: ["tail"], varies: true, own: `${ID_EARLY} Stops at a clean end.`, events: EMPTY },
  { name: "fetch-event-source, onclose", program: "chromium", package: "@microsoft/fetch-event-source", how: "an `onclose` that throws", breaks: ["tail"], varies: true, own: ID_EARLY, events: EMPTY },
  { name: "htmx", program: "chromium", package: "htmx-ext-sse" },

  { name: "requests iter_lines", program: "python", package: "requests", how: `\`iter_lines()\`, ${LOOP}` },
  { name: "urllib", shown: "urllib.request", program: "python", package: "", how: LOOP },
  { name: "aiohttp", program: "python", package: "aiohttp", how: LOOP },
  { name: "sseclient", program: "python", package: "sseclient", breaks: ["between", "inside", "tail", "drain", "kill"], own: "Ends at a reset or refused connection, and keeps the lines of an incomplete event. Reads chunk sizes as fields.", avoid: "a loop", events: EMPTY, lost: ["text"] },
  { name: "sseclient, again", program: "python", package: "sseclient", how: LOOP, breaks: ["tail"], own: "Keeps the lines of an incomplete event for the next connection.", events: EMPTY, lost: ["text"] },
  { name: "sseclient-py over requests", program: "python", package: "sseclient-py", how: `requests, ${LOOP}` },
  { name: "sseclient-py over urllib3", program: "python", package: "sseclient-py", how: `urllib3, ${LOOP}` },
  { name: "httpx-sse", program: "python", package: "httpx-sse", how: LOOP, events: EMPTY },
  { name: "httpx-sse, async", program: "python", package: "httpx-sse", how: `\`AsyncClient\`, ${LOOP}`, events: EMPTY },
  { name: "requests-sse", program: "python", package: "requests-sse" },
  { name: "aiohttp-sse-client", program: "python", package: "aiohttp-sse-client", breaks: ["between", "inside", "tail", "drain", "kill"], own: "Ends when a chunked response is cut.", avoid: "a loop" },
  { name: "aiohttp-sse-client, again", program: "python", package: "aiohttp-sse-client", how: LOOP },
  { name: "aiohttp-sse-client2", program: "python", package: "aiohttp-sse-client2", breaks: ["between", "inside", "tail", "drain", "kill"], own: "Ends when a chunked response is cut.", avoid: "a loop" },
  { name: "aiohttp-sse-client2, again", program: "python", package: "aiohttp-sse-client2", how: LOOP },
  { name: "aiosseclient", program: "python", package: "aiosseclient", how: LOOP, events: NO_COMMENT },
  { name: "launchdarkly-eventsource (Python)", program: "python", package: "launchdarkly-eventsource", how: "`ErrorStrategy.always_continue()`" },

  { name: "net/http", program: "go", package: "", how: LOOP },
  { name: "r3labs/sse", program: "go", package: "github.com/r3labs/sse/v2", breaks: ["inside", "tail"], own: "Delivers an incomplete event when its connection is cut.", events: EMPTY },
  { name: "go-sse", program: "go", package: "github.com/tmaxmax/go-sse", events: NO_COMMENT },
  { name: "go-sse, read", program: "go", package: "github.com/tmaxmax/go-sse", how: `\`sse.Read\`, ${LOOP}`, events: ["id", "end", "type"] },
  { name: "launchdarkly/eventsource", program: "go", package: "github.com/launchdarkly/eventsource", events: NO_COMMENT },
  { name: "donovanhide/eventsource", program: "go", package: "github.com/donovanhide/eventsource", events: NO_COMMENT },

  { name: "java.net.http", program: "java", package: "", how: LOOP },
  { name: "WebClient", program: "java", package: "org.springframework:spring-webflux", how: `Reactor Netty, ${LOOP}`, events: EMPTY },
  { name: "WebClient over java.net.http", program: "java", package: "org.springframework:spring-webflux", how: `\`JdkClientHttpConnector\`, ${LOOP}`, events: EMPTY },
  { name: "Jersey", program: "java", package: "org.glassfish.jersey.media:jersey-media-sse", breaks: ["drain", "kill"], own: "Ends when a connection is refused.", avoid: "a loop", events: EMPTY },
  { name: "okhttp-sse", program: "java", package: "com.squareup.okhttp3:okhttp-sse", how: LOOP },
  { name: "okhttp-eventsource", program: "java", package: "com.launchdarkly:okhttp-eventsource", how: "`ErrorStrategy.alwaysContinue()`, a `readTimeout` beyond the heartbeat" },

  { name: "eventsource-client (Rust)", program: "rust", package: "eventsource-client" },
  { name: "reqwest-eventsource", program: "rust", package: "reqwest-eventsource" },
  { name: "eventsource-stream", program: "rust", package: "eventsource-stream", how: LOOP },
  { name: "sse-stream", program: "rust", package: "sse-stream", how: LOOP, events: NO_COMMENT },

  { name: "EventSourceHttpClient over curl", program: "php", alone: true, package: "symfony/http-client", how: "`CurlHttpClient`", events: NO_COMMENT },
  { name: "EventSourceHttpClient over PHP streams", program: "php", alone: true, package: "symfony/http-client", how: "`NativeHttpClient`", events: NO_COMMENT },
  { name: "Guzzle", program: "php", alone: true, package: "guzzlehttp/guzzle", how: LOOP },
  { name: "fopen", program: "php", alone: true, package: "", how: LOOP, breaks: ["between", "inside", "tail", "drain", "kill"], own: "PHP's reader of chunked responses delays events.", avoid: "`protocol_version` 1.0" },
  { name: "fopen, 1.0", shown: "fopen", program: "php", alone: true, package: "", how: `\`protocol_version: 1.0\`, ${LOOP}` },
];
