//! One command at a time to a server, over a connection of its own.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

/// Longest answer that is read.
const MOST_BYTES: usize = 1 << 20;

/// What a server says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Text(String),
    Number(i64),
    Error(String),
}

/// Asks the server on a port of this machine.
pub(super) fn ask(port: u16, words: &[String], limit: Duration) -> io::Result<Answer> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, limit)?;
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))?;
    let mut command = format!("*{}\r\n", words.len());
    for word in words {
        command += &format!("${}\r\n{word}\r\n", word.len());
    }
    stream.write_all(command.as_bytes())?;
    read(BufReader::new(stream))
}

fn read(mut stream: impl BufRead) -> io::Result<Answer> {
    let mut line = String::new();
    stream
        .by_ref()
        .take(MOST_BYTES as u64)
        .read_line(&mut line)?;
    let line = line.trim_end();
    let odd = || {
        io::Error::new(
            io::ErrorKind::InvalidData,
            "not the answer of such a server",
        )
    };
    let (sign, rest) = line.split_at_checked(1).ok_or_else(odd)?;
    match sign {
        "+" => Ok(Answer::Text(rest.to_owned())),
        "-" => Ok(Answer::Error(rest.to_owned())),
        ":" => Ok(Answer::Number(rest.parse().map_err(|_| odd())?)),
        "$" => {
            let length = rest.parse().map_err(|_| odd())?;
            if length > MOST_BYTES {
                return Err(odd());
            }
            let mut text = vec![0; length];
            stream.read_exact(&mut text)?;
            Ok(Answer::Text(String::from_utf8_lossy(&text).into_owned()))
        }
        _ => Err(odd()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_and_anything_else_is_an_error() {
        let good = [
            ("+OK\r\n", Answer::Text("OK".into())),
            (":12\r\n", Answer::Number(12)),
            ("-ERR no\r\n", Answer::Error("ERR no".into())),
            ("$3\r\na\nb\r\n", Answer::Text("a\nb".into())),
        ];
        for (bytes, answer) in good {
            assert_eq!(read(bytes.as_bytes()).expect(bytes), answer);
        }
        for bytes in [
            "",
            "\r\n",
            "HTTP/1.1 200\r\n",
            ":x\r\n",
            "$9\r\nshort",
            "$-1\r\n",
            "$99999999999\r\n",
        ] {
            assert!(read(bytes.as_bytes()).is_err(), "{bytes:?}");
        }
    }
}
