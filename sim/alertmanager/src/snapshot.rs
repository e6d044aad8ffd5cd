//! What outlives the process: silences and the notification log, as bytes of JSON.
//!
//! The real program writes protobuf under the same names; alerts are kept by neither.

use crate::alert::Fingerprint;
use crate::matcher::{MatchType, Matcher};
use crate::nflog::{Entry, NotificationLog};
use crate::silence::{SILENCES_MAX, Silence, Silences};
use serde_json::{Map, Value as Json, json};
use sim_clock::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// The file of the silences, below `--storage.path`.
pub const SILENCES_FILE: &str = "silences";
/// The file of the notification log, below `--storage.path`.
pub const LOG_FILE: &str = "nflog";
/// How many entries of a notification log are read.
const ENTRIES_MAX: usize = 1_000_000;

/// All silences.
pub fn of_silences(silences: &Silences) -> Vec<u8> {
    let all: Vec<Json> = silences
        .iter()
        .map(|silence| {
            let matchers: Vec<Json> = silence
                .matchers
                .iter()
                .map(|matcher| json!([matcher.name, matcher.kind.operator(), matcher.value]))
                .collect();
            json!({
                "id": silence.id,
                "matchers": matchers,
                "startsAt": silence.starts_at.as_nanos(),
                "endsAt": silence.ends_at.as_nanos(),
                "updatedAt": silence.updated_at.as_nanos(),
                "createdBy": silence.created_by,
                "comment": silence.comment,
                "annotations": silence.annotations,
            })
        })
        .collect();
    Json::from(all).to_string().into_bytes()
}

/// The whole notification log.
pub fn of_log(log: &NotificationLog) -> Vec<u8> {
    let all: Vec<Json> = log
        .iter()
        .map(|((group, integration), entry)| {
            let ids = |ids: &BTreeSet<Fingerprint>| ids.iter().map(|id| id.0).collect::<Vec<u64>>();
            json!({
                "group": group,
                "integration": integration,
                "at": entry.at.as_nanos(),
                "firing": ids(&entry.firing),
                "resolved": ids(&entry.resolved),
                "expires": entry.expires.as_nanos(),
            })
        })
        .collect();
    Json::from(all).to_string().into_bytes()
}

/// Takes silences back.
///
/// # Errors
/// What is wrong with the bytes; nothing is taken then.
pub fn restore_silences(bytes: &[u8], silences: &mut Silences) -> Result<(), String> {
    let all = list(bytes, SILENCES_MAX)?;
    let read: Vec<Silence> = all.iter().map(silence).collect::<Result<_, _>>()?;
    for silence in read {
        silences.restore(silence);
    }
    Ok(())
}

/// Takes a notification log back.
///
/// # Errors
/// What is wrong with the bytes; nothing is taken then.
pub fn restore_log(bytes: &[u8], log: &mut NotificationLog) -> Result<(), String> {
    let all = list(bytes, ENTRIES_MAX)?;
    let read: Vec<((String, String), Entry)> = all.iter().map(entry).collect::<Result<_, _>>()?;
    for (key, entry) in read {
        log.restore(key, entry);
    }
    Ok(())
}

fn list(bytes: &[u8], max: usize) -> Result<Vec<Map<String, Json>>, String> {
    let all: Vec<Map<String, Json>> = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if all.len() > max {
        return Err(format!("{} entries, more than {max}", all.len()));
    }
    Ok(all)
}

fn field<'j>(object: &'j Map<String, Json>, name: &str) -> Result<&'j Json, String> {
    object.get(name).ok_or_else(|| format!("no {name}"))
}

fn text(object: &Map<String, Json>, name: &str) -> Result<String, String> {
    field(object, name)?.as_str().map(str::to_owned).ok_or_else(|| format!("{name} is no text"))
}

fn time(object: &Map<String, Json>, name: &str) -> Result<Timestamp, String> {
    field(object, name)?.as_i64().map(Timestamp::from_nanos).ok_or_else(|| format!("{name} is no time"))
}

