//! The Rust types of the options, made from the schemas.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::derivable_impls,
    reason = "made by typify; the schemas hold the documentation"
)]

mod sqlite {
    typify::import_types!(schema = "../../schemas/database/sqlite/table.json");
}

pub use sqlite::{SqliteTable, SqliteType};
