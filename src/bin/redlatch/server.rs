//! The server or servers that the command talks to.

use std::{
    fs,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use redlatch::{
    Client, ClientBuilder,
    console::Answer,
    fred::{bytes::Bytes, util::redis_keyslot},
};

use crate::{args::At, exit::Failure};

/// How long closing may take.
const CLOSING: Duration = Duration::from_secs(3);

/// A connected client, and what it is connected to.
pub(crate) struct Server {
    pub(crate) client: Client,
    pub(crate) is_cluster: bool,
    known: Mutex<Vec<Master>>,
}

/// A server that has keys.
#[derive(Debug, Clone)]
pub(crate) struct Master {
    /// Its address, where it is one of several.
    pub(crate) address: Option<String>,
    /// Any name that it has.
    about: Bytes,
}

impl Server {
    /// Connects to what the command line names. Whether it is a cluster is found out.
    pub(crate) async fn connect(
        at: &At,
        settings: impl Fn(ClientBuilder) -> ClientBuilder,
    ) -> Result<Self, Failure> {
        if let Some(name) = &at.sentinel {
            let builder = Client::builder().sentinel(name.as_str(), &at.url)?;
            let client = settings(log_in(builder, at)?).connect().await?;
            return Ok(Self::new(client, false));
        }
        if let [url] = at.url.as_slice() {
            let builder = Client::builder().url(url)?;
            let client = settings(log_in(builder, at)?).connect().await?;
            let info = client.ask("", "INFO", [Bytes::from_static(b"cluster")]);
            let is_cluster = text(&info.await?).contains("cluster_enabled:1");
            if !is_cluster {
                return Ok(Self::new(client, false));
            }
            client.close(CLOSING).await;
        }
        let builder = Client::builder().cluster(&at.url)?;
        let client = settings(log_in(builder, at)?).connect().await?;
        Ok(Self::new(client, true))
    }

    fn new(client: Client, is_cluster: bool) -> Self {
        Self {
            client,
            is_cluster,
            known: Mutex::default(),
        }
    }

    /// Connects with the version of the protocol in which all answers are texts and numbers: for looking.
    pub(crate) async fn look(at: &At) -> Result<Self, Failure> {
        Self::connect(at, |builder| builder.protocol(redlatch::Protocol::Resp2)).await
    }

    pub(crate) async fn close(self) {
        self.client.close(CLOSING).await;
    }

    /// Every server that has keys.
    pub(crate) async fn masters(&self) -> Result<Vec<Master>, Failure> {
        if !self.is_cluster {
            return Ok(vec![Master {
                address: None,
                about: Bytes::new(),
            }]);
        }
        let nodes = self
            .client
            .ask("", "CLUSTER", [Bytes::from_static(b"NODES")]);
        let nodes = text(&nodes.await?);
        let masters: Vec<Master> = nodes.lines().filter_map(master).collect();
        if masters.is_empty() {
            return Err(Failure::server("the cluster has no master with slots"));
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.clone_from(&masters);
        Ok(masters)
    }

    /// As [`masters`](Self::masters), as they were when it was last asked.
    pub(crate) async fn known_masters(&self) -> Result<Vec<Master>, Failure> {
        let known = self
            .known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if known.is_empty() {
            return self.masters().await;
        }
        Ok(known)
    }

    /// Asks the server that has this name.
    pub(crate) async fn ask<'a>(
        &self,
        about: &str,
        verb: &str,
        words: impl IntoIterator<Item = &'a str>,
    ) -> Result<Answer, Failure> {
        self.send(about.to_owned().into(), verb, words).await
    }

    /// Asks about a key, which is the first word.
    pub(crate) async fn key<'a>(
        &self,
        key: &'a str,
        verb: &str,
        more: impl IntoIterator<Item = &'a str>,
    ) -> Result<Answer, Failure> {
        self.ask(key, verb, [key].into_iter().chain(more)).await
    }

    /// Asks one of the servers.
    pub(crate) async fn ask_master<'a>(
        &self,
        master: &Master,
        verb: &str,
        words: impl IntoIterator<Item = &'a str>,
    ) -> Result<Answer, Failure> {
        self.send(master.about.clone(), verb, words).await
    }

    async fn send<'a>(
        &self,
        about: Bytes,
        verb: &str,
        words: impl IntoIterator<Item = &'a str>,
    ) -> Result<Answer, Failure> {
        let words: Vec<Bytes> = words
            .into_iter()
            .map(|word| word.to_owned().into())
            .collect();
        Ok(self.client.ask(about, verb, words).await?)
    }
}

