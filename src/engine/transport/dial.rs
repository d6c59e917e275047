//! How servers are reached: what all connections of a client have in common, and what went wrong on the way.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    ops::{Deref, DerefMut},
    sync::Arc,
};

use fred::{
    bytes_utils::Str,
    prelude::{Config, ServerConfig},
    types::config::Server,
};

use tokio::task::JoinSet;

use super::{BoxFuture, Fault, chart::Address};
use crate::error::Refusal;

/// Turns a host and a port into addresses to try, one after the other.
pub(crate) type Resolver =
    Arc<dyn Fn(String, u16) -> BoxFuture<io::Result<Vec<SocketAddr>>> + Send + Sync>;

/// A client's configuration, and what the one of fred has no place for.
#[derive(Clone)]
pub(crate) struct Dial {
    config: Config,
    resolver: Option<Resolver>,
    /// Whether a password may go to other machines without TLS.
    plaintext_password: bool,
}

impl Dial {
    pub(crate) fn new(
        config: Config,
        resolver: Option<Resolver>,
        plaintext_password: bool,
    ) -> Self {
        Self {
            config,
            resolver,
            plaintext_password,
        }
    }

    /// The first of the named hosts to which a password would go in the clear, against the will of the application.
    pub(crate) fn exposed(&self) -> Option<String> {
        let of_sentinels = match &self.config.server {
            ServerConfig::Unix { .. } => return None,
            ServerConfig::Sentinel { password, .. } => password.is_some(),
            _ => false,
        };
        let password = self.config.password.is_some() || of_sentinels;
        if self.plaintext_password || !password || self.config.uses_tls() {
            return None;
        }
        let hosts = self.config.server.hosts().into_iter();
        let mut hosts = hosts.map(|server| server.host.to_string());
        hosts.find(|host| !is_loopback(host))
    }

    /// Refuses to log in where a password would go in the clear: to a host that somebody has announced, or that a
    /// resolver has come up with.
    pub(super) fn check_exposure(&self) -> Result<(), Fault> {
        match self.exposed() {
            None => Ok(()),
            Some(host) => Err(Fault::Refused {
                refusal: Refusal::PlaintextPassword,
                text: plaintext_password(&host),
            }),
        }
    }

    /// How the server at an address is reached, with the name that its certificate must have, if one was given.
    pub(super) fn at(&self, address: &Address) -> Self {
        let mut there = self.clone();
        let hosts = self.config.server.hosts();
        let mut server = hosts
            .into_iter()
            .next()
            .unwrap_or_else(|| Server::new("", 0));
        server.host = Str::from(address.host.as_str());
        server.port = address.port;
        there.config.server = ServerConfig::Centralized { server };
        there
    }

    /// Where to connect to, one after the other, as the resolver has it now.
    pub(super) async fn candidates(&self) -> Result<Vec<Self>, Fault> {
        let ServerConfig::Centralized { server } = &self.config.server else {
            return Ok(vec![self.clone()]);
        };
        let Some(resolver) = &self.resolver else {
            return Ok(vec![self.clone()]);
        };
        let host = &server.host;
        let missing = |why: String| Fault::NotSent {
            reason: format!("no address of {host}: {why}"),
        };
        // It is the program's own code, and must not take the task with it that keeps a connection open.
        let looking = (resolver.clone(), host.to_string(), server.port);
        let mut task = JoinSet::new();
        task.spawn(async move { looking.0(looking.1, looking.2).await });
        let found = match task.join_next().await {
            Some(Ok(found)) => found.map_err(|error| missing(error.to_string()))?,
            _ => return Err(missing("the resolver panicked".to_owned())),
        };
        if found.is_empty() {
            return Err(missing("the resolver knows none".to_owned()));
        }
        let there = |address: SocketAddr| {
            let mut there = self.clone();
            let mut server = server.clone();
            server.host = Str::from(address.ip().to_string());
            server.port = address.port();
            // The certificate is for the host as it was named.
            #[cfg(feature = "tls-rustls")]
            server.tls_server_name.get_or_insert_with(|| host.clone());
            there.config.server = ServerConfig::Centralized { server };
            there
        };
        Ok(found.into_iter().map(there).collect())
    }

    /// Says in plain words what a failed handshake means. Nothing has been sent then.
    pub(super) fn explain(&self, fault: Fault) -> Fault {
        let (Fault::Unknown { reason } | Fault::NotSent { reason }) = &fault else {
            return fault;
        };
        match Handshake::read(reason, self.config.uses_tls()) {
            Some(Handshake::Certificate(what)) => Fault::Refused {
                refusal: Refusal::Certificate,
                text: format!("{what} ({reason})"),
            },
            Some(Handshake::NoTls) => Fault::NotSent {
                reason: format!(
                    "the server did not answer as one that speaks TLS: if it does not at this port, use redis:// ({reason})"
                ),
            },
            Some(Handshake::Tls) => Fault::NotSent {
                reason: format!(
                    "the server hung up before it said anything: if it speaks TLS at this port, use rediss:// ({reason})"
                ),
            },
            None => fault,
        }
    }
}

/// What is said where a password would go to `host` in the clear.
pub(crate) fn plaintext_password(host: &str) -> String {
    format!(
        "it would go to {host} without TLS: use rediss://, or call allow_plaintext_password(true) where the network is trusted"
    )
}

