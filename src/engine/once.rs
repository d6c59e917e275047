//! Requests that count, so that a repeat would count again: each is done once, whatever becomes of its reply.
//!
//! Such a script leaves a *mark* where it has done something: a small key of this client beside the data, with the number
//! of the request and its answer. A request without a reply is not sent again blindly. First the mark is read. Its number
//! says that the request was executed, and what the answer was; any other says that it was not and, by the order contract
//! of the transport, never will be, so it can be sent anew. Requests of one client about one name take turns, so one mark
//! is enough.
//!
//! A mark lasts for [`MARK_TIME`] and is deleted when the client is closed. An outage that lasts longer than that leaves a
//! request in doubt for ever: it is then not sent again, and its caller is told that it may have taken effect.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use dashmap::DashMap;
use futures_util::future::join_all;
use tokio::time::{Instant, sleep, timeout_at};

use super::{
    Engine, LONGEST_RETRY_PAUSE, RETRY_PAUSE, describe,
    desk::Desk,
    jitter,
    script::{Command, decimal},
    trade::Names,
    transport::{Fault, Reply, Request},
    unexpected,
    wakeup::Source,
};
use crate::{
    error::{Error, Refusal, Result},
    events::Event,
};

/// How long a mark lasts on the server.
const MARK_TIME: Duration = Duration::from_secs(300);
/// What is taken off it here, for two clocks that do not go at the same speed.
const MARK_MARGIN: Duration = Duration::from_secs(5);
/// Marks deleted in one call, and how many there may be before the ended ones are forgotten.
const MARKS_A_CALL: usize = 500;

/// The marks this client may have on its server, and when they end.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    marks: DashMap<Bytes, Instant>,
}

impl Marks {
    fn note(&self, mark: &Bytes, sent: Instant) {
        let until = sent + MARK_TIME;
        if let Some(mut known) = self.marks.get_mut(mark) {
            *known = until;
            return;
        }
        if self.marks.len() >= MARKS_A_CALL && self.marks.len().is_power_of_two() {
            self.marks.retain(|_, until| *until > sent);
        }
        self.marks.insert(mark.clone(), until);
    }
}

/// Why a request came to nothing.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) fault: Fault,
    /// Whether it may have been executed.
    pub(super) doubtful: bool,
}

impl Failed {
    pub(super) fn describe(self, name: &Arc<str>) -> Error {
        match self.fault {
            Fault::NotSent { reason } | Fault::Unknown { reason } => Error::Unreachable {
                name: name.clone(),
                reason,
                indeterminate: self.doubtful,
            },
            fault => describe(name, fault, self.doubtful),
        }
    }
}

/// Whether a fault may pass by itself.
pub(super) fn passing(fault: &Fault) -> bool {
    match fault {
        Fault::NotSent { .. } | Fault::Unknown { .. } => true,
        Fault::Refused { refusal, .. } => refusal.is_transient(),
        Fault::Closed => false,
    }
}

/// Which tries come after a failed one: asked with the fault, and whether the request is in doubt.
pub(super) trait Persistence: Fn(&Fault, bool) -> bool + Send + Sync {}
impl<F: Fn(&Fault, bool) -> bool + Send + Sync> Persistence for F {}

