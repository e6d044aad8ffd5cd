//! The store against a naive model, and etcd's rules one by one.

use std::collections::BTreeMap;

use etcd_api::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use etcd_api::etcdserverpb::range_request::{SortOrder, SortTarget};
use etcd_api::etcdserverpb::{
    CompactionRequest, Compare, DeleteRangeRequest, LeaseGrantRequest, LeaseTimeToLiveRequest, PutRequest,
    RangeRequest, RequestOp, TxnRequest, request_op::Request, response_op::Response, watch_create_request::FilterType,
};
use etcd_api::mvccpb::{KeyValue, event::EventType};
use proptest::prelude::*;
use sim_clock::Timestamp;
use sim_etcd::{EtcdError, KeyRange, Store, TXN_OPS_MAX};

fn put_request(key: &str, value: &str) -> PutRequest {
    PutRequest { key: key.into(), value: value.into(), ..Default::default() }
}

fn put(store: &mut Store, key: &str, value: &str) -> i64 {
    store.put(&put_request(key, value)).unwrap().header.unwrap().revision
}

fn delete_request(key: &str, end: &str) -> DeleteRangeRequest {
    DeleteRangeRequest { key: key.into(), range_end: end.into(), ..Default::default() }
}

fn all() -> RangeRequest {
    RangeRequest { key: vec![0], range_end: vec![0], ..Default::default() }
}

fn get(store: &Store, key: &str) -> Option<KeyValue> {
    store.range(&RangeRequest { key: key.into(), ..Default::default() }).unwrap().kvs.pop()
}

fn keys(kvs: &[KeyValue]) -> Vec<String> {
    kvs.iter().map(|kv| String::from_utf8(kv.key.clone()).unwrap()).collect()
}

fn op(request: Request) -> RequestOp {
    RequestOp { request: Some(request) }
}

