//! `headwater run`: executes a SQL file until it ends or is interrupted.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use headwater_engine::connector::State;
use headwater_engine::{
    CHECKPOINT_INTERVAL, Cluster, Execution, Job, JobOptions, Outcome, OverLimit, Plan,
    PlanOperator,
};
use indicatif::MultiProgress;

use crate::drain::Reminder;
use crate::exit::{Exit, Mistake};
use crate::input::Input;
use crate::logging;
use crate::processes::{self, Processes};
use crate::signals::Interrupts;
use crate::status::{self, StatusLine, Totals};

/// Run the pipelines of a SQL file.
///
/// All its INSERTs and bare SELECTs run as one job until their sources end, which a topic never does. Ctrl-C (or
/// SIGTERM) drains: reading stops, what was read is written and acknowledged, and the command exits with 0. A second
/// Ctrl-C exits at once with 130; what was unacknowledged stays so and is delivered again. Signals within half a second
/// count as one.
#[derive(Args)]
pub(crate) struct Run {
    #[command(flatten)]
    input: Input,

    #[command(flatten)]
    processes: Processes,

    /// Worker threads; with several processes, those of each.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    parallelism: u16,

    /// The most memory, in MiB, that the state of windows, joins and aggregates may take together. Without it there is no
    /// limit.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..1 << 40))]
    state_limit_mib: Option<u64>,

    /// What happens when state takes more than --state-limit-mib.
    #[arg(
        long,
        value_enum,
        value_name = "CHOICE",
        default_value_t,
        requires = "state_limit_mib"
    )]
    state_over_limit: StateOverLimit,

    /// The job's id, part of the MQTT client ids. Persistent sessions are found again under the same id; two jobs that
    /// run at once need different ones. By default the file's name and a hash of its path and this machine.
    #[arg(long, value_name = "ID")]
    job_id: Option<String>,

    /// A folder in which jobs keep what the next run must know: the state of windows, joins and aggregates, and what was
    /// acknowledged and is not in it yet; the topic filters that a kept MQTT session has, so that those that you have
    /// changed are unsubscribed. Without it a run knows nothing of earlier ones, and open windows close with the run.
    #[arg(long, value_name = "DIR", env = "HEADWATER_STATE_DIR")]
    state_dir: Option<PathBuf>,

    /// How many seconds pass between two checkpoints of the state in --state-dir. After a crash, what was put out since
    /// the last one comes again.
    #[arg(long, value_name = "N", default_value_t = CHECKPOINT_INTERVAL.as_secs(),
        value_parser = clap::value_parser!(u64).range(1..=86_400))]
    checkpoint_interval_s: u64,
}

/// What happens when state takes more memory than it may.
#[derive(Debug, Clone, Copy, Default, clap::ValueEnum)]
enum StateOverLimit {
    /// The job fails.
    #[default]
    Fail,
    /// The state of tumbling, hopping and cumulating windows goes to disk, to --state-dir or else to the system's folder for
    /// temporary files (TMPDIR); other state may still not take more.
    Spill,
}

impl From<StateOverLimit> for OverLimit {
    fn from(choice: StateOverLimit) -> Self {
        match choice {
            StateOverLimit::Fail => Self::Fail,
            StateOverLimit::Spill => Self::Spill,
        }
    }
}

