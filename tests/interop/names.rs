//! Unusual names: the same key and the same channel on both sides, and a handover in each direction.

use redlatch_support::jvm::jvm_or_skip;

use crate::{
    common::{Stage, channel, close, quiet},
    handover::Place,
};

/// Hands the lock of this name over and back.
async fn meet_at(test: &str, name: impl AsRef<str>) {
    let name = name.as_ref();
    let Some(driver) = jvm_or_skip(test) else {
        return;
    };
    let _quiet = quiet().await;
    let stage = Stage::shared(driver).await;
    let (client, direct) = (stage.client().await, stage.server.direct());
    let place = Place::new(&stage.jvm, &client, &direct, name);
    let (rust, java) = (place.jvm_to_rust().await, place.rust_to_jvm().await);
    println!("{test}: Rust woken after {rust:?}, the JVM after {java:?}");
    close(client).await;
}

macro_rules! names {
    ($($test:ident: $name:expr;)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $test() {
            meet_at(stringify!($test), $name).await;
        }
    )*};
}

names! {
    unicode: "naïve-ключ-锁-🔒";
    spaces: " two  words, and more ";
    controls_and_quotes: "a\tb\nc\r\nd\"e'f\\g\0h";
    percents_and_signs: "100%25 + -1 *?[a-z] <>";
    a_hash_tag: "a{b}c";
    an_unclosed_brace: "{x";
    a_lone_closing_brace: "x}y";
    an_empty_tag: "a{}b";
    nested_braces: "{{a}}";
    four_kibibytes: "n".repeat(4096);
    four_kibibytes_of_two_byte_letters: "é".repeat(2048);
}

/// The rule by which the tests above judge both sides.
#[test]
fn the_channels_of_known_names() {
    for (name, expected) in [
        ("a:b", "redisson_lock__channel:{a:b}"),
        ("a{b}c", "redisson_lock__channel:a{b}c"),
        ("{x", "redisson_lock__channel:{x"),
        ("x}y", "redisson_lock__channel:{x}y}"),
        ("a{}b", "redisson_lock__channel:a{}b"),
    ] {
        assert_eq!(channel(name), expected);
    }
}
