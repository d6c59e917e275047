//! What is known of each lock, and how often it changed hands.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use futures_util::future::try_join_all;
use serde::Serialize;
use tokio::time::Instant;

use crate::{
    exit::{Code, Failure},
    look::{detail, find::find, names::is_owner, thing::Thing},
    server::{Server, number, pairs},
};

/// Turns of so long are counted.
const WINDOW: Duration = Duration::from_secs(5);
/// Most locks whose owners are looked at between pictures.
const MOST: usize = 64;

/// All locks that are watched.
#[derive(Default)]
pub(super) struct Board {
    rows: BTreeMap<String, Row>,
    begun: Option<Instant>,
}

/// One of them.
pub(super) struct Row {
    pub(super) thing: Thing,
    /// The longest time to live that was seen: the whole of the bar.
    pub(super) longest_ms: u64,
    owners: Vec<String>,
    token: Option<i64>,
    turns: VecDeque<(Instant, u64)>,
}

/// A picture, for programs.
#[derive(Serialize)]
pub(super) struct Report<'a> {
    locks: Vec<Line<'a>>,
}

#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    thing: &'a Thing,
    /// How often it has changed hands in a second, at least.
    turns_per_second: f64,
}

impl Board {
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = (&Row, f64)> {
        let over = self
            .begun
            .map_or(WINDOW, |begun| begun.elapsed().min(WINDOW));
        self.rows.values().map(move |row| (row, row.rate(over)))
    }

    pub(super) fn report(&self) -> Report<'_> {
        let lines = self.rows().map(|(row, rate)| Line {
            thing: &row.thing,
            turns_per_second: (rate * 10.0).round() / 10.0,
        });
        Report {
            locks: lines.collect(),
        }
    }

    /// Looks for names, and at all of them.
    pub(super) async fn find(&mut self, server: &Server, pattern: &str) -> Result<(), Failure> {
        let things = find(server, pattern, false).await?;
        self.begun.get_or_insert_with(Instant::now);
        let names: Vec<String> = things.iter().map(|thing| thing.name.clone()).collect();
        self.rows
            .retain(|name, row| names.contains(name) || row.rate(WINDOW) > 0.0);
        for thing in things {
            self.note(thing);
        }
        Ok(())
    }

    /// Looks at those that are known.
    pub(super) async fn look(&mut self, server: &Server) -> Result<(), Failure> {
        let names: Vec<String> = self.rows.keys().cloned().collect();
        for some in names.chunks(MOST) {
            let looks = some.iter().map(|name| async move {
                match detail::look(server, name).await {
                    Err(failure) if failure.code == Code::Usage => Ok(None),
                    other => other,
                }
            });
            let seen = try_join_all(looks).await?;
            for (name, thing) in some.iter().zip(seen) {
                match thing {
                    Some(thing) => self.note(thing),
                    None => self.is_free(name),
                }
            }
        }
        Ok(())
    }

    /// Looks at owners alone.
    pub(super) async fn glance(&mut self, server: &Server) -> Result<(), Failure> {
        let locks = self.rows.iter().filter(|(_, row)| row.thing.held.is_some());
        let names: Vec<String> = locks.map(|(name, _)| name.clone()).take(MOST).collect();
        let looks = names.iter().map(|name| async move {
            let counter = redlatch::console::Names::of(name).fencing_counter;
            let fields = server.key(name, "HGETALL", []).await;
            let token = server.key(&counter, "GET", []).await;
            (fields, token)
        });
        for (name, (fields, token)) in names
            .iter()
            .zip(futures_util::future::join_all(looks).await)
        {
            if let (Some(row), Ok(fields)) = (self.rows.get_mut(name), fields) {
                let fields = pairs(&fields).map(|(field, _)| field);
                let owners = fields.filter(|field| is_owner(field)).collect();
                row.saw(owners, token.ok().and_then(|token| number(&token)));
            }
        }
        Ok(())
    }

    fn note(&mut self, thing: Thing) {
        let owners: Vec<String> = thing.owners.iter().map(|one| one.owner.clone()).collect();
        let row = self.rows.entry(thing.name.clone()).or_insert_with(|| Row {
            longest_ms: 0,
            owners: owners.clone(),
            token: thing.token,
            turns: VecDeque::new(),
            thing: thing.clone(),
        });
        row.saw(owners, thing.token);
        row.longest_ms = row.longest_ms.max(thing.ttl_ms.unwrap_or(0));
        row.thing = thing;
    }

    fn is_free(&mut self, name: &str) {
        if let Some(row) = self.rows.get_mut(name) {
            row.saw(Vec::new(), None);
            row.thing.held = row.thing.held.map(|_| false);
            row.thing.owners.clear();
            row.thing.queue.clear();
            (row.thing.ttl_ms, row.thing.waiting_clients) = (None, 0);
        }
    }
}

impl Row {
    /// Counts the turns since the look before: by tokens, or whoever is there and was not.
    fn saw(&mut self, mut owners: Vec<String>, token: Option<i64>) {
        owners.sort();
        let came = owners.iter().filter(|owner| !self.owners.contains(owner));
        let turns = match (self.token, token) {
            (Some(before), Some(now)) => u64::try_from(now - before).unwrap_or(0),
            _ => came.count() as u64,
        };
        self.owners = owners;
        self.token = token.or(self.token);
        let now = Instant::now();
        if turns > 0 {
            self.turns.push_back((now, turns));
        }
        while self.turns.front().is_some_and(|(at, _)| now - *at > WINDOW) {
            self.turns.pop_front();
        }
    }

    fn rate(&self, over: Duration) -> f64 {
        let turns: u64 = self.turns.iter().map(|(_, turns)| turns).sum();
        // Few enough to be exact.
        #[allow(clippy::cast_precision_loss)]
        let turns = turns as f64;
        turns / over.as_secs_f64().max(0.05)
    }
}
