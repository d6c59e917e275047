//! What the self-test does that nothing else does by itself: it loads, subscribes and unsubscribes to see whether it may.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use tokio::time::{Instant, sleep};

use super::{
    Engine, RETRY_PAUSE, describe,
    detach::Detached,
    jitter,
    script::Script,
    transport::{BoxFuture, Fault, NodeId, Reply},
};
use crate::error::Result;

impl Engine {
    /// Loads a script where `key` is, whether the server knows it or not.
    pub(crate) async fn load(
        &self,
        name: &Arc<str>,
        key: Bytes,
        script: &'static Script,
    ) -> Result<Reply> {
        let words = [b"LOAD" as &[u8], script.source.as_bytes()].map(Bytes::from_static);
        self.query_about(name, key, "SCRIPT", &[&words[0], &words[1]])
            .await
    }

    /// Subscribes, past the books: nobody listens; and takes it back. What came of either. Finishes when its caller leaves.
    pub(crate) async fn try_listening(
        self: &Arc<Self>,
        name: &Arc<str>,
        channels: Vec<Bytes>,
    ) -> (Result<()>, Result<()>) {
        let (engine, name) = (self.clone(), name.clone());
        let both = async move {
            let homes = match engine.homes(channels) {
                Ok(homes) => homes,
                Err(fault) => return (Err(describe(&name, fault, false)), Ok(())),
            };
            let transport = &engine.transport;
            let (mut heard, mut ended) = (Ok(()), Ok(()));
            for (node, channels) in &homes {
                let asking = |deadline| transport.subscribe(*node, channels.clone(), deadline);
                heard = heard.and(engine.insist(asking).await);
            }
            for (node, channels) in &homes {
                let asking = |deadline| transport.unsubscribe(*node, channels.clone(), deadline);
                ended = ended.and(engine.insist(asking).await);
            }
            let tell =
                |outcome: Result<(), Fault>| outcome.map_err(|fault| describe(&name, fault, false));
            (tell(heard), tell(ended))
        };
        Detached::new(&self.background, both, |_| {}).await
    }

    /// Asks again where the answer got lost, as it does after a refusal, which ends the connection.
    async fn insist(
        &self,
        asking: impl Fn(Instant) -> BoxFuture<Result<(), Fault>>,
    ) -> Result<(), Fault> {
        let deadline = Instant::now() + self.settings.command_timeout;
        loop {
            match asking(deadline).await {
                Err(Fault::Unknown { .. }) if Instant::now() < deadline => {
                    sleep(jitter(RETRY_PAUSE)).await;
                }
                outcome => return outcome,
            }
        }
    }

    /// Where channels are heard, in as few calls as it takes.
    fn homes(&self, channels: Vec<Bytes>) -> Result<Vec<(NodeId, Vec<Bytes>)>, Fault> {
        let mut homes: HashMap<NodeId, Vec<Bytes>> = HashMap::new();
        for channel in channels {
            let node = self
                .transport
                .home(&channel)
                .ok_or_else(|| Fault::NotSent {
                    reason: "nobody knows where a channel is heard".to_owned(),
                })?;
            homes.entry(node).or_default().push(channel);
        }
        let sharded = self.pubsub().sharded();
        let calls = homes.into_iter().flat_map(|(node, channels)| {
            let at_once = if sharded { 1 } else { channels.len() };
            let calls: Vec<_> = channels.chunks(at_once).map(<[Bytes]>::to_vec).collect();
            calls.into_iter().map(move |channels| (node, channels))
        });
        Ok(calls.collect())
    }
}
