//! What each kind of window does, in cases.

use headwater_planner::plan::{NodeId, Plan};

use super::*;
use crate::durable::divide::divided;
use crate::durable::part::Part;
use crate::durable::part::disk::divided as divided_between;
use crate::operators::stateful::END;
use crate::operators::window::closing::SLOW_PIECE;

const TUMBLE: Window = Window::Hop {
    slide_ns: 10,
    width_ns: 10,
    offset_ns: 0,
};
const HOP: Window = Window::Hop {
    slide_ns: 5,
    width_ns: 10,
    offset_ns: 0,
};
const CUMULATE: Window = Window::Cumulate {
    step_ns: 5,
    width_ns: 15,
};
const SESSION: Window = Window::Session { gap_ns: 10 };

/// Rows of the key `a` whose values are their times, and the start, end and count of what they become.
fn check(window: Window, times: &[i64], expected: &[(i64, i64, usize)]) {
    let rows: Vec<Row> = times
        .iter()
        .map(|time| (Some("a"), Some(*time), *time))
        .collect();
    let mut tested = tested(window, true);
    tested.rows(&rows);
    tested.advance(END);
    let made = tested.due();
    let count = |text: &str| text.split(' ').next().map(str::to_owned);
    let made: Vec<_> = made
        .iter()
        .map(|made| (made.0, made.1, count(&made.3)))
        .collect();
    let expected = expected
        .iter()
        .map(|(start, end, count)| (*start, *end, Some(count.to_string())));
    assert_eq!(
        made,
        expected.collect::<Vec<_>>(),
        "{window} over {times:?}"
    );
    assert_eq!(tested.machine.emit().expect("no error"), None);
}

#[test]
fn windows_of_each_kind() {
    check(
        TUMBLE,
        &[0, 9, 10, -1],
        &[(-10, 0, 1), (0, 10, 2), (10, 20, 1)],
    );
    check(
        HOP,
        &[0, 7, 12],
        &[(-5, 5, 1), (0, 10, 2), (5, 15, 2), (10, 20, 1)],
    );
    check(
        CUMULATE,
        &[0, 7, 14, 15],
        &[
            (0, 5, 1),
            (0, 10, 2),
            (0, 15, 3),
            (15, 20, 1),
            (15, 25, 1),
            (15, 30, 1),
        ],
    );
    check(Window::Instant, &[5, 4, 5], &[(4, 4, 1), (5, 5, 2)]);
    // a pause of the gap ends a session, a shorter one does not
    check(SESSION, &[0, 9, 19, 28], &[(0, 19, 2), (19, 38, 2)]);
    // the row in the middle comes last
    check(SESSION, &[0, 18, 40, 9], &[(0, 28, 3), (40, 50, 1)]);
}

#[test]
fn the_ends_of_time() {
    let (min, max) = (i64::MIN, i64::MAX);
    check(TUMBLE, &[min, min + 1], &[(min, min + 8, 2)]);
    check(TUMBLE, &[max], &[(max - 7, max, 1)]);
    check(
        SESSION,
        &[min, max - 1],
        &[(min, min + 10, 1), (max - 1, max, 1)],
    );
    check(
        Window::Session { gap_ns: max },
        &[min, 0, max],
        &[(min, -1, 1), (0, max, 1), (max, max, 1)],
    );
}

#[test]
fn keys_and_nulls() {
    let rows = [
        (None, Some(1), 0),
        (Some("a"), None, 1),
        (None, Some(2), 2),
        (Some("a"), Some(-3), 3),
    ];
    let made = |window, has_key| {
        let mut tested = tested(window, has_key);
        tested.rows(&rows);
        tested.advance(END);
        let mut made = tested.due();
        made.sort();
        made
    };
    let row = |bounds: (i64, i64), key: Option<&str>, values: &[Option<i64>]| {
        (
            bounds.0,
            bounds.1,
            key.map(str::to_owned),
            aggregated(values),
        )
    };
    let null = [Some(1), Some(2)];
    let a = [None, Some(-3)];
    let all = [Some(1), None, Some(2), Some(-3)];
    assert_eq!(
        made(TUMBLE, true),
        [row((0, 10), None, &null), row((0, 10), Some("a"), &a)]
    );
    assert_eq!(
        made(SESSION, true),
        [row((0, 12), None, &null), row((1, 13), Some("a"), &a)]
    );
    assert_eq!(made(TUMBLE, false), [row((0, 10), None, &all)]);
    assert_eq!(made(SESSION, false), [row((0, 13), None, &all)]);
}

