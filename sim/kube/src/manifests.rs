//! Multi-document YAML (and JSON, and `kind: List`) into objects.

use serde_json::Value;

use crate::error::Error;

/// Reads every object of a manifest text, in order; a `kind: List` (or any `…List` with items) is unfolded.
///
/// # Errors
/// [`Error::Manifest`] names the document and the line of the whole text.
///
/// ```
/// let objects = sim_kube::manifests::parse("kind: A\napiVersion: v1\n---\nkind: B\napiVersion: v1\n").unwrap();
/// assert_eq!(objects.len(), 2);
/// ```
pub fn parse(text: &str) -> Result<Vec<Value>, Error> {
    let mut objects = Vec::new();
    for (index, (first_line, document)) in documents(text).into_iter().enumerate() {
        let at = |line: u64, message: String| Error::Manifest { document: index + 1, line, message };
        if document.lines().all(|l| l.trim().is_empty() || l.trim_start().starts_with('#')) {
            continue;
        }
        let value: Value = serde_saphyr::from_str(&document).map_err(|e| {
            let line = e.location().map_or(1, |l| l.line().max(1));
            at(first_line + line - 1, e.to_string())
        })?;
        unfold(value, &mut objects).map_err(|message| at(first_line, message))?;
    }
    Ok(objects)
}

fn unfold(value: Value, objects: &mut Vec<Value>) -> Result<(), String> {
    if value.is_null() {
        return Ok(());
    }
    if !value.is_object() {
        return Err("an object is a map with apiVersion and kind".into());
    }
    let kind = value.get("kind").and_then(Value::as_str).unwrap_or("").to_owned();
    if kind.is_empty() || value.get("apiVersion").and_then(Value::as_str).is_none_or(str::is_empty) {
        return Err("apiVersion and kind must be set".into());
    }
    match value.get("items").and_then(Value::as_array) {
        Some(items) if kind.ends_with("List") => items.iter().try_for_each(|item| unfold(item.clone(), objects)),
        _ => {
            objects.push(value);
            Ok(())
        }
    }
}

/// Splits at `---` lines; each piece with the number of its first line.
fn documents(text: &str) -> Vec<(u64, String)> {
    let mut pieces = vec![(1, String::new())];
    for (index, line) in text.lines().enumerate() {
        if line == "---" || line.starts_with("--- ") {
            let rest = line[3..].trim();
            let body = if rest.is_empty() || rest.starts_with('#') { String::new() } else { format!("{rest}\n") };
            let first = index as u64 + if body.is_empty() { 2 } else { 1 };
            pieces.push((first, body));
        } else if let Some((_, piece)) = pieces.last_mut() {
            piece.push_str(line);
            piece.push('\n');
        }
    }
    pieces.retain(|(_, piece)| !piece.trim().is_empty());
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_document_and_the_line_of_the_whole_text() {
        let text = "apiVersion: v1\nkind: A\n---\napiVersion: v1\nkind: B\nx: [1\n";
        let Err(Error::Manifest { document, line, .. }) = parse(text) else { panic!("must fail") };
        assert_eq!(document, 2);
        assert!((6..=7).contains(&line), "line {line}");
        let Err(Error::Manifest { document, line, message }) = parse("\n---\nkind: A\n") else { panic!("must fail") };
        assert_eq!((document, line), (1, 3));
        assert!(message.contains("apiVersion"));
    }

    #[test]
    fn lists_unfold_and_comments_are_no_documents() {
        let text = "# nothing\n---\napiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: A}\n- {apiVersion: v1, kind: B}\n---\n";
        let kinds: Vec<_> = parse(text).unwrap().iter().map(|v| v["kind"].clone()).collect();
        assert_eq!(kinds, ["A", "B"]);
    }
}
