//! Any rows in any order, in batches of any size, with watermarks in between, and windows half put out when more rows come: the
//! answer is that of an oracle which takes row after row; also if other machines take up the state on the way, and if rows come as
//! groups, now and then.

use proptest::prelude::*;

use super::*;
use crate::operators::stateful::END;

/// What is done with a machine.
#[derive(Debug, Clone)]
enum Step {
    Rows(Vec<Row>),
    /// The watermark rises by so much, and so many pieces are taken.
    Rise(i64, usize),
    /// A checkpoint, before which all that is due is taken, unless the machine keeps it.
    Checkpoint,
    /// State goes to disk, if it can.
    Spill,
    /// Likewise, and another machine takes up the state; what is on disk may stay there.
    Restart(bool),
    /// The same, but other machines have had the state in between, each some of the keys.
    Divide,
}

/// The windows of a row that are the same for all keys, as `(start, end)`: by trying each.
fn windows_of(window: Window, time: i64) -> Vec<(i64, i64)> {
    let all = -200..200_i64;
    let starts: Vec<(i64, i64)> = match window {
        Window::Hop {
            slide_ns,
            width_ns,
            offset_ns,
        } => all
            .filter(|start| (start - offset_ns) % slide_ns == 0)
            .map(|start| (start, start + width_ns))
            .collect(),
        Window::Cumulate { step_ns, width_ns } => all
            .filter(|start| start % width_ns == 0)
            .flat_map(|start| (1..=width_ns / step_ns).map(move |n| (start, start + n * step_ns)))
            .collect(),
        Window::Instant => vec![(time, time + 1)],
        Window::Session { .. } => unreachable!("sessions are not aligned"),
    };
    let has = |(start, end): &(i64, i64)| (*start..*end).contains(&time);
    starts.into_iter().filter(has).collect()
}

/// A window of a key with its rows: the first time, and the end (of sessions, both move).
#[derive(Debug, Clone)]
struct Group {
    start: i64,
    end: i64,
    key: Option<&'static str>,
    values: Vec<Option<i64>>,
}

/// The oracle.
struct Oracle {
    window: Window,
    watermark: i64,
    open: Vec<Group>,
    made: Vec<Made>,
    late: u64,
}

impl Oracle {
    fn row(&mut self, (key, value, time): Row) {
        let late = match self.window {
            Window::Session { gap_ns } => self.session_row(key, value, time, gap_ns),
            window => self.aligned_row(key, value, windows_of(window, time)),
        };
        self.late += u64::from(late);
    }

    fn aligned_row(
        &mut self,
        key: Option<&'static str>,
        value: Option<i64>,
        windows: Vec<(i64, i64)>,
    ) -> bool {
        let open = windows.into_iter().filter(|(_, end)| *end > self.watermark);
        let open: Vec<_> = open.collect();
        for (start, end) in &open {
            let mut groups = self.open.iter_mut();
            match groups.find(|group| (group.start, group.end, group.key) == (*start, *end, key)) {
                Some(group) => group.values.push(value),
                None => self.open.push(Group {
                    start: *start,
                    end: *end,
                    key,
                    values: vec![value],
                }),
            }
        }
        open.is_empty()
    }

    fn session_row(
        &mut self,
        key: Option<&'static str>,
        value: Option<i64>,
        time: i64,
        gap: i64,
    ) -> bool {
        let mut session = Group {
            start: time,
            end: time + gap,
            key,
            values: vec![value],
        };
        let meets =
            |group: &Group| group.key == key && group.start < time + gap && time < group.end;
        let (met, others): (Vec<_>, Vec<_>) = self.open.drain(..).partition(meets);
        self.open = others;
        if met.is_empty() && session.end <= self.watermark {
            return true;
        }
        for group in met {
            session.start = session.start.min(group.start);
            session.end = session.end.max(group.end);
            session.values.extend(group.values);
        }
        self.open.push(session);
        false
    }

    fn advance(&mut self, watermark: i64) {
        self.watermark = watermark;
        let (closed, open) = self
            .open
            .drain(..)
            .partition(|group| group.end <= watermark);
        self.open = open;
        let closed: Vec<Group> = closed;
        self.made.extend(closed.into_iter().map(|group| {
            let end = match self.window {
                Window::Instant => group.start,
                _ => group.end,
            };
            let key = group.key.map(str::to_owned);
            (group.start, end, key, aggregated(&group.values))
        }));
    }
}

