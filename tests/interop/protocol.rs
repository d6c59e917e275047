//! Both versions of the server's protocol, on both sides.

use redlatch::{
    Client,
    fred::types::{RespVersion, config::Config},
};
use redlatch_support::{
    Server,
    jvm::{JvmOptions, jvm_or_skip},
};

use crate::{
    common::{Stage, close, quiet, secs},
    handover::Place,
};

async fn client_speaking(server: &Server, version: RespVersion) -> Client {
    let mut config = Config::from_url_centralized(&server.url()).expect("a server's own address");
    config.version = version;
    Client::builder()
        .fred_config(config)
        .safety_poll(secs(20))
        .connect()
        .await
        .expect("connects")
}

/// Servers before 7.0 do not say which version a connection speaks.
fn versions_spoken(server: &Server) -> Vec<String> {
    server
        .direct()
        .client_list()
        .iter()
        .filter(|client| client.get("cmd").is_none_or(|cmd| cmd != "client|list"))
        .filter_map(|client| client.get("resp").cloned())
        .collect()
}

async fn meet(test: &str, with: impl FnOnce(JvmOptions) -> JvmOptions, spoken: &str) {
    let Some(driver) = jvm_or_skip(test) else {
        return;
    };
    let _quiet = quiet().await;
    let stage = Stage::new(driver, with);
    let versions = versions_spoken(&stage.server);
    println!("{test}: the JVM's connections speak {versions:?}");
    assert!(
        versions.iter().all(|version| version == spoken),
        "the JVM's connections speak {versions:?}"
    );
    let direct = stage.server.direct();
    for version in [RespVersion::RESP2, RespVersion::RESP3] {
        let client = client_speaking(&stage.server, version).await;
        let place = Place::new(&stage.jvm, &client, &direct, "orders");
        place.jvm_to_rust().await;
        place.rust_to_jvm().await;
        close(client).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_jvm_on_resp2() {
    meet("a_jvm_on_resp2", |options| options, "2").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_jvm_on_resp3() {
    meet("a_jvm_on_resp3", JvmOptions::resp3, "3").await;
}
