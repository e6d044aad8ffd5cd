//! How Go prints: floats, quoted texts, `print` and `printf`.

use crate::value::{Extra, Value};
use crate::{OUTPUT_BYTES_MAX, PRINTF_WIDTH_MAX};
use std::fmt::{self, Write};

/// A text that takes no more than it may hold.
#[derive(Debug, Default)]
struct Bounded(String);

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.0.len() + text.len() > OUTPUT_BYTES_MAX {
            return Err(fmt::Error);
        }
        self.0.push_str(text);
        Ok(())
    }
}

/// What is written, as long as it is not too large.
///
/// # Errors
/// More than [`OUTPUT_BYTES_MAX`].
pub fn bounded(write: impl FnOnce(&mut dyn Write) -> fmt::Result) -> Result<String, String> {
    let mut out = Bounded::default();
    match write(&mut out) {
        Ok(()) => Ok(out.0),
        Err(fmt::Error) => Err(format!("text larger than {OUTPUT_BYTES_MAX} bytes")),
    }
}

/// `[a b]`
///
/// # Errors
/// Those of the writer.
pub fn list<T>(
    out: &mut dyn Write,
    items: impl Iterator<Item = T>,
    mut print: impl FnMut(&mut dyn Write, T) -> fmt::Result,
) -> fmt::Result {
    out.write_str("[")?;
    for (place, item) in items.enumerate() {
        if place > 0 {
            out.write_str(" ")?;
        }
        print(out, item)?;
    }
    out.write_str("]")
}

/// `map[a:1 b:2]`
///
/// # Errors
/// Those of the writer.
pub fn map<K: AsRef<str>, V>(
    out: &mut dyn Write,
    entries: impl Iterator<Item = (K, V)>,
    mut print: impl FnMut(&mut dyn Write, V) -> fmt::Result,
) -> fmt::Result {
    out.write_str("map")?;
    list(out, entries, |out, (name, value)| {
        write!(out, "{}:", name.as_ref())?;
        print(out, value)
    })
}

/// A text in Go's double quotes (`strconv.Quote`).
///
/// ```
/// assert_eq!(sim_template::print::quote("a\"\n\u{7f}é"), r#""a\"\n\x7fé""#);
/// ```
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0b' => out.push_str("\\v"),
            '\x0c' => out.push_str("\\f"),
            c if c.is_control() && (c as u32) < 0x80 => out.push_str(&format!("\\x{:02x}", c as u32)),
            c if c.is_control() || (c.is_whitespace() && c != ' ') || c == '\u{feff}' => {
                out.push_str(&format!("\\u{:04x}", c as u32));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn special(value: f64) -> Option<&'static str> {
    match value {
        value if value.is_nan() => Some("NaN"),
        f64::INFINITY => Some("+Inf"),
        f64::NEG_INFINITY => Some("-Inf"),
        _ => None,
    }
}

/// `1.5e+06` from Rust's `1.5e6`: Go writes a sign and at least two digits.
fn exponent_form(text: &str) -> String {
    let Some((mantissa, exponent)) = text.split_once('e') else { return text.to_owned() };
    let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
    format!("{mantissa}e{sign}{digits:0>2}")
}

/// The shorter of both forms, by the power of ten at which the exponent is written.
fn general(text: &str, value: f64, from: i32) -> String {
    let exponent: i32 = text.split_once('e').and_then(|(_, digits)| digits.parse().ok()).unwrap_or(0);
    if exponent < -4 || exponent >= from { exponent_form(text) } else { format!("{value}") }
}

/// As Go prints a float with `%v`: with an exponent below 1e-4 and from 1e6.
///
/// ```
/// use sim_template::print::float;
/// assert_eq!([float(0.5), float(100_000.0), float(1e6), float(1e-5)], ["0.5", "100000", "1e+06", "1e-05"]);
/// ```
pub fn float(value: f64) -> String {
    special(value).map_or_else(|| general(&format!("{value:e}"), value, 6), str::to_owned)
}