fn windows() -> impl Strategy<Value = Window> {
    let hop = (1..8_i64, 0..20_i64, 0..8_i64).prop_map(|(slide_ns, more, offset)| Window::Hop {
        slide_ns,
        width_ns: slide_ns + more,
        offset_ns: offset % slide_ns,
    });
    let tumble = (1..20_i64).prop_map(|width_ns| Window::Hop {
        slide_ns: width_ns,
        width_ns,
        offset_ns: width_ns / 3,
    });
    let cumulate = (1..6_i64, 1..5_i64).prop_map(|(step_ns, steps)| Window::Cumulate {
        step_ns,
        width_ns: step_ns * steps,
    });
    let session = (1..15_i64).prop_map(|gap_ns| Window::Session { gap_ns });
    prop_oneof![3 => hop, 1 => tumble, 2 => cumulate, 4 => session, 1 => Just(Window::Instant)]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let keys = prop::sample::select(vec![None, Some("a"), Some("b"), Some("c")]);
    let row = (keys, prop::option::weighted(0.9, -3..4_i64), -60..60_i64);
    let rows = prop::collection::vec(row, 1..20).prop_map(Step::Rows);
    let rise = (0..25_i64, 0..3_usize).prop_map(|(by, pieces)| Step::Rise(by, pieces));
    prop::collection::vec(
        prop_oneof![6 => rows, 4 => rise, 3 => Just(Step::Checkpoint), 2 => Just(Step::Spill),
            1 => any::<bool>().prop_map(Step::Restart), 1 => Just(Step::Divide)],
        1..30,
    )
}

/// What a machine makes of the steps, with batches of at most so many rows.
fn run(mut tested: Tested, window: Window, steps: &[Step], batch_rows: usize) -> (Vec<Made>, u64) {
    let mut watermark = -60;
    let mut made = Vec::new();
    for step in steps {
        match step {
            Step::Rows(rows) => rows.chunks(batch_rows).for_each(|rows| tested.rows(rows)),
            Step::Rise(by, pieces) => {
                watermark += by;
                tested.advance(watermark);
                made.extend((0..*pieces).map_while(|_| tested.piece()).flatten());
            }
            Step::Checkpoint => {
                made.extend(tested.settled());
                tested.checkpoint();
            }
            Step::Spill => tested.machine.spill(1).expect("room on disk"),
            Step::Restart(stays) => {
                made.extend(tested.settled());
                tested.restart(window, *stays);
                tested.advance(watermark);
            }
            Step::Divide => {
                made.extend(tested.settled());
                tested.divide(window);
                tested.advance(watermark);
            }
        }
    }
    tested.advance(END);
    made.extend(tested.due());
    assert_eq!(tested.metrics.snapshot().spilled_bytes, 0);
    (made, tested.late())
}

fn expected(window: Window, has_key: bool, steps: &[Step]) -> (Vec<Made>, u64) {
    let mut oracle = Oracle {
        window,
        watermark: i64::MIN,
        open: Vec::new(),
        made: Vec::new(),
        late: 0,
    };
    let mut watermark = -60;
    for step in steps {
        match step {
            Step::Rows(rows) => rows.iter().for_each(|(key, value, time)| {
                oracle.row((key.filter(|_| has_key), *value, *time));
            }),
            Step::Rise(by, _) => {
                watermark += by;
                oracle.advance(watermark);
            }
            Step::Checkpoint | Step::Spill | Step::Restart(_) | Step::Divide => {}
        }
    }
    oracle.advance(END);
    (oracle.made, oracle.late)
}

proptest! {
    #[test]
    fn answers_are_those_of_the_oracle(window in windows(), has_key: bool, steps in steps()) {
        let (mut expected, late) = expected(window, has_key, &steps);
        expected.sort();
        let has_panes = !matches!(window, Window::Session { .. });
        let ways = [(1, false), (7, false), (8192, false), (8192, true)];
        for (batch_rows, partial) in ways {
            let tested = match partial && has_panes {
                true => tested_behind_partials(window, has_key),
                false => tested(window, has_key),
            };
            let (mut made, made_late) = run(tested, window, &steps, batch_rows);
            prop_assert!(made.is_sorted_by_key(|made| made.1), "windows come in the order of their ends");
            made.sort();
            prop_assert_eq!(&made, &expected);
            prop_assert_eq!(made_late, late);
        }
    }
}
