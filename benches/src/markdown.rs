//! The results as tables.

use crate::{args::StoreKind, goals, line::Line, report::Report, stats::Spread};

/// The whole report.
pub fn document(report: &Report) -> String {
    let machine = listed(&report.machine);
    let stores = report.stores.iter().map(|store| {
        let rows: Vec<String> = store.lines.iter().map(|line| row(store.kind, line)).collect();
        format!("### {}\n\n{}\n\n{HEAD}\n{}\n", store.kind.name(), listed(&store.database), rows.join("\n"))
    });
    format!("{machine}\n\n{}", stores.collect::<Vec<_>>().join("\n"))
}

const HEAD: &str = "| workload | rate per s | p50 | p99 | p99.9 | CPU µs/op | memory MiB | floor per s | ratio | goal |\n\
                    |---|---|---|---|---|---|---|---|---|---|";

fn listed(values: &[(String, String)]) -> String {
    let texts: Vec<String> = values.iter().map(|(name, value)| format!("{name} {value}")).collect();
    format!("{}.", texts.join(" · "))
}

/// One row of a store's table.
pub fn row(kind: StoreKind, line: &Line) -> String {
    let floor = line.floor.as_ref().map(|floor| format!("{}: {}", floor.name, rates(floor.rate)));
    let cells = [
        format!("{} ({})", line.key(), line.unit),
        line.rate.map(rates).unwrap_or_default(),
        line.p50_us.map(time).unwrap_or_default(),
        line.p99_us.map(time).unwrap_or_default(),
        line.p999_us.map(time).unwrap_or_default(),
        line.cpu_us.map(|us| format!("{us:.1}")).unwrap_or_default(),
        line.memory_kib.map(|kib| format!("{:.1}", kib as f64 / 1_024.0)).unwrap_or_default(),
        floor.unwrap_or_default(),
        line.ratio.map(ratios).unwrap_or_default(),
        goals::goal_text(kind, line),
    ];
    format!("| {} |", cells.join(" | "))
}

fn rates(spread: Spread) -> String {
    format!("{} ({}..{})", grouped(spread.median), grouped(spread.min), grouped(spread.max))
}

fn ratios(spread: Spread) -> String {
    format!("**{:.2}** ({:.2}..{:.2})", spread.median, spread.min, spread.max)
}

/// A time given in microseconds.
fn time(us: f64) -> String {
    match us {
        ..1_000.0 => format!("{us:.0} µs"),
        ..1_000_000.0 => format!("{:.2} ms", us / 1_000.0),
        _ => format!("{:.2} s", us / 1_000_000.0),
    }
}

/// A whole number with its digits in groups of three.
fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!(grouped(1_234_567.4), "1 234 567");
        assert_eq!(grouped(999.0), "999");
        assert_eq!(time(12.3), "12 µs");
        assert_eq!(time(1_230.0), "1.23 ms");
        assert_eq!(time(2_500_000.0), "2.50 s");
    }
}
