//! The other side of a fencing token: resources that refuse the writes of a holder that is no holder any more.
//!
//! A lock on a server can be lost without its holder noticing in time: the process was stopped, the network was slow. The
//! [fenced lock](crate::Fenced) numbers its grants, and a resource that remembers the highest number it has seen refuses
//! whoever comes with a lower one. A resource need do no more than that:
//!
//! - in memory, for a service that writes on behalf of others: [`Checker`];
//! - in Redis: [`FencedCell`], a value with the token of whoever wrote it, compared and set in one script;
//! - in SQL, in the statement that writes:
//!
//! ```sql
//! -- The table has a column "token", 0 at first. One row updated: written. None: somebody newer was here.
//! UPDATE stock SET pieces = :pieces, token = :token WHERE item = :item AND token <= :token;
//! ```
//!
//! The same token may write any number of times: `<=`, not `<`.
//!
//! # Who reads before it writes shows its token when it reads
//!
//! A check of the writes alone is not enough for a change that depends on what was read. A holder reads and is stopped; the
//! next reads the same; the first wakes up and writes, which nobody refuses, since nothing newer has been *written*; the
//! second writes over it, and the first change is gone although it was confirmed. So the token is shown with the read as
//! well, which refuses all older holders from then on: [`FencedCell::claim`], [`Checker::check`] before the read,
//! or in SQL:
//!
//! ```sql
//! UPDATE stock SET token = :token WHERE item = :item AND token <= :token RETURNING pieces;
//! ```

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;

use crate::{
    client::Client,
    engine::{
        Engine,
        script::{Command, Script, decimal, script},
        transport::Reply,
        unexpected,
    },
    error::{Error, Result},
    lock::FencingToken,
};

static CLAIM: Script = script!("fencing/claim");
static SET: Script = script!("fencing/set");

/// Every script of this module, for the tests that read them all.
#[cfg(test)]
pub(crate) static SCRIPTS: [&Script; 2] = [&CLAIM, &SET];

/// A write came with a token that is older than one seen before: its holder has lost the lock. Nothing was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct StaleToken {
    /// The token of the write.
    pub token: FencingToken,
    /// The highest token seen.
    pub newest: FencingToken,
}

impl fmt::Display for StaleToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { token, newest } = self;
        write!(f, "token {token} is stale: {newest} was seen")
    }
}

impl std::error::Error for StaleToken {}

/// Remembers the highest token for each resource, in memory.
///
/// For the one process that all writes to its resources go through. It forgets everything with the process: where that
/// matters, keep the token beside the data instead.
///
/// # Examples
///
/// ```
/// use redlatch::{FencingToken, fencing::Checker};
///
/// let checker = Checker::new();
/// checker.check("orders", FencingToken::new(7)).expect("the newest so far");
/// checker.check("orders", FencingToken::new(7)).expect("the same holder again");
/// let stale = checker.check("orders", FencingToken::new(6)).expect_err("an older holder");
/// assert_eq!(stale.newest, FencingToken::new(7));
/// ```
#[derive(Debug, Default)]
pub struct Checker(Mutex<HashMap<Box<str>, FencingToken>>);

impl Checker {
    /// A checker that has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets a write pass that comes with the highest token seen for `resource`, and remembers it.
    ///
    /// Check and write must not be torn apart by another write: call this where writes are serialized.
    ///
    /// # Errors
    ///
    /// [`StaleToken`] when a higher one was seen.
    pub fn check(&self, resource: &str, token: FencingToken) -> Result<(), StaleToken> {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match seen.get_mut(resource) {
            Some(newest) if *newest > token => Err(StaleToken {
                token,
                newest: *newest,
            }),
            Some(newest) => {
                *newest = token;
                Ok(())
            }
            None => {
                seen.insert(resource.into(), token);
                Ok(())
            }
        }
    }

    /// Forgets a resource.
    pub fn forget(&self, resource: &str) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(resource);
    }
}

