//! Names of the objects that the operator creates.
//!
//! A name is its parts joined by `-` and closed by a hash over the *original* parts, so that
//! `("a-b", "c")` and `("a", "b-c")` get different names, and a name that had to be cut stays unique.
//!
//! ```
//! use multigres_operator::names;
//! assert_eq!(names::cell("minimal", "zone-a"), "minimal-zone-a-96c88ae0");
//! ```

use std::borrow::Cow;

/// Hexadecimal digits of the hash at the end of a name.
const HASH_CHARS: usize = 8;
/// Separator between the parts and the hash of a name that fits.
const SEPARATOR: &str = "-";
/// Separator between the parts and the hash of a name that was cut.
const SEPARATOR_CUT: &str = "---";

/// What a kind of object demands of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Constraint {
    /// Longest name, in bytes.
    pub length_bytes_max: usize,
    /// Whether the first character may be a digit.
    pub first_may_be_digit: bool,
}

/// Most objects: a DNS subdomain.
pub const DEFAULT: Constraint = Constraint { length_bytes_max: 253, first_may_be_digit: true };
/// Services: a DNS label that starts with a letter.
pub const SERVICE: Constraint = Constraint { length_bytes_max: 63, first_may_be_digit: false };
/// StatefulSets: their pods carry a revision label of eleven more characters.
pub const STATEFUL_SET: Constraint = Constraint { length_bytes_max: 52, first_may_be_digit: false };

/// FNV-1a (32 bits) over each part followed by one NUL byte.
pub fn hash(parts: &[&str]) -> String {
    const OFFSET_BASIS: u32 = 0x811c_9dc5;
    const PRIME: u32 = 0x0100_0193;
    let bytes = parts.iter().flat_map(|part| part.bytes().chain(std::iter::once(0)));
    let sum = bytes.fold(OFFSET_BASIS, |sum, byte| (sum ^ u32::from(byte)).wrapping_mul(PRIME));
    format!("{sum:08x}")
}

/// Joins `parts` to a name that satisfies `constraint`. No parts: an empty name.
pub fn join(constraint: Constraint, parts: &[&str]) -> String {
    if parts.is_empty() {
        return String::new();
    }
    let cleaned: Vec<Cow<'_, str>> = parts.iter().map(|part| clean(part)).collect();
    let mut body = cleaned.join(SEPARATOR);
    let first_is_valid = cleaned[0]
        .bytes()
        .next()
        .is_some_and(|first| first.is_ascii_lowercase() || (constraint.first_may_be_digit && first.is_ascii_digit()));
    if !first_is_valid {
        body.insert(0, 'x');
    }
    let digest = hash(parts);
    if body.len() + SEPARATOR.len() + HASH_CHARS <= constraint.length_bytes_max {
        return format!("{body}{SEPARATOR}{digest}");
    }
    body.truncate(constraint.length_bytes_max - SEPARATOR_CUT.len() - HASH_CHARS);
    format!("{body}{SEPARATOR_CUT}{digest}")
}

/// Lower-cases ASCII letters; every other character outside `[a-z0-9-]` becomes `-`.
fn clean(part: &str) -> Cow<'_, str> {
    let keeps = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if part.chars().all(keeps) {
        return Cow::Borrowed(part);
    }
    Cow::Owned(
        part.chars()
            .map(|c| {
                let lower = c.to_ascii_lowercase();
                if keeps(lower) { lower } else { '-' }
            })
            .collect(),
    )
}

/// The Cell of a cluster.
pub fn cell(cluster: &str, cell: &str) -> String {
    join(DEFAULT, &[cluster, cell])
}

/// The TableGroup of a cluster.
pub fn table_group(cluster: &str, database: &str, table_group: &str) -> String {
    join(DEFAULT, &[cluster, database, table_group])
}

/// The Shard of a table group.
pub fn shard(cluster: &str, database: &str, table_group: &str, shard: &str) -> String {
    join(DEFAULT, &[cluster, database, table_group, shard])
}

/// The global TopoServer; also its StatefulSet and its client Service.
pub fn global_topo(cluster: &str) -> String {
    format!("{cluster}-global-topo")
}

/// The headless Service of a TopoServer.
pub fn topo_headless(topo_server: &str) -> String {
    format!("{topo_server}-headless")
}

/// MultiAdmin's Deployment and Service.
pub fn multiadmin(cluster: &str) -> String {
    format!("{cluster}-multiadmin")
}

/// MultiAdmin's web front end: Deployment and Service.
pub fn multiadmin_web(cluster: &str) -> String {
    format!("{cluster}-multiadmin-web")
}

/// The gateway Deployment of a cell.
pub fn gateway(cluster: &str, cell: &str) -> String {
    join(DEFAULT, &[cluster, cell, "multigateway"])
}

/// The gateway Service of a cell.
pub fn gateway_service(cluster: &str, cell: &str) -> String {
    join(SERVICE, &[cluster, cell, "multigateway"])
}

/// What identifies a shard in the names of its parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardParts<'a> {
    /// The cluster's name.
    pub cluster: &'a str,
    /// The database's name.
    pub database: &'a str,
    /// The table group's name.
    pub table_group: &'a str,
    /// The shard's name.
    pub shard: &'a str,
}

