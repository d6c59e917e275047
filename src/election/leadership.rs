//! The one who leads: its lock, what it says, and the task that goes on saying it.

use std::{
    fmt,
    sync::{Arc, Weak},
};

use bytes::Bytes;
use tokio::{sync::Mutex, time::sleep};

use super::{Election, Names, check_value};
use crate::{
    engine::{
        detach::Attendant,
        hold::Hold,
        script::{Command, Script, decimal, script},
        unexpected,
    },
    error::{Error, LossCause, Result},
    lock::{Fenced, FencingToken, LockGuard},
};

pub(super) static PROCLAIM: Script = script!("election/proclaim", after "publish/announce");
pub(super) static WITHDRAW: Script = script!("election/withdraw", after "publish/announce");

/// Times the record is said again in a watchdog timeout; it lasts for two of these timeouts.
const TICKS: u32 = 3;
/// Tries in a watchdog timeout, while they fail.
const RETRIES: u32 = 30;

/// This process leads. Dropping it resigns in the background.
///
/// Like any [guard](LockGuard) it is no proof: a leadership can be lost while this lives, and it knows, at the latest at its
/// own deadline and without any network. Await [`lost`](Self::lost), or let [`run`](Self::run) stop the leader's work; and
/// where a leader that was stopped for too long must do no harm, send [`term`](Self::term) along with each write
/// ([`fencing`](crate::fencing)).
#[must_use = "dropping it resigns"]
pub struct Leadership {
    // Before the lock, so that the record goes first.
    post: Arc<Post>,
    _saying: Attendant,
    guard: LockGuard<Fenced>,
}

/// What a leader says, and where.
struct Post {
    election: Election,
    names: Names,
    owner: Bytes,
    term: Bytes,
    /// Held while it is said, so that nobody says an old value after a new one.
    value: Mutex<Bytes>,
}

impl Leadership {
    /// Says for the first time who leads; `None` where the lock was taken away in the meantime.
    pub(super) async fn begin(
        election: &Election,
        names: &Names,
        guard: LockGuard<Fenced>,
        value: Bytes,
    ) -> Result<Option<Self>> {
        let term = guard.token().get();
        let term = u64::try_from(term).map_err(|_| Error::UnexpectedReply {
            name: election.name.clone(),
            reply: format!("token {term}"),
        })?;
        let post = Arc::new(Post {
            election: election.clone(),
            names: names.clone(),
            owner: guard.owner_id().into(),
            term: decimal(term),
            value: Mutex::new(value),
        });
        let hold = guard.grip().hold().clone();
        let engine = &election.engine;
        // Takes the post back if the caller leaves or it fails.
        let leadership = Self {
            _saying: engine.attend(saying(Arc::downgrade(&post), hold)),
            post,
            guard,
        };
        let post = &leadership.post;
        let value = post.value.lock().await;
        let said = leadership.guard.run(post.say(&value)).await;
        drop(value);
        match said {
            Ok(said) => Ok(said?.then_some(leadership)),
            Err(Error::Lost {
                cause: LossCause::Closed,
                ..
            }) => Err(Error::Closed),
            Err(_) => Ok(None),
        }
    }

    /// The number of this term: the fencing token of the lock beneath. Later leaders have higher ones.
    #[must_use]
    pub fn term(&self) -> FencingToken {
        self.guard.token()
    }

    /// Says another value from now on, of 64 KiB at most. One command.
    ///
    /// # Cancel safety
    ///
    /// It may take effect although the caller has left.
    ///
    /// # Errors
    ///
    /// [`Error::Lost`] when the leadership is lost; [`Error::InvalidArgument`] for a value that is too long. After any other
    /// error the value is said again with the next renewal.
    pub async fn proclaim(&self, value: impl Into<Bytes>) -> Result<()> {
        let value = value.into();
        check_value(&value)?;
        let saying = async {
            let mut current = self.post.value.lock().await;
            *current = value;
            self.post.say(&current).await
        };
        if self.guard.run(saying).await?? {
            return Ok(());
        }
        Err(Error::Lost {
            name: self.post.election.name.clone(),
            cause: LossCause::Vanished,
        })
    }

    /// Gives the leadership up and waits until the server has confirmed it: the next candidate leads at once.
    ///
    /// # Cancel safety
    ///
    /// It completes even if the caller leaves; only the answer is lost.
    ///
    /// # Errors
    ///
    /// As [`LockGuard::unlock`]: [`Error::Lost`] when it had been lost before.
    pub async fn resign(self) -> Result<()> {
        let Self {
            post,
            _saying: saying,
            guard,
        } = self;
        drop((saying, post));
        guard.unlock().await
    }

    /// Waits until the leadership is lost, and says how. Never resolves while it lasts. See [`LockGuard::lost`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn lost(&self) -> LossCause {
        self.guard.lost().await
    }

    /// Whether the leadership is lost, by the local clock and all that is known. Asks nobody.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.guard.is_lost()
    }

    /// Runs the leader's `work` and stops it when the leadership is lost: it is dropped at its next await point.
    ///
    /// # Cancel safety
    ///
    /// As that of `work`. The leadership stays.
    ///
    /// # Errors
    ///
    /// [`Error::Lost`], in place of the result of `work`.
    pub async fn run<F: Future>(&self, work: F) -> Result<F::Output> {
        self.guard.run(work).await
    }

    /// The lock beneath, for all that a guard knows.
    pub fn guard(&self) -> &LockGuard<Fenced> {
        &self.guard
    }
}

impl fmt::Debug for Leadership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leadership")
            .field("term", &self.term())
            .field("guard", &self.guard)
            .finish_non_exhaustive()
    }
}

impl Post {
    /// Says who leads; false where the lock is not its own any more.
    async fn say(&self, value: &Bytes) -> Result<bool> {
        let Self {
            election, names, ..
        } = self;
        let time = election.engine.settings.watchdog_timeout * 2;
        let command = Command {
            script: &PROCLAIM,
            keys: vec![names.lock.clone(), names.record.clone()],
            args: vec![
                self.owner.clone(),
                self.term.clone(),
                value.clone(),
                decimal(u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
                names.announcement.clone(),
            ],
        };
        let reply = election.engine.read(&election.name, &command).await?;
        match reply.as_int() {
            Some(0) => Ok(false),
            Some(1 | 2) => Ok(true),
            _ => Err(unexpected(&election.name, &reply)),
        }
    }
}

impl Drop for Post {
    fn drop(&mut self) {
        self.election.engine.tell(Command {
            script: &WITHDRAW,
            keys: vec![self.names.record.clone()],
            args: vec![
                self.owner.clone(),
                self.term.clone(),
                self.names.announcement.clone(),
            ],
        });
    }
}

/// Keeps the record for as long as the lock is held, whatever becomes of it on the server.
async fn saying(post: Weak<Post>, hold: Arc<Hold>) {
    let Some(period) = post
        .upgrade()
        .map(|post| post.election.engine.settings.watchdog_timeout / TICKS)
    else {
        return;
    };
    let quick = period * TICKS / RETRIES;
    let mut pause = period;
    loop {
        tokio::select! {
            biased;
            _ = hold.until_lost() => return,
            () = sleep(pause) => {}
        }
        let Some(post) = post.upgrade() else {
            return;
        };
        pause = said_again(&post).await.map_or(quick, |()| period);
    }
}

async fn said_again(post: &Post) -> Result<()> {
    let value = post.value.lock().await;
    post.say(&value).await.map(drop)
}
