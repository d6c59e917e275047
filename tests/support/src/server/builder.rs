//! What a server is started with.

use std::path::Path;
use std::sync::Mutex;

use super::ports::{Bus, Wanted};
use super::process::{self, Guardian, Setup};
use super::{Server, StartError, State, binary, flavor_wanted};
use crate::finder::{Flavor, ServerBinary};

/// Says how a server is to be started.
#[derive(Clone, Debug, Default)]
pub struct ServerBuilder {
    flavor: Option<Flavor>,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    append_only: bool,
    port: Option<u16>,
    password: Option<String>,
    role: Role,
}

/// What kind of process it is.
#[derive(Clone, Debug, Default)]
enum Role {
    /// A server by itself, or a master, or a replica.
    #[default]
    Plain,
    /// A node of a cluster.
    Node,
    /// A sentinel with this configuration to begin with.
    Sentinel(String),
}

impl ServerBuilder {
    /// The flavor, instead of the one `REDLATCH_TEST_SERVER` names.
    pub fn flavor(mut self, flavor: Flavor) -> ServerBuilder {
        self.flavor = Some(flavor);
        self
    }

    /// One more word for the server's command line, such as `--maxclients` or `2`.
    pub fn arg(mut self, word: impl Into<String>) -> ServerBuilder {
        self.arguments.push(word.into());
        self
    }

    /// More words for the server's command line.
    pub fn args<W: Into<String>>(mut self, words: impl IntoIterator<Item = W>) -> ServerBuilder {
        self.arguments.extend(words.into_iter().map(Into::into));
        self
    }

    /// One more environment variable of the server.
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> ServerBuilder {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Whether every write is on disk before it is answered, so that the data survive a restart.
    pub fn appendonly(mut self, on: bool) -> ServerBuilder {
        self.append_only = on;
        self
    }

    /// The port, instead of a free one.
    pub fn port(mut self, port: u16) -> ServerBuilder {
        self.port = Some(port);
        self
    }

    /// The password of the default user, also where this server is the replica of another.
    ///
    /// [`Server::direct`] and [`Server::url`] carry it.
    pub fn password(mut self, password: impl Into<String>) -> ServerBuilder {
        self.password = Some(password.into());
        self
    }

    /// Makes the server a node of a cluster, which is alone until it meets others.
    pub(crate) fn cluster_node(mut self) -> ServerBuilder {
        self.role = Role::Node;
        self
    }

    /// Makes it a sentinel. It writes what it learns into its configuration, so it knows it after a restart too.
    pub(crate) fn sentinel(mut self, configuration: impl Into<String>) -> ServerBuilder {
        self.role = Role::Sentinel(configuration.into());
        self
    }

    /// Starts the server and waits until it answers.
    ///
    /// # Panics
    ///
    /// When no server is to be had or it does not start, saying why.
    #[track_caller]
    pub fn start(self) -> Server {
        self.try_start()
            .unwrap_or_else(|error| panic!("no test server: {error}"))
    }

    /// Starts the server and waits until it answers.
    pub fn try_start(self) -> Result<Server, StartError> {
        let flavor = match self.flavor {
            Some(flavor) => flavor,
            None => flavor_wanted()?,
        };
        let mut binary = binary(flavor)?;
        binary.environment.extend(self.environment.iter().cloned());
        let beyond = match &self.role {
            Role::Plain if self.append_only => Some("keeps no data over a restart"),
            Role::Plain => None,
            Role::Node => Some("knows no clusters"),
            Role::Sentinel(_) => Some("is no sentinel"),
        };
        if let Some(lack) = beyond.filter(|_| binary.stand_in) {
            return Err(StartError::new(format!(
                "{} {lack}; install valkey or redis for this test",
                binary.path.display()
            )));
        }
        let folder = process::new_folder()?;
        let mut guardian = Guardian::start(&folder)?;
        let wanted = Wanted {
            fixed: self.port,
            bus: match self.role {
                Role::Node if binary.major() >= 7 => Bus::Free,
                Role::Node => Bus::Above,
                _ => Bus::None,
            },
        };
        let setup = Setup {
            first: self.first_words(&folder)?,
            bind: vec!["127.0.0.1".into()],
            arguments: self.last_words(&binary, &folder),
            binary,
            password: self.password,
            folder,
        };
        let (ports, running) = process::start(&setup, &wanted)?;
        guardian.watch(Some(running.pid()));
        Ok(Server {
            setup,
            ports,
            state: Mutex::new(State {
                running: Some(running),
                frozen: false,
                guardian,
            }),
        })
    }
}

impl ServerBuilder {
    /// The words before those for the ports: the configuration of a sentinel, which is written here.
    fn first_words(&self, folder: &Path) -> Result<Vec<String>, StartError> {
        let Role::Sentinel(configuration) = &self.role else {
            return Ok(Vec::new());
        };
        let file = folder.join("sentinel.conf");
        std::fs::write(&file, configuration).map_err(|error| {
            StartError::new(format!(
                "{}: {error}; make room on the disk",
                file.display()
            ))
        })?;
        Ok(vec![file.display().to_string(), "--sentinel".into()])
    }

    /// The words after those for the ports.
    fn last_words(&self, binary: &ServerBinary, folder: &Path) -> Vec<String> {
        let mut words = Vec::new();
        let mut add = |added: &[&str]| words.extend(added.iter().map(|&word| word.to_owned()));
        if !binary.stand_in {
            add(&["--dir", &folder.display().to_string()]);
            if !matches!(self.role, Role::Sentinel(_)) {
                let on = if self.append_only { "yes" } else { "no" };
                add(&["--save", "", "--appendonly", on]);
                add(&["--appendfsync", "always"]);
                if binary.major() >= 7 {
                    add(&["--enable-debug-command", "local"]);
                }
            }
        }
        if let Some(password) = &self.password {
            add(&["--requirepass", password]);
            if !matches!(self.role, Role::Sentinel(_)) {
                add(&["--masterauth", password]);
            }
        }
        if let Role::Node = self.role {
            add(&["--cluster-enabled", "yes"]);
            add(&["--cluster-config-file", "nodes.conf"]);
        }
        words.extend(self.arguments.iter().cloned());
        words
    }
}

/// Starts several servers at once.
pub(crate) fn start_all(builders: Vec<ServerBuilder>) -> Result<Vec<Server>, StartError> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = builders
            .into_iter()
            .map(|builder| scope.spawn(|| builder.try_start()))
            .collect();
        threads
            .into_iter()
            .map(|thread| {
                let crashed = |_| Err(StartError::new("a start panicked; report this as a bug"));
                thread.join().unwrap_or_else(crashed)
            })
            .collect()
    })
}
