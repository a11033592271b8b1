//! One job over several processes. Here they are in one, and each has connections to the others as if it were not.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a test")]

mod support;

use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use headwater_connector::{Registry, State};
use headwater_format::BadData;
use headwater_planner::plan::{Node, Plan};
use headwater_runtime::{
    BACKLOG_ROWS, CHECKPOINT_INTERVAL, Cluster, Job, JobError, JobOptions, PeerError,
};
use support::memory::{known, looked_up};
use support::time::{instants_follow_both, two_sources};
use support::{
    Bench, DEADLINE, Fault, Scripted, UNSENDABLE, chain, dead_letters, ended, rows, thousandfold,
    union_of,
};
use tokio::sync::Semaphore;

fn clusters(processes: usize) -> Vec<Cluster> {
    let listeners: Vec<_> = (0..processes)
        .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
        .collect();
    let address = |listener: &TcpListener| listener.local_addr().unwrap().to_string();
    let addresses: Vec<_> = listeners.iter().map(address).collect();
    let cluster = |process| Cluster::new(process, addresses.clone(), String::new());
    (0..processes).map(cluster).collect()
}

fn options(parallelism: usize, state: State) -> JobOptions {
    JobOptions {
        checkpoint_interval: CHECKPOINT_INTERVAL,
        job_id: "test".to_owned(),
        parallelism,
        state_limit_bytes: None,
        over_limit: headwater_runtime::OverLimit::default(),
        state,
        preview: Arc::new(|_, _| anyhow::bail!("no previews here")),
    }
}

/// The job in each of some processes.
async fn start(
    bench: &Bench,
    nodes: &[Node],
    (processes, parallelism): (usize, usize),
) -> Vec<Result<Job, JobError>> {
    let registry = Registry::default().with(Scripted(Arc::clone(&bench.stage)));
    let starting = clusters(processes).into_iter().map(|cluster| {
        let nodes = nodes.to_vec();
        let options = options(parallelism, State::default());
        Job::start_among(Plan { nodes }, &registry, options, cluster)
    });
    join_all(starting).await
}

async fn started(bench: &Bench, nodes: &[Node], size: (usize, usize)) -> Vec<Job> {
    let jobs = start(bench, nodes, size).await;
    jobs.into_iter().map(Result::unwrap).collect()
}

async fn all_end(jobs: &[Job]) {
    for job in jobs {
        ended(job).await.unwrap();
    }
}

const SIZES: [(usize, usize); 3] = [(2, 1), (2, 2), (3, 1)];

