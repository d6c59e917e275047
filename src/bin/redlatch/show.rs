//! `redlatch show`.

use crate::{
    args::{At, Show},
    exit::{Code, Failure},
    look::{
        detail,
        thing::{Holding, Place, Thing},
    },
    ls::ttl,
    print,
    server::Server,
    span,
};

pub(crate) async fn show(at: &At, show: &Show, json: bool) -> Result<Code, Failure> {
    let server = Server::look(at).await?;
    let thing = detail::look(&server, &show.name).await;
    server.close().await;
    let Some(thing) = thing? else {
        let message = format!("there is nothing named {}", print::name(&show.name));
        return Err(Failure::new(Code::Nothing, message));
    };
    if json {
        print::lines([print::json(&thing)]);
    } else {
        print::lines(page(&thing));
    }
    Ok(Code::Done)
}

/// All of it, a line for each thing.
fn page(thing: &Thing) -> Vec<String> {
    let mut lines = Vec::new();
    let mut say = |title: &str, text: String| lines.push(format!("{title:<10}{text}"));
    say("name", print::name(&thing.name));
    say("kind", thing.kind.to_string());
    say("state", thing.state());
    if thing.ttl_ms.is_some() || thing.no_ttl {
        say("ttl", ttl(thing));
    }
    if let Some(token) = thing.token {
        say("token", format!("{token} (the last that was given)"));
    }
    let mut title = "owner";
    for owner in &thing.owners {
        say(std::mem::take(&mut title), holding(owner));
    }
    if thing.permits_taken > 0 {
        say("permits", format!("{} taken", thing.permits_taken));
        for permit in &thing.permits {
            let left = match permit.lease_left_ms {
                None => "without a lease".to_owned(),
                Some(ms) if ms < 0 => format!("its lease was over {} ago", ago(ms)),
                Some(ms) => format!("for {} yet", span::shown(ms.unsigned_abs())),
            };
            say("", format!("{} {left}", permit.id));
        }
    }
    let clients = thing.waiting_clients;
    if clients > 0 || thing.queue.is_empty() {
        say("waiting", format!("{clients} clients listen"));
    }
    let mut title = "queue";
    for (number, place) in thing.queue.iter().enumerate() {
        say(std::mem::take(&mut title), queued(number + 1, place));
    }
    lines
}

fn holding(holding: &Holding) -> String {
    let mut text = format!("{}  holds {}", print::name(&holding.owner), holding.holds);
    if let Some(value) = &holding.value {
        text = format!("{text} of value {value}");
    }
    if let Some(markers) = &holding.markers_ms {
        let left: Vec<String> = markers.iter().map(|ms| marker(*ms)).collect();
        let left = if left.is_empty() {
            "none: a reader that is gone".to_owned()
        } else {
            left.join(", ")
        };
        text = format!("{text}  markers {left}");
    }
    text
}

fn marker(ms: i64) -> String {
    u64::try_from(ms).map_or_else(|_| "never ends".to_owned(), span::shown)
}

fn queued(number: usize, place: &Place) -> String {
    let deadline = match place.deadline_in_ms {
        None => "no deadline".to_owned(),
        Some(ms) if ms < 0 => format!("deadline {} ago", ago(ms)),
        Some(ms) => format!("deadline in {}", span::shown(ms.unsigned_abs())),
    };
    let listens = if place.listening {
        "listens"
    } else {
        "does not listen"
    };
    format!(
        "{number}. {}  {deadline}  {listens}",
        print::name(&place.owner)
    )
}

fn ago(ms: i64) -> String {
    span::shown(ms.unsigned_abs())
}
