//! A network between the participants and the server: every byte takes so much longer, each way.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use crate::kit::Result;

/// What is read at once.
const CHUNK: usize = 64 * 1024;

/// Each way. With the timer's slack a round trip takes some 0.7 ms.
pub(crate) const EACH_WAY: Duration = Duration::from_micros(300);

/// For as long as this process runs.
#[derive(Debug)]
pub(crate) struct Relay {
    address: SocketAddr,
}

impl Relay {
    pub(crate) fn start(server: &str) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let server = server.to_owned();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if let Ok(server) = TcpStream::connect(&server) {
                    let _ = join(client, server);
                }
            }
        });
        Ok(Self { address })
    }

    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }
}

/// Both directions, until one end closes.
fn join(client: TcpStream, server: TcpStream) -> std::io::Result<()> {
    for stream in [&client, &server] {
        stream.set_nodelay(true)?;
    }
    pass(client.try_clone()?, server.try_clone()?);
    pass(server, client);
    Ok(())
}

fn pass(mut from: TcpStream, to: TcpStream) {
    let (sent, due) = mpsc::channel();
    thread::spawn(move || deliver(&due, to));
    thread::spawn(move || {
        let mut chunk = vec![0; CHUNK];
        while let Ok(length @ 1..) = from.read(&mut chunk) {
            let bytes = chunk[..length].to_vec();
            if sent.send((Instant::now() + EACH_WAY, bytes)).is_err() {
                return;
            }
        }
    });
}

fn deliver(due: &Receiver<(Instant, Vec<u8>)>, mut to: TcpStream) {
    for (at, bytes) in due {
        thread::sleep(at.saturating_duration_since(Instant::now()));
        if to.write_all(&bytes).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}

#[cfg(test)]
mod tests {
    use redlatch_support::Server;

    use super::*;

    #[test]
    fn what_passes_takes_its_time_and_arrives_whole() {
        let server = Server::builder().try_start().unwrap();
        let relay = Relay::start(&server.address()).unwrap();
        let mut stream = TcpStream::connect(relay.address()).unwrap();
        let text = "x".repeat(3 * CHUNK);
        let begun = Instant::now();
        write!(stream, "*2\r\n$4\r\nECHO\r\n${}\r\n{text}\r\n", text.len()).unwrap();
        let due = format!("${}\r\n{text}\r\n", text.len());
        let mut reply = vec![0; due.len()];
        stream.read_exact(&mut reply).unwrap();
        assert!(reply == due.as_bytes());
        assert!(begun.elapsed() >= 2 * EACH_WAY);
    }
}