#[tokio::test(flavor = "multi_thread")]
async fn instants_come_as_far_as_the_watermark_of_sources_in_different_processes() {
    for size in SIZES {
        let mut bench = Bench::default();
        let nodes = two_sources(&mut bench, None);
        let jobs = started(&bench, &nodes, size).await;
        instants_follow_both(&mut bench, async || all_end(&jobs).await).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_find_those_of_a_memory_table_in_whichever_process_they_are() {
    for size in SIZES {
        let mut bench = Bench::default();
        let nodes = looked_up(&mut bench, true);
        let jobs = started(&bench, &nodes, size).await;
        for n in 0..50 {
            bench.send("stream", rows(&[n, n + 1]));
            bench.send("table", known(&[(n, n), (n, 100 + n)]));
        }
        bench.committed("table", 50).await;
        assert!(bench.state("out").rows.borrow().is_empty());
        bench.inputs.clear();
        all_end(&jobs).await;
        let mut found = bench.rows("out", 99).await;
        found.sort_unstable();
        let each = (0..50).flat_map(|n| [100 + n, 100 + n]);
        assert_eq!(found, each.skip(1).collect::<Vec<_>>());
    }
}

/// A source in the first process, and a sink in each of two.
fn copies(bench: &mut Bench) -> Vec<Node> {
    vec![
        bench.source("in"),
        bench.sink("near", 0),
        bench.sink("far", 0),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_committed_before_a_sink_in_another_process_has_accepted_it() {
    for size in SIZES {
        let mut bench = Bench::default();
        let nodes = copies(&mut bench);
        bench.state("far").accepting.send_replace(false);
        let jobs = started(&bench, &nodes, size).await;
        // fewer than may be unaccepted
        for n in 0..30 {
            bench.send("in", rows(&[n]));
        }
        let in_order: Vec<_> = (0..30).collect();
        assert_eq!(bench.rows("near", 30).await, in_order);
        assert_eq!(bench.rows("far", 30).await, in_order);
        assert_eq!(bench.committed_now("in"), 0, "written is not accepted");
        bench.state("far").accepting.send_replace(true);
        bench.committed("in", 30).await;
        // whichever process is stopped, all drain
        jobs[jobs.len() - 1].stop();
        all_end(&jobs).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_source_in_another_process_holds_back_no_acknowledgement() {
    const MESSAGES: u64 = 200;
    let mut bench = Bench::default();
    let nodes = [
        bench.source("busy"),
        bench.source("idle"),
        union_of(&[0, 1]),
        bench.sink("out", 2),
    ];
    let jobs = started(&bench, &nodes, (2, 1)).await;
    let mut lags = Vec::new();
    for n in 0..MESSAGES {
        let began = Instant::now();
        bench.send("busy", rows(&[0]));
        bench.committed("busy", n + 1).await;
        lags.push(began.elapsed());
    }
    lags.sort();
    let median = lags[lags.len() / 2];
    // on a machine that has other things to do as well
    assert!(median < Duration::from_millis(50), "{lags:?}");
    jobs[0].stop();
    all_end(&jobs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_find_their_sink_in_another_process() {
    for size in SIZES {
        let mut bench = Bench::default();
        let nodes = [
            bench.source_with("in", BadData::DeadLetter),
            bench.sink_with("out", 0, BadData::DeadLetter),
            dead_letters(0),
            dead_letters(1),
            union_of(&[2, 3]),
            bench.sink("dead", 4),
        ];
        bench.state("dead").accepting.send_replace(false);
        let jobs = started(&bench, &nodes, size).await;
        bench.send("in", rows(&[1, -7, UNSENDABLE + 8]));
        let mut dead = bench.rows("dead", 2).await;
        dead.sort_unstable();
        assert_eq!(dead, [7, 8]);
        assert_eq!(bench.committed_now("in"), 0);
        bench.state("dead").accepting.send_replace(true);
        bench.committed("in", 1).await;
        jobs[0].stop();
        all_end(&jobs).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_fail_with_the_first_and_say_who_it_was_and_why() {
    for (fault, reason) in [
        (Fault::Error, "the disk is full"),
        (Fault::Panic, "scripted panic"),
    ] {
        for size in SIZES {
            let mut bench = Bench::default();
            let nodes = copies(&mut bench);
            *bench.state("far").fails.lock().unwrap() = Some(fault);
            let jobs = started(&bench, &nodes, size).await;
            bench.send("in", rows(&[1]));
            for (process, job) in jobs.iter().enumerate() {
                let error = ended(job).await.unwrap_err();
                let text = format!("{:#}", anyhow::Error::from(error));
                assert!(text.contains(reason), "{text}");
                assert_eq!(text.contains("process 1"), process != 1, "{text}");
            }
            assert_eq!(bench.committed_now("in"), 0);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_aborted_in_one_process_ends_in_all() {
    let mut bench = Bench::default();
    let nodes = copies(&mut bench);
    let jobs = started(&bench, &nodes, (2, 2)).await;
    bench.send("in", rows(&[1]));
    bench.rows("far", 1).await;
    jobs[1].abort();
    all_end(&jobs).await;
}

#[tokio::test]
async fn an_operator_that_cannot_be_made_ends_the_start_of_all() {
    let mut bench = Bench::default();
    let mut nodes = copies(&mut bench);
    // its letters have no place
    nodes[2] = bench.sink_with("far", 0, BadData::DeadLetter);
    for job in start(&bench, &nodes, (2, 1)).await {
        assert!(job.is_err());
    }
}

#[tokio::test]
async fn state_is_not_kept_over_several_processes() {
    let mut bench = Bench::default();
    let nodes = two_sources(&mut bench, None);
    let folder = tempfile::tempdir().unwrap();
    let options = options(1, State::open(folder.path()).unwrap());
    let cluster = clusters(2).remove(0);
    let registry = Registry::default();
    let job = Job::start_among(Plan { nodes }, &registry, options, cluster).await;
    let error = job.err().unwrap();
    assert!(
        matches!(error, JobError::Peers(PeerError::KeepsState)),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_sink_in_another_process_is_bounded() {
    const ROWS: i64 = 3072;
    let mut bench = Bench::default();
    let nodes = [
        bench.source("in"),
        chain(thousandfold(), 0),
        bench.source("other"),
        bench.sink("idle", 2),
        bench.sink("out", 1),
    ];
    let state = bench.state("out");
    state.room.forget_permits(Semaphore::MAX_PERMITS);
    let jobs = started(&bench, &nodes, (2, 1)).await;
    bench.send("in", rows(&(0..ROWS).collect::<Vec<_>>()));
    let backlog = Arc::clone(jobs[1].backlog());
    let full = async {
        while backlog.rows() < BACKLOG_ROWS {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, full).await.unwrap();
    let mut taken = 0;
    while taken < 2 * BACKLOG_ROWS as usize {
        state.room.add_permits(1);
        let mut seen = state.rows.subscribe();
        let more = seen.wait_for(|rows| rows.len() > taken);
        let more = tokio::time::timeout(DEADLINE, more).await;
        taken = more.unwrap().unwrap().len();
    }
    state.room.add_permits(1 << 20);
    bench.committed("in", 1).await;
    let seen = state.rows.borrow().clone();
    assert_eq!(seen.len(), 1000 * ROWS as usize);
    assert!(seen.is_sorted(), "in order");
    assert_eq!((backlog.rows(), jobs[0].backlog().rows()), (0, 0));
    // that of the sink, and once more what was on its way to it
    let peak = backlog.peak_rows();
    assert!(peak < 2 * BACKLOG_ROWS + 6 * 65_536, "{peak}");
    jobs[0].stop();
    all_end(&jobs).await;
}
