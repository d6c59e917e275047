//! ZooKeeper's own recipe: an ephemeral sequential node for each who wants it. The lowest holds; everybody else watches the
//! one before, so that a release wakes one and not all.

use std::{future::Future, time::Duration};

use async_trait::async_trait;
use tokio::time::sleep;
use zookeeper_client::{Acls, Client, CreateMode, Error, EventType};

use super::Contender;
use crate::kit::Result;

const STOCK: &str = "/stock";
/// Between two tries while the connection is away; the client brings it back by itself.
const PAUSE: Duration = Duration::from_millis(10);

pub(super) struct ZooKeeper {
    client: Client,
    /// The folder that is there already.
    made: Option<String>,
    node: Option<String>,
}

/// Whether the connection broke, so that it is not known what became of the request. What the operating system says of the
/// connection comes as another error than its orderly end.
fn is_away(error: &Error) -> bool {
    matches!(error, Error::ConnectionLoss | Error::Custom(_))
}

/// Again and again while the connection is away. Only for what may be done twice.
async fn insist<T, F>(mut ask: impl FnMut() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    loop {
        match ask().await {
            Err(error) if is_away(&error) => sleep(PAUSE).await,
            outcome => return outcome,
        }
    }
}

/// The number that the server gave to a node.
fn number(node: &str) -> Option<u64> {
    node.rsplit_once('-')?.1.parse().ok()
}

/// Whom a node waits for: the last of those before it.
fn before(nodes: &[String], own: u64) -> Option<&str> {
    let numbered = nodes.iter().filter_map(|node| Some((number(node)?, node)));
    let earlier = numbered.filter(|(number, _)| *number < own);
    earlier.max().map(|(_, node)| node.as_str())
}

impl ZooKeeper {
    pub(super) async fn connect(address: &str, lease: Duration) -> Result<Self> {
        let connector = Client::connector().with_session_timeout(lease);
        Ok(Self {
            client: connector.connect(address).await?,
            made: None,
            node: None,
        })
    }

    async fn make(&mut self, folder: &str) -> Result<()> {
        if self.made.as_deref() != Some(folder) {
            let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
            insist(|| self.client.mkdir(folder, &options)).await?;
            self.made = Some(folder.to_owned());
        }
        Ok(())
    }

    /// Makes a node, or finds the one that was made when its reply was lost.
    async fn stand_in_line(&self, folder: &str) -> Result<String> {
        let own = format!("{}-", self.client.session_id());
        let options = CreateMode::EphemeralSequential.with_acls(Acls::anyone_all());
        loop {
            let path = format!("{folder}/{own}");
            match self.client.create(&path, b"", &options).await {
                Ok((_, sequence)) => return Ok(format!("{own}{sequence}")),
                Err(error) if is_away(&error) => sleep(PAUSE).await,
                Err(error) => return Err(error.into()),
            }
            let (nodes, _) = insist(|| self.client.get_children(folder)).await?;
            if let Some(node) = nodes.into_iter().find(|node| node.starts_with(&own)) {
                return Ok(node);
            }
        }
    }
}

#[async_trait]
impl Contender for ZooKeeper {
    async fn lock(&mut self, name: &str) -> Result<()> {
        let folder = format!("/locks/{name}");
        self.make(&folder).await?;
        let node = self.stand_in_line(&folder).await?;
        let own = number(&node).ok_or("the server gave no number")?;
        self.node = Some(format!("{folder}/{node}"));
        loop {
            let (nodes, _) = insist(|| self.client.get_children(&folder)).await?;
            let Some(before) = before(&nodes, own) else {
                return match nodes.contains(&node) {
                    true => Ok(()),
                    false => Err("its node is gone".into()),
                };
            };
            let before = format!("{folder}/{before}");
            let watched = insist(|| self.client.check_and_watch_stat(&before)).await?;
            if let (Some(_), watcher) = watched {
                let event = watcher.changed().await;
                if event.event_type == EventType::Session && event.session_state.is_terminated() {
                    return Err(format!("the session is {:?}", event.session_state).into());
                }
            }
        }
    }

    async fn unlock(&mut self) -> Result<()> {
        let node = self.node.take().ok_or("it holds nothing")?;
        let mut asked = 0;
        let deleted = insist(|| {
            asked += 1;
            self.client.delete(&node, None)
        });
        match deleted.await {
            // Deleted by the first of several requests.
            Err(Error::NoNode) if asked > 1 => Ok(()),
            outcome => Ok(outcome?),
        }
    }

    async fn lost(&mut self) {
        let mut states = self.client.state_watcher();
        while !states.changed().await.is_terminated() {}
    }

    async fn stock(&mut self) -> Result<u64> {
        match insist(|| self.client.get_data(STOCK)).await {
            Ok((data, _)) => Ok(String::from_utf8_lossy(&data).parse()?),
            Err(Error::NoNode) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    async fn set_stock(&mut self, left: u64) -> Result<()> {
        let text = left.to_string();
        let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
        match insist(|| self.client.set_data(STOCK, text.as_bytes(), None)).await {
            Err(Error::NoNode) => {
                insist(|| self.client.create(STOCK, text.as_bytes(), &options)).await?;
            }
            outcome => drop(outcome?),
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.client.state().is_terminated()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_waits_for_the_one_before_and_the_first_for_nobody() {
        let nodes = ["b-0000000007", "a-0000000003", "c-0000000005", "odd"].map(str::to_owned);
        assert_eq!(before(&nodes, 7), Some("c-0000000005"));
        assert_eq!(before(&nodes, 5), Some("a-0000000003"));
        assert_eq!(before(&nodes, 3), None);
    }
}
