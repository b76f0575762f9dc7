//! What the system tells of processes and of itself.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// The least that [`cpu`] tells apart.
pub const TICK: Duration = Duration::from_millis(1_000 / TICKS_PER_SECOND);
/// How many of its ticks the kernel counts in a second, on every Linux that we know. Source: proc(5), `_SC_CLK_TCK`.
const TICKS_PER_SECOND: u64 = 100;

/// CPU time that a process has used so far, its threads and the kernel's work for it together; in steps of [`TICK`].
pub fn cpu(process: u32) -> Result<Duration> {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).context("the process is gone")?;
    ticks(&text).map(|ticks| Duration::from_millis(ticks * 1_000 / TICKS_PER_SECOND)).context("an unknown /proc/…/stat")
}

/// User and system ticks of a line of `/proc/PID/stat`.
fn ticks(stat: &str) -> Option<u64> {
    // The name, in parentheses, may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let user: u64 = fields.nth(11)?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// Memory of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Resident bytes now.
    pub resident: u64,
    /// The most that were ever resident.
    pub peak: u64,
}

/// Memory of a process.
pub fn memory(process: u32) -> Result<Memory> {
    let text = fs::read_to_string(format!("/proc/{process}/status")).context("the process is gone")?;
    let of = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
    };
    let (resident, peak) = of("VmRSS:").zip(of("VmHWM:")).context("an unknown /proc/…/status")?;
    Ok(Memory { resident: resident << 10, peak: peak << 10 })
}

/// How many tasks wanted to run, on average over the last minute.
pub fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().and_then(|load| load.parse().ok()).unwrap_or(f64::NAN)
}

/// The machine in a line: processors and their kind, memory, kernel.
pub fn describe() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpus = read("/proc/cpuinfo");
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map(|(_, model)| model);
    let count = cpus.lines().filter(|line| line.starts_with("processor")).count();
    let memory = read("/proc/meminfo");
    let kib = memory.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or_default();
    let kernel = read("/proc/sys/kernel/osrelease");
    let (model, kernel) = (model.unwrap_or("processors of an unknown kind"), kernel.trim());
    format!("{count} × {model}, {} GB of memory, Linux {kernel}", (kib + (1 << 19)) >> 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_found_behind_a_name_with_anything_in_it() {
        let line = "7 (a) b (c)) S 1 7 7 0 -1 4194560 1 0 0 0 25 17 3 4 20 0 1 0 99 1000 200 18446744073709551615";
        assert_eq!(ticks(line), Some(42));
        assert_eq!(ticks("nonsense"), None);
    }

    #[test]
    fn this_process_has_memory_and_its_peak_is_no_less() {
        let memory = memory(std::process::id()).unwrap();
        assert!(memory.resident > 0 && memory.peak >= memory.resident / 2, "{memory:?}");
        assert!(cpu(std::process::id()).is_ok());
        assert!(cpu(u32::MAX).is_err());
    }
}
