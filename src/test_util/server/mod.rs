//! A real server for one test.

use std::{process::Command, time::Duration};

use self::{
    launch::Running,
    talk::{Answer, ask},
};
use crate::{
    client::Client,
    error::{Error, Refusal, Result},
};

mod error;
mod find;
#[cfg(unix)]
mod guardian;
mod launch;
mod talk;

pub use self::error::StartError;

/// How long the server may take for a command of the kit's own.
const LIMIT: Duration = Duration::from_secs(10);

/// A real server that belongs to a test: on a free loopback port, without persistence, empty.
///
/// It is killed when this value is dropped, also by a test that panics. Should the test's process be killed itself, or end
/// with this value in a `static`, a small shell that waits for that does the same within moments (on Unix).
///
/// Its clock is the real one: use it without `tokio::time::pause`, and with short leases and watchdog timeouts.
///
/// # Examples
///
/// ```no_run
/// use redlatch::test_util::TestServer;
///
/// # async fn test() -> Result<(), Box<dyn std::error::Error>> {
/// let server = TestServer::start().await?;
/// let client = redlatch::Client::connect(server.url()).await?;
/// client.lock("orders:42").lock().await?.unlock().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct TestServer {
    running: Running,
    url: String,
}

impl TestServer {
    /// Starts the server that the environment variable `REDLATCH_SERVER` names, or else `valkey-server` or `redis-server` from
    /// `PATH`, and waits until it answers. Nothing is downloaded.
    ///
    /// # Cancel safety
    ///
    /// A caller that leaves leaves nothing running.
    ///
    /// # Errors
    ///
    /// [`StartError::NotFound`], which says what to install, where there is no server; the others when it does not start.
    pub async fn start() -> Result<Self, StartError> {
        blocking(|| {
            let binary = find::find(std::env::var_os(find::VARIABLE), std::env::var_os("PATH"))?;
            launch::launch(&Command::new(binary))
        })
        .await
        .map(Self::new)
    }

    /// Starts the server of this command, with its arguments and environment; what makes the server private is added.
    ///
    /// # Cancel safety
    ///
    /// As [`start`](Self::start).
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start), but never [`StartError::NotFound`].
    pub async fn start_command(command: Command) -> Result<Self, StartError> {
        blocking(move || launch::launch(&command))
            .await
            .map(Self::new)
    }

    fn new(running: Running) -> Self {
        let url = format!("redis://127.0.0.1:{}", running.port());
        Self { running, url }
    }

    /// The address: `redis://127.0.0.1:port`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.running.port()
    }

    /// The server's process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// A client with default settings.
    ///
    /// # Cancel safety
    ///
    /// A caller that leaves leaves nothing behind.
    ///
    /// # Errors
    ///
    /// As [`Client::connect`].
    pub async fn client(&self) -> Result<Client> {
        Client::connect(&self.url).await
    }

    /// Takes the lock away from whoever holds it, without a word to anybody; whether there was something to take. As
    /// [`FakeServer::lose_lock_now`](super::FakeServer::lose_lock_now), for every kind of lock.
    ///
    /// # Cancel safety
    ///
    /// It may take effect although the caller has left.
    ///
    /// # Errors
    ///
    /// [`Error::Unreachable`] and [`Error::Refused`].
    pub async fn lose_lock_now(&self, name: &str) -> Result<bool> {
        let gone = self.command(["DEL", name]).await?;
        Ok(gone != Answer::Number(0))
    }

    /// Cuts the connections of all clients. As
    /// [`FakeServer::cut_connections`](super::FakeServer::cut_connections).
    ///
    /// # Cancel safety
    ///
    /// It may take effect although the caller has left.
    ///
    /// # Errors
    ///
    /// [`Error::Unreachable`] and [`Error::Refused`].
    pub async fn cut_connections(&self) -> Result<()> {
        for kind in ["normal", "pubsub"] {
            self.command(["CLIENT", "KILL", "TYPE", kind]).await?;
        }
        Ok(())
    }

    /// The server does and answers nothing for `duration`, and lets no key end meanwhile. As
    /// [`FakeServer::silence`](super::FakeServer::silence), but all that was asked for meanwhile is done in the end, where its
    /// connection still lives.
    ///
    /// # Cancel safety
    ///
    /// It may take effect although the caller has left.
    ///
    /// # Errors
    ///
    /// [`Error::Unreachable`] and [`Error::Refused`].
    pub async fn silence(&self, duration: Duration) -> Result<()> {
        let ms = duration.as_millis().to_string();
        self.command(["CLIENT", "PAUSE", &ms]).await?;
        Ok(())
    }

    async fn command<const N: usize>(&self, words: [&str; N]) -> Result<Answer> {
        let (port, words) = (self.port(), words.map(str::to_owned));
        let answer = blocking(move || ask(port, &words, LIMIT)).await;
        match answer {
            Ok(Answer::Error(message)) => Err(Error::Refused {
                name: self.url.as_str().into(),
                refusal: Refusal::classify(&message).unwrap_or(Refusal::Other),
                message,
            }),
            Ok(answer) => Ok(answer),
            Err(error) => Err(Error::Unreachable {
                name: self.url.as_str().into(),
                reason: error.to_string(),
                indeterminate: true,
            }),
        }
    }
}

/// What blocks, off the runtime's own threads.
async fn blocking<T, E, F>(work: F) -> Result<T, E>
where
    F: FnOnce() -> Result<T, E> + Send + 'static,
    T: Send + 'static,
    E: From<std::io::Error> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        // Only a runtime that ends gives such a task up.
        Err(error) => Err(std::io::Error::other(error).into()),
    }
}
