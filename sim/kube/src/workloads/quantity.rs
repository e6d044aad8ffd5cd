//! Kubernetes quantities as numbers, for comparing requests with what a node has.

use serde_json::Value;

/// A quantity in thousandths of its unit, rounded up; `None` if it is not one.
///
/// ```text
/// "250m" -> 250, "2" -> 2000, "1Ki" -> 1_024_000, "1e3" -> 1_000_000
/// ```
pub(crate) fn milli(value: &Value) -> Option<i128> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let end = text.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '+' | '-'))).unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (factor, divisor): (i128, i128) = match suffix {
        "n" => (1, 1_000_000),
        "u" => (1, 1_000),
        "m" => (1, 1),
        "" => (1_000, 1),
        "k" => (1_000_000, 1),
        "M" => (1_000_000_000, 1),
        "G" => (1_000_000_000_000, 1),
        "T" => (1_000_000_000_000_000, 1),
        "P" => (1_000_000_000_000_000_000, 1),
        "E" => (1_000_000_000_000_000_000_000, 1),
        "Ki" => (1_000 << 10, 1),
        "Mi" => (1_000 << 20, 1),
        "Gi" => (1_000 << 30, 1),
        "Ti" => (1_000 << 40, 1),
        "Pi" => (1_000 << 50, 1),
        "Ei" => (1_000 << 60, 1),
        other => {
            let exponent: u32 = other.strip_prefix(['e', 'E'])?.trim_start_matches('+').parse().ok()?;
            (1_000_i128.checked_mul(10_i128.checked_pow(exponent)?)?, 1)
        }
    };
    let negative = number.starts_with('-');
    let (whole, fraction) = number.trim_start_matches(['+', '-']).split_once('.').unwrap_or((number, ""));
    let whole = whole.trim_start_matches(['+', '-']);
    if (whole.is_empty() && fraction.is_empty()) || fraction.len() > 18 {
        return None;
    }
    let scale = 10_i128.pow(u32::try_from(fraction.len()).ok()?);
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let product = digits.checked_mul(factor)?;
    let divisor = scale.checked_mul(divisor)?;
    let rounded = product.checked_add(divisor - 1)? / divisor;
    Some(if negative { -rounded } else { rounded })
}

/// As [`milli`], an absent or bad quantity being nothing.
pub(crate) fn milli_at(value: &Value, path: &[&str]) -> i128 {
    crate::json::at(value, path).and_then(milli).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn quantities_of_all_suffixes_are_read_and_rounded_up() {
        for (text, expected) in [
            ("250m", Some(250)),
            ("2", Some(2_000)),
            ("0.5", Some(500)),
            (".5", Some(500)),
            ("1Ki", Some(1_024_000)),
            ("1.5Gi", Some(1_610_612_736_000)),
            ("1e3", Some(1_000_000)),
            ("100n", Some(1)),
            ("-1", Some(-1_000)),
            ("", None),
            ("x", None),
            ("1Kx", None),
            ("1e99", None),
        ] {
            assert_eq!(milli(&json!(text)), expected, "{text}");
        }
        assert_eq!(milli(&json!(3)), Some(3_000));
        assert_eq!(milli(&json!(null)), None);
    }
}
