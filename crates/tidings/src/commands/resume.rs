//! The place in a stream, kept in a file that is always whole.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, BufRead as _};
use std::path::PathBuf;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::output::End;
use crate::outcome::Ended;

/// Events that may wait for the reader's word. Beyond it, nothing more is read.
const UNACKNOWLEDGED_MAX: usize = 10_000;

/// What is kept.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Place {
    url: String,
    last_event_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    output: Option<End>,
}

/// Keeps the place.
pub(crate) struct Resume {
    path: PathBuf,
    place: Place,
    acknowledged: Option<Acknowledged>,
}

/// Whose word decides what is kept.
struct Acknowledged {
    words: mpsc::Receiver<String>,
    /// The ids in force with the events that were written and not acknowledged yet.
    waiting: VecDeque<String>,
}

impl Resume {
    /// Reads the place, if there is one.
    ///
    /// # Errors
    /// If the file is another stream's, or none of ours.
    pub(crate) fn open(path: PathBuf, url: &str) -> anyhow::Result<Self> {
        let new = Place { url: url.to_owned(), last_event_id: String::new(), output: None };
        let place = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .with_context(|| format!("{} is no resume file", path.display()))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => new,
            Err(error) => {
                return Err(error).with_context(|| format!("{} can't be read", path.display()));
            }
        };
        if place.url != url {
            return Err(Ended::usage(format!(
                "{} is the place in another stream, {}",
                path.display(),
                place.url
            )));
        }
        Ok(Self { path, place, acknowledged: None })
    }

    /// Keeps from now on only what lines on standard input say.
    ///
    /// # Errors
    /// If there is no thread for it.
    pub(crate) fn wait_for_words(&mut self) -> io::Result<()> {
        let (sender, words) = mpsc::channel(1);
        // It ends with the process: nothing else ends a read of standard input.
        std::thread::Builder::new().name("acknowledgements".into()).spawn(move || {
            for line in io::stdin().lock().lines().map_while(Result::ok) {
                if sender.blocking_send(line).is_err() {
                    break;
                }
            }
        })?;
        self.acknowledged = Some(Acknowledged { words, waiting: VecDeque::new() });
        Ok(())
    }

    pub(crate) fn last_event_id(&self) -> &str {
        &self.place.last_event_id
    }

    pub(crate) fn output(&self) -> Option<End> {
        self.place.output
    }

    /// Whether so many events wait for the reader's word that no more are to be written.
    pub(crate) fn is_full(&self) -> bool {
        let waiting = self.acknowledged.as_ref().map_or(0, |one| one.waiting.len());
        waiting >= UNACKNOWLEDGED_MAX
    }

    /// Whether something that was written waits for the reader's word.
    pub(crate) fn waits(&self) -> bool {
        self.acknowledged.as_ref().is_some_and(|one| !one.waiting.is_empty())
    }

    /// The event under this id has been written.
    ///
    /// # Errors
    /// If the place can't be kept.
    pub(crate) fn written(&mut self, id: &str, output: Option<End>) -> anyhow::Result<()> {
        match &mut self.acknowledged {
            None => self.keep(id, output),
            Some(acknowledged) => {
                acknowledged.waiting.push_back(id.to_owned());
                Ok(())
            }
        }
    }

    /// The stream goes on after this id though no event was written: it was not asked for, or
    /// there was none.
    ///
    /// # Errors
    /// If the place can't be kept.
    pub(crate) fn passed(&mut self, id: &str, output: Option<End>) -> anyhow::Result<()> {
        match &self.acknowledged {
            None => self.keep(id, output),
            Some(_) => Ok(()),
        }
    }

    /// The reader's next word. Never, if none is waited for.
    ///
    /// # Cancel safety
    /// No word is lost if the future is dropped.
    pub(crate) async fn word(&mut self) -> Option<String> {
        match &mut self.acknowledged {
            Some(acknowledged) => acknowledged.words.recv().await,
            None => std::future::pending().await,
        }
    }

    /// The reader is done with the event under this id and all before it, or, if the word is
    /// empty, with the next one.
    ///
    /// # Errors
    /// If no such event was written, or the place can't be kept.
    pub(crate) fn acknowledge(&mut self, word: &str) -> anyhow::Result<()> {
        let Some(Acknowledged { waiting, .. }) = &mut self.acknowledged else { return Ok(()) };
        let done = match word {
            "" if !waiting.is_empty() => 1,
            id => {
                let place = waiting.iter().rposition(|other| other == id);
                1 + place.with_context(|| format!("{id:?} was acknowledged and never written"))?
            }
        };
        let id = waiting.drain(..done).next_back();
        match id {
            Some(id) => self.keep(&id, None),
            None => Ok(()),
        }
    }

    /// The file is replaced in one step, so that a kill leaves the old place or the new one.
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
            .with_context(|| format!("the place can't be kept in {}", self.path.display()))
    }
}
