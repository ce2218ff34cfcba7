//! A peer's disk: tables of rows.

use std::collections::BTreeMap;

use sotto_peer_core::{Query, Row, Snapshot, Table, WriteSet};

/// What a peer has stored.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    rows: BTreeMap<(Table, Vec<u8>), Vec<u8>>,
}

impl Disk {
    /// Applies a write, all of it.
    pub fn write(&mut self, writes: &WriteSet) {
        for (table, from, to) in &writes.delete_ranges {
            self.rows.retain(|(t, key), _| t != table || key < from || key >= to);
        }
        for (key, value) in &writes.rows {
            match value {
                Some(value) => self.rows.insert(key.clone(), value.clone()),
                None => self.rows.remove(key),
            };
        }
    }

    /// Reads a range.
    pub fn read(&self, query: &Query) -> Vec<Row> {
        let range = (query.table, query.from.clone())..(query.table, query.to.clone());
        let rows =
            self.rows.range(range).map(|((_, key), value)| Row { key: key.clone(), value: value.clone() });
        let limit = query.limit as usize;
        if query.descending { rows.rev().take(limit).collect() } else { rows.take(limit).collect() }
    }

    /// What a starting peer reads.
    pub fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot::default();
        for ((table, key), value) in &self.rows {
            if Table::HOT.contains(table) {
                let row = Row { key: key.clone(), value: value.clone() };
                snapshot.tables.entry(*table).or_default().push(row);
            }
        }
        snapshot
    }
}
