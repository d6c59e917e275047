//! First come, first served, whoever comes from where.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use redlatch::{Client, Fair, NonReentrantFair};
use redlatch_support::{
    Direct, Server, ShiftedClock,
    jvm::{DriverJar, Jvm, JvmOptions, jvm_or_skip},
    unique_name,
};

use super::line::{Holder, Line, Side};
use crate::{
    common::{client, close, direct, ms, quick_jvm, quiet, secs, shared_jvm},
    java::JavaLock,
    kinds::Shared,
};

const WAITERS: usize = 20;
/// Longer than a place of ours lasts that is not kept up.
const STAND: Duration = secs(10);

/// Queues the waiters one after the other, from each side in turn, lets them stand, and serves them.
async fn served_in_order<'a, K: Shared>(
    direct: &'a Direct,
    name: &'a str,
    first: Side<'a>,
    sides: &[Side<'a>],
    stand: impl AsyncFnOnce(&Line<'a, K>),
) {
    let holder = Holder::<K>::take(first, name).await;
    let mut line = Line::<K>::new(direct, name);
    for side in sides.iter().cycle().take(WAITERS) {
        line.join(*side).await;
        line.queue.assert_is(&line.ids);
    }
    stand(&line).await;
    let (order, mut times) = line.serve(holder).await;
    times.sort();
    let violations = order.windows(2).filter(|pair| pair[0] > pair[1]).count();
    println!(
        "{}: {WAITERS} waiters, {violations} out of order, median hand-over {:?}, longest {:?}",
        K::JAVA,
        times[times.len() / 2],
        times[times.len() - 1]
    );
    assert_eq!(
        order,
        (0..WAITERS).collect::<Vec<_>>(),
        "the order of grants"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_client_and_one_jvm_in_turn() {
    let Some(driver) = jvm_or_skip("one_client_and_one_jvm_in_turn") else {
        return;
    };
    let _quiet = quiet().await;
    let (client, direct, name) = (client().await, direct(), unique_name("fifo"));
    let sides = [Side::Java(shared_jvm(driver)), Side::Rust(&client)];
    served_in_order::<Fair>(&direct, &name, sides[1], &sides, async |_| {}).await;
    close(client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_clients_and_two_jvms_in_turn() {
    let Some(driver) = jvm_or_skip("two_clients_and_two_jvms_in_turn") else {
        return;
    };
    let _quiet = quiet().await;
    let (one, two) = (client().await, client().await);
    let (direct, name) = (direct(), unique_name("fifo-of-four"));
    let sides = [
        Side::Rust(&one),
        Side::Java(shared_jvm(driver)),
        Side::Rust(&two),
        Side::Java(quick_jvm(driver)),
    ];
    served_in_order::<Fair>(&direct, &name, sides[1], &sides, async |_| {}).await;
    close(one).await;
    close(two).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_of_a_kind_behind_each_other() {
    let Some(driver) = jvm_or_skip("two_of_a_kind_behind_each_other") else {
        return;
    };
    let _quiet = quiet().await;
    let (client, direct, name) = (client().await, direct(), unique_name("fifo-nonreentrant"));
    let (rust, java) = (Side::Rust(&client), Side::Java(shared_jvm(driver)));
    let sides = [java, java, rust, rust];
    served_in_order::<NonReentrantFair>(&direct, &name, java, &sides, async |_| {}).await;
    close(client).await;
}

/// The server's clock is off, so ours, which is the server's, and the JVM's are apart.
async fn apart(driver: &DriverJar, server: &Server) {
    let client = Client::connect(server.url()).await.expect("connects");
    let jvm = Jvm::start(driver, &JvmOptions::single(server.url()));
    let (direct, name) = (server.direct(), unique_name("fifo-apart"));
    let here = SystemTime::now().duration_since(UNIX_EPOCH);
    let here = here.expect("a clock after 1970").as_secs();
    let there = direct.cmd(&["TIME"]).accepted().items()[0].int();
    let off = there.unsigned_abs().abs_diff(here);
    assert!((2..=4).contains(&off), "the clocks are {off} s apart");
    // One of ours is the head, whose place depends on its clock alone.
    let sides = [Side::Rust(&client), Side::Java(&jvm)];
    let java = JavaLock::<Fair>::of(&jvm, &name);
    let lock = client.fair_lock(name.as_str());
    // Each attempt of the JVM puts out those whose time is over by its clock.
    let stand = async |line: &Line<'_>| {
        let end = Instant::now() + STAND;
        while Instant::now() < end {
            assert!(!java.try_lock().await, "held");
            assert!(lock.try_lock().await.expect("answers").is_none(), "held");
            line.queue.assert_is(&line.ids);
            tokio::time::sleep(ms(100)).await;
        }
    };
    served_in_order::<Fair>(&direct, &name, sides[1], &sides, stand).await;
    close(client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_turn_with_the_servers_clock_ahead_or_behind() {
    let test = "in_turn_with_the_servers_clock_ahead_or_behind";
    let Some(driver) = jvm_or_skip(test) else {
        return;
    };
    let _quiet = quiet().await;
    let [Some(ahead), Some(behind)] = [3, -3].map(|by| ShiftedClock::start_or_skip(test, by))
    else {
        return;
    };
    tokio::join!(
        apart(driver, ahead.server()),
        apart(driver, behind.server())
    );
}

/// What a JVM's waiter adds to the deadlines behind it goes when it gets in, and so does what one of ours adds: else a JVM
/// that dies behind many of ours would block other JVMs for five minutes for each of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flaw_9_our_grants_leave_no_time_behind_them() {
    let Some(driver) = jvm_or_skip("flaw_9_our_grants_leave_no_time_behind_them") else {
        return;
    };
    let _quiet = quiet().await;
    let (client, direct, name) = (client().await, direct(), unique_name("drift"));
    let (rust, java) = (Side::Rust(&client), Side::Java(shared_jvm(driver)));
    let mut holder = Holder::<Fair>::take(rust, &name).await;
    let mut line = Line::<Fair>::new(&direct, &name);
    for side in [rust, rust, rust, rust, java] {
        line.join(side).await;
    }
    for served in 1..line.ids.len() {
        holder.unlock().await;
        holder = line.granted(secs(5)).await.1;
        let left = &line.ids[served..];
        let last = line.queue.deadlines(left).pop().expect("somebody is left");
        println!("{served} served: the JVM's deadline is {last} ms away");
    }
    let head = line.queue.deadlines(&line.ids[4..])[0];
    holder.unlock().await;
    line.granted(secs(5)).await.1.unlock().await;
    close(client).await;
    assert!(head < 30_000 + 308_000, "{head} ms");
}
