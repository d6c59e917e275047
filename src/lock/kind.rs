//! Which kinds of lock there are.

use std::fmt;

use crate::engine::protocol::Protocol;

/// A kind of lock: what [`Lock`](crate::Lock) and [`LockGuard`](crate::LockGuard) are generic over.
///
/// Sealed. All kinds have the same surface; they differ in who gets in, in what order, and in what a grant carries.
pub trait Kind: sealed::Sealed + fmt::Debug + Send + Sync + Sized + 'static {
    /// What a grant carries beside the lock itself: nothing, or a fencing token.
    type Grant: Clone + fmt::Debug + Send + Sync + 'static;
}

pub(crate) mod sealed {
    use super::{Kind, Protocol};

    /// What only this crate may say about a kind.
    #[allow(private_interfaces)]
    pub trait Sealed {
        #[doc(hidden)]
        fn protocol() -> &'static dyn Protocol;
        #[doc(hidden)]
        fn grant(token: Option<i64>) -> <Self as Kind>::Grant
        where
            Self: Kind;
    }
}
