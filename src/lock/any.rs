//! A lock whose kind is forgotten.

use std::fmt;

use super::{Inner, Kind, Lock};

/// Any lock of any kind and any client, as a member of a [`MultiLock`](super::MultiLock).
///
/// # Examples
///
/// ```no_run
/// # fn example(client: redlatch::Client) -> redlatch::Result<()> {
/// use redlatch::{AnyLock, MultiLock};
///
/// let both = MultiLock::new([
///     AnyLock::from(client.lock("account:1")),
///     AnyLock::from(client.fair_lock("account:2")),
/// ])?;
/// # let _ = both;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct AnyLock {
    pub(super) inner: Inner,
}

impl AnyLock {
    /// The name, as the application gave it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// The kind in a word: `reentrant`, `fair`, `read`, ...
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.inner.protocol.kind()
    }
}

impl<K: Kind> From<Lock<K>> for AnyLock {
    fn from(lock: Lock<K>) -> Self {
        Self {
            inner: lock.raw.inner,
        }
    }
}

impl<K: Kind> From<&Lock<K>> for AnyLock {
    fn from(lock: &Lock<K>) -> Self {
        lock.clone().into()
    }
}

impl fmt::Debug for AnyLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnyLock")
            .field("kind", &self.kind())
            .field("name", &self.name())
            .finish_non_exhaustive()
    }
}
