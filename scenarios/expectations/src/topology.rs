//! `topology`: a record in etcd, decoded here and not by the code that wrote it.

use scenario_language::{Record, TopologyPattern};
use serde_json::{Map, Value, json};

use crate::backends::{Backends, Result};
use crate::outcome::Story;
use crate::path::differences;

/// Keys that a story tells.
const TOLD_MAX: usize = 10;
/// How deep messages may nest.
const DEPTH_MAX: usize = 8;

/// Judges a key as it is now.
pub async fn judge(pattern: &TopologyPattern, backends: &dyn Backends) -> Result<(bool, Story)> {
    let key = &pattern.key.value;
    if key.ends_with('/') {
        let keys = backends.etcd_list(key).await?;
        let found = format!("{} keys below {key}", keys.len());
        let told = keys.iter().take(TOLD_MAX).cloned().collect();
        return Ok((keys.is_empty() == pattern.absent, Story::new("", found).with(told).data(json!({"keys": keys}))));
    }
    let Some(value) = backends.etcd_get(key).await? else {
        let folder = key.rsplit_once('/').map_or("", |(folder, _)| folder);
        let parent = folder.rsplit_once('/').map_or("", |(parent, _)| parent);
        let keys = if pattern.absent { Vec::new() } else { backends.etcd_list(&format!("{parent}/")).await? };
        let found = format!("there is no key {key}");
        let near = keys.iter().take(TOLD_MAX).map(|key| format!("near it: {key}")).collect();
        return Ok((pattern.absent, Story::new("", found).with(near).data(json!({"keys": keys}))));
    };
    if pattern.absent {
        return Ok((false, Story::new("", format!("{key} exists, {} bytes", value.len()))));
    }
    Ok(judge_record(pattern, &value))
}

/// The pure part: the value of the key.
pub fn judge_record(pattern: &TopologyPattern, value: &[u8]) -> (bool, Story) {
    let record = match pattern.record {
        Record::Raw => Ok(json!({"text": String::from_utf8_lossy(value), "bytes": value.len()})),
        Record::Cell => decode(value, CELL, 0),
        Record::Database => decode(value, DATABASE, 0),
    };
    match record {
        Ok(record) => {
            let wrong = differences(&pattern.fields, &record);
            let found = if wrong.is_empty() { format!("{record}") } else { wrong.join("; ") };
            let details = if wrong.is_empty() { Vec::new() } else { vec![format!("the record is {record}")] };
            (wrong.is_empty(), Story::new("", found).with(details).data(json!({"record": record})))
        }
        Err(reason) => {
            let hex = crate::span_tree::hexadecimal(&value[..value.len().min(64)]);
            (
                false,
                Story::new("", format!("the value is not a {:?} record: {reason}", pattern.record))
                    .with(vec![format!("{} bytes: {hex}", value.len())]),
            )
        }
    }
}

/// The shape of a field of a message.
enum Shape {
    Text,
    Texts,
    Flag,
    Message(&'static [(u64, &'static str, Shape)]),
}

type Message = &'static [(u64, &'static str, Shape)];

/// `clustermetadata.Cell`
const CELL: Message = &[(1, "name", Shape::Text), (2, "server_addresses", Shape::Texts), (3, "root", Shape::Text)];
const FILESYSTEM: Message = &[(1, "path", Shape::Text)];
const S3: Message = &[
    (1, "bucket", Shape::Text),
    (2, "region", Shape::Text),
    (3, "endpoint", Shape::Text),
    (4, "key_prefix", Shape::Text),
    (5, "use_env_credentials", Shape::Flag),
];
const BACKUP_LOCATION: Message = &[(1, "filesystem", Shape::Message(FILESYSTEM)), (2, "s3", Shape::Message(S3))];
/// `clustermetadata.Database`
const DATABASE: Message = &[
    (1, "name", Shape::Text),
    (2, "backup_location", Shape::Message(BACKUP_LOCATION)),
    (3, "durability_policy", Shape::Text),
    (4, "cells", Shape::Texts),
];

