//! Those who leave the queue, in good order or by dying, do not keep the others waiting.

use std::time::{Duration, Instant};

use redlatch::{Fair, Owner};
use redlatch_support::{
    Direct, Server, eventually_async,
    jvm::{DriverJar, Jvm, JvmOptions, jvm_or_skip},
    unique_name,
};

use super::line::{Holder, Line, Queue, Side};
use crate::{
    common::{
        LIMIT, QUICK, Stage, client, close, direct, ms, quick_client, quick_jvm, quiet, secs,
        shared_jvm,
    },
    java::{JavaLock, follow},
    kinds::Shared,
    worker::{Order, Worker},
};

/// A dead head has this long until a waiter of ours, or a release by us, has put it out.
const PUT_OUT: Duration = secs(9);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_give_up_leave_the_queue() {
    let Some(driver) = jvm_or_skip("those_who_give_up_leave_the_queue") else {
        return;
    };
    let _quiet = quiet().await;
    let (client, direct, name) = (client().await, direct(), unique_name("gave-up"));
    let jvm = shared_jvm(driver);
    let queue = Queue {
        direct: &direct,
        key: &name,
    };
    let holder = Holder::take(Side::Java(jvm), &name).await;
    let mut line = Line::<Fair>::new(&direct, &name);

    // Each of those who leave is in front of one who stays.
    let java = JavaLock::<Fair>::of(jvm, &name);
    let java_id = java.owner().await;
    let java_gives_up = follow(java.begin("trylockfor", &["1500", "-1"]));
    queue.becomes(std::slice::from_ref(&java_id)).await;
    line.join(Side::Rust(&client)).await;

    let owners = [Owner::fresh(), Owner::fresh()];
    let ids = owners.map(|owner| format!("{}:{owner}", client.id()));
    let lock = client.fair_lock(name.as_str());
    let waits = lock.with_owner(owners[0]).lock().wait(ms(1000));
    let rust_gives_up = tokio::spawn(waits.into_future());
    let mut due = vec![java_id, line.ids[0].clone(), ids[0].clone()];
    queue.becomes(&due).await;
    line.join(Side::Java(jvm)).await;

    let rust_is_dropped = tokio::spawn(lock.with_owner(owners[1]).lock().into_future());
    due.extend([line.ids[1].clone(), ids[1].clone()]);
    queue.becomes(&due).await;
    line.join(Side::Rust(&client)).await;
    rust_is_dropped.abort();
    assert!(rust_is_dropped.await.expect_err("aborted").is_cancelled());

    let error = rust_gives_up.await.expect("joins").expect_err("held");
    assert!(error.is_timeout(), "{error}");
    let (answer, _) = java_gives_up.await.expect("joins");
    assert_eq!(answer.expect("answers").value, "false");
    queue.becomes(&line.ids).await;
    queue.assert_is(&line.ids);

    let (order, times) = line.serve(holder).await;
    assert_eq!(order, [0, 1, 2], "the order of grants");
    println!("handed over in {times:?}");
    close(client).await;
}

/// Waits for the grant of the only one left; gives how long it took.
async fn in_at_last(line: &mut Line<'_>, released: Instant) -> Duration {
    let (number, holder, at) = line.granted(LIMIT).await;
    assert_eq!(number, line.ids.len() - 1, "the dead cannot hold");
    let took = at.saturating_duration_since(released);
    line.queue.assert_is(&[]);
    holder.unlock().await;
    assert!(!line.queue.direct.exists(line.queue.key));
    took
}

/// A JVM dies with several threads at the head of the queue and a waiter behind them.
async fn dead_jvm(driver: &DriverJar, holder: Side<'_>, behind: Side<'_>) -> Duration {
    let (direct, name) = (direct(), unique_name("dead-jvm"));
    let doomed = Jvm::start(driver, &JvmOptions::single(Server::shared().url()));
    let holder = Holder::<Fair>::take(holder, &name).await;
    let mut line = Line::<Fair>::new(&direct, &name);
    let mut ids = Vec::new();
    for _ in 0..3 {
        let java = JavaLock::<Fair>::of(&doomed, &name);
        ids.push(java.owner().await);
        let _pending = java.begin("lock", &[]);
        line.queue.becomes(&ids).await;
    }
    doomed.kill();
    for id in &ids {
        silent(&direct, &name, id).await;
    }
    line.join(behind).await;

    let released = Instant::now();
    holder.unlock().await;
    in_at_last(&mut line, released).await
}

