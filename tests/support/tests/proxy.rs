//! Every fault of the proxy, over a real server.

mod common;

use std::io::Write;
use std::time::{Duration, Instant};

use common::{Raw, SOON, bulk, setup, simple};
use redlatch_support::resp::{Frame, encode_request};
use redlatch_support::{Action, Proxy, Rule, Server, eventually, eventually_async, unique_name};

#[test]
fn requests_pass_and_are_counted() {
    let (proxy, mut raw, _) = setup();
    let key = unique_name("pass");
    assert_eq!(raw.ask(&["set", &key, "1"]), simple("OK"));
    assert_eq!(raw.ask(&["GET", &key]), bulk("1"));
    raw.ask(&["SCRIPT", "EXISTS", "abc"]);
    // Two requests in one write, and one as plain text.
    let mut both = encode_request(&["INCR", &key]);
    both.extend_from_slice(format!("incr {key}\r\n").as_bytes());
    raw.stream.write_all(&both).expect("the proxy reads");
    assert_eq!(raw.next(), Frame::Int(2));
    assert_eq!(raw.next(), Frame::Int(3));
    assert_eq!(proxy.seen("SET"), 1);
    assert_eq!(proxy.seen("incr"), 2);
    assert_eq!(proxy.seen("SCRIPT"), 1);
    assert_eq!(proxy.seen("script exists"), 1);
    assert_eq!(proxy.seen("DEL"), 0);
    assert_eq!(proxy.connections(), 1);
    assert_eq!(proxy.url(), format!("redis://127.0.0.1:{}", proxy.port()));
    drop(raw);
    eventually("the connection to close", SOON, || proxy.connections() == 0);
}

#[test]
fn drop_request_keeps_it_from_the_server() {
    let (proxy, mut raw, direct) = setup();
    let key = unique_name("drop");
    let rule = proxy.rule(Rule::new("SET").action(Action::DropRequest));
    raw.send(&["SET", &key, "1"]);
    eventually("the request to be dropped", SOON, || rule.hits() == 1);
    raw.assert_silent();
    assert!(!direct.exists(&key));
    assert_eq!(proxy.seen("SET"), 0);
    assert_eq!(raw.ask(&["SET", &key, "2"]), simple("OK"));
}

#[test]
fn drop_reply_lets_the_server_run_it() {
    let (proxy, mut raw, direct) = setup();
    let key = unique_name("drop");
    let rule = proxy.rule(Rule::new("incr").action(Action::DropReply));
    raw.send(&["INCR", &key]);
    eventually("the reply to be dropped", SOON, || rule.hits() == 1);
    raw.assert_silent();
    assert_eq!(proxy.rule_hits(rule.id()), 1);
    assert_eq!(direct.cmd(&["GET", &key]).text(), "1");
    assert_eq!(raw.ask(&["INCR", &key]), Frame::Int(2));
}

#[test]
fn stalled_replies_never_come_back_but_the_server_runs_the_requests() {
    let (proxy, mut raw, direct) = setup();
    let key = unique_name("stall");
    proxy.rule(Rule::new("INCR").action(Action::StallReplies));
    raw.send(&["INCR", &key]);
    raw.send(&["INCR", &key]);
    eventually("the server to run both", SOON, || {
        direct.cmd(&["EXISTS", &key]).int() == 1 && direct.cmd(&["GET", &key]).int() == 2
    });
    raw.assert_silent();
    let mut other = Raw::connect(proxy.port());
    assert_eq!(other.ask(&["INCR", &key]), Frame::Int(3));
}

#[test]
fn stalled_requests_never_reach_the_server() {
    let (proxy, mut raw, direct) = setup();
    let key = unique_name("stall");
    proxy.rule(Rule::new("INCR").nth(2).action(Action::StallRequests));
    assert_eq!(raw.ask(&["INCR", &key]), Frame::Int(1));
    raw.send(&["INCR", &key]);
    raw.send(&["INCR", &key]);
    raw.assert_silent();
    assert_eq!(direct.cmd(&["GET", &key]).text(), "1");
}

