//! Creates Unix sockets with their mode and owner, replaces stale ones of earlier hubs, and removes
//! them at the end.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, lchown};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::config::SocketOptions;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 4096;
/// How long a start waits for another hub that is creating a socket in the same folder.
const LOCK_TIME: Duration = Duration::from_secs(1);

/// The file of a socket. Dropping it removes the file, unless it has been replaced meanwhile.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

/// Creates a socket and listens on it.
pub(super) fn bind(
    path: &Path,
    options: SocketOptions,
) -> anyhow::Result<(UnixListener, SocketFile)> {
    listen(path, options).with_context(|| format!("cannot listen on unix:{}", path.display()))
}

fn listen(path: &Path, options: SocketOptions) -> anyhow::Result<(UnixListener, SocketFile)> {
    let address = SockAddr::unix(path).with_context(|| {
        let bytes = path.as_os_str().len();
        format!("the path has {bytes} bytes, but the system allows about 100 for a socket")
    })?;
    let _lock = lock(path)?;
    remove_stale(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&address).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => anyhow::Error::new(error).context(
            "its folder does not exist; create it, for example with RuntimeDirectory= in systemd",
        ),
        _ => error.into(),
    })?;
    let file = SocketFile::of(path)?;
    // Before `listen`, so that no client connects under the wrong mode or owner.
    if options.owner.or(options.group).is_some() {
        lchown(path, options.owner, options.group).context(
            "cannot change its owner or group: that needs root, or a group that the hub's user \
             belongs to",
        )?;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(options.mode))
        .context("cannot change its mode")?;
    socket.listen(BACKLOG)?;
    Ok((socket.into(), file))
}

/// Locks the socket's folder while this hub checks the path and binds its socket, so that no other
/// hub does so at the same time. `None` if the folder cannot be opened.
fn lock(path: &Path) -> anyhow::Result<Option<File>> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let Ok(folder) = File::open(folder.unwrap_or(Path::new("."))) else { return Ok(None) };
    let until = Instant::now() + LOCK_TIME;
    loop {
        match folder.try_lock() {
            Ok(()) => return Ok(Some(folder)),
            Err(TryLockError::WouldBlock) if Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(TryLockError::WouldBlock) => bail!("another program holds a lock on its folder"),
            // A file system without locks.
            Err(TryLockError::Error(_)) => return Ok(None),
        }
    }
}

/// Removes a stale socket, one on which no program listens. Any other file is an error.
fn remove_stale(path: &Path) -> anyhow::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    if !found.file_type().is_socket() {
        bail!("a file that is not a socket exists at this path; remove it, or use another path");
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // A program whose backlog is full must not make this wait.
    socket.set_nonblocking(true)?;
    match socket.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).context("cannot remove a stale socket")
        }
        // It was removed meanwhile.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            bail!("a socket of another user exists at this path; remove it, or use another path")
        }
        _ => bail!("another program is listening there; stop it, or use another path"),
    }
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), identity: identity(path)? })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|now| now == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Identifies a file, so that a later file of the same name is not taken for it.
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}
