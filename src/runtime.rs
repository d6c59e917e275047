//! Where a client's own tasks run: on the runtime it was connected on, or on a thread of its own.

use std::{io, thread};

use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
};

use crate::error::{Error, Result};

/// The runtime that carries connections, renewals and everything else in the background.
#[derive(Debug)]
pub(crate) struct Home {
    pub(crate) handle: Handle,
    /// Kept for as long as the client lives; without it the thread ends.
    pub(crate) own: Option<OwnThread>,
}

/// Ends the thread when it is dropped, without waiting for it.
#[derive(Debug)]
pub(crate) struct OwnThread {
    _alive: oneshot::Sender<()>,
}

impl Home {
    /// The runtime this is called on.
    pub(crate) fn current() -> Result<Self> {
        let handle = Handle::try_current().map_err(|_| {
            Error::invalid("runtime", "connect must be called inside a tokio runtime")
        })?;
        Ok(Self { handle, own: None })
    }

    /// A new thread with a runtime for one.
    pub(crate) fn dedicated() -> Result<Self> {
        Self::spawn().map_err(|error| {
            Error::invalid(
                "dedicated_runtime",
                format!("the thread cannot be had: {error}"),
            )
        })
    }

    fn spawn() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (alive, over) = oneshot::channel::<()>();
        thread::Builder::new()
            .name("redlatch".to_owned())
            .spawn(move || {
                // Ends when the sender is dropped.
                let _ = runtime.block_on(over);
            })?;
        Ok(Self {
            handle,
            own: Some(OwnThread { _alive: alive }),
        })
    }
}
