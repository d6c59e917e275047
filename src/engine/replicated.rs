//! What the replicas have: grants and releases that count only once enough of them do.

use std::sync::Arc;

use bytes::Bytes;
use tokio::time::{Instant, sleep};

use super::{
    Engine, RETRY_PAUSE,
    acquire::Patience,
    hold::later,
    jitter,
    protocol::{Batch, Renewed, Rest},
    release::Grip,
    script::Command,
    transport::{Evidence, Fault, acks::Proof},
};
use crate::{
    error::{Error, LossCause, Result},
    naming,
};

impl Engine {
    /// Waits until enough replicas have what was granted. Otherwise it is given back.
    pub(super) async fn hold_replicated(
        self: &Arc<Self>,
        grip: Grip,
        patience: Patience,
    ) -> Result<Grip> {
        let Some(policy) = self.settings.replica_policy else {
            return Ok(grip);
        };
        let mut deadline = later(Instant::now(), policy.within);
        if let Patience::Until(until) = patience {
            deadline = deadline.min(until);
        }
        let call = grip.call();
        // Only looked at, on the connection that asks: it must be there as long as the replicas are counted.
        let mut batch = Batch::default();
        let rest = Rest {
            ttl_ms: 0,
            ..grip.rest()
        };
        call.protocol.renew(call, &rest, &mut batch);
        let look = Command {
            script: call.protocol.renewal(),
            keys: batch.keys,
            args: batch.args,
        };
        let evidence = self
            .evidence(&call.name, Some(look), deadline)
            .await
            .map_err(|fault| super::describe(&call.shown, fault, false))?;
        let (acked, wanted, looked) = match evidence {
            Some(Evidence {
                acked,
                wanted,
                looked,
            }) => (acked, wanted, looked),
            None => (0, 0, None),
        };
        let answer = looked.and_then(|reply| reply.as_ints()?.first().copied());
        match answer.map(Renewed::decode) {
            Some(Some(Renewed::Held)) if wanted > 0 && acked >= wanted => Ok(grip),
            Some(Some(Renewed::Held)) | None => Err(Error::NotReplicated {
                name: call.shown.clone(),
                acked,
                wanted,
            }),
            Some(Some(Renewed::TakenOver)) => Err(lost(&grip, LossCause::TakenOver)),
            Some(_) => Err(lost(&grip, LossCause::Vanished)),
        }
    }

    /// Waits until enough replicas know of a release.
    pub(super) async fn release_replicated(&self, name: &Bytes, shown: &Arc<str>) -> Result<()> {
        let Some(policy) = self.settings.replica_policy else {
            return Ok(());
        };
        let deadline = later(Instant::now(), policy.within);
        let evidence = self.evidence(name, None, deadline).await;
        let (acked, wanted) = match evidence {
            Ok(Some(evidence)) => (evidence.acked, evidence.wanted),
            Ok(None) | Err(_) => (0, 0),
        };
        if wanted > 0 && acked >= wanted {
            return Ok(());
        }
        Err(Error::ReleaseNotReplicated {
            name: shown.clone(),
            acked,
            wanted,
        })
    }

    /// What the replicas have by the deadline; `None` where nobody could be asked.
    async fn evidence(
        &self,
        name: &Bytes,
        look: Option<Command>,
        deadline: Instant,
    ) -> Result<Option<Evidence>, Fault> {
        let text = std::str::from_utf8(name).unwrap_or_default();
        let channel: Bytes = naming::replicas_channel(text).into();
        loop {
            let proof = Proof {
                channel: channel.clone(),
                look: look.clone().map(|look| look.request(false)),
            };
            match self
                .transport
                .replicated(name.clone(), proof, deadline)
                .await
            {
                Ok(evidence) => return Ok(Some(evidence)),
                Err(Fault::Refused { refusal, .. }) if refusal.is_transient() => {}
                Err(Fault::Unknown { .. } | Fault::NotSent { .. }) => {}
                Err(fault) => return Err(fault),
            }
            let pause = jitter(RETRY_PAUSE);
            if later(Instant::now(), pause) >= deadline {
                return Ok(None);
            }
            sleep(pause).await;
        }
    }
}

fn lost(grip: &Grip, cause: LossCause) -> Error {
    Error::Lost {
        name: grip.call().shown.clone(),
        cause,
    }
}
