//! How much memory is left: the minimum over the machine, the process's own limits and its control groups. Known on
//! Linux only; elsewhere nothing is refused in advance.

use std::fs::read_to_string;
use std::path::{Path, PathBuf};

/// Memory that is left under a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Left {
    pub bytes: usize,
    /// Whose limit it is, for people.
    pub limit: &'static str,
}

/// The smallest amount left under any known limit.
pub(super) fn least() -> Option<Left> {
    let read = |path: &str| read_to_string(path).unwrap_or_default();
    let (limits, status) = (read("/proc/self/limits"), read("/proc/self/status"));
    let machine = machine(&read("/proc/meminfo")).map(|bytes| Left { bytes, limit: "the machine's free memory" });
    let process = [
        ("Max address space", "VmSize:", "the limit of the address space (ulimit -v)"),
        ("Max data size", "VmData:", "the limit of the data segment (ulimit -d)"),
    ];
    let process = process.into_iter().filter_map(|(limit, used, words)| {
        let bytes = soft_limit(&limits, limit)?.saturating_sub(kilobytes(&status, used)?);
        Some(Left { bytes, limit: words })
    });
    let group = group(&read("/proc/self/cgroup"), Path::new("/sys/fs/cgroup"))
        .map(|bytes| Left { bytes, limit: "the control group's memory limit" });
    process.chain(machine).chain(group).min_by_key(|left| left.bytes)
}

/// Bytes of a line `Name:   123 kB`.
fn kilobytes(text: &str, name: &str) -> Option<usize> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse::<usize>().ok()?.checked_mul(1024)
}

/// Memory that no program uses: free memory, caches, and free swap.
fn machine(meminfo: &str) -> Option<usize> {
    Some(kilobytes(meminfo, "MemAvailable:")? + kilobytes(meminfo, "SwapFree:").unwrap_or(0))
}

/// The soft limit of a line of `/proc/self/limits`; `None` if there is none.
fn soft_limit(limits: &str, name: &str) -> Option<usize> {
    limits.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

/// What is left in the process's control groups and their ancestors, version 1 or 2, mounted at `root`. File caches
/// count as free.
fn group(groups: &str, root: &Path) -> Option<usize> {
    let number = |path: PathBuf| read_to_string(path).ok()?.trim().parse::<usize>().ok();
    let mut least = None;
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(place)) = (fields.next(), fields.next(), fields.next()) else { continue };
        let (root, limit, used) = match controllers {
            "" => (root.to_path_buf(), "memory.max", "memory.current"),
            "memory" => (root.join("memory"), "memory.limit_in_bytes", "memory.usage_in_bytes"),
            _ => continue,
        };
        // A process in its own namespace may see a path that is not mounted. Its groups then end at the root.
        for place in Path::new(place.trim_start_matches('/')).ancestors() {
            let folder = root.join(place);
            let (Some(limit), Some(used)) = (number(folder.join(limit)), number(folder.join(used))) else { continue };
            let stat = read_to_string(folder.join("memory.stat")).unwrap_or_default();
            let cache = |name: &str| {
                let line = stat.lines().find_map(|line| line.strip_prefix(name));
                line.and_then(|rest| rest.trim().parse::<usize>().ok()).unwrap_or(0)
            };
            let cached = cache("inactive_file ") + cache("active_file ");
            let left = limit.saturating_sub(used.saturating_sub(cached));
            least = Some(least.map_or(left, |least: usize| least.min(left)));
        }
    }
    least
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_says_is_read() {
        let meminfo = "MemTotal:  8000 kB\nMemAvailable:    3000 kB\nSwapFree:   50 kB\n";
        assert_eq!(machine(meminfo), Some(3050 * 1024));
        assert_eq!(machine("MemTotal: 8000 kB\n"), None);
        let limits = "Limit  Soft Limit  Hard Limit  Units\nMax address space    1024000   unlimited   bytes\n\
                      Max data size   unlimited  unlimited  bytes\n";
        assert_eq!(soft_limit(limits, "Max address space"), Some(1_024_000));
        assert_eq!(soft_limit(limits, "Max data size"), None);
        #[cfg(target_os = "linux")]
        assert!(least().is_some_and(|left| left.bytes > 0), "{:?}", least());
    }

    #[test]
    fn the_tightest_control_group_counts_and_caches_are_free() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        for (path, text) in [
            ("line/memory.max", "1000\n"),
            ("line/memory.current", "700\n"),
            ("line/memory.stat", "anon 400\ninactive_file 200\nactive_file 100\n"),
            ("line/camera/memory.max", "max\n"),
            ("line/camera/memory.current", "500\n"),
            ("memory/old/memory.limit_in_bytes", "900\n"),
            ("memory/old/memory.usage_in_bytes", "1200\n"),
        ] {
            write(path, text);
        }
        assert_eq!(group("0::/line/camera\n", folder.path()), Some(600));
        assert_eq!(group("4:memory:/old\n3:cpuset:/\n0::/\n", folder.path()), Some(0));
        assert_eq!(group("0::/elsewhere\n", folder.path()), None);
    }
}
