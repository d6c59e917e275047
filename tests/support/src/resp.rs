//! A small blocking client that shows what the server really holds.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use crate::frame::{Frame, ParseError, encode_request, parse, parse_request};

/// What a server answered, in the terms of RESP2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Nothing: the key, the field or the list is not there.
    Nil,
    /// A number.
    Int(i64),
    /// A status line such as `OK`.
    Simple(String),
    /// An error, its code first.
    Error(String),
    /// Bytes.
    Bulk(Vec<u8>),
    /// A list.
    Array(Vec<Value>),
}

impl Value {
    /// The number, also out of text that spells one.
    ///
    /// # Panics
    ///
    /// When the value is neither.
    #[track_caller]
    pub fn int(&self) -> i64 {
        match self {
            Value::Int(n) => *n,
            Value::Simple(_) | Value::Bulk(_) => self
                .text()
                .parse()
                .unwrap_or_else(|_| panic!("the server answered {self:?}, not a number")),
            _ => panic!("the server answered {self:?}, not a number"),
        }
    }

    /// The text of a status line, of bytes or of a number.
    ///
    /// # Panics
    ///
    /// When the value is an error, a list or nothing.
    #[track_caller]
    pub fn text(&self) -> String {
        match self {
            Value::Simple(text) => text.clone(),
            Value::Bulk(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            Value::Int(n) => n.to_string(),
            _ => panic!("the server answered {self:?}, not text"),
        }
    }

    /// The texts of a list.
    ///
    /// # Panics
    ///
    /// When the value is no list, or one of its elements is not text.
    #[track_caller]
    pub fn strings(&self) -> Vec<String> {
        self.items().iter().map(Value::text).collect()
    }

    /// The elements of a list.
    ///
    /// # Panics
    ///
    /// When the value is no list.
    #[track_caller]
    pub fn items(&self) -> &[Value] {
        match self {
            Value::Array(items) => items,
            _ => panic!("the server answered {self:?}, not a list"),
        }
    }

    /// Whether there is nothing.
    pub fn is_nil(&self) -> bool {
        matches!(self, Value::Nil)
    }

    /// Whether the server refused.
    pub fn is_error(&self) -> bool {
        matches!(self, Value::Error(_))
    }

    /// The value itself, unless the server refused.
    ///
    /// # Panics
    ///
    /// On an error, showing it.
    #[track_caller]
    pub fn accepted(self) -> Value {
        match self {
            Value::Error(error) => panic!("the server refused the command: {error}"),
            value => value,
        }
    }
}

impl From<Frame> for Value {
    fn from(frame: Frame) -> Value {
        match frame {
            Frame::Nil => Value::Nil,
            Frame::Int(n) => Value::Int(n),
            Frame::Bool(truth) => Value::Int(truth.into()),
            Frame::Simple(text) => Value::Simple(text),
            Frame::Error(text) => Value::Error(text),
            Frame::BlobError(bytes) => Value::Error(String::from_utf8_lossy(&bytes).into_owned()),
            Frame::Bulk(bytes) | Frame::Verbatim { text: bytes, .. } => Value::Bulk(bytes),
            Frame::Double(text) | Frame::BigNumber(text) => Value::Bulk(text.into_bytes()),
            Frame::Array(items) | Frame::Push(items) | Frame::Set(items) => {
                Value::Array(items.into_iter().map(Value::from).collect())
            }
            Frame::Map(pairs) => Value::Array(
                pairs
                    .into_iter()
                    .flat_map(|(key, value)| [key.into(), value.into()])
                    .collect(),
            ),
        }
    }
}

struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// A blocking client of one server.
///
/// It connects at the first command and again after an I/O error, so it outlives a restart of the server. Every
/// method blocks its thread until the answer is there or the time limit (10 s unless changed) is over.
pub struct Direct {
    port: u16,
    password: Option<String>,
    timeout: Mutex<Duration>,
    connection: Mutex<Option<Connection>>,
}

impl std::fmt::Debug for Direct {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Direct").field("port", &self.port).finish()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Direct {
    /// A client of the server on this loopback port; it connects at the first command.
    pub fn new(port: u16) -> Direct {
        Direct {
            port,
            password: None,
            timeout: Mutex::new(Duration::from_secs(10)),
            connection: Mutex::new(None),
        }
    }

    /// Gives this password on every new connection.
    #[must_use]
    pub fn with_password(mut self, password: impl Into<String>) -> Direct {
        self.password = Some(password.into());
        self
    }

    /// Changes how long a command may take, from the next command on.
    pub fn set_timeout(&self, timeout: Duration) {
        *lock(&self.timeout) = timeout;
    }

    /// Runs a command.
    ///
    /// # Panics
    ///
    /// When the server cannot be reached or does not answer in time. An error that the server answers is a
    /// [`Value::Error`].
    #[track_caller]
    pub fn cmd<A: AsRef<[u8]>>(&self, words: &[A]) -> Value {
        self.try_cmd(words).unwrap_or_else(|error| {
            let name = words
                .first()
                .map(|name| String::from_utf8_lossy(name.as_ref()).into_owned())
                .unwrap_or_default();
            panic!(
                "{name} got no answer from 127.0.0.1:{}: {error}; check that the server runs and is not frozen",
                self.port
            )
        })
    }

