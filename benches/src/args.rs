//! The command line.

use std::{path::PathBuf, time::Duration};

use clap::{Arg, ArgAction, Command as Clap, value_parser};

use crate::{part::Part, workload};

/// Which store, and how it commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreKind {
    Sqlite,
    Postgres,
    PostgresPipelined,
}

impl StoreKind {
    pub const ALL: [Self; 3] = [Self::Sqlite, Self::Postgres, Self::PostgresPipelined];

    pub fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
            Self::PostgresPipelined => "postgres-pipelined",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// How much is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// Next to nothing: shows that every workload runs to its end.
    Smoke,
    /// Small numbers.
    Quick,
    /// The numbers of the documentation.
    Full,
    /// The same, with a larger store.
    Large,
}

impl Size {
    /// The argument that asks for it.
    pub fn flag(self) -> Option<&'static str> {
        match self {
            Self::Smoke => Some("--smoke"),
            Self::Quick => Some("--quick"),
            Self::Full => None,
            Self::Large => Some("--full"),
        }
    }

    /// How often each workload is run, unless told otherwise.
    fn repetitions(self) -> usize {
        match self {
            Self::Smoke => 1,
            Self::Quick => QUICK_REPETITIONS,
            Self::Full | Self::Large => REPETITIONS,
        }
    }
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Args {
    /// In the order in which they are run.
    pub workloads: Vec<String>,
    pub stores: Vec<StoreKind>,
    pub url: Option<String>,
    pub json: Option<PathBuf>,
    pub size: Size,
    pub repetitions: usize,
    /// W5, W10 and F4: events of the log, if not those of the scale.
    pub log: Option<u64>,
    pub slow_flush: Option<Duration>,
    pub markdown: Option<PathBuf>,
    pub plot: Option<PathBuf>,
    /// Set where this process is a part of another's benchmark.
    pub part: Option<Part>,
}

/// Repetitions unless told otherwise.
const REPETITIONS: usize = 5;
/// The same for `--quick`.
const QUICK_REPETITIONS: usize = 2;

/// Reads the command line; ends the program after `--help` or a wrong use.
pub fn parse() -> Args {
    of_words(std::env::args_os()).unwrap_or_else(|error| error.exit())
}

fn of_words(words: impl IntoIterator<Item = impl Into<std::ffi::OsString> + Clone>) -> Result<Args, clap::Error> {
    let matches = clap().try_get_matches_from(words)?;
    let chosen = matches.get_many::<String>("workload").into_iter().flatten();
    let chosen: Vec<String> = chosen.map(|name| name.to_uppercase()).collect();
    let is_chosen = |name: &&str| match chosen.is_empty() {
        true => name.starts_with('W'),
        false => chosen.iter().any(|one| one == name),
    };
    let stores: Vec<StoreKind> =
        matches.get_many::<String>("store").into_iter().flatten().filter_map(|name| StoreKind::named(name)).collect();
    let size = match ["smoke", "quick", "full"].map(|flag| matches.get_flag(flag)) {
        [true, ..] => Size::Smoke,
        [_, true, _] => Size::Quick,
        [.., true] => Size::Large,
        _ => Size::Full,
    };
    Ok(Args {
        workloads: workload::NAMES.iter().copied().filter(is_chosen).map(str::to_owned).collect(),
        stores: if stores.is_empty() { vec![StoreKind::Sqlite, StoreKind::Postgres] } else { stores },
        url: matches.get_one::<String>("url").cloned(),
        json: matches.get_one::<PathBuf>("json").cloned(),
        size,
        repetitions: matches.get_one::<usize>("repetitions").copied().unwrap_or(size.repetitions()).max(1),
        slow_flush: matches.get_one::<u64>("slow-flush").copied().map(Duration::from_millis),
        log: matches.get_one::<u64>("log").copied(),
        markdown: matches.get_one::<PathBuf>("markdown").cloned(),
        plot: matches.get_one::<PathBuf>("plot").cloned(),
        part: matches.get_one::<Part>("part").cloned(),
    })
}

