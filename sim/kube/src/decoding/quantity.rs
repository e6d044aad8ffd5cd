//! Quantities: `resource.Quantity`'s grammar and its canonical form.

const NOT_A_QUANTITY: &str =
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
const SUFFIX: &str = "unable to parse quantity's suffix";
const NUMERIC: &str = "unable to parse numeric part of quantity";
/// Most digits that are read; more cannot matter, a quantity is capped far below.
const DIGITS_MAX: usize = 64;
/// 10⁻⁹, the finest step of a quantity.
const NANO: i128 = 1_000_000_000;
const CAP: i128 = i64::MAX as i128 * NANO;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Decimal,
    Binary,
    Exponent,
}

/// The canonical text of a quantity: no fraction, the largest suffix that loses nothing; finer than nano is rounded up.
///
/// ```
/// # use sim_kube::decoding::canonical_quantity as canonical;
/// assert_eq!(canonical("1.5Gi").unwrap(), "1536Mi");
/// assert_eq!(canonical("0.1").unwrap(), "100m");
/// assert_eq!(canonical("1000").unwrap(), "1k");
/// ```
///
/// # Errors
/// The real server's text.
pub fn canonical(text: &str) -> Result<String, String> {
    let text = text.trim();
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let negative = text.starts_with('-');
    let end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(end);
    let suffix_known = {
        let letters = suffix.trim_start_matches(|c| "eEinumkKMGTP".contains(c));
        let digits = letters.strip_prefix(['+', '-']).unwrap_or(letters);
        digits.bytes().all(|b| b.is_ascii_digit())
    };
    if number.is_empty() || !suffix_known {
        return Err(NOT_A_QUANTITY.into());
    }
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.contains('.') || (whole.is_empty() && fraction.is_empty()) || number.len() > DIGITS_MAX {
        return Err(NUMERIC.into());
    }
    let (form, base, power) = scale(suffix)?;
    let nano = value(whole, fraction, base, power);
    let sign = if negative && nano != 0 { "-" } else { "" };
    Ok(format!("{sign}{}", shown(nano, form)))
}

fn scale(suffix: &str) -> Result<(Form, u32, i32), String> {
    Ok(match suffix {
        "" => (Form::Decimal, 10, 0),
        "n" => (Form::Decimal, 10, -9),
        "u" => (Form::Decimal, 10, -6),
        "m" => (Form::Decimal, 10, -3),
        "k" => (Form::Decimal, 10, 3),
        "M" => (Form::Decimal, 10, 6),
        "G" => (Form::Decimal, 10, 9),
        "T" => (Form::Decimal, 10, 12),
        "P" => (Form::Decimal, 10, 15),
        "E" => (Form::Decimal, 10, 18),
        "Ki" => (Form::Binary, 2, 10),
        "Mi" => (Form::Binary, 2, 20),
        "Gi" => (Form::Binary, 2, 30),
        "Ti" => (Form::Binary, 2, 40),
        "Pi" => (Form::Binary, 2, 50),
        "Ei" => (Form::Binary, 2, 60),
        other => {
            let exponent = other.strip_prefix(['e', 'E']).and_then(|e| e.parse::<i32>().ok()).ok_or(SUFFIX)?;
            (Form::Exponent, 10, exponent.clamp(-100, 100))
        }
    })
}

/// The magnitude in nano, rounded up, capped.
fn value(whole: &str, fraction: &str, base: u32, power: i32) -> i128 {
    let digits: String = format!("{whole}{fraction}").trim_start_matches('0').to_owned();
    if digits.is_empty() {
        return 0;
    }
    let mut nano: i128 = 0;
    let mut point = fraction.len() as i32;
    // Beyond 28 digits the cap is passed or the rest is only rounded.
    let kept = &digits[..digits.len().min(28)];
    let cut = &digits[kept.len()..];
    point -= cut.len() as i32;
    for digit in kept.bytes() {
        nano = nano * 10 + i128::from(digit - b'0');
    }
    let mut inexact = cut.bytes().any(|b| b != b'0');
    let mut exponent = 9 - point + if base == 10 { power } else { 0 };
    if base == 2 {
        nano = nano.checked_shl(power as u32).filter(|n| n >> power == nano).unwrap_or(i128::MAX / 10);
    }
    while exponent > 0 && nano <= CAP {
        nano *= 10;
        exponent -= 1;
    }
    while exponent < 0 && nano > 0 {
        inexact |= nano % 10 != 0;
        nano /= 10;
        exponent += 1;
    }
    (nano + i128::from(inexact)).min(CAP)
}

fn shown(nano: i128, form: Form) -> String {
    if nano == 0 {
        return "0".into();
    }
    if form == Form::Binary && nano >= 1024 * NANO && nano % NANO == 0 {
        let mut units = nano / NANO;
        let mut steps = 0;
        while units % 1024 == 0 && steps < 6 {
            units /= 1024;
            steps += 1;
        }
        return format!("{units}{}", ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"][steps]);
    }
    let mut units = nano;
    let mut steps = 0;
    while units % 1000 == 0 && steps < 9 {
        units /= 1000;
        steps += 1;
    }
    if form == Form::Exponent {
        return match steps as i32 * 3 - 9 {
            0 => units.to_string(),
            exponent => format!("{units}e{exponent}"),
        };
    }
    format!("{units}{}", ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"][steps])
}
