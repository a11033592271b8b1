//! How processes meet, and what keeps them from it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::net::TcpListener as Listener;
use std::time::Instant;

use headwater_planner::plan::Plan;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::hello::Purpose;
use super::links::Heard;
use super::words::{Word, write_frame};
use super::*;

/// Addresses at which nobody listens.
fn free(count: usize) -> Vec<String> {
    let listeners: Vec<_> = (0..count)
        .map(|_| Listener::bind("127.0.0.1:0").unwrap())
        .collect();
    let address = |listener: &Listener| listener.local_addr().unwrap().to_string();
    listeners.iter().map(address).collect()
}

fn cluster(process: usize, addresses: &[String]) -> Cluster {
    let mut cluster = Cluster::new(process, addresses.to_vec(), "SELECT 1".to_owned());
    cluster.patience = Duration::from_secs(20);
    cluster
}

async fn come(cluster: Cluster, workers: usize, job_id: &str) -> Result<Peers, PeerError> {
    let layout = Layout {
        process: cluster.process,
        processes: cluster.addresses.len(),
        workers,
    };
    let hello = Hello::new(&cluster, &Plan { nodes: vec![] }, job_id, workers);
    meet(cluster, hello, layout).await
}

fn error(met: Result<Peers, PeerError>) -> String {
    met.err().expect("they do not meet").to_string()
}

#[tokio::test]
async fn all_meet_in_whatever_order_they_come() {
    let addresses = free(3);
    let one = |process| come(cluster(process, &addresses), 2, "job");
    let (two, zero, one) = tokio::join!(one(2), one(0), one(1));
    for (process, peers) in [zero, one, two].into_iter().enumerate() {
        let peers = peers.unwrap();
        let connected: Vec<_> = peers.data.iter().map(Option::is_some).collect();
        let expect: Vec<_> = (0..3).map(|other| other != process).collect();
        assert_eq!(connected, expect);
    }
}

#[tokio::test]
async fn strangers_do_no_harm() {
    let addresses = free(2);
    let zero = tokio::spawn(come(cluster(0, &addresses), 1, "job"));
    let dial = async || loop {
        if let Ok(stream) = TcpStream::connect(&addresses[0]).await {
            return stream;
        }
        tokio::task::yield_now().await;
    };
    let mut http = dial().await;
    http.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut short = dial().await;
    short.write_all(&[0, 0, 0, 2, b'{', b'}']).await.unwrap();
    let silent = dial().await;
    let gone = dial().await;
    drop(gone);
    // they are sent away without an answer
    for stream in [&mut http, &mut short] {
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer).await;
        assert!(read.is_err() || answer.is_empty(), "{answer:?}");
    }
    let one = come(cluster(1, &addresses), 1, "job").await;
    assert!(one.is_ok() && zero.await.unwrap().is_ok());
    drop(silent);
}

#[tokio::test]
async fn who_was_started_differently_is_told_so_and_how() {
    let check = async |ours: (usize, &str, &str), complaint: &str| {
        let addresses = free(2);
        let (workers, script, job_id) = ours;
        let mut other = cluster(1, &addresses);
        script.clone_into(&mut other.script);
        let zero = come(cluster(0, &addresses), 1, "job");
        let (zero, one) = tokio::join!(zero, come(other, workers, job_id));
        for error in [error(zero), error(one)] {
            assert!(error.contains(complaint), "{error}");
            let named = |process: usize| error.contains(&addresses[process]);
            assert!(named(0) && named(1), "{error}");
        }
    };
    check((2, "SELECT 1", "job"), "same --parallelism").await;
    check((1, "SELECT 2", "job"), "same file").await;
    check((1, "SELECT 1", "other"), "same --job-id").await;
}

#[tokio::test]
async fn who_is_missing_is_named() {
    let addresses = free(3);
    let mut patient = cluster(1, &addresses);
    patient.patience = Duration::from_millis(700);
    let mut other = cluster(2, &addresses);
    other.patience = Duration::from_millis(700);
    let (one, two) = tokio::join!(come(patient, 1, "job"), come(other, 1, "job"));
    for error in [error(one), error(two)] {
        let zero = format!("process 0 ({})", addresses[0]);
        assert!(error.contains(&zero), "{error}");
    }
}

