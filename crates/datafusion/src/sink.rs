//! A sink as a table to insert into.

use std::fmt;
use std::sync::Arc;

use arrow::compute::cast;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DataFusionError, Result, plan_err};
use datafusion::datasource::sink::{DataSink, DataSinkExec};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::dml::InsertOp;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan};
use futures::TryStreamExt;
use headwater_connector::{
    Connection, ConnectionType, ErasedConnector, Metrics, Operator, Rejects, SinkOperator,
};

use crate::identity::{Job, Seats};
use crate::stream::external;

/// A table over the sink of any connector, to insert into.
///
/// `INSERT INTO` answers with the number of rows written once the other side has accepted all of them (for MQTT at QoS 1:
/// once the broker has acknowledged them). It asks its query for a batch only when all batches before have been
/// accepted. A row that cannot be sent ends the statement, or is left out with `bad_data = 'drop'`, and then not
/// counted; what was accepted before an error stays written.
#[derive(Debug)]
pub struct SinkTable {
    sink: Arc<Sink>,
}

impl SinkTable {
    /// A table over what `connection` describes, which this connector has made. Connects to nothing.
    ///
    /// # Errors
    /// A connection of another connector, one that is no sink or has no columns, and `bad_data = 'dead_letter'`, for
    /// which the engine is needed.
    pub fn try_new(
        connector: Arc<dyn ErasedConnector>,
        connection: Connection,
        job: Job,
    ) -> Result<Self> {
        let name = &connection.name;
        crate::check(connector.as_ref(), &connection, ConnectionType::Sink)?;
        if connection.config.schema.columns.is_empty() {
            return plan_err!("table '{name}' has no columns");
        }
        let sink = Sink {
            connector,
            seats: Seats::new(job, name),
            schema: connection.config.schema.arrow_schema(),
            connection,
        };
        Ok(Self {
            sink: Arc::new(sink),
        })
    }
}

#[async_trait]
impl TableProvider for SinkTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.sink.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _session: &dyn Session,
        _projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let name = &self.sink.connection.name;
        plan_err!(
            "table '{name}' is a sink and cannot be read; create a table with the option 'type' 'source'"
        )
    }

    async fn insert_into(
        &self,
        _session: &dyn Session,
        input: Arc<dyn ExecutionPlan>,
        op: InsertOp,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let name = &self.sink.connection.name;
        if op != InsertOp::Append {
            return plan_err!("table '{name}' can only be appended to, not overwritten");
        }
        check_columns(name, &input.schema(), &self.sink.schema)?;
        let sink = Arc::clone(&self.sink) as Arc<dyn DataSink>;
        Ok(Arc::new(DataSinkExec::new(input, sink, None)))
    }
}

/// `INSERT` gives the columns of the table; `DataFrame::write_table` whatever it has.
fn check_columns(table: &str, given: &Schema, wanted: &Schema) -> Result<()> {
    let names = |schema: &Schema| {
        let names: Vec<_> = schema.fields().iter().map(|f| f.name().clone()).collect();
        names.join(", ")
    };
    let fit = given.fields().len() == wanted.fields().len()
        && given
            .fields()
            .iter()
            .zip(wanted.fields())
            .all(|(from, to)| {
                from.data_type() == to.data_type()
                    || arrow::compute::can_cast_types(from.data_type(), to.data_type())
            });
    if fit {
        return Ok(());
    }
    plan_err!(
        "the rows do not fit table '{table}': it has the columns {}, given are {}",
        names(wanted),
        names(given)
    )
}

/// Makes an operator for every statement.
struct Sink {
    connector: Arc<dyn ErasedConnector>,
    connection: Connection,
    schema: SchemaRef,
    seats: Arc<Seats>,
}

impl fmt::Debug for Sink {
    // the connection may hold secrets
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sink")
            .field("name", &self.connection.name)
            .field("description", &self.connection.description)
            .finish_non_exhaustive()
    }
}

impl Sink {
    /// The rows in the types of the table.
    fn fit(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let columns = rows.columns().iter().zip(self.schema.fields());
        let columns = columns.map(|(column, field)| cast(column, field.data_type()));
        let columns = columns.collect::<Result<_, _>>()?;
        RecordBatch::try_new(Arc::clone(&self.schema), columns).map_err(|error| {
            let name = &self.connection.name;
            DataFusionError::ArrowError(Box::new(error), None).context(format!("table '{name}'"))
        })
    }

    async fn write(
        &self,
        sink: &mut dyn SinkOperator,
        mut rows: SendableRecordBatchStream,
    ) -> Result<u64> {
        let mut count = 0;
        while let Some(batch) = rows.try_next().await? {
            sink.write(self.fit(&batch)?).await.map_err(external)?;
            // before the query is asked for more, which acknowledges its source
            sink.flush().await.map_err(external)?;
            count += batch.num_rows() as u64;
        }
        Ok(count)
    }
}

impl DisplayAs for Sink {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.connection.description)
    }
}

#[async_trait]
impl DataSink for Sink {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    async fn write_all(
        &self,
        rows: SendableRecordBatchStream,
        _context: &Arc<TaskContext>,
    ) -> Result<u64> {
        let seat = self.seats.take();
        let _gate = seat.gate.lock().await;
        let metrics = Arc::new(Metrics::of(&self.connection.name));
        let rejects = Rejects::new(self.connection.config.format.bad_data, Arc::clone(&metrics));
        let context = seat.context(Arc::clone(&metrics), rejects);
        let operator = self.connector.make_operator(&self.connection, context);
        let operator = operator.map_err(|e| DataFusionError::External(e.into_boxed_dyn_error()))?;
        let Operator::Sink(mut sink) = operator else {
            return plan_err!("table '{}' is no sink", self.connection.name);
        };
        let written = self.write(&mut *sink, rows).await?;
        sink.close().await.map_err(external)?;
        Ok(written.saturating_sub(metrics.snapshot().bad_data))
    }
}