fn compare(key: &str, target: CompareTarget, result: CompareResult, union: TargetUnion) -> Compare {
    Compare {
        key: key.into(),
        target: target.into(),
        result: result.into(),
        target_union: Some(union),
        range_end: vec![],
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_secs(1_700_000_000 + seconds)
}

#[test]
fn a_key_counts_versions_from_one_in_each_of_its_lives() {
    let mut store = Store::new();
    assert_eq!(put(&mut store, "k", "a"), 2);
    assert_eq!(put(&mut store, "k", "b"), 3);
    let kv = get(&store, "k").unwrap();
    assert_eq!((kv.create_revision, kv.mod_revision, kv.version), (2, 3, 2));
    store.delete_range(&delete_request("k", "")).unwrap();
    assert_eq!(get(&store, "k"), None);
    put(&mut store, "k", "c");
    let kv = get(&store, "k").unwrap();
    assert_eq!((kv.create_revision, kv.mod_revision, kv.version), (5, 5, 1));
}

#[test]
fn a_deletion_that_finds_nothing_is_no_revision() {
    let mut store = Store::new();
    assert_eq!(store.delete_range(&delete_request("a", "z")).unwrap().deleted, 0);
    assert_eq!(store.revision(), 1);
}

#[test]
fn ranges_are_sorted_filtered_limited_and_counted_in_that_order() {
    let mut store = Store::new();
    for (key, value) in [("a", "3"), ("b", "1"), ("c", "2"), ("a", "4")] {
        put(&mut store, key, value);
    }
    let by = |target: SortTarget, order: SortOrder, limit| {
        let request = RangeRequest { sort_target: target.into(), sort_order: order.into(), limit, ..all() };
        let response = store.range(&request).unwrap();
        (keys(&response.kvs).concat(), response.more, response.count)
    };
    assert_eq!(by(SortTarget::Key, SortOrder::Descend, 0), ("cba".into(), false, 3));
    assert_eq!(by(SortTarget::Value, SortOrder::None, 2), ("bc".into(), true, 3));
    assert_eq!(by(SortTarget::Mod, SortOrder::Descend, 1), ("a".into(), true, 3));
    assert_eq!(by(SortTarget::Create, SortOrder::Ascend, 3), ("abc".into(), false, 3));
    assert_eq!(by(SortTarget::Version, SortOrder::Descend, 1), ("a".into(), true, 3));
    let filtered = store.range(&RangeRequest { min_mod_revision: 4, ..all() }).unwrap();
    assert_eq!(keys(&filtered.kvs), ["a", "c"]);
    let bare = store.range(&RangeRequest { keys_only: true, ..all() }).unwrap();
    assert!(bare.kvs.iter().all(|kv| kv.value.is_empty() && kv.mod_revision > 0));
    let counted = store.range(&RangeRequest { count_only: true, ..all() }).unwrap();
    assert_eq!((counted.kvs.len(), counted.count), (0, 3));
    let inverted = RangeRequest { key: b"c".to_vec(), range_end: b"a".to_vec(), ..Default::default() };
    assert_eq!(store.range(&inverted).unwrap().count, 0);
}

#[test]
fn refusals_have_etcds_words() {
    let mut store = Store::new();
    put(&mut store, "k", "v");
    let refused = |result: Result<_, EtcdError>| -> String { result.map(|_: PutRequest| ()).unwrap_err().to_string() };
    let mut refuse_put = |request: PutRequest| refused(store.put(&request).map(|_| PutRequest::default()));
    assert_eq!(refuse_put(PutRequest::default()), "etcdserver: key is not provided");
    assert_eq!(refuse_put(PutRequest { lease: 9, ..put_request("k", "v") }), "etcdserver: requested lease not found");
    assert_eq!(refuse_put(PutRequest { ignore_value: true, ..put_request("x", "") }), "etcdserver: key not found");
    assert_eq!(refuse_put(PutRequest { ignore_value: true, ..put_request("k", "v") }), "etcdserver: value is provided");
    assert_eq!(
        refuse_put(PutRequest { ignore_lease: true, lease: 1, ..put_request("k", "v") }),
        "etcdserver: lease is provided"
    );
    assert_eq!(store.range(&RangeRequest { revision: 99, ..all() }), Err(EtcdError::FutureRevision));
    assert_eq!(store.revision(), 2, "a refused write is no revision");
}

#[test]
fn compaction_keeps_the_state_at_its_revision_and_forgets_what_was_before() {
    let mut store = Store::new();
    put(&mut store, "a", "1"); // 2
    put(&mut store, "a", "2"); // 3
    put(&mut store, "b", "1"); // 4
    store.delete_range(&delete_request("b", "")).unwrap(); // 5
    put(&mut store, "a", "3"); // 6
    let before = store.size_bytes();
    let compact = |store: &mut Store, revision| store.compact(&CompactionRequest { revision, physical: false });
    assert_eq!(compact(&mut store, 7), Err(EtcdError::FutureRevision));
    compact(&mut store, 5).unwrap();
    assert_eq!(compact(&mut store, 5), Err(EtcdError::Compacted));
    assert_eq!(store.range(&RangeRequest { revision: 4, ..all() }), Err(EtcdError::Compacted));
    let then = store.range(&RangeRequest { revision: 5, ..all() }).unwrap();
    assert_eq!(then.kvs.iter().map(|kv| kv.value.as_slice()).collect::<Vec<_>>(), [b"2"]);
    assert_eq!(get(&store, "a").unwrap().value, b"3");
    assert_eq!((before, store.size_bytes()), (9, 4), "two versions of one key are left");
    assert_eq!(store.events(&KeyRange::prefix(b""), 4, &[], false), Err(EtcdError::Compacted));
}

#[test]
fn events_tell_puts_and_deletions_with_filters_and_what_was_before() {
    let mut store = Store::new();
    put(&mut store, "a", "1"); // 2
    put(&mut store, "x", "1"); // 3
    put(&mut store, "a", "2"); // 4
    store.delete_range(&delete_request("a", "")).unwrap(); // 5
    let range = KeyRange::new("a", "b");
    let events = store.events(&range, 3, &[], true).unwrap();
    assert_eq!(events.iter().map(|event| event.r#type()).collect::<Vec<_>>(), [EventType::Put, EventType::Delete]);
    let previous: Vec<_> = events.iter().map(|event| event.prev_kv.as_ref().unwrap().value.as_slice()).collect();
    assert_eq!(previous, [b"1", b"2"]);
    let tombstone = events[1].kv.as_ref().unwrap();
    assert_eq!((tombstone.mod_revision, tombstone.create_revision, tombstone.version), (5, 0, 0));
    assert_eq!(store.events(&range, 2, &[FilterType::Noput], false).unwrap().len(), 1);
    assert_eq!(store.events(&range, 2, &[FilterType::Nodelete], false).unwrap().len(), 2);
}

#[test]
fn a_transaction_is_one_revision_and_its_reads_see_its_writes() {
    let mut store = Store::new();
    let response = store
        .txn(&TxnRequest {
            compare: vec![compare("k", CompareTarget::Version, CompareResult::Equal, TargetUnion::Version(0))],
            success: vec![
                op(Request::RequestPut(put_request("k", "1"))),
                op(Request::RequestPut(put_request("l", "1"))),
                op(Request::RequestRange(all())),
            ],
            failure: vec![],
        })
        .unwrap();
    assert!(response.succeeded);
    assert_eq!((store.revision(), response.header.unwrap().revision), (2, 2));
    let Some(Response::ResponseRange(range)) = &response.responses[2].response else { panic!("a range was asked for") };
    assert_eq!(keys(&range.kvs), ["k", "l"]);
    assert_eq!(get(&store, "l").unwrap().mod_revision, 2);
}

#[test]
fn every_relation_and_target_decides() {
    let mut store = Store::new();
    put(&mut store, "k", "b");
    put(&mut store, "k", "b"); // version 2, created 2, modified 3, lease 0
    let mut holds =
        |compare: Compare| store.txn(&TxnRequest { compare: vec![compare], ..Default::default() }).unwrap().succeeded;
    use {CompareResult as R, CompareTarget as T, TargetUnion as U};
    assert!(holds(compare("k", T::Version, R::Equal, U::Version(2))));
    assert!(holds(compare("k", T::Create, R::Less, U::CreateRevision(3))));
    assert!(holds(compare("k", T::Mod, R::Greater, U::ModRevision(2))));
    assert!(holds(compare("k", T::Value, R::NotEqual, U::Value(b"a".to_vec()))));
    assert!(holds(compare("k", T::Value, R::Greater, U::Value(b"a".to_vec()))));
    assert!(holds(compare("k", T::Lease, R::Equal, U::Lease(0))));
    assert!(!holds(compare("k", T::Version, R::Greater, U::Version(2))));
    assert!(holds(compare("none", T::Mod, R::Equal, U::ModRevision(0))), "what is not there has revision 0");
    assert!(!holds(compare("none", T::Value, R::NotEqual, U::Value(b"x".to_vec()))), "but no value");
    let range = Compare { range_end: b"z".to_vec(), ..compare("a", T::Version, R::Equal, U::Version(2)) };
    assert!(holds(range));
}

#[test]
fn nested_conditions_are_looked_at_before_anything_is_written() {
    let mut store = Store::new();
    let nested = TxnRequest {
        compare: vec![compare("k", CompareTarget::Version, CompareResult::Equal, TargetUnion::Version(0))],
        success: vec![op(Request::RequestPut(put_request("inner", "absent")))],
        failure: vec![op(Request::RequestPut(put_request("inner", "present")))],
    };
    let request = TxnRequest {
        success: vec![op(Request::RequestPut(put_request("k", "1"))), op(Request::RequestTxn(nested))],
        ..Default::default()
    };
    store.txn(&request).unwrap();
    assert_eq!(get(&store, "inner").unwrap().value, b"absent");
}

#[test]
fn a_transaction_that_writes_a_key_twice_or_is_too_long_does_nothing() {
    let mut store = Store::new();
    let refuse = |store: &mut Store, success: Vec<RequestOp>| {
        store.txn(&TxnRequest { success, ..Default::default() }).unwrap_err()
    };
    let put_k = || op(Request::RequestPut(put_request("k", "1")));
    let delete_all = || op(Request::RequestDeleteRange(delete_request("a", "z")));
    let nested = TxnRequest { failure: vec![put_k()], ..Default::default() };
    assert_eq!(refuse(&mut store, vec![put_k(), put_k()]), EtcdError::DuplicateKey);
    assert_eq!(refuse(&mut store, vec![delete_all(), put_k()]), EtcdError::DuplicateKey);
    assert_eq!(refuse(&mut store, vec![put_k(), op(Request::RequestTxn(nested))]), EtcdError::DuplicateKey);
    assert_eq!(refuse(&mut store, vec![delete_all(); TXN_OPS_MAX + 1]), EtcdError::TooManyOps);
    let future = op(Request::RequestRange(RangeRequest { revision: 9, ..all() }));
    assert_eq!(refuse(&mut store, vec![put_k(), future]), EtcdError::FutureRevision);
    assert_eq!((store.revision(), get(&store, "k")), (1, None));
    let branches = TxnRequest { success: vec![put_k()], failure: vec![put_k()], ..Default::default() };
    assert!(store.txn(&branches).is_ok(), "only one of two branches is taken");
}

#[test]
fn keys_end_with_their_lease_unless_it_is_renewed_or_they_leave_it() {
    let mut store = Store::new();
    let id = store.lease_grant(at(0), &LeaseGrantRequest { ttl: 10, id: 0 }).unwrap().id;
    for key in ["stays", "goes"] {
        store.put(&PutRequest { lease: id, ..put_request(key, "v") }).unwrap();
    }
    put(&mut store, "stays", "without lease");
    let left = |store: &Store, now| store.lease_time_to_live(now, &LeaseTimeToLiveRequest { id, keys: true });
    assert_eq!((left(&store, at(4)).ttl, left(&store, at(4)).keys), (6, vec![b"goes".to_vec()]));
    assert_eq!(store.lease_keep_alive(at(9), id), Ok(10));
    assert_eq!(store.next_lease_expiry(), Some(at(19)));
    assert_eq!(store.expire_leases(at(18)), 0);
    assert_eq!(store.expire_leases(at(19)), 1);
    assert_eq!(keys(&store.range(&all()).unwrap().kvs), ["stays"]);
    assert_eq!(left(&store, at(19)).ttl, -1);
    assert_eq!(store.lease_keep_alive(at(19), id), Err(EtcdError::LeaseNotFound));
}

#[test]
fn a_lease_is_granted_within_limits_and_only_once() {
    let mut store = Store::new();
    let mut grant = |ttl, id| store.lease_grant(at(0), &LeaseGrantRequest { ttl, id }).map(|granted| granted.ttl);
    assert_eq!(grant(1, 7), Ok(2), "raised to the shortest");
    assert_eq!(grant(1, 7), Err(EtcdError::LeaseExists));
    assert_eq!(grant(9_000_000_001, 8), Err(EtcdError::LeaseTtlTooLarge));
    assert_eq!(grant(9_000_000_000, 8), Ok(9_000_000_000));
}

#[derive(Debug, Clone)]
enum Step {
    Put(u8, u8),
    Delete(u8, u8),
    PutIfAbsent(u8, u8),
    Compact(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (0..6u8, any::<u8>()).prop_map(|(key, value)| Step::Put(key, value)),
        2 => (0..6u8, 0..7u8).prop_map(|(key, end)| Step::Delete(key, end)),
        2 => (0..6u8, any::<u8>()).prop_map(|(key, value)| Step::PutIfAbsent(key, value)),
        1 => any::<u8>().prop_map(Step::Compact),
    ]
}

type State = BTreeMap<Vec<u8>, KeyValue>;

fn model_put(state: &mut State, key: u8, value: u8, revision: i64) {
    let old = state.get([b'a' + key].as_slice());
    let kv = KeyValue {
        key: vec![b'a' + key],
        value: vec![value],
        create_revision: old.map_or(revision, |kv| kv.create_revision),
        mod_revision: revision,
        version: old.map_or(1, |kv| kv.version + 1),
        lease: 0,
    };
    state.insert(kv.key.clone(), kv);
}

proptest! {
    #[test]
    fn every_revision_reads_as_in_a_model_that_copies_the_whole_state(steps in proptest::collection::vec(step(), 1..60)) {
        let mut store = Store::new();
        let mut states: BTreeMap<i64, State> = BTreeMap::from([(1, State::new())]);
        for step in steps {
            let (&newest, state) = states.last_key_value().expect("there is a first state");
            let mut next = state.clone();
            match step {
                Step::Put(key, value) => {
                    store.put(&PutRequest { key: vec![b'a' + key], value: vec![value], ..Default::default() }).unwrap();
                    model_put(&mut next, key, value, newest + 1);
                }
                Step::Delete(key, end) => {
                    let request = DeleteRangeRequest { key: vec![b'a' + key], range_end: vec![b'a' + end], prev_kv: true };
                    let deleted = store.delete_range(&request).unwrap().prev_kvs;
                    let expected: Vec<KeyValue> =
                        state.values().filter(|kv| (b'a' + key..b'a' + end).contains(&kv.key[0])).cloned().collect();
                    prop_assert_eq!(&deleted, &expected);
                    next.retain(|_, kv| !expected.contains(kv));
                }
                Step::PutIfAbsent(key, value) => {
                    let name = String::from(char::from(b'a' + key));
                    let put = PutRequest { key: name.clone().into(), value: vec![value], ..Default::default() };
                    let absent = compare(&name, CompareTarget::Create, CompareResult::Equal, TargetUnion::CreateRevision(0));
                    let request = TxnRequest { compare: vec![absent], success: vec![op(Request::RequestPut(put))], failure: vec![] };
                    let succeeded = store.txn(&request).unwrap().succeeded;
                    prop_assert_eq!(succeeded, !state.contains_key(name.as_bytes()));
                    if succeeded {
                        model_put(&mut next, key, value, newest + 1);
                    }
                }
                Step::Compact(part) => {
                    let revision = 1 + i64::from(part) * newest / 256;
                    let possible = revision > store.compacted();
                    prop_assert_eq!(store.compact(&CompactionRequest { revision, physical: true }).is_ok(), possible);
                }
            }
            if next != *state {
                states.insert(newest + 1, next);
            }
        }
        let (&newest, last) = states.last_key_value().expect("there is a first state");
        prop_assert_eq!(store.revision(), newest);
        for (&revision, state) in &states {
            let read = store.range(&RangeRequest { revision, ..all() });
            if revision < store.compacted() {
                prop_assert_eq!(read, Err(EtcdError::Compacted));
                continue;
            }
            prop_assert_eq!(read.unwrap().kvs, state.values().cloned().collect::<Vec<_>>());
            // The events after a readable revision lead from its state to the last one.
            let mut replayed = state.clone();
            for event in store.events(&KeyRange::prefix(b""), revision + 1, &[], true).unwrap() {
                let kv = event.kv.clone().expect("an event has a key");
                prop_assert_eq!(event.prev_kv.as_ref(), replayed.get(&kv.key));
                match event.r#type() {
                    EventType::Put => { replayed.insert(kv.key.clone(), kv); }
                    EventType::Delete => { replayed.remove(&kv.key); }
                }
            }
            prop_assert_eq!(&replayed, last);
        }
    }
}
