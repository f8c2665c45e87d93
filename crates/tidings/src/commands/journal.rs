//! `tidings journal`: shows, checks, exports, copies and trims the journal on disk.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;
use bytesize::ByteSize;
use serde_json::{Map, Value};
use tidings_hub::{
    DiskJournal, DiskOptions, HubId, JournalFile, Keep, OpenError, Position, Record, Retention,
    RetentionRule, Selectors,
};

use crate::args::{JournalArgs, JournalCommand, TrimArgs, units};
use crate::config::data_dir;
use crate::console;
use crate::outcome::{Ended, Outcome};

/// The minimum time between lines of progress.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(500);

pub(crate) async fn run(args: JournalArgs) -> anyhow::Result<Outcome> {
    let folder = data_dir(args.data_dir.as_deref())?;
    match args.command {
        JournalCommand::Show { json } => show(&folder, json),
        JournalCommand::Check => check(&folder),
        JournalCommand::Export { from, details } => export(&folder, from.as_deref(), details),
        JournalCommand::Backup { to } => backup(&folder, &to),
        JournalCommand::Trim(bounds) => trim(&folder, &bounds).await,
    }
}

fn show(folder: &Path, json: bool) -> anyhow::Result<Outcome> {
    let summary = JournalFile::open(folder)?.summary()?;
    let time = |time: SystemTime| humantime::format_rfc3339_millis(time).to_string();
    let mut out = console::out();
    if json {
        let mut shown = Map::new();
        shown.insert("path".into(), summary.path.display().to_string().into());
        shown.insert("file_bytes".into(), summary.file_bytes.into());
        shown.insert("updates".into(), summary.count.into());
        shown.insert("last".into(), summary.last.to_string().into());
        if let Some([oldest, newest]) = summary.span {
            for (name, (id, when)) in [("oldest", oldest), ("newest", newest)] {
                shown.insert(name.into(), id.to_string().into());
                shown.insert(format!("{name}_time"), time(when).into());
            }
        }
        writeln!(out, "{}", Value::Object(shown))?;
        return Ok(Outcome::Done);
    }
    writeln!(out, "file     {}, {}", summary.path.display(), ByteSize::b(summary.file_bytes))?;
    writeln!(out, "updates  {}", summary.count)?;
    match summary.span {
        Some([(oldest, came), (newest, last_came)]) => {
            writeln!(out, "oldest   {oldest}, {}", time(came))?;
            writeln!(out, "newest   {newest}, {}", time(last_came))?;
        }
        None => writeln!(out, "last     {}", summary.last)?,
    }
    Ok(Outcome::Done)
}

fn check(folder: &Path) -> anyhow::Result<Outcome> {
    let file = JournalFile::open(folder)?;
    let mut progress = Progress::new("checked");
    let problems = file.check(|count| progress.tell(count))?;
    progress.end();
    let mut out = console::out();
    if problems.is_empty() {
        writeln!(out, "no damage found")?;
        return Ok(Outcome::Done);
    }
    for problem in &problems {
        writeln!(out, "{problem}")?;
    }
    anyhow::bail!("the journal is damaged; `tidings journal export` saves the readable updates")
}

fn export(folder: &Path, from: Option<&str>, details: bool) -> anyhow::Result<Outcome> {
    let file = JournalFile::open(folder)?;
    let after = match from {
        None => Position::START,
        Some(from) => place(&file, from)?,
    };
    let mut out = io::BufWriter::new(console::out());
    let mut progress = Progress::new("exported");
    let mut count = 0;
    let exported = file
        .export(after, |record| {
            count += 1;
            progress.tell(count);
            serde_json::to_writer(&mut out, &line(record, details))?;
            out.write_all(b"\n")
        })
        .context("the export failed")?;
    out.flush()?;
    progress.end();
    if exported.damaged > 0 {
        anyhow::bail!(
            "the journal is damaged: updates at {} positions cannot be read and are missing from \
             the export; `tidings journal check` lists them",
            exported.damaged
        );
    }
    Ok(Outcome::Done)
}

/// The position after which an export begins, from an id made by the hub or a time.
fn place(file: &JournalFile, from: &str) -> anyhow::Result<Position> {
    if let Ok(id) = from.parse::<HubId>() {
        return Ok(id.position);
    }
    let time = units::instant(from).map_err(|_| {
        Ended::usage(format!(
            "--from is {from:?}; it must be an id made by the hub, a date such as 2026-01-31, or a \
             time such as 2026-01-31T12:00:00Z"
        ))
    })?;
    Ok(file.before(time)?)
}

