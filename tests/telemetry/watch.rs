//! A subscriber, and what it has seen of one test.
//!
//! It is that of the whole process: which spans anybody wants is remembered for all threads, and to set subscribers for some
//! of them while others begin spans goes wrong now and then. What is seen goes to the test on whose thread it was.

use std::{cell::RefCell, collections::BTreeMap, fmt::Debug, sync::Once};

use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
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

thread_local! {
    /// What is seen on this thread; none while nobody looks.
    static SEEN: RefCell<Option<Vec<Seen>>> = const { RefCell::new(None) };
}

fn note(with: impl FnOnce(&mut Vec<Seen>)) {
    SEEN.with_borrow_mut(|seen| seen.as_mut().map(with));
}

/// Lets everything be seen from now on.
pub(crate) fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let subscriber = tracing_subscriber::registry().with(Seeing);
        tracing::subscriber::set_global_default(subscriber).expect("the first");
    });
}

struct Seeing;

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
        let seen = Seen {
            name: metadata.name(),
            target: metadata.target().to_owned(),
            level: *metadata.level(),
            fields,
            parent: span.parent().map(|parent| parent.name()),
            is_event: false,
            id: Some(id.into_u64()),
        };
        note(|all| all.push(seen));
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _: Context<'_, S>) {
        note(|all| {
            // Ids are used again, so the latest of that id is meant.
            let span = (all.iter_mut()).rfind(|seen| seen.id == Some(id.into_u64()));
            if let Some(span) = span {
                values.record(&mut Writing(&mut span.fields));
            }
        });
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::new();
        event.record(&mut Writing(&mut fields));
        let metadata = event.metadata();
        let seen = Seen {
            name: metadata.name(),
            target: metadata.target().to_owned(),
            level: *metadata.level(),
            fields,
            parent: context.event_span(event).map(|parent| parent.name()),
            is_event: true,
            id: None,
        };
        note(|all| all.push(seen));
    }
}

/// Whoever looks at this thread, until this is dropped.
pub(crate) struct Watch(());

impl Drop for Watch {
    fn drop(&mut self) {
        SEEN.set(None);
    }
}

impl Watch {
    pub(crate) fn install() -> Self {
        listen();
        SEEN.set(Some(Vec::new()));
        Self(())
    }

    /// All that the library has told.
    pub(crate) fn all(&self) -> Vec<Seen> {
        let all = SEEN.with_borrow(|seen| seen.clone().unwrap_or_default());
        let ours = all.into_iter().filter(|seen| seen.target == "redlatch");
        ours.collect()
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
