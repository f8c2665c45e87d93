//! Names that are held for a path, even if the path does not exist.
//!
//! The names are abstract Unix sockets. These end with the process and are in no file system, so
//! nothing is left over. Any local user can bind such a name, so the kernel is asked for the holder
//! of a name that is in use. Only a holder that could run a hub there counts.
//!
//! One name stands for the path below the parent of the journal's folder. It also holds if that
//! parent is moved, or mounted elsewhere. The other name stands for the path below the root of its
//! mount. It also holds if folders above are removed and recreated. Above that root, processes with
//! mounts of their own (containers, `PrivateTmp=`) may have another folder under the same path.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::hash::Hasher as _;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Component, Path, PathBuf};

use siphasher::sip::SipHasher13;
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::unix::UCred;

use super::{NotHeld, make_private};

/// Attempts to bind a name whose holders end one after the other.
const ATTEMPTS: usize = 3;
/// The number of connections from other processes that may wait to be closed.
const BACKLOG: i32 = 128;

/// The bound names, held for this value's lifetime. If there are none, only the locks of the files
/// protect the folder.
#[derive(Debug, Default)]
pub(super) struct HeldNames(Vec<Socket>);

/// Why a name could not be bound.
#[derive(Debug)]
enum Taken {
    /// A process whose user could run a hub there holds the name.
    ByHub(UCred),
    /// A process whose user could not run a hub there holds the name.
    ByStranger(UCred),
    /// A process holds the name and does not identify itself, as hubs do.
    Silent(io::Error),
    /// No process holds the name. A sandbox may forbid such sockets.
    Refused(io::Error),
}

impl fmt::Display for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ByHub(_) => f.write_str("another hub has it"),
            Self::ByStranger(holder) => {
                write!(f, "a process of user {} has it", holder.uid())?;
                holder.pid().map_or(Ok(()), |process| write!(f, " (process {process})"))
            }
            Self::Silent(error) => write!(f, "a process has it that does not answer ({error})"),
            Self::Refused(error) => error.fmt(f),
        }
    }
}

impl HeldNames {
    /// Whether a hub that holds the path would have been noticed.
    pub(super) fn is_certain(&self) -> bool {
        !self.0.is_empty()
    }

    /// Closes the connections of processes that asked for the names' holder, so that the next ones
    /// have room.
    pub(super) fn answer(&self) {
        for socket in &self.0 {
            for _ in 0..BACKLOG {
                if socket.accept().is_err() {
                    break;
                }
            }
        }
    }

    /// Binds the name of `path` in `above`, one of the folders above it.
    fn take(&mut self, path: &Path, above: &Path) -> Result<(), NotHeld> {
        let name = name_in(path, above)?;
        match hold_name(&name, &users_of_hubs(path)) {
            Ok(socket) => self.0.push(socket),
            Err(Taken::ByHub(holder)) => {
                let process = holder.pid().and_then(|process| u32::try_from(process).ok());
                return Err(NotHeld::ByHub { process });
            }
            Err(why @ Taken::Refused(_)) => tracing::debug!(%why, "the journal's path is not held"),
            Err(why) => tracing::warn!(
                %why,
                path = %path.display(),
                "a name that holds the journal's path is taken by no hub; the other locks alone \
                 keep a second hub away"
            ),
        }
        Ok(())
    }
}

/// Holds the names of `folder`, and creates the folder if it is missing. If another hub has a name,
/// nothing is created: that hub's folder may have been moved, and may be moved back.
pub(super) fn hold(folder: &Path) -> Result<HeldNames, NotHeld> {
    let path = resolve(folder)?;
    let mut held = HeldNames::default();
    let mount = root_of_mount(&path);
    if let Some(mount) = mount {
        held.take(&path, mount)?;
    }
    if let Some(parent) = path.parent()
        && Some(parent) != mount
    {
        // No process can hold a name in a new folder.
        make_private(parent)?;
        held.take(&path, parent)?;
    }
    make_private(&path)?;
    Ok(held)
}

/// The path without links, even if its last parts do not exist yet.
fn resolve(path: &Path) -> io::Result<PathBuf> {
    let path = std::path::absolute(path)?;
    let mut there = path.components();
    let mut missing = Vec::new();
    let mut resolved = loop {
        match fs::canonicalize(there.as_path()) {
            Ok(resolved) => break resolved,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                missing.push(there.next_back().ok_or(error)?);
            }
            Err(error) => return Err(error),
        }
    };
    for component in missing.into_iter().rev() {
        match component {
            Component::ParentDir => _ = resolved.pop(),
            other => resolved.push(other),
        }
    }
    Ok(resolved)
}

/// The innermost mount point above `path`, if the system reports it.
fn root_of_mount(path: &Path) -> Option<&Path> {
    let mounts = fs::read("/proc/self/mountinfo").ok()?;
    let roots: Vec<_> = mounts
        .split(|byte| *byte == b'\n')
        .filter_map(|mount| mount.split(|byte| *byte == b' ').nth(4))
        .collect();
    path.ancestors().skip(1).find(|above| roots.contains(&escaped(above).as_slice()))
}

/// The path as the list of mounts writes it.
fn escaped(path: &Path) -> Vec<u8> {
    let mut escaped = Vec::new();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b' ' | b'\t' | b'\n' | b'\\' => escaped.extend(format!("\\{byte:03o}").bytes()),
            _ => escaped.push(*byte),
        }
    }
    escaped
}

fn name_in(path: &Path, above: &Path) -> io::Result<String> {
    let found = fs::metadata(above)?;
    let mut hasher = SipHasher13::new();
    hasher.write_u64(found.dev());
    hasher.write_u64(found.ino());
    hasher.write(path.strip_prefix(above).unwrap_or(path).as_os_str().as_bytes());
    Ok(format!("\0tidings-journal-{:016x}", hasher.finish()))
}

