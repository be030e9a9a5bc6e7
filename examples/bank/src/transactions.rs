//! A file of bank transactions: semicolon-separated, one transaction a line, a header first.
//!
//! The columns that are used: `trans_id` (unique), `account_id`, `date` (YYMMDD), `type` (`PRIJEM` is a credit, `VYDAJ` and
//! `VYBER` are debits), `operation`, `amount` (two decimals).

use std::{
    collections::BTreeSet,
    fs::File,
    path::{Path, PathBuf},
};

use serde::Serialize;
use time::{Date, Month, OffsetDateTime, Time};

use crate::{
    account::{Direction, ImportedTransaction},
    money::{Money, NotMoney},
};

/// One line of the file.
#[derive(Debug, Clone, Serialize)]
pub struct Transaction {
    pub id: String,
    pub account: String,
    pub date: Date,
    pub direction: Direction,
    pub amount: Money,
    pub operation: String,
}

impl Transaction {
    /// The beginning of its day: the file has no time of day.
    pub fn occurred_at(&self) -> OffsetDateTime {
        self.date.with_time(Time::MIDNIGHT).assume_utc()
    }

    pub fn to_command(&self) -> ImportedTransaction {
        ImportedTransaction {
            owner: format!("client of account {}", self.account),
            direction: self.direction,
            amount: self.amount,
            purpose: Some(self.operation.clone()).filter(|operation| !operation.is_empty()),
        }
    }
}

/// Why a file cannot be read, and where.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("cannot read {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("the file has no column {column:?}: the first line must name the columns {}", COLUMNS.join(", "))]
    MissingColumn { column: &'static str },
    #[error("line {line}: {problem}")]
    BadLine { line: u64, problem: LineProblem },
}

/// What is wrong with a line.
#[derive(Debug, thiserror::Error)]
pub enum LineProblem {
    #[error("it is cut off or has too many fields: {found} fields where the header has {expected}")]
    FieldCount { found: u64, expected: u64 },
    #[error("it is not UTF-8 text, or cannot be read")]
    NotText,
    #[error("the {column} is empty")]
    Empty { column: &'static str },
    #[error("the date {0:?} is no day in the form YYMMDD")]
    Date(String),
    #[error("the type {0:?} is unknown: PRIJEM, VYDAJ and VYBER are known")]
    Type(String),
    #[error("the amount {0}")]
    Amount(NotMoney),
    #[error("the amount {0} is negative: the type says which way the money went")]
    NegativeAmount(Money),
}

const COLUMNS: [&str; 6] = ["trans_id", "account_id", "date", "type", "operation", "amount"];

/// The transactions of a file, one after the other. After an error there are no more.
pub struct Transactions {
    records: csv::StringRecordsIntoIter<File>,
    columns: [usize; COLUMNS.len()],
    is_over: bool,
}

impl Transactions {
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let unreadable = |source| FileError::Unreadable { path: path.to_owned(), source };
        let file = File::open(path).map_err(unreadable)?;
        let mut reader = csv::ReaderBuilder::new().delimiter(b';').from_reader(file);
        let header = reader.headers().map_err(|error| unreadable(error.into()))?;
        let mut columns = [0; COLUMNS.len()];
        for (place, column) in columns.iter_mut().zip(COLUMNS) {
            *place = header.iter().position(|name| name == column).ok_or(FileError::MissingColumn { column })?;
        }
        Ok(Self { records: reader.into_records(), columns, is_over: false })
    }

    fn parse(&self, record: &csv::StringRecord) -> Result<Transaction, LineProblem> {
        let field = |index: usize| record.get(self.columns[index]).unwrap_or_default();
        let required = |index: usize| match field(index) {
            "" => Err(LineProblem::Empty { column: COLUMNS[index] }),
            text => Ok(text.to_owned()),
        };
        let (id, account) = (required(0)?, required(1)?);
        let date = parse_date(field(2)).ok_or_else(|| LineProblem::Date(field(2).to_owned()))?;
        let direction = match field(3) {
            "PRIJEM" => Direction::Credit,
            "VYDAJ" | "VYBER" => Direction::Debit,
            other => return Err(LineProblem::Type(other.to_owned())),
        };
        let amount: Money = field(5).parse().map_err(LineProblem::Amount)?;
        if amount < Money::ZERO {
            return Err(LineProblem::NegativeAmount(amount));
        }
        Ok(Transaction { id, account, date, direction, amount, operation: field(4).to_owned() })
    }
}

impl Iterator for Transactions {
    type Item = Result<Transaction, FileError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let record = self.records.next()?;
        let line_of = |position: Option<&csv::Position>| position.map_or(0, csv::Position::line);
        let result = match record {
            Ok(record) => {
                self.parse(&record).map_err(|problem| FileError::BadLine { line: line_of(record.position()), problem })
            }
            Err(error) => Err(FileError::BadLine {
                line: line_of(error.position()),
                problem: match error.kind() {
                    csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
                        LineProblem::FieldCount { found: *len, expected: *expected_len }
                    }
                    _ => LineProblem::NotText,
                },
            }),
        };
        self.is_over = result.is_err();
        Some(result)
    }
}

/// A day in the form YYMMDD, of the twentieth century.
fn parse_date(text: &str) -> Option<Date> {
    if text.len() != 6 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number = |from: usize| text[from..from + 2].parse::<u8>().ok();
    Date::from_calendar_date(1900 + i32::from(number(0)?), Month::try_from(number(2)?).ok()?, number(4)?).ok()
}

/// Sums over transactions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    pub accounts: usize,
    pub transactions: u64,
    pub credits: Money,
    pub debits: Money,
}

impl Totals {
    pub fn net(&self) -> Money {
        let mut net = self.credits;
        net -= self.debits;
        net
    }
}

/// What a file holds, summed up straight from its lines.
#[derive(Debug)]
pub struct FileSummary {
    pub totals: Totals,
    pub accounts: BTreeSet<String>,
    /// What ended the reading early, if anything did.
    pub problem: Option<FileError>,
}

impl FileSummary {
    /// Reads the whole file, or up to its first bad line.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        let mut summary = Self { totals: Totals::default(), accounts: BTreeSet::new(), problem: None };
        for transaction in Transactions::open(path)? {
            match transaction {
                Ok(transaction) => summary.add(transaction),
                Err(problem) => summary.problem = Some(problem),
            }
        }
        summary.totals.accounts = summary.accounts.len();
        Ok(summary)
    }

    fn add(&mut self, transaction: Transaction) {
        self.totals.transactions += 1;
        match transaction.direction {
            Direction::Credit => self.totals.credits += transaction.amount,
            Direction::Debit => self.totals.debits += transaction.amount,
        }
        self.accounts.insert(transaction.account);
    }
}
