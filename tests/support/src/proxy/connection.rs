//! One connection through the proxy.
//!
//! Each direction has a reader, which takes frames apart and decides what happens to them, and a writer, which sends
//! them in order when their time has come.

use std::net::Ipv4Addr;
use std::sync::Mutex;
use std::sync::atomic::Ordering;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::time::Instant;

use super::rule::{Action, MessageAction};
use super::talk::{Pending, ReplyTo, Sort, Talk};
use super::{Control, Shared, lock};
use crate::frame::{Frame, parse, parse_request};

/// Something a writer sends.
struct Item {
    due: Instant,
    hold: Option<watch::Receiver<bool>>,
    bytes: Vec<u8>,
    /// The requests in `bytes`, whose replies are to be expected.
    requests: Vec<Pending>,
    is_message: bool,
    /// Ends the connection instead of sending.
    closes: bool,
}

struct Connection<'a> {
    shared: &'a Shared,
    control: &'a Control,
    talk: Mutex<Talk>,
}

/// Serves one client until either side closes or a rule cuts the connection.
pub(super) async fn serve(shared: &Shared, control: &Control, mut client: TcpStream) {
    let port = shared.upstream.load(Ordering::Relaxed);
    let Ok(mut server) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await else {
        shared.healed().await;
        return;
    };
    if let Ok(local) = server.local_addr() {
        control.local_port.store(local.port(), Ordering::Relaxed);
    }
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let (requests, requests_out) = unbounded_channel();
    let (replies, replies_out) = unbounded_channel();
    let connection = Connection {
        shared,
        control,
        talk: Mutex::default(),
    };
    // A reader that comes to its end leaves the last word to its writer, which has the rest to send.
    let read_requests = async {
        connection.read_requests(from_client, &requests).await;
        std::future::pending::<()>().await;
    };
    let read_replies = async {
        connection.read_replies(from_server, &replies).await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = read_requests => {}
        () = read_replies => {}
        () = connection.write(requests_out, to_server) => {}
        () = connection.write(replies_out, to_client) => {}
    }
}

