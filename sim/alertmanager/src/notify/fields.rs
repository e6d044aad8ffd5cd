//! JSON objects with their fields in a given order, as Go's encoder writes structs.

use crate::template::value::quote;

/// An object under way.
#[derive(Debug, Default)]
pub(super) struct Fields(Vec<String>);

impl Fields {
    /// A field that is written as it is.
    pub fn raw(mut self, name: &str, json: &str) -> Self {
        self.0.push(format!("\"{name}\":{json}"));
        self
    }

    /// A text, empty or not.
    pub fn text(self, name: &str, value: &str) -> Self {
        self.raw(name, &quote(value))
    }

    /// A text, left out when it is empty.
    pub fn some(self, name: &str, value: &str) -> Self {
        if value.is_empty() { self } else { self.text(name, value) }
    }

    /// A list of JSON values, left out when it is empty.
    pub fn list(self, name: &str, items: &[String]) -> Self {
        if items.is_empty() { self } else { self.raw(name, &format!("[{}]", items.join(","))) }
    }

    /// The object.
    pub fn finish(self) -> String {
        format!("{{{}}}", self.0.join(","))
    }
}

/// A text of at most `max` characters; what is cut is shown as an ellipsis.
pub(super) fn truncate(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    text.chars().take(max - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_keep_their_order_and_long_texts_end_in_an_ellipsis() {
        let object = Fields::default().text("b", "").some("a", "").some("c", "<").list("l", &["1".to_owned()]).finish();
        assert_eq!(object, r#"{"b":"","c":"\u003c","l":[1]}"#);
        assert_eq!(truncate("äöüß", 4), "äöüß");
        assert_eq!(truncate("äöüßx", 4), "äöü…");
    }
}