#[test]
fn a_window_closes_when_the_watermark_reaches_its_end() {
    for (window, end) in [(TUMBLE, 10), (SESSION, 13), (HOP, 10), (CUMULATE, 5)] {
        let mut tested = tested(window, true);
        tested.rows(&[(Some("a"), Some(1), 3)]);
        tested.advance(end - 1);
        // a hop from -5 to 5 ends before
        tested.due();
        tested.advance(end);
        assert_eq!(tested.due().len(), 1, "{window}");
    }
}

#[test]
fn late_rows_are_counted_and_go_to_what_is_open() {
    // rows after a watermark of 10: how many are late, and how many rows each window then has
    let check = |window, times: &[i64], late, expected: &[(i64, usize)]| {
        let mut tested = tested(window, false);
        tested.advance(10);
        let rows: Vec<Row> = times.iter().map(|time| (None, Some(1), *time)).collect();
        tested.rows(&rows);
        tested.advance(END);
        let made = tested.due();
        let expected = expected
            .iter()
            .map(|(end, rows)| (*end, aggregated(&vec![Some(1); *rows])));
        let made: Vec<_> = made.into_iter().map(|made| (made.1, made.3)).collect();
        assert_eq!(
            made,
            expected.collect::<Vec<_>>(),
            "{window} over {times:?}"
        );
        assert_eq!(tested.late(), late, "{window} over {times:?}");
    };
    check(TUMBLE, &[9, 10], 1, &[(20, 1)]);
    check(HOP, &[4, 9, 10], 1, &[(15, 2), (20, 1)]);
    check(CUMULATE, &[4, 9, -1], 1, &[(15, 2)]);
    check(Window::Instant, &[9, 10], 1, &[(10, 1)]);
    check(SESSION, &[0, 1], 1, &[(11, 1)]);
    // the first is late alone, the second time it is taken
    check(SESSION, &[0, 5, 0], 1, &[(15, 2)]);
}

#[test]
fn rows_that_come_while_a_window_goes_out_are_not_in_it() {
    for window in [TUMBLE, HOP, SESSION] {
        let mut tested = tested(window, false);
        tested.rows(&[(None, Some(1), 2)]);
        tested.advance(12);
        tested.rows(&[(None, Some(2), 2)]);
        assert_eq!(
            tested.due().last().map(|made| made.3.clone()),
            Some(aggregated(&[Some(1)]))
        );
        assert_eq!(tested.late(), 1, "{window}");
    }
}

/// The value of a key.
fn value_of(key: i64) -> Option<i64> {
    (key % 3 > 0).then_some(key)
}

/// Rows of so many keys, whose values are the keys, or null.
fn many(keys: i64, time: i64) -> RecordBatch {
    let texts: StringArray = (0..keys).map(|key| Some(key.to_string())).collect();
    let values: Int64Array = (0..keys).map(value_of).collect();
    let times: TimestampNanosecondArray = (0..keys).map(|_| Some(time)).collect();
    RecordBatch::try_new(
        input(),
        vec![Arc::new(texts), Arc::new(values), Arc::new(times)],
    )
    .expect("rows of the schema")
}