/// `%.<digits>g`: that many significant digits, without zeros at the end.
///
/// ```
/// use sim_template::print::significant;
/// assert_eq!([significant(12345.0, 4), significant(0.01, 4)], ["1.234e+04", "0.01"]);
/// ```
pub fn significant(value: f64, digits: usize) -> String {
    if let Some(text) = special(value) {
        return text.to_owned();
    }
    let digits = digits.max(1);
    let rounded: f64 = format!("{value:.*e}", digits - 1).parse().unwrap_or(value);
    general(&format!("{rounded:e}"), rounded, i32::try_from(digits).unwrap_or(i32::MAX))
}

/// Texts side by side; a blank between two that are none.
pub(crate) fn print<X: Extra>(args: &[Value<X>], out: &mut dyn Write) -> fmt::Result {
    let is_text = |value: &Value<X>| matches!(value, Value::Text(_) | Value::Safe(_));
    for (place, value) in args.iter().enumerate() {
        let before = place.checked_sub(1).and_then(|place| args.get(place));
        if before.is_some_and(|before| !is_text(before) && !is_text(value)) {
            out.write_str(" ")?;
        }
        value.print(out)?;
    }
    Ok(())
}

/// Blanks between all, a new line at the end.
pub(crate) fn println<X: Extra>(args: &[Value<X>], out: &mut dyn Write) -> fmt::Result {
    for (place, value) in args.iter().enumerate() {
        if place > 0 {
            out.write_str(" ")?;
        }
        value.print(out)?;
    }
    out.write_str("\n")
}

/// What stands between `%` and the verb.
#[derive(Debug, Default)]
struct Format {
    flags: String,
    width: Option<usize>,
    precision: Option<usize>,
}

impl Format {
    fn has(&self, flag: char) -> bool {
        self.flags.contains(flag)
    }
}

/// The arguments of `printf`, in order or by their number.
struct Arguments<'v, X> {
    values: &'v [Value<X>],
    next: usize,
    numbered: bool,
    bad: bool,
}

impl<X: Extra> Arguments<'_, X> {
    /// `[2]`
    fn number<'f>(&mut self, rest: &'f str) -> &'f str {
        let Some((number, after)) = rest.strip_prefix('[').and_then(|inside| inside.split_once(']')) else {
            return rest;
        };
        self.numbered = true;
        match number.parse::<usize>().ok().and_then(|number| number.checked_sub(1)) {
            Some(place) if place < self.values.len() => self.next = place,
            _ => self.bad = true,
        }
        after
    }

    fn take(&mut self) -> Option<&Value<X>> {
        let value = self.values.get(self.next)?;
        self.next += 1;
        Some(value)
    }

    /// Digits, or `*` for an argument; `Err` where that is no number.
    fn size<'f>(&mut self, rest: &'f str) -> (Result<Option<i64>, ()>, &'f str) {
        let rest = self.number(rest);
        if let Some(after) = rest.strip_prefix('*') {
            return match self.take() {
                Some(Value::Int(size)) if size.unsigned_abs() <= PRINTF_WIDTH_MAX as u64 => (Ok(Some(*size)), after),
                _ => (Err(()), after),
            };
        }
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (digits, after) = rest.split_at(end);
        let size = digits.parse::<i64>().unwrap_or(i64::MAX).min(PRINTF_WIDTH_MAX as i64);
        (Ok((!digits.is_empty()).then_some(size)), after)
    }
}

