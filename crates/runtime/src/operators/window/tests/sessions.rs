//! Sessions: what a checkpoint of them writes, and what comes back.

use super::*;

const GAP: Window = Window::Session { gap_ns: 10 };

/// Names that live as long as the test.
fn names(count: usize) -> Vec<&'static str> {
    let name = |key: usize| &*format!("k{key}").leak();
    (0..count).map(name).collect()
}

fn rows(names: &[&'static str], time: i64) -> Vec<Row> {
    names
        .iter()
        .map(|name| (Some(*name), Some(1), time))
        .collect()
}

#[test]
fn a_checkpoint_writes_the_sessions_that_have_changed() {
    let mut tested = tested(GAP, true);
    let all = names(200);
    tested.rows(&rows(&all, 100));
    assert_eq!(tested.checkpoint(), 200);
    assert_eq!(tested.checkpoint(), 0);
    for round in 0..20 {
        tested.rows(&rows(&[all[7], all[150]], 101));
        let written = tested.checkpoint();
        assert!(written <= 40, "{written} rows are written in round {round}");
        let kept = tested.disk.rows();
        assert!(kept <= 260, "{kept} rows are kept in round {round}");
    }
    tested.restart(GAP, false);
    assert_eq!(tested.checkpoint(), 0, "after a restart");
    tested.advance(1_000);
    let due = tested.due();
    assert_eq!(due.len(), 200);
    let counts = due.iter().filter(|made| made.3.starts_with("21 21 "));
    assert_eq!(counts.count(), 2);
}

#[test]
fn sessions_that_have_ended_are_deleted_from_the_disk() {
    let mut tested = tested(GAP, true);
    let all = names(100);
    tested.rows(&rows(&all[..80], 100));
    tested.checkpoint();
    tested.rows(&rows(&all[80..], 120));
    tested.checkpoint();
    assert_eq!(tested.disk.rows(), 100);
    tested.advance(110);
    assert_eq!(tested.due().len(), 80);
    assert_eq!(tested.checkpoint(), 0, "nothing has come");
    assert_eq!(tested.disk.rows(), 20);
    tested.advance(130);
    assert_eq!(tested.due().len(), 20);
    tested.checkpoint();
    assert_eq!(tested.disk.rows(), 0);
}

#[test]
fn sessions_that_change_again_and_again_are_not_kept_for_long() {
    let mut tested = tested(GAP, true);
    let all = names(100);
    for round in 0..10 {
        tested.rows(&rows(&all, 100));
        assert_eq!(tested.checkpoint(), 100);
        assert_eq!(tested.disk.rows(), 100, "in round {round}");
    }
}

#[test]
fn what_has_ended_does_not_come_back_beside_what_came_later() {
    let mut tested = tested(GAP, true);
    // another session keeps the segment
    tested.rows(&[(Some("a"), Some(1), 100), (Some("b"), Some(1), 115)]);
    tested.checkpoint();
    tested.advance(110);
    assert_eq!(tested.due().len(), 1);
    // behind the watermark, near to what has ended, and not late
    tested.rows(&[(Some("a"), Some(1), 105)]);
    tested.restart(GAP, false);
    tested.rows(&[(Some("a"), Some(1), 107)]);
    tested.divide(GAP);
    tested.advance(1_000);
    let due = tested.due();
    let spans: Vec<_> = due
        .iter()
        .map(|made| (made.0, made.1, made.2.as_deref()))
        .collect();
    assert_eq!(spans, [(105, 117, Some("a")), (115, 125, Some("b"))]);
    assert_eq!(tested.late(), 0);
}
