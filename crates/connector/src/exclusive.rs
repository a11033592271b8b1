//! What two tables of one job cannot both have.

/// Something of a table that others of its job must leave alone. Two things are the same if they are equal.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Exclusive {
    /// A place whose content a sink destroys when it begins, by the name that people know it by: a file. Any number of
    /// sources may read it, as long as no sink writes it.
    Content(String),
    /// Who the table is to the other side, in words (`client id 'a' at 'host:1883'`). Nobody else may be it.
    Identity(String),
}