/// The dead of one client that stand together go at once. Those that stand apart cost one more turn, all together: it
/// begins for all of them when the first is put out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_dead_of_one_jvm_cost_two_turns_however_many() {
    let Some(driver) = jvm_or_skip("the_dead_of_one_jvm_cost_two_turns_however_many") else {
        return;
    };
    let _quiet = quiet().await;
    let (client, direct, name) = (client().await, direct(), unique_name("dead-apart"));
    let doomed = Jvm::start(driver, &JvmOptions::single(Server::shared().url()));
    let (rust, java) = (Side::Rust(&client), Side::Java(&doomed));
    let mut holder = Holder::<Fair>::take(rust, &name).await;
    let mut line = Line::<Fair>::new(&direct, &name);
    for side in [java, rust, java, rust, java, rust] {
        line.join(side).await;
    }
    doomed.kill();
    for id in line.ids.iter().step_by(2) {
        silent(&direct, &name, id).await;
    }
    let begun = Instant::now();
    for due in [1, 3, 5] {
        holder.unlock().await;
        let (number, next, _) = line.granted(LIMIT).await;
        println!(
            "waiter {number} in {:?} after the first unlock",
            begun.elapsed()
        );
        assert_eq!(number, due, "in order");
        holder = next;
    }
    holder.unlock().await;
    let took = begun.elapsed();
    close(client).await;
    assert!(took < 2 * PUT_OUT, "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rust_gets_past_an_interrupted_jvm_thread() {
    let Some(driver) = jvm_or_skip("rust_gets_past_an_interrupted_jvm_thread") else {
        return;
    };
    let _quiet = quiet().await;
    let stage = Stage::shared(driver).await;
    let (client, direct, name) = (
        stage.client().await,
        stage.server.direct(),
        unique_name("interrupted"),
    );
    let holder = Holder::<Fair>::take(Side::Java(&stage.jvm), &name).await;
    let java = JavaLock::<Fair>::of(&stage.jvm, &name);
    let id = java.owner().await;
    let asked = direct.command_calls("evalsha");
    let waiting = follow(java.begin("lockint", &[]));
    // Interrupted before it has asked again, it would stay subscribed for ever and look alive.
    eventually_async("the JVM has asked twice", secs(5), async || {
        direct.command_calls("evalsha") >= asked + 2
    })
    .await;
    java.interrupt().await;
    let (answer, _) = waiting.await.expect("joins");
    answer.expect_err("interrupted");
    silent(&direct, &name, &id).await;

    // Redisson leaves its place behind.
    let mut line = Line::<Fair>::new(&direct, &name);
    assert_eq!(line.queue.members(), [id]);
    line.join(Side::Rust(&client)).await;
    let released = Instant::now();
    holder.unlock().await;
    let took = in_at_last(&mut line, released).await;
    println!("past an interrupted JVM thread: {took:?}");
    assert!(took < PUT_OUT, "{took:?}");
    close(client).await;
}

/// Waits until the server knows that nobody hears this owner's channel any more.
async fn silent(direct: &Direct, key: &str, id: &str) {
    let channel = Fair::channel(key, id).expect("it has one");
    eventually_async("the dead one's connection is gone", secs(5), async || {
        direct.numsub(&channel) == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rust_gets_past_a_dead_jvm() {
    let Some(driver) = jvm_or_skip("rust_gets_past_a_dead_jvm") else {
        return;
    };
    let _quiet = quiet().await;
    let (one, two, jvm) = (client().await, client().await, shared_jvm(driver));
    let (after_rust, after_jvm) = tokio::join!(
        dead_jvm(driver, Side::Rust(&one), Side::Rust(&two)),
        dead_jvm(driver, Side::Java(jvm), Side::Rust(&two)),
    );
    println!("past a dead JVM: {after_rust:?} after our unlock, {after_jvm:?} after a JVM's");
    assert!(after_rust < PUT_OUT && after_jvm < PUT_OUT);
    close(one).await;
    close(two).await;
}

/// A process of ours dies as the head of the queue, with a waiter behind it.
async fn dead_process(holder: Side<'_>, behind: Side<'_>) -> Duration {
    let (direct, name) = (direct(), unique_name("dead-process"));
    let holder = Holder::<Fair>::take(holder, &name).await;
    let mut doomed = Worker::start(
        "doomed",
        &Order {
            kind: "queue",
            port: Server::shared().port(),
            lock: &name,
            counter: "none",
            duration: Duration::ZERO,
            tasks: 1,
        },
    );
    doomed.go();
    let mut line = Line::<Fair>::new(&direct, &name);
    eventually_async("the process stands in the queue", secs(5), async || {
        line.queue.members().len() == 1
    })
    .await;
    let id = line.queue.members().remove(0);
    drop(doomed);
    silent(&direct, &name, &id).await;
    line.join(behind).await;

    let released = Instant::now();
    holder.unlock().await;
    in_at_last(&mut line, released).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_get_past_a_dead_process_of_ours() {
    let Some(driver) = jvm_or_skip("both_get_past_a_dead_process_of_ours") else {
        return;
    };
    let _quiet = quiet().await;
    let (one, two) = (client().await, client().await);
    let (rust, jvm) = (Side::Rust(&two), Side::Java(quick_jvm(driver)));
    let quick = quick_client().await;
    let (rust_by_rust, rust_by_jvm, jvm_by_rust, jvm_by_jvm) = tokio::join!(
        dead_process(Side::Rust(&one), rust),
        dead_process(Side::Java(shared_jvm(driver)), rust),
        // The JVM that waits asks again when the time to live it was told is over, so its holder's is short.
        dead_process(Side::Rust(&quick), jvm),
        dead_process(jvm, jvm),
    );
    println!(
        "past a dead process: we in {rust_by_rust:?} after our unlock and {rust_by_jvm:?} after a JVM's, a JVM in \
         {jvm_by_rust:?} and {jvm_by_jvm:?}"
    );
    assert!(rust_by_rust < PUT_OUT && rust_by_jvm < PUT_OUT);
    assert!(jvm_by_rust < PUT_OUT + QUICK && jvm_by_jvm < PUT_OUT + QUICK);
    close(quick).await;
    close(one).await;
    close(two).await;
}
