//! `tidings hubs`: URLs and tokens of hubs, saved under names for `--hub @NAME`.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use reqwest::Url;
use reqwest::header::HeaderMap;
use serde::{Deserialize, Serialize};
use tidings_client::hide_login;

use super::{headers, hub};
use crate::args::{HubArgs, HubRequestArgs, HubsArgs, HubsCommand};
use crate::console::put;
use crate::outcome::{Ended, Outcome};

/// The maximum of bytes of the file; a larger one is an error.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// The maximum of characters of a name.
const NAME_MAX: usize = 64;

/// A saved hub.
#[derive(Deserialize, Serialize)]
struct SavedHub {
    url: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token: Option<String>,
}

type SavedHubs = BTreeMap<String, SavedHub>;

pub(crate) fn run(args: HubsArgs) -> anyhow::Result<Outcome> {
    let path = path()?;
    let mut hubs = read(&path)?;
    match args.command {
        HubsCommand::Save { name, url, token } => {
            let name = name.strip_prefix('@').unwrap_or(&name).to_owned();
            check_name(&name)?;
            // An error now is better than one at each use.
            hub::url(&url)?;
            let shown = hide_login(&url).to_string();
            hubs.insert(name.clone(), SavedHub { url, token });
            write(&path, &hubs)?;
            put!("@{name}  {shown}");
        }
        HubsCommand::List => {
            for (name, hub) in &hubs {
                let token = if hub.token.is_some() { ", with a token" } else { "" };
                put!("@{name}  {}{token}", hide_login(&hub.url));
            }
        }
        HubsCommand::Remove { name } => {
            let name = name.strip_prefix('@').unwrap_or(&name);
            if hubs.remove(name).is_none() {
                return Err(unknown(name, &hubs));
            }
            write(&path, &hubs)?;
        }
    }
    Ok(Outcome::Done)
}

/// The protocol's URL of the hub of `--hub`, and the headers of requests to it.
///
/// # Errors
/// See [`named`].
pub(crate) fn target(args: &HubArgs) -> anyhow::Result<(Url, HeaderMap)> {
    named(&args.hub, &args.request)
}

/// The protocol's URL of a hub, given by its URL or as @NAME, and the headers of requests to it. The
/// token of a saved hub is sent to that hub only, and only --token takes precedence over it.
///
/// # Errors
/// If no hub is saved under the name, or an option is invalid.
pub(crate) fn named(text: &str, request: &HubRequestArgs) -> anyhow::Result<(Url, HeaderMap)> {
    let Some(saved) = find(text)? else {
        return Ok((hub::url(text)?, headers::read_with_token(request)?));
    };
    let token = request.token.or_saved(saved.token.as_deref());
    Ok((hub::url(&saved.url)?, headers::with_token(&request.common, token)?))
}

/// The URL of a hub, given as one or as @NAME.
///
/// # Errors
/// If no hub is saved under the name, or the URL is invalid.
pub(crate) fn url(text: &str) -> anyhow::Result<Url> {
    match find(text)? {
        Some(saved) => hub::parse(&saved.url, "URL of a hub"),
        None => hub::parse(text, "URL of a hub"),
    }
}

/// The saved hub, if the text is @NAME.
fn find(text: &str) -> anyhow::Result<Option<SavedHub>> {
    let Some(name) = text.strip_prefix('@') else { return Ok(None) };
    let mut hubs = read(&path()?)?;
    match hubs.remove(name) {
        Some(saved) => Ok(Some(saved)),
        None => Err(unknown(name, &hubs)),
    }
}

fn unknown(name: &str, hubs: &SavedHubs) -> anyhow::Error {
    let known = match hubs.len() {
        0 => "none is saved".to_owned(),
        _ => {
            let names: Vec<_> = hubs.keys().map(|name| format!("@{name}")).collect();
            format!("the saved ones are {}", names.join(", "))
        }
    };
    Ended::usage(format!(
        "no hub is saved as @{name}; {known}. `tidings hubs save {name} URL` saves one"
    ))
}

fn check_name(name: &str) -> anyhow::Result<()> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if (1..=NAME_MAX).contains(&name.len()) && name.chars().all(is_allowed) {
        return Ok(());
    }
    Err(Ended::usage(format!(
        "{name:?} is not a name for a hub; use letters, digits, - and _, at most {NAME_MAX}"
    )))
}

/// The file, in the folder for the configuration of programs.
fn path() -> anyhow::Result<PathBuf> {
    let variable =
        |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = variable("XDG_CONFIG_HOME")
        .or_else(|| variable("HOME").map(|home| home.join(".config")))
        .ok_or_else(|| {
            Ended::usage("there is no folder for saved hubs, because HOME is not set")
        })?;
    Ok(folder.join("tidings").join("hubs.json"))
}

fn read(path: &Path) -> anyhow::Result<SavedHubs> {
    let shown = path.display();
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(SavedHubs::new()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {shown}")),
    };
    let mut text = String::new();
    file.take(FILE_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .with_context(|| format!("cannot read {shown}"))?;
    if text.len() as u64 > FILE_BYTES_MAX {
        anyhow::bail!("{shown} has more than {}", bytesize::ByteSize::b(FILE_BYTES_MAX));
    }
    serde_json::from_str(&text).with_context(|| format!("{shown} is not a list of saved hubs"))
}

/// Replaces the file atomically. It holds tokens, so only its owner can read it.
fn write(path: &Path, hubs: &SavedHubs) -> anyhow::Result<()> {
    let shown = path.display();
    let folder = path.parent().context("the file has no folder")?;
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let beside = path.with_extension(format!("{}.new", std::process::id()));
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let text = serde_json::to_string_pretty(hubs)?;
    let written = options
        .open(&beside)
        .and_then(|mut file| writeln!(file, "{text}").and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&beside, path));
    written.map_err(|error| {
        // The error to report is that of the write.
        let _ = fs::remove_file(&beside);
        anyhow::Error::new(error).context(format!("cannot write {shown}"))
    })
}
