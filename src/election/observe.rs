//! Who leads, from now on.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::stream;
use tokio::time::sleep;
use tokio_stream::Stream;

use super::{Election, Leader, Names};
use crate::{
    engine::{jitter, wakeup::Subscription},
    error::Result,
};

/// Pause before a look that has failed is tried again.
const PAUSE: Duration = Duration::from_millis(100);

/// The leaders of an election, from the first poll on. See [`Election::observe`].
///
/// # Cancel safety
///
/// Waiting for the next item is cancel safe. Dropping the stream ends the subscription.
pub struct Observe {
    election: Election,
    leaders: Pin<Box<dyn Stream<Item = Result<Option<Leader>>> + Send>>,
}

impl Observe {
    pub(super) fn new(election: Election) -> Self {
        let leaders = stream::unfold(Stage::New(election.clone()), |stage| async move {
            let mut watch = match stage {
                Stage::New(election) => match Watch::start(election) {
                    Ok(watch) => Box::new(watch),
                    Err(error) => return Some((Err(error), Stage::Over)),
                },
                Stage::Watching(watch) => watch,
                Stage::Over => return None,
            };
            Some(match watch.next().await {
                Ok(leader) => (Ok(leader), Stage::Watching(watch)),
                Err(error) => (Err(error), Stage::Over),
            })
        });
        Self {
            election,
            leaders: Box::pin(leaders),
        }
    }
}

impl Stream for Observe {
    type Item = Result<Option<Leader>>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.leaders.as_mut().poll_next(context)
    }
}

impl fmt::Debug for Observe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observe")
            .field("election", &self.election)
            .finish_non_exhaustive()
    }
}

enum Stage {
    New(Election),
    Watching(Box<Watch>),
    Over,
}

struct Watch {
    election: Election,
    names: Names,
    subscription: Subscription,
    /// What was told last.
    told: Option<Option<Leader>>,
    /// How often the channel had rung before the last look, and how often looks had been wanted.
    seen: Option<(u64, u64)>,
}

impl Watch {
    fn start(election: Election) -> Result<Self> {
        let names = election.names()?;
        election.engine.check_open()?;
        Ok(Self {
            subscription: election.engine.subscribe(&names.channel),
            election,
            names,
            told: None,
            seen: None,
        })
    }

    /// Waits until it is otherwise than was told last.
    async fn next(&mut self) -> Result<Option<Leader>> {
        let channel = self.subscription.channel();
        let poll = self.election.engine.settings.safety_poll;
        loop {
            let wanted = self.election.engine.look_wanted();
            if let Some((rung, looks)) = self.seen {
                tokio::select! {
                    biased;
                    _ = channel.woken(rung) => {}
                    _ = wanted.rung(looks) => {}
                    () = sleep(jitter(poll)) => {}
                }
            }
            self.seen = Some((channel.before_try(), wanted.count()));
            match self.election.look(&self.names).await {
                Ok(leader) if self.told.as_ref() != Some(&leader) => {
                    self.told = Some(leader.clone());
                    return Ok(leader);
                }
                Ok(_) => {}
                Err(error) if error.is_retryable() => {
                    // What rang may have been all that will, and is not looked at yet.
                    self.seen = None;
                    sleep(jitter(PAUSE)).await;
                }
                Err(error) => return Err(error),
            }
        }
    }
}
