//! The server in memory beside a real one: the same random scripts, the same replies, the same hashes.

use std::time::Instant;

use bytes::Bytes;
use redlatch_support::{Direct, Value, unique_name};

use super::dice::Dice;
use crate::{
    coordination::{count_down_latch, semaphore},
    engine::{
        memory::server::Server,
        protocol::Batch,
        script::{INSPECT_HASH, PROBE_TTL, RENEW_HASH, Script},
        transport::Reply,
    },
    fencing,
    lock::{fenced, reentrant, spin},
};

/// Sequences, and commands in each.
const SEQUENCES: u64 = 60;
const COMMANDS: u64 = 60;
/// How far two times to live may be apart.
const TOLERANCE: i64 = 2_000;

fn text(text: impl AsRef<str>) -> Bytes {
    Bytes::copy_from_slice(text.as_ref().as_bytes())
}

fn draw(dice: &mut Dice, names: &[Bytes]) -> (&'static Script, Vec<Bytes>, Vec<Bytes>) {
    let name = dice.one_of(names).clone();
    let counter = text(format!("{}:token", String::from_utf8_lossy(&name)));
    let field = text(*dice.one_of(&["a:1", "a:2", "b:1"]));
    let ttl = text(*dice.one_of(&["60000", "90000", "120000"]));
    let holds = text(*dice.one_of(&["1", "1", "1", "2", "3"]));
    let rest = text(*dice.one_of(&["0", "0", "1", "2"]));
    let small = text(dice.below(6).to_string());
    let announcement = text("PUBLISH somewhere");
    let [acquire, release, force, pass] = reentrant::SCRIPTS;
    let [acquire_fenced, raise, pass_fenced] = fenced::SCRIPTS;
    let heir = text(*dice.one_of(&["a:1", "b:1", "c:1"]));
    let [take, give, set, add, drain, delete, look] = semaphore::SCRIPTS;
    let [set_count, count_down, delete_count, count, look_at_latch] = count_down_latch::SCRIPTS;
    let [claim, write] = fencing::SCRIPTS;
    let [release_spin, force_spin] = spin::SCRIPTS;
    let mark = text(format!("{}:mark", String::from_utf8_lossy(&name)));
    let (number, time) = (text(dice.next().to_string()), text("300000"));
    let wanted = text(dice.between(1, 3).to_string());
    match dice.below(30) {
        18 => (
            add,
            vec![mark, name],
            vec![number, time, wanted, announcement],
        ),
        19 => (drain, vec![mark, name], vec![number, time]),
        20 => {
            let ttl = text(*dice.one_of(&["0", "60000"]));
            let args = vec![number, time, wanted, announcement, ttl];
            (set, vec![mark, name], args)
        }
        21 => (delete, vec![mark, name, counter], vec![number, time]),
        22 => {
            let args = vec![number, time, wanted, announcement];
            (set_count, vec![mark, name], args)
        }
        23 => {
            let args = vec![number, time, wanted, announcement];
            (count_down, vec![mark, name], args)
        }
        24 => (
            delete_count,
            vec![mark, name],
            vec![number, time, announcement],
        ),
        25 => (count, vec![name], Vec::new()),
        26 => (look_at_latch, names.to_vec(), Vec::new()),
        27 => {
            // A cell: what is claimed and written by turns.
            let cell = vec![text(format!("{}:cell", String::from_utf8_lossy(&name)))];
            match dice.below(2) {
                0 => (claim, cell, vec![small]),
                _ => (write, cell, vec![small, wanted]),
            }
        }
        28 => (release_spin, vec![name], vec![field, rest, ttl]),
        29 => (force_spin, vec![name], Vec::new()),
        16 => (pass, vec![name], vec![field, heir, ttl]),
        17 => (
            pass_fenced,
            vec![name, counter],
            vec![field, heir, ttl, small],
        ),
        0..=2 => (acquire, vec![name], vec![ttl, field, holds]),
        3 | 4 => {
            let token = text(dice.below(3).to_string());
            let args = vec![ttl, field, holds, small, token];
            (acquire_fenced, vec![name, counter], args)
        }
        5 => (raise, vec![counter], vec![small]),
        6 | 7 => (release, vec![name], vec![field, rest, ttl, announcement]),
        8 => (force, vec![name], vec![announcement]),
        9 => {
            let mut batch = Batch::default();
            for _ in names {
                let ttl = *dice.one_of(&[0, 60_000, 150_000]);
                let most = *dice.one_of(&[30_000, 150_000, 400_000]);
                batch.in_run([ttl, most], text(*dice.one_of(&["a:1", "a:2", "b:1"])));
            }
            (&RENEW_HASH, names.to_vec(), batch.args)
        }
        12 => {
            let args = vec![number, time, wanted.clone(), text("1"), wanted];
            (take, vec![mark, name], args)
        }
        13 | 14 => {
            let if_there = text(dice.below(2).to_string());
            let args = vec![number, time, wanted, announcement, if_there];
            (give, vec![mark, name], args)
        }
        15 => (look, names.to_vec(), vec![wanted, small]),
        10 => (&PROBE_TTL, names.to_vec(), Vec::new()),
        _ => (&INSPECT_HASH, vec![name], Vec::new()),
    }
}

