//! Where the records of a topology live under its root.
//!
//! | record | key |
//! |---|---|
//! | cell | `<root>/cells/<cell>/Cell` |
//! | database | `<root>/databases/<database>/Database` |
//! | pooler | `<root>/poolers/<cell>_<name>/Pooler` |
//! | gateway | `<root>/gateways/<cell>_<name>/Gateway` |
//! | orchestrator | `<root>/orchs/<cell>_<name>/Orch` |
//!
//! Every cell is registered with the same address and root, so all of them share these folders; only the prefix of the
//! component's id tells cells apart. A slash at the end of the root is ignored.

/// Root the operator uses unless told otherwise.
pub const DEFAULT_ROOT: &str = "/multigres/global";

/// Key of a cell's record.
pub fn cell(root: &str, cell: &str) -> String {
    record(root, "cells", cell, "Cell")
}

/// Key of a database's record.
pub fn database(root: &str, database: &str) -> String {
    record(root, "databases", database, "Database")
}

/// Key of a pooler's record.
pub fn pooler(root: &str, cell: &str, name: &str) -> String {
    record(root, "poolers", &component_id(cell, name), "Pooler")
}

/// Key of a gateway's record.
pub fn gateway(root: &str, cell: &str, name: &str) -> String {
    record(root, "gateways", &component_id(cell, name), "Gateway")
}

/// Key of an orchestrator's record.
pub fn orch(root: &str, cell: &str, name: &str) -> String {
    record(root, "orchs", &component_id(cell, name), "Orch")
}

/// Prefix of all cells' keys.
pub fn cells(root: &str) -> String {
    folder(root, "cells")
}

/// Prefix of all databases' keys.
pub fn databases(root: &str) -> String {
    folder(root, "databases")
}

/// Prefix of all poolers' keys.
pub fn poolers(root: &str) -> String {
    folder(root, "poolers")
}

/// Prefix of all gateways' keys.
pub fn gateways(root: &str) -> String {
    folder(root, "gateways")
}

/// Prefix of all orchestrators' keys.
pub fn orchs(root: &str) -> String {
    folder(root, "orchs")
}

/// The end (exclusive) of the range of all keys that start with `prefix`, in etcd's spelling: the prefix with its last
/// byte that is not `0xff` raised by one, or a single zero byte ("to the last key") when there is no such byte.
///
/// ```
/// assert_eq!(etcd_api::keys::range_end(b"/cells/"), b"/cells0");
/// assert_eq!(etcd_api::keys::range_end(b"a\xff"), b"b");
/// assert_eq!(etcd_api::keys::range_end(b""), b"\0");
/// ```
pub fn range_end(prefix: &[u8]) -> Vec<u8> {
    match prefix.iter().rposition(|&byte| byte != 0xff) {
        Some(last) => {
            let mut end = prefix[..=last].to_vec();
            end[last] += 1;
            end
        }
        None => vec![0],
    }
}

fn component_id(cell: &str, name: &str) -> String {
    format!("{cell}_{name}")
}

fn record(root: &str, folder: &str, id: &str, kind: &str) -> String {
    format!("{}/{folder}/{id}/{kind}", root.trim_end_matches('/'))
}

fn folder(root: &str, folder: &str) -> String {
    format!("{}/{folder}/", root.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_lie_where_multigres_looks_for_them() {
        assert_eq!(cell(DEFAULT_ROOT, "zone-a"), "/multigres/global/cells/zone-a/Cell");
        assert_eq!(database(DEFAULT_ROOT, "postgres"), "/multigres/global/databases/postgres/Database");
        assert_eq!(pooler("/r/", "zone-a", "p-0"), "/r/poolers/zone-a_p-0/Pooler");
        assert_eq!(gateway("/r", "zone-a", "x7"), "/r/gateways/zone-a_x7/Gateway");
        assert_eq!(orch("/r", "zone-a", "x8"), "/r/orchs/zone-a_x8/Orch");
    }

    #[test]
    fn every_record_starts_with_the_prefix_of_its_folder() {
        assert!(cell("/r", "a").starts_with(&cells("/r")));
        assert!(database("/r", "a").starts_with(&databases("/r")));
        assert!(pooler("/r", "a", "b").starts_with(&poolers("/r")));
        assert!(gateway("/r", "a", "b").starts_with(&gateways("/r")));
        assert!(orch("/r", "a", "b").starts_with(&orchs("/r")));
    }
}