/// An update in the format of a publish.
fn line(record: &Record, details: bool) -> Value {
    let update = &record.update;
    let event = update.event();
    let mut line = Map::new();
    let topics: Vec<_> = update.topics().iter().map(|topic| topic.as_str()).collect();
    line.insert("topics".into(), topics.into());
    line.insert("data".into(), event.data().into());
    if event.event_type() != "message" {
        line.insert("type".into(), event.event_type().into());
    }
    if let Some(id) = event.id() {
        line.insert("id".into(), id.as_str().into());
    }
    if let Some(retry) = event.retry() {
        line.insert("retry".into(), u64::try_from(retry.as_millis()).unwrap_or(u64::MAX).into());
    }
    if update.is_private() {
        line.insert("private".into(), true.into());
    }
    if details {
        line.insert("place".into(), record.hub_id().to_string().into());
        let time = humantime::format_rfc3339_nanos(record.time);
        line.insert("time".into(), time.to_string().into());
    }
    Value::Object(line)
}

fn backup(folder: &Path, to: &PathBuf) -> anyhow::Result<Outcome> {
    let file = JournalFile::open(folder)?;
    let written = thread::scope(|scope| {
        // Dropping the sender ends the thread.
        let (_copying, ended) = sync_channel::<()>(0);
        if io::stderr().is_terminal() {
            scope.spawn(move || tell_growth(to, bytes_in(folder), &ended));
        }
        file.back_up(to)
    })?;
    writeln!(console::out(), "{}", written.display())?;
    Ok(Outcome::Done)
}

/// Prints how much of a copy is written, until the channel is closed.
fn tell_growth(folder: &Path, whole: u64, ended: &Receiver<()>) {
    let mut is_told = false;
    while ended.recv_timeout(PROGRESS_INTERVAL) == Err(RecvTimeoutError::Timeout) {
        let (written, whole) = (ByteSize::b(bytes_in(folder)), ByteSize::b(whole));
        is_told = true;
        let _ = write!(io::stderr().lock(), "\r\x1b[K{written} of {whole} copied");
    }
    if is_told {
        let _ = write!(io::stderr().lock(), "\r\x1b[K");
    }
}

/// The bytes of the files in a folder.
fn bytes_in(folder: &Path) -> u64 {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    files.filter_map(|file| Some(file.metadata().ok()?.len())).sum()
}

async fn trim(folder: &Path, bounds: &TrimArgs) -> anyhow::Result<Outcome> {
    // Fails if there is no journal. Opening a `DiskJournal` would create one.
    let before = JournalFile::open(folder)?.summary()?;
    let bounds = Retention::default()
        .count(bounds.count.unwrap_or(u64::MAX))
        .bytes(bounds.bytes.map_or(u64::MAX, |size| size.as_u64()))
        .age(bounds.age.unwrap_or(Duration::MAX));
    let retention = vec![RetentionRule::new(Selectors::all(), Keep::All, bounds)];
    let journal = DiskJournal::open(folder, DiskOptions::default().retention(retention));
    let journal = journal.map_err(|error| match error {
        OpenError::InUse { .. } => anyhow::anyhow!("{error}; stop that hub before you trim"),
        error => error.into(),
    })?;
    let mut progress = Progress::new("left");
    journal.trimmed(|left| progress.tell(left)).await?;
    progress.end();
    drop(journal);
    JournalFile::shrink(folder)?;
    let after = JournalFile::open(folder)?.summary()?;
    writeln!(
        console::out(),
        "kept {} of {} updates; the file has {}",
        after.count,
        before.count,
        ByteSize::b(after.file_bytes)
    )?;
    Ok(Outcome::Done)
}

/// A line of progress on a terminal.
struct Progress {
    what: &'static str,
    told: Option<Instant>,
    is_shown: bool,
}

impl Progress {
    fn new(what: &'static str) -> Self {
        Self { what, told: None, is_shown: io::stderr().is_terminal() }
    }

    fn tell(&mut self, count: u64) {
        if self.is_shown && self.told.is_none_or(|told| told.elapsed() > PROGRESS_INTERVAL) {
            self.told = Some(Instant::now());
            let _ = write!(io::stderr().lock(), "\r{count} updates {}", self.what);
        }
    }

    fn end(&mut self) {
        if self.told.take().is_some() {
            let _ = write!(io::stderr().lock(), "\r\x1b[K");
        }
    }
}
