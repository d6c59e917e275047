//! The lock over some values of a group.

use std::{fmt, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use bytes::Bytes;
use highway::{HighwayHash, HighwayHasher, Key};

use super::{
    Lock,
    kind::{Kind, sealed::Sealed},
    reentrant,
};
use crate::{
    client::Client,
    engine::{
        protocol::{
            Admission, Ask, Attempt, Batch, Call, Protocol, Question, Rest, Value, Wake,
            decode_attempt,
        },
        script::{Command, Script, decimal, script},
        transport::Reply,
    },
};

/// The group lock: any number of values of one group, all of them or none, in one hash and one round trip. Two group locks
/// exclude each other where they have a value in common. Where a [`MultiLock`](super::MultiLock) takes a script for each
/// member, this takes one for all.
///
/// Each value lasts for a time of its own, measured by the server's clock; a JVM measures by its own, so keep the clocks of
/// both within a third of the lease.
///
/// *Redisson*: `RLock` from `getMultiLock(group, values)`, since 3.38.0, without its known faults: a set that is lost in
/// part is reported as lost and given up as a whole, and all questions ask about all values.
///
/// # Examples
///
/// ```no_run
/// # async fn example(client: redlatch::Client) -> redlatch::Result<()> {
/// let seats = client.group_lock("seats", ["A1", "A2"]);
/// let guard = seats.lock().await?;
/// guard.unlock().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Group {}

/// A value of a group, as the bytes that a JVM's codec makes of it: Redisson hashes those.
///
/// `From` encodes as Redisson's default codec does; [`text`](Self::text) as its `StringCodec`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct GroupValue(Vec<u8>);

impl GroupValue {
    /// Bytes that are encoded already, by whatever codec the JVMs of this group use.
    #[must_use]
    pub fn encoded(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// A text as Redisson's `StringCodec` encodes it: in UTF-8.
    #[must_use]
    pub fn text(text: impl AsRef<str>) -> Self {
        Self(text.as_ref().as_bytes().to_vec())
    }

    /// The hash field of the value.
    fn field(&self) -> Bytes {
        const KEY: Key = Key([
            0x9e37_79b9_7f4a_7c15,
            0xf39c_c060_5ced_c834,
            0x1082_276b_f3a2_7251,
            0xf86c_6a11_d0c1_8e95,
        ]);
        let [high, low] = HighwayHasher::new(KEY).hash128(&self.0);
        let bytes = [high.to_be_bytes(), low.to_be_bytes()].concat();
        STANDARD_NO_PAD.encode(bytes).into()
    }
}

/// Class numbers of the default codec.
const STRING: u8 = 3;
const INTEGER: u8 = 2;
const LONG: u8 = 9;
/// Longest text that is encoded with its end marked in the last byte.
const SHORT: usize = 32;

impl From<&str> for GroupValue {
    fn from(text: &str) -> Self {
        let mut bytes = vec![STRING];
        let units: Vec<u16> = text.encode_utf16().collect();
        match (units.len(), text.is_ascii()) {
            (2..=SHORT, true) => {
                bytes.extend(text.bytes());
                if let Some(last) = bytes.last_mut() {
                    *last |= 0x80;
                }
            }
            (length, _) => {
                length_of(length + 1, &mut bytes);
                units.into_iter().for_each(|unit| unit_of(unit, &mut bytes));
            }
        }
        Self(bytes)
    }
}

/// A length in groups of bits, the first with six of them under a set flag and a mark for more.
fn length_of(length: usize, bytes: &mut Vec<u8>) {
    let first = (length & 0x3f) as u8 | 0x80;
    let rest = length >> 6;
    if rest == 0 {
        bytes.push(first);
        return;
    }
    bytes.push(first | 0x40);
    number_of(rest as u64, bytes);
}

/// A UTF-16 unit in one to three bytes.
fn unit_of(unit: u16, bytes: &mut Vec<u8>) {
    let low = |shift: u16| (unit >> shift & 0x3f) as u8 | 0x80;
    match unit {
        0..=0x7f => bytes.push(unit as u8),
        0x80..=0x7ff => bytes.extend([(unit >> 6) as u8 | 0xc0, low(0)]),
        _ => bytes.extend([(unit >> 12) as u8 | 0xe0, low(6), low(0)]),
    }
}

/// A number in groups of seven bits, lowest first.
fn number_of(mut number: u64, bytes: &mut Vec<u8>) {
    while number > 0x7f {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

impl From<String> for GroupValue {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl From<&String> for GroupValue {
    fn from(text: &String) -> Self {
        text.as_str().into()
    }
}

impl From<i32> for GroupValue {
    fn from(number: i32) -> Self {
        let mut bytes = vec![INTEGER];
        let folded = (number << 1 ^ number >> 31) as u32;
        number_of(folded.into(), &mut bytes);
        Self(bytes)
    }
}

impl From<i64> for GroupValue {
    fn from(number: i64) -> Self {
        let folded = (number << 1 ^ number >> 63) as u64;
        let mut bytes = vec![LONG];
        // Nine bytes at most: the last one has all eight bits.
        let mut rest = folded;
        while rest > 0x7f && bytes.len() < 9 {
            bytes.push((rest & 0x7f) as u8 | 0x80);
            rest >>= 7;
        }
        bytes.push(rest as u8);
        Self(bytes)
    }
}

impl fmt::Debug for GroupValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GroupValue({})", self.0.escape_ascii())
    }
}

static ACQUIRE: Script = script!("group/acquire", after "group/clock");
static RELEASE: Script = script!("group/release", after "publish/announce", "group/clock");
static FORCE_RELEASE: Script =
    script!("group/force_release", after "publish/announce", "group/clock");
static ASK: Script = script!("group/ask", after "group/clock");
static RENEW: Script = script!("group/renew", after "group/clock");
static LOOK: Script = script!("group/look", after "group/clock");

/// Every script of this kind, for the tests that read them all.
#[cfg(test)]
pub(crate) static SCRIPTS: [&Script; 6] = [&ACQUIRE, &RELEASE, &FORCE_RELEASE, &ASK, &RENEW, &LOOK];

#[derive(Debug)]
struct Wire;

fn values(call: &Call) -> &[Value] {
    call.values.as_deref().unwrap_or_default()
}

fn owner(call: &Call) -> Bytes {
    Bytes::copy_from_slice(call.owner_id().as_bytes())
}

fn counted(call: &Call) -> impl Iterator<Item = Bytes> {
    values(call)
        .iter()
        .flat_map(|value| [value.field.clone(), decimal(value.beside)])
}

fn fields(call: &Call) -> impl Iterator<Item = Bytes> {
    values(call).iter().map(|value| value.field.clone())
}

fn count(call: &Call) -> Bytes {
    decimal(values(call).len() as u64)
}

impl Protocol for Wire {
    fn kind(&self) -> &'static str {
        "group"
    }

    fn admission(&self) -> Admission {
        // Others may want other values.
        Admission::Each
    }

    fn wake(&self, call: &Call) -> Wake {
        Wake::Channel(reentrant::channel(call))
    }

    fn acquire(&self, call: &Call, ask: &Ask) -> Command {
        let mut args = vec![decimal(ask.ttl_ms), owner(call), decimal(ask.holds)];
        args.extend(counted(call));
        Command {
            script: &ACQUIRE,
            keys: vec![call.name.clone()],
            args,
        }
    }

    fn decode(&self, reply: &Reply) -> Option<Attempt> {
        decode_attempt(reply)
    }

    fn release(&self, call: &Call, rest: &Rest) -> Command {
        let mut args = vec![
            owner(call),
            decimal(rest.holds),
            decimal(rest.ttl_ms),
            reentrant::announcement(call),
        ];
        args.extend(counted(call));
        Command {
            script: &RELEASE,
            keys: vec![call.name.clone()],
            args,
        }
    }

    fn force_release(&self, call: &Call) -> Command {
        let mut args = vec![reentrant::announcement(call)];
        args.extend(fields(call));
        Command {
            script: &FORCE_RELEASE,
            keys: vec![call.name.clone()],
            args,
        }
    }

    fn renewal(&self) -> &'static Script {
        &RENEW
    }

    fn outlives_lease(&self) -> bool {
        true
    }

    fn renew(&self, call: &Call, rest: &Rest, batch: &mut Batch) {
        batch.keys.push(call.name.clone());
        batch
            .args
            .extend([owner(call), decimal(rest.ttl_ms), count(call)]);
        batch.args.extend(fields(call));
    }

    fn probe(&self) -> &'static Script {
        &LOOK
    }

    fn look(&self, call: &Call, batch: &mut Batch) {
        batch.keys.push(call.name.clone());
        batch.args.extend([owner(call), count(call)]);
        batch.args.extend(fields(call));
    }

    fn look_for(&self, call: &Call) -> Bytes {
        [call.field.as_ref(), b" ", call.name.as_ref()]
            .concat()
            .into()
    }

    fn question(&self, call: &Call, question: Question) -> Option<Command> {
        let word: &'static [u8] = match question {
            Question::Locked => b"locked",
            Question::Held => b"held",
            Question::Holds => b"holds",
            Question::Left => b"left",
        };
        let mut args = vec![Bytes::from_static(word), owner(call)];
        args.extend(fields(call));
        Some(Command {
            script: &ASK,
            keys: vec![call.name.clone()],
            args,
        })
    }
}

