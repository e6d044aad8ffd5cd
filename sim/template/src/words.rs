//! What the functions of Prometheus and Alertmanager have in common.

use crate::OUTPUT_BYTES_MAX;
use crate::print::{quote, significant};
use crate::value::{Extra, Value};

/// Largest compiled regular expression, in bytes.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// A regular expression.
///
/// # Errors
/// What is wrong with it.
pub fn regex(expression: &str) -> Result<regex::Regex, String> {
    regex::RegexBuilder::new(expression).size_limit(REGEX_BYTES_MAX).build().map_err(|error| {
        let told = error.to_string();
        let last = told.lines().last().unwrap_or_default().trim_start_matches("error: ");
        match last {
            "unclosed group" => format!("error parsing regexp: missing closing ): `{expression}`"),
            other => format!("error parsing regexp: {other}"),
        }
    })
}

/// A text with every match replaced.
///
/// # Errors
/// More than [`OUTPUT_BYTES_MAX`].
///
/// ```
/// use sim_template::words::{regex, replace_all};
/// assert_eq!(replace_all(&regex("(a+)").unwrap(), "baab", "<$1>").unwrap(), "b<aa>b");
/// ```
pub fn replace_all(pattern: &regex::Regex, text: &str, replacement: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut end = 0;
    for captures in pattern.captures_iter(text) {
        let Some(all) = captures.get(0) else { break };
        out.push_str(text.get(end..all.start()).unwrap_or_default());
        captures.expand(replacement, &mut out);
        end = all.end();
        if out.len() > OUTPUT_BYTES_MAX {
            break;
        }
    }
    out.push_str(text.get(end..).unwrap_or_default());
    if out.len() > OUTPUT_BYTES_MAX {
        return Err(format!("text larger than {OUTPUT_BYTES_MAX} bytes"));
    }
    Ok(out)
}

/// Every word with a capital; whether the rest of a word becomes small is the host's.
///
/// ```
/// use sim_template::words::title;
/// assert_eq!([title("it's 3x oNE", true), title("it's 3x oNE", false)], ["It's 3X One", "It's 3X ONE"]);
/// ```
pub fn title(text: &str, lower: bool) -> String {
    let (mut inside, mut begun) = (false, false);
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        inside = c.is_alphanumeric() || (inside && matches!(c, '\'' | '_' | '’' | '.' | ':'));
        begun &= inside;
        match (c.is_alphabetic(), begun) {
            (true, false) => {
                begun = true;
                out.extend(c.to_uppercase());
            }
            (true, true) if lower => out.extend(c.to_lowercase()),
            _ => out.push(c),
        }
    }
    out
}

/// A number of a value that is one, or that says one.
///
/// # Errors
/// As Go's `strconv` and Prometheus tell it.
pub fn number<X: Extra>(value: &Value<X>) -> Result<f64, String> {
    match value {
        Value::Float(value) => Ok(*value),
        Value::Int(value) => Ok(*value as f64),
        Value::Duration(nanos) => Ok(*nanos as f64 / 1e9),
        Value::Text(text) => {
            text.parse().map_err(|_| format!("strconv.ParseFloat: parsing {}: invalid syntax", quote(text)))
        }
        other if other.is_nil() => Err("can't convert <nil> to float".to_owned()),
        other => Err(format!("can't convert {} to float", other.type_name())),
    }
}

/// The prefixes of thousandths.
pub const SMALL: [&str; 8] = ["m", "u", "n", "p", "f", "a", "z", "y"];

/// A value below 1 with a prefix of thousandths.
pub fn small(mut value: f64) -> String {
    let mut prefix = "";
    for next in SMALL {
        if value.abs() >= 1.0 {
            break;
        }
        prefix = next;
        value *= 1000.0;
    }
    format!("{}{prefix}", significant(value, 4))
}

/// `1d 2h 3m 4s`, `12.3ms`.
///
/// ```
/// use sim_template::words::humanize_duration;
/// assert_eq!([humanize_duration(93_784.0), humanize_duration(-0.0123)], ["1d 2h 3m 4s", "-12.3ms"]);
/// ```
pub fn humanize_duration(seconds: f64) -> String {
    if !seconds.is_finite() {
        return significant(seconds, 4);
    }
    if seconds == 0.0 {
        return "0s".to_owned();
    }
    if seconds.abs() < 1.0 {
        return format!("{}s", small(seconds));
    }
    let sign = if seconds < 0.0 { "-" } else { "" };
    let whole = seconds.abs() as i64;
    let (days, hours, minutes) = (whole / 86_400, whole / 3600 % 24, whole / 60 % 60);
    if days != 0 {
        format!("{sign}{days}d {hours}h {minutes}m {}s", whole % 60)
    } else if hours != 0 {
        format!("{sign}{hours}h {minutes}m {}s", whole % 60)
    } else if minutes != 0 {
        format!("{sign}{minutes}m {}s", whole % 60)
    } else {
        format!("{}s", significant(seconds, 4))
    }
}
