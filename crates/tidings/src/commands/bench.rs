//! `tidings bench`: measures delivery time and losses of a hub with many subscribers.

mod away;

use std::cell::RefCell;
use std::io::IsTerminal as _;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use hdrhistogram::Histogram;
use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Client, Response, StatusCode, Url};
use tidings_sse::decode::{Decoder, Item, Limits};
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, LocalSet};

use super::saved;
use crate::args::BenchArgs;
use crate::console::{put, say};
use crate::outcome::{Ended, Outcome};
use away::Away;

/// The maximum of streams that are being opened at the same time.
const OPENING: usize = 64;
/// The maximum of publishes that wait for an acknowledgement at the same time.
const PUBLISHING: usize = 16;
/// After this time without an event, missing events count as lost.
const SILENCE: Duration = Duration::from_secs(5);
/// The same with `--reconnect`: a restart of the hub takes longer.
const SILENCE_AWAY: Duration = Duration::from_secs(60);
/// The reconnection time of browsers, until the server sends another.
const RETRY: Duration = Duration::from_secs(3);
/// The time after which a failed publish is repeated.
const REPEAT: Duration = Duration::from_millis(200);
/// How often the progress is printed.
const PROGRESS: Duration = Duration::from_secs(1);

pub(crate) async fn run(args: BenchArgs) -> anyhow::Result<Outcome> {
    LocalSet::new().run_until(measure(args)).await
}

/// The results so far.
struct Seen {
    /// Microseconds from publish to decoded event.
    latency: Histogram<u64>,
    delivered: u64,
    duplicates: u64,
    disordered: u64,
    ended: u64,
    /// Reads that contained events.
    reads: u64,
    away: Away,
    last: Instant,
    /// The rank of each update in the order of first delivery.
    places: Vec<Option<u32>>,
    next_place: u32,
}

impl Seen {
    /// The rank of an update. All streams have the same order, so the first delivery decides it;
    /// the order of publishing does not, because several publishes are under way at once.
    fn place(&mut self, number: u32) -> Option<u32> {
        let place = self.places.get_mut(number as usize)?;
        if place.is_none() {
            *place = Some(self.next_place);
            self.next_place += 1;
        }
        *place
    }
}

async fn measure(args: BenchArgs) -> anyhow::Result<Outcome> {
    let (url, headers) = saved::named(&args.url, &args.request)?;
    // Unique, so that two runs on one hub do not count each other's updates.
    let topic = format!("https://tidings.test/bench/{:016x}", fastrand::u64(..));
    let seen = Rc::new(RefCell::new(Seen {
        latency: Histogram::new_with_bounds(1, 3_600_000_000, 3)?,
        delivered: 0,
        duplicates: 0,
        disordered: 0,
        ended: 0,
        reads: 0,
        away: Away::default(),
        last: Instant::now(),
        places: vec![None; args.updates as usize],
        next_place: 0,
    }));
    let begun = Instant::now();
    let mut streams = open(&args, &url, &headers, &topic, &seen).await?;
    let opening = begun.elapsed();
    say!("opened {} streams in {:.2} s", args.subscribers, opening.as_secs_f64());

    let expected = u64::from(args.subscribers) * u64::from(args.updates);
    let begun = Instant::now();
    let publisher = client(&args, &url)?;
    let publishing = publish(&args, &publisher, &url, &headers, &topic);
    let mut publishing = std::pin::pin!(publishing);
    let mut is_published = false;
    let mut progress = tokio::time::interval(PROGRESS);
    progress.tick().await;
    seen.borrow_mut().last = Instant::now();
    let silence = if args.reconnect { SILENCE_AWAY } else { SILENCE };
    loop {
        tokio::select! {
            published = &mut publishing, if !is_published => {
                published?;
                is_published = true;
                seen.borrow_mut().last = Instant::now();
            }
            _ = progress.tick() => {
                let seen = seen.borrow();
                if std::io::stderr().is_terminal() {
                    let part = 100.0 * seen.delivered as f64 / expected as f64;
                    let away = match seen.away.count() {
                        0 => String::new(),
                        count => format!(", {count} streams disconnected"),
                    };
                    say!("{} deliveries, {part:.1} %{away}", seen.delivered);
                }
                if is_published && (seen.delivered >= expected || seen.last.elapsed() > silence) {
                    break;
                }
            }
            Some(ended) = streams.join_next() => ended.context("a stream's task failed")??,
        }
        if is_published && seen.borrow().delivered >= expected {
            break;
        }
    }
    streams.abort_all();
    let seen = seen.borrow();
    let busy = seen.last.duration_since(begun);
    report(&args, &seen, expected, opening, busy)
}

