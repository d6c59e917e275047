//! `add`, which only one of all succeeds in, with a time to live. Nothing renews it and nothing wakes: who waits asks again.
//! The number that memcached gives to each value keeps the release from deleting somebody else's lock.

use std::time::Duration;

use async_trait::async_trait;
use redlatch_support::Dice;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::sleep,
};

use super::Contender;
use crate::kit::Result;

/// It asks again after 1 ms and up to this.
const PAUSE_US: u64 = 10_000;

pub(super) struct Memcached {
    stream: BufReader<TcpStream>,
    seconds: u64,
    dice: Dice,
    /// The name, and the number of the value that was added.
    held: Option<(String, String)>,
    over: bool,
}

impl Memcached {
    pub(super) async fn connect(address: &str, lease: Duration) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let port = u64::from(stream.local_addr()?.port());
        Ok(Self {
            stream: BufReader::new(stream),
            seconds: lease.as_secs().max(1),
            dice: Dice::new(Dice::seed("REDLATCH_ALTERNATIVES_SEED"), port),
            held: None,
            over: false,
        })
    }

    async fn say(&mut self, words: &str) -> Result<String> {
        // Until it has been answered: what comes later is not to be taken for the answer to something else.
        self.over = true;
        let mut line = String::new();
        self.stream.get_mut().write_all(words.as_bytes()).await?;
        if self.stream.read_line(&mut line).await? == 0 {
            return Err("memcached has closed the connection".into());
        }
        self.over = false;
        Ok(line.trim_end().to_owned())
    }
}

#[async_trait]
impl Contender for Memcached {
    async fn lock(&mut self, name: &str) -> Result<()> {
        // Add; with this time to live; say the number of the value.
        let add = format!("ms {name} 1 ME T{} c\r\n1\r\n", self.seconds);
        loop {
            let answer = self.say(&add).await?;
            match answer.split_once(" c") {
                Some(("HD", number)) => {
                    self.held = Some((name.to_owned(), number.to_owned()));
                    return Ok(());
                }
                _ if answer.starts_with("NS") => {
                    let pause = 1_000 + self.dice.below(PAUSE_US - 1_000);
                    sleep(Duration::from_micros(pause)).await;
                }
                _ => return Err(format!("memcached said {answer:?} to add").into()),
            }
        }
    }

    async fn unlock(&mut self) -> Result<()> {
        let (name, number) = self.held.take().ok_or("it holds nothing")?;
        let answer = self.say(&format!("md {name} C{number}\r\n")).await?;
        match answer.as_str() {
            "HD" => Ok(()),
            _ => Err(format!("memcached said {answer:?} to delete").into()),
        }
    }

    async fn stock(&mut self) -> Result<u64> {
        let answer = self.say("mg stock v\r\n").await?;
        let Some(bytes) = answer.strip_prefix("VA ") else {
            return Ok(0);
        };
        let bytes: usize = bytes.split(' ').next().unwrap_or_default().parse()?;
        let mut value = vec![0; bytes + 2];
        self.stream.read_exact(&mut value).await?;
        Ok(String::from_utf8_lossy(&value).trim_end().parse()?)
    }

    async fn set_stock(&mut self, left: u64) -> Result<()> {
        let value = left.to_string();
        let answer = self
            .say(&format!("ms stock {}\r\n{value}\r\n", value.len()))
            .await?;
        match answer.as_str() {
            "HD" => Ok(()),
            _ => Err(format!("memcached said {answer:?} to set").into()),
        }
    }

    fn is_over(&self) -> bool {
        self.over
    }
}
