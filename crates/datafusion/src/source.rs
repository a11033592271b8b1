//! A source as a table to select from.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::dml::InsertOp;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use headwater_connector::{Connection, ConnectionType, ErasedConnector};

use crate::exec::SourceExec;
use crate::filter;
use crate::identity::{Job, Seats};
use crate::stream::Reading;

/// An unbounded table over the source of any connector.
///
/// Every scan is a connection of its own, made when its stream is first polled and closed when the stream is dropped.
/// Rows come in the order of arrival, batch by batch as they arrive; conditions are evaluated, columns chosen and a
/// limit kept within the scan. The crate's documentation says when messages are acknowledged.
#[derive(Debug)]
pub struct SourceTable {
    reading: Arc<Reading>,
    schema: SchemaRef,
}

impl SourceTable {
    /// A table over what `connection` describes, which this connector has made. Connects to nothing.
    ///
    /// # Errors
    /// A connection of another connector, one that is no source, and `bad_data = 'dead_letter'`, for which the
    /// engine is needed.
    pub fn try_new(
        connector: Arc<dyn ErasedConnector>,
        connection: Connection,
        job: Job,
    ) -> Result<Self> {
        let name = &connection.name;
        crate::check(connector.as_ref(), &connection, ConnectionType::Source)?;
        let schema = connection.config.schema.arrow_schema();
        let reading = Reading {
            connector,
            seats: Seats::new(job, name),
            connection,
        };
        Ok(Self {
            reading: Arc::new(reading),
            schema,
        })
    }
}

#[async_trait]
impl TableProvider for SourceTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        filters
            .iter()
            .map(|filter| filter::support(filter))
            .collect()
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let filter = filter::compile(session, filters, &self.schema)?;
        let scan = SourceExec::try_new(Arc::clone(&self.reading), projection, filter)?;
        Ok(Arc::new(scan.limited(limit)))
    }

    async fn insert_into(
        &self,
        _session: &dyn Session,
        _input: Arc<dyn ExecutionPlan>,
        _op: InsertOp,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let name = &self.reading.connection.name;
        plan_err!(
            "table '{name}' is a source; to insert, create a table with the option 'type' 'sink'"
        )
    }
}
