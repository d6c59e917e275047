//! Leader election where something goes wrong.

use std::time::Instant;

use redlatch::{Client, Error, LossCause};
use redlatch_support::{
    Action, Process, Proxy, Rule, Server, eventually, eventually_async, polled,
};
use tokio_stream::StreamExt;

use crate::kit::{
    LIMIT, asleep, by_message, close, connect, ms, next, nothing_but_counters, quick, secs, server,
    until_leader,
};

/// Has a run of this binary lead and say so.
const LEADER: &str = "REDLATCH_TEST_LEADER";

#[tokio::test]
async fn leader_process() {
    let Ok(url) = std::env::var(LEADER) else {
        return;
    };
    let client = quick(&url).await;
    let leadership = client.election("killed").campaign("dead soon").await;
    let leadership = leadership.expect("leads");
    println!("\nleading {}", leadership.term());
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn the_next_candidate_leads_when_the_leader_is_killed_and_observers_see_it() {
    let (server, direct) = server();
    let (one, two) = (quick(&server.url()).await, quick(&server.url()).await);
    let mut leader = Process::start("election_faults::leader_process", LEADER, &server.url());
    let term: i64 = leader.said("leading").parse().expect("a number");
    let mut leaders = two.election("killed").observe();
    assert_eq!(next(&mut leaders).await.expect("leads").term.get(), term);
    let campaign = one.election("killed").campaign("alive");
    let waiting = tokio::spawn(campaign.wait(LIMIT).into_future());
    asleep(&one).await;
    leader.kill();
    let killed = Instant::now();
    let leadership = waiting.await.expect("joins").expect("leads");
    assert!(killed.elapsed() < secs(4), "{:?}", killed.elapsed());
    assert!(leadership.term().get() > term);
    let seen = until_leader(&mut leaders, "alive").await;
    assert_eq!(seen.term, leadership.term());
    assert!(killed.elapsed() < secs(6), "{:?}", killed.elapsed());
    leadership.resign().await.expect("leads");
    drop(leaders);
    nothing_but_counters(&direct).await;
    close(one).await;
    close(two).await;
}

#[tokio::test]
async fn an_observer_sees_that_a_killed_leader_is_gone_though_nobody_follows() {
    let (server, _) = server();
    let client = quick(&server.url()).await;
    let mut leader = Process::start("election_faults::leader_process", LEADER, &server.url());
    leader.said("leading");
    let mut leaders = client.election("killed").observe();
    assert_eq!(next(&mut leaders).await.expect("leads").value, "dead soon");
    leader.kill();
    let killed = Instant::now();
    assert_eq!(next(&mut leaders).await, None);
    assert!(killed.elapsed() < secs(4), "{:?}", killed.elapsed());
    let direct = server.direct();
    eventually("what it said is gone as well", secs(5), || {
        !direct.exists("redlatch_election:{killed}")
    });
    drop(leaders);
    close(client).await;
}

#[tokio::test]
async fn a_leader_whose_lock_is_taken_away_stops_and_another_leads() {
    let (server, direct) = server();
    let (one, two) = (quick(&server.url()).await, quick(&server.url()).await);
    let leadership = one
        .election("taken")
        .campaign("first")
        .await
        .expect("leads");
    let mut leaders = two.election("taken").observe();
    assert_eq!(next(&mut leaders).await.expect("leads").value, "first");
    direct.cmd(&["DEL", "taken"]).accepted();
    let stopped = leadership.run(std::future::pending::<()>());
    let error = tokio::time::timeout(LIMIT, stopped).await.expect("is told");
    assert!(error.expect_err("is stopped").is_lost());
    assert!(leadership.is_lost());
    assert!(
        leadership
            .proclaim("more")
            .await
            .expect_err("lost")
            .is_lost()
    );
    assert_eq!(next(&mut leaders).await, None);
    let second = two
        .election("taken")
        .campaign("second")
        .await
        .expect("free");
    assert!(second.term() > leadership.term());
    assert_eq!(next(&mut leaders).await.expect("leads").value, "second");
    // What the first gives back is nothing of the second's.
    assert!(leadership.resign().await.expect_err("was lost").is_lost());
    let seen = two.election("taken").leader().await.expect("answers");
    assert_eq!(seen.expect("leads").value, "second");
    second.resign().await.expect("leads");
    drop(leaders);
    close(one).await;
    close(two).await;
}

#[tokio::test]
async fn a_record_that_is_taken_away_is_said_again() {
    let (server, direct) = server();
    let client = quick(&server.url()).await;
    let election = client.election("said");
    let leadership = election.campaign("first").await.expect("leads");
    let mut leaders = election.observe();
    assert_eq!(next(&mut leaders).await.expect("leads").value, "first");
    leadership.proclaim("second").await.expect("leads");
    assert_eq!(next(&mut leaders).await.expect("leads").value, "second");
    direct.cmd(&["DEL", "redlatch_election:{said}"]).accepted();
    eventually_async("it is said again", secs(5), async || {
        let leader = election.leader().await.expect("answers");
        leader.is_some_and(|leader| leader.value == "second")
    })
    .await;
    // It is renewed for as long as the leader leads.
    let begun = Instant::now();
    while begun.elapsed() < secs(3) {
        assert!(direct.exists("redlatch_election:{said}"));
        assert!(!leadership.is_lost());
        tokio::time::sleep(ms(20)).await;
    }
    leadership.resign().await.expect("leads");
    drop(leaders);
    close(client).await;
}

#[tokio::test]
async fn a_first_word_whose_reply_is_lost_is_found_out_about() {
    let server = Server::start();
    let proxy = Proxy::start(server.port()).await;
    let client = connect(&proxy.url(), |builder| {
        builder.watchdog_timeout(secs(6)).command_timeout(secs(3))
    })
    .await;
    let election = client.election("unknown");
    // The server knows the scripts.
    election
        .campaign("x")
        .await
        .expect("leads")
        .resign()
        .await
        .expect("leads");
    let word = "the word";
    let says = |args: &[Vec<u8>]| args.iter().any(|arg| arg == word.as_bytes());
    let lost = proxy.rule(
        Rule::new("EVALSHA")
            .args(says)
            .action(Action::CutAfterForward),
    );
    let leadership = election.campaign(word).wait(LIMIT).await.expect("leads");
    assert_eq!(lost.hits(), 1);
    let seen = election.leader().await.expect("answers").expect("leads");
    assert_eq!(
        (seen.term, &*seen.value),
        (leadership.term(), word.as_bytes())
    );
    leadership.resign().await.expect("leads");
    close(client).await;
}

#[tokio::test]
async fn observers_miss_nothing_that_lasts_while_connections_die() {
    let server = Server::start();
    let proxy = Proxy::start(server.port()).await;
    let leads = connect(&server.url(), |builder| builder).await;
    // Only messages, and what follows a reconnect.
    let observes = by_message(&proxy.url()).await;
    let election = leads.election("cut");
    let mut leaders = observes.election("cut").observe();
    assert_eq!(next(&mut leaders).await, None);
    for turn in 0..10 {
        let value = format!("turn {turn}");
        match turn % 3 {
            0 => proxy.cut_all(),
            1 => proxy.cut_subscribers(),
            _ => {}
        }
        let leadership = election.campaign(value.clone()).await.expect("leads");
        if turn % 2 == 0 {
            proxy.cut_all();
        }
        let seen = until_leader(&mut leaders, &value).await;
        assert_eq!(seen.term, leadership.term());
        leadership.resign().await.expect("leads");
    }
    while next(&mut leaders).await.is_some() {}
    drop(leaders);
    close(leads).await;
    close(observes).await;
}

#[tokio::test]
async fn a_message_that_is_lost_costs_an_observer_a_look() {
    let server = Server::start();
    let proxy = Proxy::start(server.port()).await;
    let leads = connect(&server.url(), |builder| builder).await;
    let observes = connect(&proxy.url(), |builder| builder.safety_poll(ms(500))).await;
    let mut leaders = observes.election("deaf").observe();
    assert_eq!(next(&mut leaders).await, None);
    let channel = "redlatch_election:{deaf}";
    let direct = server.direct();
    eventually_async("it listens", secs(5), async || direct.numsub(channel) == 1).await;
    let dropped = proxy.drop_messages(None, 100);
    let leadership = leads.election("deaf").campaign("x").await.expect("leads");
    let said = Instant::now();
    assert_eq!(next(&mut leaders).await.expect("leads").value, "x");
    assert!(said.elapsed() < secs(3), "{:?}", said.elapsed());
    eventually_async("a message was lost", secs(5), async || dropped.hits() > 0).await;
    leadership.resign().await.expect("leads");
    drop(leaders);
    close(leads).await;
    close(observes).await;
}

/// Clients of a server through a proxy that bound everything closely.
async fn cut_off(proxy: &Proxy) -> Client {
    connect(&proxy.url(), |builder| {
        builder
            .watchdog_timeout(ms(1_500))
            .command_timeout(ms(400))
            .connect_timeout(ms(400))
            .outage_patience(secs(1))
    })
    .await
}

#[tokio::test]
async fn a_leader_that_is_cut_off_stops_by_its_own_clock_before_another_leads() {
    let server = Server::start();
    let proxy = Proxy::start(server.port()).await;
    let (one, two) = (cut_off(&proxy).await, quick(&server.url()).await);
    let leadership = one
        .election("silent")
        .campaign("first")
        .await
        .expect("leads");
    let mut leaders = two.election("silent").observe();
    assert_eq!(next(&mut leaders).await.expect("leads").value, "first");
    let campaign = two.election("silent").campaign("second").wait(LIMIT);
    let waiting = tokio::spawn(async move {
        let leadership = campaign.await.expect("leads");
        (leadership, Instant::now())
    });
    asleep(&two).await;
    proxy.black_hole(true);
    assert_eq!(leadership.lost().await, LossCause::Unreachable);
    let stopped = Instant::now();
    let (second, began) = waiting.await.expect("joins");
    assert!(began >= stopped - ms(50), "{:?}", stopped - began);
    let _ = until_leader(&mut leaders, "second").await;
    proxy.black_hole(false);
    drop(leadership);
    // What was left in the old connection harms nobody.
    eventually_async("it is back", secs(10), async || {
        let leader = one.election("silent").leader().await;
        leader.is_ok_and(|leader| leader.is_some_and(|leader| leader.value == "second"))
    })
    .await;
    second.resign().await.expect("leads");
    drop(leaders);
    close(one).await;
    close(two).await;
}

#[tokio::test]
async fn an_observer_outlives_a_server_that_comes_back_without_its_data() {
    let (server, direct) = server();
    let (one, two) = (quick(&server.url()).await, quick(&server.url()).await);
    let leadership = one
        .election("restarted")
        .campaign("first")
        .await
        .expect("leads");
    let mut leaders = two.election("restarted").observe();
    assert_eq!(next(&mut leaders).await.expect("leads").value, "first");
    server.restart();
    assert_eq!(next(&mut leaders).await, None);
    leadership.lost().await;
    // Terms would fall, which whoever knows of the first refuses.
    eventually_async("it is refused", secs(10), async || {
        let error = one.election("restarted").campaign("second").await;
        matches!(error, Err(Error::FencingReset { seen: 1, .. }))
    })
    .await;
    one.fenced_lock("restarted")
        .raise_counter(leadership.term())
        .await
        .expect("raised");
    let second = one
        .election("restarted")
        .campaign("second")
        .await
        .expect("leads");
    assert!(second.term() > leadership.term());
    assert_eq!(next(&mut leaders).await.expect("leads").value, "second");
    second.resign().await.expect("leads");
    drop((leadership, leaders));
    nothing_but_counters(&direct).await;
    close(one).await;
    close(two).await;
}

#[tokio::test]
async fn a_server_that_comes_back_with_its_data_has_the_same_leader() {
    let server = Server::builder().appendonly(true).start();
    let client = connect(&server.url(), |builder| builder.watchdog_timeout(secs(20))).await;
    let election = client.election("kept");
    let leadership = election.campaign("x").await.expect("leads");
    let mut leaders = election.observe();
    let before = next(&mut leaders).await.expect("leads");
    server.restart();
    leadership.proclaim("y").await.expect("leads on");
    let after = next(&mut leaders).await.expect("leads");
    assert_eq!((after.term, &*after.value), (before.term, &b"y"[..]));
    assert!(!leadership.is_lost());
    leadership.resign().await.expect("leads");
    drop(leaders);
    close(client).await;
}

#[tokio::test]
async fn a_campaign_dropped_at_every_poll_neither_leads_nor_stays() {
    let (server, direct) = server();
    let (one, two) = (
        connect(&server.url(), |builder| builder).await,
        connect(&server.url(), |builder| builder).await,
    );
    for busy in [false, true] {
        let rival = two.election("dropped");
        let leadership = match busy {
            true => Some(rival.campaign("rival").await.expect("leads")),
            false => None,
        };
        for polls in 0..20 {
            let campaign = one.election("dropped").campaign("x").wait(ms(20));
            drop(polled(polls, campaign.into_future()).await);
            eventually_async("nothing is left here", secs(5), async || {
                one.residue() == redlatch_support::NOTHING_LEFT
            })
            .await;
            let leader = rival.leader().await.expect("answers");
            match &leadership {
                Some(leadership) => {
                    assert_eq!(leader.expect("leads").term, leadership.term());
                }
                None => nothing_but_counters(&direct).await,
            }
        }
        if let Some(leadership) = leadership {
            leadership.resign().await.expect("leads");
        }
    }
    close(one).await;
    close(two).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_observers_agree_on_the_last_leader_of_a_quick_succession() {
    const OBSERVERS: usize = 50;
    let (server, _) = server();
    let leads = connect(&server.url(), |builder| builder).await;
    let observes = by_message(&server.url()).await;
    let mut observers = Vec::new();
    for _ in 0..OBSERVERS {
        let mut leaders = observes.election("quick").observe();
        assert_eq!(next(&mut leaders).await, None);
        observers.push(tokio::spawn(async move {
            let (mut terms, mut last) = (Vec::new(), None);
            while last.as_deref() != Some(&b"last"[..]) {
                let leader = leaders.next().await.expect("goes on").expect("no error");
                if let Some(leader) = leader {
                    terms.push(leader.term);
                    last = Some(leader.value.to_vec());
                }
            }
            assert!(terms.is_sorted(), "{terms:?}");
        }));
    }
    for turn in 0..100 {
        let campaign = leads.election("quick").campaign(turn.to_string());
        drop(campaign.await.expect("leads"));
    }
    let last = leads
        .election("quick")
        .campaign("last")
        .await
        .expect("leads");
    for observer in observers {
        let seen = tokio::time::timeout(LIMIT, observer).await;
        seen.expect("sees the last").expect("no panic");
    }
    last.resign().await.expect("leads");
    close(leads).await;
    close(observes).await;
}
