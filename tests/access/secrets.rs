//! A password goes to the server and is shown to nobody: not by any `Debug` or `Display`, not by any error or event.

use std::{error::Error as _, fmt::Debug, sync::Arc, sync::Mutex, time::Duration};

use redlatch::{Client, Error, Event, MultiLock, Secret};
use redlatch_support::{Proxy, Server, eventually_async};
use tokio_stream::StreamExt;

use crate::kit::{ms, secs};

const RIGHT: &str = "Swordfish-right-81";
const WRONG: &str = "Swordfish-wrong-82";
/// What both have in common, and nothing else.
const TRACE: &str = "Swordfish";

/// Everything that was shown.
#[derive(Default)]
struct Shown(Vec<String>);

impl Shown {
    fn debug(&mut self, what: impl Debug) {
        self.0.push(format!("{what:?}"));
        self.0.push(format!("{what:#?}"));
    }

    fn error(&mut self, error: &Error) {
        self.debug(error);
        self.0.push(error.to_string());
        let mut source = error.source();
        while let Some(error) = source {
            self.0.push(format!("{error:?} {error}"));
            source = error.source();
        }
    }

    fn failure<T>(&mut self, outcome: redlatch::Result<T>) {
        match outcome {
            Ok(_) => panic!("it was to fail"),
            Err(error) => self.error(&error),
        }
    }

    /// Passwords, and what is left of them when they are taken for something else.
    #[track_caller]
    fn check(&self) {
        assert!(!self.0.is_empty());
        for text in &self.0 {
            for trace in [TRACE, "right-81", "wrong-82"] {
                let lower = text.to_ascii_lowercase();
                assert!(!lower.contains(&trace.to_ascii_lowercase()), "{text}");
            }
        }
    }
}

fn user(server: &Server, password: &str) {
    let direct = server.direct();
    let secret = format!(">{password}");
    let words = [
        "ACL", "SETUSER", "shop", "reset", "on", &secret, "~*", "&*", "+@all",
    ];
    direct.cmd(&words).accepted();
}

#[tokio::test]
async fn nothing_that_can_be_printed_has_the_password() {
    let server = Server::start();
    user(&server, RIGHT);
    let mut shown = Shown::default();
    let proxy = Proxy::start(server.port()).await;
    let url = format!("redis://shop:{RIGHT}@127.0.0.1:{}", proxy.port());
    let builder = Client::builder()
        .url(&url)
        .expect("url")
        .command_timeout(ms(300));
    shown.debug(&builder);
    let builder = builder.outage_patience(ms(600)).credentials("shop", RIGHT);
    shown.debug(&builder);
    shown.debug(Secret::new(RIGHT));
    let client = builder.connect().await.expect("the right one");
    let events = Arc::new(Mutex::new(Vec::new()));
    let stream = client.events();
    shown.debug(&stream);
    let listening = tokio::spawn({
        let events = events.clone();
        async move {
            let mut stream = stream;
            while let Some(event) = stream.next().await {
                events.lock().expect("not poisoned").push(event);
            }
        }
    });

    let lock = client.lock("a");
    shown.debug(lock.lock().wait(secs(1)));
    shown.debug(lock.raw());
    let guard = lock.lock().await.expect("free");
    shown.debug(&guard);
    shown.debug(client.read_write_lock("b"));
    shown.debug(client.fair_lock("b"));
    shown.debug(client.group_lock("b", ["x"]));
    let multi = MultiLock::new([client.lock("c"), client.lock("d")]).expect("two of them");
    shown.debug(&multi);
    shown.debug(multi.lock());
    let semaphore = client.semaphore("e");
    semaphore.release(2).await.expect("given");
    shown.debug(&semaphore);
    shown.debug(semaphore.acquire());
    shown.debug(semaphore.acquire().await.expect("there"));
    let expirable = client.expirable_semaphore("f");
    expirable.add_permits(1).await.expect("given");
    shown.debug(&expirable);
    shown.debug(expirable.acquire());
    shown.debug(expirable.acquire().await.expect("there"));
    shown.debug(client.count_down_latch("g"));
    shown.debug(client.count_down_latch("g").wait());
    shown.debug(client.fenced_cell("h"));
    shown.debug(client.stats());
    shown.debug(client.inspect("a").await.expect("answers"));
    shown.debug(&client);
    shown.0.push(client.inside());

    // Errors of every kind, and the events that go with them.
    shown.failure(client.lock("e").try_lock().await);
    shown.failure(client.lock("").try_lock().await);
    shown.failure(
        client
            .rlock("a")
            .with_owner(redlatch::Owner::fresh())
            .unlock()
            .await,
    );
    let waiting = tokio::spawn({
        let lock = client.lock("a").with_owner(redlatch::Owner::fresh());
        async move { lock.lock().wait(secs(2)).await }
    });
    proxy.cut_all();
    eventually_async("it is connected again", secs(5), async || {
        client.inspect("a").await.is_ok()
    })
    .await;
    // From here on the password is the wrong one, and the connections are gone.
    user(&server, WRONG);
    proxy.cut_all();
    shown.failure(client.lock("z").try_lock().await);
    shown.failure(
        client
            .self_test([redlatch::access::Feature::SpinLock])
            .await,
    );
    shown.failure(semaphore.available_permits().await);
    shown.failure(waiting.await.expect("joins"));
    shown.0.push(client.inside());
    server.kill();
    shown.failure(client.lock("z").try_lock().await);
    shown.failure(guard.unlock().await);
    shown.debug(client.close(ms(100)).await);
    shown.failure(client.lock("z").try_lock().await);
    drop((client, lock, semaphore, expirable, multi));
    listening.abort();
    let events: Vec<Event> = events.lock().expect("not poisoned").clone();
    assert!(
        events
            .iter()
            .any(|event| matches!(event, Event::Disconnected { .. }))
    );
    shown.debug(&events);
    shown.check();
}

