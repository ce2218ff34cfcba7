//! The store's rows, as they come in and go out.

use js_sys::Array;
use sotto_peer_core::rpc::RpcError;
use sotto_peer_core::{Row, Snapshot, Table, WriteSet};
use wasm_bindgen::JsValue;

use crate::fields::{bytes, list};
use crate::object::{self, object};

/// What the store holds at the start: `[table, key, value][]`.
pub fn snapshot(rows: &JsValue) -> Result<Snapshot, RpcError> {
    let mut snapshot = Snapshot::default();
    for row in list("hot", rows)?.iter() {
        let row = list("hot", &row)?;
        let Some(name) = row.get(0).as_string() else {
            return Err(RpcError::field("hot", "expected rows of a table's name, a key and a value"));
        };
        let Some(table) = Table::ALL.into_iter().find(|table| table.name() == name) else {
            return Err(RpcError::profile(format!(
                "the profile holds a table that this version does not know: {name}"
            )));
        };
        let row = Row { key: bytes("hot", &row.get(1))?, value: bytes("hot", &row.get(2))? };
        snapshot.tables.entry(table).or_default().push(row);
    }
    Ok(snapshot)
}

/// Rows that were asked for: `[key, value][]`.
pub fn loaded(rows: &JsValue) -> Result<Vec<Row>, RpcError> {
    let pair = |row: JsValue| {
        let row = list("rows", &row)?;
        Ok(Row { key: bytes("rows", &row.get(0))?, value: bytes("rows", &row.get(1))? })
    };
    list("rows", rows)?.iter().map(pair).collect()
}

/// What to write.
pub fn writes(writes: &WriteSet) -> JsValue {
    let (puts, deletes, ranges) = (Array::new(), Array::new(), Array::new());
    for ((table, key), value) in &writes.rows {
        match value {
            Some(value) => puts.push(&tuple(*table, [key, value])),
            None => deletes.push(&tuple(*table, [key])),
        };
    }
    for (table, from, to) in &writes.delete_ranges {
        ranges.push(&tuple(*table, [from, to]));
    }
    object([("puts", puts.into()), ("deletes", deletes.into()), ("ranges", ranges.into())]).into()
}

fn tuple<const N: usize>(table: Table, parts: [&Vec<u8>; N]) -> JsValue {
    let tuple = Array::of1(&table.name().into());
    for part in parts {
        tuple.push(&object::bytes(part));
    }
    tuple.into()
}
