//! What the tests of the proxy share.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use redlatch_support::resp::{Frame, encode_request, parse};
use redlatch_support::{Direct, Proxy, Server};

pub(crate) const SOON: Duration = Duration::from_secs(5);
/// Long enough to tell that an answer does not come at all.
pub(crate) const A_WHILE: Duration = Duration::from_millis(40);

/// A client that shows every frame as it comes.
pub(crate) struct Raw {
    pub(crate) stream: TcpStream,
    buffer: Vec<u8>,
}

impl Raw {
    pub(crate) fn connect(port: u16) -> Raw {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the proxy listens");
        Raw {
            stream,
            buffer: Vec::new(),
        }
    }

    pub(crate) fn send(&mut self, words: &[&str]) {
        self.stream
            .write_all(&encode_request(words))
            .expect("the connection takes a request");
    }

    /// The next frame, or why there is none.
    pub(crate) fn next_within(&mut self, limit: Duration) -> Result<Frame, ErrorKind> {
        self.stream
            .set_read_timeout(Some(limit))
            .expect("a time limit can be set");
        loop {
            if let Some((frame, length)) = parse(&self.buffer).expect("the bytes are frames") {
                self.buffer.drain(..length);
                return Ok(frame);
            }
            let mut chunk = [0; 4096];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof),
                Ok(n) => self.buffer.extend_from_slice(&chunk[..n]),
                Err(error) => return Err(error.kind()),
            }
        }
    }

    pub(crate) fn next(&mut self) -> Frame {
        self.next_within(SOON).expect("a frame comes")
    }

    #[track_caller]
    pub(crate) fn assert_silent(&mut self) {
        assert_eq!(self.next_within(A_WHILE), Err(ErrorKind::WouldBlock));
    }

    #[track_caller]
    pub(crate) fn assert_closed(&mut self) {
        let end = self.next_within(SOON);
        assert!(
            matches!(
                end,
                Err(ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset)
            ),
            "{end:?}"
        );
    }

    pub(crate) fn ask(&mut self, words: &[&str]) -> Frame {
        self.send(words);
        self.next()
    }
}

pub(crate) fn bulk(text: &str) -> Frame {
    Frame::Bulk(text.as_bytes().to_vec())
}

pub(crate) fn simple(text: &str) -> Frame {
    Frame::Simple(text.to_owned())
}

/// A proxy before the shared server, a client through it and one past it.
pub(crate) fn setup() -> (Proxy, Raw, Direct) {
    let server = Server::shared();
    let proxy = Proxy::start_blocking(server.port());
    let raw = Raw::connect(proxy.port());
    (proxy, raw, server.direct())
}
