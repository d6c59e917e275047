//! The lock that many read and one writes.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    Acquire, Lock, LockGuard,
    kind::{Kind, sealed::Sealed},
};
use crate::{
    client::Client,
    engine::{
        protocol::{
            Admission, Ask, Attempt, Batch, Call, Protocol, Question, Rest, Wake, decode_attempt,
        },
        script::{Command, Script, decimal, script},
        transport::Reply,
    },
    error::Result,
    naming,
    owner::Owner,
};

/// A read/write lock: any number of readers at once, or one writer.
///
/// A writer may read as well, and go on reading when it has given up writing. A reader cannot become a writer: it would
/// wait for itself. Readers come in while writers wait, as with the original, so writers can be kept out by a stream of
/// readers.
///
/// *Redisson*: `RReadWriteLock` from `getReadWriteLock`.
///
/// # Examples
///
/// ```no_run
/// # async fn example(client: redlatch::Client) -> redlatch::Result<()> {
/// let prices = client.read_write_lock("prices");
/// let reading = prices.read().await?;
/// // ... others read as well, nobody writes ...
/// reading.unlock().await?;
/// let writing = prices.write().await?;
/// // ... nobody else is here ...
/// writing.unlock().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct ReadWriteLock {
    read: Lock<Read>,
    write: Lock<Write>,
}

impl ReadWriteLock {
    /// Waits for the read side: short for `read_lock().lock()`.
    ///
    /// # Cancel safety
    ///
    /// As [`Lock::lock`].
    ///
    /// # Errors
    ///
    /// As [`Lock::lock`].
    #[must_use = "nothing happens until it is awaited"]
    pub fn read(&self) -> Acquire<Read> {
        self.read.lock()
    }

    /// Waits for the write side: short for `write_lock().lock()`.
    ///
    /// # Cancel safety
    ///
    /// As [`Lock::lock`].
    ///
    /// # Errors
    ///
    /// As [`Lock::lock`].
    #[must_use = "nothing happens until it is awaited"]
    pub fn write(&self) -> Acquire<Write> {
        self.write.lock()
    }

    /// Takes the read side if it is open: short for `read_lock().try_lock()`.
    ///
    /// # Cancel safety
    ///
    /// As [`Lock::lock`].
    ///
    /// # Errors
    ///
    /// As [`Lock::try_lock`].
    pub async fn try_read(&self) -> Result<Option<LockGuard<Read>>> {
        self.read.try_lock().await
    }

    /// Takes the write side if it is free: short for `write_lock().try_lock()`.
    ///
    /// # Cancel safety
    ///
    /// As [`Lock::lock`].
    ///
    /// # Errors
    ///
    /// As [`Lock::try_lock`].
    pub async fn try_write(&self) -> Result<Option<LockGuard<Write>>> {
        self.write.try_lock().await
    }

    /// The read side.
    ///
    /// *Redisson*: `readLock()`.
    #[must_use]
    pub fn read_lock(&self) -> &Lock<Read> {
        &self.read
    }

    /// The write side.
    ///
    /// *Redisson*: `writeLock()`.
    #[must_use]
    pub fn write_lock(&self) -> &Lock<Write> {
        &self.write
    }

    /// The name, as the application gave it.
    #[must_use]
    pub fn name(&self) -> &str {
        self.read.name()
    }

    /// The same lock, asked for by `owner`.
    #[must_use]
    pub fn with_owner(&self, owner: Owner) -> Self {
        Self {
            read: self.read.with_owner(owner),
            write: self.write.with_owner(owner),
        }
    }
}

/// The read side of a [`ReadWriteLock`].
///
/// *Redisson*: `RReadWriteLock.readLock()`.
#[derive(Debug)]
#[non_exhaustive]
pub enum Read {}

/// The write side of a [`ReadWriteLock`].
///
/// *Redisson*: `RReadWriteLock.writeLock()`.
#[derive(Debug)]
#[non_exhaustive]
pub enum Write {}

