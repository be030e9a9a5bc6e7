//! Throwaway RabbitMQ servers.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::account::Account;
use crate::deadline::poll;
use crate::error::ServerError;
use crate::port;
use crate::process::run_quietly;
use crate::supervisor::{Supervised, Supervisor};
use crate::temp_folder::{TempFolder, random};

const NAME: &str = "RabbitMQ";

/// How long it gets to start: it is slow, and slower with other work beside it.
const START_LIMIT: Duration = Duration::from_secs(120);

/// How long a killed one gets to be gone.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// How long quorum queues get to elect their leaders.
const ELECTION_LIMIT: Duration = Duration::from_secs(20);

/// What it says when it takes connections.
const READY: &str = "Server startup complete";

/// The programs of RabbitMQ on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RabbitMqInstall {
    bin_folder: PathBuf,
}

impl RabbitMqInstall {
    /// Finds it: in the folder named by the variable `ES_RABBITMQ_BIN`, else where Debian has it.
    ///
    /// # Errors
    ///
    /// [`ServerError::ProgramMissing`], or [`ServerError::NotAProgram`] if the variable names another folder.
    pub fn find() -> Result<Self, ServerError> {
        const VARIABLE: &str = "ES_RABBITMQ_BIN";
        let named = std::env::var_os(VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from);
        if let Some(bin_folder) = named {
            let program = bin_folder.join("rabbitmq-server");
            return match program.is_file() {
                true => Ok(Self { bin_folder }),
                false => Err(ServerError::NotAProgram { variable: VARIABLE, program }),
            };
        }
        let bin_folder = PathBuf::from("/usr/lib/rabbitmq/bin");
        let is_there = bin_folder.join("rabbitmq-server").is_file();
        let missing = ServerError::ProgramMissing { program: "rabbitmq-server", variable: VARIABLE };
        is_there.then_some(Self { bin_folder }).ok_or(missing)
    }

    /// The folder of the programs.
    #[must_use]
    pub fn bin_folder(&self) -> &Path {
        &self.bin_folder
    }
}

/// How a server is to run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RabbitMqOptions {
    lines: String,
    files: Vec<(String, String)>,
    tls: bool,
}

impl RabbitMqOptions {
    /// The same with lines added to `rabbitmq.conf`.
    #[must_use]
    pub fn with_lines(mut self, lines: &str) -> Self {
        self.lines.push_str(lines);
        self.lines.push('\n');
        self
    }

    /// The same with TLS on a port of its own, for clients whose certificate comes from this authority; all in PEM.
    #[must_use]
    pub fn with_tls(mut self, authority: &str, certificate: &str, key: &str) -> Self {
        let files = [("authority.pem", authority), ("certificate.pem", certificate), ("key.pem", key)];
        self.files = files.map(|(name, text)| (name.to_owned(), text.to_owned())).into();
        self.tls = true;
        self
    }
}

/// A RabbitMQ server on free ports of 127.0.0.1, killed on drop. User and password are `guest`.
#[derive(Debug)]
pub struct ThrowawayRabbitMq {
    install: RabbitMqInstall,
    account: Account,
    environment: Vec<(&'static str, OsString)>,
    server: Supervisor,
    /// Tells nodes where others are; its own for this server, and stopped after it.
    _names: Supervisor,
    port: u16,
    tls_port: Option<u16>,
    /// How much of the log is of earlier starts.
    log_seen: usize,
}

impl ThrowawayRabbitMq {
    /// Starts one server.
    ///
    /// # Errors
    ///
    /// A [`ServerError`] that shows the end of its log where there is one.
    pub fn start(install: &RabbitMqInstall, options: &RabbitMqOptions) -> Result<Self, ServerError> {
        let mut attempt = 1;
        loop {
            let mut server = Self::prepare(install, options)?;
            match server.launch() {
                // Somebody else may have taken one of the ports in the meantime.
                Err(ServerError::EndedAtStart { .. }) if attempt < 3 => attempt += 1,
                Err(error) => return Err(error),
                Ok(()) => return Ok(server),
            }
        }
    }

