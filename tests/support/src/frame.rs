//! An incremental parser for RESP2 and RESP3.

use std::fmt;

/// One complete protocol frame.
#[derive(Clone, Debug, PartialEq)]
pub enum Frame {
    /// `+`: a short status line.
    Simple(String),
    /// `-`: an error line.
    Error(String),
    /// `:`: an integer.
    Int(i64),
    /// `$`: bytes with a length.
    Bulk(Vec<u8>),
    /// `$-1`, `*-1` or `_`: nothing.
    Nil,
    /// `*`: a list.
    Array(Vec<Frame>),
    /// `>`: a list the server sends unasked.
    Push(Vec<Frame>),
    /// `%`: pairs, in the order sent.
    Map(Vec<(Frame, Frame)>),
    /// `~`: a list without order.
    Set(Vec<Frame>),
    /// `#`: a truth value.
    Bool(bool),
    /// `,`: a floating-point number, as the text that was sent.
    Double(String),
    /// `(`: an integer of any size, as the text that was sent.
    BigNumber(String),
    /// `=`: text with a three-letter format before it.
    Verbatim {
        /// The format, such as `txt`.
        format: String,
        /// The text itself.
        text: Vec<u8>,
    },
    /// `!`: an error with a length.
    BlobError(Vec<u8>),
}

impl Frame {
    /// The bytes of a bulk string, a verbatim string or a simple string.
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Frame::Bulk(bytes) | Frame::Verbatim { text: bytes, .. } => Some(bytes),
            Frame::Simple(text) => Some(text.as_bytes()),
            _ => None,
        }
    }

    /// The elements of an array, a set or a push.
    pub fn items(&self) -> Option<&[Frame]> {
        match self {
            Frame::Array(items) | Frame::Push(items) | Frame::Set(items) => Some(items),
            _ => None,
        }
    }

    /// Whether this is an error of either form.
    pub fn is_error(&self) -> bool {
        matches!(self, Frame::Error(_) | Frame::BlobError(_))
    }
}

/// Why bytes are not a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    what: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: these bytes are not redis protocol; check what the port belongs to",
            self.what
        )
    }
}

impl std::error::Error for ParseError {}

/// The words of a request, the command name first.
pub type Words = Vec<Vec<u8>>;

type Step<T> = Result<Option<T>, ParseError>;

fn bad(what: impl Into<String>) -> ParseError {
    ParseError { what: what.into() }
}

/// Reads one frame from the start of `input`.
///
/// `Ok(None)` means that the frame is not complete yet; otherwise the frame comes with its length in bytes.
/// An attribute (`|`) before a frame is skipped and counted in that length.
pub fn parse(input: &[u8]) -> Result<Option<(Frame, usize)>, ParseError> {
    let mut cursor = Cursor { input, at: 0 };
    Ok(cursor.frame()?.map(|frame| (frame, cursor.at)))
}

/// Reads one request from the start of `input`: an array of bulk strings or an inline command.
///
/// The answer is the words of the request and its length in bytes; an empty line has no words.
pub fn parse_request(input: &[u8]) -> Result<Option<(Words, usize)>, ParseError> {
    match input.first() {
        None => Ok(None),
        Some(b'*') => match parse(input)? {
            None => Ok(None),
            Some((Frame::Array(items), length)) => items
                .into_iter()
                .map(|item| match item {
                    Frame::Bulk(bytes) => Ok(bytes),
                    other => Err(bad(format!("a request holds {other:?}"))),
                })
                .collect::<Result<Vec<_>, _>>()
                .map(|words| Some((words, length))),
            Some((_, length)) => Ok(Some((Vec::new(), length))),
        },
        Some(_) => Ok(input.iter().position(|&b| b == b'\n').map(|end| {
            let words = input[..end]
                .split(u8::is_ascii_whitespace)
                .filter(|word| !word.is_empty())
                .map(<[u8]>::to_vec)
                .collect();
            (words, end + 1)
        })),
    }
}

/// Writes a request as an array of bulk strings.
pub fn encode_request<A: AsRef<[u8]>>(words: &[A]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        let word = word.as_ref();
        out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
    out
}

