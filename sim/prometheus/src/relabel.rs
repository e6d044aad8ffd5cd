//! Relabelling: every action of Prometheus.

use regex::Regex;
use serde::Deserialize;
use sim_wire::Labels;
use sim_wire::labels::LabelsBuilder;
use sim_wire::matcher::anchored;

/// What a step does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Action {
    #[default]
    Replace,
    Keep,
    Drop,
    KeepEqual,
    DropEqual,
    HashMod,
    LabelMap,
    LabelDrop,
    LabelKeep,
    Lowercase,
    Uppercase,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    source_labels: Vec<String>,
    separator: Option<String>,
    regex: Option<String>,
    #[serde(default)]
    modulus: u64,
    #[serde(default)]
    target_label: String,
    replacement: Option<String>,
    #[serde(default)]
    action: Action,
}

/// One step.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "Written")]
pub struct Relabel {
    action: Action,
    source_labels: Vec<String>,
    separator: String,
    regex: Regex,
    modulus: u64,
    target_label: String,
    replacement: String,
}

impl TryFrom<Written> for Relabel {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let needs_target = matches!(
            written.action,
            Action::Replace
                | Action::HashMod
                | Action::Lowercase
                | Action::Uppercase
                | Action::KeepEqual
                | Action::DropEqual
        );
        if needs_target && written.target_label.is_empty() {
            return Err(format!("relabel configuration for {:?} action requires 'target_label' value", written.action));
        }
        if written.action == Action::HashMod && written.modulus == 0 {
            return Err("relabel configuration for hashmod requires non-zero modulus".to_owned());
        }
        Ok(Self {
            action: written.action,
            source_labels: written.source_labels,
            separator: written.separator.unwrap_or_else(|| ";".to_owned()),
            regex: anchored(written.regex.as_deref().unwrap_or("(.*)")).map_err(|error| error.to_string())?,
            modulus: written.modulus,
            target_label: written.target_label,
            replacement: written.replacement.unwrap_or_else(|| "$1".to_owned()),
        })
    }
}

/// Applies all steps; `None` where one drops the label set.
///
/// ```
/// use sim_prometheus::relabel::apply;
/// let labels = sim_wire::Labels::from_pairs([("__address__", "etcd:2379")]);
/// assert_eq!(apply(&labels, &[]), Some(labels));
/// ```
pub fn apply(labels: &Labels, steps: &[Relabel]) -> Option<Labels> {
    if steps.is_empty() {
        return Some(labels.clone());
    }
    let mut builder = labels.builder();
    for step in steps {
        if !step.run(&mut builder) {
            return None;
        }
    }
    Some(builder.build())
}

impl Relabel {
    /// Whether the label set survives.
    fn run(&self, labels: &mut LabelsBuilder) -> bool {
        let values: Vec<&str> = self.source_labels.iter().map(|name| labels.value(name)).collect();
        let value = values.join(&self.separator);
        match self.action {
            Action::Drop => return !self.regex.is_match(&value),
            Action::Keep => return self.regex.is_match(&value),
            Action::DropEqual => return labels.value(&self.target_label) != value,
            Action::KeepEqual => return labels.value(&self.target_label) == value,
            Action::Replace => {
                if let Some(captures) = self.regex.captures(&value) {
                    let (mut name, mut text) = (String::new(), String::new());
                    captures.expand(&self.target_label, &mut name);
                    captures.expand(&self.replacement, &mut text);
                    if !name.is_empty() {
                        labels.set(&name, &text);
                    }
                }
            }
            Action::Lowercase => {
                labels.set(&self.target_label, &value.to_lowercase());
            }
            Action::Uppercase => {
                labels.set(&self.target_label, &value.to_uppercase());
            }
            Action::HashMod => {
                let hash = md5(value.as_bytes());
                // Prometheus takes the last eight bytes of the MD5 sum.
                let tail = hash[8..].iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
                labels.set(&self.target_label, &(tail % self.modulus).to_string());
            }
            Action::LabelMap => {
                let mapped: Vec<(String, String)> = labels
                    .iter()
                    .filter(|(name, _)| self.regex.is_match(name))
                    .map(|(name, value)| {
                        (self.regex.replace(name, self.replacement.as_str()).into_owned(), value.to_owned())
                    })
                    .collect();
                for (name, value) in mapped {
                    labels.set(&name, &value);
                }
            }
            Action::LabelDrop | Action::LabelKeep => {
                let keep = self.action == Action::LabelKeep;
                let gone: Vec<String> = labels
                    .iter()
                    .filter(|(name, _)| self.regex.is_match(name) != keep)
                    .map(|(name, _)| name.to_owned())
                    .collect();
                for name in gone {
                    labels.remove(&name);
                }
            }
        }
        true
    }
}

