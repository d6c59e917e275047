//! What a proxy is told to break.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::frame::Frame;

/// What a rule does to a request or to its reply.
///
/// TCP cannot lose bytes from the middle of a stream. The `Drop` actions do just that, so on a plain connection the
/// client takes each later reply for the answer to an earlier request; they suit a connection on which nothing
/// follows, and subscriptions, whose confirmations name their channel. The `Stall` actions are what a network does:
/// from the frame that was hit on, nothing more gets through in that direction, until the connection is closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// The request never reaches the server, and no reply comes.
    DropRequest,
    /// The server runs the request, but the client never sees the reply.
    DropReply,
    /// This request and all later ones of its connection never reach the server.
    StallRequests,
    /// The server runs the request, but the client sees neither this reply nor anything after it on the connection,
    /// messages included.
    StallReplies,
    /// The request waits so long before it goes on; later requests of its connection wait behind it.
    DelayRequest(Duration),
    /// The reply waits so long before it goes on; later replies and messages of its connection wait behind it.
    DelayReply(Duration),
    /// The request waits until [`RuleHandle::release`]; later requests of its connection wait behind it.
    HoldRequest,
    /// The reply waits until [`RuleHandle::release`]; later replies and messages of its connection wait behind it.
    HoldReply,
    /// The server gets the request twice; the client sees the reply to the first.
    DuplicateRequest,
    /// The client's connection closes and the server never sees the request.
    CutBeforeForward,
    /// The server runs the request; when its reply arrives, the client's connection closes without it.
    CutAfterForward,
    /// The client gets these bytes, a whole frame, instead of the reply.
    ReplaceReply(Vec<u8>),
    /// The server never sees the request, and the client gets these bytes, a whole frame, for a reply. Not for connections
    /// that subscribe.
    Refuse(Vec<u8>),
}

impl Action {
    /// Whether the action waits for the reply.
    pub(super) fn is_on_reply(&self) -> bool {
        matches!(
            self,
            Action::DropReply
                | Action::StallReplies
                | Action::DelayReply(_)
                | Action::HoldReply
                | Action::CutAfterForward
                | Action::ReplaceReply(_)
        )
    }
}

type ArgsPredicate = Arc<dyn Fn(&[Vec<u8>]) -> bool + Send + Sync>;
type ReplyPredicate = Arc<dyn Fn(&Frame) -> bool + Send + Sync>;

/// Which requests are hit, and what happens to them.
///
/// Without [`Rule::nth`] and [`Rule::times`] the first match is hit, once. Of several rules the first added that
/// fires counts, one for the request and one for its reply. Predicates run inside the proxy: they must neither wait nor
/// call it.
#[derive(Clone)]
pub struct Rule {
    command: String,
    args: Option<ArgsPredicate>,
    reply: Option<ReplyPredicate>,
    nth: u64,
    times: u64,
    pub(super) action: Action,
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rule")
            .field("command", &self.command)
            .field("nth", &self.nth)
            .field("times", &self.times)
            .field("action", &self.action)
            .finish_non_exhaustive()
    }
}

impl Rule {
    /// A rule for a command, upper or lower case; `SCRIPT LOAD` means the subcommand and `*` every command.
    ///
    /// Until [`Rule::action`] says otherwise, the reply is dropped.
    pub fn new(command: &str) -> Rule {
        Rule {
            command: command.to_ascii_uppercase(),
            args: None,
            reply: None,
            nth: 1,
            times: 1,
            action: Action::DropReply,
        }
    }

    /// Only requests whose words after the command name please this predicate.
    pub fn args(mut self, predicate: impl Fn(&[Vec<u8>]) -> bool + Send + Sync + 'static) -> Rule {
        self.args = Some(Arc::new(predicate));
        self
    }

    /// Only requests that have this word among those after the command name.
    pub fn with_arg(self, word: impl AsRef<[u8]>) -> Rule {
        let word = word.as_ref().to_vec();
        self.args(move |args| args.contains(&word))
    }

