//! `headwater test-connection`: tries the tables of a SQL file against the world.

use clap::Args;
use headwater_engine::Engine;
use headwater_engine::connector::{Connection, ProbePlace, Progress, StepStatus, TestStep};

use crate::exit::{Exit, Mistake};
use crate::input::Input;

/// Try whether the tables of a SQL file can be read and written, step by step.
///
/// Probes do no harm: they go to a topic of their own (headwater/probe/...) and are never retained.
#[derive(Args)]
pub(crate) struct TestConnection {
    #[command(flatten)]
    input: Input,

    /// Only this table.
    table: Option<String>,

    /// Send probes to the sinks' own topics, too. Whoever reads there sees them: the text "headwater connection test",
    /// never retained, with MQTT 5 marked by the user property headwater-probe.
    #[arg(long)]
    own_topics: bool,
}

impl TestConnection {
    pub(crate) async fn execute(self) -> anyhow::Result<Exit> {
        let engine = self.input.engine().await?;
        let Some(script) = self.input.plan(&engine).await? else {
            return Ok(Exit::Usage);
        };
        let wanted = |name: &str| self.table.as_ref().is_none_or(|wanted| wanted == name);
        let tables: Vec<_> = script
            .tables
            .iter()
            .filter(|table| wanted(&table.name))
            .collect();
        if let (Some(name), true) = (&self.table, tables.is_empty()) {
            let names: Vec<_> = script
                .tables
                .iter()
                .map(|table| table.name.as_str())
                .collect();
            let message = format!(
                "no table '{name}' in {}; there are: {}",
                self.input.name(),
                names.join(", ")
            );
            return Err(Mistake(message).into());
        }
        let place = match self.own_topics {
            true => ProbePlace::Table,
            false => ProbePlace::Aside,
        };
        let mut passed = true;
        for table in tables {
            passed &= test(&engine, table, place).await?;
        }
        Ok(if passed { Exit::Done } else { Exit::Failed })
    }
}

async fn test(engine: &Engine, table: &Connection, place: ProbePlace) -> anyhow::Result<bool> {
    say!("{} ({})", table.name, table.description);
    let (progress, mut steps) = Progress::channel();
    let printing = tokio::spawn(async move {
        let mut warnings = 0;
        while let Some(step) = steps.recv().await {
            print(&step);
            warnings += usize::from(step.status == StepStatus::Warning);
        }
        warnings
    });
    let result = engine.test(table, place, progress).await?;
    let warnings = printing.await?;
    match result {
        None => say!("  nothing to test: the connector has no other side"),
        Some(true) if warnings > 0 => say!("  passed, with warnings: {warnings}"),
        Some(true) => say!("  passed"),
        Some(false) => say!("  failed"),
    }
    Ok(result.unwrap_or(true))
}

fn print(step: &TestStep) {
    let mark = match step.status {
        StepStatus::Ok => "ok     ",
        StepStatus::Warning => "warning",
        StepStatus::Failed => "FAILED ",
    };
    let millis = step.elapsed.as_secs_f64() * 1000.0;
    say!(
        "  {mark} {:<9} {millis:>8.1} ms  {}",
        step.step,
        step.message
    );
    if let Some(remedy) = &step.remedy {
        say!("                                -> {remedy}");
    }
}
