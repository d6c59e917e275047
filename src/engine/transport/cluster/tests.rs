use super::*;
use crate::engine::transport::fake::{
    Answer, Fake, at, begins, cluster, cluster_from, dial_cluster, nobodys_port, say, sink, text,
    until, view,
};

const NODES: [&str; 2] = ["CLUSTER", "NODES"];
const ALL: &str = "0-16383";

/// A node that answers so when it is asked for the nodes.
async fn node(answer: impl Fn() -> Answer + Send + Sync + 'static) -> Fake {
    Fake::start(move |command| {
        if begins(command, &NODES) {
            answer()
        } else {
            Answer::Usual
        }
    })
    .await
}

/// What a node says is known once its port is.
type Said = Arc<std::sync::Mutex<String>>;

async fn node_saying(said: &Said) -> Fake {
    let said = said.clone();
    node(move || say(text(&crate::engine::transport::fleet::lock(&said)))).await
}

fn set(said: &Said, view: String) {
    *crate::engine::transport::fleet::lock(said) = view;
}

async fn started(fleet: &Arc<Fleet>) {
    let (sink, _) = sink();
    fleet.start(sink);
    until("connected", || fleet.is_open()).await;
}

#[tokio::test]
async fn a_cluster_that_is_well_is_let_alone() {
    let said = Said::default();
    let (one, other) = (node_saying(&said).await, node_saying(&said).await);
    let masters = [(one.port, 1, "0-100"), (other.port, 2, "101-16383")];
    set(&said, view(&masters));
    let fleet = cluster(&masters);
    started(&fleet).await;
    until("both lanes", || one.accepted() + other.accepted() == 4).await;
    let seen = look(&fleet).await;
    assert!(!seen.troubled && !seen.news);
    // Over the connections that are there.
    assert_eq!((one.count(&NODES), other.count(&NODES)), (1, 1));
    assert_eq!(one.accepted() + other.accepted(), 4);
    // One that is only being set up is no trouble either.
    set(&said, view(&[(one.port, 1, ""), (other.port, 2, "")]));
    let seen = look(&fleet).await;
    assert!(!seen.troubled && seen.news);
    fleet.shut();
}

#[tokio::test]
async fn a_cluster_that_is_not_well_is_looked_at_again_soon() {
    let said = Said::default();
    let one = node_saying(&said).await;
    let silent = node(|| Answer::Silence).await;
    let nobody = nobodys_port().await;

    // A slot has nobody.
    let masters = [(one.port, 1, "0-9000 9002-16383")];
    set(&said, view(&masters));
    let fleet = cluster(&masters);
    started(&fleet).await;
    assert!(look(&fleet).await.troubled);
    fleet.shut();

    // A master is not there.
    let masters = [(one.port, 1, ALL), (nobody, 1, "")];
    set(&said, view(&masters));
    let fleet = cluster(&masters);
    let (sink, _) = sink();
    fleet.start(sink);
    let there = fleet.open(&one.address()).expect("known");
    until("connected", || there.is_open()).await;
    let seen = look(&fleet).await;
    assert!(seen.troubled && !seen.news);
    fleet.shut();

    // One does not answer.
    let masters = [(one.port, 1, ALL), (silent.port, 1, "")];
    set(&said, view(&masters));
    let fleet = cluster(&masters);
    started(&fleet).await;
    assert!(look(&fleet).await.troubled);
    fleet.shut();
}

#[tokio::test]
async fn where_no_node_is_there_those_are_asked_that_the_application_named() {
    let said = Said::default();
    let seed = node_saying(&said).await;
    set(&said, view(&[(seed.port, 3, ALL)]));
    let fleet = cluster_from(&[seed.port], &[(nobodys_port().await, 1, ALL)]);
    let (sink, _) = sink();
    fleet.start(sink);
    assert!(look(&fleet).await.news);
    let home = fleet.home(0, Instant::now()).await.expect("somebody");
    let there = fleet.open(&seed.address()).expect("known");
    assert_eq!(home.id, there.id);
    fleet.shut();
    // And where they are not there either, what is known stays.
    let fleet = cluster(&[(nobodys_port().await, 1, ALL)]);
    let seen = look(&fleet).await;
    assert!(seen.troubled && !seen.news);
    fleet.home(0, Instant::now()).await.expect("the same");
}

