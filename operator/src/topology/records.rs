//! What the topology keeps of a cell and of a database.

use etcd_api::clustermetadata::{BackupLocation, Cell, Database, FilesystemBackup, backup_location::Location};

use crate::resources::pool::BACKUP_PATH;

/// How many copies a commit waits for: any two.
pub const DURABILITY_POLICY: &str = "ANY_2";

/// The record of a cell. All cells share the global server and its root.
pub fn cell_record(name: &str, address: &str, root: &str) -> Cell {
    Cell { name: name.to_owned(), server_addresses: vec![address.to_owned()], root: root.to_owned() }
}

/// The record of a database in `cells`, which are sorted and named once each.
pub fn database_record(name: &str, cells: &[String]) -> Database {
    let mut cells = cells.to_vec();
    cells.sort();
    cells.dedup();
    let location = Some(Location::Filesystem(FilesystemBackup { path: BACKUP_PATH.to_owned() }));
    Database {
        name: name.to_owned(),
        backup_location: Some(BackupLocation { location }),
        durability_policy: DURABILITY_POLICY.to_owned(),
        cells,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use etcd_api::prost::Message;

    #[test]
    fn a_cell_record_has_the_bytes_that_the_data_plane_reads() {
        let bytes = cell_record("zone-a", "topo:2379", "/multigres/global").encode_to_vec();
        assert_eq!(bytes, b"\x0a\x06zone-a\x12\x09topo:2379\x1a\x11/multigres/global");
    }

    #[test]
    fn a_database_record_has_the_bytes_that_the_data_plane_reads() {
        let bytes = database_record("postgres", &["b".into(), "a".into(), "b".into()]).encode_to_vec();
        assert_eq!(bytes, b"\x0a\x08postgres\x12\x0c\x0a\x0a\x0a\x08/backups\x1a\x05ANY_2\x22\x01a\x22\x01b");
    }
}
