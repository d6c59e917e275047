//! etcd's lock service: the server keeps the line, and answers when it is one's turn. The lock is bound to a lease that the
//! client keeps alive.
//!
//! It is spoken to by gRPC, with the few messages that this takes written by hand: so nothing needs `protoc`.

use std::{
    future,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use prost::Message;
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{sleep, timeout},
};
use tonic::{
    Request, Status,
    client::Grpc,
    codegen::http::uri::PathAndQuery,
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;

use super::Contender;
use crate::kit::Result;

const STOCK: &[u8] = b"stock";

#[derive(Clone, PartialEq, Message)]
struct LeaseGrant {
    #[prost(int64, tag = "1")]
    seconds: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Lease {
    #[prost(int64, tag = "2")]
    id: i64,
    /// 0 when it is over.
    #[prost(int64, tag = "3")]
    seconds: i64,
}

#[derive(Clone, PartialEq, Message)]
struct KeepAlive {
    #[prost(int64, tag = "1")]
    id: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Lock {
    #[prost(bytes, tag = "1")]
    name: Vec<u8>,
    #[prost(int64, tag = "2")]
    lease: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Locked {
    #[prost(bytes, tag = "2")]
    key: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct Key {
    #[prost(bytes, tag = "1")]
    key: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct Found {
    #[prost(message, repeated, tag = "2")]
    pairs: Vec<Pair>,
}

#[derive(Clone, PartialEq, Message)]
struct Pair {
    #[prost(bytes, tag = "5")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct Put {
    #[prost(bytes, tag = "1")]
    key: Vec<u8>,
    #[prost(bytes, tag = "2")]
    value: Vec<u8>,
}

/// An answer of which nothing is wanted.
#[derive(Clone, PartialEq, Message)]
struct Done {}

pub(super) struct Etcd {
    grpc: Grpc<Channel>,
    lease: i64,
    over: watch::Receiver<bool>,
    keeper: JoinHandle<()>,
    held: Option<Vec<u8>>,
}

async fn ask<Q, A>(grpc: &mut Grpc<Channel>, path: &'static str, request: Q) -> Result<A>
where
    Q: Message + Send + Sync + 'static,
    A: Message + Default + Send + Sync + 'static,
{
    grpc.ready().await?;
    let path = PathAndQuery::from_static(path);
    let codec = ProstCodec::<Q, A>::default();
    let answer = grpc.unary(Request::new(request), path, codec).await;
    Ok(answer.map_err(told)?.into_inner())
}

fn told(status: Status) -> String {
    format!("etcd: {:?}: {}", status.code(), status.message())
}

/// How many seconds the lease has again; 0 when it is over.
async fn keep_alive(grpc: &mut Grpc<Channel>, id: i64) -> Result<i64> {
    grpc.ready().await?;
    let path = PathAndQuery::from_static("/etcdserverpb.Lease/LeaseKeepAlive");
    let codec = ProstCodec::<KeepAlive, Lease>::default();
    let requests = Request::new(tokio_stream::once(KeepAlive { id }));
    let answers = grpc.streaming(requests, path, codec).await.map_err(told)?;
    let answer = answers.into_inner().message().await.map_err(told)?;
    Ok(answer.ok_or("etcd said nothing of the lease")?.seconds)
}

/// Until the lease is over, by what the server says or by the clock here.
async fn keep(mut grpc: Grpc<Channel>, id: i64, lease: Duration, over: watch::Sender<bool>) {
    let mut sure_until = Instant::now() + lease;
    loop {
        sleep(lease / 3).await;
        let asked = Instant::now();
        match timeout(lease / 3, keep_alive(&mut grpc, id)).await {
            Ok(Ok(0)) => break,
            Ok(Ok(_)) => sure_until = asked + lease,
            // No answer: it may come back in time.
            _ if Instant::now() >= sure_until => break,
            _ => {}
        }
    }
    over.send_replace(true);
}

impl Etcd {
    pub(super) async fn connect(address: &str, lease: Duration) -> Result<Self> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
        let mut grpc = Grpc::new(endpoint.connect().await?);
        let grant = LeaseGrant {
            seconds: i64::try_from(lease.as_secs().max(1))?,
        };
        let granted: Lease = ask(&mut grpc, "/etcdserverpb.Lease/LeaseGrant", grant).await?;
        let (say, over) = watch::channel(false);
        let keeper = tokio::spawn(keep(grpc.clone(), granted.id, lease, say));
        Ok(Self {
            grpc,
            lease: granted.id,
            over,
            keeper,
            held: None,
        })
    }
}

#[async_trait]
impl Contender for Etcd {
    async fn lock(&mut self, name: &str) -> Result<()> {
        let lock = Lock {
            name: name.as_bytes().to_vec(),
            lease: self.lease,
        };
        let locked: Locked = ask(&mut self.grpc, "/v3lockpb.Lock/Lock", lock).await?;
        self.held = Some(locked.key);
        Ok(())
    }

    async fn unlock(&mut self) -> Result<()> {
        let key = self.held.take().ok_or("it holds nothing")?;
        let _: Done = ask(&mut self.grpc, "/v3lockpb.Lock/Unlock", Key { key }).await?;
        Ok(())
    }

    async fn lost(&mut self) {
        if self.over.wait_for(|over| *over).await.is_err() {
            future::pending().await
        }
    }

    async fn stock(&mut self) -> Result<u64> {
        let key = STOCK.to_vec();
        let found: Found = ask(&mut self.grpc, "/etcdserverpb.KV/Range", Key { key }).await?;
        match found.pairs.first() {
            Some(pair) => Ok(String::from_utf8_lossy(&pair.value).parse()?),
            None => Ok(0),
        }
    }

    async fn set_stock(&mut self, left: u64) -> Result<()> {
        let put = Put {
            key: STOCK.to_vec(),
            value: left.to_string().into_bytes(),
        };
        let _: Done = ask(&mut self.grpc, "/etcdserverpb.KV/Put", put).await?;
        Ok(())
    }

    fn is_over(&self) -> bool {
        *self.over.borrow()
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}
