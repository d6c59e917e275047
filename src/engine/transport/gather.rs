//! Many requests in one script.
//!
//! What a server and a client spend on a request is mostly not the lock but the command around it. So while some requests
//! are on their way, those that come behind wait a moment and go together: one script that does for each what its own
//! would have done, and judges each alone. Nobody waits who comes while few are on their way, and nobody waits for a timer.
//!
//! | state of a request | event | next |
//! |---|---|---|
//! | new | fewer than [`ON_THE_WAY`] are on their way, and none waits | sent alone |
//! | new | otherwise | waiting |
//! | waiting | [`FULL`] wait, or somebody's answer is there | sent with the others |
//! | waiting | its deadline, or its caller leaves | gone, never sent |
//! | sent | the answer to all, or a fault | each has its part of it, or that fault |
//! | sent | the server refused the script as a whole, so did nothing | each is sent alone that is not out of time |
//!
//! The order of requests about one name is kept (see the contract in the parent module): they wait in one line, and where
//! they go in different scripts, the later one goes in the later.

use std::{
    borrow::Borrow,
    collections::{HashMap, VecDeque},
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::{
    runtime::Handle,
    sync::oneshot,
    time::{Instant, timeout_at},
};

use super::{Fault, Reply, Request, node::Node};
use crate::{
    engine::script::{Script, decimal},
    error::Refusal,
};

/// As many are sent alone before anybody waits.
const ON_THE_WAY: usize = 4;
/// As many do not wait for an answer.
const FULL: usize = 16;
/// As many go in one script at most: a script keeps the server from everybody else.
const MOST: usize = 64;
/// How often all are sent together, where the server turns out not to know the script.
const TRIES: usize = 3;

/// Slots of which nothing is on its way, and that are remembered all the same.
const IDLE_LANES: usize = 64;

type Answer = Result<Reply, Fault>;

/// The requests of one server.
#[derive(Debug, Default)]
pub(super) struct Gather {
    lanes: Mutex<HashMap<u16, Lane>>,
    /// Numbers those who wait; a lane may be forgotten before all have heard their answer.
    next: AtomicU64,
}

/// The requests of one slot, which may go together.
#[derive(Debug, Default)]
struct Lane {
    /// Scripts that were sent, and have no answer yet.
    on_the_way: usize,
    waiting: VecDeque<Item>,
}

/// One who waits.
#[derive(Debug)]
struct Item {
    id: u64,
    script: &'static Script,
    keys: Vec<Bytes>,
    args: Vec<Bytes>,
    deadline: Instant,
    answer: oneshot::Sender<Answer>,
}

impl Item {
    fn request(&self) -> Request {
        Request::Script {
            script: self.script,
            keys: self.keys.clone(),
            args: self.args.clone(),
            late: true,
        }
    }

    fn about(&self) -> Option<&Bytes> {
        self.keys.first()
    }

    /// Whether both can go in one script.
    fn goes_with(&self, other: &Self) -> bool {
        std::ptr::eq(self.script, other.script)
            && self.keys.len() == other.keys.len()
            && self.args.len() == other.args.len()
    }
}

impl Gather {
    fn lanes(&self) -> MutexGuard<'_, HashMap<u16, Lane>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One script on its way, with a server of its own or that of a caller. Dropping it sends who has come meanwhile.
pub(super) struct OnTheWay<N: Borrow<Arc<Node>>> {
    node: N,
    slot: u16,
}

impl<N: Borrow<Arc<Node>>> Drop for OnTheWay<N> {
    fn drop(&mut self) {
        let node: &Arc<Node> = self.node.borrow();
        if let (Some(items), Some(runtime)) = (next(&node.gather, self.slot), node.runtime()) {
            send_in_background(node, runtime, self.slot, items);
        }
    }
}

/// Takes those who wait, in place of one whose answer is there; none, where nobody waits.
fn next(gather: &Gather, slot: u16) -> Option<Vec<Item>> {
    let mut lanes = gather.lanes();
    let lane = lanes.get_mut(&slot)?;
    if lane.waiting.is_empty() {
        lane.on_the_way -= 1;
        if lane.on_the_way == 0 && lanes.len() > IDLE_LANES {
            lanes.remove(&slot);
        }
        return None;
    }
    Some(lane.waiting.drain(..).collect())
}

/// One who waits to be sent. Dropping it takes the request back, if it was not sent yet.
pub(super) struct Waiting<'a> {
    gather: &'a Gather,
    slot: u16,
    id: u64,
    answer: oneshot::Receiver<Answer>,
    /// Whether there may be something to take back.
    armed: bool,
}

impl Waiting<'_> {
    /// What comes of it.
    pub(super) async fn answer(mut self, deadline: Instant) -> Answer {
        let answer = timeout_at(deadline, &mut self.answer).await;
        self.armed = false;
        match answer {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(Fault::Unknown {
                reason: "the client's runtime is gone".to_owned(),
            }),
            Err(_) if self.take_back() => Err(too_late()),
            Err(_) => Err(Fault::Unknown {
                reason: "no reply in time".to_owned(),
            }),
        }
    }

    /// Whether it had not been sent, and will not be.
    fn take_back(&self) -> bool {
        let mut lanes = self.gather.lanes();
        let Some(lane) = lanes.get_mut(&self.slot) else {
            return false;
        };
        match lane.waiting.iter().position(|item| item.id == self.id) {
            Some(place) => lane.waiting.remove(place).is_some(),
            None => false,
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.armed {
            self.take_back();
        }
    }
}

/// How a request goes.
pub(super) enum Entered<'a> {
    /// Alone: it is none of those that are gathered.
    Aside,
    /// Alone, and others wait for its answer: this is to be kept until then.
    Alone(OnTheWay<&'a Arc<Node>>),
    /// With others.
    Waiting(Waiting<'a>),
}

/// Decides how a request goes.
pub(super) fn enter<'a>(
    node: &'a Arc<Node>,
    slot: u16,
    request: &Request,
    deadline: Instant,
) -> Entered<'a> {
    let Request::Script {
        script,
        keys,
        args,
        late: true,
    } = request
    else {
        return Entered::Aside;
    };
    let (Some(_), Some(runtime)) = (script.gathered, node.runtime()) else {
        return Entered::Aside;
    };
    let (waiting, full) = {
        let mut lanes = node.gather.lanes();
        let lane = lanes.entry(slot).or_default();
        if lane.on_the_way < ON_THE_WAY && lane.waiting.is_empty() {
            lane.on_the_way += 1;
            return Entered::Alone(OnTheWay { node, slot });
        }
        let (sender, answer) = oneshot::channel();
        let id = node.gather.next.fetch_add(1, Ordering::Relaxed);
        lane.waiting.push_back(Item {
            id,
            script,
            keys: keys.clone(),
            args: args.clone(),
            deadline,
            answer: sender,
        });
        let full = (lane.waiting.len() >= FULL).then(|| {
            lane.on_the_way += 1;
            lane.waiting.drain(..).collect::<Vec<_>>()
        });
        let waiting = Waiting {
            gather: &node.gather,
            slot,
            id,
            answer,
            armed: true,
        };
        (waiting, full)
    };
    if let Some(items) = full {
        send_in_background(node, runtime, slot, items);
    }
    Entered::Waiting(waiting)
}

