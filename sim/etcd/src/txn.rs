//! Transactions: all conditions are looked at first, nested ones too, then the chosen operations happen as one
//! revision.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use etcd_api::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use etcd_api::etcdserverpb::{
    Compare, PutResponse, RequestOp, ResponseOp, TxnRequest, TxnResponse, request_op, response_op,
};
use etcd_api::mvccpb::KeyValue;

use crate::error::EtcdError;
use crate::store::{KeyRange, Store};

/// Conditions or operations of one list of a transaction, at most.
pub const TXN_OPS_MAX: usize = 128;
/// Transactions inside transactions, at most. etcd has no such limit; a request that needs more is refused as too
/// large.
pub const TXN_DEPTH_MAX: usize = 16;

/// A transaction whose conditions have been decided.
struct Decided<'a> {
    succeeded: bool,
    operations: Vec<DecidedOp<'a>>,
}

enum DecidedOp<'a> {
    Plain(&'a request_op::Request),
    Nested(Decided<'a>),
}

impl Store {
    /// Runs a transaction: nothing at all happens when it is refused.
    pub fn txn(&mut self, request: &TxnRequest) -> Result<TxnResponse, EtcdError> {
        check_shape(request, 0)?;
        let decided = self.decide(request);
        self.check_decided(&decided)?;
        let revision = self.revision() + 1;
        let mut wrote = false;
        let mut response = self.apply_decided(&decided, revision, &mut wrote)?;
        if wrote {
            self.commit(revision);
        }
        response.header = Some(self.header());
        Ok(response)
    }

    fn decide<'a>(&self, request: &'a TxnRequest) -> Decided<'a> {
        let succeeded = request.compare.iter().all(|compare| self.holds(compare));
        let chosen = if succeeded { &request.success } else { &request.failure };
        let operations = chosen
            .iter()
            .filter_map(|op| op.request.as_ref())
            .map(|op| match op {
                request_op::Request::RequestTxn(nested) => DecidedOp::Nested(self.decide(nested)),
                plain => DecidedOp::Plain(plain),
            })
            .collect();
        Decided { succeeded, operations }
    }

    fn holds(&self, compare: &Compare) -> bool {
        let range = KeyRange::new(compare.key.as_slice(), compare.range_end.as_slice());
        let mut found = self.alive(&range, i64::MAX).peekable();
        if found.peek().is_none() {
            // A key that is not there has version 0 and so on, but no value that anything could be compared with.
            return compare.target() != CompareTarget::Value && relation_holds(compare, &KeyValue::default());
        }
        found.all(|kv| relation_holds(compare, kv))
    }

    fn check_decided(&self, decided: &Decided<'_>) -> Result<(), EtcdError> {
        for operation in &decided.operations {
            match operation {
                DecidedOp::Nested(nested) => self.check_decided(nested)?,
                DecidedOp::Plain(request_op::Request::RequestRange(range)) => self.check_range(range)?,
                DecidedOp::Plain(request_op::Request::RequestPut(put)) => self.check_put(put)?,
                DecidedOp::Plain(_) => {}
            }
        }
        Ok(())
    }

    fn apply_decided(
        &mut self,
        decided: &Decided<'_>,
        revision: i64,
        wrote: &mut bool,
    ) -> Result<TxnResponse, EtcdError> {
        let mut responses = Vec::with_capacity(decided.operations.len());
        for operation in &decided.operations {
            let response = match operation {
                DecidedOp::Nested(nested) => {
                    response_op::Response::ResponseTxn(self.apply_decided(nested, revision, wrote)?)
                }
                DecidedOp::Plain(request_op::Request::RequestRange(range)) => {
                    response_op::Response::ResponseRange(self.range_at(range, revision)?)
                }
                DecidedOp::Plain(request_op::Request::RequestPut(put)) => {
                    *wrote = true;
                    let previous = self.apply_put(put, revision);
                    let prev_kv = previous.filter(|_| put.prev_kv);
                    response_op::Response::ResponsePut(PutResponse { header: Some(self.header()), prev_kv })
                }
                DecidedOp::Plain(request_op::Request::RequestDeleteRange(delete)) => {
                    let range = KeyRange::new(delete.key.as_slice(), delete.range_end.as_slice());
                    let deleted = self.apply_delete(&range, revision);
                    *wrote |= !deleted.is_empty();
                    response_op::Response::ResponseDeleteRange(self.deleted(delete, deleted))
                }
                DecidedOp::Plain(request_op::Request::RequestTxn(_)) => continue, // decided as nested, never plain
            };
            responses.push(ResponseOp { response: Some(response) });
        }
        Ok(TxnResponse { header: Some(self.header()), succeeded: decided.succeeded, responses })
    }
}