/// A line of `CLUSTER NODES`, where it is about a master with slots that is there.
fn master(line: &str) -> Option<Master> {
    let mut words = line.split(' ');
    let address = words.nth(1)?;
    let flags: Vec<&str> = words.next()?.split(',').collect();
    if !flags.contains(&"master") || flags.contains(&"fail") {
        return None;
    }
    let first = words.nth(5)?;
    let slot: u16 = first.split('-').next()?.parse().ok()?;
    let address = address.split(['@', ',']).next()?.to_owned();
    Some(Master {
        address: Some(address),
        about: name_in(slot),
    })
}

/// Some name in this slot.
fn name_in(slot: u16) -> Bytes {
    let names = (0_u32..).map(|number| number.to_string());
    let found = names
        .take(1 << 20)
        .find(|name| redis_keyslot(name.as_bytes()) == slot);
    found.unwrap_or_default().into()
}

fn log_in(mut builder: ClientBuilder, at: &At) -> Result<ClientBuilder, Failure> {
    if let Some(file) = &at.password_file {
        let password = fs::read_to_string(file)
            .map_err(|error| Failure::usage(format!("{}: {error}", file.display())))?;
        let password = password.trim_end_matches(['\r', '\n']);
        builder = match &at.user {
            Some(user) => builder.credentials(user, password),
            None => builder.password(password),
        };
    }
    #[cfg(feature = "tls-rustls")]
    if let Some(ca) = &at.ca {
        builder = builder.tls(redlatch::Tls::new().ca_file(ca)?);
    }
    Ok(builder.allow_plaintext_password(at.plaintext_password))
}

// Answers, as what they should be. What is something else is as good as nothing.

pub(crate) fn text(answer: &Answer) -> String {
    match answer {
        Answer::Text(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Answer::Int(number) => number.to_string(),
        _ => String::new(),
    }
}

pub(crate) fn number(answer: &Answer) -> Option<i64> {
    match answer {
        Answer::Int(number) => Some(*number),
        Answer::Text(bytes) => std::str::from_utf8(bytes).ok()?.parse().ok(),
        _ => None,
    }
}

pub(crate) fn items(answer: &Answer) -> &[Answer] {
    match answer {
        Answer::Array(items) => items,
        _ => &[],
    }
}

/// Names and values in turn.
pub(crate) fn pairs(answer: &Answer) -> impl Iterator<Item = (String, &Answer)> {
    items(answer)
        .chunks_exact(2)
        .map(|pair| (text(&pair[0]), &pair[1]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masters_are_found_among_the_nodes_of_a_cluster() {
        let line = "07c3 127.0.0.1:30004@31004,host master - 0 1426 4 connected 0-5460";
        let found = master(line).expect("a master");
        assert_eq!(found.address.as_deref(), Some("127.0.0.1:30004"));
        assert_eq!(redis_keyslot(&found.about), 0);
        for other in [
            "07c3 127.0.0.1:30004@31004 slave e7d1 0 1426 4 connected",
            "07c3 127.0.0.1:30004@31004 master - 0 1426 4 connected",
            "07c3 127.0.0.1:30004@31004 master,fail - 0 1426 4 disconnected 5-9",
            "",
        ] {
            assert!(master(other).is_none(), "{other}");
        }
    }
}