fn clap() -> Clap {
    Clap::new("es-bench")
        .about("Measures the stores through their public API, each workload beside what the database itself can do.")
        .arg(
            Arg::new("workload")
                .value_name("WORKLOAD")
                .action(ArgAction::Append)
                .ignore_case(true)
                .value_parser(workload::NAMES)
                .help("W1 to W10, or a floor alone, F1 to F4; without one, all workloads"),
        )
        .arg(
            Arg::new("store")
                .long("store")
                .value_name("STORE")
                .action(ArgAction::Append)
                .value_parser(StoreKind::ALL.map(StoreKind::name))
                .help("May be given again; sqlite and postgres unless told otherwise"),
        )
        .arg(Arg::new("url").long("url").value_name("URL").help(
            "A PostgreSQL to measure, in schemas of our own that are dropped again; without it, a throwaway server",
        ))
        .arg(
            Arg::new("json")
                .long("json")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help("Also write the results as JSON"),
        )
        .arg(
            Arg::new("quick")
                .long("quick")
                .action(ArgAction::SetTrue)
                .help("Small numbers: a first look, in less than three minutes"),
        )
        .arg(
            Arg::new("smoke")
                .long("smoke")
                .action(ArgAction::SetTrue)
                .conflicts_with_all(["quick", "full"])
                .help("Next to nothing, once: shows that every workload runs, and says nothing about speed"),
        )
        .arg(
            Arg::new("full")
                .long("full")
                .action(ArgAction::SetTrue)
                .conflicts_with("quick")
                .help("W8 on a store of 10 million events too"),
        )
        .arg(
            Arg::new("log")
                .long("log")
                .value_name("EVENTS")
                .value_parser(value_parser!(u64).range(1..))
                .help("W5, W10 and F4 on a log of so many events"),
        )
        .arg(
            Arg::new("markdown")
                .long("markdown")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help("Also write the tables as Markdown"),
        )
        .arg(
            Arg::new("plot")
                .long("plot")
                .value_name("FOLDER")
                .value_parser(value_parser!(PathBuf))
                .help("Also measure throughput over tasks and over the size of the store, and draw it as SVG"),
        )
        .arg(Arg::new("part").long("part").hide(true).value_parser(|text: &str| serde_json::from_str::<Part>(text)))
        .arg(
            Arg::new("repetitions")
                .long("repetitions")
                .value_name("N")
                .value_parser(value_parser!(usize))
                .help("How often each workload is run, in turn with its floor; 5, or 2 with --quick"),
        )
        .arg(
            Arg::new("slow-flush")
                .long("slow-flush")
                .value_name("MS")
                .value_parser(value_parser!(u64))
                .conflicts_with("url")
                .help("Make every flush of the throwaway PostgreSQL take this much longer, as on a cloud volume"),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Args, clap::Error> {
        of_words(std::iter::once("es-bench").chain(line.split_whitespace()))
    }

    #[test]
    fn without_arguments_every_workload_runs_on_both_stores() {
        let args = parsed("").unwrap();
        assert!(args.workloads.iter().all(|name| name.starts_with('W')), "{args:?}");
        assert_eq!(args.stores, [StoreKind::Sqlite, StoreKind::Postgres]);
        assert_eq!((args.size, args.repetitions), (Size::Full, REPETITIONS));
    }

    #[test]
    fn what_is_chosen_is_run_in_the_usual_order() {
        let args = parsed("w2 F1 --store postgres --quick").unwrap();
        assert_eq!(args.workloads, ["F1", "W2"]);
        assert_eq!(args.stores, [StoreKind::Postgres]);
        assert_eq!(args.repetitions, QUICK_REPETITIONS);
    }

    #[test]
    fn what_is_unknown_is_refused() {
        for line in
            ["W77", "--store oracle", "--repetitions many", "--slow-flush 2 --url postgres://x", "--smoke --quick"]
        {
            assert!(parsed(line).is_err(), "{line}");
        }
    }
}