    fn prepare(install: &RabbitMqInstall, options: &RabbitMqOptions) -> Result<Self, ServerError> {
        let account = Account::choose()?;
        let names_port = port::free()?;
        let names = start_names(names_port, &account)?;
        let folder = TempFolder::create("rabbitmq", &account)?;
        let (port, distribution_port) = (port::free()?, port::free()?);
        let tls_port = if options.tls { Some(port::free()?) } else { None };
        for (name, text) in &options.files {
            folder.write(name, text, &account)?;
        }
        folder.write("rabbitmq.conf", &configuration(options, port, tls_port, folder.path()), &account)?;
        folder.write("env.conf", "", &account)?;
        folder.write("plugins", "[].\n", &account)?;
        let path = |name: &str| OsString::from(folder.path().join(name));
        let environment: Vec<(&'static str, OsString)> = vec![
            ("HOME", folder.path().into()),
            ("RABBITMQ_NODENAME", format!("es{:08x}@localhost", random() as u32).into()),
            ("RABBITMQ_DIST_PORT", distribution_port.to_string().into()),
            ("RABBITMQ_MNESIA_BASE", path("mnesia")),
            ("RABBITMQ_LOG_BASE", path("log")),
            ("RABBITMQ_LOGS", "-".into()),
            ("RABBITMQ_PID_FILE", path("pid")),
            ("RABBITMQ_ENABLED_PLUGINS_FILE", path("plugins")),
            ("RABBITMQ_CONFIG_FILE", path("rabbitmq.conf")),
            ("RABBITMQ_CONF_ENV_FILE", path("env.conf")),
            (
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                "+S 2:2 +sbwt none -kernel inet_dist_use_interface {127,0,0,1}".into(),
            ),
            ("ERL_EPMD_PORT", names_port.to_string().into()),
            ("ERL_EPMD_ADDRESS", "127.0.0.1".into()),
            // The script then becomes the server, instead of starting it.
            ("RABBITMQ_ALLOW_INPUT", "1".into()),
        ];
        let what = Supervised {
            server: NAME,
            // Nothing it holds would be missed.
            stop_signal: "KILL",
            command: vec![install.bin_folder.join("rabbitmq-server").into(), "-noinput".into()],
            environment: environment.clone(),
        };
        let server = Supervisor::spawn(what, folder, &account)?;
        let install = install.clone();
        Ok(Self { install, account, environment, server, _names: names, port, tls_port, log_seen: 0 })
    }

    /// Its URL, with the default virtual host.
    #[must_use]
    pub fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.port)
    }

    /// Its port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its port for TLS, if it has one; the name to ask for is `localhost`.
    #[must_use]
    pub fn tls_port(&self) -> Option<u16> {
        self.tls_port
    }

    /// The folder that holds everything of this server and goes with it.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.server.folder().path()
    }

    /// What it has logged.
    ///
    /// # Errors
    ///
    /// [`ServerError::Io`] if the log cannot be read.
    pub fn log(&self) -> Result<String, ServerError> {
        self.server.log()
    }

    /// Runs `rabbitmqctl` with these arguments. That takes seconds.
    ///
    /// # Errors
    ///
    /// [`ServerError::CommandFailed`] with what it printed.
    pub fn control(&self, arguments: &[&str]) -> Result<(), ServerError> {
        let mut command = Command::new(self.install.bin_folder.join("rabbitmqctl"));
        command.args(arguments).envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.current_dir(self.folder());
        self.account.apply(&mut command);
        run_quietly(command)
    }

    /// Crashes it: `SIGKILL` for all of its processes at once. One that is down already stays so.
    ///
    /// # Errors
    ///
    /// [`ServerError::NotStopped`] if it does not go.
    pub fn kill(&mut self) -> Result<(), ServerError> {
        if let Some(process) = self.server.server() {
            process.kill_with_children(NAME)?;
        }
        self.server.reap(STOP_LIMIT)
    }

    /// Starts it again with the same data on the same ports; one that still runs is killed first. Returns when its quorum queues have
    /// a leader. One that was declared less than about a second before the server was killed never gets one: where its data is was not
    /// flushed (`names.dets`, by itself after half a second without changes), and the server begins an empty queue that waits for an
    /// election.
    ///
    /// # Errors
    ///
    /// [`ServerError::EndedAtStart`] if it cannot start, [`ServerError::NotReady`] if a quorum queue gets no leader; it runs then.
    pub fn restart(&mut self) -> Result<(), ServerError> {
        self.kill()?;
        self.launch()?;
        let log_seen = self.log_seen;
        let leads = |server: &Supervisor| {
            let log = server.log().ok()?;
            log.get(log_seen..).is_some_and(has_leaders).then_some(())
        };
        match poll(ELECTION_LIMIT, || leads(&self.server)) {
            Some(()) => Ok(()),
            None => Err(ServerError::NotReady { server: NAME, waited: ELECTION_LIMIT, log: self.server.log_tail() }),
        }
    }

    /// Stops it from doing anything, without closing its connections.
    ///
    /// # Errors
    ///
    /// [`ServerError::CommandFailed`] if the signal cannot be sent.
    pub fn pause(&self) -> Result<(), ServerError> {
        self.server.server().map_or(Ok(()), |process| process.signal("STOP"))
    }

    /// Lets it go on after [`pause`](Self::pause).
    ///
    /// # Errors
    ///
    /// [`ServerError::CommandFailed`] if the signal cannot be sent.
    pub fn resume(&self) -> Result<(), ServerError> {
        self.server.server().map_or(Ok(()), |process| process.signal("CONT"))
    }

    fn launch(&mut self) -> Result<(), ServerError> {
        self.log_seen = self.server.log()?.len();
        let process = self.server.start()?;
        let ended = poll(START_LIMIT, || match self.server.log() {
            Ok(log) if log.get(self.log_seen..).is_some_and(|new| new.contains(READY)) => Some(false),
            _ => (!process.is_running()).then_some(true),
        });
        match ended {
            Some(false) => Ok(()),
            Some(true) => {
                let log = self.server.log_tail();
                self.server.reap(STOP_LIMIT)?;
                Err(ServerError::EndedAtStart { server: NAME, log })
            }
            None => Err(ServerError::NotReady { server: NAME, waited: START_LIMIT, log: self.server.log_tail() }),
        }
    }
}