/// Go's `Sprintf`.
pub(crate) fn printf<X: Extra>(format: &str, values: &[Value<X>], out: &mut dyn Write) -> fmt::Result {
    let mut args = Arguments { values, next: 0, numbered: false, bad: false };
    let mut rest = format;
    while let Some((before, after)) = rest.split_once('%') {
        out.write_str(before)?;
        let flags_end = after.find(|c| !"+-# 0".contains(c)).unwrap_or(after.len());
        let (flags, after) = after.split_at(flags_end);
        let mut spec = Format { flags: flags.to_owned(), ..Format::default() };
        let (width, mut after) = args.size(after);
        match width {
            Ok(Some(width)) => {
                if width < 0 {
                    spec.flags.push('-');
                }
                spec.width = Some(width.unsigned_abs() as usize);
            }
            Ok(None) => {}
            Err(()) => out.write_str("%!(BADWIDTH)")?,
        }
        if let Some(digits) = after.strip_prefix('.') {
            let (precision, tail) = args.size(digits);
            after = tail;
            match precision {
                Ok(precision) => spec.precision = usize::try_from(precision.unwrap_or(0)).ok(),
                Err(()) => out.write_str("%!(BADPREC)")?,
            }
        }
        after = args.number(after);
        let Some(verb) = after.chars().next() else { return out.write_str("%!(NOVERB)") };
        rest = after.get(verb.len_utf8()..).unwrap_or_default();
        if verb == '%' {
            out.write_str("%")?;
        } else if std::mem::take(&mut args.bad) {
            write!(out, "%!{verb}(BADINDEX)")?;
        } else {
            match args.take() {
                Some(value) => formatted(out, verb, &spec, value)?,
                None => write!(out, "%!{verb}(MISSING)")?,
            }
        }
    }
    out.write_str(rest)?;
    let extra = values.get(args.next..).unwrap_or_default();
    if args.numbered || extra.is_empty() {
        return Ok(());
    }
    out.write_str("%!(EXTRA ")?;
    for (place, value) in extra.iter().enumerate() {
        out.write_str(if place > 0 { ", " } else { "" })?;
        match value {
            value if value.is_nil() => out.write_str("<nil>")?,
            value => {
                write!(out, "{}=", value.type_name())?;
                value.print(out)?;
            }
        }
    }
    out.write_str(")")
}

fn formatted<X: Extra>(out: &mut dyn Write, verb: char, spec: &Format, value: &Value<X>) -> fmt::Result {
    match (verb, value) {
        ('T', Value::Nil | Value::NilInterface) => return padded(out, spec, "<nil>", false),
        ('T', _) => return padded(out, spec, value.type_name(), false),
        ('p', _) => {}
        (_, Value::List(items)) => return list(out, items.iter(), |out, item| formatted(out, verb, spec, item)),
        (_, Value::Texts(items)) => {
            return list(out, items.iter(), |out, item| text(out, verb, spec, item, "string"));
        }
        (_, Value::Map(entries)) => {
            out.write_str("map")?;
            return list(out, entries.iter(), |out, (name, item)| {
                text(out, verb, spec, name, "string")?;
                out.write_str(":")?;
                formatted(out, verb, spec, item)
            });
        }
        (_, Value::Text(value)) => return text(out, verb, spec, value, "string"),
        (_, Value::Safe(value)) => return text(out, verb, spec, value, "template.HTML"),
        (_, Value::Int(number)) => {
            if let Some(shown) = integer(verb, spec, *number) {
                return padded(out, spec, &shown, verb != 'q' && verb != 'c');
            }
        }
        ('d', Value::Duration(number)) => {
            return padded(out, spec, &integer('d', spec, *number).unwrap_or_default(), true);
        }
        (_, Value::Float(number)) => {
            if let Some(shown) = fraction(verb, spec, *number) {
                return padded(out, spec, &shown, number.is_finite());
            }
        }
        ('t' | 'v', Value::Bool(value)) => return padded(out, spec, if *value { "true" } else { "false" }, false),
        ('v', Value::Nil | Value::NilInterface) => return padded(out, spec, "<nil>", false),
        (_, Value::Nil | Value::NilInterface) => return write!(out, "%!{verb}(<nil>)"),
        ('v' | 's', Value::Time(_) | Value::Duration(_) | Value::Extra(_)) => {
            let Ok(shown) = value.text() else { return Err(fmt::Error) };
            return text(out, 's', spec, &shown, "");
        }
        ('q', Value::Time(_) | Value::Duration(_)) => {
            let Ok(shown) = value.text() else { return Err(fmt::Error) };
            return text(out, 'q', spec, &shown, "");
        }
        _ => {}
    }
    write!(out, "%!{verb}({}=", value.type_name())?;
    match value {
        // Shown as `%v` would, flags and width included.
        Value::Bool(_) | Value::Int(_) | Value::Float(_) => formatted(out, 'v', spec, value)?,
        value => value.print(out)?,
    }
    out.write_str(")")
}

/// In the width that is asked for; the sign of a `number` goes before zeros.
fn padded(out: &mut dyn Write, spec: &Format, shown: &str, number: bool) -> fmt::Result {
    let missing = spec.width.unwrap_or(0).saturating_sub(shown.chars().count());
    if spec.has('-') {
        return write!(out, "{shown}{:missing$}", "");
    }
    if !spec.has('0') {
        return write!(out, "{:missing$}{shown}", "");
    }
    let sign = usize::from(number && shown.starts_with(['-', '+', ' ']));
    write!(
        out,
        "{}{}{}",
        shown.get(..sign).unwrap_or_default(),
        "0".repeat(missing),
        shown.get(sign..).unwrap_or_default()
    )
}

