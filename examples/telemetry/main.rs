//! A flash sale that can be watched from outside: metrics for Prometheus to scrape, and spans on the terminal.
//!
//! ```text
//! cargo run --example telemetry                         # a table, and what a scrape said of the same sale
//! cargo run --example telemetry -- --spans --stock 4    # and every span, as it ends
//! ```
//!
//! Where to read on:
//!
//! - `install` below: all that an application has to do, before it connects its first client.
//! - `scrape.rs`: the page that Prometheus asks for.
//! - `sale.rs`: the sale itself, which knows nothing of all this and keeps a table of its own.
//!
//! It exits with 0 when the scraped metrics say what the table says, and with 1 when they do not or something failed.

mod sale;
mod scrape;

use std::{error::Error, process::ExitCode, time::Duration};

use clap::Parser;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use redlatch::Client;
use redlatch_support::{Server, unique_name};
use tracing::Level;
use tracing_subscriber::{
    Layer, filter::Targets, fmt::format::FmtSpan, layer::SubscriberExt, util::SubscriberInitExt,
};

use crate::{sale::Sale, scrape::Page};

type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

/// Sells a stock under a lock, and compares what was scraped meanwhile with what the sellers say.
///
/// Without an address it starts a server of its own, providing one first where the machine has none.
#[derive(Parser)]
#[command(name = "telemetry")]
struct Cli {
    /// Sell on this server, and start none: redis://[user][:password]@host[:port][/db]
    #[arg(long, value_name = "URL", env = "REDIS_URL", hide_env_values = true)]
    redis_url: Option<String>,
    /// Pieces for sale
    #[arg(long, value_name = "N", default_value_t = 400)]
    stock: u32,
    /// Sellers, half of them with a client of their own
    #[arg(long, value_name = "N", default_value_t = 8)]
    sellers: u32,
    /// Print every span as it ends
    #[arg(long)]
    spans: bool,
}

/// What an application does before it connects its first client.
fn install(spans: bool) -> Result<PrometheusHandle> {
    let metrics = PrometheusBuilder::new()
        // `redlatch_losses_total`, `redlatch_acquire_duration_seconds`: the names in docs/operations.md.
        .with_recommended_naming(true)
        .set_buckets(&[0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 30.0])?
        .install_recorder()?;
    let level = if spans { Level::DEBUG } else { Level::WARN };
    let terminal = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_span_events(FmtSpan::CLOSE)
        .with_filter(Targets::new().with_target("redlatch", level));
    tracing_subscriber::registry().with(terminal).init();
    Ok(metrics)
}

#[tokio::main]
async fn main() -> ExitCode {
    match watch(Cli::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("telemetry: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether metrics and table agree.
async fn watch(cli: Cli) -> Result<bool> {
    let metrics = install(cli.spans)?;
    let page = Page::serve(metrics).await?;
    eprintln!("metrics are at {}", page.url());
    // The server stops when this value goes out of scope.
    let server = match &cli.redis_url {
        Some(_) => None,
        None => Some(Server::builder().try_start()?),
    };
    let url = match (cli.redis_url, &server) {
        (Some(url), _) => url,
        (None, Some(server)) => server.url(),
        (None, None) => return Err("there is no server".into()),
    };
    let sale = Sale {
        name: unique_name("telemetry"),
        stock: cli.stock,
        sellers: cli.sellers,
    };
    let clients = [Client::connect(&url).await?, Client::connect(&url).await?];
    let table = sale.run(&url, &clients).await?;
    for client in clients {
        client.close(Duration::from_secs(2)).await;
    }
    let scraped = page.scrape().await?;
    println!("{table}\n");
    for line in scraped.lines() {
        if !line.starts_with('#') && !line.contains("_bucket") {
            println!("{line}");
        }
    }
    let differences = table.differences(&scraped);
    for difference in &differences {
        eprintln!("telemetry: {difference}");
    }
    Ok(differences.is_empty())
}