/// MD5 (RFC 1321), for `hashmod` only.
fn md5(message: &[u8]) -> [u8; 16] {
    const SHIFTS: [[u32; 4]; 4] = [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];
    let mut state = [0x6745_2301_u32, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
    let mut padded = message.to_vec();
    padded.push(0x80);
    while padded.len() % 64 != 56 {
        padded.push(0);
    }
    padded.extend((message.len() as u64 * 8).to_le_bytes());
    for block in padded.chunks_exact(64) {
        let words: Vec<u32> = block.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        let [mut a, mut b, mut c, mut d] = state;
        for i in 0..64 {
            let (mix, word) = match i / 16 {
                0 => ((b & c) | (!b & d), i),
                1 => ((d & b) | (!d & c), (5 * i + 1) % 16),
                2 => (b ^ c ^ d, (3 * i + 5) % 16),
                _ => (c ^ (b | !d), (7 * i) % 16),
            };
            let constant = (((i + 1) as f64).sin().abs() * 4_294_967_296.0) as u32;
            let sum = a.wrapping_add(mix).wrapping_add(constant).wrapping_add(words[word]);
            (a, d, c, b) = (d, c, b, b.wrapping_add(sum.rotate_left(SHIFTS[i / 16][i % 4])));
        }
        for (word, add) in state.iter_mut().zip([a, b, c, d]) {
            *word = word.wrapping_add(add);
        }
    }
    let mut out = [0; 16];
    for (bytes, word) in out.chunks_exact_mut(4).zip(state) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(yaml: &str) -> Option<String> {
        let steps: Vec<Relabel> = serde_saphyr::from_str(yaml).unwrap();
        let labels = Labels::from_pairs([("a", "foo"), ("b", "Bar"), ("__meta_x", "y")]);
        apply(&labels, &steps).map(|labels| labels.to_string())
    }

    #[test]
    fn md5_is_md5() {
        let hex = |bytes: [u8; 16]| format!("{:032x}", u128::from_be_bytes(bytes));
        assert_eq!(hex(md5(b"")), "d41d8cd98f00b204e9800998ecf8427e");
        assert_eq!(hex(md5(b"The quick brown fox jumps over the lazy dog")), "9e107d9d372bb6826bd81d3542a419d6");
    }

    #[test]
    fn every_action_does_its_job() {
        let base = r#"__meta_x="y", a="foo", b="Bar""#;
        let with = |extra: &str| Some(format!("{{{extra}}}"));
        assert_eq!(
            run("[{source_labels: [a, b], regex: 'f(.*);B(.*)', target_label: c, replacement: '$1-$2'}]"),
            with(&format!(r#"{base}, c="oo-ar""#))
        );
        assert_eq!(run("[{source_labels: [a], regex: 'f', target_label: c}]"), with(base));
        assert_eq!(run("[{action: keep, source_labels: [a], regex: fo}]"), None);
        assert_eq!(run("[{action: drop, source_labels: [a], regex: fo+}]"), None);
        assert_eq!(run("[{action: keepequal, source_labels: [a], target_label: b}]"), None);
        assert_eq!(run("[{action: dropequal, source_labels: [a], target_label: a}]"), None);
        assert_eq!(
            run("[{action: lowercase, source_labels: [b], target_label: b}]"),
            with(r#"__meta_x="y", a="foo", b="bar""#)
        );
        assert_eq!(
            run("[{action: uppercase, source_labels: [a], target_label: a}]"),
            with(r#"__meta_x="y", a="FOO", b="Bar""#)
        );
        assert_eq!(run("[{action: labelmap, regex: '__meta_(.*)'}]"), with(&format!(r#"{base}, x="y""#)));
        assert_eq!(run("[{action: labeldrop, regex: '__.*'}]"), with(r#"a="foo", b="Bar""#));
        assert_eq!(run("[{action: labelkeep, regex: 'a'}]"), with(r#"a="foo""#));
        assert_eq!(
            run("[{action: hashmod, source_labels: [a], target_label: h, modulus: 1}]"),
            with(&format!(r#"{base}, h="0""#))
        );
    }

    #[test]
    fn a_step_without_its_target_is_refused() {
        assert!(serde_saphyr::from_str::<Vec<Relabel>>("[{action: hashmod, target_label: a}]").is_err());
        assert!(serde_saphyr::from_str::<Vec<Relabel>>("[{regex: a}]").is_err());
    }
}