/// A value in Redis that refuses the writes of stale holders: a hash with the fields `token` and `value`.
///
/// Made by [`Client::fenced_cell`]; making and cloning one sends nothing.
#[derive(Clone)]
pub struct FencedCell {
    engine: Arc<Engine>,
    name: Arc<str>,
}

impl FencedCell {
    /// Reads the value, and refuses all writes with older tokens from now on: the first step of a change that depends on
    /// what was read. `None` when nothing has been written. Claiming again does no harm.
    ///
    /// # Cancel safety
    ///
    /// It may take effect although the caller has left: older holders are refused, and nothing else has changed.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`] when a higher token was seen; [`Error::WrongType`], and those of any request.
    pub async fn claim(&self, token: FencingToken) -> Result<Option<Bytes>> {
        let reply = self.send(&CLAIM, token, None).await?;
        match reply {
            Reply::Array(items) => match items.into_iter().nth(2) {
                Some(Reply::Text(value)) => Ok(Some(value)),
                _ => Ok(None),
            },
            reply => Err(self.unexpected(&reply)),
        }
    }

    /// Writes `value`, unless somebody with a higher token has written or [claimed](Self::claim) before. Writing the same
    /// again does no harm.
    ///
    /// # Cancel safety
    ///
    /// It may take effect although the caller has left.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`] when a higher token was seen; [`Error::WrongType`], and those of any request.
    /// [`Error::Unreachable`] does not say whether the value was written.
    pub async fn set(&self, token: FencingToken, value: impl Into<Bytes>) -> Result<()> {
        self.send(&SET, token, Some(value.into())).await?;
        Ok(())
    }

    /// The answer of the script where the token was not refused.
    async fn send(
        &self,
        script: &'static Script,
        token: FencingToken,
        value: Option<Bytes>,
    ) -> Result<Reply> {
        let number = u64::try_from(token.get())
            .map_err(|_| Error::invalid("token", "a fencing token is not negative"))?;
        let command = Command {
            script,
            keys: vec![self.key()?],
            args: [decimal(number)].into_iter().chain(value).collect(),
        };
        let reply = self.engine.read(&self.name, &command).await?;
        let Reply::Array(items) = &reply else {
            return Err(self.unexpected(&reply));
        };
        match items.as_slice() {
            [Reply::Int(1), ..] => Ok(reply),
            [Reply::Int(0), Reply::Int(newest)] => Err(Error::Stale {
                name: self.name.clone(),
                stale: StaleToken {
                    token,
                    newest: FencingToken::new(*newest),
                },
            }),
            _ => Err(self.unexpected(&reply)),
        }
    }

    /// The value and the highest token seen; `None` when nobody has written. Refuses nobody: a look.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// [`Error::WrongType`] when the key is no cell, and those of any question to the server.
    pub async fn get(&self) -> Result<Option<(FencingToken, Bytes)>> {
        let (token, value) = (Bytes::from_static(b"token"), Bytes::from_static(b"value"));
        let args = [&self.key()?, &token, &value];
        let reply = self.engine.query(&self.name, "HMGET", &args).await?;
        match &reply {
            Reply::Array(fields) => match fields.as_slice() {
                [_, Reply::Nil] => Ok(None),
                [token, Reply::Text(value)] => {
                    let token = token.as_int().ok_or_else(|| self.unexpected(&reply))?;
                    Ok(Some((FencingToken::new(token), value.clone())))
                }
                _ => Err(self.unexpected(&reply)),
            },
            _ => Err(self.unexpected(&reply)),
        }
    }

    /// The name, as the application gave it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    fn key(&self) -> Result<Bytes> {
        Ok(self.engine.settings.map_name(&self.name)?.into())
    }

    fn unexpected(&self, reply: &Reply) -> Error {
        unexpected(&self.name, reply)
    }
}

impl fmt::Debug for FencedCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FencedCell")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// The fenced cell of this name: a value that stale holders cannot write. Sends nothing.
    #[must_use]
    pub fn fenced_cell(&self, name: impl Into<Arc<str>>) -> FencedCell {
        FencedCell {
            engine: self.engine().clone(),
            name: name.into(),
        }
    }
}
