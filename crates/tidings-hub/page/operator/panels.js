// What the page shows of a reading.

import { find, say } from "../find.js";
import { bytes, latency, moment, number, span } from "./amounts.js";
import { cell, fill, write } from "./tables.js";

/**
 * @typedef {import("./feed.js").Reading} Reading
 * @typedef {import("./feed.js").Counts} Counts
 * @typedef {import("./feed.js").SlowReader} SlowReader
 * @typedef {import("./feed.js").BusyTopic} BusyTopic
 * @typedef {import("./history.js").History} History
 */

/** @typedef {{ onEnd: (one: SlowReader) => void, onTopic: (topic: string) => void }} Acts */

const WHY = {
  full: "its client reads too slowly",
  "catching-up": "it is catching up",
  journal: "the journal does not answer",
};

/** What a reason means, where the word alone does not say it. */
const REASONS = {
  closed: {
    client: "its client closed it",
    broken: "the connection broke",
    stalled: "its client read nothing for five minutes",
    lost: "the rest of an event was trimmed",
    unreadable: "the journal could not be read",
    drain: "the hub drained",
    expired: "its token expired",
    revoked: "its token was revoked",
    unconfirmed: "revocations could not be read",
    age: "it reached its maximum age",
    patterns: "its patterns took too long",
    feeds: "too many different streams",
  },
  turnedAway: { streams: "limit of streams", address: "limit of its address", rate: "too many a second", selectors: "no room for selectors", presence: "no room for presence" },
  publishRefused: { invalid: "invalid", forbidden: "forbidden", too_large: "too large", rate: "too many a second", unavailable: "hub or journal unavailable" },
  requestsRefused: { address: "one address has too much", total: "no room in all", lists: "no room for lists" },
  gaps: { resume: "resumed too late", slow: "read too slowly", reset: "the journal was reset" },
};
const KINDS = { closed: "Stream closed", turnedAway: "Stream told to wait", publishRefused: "Publish refused", requestsRefused: "Request refused", gaps: "Loss reported" };

const figure = (/** @type {string} */ name) => document.querySelector(`[data-figure="${name}"]`);
const fact = (/** @type {string} */ name) => document.querySelector(`[data-fact="${name}"]`);

/**
 * @param {Reading} reading
 * @param {History} history
 * @param {Acts} acts
 */
export function show(reading, history, acts) {
  showState(reading);
  showNow(reading, history);
  showSlow(reading, acts);
  showTopics(reading, acts);
  showJournal(reading);
  showCapacity(reading);
  showReasons(reading, history);
  showHubs(reading);
}

/** @param {Reading} reading */
function showState({ version, uptimeMs, status, journal }) {
  find(document, "#facts").hidden = false;
  write(document.querySelector(".hub-version"), version);
  write(document.querySelector(".uptime"), span(uptimeMs));
  const readiness = find(document, "#readiness");
  readiness.hidden = false;
  readiness.dataset.isReady = String(status.isReady && status.isHealthy);
  write(readiness, !status.isHealthy ? "failed" : status.isDraining ? "draining" : status.isReady ? "ready" : "not ready");
  const troubles = [];
  if (!status.isHealthy) troubles.push("A thread of the hub has failed: restart the hub.");
  if (status.isDraining) troubles.push("The hub is draining: its streams end, each with a time to reconnect.");
  if (journal.trouble !== null) troubles.push(`The journal is unavailable, so nothing can be published: ${journal.trouble}.`);
  if (!status.knowsRevocations) troubles.push("The hub cannot read the revocations of other hubs, so it accepts no tokens.");
  const box = find(document, "#trouble");
  // Emptied before it is hidden: the same trouble is announced again when it returns.
  write(box, troubles.join(" "));
  box.hidden = troubles.length === 0;
}

/**
 * @param {Reading} reading
 * @param {History} history
 */
function showNow({ counts }, history) {
  const streams = (/** @type {Counts} */ of) => of.streams.reduce((sum, [, count]) => sum + count, 0);
  write(figure("streams"), number(streams(counts)));
  write(figure("lanes"), counts.streams.map(([lane, count]) => `${number(count)} ${lane}`).join(", "));
  const rates = {
    publishes: (/** @type {Counts} */ of) => of.updates,
    deliveries: (/** @type {Counts} */ of) => of.deliveries,
    bytes: (/** @type {Counts} */ of) => of.deliveredBytes,
  };
  draw("streams", history.series(streams, false));
  for (const [name, count] of Object.entries(rates)) {
    const rate = history.rate(count);
    write(figure(name), name === "bytes" ? bytes(rate) : number(rate));
    draw(name, history.series(count));
  }
  for (const place of document.querySelectorAll("[data-latency]")) {
    const [histogram, part] = (place.getAttribute("data-latency") ?? "").split(".");
    const value = history.quantile(/** @type {"publishAck" | "delivery"} */ (histogram), Number(part) / 100);
    write(place, value === null ? "–" : latency(value));
  }
}

