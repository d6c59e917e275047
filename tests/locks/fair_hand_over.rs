//! Fair locks that go from hand to hand in one process, in the order of the server's queue.

use redlatch::{Client, Fair, Lock, LossCause, Owner};
use redlatch_support::{Server, eventually_async};
use tokio::task::JoinHandle;

use crate::{
    common::{asleep, close, direct, ms, name, secs},
    hand_over::{bounded, client, waiter},
};

/// Waiters for a fair lock, each of them last in the server's queue when the next one comes, and asleep.
async fn queue_up(
    locks: &[Lock<Fair>],
) -> Vec<JoinHandle<redlatch::Result<redlatch::LockGuard<Fair>>>> {
    let mut waiting = Vec::new();
    for (number, lock) in locks.iter().enumerate() {
        waiting.push(waiter(lock));
        let queue = format!("redisson_lock_queue:{{{}}}", lock.name());
        eventually_async("it is in the queue", secs(5), async || {
            direct().cmd(&["LLEN", &queue]).int() == number as i64 + 1
        })
        .await;
    }
    waiting
}

/// Beside a holder of their own process they need neither a channel nor a second look.
#[tokio::test]
async fn fair_waiters_of_one_process_cost_two_commands_each() {
    let server = Server::start();
    let builder = Client::builder().url(server.url()).expect("url");
    let client = builder.connect().await.expect("connects");
    let (lock, direct) = (client.fair_lock("two"), server.direct());
    // Loads the scripts.
    lock.lock()
        .await
        .expect("free")
        .unlock()
        .await
        .expect("held");
    let mut guard = lock.lock().await.expect("free");
    let before = client.stats();
    let mut waiting = Vec::new();
    for number in 1..=40 {
        waiting.push(waiter(&lock));
        asleep(&client, number).await;
    }
    let subscribed = direct.command_calls("subscribe");
    for waiter in waiting {
        guard.unlock().await.expect("held");
        guard = waiter.await.expect("joins").expect("granted");
    }
    let after = client.stats();
    assert_eq!(after.hand_overs, before.hand_overs + 40, "{after:?}");
    assert_eq!(after.attempts, before.attempts + 40, "{after:?}");
    assert_eq!(subscribed, 0, "nobody listens");
    guard.unlock().await.expect("held");
    assert_eq!(direct.cmd(&["DBSIZE"]).int(), 0);
    close(client).await;
}

/// The order of the queue counts, not who could be served without a message.
#[tokio::test]
async fn a_fair_lock_goes_to_whose_turn_it_is_also_elsewhere() {
    let (one, two, name) = (client().await, client().await, name("turns"));
    let (ours, theirs) = (one.fair_lock(name.as_str()), two.fair_lock(name.as_str()));
    let mut guard = ours.lock().await.expect("free");
    let locks = [&ours, &ours, &theirs, &ours, &theirs, &theirs, &ours].map(Lock::clone);
    for waiting in queue_up(&locks).await {
        guard.unlock().await.expect("held");
        guard = bounded(waiting).await.expect("joins").expect("granted");
    }
    let passed = one.stats().hand_overs + two.stats().hand_overs;
    assert_eq!(passed, 3, "where the next is of the same process");
    guard.unlock().await.expect("held");
    close(one).await;
    close(two).await;
}

/// Who sleeps without a channel beside a holder of its process hears of every way in which that one may lose the lock.
#[tokio::test]
async fn fair_waiters_without_a_channel_are_never_forgotten() {
    let (one, two, name) = (client().await, client().await, name("unheard"));
    let (lock, other) = (one.fair_lock(name.as_str()), two.fair_lock(name.as_str()));
    for way in ["forced", "deleted", "lease", "left", "elsewhere"] {
        let holding = lock.lock();
        let guard = match way {
            "lease" => holding.lease(ms(500)).await,
            _ => holding.await,
        };
        let held = guard.expect("free");
        let mut locks = vec![lock.clone(), lock.clone()];
        if way == "elsewhere" {
            locks.insert(0, other.clone());
        }
        let mut waiting = queue_up(&locks).await;
        match way {
            "forced" => assert!(other.raw().force_unlock().await.expect("answers")),
            "deleted" => assert_eq!(direct().cmd(&["DEL", &name]).int(), 1),
            "lease" => assert_eq!(held.lost().await, LossCause::LeaseExpired),
            _ => {
                if way == "left" {
                    waiting.remove(0).abort();
                }
                held.unlock().await.expect("held");
            }
        }
        for waiting in waiting {
            let guard = bounded(waiting).await.expect("joins").expect("granted");
            guard.unlock().await.expect("held");
        }
    }
    close(one).await;
    close(two).await;
}

/// Whoever died behind owners of ours comes nearer to its end with every turn, also where that is passed on: else it would
/// keep all others for as long as all those turns might have taken.
#[tokio::test]
async fn a_turn_that_is_passed_on_takes_its_time_from_those_behind() {
    /// What a JVM adds for each place.
    const WAIT: i64 = 300_000;
    let (client, name) = (client().await, name("behind"));
    let lock = client.fair_lock(name.as_str());
    let mut guard = lock.lock().await.expect("free");
    let waiting = queue_up(&[&lock; 4].map(Lock::clone)).await;
    let [queue, deadlines] =
        ["queue", "timeout"].map(|part| format!("redisson_lock_{part}:{{{name}}}"));
    let now = direct().cmd(&["TIME"]).items()[0].text().parse::<i64>();
    let deadline = now.expect("seconds") * 1_000 + 5 * WAIT;
    direct().cmd(&["RPUSH", &queue, "jvm:1"]);
    direct().cmd(&["ZADD", &deadlines, &deadline.to_string(), "jvm:1"]);
    for waiter in waiting {
        guard.unlock().await.expect("held");
        guard = bounded(waiter).await.expect("joins").expect("granted");
    }
    assert_eq!(client.stats().hand_overs, 4);
    let left = direct().cmd(&["ZSCORE", &deadlines, "jvm:1"]).text();
    let taken = deadline - left.parse::<i64>().expect("ms");
    assert!(taken >= 3 * WAIT, "{taken} ms");
    guard.unlock().await.expect("held");
    direct().cmd(&["DEL", &queue, &deadlines]);
    close(client).await;
}

/// The place in the queue is its owner's, whoever asks for it: all its callers come in by one turn.
#[tokio::test]
async fn callers_of_one_owner_share_a_turn_that_is_passed_on() {
    let (client, name) = (client().await, name("shared-turn"));
    let lock = client.fair_lock(name.as_str());
    let guard = lock.lock().await.expect("free");
    let next = lock.with_owner(Owner::fresh());
    let callers = [(); 3].map(|()| {
        let next = next.clone();
        tokio::spawn(async move { next.lock().wait(secs(20)).await })
    });
    asleep(&client, 3).await;
    guard.unlock().await.expect("held");
    let mut guards = Vec::new();
    for caller in callers {
        guards.push(bounded(caller).await.expect("joins").expect("granted"));
    }
    assert_eq!(
        direct().hgetall(&name).into_values().collect::<Vec<_>>(),
        ["3"]
    );
    for guard in guards {
        guard.unlock().await.expect("held");
    }
    close(client).await;
}
