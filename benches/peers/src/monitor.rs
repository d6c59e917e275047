//! Counts the commands that clients send, and not those that scripts call: the server's own counters add both up.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    thread::{self, JoinHandle},
    time::Duration,
};

use redlatch_support::{Server, unique_name};

use crate::kit::Result;

/// How long the server may say nothing before it is given up.
const SILENCE: Duration = Duration::from_secs(30);

/// Counts from its start to [`Monitor::end`]. It slows the server, so nothing else is measured meanwhile.
#[derive(Debug)]
pub(crate) struct Monitor {
    mark: String,
    counting: JoinHandle<Result<u64>>,
}

impl Monitor {
    pub(crate) fn start(server: &Server) -> Result<Self> {
        let mut stream = TcpStream::connect(server.address())?;
        stream.set_read_timeout(Some(SILENCE))?;
        stream.write_all(b"MONITOR\r\n")?;
        let mut lines = BufReader::new(stream);
        lines.read_line(&mut String::new())?;
        let mark = unique_name("mark");
        let last = mark.clone();
        let counting = thread::spawn(move || count(lines, &last));
        Ok(Self { mark, counting })
    }

    /// How many commands there were.
    pub(crate) fn end(self, server: &Server) -> Result<u64> {
        server.direct().cmd(&["ECHO", &self.mark]);
        self.counting.join().map_err(|_| "the count has failed")?
    }
}

/// Lines such as `+1700000000.000000 [0 127.0.0.1:5000] "evalsha" ...`, or with `lua` for an address, until the mark.
fn count(mut lines: impl BufRead, mark: &str) -> Result<u64> {
    let (mut count, mut line) = (0, Vec::new());
    loop {
        line.clear();
        if lines.read_until(b'\n', &mut line)? == 0 {
            return Err("the server has ended the count".into());
        }
        let head = String::from_utf8_lossy(&line[..line.len().min(200)]);
        let Some((client, command)) = head.split_once("] ") else {
            continue;
        };
        if command.contains(mark) {
            return Ok(count);
        }
        let asked_by_us = command.starts_with("\"INFO\"") || command.starts_with("\"PUBSUB\"");
        count += u64::from(!client.ends_with(" lua") && !asked_by_us);
    }
}
