//! Throwaway NATS servers with JetStream, alone or as a cluster.

use std::path::{Path, PathBuf};

use crate::account::Account;
use crate::error::ServerError;
use crate::plain_server::{PlainServer, Ready, find_program};
use crate::port;
use crate::temp_folder::TempFolder;

const NAME: &str = "NATS";

const READY: &str = "Server is ready";

/// The program `nats-server` on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatsInstall {
    program: PathBuf,
}

impl NatsInstall {
    /// Finds it: named by the variable `ES_NATS_SERVER`, else in the workspace's `.tools`. One on `PATH` may be too old, so it
    /// comes last.
    ///
    /// # Errors
    ///
    /// [`ServerError::ProgramMissing`], [`ServerError::NotAProgram`].
    pub fn find() -> Result<Self, ServerError> {
        let own = crate::workspace::tools_folder().join("bin/nats-server");
        if std::env::var_os("ES_NATS_SERVER").is_none() && own.is_file() {
            return Ok(Self { program: own });
        }
        find_program("nats-server", "ES_NATS_SERVER", &[]).map(|program| Self { program })
    }

    /// The path of the program.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }
}

/// How a server is to run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NatsOptions {
    /// Whether JetStream flushes each message to the disk before it acknowledges it; by default it does so every two minutes.
    pub sync_always: bool,
    /// Lines added to its configuration.
    pub lines: String,
    /// Whether it has no JetStream.
    pub no_jetstream: bool,
}

impl NatsOptions {
    /// A server that loses nothing that it has acknowledged.
    #[must_use]
    pub fn durable() -> Self {
        Self { sync_always: true, ..Self::default() }
    }

    /// The same without JetStream.
    #[must_use]
    pub fn without_jetstream(mut self) -> Self {
        self.no_jetstream = true;
        self
    }

    /// The same with lines added to the configuration.
    #[must_use]
    pub fn with_lines(mut self, lines: &str) -> Self {
        self.lines.push_str(lines);
        self.lines.push('\n');
        self
    }
}

/// A NATS server with JetStream on a free port of 127.0.0.1, killed on drop.
#[derive(Debug)]
pub struct ThrowawayNats {
    server: PlainServer,
    port: u16,
}

/// Ports of a node of a cluster, and of the nodes' routes.
struct Routes<'a> {
    node: usize,
    ports: &'a [u16],
}

/// A node that has not started yet.
fn prepare(
    install: &NatsInstall,
    options: &NatsOptions,
    port: u16,
    routes: Option<&Routes<'_>>,
) -> Result<PlainServer, ServerError> {
    let account = Account::choose()?;
    let folder = TempFolder::create("nats", &account)?;
    let sync = if options.sync_always { "sync_interval: always, " } else { "" };
    let jetstream = if options.no_jetstream {
        String::new()
    } else {
        format!("jetstream {{{sync}store_dir: \"{}\"}}", folder.path().join("data").display())
    };
    let mut text = format!(
        "server_name: n{}\nlisten: 127.0.0.1:{port}\n{jetstream}\n{}\n",
        routes.map_or(0, |routes| routes.node),
        options.lines
    );
    if let Some(routes) = routes {
        let all: Vec<String> = routes.ports.iter().map(|port| format!("nats://127.0.0.1:{port}")).collect();
        text.push_str(&format!(
            "cluster {{name: c, listen: 127.0.0.1:{}, routes: [{}]}}\n",
            routes.ports[routes.node],
            all.join(", ")
        ));
    }
    let configuration = folder.write("nats.conf", &text, &account)?;
    let command = vec![install.program.clone().into(), "-c".into(), configuration.into()];
    PlainServer::new(NAME, Ready::Logged(READY.into()), command, Vec::new(), folder, &account)
}

impl ThrowawayNats {
    /// Starts one server.
    ///
    /// # Errors
    ///
    /// A [`ServerError`] that shows the end of its log where there is one.
    pub fn start(install: &NatsInstall, options: &NatsOptions) -> Result<Self, ServerError> {
        let (server, port) = PlainServer::launch_on_free_port(|port| prepare(install, options, port, None))?;
        Ok(Self { server, port })
    }

    /// Its URL, without credentials.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Its port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The folder that holds everything of this server and goes with it.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.server.folder().path()
    }

    /// What it has logged since its last start.
    ///
    /// # Errors
    ///
    /// [`ServerError::Io`] if the log cannot be read.
    pub fn log(&self) -> Result<String, ServerError> {
        self.server.log()
    }

    /// Crashes it: `SIGKILL`. One that is down already stays so.
    ///
    /// # Errors
    ///
    /// [`ServerError::NotStopped`] if it does not go.
    pub fn kill(&mut self) -> Result<(), ServerError> {
        self.server.end("KILL")
    }

    /// Starts it again with the same data on the same port; one that still runs is killed first.
    ///
    /// # Errors
    ///
    /// [`ServerError::EndedAtStart`] if it cannot start.
    pub fn restart(&mut self) -> Result<(), ServerError> {
        self.kill()?;
        self.server.launch()
    }

    /// Stops it from doing anything, without closing its connections.
    ///
    /// # Errors
    ///
    /// [`ServerError::CommandFailed`] if the signal cannot be sent.
    pub fn pause(&self) -> Result<(), ServerError> {
        self.server.signal("STOP")
    }

    /// Lets it go on after [`pause`](Self::pause).
    ///
    /// # Errors
    ///
    /// [`ServerError::CommandFailed`] if the signal cannot be sent.
    pub fn resume(&self) -> Result<(), ServerError> {
        self.server.signal("CONT")
    }
}

/// NATS servers that form a cluster.
#[derive(Debug)]
pub struct ThrowawayNatsCluster {
    /// Its nodes, named `n0`, `n1` and so on.
    pub nodes: Vec<ThrowawayNats>,
}

impl ThrowawayNatsCluster {
    /// Starts a cluster of `nodes` servers.
    ///
    /// # Errors
    ///
    /// A [`ServerError`] that shows the end of a server's log where there is one.
    pub fn start(install: &NatsInstall, options: &NatsOptions, nodes: usize) -> Result<Self, ServerError> {
        let free = |count: usize| (0..count).map(|_| port::free()).collect::<Result<Vec<u16>, ServerError>>();
        let (ports, routes) = (free(nodes)?, free(nodes)?);
        let mut cluster = Vec::new();
        for (node, port) in ports.into_iter().enumerate() {
            let mut server = prepare(install, options, port, Some(&Routes { node, ports: &routes }))?;
            server.begin()?;
            cluster.push(ThrowawayNats { server, port });
        }
        for node in &mut cluster {
            node.server.wait_ready()?;
        }
        Ok(Self { nodes: cluster })
    }

    /// The URL of all nodes.
    #[must_use]
    pub fn url(&self) -> String {
        let hosts: Vec<String> = self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
        format!("nats://{}", hosts.join(","))
    }
}
