//! Log events as JSON, one object a line.
//!
//! tracing-subscriber has a JSON format of its own; it takes more than twice the time, which is noticeable in a daemon
//! that logs every message and does little else.

use std::fmt;

use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// `{"timestamp":"…","level":"…","message":"…",…}`: RFC 3339 in UTC, and the fields of the event in its own order.
#[derive(Debug)]
pub struct JsonLines;

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        writer.write_str("{\"timestamp\":\"")?;
        SystemTime.format_time(&mut writer)?;
        write!(writer, "\",\"level\":\"{}\"", event.metadata().level())?;
        let mut members = Members { writer, result: Ok(()) };
        event.record(&mut members);
        members.result?;
        members.writer.write_str("}\n")
    }
}

struct Members<'a> {
    writer: Writer<'a>,
    result: fmt::Result,
}

impl Members<'_> {
    fn member(&mut self, field: &Field, value: Value) {
        // The names are identifiers, which JSON need not escape.
        self.result = self.result.and_then(|()| write!(self.writer, ",\"{}\":{value}", field.name()));
    }
}

impl Visit for Members<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        // Most values need no escapes (RFC 8259, 7), and most of a line is such values.
        if value.bytes().all(|byte| byte >= 0x20 && !matches!(byte, b'"' | b'\\')) {
            self.result = self.result.and_then(|()| {
                for part in [",\"", field.name(), "\":\"", value, "\""] {
                    self.writer.write_str(part)?;
                }
                Ok(())
            });
        } else {
            self.member(field, value.into());
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.member(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.member(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.member(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.member(field, value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.member(field, format!("{value:?}").into());
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use serde_json::json;
    use tracing_subscriber::fmt::MakeWriter;

    use super::*;

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Captured {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    #[test]
    fn an_event_is_one_line_whatever_is_in_it() {
        let captured = Captured::default();
        let subscriber = tracing_subscriber::fmt().event_format(JsonLines).with_writer(captured.clone()).finish();
        tracing::subscriber::with_default(subscriber, || {
            let nothing: Option<&str> = None;
            tracing::info!(from = "a\"\\\r\n\u{1}é", nrcpt = 3, elapsed = 0.25, forged = true, nothing, "message");
        });
        let text = String::from_utf8(captured.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.matches('\n').count(), 1, "{text}");
        let mut object: Value = serde_json::from_str(&text).unwrap();
        let timestamp = object.as_object_mut().unwrap().remove("timestamp").unwrap();
        assert!(timestamp.as_str().unwrap().ends_with('Z'), "{timestamp}");
        let expected = json!({
            "level": "INFO", "message": "message", "from": "a\"\\\r\n\u{1}é", "nrcpt": 3, "elapsed": 0.25, "forged": true
        });
        assert_eq!(object, expected);
    }
}