/// Sends these, and then whoever has come meanwhile, until nobody waits.
fn send_in_background(node: &Arc<Node>, runtime: &Handle, slot: u16, items: Vec<Item>) {
    let on_the_way = OnTheWay {
        node: node.clone(),
        slot,
    };
    runtime.spawn(async move {
        send_all(&on_the_way.node, items).await;
    });
}

/// Sends these in as few scripts as their order allows.
async fn send_all(node: &Arc<Node>, items: Vec<Item>) {
    let sending = batches(live(items)).into_iter();
    join_all(sending.map(|batch| send_batch(node, batch))).await;
}

/// Those who still wait for an answer. Whoever does not may have said the opposite by now, behind which this must not go;
/// nothing was done for any of the others either.
fn live(items: Vec<Item>) -> Vec<Item> {
    let now = Instant::now();
    let mut live = Vec::with_capacity(items.len());
    for item in items {
        if item.deadline <= now {
            let _ = item.answer.send(Err(too_late()));
        } else if !item.answer.is_closed() {
            live.push(item);
        }
    }
    live
}

fn too_late() -> Fault {
    Fault::NotSent {
        reason: "others were not answered in time".to_owned(),
    }
}

/// Sorts requests into scripts, in the order in which these are to be sent.
fn batches(items: impl IntoIterator<Item = Item>) -> Vec<Vec<Item>> {
    let mut batches: Vec<Vec<Item>> = Vec::new();
    // By name, the batch of the last request about it.
    let mut last: HashMap<Bytes, usize> = HashMap::new();
    for item in items {
        let earliest = item.about().and_then(|name| last.get(name)).copied();
        let earliest = earliest.unwrap_or(0);
        let fitting = (earliest..batches.len()).find(|at| {
            let batch = &batches[*at];
            batch.len() < MOST && batch.first().is_some_and(|first| first.goes_with(&item))
        });
        let at = fitting.unwrap_or(batches.len());
        if let Some(name) = item.about() {
            last.insert(name.clone(), at);
        }
        match batches.get_mut(at) {
            Some(batch) => batch.push(item),
            None => batches.push(vec![item]),
        }
    }
    batches
}