struct Cursor<'a> {
    input: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn frame(&mut self) -> Step<Frame> {
        let Some(line) = self.line()? else {
            return Ok(None);
        };
        let Some((&kind, rest)) = line.split_first() else {
            return Err(bad("a frame begins with an empty line"));
        };
        let text = || String::from_utf8_lossy(rest).into_owned();
        Ok(Some(match kind {
            b'+' => Frame::Simple(text()),
            b'-' => Frame::Error(text()),
            b':' => Frame::Int(number(rest)?),
            b',' => Frame::Double(text()),
            b'(' => Frame::BigNumber(text()),
            b'_' => Frame::Nil,
            b'#' => match rest {
                b"t" => Frame::Bool(true),
                b"f" => Frame::Bool(false),
                _ => return Err(bad(format!("no truth value is {:?}", text()))),
            },
            b'$' | b'=' | b'!' => return self.blob(kind, rest),
            b'*' | b'~' | b'>' => {
                let Some(count) = length(rest)? else {
                    return Ok(Some(Frame::Nil));
                };
                let Some(items) = self.frames(count)? else {
                    return Ok(None);
                };
                match kind {
                    b'*' => Frame::Array(items),
                    b'~' => Frame::Set(items),
                    _ => Frame::Push(items),
                }
            }
            b'%' => match self.pairs(rest)? {
                None => return Ok(None),
                Some(pairs) => Frame::Map(pairs),
            },
            b'|' => match self.pairs(rest)? {
                None => return Ok(None),
                Some(_) => return self.frame(),
            },
            other => return Err(bad(format!("no frame begins with byte {other:#04x}"))),
        }))
    }

    fn blob(&mut self, kind: u8, rest: &[u8]) -> Step<Frame> {
        let Some(length) = length(rest)? else {
            return Ok(Some(Frame::Nil));
        };
        let left = &self.input[self.at..];
        if left.len() < length + 2 {
            return Ok(None);
        }
        if &left[length..length + 2] != b"\r\n" {
            return Err(bad("a bulk string does not end where its length says"));
        }
        let bytes = left[..length].to_vec();
        self.at += length + 2;
        Ok(Some(match kind {
            b'$' => Frame::Bulk(bytes),
            b'!' => Frame::BlobError(bytes),
            _ if bytes.len() >= 4 && bytes[3] == b':' => Frame::Verbatim {
                format: String::from_utf8_lossy(&bytes[..3]).into_owned(),
                text: bytes[4..].to_vec(),
            },
            _ => return Err(bad("a verbatim string has no format")),
        }))
    }

    fn frames(&mut self, count: usize) -> Step<Vec<Frame>> {
        let mut items = Vec::with_capacity(count.min(1024));
        for _ in 0..count {
            match self.frame()? {
                None => return Ok(None),
                Some(item) => items.push(item),
            }
        }
        Ok(Some(items))
    }

    fn pairs(&mut self, rest: &[u8]) -> Step<Vec<(Frame, Frame)>> {
        let count = length(rest)?.unwrap_or(0);
        let Some(items) = self.frames(count.saturating_mul(2))? else {
            return Ok(None);
        };
        let mut pairs = Vec::with_capacity(count.min(1024));
        let mut items = items.into_iter();
        while let (Some(key), Some(value)) = (items.next(), items.next()) {
            pairs.push((key, value));
        }
        Ok(Some(pairs))
    }

    /// The next line without its end, if all of it is there.
    fn line(&mut self) -> Step<&'a [u8]> {
        let left = &self.input[self.at..];
        let Some(end) = left.iter().position(|&b| b == b'\n') else {
            return Ok(None);
        };
        if end == 0 || left[end - 1] != b'\r' {
            return Err(bad("a line ends without a carriage return"));
        }
        self.at += end + 1;
        Ok(Some(&left[..end - 1]))
    }
}

fn number(text: &[u8]) -> Result<i64, ParseError> {
    std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| bad(format!("no number is {:?}", String::from_utf8_lossy(text))))
}

/// A length; -1 stands for nothing.
fn length(text: &[u8]) -> Result<Option<usize>, ParseError> {
    match number(text)? {
        -1 => Ok(None),
        n => usize::try_from(n)
            .ok()
            .filter(|&n| n <= 1 << 30)
            .map(Some)
            .ok_or_else(|| bad(format!("no length is {n}"))),
    }
}