/// This process's user, the superuser, and the owners of the path: these could harm the journal
/// anyway.
fn users_of_hubs(path: &Path) -> Vec<u32> {
    let owner = |path: &Path| fs::metadata(path).ok().map(|found| found.uid());
    // If parents are missing, the owner of the folder in which they will be created.
    let above = path.ancestors().skip(1).find_map(owner);
    let own = own().ok().map(|own| own.uid());
    [Some(0), own, owner(path), above].into_iter().flatten().collect()
}

fn hold_name(name: &str, hubs: &[u32]) -> Result<Socket, Taken> {
    let address = SockAddr::unix(Path::new(OsStr::new(name))).map_err(Taken::Refused)?;
    let mut attempts = 0;
    loop {
        attempts += 1;
        match bind(&address) {
            Ok(socket) => return Ok(socket),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            Err(error) => return Err(Taken::Refused(error)),
        }
        match holder(&address) {
            Ok(holder) if hubs.contains(&holder.uid()) => {
                return Err(Taken::ByHub(holder));
            }
            Ok(holder) => return Err(Taken::ByStranger(holder)),
            // The holder may have ended meanwhile.
            Err(_) if attempts < ATTEMPTS => {}
            Err(error) => return Err(Taken::Silent(error)),
        }
    }
}

fn bind(address: &SockAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(address)?;
    // The kernel identifies the listener to a process that connects.
    socket.listen(BACKLOG)?;
    Ok(socket)
}

/// The listener at `address`. Does not wait: another program might never accept the connection.
fn holder(address: &SockAddr) -> io::Result<UCred> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.connect(address)?;
    credentials(socket.into())
}

/// This process, as other processes see it.
fn own() -> io::Result<UCred> {
    let (one, _other) = UnixStream::pair()?;
    one.set_nonblocking(true)?;
    credentials(one)
}

/// The process at the other end. Only tokio's sockets report it, and they need a runtime.
fn credentials(socket: UnixStream) -> io::Result<UCred> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let found = {
        let _entered = runtime.enter();
        tokio::net::UnixStream::from_std(socket).and_then(|socket| socket.peer_cred())
    };
    // The runtime has no work left, and must not block a thread of another runtime.
    runtime.shutdown_background();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A name of this test's own.
    fn name(of: &str) -> String {
        format!("\0tidings-test-{}-{of}", std::process::id())
    }

    fn address(name: &str) -> SockAddr {
        SockAddr::unix(Path::new(OsStr::new(name))).unwrap()
    }

    fn own_user() -> u32 {
        own().unwrap().uid()
    }

    #[test]
    fn a_name_counts_as_held_only_if_its_holder_could_run_a_hub() {
        let name = name("users");
        let held = hold_name(&name, &[own_user()]).unwrap();
        assert!(matches!(hold_name(&name, &[own_user()]), Err(Taken::ByHub(_))));
        let stranger = own_user() + 1;
        match hold_name(&name, &[stranger]) {
            Err(Taken::ByStranger(holder)) => {
                assert_eq!(holder.uid(), own_user());
                assert_eq!(holder.pid(), i32::try_from(std::process::id()).ok());
            }
            other => panic!("{other:?}"),
        }
        drop(held);
        hold_name(&name, &[own_user()]).unwrap();
    }

    #[test]
    fn a_path_is_resolved_before_it_exists() {
        let root = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(root.path()).unwrap();
        fs::create_dir(root.join("there")).unwrap();
        std::os::unix::fs::symlink("there", root.join("link")).unwrap();
        for (path, resolved) in [
            ("there", "there"),
            ("link/new/j", "there/new/j"),
            ("link/new/../j", "there/j"),
            ("link/../new/./j/", "new/j"),
            ("new/../../link/j", "../link/j"),
        ] {
            assert_eq!(
                resolve(&root.join(path)).unwrap(),
                match resolved.strip_prefix("../") {
                    Some(rest) => root.parent().unwrap().join(rest),
                    None => root.join(resolved),
                }
            );
        }
        fs::write(root.join("file"), "").unwrap();
        assert!(resolve(&root.join("file/j")).is_err());
    }

    #[test]
    fn a_mount_is_found_by_its_path_as_the_system_writes_it() {
        let root = tempfile::tempdir().unwrap();
        let path = fs::canonicalize(root.path()).unwrap().join("a/b");
        let mount = root_of_mount(&path).unwrap();
        assert!(path.starts_with(mount) && path != mount);
        assert_eq!(escaped(Path::new("/a b\\c\td")), b"/a\\040b\\134c\\011d");
    }

    #[test]
    fn a_holder_that_does_not_listen_is_no_hub() {
        let name = name("silent");
        let silent = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        silent.bind(&address(&name)).unwrap();
        assert!(matches!(hold_name(&name, &[own_user()]), Err(Taken::Silent(_))));
    }

    #[test]
    fn a_hub_that_was_asked_often_still_answers() {
        let name = name("often");
        let held = HeldNames(vec![hold_name(&name, &[own_user()]).unwrap()]);
        let ask = || hold_name(&name, &[own_user()]);
        let answered =
            (0..10 * BACKLOG).take_while(|_| matches!(ask(), Err(Taken::ByHub(_)))).count();
        // It does not wait for room in the backlog.
        assert!((100..1000).contains(&answered), "{answered}");
        assert!(matches!(ask(), Err(Taken::Silent(_))));
        held.answer();
        held.answer();
        assert!(matches!(ask(), Err(Taken::ByHub(_))));
    }
}
