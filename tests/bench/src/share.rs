//! The share of a processor that Lambda gives a handler: in proportion to its memory. During a start, it gives a whole
//! processor.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// The memory with which Lambda gives a whole processor; with less, a proportional share
/// (<https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html>).
const MEMORY_OF_A_PROCESSOR_MB: f64 = 1769.0;
/// A process that has used its share waits for the rest of the period, which here is 10 ms.
const PERIOD_US: f64 = 10_000.0;

/// The share of a processor for a function with this memory.
pub(crate) fn of_memory(megabytes: f64) -> f64 {
    megabytes / MEMORY_OF_A_PROCESSOR_MB
}

/// A cgroup that limits its processes to a share of a processor.
pub(crate) struct Share {
    group: PathBuf,
}

impl Share {
    /// The share for a function with this memory. `None` if the machine does not allow such a group.
    pub(crate) fn of_memory(megabytes: f64) -> Option<Self> {
        let quota = (PERIOD_US * of_memory(megabytes)).round();
        // The groups that limit processors, in cgroup v1 and v2.
        ["/sys/fs/cgroup/cpu", "/sys/fs/cgroup"]
            .into_iter()
            .find_map(|root| Self::within(Path::new(root), quota))
    }

    fn within(root: &Path, quota: f64) -> Option<Self> {
        let group = root.join(format!("bench-{}-{quota}", std::process::id()));
        std::fs::create_dir(&group).ok()?;
        // From here on, dropping the share removes the group.
        let share = Self { group };
        let write = |name: &str, text: String| {
            let file = share.group.join(name);
            file.exists() && std::fs::write(file, text).is_ok()
        };
        let is_limited = write("cpu.max", format!("{quota} {PERIOD_US}"))
            || (write("cpu.cfs_period_us", PERIOD_US.to_string())
                && write("cpu.cfs_quota_us", quota.to_string()));
        is_limited.then_some(share)
    }

    /// Limits a process to this share.
    pub(crate) fn limit(&self, process: u32) -> std::io::Result<()> {
        std::fs::write(self.group.join("cgroup.procs"), process.to_string())
    }
}

/// The time that a process would wait for its share, on top of its work. With a share, the wait is already part of the
/// measured time. Without one, it is computed.
pub(crate) fn waits(share: Option<&Share>, megabytes: f64, cpu: Duration) -> Duration {
    match share {
        Some(_) => Duration::ZERO,
        None => cpu.mul_f64(1.0 / of_memory(megabytes) - 1.0),
    }
}

/// How the share was applied, for the notes of tables.
pub(crate) fn how(is_given: bool) -> &'static str {
    if is_given {
        "in a cgroup with that share"
    } else {
        "computed, since this machine lets us limit no process"
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        // A group cannot be removed while it holds a process. An empty group costs nothing.
        let _ = std::fs::remove_dir(&self.group);
    }
}

/// The processor time of all threads of a process.
pub(crate) fn processor_time(process: u32) -> std::io::Result<Duration> {
    let mut nanoseconds = 0;
    for thread in std::fs::read_dir(format!("/proc/{process}/task"))? {
        // The first of three figures (Linux, `Documentation/scheduler/sched-stats.rst`).
        // A thread may end meanwhile.
        let Ok(statistics) = std::fs::read_to_string(thread?.path().join("schedstat")) else {
            continue;
        };
        let on_processor = statistics.split_whitespace().next();
        nanoseconds += on_processor
            .and_then(|figure| figure.parse::<u64>().ok())
            .unwrap_or_default();
    }
    Ok(Duration::from_nanos(nanoseconds))
}
