//! Documents do not name tests that are not there.

use std::{collections::BTreeSet, path::Path};

/// All Rust sources in a folder, and the names of its files and folders.
fn sources(folder: &Path, text: &mut String, names: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_stem().expect("a name").to_string_lossy();
        names.insert(name.into_owned());
        if path.is_dir() {
            sources(&path, text, names);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            text.push_str(&std::fs::read_to_string(&path).expect("a source"));
        }
    }
}

/// What stands in back quotes in the last column of tables whose last column is headed "test" or "tests".
fn tests_named(document: &str) -> Vec<&str> {
    let (mut inside, mut found) = (false, Vec::new());
    for line in document.lines() {
        let last = line.trim_end_matches('|').rsplit_once('|');
        let Some((_, last)) = last.filter(|_| line.starts_with('|')) else {
            inside = false;
            continue;
        };
        inside |= matches!(last.trim(), "test" | "tests");
        if inside {
            found.extend(last.split('`').skip(1).step_by(2));
        }
    }
    found
}

#[test]
fn every_test_that_documents_name_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut text, mut names) = (String::new(), BTreeSet::new());
    for folder in ["src", "tests"] {
        sources(&root.join(folder), &mut text, &mut names);
    }
    for (document, least) in [("faults.md", 100), ("guarantees.md", 30)] {
        let path = root.join("docs").join(document);
        let written = std::fs::read_to_string(path).expect("a document");
        let named = tests_named(&written);
        assert!(named.len() >= least, "{document}: {} tests", named.len());
        for test in named {
            let name = test.rsplit(['/', ':']).next().expect("there is a last");
            let functions = [format!("fn {name}("), format!("fn {name}<")];
            let there = functions.iter().any(|function| text.contains(function));
            // Or all that is in a file or a folder.
            assert!(there || names.contains(name), "{document}: no {test}");
        }
    }
}
