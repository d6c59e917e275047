use std::time::Duration;

use fred::prelude::{Config, ServerConfig};

use super::*;
use crate::{
    config::Settings,
    engine::{
        script::{PROBE_TTL, RENEW_HASH},
        transport::{PubSub, dial::Dial},
    },
};

/// One who waits, with its own number as an argument.
fn item(id: u64, script: &'static Script, name: &'static str, args: usize) -> Item {
    Item {
        id,
        script,
        keys: vec![Bytes::from_static(name.as_bytes())],
        args: vec![decimal(id); args],
        deadline: Instant::now(),
        answer: oneshot::channel().0,
    }
}

fn ids(items: Vec<Item>) -> Vec<Vec<u64>> {
    let batches = batches(items).into_iter();
    let ids = |batch: Vec<Item>| batch.iter().map(|item| item.id).collect();
    batches.map(ids).collect()
}

#[test]
fn equal_scripts_go_together_and_others_beside_them() {
    let (one, other) = (&RENEW_HASH, &PROBE_TTL);
    let items = vec![
        item(1, one, "a", 1),
        item(2, other, "b", 1),
        item(3, one, "c", 1),
        item(4, one, "d", 2),
        item(5, other, "e", 1),
    ];
    assert_eq!(ids(items), [vec![1, 3], vec![2, 5], vec![4]]);
}

#[test]
fn who_asks_later_about_a_name_is_never_sent_earlier() {
    let (one, other) = (&RENEW_HASH, &PROBE_TTL);
    let items = vec![
        item(1, one, "a", 1),
        item(2, other, "b", 1),
        // Not with the first, which goes before what was said about its name.
        item(3, one, "b", 1),
        item(4, one, "c", 1),
        item(5, other, "b", 1),
        item(6, one, "b", 1),
        // In the order of the line within a script.
        item(7, one, "a", 1),
    ];
    assert_eq!(
        ids(items),
        [vec![1, 4, 7], vec![2], vec![3], vec![5], vec![6]]
    );
}

#[test]
fn no_script_is_longer_than_it_may_be() {
    let most = u64::try_from(MOST).expect("small");
    let items = (0..most + 3).map(|id| item(id, &RENEW_HASH, "a", 1));
    let lengths: Vec<_> = batches(items).iter().map(Vec::len).collect();
    assert_eq!(lengths, [MOST, 3]);
}

#[test]
fn an_error_among_answers_is_that_of_one() {
    let text = |text: &'static str| Reply::Text(Bytes::from_static(text.as_bytes()));
    let error = |said| judge(Reply::Array(vec![text("!"), text(said)]));
    let refused = [
        ("WRONGTYPE Operation against a key", Refusal::WrongType),
        // As the older servers have it.
        (
            "ERR @user_script: 3: WRONGTYPE Operation against a key",
            Refusal::WrongType,
        ),
        ("nonsense", Refusal::Other),
    ];
    for (said, expected) in refused {
        let answer = error(said);
        assert!(
            matches!(&answer, Err(Fault::Refused { refusal, .. }) if *refusal == expected),
            "{answer:?}"
        );
    }
    let granted = Reply::Array(vec![Reply::Int(1), Reply::Int(1)]);
    let names = Reply::Array(vec![text("a"), text("b")]);
    for answer in [granted, names, Reply::Nil] {
        assert_eq!(judge(answer.clone()).expect("an answer"), answer);
    }
}

/// One who waits, and whoever waits for it, until a moment from now.
fn waiting(id: u64, until: Duration) -> (Item, oneshot::Receiver<Answer>) {
    let (sender, answer) = oneshot::channel();
    let item = Item {
        deadline: Instant::now() + until,
        answer: sender,
        ..item(id, &RENEW_HASH, "a", 1)
    };
    (item, answer)
}

const LONG: Duration = Duration::from_secs(3_600);

#[tokio::test]
async fn only_who_waits_still_is_sent() {
    let (late, told) = waiting(1, Duration::ZERO);
    let (left, answer) = waiting(2, LONG);
    drop(answer);
    let (stays, _answer) = waiting(3, LONG);
    let live = live(vec![late, left, stays]);
    assert_eq!(live.iter().map(|item| item.id).collect::<Vec<_>>(), [3]);
    let told = told.await.expect("told");
    assert!(matches!(told, Err(Fault::NotSent { .. })), "{told:?}");
}

#[tokio::test]
async fn each_hears_its_own_part_of_the_answer() {
    let two = || (waiting(1, LONG), waiting(2, LONG));
    let ((one, first), (other, second)) = two();
    answer_each(
        vec![one, other],
        Reply::Array(vec![Reply::Int(7), Reply::Nil]),
    );
    assert_eq!(first.await.expect("told").expect("judged"), Reply::Int(7));
    assert_eq!(second.await.expect("told").expect("judged"), Reply::Nil);
    // Where it is not clear whose they are, they are nobody's.
    for odd in [
        Reply::Array(vec![Reply::Int(7)]),
        Reply::Array(vec![Reply::Int(7); 3]),
        Reply::Int(7),
    ] {
        let ((one, first), (other, second)) = two();
        answer_each(vec![one, other], odd);
        for answer in [first, second] {
            let answer = answer.await.expect("told").expect("judged");
            assert!(matches!(answer, Reply::Odd(_)), "{answer:?}");
        }
    }
}

