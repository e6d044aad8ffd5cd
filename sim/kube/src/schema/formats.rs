//! The formats of strings that custom resources' schemas may ask for; any other is ignored, as the real server does.

use std::net::{Ipv4Addr, Ipv6Addr};

use base64::Engine as _;

/// A format the server evaluates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the format of its name")]
pub enum Format {
    BsonObjectId,
    Uri,
    Email,
    Hostname,
    Ipv4,
    Ipv6,
    Cidr,
    Mac,
    Uuid,
    Uuid3,
    Uuid4,
    Uuid5,
    Isbn,
    Isbn10,
    Isbn13,
    CreditCard,
    Ssn,
    HexColor,
    RgbColor,
    Byte,
    Password,
    Date,
    Duration,
    DateTime,
    ShortName,
    LongName,
}

impl Format {
    /// The format of a name; dashes do not count. `None` for a name the server does not know.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name.replace('-', "").as_str() {
            "bsonobjectid" => Format::BsonObjectId,
            "uri" => Format::Uri,
            "email" => Format::Email,
            "hostname" => Format::Hostname,
            "ipv4" => Format::Ipv4,
            "ipv6" => Format::Ipv6,
            "cidr" => Format::Cidr,
            "mac" => Format::Mac,
            "uuid" => Format::Uuid,
            "uuid3" => Format::Uuid3,
            "uuid4" => Format::Uuid4,
            "uuid5" => Format::Uuid5,
            "isbn" => Format::Isbn,
            "isbn10" => Format::Isbn10,
            "isbn13" => Format::Isbn13,
            "creditcard" => Format::CreditCard,
            "ssn" => Format::Ssn,
            "hexcolor" => Format::HexColor,
            "rgbcolor" => Format::RgbColor,
            "byte" => Format::Byte,
            "password" => Format::Password,
            "date" => Format::Date,
            "duration" => Format::Duration,
            "datetime" => Format::DateTime,
            "k8sshortname" => Format::ShortName,
            "k8slongname" => Format::LongName,
            _ => return None,
        })
    }

    /// True if the text has the format.
    pub fn accepts(self, text: &str) -> bool {
        match self {
            Format::BsonObjectId => text.len() == 24 && hex(text),
            Format::Uri => uri(text),
            Format::Email => email(text),
            Format::Hostname => hostname(text),
            Format::Ipv4 => text.parse::<Ipv4Addr>().is_ok(),
            Format::Ipv6 => text.contains(':') && text.parse::<Ipv6Addr>().is_ok(),
            Format::Cidr => cidr(text),
            Format::Mac => mac(text),
            Format::Uuid => uuid(text, None, false),
            Format::Uuid3 => uuid(text, Some('3'), false),
            Format::Uuid4 => uuid(text, Some('4'), true),
            Format::Uuid5 => uuid(text, Some('5'), true),
            Format::Isbn => isbn10(text) || isbn13(text),
            Format::Isbn10 => isbn10(text),
            Format::Isbn13 => isbn13(text),
            Format::CreditCard => credit_card(text),
            Format::Ssn => ssn(text),
            Format::HexColor => {
                let digits = text.strip_prefix('#').unwrap_or(text);
                matches!(digits.len(), 3 | 6) && hex(digits)
            }
            Format::RgbColor => rgb_color(text),
            Format::Byte => base64::engine::general_purpose::STANDARD.decode(text).is_ok() && !text.is_empty(),
            Format::Password => true,
            Format::Date => text.parse::<jiff::civil::Date>().is_ok() && text.len() == 10,
            Format::Duration => duration(text),
            Format::DateTime => date_time(text),
            Format::ShortName => text.len() <= 63 && label(text),
            Format::LongName => text.len() <= 253 && text.split('.').all(label),
        }
    }
}

fn hex(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_hexdigit())
}

fn label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    bytes.first().is_some_and(|b| inner(*b))
        && bytes.last().is_some_and(|b| inner(*b))
        && bytes.iter().all(|b| inner(*b) || *b == b'-')
}

/// A URI with a scheme, or a rooted path.
fn uri(text: &str) -> bool {
    if text.is_empty() || text.bytes().any(|b| b < 0x20 || b == 0x7f || b == b' ') {
        return false;
    }
    if text.starts_with('/') {
        return true;
    }
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
        && (!rest.starts_with("//") || host_and_port(&rest[2..]))
}

