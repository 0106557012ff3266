//! What Linux tells of a process.

use std::time::Duration;

use anyhow::Context as _;

/// Linux counts processor time for user space in hundredths of a second on every architecture that it runs on today.
const TICKS_PER_SECOND: u64 = 100;

/// User and system time that a process has used.
pub fn cpu_time(pid: u32) -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).context("failed to read the process's times")?;
    parse_stat(&stat).context("failed to parse the process's times")
}

fn parse_stat(stat: &str) -> Option<Duration> {
    // The name, in parentheses, may hold anything.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(Duration::from_millis((user + system) * 1000 / TICKS_PER_SECOND))
}

/// Memory of a process in MiB: resident now, and the most it ever was.
pub fn memory(pid: u32) -> anyhow::Result<(f64, f64)> {
    let status =
        std::fs::read_to_string(format!("/proc/{pid}/status")).context("failed to read the process's memory")?;
    let of = |name: &str| parse_status(&status, name).with_context(|| format!("failed to find {name} of the process"));
    Ok((of("VmRSS")?, of("VmHWM")?))
}

fn parse_status(status: &str, name: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let kib: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_past_a_name_with_spaces() {
        let stat = "7 (a (b) c) S 1 7 7 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 3 0 100 0 0";
        assert_eq!(parse_stat(stat), Some(Duration::from_secs(2)));
        assert_eq!(parse_stat("nonsense"), None);
    }

    #[test]
    fn memory_is_read_in_mebibytes() {
        assert_eq!(parse_status("VmHWM:\t  2048 kB\nVmRSS:\t  1024 kB\n", "VmRSS"), Some(1.0));
        assert_eq!(parse_status("", "VmRSS"), None);
    }
}
