//! The memory limit of this process's control group, which Linux reports in files.

use std::fs;
use std::path::{Path, PathBuf};

/// The lowest memory limit of this process's control group and its ancestors, of version 2 or 1,
/// below `root`. `None` if no limit is below the machine's memory.
pub(super) fn limit(root: &Path) -> Option<u64> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let limits = groups.lines().filter_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        let path = path.trim_start_matches('/');
        let (mounts, file): (&[&str], _) = match controllers {
            "" => (&["sys/fs/cgroup", "sys/fs/cgroup/unified"], "memory.max"),
            _ if controllers.split(',').any(|one| one == "memory") => {
                (&["sys/fs/cgroup/memory"], "memory.limit_in_bytes")
            }
            _ => return None,
        };
        mounts.iter().filter_map(|mount| tightest(&root.join(mount), path, file)).min()
    });
    let limit = limits.min()?;
    let machine = machine(root).unwrap_or(u64::MAX);
    (limit < machine).then_some(limit)
}

/// The lowest limit of a group and its ancestors, up to the mount. In a container the path may be
/// relative to the host; then the mount itself is the group.
fn tightest(mount: &Path, path: &str, file: &str) -> Option<u64> {
    let mut folder: PathBuf = mount.join(path);
    let mut lowest = None;
    while folder.starts_with(mount) {
        // `max` means no limit.
        let text = fs::read_to_string(folder.join(file)).unwrap_or_default();
        let here: Option<u64> = text.trim().parse().ok();
        lowest = lowest.into_iter().chain(here).min();
        if !folder.pop() {
            break;
        }
    }
    lowest
}

/// The machine's memory.
fn machine(root: &Path) -> Option<u64> {
    let text = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A system with these files.
    fn check(name: &str, files: &[(&str, &str)], expected: Option<u64>) {
        let root = std::env::temp_dir().join(format!("tidings-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        for (path, text) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let found = limit(&root);
        let _ = fs::remove_dir_all(&root);
        assert_eq!(found, expected, "{name}");
    }

    #[test]
    fn the_lowest_limit_of_a_group_and_its_ancestors_counts() {
        let machine = ("proc/meminfo", "MemTotal:       4000000 kB\nMemFree: 1 kB\n");
        let group = ("proc/self/cgroup", "0::/system.slice/tidings.service\n");
        check("no groups", &[machine], None);
        let own = "sys/fs/cgroup/system.slice/tidings.service/memory.max";
        check("own", &[machine, group, (own, "536870912\n")], Some(512 << 20));
        check("none", &[machine, group, (own, "max\n")], None);
        let slice = ("sys/fs/cgroup/system.slice/memory.max", "268435456\n");
        check("slice", &[machine, group, (own, "536870912\n"), slice], Some(256 << 20));
        check("above the machine", &[machine, group, (own, "5000000000\n")], None);
        let container = ("proc/self/cgroup", "0::/../../outside\n");
        let mount = ("sys/fs/cgroup/memory.max", "134217728\n");
        check("container", &[machine, container, mount], Some(128 << 20));
    }

    #[test]
    fn version_1_has_other_file_names() {
        let group = ("proc/self/cgroup", "4:cpu,cpuacct:/x\n3:memory:/a/b\n0::/\n");
        let limit = "sys/fs/cgroup/memory/a/b/memory.limit_in_bytes";
        check("v1", &[group, (limit, "104857600\n")], Some(100 << 20));
        check("v1-none", &[group, (limit, "9223372036854771712\n")], Some(9223372036854771712));
        let machine = ("proc/meminfo", "MemTotal:       4000000 kB\n");
        check("v1-unlimited", &[machine, group, (limit, "9223372036854771712\n")], None);
    }
}
