//! The values of a group are the same hash fields on both sides: the encoding of the JVM's codecs, and the hash.

use std::collections::{BTreeMap, BTreeSet};

use redlatch::{Client, GroupValue};
use redlatch_support::{
    Direct, Server,
    jvm::{Jvm, JvmOptions, jvm_or_skip},
    unique_name,
};

use crate::{
    common::{client, close, direct, shared_jvm},
    sets::{Held, nothing_left, values},
    synchronizers::Java,
};

/// Texts of every form the encoding has: by length, by what they are made of, and at the bounds of each.
fn texts() -> Vec<String> {
    let lengths = (0..=34).chain([61, 62, 63, 64, 65, 100, 126, 127, 128, 200]);
    let lengths = lengths.chain([4_095, 4_096, 8_189, 8_190, 8_191, 8_192, 20_000]);
    let of_letters = |length: usize| ('a'..='z').cycle().take(length).collect::<String>();
    let mut texts: Vec<String> = lengths.clone().map(of_letters).collect();
    // One letter that is not ASCII, in front, amid and behind.
    for length in [1, 2, 5, 31, 32, 33, 62, 63, 200, 8_192] {
        for letter in ["é", "锁", "🔒"] {
            let ascii = of_letters(length);
            let (before, behind) = ascii.split_at(length / 2);
            texts.push(format!("{letter}{ascii}"));
            texts.push(format!("{before}{letter}{behind}"));
            texts.push(format!("{ascii}{letter}"));
        }
    }
    let odd = [
        "é",
        "锁",
        "🔒",
        "éé",
        "锁锁锁",
        "🔒🔒",
        "\u{0}",
        "a\u{0}",
        "\u{0}\u{0}",
        "\u{7f}",
        "\u{7f}\u{7f}",
        "\u{80}",
        "\u{ff}b",
        "\u{7ff}",
        "\u{800}",
        "\u{d7ff}\u{e000}",
        "\u{ffff}",
        "\u{10ffff}",
        "order:42",
        " ",
        "\t ",
        "%",
        "-",
    ];
    texts.extend(odd.map(String::from));
    for letter in ["é", "锁", "🔒"] {
        texts.extend([31, 32, 33, 63, 64, 5_000].map(|length| letter.repeat(length)));
    }
    texts
}

/// The fields a lock over this one value has while each side holds it.
struct Place<'a> {
    jvm: &'a Jvm,
    client: &'a Client,
    direct: &'a Direct,
    group: String,
}

impl Place<'_> {
    async fn compare(&self, part: &str, value: GroupValue) -> Option<String> {
        let fields = || -> Vec<String> { values(self.direct, &self.group).into_keys().collect() };
        let java = Java::set(self.jvm, "group", &[&self.group, part]);
        java.run("lock", &[]).await.expect("free");
        let theirs = fields();
        java.run("unlock", &[]).await.expect("held");
        let lock = self.client.group_lock(self.group.as_str(), [value.clone()]);
        let guard = lock.try_lock().await.expect("answers").expect("free");
        let ours = fields();
        guard.unlock().await.expect("held");
        let shown: String = part.chars().take(40).collect();
        (ours != theirs)
            .then(|| format!("{shown} ({} bytes): {ours:?}, not {theirs:?}", part.len()))
    }

    async fn compare_all(&self, values: impl IntoIterator<Item = (String, GroupValue)>) {
        let (mut count, mut wrong) = (0, Vec::new());
        let mut seen = BTreeSet::new();
        for (part, value) in values {
            if seen.insert(part.clone()) {
                wrong.extend(self.compare(&part, value).await);
                count += 1;
            }
        }
        assert!(wrong.is_empty(), "{} of {count}: {wrong:#?}", wrong.len());
        println!("{count} values have the JVM's fields");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_are_the_jvms_fields() {
    let Some(driver) = jvm_or_skip("values_are_the_jvms_fields") else {
        return;
    };
    let (client, direct) = (client().await, direct());
    let place = Place {
        jvm: shared_jvm(driver),
        client: &client,
        direct: &direct,
        group: unique_name("values"),
    };
    let texts = texts();
    let texts = texts
        .iter()
        .map(|text| (format!("s:{text}"), GroupValue::from(text)));
    let ints = [
        0,
        1,
        -1,
        63,
        64,
        -64,
        -65,
        8_191,
        8_192,
        1 << 20,
        i32::MIN,
        i32::MAX,
    ];
    let ints = ints.map(|number| (format!("i:{number}"), GroupValue::from(number)));
    let powers = (0..63).flat_map(|bit| [1_i64 << bit, -(1_i64 << bit), (1_i64 << bit) - 1]);
    let longs = [0, -1, i64::MIN, i64::MAX, i64::MIN + 1].into_iter();
    let longs = longs
        .chain(powers)
        .map(|number| (format!("l:{number}"), GroupValue::from(number)));
    place.compare_all(texts.chain(ints).chain(longs)).await;
    nothing_left(&direct, &place.group).await;
    close(client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn texts_are_the_fields_of_a_jvm_with_the_string_codec() {
    let Some(driver) = jvm_or_skip("texts_are_the_fields_of_a_jvm_with_the_string_codec") else {
        return;
    };
    let options = JvmOptions::single(Server::shared().url()).string_codec();
    let jvm = Jvm::start(driver, &options);
    let (client, direct) = (client().await, direct());
    let place = Place {
        jvm: &jvm,
        client: &client,
        direct: &direct,
        group: unique_name("texts"),
    };
    let texts = texts();
    let texts = texts
        .iter()
        .map(|text| (format!("s:{text}"), GroupValue::text(text)));
    // That codec writes a number as its decimal text.
    let numbers = [0, -1, i64::MIN, i64::MAX];
    let numbers =
        numbers.map(|number| (format!("l:{number}"), GroupValue::text(number.to_string())));
    place.compare_all(texts.chain(numbers)).await;
    nothing_left(&direct, &place.group).await;
    close(client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_set_of_every_type_is_one_lock() {
    let Some(driver) = jvm_or_skip("a_set_of_every_type_is_one_lock") else {
        return;
    };
    let (client, direct, group) = (client().await, direct(), unique_name("mixed"));
    // Twice the same, and numbers of two types that are not the same.
    let parts = ["s:7", "i:7", "l:7", "s:锁", "s:7"];
    let mut all = vec![group.as_str()];
    all.extend(parts);
    let java = Java::set(shared_jvm(driver), "group", &all);
    let ours = || {
        let values = [
            GroupValue::from("锁"),
            7_i64.into(),
            7_i32.into(),
            "7".into(),
            "7".into(),
        ];
        client.group_lock(group.as_str(), values)
    };
    java.run("lock", &[]).await.expect("free");
    let fields = |values: BTreeMap<String, Held>| values.into_keys().collect::<Vec<_>>();
    let theirs = fields(values(&direct, &group));
    assert_eq!(theirs.len(), 4);
    assert!(ours().try_lock().await.expect("answers").is_none());
    java.run("unlock", &[]).await.expect("held");
    let guard = ours().try_lock().await.expect("answers").expect("free");
    assert_eq!(fields(values(&direct, &group)), theirs);
    assert!(!java.truth("trylock", &[]).await);
    guard.unlock().await.expect("held");
    nothing_left(&direct, &group).await;
    close(client).await;
}