#[test]
fn large_windows_go_out_in_pieces() {
    let of_sessions = 8_192;
    let cases = [
        (TUMBLE, 1, SLOW_PIECE),
        (HOP, 2, SLOW_PIECE),
        (SESSION, 1, of_sessions),
    ];
    for (window, windows, most) in cases {
        let keys = 2 * most as i64 + 3;
        let mut tested = tested(window, true);
        let mut expected = Vec::new();
        for time in [7, 8] {
            let rows = many(keys, time);
            tested.machine.rows(0, rows).expect("no error");
        }
        for key in 0..keys {
            let text = aggregated(&[value_of(key); 2]);
            expected.extend(vec![(Some(key.to_string()), text); windows]);
        }
        tested.advance(18);
        let pieces: Vec<_> = std::iter::from_fn(|| tested.piece()).collect();
        assert!(pieces.len() > 2, "{window}: {} pieces", pieces.len());
        assert!(pieces.iter().all(|piece| piece.len() <= most));
        let made = pieces.into_iter().flatten();
        let mut made: Vec<_> = made.map(|made| (made.2, made.3)).collect();
        tested.advance(END);
        made.extend(tested.due().into_iter().map(|made| (made.2, made.3)));
        made.sort();
        expected.sort();
        assert!(made == expected, "{window}");
    }
}

