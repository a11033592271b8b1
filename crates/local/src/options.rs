//! The Rust types of the options, made from the schemas.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::derivable_impls,
    reason = "made by typify; the schemas hold the documentation"
)]

mod blackhole {
    typify::import_types!(schema = "../../schemas/local/blackhole/table.json");
}
mod impulse {
    typify::import_types!(schema = "../../schemas/local/impulse/table.json");
}
mod single_file {
    typify::import_types!(schema = "../../schemas/local/single_file/table.json");
}
mod stdout {
    typify::import_types!(schema = "../../schemas/local/stdout/table.json");
}

pub use blackhole::BlackholeTable;
pub use impulse::ImpulseTable;
pub use single_file::{SingleFileTable, SingleFileType};
pub use stdout::StdoutTable;