/// Whether what is sent there stays on this machine.
fn is_loopback(host: &str) -> bool {
    let ip = host.parse().map(|ip: IpAddr| ip.to_canonical());
    ip.map_or_else(
        |_| host.eq_ignore_ascii_case("localhost"),
        |ip| ip.is_loopback(),
    )
}

/// How a handshake failed.
#[derive(Debug, PartialEq, Eq)]
enum Handshake {
    /// A certificate was not accepted.
    Certificate(&'static str),
    /// TLS was spoken to a server that may not.
    NoTls,
    /// TLS was not spoken to a server that may.
    Tls,
}

impl Handshake {
    /// Reads the words of the TLS library, of which fred passes on no more than the text.
    fn read(reason: &str, tls: bool) -> Option<Self> {
        const OURS: &str = "the server does not accept this client's certificate";
        const FOREIGN: &str =
            "the server's certificate is from an authority that is not trusted here";
        const CERTIFICATES: [(&str, &str); 14] = [
            (
                "NotValidForName",
                "the server's certificate is for another host",
            ),
            ("UnknownIssuer", FOREIGN),
            // Of the same name as one that is trusted.
            ("BadSignature", FOREIGN),
            ("Expired", "the server's certificate has expired"),
            (
                "NotValidYet",
                "the server's certificate is not valid yet: is the clock right?",
            ),
            (
                "InvalidCertificate",
                "the server's certificate is not acceptable",
            ),
            (
                "AlertReceived(CertificateRequired)",
                "the server asks for a client certificate",
            ),
            ("AlertReceived(BadCertificate)", OURS),
            ("AlertReceived(UnsupportedCertificate)", OURS),
            ("AlertReceived(CertificateRevoked)", OURS),
            ("AlertReceived(CertificateExpired)", OURS),
            ("AlertReceived(CertificateUnknown)", OURS),
            ("AlertReceived(UnknownCA)", OURS),
            ("AlertReceived(DecryptError)", OURS),
        ];
        if !tls {
            let hung_up = [
                "ConnectionReset",
                "ConnectionAborted",
                "UnexpectedEof",
                "BrokenPipe",
            ];
            let hung_up = hung_up.iter().any(|word| reason.contains(word));
            return hung_up.then_some(Self::Tls);
        }
        let found = CERTIFICATES.iter().find(|(word, _)| reason.contains(word));
        if let Some((_, what)) = found {
            return Some(Self::Certificate(what));
        }
        // A server without TLS may take the greeting for the beginning of a line, and wait for its end.
        let strange = [
            "InvalidContentType",
            "InvalidMessage",
            "timed out",
            "in time",
        ];
        strange
            .iter()
            .any(|word| reason.contains(word))
            .then_some(Self::NoTls)
    }
}

impl Deref for Dial {
    type Target = Config;

    fn deref(&self) -> &Config {
        &self.config
    }
}

impl DerefMut for Dial {
    fn deref_mut(&mut self) -> &mut Config {
        &mut self.config
    }
}

impl fmt::Debug for Dial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dial")
            .field("server", &self.config.server.hosts())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_reached_without_a_network() {
        for host in ["localhost", "LOCALHOST", "127.0.0.1", "127.8.9.1", "::1"] {
            assert!(is_loopback(host), "{host}");
        }
        // What looks like it and is not.
        for host in [
            "",
            "0.0.0.0",
            "::",
            "10.0.0.1",
            "redis",
            "localhost.example",
            "127.0.0.1.example",
            "127.1",
            "::ffff:10.0.0.1",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
        assert!(is_loopback("::ffff:127.0.0.1"));
    }

    #[test]
    fn a_password_goes_to_no_network_by_a_socket_of_this_machine() {
        let exposed = |server| {
            let config = Config {
                server,
                password: Some("secret".to_owned()),
                ..Config::default()
            };
            Dial::new(config, None, false).exposed()
        };
        let away = ServerConfig::new_centralized("10.0.0.1", 6379);
        assert_eq!(exposed(away).as_deref(), Some("10.0.0.1"));
        #[cfg(unix)]
        assert_eq!(exposed(ServerConfig::new_unix_socket("/tmp/a")), None);
    }

    #[test]
    fn handshakes_are_told_apart() {
        let read = Handshake::read;
        let certificate = |reason| match read(reason, true) {
            Some(Handshake::Certificate(what)) => what,
            other => panic!("{reason}: {other:?}"),
        };
        let name = "InvalidCertificate(NotValidForNameContext { expected: DnsName(\"a\") })";
        assert!(certificate(name).contains("another host"));
        assert!(certificate("InvalidCertificate(UnknownIssuer)").contains("authority"));
        assert!(certificate("InvalidCertificate(BadEncoding)").contains("not acceptable"));
        assert!(certificate("AlertReceived(CertificateRequired)").contains("asks for"));
        assert!(certificate("AlertReceived(UnknownCA)").contains("this client's"));
        let strange = "Custom { kind: InvalidData, error: InvalidMessage(InvalidContentType) }";
        assert_eq!(read(strange, true), Some(Handshake::NoTls));
        let reset = "Os { code: 104, kind: ConnectionReset, message: \"reset\" }";
        assert_eq!(read(reset, false), Some(Handshake::Tls));
        assert_eq!(read(reset, true), None);
        assert_eq!(read("no reply in time", true), Some(Handshake::NoTls));
        assert_eq!(read("Os { kind: ConnectionRefused }", false), None);
        assert_eq!(read("no reply in time", false), None);
    }
}
