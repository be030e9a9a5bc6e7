//! The status of all consumers, as a table for people.

use std::fmt;

use crate::status::ConsumerStatus;

const HEADS: [&str; 6] = ["consumer", "kind", "position", "lag", "rate/s", "state"];
/// Which columns contain numbers and are right-aligned.
const IS_NUMBER: [bool; 6] = [false, false, true, true, true, false];

/// The status of all consumers, as a table with one line for each.
///
/// ```no_run
/// # async fn example(runner: es_projections::Runner) -> Result<(), es_projections::RunnerError> {
/// use es_projections::StatusTable;
/// print!("{}", StatusTable::new(&runner.status().await?));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct StatusTable<'a>(&'a [ConsumerStatus]);

impl<'a> StatusTable<'a> {
    /// Returns a table of these statuses.
    pub fn new(statuses: &'a [ConsumerStatus]) -> Self {
        Self(statuses)
    }
}

impl fmt::Display for StatusTable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows = vec![HEADS.map(str::to_owned)];
        rows.extend(self.0.iter().map(|status| {
            let ConsumerStatus { name, kind, position, lag, rate_per_second, state, .. } = status;
            let rate = format!("{rate_per_second:.0}");
            [name.to_string(), kind.to_string(), position.to_string(), lag.to_string(), rate, state.to_string()]
        }));
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
        let widths: [usize; 6] = std::array::from_fn(width);
        for row in &rows {
            for (column, text) in row.iter().enumerate() {
                let width = widths[column];
                match (column + 1 == row.len(), IS_NUMBER[column]) {
                    (true, _) => writeln!(f, "{text}")?,
                    (false, true) => write!(f, "{text:>width$}  ")?,
                    (false, false) => write!(f, "{text:<width$}  ")?,
                }
            }
        }
        Ok(())
    }
}
