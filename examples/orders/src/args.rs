//! The command line.

use clap::{Arg, Command as Clap, value_parser};

pub enum Command {
    /// Both services in this process.
    Demo,
    Shop {
        store: String,
        broker: String,
        orders: u64,
    },
    Shipping {
        store: String,
        broker: String,
    },
    Totals {
        shop: String,
        shipping: String,
    },
}

/// Reads the command line; ends the program after `--help` or a wrong use.
pub fn parse() -> Command {
    let matches = clap().get_matches();
    let (name, matches) = matches.subcommand().unwrap_or(("demo", &matches));
    let text = |name: &str| matches.get_one::<String>(name).cloned().unwrap_or_default();
    match name {
        "shop" => {
            let orders = matches.get_one::<u64>("orders").copied().unwrap_or_default();
            Command::Shop { store: text("store"), broker: text("broker"), orders }
        }
        "shipping" => Command::Shipping { store: text("store"), broker: text("broker") },
        "totals" => Command::Totals { shop: text("shop"), shipping: text("shipping") },
        _ => Command::Demo,
    }
}

fn clap() -> Clap {
    let store = |name: &'static str, default: &'static str| {
        let help = "Where events are kept: sqlite:FILE or postgres://USER@HOST/DATABASE";
        Arg::new(name).long(name).value_name("URL").default_value(default).help(help)
    };
    let broker = || {
        let help = "amqp://…, nats://…, kafka://…, redis://… or sqs://…";
        Arg::new("broker").long("broker").value_name("URL").required(true).help(help)
    };
    let (shop, shipping) = ("sqlite:shop.db", "sqlite:shipping.db");
    Clap::new("orders")
        .about("A shop that publishes its orders, and a service that ships each exactly once. Without a command: both in this process, without a server.")
        .subcommand(
            Clap::new("shop")
                .about("Places orders, and publishes them; goes on where it was stopped or killed")
                .arg(store("store", shop))
                .arg(broker())
                .arg(
                    Arg::new("orders")
                        .long("orders")
                        .value_name("N")
                        .default_value("1000")
                        .value_parser(value_parser!(u64))
                        .help("How many orders there are to be in the end"),
                ),
        )
        .subcommand(
            Clap::new("shipping")
                .about("Ships what was ordered, until it is stopped; start as many as you like on one store")
                .arg(store("store", shipping))
                .arg(broker()),
        )
        .subcommand(
            Clap::new("totals")
                .about("Counts orders and shipments in the two logs")
                .arg(store("shop", shop))
                .arg(store("shipping", shipping)),
        )
}
