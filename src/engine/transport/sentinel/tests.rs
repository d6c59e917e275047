use fred::prelude::Config;

use super::*;
use crate::engine::transport::fake::{Answer, Fake, begins, dial, say, text, until};

#[test]
fn a_flat_list_is_read() {
    let text = |text: &'static str| Reply::Text(text.into());
    let mut list: Vec<_> = ["name", "m", "ip", "10.0.0.1", "port"].map(text).into();
    list.extend([Reply::Int(7000), text("odd")]);
    let fields = fields(&Reply::Array(list));
    assert_eq!(fields.len(), 3);
    let address = reached(&fields, "me").expect("both");
    assert_eq!((&*address.host, address.port), ("10.0.0.1", 7000));
    assert_eq!(reached(&self::fields(&Reply::Nil), "me"), None);
}

fn at(port: u16) -> Address {
    Address {
        host: "10.0.0.1".to_owned(),
        port,
    }
}

fn word(master: u16, epoch: u64) -> Word {
    Word {
        master: at(master),
        epoch,
        peers: Vec::new(),
    }
}

/// What this many say.
fn council(sentinels: u16) -> Council {
    let mut council = Council::default();
    for port in 1..=sentinels {
        assert!(council.admits(&at(port)));
    }
    council
}

#[test]
fn the_later_election_counts_and_the_first_who_says_so() {
    let (old, new, other) = (word(1, 4), word(2, 5), word(3, 5));
    assert_eq!(later(None, old.clone()), old);
    for (best, said, expected) in [(&old, &new, &new), (&new, &old, &new), (&new, &other, &new)] {
        assert_eq!(&later(Some(best.clone()), said.clone()), expected);
    }
}

#[test]
fn each_sentinel_is_listened_to_once_and_not_too_many_are() {
    let mut council = council(3);
    assert!(!council.admits(&at(2)));
    let admitted = (1..100).filter(|port| council.admits(&at(*port))).count();
    assert_eq!(admitted + 3, MOST_SENTINELS);
}

#[test]
fn one_sentinel_is_enough_for_a_later_election_and_for_nothing_else() {
    let mut council = council(3);
    let mut follows = |word: Word, gone| council.follows(at(1), &word, 5, gone);
    assert!(!follows(word(1, 5), false));
    assert!(!follows(word(2, 5), true));
    assert!(!follows(word(2, 4), true));
    assert!(follows(word(2, 6), false));
}

/// All name the first master, from the fifth election.
fn agreed(sentinels: u16) -> Council {
    let mut council = council(sentinels);
    for port in 1..=sentinels {
        assert!(!council.follows(at(port), &word(1, 5), 5, false));
    }
    council
}

#[tokio::test(start_paused = true)]
async fn sentinels_that_are_behind_do_not_call_back_before_the_new_master_is_there() {
    let mut council = agreed(3);
    assert!(council.follows(at(1), &word(2, 6), 5, true));
    for _ in 0..3 {
        for port in [2, 3] {
            assert!(!council.follows(at(port), &word(1, 5), 6, true));
        }
        sleep(BEHIND - Duration::from_millis(10)).await;
        // It was there meanwhile.
        assert!(!council.follows(at(1), &word(2, 6), 6, false));
    }
    // Two have caught up.
    assert!(council.follows(at(2), &word(2, 6), 6, true));
    assert!(!council.follows(at(3), &word(1, 5), 6, true));
    sleep(BEHIND).await;
    assert!(!council.follows(at(3), &word(1, 5), 6, true));
}

#[tokio::test(start_paused = true)]
async fn most_sentinels_are_followed_back_where_the_master_is_gone() {
    for (sentinels, most) in [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3)] {
        let mut council = agreed(sentinels);
        for port in 1..most {
            // However often one says so.
            for _ in 0..3 {
                assert!(!council.follows(at(port), &word(2, 1), 5, true));
            }
        }
        let alone = sentinels == most;
        assert_eq!(council.follows(at(most), &word(2, 1), 5, true), alone);
        // Somebody speaks of the fifth election still, but not for ever against the others.
        sleep(BEHIND).await;
        assert!(!council.clone().follows(at(most), &word(2, 1), 5, false));
        assert!(council.follows(at(most), &word(2, 1), 5, true));
    }
}