fn host_and_port(rest: &str) -> bool {
    let authority = rest.split(['/', '?', '#']).next().unwrap_or("");
    let host = authority.rsplit_once('@').map_or(authority, |(_, h)| h);
    let port = if host.starts_with('[') {
        host.split_once(']').map(|(_, p)| p.strip_prefix(':').unwrap_or(p))
    } else {
        Some(host.split_once(':').map_or("", |(_, p)| p))
    };
    port.is_some_and(|p| p.bytes().all(|b| b.is_ascii_digit()))
}

/// An address as Go's `net/mail` reads it: `a@b` or `Name <a@b>`.
fn email(text: &str) -> bool {
    let address = match (text.rfind('<'), text.ends_with('>')) {
        (Some(open), true) => &text[open + 1..text.len() - 1],
        (None, false) => text.trim(),
        _ => return false,
    };
    let Some((local, domain)) = address.rsplit_once('@') else { return false };
    let atom = |c: char| c.is_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c);
    let dotted = |t: &str| !t.is_empty() && t.split('.').all(|part| !part.is_empty() && part.chars().all(atom));
    let quoted = local.len() > 2 && local.starts_with('"') && local.ends_with('"');
    let literal = domain.starts_with('[') && domain.ends_with(']');
    (quoted || dotted(local)) && (literal || dotted(domain))
}

fn hostname(text: &str) -> bool {
    let part = |t: &str| {
        let edge = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
        let bytes = t.as_bytes();
        t.len() <= 63
            && edge(bytes.first())
            && edge(bytes.last())
            && bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-')
    };
    let text = text.strip_suffix('.').unwrap_or(text);
    !text.is_empty() && text.len() <= 255 && text.split('.').all(part)
}

fn cidr(text: &str) -> bool {
    let Some((ip, bits)) = text.split_once('/') else { return false };
    let bits_max = if ip.parse::<Ipv4Addr>().is_ok() {
        32
    } else if ip.parse::<Ipv6Addr>().is_ok() {
        128
    } else {
        return false;
    };
    !bits.is_empty() && bits.bytes().all(|b| b.is_ascii_digit()) && bits.parse::<u32>().is_ok_and(|b| b <= bits_max)
}

fn mac(text: &str) -> bool {
    let groups = |separator: char, digits: usize, counts: &[usize]| {
        let parts: Vec<&str> = text.split(separator).collect();
        counts.contains(&parts.len()) && parts.iter().all(|p| p.len() == digits && hex(p))
    };
    groups(':', 2, &[6, 8, 20]) || groups('-', 2, &[6, 8, 20]) || groups('.', 4, &[3, 4, 10])
}

fn uuid(text: &str, version: Option<char>, variant: bool) -> bool {
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    let places = text.char_indices().filter(|(_, c)| *c == '-').map(|(i, _)| i);
    let mut seen = 0;
    for place in places {
        // A dash may stand after the 8th, 12th, 16th and 20th digit, and may be left out.
        if ![8, 12, 16, 20].contains(&(place - seen)) {
            return false;
        }
        seen += 1;
    }
    digits.len() == 32
        && seen <= 4
        && hex(&digits)
        && version.is_none_or(|v| digits.chars().nth(12) == Some(v))
        && (!variant || digits.chars().nth(16).is_some_and(|c| "89abAB".contains(c)))
}

fn isbn10(text: &str) -> bool {
    let digits: Vec<char> = text.chars().filter(|c| !" -".contains(*c)).collect();
    if digits.len() != 10 || !digits[..9].iter().all(char::is_ascii_digit) {
        return false;
    }
    let last = if digits[9] == 'X' { Some(10) } else { digits[9].to_digit(10) };
    let sum: u32 = (1..).zip(&digits[..9]).map(|(i, d): (u32, _)| i * d.to_digit(10).unwrap_or(0)).sum();
    last.is_some_and(|last| (sum + 10 * last).is_multiple_of(11))
}

fn isbn13(text: &str) -> bool {
    let digits: Vec<u32> = text.chars().filter(|c| !" -".contains(*c)).filter_map(|c| c.to_digit(10)).collect();
    let marks = text.chars().filter(|c| !" -".contains(*c)).count();
    marks == 13
        && digits.len() == 13
        && digits.iter().enumerate().map(|(i, d)| if i % 2 == 0 { *d } else { 3 * d }).sum::<u32>() % 10 == 0
}

fn credit_card(text: &str) -> bool {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(10)).collect();
    let luhn = digits.iter().rev().enumerate().map(|(i, d)| match (i % 2, d * 2) {
        (0, _) => *d,
        (_, doubled) if doubled > 9 => doubled - 9,
        (_, doubled) => doubled,
    });
    (13..=16).contains(&digits.len()) && luhn.sum::<u32>() % 10 == 0
}