const CHART = { width: 120, height: 32 };

/**
 * @param {string} name
 * @param {number[]} values one for each second, the newest at the right
 */
function draw(name, values) {
  const chart = document.querySelector(`[data-spark="${name}"]`);
  const most = Math.max(...values, 1);
  const points = values.map((value, index) => {
    const x = CHART.width - (values.length - 1 - index);
    return `${x} ${(CHART.height - 1 - (value / most) * (CHART.height - 3)).toFixed(1)}`;
  });
  const line = points.length > 1 ? `M${points.join("L")}` : "";
  chart?.querySelector(".line")?.setAttribute("d", line);
  const start = CHART.width - values.length + 1;
  chart?.querySelector(".area")?.setAttribute("d", line && `${line}L${CHART.width} ${CHART.height}L${start} ${CHART.height}Z`);
}

/**
 * @param {Reading} reading
 * @param {Acts} acts
 */
function showSlow({ slow, view }, { onEnd }) {
  const { count, list, silentShards } = slow;
  const words = [];
  if (count === 0) words.push("Every stream has received everything.");
  else words.push(count === 1 ? "One stream is behind." : `${number(count)} streams are behind${count > list.length ? `; the furthest ${list.length} are shown` : ""}.`);
  if (silentShards > 0) words.push(silentShards === 1 ? "One thread did not answer in time." : `${silentShards} threads did not answer in time.`);
  if (count > 0 && view !== "token") words.push("What they select is shown to a token that may list subscriptions.");
  write(find(document, "#slow-words"), words.join(" "));
  fill(
    find(document, "#slow-table"),
    list,
    ({ stream }) => String(stream),
    (row, one) => {
      cell(row, "th");
      cell(row, "td", "number");
      cell(row, "td");
      cell(row, "td", "wide selects");
      const end = document.createElement("button");
      end.type = "button";
      end.append("End", spoken(` stream ${one.stream}`));
      end.addEventListener("click", () => onEnd(one));
      cell(row, "td").append(end);
    },
    (row, one) => {
      const [name, behind, why, selects] = row.children;
      write(name, `${one.stream}, ${one.lane}${one.byToken ? ", with a token" : ""}`);
      write(behind, one.cause === "journal" ? "–" : `${number(one.positions)} ${one.positions === 1 ? "update" : "updates"}`);
      write(why, WHY[one.cause]);
      const { selectors } = one;
      const more = selectors && selectors.count > selectors.first.length ? ` and ${selectors.count - selectors.first.length} more` : "";
      const others = selectors && !selectors.isWhole ? ", perhaps others" : "";
      write(selects, selectors ? `${selectors.first.join(", ")}${more}${others}` : "–");
    },
  );
}

/** @param {string} text */
function spoken(text) {
  const part = document.createElement("span");
  part.className = "spoken";
  part.textContent = text;
  return part;
}

/**
 * @param {Reading} reading
 * @param {Acts} acts
 */
function showTopics({ topics, access }, { onTopic }) {
  const words = find(document, "#topics-words");
  const form = find(document, "#topic-form");
  form.hidden = topics === null;
  if (topics === null) {
    const how = access.canAct
      ? "Enter a token below."
      : "Give the hub a key for subscribers' tokens, or let clients subscribe without a token.";
    write(words, `This hub does not allow subscribing without a token, so topics and events are shown only to a token. ${how}`);
    fill(find(document, "#topics-table"), [], String, () => {}, () => {});
    return;
  }
  const { seconds, list } = topics;
  const over = Math.max(1, seconds);
  const time = seconds >= 60 ? `${Math.round(seconds)} s` : `${Math.max(1, Math.round(seconds))} s`;
  write(words, list.length === 0 ? `No update was published here in the last ${time}.` : `Updates published to this hub in the last ${time}, by their first topic.`);
  const most = Math.max(1, ...list.map(({ updates }) => updates));
  fill(
    find(document, "#topics-table"),
    list,
    ({ topic }) => topic,
    (row, { topic }) => {
      const name = document.createElement("span");
      name.className = "topic-name";
      name.textContent = topic;
      name.title = topic;
      const share = document.createElement("meter");
      share.className = "share";
      share.setAttribute("aria-hidden", "true");
      const tag = document.createElement("span");
      tag.className = "tag";
      tag.textContent = "private";
      cell(row, "th").append(name, tag, share);
      cell(row, "td", "number");
      cell(row, "td", "number wide");
      const button = document.createElement("button");
      button.type = "button";
      button.append("Events", spoken(` of ${topic}`));
      button.addEventListener("click", () => onTopic(topic));
      cell(row, "td").append(button);
    },
    (row, one) => {
      const share = row.querySelector("meter");
      if (share) share.value = one.updates / most;
      const tag = row.querySelector(".tag");
      if (tag instanceof HTMLElement) tag.hidden = !one.hasPrivate;
      const [, rate, data] = row.children;
      write(rate, `${one.error > 0 ? "≤ " : ""}${number(one.updates / over)}`);
      write(data, bytes(one.bytes / over));
    },
  );
}