fn text(out: &mut dyn Write, verb: char, spec: &Format, text: &str, type_name: &str) -> fmt::Result {
    let cut: String;
    let shown = match spec.precision {
        Some(most) if verb != 'x' && verb != 'X' => {
            cut = text.chars().take(most).collect();
            &cut
        }
        _ => text,
    };
    match verb {
        'v' if spec.has('#') => padded(out, spec, &quote(shown), false),
        's' | 'v' => padded(out, spec, shown, false),
        'q' if spec.has('#') && !shown.contains(['`', '\u{feff}']) && !shown.contains(|c: char| c.is_control()) => {
            padded(out, spec, &format!("`{shown}`"), false)
        }
        'q' => padded(out, spec, &quote(shown), false),
        'x' | 'X' => {
            let mut digits = String::new();
            for byte in shown.bytes().take(spec.precision.unwrap_or(usize::MAX)) {
                digits.push_str(&if verb == 'x' { format!("{byte:02x}") } else { format!("{byte:02X}") });
            }
            padded(out, spec, &digits, false)
        }
        _ => {
            write!(out, "%!{verb}({type_name}=")?;
            padded(out, spec, shown, false)?;
            out.write_str(")")
        }
    }
}

fn integer(verb: char, spec: &Format, value: i64) -> Option<String> {
    let magnitude = value.unsigned_abs();
    let prefix = |prefix: &'static str| if spec.has('#') { prefix } else { "" };
    let (before, digits) = match verb {
        'd' | 'v' => ("", magnitude.to_string()),
        'x' => (prefix("0x"), format!("{magnitude:x}")),
        'X' => (prefix("0X"), format!("{magnitude:X}")),
        'o' => (prefix("0"), format!("{magnitude:o}")),
        'O' => ("0o", format!("{magnitude:o}")),
        'b' => (prefix("0b"), format!("{magnitude:b}")),
        _ => {
            let c = u32::try_from(value).ok().and_then(char::from_u32).unwrap_or('\u{fffd}');
            return match verb {
                'c' => Some(c.to_string()),
                'q' => {
                    let quoted = quote(&c.to_string()).replace("\\\"", "\"").replace('\'', "\\'");
                    Some(format!("'{}'", quoted.get(1..quoted.len() - 1).unwrap_or_default()))
                }
                'U' => Some(format!("U+{magnitude:04X}")),
                _ => None,
            };
        }
    };
    let zeros = spec.precision.unwrap_or(0).saturating_sub(digits.len());
    Some(format!("{}{before}{}{digits}", sign(spec, value < 0), "0".repeat(zeros)))
}

fn sign(spec: &Format, negative: bool) -> &'static str {
    match (negative, spec.has('+'), spec.has(' ')) {
        (true, ..) => "-",
        (false, true, _) => "+",
        (false, false, true) => " ",
        _ => "",
    }
}

fn fraction(verb: char, spec: &Format, value: f64) -> Option<String> {
    let magnitude = value.abs();
    let digits = match (verb, special(magnitude)) {
        ('e' | 'E' | 'f' | 'F' | 'g' | 'G' | 'v', Some(shown)) => shown.trim_start_matches('+').to_owned(),
        ('f' | 'F', _) => format!("{magnitude:.*}", spec.precision.unwrap_or(6)),
        ('e' | 'E', _) => exponent_form(&format!("{magnitude:.*e}", spec.precision.unwrap_or(6))),
        ('g' | 'G' | 'v', _) => {
            spec.precision.map_or_else(|| float(magnitude), |digits| significant(magnitude, digits))
        }
        _ => return None,
    };
    let digits = if verb.is_ascii_uppercase() && magnitude.is_finite() { digits.to_uppercase() } else { digits };
    let sign = match sign(spec, value.is_sign_negative() && !value.is_nan()) {
        "" if value == f64::INFINITY => "+",
        sign => sign,
    };
    Some(format!("{sign}{digits}"))
}
