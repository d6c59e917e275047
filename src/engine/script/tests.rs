//! Every script file says in its header what it takes and gives, and the header is true.

use std::{collections::BTreeSet, fs, path::Path};

use super::*;
use crate::{
    access::{self, tests::same},
    coordination, election,
    engine::protocol::{Ask, Call, Question, Rest},
    fencing,
    lock::{self, fair, fenced, group, read_write, reentrant, spin},
    schedule,
};

/// What a header declares: single slots by number, or a pattern with `i` for a list.
#[derive(Debug, Default)]
struct Header {
    keys: BTreeSet<usize>,
    args: BTreeSet<usize>,
    open_ended: bool,
    returns: bool,
    publishes: bool,
    interchangeable: bool,
    builds: bool,
}

fn header(source: &str) -> Header {
    let mut header = Header::default();
    for line in source.lines().take_while(|line| line.starts_with("--")) {
        let line = line.trim_start_matches("-- ");
        for (word, slots) in [("KEYS[", &mut header.keys), ("ARGV[", &mut header.args)] {
            if let Some((slot, _)) = line
                .strip_prefix(word)
                .and_then(|rest| rest.split_once(']'))
            {
                match slot.parse() {
                    Ok(number) => {
                        slots.insert(number);
                    }
                    Err(_) => header.open_ended = true,
                }
            }
        }
        header.returns |= line.starts_with("Returns ");
        header.publishes |= line.starts_with("Publishes ");
        header.builds |= line.starts_with("Builds: ");
        header.interchangeable |= line.starts_with("Interchangeable with: ");
    }
    header
}

fn body(source: &str) -> String {
    source
        .lines()
        .filter(|line| !line.starts_with("--"))
        .collect::<Vec<_>>()
        .join("\n")
}

fn all_scripts() -> Vec<&'static Script> {
    let mut scripts = vec![&RENEW_HASH, &PROBE_TTL, &INSPECT_HASH];
    scripts.extend(reentrant::SCRIPTS);
    scripts.extend(fair::SCRIPTS);
    scripts.extend(read_write::SCRIPTS);
    scripts.extend(fenced::SCRIPTS);
    scripts.extend(spin::SCRIPTS);
    scripts.extend(group::SCRIPTS);
    scripts.extend(fencing::SCRIPTS);
    scripts.extend(election::SCRIPTS);
    scripts.extend(schedule::SCRIPTS);
    scripts.extend(access::SCRIPTS);
    scripts.extend(coordination::scripts());
    scripts
}

/// What scripts are built on, and no scripts themselves.
const FRAGMENTS: [&str; 4] = [
    "publish/announce",
    "fair/queue",
    "gather/each",
    "group/clock",
];

#[test]
fn every_file_is_a_script_and_every_script_a_file() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/scripts");
    let mut files = BTreeSet::new();
    for kind in fs::read_dir(&root).expect("the folder is there") {
        let kind = kind.expect("readable").path();
        for file in fs::read_dir(&kind).expect("a folder") {
            let file = file.expect("readable").path();
            let name = file.strip_prefix(&root).expect("below the root");
            files.insert(name.with_extension("").to_string_lossy().into_owned());
        }
    }
    let names: BTreeSet<_> = all_scripts()
        .iter()
        .map(|script| script.name)
        .chain(FRAGMENTS)
        .map(str::to_owned)
        .collect();
    assert_eq!(files, names);
}

#[test]
fn headers_keep_their_contract() {
    for script in all_scripts() {
        let (name, header, body) = (script.name, header(script.file), body(script.file));
        assert!(
            header.interchangeable,
            "{name} does not say what it is interchangeable with"
        );
        assert!(header.returns, "{name} does not say what it returns");
        assert!(header.publishes, "{name} does not say what it publishes");
        assert!(body.lines().count() <= 40, "{name} is long");
        for (word, declared) in [("KEYS[", &header.keys), ("ARGV[", &header.args)] {
            let used: BTreeSet<usize> = body
                .split(word)
                .skip(1)
                .filter_map(|rest| rest.split_once(']')?.0.parse().ok())
                .collect();
            if !header.open_ended {
                assert_eq!(used, *declared, "{name}: {word}");
            }
            assert!(
                declared.iter().copied().eq(1..=declared.len()),
                "{name}: {word} has a gap"
            );
        }
        assert!(
            header.builds || !script.source.contains(" .. "),
            "{name} builds a name, which a cluster cannot route, and does not say so"
        );
    }
}