impl Engine {
    /// Runs a marked command once. The caller has the desk's gate. `{answer, heard}` is taken apart here, and the answer
    /// given.
    pub(super) async fn once(
        &self,
        desk: &Desk,
        command: &Command,
        go_on: impl Persistence,
    ) -> Result<Reply, Failed> {
        let mut pause = RETRY_PAUSE;
        loop {
            let number = self.next_number();
            let sent = Instant::now();
            let mut command = command.clone();
            command.keys.insert(0, desk.names.mark.clone());
            let time = u64::try_from(MARK_TIME.as_millis()).unwrap_or(u64::MAX);
            command.args.splice(0..0, [decimal(number), decimal(time)]);
            let reply = self
                .run(command, sent + self.settings.command_timeout)
                .await;
            let fault = match reply {
                Ok(Reply::Array(mut parts)) if parts.len() == 2 => {
                    self.marks.note(&desk.names.mark, sent);
                    desk.note_trouble(None);
                    if parts.pop().and_then(|heard| heard.as_int()) == Some(0) {
                        self.not_heard(desk);
                    }
                    return Ok(parts.pop().unwrap_or(Reply::Nil));
                }
                Ok(odd) => return Ok(odd),
                Err(fault) => fault,
            };
            desk.note_trouble(Some(fault.clone()));
            if matches!(fault, Fault::Unknown { .. }) {
                self.counters.unknown_outcomes.one();
                self.marks.note(&desk.names.mark, sent);
                match self.marked(desk, number, sent, &go_on).await {
                    Ok(Some(answer)) => {
                        desk.note_trouble(None);
                        return Ok(answer);
                    }
                    Ok(None) if go_on(&fault, false) => continue,
                    Ok(None) => {
                        return Err(Failed {
                            fault,
                            doubtful: false,
                        });
                    }
                    Err(fault) => {
                        return Err(Failed {
                            fault,
                            doubtful: true,
                        });
                    }
                }
            }
            if matches!(fault, Fault::Closed) || !go_on(&fault, false) {
                return Err(Failed {
                    fault,
                    doubtful: false,
                });
            }
            sleep(jitter(pause)).await;
            pause = (pause * 2).min(LONGEST_RETRY_PAUSE);
        }
    }

    /// Whether the request with this number was executed, and its answer if so.
    async fn marked(
        &self,
        desk: &Desk,
        number: u64,
        sent: Instant,
        go_on: &impl Persistence,
    ) -> Result<Option<Reply>, Fault> {
        let mut pause = RETRY_PAUSE;
        loop {
            let request = Request::Query {
                verb: "GET",
                args: vec![desk.names.mark.clone()],
                about: desk.names.mark.clone(),
            };
            let deadline = Instant::now() + self.settings.command_timeout;
            let reply = self.send(request, deadline).await;
            let fault = match reply {
                Ok(Reply::Text(mark)) => match read_mark(&mark, number) {
                    Some(answer) => return Ok(Some(Reply::Text(answer))),
                    None => return not_done(sent),
                },
                Ok(_) => return not_done(sent),
                Err(fault) => fault,
            };
            let over = sent.elapsed() > MARK_TIME - MARK_MARGIN;
            if over || matches!(fault, Fault::Closed) || !go_on(&fault, true) {
                return Err(fault);
            }
            sleep(jitter(pause)).await;
            pause = (pause * 2).min(LONGEST_RETRY_PAUSE);
        }
    }

    /// Runs a command that may be sent as often as it takes.
    pub(super) async fn again(
        &self,
        desk: &Desk,
        command: &Command,
        go_on: impl Persistence,
    ) -> Result<Reply, Failed> {
        let mut pause = RETRY_PAUSE;
        let mut doubtful = false;
        loop {
            let deadline = Instant::now() + self.settings.command_timeout;
            let fault = match self.run(command.clone(), deadline).await {
                Ok(reply) => {
                    desk.note_trouble(None);
                    return Ok(reply);
                }
                Err(fault) => fault,
            };
            desk.note_trouble(Some(fault.clone()));
            if matches!(fault, Fault::Unknown { .. }) {
                self.counters.unknown_outcomes.one();
                doubtful = true;
            }
            if matches!(fault, Fault::Closed) || !go_on(&fault, doubtful) {
                return Err(Failed { fault, doubtful });
            }
            sleep(jitter(pause)).await;
            pause = (pause * 2).min(LONGEST_RETRY_PAUSE);
        }
    }

    /// The server refused to publish: waiters find out by looking, those of this process at once.
    fn not_heard(&self, desk: &Desk) {
        self.events.tell(|| Event::WakeUpRefused {
            name: desk.names.shown.clone(),
        });
        if let Some(channel) = desk.channel() {
            channel.wake(Source::Release);
        }
    }

