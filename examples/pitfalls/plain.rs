//! Clients that speak plain Redis, as the naive locks do.

use std::time::Duration;

use redlatch_support::{Direct, Server, Value, eventually_async};

use crate::{Result, tale::Tale};

/// How long anything here may take.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// One client of a server, whose commands the reader sees.
pub(crate) struct Plain<'a> {
    who: &'static str,
    direct: Direct,
    tale: &'a Tale,
}

impl<'a> Plain<'a> {
    pub(crate) fn new(who: &'static str, server: &Server, tale: &'a Tale) -> Self {
        Self {
            who,
            direct: server.direct(),
            tale,
        }
    }

    /// Sends a command, words between spaces, and says it and the reply.
    pub(crate) fn says(&self, command: &str) -> Result<String> {
        let words: Vec<&str> = command.split(' ').collect();
        let reply = shown(&self.direct.try_cmd(&words)?);
        self.tale.does(self.who, &format!("{command} -> {reply}"));
        Ok(reply)
    }
}

/// A reply, as a shell would show it.
pub(crate) fn shown(reply: &Value) -> String {
    if reply.is_nil() {
        "(nil)".to_owned()
    } else if reply.is_error() {
        format!("{reply:?}")
    } else {
        reply.text()
    }
}

/// Waits until the server has let go of a key.
pub(crate) async fn gone(server: &Server, key: &str) {
    let direct = server.direct();
    eventually_async("its time to live is over", LIMIT, async || {
        !direct.exists(key)
    })
    .await;
}