#[test]
fn commands_fit_their_headers() {
    let kinds = lock::protocols();
    let ask = Ask {
        holds: 1,
        ttl_ms: 1,
        stays: true,
        placed: false,
        token: 0,
        floor: 0,
        places: 0,
    };
    let rest = Rest {
        holds: 0,
        most: 0,
        ttl_ms: 1,
        lasts_ms: 1,
        longest_ms: 1,
    };
    for protocol in kinds {
        let call = Call::example(protocol, 1);
        let commands = [
            Some(protocol.acquire(&call, &ask)),
            Some(protocol.release(&call, &rest)),
            Some(protocol.force_release(&call)),
            protocol.abandon(&call),
            protocol.question(&call, Question::Locked),
        ];
        for command in commands.into_iter().flatten() {
            let header = header(command.script.file);
            let (keys, args) = (command.keys.len(), command.args.len());
            assert_eq!(keys, header.keys.len(), "{:?}", command.script);
            assert_eq!(args, header.args.len(), "{:?}", command.script);
        }
    }
}

#[test]
fn commands_of_synchronizers_fit_their_headers() {
    for (command, marked) in coordination::examples() {
        let header = header(command.script.file);
        let (keys, args) = if marked { (1, 2) } else { (0, 0) };
        let (keys, args) = (command.keys.len() + keys, command.args.len() + args);
        if header.open_ended {
            assert!(keys >= header.keys.len(), "{:?}", command.script);
            assert!(args >= header.args.len(), "{:?}", command.script);
        } else {
            assert_eq!(keys, header.keys.len(), "{:?}", command.script);
            assert_eq!(args, header.args.len(), "{:?}", command.script);
        }
    }
}

#[test]
fn a_script_is_known_by_its_sha1() {
    let sha = RENEW_HASH.sha();
    assert_eq!(sha.len(), 40);
    assert!(sha.bytes().all(|byte| byte.is_ascii_hexdigit()));
    assert_ne!(sha, PROBE_TTL.sha());
}

/// A queue without a bound is one more way to fill the memory of a process: the two there are have as many entries as
/// something else that is bounded.
#[test]
fn queues_have_bounds() {
    let mut all = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut all);
    let mut unbounded: Vec<_> = all
        .iter()
        .filter(|(path, text)| {
            !path.ends_with("/tests.rs")
                && !path.contains("/simulation/")
                && text.contains("unbounded_channel()")
        })
        .map(|(path, _)| path.rsplit('/').next().unwrap_or_default())
        .collect();
    unbounded.sort_unstable();
    assert_eq!(unbounded, ["acks.rs", "wakeup.rs"]);
}

/// Every file of Rust below `src`, by its path.
fn sources(folder: &Path, into: &mut Vec<(String, String)>) {
    for file in fs::read_dir(folder).expect("a folder") {
        let path = file.expect("readable").path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|end| end == "rs") {
            let text = fs::read_to_string(&path).expect("readable");
            into.push((path.to_string_lossy().into_owned(), text));
        }
    }
}

/// A script that is changed shows up in a review, here as well as in its own file, and none comes in by another door.
#[test]
fn the_scripts_that_are_sent_are_a_fixed_list() {
    let scripts = all_scripts();
    let gathered = scripts.iter().filter_map(|script| script.gathered);
    let mut lines: Vec<_> = scripts
        .iter()
        .copied()
        .chain(gathered)
        .map(|script| format!("{} {}", script.sha(), script.name))
        .collect();
    lines.sort_by(|one, other| one[40..].cmp(&other[40..]));
    same("src/engine/script/approved.txt", None, &lines.join("\n"));
}

/// The text of a script is a constant of files: there is one place that makes a script, of `include_str!`, and one that
/// loads it. What a server runs is named by its digest.
#[test]
fn no_script_is_put_together_at_run_time() {
    let mut all = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut all);
    let of_tests = ["/tests.rs", "/simulation/", "/transport/fake.rs"];
    let found = |word: &str| -> Vec<(&str, usize)> {
        all.iter()
            .filter(|(path, _)| !of_tests.iter().any(|part| path.contains(part)))
            .map(|(path, text)| (path.as_str(), text.matches(word).count()))
            .filter(|(_, count)| *count > 0)
            .collect()
    };
    let only = |word: &str, file: &str| match found(word).as_slice() {
        [(path, 1)] => assert!(path.ends_with(file), "{word} in {path}"),
        other => panic!("{word} is to be found once, in {file}: {other:?}"),
    };
    only("Script::new(", "src/engine/script.rs");
    only("script_load(", "src/engine/transport/link.rs");
    only("\"EVALSHA\"", "src/engine/transport/node.rs");
    // The self-test loads without running.
    only("\"SCRIPT\"", "src/engine/rights.rs");
    for word in ["\"EVAL\"", "\"EVAL_RO\"", "Box::leak", ".leak()"] {
        assert_eq!(found(word), [], "{word}");
    }
}
