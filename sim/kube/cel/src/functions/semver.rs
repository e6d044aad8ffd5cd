//! Semantic versions.

use std::{cmp::Ordering, fmt};

use super::Result;
use crate::value::{Value, error};

#[derive(Clone, Debug)]
pub(crate) struct Semver {
    numbers: [u64; 3],
    before: Vec<String>,
    text: String,
}

impl Semver {
    /// Reads a version; `lenient` takes a `v`, leading zeros and missing parts, too.
    fn parse(text: &str, lenient: bool) -> std::result::Result<Self, &'static str> {
        let mut rest = text;
        if lenient {
            rest = rest.trim().strip_prefix('v').unwrap_or(rest.trim());
        }
        let (rest, build) = rest.split_once('+').map_or((rest, None), |(r, b)| (r, Some(b)));
        let (core, before) = rest.split_once('-').map_or((rest, None), |(c, b)| (c, Some(b)));
        let mut parts: Vec<&str> = core.split('.').collect();
        if lenient {
            parts.resize(parts.len().max(3), "0");
        }
        if parts.len() != 3 {
            return Err("No Major.Minor.Patch elements found");
        }
        let mut numbers = [0; 3];
        for (number, part) in numbers.iter_mut().zip(&parts) {
            if part.is_empty() || !part.bytes().all(|b| b.is_ascii_digit()) {
                return Err("Invalid character(s) found in version number");
            }
            if !lenient && part.len() > 1 && part.starts_with('0') {
                return Err("Version number must not contain leading zeroes");
            }
            *number = part.parse().map_err(|_| "Version number out of range")?;
        }
        let good =
            |t: &str| t.split('.').all(|i| !i.is_empty() && i.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'));
        if before.is_some_and(|b| !good(b)) || build.is_some_and(|b| !good(b)) {
            return Err("Invalid character(s) found in prerelease or build metadata");
        }
        let before: Vec<String> = before.map(|b| b.split('.').map(str::to_owned).collect()).unwrap_or_default();
        let numeric = |i: &String| i.bytes().all(|b| b.is_ascii_digit());
        if before.iter().any(|i| numeric(i) && i.len() > 1 && i.starts_with('0')) {
            return Err("Numeric PreRelease version must not contain leading zeroes");
        }
        Ok(Self { numbers, before, text: text.to_owned() })
    }

    pub(crate) fn compare(&self, other: &Self) -> Ordering {
        let release = |v: &Self| v.before.is_empty();
        self.numbers.cmp(&other.numbers).then_with(|| match (release(self), release(other)) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => {
                let pairs = self.before.iter().zip(&other.before);
                let differing = pairs.map(|(a, b)| match (a.parse::<u64>(), b.parse::<u64>()) {
                    (Ok(a), Ok(b)) => a.cmp(&b),
                    (Ok(_), Err(_)) => Ordering::Less,
                    (Err(_), Ok(_)) => Ordering::Greater,
                    (Err(_), Err(_)) => a.cmp(b),
                });
                differing
                    .into_iter()
                    .find(|o| *o != Ordering::Equal)
                    .unwrap_or_else(|| self.before.len().cmp(&other.before.len()))
            }
        })
    }
}

impl fmt::Display for Semver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

pub(super) fn call<'a>(name: &str, member: bool, args: &[Value<'a>]) -> Option<Result<'a>> {
    let number = |n: u64| Ok(Value::Int(i64::try_from(n).unwrap_or(i64::MAX)));
    Some(match (name, member, args) {
        ("semver" | "isSemver", false, [Value::String(s), rest @ ..]) => {
            let lenient = match rest {
                [] => false,
                [Value::Bool(lenient)] => *lenient,
                _ => return None,
            };
            let parsed = Semver::parse(s, lenient);
            if name == "isSemver" {
                Ok(Value::Bool(parsed.is_ok()))
            } else {
                parsed.map(|v| Value::Semver(v.into())).map_err(error)
            }
        }
        ("major", true, [Value::Semver(v)]) => number(v.numbers[0]),
        ("minor", true, [Value::Semver(v)]) => number(v.numbers[1]),
        ("patch", true, [Value::Semver(v)]) => number(v.numbers[2]),
        ("isGreaterThan", true, [Value::Semver(a), Value::Semver(b)]) => {
            Ok(Value::Bool(a.compare(b) == Ordering::Greater))
        }
        ("isLessThan", true, [Value::Semver(a), Value::Semver(b)]) => Ok(Value::Bool(a.compare(b) == Ordering::Less)),
        ("compareTo", true, [Value::Semver(a), Value::Semver(b)]) => Ok(Value::Int(a.compare(b) as i64)),
        _ => return None,
    })
}
