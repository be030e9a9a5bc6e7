//! The command line.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgGroup, Command as Clap, value_parser};
use es_core::{AsOf, Version};
use time::{Date, OffsetDateTime, Time, macros::format_description};

pub struct Args {
    pub store: String,
    pub command: Command,
}

pub enum Command {
    Demo,
    Import { file: PathBuf },
    Balances { top: Option<usize> },
    Statement { account: String },
    AsOf { account: String, as_of: AsOf },
    Rebuild { in_place: bool, accept: bool },
    RollBack,
    Status,
    Pause { why: Option<String> },
    Resume,
}

/// Reads the command line; ends the program after `--help` or a wrong use.
pub fn parse() -> Args {
    let matches = clap().get_matches();
    let store = matches.get_one::<String>("store").cloned().unwrap_or_default();
    let (name, matches) = matches.subcommand().unwrap_or(("demo", &matches));
    let account = || matches.get_one::<String>("account").cloned().unwrap_or_default();
    let command = match name {
        "import" => Command::Import { file: matches.get_one::<PathBuf>("file").cloned().unwrap_or_default() },
        "balances" => Command::Balances { top: matches.get_one::<usize>("top").copied() },
        "statement" => Command::Statement { account: account() },
        "as-of" => {
            let version = matches.get_one::<u64>("version").map(|&version| AsOf::Version(Version::new(version)));
            let time = matches.get_one::<OffsetDateTime>("at").map(|&time| AsOf::Occurred(time));
            match version.or(time) {
                Some(as_of) => Command::AsOf { account: account(), as_of },
                None => Command::Statement { account: account() },
            }
        }
        "rebuild" => Command::Rebuild { in_place: matches.get_flag("in-place"), accept: matches.get_flag("accept") },
        "roll-back" => Command::RollBack,
        "status" => Command::Status,
        "pause" => Command::Pause { why: matches.get_one::<String>("why").cloned() },
        "resume" => Command::Resume,
        _ => Command::Demo,
    };
    if store == "memory:" && !matches!(command, Command::Demo) {
        let problem = "a store in memory is empty at every start: memory: is for the demonstration alone\n";
        clap().error(clap::error::ErrorKind::ArgumentConflict, problem).exit();
    }
    Args { store, command }
}

fn clap() -> Clap {
    let account =
        || Arg::new("account").value_name("ACCOUNT").required(true).help("The account's id, such as ann or 576");
    Clap::new("bank")
        .about("A bank on an event store. Without a command: a demonstration of what the framework does.")
        .arg(
            Arg::new("store")
                .long("store")
                .value_name("URL")
                .global(true)
                .default_value("sqlite:bank.db")
                .help("Where events and read models are kept: sqlite:FILE, postgres://USER@HOST/DATABASE, or memory:"),
        )
        .subcommand(
            Clap::new("demo").about("Accounts, a transfer, a refusal, an audit, a rebuild; this is the default"),
        )
        .subcommand(
            Clap::new("import")
                .about("Import a file of transactions; importing again, or after a kill, stores nothing twice")
                .arg(
                    Arg::new("file").value_name("FILE.csv").required(true).value_parser(value_parser!(PathBuf)).help(
                        "Semicolon-separated, with the columns trans_id, account_id, date, type, operation, amount",
                    ),
                ),
        )
        .subcommand(
            Clap::new("balances").about("Show the balances of the read model").arg(
                Arg::new("top")
                    .long("top")
                    .value_name("N")
                    .value_parser(value_parser!(usize))
                    .help("Only the N largest balances"),
            ),
        )
        .subcommand(Clap::new("statement").about("Show everything that happened to an account").arg(account()))
        .subcommand(
            Clap::new("as-of")
                .about("Show the balance of an account as it was")
                .arg(account())
                .arg(
                    Arg::new("version")
                        .long("version")
                        .value_name("N")
                        .value_parser(value_parser!(u64))
                        .help("After the event with this version"),
                )
                .arg(
                    Arg::new("at")
                        .long("at")
                        .value_name("DATE")
                        .value_parser(end_of_day)
                        .help("At the end of this day (YYYY-MM-DD), by the dates that the bank gave"),
                )
                .group(ArgGroup::new("moment").args(["version", "at"]).required(true)),
        )
        .subcommand(
            Clap::new("rebuild")
                .about("Build the read model again beside the live one, compare the two, and put it in its place")
                .arg(flag("accept").help("Put it in place though it differs from the live one"))
                .arg(
                    flag("in-place").help("Throw the live one away first; readers see it incomplete until it is done"),
                ),
        )
        .subcommand(Clap::new("roll-back").about("Go back to the read model from before the last rebuild"))
        .subcommand(Clap::new("status").about("Show where the read model stands, and what operators did"))
        .subcommand(
            Clap::new("pause").about("Let the read model stand still, in every process, until it is resumed").arg(
                Arg::new("why").long("why").value_name("REASON").help("Shown to whoever asks why it stands still"),
            ),
        )
        .subcommand(Clap::new("resume").about("Let the read model go on"))
}

fn flag(name: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue)
}

fn end_of_day(text: &str) -> Result<OffsetDateTime, String> {
    Date::parse(text, format_description!("[year]-[month]-[day]"))
        .map(|date| date.with_time(Time::MAX).assume_utc())
        .map_err(|_| "write the day as YYYY-MM-DD, as in 1993-05-31".to_owned())
}
