//! What a client tells its application without being asked.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::sync::broadcast;
use tokio_stream::{
    Stream,
    wrappers::{BroadcastStream, errors::BroadcastStreamRecvError},
};

use crate::{error::LossCause, owner::Owner, telemetry};

/// Events a slow reader may be behind before the oldest are dropped and counted.
const BACKLOG: usize = 1_024;

/// Something an operator would want to know.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A grant took more than a third of its lease to arrive, so less of it than usual is left.
    #[non_exhaustive]
    AcquiredLate {
        /// The lock.
        name: Arc<str>,
        /// From sending the request to its reply.
        took: Duration,
    },
    /// A renewal succeeded only after two thirds of the watchdog timeout had gone by.
    #[non_exhaustive]
    RenewedLate {
        /// The lock.
        name: Arc<str>,
        /// Time since the confirmation before.
        after: Duration,
    },
    /// A renewal failed; the lock is still held by the local clock.
    #[non_exhaustive]
    Suspect {
        /// The lock.
        name: Arc<str>,
        /// Its holder in this client.
        owner: Owner,
    },
    /// A hold was lost.
    #[non_exhaustive]
    Lost {
        /// The lock.
        name: Arc<str>,
        /// Its holder in this client.
        owner: Owner,
        /// How it was lost.
        cause: LossCause,
    },
    /// A fencing counter was found behind a token that this client has seen: the server has lost its data. The lock was
    /// not taken.
    #[non_exhaustive]
    FencingReset {
        /// The lock.
        name: Arc<str>,
        /// The highest token this client has seen.
        seen: i64,
        /// The counter as the server has it.
        counter: i64,
    },
    /// A lock was granted to a caller that had gone away, and was given back.
    #[non_exhaustive]
    OrphanReleased {
        /// The lock.
        name: Arc<str>,
        /// The holder it had been granted to.
        owner: Owner,
    },
    /// A lock was found free by looking, with no message having said so.
    #[non_exhaustive]
    WakeUpMissed {
        /// The lock.
        name: Arc<str>,
    },
    /// A channel could not be subscribed to; its waiters look from time to time instead.
    #[non_exhaustive]
    SubscriptionFailed {
        /// The channel.
        channel: Arc<str>,
        /// What the server or the connection said.
        reason: String,
    },
    /// A lock was freed, but the server refused to publish the wake-up: waiters find out by looking.
    #[non_exhaustive]
    WakeUpRefused {
        /// The lock.
        name: Arc<str>,
    },
    /// A connection was lost.
    #[non_exhaustive]
    Disconnected {
        /// What went wrong.
        reason: String,
    },
    /// A connection is usable (again).
    Connected,
    /// The server would not end the previous connection, so a request left in it might still be executed late.
    #[non_exhaustive]
    NotFenced {
        /// What the server said.
        reason: String,
    },
    /// The reader of this stream was too slow: this many events were dropped.
    Missed(u64),
}

/// The events of one client, from the moment of subscription on.
///
/// Lossless as long as the reader is at most 1024 events behind; past that, [`Event::Missed`] says how many are gone.
/// The stream ends when the client and everything made from it have been dropped.
#[derive(Debug)]
pub struct Events(BroadcastStream<Event>);

impl Stream for Events {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Event>> {
        Pin::new(&mut self.0).poll_next(context).map(|item| {
            item.map(|event| match event {
                Ok(event) => event,
                Err(BroadcastStreamRecvError::Lagged(count)) => Event::Missed(count),
            })
        })
    }
}

/// The sending side.
#[derive(Debug)]
pub(crate) struct EventBus(broadcast::Sender<Event>);

impl EventBus {
    pub(crate) fn new() -> Self {
        Self(broadcast::channel(BACKLOG).0)
    }

    /// Tells whoever listens. The event is only made when somebody does.
    pub(crate) fn tell(&self, event: impl FnOnce() -> Event) {
        let listened_to = self.0.receiver_count() > 0;
        if listened_to || telemetry::hears_events() {
            let event = event();
            telemetry::event(&event);
            if listened_to {
                let _ = self.0.send(event);
            }
        }
    }

    pub(crate) fn subscribe(&self) -> Events {
        Events(BroadcastStream::new(self.0.subscribe()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_stream::StreamExt;

    #[test]
    fn names_are_escaped_where_events_are_printed() {
        let name: Arc<str> = "a\nb\x1b[31m\u{202e}".into();
        let events = [
            Event::WakeUpMissed { name: name.clone() },
            Event::Disconnected {
                reason: name.to_string(),
            },
            Event::SubscriptionFailed {
                channel: name.clone(),
                reason: name.to_string(),
            },
        ];
        for event in events {
            let seen = format!("{event:?}");
            assert!(!seen.contains(['\n', '\x1b', '\u{202e}']), "{seen:?}");
        }
    }

    #[tokio::test]
    async fn a_slow_reader_learns_how_much_it_missed() {
        let bus = EventBus::new();
        let mut events = bus.subscribe();
        for _ in 0..BACKLOG + 3 {
            bus.tell(|| Event::Connected);
        }
        drop(bus);
        assert_eq!(events.next().await, Some(Event::Missed(3)));
        let rest = events.fold(0, |count, _| count + 1).await;
        assert_eq!(rest, BACKLOG);
    }
}