/// The same, where numbers that are times to live may be a little apart.
fn alike(real: &Value, ours: &Reply) -> bool {
    match (real, ours) {
        (Value::Nil, Reply::Nil) => true,
        (Value::Int(real), Reply::Int(ours)) => {
            real == ours || (*real > 1_000 && (real - ours).abs() < TOLERANCE)
        }
        (Value::Bulk(real), Reply::Text(ours)) => real.as_slice() == ours,
        (Value::Array(real), Reply::Array(ours)) => {
            real.len() == ours.len() && real.iter().zip(ours).all(|(real, ours)| alike(real, ours))
        }
        _ => false,
    }
}

fn sorted(reply: Value) -> Vec<Value> {
    let Value::Array(items) = reply else {
        return vec![reply];
    };
    let mut pairs: Vec<_> = items.chunks(2).map(<[Value]>::to_vec).collect();
    pairs.sort_by_key(|pair| format!("{pair:?}"));
    pairs.concat()
}

fn compare(seed: u64, real: &Direct) {
    let mut dice = Dice::new(seed, 7);
    let names = [text(unique_name("model")), text(unique_name("model"))];
    let mut ours = Server::default();
    let started = Instant::now();
    for step in 0..COMMANDS {
        ours.at(u64::try_from(started.elapsed().as_millis()).expect("short"));
        // Now and then a key vanishes, or becomes something else.
        if dice.chance(40) {
            let name = dice.one_of(&names).clone();
            real.cmd(&[b"DEL".as_slice(), &name]);
            ours.take_away(&name);
            if dice.chance(300) {
                real.cmd(&[b"SET".as_slice(), &name, b"5"]);
                ours.spoil(&name);
            }
        }
        let (script, keys, args) = draw(&mut dice, &names);
        let mut words = vec![
            text("EVAL"),
            text(script.source),
            text(keys.len().to_string()),
        ];
        words.extend(keys.iter().chain(&args).cloned());
        let mut answer = real.cmd(&words);
        if script.name == "inspect/hash"
            && let Value::Array(items) = &mut answer
        {
            let fields = sorted(Value::Array(items.split_off(1)));
            items.extend(fields);
        }
        let mine = ours.run(script.name, &keys, &args);
        let same = match (&answer, &mine) {
            (Value::Error(real), Err(_)) => real.contains("WRONGTYPE"),
            (real, Ok(mine)) => alike(real, mine),
            _ => false,
        };
        assert!(
            same,
            "seed {seed} step {step}: {} {keys:?} {args:?}: {answer:?}, and ours {mine:?}",
            script.name
        );
        for name in &names {
            let there = real.cmd(&[b"HGETALL".as_slice(), name]);
            let mine: Vec<_> = ours
                .fields(name)
                .into_iter()
                .flat_map(|(field, value)| [Reply::Text(field), Reply::Text(value)])
                .collect();
            if !matches!(there, Value::Error(_)) {
                let there = Value::Array(sorted(there));
                assert!(
                    alike(&there, &Reply::Array(mine.clone())),
                    "seed {seed} step {step}: {there:?}, and ours {mine:?}"
                );
            }
            for key in [
                name.clone(),
                text(format!("{}:mark", String::from_utf8_lossy(name))),
            ] {
                let there = real.cmd(&[b"GET".as_slice(), &key]);
                let mine = ours.query("GET", &[key]);
                let same = mine
                    .as_ref()
                    .map_or(matches!(there, Value::Error(_)), |mine| alike(&there, mine));
                assert!(
                    same,
                    "seed {seed} step {step}: {there:?}, and ours {mine:?}"
                );
            }
            let left = real.cmd(&[b"PTTL".as_slice(), name]);
            let mine = Reply::Int(ours.pttl(name));
            assert!(
                alike(&left, &mine),
                "seed {seed} step {step}: {left:?}, and ours {mine:?}"
            );
        }
    }
}

#[test]
fn the_server_in_memory_does_what_a_real_one_does() {
    let server = redlatch_support::Server::shared();
    let direct = server.direct();
    for seed in 0..SEQUENCES {
        compare(seed, &direct);
    }
}