fn client(args: &BenchArgs, url: &Url) -> anyhow::Result<Client> {
    let builder = Client::builder().connect_timeout(args.request.common.timeout).no_proxy();
    #[cfg(feature = "tls")]
    let builder = builder.danger_accept_invalid_certs(args.insecure);
    let builder = if args.http2 {
        let builder = builder.http2_keep_alive_interval(Duration::from_secs(20));
        // Over TLS, client and server negotiate HTTP/2.
        if url.scheme() == "https" { builder } else { builder.http2_prior_knowledge() }
    } else {
        builder.http1_only()
    };
    builder.build().context("cannot set up the HTTP client")
}

/// One of the streams.
struct Stream {
    client: Client,
    url: Url,
    headers: HeaderMap,
    timeout: Duration,
    reconnect: bool,
    updates: u32,
    seen: Rc<RefCell<Seen>>,
    /// The id to continue after, and the time to wait, once the stream has ended.
    last_event_id: Option<HeaderValue>,
    retry: Duration,
}

/// Opens the streams, and starts a task to read each.
async fn open(
    args: &BenchArgs,
    url: &Url,
    headers: &HeaderMap,
    topic: &str,
    seen: &Rc<RefCell<Seen>>,
) -> anyhow::Result<JoinSet<anyhow::Result<()>>> {
    let mut subscription = url.clone();
    subscription.query_pairs_mut().append_pair("topic", topic);
    if args.reconnect {
        // With notices a stream has an id from its start, so it can resume even if the hub stops
        // before the first event.
        subscription.query_pairs_mut().append_pair("tidings", "notices");
    }
    let per_client = if args.http2 { args.streams_per_connection } else { u32::MAX };
    let mut opening = JoinSet::new();
    let mut streams = JoinSet::new();
    let mut shared = None;
    for number in 0..args.subscribers {
        let client = match &shared {
            Some(client) if number % per_client != 0 => Client::clone(client),
            _ => shared.insert(client(args, url)?).clone(),
        };
        let stream = Stream {
            client,
            url: subscription.clone(),
            headers: headers.clone(),
            timeout: args.request.common.timeout,
            reconnect: args.reconnect,
            updates: args.updates,
            seen: Rc::clone(seen),
            last_event_id: None,
            retry: RETRY,
        };
        if opening.len() >= OPENING
            && let Some(opened) = opening.join_next().await
        {
            let (stream, response): (Stream, Response) = opened??;
            streams.spawn_local(stream.read(response));
        }
        opening.spawn_local(async move {
            let response = stream.ask().await?;
            anyhow::Ok((stream, response))
        });
    }
    while let Some(opened) = opening.join_next().await {
        let (stream, response) = opened??;
        streams.spawn_local(stream.read(response));
    }
    Ok(streams)
}

/// The response, if its status is 200.
async fn accepted(response: Response) -> anyhow::Result<Response> {
    let status = response.status();
    if status == StatusCode::OK {
        return Ok(response);
    }
    let words = response.text().await.unwrap_or_default();
    Err(Ended::refused(format!("the hub refused the request ({status}): {}", words.trim())))
}

