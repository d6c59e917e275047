//! `redlatch watch`: locks in a table that is drawn anew.
//!
//! Names are found again every few seconds; in between only those that are known are looked at, and their owners many times
//! between two pictures. What changed hands in between two looks is not seen, so turns are counted too low, except those of
//! fenced locks, which count themselves.

mod board;
mod view;

use std::{
    io::{self, IsTerminal},
    time::Duration,
};

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use tokio::time::{Instant, MissedTickBehavior, interval};

use self::board::Board;
use crate::{
    args::{At, Watch},
    exit::{Code, Failure},
    print,
    server::Server,
};

/// Looks at owners between two pictures.
const LOOKS: u32 = 10;
/// They are at least this far apart.
const PAUSE: Duration = Duration::from_millis(50);
/// How often names are looked for.
const FIND: Duration = Duration::from_secs(5);

pub(crate) async fn watch(at: &At, watch: &Watch, json: bool) -> Result<Code, Failure> {
    let server = Server::look(at).await?;
    let live = !json && !watch.once && io::stdout().is_terminal() && io::stdin().is_terminal();
    let outcome = if live {
        live_view(&server, watch).await
    } else {
        pictures(&server, watch, json).await
    };
    server.close().await;
    outcome.map(|()| Code::Done)
}

/// One picture, or with `--json` a line each until somebody ends it.
async fn pictures(server: &Server, watch: &Watch, json: bool) -> Result<(), Failure> {
    let mut board = Board::default();
    let mut clock = Clock::new(watch.every);
    board.find(server, &watch.pattern).await?;
    loop {
        while !clock.tick().await {
            board.glance(server).await?;
        }
        let last = watch.once || !json;
        if last || clock.is_time_to_find() {
            board.find(server, &watch.pattern).await?;
        } else {
            board.look(server).await?;
        }
        if json {
            print::lines([print::json(&board.report())]);
        } else {
            print::lines(view::text(&board, &watch.pattern));
        }
        if last {
            return Ok(());
        }
    }
}

/// Until somebody presses q.
async fn live_view(server: &Server, watch: &Watch) -> Result<(), Failure> {
    let mut board = Board::default();
    board.find(server, &watch.pattern).await?;
    let unusable = |error: io::Error| Failure::usage(format!("the terminal: {error}"));
    let mut terminal = ratatui::try_init().map_err(unusable)?;
    let outcome = async {
        let mut clock = Clock::new(watch.every);
        let mut scroll = 0;
        loop {
            terminal
                .draw(|frame| view::draw(frame, &board, &watch.pattern, scroll))
                .map_err(unusable)?;
            let due = clock.tick().await;
            match pressed().map_err(unusable)? {
                Some(KeyCode::Char('q') | KeyCode::Esc) => return Ok(()),
                Some(KeyCode::Down | KeyCode::Char('j')) => {
                    scroll = (scroll + 1).min(board.len().saturating_sub(1));
                }
                Some(KeyCode::Up | KeyCode::Char('k')) => scroll = scroll.saturating_sub(1),
                Some(KeyCode::Home) => scroll = 0,
                _ => {}
            }
            if !due {
                board.glance(server).await?;
            } else if clock.is_time_to_find() {
                board.find(server, &watch.pattern).await?;
            } else {
                board.look(server).await?;
            }
        }
    };
    let ended = ending();
    let outcome = tokio::select! {
        outcome = outcome => outcome,
        () = ended => Ok(()),
    };
    ratatui::restore();
    outcome
}

/// A key, if one was pressed; Ctrl-C is q.
fn pressed() -> io::Result<Option<KeyCode>> {
    if !event::poll(Duration::ZERO)? {
        return Ok(None);
    }
    Ok(match event::read()? {
        Event::Key(key) if key.kind == KeyEventKind::Release => None,
        Event::Key(key)
            if key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL) =>
        {
            Some(KeyCode::Char('q'))
        }
        Event::Key(key) => Some(key.code),
        _ => None,
    })
}

/// Until this process is asked to end.
async fn ending() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};

        if let Ok(mut term) = signal(SignalKind::terminate()) {
            term.recv().await;
            return;
        }
    }
    std::future::pending().await
}

/// When to look, when to draw, and when to look for names.
struct Clock {
    ticks: tokio::time::Interval,
    count: u32,
    found: Instant,
}

impl Clock {
    fn new(every: Duration) -> Self {
        let mut ticks = interval((every / LOOKS).max(PAUSE).min(every));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.reset();
        Self {
            ticks,
            count: 0,
            found: Instant::now(),
        }
    }

    /// Waits for the next look; true when a picture is due.
    async fn tick(&mut self) -> bool {
        self.ticks.tick().await;
        self.count += 1;
        self.count.is_multiple_of(LOOKS)
    }

    fn is_time_to_find(&mut self) -> bool {
        let due = self.found.elapsed() >= FIND;
        if due {
            self.found = Instant::now();
        }
        due
    }
}
