//! Who logs in, and what is checked before a client is handed out.

use std::{collections::BTreeSet, fmt};

use fred::types::config::Config;

use super::Feature;
use crate::{
    client::{Client, ClientBuilder},
    error::{Error, Result},
};

/// A text that is never printed: a password.
///
/// Its `Debug` shows nothing of it, there is no `Display`, and nobody outside of this crate reads it back.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// What a builder keeps for logging in, and for the first moment after.
#[derive(Debug, Clone, Default)]
pub(crate) struct Opening {
    user: Option<String>,
    password: Option<Secret>,
    features: BTreeSet<Feature>,
}

impl Opening {
    /// Puts the credentials into the configuration, where any were given.
    pub(crate) fn log_in(&self, config: &mut Config) {
        if let Some(password) = &self.password {
            config.username.clone_from(&self.user);
            config.password = Some(password.0.clone());
        }
    }

    /// Hands `client` on when it may do all that was asked for. Otherwise it is closed.
    pub(crate) async fn check(self, client: Client) -> Result<Client> {
        if self.features.is_empty() {
            return Ok(client);
        }
        let outcome = client.self_test(self.features).await;
        if outcome.is_err() {
            client.close(std::time::Duration::ZERO).await;
        }
        outcome.map(|()| client)
    }
}

impl ClientBuilder {
    /// Logs in as this user, whatever the address says.
    ///
    /// *Redisson*: `setUsername`, `setPassword`.
    pub fn credentials(self, user: impl Into<String>, password: impl Into<Secret>) -> Self {
        let user = Some(user.into());
        self.log_in_as(user, password.into())
    }

    /// Logs in as the server's default user, whatever the address says.
    ///
    /// *Redisson*: `setPassword`.
    pub fn password(self, password: impl Into<Secret>) -> Self {
        self.log_in_as(None, password.into())
    }

    fn log_in_as(mut self, user: Option<String>, password: Secret) -> Self {
        self.opening.user = user;
        self.opening.password = Some(password);
        self
    }

    /// Has [`connect`](Self::connect) check that the server's user may do what these features take: see
    /// [`Client::self_test`]. Without it nothing is checked, and a missing right shows when it is needed: in the middle of
    /// a wait or of an unlock.
    ///
    /// Off by default, since only the application knows what it will use, and a user that may do just that is right.
    pub fn self_test(mut self, features: impl IntoIterator<Item = Feature>) -> Self {
        self.opening.features.extend(features);
        self
    }
}

impl Client {
    /// All that is inside, as `Debug` shows it; for the tests that look for passwords in it.
    #[doc(hidden)]
    #[must_use]
    pub fn inside(&self) -> String {
        format!("{:?}", self.engine())
    }
}

/// Refuses an address whose user or password would be read as something else: a host, a port, a path. Those are printed.
pub(crate) fn check_address(url: &str) -> Result<()> {
    let after_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
    match after_scheme.find(['/', '?', '#', '\\']) {
        Some(end) if after_scheme[end..].contains('@') => Err(Error::invalid(
            "url",
            "there is an @ behind a /, ? or #: in a user or password these are written as %2F, %3F, %23",
        )),
        _ => Ok(()),
    }
}
