//! Where and when it was measured, for the report.

use std::fs;

use time::OffsetDateTime;

/// Name and value of what the figures depend on.
pub fn description() -> Vec<(String, String)> {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let lines = [
        ("date", OffsetDateTime::now_utc().date().to_string()),
        ("processor", field(&info, "model name").unwrap_or("unknown").to_owned()),
        ("cores", info.lines().filter(|line| line.starts_with("processor")).count().to_string()),
        ("memory", field(&memory, "MemTotal").unwrap_or("unknown").to_owned()),
        ("Linux", kernel.trim().to_owned()),
        ("load before", load.split_whitespace().next().unwrap_or("unknown").to_owned()),
    ];
    lines.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The value of the first line `name : value`.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim_start().strip_prefix(':')?.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_its_name() {
        assert_eq!(field("processor\t: 0\nmodel name\t: Fast 3000\n", "model name"), Some("Fast 3000"));
        assert_eq!(field("MemTotal:  16 kB\n", "MemTotal"), Some("16 kB"));
        assert_eq!(field("", "MemTotal"), None);
    }
}