#[tokio::test]
async fn an_address_that_is_taken_is_an_error() {
    let taken = Listener::bind("127.0.0.1:0").unwrap();
    let mut addresses = free(2);
    addresses[0] = taken.local_addr().unwrap().to_string();
    let error = error(come(cluster(0, &addresses), 1, "job").await);
    assert!(error.contains("cannot listen"), "{error}");
}

async fn two(silence: Duration) -> [Peers; 2] {
    let addresses = free(2);
    let one = |process| {
        let mut cluster = cluster(process, &addresses);
        cluster.silence = silence;
        come(cluster, 1, "job")
    };
    let (zero, one) = tokio::join!(one(0), one(1));
    [zero.unwrap(), one.unwrap()]
}

#[tokio::test]
async fn a_process_that_ends_without_a_word_is_lost() {
    let [mut zero, one] = two(SILENCE).await;
    drop(one);
    loop {
        if let (1, Heard::Lost(how)) = zero.links.hear().await {
            assert!(how.contains("without a word"), "{how}");
            return;
        }
    }
}

#[tokio::test]
async fn who_is_alive_says_so() {
    const SILENCE: Duration = Duration::from_millis(500);
    let [mut zero, _one] = two(SILENCE).await;
    let began = Instant::now();
    while began.elapsed() < 2 * SILENCE {
        assert!(matches!(
            zero.links.hear().await,
            (1, Heard::Word(Word::Alive))
        ));
    }
}

#[tokio::test]
async fn who_hangs_is_given_up() {
    let addresses = free(2);
    let mut patient = cluster(0, &addresses);
    patient.silence = Duration::from_millis(500);
    let zero = tokio::spawn(come(patient, 1, "job"));
    let plan = Plan { nodes: vec![] };
    let hello = Hello::new(&cluster(1, &addresses), &plan, "job", 1);
    let mut streams = Vec::new();
    for purpose in [Purpose::Data, Purpose::Control] {
        let mut stream = loop {
            if let Ok(stream) = TcpStream::connect(&addresses[0]).await {
                break stream;
            }
            tokio::task::yield_now().await;
        };
        let hello = hello.for_purpose(purpose);
        hello.greet(&mut stream).await.unwrap();
        streams.push(stream);
    }
    // it is there, and then its connections stay open and nobody speaks on them
    write_frame(&mut streams[1], &Word::Ready).await.unwrap();
    let mut zero = zero.await.unwrap().unwrap();
    let (_, heard) = zero.links.hear().await;
    assert!(
        matches!(&heard, Heard::Lost(how) if how.contains("said nothing")),
        "{heard:?}"
    );
}

#[tokio::test]
async fn what_was_closed_is_heard_in_the_end_however_often_it_changes() {
    let [zero, mut one] = two(SILENCE).await;
    for epoch in 1..=10_000 {
        zero.clock.close(epoch);
    }
    let closed = zero.clock.current();
    let mut words = 0;
    loop {
        if let (0, Heard::Word(Word::Closed(epoch))) = one.links.hear().await {
            words += 1;
            if epoch == closed {
                break;
            }
        }
    }
    assert!(words < 1000, "{words}");
}

#[test]
fn sources_and_sinks_are_spread_over_processes() {
    let layout = Layout {
        process: 1,
        processes: 2,
        workers: 3,
    };
    let seats: Vec<_> = (0..7).map(|share| layout.seat(share)).collect();
    assert_eq!(seats, [0, 3, 1, 4, 2, 5, 0]);
    let local: Vec<_> = (0..6).map(|worker| layout.local(worker)).collect();
    assert_eq!(local, [None, None, None, Some(0), Some(1), Some(2)]);
    let alone = Layout::alone(3);
    let seats: Vec<_> = (0..4).map(|share| alone.seat(share)).collect();
    assert_eq!(seats, [0, 1, 2, 0]);
    assert_eq!((layout.receiver(0, 4), layout.receiver(1, 0)), (1, 3));
}
