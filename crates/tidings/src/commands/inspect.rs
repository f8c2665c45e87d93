//! `tidings inspect`: explains an event stream line by line, and warns about lines that some
//! clients misread.

mod conformance;
mod explain;
pub(crate) mod head;

use std::io::{self, Read as _, Write as _};
use std::time::Duration;

use anyhow::Context as _;
use reqwest::header::{HeaderValue, USER_AGENT};
use tidings_client::EventSource;
use tokio::sync::mpsc;

use self::explain::{Explainer, ReadTo};
use super::stop::stopped;
use super::{headers, hub, tail};
use crate::args::InspectArgs;
use crate::console::{self, put};
use crate::outcome::{Ended, Outcome};

/// The maximum of bytes per read.
const PIECE_BYTES: usize = 64 << 10;

pub(crate) async fn run(args: InspectArgs) -> anyhow::Result<Outcome> {
    if args.conformance {
        let mut cases = Vec::new();
        open(&args.source)?.read_to_end(&mut cases).context("cannot read the cases")?;
        conformance::run(&cases, &mut console::out())?;
        return Ok(Outcome::Done);
    }
    let is_url = args.source.contains("://");
    let mut explainer = Explainer::new(args.count);
    let mut stream =
        if is_url { ask(&args, &mut explainer).await? } else { Pieces::Read(read(&args.source)?) };
    let explained = async {
        while !explainer.has_enough() {
            let Some(piece) = stream.next().await? else { break };
            explainer.push(&piece);
            let mut out = console::out();
            out.write_all(explainer.take_text().as_bytes())?;
            out.flush()?;
        }
        anyhow::Ok(())
    };
    let limit = args.time.unwrap_or(Duration::from_secs(u64::from(u32::MAX)));
    let (outcome, read_to) = tokio::select! {
        done = explained => (done.map(|()| Outcome::Done), ReadTo::End),
        () = console::reader_gone() => return Ok(Outcome::Unread),
        () = tokio::time::sleep(limit) => (Ok(Outcome::Done), ReadTo::Pause),
        outcome = stopped() => (Ok(outcome), ReadTo::Pause),
    };
    if outcome.is_err() && is_url && !console::reader_is_gone() {
        put!("the connection was lost");
    }
    explainer.finish(read_to);
    console::out().write_all(explainer.take_text().as_bytes())?;
    outcome
}

/// The source of a stream.
enum Pieces {
    Answer(Box<tidings_client::Answer>),
    Read(mpsc::Receiver<io::Result<Vec<u8>>>),
}

impl Pieces {
    async fn next(&mut self) -> anyhow::Result<Option<Vec<u8>>> {
        Ok(match self {
            Self::Answer(answer) => answer.chunk().await?.map(Vec::from),
            Self::Read(pieces) => {
                pieces.recv().await.transpose().context("cannot read the input")?
            }
        })
    }
}

/// Sends the request that `tail` would send, and explains the head of the response.
async fn ask(args: &InspectArgs, explainer: &mut Explainer) -> anyhow::Result<Pieces> {
    let url = tail::url(&args.source)?;
    let mut headers = headers::read(&args.request)?;
    headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(super::AGENT));
    let source = EventSource::get(&url).headers(headers).answer_within(args.request.timeout);
    let answer = match source.answer().await {
        Ok(answer) => answer,
        Err(error) => return Err(hub::unanswered(error, "no response".to_owned())),
    };
    let lines = head::explain(answer.status, &answer.head.headers, answer.coding().as_deref());
    for line in &lines {
        put!("{line}");
    }
    // The first line is the status, the others are warnings.
    explainer.count_warnings(lines.len().saturating_sub(1) as u64);
    if !answer.status.is_success() {
        return Err(Ended::refused(format!("the server refused the request ({})", answer.status)));
    }
    if let Some(coding) = answer.coding() {
        anyhow::bail!(
            "the response is compressed with {coding}, although the request asked for none \
             (Accept-Encoding: identity); `inspect` cannot decompress it"
        );
    }
    Ok(Pieces::Answer(Box::new(answer)))
}

/// Reads a file on a separate thread. The thread ends with the process, because a read of standard
/// input cannot be cancelled.
fn read(source: &str) -> anyhow::Result<mpsc::Receiver<io::Result<Vec<u8>>>> {
    let mut input = open(source)?;
    let (sender, pieces) = mpsc::channel(1);
    let read = move || {
        loop {
            let mut piece = vec![0; PIECE_BYTES];
            let read = input.read(&mut piece).map(|count| {
                piece.truncate(count);
                piece
            });
            let is_end = read.as_ref().is_ok_and(Vec::is_empty);
            if is_end || sender.blocking_send(read).is_err() {
                break;
            }
        }
    };
    std::thread::Builder::new().name("input".into()).spawn(read)?;
    Ok(pieces)
}

fn open(source: &str) -> anyhow::Result<Box<dyn io::Read + Send>> {
    if source == "-" {
        return Ok(Box::new(io::stdin()));
    }
    match std::fs::File::open(source) {
        Ok(file) => Ok(Box::new(file)),
        Err(error) => Err(error).with_context(|| format!("cannot open {source}")),
    }
}
