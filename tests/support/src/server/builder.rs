//! What a server is started with.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::ports::{Bus, Wanted};
use super::process::{self, Guardian, Setup};
use super::{Server, StartError, State, binary, flavor_wanted, user};
use crate::finder::{Flavor, ServerBinary};
use crate::tls::{Certificates, Identity};

/// The name of the Unix socket in the server's folder.
const SOCKET: &str = "socket";
/// How long its path may be on every system.
const SOCKET_LIMIT: usize = 103;

/// Says how a server is to be started.
#[derive(Clone, Debug, Default)]
pub struct ServerBuilder {
    flavor: Option<Flavor>,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    append_only: bool,
    port: Option<u16>,
    password: Option<String>,
    bind: Option<String>,
    unix_socket: bool,
    tls: Option<Tls>,
    role: Role,
}

/// How a server speaks TLS.
#[derive(Clone, Debug)]
struct Tls {
    certificates: Certificates,
    own: Identity,
    asks_clients: bool,
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

    /// The addresses to listen on, such as `127.0.0.1 ::1`, instead of 127.0.0.1, which must be among them.
    pub fn bind(mut self, addresses: impl Into<String>) -> ServerBuilder {
        self.bind = Some(addresses.into());
        self
    }

    /// Listens on a Unix socket too, at [`Server::unix_socket`].
    pub fn unix_socket(mut self) -> ServerBuilder {
        self.unix_socket = true;
        self
    }

    /// Speaks TLS on a port of its own, [`Server::tls_port`], with the certificate for this host.
    ///
    /// The plain port stays open for [`Server::direct`]. Clients need no certificate. Unless a flavor was given, a
    /// server that was built without TLS is replaced by Redis 7.0.
    pub fn tls(self, certificates: &Certificates) -> ServerBuilder {
        let own = certificates.server.clone();
        self.speak_tls(certificates, own)
    }

    /// Speaks TLS as by [`ServerBuilder::tls`], but with a certificate for another host, which a client that checks
    /// names must refuse.
    pub fn tls_of_other_host(self, certificates: &Certificates) -> ServerBuilder {
        let own = certificates.other_host.clone();
        self.speak_tls(certificates, own)
    }

    /// Lets in by TLS only clients that have a certificate, such as [`Certificates::client`].
    ///
    /// # Panics
    ///
    /// Unless TLS was asked for before.
    #[track_caller]
    pub fn client_certificates(mut self) -> ServerBuilder {
        let tls = self.tls.as_mut();
        tls.expect("there is no TLS yet; call tls() first")
            .asks_clients = true;
        self
    }

    fn speak_tls(mut self, certificates: &Certificates, own: Identity) -> ServerBuilder {
        self.tls = Some(Tls {
            certificates: certificates.clone(),
            own,
            asks_clients: false,
        });
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
        let mut binary = self.find()?;
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
            tls: self.tls.is_some(),
        };
        let socket = match self.unix_socket {
            true => Some(socket_in(&folder)?),
            false => None,
        };
        let mut arguments = self.last_words(&binary, &folder);
        let confined = user::wanted()
            && !binary.stand_in
            && self.password.is_none()
            && matches!(self.role, Role::Plain);
        if confined {
            arguments.extend(user::arguments(&folder)?);
        }
        let setup = Setup {
            first: self.first_words(&folder)?,
            bind: self.addresses()?,
            socket,
            arguments,
            binary,
            password: self.password,
            certificates: self.tls.map(|tls| tls.certificates),
            folder,
        };
        let (ports, running) = process::start(&setup, &wanted, &mut guardian)?;
        Ok(Server {
            setup,
            ports,
            confined,
            state: Mutex::new(State {
                running: Some(running),
                frozen: false,
                guardian,
            }),
        })
    }
}

impl ServerBuilder {
    /// The binary to start.
    fn find(&self) -> Result<ServerBinary, StartError> {
        let flavor = match self.flavor {
            Some(flavor) => flavor,
            None => flavor_wanted()?,
        };
        let found = binary(flavor)?;
        if self.tls.is_none() || found.speaks_tls() {
            return Ok(found);
        }
        let lack = format!("{} was built without TLS", found.path.display());
        let advice = "put a redis-server 7.0 or another server with TLS on the PATH";
        if self.flavor.is_some() {
            return Err(StartError::new(format!(
                "{lack}; choose redis-7.0 for this test, or {advice}"
            )));
        }
        match binary(Flavor::Redis70) {
            Ok(other) if other.speaks_tls() => Ok(other),
            Ok(other) => Err(StartError::new(format!(
                "{lack}, and so was {}; {advice}",
                other.path.display()
            ))),
            Err(error) => Err(StartError::new(format!("{lack}, and {error}; {advice}"))),
        }
    }

    fn addresses(&self) -> Result<Vec<String>, StartError> {
        let Some(bind) = &self.bind else {
            return Ok(vec!["127.0.0.1".into()]);
        };
        let addresses: Vec<String> = bind.split_whitespace().map(String::from).collect();
        if addresses.iter().any(|address| address == "127.0.0.1") {
            return Ok(addresses);
        }
        Err(StartError::new(format!(
            "{bind:?} lacks 127.0.0.1, where the server is asked whether it is ready; add it"
        )))
    }

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
        if self.unix_socket {
            add(&["--unixsocket", SOCKET]);
        }
        if let Some(tls) = &self.tls {
            let path = |path: &Path| path.display().to_string();
            add(&["--tls-cert-file", &path(&tls.own.certificate)]);
            add(&["--tls-key-file", &path(&tls.own.key)]);
            add(&["--tls-ca-cert-file", &path(&tls.certificates.ca)]);
            let clients = if tls.asks_clients { "yes" } else { "optional" };
            add(&["--tls-auth-clients", clients]);
        }
        words.extend(self.arguments.iter().cloned());
        words
    }
}

/// Where a server has its Unix socket, if its path is not too long for one.
fn socket_in(folder: &Path) -> Result<PathBuf, StartError> {
    let socket = folder.join(SOCKET);
    if socket.as_os_str().len() > SOCKET_LIMIT {
        return Err(StartError::new(format!(
            "{} is too long for a Unix socket; set TMPDIR to a shorter path",
            socket.display()
        )));
    }
    Ok(socket)
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