    /// Only replies that please this predicate; of no effect unless the action is one on the reply.
    pub fn reply(mut self, predicate: impl Fn(&Frame) -> bool + Send + Sync + 'static) -> Rule {
        self.reply = Some(Arc::new(predicate));
        self
    }

    /// Begins with the nth match, counted from 1.
    pub fn nth(mut self, nth: u64) -> Rule {
        self.nth = nth.max(1);
        self
    }

    /// Hits so many matches in a row.
    pub fn times(mut self, times: u64) -> Rule {
        self.times = times;
        self
    }

    /// Hits every match from the nth on.
    pub fn always(self) -> Rule {
        self.times(u64::MAX)
    }

    /// What happens.
    pub fn action(mut self, action: Action) -> Rule {
        self.action = action;
        self
    }

    fn matches_request(&self, words: &[Vec<u8>]) -> bool {
        let Some((name, args)) = words.split_first() else {
            return false;
        };
        let named = match self.command.split_once(' ') {
            _ if self.command == "*" => true,
            Some((command, sub)) => {
                name.eq_ignore_ascii_case(command.as_bytes())
                    && args
                        .first()
                        .is_some_and(|arg| arg.eq_ignore_ascii_case(sub.as_bytes()))
            }
            None => name.eq_ignore_ascii_case(self.command.as_bytes()),
        };
        named && self.args.as_ref().is_none_or(|args_match| args_match(args))
    }
}

/// What happens to a pub/sub message that the server pushes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageAction {
    /// The subscriber never sees it.
    Drop,
    /// It waits so long; everything behind it on its connection waits too.
    Delay(Duration),
    /// The subscriber sees it twice.
    Duplicate,
}

/// Which pub/sub messages are hit, and what happens to them.
///
/// Without [`MessageRule::nth`] and [`MessageRule::times`] every message is hit.
#[derive(Clone, Debug)]
pub struct MessageRule {
    channel: Option<Vec<u8>>,
    payload: Option<Vec<u8>>,
    nth: u64,
    times: u64,
    pub(super) action: MessageAction,
}

impl MessageRule {
    /// A rule for every message.
    pub fn new(action: MessageAction) -> MessageRule {
        MessageRule {
            channel: None,
            payload: None,
            nth: 1,
            times: u64::MAX,
            action,
        }
    }

    /// Only messages on this channel.
    pub fn channel(mut self, channel: impl AsRef<[u8]>) -> MessageRule {
        self.channel = Some(channel.as_ref().to_vec());
        self
    }

    /// Only messages with exactly this text.
    pub fn payload(mut self, payload: impl AsRef<[u8]>) -> MessageRule {
        self.payload = Some(payload.as_ref().to_vec());
        self
    }

    /// Begins with the nth match, counted from 1.
    pub fn nth(mut self, nth: u64) -> MessageRule {
        self.nth = nth.max(1);
        self
    }

    /// Hits so many matches in a row.
    pub fn times(mut self, times: u64) -> MessageRule {
        self.times = times;
        self
    }

    fn matches(&self, channel: &[u8], payload: &[u8]) -> bool {
        self.channel
            .as_deref()
            .is_none_or(|wanted| wanted == channel)
            && self
                .payload
                .as_deref()
                .is_none_or(|wanted| wanted == payload)
    }
}

/// How far a rule has come; shared by the proxy and the handle.
#[derive(Debug)]
pub(super) struct Progress {
    matched: AtomicU64,
    removed: AtomicBool,
    hits: watch::Sender<u64>,
    released: watch::Sender<bool>,
}

impl Progress {
    fn new() -> Arc<Progress> {
        Arc::new(Progress {
            matched: AtomicU64::new(0),
            removed: AtomicBool::new(false),
            hits: watch::Sender::new(0),
            released: watch::Sender::new(false),
        })
    }

    /// Counts a match and says whether it is one to be hit.
    fn take(&self, nth: u64, times: u64) -> bool {
        let count = self.matched.fetch_add(1, Ordering::Relaxed) + 1;
        count >= nth && count - nth < times
    }

    pub(super) fn hit(&self) {
        self.hits.send_modify(|hits| *hits += 1);
    }

    pub(super) fn hits(&self) -> u64 {
        *self.hits.borrow()
    }

