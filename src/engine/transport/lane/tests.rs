use std::io;

use fred::{
    prelude::Server,
    types::{Message, MessageKind, Value},
};
use tokio::sync::broadcast;

use super::*;
use crate::engine::transport::{
    fake::{Answer, Fake, INFO, begins, dial, sink, soon, text, until},
    fleet::lock,
};

fn pace(connect: Duration) -> Pace {
    Pace {
        connect,
        heartbeat: Duration::from_secs(3_600),
        pong: Duration::from_secs(3),
    }
}

fn lane(server: &Fake) -> Arc<Lane> {
    let pace = pace(Duration::from_secs(10));
    Lane::new(Purpose::Commands, dial(server.port), pace, None)
}

#[tokio::test]
async fn a_lane_is_open_while_there_is_a_link_and_closed_for_good() {
    let server = Fake::usual().await;
    let lane = lane(&server);
    assert!(!lane.is_open());
    let (sink, _) = sink();
    let task = tokio::spawn(lane.clone().supervise(NodeId(1), sink));
    let link = lane.link(soon()).await.expect("connected");
    assert!(lane.is_open());
    server.hang_up();
    until("over", || !lane.is_open()).await;
    let next = lane.link(soon()).await.expect("connected");
    assert!(!Arc::ptr_eq(&link, &next) && lane.is_open());
    lane.close();
    assert!(!lane.is_open());
    task.await.expect("ends");
    assert!(matches!(lane.link(soon()).await, Err(Fault::Closed)));
    until("hung up", || server.open() == 0).await;
}

#[tokio::test]
async fn a_link_that_owes_an_answer_is_checked_at_once() {
    let server = Fake::usual().await;
    let lane = lane(&server);
    let (sink, _) = sink();
    let task = tokio::spawn(lane.clone().supervise(NodeId(1), sink));
    lane.link(soon()).await.expect("connected");
    // The client has its own reasons while it connects.
    let before = server.count(&["PING"]);
    lane.suspect();
    until("checked", || server.count(&["PING"]) > before).await;
    lane.close();
    task.await.expect("ends");
}

#[tokio::test]
async fn a_server_that_hangs_up_is_not_called_without_a_pause() {
    let server = Fake::start(|_| Answer::HangUp).await;
    let lane = lane(&server);
    let (sink, _) = sink();
    let task = tokio::spawn(lane.clone().supervise(NodeId(1), sink));
    sleep(Duration::from_millis(1_500)).await;
    lane.close();
    task.await.expect("ends");
    let calls = server.accepted();
    assert!((2..14).contains(&calls), "{calls} calls");
}

#[tokio::test]
async fn a_connection_that_comes_to_nothing_is_ended() {
    let server = Fake::start(|_| Answer::Silence).await;
    let limit = Duration::from_millis(100);
    let opened = LinkOwner::open(&dial(server.port), limit).await;
    assert!(opened.is_err());
    assert_eq!(server.accepted(), 1);
    until("hung up", || server.open() == 0).await;
    // And so is one that nobody wants any more.
    let server = Fake::usual().await;
    let owner = LinkOwner::open(&dial(server.port), Duration::from_secs(10)).await;
    drop(owner.expect("connected"));
    until("hung up", || server.open() == 0).await;
}

#[tokio::test]
async fn each_of_several_addresses_has_its_share_of_the_time_that_is_left() {
    let silent = Fake::start(|_| Answer::Silence).await;
    let slow = Fake::start(|command| {
        if begins(command, &["CLIENT", "INFO"]) {
            // Longer than a third of what is left by then.
            Answer::After(Duration::from_millis(900), text(INFO))
        } else {
            Answer::Usual
        }
    })
    .await;
    let addresses = [&silent, &slow].map(|server| ([127, 0, 0, 1], server.port).into());
    let named = (*dial(1)).clone();
    let resolver = Arc::new(move |_, _| {
        let found: super::super::BoxFuture<io::Result<_>> =
            Box::pin(async move { Ok(addresses.to_vec()) });
        found
    });
    let config = Dial::new(named, Some(resolver), false);
    let begun = Instant::now();
    let opened = LinkOwner::open(&config, Duration::from_secs(3)).await;
    assert!(opened.is_ok(), "{opened:?} after {:?}", begun.elapsed());
    assert_eq!((silent.accepted(), slow.accepted()), (1, 1));
}

#[tokio::test]
async fn messages_are_passed_on_as_text_and_a_loss_is_told() {
    let (sender, messages) = broadcast::channel(4);
    let message = |value: Value| Message {
        channel: "news".into(),
        value,
        kind: MessageKind::Message,
        server: Server::new("127.0.0.1", 1),
    };
    // The first is one too many.
    for value in [
        Value::Integer(0),
        Value::String("text".into()),
        Value::Bytes("bytes".into()),
        Value::Integer(7),
        Value::Null,
    ] {
        sender.send(message(value)).expect("somebody listens");
    }
    drop(sender);
    let (sink, told) = sink();
    forward(Some(messages), &sink).await;
    let heard = ["text", "bytes", "7", ""].map(|payload| Signal::Message {
        channel: "news".into(),
        payload: payload.into(),
    });
    let mut expected = vec![Signal::MessagesLost];
    expected.extend(heard);
    assert_eq!(*lock(&told), expected);
}
