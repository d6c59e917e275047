//! What the self-test does that nothing else does by itself: it loads, subscribes and unsubscribes to see whether it may.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    Engine,
    detach::Detached,
    script::Script,
    transport::{Reply, Request},
};
use crate::error::Result;

impl Engine {
    /// Loads a script, whether the server knows it or not.
    pub(crate) async fn load(&self, name: &Arc<str>, script: &'static Script) -> Result<Reply> {
        let source = script.source;
        self.ask(name, || {
            |deadline| self.transport.send(Request::Load { source }, deadline)
        })
        .await
    }

    /// Subscribes, past the books: nobody listens; and takes it back. What came of either. Finishes when its caller leaves.
    pub(crate) async fn try_listening(
        self: &Arc<Self>,
        name: &Arc<str>,
        channels: Vec<Bytes>,
    ) -> (Result<Reply>, Result<Reply>) {
        let (engine, name) = (self.clone(), name.clone());
        let both = async move {
            let subscribed = engine
                .ask(&name, || {
                    let subscribing = (&engine.transport, channels.clone());
                    async move |deadline| {
                        let (transport, channels) = subscribing;
                        let done = transport.subscribe(channels, deadline).await;
                        done.map(|()| Reply::Nil)
                    }
                })
                .await;
            let unsubscribed = engine
                .ask(&name, || {
                    let unsubscribing = (&engine.transport, channels.clone());
                    async move |deadline| {
                        let (transport, channels) = unsubscribing;
                        let done = transport.unsubscribe(channels, deadline).await;
                        done.map(|()| Reply::Nil)
                    }
                })
                .await;
            (subscribed, unsubscribed)
        };
        Detached::new(&self.background, both, |_| {}).await
    }
}