static READ_ACQUIRE: Script = script!(gathered "read/acquire");
static READ_RELEASE: Script = script!(gathered "read/release", after "publish/announce");
static READ_FORCE_RELEASE: Script = script!("read/force_release", after "publish/announce");
static READ_IS_LOCKED: Script = script!("read/is_locked");
static READ_RENEW: Script = script!("renew/read");
static READ_PROBE: Script = script!("probe/read");
static WRITE_ACQUIRE: Script = script!(gathered "write/acquire");
static WRITE_RELEASE: Script = script!(gathered "write/release", after "publish/announce");
static WRITE_PASS: Script = script!(gathered "write/pass");
static WRITE_FORCE_RELEASE: Script = script!("write/force_release", after "publish/announce");
static WRITE_IS_LOCKED: Script = script!("write/is_locked");

/// Every script of both sides, for the tests that read them all.
#[cfg(test)]
pub(crate) static SCRIPTS: [&Script; 11] = [
    &WRITE_PASS,
    &READ_ACQUIRE,
    &READ_RELEASE,
    &READ_FORCE_RELEASE,
    &READ_IS_LOCKED,
    &READ_RENEW,
    &READ_PROBE,
    &WRITE_ACQUIRE,
    &WRITE_RELEASE,
    &WRITE_FORCE_RELEASE,
    &WRITE_IS_LOCKED,
];

fn announcement(call: &Call) -> Bytes {
    call.announcement(&naming::rw_channel(call.name_str()))
}

fn channel(call: &Call) -> Bytes {
    naming::rw_channel(call.name_str()).into()
}

fn write_field(owner_field: &str) -> String {
    format!("{owner_field}:write")
}

/// The read field of a writer.
fn read_field(call: &Call) -> String {
    let field = call.field_str();
    field.strip_suffix(":write").unwrap_or(field).to_owned()
}

/// The markers of an owner's first `count` read holds.
fn markers(call: &Call, count: u32) -> impl Iterator<Item = Bytes> {
    let stem = marker_stem(call);
    (1..=count).map(move |hold| format!("{stem}:{hold}").into())
}

fn marker_stem(call: &Call) -> String {
    naming::suffixed(
        call.name_str(),
        &format!("{}:rwlock_timeout", call.field_str()),
    )
}

fn force_release(script: &'static Script, call: &Call) -> Command {
    Command {
        script,
        keys: vec![call.name.clone()],
        args: vec![announcement(call)],
    }
}

fn answer(script: &'static Script, call: &Call, question: Question) -> Option<Command> {
    (question == Question::Locked).then(|| Command {
        script,
        keys: vec![call.name.clone()],
        args: Vec::new(),
    })
}

#[derive(Debug)]
struct Reading;

