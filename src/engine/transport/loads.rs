//! Scripts a server may not know: each is loaded once for all callers that found out together.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use super::{Fault, Reply};
use crate::{engine::script::Script, error::Refusal};

/// What has been loaded on one server.
#[derive(Debug, Default)]
pub(super) struct Loads {
    loads: Mutex<HashMap<&'static str, Arc<Load>>>,
}

/// How often a script has been loaded. A caller that saw an older figure before its refusal need not load again.
#[derive(Debug, Default)]
struct Load {
    times: Mutex<u64>,
    turn: tokio::sync::Mutex<()>,
}

impl Load {
    fn times(&self) -> u64 {
        *self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Loads {
    fn load_of(&self, script: &'static Script) -> Arc<Load> {
        self.loads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(script.name)
            .or_default()
            .clone()
    }

    /// Has `load` executed, unless somebody else has done so since the caller found the script unknown.
    pub(super) async fn once<F>(
        &self,
        script: &'static Script,
        load: impl FnOnce() -> F,
    ) -> Result<(), Fault>
    where
        F: Future<Output = Result<Reply, Fault>>,
    {
        let known = self.load_of(script);
        let seen = known.times();
        let _turn = known.turn.lock().await;
        if known.times() == seen {
            load().await?;
            *known.times.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        }
        Ok(())
    }
}

/// Whether the server does not know the script, which is its word that nothing was executed.
pub(super) fn is_unknown_script(reply: &Result<Reply, Fault>) -> bool {
    matches!(
        reply,
        Err(Fault::Refused {
            refusal: Refusal::NoScript,
            ..
        })
    )
}
