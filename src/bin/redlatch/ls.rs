//! `redlatch ls`.

use serde::Serialize;

use crate::{
    args::{At, Ls},
    exit::{Code, Failure},
    look::{find::find, thing::Thing},
    print,
    server::Server,
    span,
};

#[derive(Serialize)]
struct Listing<'a> {
    locks: &'a [Thing],
}

pub(crate) async fn ls(at: &At, ls: &Ls, json: bool) -> Result<Code, Failure> {
    let server = Server::look(at).await?;
    let things = find(&server, &ls.pattern, ls.counters).await;
    server.close().await;
    let things = things?;
    if json {
        print::lines([print::json(&Listing { locks: &things })]);
        return Ok(Code::Done);
    }
    let rows: Vec<Vec<String>> = things.iter().map(row).collect();
    let titles = ["NAME", "KIND", "STATE", "OWNERS", "HOLDS", "WAITING", "TTL"];
    if rows.is_empty() {
        eprintln!("no lock is there");
    } else {
        print::lines(print::table(&titles, &rows));
    }
    Ok(Code::Done)
}

fn row(thing: &Thing) -> Vec<String> {
    let taken = thing.permits_taken;
    vec![
        print::name(&thing.name),
        thing.kind.to_string(),
        thing.state(),
        (thing.owners.len() as u64 + taken).to_string(),
        (thing.holds() + taken).to_string(),
        thing.waiting().to_string(),
        ttl(thing),
    ]
}

/// What is left of its time to live.
pub(crate) fn ttl(thing: &Thing) -> String {
    match thing.ttl_ms {
        Some(ms) => span::shown(ms),
        None if thing.no_ttl => "never ends".to_owned(),
        None => "-".to_owned(),
    }
}