/** @param {Reading} reading */
function showJournal({ journal, time }) {
  const { first, last, oldest } = journal;
  const isEmpty = first > last;
  write(fact("oldest"), isEmpty ? "none: the journal is empty" : oldest === null ? "unknown" : `${span(time - oldest)} ago, ${moment(oldest)}`);
  write(fact("size"), bytes(journal.bytes));
  write(fact("positions"), isEmpty ? `none; the next is ${number(first)}` : `${first.toLocaleString("en")} to ${last.toLocaleString("en")}`);
  write(fact("interruptions"), number(journal.interruptions));
  write(fact("damaged"), number(journal.damaged));
}

/** @param {Reading} reading */
function showCapacity({ counts, limits }) {
  const open = counts.streams.reduce((sum, [, count]) => sum + count, 0);
  write(fact("streams-max"), limits.streams === null ? `${number(open)}, without a limit` : `${number(open)} of ${number(limits.streams)}`);
  write(fact("replays"), number(counts.replays));
  write(fact("feeds"), number(counts.feeds));
  write(fact("request-bytes"), `${bytes(limits.requestBytes)} of ${bytes(limits.requestBytesMax)}`);
  write(fact("selector-bytes"), `${bytes(limits.selectorBytes)} of ${bytes(limits.selectorBytesMax)}`);
}

/**
 * @param {Reading} reading
 * @param {History} history
 */
function showReasons({ counts, presenceDropped, journal }, history) {
  const kinds = /** @type {(keyof typeof KINDS)[]} */ (Object.keys(KINDS));
  const rows = kinds.flatMap((kind) =>
    history.byLabel((of) => of[kind]).map((one) => {
      /** @type {Record<string, string>} */
      const meanings = REASONS[kind];
      return { name: `${KINDS[kind]}: ${meanings[one.label] ?? one.label}`, ...one };
    }),
  );
  const single = (/** @type {string} */ name, /** @type {number | undefined} */ count) => ({ name, label: name, count: count ?? 0, recent: 0 });
  rows.push(single("Silent connection closed for a newer one", counts.connectionsDisplaced));
  rows.push(single("TLS handshake failed", counts.handshakesFailed));
  rows.push(single("Presence event dropped", presenceDropped));
  rows.push(single("Invalid message on NATS", journal.strangers));
  const shown = rows.filter(({ count }) => count > 0).sort((one, other) => other.recent - one.recent || other.count - one.count);
  find(document, "#reasons-words").hidden = shown.length > 0;
  fill(
    find(document, "#reasons-table"),
    shown,
    ({ name }) => name,
    (row, { name }) => {
      cell(row, "th").textContent = name;
      cell(row, "td", "number");
      cell(row, "td", "number");
    },
    (row, { count, recent }) => {
      write(row.children[1], number(recent));
      write(row.children[2], number(count));
    },
  );
}

/** @param {Reading} reading */
function showHubs({ hubs }) {
  find(document, "#hubs").hidden = hubs === null;
  if (hubs === null) return;
  const { own, others } = hubs;
  write(find(document, "#hubs-words"), others.length === 0 ? "This hub hears of no other hub on its journal." : `This hub and ${others.length === 1 ? "one other" : `${others.length} others`} act as one.`);
  const rows = [{ name: `${(own ?? "").slice(0, 12)} (this one)`, heard: "now" }, ...others.map(({ name, heardMs }) => ({ name: name.slice(0, 12), heard: heardMs < 2_000 ? "now" : `${span(heardMs)} ago` }))];
  fill(
    find(document, "#hubs-table"),
    rows,
    ({ name }) => name,
    (row, { name }) => {
      const text = cell(row, "th");
      text.className = "topic-name";
      text.textContent = name;
      cell(row, "td", "number");
    },
    (row, { heard }) => write(row.children[1], heard),
  );
}

/**
 * @param {string} words
 * @param {boolean} isFailure
 */
export const sayFeed = (words, isFailure) => say(find(document, "#feed-words"), words, isFailure);
