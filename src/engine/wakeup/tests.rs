//! What an ear asks of its server, and when, by a clock that only the tests move.

use std::fmt;

use tokio::time::{Instant, sleep, sleep_until};

use super::*;
use crate::{
    config::Settings,
    engine::transport::{
        BoxFuture, Evidence, Fault, PubSub, Reply, Request, Signal, SignalSink, acks::Proof,
    },
    error::Refusal,
    runtime::Home,
};

const HERE: NodeId = NodeId(1);
const THERE: NodeId = NodeId(2);
const TIMEOUT: Duration = Duration::from_secs(3);

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

type Judge = Box<dyn Fn(&[Bytes]) -> Result<(), Fault> + Send + Sync>;

/// A subscription that was asked for: when, where, and to which channels.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Asked {
    at: Instant,
    node: NodeId,
    channels: Vec<Bytes>,
}

/// A server that does nothing but answer subscriptions as it is told.
struct Hearing {
    mode: PubSub,
    judge: Judge,
    home: Mutex<NodeId>,
    subscribed: Mutex<Vec<Asked>>,
    unsubscribed: Mutex<Vec<Asked>>,
    rolls: AtomicUsize,
    sink: Mutex<Option<SignalSink>>,
}

impl fmt::Debug for Hearing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hearing")
    }
}

impl Hearing {
    fn tell(&self, signal: Signal) {
        let sink = lock(&self.sink).clone().expect("started");
        sink(signal);
    }

    /// The calls in which a channel was subscribed to.
    fn calls(&self, channel: &str) -> Vec<Asked> {
        let calls = lock(&self.subscribed).clone().into_iter();
        let about = |call: &Asked| call.channels.iter().any(|name| name == channel);
        calls.filter(about).collect()
    }

    fn forget(&self) {
        lock(&self.subscribed).clear();
        lock(&self.unsubscribed).clear();
    }
}

impl Transport for Hearing {
    fn send(&self, _: Request, _: Instant) -> BoxFuture<Result<Reply, Fault>> {
        Box::pin(async { Ok(Reply::Nil) })
    }

    fn slot(&self, _: &[u8]) -> u16 {
        0
    }

    fn fails_over(&self) -> bool {
        false
    }

    fn pubsub(&self) -> PubSub {
        self.mode
    }

    fn home(&self, _: &[u8]) -> Option<NodeId> {
        Some(*lock(&self.home))
    }

    fn subscribe(
        &self,
        node: NodeId,
        channels: Vec<Bytes>,
        deadline: Instant,
    ) -> BoxFuture<Result<(), Fault>> {
        let at = Instant::now();
        let answer = (self.judge)(&channels);
        lock(&self.subscribed).push(Asked { at, node, channels });
        Box::pin(async move {
            // Nobody answers within no time.
            if matches!(answer, Err(Fault::Unknown { .. })) || deadline <= at {
                sleep_until(deadline).await;
                return unanswered();
            }
            sleep(ms(1)).await;
            answer
        })
    }

    fn unsubscribe(
        &self,
        node: NodeId,
        channels: Vec<Bytes>,
        _: Instant,
    ) -> BoxFuture<Result<(), Fault>> {
        let at = Instant::now();
        lock(&self.unsubscribed).push(Asked { at, node, channels });
        Box::pin(async { Ok(()) })
    }

    fn unheard(
        &self,
        _: NodeId,
        _: Vec<Bytes>,
        _: Instant,
    ) -> BoxFuture<Result<Vec<Bytes>, Fault>> {
        self.rolls.fetch_add(1, Ordering::AcqRel);
        Box::pin(async { Ok(Vec::new()) })
    }

    fn replicated(&self, _: Bytes, _: Proof, _: Instant) -> BoxFuture<Result<Evidence, Fault>> {
        Box::pin(async { Err(Fault::Closed) })
    }

    fn start(&self, sink: SignalSink) {
        *lock(&self.sink) = Some(sink);
        self.tell(Signal::SubscriberUp { node: HERE });
    }

    fn close(&self) -> BoxFuture<()> {
        Box::pin(async {})
    }
}

fn unanswered() -> Result<(), Fault> {
    Err(Fault::Unknown {
        reason: "no answer".to_owned(),
    })
}

fn refused(refusal: Refusal) -> Result<(), Fault> {
    Err(Fault::Refused {
        refusal,
        text: "no".to_owned(),
    })
}

