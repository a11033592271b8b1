//! What becomes groups before an exchange, and what does not.

use super::*;
use crate::control::Control;
use crate::operators::stateful::END;

const TUMBLE: Window = Window::Hop {
    slide_ns: 10,
    width_ns: 10,
    offset_ns: 0,
};

fn partial() -> Partial {
    Partial::new(&plan(TUMBLE, true), &input()).expect("not a session")
}

/// What rows of so many keys, in turn, all of one pane, become: how many groups, or none if they go as they are.
fn groups(partial: &mut Partial, rows: i64, keys: usize) -> Option<usize> {
    let keys = ["a", "b", "c", "d", "e", "f", "g", "h"][..keys]
        .iter()
        .cycle();
    let rows = keys
        .zip(0..rows)
        .map(|(key, value)| (Some(*key), Some(value), 3));
    let rows: Vec<Row> = rows.collect();
    let sent = partial.take(Rows::new(batch(&rows))).expect("no error");
    match sent.as_slice() {
        [Rows::Partial(groups)] => Some(groups.num_rows()),
        [Rows::Batch(sent)] => {
            assert_eq!(sent.num_rows(), rows.len());
            None
        }
        other => unreachable!("{other:?} is sent"),
    }
}

#[test]
fn few_groups_are_made_of_many_rows() {
    let mut partial = partial();
    for _ in 0..3 {
        assert_eq!(groups(&mut partial, 24, 8), Some(8));
        assert_eq!(groups(&mut partial, 5, 1), Some(1));
    }
}

#[test]
fn what_does_not_become_fewer_is_left_alone_for_a_while() {
    let mut partial = partial();
    for _ in 0..3 {
        // it is seen only when it is done
        assert_eq!(groups(&mut partial, 8, 8), Some(8));
        assert_eq!(groups(&mut partial, 5, 1), None);
        assert_eq!(groups(&mut partial, 3, 1), None);
        assert_eq!(groups(&mut partial, 5, 1), Some(1));
    }
}

#[test]
fn many_panes_are_left_alone() {
    let mut partial = partial();
    let rows: Vec<Row> = (0..5).map(|n| (Some("a"), Some(n), n * 10)).collect();
    let sent = partial.take(Rows::new(batch(&rows))).expect("no error");
    assert!(matches!(sent.as_slice(), [Rows::Batch(_)]), "{sent:?}");
}

#[test]
fn what_is_said_about_time_stays_behind_the_rows() {
    let mut partial = partial();
    assert_eq!(groups(&mut partial, 9, 2), Some(2));
    let tick = Rows::Control(Control::Tick { now_us: 1 });
    let sent = partial.take(tick).expect("no error");
    assert!(matches!(sent.as_slice(), [Rows::Control(_)]), "{sent:?}");
}

#[test]
fn late_rows_are_counted_one_by_one() {
    let mut tested = tested_behind_partials(TUMBLE, true);
    tested.rows(&[(Some("a"), Some(1), 3); 4]);
    tested.advance(10);
    assert_eq!(tested.due().len(), 1);
    let late = [[(Some("a"), Some(1), 3); 4], [(Some("b"), None, 12); 4]].concat();
    tested.rows(&late);
    assert_eq!(tested.late(), 4);
    tested.advance(END);
    let count = "0  0   ".to_owned();
    assert_eq!(tested.due(), [(10, 20, Some("b".to_owned()), count)]);
}
