//! What each workload is to reach: ratios to its floor on this class of machine, and delays.

use crate::{args::StoreKind, line::Line};

/// The goal of a line, as the last column shows it; empty where none was set.
pub fn goal_text(kind: StoreKind, line: &Line) -> String {
    if let Some(ratio) = goal_ratio(kind, &line.key()) {
        return format!("≥ {ratio}");
    }
    match (kind, line.key().as_str()) {
        (_, "W6 same process, to the handler") => "p50 ≤ 0.3 ms".to_owned(),
        (_, "W6 another process, to the handler") => "p50 ≤ 1 ms, p99 ≤ 5 ms".to_owned(),
        (StoreKind::Sqlite, "W5 view") => "≥ 100 000 per s".to_owned(),
        _ => String::new(),
    }
}

/// The least ratio that is good enough.
pub fn goal_ratio(kind: StoreKind, key: &str) -> Option<f64> {
    if key.starts_with("W8") {
        return Some(0.8);
    }
    let goal = match (kind, key) {
        (_, "W1") => 0.8,
        (StoreKind::Sqlite, "W2 32 tasks") => 3.0,
        (StoreKind::Sqlite, "W3") => 2.5,
        (StoreKind::Sqlite, "W4") => 1.0,
        (StoreKind::Sqlite, _) => return None,
        (_, "W2 32 tasks") => 1.5,
        (_, "W2 256 tasks") => 0.35,
        (_, "W3") => 0.5,
        (_, "W4" | "W5 no-op" | "W9") => 0.8,
        (_, "W5 view" | "W5 SQL by page") => 1.0,
        (_, "W5 SQL by event") => 0.9,
        (_, "W7 8 processes × 4 tasks") => 0.7,
        _ => return None,
    };
    Some(goal)
}