impl Connection<'_> {
    async fn read_requests(&self, mut from: ReadHalf<'_>, to: &UnboundedSender<Item>) {
        let mut buffer = Vec::new();
        while let Ok(1..) = from.read_buf(&mut buffer).await {
            let mut used = 0;
            loop {
                match parse_request(&buffer[used..]) {
                    Ok(None) => break,
                    Ok(Some((words, length))) => {
                        self.request(words, &buffer[used..used + length], to);
                        used += length;
                    }
                    Err(_) => {
                        let _ = to.send(self.close());
                        return;
                    }
                }
            }
            buffer.drain(..used);
        }
        self.shared.healed().await;
        let _ = to.send(self.close());
    }

    async fn read_replies(&self, mut from: ReadHalf<'_>, to: &UnboundedSender<Item>) {
        let mut buffer = Vec::new();
        while let Ok(1..) = from.read_buf(&mut buffer).await {
            let mut used = 0;
            loop {
                match parse(&buffer[used..]) {
                    Ok(None) => break,
                    Ok(Some((frame, length))) => {
                        self.frame(&frame, &buffer[used..used + length], to);
                        used += length;
                    }
                    Err(_) => {
                        let _ = to.send(self.close());
                        return;
                    }
                }
            }
            buffer.drain(..used);
        }
        self.shared.healed().await;
        let _ = to.send(self.close());
    }

    /// Sends what is due, in order, until something closes the connection.
    async fn write(&self, mut items: UnboundedReceiver<Item>, mut to: WriteHalf<'_>) {
        while let Some(item) = items.recv().await {
            tokio::time::sleep_until(item.due).await;
            if let Some(mut hold) = item.hold {
                let _ = hold.wait_for(|released| *released).await;
            }
            if item.closes {
                return;
            }
            if *self.shared.black_hole.borrow() {
                let requests = item.requests.len() as u64;
                self.shared.swallowed.fetch_add(requests, Ordering::Relaxed);
                continue;
            }
            if !item.requests.is_empty() {
                let mut seen = lock(&self.shared.seen);
                for request in &item.requests {
                    for name in request.names() {
                        *seen.entry(name).or_default() += 1;
                    }
                }
                lock(&self.talk).pending.extend(item.requests);
            }
            if item.is_message {
                self.shared.messages.fetch_add(1, Ordering::Relaxed);
            }
            if to.write_all(&item.bytes).await.is_err() {
                self.shared.healed().await;
                return;
            }
        }
    }

    fn item(&self, bytes: &[u8]) -> Item {
        Item {
            due: Instant::now() + *lock(&self.shared.delay),
            hold: None,
            bytes: bytes.to_vec(),
            requests: Vec::new(),
            is_message: false,
            closes: false,
        }
    }

    fn close(&self) -> Item {
        Item {
            closes: true,
            ..self.item(&[])
        }
    }

    fn request(&self, words: Vec<Vec<u8>>, bytes: &[u8], to: &UnboundedSender<Item>) {
        // What a black hole swallows is not there for a rule to act on.
        if *self.shared.black_hole.borrow() {
            self.shared.swallowed.fetch_add(1, Ordering::Relaxed);
            return;
        }
        if lock(&self.talk).requests_stalled {
            return;
        }
        let mut item = self.item(bytes);
        let Some(mut request) = Pending::new(&words) else {
            let _ = to.send(item);
            return;
        };
        let mut acting = None;
        for rule in &lock(&self.shared.rules).requests {
            if rule.takes_request(&words) {
                if rule.rule.action.is_on_reply() {
                    request.rules.push(rule.clone());
                } else if acting.is_none() {
                    acting = Some(rule.clone());
                }
            }
        }
        if let Some(rule) = acting {
            match &rule.rule.action {
                Action::DropRequest => {
                    rule.progress.hit();
                    return;
                }
                Action::StallRequests => {
                    lock(&self.talk).requests_stalled = true;
                    rule.progress.hit();
                    return;
                }
                Action::CutBeforeForward => {
                    let _ = to.send(self.close());
                    rule.progress.hit();
                    return;
                }
                Action::DelayRequest(time) => item.due += *time,
                Action::HoldRequest => item.hold = Some(rule.progress.released()),
                Action::DuplicateRequest => {
                    item.bytes.extend_from_slice(bytes);
                    if let Some(mut twin) = Pending::new(&words) {
                        twin.silent = true;
                        item.requests.push(twin);
                    }
                }
                Action::Refuse(_) => {
                    // Something that is answered in its place, and the answer is replaced.
                    item.bytes = b"*1\r\n$4\r\nPING\r\n".to_vec();
                    request.rules = vec![rule.clone()];
                }
                _ => {}
            }
            if !matches!(rule.rule.action, Action::Refuse(_)) {
                rule.progress.hit();
            }
        }
        item.requests.insert(0, request);
        let _ = to.send(item);
    }

    fn frame(&self, frame: &Frame, bytes: &[u8], to: &UnboundedSender<Item>) {
        let (sort, stalled) = {
            let mut talk = lock(&self.talk);
            let sort = talk.sort(frame);
            self.control
                .subscribed
                .store(talk.is_subscribed(), Ordering::Relaxed);
            (sort, talk.replies_stalled)
        };
        if stalled || *self.shared.black_hole.borrow() {
            return;
        }
        match sort {
            Sort::Push => {
                let _ = to.send(self.item(bytes));
            }
            Sort::Message { channel, payload } => self.message(&channel, &payload, bytes, to),
            Sort::Reply(reply) => self.reply(reply, bytes, to),
        }
    }

    fn message(&self, channel: &[u8], payload: &[u8], bytes: &[u8], to: &UnboundedSender<Item>) {
        let mut item = self.item(bytes);
        item.is_message = true;
        let acting = lock(&self.shared.rules)
            .messages
            .iter()
            .find(|rule| rule.takes(channel, payload))
            .cloned();
        if let Some(rule) = acting {
            rule.progress.hit();
            match rule.rule.action {
                MessageAction::Drop => return,
                MessageAction::Delay(time) => item.due += time,
                MessageAction::Duplicate => {
                    let mut first = self.item(bytes);
                    first.is_message = true;
                    let _ = to.send(first);
                }
            }
        }
        let _ = to.send(item);
    }

    fn reply(&self, reply: ReplyTo, bytes: &[u8], to: &UnboundedSender<Item>) {
        if reply.silent {
            return;
        }
        let mut item = self.item(bytes);
        let Some(rule) = reply.rule else {
            let _ = to.send(item);
            return;
        };
        let mut passes = true;
        match &rule.rule.action {
            Action::DropReply => passes = false,
            Action::StallReplies => {
                lock(&self.talk).replies_stalled = true;
                passes = false;
            }
            Action::DelayReply(time) => item.due += *time,
            Action::HoldReply => item.hold = Some(rule.progress.released()),
            Action::CutAfterForward => item.closes = true,
            Action::ReplaceReply(other) | Action::Refuse(other) => {
                item.bytes.clone_from(other);
                passes = !reply.again;
            }
            _ => {}
        }
        if passes {
            let _ = to.send(item);
        }
        if !reply.again {
            rule.progress.hit();
        }
    }
}
