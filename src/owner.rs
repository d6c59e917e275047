//! Who is asking for a lock.

use std::{
    fmt,
    future::Future,
    sync::atomic::{AtomicI64, Ordering},
};

use crate::error::{Error, Result};

/// First number given to [`Owner::fresh`] owners. Task ids, a counter from 1, stay below.
const FRESH: i64 = 1 << 60;
/// First number given to threads outside of any task.
const THREADS: i64 = 1 << 61;
/// What [`Owner::explicit`] adds to the caller's own number.
const EXPLICIT: i64 = 1 << 62;

static NEXT_FRESH: AtomicI64 = AtomicI64::new(FRESH);
static NEXT_THREAD: AtomicI64 = AtomicI64::new(THREADS);

tokio::task_local! {
    static SCOPE: Owner;
}

std::thread_local! {
    static THREAD: Owner = Owner(NEXT_THREAD.fetch_add(1, Ordering::Relaxed));
}

/// The holder of a lock within one client: on the server it appears as `client-uuid:number`.
///
/// Whoever acquires a lock is found out in this order:
///
/// 1. an owner given to the lock ([`Lock::with_owner`](crate::Lock::with_owner)),
/// 2. the owner of the enclosing [`scope`](Self::scope),
/// 3. the tokio task,
/// 4. the thread, where there is no task: the body of `#[tokio::main]`, `block_on`, a plain thread.
///
/// The same owner *re-enters* a lock it holds. Branches of one `join!` or `select!` run in one task and are therefore
/// one owner: they enter each other's locks. Give each branch an owner of its own to make them exclude each other:
///
/// ```
/// # use redlatch::Owner;
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let (a, b) = tokio::join!(
///     Owner::fresh().scope(async { Owner::current() }),
///     Owner::fresh().scope(async { Owner::current() }),
/// );
/// assert_ne!(a, b);
/// # });
/// ```
///
/// A spawned task does not inherit a scope; scope it again: `tokio::spawn(owner.scope(work))`.
///
/// Numbers of the four sources lie in ranges of their own, so they never collide within a client, and all are positive
/// 64-bit integers, as a JVM expects.
///
/// *Redisson*: the thread id that every lock method takes from the calling thread, or as an argument.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Owner(i64);

impl Owner {
    /// Who is asking right now: scope, task or thread.
    #[must_use]
    pub fn current() -> Self {
        SCOPE
            .try_with(|owner| *owner)
            .ok()
            .or_else(Self::of_task)
            .unwrap_or_else(|| THREAD.with(|owner| *owner))
    }

    fn of_task() -> Option<Self> {
        // A tokio task id shows its number only as text.
        let number: i64 = tokio::task::try_id()?.to_string().parse().ok()?;
        (1..FRESH).contains(&number).then_some(Self(number))
    }

    /// An owner nobody else in this process is.
    #[must_use]
    pub fn fresh() -> Self {
        Self(NEXT_FRESH.fetch_add(1, Ordering::Relaxed))
    }

    /// An owner with a number of the caller's choice, for example a thread id of a ported Java program.
    ///
    /// Equal numbers are the same owner. On the server the number appears with 2^62 added to it, so that it is never
    /// mistaken for a task or a thread.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] when `number` is 2^62 or more.
    pub fn explicit(number: u64) -> Result<Self> {
        i64::try_from(number)
            .ok()
            .filter(|number| *number < EXPLICIT)
            .map(|number| Self(EXPLICIT + number))
            .ok_or_else(|| Error::invalid("owner", "an explicit number must be below 2^62"))
    }

    /// Runs `future` with this owner as the current one. Seen by all it awaits, not by what it spawns.
    ///
    /// # Cancel safety
    ///
    /// As that of `future`.
    pub fn scope<F: Future>(self, future: F) -> impl Future<Output = F::Output> {
        SCOPE.scope(self, future)
    }

    /// The number as it appears on the server.
    #[must_use]
    pub fn number(self) -> i64 {
        self.0
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (source, number) = match self.0 {
            n if n >= EXPLICIT => ("explicit", n - EXPLICIT),
            n if n >= THREADS => ("thread", n - THREADS),
            n if n >= FRESH => ("fresh", n - FRESH),
            n => ("task", n),
        };
        write!(f, "Owner({source} {number})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_have_ranges_of_their_own() {
        let thread = Owner::current();
        assert!((THREADS..EXPLICIT).contains(&thread.number()));
        assert_eq!(thread, Owner::current());
        let other = std::thread::spawn(Owner::current).join().expect("joins");
        assert_ne!(thread, other);

        assert!((FRESH..THREADS).contains(&Owner::fresh().number()));
        assert_ne!(Owner::fresh(), Owner::fresh());

        let explicit = Owner::explicit(1).expect("small");
        assert_eq!(explicit, Owner::explicit(1).expect("small"));
        assert!(explicit.number() >= EXPLICIT);
        assert!(Owner::explicit((1 << 62) - 1).expect("largest").number() > 0);
        assert!(Owner::explicit(1 << 62).is_err());
        assert!(Owner::explicit(u64::MAX).is_err());
    }

    #[tokio::test]
    async fn a_task_is_an_owner_and_a_scope_overrides_it() {
        let outside = Owner::current();
        assert!(outside.number() >= THREADS, "a block_on body has no task");
        let (id, owner) = tokio::spawn(async { (tokio::task::id(), Owner::current()) })
            .await
            .expect("joins");
        assert_eq!(owner.number().to_string(), id.to_string());

        let scoped = Owner::fresh();
        let seen = scoped.scope(async { Owner::current() }).await;
        assert_eq!(seen, scoped);
        let spawned = scoped
            .scope(async { tokio::spawn(async { Owner::current() }).await })
            .await
            .expect("joins");
        assert_ne!(spawned, scoped, "a spawned task starts outside the scope");
    }

    #[tokio::test]
    async fn branches_of_one_task_are_one_owner_unless_scoped() {
        let (a, b) = tokio::join!(async { Owner::current() }, async { Owner::current() });
        assert_eq!(a, b);
    }
}
