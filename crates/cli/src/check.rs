//! `headwater check`: plans a SQL file and runs nothing.

use clap::Args;

use crate::exit::Exit;
use crate::input::Input;

/// Check a SQL file: parse, plan and configure everything, connect to nothing.
#[derive(Args)]
pub(crate) struct Check {
    #[command(flatten)]
    input: Input,
}

impl Check {
    pub(crate) async fn execute(self) -> anyhow::Result<Exit> {
        let engine = self.input.engine().await?;
        let Some(script) = self.input.plan(&engine).await? else {
            return Ok(Exit::Usage);
        };
        for explain in script.explains {
            say!("{explain}");
        }
        for table in &script.tables {
            say!("table {}: {}", table.name, table.description);
        }
        let operators = script.plan.map_or(0, |plan| plan.nodes.len());
        let tables = count(script.tables.len(), "table");
        say!("ok: {tables}, {}", count(operators, "operator"));
        Ok(Exit::Done)
    }
}

fn count(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}