impl Stream {
    async fn ask(&self) -> anyhow::Result<Response> {
        let mut request = self.client.get(self.url.clone()).headers(self.headers.clone());
        if let Some(id) = &self.last_event_id {
            request = request.header("last-event-id", id);
        }
        let response = tokio::time::timeout(self.timeout, request.send()).await;
        let seconds = self.timeout.as_secs_f64();
        let response = response
            .with_context(|| format!("a stream did not open within {seconds} s (--timeout)"))?;
        accepted(response?).await
    }

    /// Reads to the end of the stream. With `--reconnect`, reconnects and continues.
    async fn read(mut self, mut response: Response) -> anyhow::Result<()> {
        let mut had = Had::new(self.updates);
        loop {
            self.read_one(response, &mut had).await;
            self.seen.borrow_mut().ended += 1;
            if !self.reconnect {
                return Ok(());
            }
            self.seen.borrow_mut().away.left(Instant::now());
            response = loop {
                tokio::time::sleep(self.retry).await;
                match self.ask().await {
                    Ok(response) => break response,
                    // Whatever the error, try again after the same time, as browsers do when the
                    // connection is refused.
                    Err(_) => self.seen.borrow_mut().away.refused(),
                }
            };
            self.seen.borrow_mut().away.back(Instant::now());
        }
    }

    async fn read_one(&mut self, mut response: Response, had: &mut Had) {
        let mut decoder = Decoder::new(Limits::default());
        while let Ok(Some(chunk)) = response.chunk().await {
            let now = SystemTime::now();
            decoder.push(&chunk);
            let mut seen = self.seen.borrow_mut();
            let before = seen.delivered;
            while let Some(item) = decoder.next() {
                let event = match item {
                    Item::Event(event) => event,
                    Item::Retry(time) => {
                        self.retry = time;
                        continue;
                    }
                    _ => continue,
                };
                if self.reconnect {
                    self.last_event_id = HeaderValue::from_str(event.last_event_id()).ok();
                    self.retry = event.retry().unwrap_or(self.retry);
                }
                let Some((number, sent)) = stamp(event.data()) else { continue };
                match had.take(number) {
                    Some(true) => {}
                    Some(false) => {
                        seen.duplicates += 1;
                        continue;
                    }
                    None => continue,
                }
                let place = seen.place(number);
                if place < had.newest {
                    seen.disordered += 1;
                }
                had.newest = had.newest.max(place);
                let latency = now.duration_since(sent).unwrap_or_default();
                seen.latency.saturating_record(latency.as_micros().max(1) as u64);
                seen.delivered += 1;
                seen.last = Instant::now();
            }
            seen.reads += u64::from(seen.delivered > before);
        }
    }
}

/// The updates that a stream has received.
struct Had {
    numbers: Vec<u64>,
    /// The highest rank.
    newest: Option<u32>,
}

impl Had {
    fn new(updates: u32) -> Self {
        Self { numbers: vec![0; updates.div_ceil(64) as usize], newest: None }
    }

    /// Whether this number is new; `None` if it is not one of this run.
    fn take(&mut self, number: u32) -> Option<bool> {
        let (word, bit) = (number as usize / 64, 1 << (number % 64));
        let word = self.numbers.get_mut(word)?;
        let is_new = *word & bit == 0;
        *word |= bit;
        Some(is_new)
    }
}

/// An update's data: its number, the time of sending, and padding.
fn data(number: u32, size: u32) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut data = format!("{number:08x}{:016x}", now.as_micros() as u64);
    data.extend(std::iter::repeat_n('.', (size as usize).saturating_sub(data.len())));
    data
}

fn stamp(data: &str) -> Option<(u32, SystemTime)> {
    let number = u32::from_str_radix(data.get(..8)?, 16).ok()?;
    let sent = u64::from_str_radix(data.get(8..24)?, 16).ok()?;
    Some((number, UNIX_EPOCH + Duration::from_micros(sent)))
}

