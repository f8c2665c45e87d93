//! `tidings inspect`: what an event stream says, line by line, and what clients will stumble
//! over.

mod conformance;
mod explain;
mod head;

use std::io::{self, Read as _, Write as _};
use std::time::Duration;

use anyhow::Context as _;
use reqwest::header::{ACCEPT, CACHE_CONTROL, HeaderValue, USER_AGENT};

use self::explain::Explainer;
use super::{headers, tail};
use crate::args::{Global, InspectArgs};
use crate::outcome::{Ended, Outcome};

/// Bytes that are read at once.
const PIECE_BYTES: usize = 64 << 10;

pub(crate) async fn run(args: InspectArgs, global: &Global) -> anyhow::Result<Outcome> {
    if args.conformance {
        let mut cases = Vec::new();
        open(&args.source)?.read_to_end(&mut cases).context("the cases can't be read")?;
        conformance::run(&cases, &mut io::stdout().lock())?;
        return Ok(Outcome::Done);
    }
    let mut explainer = Explainer::new(args.count);
    if args.source.contains("://") {
        return inspect_url(&args, global, explainer).await;
    }
    let mut input = open(&args.source)?;
    let mut piece = vec![0; PIECE_BYTES];
    let mut out = io::stdout().lock();
    loop {
        let count =
            input.read(&mut piece).with_context(|| format!("{} can't be read", args.source))?;
        if count == 0 {
            break;
        }
        explainer.push(&piece[..count]);
        out.write_all(explainer.take_text().as_bytes()).context("standard output is closed")?;
        if explainer.has_enough() {
            break;
        }
    }
    explainer.finish();
    out.write_all(explainer.take_text().as_bytes()).context("standard output is closed")?;
    Ok(Outcome::Done)
}

fn open(source: &str) -> anyhow::Result<Box<dyn io::Read>> {
    if source == "-" {
        return Ok(Box::new(io::stdin().lock()));
    }
    match std::fs::File::open(source) {
        Ok(file) => Ok(Box::new(file)),
        Err(error) => Err(error).with_context(|| format!("{source} can't be opened")),
    }
}

async fn inspect_url(
    args: &InspectArgs,
    global: &Global,
    mut explainer: Explainer,
) -> anyhow::Result<Outcome> {
    let url = tail::url(&args.source)?;
    let mut headers = headers::read(global)?;
    headers.entry(ACCEPT).or_insert(HeaderValue::from_static("text/event-stream"));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache"));
    headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(super::AGENT));
    let client = reqwest::Client::builder().connect_timeout(global.timeout).build()?;
    let sent = client.get(url).headers(headers).send();
    let mut response = tokio::time::timeout(global.timeout, sent)
        .await
        .context("the server did not answer in time")?
        .context("no server answers")?;
    for line in head::explain(response.status(), response.headers()) {
        println!("{line}");
    }
    if !response.status().is_success() {
        return Err(Ended::refused(format!("the server refused ({})", response.status())));
    }
    let read = async {
        while !explainer.has_enough() {
            let Some(chunk) = response.chunk().await? else { break };
            explainer.push(&chunk);
            print!("{}", explainer.take_text());
            let _ = io::stdout().flush();
        }
        anyhow::Ok(())
    };
    let limit = args.time.unwrap_or(Duration::from_secs(u64::from(u32::MAX)));
    let outcome = tokio::select! {
        done = read => done.map(|()| Outcome::Done),
        () = tokio::time::sleep(limit) => Ok(Outcome::Done),
        _ = tokio::signal::ctrl_c() => Ok(Outcome::Interrupted),
    };
    if outcome.is_err() {
        println!("the connection broke");
    }
    explainer.finish();
    print!("{}", explainer.take_text());
    outcome
}