    /// Runs a command and leaves an I/O error to the caller.
    pub fn try_cmd<A: AsRef<[u8]>>(&self, words: &[A]) -> io::Result<Value> {
        let timeout = *lock(&self.timeout);
        let mut slot = lock(&self.connection);
        let mut connection = match slot.take() {
            Some(connection) => connection,
            None => self.connect(timeout)?,
        };
        let value = connection.ask(words, timeout)?;
        // Only a connection that is in step is kept.
        *slot = Some(connection);
        Ok(value)
    }

    /// The answer to a command, unless there is none or it is an error.
    pub(crate) fn ask<A: AsRef<str> + AsRef<[u8]>>(&self, words: &[A]) -> Result<Value, String> {
        let told = || {
            let words: Vec<&str> = words.iter().take(4).map(AsRef::as_ref).collect();
            format!("{} on 127.0.0.1:{}", words.join(" "), self.port)
        };
        match self.try_cmd(words) {
            Ok(Value::Error(error)) => Err(format!("{} was refused: {error}", told())),
            Ok(value) => Ok(value),
            Err(error) => Err(format!("{} got no answer: {error}", told())),
        }
    }

    fn connect(&self, timeout: Duration) -> io::Result<Connection> {
        let address = ([127, 0, 0, 1], self.port).into();
        let stream = TcpStream::connect_timeout(&address, timeout)?;
        stream.set_nodelay(true)?;
        let mut connection = Connection {
            stream,
            buffer: Vec::new(),
        };
        if let Some(password) = &self.password {
            let answer = connection.ask(&["AUTH", password], timeout)?;
            if let Value::Error(error) = answer {
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, error));
            }
        }
        Ok(connection)
    }

    /// All fields of a hash; empty when the key is not there.
    #[track_caller]
    pub fn hgetall(&self, key: &str) -> BTreeMap<String, String> {
        let flat = self.cmd(&["HGETALL", key]).accepted().strings();
        let (pairs, _) = flat.as_chunks::<2>();
        pairs.iter().cloned().map(|[k, v]| (k, v)).collect()
    }

    /// Milliseconds until the key expires: -1 without a time limit, -2 without the key.
    #[track_caller]
    pub fn pttl(&self, key: &str) -> i64 {
        self.cmd(&["PTTL", key]).int()
    }

    /// Whether the key is there.
    #[track_caller]
    pub fn exists(&self, key: &str) -> bool {
        self.cmd(&["EXISTS", key]).int() == 1
    }

    /// How many connections are subscribed to the channel.
    #[track_caller]
    pub fn numsub(&self, channel: &str) -> i64 {
        let answer = self.cmd(&["PUBSUB", "NUMSUB", channel]).accepted();
        answer.items().get(1).map_or(0, Value::int)
    }

    /// A section of INFO as a map.
    #[track_caller]
    pub fn info(&self, section: &str) -> BTreeMap<String, String> {
        self.cmd(&["INFO", section])
            .accepted()
            .text()
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    /// How often the server ran the command since its start or the last [`Direct::reset_stats`], calls from
    /// inside scripts included.
    ///
    /// A subcommand is written with a bar: `script|load` (from Redis 7.0 on).
    #[track_caller]
    pub fn command_calls(&self, name: &str) -> u64 {
        let key = format!("cmdstat_{}", name.to_ascii_lowercase());
        self.info("commandstats")
            .get(&key)
            .and_then(|line| line.split(',').find_map(|part| part.strip_prefix("calls=")))
            .map_or(0, |calls| calls.parse().unwrap_or(0))
    }

    /// Sets the command counts to zero.
    #[track_caller]
    pub fn reset_stats(&self) {
        self.cmd(&["CONFIG", "RESETSTAT"]).accepted();
    }

    /// What CLIENT LIST says, one map per connection, this one included.
    #[track_caller]
    pub fn client_list(&self) -> Vec<HashMap<String, String>> {
        self.cmd(&["CLIENT", "LIST"])
            .accepted()
            .text()
            .lines()
            .map(|line| {
                line.split(' ')
                    .filter_map(|part| part.split_once('='))
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .collect()
            })
            .collect()
    }

    /// What the server has refused for want of a right: who, what, and how often, newest first.
    #[track_caller]
    pub fn acl_log(&self) -> Vec<BTreeMap<String, String>> {
        let log = self.cmd(&["ACL", "LOG"]).accepted();
        log.items().iter().map(refusal).collect()
    }

    /// Removes every key.
    #[track_caller]
    pub fn flushall(&self) {
        self.cmd(&["FLUSHALL"]).accepted();
    }
}

/// An entry of `ACL LOG`, as far as it says who was refused what.
pub(crate) fn refusal(entry: &Value) -> BTreeMap<String, String> {
    let (pairs, _) = entry.items().as_chunks::<2>();
    pairs
        .iter()
        .map(|[name, value]| (name.text(), value.text()))
        .filter(|(name, _)| {
            ["count", "reason", "context", "object", "username"].contains(&name.as_str())
        })
        .collect()
}

impl Connection {
    fn ask<A: AsRef<[u8]>>(&mut self, words: &[A], timeout: Duration) -> io::Result<Value> {
        self.stream.set_read_timeout(Some(timeout))?;
        self.stream.set_write_timeout(Some(timeout))?;
        self.stream.write_all(&encode_request(words))?;
        self.read()
    }

    fn read(&mut self) -> io::Result<Value> {
        loop {
            let parsed = parse(&self.buffer)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            if let Some((frame, length)) = parsed {
                self.buffer.drain(..length);
                return Ok(frame.into());
            }
            let mut chunk = [0; 16 * 1024];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => self.buffer.extend_from_slice(&chunk[..n]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}