#[tokio::test]
async fn a_fault_of_all_is_a_fault_of_each() {
    let ((one, first), (other, second)) = (waiting(1, LONG), waiting(2, LONG));
    answer_all(vec![one, other], Fault::Closed);
    for answer in [first, second] {
        let answer = answer.await.expect("told");
        assert!(matches!(answer, Err(Fault::Closed)), "{answer:?}");
    }
}

/// A server that nobody can connect to.
fn nobody() -> Arc<Node> {
    let config = Config {
        server: ServerConfig::new_centralized("127.0.0.1", 1),
        ..Config::default()
    };
    let node = Node::new(
        &Dial::new(config, None, false),
        &Settings::default(),
        PubSub::Plain,
        None,
    );
    let sink: crate::engine::transport::SignalSink = Arc::new(|_| {});
    node.start(&Handle::current(), &sink);
    node
}

/// A script that goes together with its like.
fn gathered(late: bool) -> Request {
    static MANY: Script = Script::new("many", "", "", String::new, None);
    static ONE: Script = Script::new("one", "", "", String::new, Some(&MANY));
    Request::Script {
        script: &ONE,
        keys: vec![Bytes::from_static(b"a")],
        args: Vec::new(),
        late,
    }
}

fn line(node: &Node, slot: u16) -> Vec<u64> {
    let lanes = node.gather.lanes();
    let waiting = lanes.get(&slot).into_iter().flat_map(|lane| &lane.waiting);
    waiting.map(|item| item.id).collect()
}

/// As many as go alone, which are to be kept.
fn alone_at(node: &Arc<Node>, slot: u16, deadline: Instant) -> Vec<OnTheWay<&Arc<Node>>> {
    let mut alone = Vec::new();
    while alone.len() < ON_THE_WAY {
        match enter(node, slot, &gathered(true), deadline) {
            Entered::Alone(on_the_way) => alone.push(on_the_way),
            _ => panic!("{} are on their way", alone.len()),
        }
    }
    alone
}

fn wait_at(node: &Arc<Node>, slot: u16, deadline: Instant) -> Waiting<'_> {
    match enter(node, slot, &gathered(true), deadline) {
        Entered::Waiting(waiting) => waiting,
        _ => panic!("enough are on their way"),
    }
}

#[tokio::test]
async fn who_leaves_the_line_takes_nobody_along() {
    let node = nobody();
    let deadline = Instant::now() + LONG;
    let _alone = alone_at(&node, 0, deadline);
    let [one, two, three] = [0; 3].map(|slot| wait_at(&node, slot, deadline));
    let ids = [one.id, two.id, three.id];
    assert_eq!(line(&node, 0), ids);
    drop(two);
    assert_eq!(line(&node, 0), [ids[0], ids[2]]);
    drop(three);
    drop(one);
    assert_eq!(line(&node, 0), [0; 0]);
    node.shut();
}

#[tokio::test]
async fn who_is_out_of_time_in_the_line_was_never_sent() {
    let node = nobody();
    let long = Instant::now() + LONG;
    let _alone = alone_at(&node, 0, long);
    let stays = wait_at(&node, 0, long);
    let now = Instant::now();
    let answer = wait_at(&node, 0, now).answer(now).await;
    assert!(matches!(answer, Err(Fault::NotSent { .. })), "{answer:?}");
    assert_eq!(line(&node, 0), [stays.id]);
    node.shut();
}

#[tokio::test]
async fn who_is_out_of_time_on_the_way_may_have_been_executed() {
    let node = nobody();
    let long = Instant::now() + LONG;
    let mut alone = alone_at(&node, 0, long);
    let soon = Instant::now() + Duration::from_millis(300);
    let waiting = wait_at(&node, 0, soon);
    let _beside = wait_at(&node, 0, long);
    alone.pop();
    assert_eq!(line(&node, 0), [0; 0]);
    let answer = waiting.answer(soon).await;
    assert!(matches!(answer, Err(Fault::Unknown { .. })), "{answer:?}");
    node.shut();
}

#[tokio::test]
async fn slots_do_not_wait_for_each_other_and_some_requests_for_nobody() {
    let node = nobody();
    let deadline = Instant::now() + LONG;
    let _alone = alone_at(&node, 0, deadline);
    let _other = alone_at(&node, 1, deadline);
    for aside in [
        gathered(false),
        Request::Query {
            verb: "PING",
            args: Vec::new(),
            about: Bytes::new(),
        },
    ] {
        let entered = enter(&node, 0, &aside, deadline);
        assert!(matches!(entered, Entered::Aside));
    }
    node.shut();
}

#[test]
fn slots_with_nothing_on_the_way_are_forgotten_when_they_are_many() {
    let gather = Gather::default();
    let many = u16::try_from(2 * IDLE_LANES).expect("small");
    for slot in 0..many {
        gather.lanes().entry(slot).or_default().on_the_way = 2;
    }
    for slot in 0..many {
        assert!(next(&gather, slot).is_none());
    }
    assert_eq!(gather.lanes().len(), usize::from(many), "all are in use");
    for slot in 0..many {
        assert!(next(&gather, slot).is_none());
    }
    assert!(gather.lanes().len() <= IDLE_LANES);
    assert!(gather.lanes().values().all(|lane| lane.on_the_way == 0));
}
