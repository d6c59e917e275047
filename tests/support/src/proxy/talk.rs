//! The conversation on one connection: which request a frame from the server belongs to, if to any.

use std::collections::{HashSet, VecDeque};

use super::rule::{Active, Rule};
use crate::frame::Frame;

/// Commands whose first argument is a command of its own.
const CONTAINERS: [&str; 8] = [
    "ACL", "CLIENT", "CLUSTER", "CONFIG", "FUNCTION", "PUBSUB", "SCRIPT", "SENTINEL",
];

/// A request that the server has not answered yet.
pub(super) struct Pending {
    name: String,
    args: Vec<Vec<u8>>,
    /// Rules that may act on the reply.
    pub(super) rules: Vec<Active<Rule>>,
    /// Whether the client is not to see the reply.
    pub(super) silent: bool,
    /// How many confirmations are still to come, once the first is there.
    confirmations: Option<usize>,
    /// What was decided at the first confirmation.
    decided: Option<Option<Active<Rule>>>,
}

/// What is known of the conversation.
#[derive(Default)]
pub(super) struct Talk {
    pub(super) pending: VecDeque<Pending>,
    resp3: bool,
    pub(super) requests_stalled: bool,
    pub(super) replies_stalled: bool,
    channels: HashSet<Vec<u8>>,
    patterns: HashSet<Vec<u8>>,
    shards: HashSet<Vec<u8>>,
}

/// What a frame from the server is.
pub(super) enum Sort {
    Message { channel: Vec<u8>, payload: Vec<u8> },
    Push,
    Reply(ReplyTo),
}

/// How a reply is to be treated.
pub(super) struct ReplyTo {
    pub(super) rule: Option<Active<Rule>>,
    pub(super) silent: bool,
    /// Whether an earlier confirmation of the same request was treated already.
    pub(super) again: bool,
}

impl Pending {
    /// `None` for a request without words, which the server does not answer.
    pub(super) fn new(words: &[Vec<u8>]) -> Option<Pending> {
        let (name, args) = words.split_first()?;
        Some(Pending {
            name: String::from_utf8_lossy(name).to_ascii_uppercase(),
            args: args.to_vec(),
            rules: Vec::new(),
            silent: false,
            confirmations: None,
            decided: None,
        })
    }

    /// The names the request counts under.
    pub(super) fn names(&self) -> impl Iterator<Item = String> {
        let sub = self
            .args
            .first()
            .filter(|_| CONTAINERS.contains(&self.name.as_str()))
            .map(|sub| {
                let sub = String::from_utf8_lossy(sub).to_ascii_uppercase();
                format!("{} {sub}", self.name)
            });
        std::iter::once(self.name.clone()).chain(sub)
    }

    fn decide(&mut self, frame: &Frame) -> ReplyTo {
        let again = self.decided.is_some();
        let rules = &self.rules;
        let rule = self
            .decided
            .get_or_insert_with(|| rules.iter().find(|rule| rule.takes_reply(frame)).cloned())
            .clone();
        ReplyTo {
            rule,
            silent: self.silent,
            again,
        }
    }
}

impl Talk {
    pub(super) fn is_subscribed(&self) -> bool {
        !(self.channels.is_empty() && self.patterns.is_empty() && self.shards.is_empty())
    }

    /// Tells replies from pushes, and keeps the books.
    pub(super) fn sort(&mut self, frame: &Frame) -> Sort {
        let items = match frame {
            Frame::Push(items) => items.as_slice(),
            // Before RESP3 a push looks like any other array, but only subscribers get one.
            Frame::Array(items) if !self.resp3 => items.as_slice(),
            _ => &[],
        };
        let pushed = matches!(frame, Frame::Push(_)) || self.is_subscribed();
        let kind = items.first().and_then(Frame::bytes).unwrap_or_default();
        match (kind, items) {
            (b"message" | b"smessage", [_, channel, payload])
            | (b"pmessage", [_, _, channel, payload])
                if pushed =>
            {
                return Sort::Message {
                    channel: channel.bytes().unwrap_or_default().to_vec(),
                    payload: payload.bytes().unwrap_or_default().to_vec(),
                };
            }
            (_, [_, channel, Frame::Int(_)]) => {
                if let Some(sort) = self.confirmation(kind, channel, pushed, frame) {
                    return sort;
                }
            }
            _ => {}
        }
        if matches!(frame, Frame::Push(_)) {
            return Sort::Push;
        }
        let Some(mut request) = self.pending.pop_front() else {
            return Sort::Push;
        };
        if !frame.is_error() {
            match (request.name.as_str(), request.args.first()) {
                ("HELLO", Some(version)) => self.resp3 = version == b"3",
                ("RESET", _) => {
                    let pending = std::mem::take(&mut self.pending);
                    *self = Talk {
                        pending,
                        requests_stalled: self.requests_stalled,
                        replies_stalled: self.replies_stalled,
                        ..Talk::default()
                    };
                }
                _ => {}
            }
        }
        Sort::Reply(request.decide(frame))
    }

    /// A confirmation of a subscription or of its end, if it is one.
    fn confirmation(
        &mut self,
        kind: &[u8],
        channel: &Frame,
        pushed: bool,
        frame: &Frame,
    ) -> Option<Sort> {
        let (books, joins) = match kind {
            b"subscribe" => (&mut self.channels, true),
            b"unsubscribe" => (&mut self.channels, false),
            b"psubscribe" => (&mut self.patterns, true),
            b"punsubscribe" => (&mut self.patterns, false),
            b"ssubscribe" => (&mut self.shards, true),
            b"sunsubscribe" => (&mut self.shards, false),
            _ => return None,
        };
        let asked = self
            .pending
            .front_mut()
            .filter(|request| request.name.as_bytes().eq_ignore_ascii_case(kind));
        if asked.is_none() && !pushed {
            return None;
        }
        let known = books.len();
        if let Some(channel) = channel.bytes() {
            if joins {
                books.insert(channel.to_vec());
            } else {
                books.remove(channel);
            }
        }
        let Some(request) = asked else {
            return Some(Sort::Push);
        };
        let left = request.confirmations.get_or_insert_with(|| {
            // Without arguments, all that is known ends; with nothing known there is one confirmation all the same.
            if request.args.is_empty() {
                known.max(1)
            } else {
                request.args.len()
            }
        });
        *left -= 1;
        let done = *left == 0;
        let reply = request.decide(frame);
        if done {
            self.pending.pop_front();
        }
        Some(Sort::Reply(reply))
    }
}
