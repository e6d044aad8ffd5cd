//! Get and list.

use super::{
    Engine, Key, Object, Target,
    store::Past,
    versions::{self, Continue, ReadVersion},
};
use crate::{
    conversion,
    resources::ResourceType,
    selectors::{FieldSelector, LabelSelector},
    status::Status,
};

/// What a list asks for.
#[derive(Clone, Debug, Default)]
pub struct ListQuery {
    /// Labels.
    pub labels: LabelSelector,
    /// Fields.
    pub fields: FieldSelector,
    /// Most items in one answer; 0 is no limit.
    pub limit: usize,
    /// Continuation of an earlier answer.
    pub continue_token: String,
    /// From which revision.
    pub version: ReadVersion,
}

/// A page of a list.
#[derive(Clone, Debug)]
pub struct ListPage {
    /// Revision of the snapshot.
    pub revision: u64,
    /// The objects.
    pub items: Vec<Object>,
    /// Token for the next page, empty at the end.
    pub continue_token: String,
    /// How many are left, if known: the real server counts keys, so it does not say where there are selectors.
    pub remaining: Option<usize>,
}

impl Engine {
    /// One object.
    ///
    /// # Errors
    /// 404.
    pub fn get(&self, target: &Target) -> Result<Object, Status> {
        let found = self.store.get(&target.resource.table, &target.key()).cloned();
        let object = found.ok_or_else(|| Status::not_found(target.resource.about(), &target.name))?;
        Ok(view(&target.resource, object))
    }

    /// One object as it was at a past revision, or at the oldest that is remembered (for stale reads).
    ///
    /// # Errors
    /// 404.
    pub fn get_at(&self, target: &Target, revision: u64) -> Result<Object, Status> {
        let past = self.store.past_or_oldest(&target.resource.table, revision);
        let key = target.key();
        let found = match past.get(&key) {
            Some(then) => then.clone(),
            None => self.store.get(&target.resource.table, &key).cloned(),
        };
        let object = found.ok_or_else(|| Status::not_found(target.resource.about(), &target.name))?;
        Ok(view(&target.resource, object))
    }

    /// Whether a revision that a read asks for has come.
    ///
    /// # Errors
    /// 504 `Too large resource version` if it has not: ask again after the next write, or give this to the client.
    pub fn check_version(&self, version: ReadVersion) -> Result<(), Status> {
        match version.needs() {
            Some(wanted) if wanted > self.revision() => Err(versions::too_large(wanted, self.revision())),
            _ => Ok(()),
        }
    }

    /// A page of a collection: one consistent snapshot over all its pages, as long as its revision is not compacted.
    ///
    /// Past revisions are the present one with the logged events undone, newest first.
    ///
    /// # Errors
    /// 410 if the continuation or the exact revision is too old, 504 if the revision has not come yet, 400 if the continuation
    /// is not one.
    pub fn list(&self, target: &Target, query: &ListQuery) -> Result<ListPage, Status> {
        self.check_version(query.version)?;
        let table = &target.resource.table;
        let spread = target.resource.namespaced && target.namespace.is_empty();
        let (revision, after) = if query.continue_token.is_empty() {
            match query.version {
                ReadVersion::Exact(revision) => (revision, None),
                _ => (self.revision(), None),
            }
        } else {
            let at = Continue::read(&query.continue_token, &target.namespace, spread)?;
            (u64::try_from(at.revision).unwrap_or(self.revision()), Some(at.after))
        };
        if revision > self.revision() {
            return Err(versions::too_large(revision, self.revision()));
        }
        let past = self.store.past(table, revision).ok_or_else(|| match &after {
            Some(after) => versions::continue_expired(after, !spread),
            None => versions::list_expired(),
        })?;
        let limit = if query.limit == 0 || query.version == ReadVersion::Any { usize::MAX } else { query.limit };
        Ok(self.page(target, query, revision, &past, after.as_ref(), limit))
    }

    /// The first page of a collection as it was at a past revision, or at the oldest that is remembered (for stale reads).
    pub fn list_at(&self, target: &Target, query: &ListQuery, revision: u64) -> ListPage {
        let revision = revision.min(self.revision());
        let past = self.store.past_or_oldest(&target.resource.table, revision);
        self.page(target, query, revision, &past, None, usize::MAX)
    }

    /// The 410 that a continuation gets when its revision is compacted, whether it is or not.
    ///
    /// # Errors
    /// 400 if the continuation is not one.
    pub fn refuse_continue(target: &Target, token: &str) -> Result<Status, Status> {
        let spread = target.resource.namespaced && target.namespace.is_empty();
        let at = Continue::read(token, &target.namespace, spread)?;
        Ok(versions::continue_expired(&at.after, !spread))
    }

    fn page(
        &self,
        target: &Target,
        query: &ListQuery,
        revision: u64,
        past: &Past,
        after: Option<&Key>,
        limit: usize,
    ) -> ListPage {
        let namespace = Some(target.namespace.as_str()).filter(|n| !n.is_empty());
        let mut items: Vec<Object> = Vec::new();
        let mut last: Option<Key> = None;
        let mut remaining = 0;
        self.store.walk(&target.resource.table, namespace, past, after, |key, object| {
            if items.len() >= limit {
                remaining += 1;
                return;
            }
            // Selectors speak of the stored form, as those of a watch do.
            if query.labels.matches(object) && query.fields.matches(object) {
                items.push(view(&target.resource, object.clone()));
                if items.len() == limit {
                    last = Some(key.clone());
                }
            }
        });
        let spread = target.resource.namespaced && target.namespace.is_empty();
        let continue_token = match last {
            // Whatever is left, chosen or not: the real server learns that only by looking at it.
            Some(after) if remaining > 0 => {
                Continue { revision: i64::try_from(revision).unwrap_or(i64::MAX), after }.token(!spread)
            }
            _ => String::new(),
        };
        let exact = query.labels.is_empty() && query.fields.is_empty();
        ListPage { revision, items, continue_token, remaining: (remaining > 0 && exact).then_some(remaining) }
    }
}

/// The object as the resource's version shows it.
pub(crate) fn view(resource: &ResourceType, object: Object) -> Object {
    if resource.api_version() == resource.storage_api_version {
        return object;
    }
    let mut value = object.to_content();
    conversion::outward(resource, &mut value);
    Object::with(value, object.managers().clone())
}
