//! Addresses of servers, as a program writes them.

use std::path::PathBuf;

use fred::types::{
    RespVersion,
    config::{Config, Server, ServerConfig},
};

use crate::{
    access::check_address,
    error::{Error, Result},
};

/// One or more addresses, read.
pub(crate) struct Parsed {
    pub(crate) config: Config,
    /// Whether TLS is to be spoken. How is in no address.
    pub(crate) tls: bool,
}

/// Without the password.
impl std::fmt::Debug for Parsed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parsed")
            .field("hosts", &self.config.server.hosts())
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

const PLAIN: &str = "redis://";
const TLS: &str = "rediss://";
const UNIX: [&str; 2] = ["redis+unix://", "redis+uds://"];

impl Parsed {
    /// Reads `redis://`, `rediss://` and `redis+unix://`.
    pub(crate) fn read(url: &str) -> Result<Self> {
        check_address(url)?;
        if let Some(rest) = UNIX.iter().find_map(|scheme| url.strip_prefix(scheme)) {
            let (config, tls) = (unix(rest)?, false);
            return Ok(Self { config, tls });
        }
        let tls = url.starts_with(TLS);
        if !tls && !url.starts_with(PLAIN) {
            return Err(Error::invalid(
                "url",
                "it must begin with redis://, rediss:// or redis+unix://",
            ));
        }
        if tls && !cfg!(feature = "tls-rustls") {
            return Err(Error::invalid(
                "url",
                "rediss:// needs the feature tls-rustls",
            ));
        }
        // The client would read the system's authorities here, be they wanted or not.
        let plain = url.replacen(TLS, PLAIN, 1);
        let mut config = Config::from_url_centralized(&plain).map_err(wrong)?;
        if let ServerConfig::Centralized { server } = &mut config.server {
            let host = server.host.trim_start_matches('[').trim_end_matches(']');
            *server = Server::new(host.to_owned(), server.port);
        }
        config.version = RespVersion::RESP3;
        Ok(Self { config, tls })
    }

    /// Reads several addresses of one thing: what the first says of how to log in, and where they all are.
    pub(crate) fn together(
        urls: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Result<(Self, Vec<Server>)> {
        let all: Vec<_> = urls
            .into_iter()
            .map(|url| Self::read(url.as_ref()))
            .collect::<Result<_>>()?;
        let is_tcp = |one: &Self| matches!(one.config.server, ServerConfig::Centralized { .. });
        if !all.iter().all(is_tcp) {
            return Err(Error::invalid("url", "a socket is one server by itself"));
        }
        let hosts = all
            .iter()
            .flat_map(|one| one.config.server.hosts())
            .collect();
        let speak = all.iter().filter(|one| one.tls).count();
        if speak != 0 && speak != all.len() {
            return Err(Error::invalid("url", "some have TLS and some have not"));
        }
        let first = all.into_iter().next();
        let first = first.ok_or_else(|| Error::invalid("url", "no address was named"))?;
        Ok((first, hosts))
    }
}

/// All addresses there are, in an order that does not depend on how they were named.
pub(crate) fn shown(config: &Config) -> String {
    let mut hosts: Vec<_> = config
        .server
        .hosts()
        .iter()
        .map(|server| match server.port {
            // A socket.
            0 => server.host.to_string(),
            port if server.host.contains(':') => format!("[{}]:{port}", server.host),
            _ => server.to_string(),
        })
        .collect();
    hosts.sort();
    hosts.join(",")
}

fn wrong(error: fred::error::Error) -> Error {
    Error::invalid("url", error.details().to_owned())
}

/// What is behind the scheme of a socket's address: `[[user][:password]@host]/path[?db=n]`.
#[cfg(unix)]
fn unix(rest: &str) -> Result<Config> {
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (login, path) = place.split_at(place.find('/').unwrap_or(place.len()));
    if path.len() < 2 {
        return Err(Error::invalid("url", "it names no socket"));
    }
    // The same words before the path mean the same as for a host.
    let host = if login.is_empty() { "localhost" } else { login };
    let mut config = Config::from_url_centralized(&format!("{PLAIN}{host}")).map_err(wrong)?;
    config.database =
        match query.strip_prefix("db=") {
            Some(db) => Some(db.parse().map_err(|_| {
                Error::invalid("url", format!("db={db} is no number from 0 to 255"))
            })?),
            None if query.is_empty() => None,
            None => return Err(Error::invalid("url", "a socket has ?db=n and nothing else")),
        };
    config.server = ServerConfig::Unix {
        path: decoded(path)?,
    };
    config.version = RespVersion::RESP3;
    Ok(config)
}

#[cfg(not(unix))]
fn unix(_: &str) -> Result<Config> {
    Err(Error::invalid("url", "this system has no such sockets"))
}

/// A path with its `%20`s read.
#[cfg(unix)]
fn decoded(path: &str) -> Result<PathBuf> {
    use std::{ffi::OsString, os::unix::ffi::OsStringExt};

    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        bytes.push(if *byte == b'%' {
            let digits = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
            let read = digits.and_then(|two| u8::from_str_radix(two, 16).ok());
            rest = after.get(2..).unwrap_or_default();
            read.ok_or_else(|| Error::invalid("url", "a % in it has no two digits behind it"))?
        } else {
            *byte
        });
    }
    Ok(OsString::from_vec(bytes).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(url: &str) -> String {
        Parsed::read(url).expect_err(url).to_string()
    }

    #[cfg(unix)]
    #[test]
    fn a_socket_has_a_path_a_login_and_a_database() {
        let read = |url| Parsed::read(url).expect("makes sense");
        let config = read("redis+unix:///run/a%20b.sock").config;
        assert_eq!(
            config.server,
            ServerConfig::Unix {
                path: "/run/a b.sock".into()
            }
        );
        assert_eq!((config.username, config.password), (None, None));
        assert_eq!(
            (config.database, config.version),
            (None, RespVersion::RESP3)
        );
        let config = read("redis+uds://me:p%40ss@here/run/s?db=3").config;
        assert_eq!(shown(&config), "/run/s");
        assert_eq!(config.username.as_deref(), Some("me"));
        assert_eq!(config.password.as_deref(), Some("p@ss"));
        assert_eq!(config.database, Some(3));
        for url in [
            "redis+unix://",
            "redis+unix:///",
            "redis+unix:///s?db=x",
            "redis+unix:///s?name=x",
            "redis+unix:///s%2",
            "redis+unix:///s%zz",
            "redis+unix://me:pass/word@here/s",
        ] {
            wrong(url);
        }
    }

    #[test]
    fn an_ipv6_address_loses_its_brackets() {
        let read = Parsed::read("redis://[::1]:7000/2").expect("makes sense");
        let hosts = read.config.server.hosts();
        assert_eq!((&*hosts[0].host, hosts[0].port), ("::1", 7000));
        assert_eq!(shown(&read.config), "[::1]:7000");
        assert_eq!(read.config.database, Some(2));
    }

    #[test]
    fn addresses_that_make_no_sense_are_refused() {
        assert!(wrong("http://a").contains("redis://"));
        assert!(wrong("redis://").contains("url"));
        let mixed = ["redis://a", "rediss://b"];
        let socket = ["redis+unix:///s"];
        assert!(Parsed::together(mixed).is_err());
        assert!(Parsed::together(socket).is_err());
        assert!(Parsed::together([""; 0]).is_err());
        let tls = Parsed::read("rediss://a");
        assert_eq!(tls.is_ok(), cfg!(feature = "tls-rustls"));
    }
}
