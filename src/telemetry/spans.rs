//! Spans and events, through `tracing`, named as OpenTelemetry names those of databases.
//!
//! All spans are at the level debug. The name that a span has for OpenTelemetry is its field `otel.name`, since `tracing`
//! knows only names that never change. Keys, arguments and texts of the server are in none of them.

use std::sync::Arc;

use tracing::{
    Instrument, Level, debug, debug_span, enabled, error, field::Empty, info,
    instrument::Instrumented, warn,
};

use super::{Outcome, error_type};
use crate::{
    engine::transport::{Fault, Reply, Request},
    error::{Error, Result},
    events::Event,
};

/// What all spans and events are filtered by.
const TARGET: &str = "redlatch";

pub(crate) type Within<F> = Instrumented<F>;

/// Something under way.
pub(crate) struct Span(tracing::Span);

impl Span {
    /// What the future does belongs to the span.
    pub(crate) fn within<F: Future>(&self, future: F) -> Within<F> {
        future.instrument(self.0.clone())
    }

    /// What came of a request.
    pub(crate) fn answered(&self, reply: &Result<Reply, Fault>) {
        match reply {
            Ok(_) => {}
            Err(Fault::NotSent { .. }) => self.failed("not_sent"),
            Err(Fault::Unknown { .. }) => self.failed("unknown_outcome"),
            Err(Fault::Closed) => self.failed("closed"),
            Err(Fault::Refused { text, .. }) => {
                let code = status_code(text);
                self.0.record("db.response.status_code", code);
                self.failed(code);
            }
        }
    }

    /// What came of a release.
    pub(crate) fn ended(&self, result: &Result<()>) {
        if let Err(error) = result {
            self.failed(error_type(error));
        }
    }

    fn failed(&self, error: &str) {
        self.0.record("error.type", error);
        self.0.record("otel.status_code", "ERROR");
    }
}

/// The word by which servers begin a refusal. What does not look like one may be anything.
fn status_code(text: &str) -> &str {
    let code = text.split(' ').next().unwrap_or_default();
    let of_code = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    if (1..=32).contains(&code.len()) && code.bytes().all(of_code) {
        code
    } else {
        "ERR"
    }
}

/// A request to the server.
pub(crate) fn request(request: &Request) -> Span {
    let operation = request.verb();
    let script = match request {
        Request::Script { script, .. } => Some(script.name),
        Request::Query { .. } => None,
    };
    let space = script.map_or("", |_| " ");
    let span = debug_span!(
        target: TARGET,
        "redlatch.request",
        otel.name = format_args!("{operation}{space}{}", script.unwrap_or_default()),
        otel.kind = "client",
        otel.status_code = Empty,
        db.system.name = "redis",
        db.operation.name = operation,
        db.stored_procedure.name = script,
        db.response.status_code = Empty,
        "error.type" = Empty,
    );
    Span(span)
}

/// A release of the lock `name` that somebody waits for.
pub(crate) fn release(kind: &'static str, name: &Arc<str>) -> Span {
    let span = debug_span!(
        target: TARGET,
        "redlatch.release",
        otel.status_code = Empty,
        redlatch.lock.kind = kind,
        redlatch.lock.name = &**name,
        "error.type" = Empty,
    );
    Span(span)
}

/// An acquire under way.
pub(super) struct Acquire {
    span: Span,
    outcome: Outcome,
}

impl Acquire {
    pub(super) fn begin(kind: &'static str, name: &Arc<str>) -> Self {
        let span = debug_span!(
            target: TARGET,
            "redlatch.acquire",
            otel.status_code = Empty,
            redlatch.lock.kind = kind,
            redlatch.lock.name = &**name,
            redlatch.outcome = Empty,
            "error.type" = Empty,
        );
        Self {
            span: Span(span),
            outcome: Outcome::Cancelled,
        }
    }

    pub(super) fn within<F: Future>(&self, future: F) -> Within<F> {
        self.span.within(future)
    }

    pub(super) fn ended(mut self, outcome: Outcome, error: Option<&Error>) {
        self.outcome = outcome;
        if let Some(error) = error {
            self.span.failed(error_type(error));
        }
    }
}

impl Drop for Acquire {
    fn drop(&mut self) {
        self.span
            .0
            .record("redlatch.outcome", Outcome::TEXTS[self.outcome as usize]);
    }
}

/// Whether anybody may want to hear of an event.
pub(crate) fn hears_events() -> bool {
    enabled!(target: TARGET, Level::ERROR)
}

/// Tells of an event of a client. Names and reasons are escaped.
pub(crate) fn event(event: &Event) {
    match event {
        Event::AcquiredLate { name, took } => {
            warn!(target: TARGET, { redlatch.lock.name = &**name, ?took }, "the grant took more than a third of its lease");
        }
        Event::RenewedLate { name, after } => {
            warn!(target: TARGET, { redlatch.lock.name = &**name, ?after }, "renewed after more than two thirds of the watchdog timeout");
        }
        Event::Suspect { name, owner } => {
            warn!(target: TARGET, { redlatch.lock.name = &**name, redlatch.owner = display(owner) }, "a renewal failed");
        }
        Event::Lost { name, owner, cause } => {
            error!(target: TARGET, { redlatch.lock.name = &**name, redlatch.owner = display(owner), ?cause }, "a lock was lost");
        }
        Event::FencingReset {
            name,
            seen,
            counter,
        } => {
            error!(target: TARGET, { redlatch.lock.name = &**name, seen, counter }, "the fencing counter is behind");
        }
        Event::OrphanReleased { name, owner } => {
            debug!(target: TARGET, { redlatch.lock.name = &**name, redlatch.owner = display(owner) }, "granted to a caller that had gone, and given back");
        }
        Event::WakeUpMissed { name } => {
            info!(target: TARGET, { redlatch.lock.name = &**name }, "found free by looking");
        }
        Event::SubscriptionFailed { channel, reason } => {
            warn!(target: TARGET, { ?channel, ?reason }, "a channel could not be subscribed to");
        }
        Event::WakeUpRefused { name } => {
            warn!(target: TARGET, { redlatch.lock.name = &**name }, "the server refused to publish a release");
        }
        // What this side has ended is no news.
        Event::Disconnected { reason } if reason == "closed" => {
            debug!(target: TARGET, { ?reason }, "a connection was ended");
        }
        Event::Disconnected { reason } => {
            warn!(target: TARGET, { ?reason }, "a connection was lost");
        }
        Event::Connected => info!(target: TARGET, "a connection is usable"),
        Event::NotFenced { reason } => {
            warn!(target: TARGET, { ?reason }, "the server would not end the previous connection");
        }
        Event::Missed(_) => {}
    }
}