#[test]
fn delays_keep_the_order() {
    let (proxy, mut raw, _) = setup();
    let key = unique_name("delay");
    for action in [
        Action::DelayRequest(Duration::from_millis(30)),
        Action::DelayReply(Duration::from_millis(30)),
    ] {
        proxy.rule(Rule::new("SET").action(action));
        let begun = Instant::now();
        raw.send(&["SET", &key, "1"]);
        raw.send(&["GET", &key]);
        assert_eq!(raw.next(), simple("OK"));
        assert!(begun.elapsed() >= Duration::from_millis(30));
        assert_eq!(raw.next(), bulk("1"));
        proxy.clear_rules();
    }
    proxy.delay(Duration::from_millis(10));
    let begun = Instant::now();
    raw.ask(&["PING"]);
    assert!(begun.elapsed() >= Duration::from_millis(20));
}

#[test]
fn what_is_held_goes_on_when_released() {
    let (proxy, mut raw, direct) = setup();
    let key = unique_name("hold");
    let rule = proxy.rule(Rule::new("SET").action(Action::HoldRequest));
    raw.send(&["SET", &key, "1"]);
    raw.assert_silent();
    assert!(!direct.exists(&key));
    rule.release();
    assert_eq!(raw.next(), simple("OK"));

    let rule = proxy.rule(Rule::new("SET").action(Action::HoldReply));
    raw.send(&["SET", &key, "2"]);
    raw.send(&["GET", &key]);
    eventually("the reply to be held", SOON, || rule.hits() == 1);
    assert_eq!(direct.cmd(&["GET", &key]).text(), "2");
    raw.assert_silent();
    rule.remove();
    assert_eq!(raw.next(), simple("OK"));
    assert_eq!(raw.next(), bulk("2"));
}

#[test]
fn a_duplicated_request_is_answered_once() {
    let (proxy, mut raw, direct) = setup();
    let key = unique_name("twice");
    proxy.rule(Rule::new("INCR").action(Action::DuplicateRequest));
    raw.send(&["INCR", &key]);
    raw.send(&["GET", &key]);
    assert_eq!(raw.next(), Frame::Int(1));
    assert_eq!(raw.next(), bulk("2"));
    assert_eq!(proxy.seen("INCR"), 2);
    assert_eq!(direct.cmd(&["GET", &key]).text(), "2");
}

#[test]
fn cut_before_forward_keeps_it_from_the_server() {
    let (proxy, mut raw, direct) = setup();
    let key = unique_name("cut");
    proxy.rule(Rule::new("INCR").nth(2).action(Action::CutBeforeForward));
    assert_eq!(raw.ask(&["INCR", &key]), Frame::Int(1));
    raw.send(&["INCR", &key]);
    raw.assert_closed();
    assert_eq!(direct.cmd(&["GET", &key]).text(), "1");
    eventually("the connection to be gone", SOON, || {
        proxy.connections() == 0
    });
}

#[test]
fn cut_after_forward_lets_the_server_run_it() {
    let (proxy, mut raw, direct) = setup();
    let key = unique_name("cut");
    let rule = proxy.rule(Rule::new("INCR").action(Action::CutAfterForward));
    raw.send(&["PING"]);
    raw.send(&["INCR", &key]);
    assert_eq!(raw.next(), simple("PONG"));
    raw.assert_closed();
    assert_eq!(rule.hits(), 1);
    assert_eq!(direct.cmd(&["GET", &key]).text(), "1");
}

#[test]
fn a_reply_is_replaced() {
    let (proxy, mut raw, _) = setup();
    let error = b"-LOADING wait\r\n".to_vec();
    proxy.rule(Rule::new("PING").action(Action::ReplaceReply(error)));
    assert_eq!(raw.ask(&["PING"]), Frame::Error("LOADING wait".into()));
    assert_eq!(raw.ask(&["PING"]), simple("PONG"));
}

#[test]
fn a_request_is_refused_and_never_made() {
    let (proxy, mut raw, direct) = setup();
    let key = unique_name("refused");
    let error = b"-BUSY wait\r\n".to_vec();
    let rule = proxy.rule(Rule::new("INCR").times(2).action(Action::Refuse(error)));
    for _ in 0..2 {
        assert_eq!(raw.ask(&["INCR", &key]), Frame::Error("BUSY wait".into()));
    }
    assert_eq!((rule.hits(), direct.exists(&key)), (2, false));
    assert_eq!(raw.ask(&["INCR", &key]), Frame::Int(1));
}

