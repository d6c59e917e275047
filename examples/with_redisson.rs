//! One lock, two languages: Rust and a real JVM with Redisson take turns, wait for each other, and see each other's
//! re-entries.
//!
//! ```text
//! cargo run --example with_redisson
//! ```
//!
//! It needs a JDK (17 or later) and Maven, which fetches Redisson once. Where they are missing, it says so and exits
//! with 2: nothing has failed, and nothing has been shown either. `REDIS_URL` names a server to use; without it, the
//! example starts one of its own.

use std::{
    error::Error,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use redlatch::{Client, Lock};
use redlatch_support::{
    Server,
    jvm::{self, Jvm, JvmError, JvmOptions, Pending, Reply},
    unique_name,
};
use tokio::{
    task::spawn_blocking,
    time::{sleep, timeout},
};

type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

/// Nothing could be shown.
const NOTHING_SHOWN: u8 = 2;
/// Times that each side waits for the other.
const TURNS: usize = 3;
/// How long a holder works while the other side waits.
const WORK: Duration = Duration::from_millis(200);
/// No step takes longer than this.
const LIMIT: Duration = Duration::from_secs(20);

#[tokio::main]
async fn main() -> ExitCode {
    match take_turns().await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("with_redisson: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn take_turns() -> Result<ExitCode> {
    if let Err(missing) = jvm::availability() {
        println!("{missing}: this example needs a JDK (17 or later) and Maven");
        return Ok(ExitCode::from(NOTHING_SHOWN));
    }
    let Some(driver) = spawn_blocking(|| jvm::jvm_or_skip("with_redisson")).await? else {
        return Ok(ExitCode::from(NOTHING_SHOWN)); // it has said why
    };
    let given = std::env::var("REDIS_URL").ok();
    let server = match given {
        Some(_) => None,
        None => Some(spawn_blocking(|| Server::builder().try_start()).await??),
    };
    let url = match (given, &server) {
        (Some(url), _) => url,
        (None, Some(server)) => server.url(),
        (None, None) => return Err("there is no server".into()),
    };

    let options = JvmOptions::single(url.as_str());
    let jvm = spawn_blocking(move || Jvm::start(driver, &options)).await?;
    let client = Client::connect(&url).await?;
    println!("the JVM's client is {}", jvm.uuid());
    println!("Rust's client is    {}\n", client.id());

    let name = unique_name("orders:42");
    let java = Java {
        jvm: Arc::new(jvm),
        name: name.clone(),
    };
    let lock = client.lock(name);
    for turn in 1..=TURNS {
        rust_waits_for_java(turn, &client, &lock, &java).await?;
        java_waits_for_rust(turn, &client, &lock, &java).await?;
    }
    java_enters_twice(&client, &lock, &java).await?;
    rust_enters_twice(&client, &lock, &java).await?;

    client.close(LIMIT).await;
    println!("\nboth sides saw the same lock all the time");
    Ok(ExitCode::SUCCESS)
}

async fn rust_waits_for_java(turn: usize, client: &Client, lock: &Lock, java: &Java) -> Result<()> {
    java.run("lock").await?;
    let asked = Instant::now();
    let waiting = tokio::spawn({
        let lock = lock.clone();
        async move {
            lock.lock()
                .wait(LIMIT)
                .await
                .map(|guard| (guard, Instant::now()))
        }
    });
    somebody_waits(client, lock).await?;
    sleep(WORK).await; // the JVM works
    let unlocking = Instant::now();
    java.run("unlock").await?;
    let (guard, granted) = waiting.await??;
    println!(
        "turn {turn}: the JVM had the lock, Rust waited {}; {} from the JVM's unlock call to Rust's grant",
        ms(granted - asked),
        ms(granted - unlocking)
    );
    // It was another task that waited; the guard remembers whom it belongs to.
    Ok(guard.unlock().await?)
}

async fn java_waits_for_rust(turn: usize, client: &Client, lock: &Lock, java: &Java) -> Result<()> {
    let guard = lock.lock().wait(LIMIT).await?;
    let asked = java.begin("lock");
    somebody_waits(client, lock).await?;
    let unlocking = guard
        .run(async {
            sleep(WORK).await; // Rust works, and would be stopped if the lock were lost
            Instant::now()
        })
        .await?;
    guard.unlock().await?;
    let reply = answer(asked).await?;
    println!(
        "turn {turn}: Rust had the lock, the JVM waited {}; {} from Rust's unlock call to the JVM's answer",
        ms(reply.elapsed),
        ms(unlocking.elapsed())
    );
    java.run("unlock").await.map(drop)
}

async fn java_enters_twice(client: &Client, lock: &Lock, java: &Java) -> Result<()> {
    java.run("lock").await?;
    java.run("lock").await?;
    println!(
        "\nthe JVM entered twice; Rust sees {}",
        seen(client, lock).await?
    );
    java.run("unlock").await?;
    let refused = lock.try_lock().await?.is_none();
    let answer = if refused { "no" } else { "yes, which is wrong" };
    println!(
        "the JVM left once; Rust sees {}; may Rust enter? {answer}",
        seen(client, lock).await?
    );
    java.run("unlock").await?;
    println!(
        "the JVM left again; Rust sees {}",
        seen(client, lock).await?
    );
    if refused {
        Ok(())
    } else {
        Err("Rust entered a lock that the JVM held".into())
    }
}

async fn rust_enters_twice(client: &Client, lock: &Lock, java: &Java) -> Result<()> {
    let outer = lock.lock().await?;
    let inner = lock.lock().await?;
    println!(
        "\nRust entered twice, as {}; Rust sees {}",
        outer.owner_id(),
        seen(client, lock).await?
    );
    inner.unlock().await?;
    let entered = java.run("trylock").await?.value;
    println!("Rust left once; may the JVM enter? {entered}");
    outer.unlock().await?;
    let locked = java.run("islocked").await?.value;
    println!("Rust left again; does the JVM see it locked? {locked}");
    if (entered.as_str(), locked.as_str()) == ("false", "false") {
        Ok(())
    } else {
        Err("the JVM saw something else than Rust did".into())
    }
}

/// What `inspect` says, in words.
async fn seen(client: &Client, lock: &Lock) -> Result<String> {
    let seen = client.inspect(lock.name()).await?;
    let holders: Vec<String> = seen
        .holders
        .iter()
        .map(|holder| format!("{} (holds: {})", holder.id, holder.holds))
        .collect();
    Ok(if holders.is_empty() {
        "a free lock".to_owned()
    } else {
        holders.join(", ")
    })
}

/// Waits until the server knows of somebody who waits.
async fn somebody_waits(client: &Client, lock: &Lock) -> Result<()> {
    let looking = async {
        while client.inspect(lock.name()).await?.waiting_clients == 0 {
            sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    };
    timeout(LIMIT, looking).await?
}

/// One JVM thread and the lock, as `RLock` is to Java code.
struct Java {
    jvm: Arc<Jvm>,
    name: String,
}

impl Java {
    fn begin(&self, verb: &str) -> Pending {
        self.jvm.start_call("teller", verb, &["lock", &self.name])
    }

    async fn run(&self, verb: &str) -> Result<Reply> {
        answer(self.begin(verb)).await
    }
}

/// The JVM's answer, waited for on a thread of its own.
async fn answer(mut pending: Pending) -> Result<Reply> {
    let answer: Option<Result<Reply, JvmError>> =
        spawn_blocking(move || pending.wait(LIMIT)).await?;
    Ok(answer.ok_or("the JVM did not answer")??)
}

fn ms(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1e3)
}