impl Kind for Group {
    type Grant = ();
}

#[allow(private_interfaces)]
impl Sealed for Group {
    fn protocol() -> &'static dyn Protocol {
        &Wire
    }

    fn grant(_: Option<i64>) {}
}

impl Client {
    /// The lock over these values of a group. A value that is there twice counts once; no value at all is refused by the
    /// first use. Sends nothing.
    ///
    /// *Redisson*: `getMultiLock(group, values)`.
    #[must_use]
    pub fn group_lock<V: Into<GroupValue>>(
        &self,
        group: impl Into<Arc<str>>,
        values: impl IntoIterator<Item = V>,
    ) -> Lock<Group> {
        let mut fields: Vec<Bytes> = values
            .into_iter()
            .map(|value| value.into().field())
            .collect();
        fields.sort_unstable();
        fields.dedup();
        let values = fields.into_iter().map(|field| Value { field, beside: 0 });
        let mut lock = Lock::new(self.engine(), group.into());
        lock.raw.inner.values = Some(values.collect());
        lock
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rules of the codec, at the ends of what each of them covers.
    #[test]
    fn values_are_encoded_at_the_ends_of_every_range() {
        let long = |number: i64| GroupValue::from(number).0;
        assert_eq!(long(63), [LONG, 126]);
        assert_eq!(long(-64), [LONG, 127]);
        assert_eq!(long(64), [LONG, 0x80, 1]);
        assert_eq!(long(-65), [LONG, 0x81, 1]);
        assert_eq!(
            long(i64::MAX),
            [&[LONG, 0xfe][..], &[0xff; 8]].concat(),
            "nine bytes, the last with all eight bits"
        );
        assert_eq!(long(i64::MIN), [&[LONG][..], &[0xff; 9]].concat());
        let int = |number: i32| GroupValue::from(number).0;
        assert_eq!(int(63), [INTEGER, 126]);
        assert_eq!(int(64), [INTEGER, 0x80, 1]);
        assert_eq!(int(i32::MAX), [INTEGER, 0xfe, 0xff, 0xff, 0xff, 0x0f]);
        assert_eq!(int(i32::MIN), [INTEGER, 0xff, 0xff, 0xff, 0xff, 0x0f]);

        let text = |text: &str| GroupValue::from(text).0;
        // Units of one, two and three bytes, at both ends of each.
        assert_eq!(
            text("\u{7f}\u{80}\u{7ff}\u{800}\u{ffff}"),
            [
                STRING, 0x86, 0x7f, 0xc2, 0x80, 0xdf, 0xbf, 0xe0, 0xa0, 0x80, 0xef, 0xbf, 0xbf
            ]
        );
        // A length is one more than there are units; 63 is the last that fits in six bits.
        assert_eq!(text(&"a".repeat(62))[..3], [STRING, 0xbf, b'a']);
        assert_eq!(text(&"a".repeat(63))[..3], [STRING, 0xc0, 1]);
        assert_eq!(
            text(&"a".repeat(64 * 128 - 1))[..4],
            [STRING, 0xc0, 0x80, 1]
        );
        assert_eq!(
            text(&"a".repeat(64 * 127 - 1))[..4],
            [STRING, 0xc0, 127, b'a']
        );
    }

    #[test]
    fn values_hash_to_the_fields_of_a_jvm() {
        let cases = [
            (GroupValue::from("one"), "1gKBFfuWlWbVFCZ0MXudYA"),
            (GroupValue::from("two"), "OveuHIeYbLrR8UZ4xKFXcw"),
            (GroupValue::from("order:42"), "5OzHoosaaUThGHY6izs43Q"),
            (GroupValue::from(1_i32), "ws3CQ1oEZ1gJ/BZKqokY3A"),
            (GroupValue::from(2_i64), "OZQd+xdWfOAswvRWlW9spg"),
            (GroupValue::text("one"), "Ph/Z8+pF97YXC7Yyc2g0ug"),
            (GroupValue::text("order:42"), "qCj9C1XTG9WEby0hj4f/Cw"),
            (GroupValue::encoded([]), "t6rZwibGo2uy1OSmNVe8pg"),
            (
                GroupValue::encoded((0..40).collect::<Vec<u8>>()),
                "g7gHGAAnt6CAAKMsTtPpyw",
            ),
        ];
        for (value, field) in cases {
            assert_eq!(value.field(), field, "{value:?}");
        }
    }

    #[test]
    fn texts_and_numbers_are_encoded_as_the_default_codec_does() {
        let bytes = |value: GroupValue| value.0;
        assert_eq!(bytes("".into()), [3, 0x81]);
        assert_eq!(bytes("a".into()), [3, 0x82, b'a']);
        assert_eq!(bytes("ab".into()), [3, b'a', b'b' | 0x80]);
        assert_eq!(bytes("é".into()), [3, 0x82, 0xc3, 0xa9]);
        let long = bytes("x".repeat(63).into());
        assert_eq!(long[..3], [3, 0xc0, 1]);
        assert_eq!(bytes((-1_i32).into()), [2, 1]);
        assert_eq!(bytes(i32::MIN.into()), [2, 0xff, 0xff, 0xff, 0xff, 0x0f]);
        assert_eq!(bytes(i64::MIN.into()).len(), 10);
    }
}
