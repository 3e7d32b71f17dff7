//! Reads the amount of available memory.

use std::fs;

/// Half of the memory that is available now, in bytes; the other half is for the model's weights and
/// everything else. `None` on systems other than Linux.
pub(crate) fn half_of_available() -> Option<u64> {
    Some(available_bytes()? / 2)
}

/// Three quarters of the memory that is available now, in bytes; the rest is for the requests. `None` on systems other
/// than Linux.
pub(crate) fn three_quarters_of_available() -> Option<u64> {
    Some(available_bytes()? / 4 * 3)
}

fn available_bytes() -> Option<u64> {
    let machine = available(&fs::read_to_string("/proc/meminfo").ok()?)?;
    let container = remaining(
        fs::read_to_string("/sys/fs/cgroup/memory.max").ok().as_deref(),
        fs::read_to_string("/sys/fs/cgroup/memory.current").ok().as_deref(),
    );
    Some(container.map_or(machine, |container| container.min(machine)))
}

/// `MemAvailable` of `/proc/meminfo`.
fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib * 1_024)
}

/// The memory in bytes that a control group (version 2) may still allocate; none if it has no limit.
fn remaining(max: Option<&str>, current: Option<&str>) -> Option<u64> {
    let bytes = |text: Option<&str>| text?.trim().parse::<u64>().ok();
    Some(bytes(max)?.saturating_sub(bytes(current)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_the_files_of_linux() {
        let meminfo =
            "MemTotal:       24000000 kB\nMemFree:         1000000 kB\nMemAvailable:   20000000 kB\n";
        assert_eq!(available(meminfo), Some(20_000_000 * 1_024));
        assert_eq!(available("MemTotal: 1 kB\n"), None);
        assert_eq!(remaining(Some("1000\n"), Some("400\n")), Some(600));
        assert_eq!(remaining(Some("max\n"), Some("400\n")), None);
        assert_eq!(remaining(None, None), None);
    }
}