fn relation_holds(compare: &Compare, kv: &KeyValue) -> bool {
    let given = compare.target_union.as_ref();
    let ordering = match compare.target() {
        CompareTarget::Version => {
            kv.version.cmp(&given.map_or(0, |given| if let TargetUnion::Version(it) = given { *it } else { 0 }))
        }
        CompareTarget::Create => kv
            .create_revision
            .cmp(&given.map_or(0, |given| if let TargetUnion::CreateRevision(it) = given { *it } else { 0 })),
        CompareTarget::Mod => kv
            .mod_revision
            .cmp(&given.map_or(0, |given| if let TargetUnion::ModRevision(it) = given { *it } else { 0 })),
        CompareTarget::Lease => {
            kv.lease.cmp(&given.map_or(0, |given| if let TargetUnion::Lease(it) = given { *it } else { 0 }))
        }
        CompareTarget::Value => match given {
            Some(TargetUnion::Value(value)) => kv.value.as_slice().cmp(value.as_slice()),
            _ => kv.value.as_slice().cmp(&[]),
        },
    };
    match compare.result() {
        CompareResult::Equal => ordering == Ordering::Equal,
        CompareResult::NotEqual => ordering != Ordering::Equal,
        CompareResult::Greater => ordering == Ordering::Greater,
        CompareResult::Less => ordering == Ordering::Less,
    }
}

/// What can be said of a transaction without looking at the store: keys are given, lists are short, no key is written
/// twice.
fn check_shape(request: &TxnRequest, depth: usize) -> Result<(), EtcdError> {
    if depth > TXN_DEPTH_MAX {
        return Err(EtcdError::RequestTooLarge);
    }
    if [request.compare.len(), request.success.len(), request.failure.len()].iter().any(|&length| length > TXN_OPS_MAX)
    {
        return Err(EtcdError::TooManyOps);
    }
    if request.compare.iter().any(|compare| compare.key.is_empty()) {
        return Err(EtcdError::EmptyKey);
    }
    for operation in request.success.iter().chain(&request.failure) {
        match operation.request.as_ref().ok_or(EtcdError::KeyNotFound)? {
            request_op::Request::RequestRange(range) if range.key.is_empty() => return Err(EtcdError::EmptyKey),
            request_op::Request::RequestPut(put) if put.key.is_empty() => return Err(EtcdError::EmptyKey),
            request_op::Request::RequestDeleteRange(delete) => Store::check_delete(delete)?,
            request_op::Request::RequestTxn(nested) => check_shape(nested, depth + 1)?,
            _ => {}
        }
    }
    writes(&request.success)?;
    writes(&request.failure)?;
    Ok(())
}

/// What one list of operations writes on any path through it.
struct Writes {
    puts: BTreeSet<Vec<u8>>,
    deletes: Vec<KeyRange>,
}

impl Writes {
    fn clashes_with(&self, other: &Self) -> bool {
        let covered = |puts: &BTreeSet<Vec<u8>>, deletes: &[KeyRange]| {
            deletes.iter().any(|range| puts.iter().any(|key| range.contains(key)))
        };
        self.puts.intersection(&other.puts).next().is_some()
            || covered(&self.puts, &other.deletes)
            || covered(&other.puts, &self.deletes)
    }
}

/// Collects writes, refusing a key that one path would put twice, or put and delete.
fn writes(operations: &[RequestOp]) -> Result<Writes, EtcdError> {
    let mut all = Writes { puts: BTreeSet::new(), deletes: Vec::new() };
    for operation in operations {
        let one = match &operation.request {
            Some(request_op::Request::RequestPut(put)) => {
                Writes { puts: BTreeSet::from([put.key.clone()]), deletes: Vec::new() }
            }
            Some(request_op::Request::RequestDeleteRange(delete)) => Writes {
                puts: BTreeSet::new(),
                deletes: vec![KeyRange::new(delete.key.as_slice(), delete.range_end.as_slice())],
            },
            Some(request_op::Request::RequestTxn(nested)) => {
                // Only one of the two branches will be taken, so they may write the same keys.
                let mut either = writes(&nested.success)?;
                let other = writes(&nested.failure)?;
                either.puts.extend(other.puts);
                either.deletes.extend(other.deletes);
                either
            }
            Some(request_op::Request::RequestRange(_)) | None => continue,
        };
        if all.clashes_with(&one) {
            return Err(EtcdError::DuplicateKey);
        }
        all.puts.extend(one.puts);
        all.deletes.extend(one.deletes);
    }
    Ok(all)
}
