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

#[cfg(feature = "postgres")]
mod postgres_profile {
    use headwater_connector::config::VarStr;
    typify::import_types!(
        schema = "../../schemas/database/postgres/profile.json",
        convert = { { type = "string", format = "var-str" } = VarStr }
    );
}
#[cfg(feature = "postgres")]
mod postgres_table {
    typify::import_types!(schema = "../../schemas/database/postgres/table.json");
}

#[cfg(feature = "postgres")]
pub use postgres_profile::PostgresProfile;
#[cfg(feature = "postgres")]
pub use postgres_table::{PostgresTable, PostgresType};
pub use sqlite::{SqliteTable, SqliteType};
