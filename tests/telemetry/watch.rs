//! A subscriber for one test, and what it has seen.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    sync::{Arc, Mutex},
};

use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
    subscriber::DefaultGuard,
};
use tracing_subscriber::{Layer, layer::Context, layer::SubscriberExt, registry::LookupSpan};

type Fields = BTreeMap<&'static str, String>;

/// A span, or an event.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) name: &'static str,
    pub(crate) target: String,
    pub(crate) level: Level,
    pub(crate) fields: Fields,
    /// The name of the span around it.
    pub(crate) parent: Option<&'static str>,
    pub(crate) is_event: bool,
    id: Option<u64>,
}

impl Seen {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(String::as_str)
    }
}

#[derive(Clone, Default)]
struct Seeing(Arc<Mutex<Vec<Seen>>>);

struct Writing<'a>(&'a mut Fields);

impl Visit for Writing<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Seeing {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::new();
        attributes.record(&mut Writing(&mut fields));
        let span = context.span(id).expect("it is new");
        let metadata = attributes.metadata();
        self.0.lock().expect("no panic").push(Seen {
            name: metadata.name(),
            target: metadata.target().to_owned(),
            level: *metadata.level(),
            fields,
            parent: span.parent().map(|parent| parent.name()),
            is_event: false,
            id: Some(id.into_u64()),
        });
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _: Context<'_, S>) {
        let mut seen = self.0.lock().expect("no panic");
        // Ids are used again, so the latest of that id is meant.
        let span = (seen.iter_mut()).rfind(|seen| seen.id == Some(id.into_u64()));
        values.record(&mut Writing(&mut span.expect("it has begun").fields));
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::new();
        event.record(&mut Writing(&mut fields));
        let metadata = event.metadata();
        self.0.lock().expect("no panic").push(Seen {
            name: metadata.name(),
            target: metadata.target().to_owned(),
            level: *metadata.level(),
            fields,
            parent: context.event_span(event).map(|parent| parent.name()),
            is_event: true,
            id: None,
        });
    }
}

/// The subscriber of this thread, until this is dropped.
pub(crate) struct Watch {
    seeing: Seeing,
    _set: DefaultGuard,
}

impl Watch {
    pub(crate) fn install() -> Self {
        let seeing = Seeing::default();
        let subscriber = tracing_subscriber::registry().with(seeing.clone());
        Self {
            seeing,
            _set: tracing::subscriber::set_default(subscriber),
        }
    }

    /// All that the library has told.
    pub(crate) fn all(&self) -> Vec<Seen> {
        let seen = self.seeing.0.lock().expect("no panic");
        let ours = seen.iter().filter(|seen| seen.target == "redlatch");
        ours.cloned().collect()
    }

    /// All spans of this name, in the order in which they began.
    pub(crate) fn spans(&self, name: &str) -> Vec<Seen> {
        let all = self.all().into_iter();
        all.filter(|seen| !seen.is_event && seen.name == name)
            .collect()
    }

    /// The requests that go by this name.
    pub(crate) fn requests(&self, name: &str) -> Vec<Seen> {
        let all = self.spans("redlatch.request").into_iter();
        all.filter(|seen| seen.field("otel.name") == Some(name))
            .collect()
    }

    /// All events with this message.
    pub(crate) fn events(&self, message: &str) -> Vec<Seen> {
        let all = self.all().into_iter();
        all.filter(|seen| seen.is_event && seen.field("message") == Some(message))
            .collect()
    }
}
