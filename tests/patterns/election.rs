//! Leader election where nothing goes wrong.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use redlatch::Error;
use redlatch_support::{Cluster, Server, eventually_async, hand_over_is_off, unique_name};
use tokio::task::JoinSet;
use tokio_stream::StreamExt;

use crate::kit::{
    LIMIT, asleep, by_message, close, connect, next, nothing_but_counters, secs, server,
    until_leader,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_many_candidates_leads_at_a_time_and_terms_rise() {
    const CLIENTS: usize = 3;
    const CANDIDATES: usize = 8;
    const TERMS: usize = 4;
    let (server, direct) = server();
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(connect(&server.url(), |builder| builder).await);
    }
    let leading = Arc::new(AtomicUsize::new(0));
    let terms = Arc::new(std::sync::Mutex::new(Vec::new()));
    let mut tasks = JoinSet::new();
    for candidate in 0..CANDIDATES {
        let election = clients[candidate % CLIENTS].election("many");
        let (leading, terms) = (leading.clone(), terms.clone());
        tasks.spawn(async move {
            for turn in 0..TERMS {
                let value = format!("{candidate}/{turn}");
                let leadership = election.campaign(value.clone()).await.expect("leads");
                assert_eq!(leading.fetch_add(1, Ordering::AcqRel), 0, "two lead");
                let seen = election.leader().await.expect("answers").expect("leads");
                assert_eq!(seen.value, value);
                assert_eq!(seen.term, leadership.term());
                assert_eq!(seen.id, leadership.guard().owner_id());
                terms.lock().expect("no panic").push(leadership.term());
                leading.fetch_sub(1, Ordering::AcqRel);
                leadership.resign().await.expect("led until now");
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("no panic");
    }
    let terms = terms.lock().expect("no panic").clone();
    assert_eq!(terms.len(), CANDIDATES * TERMS);
    assert!(terms.is_sorted_by(|one, next| one < next), "{terms:?}");
    nothing_but_counters(&direct).await;
    for client in clients {
        close(client).await;
    }
}

#[tokio::test]
async fn observers_are_told_of_every_leader_value_and_end_by_messages() {
    let (server, direct) = server();
    let (one, two) = (
        by_message(&server.url()).await,
        by_message(&server.url()).await,
    );
    let election = one.election("told");
    let mut leaders = two.election("told").observe();
    assert_eq!(next(&mut leaders).await, None);
    assert_eq!(election.leader().await.expect("answers"), None);

    let begun = Instant::now();
    let leadership = election.campaign("here").await.expect("nobody leads");
    let first = next(&mut leaders).await.expect("leads");
    assert_eq!(
        (&*first.value, first.term),
        (&b"here"[..], leadership.term())
    );
    assert!(first.id.starts_with(one.id()), "{first:?}");
    leadership.proclaim("there").await.expect("leads");
    let second = next(&mut leaders).await.expect("leads");
    assert_eq!((&*second.value, second.term), (&b"there"[..], first.term));
    // Who comes later hears of it at once.
    let mut late = two.election("told").observe();
    assert_eq!(next(&mut late).await, Some(second));
    leadership.resign().await.expect("led until now");
    for leaders in [&mut leaders, &mut late] {
        assert_eq!(next(leaders).await, None);
    }
    // Dropped instead.
    let leadership = election.campaign("again").await.expect("nobody leads");
    let third = next(&mut leaders).await.expect("leads");
    assert!(third.term > first.term);
    drop(leadership);
    assert_eq!(next(&mut leaders).await, None);
    assert!(begun.elapsed() < secs(20), "that was no message");
    drop((leaders, late));
    nothing_but_counters(&direct).await;
    close(one).await;
    close(two).await;
}

#[tokio::test]
async fn the_next_candidate_leads_as_soon_as_one_resigns() {
    let (server, _) = server();
    let (one, two) = (
        by_message(&server.url()).await,
        by_message(&server.url()).await,
    );
    // Of the same process and of another.
    for next in [&one, &two] {
        let leadership = one.election("next").campaign("first").await.expect("leads");
        let campaign = next.election("next").campaign("second").wait(LIMIT);
        let waiting = tokio::spawn(campaign.into_future());
        asleep(next).await;
        let first = leadership.term();
        let resigned = Instant::now();
        leadership.resign().await.expect("led until now");
        let second = waiting.await.expect("joins").expect("leads");
        assert!(resigned.elapsed() < secs(2), "{:?}", resigned.elapsed());
        assert!(second.term() > first);
        let seen = one.election("next").leader().await.expect("answers");
        assert_eq!(seen.expect("leads").value, "second");
        second.resign().await.expect("led until now");
    }
    close(one).await;
    close(two).await;
}

#[tokio::test]
async fn a_candidate_that_has_waited_for_long_enough_is_none_any_more() {
    let (server, direct) = server();
    let (one, two) = (
        connect(&server.url(), |builder| builder).await,
        connect(&server.url(), |builder| builder).await,
    );
    let leadership = one.election("busy").campaign("x").await.expect("leads");
    for client in [&one, &two] {
        let late = client.election("busy").campaign("y").wait(secs(0)).await;
        assert!(late.expect_err("is led").is_timeout());
        let late = client
            .election("busy")
            .campaign("y")
            .wait(std::time::Duration::from_millis(50))
            .await;
        assert!(late.expect_err("is led").is_timeout());
    }
    leadership.resign().await.expect("led until now");
    assert!(
        !direct.exists("busy"),
        "somebody leads behind everybody's back"
    );
    close(one).await;
    close(two).await;
}

#[tokio::test]
async fn leading_is_two_commands_and_resigning_two() {
    let (server, direct) = server();
    let client = by_message(&server.url()).await;
    let election = client.election("few");
    // Scripts are loaded, and the second connection is there.
    election
        .campaign("x")
        .await
        .expect("leads")
        .resign()
        .await
        .expect("leads");
    nothing_but_counters(&direct).await;
    direct.reset_stats();
    let leadership = election.campaign("x").await.expect("leads");
    assert_eq!(direct.command_calls("evalsha"), 2);
    leadership.resign().await.expect("leads");
    nothing_but_counters(&direct).await;
    assert_eq!(direct.command_calls("evalsha"), 4);
    assert_eq!(
        direct.command_calls("publish"),
        2 + 1,
        "said, and taken back; and freed"
    );
    close(client).await;
}

#[tokio::test]
async fn whoever_holds_the_lock_and_says_nothing_is_no_leader() {
    let (server, _) = server();
    let client = connect(&server.url(), |builder| builder).await;
    let election = client.election("silent");
    let guard = client.fenced_lock("silent").lock().await.expect("free");
    assert_eq!(election.leader().await.expect("answers"), None);
    let busy = election.campaign("x").wait(secs(0)).await;
    assert!(busy.expect_err("is held").is_timeout());
    let token = guard.token();
    guard.unlock().await.expect("held");
    let leadership = election.campaign("x").await.expect("free");
    assert!(leadership.term() > token, "terms are tokens of the lock");
    assert!(
        client
            .lock("silent")
            .try_lock()
            .await
            .expect("answers")
            .is_none()
    );
    leadership.resign().await.expect("leads");
    close(client).await;
}

#[tokio::test]
async fn what_is_not_acceptable_is_refused_before_anything_is_sent() {
    let (server, direct) = server();
    let client = connect(&server.url(), |builder| builder).await;
    direct.reset_stats();
    let long = vec![b'x'; 65_537];
    let election = client.election("refused");
    let error = election.campaign(long.clone()).await.expect_err("too long");
    assert!(
        matches!(error, Error::InvalidArgument { field: "value", .. }),
        "{error}"
    );
    let nameless = client.election("");
    let error = nameless.campaign("x").await.expect_err("no name");
    assert!(
        matches!(error, Error::InvalidArgument { field: "name", .. }),
        "{error}"
    );
    let error = nameless.leader().await.expect_err("no name");
    assert!(
        matches!(error, Error::InvalidArgument { field: "name", .. }),
        "{error}"
    );
    let mut leaders = nameless.observe();
    let error = leaders
        .next()
        .await
        .expect("an error")
        .expect_err("no name");
    assert!(
        matches!(error, Error::InvalidArgument { field: "name", .. }),
        "{error}"
    );
    assert!(leaders.next().await.is_none(), "an error is the last item");
    assert_eq!(direct.command_calls("evalsha"), 0);

    let longest = &long[1..];
    let leadership = election.campaign(longest.to_vec()).await.expect("just so");
    let error = leadership
        .proclaim(long.clone())
        .await
        .expect_err("too long");
    assert!(
        matches!(error, Error::InvalidArgument { field: "value", .. }),
        "{error}"
    );
    let seen = election.leader().await.expect("answers").expect("leads");
    assert_eq!(seen.value, longest);
    leadership.resign().await.expect("leads");

    // A key of somebody else.
    direct
        .cmd(&["SET", "redlatch_election:{refused}", "theirs"])
        .accepted();
    let error = election.campaign("x").await.expect_err("not ours");
    assert!(matches!(error, Error::WrongType { .. }), "{error}");
    let mut leaders = election.observe();
    let error = leaders
        .next()
        .await
        .expect("an error")
        .expect_err("not ours");
    assert!(matches!(error, Error::WrongType { .. }), "{error}");
    eventually_async("it does not lead", secs(5), async || {
        !direct.exists("refused")
    })
    .await;
    assert!(direct.exists("redlatch_election:{refused}"));
    drop(leaders);
    close(client).await;
}

#[tokio::test]
async fn a_closed_client_ends_its_leadership_its_campaigns_and_its_observers() {
    let server = Server::start();
    let client = connect(&server.url(), |builder| builder).await;
    let election = client.election("closing");
    let leadership = election.campaign("x").await.expect("leads");
    let waiting = tokio::spawn(election.campaign("y").into_future());
    asleep(&client).await;
    let mut leaders = election.observe();
    assert_eq!(next(&mut leaders).await.expect("leads").value, "x");
    let observing = tokio::spawn(async move {
        let last = leaders.next().await;
        (last, leaders.next().await.is_none())
    });
    client.close(secs(5)).await;
    assert!(leadership.is_lost());
    let error = waiting.await.expect("joins").expect_err("closed");
    assert!(matches!(error, Error::Closed), "{error}");
    let (last, over) = tokio::time::timeout(LIMIT, observing)
        .await
        .expect("ends")
        .expect("no panic");
    // The lock goes first; whoever looks then sees that nobody leads.
    assert!(
        matches!(last, Some(Ok(None) | Err(Error::Closed))),
        "{last:?}"
    );
    assert!(over || matches!(last, Some(Ok(None))));
    leadership.resign().await.expect_err("is lost");
    let error = election.campaign("z").await.expect_err("closed");
    assert!(matches!(error, Error::Closed), "{error}");
    assert!(!server.direct().exists("closing"));
}

#[tokio::test]
async fn an_election_lives_on_a_cluster_in_one_slot() {
    let cluster = Cluster::shared();
    let client = async || {
        let builder = redlatch::Client::builder()
            .cluster(cluster.urls())
            .expect("urls");
        let client = builder.safety_poll(secs(29)).connect().await;
        client.expect("connects")
    };
    let (one, two) = (client().await, client().await);
    for name in [
        unique_name("election"),
        format!("{}{{tag}}", unique_name("e")),
    ] {
        let election = one.election(name.as_str());
        let mut leaders = two.election(name.as_str()).observe();
        assert_eq!(next(&mut leaders).await, None);
        let leadership = election.campaign("x").await.expect("leads");
        let leader = until_leader(&mut leaders, "x").await;
        assert_eq!(leader.term, leadership.term());
        leadership.resign().await.expect("leads");
        assert_eq!(next(&mut leaders).await, None);
    }
    let torn = one.election("a}b").campaign("x").await;
    assert!(matches!(torn, Err(Error::CrossSlot { .. })), "{torn:?}");
    close(one).await;
    close(two).await;
}

#[tokio::test]
async fn candidates_of_one_process_lead_in_the_order_in_which_they_came() {
    if hand_over_is_off() {
        return;
    }
    let (server, _) = server();
    let client = connect(&server.url(), |builder| builder).await;
    let election = client.election("order");
    let first = election.campaign("0").await.expect("leads");
    let mut waiting = Vec::new();
    for candidate in 1..5 {
        let campaign = election.campaign(candidate.to_string()).into_future();
        waiting.push(tokio::spawn(campaign));
        eventually_async("it waits", secs(5), async || {
            client.inspect("order").await.expect("answers").waiting_here == candidate
        })
        .await;
    }
    let mut term = first.term();
    first.resign().await.expect("leads");
    for (at, campaign) in waiting.into_iter().enumerate() {
        let leadership = campaign.await.expect("joins").expect("leads");
        let leader = election.leader().await.expect("answers").expect("leads");
        assert_eq!(leader.value, (at + 1).to_string());
        assert!(leadership.term() > term);
        term = leadership.term();
        leadership.resign().await.expect("leads");
    }
    close(client).await;
}