    /// Deletes this client's marks, as far as there is time.
    pub(super) async fn erase_marks(&self, deadline: Instant) {
        let now = Instant::now();
        let mut marks: Vec<Bytes> = Vec::new();
        self.marks.marks.retain(|mark, until| {
            if *until > now {
                marks.push(mark.clone());
            }
            false
        });
        let mut by_slot: HashMap<u16, Vec<Bytes>> = HashMap::new();
        for mark in marks {
            let slot = self.transport.slot(&mark);
            by_slot.entry(slot).or_default().push(mark);
        }
        let chunks = by_slot
            .values()
            .flat_map(|marks| marks.chunks(MARKS_A_CALL));
        let erasing = chunks.filter_map(|chunk| {
            let request = Request::Query {
                verb: "DEL",
                args: chunk.to_vec(),
                about: chunk.first()?.clone(),
            };
            Some(self.transport.send(request, deadline))
        });
        // What stays ends by itself.
        let _ = timeout_at(deadline, join_all(erasing)).await;
    }
}

/// The answer in a mark, if the mark is the request's.
fn read_mark(mark: &Bytes, number: u64) -> Option<Bytes> {
    let at = mark.iter().position(|byte| *byte == b':')?;
    let seen: u64 = std::str::from_utf8(&mark[..at]).ok()?.parse().ok()?;
    (seen == number).then(|| mark.slice(at + 1..))
}

/// There is no such mark. Too late it says nothing.
fn not_done(sent: Instant) -> Result<Option<Reply>, Fault> {
    if sent.elapsed() <= MARK_TIME - MARK_MARGIN {
        return Ok(None);
    }
    Err(Fault::Unknown {
        reason: "no answer for so long that it cannot be found out any more".to_owned(),
    })
}

/// A number in an answer; `None` where nothing was done.
pub(crate) fn number(names: &Names, answer: &Reply) -> Result<Option<i64>> {
    match answer {
        Reply::Nil => Ok(None),
        answer => answer
            .as_int()
            .map(Some)
            .ok_or_else(|| unexpected(&names.shown, answer)),
    }
}

/// Whether there is no memory for it, which passes with somebody else's help only.
pub(super) fn out_of_memory(fault: &Fault) -> bool {
    matches!(
        fault,
        Fault::Refused {
            refusal: Refusal::OutOfMemory,
            ..
        }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_belongs_to_one_request() {
        let mark = Bytes::from_static(b"17:-3");
        assert_eq!(read_mark(&mark, 17), Some(Bytes::from_static(b"-3")));
        assert_eq!(read_mark(&mark, 1), None);
        assert_eq!(read_mark(&Bytes::from_static(b"17"), 17), None);
        assert_eq!(read_mark(&Bytes::from_static(b":1"), 0), None);
        assert_eq!(read_mark(&Bytes::from_static(b"\xff:1"), 0), None);
    }

    #[tokio::test(start_paused = true)]
    async fn an_absent_mark_says_nothing_after_its_time() {
        let sent = Instant::now();
        assert!(matches!(not_done(sent), Ok(None)));
        tokio::time::advance(MARK_TIME).await;
        assert!(not_done(sent).is_err());
    }

    #[test]
    fn marks_that_have_ended_are_forgotten_and_no_others() {
        let (marks, begun) = (Marks::default(), Instant::now());
        let name = |number: usize| Bytes::from(number.to_string());
        let full = MARKS_A_CALL.next_power_of_two();
        for number in 1..full {
            marks.note(&name(number), begun);
        }
        marks.note(&name(0), begun + MARK_TIME / 2);
        assert_eq!(marks.marks.len(), full);
        marks.note(&name(full), begun + MARK_TIME + MARK_MARGIN);
        let mut left: Vec<_> = marks.marks.into_iter().map(|(mark, _)| mark).collect();
        left.sort();
        assert_eq!(left, [name(0), name(full)]);
    }
}
