//! The resume file of `tidings tail`: the position in a stream, replaced atomically.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, BufRead as _};
use std::path::PathBuf;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::output::End;
use crate::outcome::Ended;

/// The maximum of events that wait for an acknowledgement. At this number `tail` reads no more.
const UNACKNOWLEDGED_MAX: usize = 10_000;

/// The content of the file.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Place {
    url: String,
    last_event_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    output: Option<End>,
}

/// The resume file, and the position in it.
pub(crate) struct Resume {
    path: PathBuf,
    place: Place,
    acknowledged: Option<Acknowledged>,
}

/// Acknowledgements of the reader.
struct Acknowledged {
    lines: mpsc::Receiver<String>,
    /// The last event IDs of the events that were written and not yet acknowledged.
    waiting: VecDeque<String>,
}

impl Resume {
    /// Reads the file, if it exists.
    ///
    /// # Errors
    /// If the file belongs to another stream, or is not a resume file.
    pub(crate) fn open(path: PathBuf, url: &str) -> anyhow::Result<Self> {
        let new = Place { url: url.to_owned(), last_event_id: String::new(), output: None };
        let place = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .with_context(|| format!("{} is not a resume file", path.display()))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => new,
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
        };
        if place.url != url {
            return Err(Ended::usage(format!(
                "{} holds the position in another stream, {}; use another --resume-file",
                path.display(),
                place.url
            )));
        }
        Ok(Self { path, place, acknowledged: None })
    }

    /// From now on, stores only positions that are acknowledged by lines on standard input.
    ///
    /// # Errors
    /// If the thread that reads standard input cannot be started.
    pub(crate) fn read_acknowledgements(&mut self) -> io::Result<()> {
        let (sender, lines) = mpsc::channel(1);
        // The thread ends with the process, because a read of standard input cannot be cancelled.
        std::thread::Builder::new().name("acknowledgements".into()).spawn(move || {
            for line in io::stdin().lock().lines().map_while(Result::ok) {
                if sender.blocking_send(line).is_err() {
                    break;
                }
            }
        })?;
        self.acknowledged = Some(Acknowledged { lines, waiting: VecDeque::new() });
        Ok(())
    }

    pub(crate) fn last_event_id(&self) -> &str {
        &self.place.last_event_id
    }

    pub(crate) fn output(&self) -> Option<End> {
        self.place.output
    }

    /// Whether the maximum of events waits for an acknowledgement, so that no more are written.
    pub(crate) fn is_full(&self) -> bool {
        let waiting = self.acknowledged.as_ref().map_or(0, |one| one.waiting.len());
        waiting >= UNACKNOWLEDGED_MAX
    }

    /// Whether a written event waits for an acknowledgement.
    pub(crate) fn waits(&self) -> bool {
        self.acknowledged.as_ref().is_some_and(|one| !one.waiting.is_empty())
    }

    /// An event with this last event ID was written.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(crate) fn written(&mut self, id: &str, output: Option<End>) -> anyhow::Result<()> {
        match &mut self.acknowledged {
            None => self.keep(id, output),
            Some(acknowledged) => {
                acknowledged.waiting.push_back(id.to_owned());
                Ok(())
            }
        }
    }

    /// The stream has this last event ID although no event was written: the event was filtered out,
    /// or there was none.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(crate) fn passed(&mut self, id: &str, output: Option<End>) -> anyhow::Result<()> {
        match &self.acknowledged {
            None => self.keep(id, output),
            Some(_) => Ok(()),
        }
    }

    /// The reader's next acknowledgement; `None` if the reader closed standard input. Waits forever
    /// if acknowledgements are not used.
    ///
    /// # Cancel safety
    /// No acknowledgement is lost if the future is dropped.
    pub(crate) async fn acknowledgement(&mut self) -> Option<String> {
        match &mut self.acknowledged {
            Some(acknowledged) => acknowledged.lines.recv().await,
            None => std::future::pending().await,
        }
    }

    /// Stores the position of the event with this id, which acknowledges all events before it too.
    /// An empty line acknowledges the oldest waiting event.
    ///
    /// # Errors
    /// If no such event waits, or the file cannot be written.
    pub(crate) fn acknowledge(&mut self, line: &str) -> anyhow::Result<()> {
        let Some(Acknowledged { waiting, .. }) = &mut self.acknowledged else { return Ok(()) };
        let done = match line {
            "" if !waiting.is_empty() => 1,
            id => {
                let index = waiting.iter().rposition(|other| other == id);
                1 + index.with_context(|| {
                    format!("standard input acknowledges {id:?}, but no event with this id waits")
                })?
            }
        };
        let id = waiting.drain(..done).next_back();
        match id {
            Some(id) => self.keep(&id, None),
            None => Ok(()),
        }
    }

    /// Replaces the file atomically, so that a kill leaves either the old position or the new one.
    fn keep(&mut self, id: &str, output: Option<End>) -> anyhow::Result<()> {
        if self.place.last_event_id == id && self.place.output == output {
            return Ok(());
        }
        self.place.last_event_id = id.to_owned();
        self.place.output = output;
        let mut beside = self.path.clone().into_os_string();
        beside.push(".new");
        let text = serde_json::to_string(&self.place)?;
        fs::write(&beside, text + "\n")
            .and_then(|()| fs::rename(&beside, &self.path))
            .with_context(|| format!("cannot store the position in {}", self.path.display()))
    }
}