/// Reads a message. Unlike a real client it refuses unknown fields: a record with more in it than expected is news.
fn decode(mut bytes: &[u8], message: Message, depth: usize) -> std::result::Result<Value, String> {
    if depth > DEPTH_MAX {
        return Err("nested too deep".to_string());
    }
    let mut record = Map::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        let (number, wire) = (tag >> 3, tag & 7);
        let Some((_, name, shape)) = message.iter().find(|(known, _, _)| *known == number) else {
            return Err(format!("unknown field {number}"));
        };
        if let Shape::Flag = shape {
            if wire != 0 {
                return Err(format!("{name} has wire type {wire}"));
            }
            record.insert((*name).to_string(), Value::Bool(varint(&mut bytes)? != 0));
            continue;
        }
        if wire != 2 {
            return Err(format!("{name} has wire type {wire}"));
        }
        let length = usize::try_from(varint(&mut bytes)?).map_err(|_| "a length beyond memory".to_string())?;
        if length > bytes.len() {
            return Err(format!("{name} is cut off"));
        }
        let (field, rest) = bytes.split_at(length);
        bytes = rest;
        let text = || {
            std::str::from_utf8(field)
                .map(|text| Value::String(text.to_string()))
                .map_err(|_| format!("{name} is not UTF-8"))
        };
        match shape {
            Shape::Text => {
                record.insert((*name).to_string(), text()?);
            }
            Shape::Texts => {
                let list = record.entry(*name).or_insert_with(|| Value::Array(Vec::new()));
                if let Value::Array(list) = list {
                    list.push(text()?);
                }
            }
            Shape::Message(inner) => {
                record.insert((*name).to_string(), decode(field, inner, depth + 1)?);
            }
            Shape::Flag => {}
        }
    }
    Ok(Value::Object(record))
}

fn varint(bytes: &mut &[u8]) -> std::result::Result<u64, String> {
    let mut value: u64 = 0;
    for shift in (0..64).step_by(7) {
        let Some((byte, rest)) = bytes.split_first() else { return Err("cut off inside a number".to_string()) };
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err("a number longer than ten bytes".to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(yaml: &str) -> TopologyPattern {
        crate::testing::expectation(&format!("topology: {yaml}")).topology()
    }

    // field 1 "zone-a", field 2 "a:2379" twice, field 3 "/g"
    const CELL_BYTES: &[u8] = b"\x0a\x06zone-a\x12\x06a:2379\x12\x06b:2379\x1a\x02/g";
    // name "postgres", backup_location.filesystem.path "/backups", durability_policy "ANY_2", cells "zone-a"
    const DATABASE_BYTES: &[u8] = b"\x0a\x08postgres\x12\x0c\x0a\x0a\x0a\x08/backups\x1a\x05ANY_2\x22\x06zone-a";

    #[test]
    fn a_cell_record_is_read_from_its_bytes() {
        let pattern =
            pattern("{ key: /k, record: Cell, where: { name: zone-a, 'server_addresses[1]': 'b:2379', root: /g } }");
        let (ok, story) = judge_record(&pattern, CELL_BYTES);
        assert!(ok, "{story:?}");
        let (ok, story) = judge_record(&pattern, b"\x0a\x06zone-b");
        assert!(!ok);
        assert_eq!(story.found, "name: zone-a, is zone-b; server_addresses[1]: b:2379, is absent; root: /g, is absent");
    }

    #[test]
    fn a_database_record_is_read_from_its_bytes() {
        let pattern = pattern(
            "{ key: /k, record: Database, where: { backup_location.filesystem.path: /backups, durability_policy: ANY_2, 'cells[0]': zone-a } }",
        );
        assert!(judge_record(&pattern, DATABASE_BYTES).0);
    }

    #[test]
    fn bytes_that_are_no_record_are_told() {
        let pattern = pattern("{ key: /k, record: Cell }");
        for (bytes, reason) in [
            (&b"\x0a\x06zone"[..], "name is cut off"),
            (&b"\x3a\x00"[..], "unknown field 7"),
            (&b"\x08\x01"[..], "name has wire type 0"),
            (&b"\x0a"[..], "cut off inside a number"),
            (&b"\x0a\x01\xff"[..], "name is not UTF-8"),
        ] {
            let (ok, story) = judge_record(&pattern, bytes);
            assert!(!ok && story.found.ends_with(reason), "{}", story.found);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = decode(&bytes, DATABASE, 0);
        }
    }
}
