//! Signals that this process is sent.

use nix::sys::signal::Signal;
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

use crate::exit::{Code, Failure};

/// Those that ask a program to end, or to look at something.
pub(super) struct Signals([(Signal, Stream); 6]);

impl Signals {
    pub(super) fn new() -> Result<Self, Failure> {
        let stream = |which: Signal| -> Result<_, Failure> {
            let stream = signal(SignalKind::from_raw(which as i32));
            let stream = stream.map_err(|error| {
                Failure::new(
                    Code::Other(126),
                    format!("signals cannot be caught: {error}"),
                )
            })?;
            Ok((which, stream))
        };
        Ok(Self([
            stream(Signal::SIGINT)?,
            stream(Signal::SIGTERM)?,
            stream(Signal::SIGHUP)?,
            stream(Signal::SIGQUIT)?,
            stream(Signal::SIGUSR1)?,
            stream(Signal::SIGUSR2)?,
        ]))
    }

    /// The next one.
    pub(super) async fn next(&mut self) -> Signal {
        let [a, b, c, d, e, f] = &mut self.0;
        tokio::select! {
            _ = a.1.recv() => a.0,
            _ = b.1.recv() => b.0,
            _ = c.1.recv() => c.0,
            _ = d.1.recv() => d.0,
            _ = e.1.recv() => e.0,
            _ = f.1.recv() => f.0,
        }
    }
}
