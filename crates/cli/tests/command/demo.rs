//! The demo runs on a bare machine, and what it shows is true.

use crate::support::run;

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