impl Protocol for Reading {
    fn kind(&self) -> &'static str {
        "read"
    }

    fn admission(&self) -> Admission {
        Admission::Shared
    }

    fn admitting_field(&self, call: &Call) -> Option<Bytes> {
        Some(write_field(call.field_str()).into())
    }

    fn wake(&self, call: &Call) -> Wake {
        Wake::Channel(channel(call))
    }

    fn acquire(&self, call: &Call, ask: &Ask) -> Command {
        let marker = format!("{}:{}", marker_stem(call), ask.holds);
        Command {
            script: &READ_ACQUIRE,
            keys: vec![call.name.clone(), marker.into()],
            args: vec![
                decimal(ask.ttl_ms),
                call.field.clone(),
                decimal(ask.holds),
                write_field(call.field_str()).into(),
            ],
        }
    }

    fn decode(&self, reply: &Reply) -> Option<Attempt> {
        decode_attempt(reply)
    }

    fn release(&self, call: &Call, rest: &Rest) -> Command {
        let mut keys = vec![
            call.name.clone(),
            naming::marker_stem(call.name_str()).into(),
        ];
        keys.extend(markers(call, rest.most));
        Command {
            script: &READ_RELEASE,
            keys,
            args: vec![
                call.field.clone(),
                decimal(rest.holds),
                decimal(rest.ttl_ms),
                announcement(call),
            ],
        }
    }

    fn force_release(&self, call: &Call) -> Command {
        force_release(&READ_FORCE_RELEASE, call)
    }

    fn renewal(&self) -> &'static Script {
        &READ_RENEW
    }

    fn outlives_lease(&self) -> bool {
        true
    }

    fn renew(&self, call: &Call, rest: &Rest, batch: &mut Batch) {
        batch.keys.push(call.name.clone());
        batch.keys.extend(markers(call, rest.holds));
        batch.args.extend([
            call.field.clone(),
            // Also what is not to be renewed: another reader's renewal may have cut the hash short.
            decimal(rest.lasts_ms),
            decimal(rest.holds),
        ]);
    }

    fn probe(&self) -> &'static Script {
        &READ_PROBE
    }

    fn question(&self, call: &Call, question: Question) -> Option<Command> {
        answer(&READ_IS_LOCKED, call, question)
    }
}

#[derive(Debug)]
struct Writing;

impl Protocol for Writing {
    fn kind(&self) -> &'static str {
        "write"
    }

    fn field(&self, client_id: &str, owner: Owner) -> String {
        write_field(&format!("{client_id}:{owner}"))
    }

    fn wake(&self, call: &Call) -> Wake {
        Wake::Channel(channel(call))
    }

    fn acquire(&self, call: &Call, ask: &Ask) -> Command {
        Command {
            script: &WRITE_ACQUIRE,
            keys: vec![call.name.clone()],
            args: vec![decimal(ask.ttl_ms), call.field.clone(), decimal(ask.holds)],
        }
    }

    fn decode(&self, reply: &Reply) -> Option<Attempt> {
        decode_attempt(reply)
    }

    fn release(&self, call: &Call, rest: &Rest) -> Command {
        Command {
            script: &WRITE_RELEASE,
            keys: vec![
                call.name.clone(),
                naming::marker_stem(call.name_str()).into(),
            ],
            args: vec![
                call.field.clone(),
                decimal(rest.holds),
                decimal(rest.ttl_ms),
                announcement(call),
                read_field(call).into(),
            ],
        }
    }

    fn pass(&self, call: &Call, next: &Call, ask: &Ask) -> Option<Command> {
        Some(Command {
            script: &WRITE_PASS,
            keys: vec![call.name.clone()],
            args: vec![call.field.clone(), next.field.clone(), decimal(ask.ttl_ms)],
        })
    }

    fn force_release(&self, call: &Call) -> Command {
        force_release(&WRITE_FORCE_RELEASE, call)
    }

    fn outlives_lease(&self) -> bool {
        true
    }

    fn question(&self, call: &Call, question: Question) -> Option<Command> {
        answer(&WRITE_IS_LOCKED, call, question)
    }
}

impl Kind for Read {
    type Grant = ();
}

#[allow(private_interfaces)]
impl Sealed for Read {
    fn protocol() -> &'static dyn Protocol {
        &Reading
    }

    fn grant(_: Option<i64>) {}
}

impl Kind for Write {
    type Grant = ();
}

#[allow(private_interfaces)]
impl Sealed for Write {
    fn protocol() -> &'static dyn Protocol {
        &Writing
    }

    fn grant(_: Option<i64>) {}
}

impl Client {
    /// The read/write lock of this name. Sends nothing.
    ///
    /// *Redisson*: `getReadWriteLock`.
    #[must_use]
    pub fn read_write_lock(&self, name: impl Into<Arc<str>>) -> ReadWriteLock {
        let name = name.into();
        ReadWriteLock {
            read: Lock::new(self.engine(), name.clone()),
            write: Lock::new(self.engine(), name),
        }
    }
}