#[tokio::test]
async fn a_node_whose_connection_ends_is_asked_again() {
    let first = std::sync::atomic::AtomicBool::new(true);
    let said = Said::default();
    let node = node({
        let said = said.clone();
        move || {
            if first.swap(false, std::sync::atomic::Ordering::SeqCst) {
                Answer::HangUp
            } else {
                say(text(&crate::engine::transport::fleet::lock(&said)))
            }
        }
    })
    .await;
    let masters = [(node.port, 1, ALL)];
    set(&said, view(&masters));
    let fleet = cluster(&masters);
    started(&fleet).await;
    let seen = look(&fleet).await;
    assert!(!seen.troubled && !seen.news);
    assert_eq!(node.count(&NODES), 2);
    fleet.shut();
}

#[tokio::test]
async fn a_look_ends_where_the_only_node_says_nothing() {
    let silent = node(|| Answer::Silence).await;
    let fleet = cluster_from(&[nobodys_port().await], &[(silent.port, 1, ALL)]);
    started(&fleet).await;
    let looking = tokio::time::timeout(Duration::from_secs(3), look(&fleet)).await;
    let seen = looking.expect("a node has one second");
    assert!(seen.troubled && !seen.news);
    fleet.shut();
}

#[tokio::test]
async fn no_node_is_left_out_for_long() {
    let said = Said::default();
    let mut nodes = Vec::new();
    for _ in 0..WITNESSES + 2 {
        nodes.push(node_saying(&said).await);
    }
    let mut masters: Vec<_> = nodes.iter().map(|node| (node.port, 1, "")).collect();
    masters[0].2 = ALL;
    set(&said, view(&masters));
    let fleet = cluster(&masters);
    started(&fleet).await;
    // That one is left out for so long by chance is as likely as a number guessed in a hundred thousand millions.
    for _ in 0..28 {
        assert!(!look(&fleet).await.troubled);
    }
    for node in &nodes {
        assert!(node.count(&NODES) > 0);
    }
    fleet.shut();
}

#[tokio::test(start_paused = true)]
async fn those_are_heard_who_answer_soon_after_the_first() {
    let asking = [0, 50, 90, 1_000].map(|after| async move {
        sleep(Duration::from_millis(500 + after)).await;
        Some(claims(&view(&[(1, after, ALL)]), "", false))
    });
    let begun = Instant::now();
    assert_eq!(gather(asking.into_iter()).await.len(), 3);
    assert!(begun.elapsed() < Duration::from_secs(1));
    let silent = [None, None].map(|view: Option<Vec<Claim>>| async move { view });
    assert_eq!(gather(silent.into_iter()).await.len(), 0);
}

#[tokio::test]
async fn doubts_that_go_on_do_not_have_the_cluster_asked_without_a_pause() {
    let said = Said::default();
    let node = node_saying(&said).await;
    let masters = [(node.port, 1, ALL)];
    set(&said, view(&masters));
    let fleet = cluster(&masters);
    started(&fleet).await;
    let keeper = tokio::spawn(keep(Arc::downgrade(&fleet)));
    let end = Instant::now() + Duration::from_secs(2);
    while Instant::now() < end {
        fleet.cast_doubt();
        sleep(Duration::from_millis(1)).await;
    }
    keeper.abort();
    let looks = node.count(&NODES);
    assert!((3..24).contains(&looks), "{looks} looks");
    fleet.shut();
}

#[tokio::test]
async fn a_refusal_says_more_than_silence() {
    let refusing = node(|| say("-ERR This instance has cluster support disabled")).await;
    let nobody = nobodys_port().await;
    let connect = async |seeds: &[u16]| {
        let settings = Settings::default();
        let connected = connect(&dial_cluster(seeds), &settings, Handle::current()).await;
        connected.expect_err("no cluster")
    };
    for seeds in [[refusing.port, nobody], [nobody, refusing.port]] {
        let fault = connect(&seeds).await;
        assert!(fault.to_string().contains("support disabled"), "{fault}");
    }
    let fault = connect(&[nobody]).await;
    assert!(!fault.to_string().contains("was named"), "{fault}");
    assert_eq!(seeds(&dial_cluster(&[7])), [at(7)]);
}

/// A certificate is for a name, not for the address that redirections give.
#[cfg(feature = "tls-rustls")]
#[tokio::test]
async fn nodes_are_called_by_name_where_they_show_certificates() {
    use crate::engine::transport::fake;

    let mut config = dial_cluster(&[7]);
    let chart = crate::engine::transport::fleet::Chart::Slots(Arc::default());
    assert!(!names(&fake::fleet(&config, chart.clone(), PubSub::Plain)));
    let tls = fred::types::config::TlsConnector::default_rustls();
    config.tls = Some(tls.expect("authorities of the system").into());
    assert!(names(&fake::fleet(&config, chart, PubSub::Plain)));
}
