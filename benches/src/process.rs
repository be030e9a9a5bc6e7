//! What this process has used, as Linux tells it in `/proc`.

use std::{fs, io, time::Duration};

/// Clock ticks a second in `/proc`: the same on every Linux that Rust supports.
const TICKS_PER_SECOND: u64 = 100;

/// Processor time used so far by this process, and by its children that have ended and were waited for.
pub fn cpu_time() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    cpu_time_of(&stat).unwrap_or_default()
}

/// Reads `/proc/PID/stat`. The name of the program comes second, in parentheses, and may hold spaces.
fn cpu_time_of(stat: &str) -> Option<Duration> {
    let (_, after_name) = stat.rsplit_once(')')?;
    // The state is field 3; utime, stime, cutime and cstime are fields 14 to 17.
    let fields = after_name.split_whitespace().skip(11).take(4);
    let ticks: u64 = fields.map(|field| field.parse::<u64>().ok()).sum::<Option<u64>>()?;
    Some(Duration::from_millis(ticks * 1_000 / TICKS_PER_SECOND))
}

/// Memory that is resident now, in KiB.
pub fn resident_kib() -> u64 {
    status_kib("VmRSS:")
}

/// The most memory that was resident at once since [`reset_peak`], in KiB.
pub fn peak_kib() -> u64 {
    status_kib("VmHWM:")
}

/// Makes the memory that is resident now the peak.
///
/// # Errors
/// Where the system does not allow it.
pub fn reset_peak() -> io::Result<()> {
    fs::write("/proc/self/clear_refs", "5")
}

fn status_kib(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_found_behind_a_name_with_spaces_and_parentheses() {
        let stat = "7 (a b) c) S 1 2 3 4 5 6 7 8 9 10 100 20 3 2 20 0 4 0";
        assert_eq!(cpu_time_of(stat), Some(Duration::from_millis(1_250)));
        assert_eq!(cpu_time_of("nonsense"), None);
    }

    #[test]
    fn the_peak_is_at_least_what_is_resident() {
        assert!(resident_kib() > 0);
        assert!(peak_kib() >= resident_kib() / 2);
    }
}
