//! `postgres`: a table of a PostgreSQL database, in which rows of a stream look others up.
//!
//! The keys of a batch are one query, over one connection; they go there as text and are cast to the types that the
//! columns have in the database, so that its indexes serve. Rows come back as JSON objects. A key that is no value of
//! that type has no row.
//!
//! Errors: a database that is away, starts or ends, or has no connection left, is a fault that passes; a refused login,
//! or a table without the columns, is none.

mod lookup;
mod tls;

use std::str::FromStr;

use futures::FutureExt;
use futures::future::BoxFuture;
use headwater_connector::config::VarStr;
use headwater_connector::lookup::try_lookup;
use headwater_connector::{
    CacheOptions, ConfigError, Connection, ConnectionType, Connector, ConnectorMetadata, Operator,
    OperatorConfig, ProbePlace, Progress, TableSchema, TaskContext,
};
use headwater_format::FormatConfig;
use tokio_postgres::config::{Config, SslMode};
use url::Url;

use self::lookup::PostgresLookup;
use self::tls::Tls;
pub use crate::options::{PostgresProfile, PostgresTable, PostgresType};
use crate::{Parts, cache};

const NAME: &str = "postgres";

/// Makes tables of PostgreSQL databases into tables.
#[derive(Debug, Clone, Copy)]
pub struct PostgresConnector;

impl Connector for PostgresConnector {
    type ProfileT = PostgresProfile;
    type TableT = PostgresTable;

    fn name(&self) -> &'static str {
        NAME
    }

    fn metadata(&self) -> ConnectorMetadata {
        ConnectorMetadata {
            id: NAME,
            name: "PostgreSQL",
            description: "Looks rows up in a table of a PostgreSQL database",
            source: false,
            sink: false,
            lookup: true,
            testing: true,
            format: false,
            profile_schema: Some(include_str!(
                "../../../schemas/database/postgres/profile.json"
            )),
            table_schema: include_str!("../../../schemas/database/postgres/table.json"),
        }
    }

    fn table_type(&self, _profile: &PostgresProfile, _table: &PostgresTable) -> ConnectionType {
        ConnectionType::Lookup
    }

    fn from_config(
        &self,
        name: &str,
        profile: PostgresProfile,
        table: PostgresTable,
        schema: TableSchema,
        _format: FormatConfig,
    ) -> Result<Connection, ConfigError> {
        cache_options(&table)?;
        // what is in the environment is not known yet
        if let Ok(url) = profile.url.resolve() {
            address(&url)?;
        }
        let parts = Parts {
            connector: NAME,
            name,
            profile: &profile,
            table: &table,
            schema,
            description: format!("PostgresLookup<{}>", *table.table),
        };
        parts.connection()
    }

    fn test_profile(
        &self,
        _profile: PostgresProfile,
        _progress: Progress,
    ) -> Option<BoxFuture<'static, bool>> {
        None
    }

    fn test(
        &self,
        profile: PostgresProfile,
        table: PostgresTable,
        config: &OperatorConfig,
        _place: ProbePlace,
        progress: Progress,
    ) -> Option<BoxFuture<'static, bool>> {
        let lookup = lookup(&profile, &table, config.clone()).ok()?;
        let remedy =
            "see that the database runs there, knows the user, and has this table with its columns";
        Some(try_lookup(Box::new(lookup), progress, remedy).boxed())
    }

    fn make_operator(
        &self,
        profile: PostgresProfile,
        table: PostgresTable,
        config: OperatorConfig,
        _context: TaskContext,
    ) -> anyhow::Result<Operator> {
        let lookup = lookup(&profile, &table, config)?;
        Ok(Operator::Lookup(Box::new(lookup)))
    }
}

fn lookup(
    profile: &PostgresProfile,
    table: &PostgresTable,
    config: OperatorConfig,
) -> Result<PostgresLookup, ConfigError> {
    let (mut database, encrypted) = address(&resolved("url", &profile.url)?)?;
    if let Some(password) = &profile.password {
        database.password(resolved("password", password)?);
    }
    let ca = profile.tls.as_ref().and_then(|tls| tls.ca.as_ref());
    let ca = ca.map(|ca| resolved("tls.ca", ca)).transpose()?;
    let tls = encrypted.then(|| Tls::new(ca.as_deref())).transpose()?;
    Ok(PostgresLookup::new(
        (database, tls),
        &table.table,
        config,
        cache_options(table)?,
    ))
}

fn resolved(option: &'static str, text: &VarStr) -> Result<String, ConfigError> {
    let text = text.resolve();
    text.map_err(|error| ConfigError::new(Some(option), format!("option '{option}': {error}")))
}

/// What a URL says, and whether the connection is to be encrypted. The text is never quoted: it may hold a password.
fn address(text: &str) -> Result<(Config, bool), ConfigError> {
    let wrong = |what: &str| {
        let message = format!("option 'url': {what}; write postgres://user@host:port/database");
        ConfigError::new(Some("url"), message)
    };
    let url = Url::parse(text).map_err(|_quotes_it| wrong("this is no URL"))?;
    if !matches!(url.scheme(), "postgres" | "postgresql") {
        return Err(wrong("the scheme is not postgres"));
    }
    if url.password().is_some() {
        return Err(wrong(
            "it holds a password, which belongs into the option 'password'",
        ));
    }
    let mode = url.query_pairs().find(|(key, _)| key == "sslmode");
    let encrypted = match mode.as_ref().map(|(_, mode)| mode.as_ref()) {
        None | Some("disable") => false,
        Some("require" | "verify-full") => true,
        Some(_) => return Err(wrong("sslmode is 'disable' or 'require'")),
    };
    let mut plain = url.clone();
    plain.set_query(None);
    let config = Config::from_str(plain.as_str());
    let mut config = config.map_err(|_quotes_it| wrong("it cannot be understood"))?;
    config.application_name("headwater");
    config.ssl_mode(match encrypted {
        true => SslMode::Require,
        false => SslMode::Disable,
    });
    Ok((config, encrypted))
}

fn cache_options(table: &PostgresTable) -> Result<CacheOptions, ConfigError> {
    let PostgresType::Lookup { cache: options } = &table.type_;
    let options = options.clone().unwrap_or_default();
    cache(options.max_bytes, &options.ttl)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_where_and_whether_it_is_encrypted() {
        let (config, encrypted) = address("postgres://me@db.example.com:5433/plant").unwrap();
        assert_eq!(
            (config.get_user(), config.get_dbname()),
            (Some("me"), Some("plant"))
        );
        assert_eq!((config.get_ports(), encrypted), (&[5433][..], false));
        assert!(address("postgresql://me@h/d?sslmode=require").unwrap().1);
    }

    #[test]
    fn what_is_wrong_with_a_url_is_said_without_quoting_it() {
        for (url, expected) in [
            ("h/d", "this is no URL"),
            ("mysql://h/d", "the scheme is not postgres"),
            ("postgres://me:hidden@h/d", "it holds a password"),
            (
                "postgres://me@h/hidden?sslmode=prefer",
                "sslmode is 'disable' or 'require'",
            ),
        ] {
            let error = address(url).unwrap_err().to_string();
            assert!(
                error.contains(expected) && !error.contains("hidden"),
                "{error}"
            );
        }
    }
}