fn watched(ports: &[u16]) -> Dial {
    let config = Config {
        server: ServerConfig::Sentinel {
            hosts: ports
                .iter()
                .map(|port| Server::new("127.0.0.1", *port))
                .collect(),
            service_name: "m".to_owned(),
            username: Some("watcher".to_owned()),
            password: Some("of the sentinel".to_owned()),
        },
        username: Some("user".to_owned()),
        password: Some("of the server".to_owned()),
        database: Some(3),
        version: RespVersion::RESP2,
        ..Config::default()
    };
    Dial::new(config, None, false)
}

#[test]
fn sentinels_have_a_user_of_their_own_and_no_databases() {
    let watch = Watch::read(&watched(&[7])).expect("sentinels");
    assert_eq!(
        (watch.sentinels, &*watch.name),
        (vec![at_host("127.0.0.1", 7)], "m")
    );
    let there = watch.config;
    assert_eq!(there.username.as_deref(), Some("watcher"));
    assert_eq!(there.password.as_deref(), Some("of the sentinel"));
    assert_eq!(
        (there.database, there.version.clone()),
        (None, RespVersion::RESP3)
    );
    assert!(Watch::read(&dial(7)).is_none());
}

fn at_host(host: &str, port: u16) -> Address {
    Address {
        host: host.to_owned(),
        port,
    }
}

/// A sentinel that knows the first master from the fifth election and maybe another sentinel, and thinks about it for so long.
async fn sentinel(pause: Duration, another: bool) -> Fake {
    let flat = |words: &[&str]| {
        let words: Vec<_> = words.iter().map(|word| text(word)).collect();
        format!("*{}\r\n{}", words.len(), words.join("\r\n"))
    };
    Fake::start(move |command| {
        let about = |what: &str| begins(command, &["SENTINEL", what, "m"]);
        if begins(command, &["HELLO"]) {
            say(format!("%1\r\n{}\r\n{}", text("server"), text("redis")))
        } else if about("MASTER") {
            Answer::After(pause, flat(&["config-epoch", "5"]))
        } else if about("GET-MASTER-ADDR-BY-NAME") {
            say(flat(&["10.0.0.1", "1"]))
        } else if about("SENTINELS") {
            let peer = flat(&["ip", "10.0.0.1", "port", "9"]);
            say(if another {
                format!("*1\r\n{peer}")
            } else {
                "*0".to_owned()
            })
        } else {
            Answer::Usual
        }
    })
    .await
}

#[tokio::test]
async fn a_sentinel_has_all_the_time_there_is_for_its_first_word() {
    const LIMIT: Duration = Duration::from_secs(2);
    let slow = sentinel(LIMIT * 5 / 8, true).await;
    let watch = Watch::read(&watched(&[slow.port])).expect("sentinels");
    let said = first_word(&watch, LIMIT).await.expect("in time");
    let expected = Word {
        peers: vec![at(9)],
        ..word(1, 5)
    };
    assert_eq!(said, expected);
}

/// Of a client with this sentinel, whose master cannot be connected to.
fn fleet_of(sentinel: &Fake) -> Arc<Fleet> {
    let config = watched(&[sentinel.port]);
    let node = Node::new(&dial(1), &Settings::default(), PubSub::Plain, None);
    let chart = crate::engine::transport::fleet::Chart::One(node);
    let fleet = crate::engine::transport::fake::fleet(&config, chart, PubSub::Plain);
    Arc::new(fleet)
}

#[tokio::test]
async fn where_the_master_is_gone_an_earlier_election_is_followed_if_it_is_all_there_is() {
    let sentinel = sentinel(Duration::ZERO, false).await;
    let fleet = fleet_of(&sentinel);
    fleet.succeed(&at(2), 9);
    let keeper = tokio::spawn(keep(Arc::downgrade(&fleet)));
    until("it is followed", || fleet.election() == 5).await;
    keeper.abort();
}

#[tokio::test]
async fn a_sentinel_that_hangs_up_is_not_called_without_a_pause() {
    let gone = Fake::start(|_| Answer::HangUp).await;
    let fleet = fleet_of(&gone);
    let keeper = tokio::spawn(keep(Arc::downgrade(&fleet)));
    sleep(Duration::from_millis(1_600)).await;
    keeper.abort();
    let calls = gone.accepted();
    assert!((2..9).contains(&calls), "{calls} calls");
}