#[test]
fn rules_choose_by_arguments_reply_and_count() {
    let (proxy, mut raw, _) = setup();
    let (one, two) = (unique_name("one"), unique_name("two"));
    let seven = || Action::ReplaceReply(b":777\r\n".to_vec());
    let first = proxy.rule(
        Rule::new("INCR")
            .with_arg(&one)
            .nth(2)
            .times(2)
            .action(seven()),
    );
    let second = proxy.rule(
        Rule::new("*")
            .args({
                let two = two.clone();
                move |args| args.first().is_some_and(|arg| arg == two.as_bytes())
            })
            .reply(|reply| *reply == Frame::Int(2))
            .always()
            .action(seven()),
    );
    let ones: Vec<_> = (0..4).map(|_| raw.ask(&["INCR", &one])).collect();
    let twos: Vec<_> = (0..3).map(|_| raw.ask(&["INCR", &two])).collect();
    assert_eq!(ones, [1, 777, 777, 4].map(Frame::Int));
    assert_eq!(twos, [1, 777, 3].map(Frame::Int));
    assert_eq!((first.hits(), second.hits()), (2, 1));
    proxy.remove_rule(second.id());
    raw.ask(&["SET", &two, "1"]);
    assert_eq!(raw.ask(&["INCR", &two]), Frame::Int(2));
}

#[test]
fn a_black_hole_swallows_and_heals() {
    let (proxy, mut raw, direct) = setup();
    let key = unique_name("hole");
    assert_eq!(raw.ask(&["INCR", &key]), Frame::Int(1));
    proxy.black_hole(true);
    raw.send(&["INCR", &key]);
    let mut late = Raw::connect(proxy.port());
    late.send(&["INCR", &key]);
    eventually("both to be swallowed", SOON, || proxy.swallowed() == 2);
    late.assert_silent();
    raw.assert_silent();
    assert_eq!(direct.cmd(&["GET", &key]).text(), "1");
    proxy.black_hole(false);
    assert_eq!(raw.ask(&["INCR", &key]), Frame::Int(2));
    assert_eq!(late.ask(&["INCR", &key]), Frame::Int(3));
}

#[test]
fn in_a_black_hole_nobody_hears_the_other_side_close() {
    let server = Server::start();
    let proxy = Proxy::start_blocking(server.port());
    let mut raw = Raw::connect(proxy.port());
    raw.ask(&["PING"]);
    proxy.black_hole(true);
    server.kill();
    raw.assert_silent();
    proxy.black_hole(false);
    raw.assert_closed();
}

#[test]
fn connections_are_cut_and_refused() {
    let (proxy, mut raw, _) = setup();
    raw.ask(&["PING"]);
    proxy.black_hole(true);
    proxy.cut_all();
    raw.assert_closed();
    proxy.black_hole(false);
    proxy.refuse(true);
    Raw::connect(proxy.port()).assert_closed();
    proxy.refuse(false);
    assert_eq!(Raw::connect(proxy.port()).ask(&["PING"]), simple("PONG"));
    assert_eq!(proxy.accepted(), 3);
}

#[test]
fn new_connections_go_to_another_server() {
    let (proxy, mut raw, _) = setup();
    let other = Server::start();
    other.direct().cmd(&["SET", "here", "1"]).accepted();
    proxy.set_upstream(other.port());
    assert_eq!(raw.ask(&["EXISTS", "here"]), Frame::Int(0));
    let mut moved = Raw::connect(proxy.port());
    assert_eq!(moved.ask(&["EXISTS", "here"]), Frame::Int(1));
}

#[test]
fn a_proxy_without_a_server_closes() {
    let server = Server::start();
    let proxy = Proxy::start_blocking(server.port());
    server.kill();
    Raw::connect(proxy.port()).assert_closed();
}

#[tokio::test]
async fn a_test_waits_for_a_hit() {
    let server = Server::shared();
    let proxy = Proxy::start(server.port()).await;
    let rule = proxy.rule(Rule::new("PING").times(2).action(Action::DropReply));
    let mut raw = Raw::connect(proxy.port());
    raw.send(&["PING"]);
    raw.send(&["PING"]);
    rule.wait_hit(2).await;
    assert_eq!(rule.hits(), 2);
    eventually_async("the pings to be counted", SOON, async || {
        proxy.seen("PING") == 2
    })
    .await;
}

#[tokio::test]
#[should_panic(expected = "a proxy rule was to act 1 times within 10ms but has acted 0")]
async fn a_hit_that_does_not_come_is_an_error() {
    let proxy = Proxy::start(Server::shared().port()).await;
    let rule = proxy.rule(Rule::new("PING"));
    rule.wait_hit_within(1, Duration::from_millis(10)).await;
}
