//! Passwords, which are never printed.

use redlatch_support::Server;

use crate::kit::{Running, at};

const SECRET: &str = "hunter2-not-to-be-seen";

#[test]
fn a_password_is_printed_nowhere() {
    let server = Server::builder().password(SECRET).start();
    let address = server.address();
    let wrong = format!("redis://:{SECRET}x@{address}");
    let nobody = format!("redis://user:{SECRET}@127.0.0.1:1");
    let odd = format!("http://user:{SECRET}@a");
    let away = format!("redis://:{SECRET}@192.0.2.1");
    for (url, code) in [(&wrong, 69), (&nobody, 69), (&odd, 64), (&away, 64)] {
        for words in [
            &["ls"][..],
            &["--json", "ls"],
            &["run", "--lock", "a", "--", "true"],
        ] {
            let came = Running::start(at(url, words)).end().ended(code);
            assert!(
                !came.err.is_empty() && !came.err.contains(SECRET),
                "{came:?}"
            );
            assert!(!came.out.contains(SECRET), "{came:?}");
        }
    }
    let right = format!("redis://:{SECRET}@{address}");
    for words in [
        &["doctor"][..],
        &["--help"],
        &["run", "--help"],
        &["man"],
        &["completions", "bash"],
        &["run", "--json", "--lock", "a", "--", "true"],
    ] {
        let came = Running::start(at(&right, words)).end();
        assert!(![64, 69].contains(&came.code), "{came:?}");
        assert!(!(came.out + &came.err).contains(SECRET), "{words:?}");
    }
}

#[test]
fn a_password_comes_from_a_file() {
    let server = Server::builder().password(SECRET).start();
    let folder = crate::kit::Folder::new();
    let file = folder.path("password");
    std::fs::write(&file, format!("{SECRET}\n")).expect("writes");
    let url = format!("redis://{}", server.address());
    Running::start(at(&url, &["ls"])).end().ended(69);
    let mut listing = at(&url, &["ls"]);
    listing.env("REDLATCH_PASSWORD_FILE", &file);
    Running::start(listing).end().ended(0);
    let mut listing = at(&url, &["ls"]);
    listing.env("REDLATCH_PASSWORD_FILE", folder.path("none"));
    Running::start(listing).end().ended(64);
}