impl Run {
    pub(crate) async fn execute(self) -> anyhow::Result<Exit> {
        let lines = MultiProgress::new();
        logging::init(&lines);
        let mut interrupts = Interrupts::listen()?;
        let engine = self.input.engine().await?;
        let sql = self.input.read()?;
        let Some(script) = self.input.plan_text(&engine, &sql).await? else {
            return Ok(Exit::Usage);
        };
        let shows_rows = script.plan.as_ref().is_some_and(prints);
        let cluster = self.processes.cluster(&sql)?;
        let job_id = self.job_id(&sql, cluster.as_ref());
        let options = JobOptions {
            state: self.state()?.child(&job_id),
            checkpoint_interval: Duration::from_secs(self.checkpoint_interval_s),
            job_id,
            parallelism: usize::from(self.parallelism),
            state_limit_bytes: self.state_limit_mib.map(|mib| mib << 20),
            over_limit: self.state_over_limit.into(),
            preview: engine.print_rows(),
        };
        let Execution { job, explains } = match &cluster {
            None => engine.start(script, options)?,
            Some(cluster) => tokio::select! {
                started = engine.start_among(script, options, cluster.clone()) => started?,
                () = interrupts.next() => {
                    tracing::info!("interrupted while waiting for the other processes");
                    return Ok(Exit::Done);
                }
            },
        };
        for explain in explains {
            say!("{explain}");
        }
        let Some(job) = job else {
            complain!("nothing to run: the file has neither INSERT nor SELECT");
            return Ok(Exit::Done);
        };
        // rows and a status line on one terminal would overwrite each other
        let status =
            (!(shows_rows && std::io::stdout().is_terminal())).then(|| StatusLine::new(&lines));
        tracing::info!(job = job.id(), "running");
        if let Some(cluster) = &cluster {
            processes::tell(cluster, &job);
        }
        Ok(finish(&job, follow(&job, &mut interrupts, status).await))
    }

    fn job_id(&self, sql: &str, cluster: Option<&Cluster>) -> String {
        let given = self.job_id.clone();
        given.unwrap_or_else(|| match cluster.and_then(processes::place) {
            Some(addresses) => self.input.job_id_at(addresses),
            None => self.input.job_id(sql),
        })
    }

    fn state(&self) -> anyhow::Result<State> {
        let Some(folder) = &self.state_dir else {
            return Ok(State::default());
        };
        State::open(folder).with_context(|| Mistake("--state-dir is of no use".to_owned()))
    }
}

/// Waits for the job's end; `None` if it was interrupted a second time.
pub(crate) async fn follow(
    job: &Job,
    interrupts: &mut Interrupts,
    mut status: Option<StatusLine>,
) -> Option<Outcome> {
    let mut redraw = tokio::time::interval(status::INTERVAL);
    let mut opened = false;
    let mut draining: Option<Reminder> = None;
    let outcome = loop {
        tokio::select! {
            outcome = job.wait() => break Some(outcome),
            () = job.opened(), if !opened => {
                opened = true;
                if job.is_open() {
                    tracing::info!("all sources and sinks are connected");
                }
            }
            () = interrupts.next() => {
                if draining.is_some() {
                    break None;
                }
                draining = Some(Reminder::start());
                tracing::info!("stopping: what was read is being written and acknowledged; interrupt again to exit at once");
                job.stop();
            }
            () = due(&mut draining) => {
                if let Some(reminder) = &draining {
                    reminder.tell(job);
                }
            }
            _ = redraw.tick(), if status.is_some() => {
                if let Some(status) = &mut status {
                    status.draw(job);
                }
            }
        }
    };
    if let Some(status) = status {
        status.clear();
    }
    outcome
}

/// When to say next what a drain waits for: never, if there is none.
async fn due(draining: &mut Option<Reminder>) {
    match draining {
        Some(reminder) => reminder.tick().await,
        None => std::future::pending().await,
    }
}

/// Says how the job ended.
pub(crate) fn finish(job: &Job, outcome: Option<Outcome>) -> Exit {
    let summary = Totals::of(job).summary();
    match outcome {
        Some(Ok(())) => {
            tracing::info!("done: {summary}");
            Exit::Done
        }
        Some(Err(error)) => {
            complain!("error: {:#}", anyhow::Error::from(error));
            tracing::info!("failed: {summary}");
            Exit::Failed
        }
        None => {
            tracing::warn!(
                "interrupted: {summary}; what was unacknowledged will be delivered again"
            );
            Exit::Interrupted
        }
    }
}

/// Whether rows go to the standard output.
fn prints(plan: &Plan) -> bool {
    plan.nodes.iter().any(|node| match &node.operator {
        PlanOperator::Preview => true,
        PlanOperator::Sink(table) => table.connector == "stdout",
        _ => false,
    })
}