    pub(super) fn remove(&self) {
        self.removed.store(true, Ordering::Relaxed);
        self.released.send_replace(true);
    }

    pub(super) fn is_removed(&self) -> bool {
        self.removed.load(Ordering::Relaxed)
    }

    pub(super) fn released(&self) -> watch::Receiver<bool> {
        self.released.subscribe()
    }
}

/// A rule in force.
#[derive(Clone)]
pub(super) struct Active<R> {
    pub(super) id: u64,
    pub(super) rule: R,
    pub(super) progress: Arc<Progress>,
}

impl<R> Active<R> {
    pub(super) fn new(id: u64, rule: R) -> Active<R> {
        Active {
            id,
            rule,
            progress: Progress::new(),
        }
    }

    pub(super) fn handle(&self, runtime: Handle) -> RuleHandle {
        RuleHandle {
            id: self.id,
            progress: Arc::clone(&self.progress),
            runtime,
        }
    }
}

impl Active<Rule> {
    /// Whether this rule is to act on the request, or is to look at its reply.
    pub(super) fn takes_request(&self, words: &[Vec<u8>]) -> bool {
        !self.progress.is_removed()
            && self.rule.matches_request(words)
            && (self.waits_for_reply() || self.progress.take(self.rule.nth, self.rule.times))
    }

    /// Whether this rule is to act on the reply to a request that it took.
    pub(super) fn takes_reply(&self, reply: &Frame) -> bool {
        if self.progress.is_removed() {
            return false;
        }
        match &self.rule.reply {
            Some(reply_matches) => {
                reply_matches(reply) && self.progress.take(self.rule.nth, self.rule.times)
            }
            None => true,
        }
    }

    fn waits_for_reply(&self) -> bool {
        self.rule.reply.is_some() && self.rule.action.is_on_reply()
    }
}

impl Active<MessageRule> {
    pub(super) fn takes(&self, channel: &[u8], payload: &[u8]) -> bool {
        !self.progress.is_removed()
            && self.rule.matches(channel, payload)
            && self.progress.take(self.rule.nth, self.rule.times)
    }
}

/// A rule that was given to a proxy. It stays in force when the handle is dropped.
#[derive(Clone, Debug)]
pub struct RuleHandle {
    id: u64,
    progress: Arc<Progress>,
    runtime: Handle,
}

impl RuleHandle {
    /// The id, for [`Proxy::remove_rule`](super::Proxy::remove_rule) and
    /// [`Proxy::rule_hits`](super::Proxy::rule_hits).
    pub fn id(&self) -> u64 {
        self.id
    }

    /// How often the rule has acted. An action on a reply counts when the reply has arrived, so the server is done
    /// with the request by then.
    pub fn hits(&self) -> u64 {
        self.progress.hits()
    }

    /// Lets go what `HoldRequest` or `HoldReply` holds, now and from now on.
    pub fn release(&self) {
        self.progress.released.send_replace(true);
    }

    /// Ends the rule; what it holds is let go.
    pub fn remove(&self) {
        self.progress.remove();
    }

    /// Waits until the rule has acted `n` times.
    ///
    /// # Panics
    ///
    /// After 10 seconds.
    pub async fn wait_hit(&self, n: u64) {
        self.wait_hit_within(n, Duration::from_secs(10)).await;
    }

    /// Waits until the rule has acted `n` times.
    ///
    /// The time limit runs on the proxy's own clock, so it also holds in a test whose clock is paused.
    ///
    /// # Panics
    ///
    /// After `limit`, or when the proxy has ended.
    pub async fn wait_hit_within(&self, n: u64, limit: Duration) {
        let mut hits = self.progress.hits.subscribe();
        let reached = self.runtime.spawn(async move {
            tokio::time::timeout(limit, hits.wait_for(|&hits| hits >= n))
                .await
                .is_ok_and(|hits| hits.is_ok())
        });
        assert!(
            reached.await.unwrap_or(false),
            "a proxy rule was to act {n} times within {limit:?} but has acted {}; check what it matches",
            self.hits()
        );
    }
}