fn over(
    mode: PubSub,
    judge: impl Fn(&[Bytes]) -> Result<(), Fault> + Send + Sync + 'static,
) -> (Arc<Engine>, Arc<Hearing>) {
    let hearing = Arc::new(Hearing {
        mode,
        judge: Box::new(judge),
        home: Mutex::new(HERE),
        subscribed: Mutex::default(),
        unsubscribed: Mutex::default(),
        rolls: AtomicUsize::new(0),
        sink: Mutex::default(),
    });
    let settings = Settings {
        command_timeout: TIMEOUT,
        ..Settings::default()
    };
    let home = Home::current().expect("a runtime");
    let engine = Engine::start(settings, "heard".to_owned(), hearing.clone(), home);
    (engine, hearing)
}

fn listen<const N: usize>(engine: &Engine, channels: [&'static str; N]) -> [Subscription; N] {
    channels.map(|name| {
        engine
            .wakeups
            .subscribe(&Bytes::from_static(name.as_bytes()))
    })
}

fn live(engine: &Engine, subscriptions: &[Subscription]) -> Vec<bool> {
    let live = |one: &Subscription| engine.wakeups.is_live(&one.channel);
    subscriptions.iter().map(live).collect()
}

#[tokio::test(start_paused = true)]
async fn what_is_listened_to_is_heard_and_what_is_not_is_given_up() {
    let (engine, hearing) = over(PubSub::Plain, |_| Ok(()));
    // Gone again before anybody could do anything.
    drop(listen(&engine, ["short"]));
    let [one, other] = listen(&engine, ["a", "b"]);
    sleep(ms(10)).await;
    drop(listen(&engine, ["short"]));
    sleep(ms(10)).await;
    assert_eq!(live(&engine, &[one, other]), [true, true]);
    sleep(ms(10)).await;
    let mut given_up = lock(&hearing.unsubscribed).clone();
    for call in &mut given_up {
        call.channels.sort();
    }
    assert_eq!(given_up.len(), 1);
    assert_eq!(given_up[0].channels, ["a", "b"]);
    assert_eq!(lock(&hearing.subscribed).len(), 1, "both in one call");
    assert_eq!(hearing.calls("short"), []);
}

#[tokio::test(start_paused = true)]
async fn on_another_connection_all_are_heard_anew() {
    let (engine, hearing) = over(PubSub::Plain, |_| Ok(()));
    let heard = listen(&engine, ["a", "b"]);
    sleep(ms(10)).await;
    for connection in 1..=2 {
        hearing.forget();
        let reason = "gone".to_owned();
        hearing.tell(Signal::SubscriberDown { node: HERE, reason });
        sleep(ms(10)).await;
        assert_eq!(live(&engine, &heard), [false, false], "{connection}");
        hearing.tell(Signal::SubscriberUp { node: HERE });
        sleep(ms(100)).await;
        assert_eq!(live(&engine, &heard), [true, true], "{connection}");
        assert_eq!(hearing.calls("a").len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_channel_is_no_matter_of_the_others_and_tried_again_much_later() {
    let (engine, hearing) = over(PubSub::Plain, |channels| {
        if channels.iter().any(|name| name.starts_with(b"bad")) {
            return refused(Refusal::NoPermission);
        }
        Ok(())
    });
    let good = listen(&engine, ["a", "b", "c", "d", "e", "f", "g", "h"]);
    let bad = listen(&engine, ["bad"]);
    sleep(ms(5)).await;
    let all = lock(&hearing.subscribed).clone();
    assert_eq!(all.len(), 1, "{all:?}");
    sleep(ms(1_000)).await;
    assert_eq!(live(&engine, &good), [true; 8]);
    assert_eq!(live(&engine, &bad), [false]);
    let calls = hearing.calls("bad");
    assert_eq!(calls.len(), 2, "with the others, and alone");
    assert!(calls[1].at - calls[0].at >= ms(75), "without a pause");
    // Who comes meanwhile has the old answer.
    let more = listen(&engine, ["bad", "bad"]);
    sleep(ms(10)).await;
    drop(more);
    drop(bad);
    let [bad] = listen(&engine, ["bad"]);
    sleep(Duration::from_secs(25)).await;
    assert_eq!(hearing.calls("bad").len(), 2);
    // Others may be bad as well, so each is tried alone for now.
    hearing.forget();
    let _others = listen(&engine, ["i", "j", "k"]);
    sleep(ms(10)).await;
    assert_eq!(lock(&hearing.subscribed).len(), 3);
    assert_eq!(hearing.calls("bad"), []);
    sleep(Duration::from_secs(6)).await;
    assert_eq!(hearing.calls("bad").len(), 1, "tried again");
    // Once nobody is refused, all go together again.
    drop(bad);
    sleep(Duration::from_secs(31)).await;
    let _calm = listen(&engine, ["l"]);
    sleep(ms(10)).await;
    hearing.forget();
    let _more = listen(&engine, ["m", "n", "o"]);
    sleep(ms(10)).await;
    assert_eq!(lock(&hearing.subscribed).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_unanswered_subscription_is_repeated_ever_more_rarely_and_taken_back() {
    let (engine, hearing) = over(PubSub::Plain, |_| unanswered());
    let [one] = listen(&engine, ["a"]);
    sleep(Duration::from_secs(20)).await;
    let calls = hearing.calls("a");
    let pauses: Vec<_> = calls
        .windows(2)
        .map(|pair| pair[1].at - pair[0].at - TIMEOUT)
        .collect();
    assert!(pauses.len() >= 4, "{pauses:?}");
    for (pause, expected) in pauses.iter().zip([100, 200, 400, 800]) {
        let range = ms(expected * 3 / 4)..=ms(expected * 5 / 4 + 2);
        assert!(range.contains(pause), "{pauses:?}");
    }
    assert_eq!(*lock(&hearing.unsubscribed), []);
    // The server may have heard of it.
    drop(one);
    sleep(TIMEOUT).await;
    let taken_back = lock(&hearing.unsubscribed).clone();
    assert_eq!(taken_back.len(), 1, "{taken_back:?}");
    assert_eq!(taken_back[0].channels, ["a"]);
}

#[tokio::test(start_paused = true)]
async fn a_channel_whose_slot_is_on_the_move_keeps_nobody_and_is_asked_for_with_pauses() {
    let (engine, hearing) = over(PubSub::Sharded, |channels| {
        if channels.iter().any(|name| name.starts_with(b"moving")) {
            return refused(Refusal::Cluster);
        }
        Ok(())
    });
    let beside = listen(&engine, ["a", "b", "c", "d", "e", "f", "g", "h"]);
    let _moving = listen(&engine, ["moving", "moving too", "moving as well"]);
    sleep(ms(100)).await;
    assert_eq!(live(&engine, &beside), [true; 8]);
    sleep(ms(900)).await;
    let calls = hearing.calls("moving").len();
    assert!((30..=70).contains(&calls), "{calls} calls");
}

#[tokio::test(start_paused = true)]
async fn the_roll_is_called_where_messages_are_sharded_and_nowhere_else() {
    let (engine, hearing) = over(PubSub::Plain, |_| Ok(()));
    let _heard = listen(&engine, ["a"]);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(hearing.rolls.load(Ordering::Acquire), 0);
    let (engine, hearing) = over(PubSub::Sharded, |_| Ok(()));
    let _heard = listen(&engine, ["a"]);
    sleep(Duration::from_secs(1)).await;
    let rolls = hearing.rolls.load(Ordering::Acquire);
    assert!((7..=14).contains(&rolls), "{rolls}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_of_no_use_any_more_is_let_alone() {
    let (engine, hearing) = over(PubSub::Plain, |_| Ok(()));
    let heard = listen(&engine, ["a"]);
    sleep(ms(10)).await;
    hearing.forget();
    *lock(&hearing.home) = THERE;
    hearing.tell(Signal::Moved);
    hearing.tell(Signal::Gone { node: HERE });
    hearing.tell(Signal::SubscriberUp { node: THERE });
    sleep(ms(100)).await;
    assert_eq!(live(&engine, &heard), [true]);
    let nodes = |calls: &Mutex<Vec<Asked>>| {
        let calls = lock(calls).clone().into_iter();
        calls.map(|call| call.node).collect::<Vec<_>>()
    };
    assert_eq!(nodes(&hearing.subscribed), [THERE]);
    assert_eq!(nodes(&hearing.unsubscribed), []);
}

#[test]
fn a_channel_is_live_on_the_connection_that_confirmed_it_until_it_is_given_up_or_taken_away() {
    let hearing = crate::engine::hearing::Hearing::new();
    assert!(!hearing.is_live(0) && !hearing.is_live(1));
    assert!(!hearing.confirm(1), "nobody has looked");
    assert!(hearing.is_live(1) && !hearing.is_live(2));
    hearing.given_up();
    assert!(!hearing.is_live(1));
    assert!(
        !hearing.confirm(1),
        "nothing was missed that somebody wanted"
    );
    hearing.taken_away();
    assert!(!hearing.is_live(1));
    assert!(hearing.confirm(1), "something may have been missed");
    hearing.before_look(1);
    assert!(!hearing.confirm(1), "it was live when somebody looked");
}
