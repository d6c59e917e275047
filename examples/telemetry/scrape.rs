//! The page that Prometheus asks for, over plain sockets: an application has a web server for it.

use std::net::SocketAddr;

use metrics_exporter_prometheus::PrometheusHandle;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use crate::Result;

/// A page with the metrics as they are. It goes when this is dropped.
pub(crate) struct Page {
    address: SocketAddr,
    server: JoinHandle<()>,
}

impl Page {
    pub(crate) async fn serve(metrics: PrometheusHandle) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let server = tokio::spawn(async move {
            while let Ok((visitor, _)) = listener.accept().await {
                let metrics = metrics.clone();
                // What becomes of a visitor that leaves is its own matter.
                tokio::spawn(async move { answer(visitor, &metrics).await });
            }
        });
        Ok(Self { address, server })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/metrics", self.address)
    }

    /// What Prometheus would get now.
    pub(crate) async fn scrape(&self) -> Result<String> {
        let mut stream = TcpStream::connect(self.address).await?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await?;
        let (_, body) = reply.split_once("\r\n\r\n").ok_or("no page")?;
        Ok(body.to_owned())
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn answer(mut visitor: TcpStream, metrics: &PrometheusHandle) -> std::io::Result<()> {
    let mut request = [0; 1024];
    // There is one page, so it does not matter what is asked for.
    let _ = visitor.read(&mut request).await?;
    // Now and then the recorder has to tidy its histograms.
    metrics.run_upkeep();
    let body = metrics.render();
    let head = format!(
        "HTTP/1.0 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    visitor.write_all(head.as_bytes()).await?;
    visitor.write_all(body.as_bytes()).await?;
    visitor.shutdown().await
}
