//! How a client reaches its servers: the settings that are about connections.

use std::{future::Future, io, net::SocketAddr, sync::Arc};

use fred::types::{RespVersion, config::Config};

#[cfg(feature = "tls-rustls")]
use crate::tls::Tls;
use crate::{
    access,
    address::{self, Parsed},
    client::ClientBuilder,
    config::Protocol,
    engine::transport::{
        Fault,
        dial::{Dial, Resolver, plaintext_password},
    },
    error::{Error, Result},
};

/// What the addresses do not say.
#[derive(Clone, Default)]
pub(crate) struct How {
    /// The addresses say that TLS is to be spoken.
    speak_tls: bool,
    #[cfg(feature = "tls-rustls")]
    tls: Option<Tls>,
    resolver: Option<Resolver>,
    protocol: Option<Protocol>,
    plaintext_password: bool,
}

impl How {
    /// All there is to know for opening connections.
    pub(crate) fn dial(self, mut config: Config) -> Result<Dial> {
        if let Some(protocol) = self.protocol {
            config.version = match protocol {
                Protocol::Resp2 => RespVersion::RESP2,
                Protocol::Resp3 => RespVersion::RESP3,
            };
        }
        #[cfg(feature = "tls-rustls")]
        match self.tls {
            Some(_) if !self.speak_tls => {
                return Err(Error::invalid(
                    "tls",
                    "nothing would be encrypted, since no address begins with rediss://",
                ));
            }
            tls if self.speak_tls => tls.unwrap_or_default().apply(&mut config)?,
            _ => {}
        }
        let resolved = self.resolver.is_some();
        let dial = Dial::new(config, self.resolver, self.plaintext_password);
        // Where a host really is only its resolver knows, and it is looked at once that is known.
        match dial.exposed().filter(|_| !resolved) {
            Some(host) => Err(Error::invalid("password", plaintext_password(&host))),
            None => Ok(dial),
        }
    }
}

impl ClientBuilder {
    /// Takes over what an address says.
    pub(crate) fn reach(mut self, address: Parsed) -> Self {
        self.how.speak_tls = address.tls;
        self.config = Some(address.config);
        self
    }

    /// Whom to trust and who to be, for `rediss://` addresses.
    ///
    /// [`connect`](Self::connect) refuses it where the addresses begin with `redis://`.
    ///
    /// *Redisson*: `sslTruststore`, `sslKeystore` and `sslVerificationMode`.
    #[cfg(feature = "tls-rustls")]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.how.tls = Some(tls);
        self
    }

    /// Whether a password may go to other machines without TLS, where anybody on the way can read it. Default: no.
    /// [`connect`](Self::connect) then fails with [`Error::InvalidArgument`] before anything is sent, and a cluster or a
    /// sentinel that announces such a host later is answered with [`Refusal::PlaintextPassword`]. Sockets, loopback
    /// addresses and `localhost` need no leave.
    ///
    /// [`Refusal::PlaintextPassword`]: crate::Refusal::PlaintextPassword
    ///
    /// *Redisson*: none; it sends passwords in the clear without a word.
    pub fn allow_plaintext_password(mut self, allow: bool) -> Self {
        self.how.plaintext_password = allow;
        self
    }

    /// Which version of the protocol is spoken. Default [`Protocol::Resp3`]; clients of both understand each other.
    ///
    /// *Redisson*: `protocol`.
    pub fn protocol(mut self, protocol: Protocol) -> Self {
        self.how.protocol = Some(protocol);
        self
    }

    /// Turns hosts and ports into the addresses to connect to, which are tried in turn, instead of asking the system. It is
    /// called for every new connection, with each host as it was named or announced, be it a name or an IP address; it has
    /// to answer within the connect timeout, which counts for it and for connecting together. With TLS the certificate
    /// must still be valid for the host, not for what comes out.
    ///
    /// For name services of one's own, and for clusters and sentinels that announce addresses which are of no use here.
    ///
    /// # Cancel safety
    ///
    /// Its future is dropped when connecting takes too long.
    ///
    /// *Redisson*: `addressResolverGroupFactory` and `natMapper`.
    pub fn resolver<F, A>(mut self, resolve: F) -> Self
    where
        F: Fn(String, u16) -> A + Send + Sync + 'static,
        A: Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'static,
    {
        self.how.resolver = Some(Arc::new(move |host, port| Box::pin(resolve(host, port))));
        self
    }
}

/// Why there is no connection, in a caller's words.
pub(crate) fn connect_error(config: &Config, fault: Fault) -> Error {
    let name: Arc<str> = address::shown(config).into();
    match fault {
        Fault::Refused { refusal, text } => {
            access::missing_at_login(&text).unwrap_or(Error::Refused {
                name,
                refusal,
                message: text,
            })
        }
        other => Error::Unreachable {
            name,
            reason: other.to_string(),
            indeterminate: false,
        },
    }
}