/// Sends all in one script. Where the server refuses that, and so did nothing for all, each is sent alone: what is wrong
/// with one is no matter of the others.
async fn send_batch(node: &Arc<Node>, mut batch: Vec<Item>) {
    for _ in 0..TRIES {
        let Some(deadline) = batch.iter().map(|item| item.deadline).max() else {
            return;
        };
        let link = match node.link(deadline).await {
            Ok(link) => link,
            Err(fault) => return answer_all(batch, fault),
        };
        // It may have taken a while to be connected, or to be told that the server does not know the script.
        batch = live(batch);
        let Some(request) = together(&batch) else {
            break;
        };
        let answer = pin!(node.execute_alone(&link, &request, false, deadline));
        match answer.await {
            Ok(reply) => return answer_each(batch, reply),
            // It has been loaded.
            Err(Fault::Refused {
                refusal: Refusal::NoScript,
                ..
            }) => {}
            Err(Fault::Refused { .. }) => break,
            Err(fault) => return answer_all(batch, fault),
        }
    }
    let alone = live(batch).into_iter().map(|item| async move {
        let answer = alone(node, &item.request(), item.deadline).await;
        let _ = item.answer.send(answer);
    });
    join_all(alone).await;
}

/// All in one script; none, where there is only one.
fn together(batch: &[Item]) -> Option<Request> {
    let [first, _, ..] = batch else {
        return None;
    };
    let script = first.script.gathered?;
    let mut args: Vec<_> = batch.iter().flat_map(|item| &item.args).cloned().collect();
    let count = |n: usize| decimal(u64::try_from(n).unwrap_or(u64::MAX));
    args.extend([count(first.keys.len()), count(first.args.len())]);
    Some(Request::Script {
        script,
        keys: batch.iter().flat_map(|item| &item.keys).cloned().collect(),
        args,
        late: false,
    })
}

/// Gives each its part of the answer. Who has left does not hear it.
fn answer_each(batch: Vec<Item>, reply: Reply) {
    let replies = match reply {
        Reply::Array(replies) if replies.len() == batch.len() => replies,
        _ => vec![Reply::Odd("another number of answers"); batch.len()],
    };
    for (item, reply) in batch.into_iter().zip(replies) {
        let _ = item.answer.send(judge(reply));
    }
}

fn answer_all(batch: Vec<Item>, fault: Fault) {
    for item in batch {
        let _ = item.answer.send(Err(fault.clone()));
    }
}

async fn alone(node: &Arc<Node>, request: &Request, deadline: Instant) -> Answer {
    let link = node.link(deadline).await?;
    let answer = pin!(node.execute_alone(&link, request, false, deadline));
    answer.await
}

/// What one of many was answered.
fn judge(reply: Reply) -> Answer {
    match &reply {
        Reply::Array(parts) => match &parts[..] {
            [Reply::Text(mark), Reply::Text(text)] if mark.as_ref() == b"!" => {
                let text = String::from_utf8_lossy(text);
                let text = crate::error::cut(&text).to_owned();
                Err(Fault::Refused {
                    refusal: Refusal::classify(&text).unwrap_or(Refusal::Other),
                    text,
                })
            }
            _ => Ok(reply),
        },
        _ => Ok(reply),
    }
}

#[cfg(test)]
mod tests;
