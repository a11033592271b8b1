//! CPU time: how much of it an operator takes, whatever threads it runs on.
//!
//! A task wanders between the threads of tokio's pool, so its time is that of its polls. Reading a thread's clock is a
//! system call of some hundred nanoseconds; a poll of a task, or a turn of a worker, is about whole batches of rows.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use cpu_time::ThreadTime;

use crate::metrics::Metrics;

/// How long this thread has been on a CPU, in nanoseconds; always 0 if the system does not tell.
pub fn thread_cpu_ns() -> u64 {
    let time = ThreadTime::try_now().map_or(Duration::ZERO, |now| now.as_duration());
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Adds the CPU time that a task takes, on whatever threads, to an operator's.
pub async fn measured<F: Future>(metrics: Arc<Metrics>, task: F) -> F::Output {
    let mut task = pin!(task);
    poll_fn(|context| {
        let _cpu = metrics.stopwatch();
        task.as_mut().poll(context)
    })
    .await
}
