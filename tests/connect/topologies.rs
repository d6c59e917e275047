//! TLS to clusters and sentinels.

use redlatch::{Client, ClientBuilder, Error, Refusal};
use redlatch_support::{Certificates, Cluster, Sentinels, Server, eventually_async, unique_name};

use crate::kit::{assert_refused, close, connected, far, hand_over, secs, try_connect};
use crate::tls::{assert_certificate, trusting};

fn tls_urls(nodes: &[Server]) -> Vec<String> {
    nodes.iter().map(Server::tls_url).collect()
}

/// All masters are asked, and each is reached by TLS.
async fn hand_over_everywhere(one: &Client, other: &Client) {
    for _ in 0..4 {
        hand_over(one, other).await;
    }
}

fn cluster_at(nodes: &[Server]) -> ClientBuilder {
    let builder = Client::builder().cluster(tls_urls(&nodes[..1]));
    far(builder.expect("urls"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_works_over_tls_on_a_cluster() {
    let cluster = Cluster::builder()
        .tls(Certificates::shared())
        .replicas(0)
        .password("open")
        .start();
    let nodes = cluster.nodes();
    let (one, other) = (
        connected(cluster_at(nodes).tls(trusting())).await,
        connected(cluster_at(nodes).tls(trusting())).await,
    );
    hand_over_everywhere(&one, &other).await;
    for node in nodes {
        let clients = node.direct().client_list();
        let plain = node.port().to_string();
        let ours = clients
            .iter()
            .filter(|client| client.get("resp").is_some_and(|resp| resp == "3"));
        for client in ours {
            let reached = client.get("laddr").expect("from Redis 6.2 on");
            assert!(!reached.ends_with(&plain), "a plain connection: {client:?}");
        }
    }
    close(one).await;
    close(other).await;
}

/// Nodes tell their IP addresses, for which no certificate is; their names are told as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_are_reached_by_the_names_they_announce() {
    let certificates = Certificates::for_names(&["localhost"]);
    let cluster = Cluster::builder()
        .tls(&certificates)
        .replicas(0)
        .args(["--cluster-announce-hostname", "localhost"])
        .start();
    let tls = redlatch::Tls::new()
        .ca_file(&certificates.ca)
        .expect("readable");
    let seed = cluster.nodes()[0].tls_port();
    let builder = |host: &str| {
        let urls = [format!("rediss://{host}:{seed}")];
        far(Client::builder().cluster(urls).expect("url")).tls(tls.clone())
    };
    let (one, other) = (
        connected(builder("localhost")).await,
        connected(builder("localhost")).await,
    );
    hand_over_everywhere(&one, &other).await;
    close(one).await;
    close(other).await;
    let (outcome, took) = try_connect(builder("127.0.0.1")).await;
    let error = assert_refused(outcome, took, &["another host"]);
    assert_certificate(&error);
}

/// Nodes that tell nothing but IP addresses are reached with one name for all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_without_names_are_asked_for_the_one_that_was_given() {
    let certificates = Certificates::for_names(&["redis.example"]);
    let cluster = Cluster::builder().tls(&certificates).replicas(0).start();
    let tls = redlatch::Tls::new()
        .ca_file(&certificates.ca)
        .and_then(|tls| tls.server_name("redis.example"))
        .expect("makes sense");
    let nodes = cluster.nodes();
    let (one, other) = (
        connected(cluster_at(nodes).tls(tls.clone())).await,
        connected(cluster_at(nodes).tls(tls)).await,
    );
    hand_over_everywhere(&one, &other).await;
    close(one).await;
    close(other).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_of_a_foreign_authority_is_refused() {
    let cluster = Cluster::builder()
        .tls(Certificates::shared())
        .replicas(0)
        .start();
    let foreign = Certificates::make();
    let tls = redlatch::Tls::new().ca_file(&foreign.ca).expect("readable");
    let builder = Client::builder().cluster(tls_urls(cluster.nodes()));
    let (outcome, took) = try_connect(builder.expect("urls").tls(tls)).await;
    let error = assert_refused(outcome, took, &["authority"]);
    assert_certificate(&error);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_works_over_tls_with_sentinels_and_passwords() {
    let sentinels = Sentinels::builder()
        .tls(Certificates::shared())
        .password("of-the-servers")
        .sentinel_password("of-the-sentinels")
        .start();
    let urls: Vec<_> = sentinels
        .sentinels()
        .iter()
        .map(|sentinel| format!("rediss://:of-the-servers@localhost:{}", sentinel.tls_port()))
        .collect();
    let builder = || {
        let builder = Client::builder()
            .sentinel(sentinels.master_name(), &urls)
            .expect("urls")
            .sentinel_credentials(None::<String>, "of-the-sentinels");
        far(builder).tls(trusting())
    };
    let (one, other) = (connected(builder()).await, connected(builder()).await);
    hand_over(&one, &other).await;

    let old = sentinels.master();
    let guard = one.lock(unique_name("kept")).lock().await.expect("free");
    assert_eq!(old.direct().cmd(&["WAIT", "2", "2000"]).int(), 2);
    old.kill();
    let new = sentinels.master_after(old);
    eventually_async("both are at the new master", secs(10), async || {
        let clients = new.direct().client_list();
        let at = new.tls_port().to_string();
        let ours = clients.iter().filter(|client| {
            client.get("resp").is_some_and(|resp| resp == "3")
                && client
                    .get("laddr")
                    .is_some_and(|laddr| laddr.ends_with(&at))
        });
        ours.count() >= 4
    })
    .await;
    assert!(!guard.is_lost());
    guard.unlock().await.expect("held");
    hand_over(&one, &other).await;
    close(one).await;
    close(other).await;

    // Sentinels that are not let in by their own password say so.
    let builder = Client::builder().sentinel(sentinels.master_name(), &urls);
    let (outcome, took) = try_connect(builder.expect("urls").tls(trusting())).await;
    let error = assert_refused(outcome, took, &["NOAUTH"]);
    let refused = matches!(
        error,
        Error::Refused {
            refusal: Refusal::NotAuthenticated,
            ..
        }
    );
    assert!(refused, "{error:?}");
}
