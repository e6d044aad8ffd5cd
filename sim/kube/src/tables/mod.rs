//! Tables (`meta.k8s.io/v1` `Table`): what the server prints for `kubectl get`.
//!
//! A [`Printer`] knows the columns of one resource and turns an object into cells. Cells are what the real server's
//! printers make of it; ages are relative to the instant given.
//!
//! ```
//! use serde_json::json;
//! let registry = sim_kube::resources::Registry::default();
//! let printer = sim_kube::tables::Printer::of(registry.get("", "v1", "configmaps").unwrap());
//! let now = sim_clock::Timestamp::from_secs(90);
//! let map = json!({"metadata": {"name": "c", "creationTimestamp": "1970-01-01T00:00:00Z"}, "data": {"a": "1", "b": "2"}});
//! assert_eq!(printer.cells(&map, now), [json!("c"), json!(2), json!("90s")]);
//! ```

mod cluster;
mod config;
mod control;
mod custom;
mod duration;
pub mod jsonpath;
mod pods;
mod services;
mod storage;
mod text;
mod workloads;

use serde_json::{Value, json};
use sim_clock::Timestamp;

pub use duration::{age, human_duration};

use crate::{engine::Object, resources::ResourceType, ssa::Manager};

/// A column: name, type, format, priority (1: only with `-o wide`), description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// As in the head of the table.
    pub name: String,
    /// OpenAPI type, e.g. `string`, `integer`, `date`.
    pub kind: String,
    /// OpenAPI format; `name` for the object's name.
    pub format: String,
    /// What it shows.
    pub description: String,
    /// 0 is always shown.
    pub priority: i64,
}

impl Column {
    fn to_value(&self) -> Value {
        json!({"name": self.name, "type": self.kind, "format": self.format, "description": self.description, "priority": self.priority})
    }
}

/// A built-in column: name, type, priority. The format is `name` for `Name`.
type Row = (&'static str, &'static str, i64);
/// Makes the cells of an object.
type Cells = fn(&Value, Timestamp) -> Vec<Value>;

/// How much of the object each row of a table carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Include {
    /// Nothing.
    None,
    /// Its metadata.
    #[default]
    Metadata,
    /// All of it.
    Object,
}

/// The columns of a resource and the way to its cells.
#[derive(Debug)]
pub struct Printer {
    columns: Vec<Column>,
    cells: Source,
}

enum Source {
    BuiltIn(Cells),
    Custom(custom::Columns),
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if matches!(self, Source::BuiltIn(_)) { "BuiltIn" } else { "Custom" })
    }
}

impl Printer {
    /// The printer of a resource: a built-in kind's own, a custom resource's by its printer columns, else name and time.
    pub fn of(resource: &ResourceType) -> Self {
        if resource.custom() {
            let (columns, source) = custom::columns(&resource.printer_columns);
            return Self { columns, cells: Source::Custom(source) };
        }
        Self::named(&resource.table, &resource.kind)
    }

    /// The printer of `autoscaling/v1` Scale, which is no resource of its own.
    pub fn scale() -> Self {
        Self::named("scales", "Scale")
    }

    fn named(table: &str, kind: &str) -> Self {
        let families = [
            pods::printer,
            workloads::printer,
            services::printer,
            config::printer,
            storage::printer,
            cluster::printer,
            control::printer,
        ];
        let found = families.iter().find_map(|family| family(table));
        let (rows, cells): (&[Row], Cells) =
            found.unwrap_or((&[("Name", "string", 0), ("Created At", "date", 0)], cluster::name_and_time));
        Self { columns: rows.iter().map(|row| built_in(*row, kind)).collect(), cells: Source::BuiltIn(cells) }
    }

    /// The columns.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The cells of an object, one a column.
    pub fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        match &self.cells {
            Source::BuiltIn(cells) => cells(object, now),
            Source::Custom(columns) => columns.cells(object, now),
        }
    }

    /// The `columnDefinitions` of a table.
    pub fn head(&self) -> Value {
        self.columns.iter().map(Column::to_value).collect()
    }

    /// One row of a table.
    pub fn row(&self, shown: Shown<'_>, include: Include, now: Timestamp) -> Value {
        let object = shown.value;
        let mut row = json!({"cells": self.cells(object, now)});
        if let Some(condition) = pods::row_condition(object) {
            row["conditions"] = json!([condition]);
        }
        row["object"] = match include {
            Include::None => Value::Null,
            Include::Metadata => partial(shown),
            Include::Object => shown.whole(),
        };
        row
    }

    /// A table over some objects; `metadata` is the list's (or of one object: its version), `head` is left out of all
    /// but the first event of a watch.
    pub fn table<'a>(
        &self,
        objects: impl Iterator<Item = Shown<'a>>,
        metadata: Value,
        head: bool,
        include: Include,
        now: Timestamp,
    ) -> Value {
        json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
            "columnDefinitions": if head { self.head() } else { Value::Null },
            "rows": objects.map(|shown| self.row(shown, include, now)).collect::<Vec<_>>()})
    }
}

/// What is shown: a stored object, or a value that is none.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    value: &'a Value,
    managers: &'a [Manager],
}

impl<'a> From<&'a Object> for Shown<'a> {
    fn from(object: &'a Object) -> Self {
        Self { value: object, managers: object.managers() }
    }
}

impl<'a> From<&'a Value> for Shown<'a> {
    fn from(value: &'a Value) -> Self {
        Self { value, managers: &[] }
    }
}

impl Shown<'_> {
    fn whole(self) -> Value {
        let mut value = self.value.clone();
        if !self.managers.is_empty() {
            Manager::write(self.managers, &mut value);
        }
        value
    }
}

/// An object as `PartialObjectMetadata`.
pub fn partial(shown: Shown<'_>) -> Value {
    let metadata = shown.value.get("metadata").cloned().unwrap_or_else(|| json!({}));
    let mut object = json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata});
    if !shown.managers.is_empty() {
        Manager::write(shown.managers, &mut object);
    }
    object
}

fn built_in((name, kind, priority): Row, of: &str) -> Column {
    let description = match name {
        "Name" => format!("Name of the {of}, unique among its kind and namespace."),
        "Age" => "Time since the object was created.".to_owned(),
        "Created At" => "Instant at which the object was created.".to_owned(),
        other => format!("{other} of the {of}."),
    };
    let format = if name == "Name" { "name" } else { "" };
    Column { name: name.into(), kind: kind.into(), format: format.into(), description, priority }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