impl<'a> ShardParts<'a> {
    fn with(self, constraint: Constraint, rest: &[&'a str]) -> String {
        let mut parts = vec![self.cluster, self.database, self.table_group, self.shard];
        parts.extend_from_slice(rest);
        join(constraint, &parts)
    }

    /// The orchestrator's Deployment in a cell.
    pub fn orch(self, cell: &'a str) -> String {
        self.with(DEFAULT, &["multiorch", cell])
    }

    /// The orchestrator's Service in a cell.
    pub fn orch_service(self, cell: &'a str) -> String {
        self.with(SERVICE, &["multiorch", cell])
    }

    /// The StatefulSet of a pool in a cell.
    pub fn pool(self, pool: &'a str, cell: &'a str) -> String {
        self.with(STATEFUL_SET, &["pool", pool, cell])
    }

    /// The headless Service of a pool in a cell.
    pub fn pool_headless(self, pool: &'a str, cell: &'a str) -> String {
        self.with(SERVICE, &["pool", pool, cell, "headless"])
    }

    /// The backup volume claim of a pool in a cell.
    pub fn backup_claim(self, pool: &'a str, cell: &'a str) -> String {
        join(SERVICE, &["backup-data", self.cluster, self.database, self.table_group, self.shard, "pool", pool, cell])
    }

    /// The ConfigMap with the shard's `pg_hba` template. Each shard has its own: with one fixed name, two
    /// shards of a namespace would take the object away from each other for ever.
    pub fn pg_hba(self) -> String {
        self.with(DEFAULT, &["pg-hba"])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MINIMAL: ShardParts<'_> =
        ShardParts { cluster: "minimal", database: "postgres", table_group: "default", shard: "0-inf" };

    #[test]
    fn hashes_are_those_of_the_facts_sheet() {
        assert_eq!(hash(&["minimal", "zone-a"]), "96c88ae0");
        assert_eq!(hash(&["minimal", "postgres", "default"]), "f7d4ad4a");
        assert_eq!(hash(&["minimal", "postgres", "default", "0-inf"]), "1e3c045c");
    }

    #[test]
    fn every_name_of_the_minimal_sample_is_that_of_the_facts_sheet() {
        assert_eq!(cell("minimal", "zone-a"), "minimal-zone-a-96c88ae0");
        assert_eq!(table_group("minimal", "postgres", "default"), "minimal-postgres-default-f7d4ad4a");
        assert_eq!(shard("minimal", "postgres", "default", "0-inf"), "minimal-postgres-default-0-inf-1e3c045c");
        assert_eq!(global_topo("minimal"), "minimal-global-topo");
        assert_eq!(topo_headless("minimal-global-topo"), "minimal-global-topo-headless");
        assert_eq!(multiadmin("minimal"), "minimal-multiadmin");
        assert_eq!(multiadmin_web("minimal"), "minimal-multiadmin-web");
        assert_eq!(gateway("minimal", "zone-a"), "minimal-zone-a-multigateway-0ccc2e8b");
        assert_eq!(gateway_service("minimal", "zone-a"), "minimal-zone-a-multigateway-0ccc2e8b");
        assert_eq!(MINIMAL.orch("zone-a"), "minimal-postgres-default-0-inf-multiorch-zone-a-bbe2a333");
        assert_eq!(MINIMAL.orch_service("zone-a"), "minimal-postgres-default-0-inf-multiorch-zone-a-bbe2a333");
        assert_eq!(MINIMAL.pool("default", "zone-a"), "minimal-postgres-default-0-inf-pool-defau---a3a0d77b");
        assert_eq!(
            MINIMAL.pool_headless("default", "zone-a"),
            "minimal-postgres-default-0-inf-pool-default-zone-a-h---22cdf02c"
        );
        assert_eq!(
            MINIMAL.backup_claim("default", "zone-a"),
            "backup-data-minimal-postgres-default-0-inf-pool-defa---c6596d76"
        );
    }

    #[test]
    fn two_shards_of_a_namespace_have_their_own_pg_hba() {
        assert!(MINIMAL.pg_hba().starts_with("minimal-postgres-default-0-inf-pg-hba-"));
        assert_ne!(MINIMAL.pg_hba(), ShardParts { cluster: "other", ..MINIMAL }.pg_hba());
    }

    #[test]
    fn a_first_character_that_is_not_allowed_gets_an_x_before_it() {
        assert!(join(SERVICE, &["9", "a"]).starts_with("x9-a-"));
        assert!(join(DEFAULT, &["9", "a"]).starts_with("9-a-"));
        assert!(join(DEFAULT, &["", "a"]).starts_with("x-a-"));
        assert!(join(DEFAULT, &["_", "A"]).starts_with("x--a-"));
        assert_eq!(join(DEFAULT, &[]), "");
    }

    proptest! {
        #[test]
        fn any_parts_give_a_valid_name(parts in proptest::collection::vec(".{0,40}", 1..6)) {
            let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
            for constraint in [DEFAULT, SERVICE, STATEFUL_SET] {
                let name = join(constraint, &parts);
                prop_assert!(name.len() <= constraint.length_bytes_max);
                prop_assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'));
                let first = name.as_bytes()[0];
                prop_assert!(first.is_ascii_lowercase() || (constraint.first_may_be_digit && first.is_ascii_digit()));
            }
        }

        #[test]
        fn moving_a_boundary_between_parts_changes_the_name(a in "[a-z]{1,9}", b in "[a-z]{1,9}", c in "[a-z]{1,9}") {
            let (left, right) = (format!("{a}-{b}"), format!("{b}-{c}"));
            prop_assert_ne!(join(DEFAULT, &[&left, &c]), join(DEFAULT, &[&a, &right]));
        }
    }
}
