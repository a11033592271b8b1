//! The demo runs on a bare machine, and what it shows is true.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    missing_docs,
    unreachable_pub,
    reason = "a test"
)]
#![allow(
    dead_code,
    reason = "each test binary uses its part of the support module"
)]
#![cfg(feature = "demo")]

mod support;

use support::run;

#[test]
fn the_demo_publishes_alerts_and_ends() {
    let finished = run(&["demo", "--seconds", "2", "--rate", "500", "--sensors", "20"]);
    assert!(finished.status.success(), "{}", finished.stderr);
    assert!(
        finished.stdout.contains("alerts {\"device\":\"s00"),
        "{}",
        finished.stdout
    );
    let summary = finished
        .stdout
        .lines()
        .find(|line| line.contains("readings in"))
        .unwrap();
    let readings: u64 = summary.split(' ').next().unwrap().parse().unwrap();
    assert!((100..5000).contains(&readings), "{summary}");
    assert!(!summary.contains(" 0 alerts"), "{summary}");
}
