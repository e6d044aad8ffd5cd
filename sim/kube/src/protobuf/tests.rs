use proptest::prelude::*;
use serde_json::json;

use super::*;

fn varint(mut n: u64, out: &mut Vec<u8>) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn bytes(number: u64, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    varint(number << 3 | 2, &mut out);
    varint(content.len() as u64, &mut out);
    out.extend_from_slice(content);
    out
}

fn int(number: u64, value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    varint(number << 3, &mut out);
    varint(value, &mut out);
    out
}

fn body(version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let meta = [bytes(1, version.as_bytes()), bytes(2, kind.as_bytes())].concat();
    [MAGIC.to_vec(), bytes(1, &meta), bytes(2, raw), bytes(3, b""), bytes(4, b"")].concat()
}

#[test]
fn a_review_of_kubectl_auth_can_i_is_read() {
    let attributes = [
        bytes(1, b"default"),
        bytes(2, b"get"),
        bytes(3, b""),
        bytes(4, b"*"),
        bytes(5, b"pods"),
        bytes(6, b""),
        bytes(7, b""),
    ]
    .concat();
    let review = [bytes(1, b""), bytes(2, &bytes(1, &attributes)), bytes(3, &int(1, 0))].concat();
    let object = decode(&body("authorization.k8s.io/v1", "SelfSubjectAccessReview", &review)).unwrap();
    assert_eq!(
        object["spec"],
        json!({"resourceAttributes": {"namespace": "default", "verb": "get", "version": "*", "resource": "pods"}})
    );
}

#[test]
fn special_values_and_inlined_messages_have_their_json_form() {
    let meta = [bytes(1, b"p"), bytes(8, &int(1, 60)), bytes(11, &[bytes(1, b"k"), bytes(2, b"v")].concat())].concat();
    let quantity = bytes(1, &[bytes(1, b"cpu"), bytes(2, &bytes(1, b"100m"))].concat());
    let probe = [
        bytes(
            1,
            &bytes(2, &[bytes(1, b"/live"), bytes(2, &[int(1, 1), int(2, 0), bytes(3, b"http")].concat())].concat()),
        ),
        int(2, 0),
        int(7, 0),
    ]
    .concat();
    let container = [bytes(1, b"c"), bytes(2, b"i"), bytes(8, &quantity), bytes(10, &probe)].concat();
    let volume = [bytes(1, b"tmp"), bytes(2, &bytes(2, b""))].concat();
    let spec = [bytes(1, &volume), bytes(2, &container), int(4, 0)].concat();
    let pod = [bytes(1, &meta), bytes(2, &spec), bytes(3, b"")].concat();
    assert_eq!(
        decode(&body("v1", "Pod", &pod)).unwrap(),
        json!({"kind": "Pod", "apiVersion": "v1",
            "metadata": {"name": "p", "creationTimestamp": "1970-01-01T00:01:00Z", "labels": {"k": "v"}},
            "spec": {"volumes": [{"name": "tmp", "emptyDir": {}}],
                "containers": [{"name": "c", "image": "i", "resources": {"limits": {"cpu": "100m"}},
                    "livenessProbe": {"httpGet": {"path": "/live", "port": "http"}, "terminationGracePeriodSeconds": 0}}],
                "terminationGracePeriodSeconds": 0},
            "status": {}})
    );
}

#[test]
fn secrets_keep_their_bytes_and_options_have_a_message() {
    let secret = [bytes(1, &bytes(1, b"s")), bytes(2, &[bytes(1, b"k"), bytes(2, &[0xff, 0])].concat())].concat();
    assert_eq!(decode(&body("v1", "Secret", &secret)).unwrap()["data"], json!({"k": "/wA="}));
    let options = [int(1, 0), bytes(4, b"Foreground")].concat();
    let options = decode(&body("v1", "DeleteOptions", &options)).unwrap();
    assert_eq!((&options["gracePeriodSeconds"], &options["propagationPolicy"]), (&json!(0), &json!("Foreground")));
}

#[test]
fn a_body_that_is_none_is_refused() {
    assert_eq!(decode(b"{}"), Err(Error::Prefix));
    assert!(matches!(decode(&body("v1", "Nothing", b"")), Err(Error::Kind { .. })));
    assert_eq!(decode(&body("v1", "Pod", &[0x0a, 5, 1])), Err(Error::End));
    assert_eq!(decode(&body("v1", "Pod", &int(1, 3))), Err(Error::WireType { field: "metadata".into(), wire: 0 }));
}

#[test]
fn every_message_that_a_field_names_is_known() {
    for (name, fields) in messages() {
        for field in fields.values() {
            if let Kind::Message(inner) = field.kind {
                let known = messages().contains_key(inner) || special::decode(inner, &[], 0).is_ok_and(|v| v.is_some());
                assert!(known, "{name}.{}: {inner}", field.name);
            }
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_bring_it_down(raw in proptest::collection::vec(any::<u8>(), 0..200), n in 0..3_usize) {
        let kind = [("v1", "Pod"), ("apiextensions.k8s.io/v1", "CustomResourceDefinition"), ("apps/v1", "Deployment")][n];
        let _ = decode(&body(kind.0, kind.1, &raw));
        let _ = decode(&raw);
    }
}
