//! Messages whose JSON form is not a map of their fields.

use serde_json::{Map, Value};

use super::{Error, Raw, Reader, message, text};

/// The JSON form of a message that has one of its own; `None` for all others.
pub(super) fn decode(name: &str, bytes: &[u8], depth: usize) -> Result<Option<Value>, Error> {
    Ok(Some(match name {
        "resource.Quantity" => field(bytes, 1)?.map_or(Ok("0".into()), |b| text("quantity", b).map(Value::from))?,
        "intstr.IntOrString" => int_or_text(bytes)?,
        "meta/v1.Time" => time(bytes, false)?,
        "meta/v1.MicroTime" => time(bytes, true)?,
        "meta/v1.Duration" => duration(number(bytes, 1)? as i64).into(),
        "meta/v1.FieldsV1" | "runtime.RawExtension" | "apiextensions/v1.JSON" => match field(bytes, 1)? {
            None | Some([]) => Value::Null,
            Some(raw) => serde_json::from_slice(raw).map_err(|e| Error::Raw(e.to_string()))?,
        },
        "meta/v1.Verbs"
        | "authentication/v1.AttestationValue"
        | "authentication/v1.ExtraValue"
        | "authorization/v1.ExtraValue"
        | "certificates/v1.ExtraValue" => {
            let mut items = Vec::new();
            let mut reader = Reader(bytes);
            while let Some((number, raw)) = reader.next()? {
                if let (1, Raw::Bytes(bytes)) = (number, raw) {
                    items.push(Value::from(text("items", bytes)?));
                }
            }
            Value::Array(items)
        }
        "apiextensions/v1.JSONSchemaPropsOrBool" => match field(bytes, 2)? {
            Some(schema) => self::schema(schema, depth)?,
            None => (number(bytes, 1)? != 0).into(),
        },
        "apiextensions/v1.JSONSchemaPropsOrArray" => match field(bytes, 1)? {
            Some(schema) => self::schema(schema, depth)?,
            None => {
                let mut items = Vec::new();
                let mut reader = Reader(bytes);
                while let Some((number, raw)) = reader.next()? {
                    if let (2, Raw::Bytes(bytes)) = (number, raw) {
                        items.push(schema(bytes, depth)?);
                    }
                }
                Value::Array(items)
            }
        },
        "apiextensions/v1.JSONSchemaPropsOrStringArray" => match field(bytes, 1)? {
            Some(schema) => self::schema(schema, depth)?,
            None => {
                let mut items = Vec::new();
                let mut reader = Reader(bytes);
                while let Some((number, raw)) = reader.next()? {
                    if let (2, Raw::Bytes(bytes)) = (number, raw) {
                        items.push(Value::from(text("property", bytes)?));
                    }
                }
                Value::Array(items)
            }
        },
        _ => return Ok(None),
    }))
}

fn schema(bytes: &[u8], depth: usize) -> Result<Value, Error> {
    let mut map = Map::new();
    message("apiextensions/v1.JSONSchemaProps", bytes, &mut map, depth + 1)?;
    Ok(Value::Object(map))
}

/// The last length-delimited field of this number.
fn field(bytes: &[u8], wanted: u64) -> Result<Option<&[u8]>, Error> {
    let (mut reader, mut found) = (Reader(bytes), None);
    while let Some((number, raw)) = reader.next()? {
        if let Raw::Bytes(bytes) = raw
            && number == wanted
        {
            found = Some(bytes);
        }
    }
    Ok(found)
}

fn number(bytes: &[u8], wanted: u64) -> Result<u64, Error> {
    let (mut reader, mut found) = (Reader(bytes), 0);
    while let Some((number, raw)) = reader.next()? {
        if let Raw::Number(value) = raw
            && number == wanted
        {
            found = value;
        }
    }
    Ok(found)
}

fn int_or_text(bytes: &[u8]) -> Result<Value, Error> {
    Ok(if number(bytes, 1)? == 1 {
        field(bytes, 3)?.map_or(Ok(String::new()), |b| text("strVal", b))?.into()
    } else {
        Value::from(number(bytes, 2)? as i64 as i32)
    })
}

/// An instant as RFC 3339; the zero instant of Go is null.
fn time(bytes: &[u8], micros: bool) -> Result<Value, Error> {
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    let (seconds, nanos) = (number(bytes, 1)? as i64, number(bytes, 2)? as i64);
    let nanos = i32::try_from(nanos).unwrap_or(0);
    let Ok(at) = jiff::Timestamp::new(seconds, if micros { nanos / 1000 * 1000 } else { 0 }) else {
        return Err(Error::Raw("proto: an instant out of range".into()));
    };
    Ok(if micros { format!("{at:.6}").into() } else { at.to_string().into() })
}

/// Go's text of a duration: `1h2m3.5s`.
fn duration(nanos: i64) -> String {
    if nanos == 0 {
        return "0s".into();
    }
    let sign = if nanos < 0 { "-" } else { "" };
    let all = nanos.unsigned_abs();
    if all < 1_000_000_000 {
        let (value, unit) = match all {
            n if n < 1_000 => (n as f64, "ns"),
            n if n < 1_000_000 => (n as f64 / 1e3, "µs"),
            n => (n as f64 / 1e6, "ms"),
        };
        return format!("{sign}{value}{unit}");
    }
    let (seconds, fraction) = (all / 1_000_000_000, all % 1_000_000_000);
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let rest = (seconds % 60) as f64 + fraction as f64 / 1e9;
    match (hours, minutes) {
        (0, 0) => format!("{sign}{rest}s"),
        (0, _) => format!("{sign}{minutes}m{rest}s"),
        _ => format!("{sign}{hours}h{minutes}m{rest}s"),
    }
}