#[tokio::test]
async fn a_login_that_fails_does_not_say_with_what() {
    let server = Server::start();
    user(&server, RIGHT);
    let port = server.port();
    let mut shown = Shown::default();
    for url in [
        format!("redis://shop:{WRONG}@127.0.0.1:{port}"),
        format!("redis://nobody:{WRONG}@127.0.0.1:{port}/2"),
        // Nobody there.
        format!("redis://shop:{WRONG}@127.0.0.1:1"),
        format!("redis://shop:{WRONG}@swordless.invalid"),
    ] {
        let builder = Client::builder().url(&url).expect("url");
        let builder = builder.allow_plaintext_password(true);
        shown.failure(builder.connect_timeout(ms(500)).connect().await);
    }
    // Settings win over the address.
    let url = format!("redis://shop:{WRONG}@127.0.0.1:{port}");
    let builder = || Client::builder().url(&url).expect("url");
    let client = builder().credentials("shop", RIGHT).connect().await;
    client.expect("the right one").close(Duration::ZERO).await;
    let wrong = builder().credentials("shop", WRONG.to_owned());
    shown.failure(wrong.connect().await);
    // The default user, whose password any is.
    let client = builder().password(WRONG).connect().await;
    client
        .expect("the default user")
        .close(Duration::ZERO)
        .await;
    shown.check();
}

#[tokio::test]
async fn addresses_that_make_no_sense_are_not_repeated() {
    let mut shown = Shown::default();
    for url in [
        WRONG.to_owned(),
        format!("http://shop:{WRONG}@host"),
        format!("redis://shop:{WRONG}@"),
        format!("redis://shop:{WRONG}@host:port"),
        format!("redis://shop:{WRONG}@host:99999"),
        format!("redis://shop:{WRONG}@host/database"),
        format!("redis://shop:{WRONG}@ho st"),
        format!("redis://shop:{WRONG}@[::1"),
        format!("redis://shop:%FF{WRONG}@host"),
        format!("redis://shop:{WRONG}/@host"),
        format!("redis://shop:{WRONG}?@host"),
        format!("redis://shop:{WRONG}#@host"),
        format!("redis://shop:80/{WRONG}@host"),
        format!("redis://shop:80?{WRONG}@host"),
        format!("redis://shop:80#{WRONG}@host"),
        format!("redis://{WRONG}#@host"),
        format!("redis://{WRONG}/x@host"),
        format!("rediss://shop:{WRONG}/@host"),
    ] {
        match Client::builder().url(&url) {
            Ok(builder) => panic!("{url} was taken: {builder:?}"),
            Err(error) => {
                assert!(matches!(error, Error::InvalidArgument { .. }), "{error}");
                shown.error(&error);
            }
        }
    }
    shown.check();
    // Written as they should be, they are fine.
    let written = format!("redis://shop:%2F%3F%23%40{WRONG}@host");
    assert!(Client::builder().url(written).is_ok());
}
