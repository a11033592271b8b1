//! The threads of a job: a supervisor, and under it timely's workers.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use timely::worker::Worker;
use tokio::sync::oneshot;

use crate::error::{JobError, panic_message};
use crate::peers::line::Lines;
use crate::state::Fate;
use crate::worker::{self, Blueprint};

/// Starts the timely computation on threads of its own; the answer arrives when all of them have ended.
/// With `lines` it is one over several processes.
pub(crate) fn start_workers(
    job_id: &str,
    blueprint: Blueprint,
    lines: Option<Lines>,
) -> oneshot::Receiver<()> {
    let (done, workers_done) = oneshot::channel();
    let fate = Arc::clone(&blueprint.fate);
    let failed = Arc::clone(&fate);
    let supervisor = std::thread::Builder::new()
        .name(format!("job {job_id}"))
        .spawn(move || {
            run_workers(blueprint, lines, &fate);
            // whoever waited for the answer may have gone with the tokio runtime
            done.send(()).ok();
        });
    if let Err(error) = supervisor {
        failed.fail(JobError::Threads(error.to_string()));
    }
    workers_done
}

/// Reports a panic: a peer does not notice by itself that a worker has panicked, and would wait for ever.
fn guard(worker: &mut Worker, fate: &Fate, run: impl FnOnce(&mut Worker)) {
    let index = worker.index();
    if let Err(panic) = std::panic::catch_unwind(AssertUnwindSafe(|| run(worker))) {
        fate.fail(JobError::Panicked {
            place: format!("worker {index}"),
            message: panic_message(panic.as_ref()),
        });
    }
}

fn run_workers(blueprint: Blueprint, lines: Option<Lines>, fate: &Arc<Fate>) {
    let workers = lines.as_ref().map(Lines::workers);
    let config = match blueprint.ends.len() {
        1 => timely::Config::thread(),
        workers => timely::Config::process(workers),
    };
    let run = move |worker: &mut Worker| {
        guard(worker, &blueprint.fate, |worker| {
            worker::run(worker, &blueprint)
        });
        guard(worker, &blueprint.fate, worker::stop);
    };
    let guards = match lines {
        None => timely::execute(config, run),
        Some(lines) => lines.execute(run),
    };
    match guards {
        Ok(guards) => {
            for joined in guards.join() {
                if let Err(message) = joined {
                    fate.fail(JobError::Panicked {
                        place: "a worker".to_owned(),
                        message,
                    });
                }
            }
        }
        Err(message) => fate.fail(JobError::Threads(message)),
    }
    if let Some(workers) = workers {
        workers.end();
    }
}
