//! Passes the events of `tracing` to the buffer of the log.
//!
//! Touches the clock.

use std::borrow::Cow;
use std::time::SystemTime;

use tracing::span::{Attributes, Id};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::LogBuffer;
use crate::log::record::{FieldCollector, FieldValue, LogRecord};

/// Makes a [`LogRecord`] of each event, with the fields of the spans around it.
#[derive(Debug)]
pub(super) struct RecordLayer(pub(super) LogBuffer);

/// The fields of a span, as an event inside it gets them.
struct SpanFields(Vec<(Cow<'static, str>, FieldValue)>);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for RecordLayer {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut collector = FieldCollector::default();
        attributes.record(&mut collector);
        for (name, _) in &mut collector.fields {
            if name == "name" {
                *name = Cow::Borrowed(span.name()); // `peer{name="r1"}` is `peer=r1`
            }
        }
        span.extensions_mut().insert(SpanFields(collector.fields));
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let metadata = event.metadata();
        let mut collector = FieldCollector::default();
        event.record(&mut collector);
        let mut fields = Vec::new();
        for span in context.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(SpanFields(of_span)) = span.extensions().get() {
                fields.extend(of_span.iter().cloned());
            }
        }
        fields.append(&mut collector.fields);
        self.0.push(LogRecord {
            time: SystemTime::now(),
            level: *metadata.level(),
            target: collector.target.map_or(Cow::Borrowed(metadata.target()), Cow::Owned),
            message: collector.message,
            fields,
            ends_program: false,
        });
    }
}