fn ssn(text: &str) -> bool {
    let digits: Vec<&str> = text.split(['-', ' ']).collect();
    let numeric = |t: &str, n: usize| t.len() == n && t.bytes().all(|b| b.is_ascii_digit());
    match digits.as_slice() {
        [all] => numeric(all, 9),
        [a, b] => (numeric(a, 3) && numeric(b, 6)) || (numeric(a, 5) && numeric(b, 4)),
        [a, b, c] => numeric(a, 3) && numeric(b, 2) && numeric(c, 4),
        _ => false,
    }
}

fn rgb_color(text: &str) -> bool {
    let Some(inner) = text.trim().strip_prefix("rgb(").and_then(|t| t.strip_suffix(')')) else { return false };
    let parts: Vec<&str> = inner.split(',').map(str::trim).collect();
    parts.len() == 3 && parts.iter().all(|p| p.parse::<u8>().is_ok())
}

/// Go's `time.ParseDuration`, or a number with a unit in words.
fn duration(text: &str) -> bool {
    if sim_kube_cel::go_duration(text).is_some() {
        return true;
    }
    let trimmed = text.trim();
    let digits = trimmed.trim_start_matches(|c: char| c.is_ascii_digit());
    let unit = digits.trim();
    digits.len() < trimmed.len()
        && matches!(
            unit,
            "ns" | "nano"
                | "nanos"
                | "nanosecond"
                | "nanoseconds"
                | "us"
                | "µs"
                | "micro"
                | "micros"
                | "microsecond"
                | "microseconds"
                | "ms"
                | "milli"
                | "millis"
                | "millisecond"
                | "milliseconds"
                | "s"
                | "sec"
                | "secs"
                | "second"
                | "seconds"
                | "m"
                | "min"
                | "mins"
                | "minute"
                | "minutes"
                | "h"
                | "hr"
                | "hrs"
                | "hour"
                | "hours"
                | "d"
                | "day"
                | "days"
                | "w"
                | "wk"
                | "wks"
                | "week"
                | "weeks"
        )
}

/// RFC 3339, with the shapes Go's strfmt accepts beside it.
fn date_time(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() >= 19
        && bytes.get(4) == Some(&b'-')
        && matches!(bytes.get(10), Some(b'T' | b't' | b' '))
        && (text.parse::<jiff::Timestamp>().is_ok() || text.parse::<jiff::civil::DateTime>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_format_knows_good_from_bad() {
        for (name, good, bad) in [
            ("bsonobjectid", "507f1f77bcf86cd799439011", "507f"),
            ("uri", "https://a.b/c?d", "a b"),
            ("email", "a@b.c", "a@"),
            ("hostname", "a.b-c", "-a"),
            ("ipv4", "1.2.3.4", "1.2.3"),
            ("ipv6", "::1", "1.2.3.4"),
            ("cidr", "10.0.0.0/8", "10.0.0.0/33"),
            ("mac", "00:1b:44:11:3a:b7", "00:1b"),
            ("uuid", "123e4567-e89b-12d3-a456-426614174000", "123e4567"),
            ("uuid4", "123e4567-e89b-42d3-a456-426614174000", "123e4567-e89b-12d3-a456-426614174000"),
            ("isbn10", "0321751043", "0321751044"),
            ("isbn13", "978-0321751041", "978-0321751042"),
            ("creditcard", "4111 1111 1111 1111", "4111 1111 1111 1112"),
            ("ssn", "111-11-1111", "111-11-111"),
            ("hexcolor", "#fff", "#ffff"),
            ("rgbcolor", "rgb(1,2,255)", "rgb(1,2,256)"),
            ("byte", "aGk=", "a"),
            ("date", "2026-11-21", "2026-13-21"),
            ("duration", "1h30m", "1x"),
            ("date-time", "2026-11-21T10:00:00Z", "2026-11-21"),
            ("k8s-short-name", "a-b", "A"),
            ("k8s-long-name", "a.b", "a..b"),
        ] {
            let format = Format::named(name).unwrap();
            assert!(format.accepts(good), "{name} {good}");
            assert!(!format.accepts(bad), "{name} {bad}");
        }
        assert_eq!(Format::named("int32"), None);
    }

    proptest! {
        #[test]
        fn no_text_makes_a_format_panic(text in ".{0,30}") {
            for name in ["uri", "email", "hostname", "cidr", "mac", "uuid", "isbn", "creditcard", "ssn", "rgbcolor", "byte", "date", "duration", "date-time"] {
                let _ = Format::named(name).unwrap().accepts(&text);
            }
        }
    }
}
