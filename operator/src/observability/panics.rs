//! Panics in the log: one line like any other, where the runtime itself would put several lines of plain text between those of JSON.

use std::panic::{Location, PanicHookInfo};

use tracing::Level;

use super::logging::{LogFormat, line};
use crate::host::LogWriter;

/// A hook for `std::panic::set_hook`, which is for the binary to call: a process has one.
pub fn panic_hook(format: LogFormat, writer: LogWriter) -> impl Fn(&PanicHookInfo<'_>) + Send + Sync + 'static {
    move |panic| {
        let payload = panic.payload();
        let message = payload.downcast_ref::<&str>().copied();
        let message = message.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        writer(&panic_line(format, message, panic.location()));
    }
}

fn panic_line(format: LogFormat, message: Option<&str>, location: Option<&Location<'_>>) -> String {
    let message = message.unwrap_or("it says nothing").to_owned();
    let mut fields = vec![("error".to_owned(), message.into())];
    fields.extend(location.map(|location| ("location".to_owned(), location.to_string().into())));
    line(format, Level::ERROR, jiff::Timestamp::now(), "panic", fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_one_line_with_its_place() {
        let here = Location::caller();
        let text = panic_line(LogFormat::Json, Some("index out of bounds:\nthe len is 3"), Some(here));
        assert_eq!(text.lines().count(), 1);
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&line["level"], &line["msg"]), (&"error".into(), &"panic".into()));
        assert_eq!(line["error"], "index out of bounds:\nthe len is 3");
        assert_eq!(line["location"], here.to_string());
        let text = panic_line(LogFormat::Text, None, None);
        assert!(text.contains("\tERROR\tpanic\t") && text.lines().count() == 1, "{text}");
    }
}
