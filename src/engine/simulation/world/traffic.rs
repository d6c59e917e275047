//! What arrives, and what comes and goes.

use std::{collections::BTreeMap, collections::BTreeSet, fmt::Write as _};

use super::{Answer, COMMANDS, Event, MESSAGES, NODE, Op, Outcome, Parcel, State, unknown};
use crate::{
    engine::{
        memory::server::Said,
        transport::{Fault, Reply, Request, Signal},
    },
    error::Refusal,
};

impl State {
    pub(super) fn execute(&mut self, client: usize, lane: usize, parcel: Parcel) {
        let Parcel {
            id, op, reply_lost, ..
        } = parcel;
        let loading = self.loading_until > self.now && matches!(op, Op::Ask(_));
        let outcome = if loading {
            Err(Fault::Refused {
                refusal: Refusal::Loading,
                text: "LOADING".to_owned(),
            })
        } else {
            self.serve(client, &op)
        };
        self.trace(|text| {
            let _ = write!(text, "{client} {id} {} -> {outcome:?}", shown(&op));
        });
        self.carry_messages();
        if reply_lost {
            return;
        }
        let back = self.dice().between(0, 3);
        self.at(self.now + back, Event::Reply(client, lane, id, outcome));
    }

    fn serve(&mut self, client: usize, op: &Op) -> Outcome {
        let subscribed = &mut self.peers[client].subscribed;
        match op {
            Op::Subscribe(channels) => subscribed.extend(channels.iter().cloned()),
            Op::Unsubscribe(channels) => {
                subscribed.retain(|channel| !channels.contains(channel));
            }
            Op::Unheard(channels) => {
                let unheard = channels.iter().filter(|name| !subscribed.contains(*name));
                return Ok(Answer::Unheard(unheard.cloned().collect()));
            }
            Op::Ask(request) => {
                return self.ask(request).map(Answer::Reply);
            }
        }
        Ok(Answer::Reply(Reply::Nil))
    }

    fn ask(&mut self, request: &Request) -> Result<Reply, Fault> {
        if let Request::Script { script, late, .. } = request
            && !self.server.learn(script)
            && !late
        {
            return Err(Fault::Refused {
                refusal: Refusal::NoScript,
                text: "NOSCRIPT".to_owned(),
            });
        }
        self.server.serve(request)
    }

    fn carry_messages(&mut self) {
        for Said {
            channel, payload, ..
        } in self.server.take_said()
        {
            for client in 0..self.peers.len() {
                if !self.peers[client].subscribed.contains(&channel) {
                    continue;
                }
                let epoch = self.lane(client, MESSAGES).epoch;
                let (times, lost_aloud) = self.weather.copies();
                if times.is_empty() {
                    self.trace(|text| {
                        let _ = write!(text, "FAULT a message to {client} is lost");
                    });
                }
                for late in times {
                    let message = Event::Message(client, epoch, channel.clone(), payload.clone());
                    self.at(self.now + late, message);
                }
                if lost_aloud {
                    self.signals.push((client, Signal::MessagesLost));
                }
            }
        }
    }

    pub(super) fn bring_up(&mut self, client: usize, lane: usize) {
        if self.peers[client].gone || self.lane(client, lane).up {
            return;
        }
        let to = self.lane(client, lane);
        to.up = true;
        // The fence: what the connection before has left is never read.
        to.left.clear();
        to.last = 0;
        self.signals.push((
            client,
            match lane {
                COMMANDS => Signal::CommandsUp,
                _ => Signal::SubscriberUp { node: NODE },
            },
        ));
        self.trace(|text| {
            let _ = write!(text, "{client} lane {lane} is up");
        });
        self.pump(client, lane);
    }

    /// Ends a connection; the next one comes after `pause`.
    pub(in super::super) fn cut(&mut self, client: usize, lane: usize, pause: Option<u64>) {
        let now = self.now;
        let to = &mut self.peers[client].lanes[lane];
        if !to.up {
            return;
        }
        to.up = false;
        to.epoch += 1;
        let wire = std::mem::take(&mut to.wire);
        let pending: BTreeSet<_> = to.pending.iter().map(|parcel| parcel.id).collect();
        let (kept, broken) = std::mem::take(&mut to.waiting)
            .into_iter()
            .partition(|(id, _)| pending.contains(id));
        to.waiting = kept;
        for answer in BTreeMap::into_values(broken) {
            let _ = answer.send(Err(unknown("the connection is gone")));
        }
        let read = self.weather.dice.below(wire.len() as u64 + 1);
        let until = pause.unwrap_or(0);
        let mut times: Vec<_> = (0..read)
            .map(|_| self.weather.dice.below(until + 1))
            .collect();
        times.sort_unstable();
        for late in times {
            self.at(now + late, Event::Leftover(client, lane));
        }
        let to = &mut self.peers[client].lanes[lane];
        to.left = wire.into_iter().take(read as usize).collect();
        let reason = "cut".to_owned();
        if lane == MESSAGES {
            // Subscriptions are the connection's, and so is what would have changed them.
            self.peers[client].lanes[lane].left.clear();
            self.peers[client].subscribed.clear();
        }
        self.signals.push((
            client,
            match lane {
                COMMANDS => Signal::CommandsDown { reason },
                _ => Signal::SubscriberDown { node: NODE, reason },
            },
        ));
        if let Some(pause) = pause {
            self.note_trouble(client, now + pause);
            self.at(now + pause + 1, Event::Up(client, lane));
        }
    }

    /// The first connections of a client.
    pub(in super::super) fn connect(&mut self, client: usize) {
        for lane in [COMMANDS, MESSAGES] {
            let late = self.dice().between(0, 5);
            self.at(self.now + late, Event::Up(client, lane));
        }
    }

    /// A client is heard of no more.
    pub(in super::super) fn leave(&mut self, client: usize) {
        for lane in [COMMANDS, MESSAGES] {
            self.cut(client, lane, None);
            let to = self.lane(client, lane);
            to.pending.clear();
            for (_, answer) in std::mem::take(&mut to.waiting) {
                let reason = "closed before it was sent".to_owned();
                let _ = answer.send(Err(Fault::NotSent { reason }));
            }
        }
        let peer = &mut self.peers[client];
        peer.gone = true;
        peer.sink = None;
        peer.subscribed.clear();
    }

    /// The server has read nothing more of what a cut left behind: it is gone itself.
    pub(in super::super) fn nothing_is_left_of(&mut self, client: usize) {
        for lane in [COMMANDS, MESSAGES] {
            self.lane(client, lane).left.clear();
        }
    }

    pub(in super::super) fn pause_server(&mut self, ms: u64) {
        self.paused_until = self.now + ms;
        self.trouble = self.trouble.max(self.paused_until);
    }

    pub(in super::super) fn load(&mut self, ms: u64) {
        self.loading_until = self.now + ms;
        self.trouble = self.trouble.max(self.loading_until);
    }

    pub(in super::super) fn freeze(&mut self, client: usize, ms: u64) {
        let until = self.now + ms;
        self.peers[client].frozen_until = until;
        self.note_trouble(client, until);
    }

    pub(in super::super) fn frozen_until(&self, client: usize) -> u64 {
        self.peers[client].frozen_until
    }
}

fn shown(op: &Op) -> String {
    match op {
        Op::Ask(Request::Script {
            script, keys, args, ..
        }) => format!("{} {keys:?} {args:?}", script.name),
        op => format!("{op:?}"),
    }
}
