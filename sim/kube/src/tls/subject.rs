//! User and groups of a client certificate: common name and organizations of its subject.

use rustls::pki_types::CertificateDer;

/// What a certificate says of its holder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// The last common name (the user).
    pub common_name: String,
    /// The organizations, in order (the groups).
    pub organizations: Vec<String>,
}

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT_IDENTIFIER: u8 = 0x06;
/// Explicit tag 0: the version.
const VERSION: u8 = 0xa0;
/// 2.5.4.3
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
/// 2.5.4.10
const ORGANIZATION: &[u8] = &[0x55, 0x04, 0x0a];

/// A reader of the distinguished encoding rules, as far as a subject needs: it never reads past its input.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The next value's tag and content.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = if first < 0x80 {
            (usize::from(first), rest)
        } else {
            // At most four bytes of length; the indefinite form (0x80) is not DER.
            let count = usize::from(first & 0x7f);
            if count == 0 || count > 4 || rest.len() < count {
                return None;
            }
            let (bytes, rest) = rest.split_at(count);
            (bytes.iter().fold(0_usize, |n, b| n << 8 | usize::from(*b)), rest)
        };
        if rest.len() < length {
            return None;
        }
        let (content, rest) = rest.split_at(length);
        self.0 = rest;
        Some((tag, content))
    }

    /// The content of the next value if it has this tag.
    fn expect(&mut self, wanted: u8) -> Option<&'a [u8]> {
        self.next().filter(|(tag, _)| *tag == wanted).map(|(_, content)| content)
    }
}

/// The subject of a certificate, or `None` if it cannot be read. The signature is not looked at.
pub fn subject(certificate: &CertificateDer<'_>) -> Option<Subject> {
    let mut signed = Der(Der(certificate.as_ref()).expect(SEQUENCE)?);
    let mut fields = Der(signed.expect(SEQUENCE)?);
    let (tag, _) = fields.next()?;
    if tag == VERSION {
        fields.next()?; // the serial number
    }
    fields.expect(SEQUENCE)?; // the signature's algorithm
    fields.expect(SEQUENCE)?; // the issuer
    fields.expect(SEQUENCE)?; // the validity
    let mut names = Der(fields.expect(SEQUENCE)?);
    let mut found = Subject::default();
    while !names.0.is_empty() {
        let mut set = Der(names.expect(SET)?);
        while !set.0.is_empty() {
            let mut attribute = Der(set.expect(SEQUENCE)?);
            let kind = attribute.expect(OBJECT_IDENTIFIER)?;
            let (_, value) = attribute.next()?;
            // PrintableString, UTF8String and IA5String are all UTF-8.
            let text = std::str::from_utf8(value).ok()?.to_owned();
            if kind == COMMON_NAME {
                found.common_name = text;
            } else if kind == ORGANIZATION {
                found.organizations.push(text);
            }
        }
    }
    Some(found)
}