/// Whether the log of a start says that each recovered quorum queue has a leader.
fn has_leaders(log: &str) -> bool {
    let recovered = log.lines().filter_map(|line| {
        let (_, rest) = line.split_once("Recovering ")?;
        let (count, kind) = rest.split_once(" queues of type ")?;
        kind.starts_with("rabbit_quorum_queue").then(|| count.parse::<usize>().ok())?
    });
    let led: BTreeSet<&str> = log
        .lines()
        .filter_map(|line| line.split_once(" -> leader in term")?.0.split_once(" queue '"))
        .map(|(_, queue)| queue)
        .collect();
    led.len() >= recovered.sum()
}

/// Starts the program in which Erlang's nodes look each other up, in the foreground.
fn start_names(port: u16, account: &Account) -> Result<Supervisor, ServerError> {
    let what = Supervised {
        server: "epmd",
        stop_signal: "KILL",
        command: vec!["epmd".into(), "-port".into(), port.to_string().into(), "-address".into(), "127.0.0.1".into()],
        environment: Vec::new(),
    };
    let mut names = Supervisor::spawn(what, TempFolder::create("epmd", account)?, account)?;
    names.start()?;
    // Otherwise the server starts one of its own.
    match poll(STOP_LIMIT, || (!port::is_free(port)).then_some(())) {
        Some(()) => Ok(names),
        None => Err(ServerError::NotReady { server: "epmd", waited: STOP_LIMIT, log: names.log_tail() }),
    }
}

fn configuration(options: &RabbitMqOptions, port: u16, tls_port: Option<u16>, folder: &Path) -> String {
    let mut text = format!(
        "listeners.tcp.1 = 127.0.0.1:{port}\n\
         # the machine's own disk and memory are not what is tested\n\
         disk_free_limit.absolute = 10MB\n\
         vm_memory_high_watermark.absolute = 2GB\n\
         log.console.level = info\n"
    );
    if let Some(tls_port) = tls_port {
        let folder = folder.display();
        text.push_str(&format!(
            "listeners.ssl.1 = 127.0.0.1:{tls_port}\n\
             ssl_options.cacertfile = {folder}/authority.pem\n\
             ssl_options.certfile = {folder}/certificate.pem\n\
             ssl_options.keyfile = {folder}/key.pem\n\
             ssl_options.verify = verify_peer\n\
             ssl_options.fail_if_no_peer_cert = true\n"
        ));
    }
    text + &options.lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_recovered_quorum_queue_is_to_have_a_leader() {
        let started = "x [info] Recovering 3 queues of type rabbit_classic_queue took 4ms\n\
                       x [info] Recovering 2 queues of type rabbit_quorum_queue took 4ms\n";
        let leader = |queue: &str, term: u32| {
            format!(
                "x [notice] <0.1.0> queue '{queue}' in vhost '/': candidate -> leader in term: {term} machine version: 2\n"
            )
        };
        assert!(!has_leaders(started));
        assert!(!has_leaders(&format!("{started}{}{}", leader("q", 2), leader("q", 3))));
        assert!(has_leaders(&format!("{started}{}{}", leader("q", 2), leader("r", 2))));
        assert!(has_leaders(""));
    }
}