async fn publish(
    args: &BenchArgs,
    client: &Client,
    url: &Url,
    headers: &HeaderMap,
    topic: &str,
) -> anyhow::Result<()> {
    let turns = std::sync::Arc::new(Semaphore::new(if args.rate == 0 { PUBLISHING } else { 1024 }));
    let mut answers = JoinSet::new();
    let begun = tokio::time::Instant::now();
    for number in 0..args.updates {
        if let Some(interval) = Duration::from_secs(1).checked_div(args.rate) {
            tokio::time::sleep_until(begun + interval * number).await;
        }
        let turn = std::sync::Arc::clone(&turns).acquire_owned().await?;
        let form = [("topic", topic.to_owned()), ("data", data(number, args.size))];
        let mut request = client.post(url.clone()).headers(headers.clone()).form(&form);
        if args.reconnect {
            let key = format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..));
            request = request.header("idempotency-key", key);
        }
        let reconnect = args.reconnect;
        answers.spawn_local(async move {
            let answer = taken(request, reconnect).await;
            drop(turn);
            answer
        });
        while let Some(answer) = answers.try_join_next() {
            answer??;
        }
    }
    while let Some(answer) = answers.join_next().await {
        answer??;
    }
    Ok(())
}

/// Publishes an update. With `repeat`, repeats it under the same key until it is acknowledged.
async fn taken(request: reqwest::RequestBuilder, repeat: bool) -> anyhow::Result<()> {
    loop {
        let again = request.try_clone().filter(|_| repeat);
        let Some(again) = again else {
            return accepted(request.send().await?).await.map(drop);
        };
        match again.send().await {
            Ok(answer) if !answer.status().is_server_error() => {
                return accepted(answer).await.map(drop);
            }
            // The hub is draining, or not up yet.
            _ => tokio::time::sleep(REPEAT).await,
        }
    }
}

fn report(
    args: &BenchArgs,
    seen: &Seen,
    expected: u64,
    opening: Duration,
    busy: Duration,
) -> anyhow::Result<Outcome> {
    let lost = expected.saturating_sub(seen.delivered);
    let per_second = seen.delivered as f64 / busy.as_secs_f64().max(1e-6);
    let milliseconds = |quantile| seen.latency.value_at_quantile(quantile) as f64 / 1000.0;
    let quantiles = [0.5, 0.9, 0.99, 0.999, 1.0].map(milliseconds);
    let per_read = seen.delivered as f64 / seen.reads.max(1) as f64;
    if args.json {
        let mut result = serde_json::json!({
            "subscribers": args.subscribers,
            "updates": args.updates,
            "bytes": args.size,
            "opened_in_seconds": opening.as_secs_f64(),
            "delivered_in_seconds": busy.as_secs_f64(),
            "deliveries": seen.delivered,
            "deliveries_per_second": per_second,
            "events_per_read": per_read,
            "lost": lost,
            "duplicates": seen.duplicates,
            "out_of_order": seen.disordered,
            "streams_ended": seen.ended,
            "latency_milliseconds": {
                "p50": quantiles[0], "p90": quantiles[1], "p99": quantiles[2],
                "p99.9": quantiles[3], "max": quantiles[4],
            },
        });
        if args.reconnect {
            result["reconnecting"] = seen.away.json();
        }
        put!("{result}");
    } else {
        let [p50, p90, p99, p999, max] = quantiles;
        put!("deliveries    {} of {expected}, {per_second:.0} per second", seen.delivered);
        put!(
            "latency       p50 {p50:.2} ms, p90 {p90:.2} ms, p99 {p99:.2} ms, p99.9 {p999:.2} ms, max {max:.2} ms"
        );
        put!("coalescing    {per_read:.1} events per read");
        put!("lost          {lost}");
        put!("repeated      {}", seen.duplicates);
        put!("out of order  {}", seen.disordered);
        put!("ended         {} streams ended before the end of the run", seen.ended);
        if args.reconnect {
            put!("reconnected   {}", seen.away);
        }
    }
    Ok(if lost > 0 { Outcome::EventsLost } else { Outcome::Done })
}
