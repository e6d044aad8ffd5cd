//! Kubernetes quantities, as far as sizes are compared.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// The suffixes and what they multiply by, in thousandths.
const SUFFIXES: [(&str, i128); 14] = [
    ("m", 1),
    ("", 1_000),
    ("k", 1_000_000),
    ("M", 1_000_000_000),
    ("G", 1_000_000_000_000),
    ("T", 1_000_000_000_000_000),
    ("P", 1_000_000_000_000_000_000),
    ("E", 1_000_000_000_000_000_000_000),
    ("Ki", 1_000 << 10),
    ("Mi", 1_000 << 20),
    ("Gi", 1_000 << 30),
    ("Ti", 1_000 << 40),
    ("Pi", 1_000 << 50),
    ("Ei", 1_000 << 60),
];

/// A size in thousandths of a byte; nothing if it is none. What is finer is left out.
///
/// ```
/// use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
/// use multigres_operator::resources::quantity::thousandths;
/// let size = |text: &str| thousandths(&Quantity(text.to_owned()));
/// assert_eq!(size("1Gi"), size("1024Mi"));
/// assert_eq!(size("1.5Ki"), size("1536"));
/// assert!(size("1G") < size("1Gi"));
/// assert_eq!(size("much"), None);
/// ```
pub fn thousandths(quantity: &Quantity) -> Option<i128> {
    let text = quantity.0.as_str();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let factor = match SUFFIXES.iter().find(|(known, _)| *known == suffix) {
        Some((_, factor)) => *factor,
        None => 10_i128.checked_pow(suffix.strip_prefix(['e', 'E'])?.parse().ok()?)?.checked_mul(1_000)?,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let fraction = fraction.get(..fraction.len().min(18))?;
    let scale = 10_i128.pow(u32::try_from(fraction.len()).ok()?);
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    digits.checked_mul(factor).map(|product| product / scale)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_text_is_a_size_or_none_and_more_of_a_unit_is_more(text in ".{0,40}", n in 1..1_000_000_u32, more in 1..1_000_u32) {
            let _ = thousandths(&Quantity(text));
            for (suffix, _) in SUFFIXES {
                let size = |n: u32| thousandths(&Quantity(format!("{n}{suffix}")));
                prop_assert!(size(n).unwrap() < size(n + more).unwrap(), "{suffix}");
            }
        }
    }

    #[test]
    fn sizes_are_what_kubernetes_means_by_them() {
        for (text, bytes) in
            [("1", 1), ("1k", 1_000), ("2Ki", 2_048), ("1e3", 1_000), ("0.5Gi", 1 << 29), ("1E", 10_i128.pow(18))]
        {
            assert_eq!(thousandths(&Quantity(text.to_owned())), Some(bytes * 1_000), "{text}");
        }
        for wrong in ["", "Gi", "1 Gi", "-1", "1.2.3", "1e999", "9999999999999999999999999999999999999Gi"] {
            assert_eq!(thousandths(&Quantity(wrong.to_owned())), None, "{wrong}");
        }
    }
}