/// A machine with a window of two runs that is due, of these keys.
fn due_in_runs(window: Window, keys: [&'static str; 3]) -> Tested {
    let mut tested = tested(window, true);
    for time in [6, 7] {
        tested.rows(&keys.map(|key| (Some(key), Some(time), time)));
        tested.checkpoint();
    }
    tested.advance(10);
    tested
}

#[test]
fn a_checkpoint_waits_for_a_window_only_while_that_goes_out() {
    for window in [TUMBLE, HOP, CUMULATE] {
        let mut tested = due_in_runs(window, ["a", "b", "c"]);
        assert!(tested.machine.keeps_what_is_due(), "nothing is done yet");
        let (mut merging, mut going_out) = (0, 0);
        while let Some(made) = tested.piece() {
            match tested.machine.keeps_what_is_due() {
                true => merging += usize::from(made.is_empty()),
                false => going_out += 1,
            }
        }
        assert!(merging > 1, "{window}: {merging}");
        assert!(going_out > 0, "{window}: {going_out}");
        assert!(tested.machine.keeps_what_is_due(), "nothing is due");
    }
}

/// Of two workers one may have put out a window when a checkpoint comes that another has only begun to merge.
#[test]
fn what_some_workers_have_put_out_and_others_not_is_put_out_once() {
    for window in [TUMBLE, HOP, CUMULATE] {
        for machines in [1, 3] {
            let mut ahead = due_in_runs(window, ["a", "b", "c"]);
            let mut behind = due_in_runs(window, ["d", "e", "f"]);
            let mut made = ahead.due();
            assert_eq!(behind.piece(), Some(vec![]), "it begins to merge");
            let left = [&mut ahead, &mut behind].map(Tested::snapshot);
            let parts =
                divided_between(&*ahead.machine, left.to_vec(), machines, |_, _| Ok(vec![]));
            for parts in parts {
                let mut worker = tested(window, true);
                worker.machine.restore(parts).expect("the state");
                worker.rows(&[(Some("g"), Some(1), 3)]);
                worker.advance(END);
                made.extend(worker.due());
                // what has ended stays so
                let late = [TUMBLE, HOP].contains(&window);
                assert_eq!(worker.late(), u64::from(late), "{window}");
            }
            made.retain(|made| made.2.as_deref() != Some("g"));
            made.sort();
            let mut whole = tested(window, true);
            for time in [6, 7] {
                let keys = ["a", "b", "c", "d", "e", "f"];
                whole.rows(&keys.map(|key| (Some(key), Some(time), time)));
            }
            whole.advance(END);
            let mut expected = whole.due();
            expected.sort();
            assert_eq!(made, expected, "{window}, {machines} workers");
        }
    }
}

#[test]
fn what_has_been_put_out_takes_no_memory() {
    for window in [TUMBLE, HOP, CUMULATE, SESSION] {
        let keys = 2_000;
        let mut tested = tested(window, true);
        tested.machine.rows(0, many(keys, 7)).expect("no error");
        let full = tested.machine.size();
        assert!(full > 50 * keys as usize, "{window}: {full} bytes");
        tested.advance(1_000);
        tested.due();
        tested.machine.rows(0, many(1, 2_000)).expect("no error");
        let left = tested.machine.size();
        assert!(left < full / 4, "{window}: {left} of {full} bytes");
    }
}

#[test]
fn long_sessions_take_no_more_memory_than_short_ones() {
    let mut tested = tested(SESSION, true);
    let mut sizes = Vec::new();
    for round in 0..60 {
        tested
            .machine
            .rows(0, many(200, round * 9))
            .expect("no error");
        // one session ends each time, so that the others go on in another place
        let short = ["x", "y", "z"][round as usize % 3];
        tested.rows(&[(Some(short), Some(1), round * 9)]);
        tested.advance(round * 9 + 1);
        tested.due();
        sizes.push(tested.machine.size());
    }
    // only the arrays grow; a state for each time that a session went on would be many times as much
    assert!(sizes.iter().max() < Some(&(3 * sizes[2])), "{sizes:?}");
    tested.advance(END);
    let made = tested.due();
    let long = made
        .iter()
        .filter(|made| (made.0, made.1) == (0, 59 * 9 + 10));
    assert_eq!(long.count(), 200);
}

#[test]
fn what_is_on_disk_is_divided_among_workers() {
    let rows: Vec<Row> = (0..60)
        .map(|n| {
            (
                ["a", "b", "c", "d", "e"].get(n as usize % 5).copied(),
                Some(n),
                n / 4,
            )
        })
        .collect();
    let mut whole = tested(HOP, true);
    whole.rows(&rows);
    whole.advance(END);
    let mut expected = whole.due();
    expected.sort();

    let mut left = tested(HOP, true);
    let (first, second) = rows.split_at(40);
    left.rows(first);
    left.machine.spill(1).expect("room on disk");
    // while these come
    second.iter().for_each(|row| left.rows(&[*row]));
    let parts = left.machine.snapshot().expect("a snapshot");
    let (on_disk, here): (Vec<_>, Vec<_>) = parts.iter().partition(|part| part.spilled.is_some());
    assert!(on_disk.len() > 5 && here.len() > 1, "{parts:?}");
    let parts = [vec![Part::word(&0).expect("a number")], parts].concat();
    let (plan, machine) = (Plan::default(), left.machine.as_ref());
    let parts = divided(&plan, NodeId(0), machine, vec![parts], 3).expect("it can be divided");
    let mut made = Vec::new();
    for parts in parts {
        assert!(parts.iter().any(|part| part.spilled.is_some()));
        let mut worker = tested(HOP, true);
        worker
            .machine
            .restore(parts[1..].to_vec())
            .expect("the state of the plan");
        worker.advance(END);
        made.extend(worker.due());
    }
    made.sort();
    assert_eq!(made, expected);
}

#[test]
fn what_goes_to_disk_takes_no_memory() {
    let mut tested = tested(TUMBLE, true);
    let keys = 3_000;
    tested.machine.rows(0, many(keys, 7)).expect("no error");
    let full = tested.machine.size();
    tested.machine.spill(full * 2).expect("room on disk");
    tested.rows(&[(Some("x"), Some(1), 8)]);
    assert_eq!(
        tested.metrics.snapshot().spilled_bytes,
        0,
        "it does not pay"
    );
    tested.machine.spill(full / 2).expect("room on disk");
    tested.machine.rows(0, many(keys, 107)).expect("no error");
    assert!(tested.metrics.snapshot().spilled_bytes > 10 * keys as u64);
    // some of them has come since
    tested.machine.rows(0, many(1, 207)).expect("no error");
    tested.advance(100);
    assert_eq!(tested.due().len(), keys as usize + 1);
    assert!(tested.machine.size() < full * 2);
}