fn silence(object: &Map<String, Json>) -> Result<Silence, String> {
    let matchers: Vec<[String; 3]> =
        serde_json::from_value(field(object, "matchers")?.clone()).map_err(|error| format!("matchers: {error}"))?;
    let matchers = matchers.iter().map(|[name, operator, value]| {
        let kind = MatchType::from_operator(operator).ok_or_else(|| format!("no operator {operator:?}"))?;
        Matcher::new(kind, name, value)
    });
    let annotations: BTreeMap<String, String> = serde_json::from_value(field(object, "annotations")?.clone())
        .map_err(|error| format!("annotations: {error}"))?;
    Ok(Silence {
        id: text(object, "id")?,
        matchers: matchers.collect::<Result<_, String>>()?,
        starts_at: time(object, "startsAt")?,
        ends_at: time(object, "endsAt")?,
        updated_at: time(object, "updatedAt")?,
        created_by: text(object, "createdBy")?,
        comment: text(object, "comment")?,
        annotations,
    })
}

fn entry(object: &Map<String, Json>) -> Result<((String, String), Entry), String> {
    let ids = |name: &str| -> Result<BTreeSet<Fingerprint>, String> {
        let ids: Vec<u64> =
            serde_json::from_value(field(object, name)?.clone()).map_err(|error| format!("{name}: {error}"))?;
        Ok(ids.into_iter().map(Fingerprint).collect())
    };
    let entry = Entry {
        at: time(object, "at")?,
        firing: ids("firing")?,
        resolved: ids("resolved")?,
        expires: time(object, "expires")?,
    };
    Ok(((text(object, "group")?, text(object, "integration")?), entry))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_was_kept_comes_back_as_it_was() {
        let at = Timestamp::from_secs(1_000);
        let mut silences = Silences::new(Duration::from_secs(3600));
        let one = Silence {
            id: String::new(),
            matchers: vec![Matcher::parse("a=~\"b|c\"").unwrap(), Matcher::parse("d!=e").unwrap()],
            starts_at: at,
            ends_at: at + Duration::from_secs(60),
            updated_at: at,
            created_by: "me".to_owned(),
            comment: "\"why\"".to_owned(),
            annotations: BTreeMap::from([("k".to_owned(), "v".to_owned())]),
        };
        silences.set(one, at, || "1".to_owned()).unwrap();
        let mut log = NotificationLog::new(Duration::from_secs(3600));
        let ids = BTreeSet::from([Fingerprint(u64::MAX), Fingerprint(1)]);
        log.note("{}:{}", "page/webhook/0", ids, BTreeSet::new(), Duration::from_secs(60), at);

        let mut silences_again = Silences::new(Duration::from_secs(3600));
        restore_silences(&of_silences(&silences), &mut silences_again).unwrap();
        assert!(silences.iter().eq(silences_again.iter()));
        let muted = sim_wire::Labels::from_pairs([("a", "c")]);
        assert_eq!(silences_again.muting(&muted, at), ["1"]);
        let mut log_again = NotificationLog::new(Duration::from_secs(3600));
        restore_log(&of_log(&log), &mut log_again).unwrap();
        assert!(log.iter().eq(log_again.iter()) && log_again.len() == 1);
    }

    #[test]
    fn bytes_that_are_no_snapshot_change_nothing_and_say_why() {
        let mut silences = Silences::new(Duration::from_secs(3600));
        let mut log = NotificationLog::new(Duration::from_secs(3600));
        for (bytes, why) in [
            ("", "EOF while parsing"),
            ("[{}]", "no matchers"),
            (r#"[{"matchers": [["a", "~", "b"]], "annotations": {}, "id": "1"}]"#, "no operator \"~\""),
            (r#"[{"matchers": [["a", "=~", "("]], "annotations": {}, "id": "1"}]"#, "regex"),
            (r#"[{"matchers": [], "annotations": {}, "id": "1", "startsAt": "now"}]"#, "startsAt is no time"),
        ] {
            let error = restore_silences(bytes.as_bytes(), &mut silences).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
        assert_eq!(silences.iter().count(), 0);
        assert!(restore_log(br#"[{"at": 1, "firing": [-1]}]"#, &mut log).unwrap_err().starts_with("firing:"));
        assert!(log.is_empty());
    }
}
