//! What a stage hands over for a checkpoint, and when.

use tokio::sync::mpsc::UnboundedReceiver;

use super::*;
use crate::durable::Seat;
use crate::durable::report::Report;
use crate::epoch::EpochClock;

fn seat() -> Seat {
    Seat {
        operator: "stage".to_owned(),
        worker: 0,
    }
}

/// The cuts of a clock, and what is reported at them.
fn cuts(clock: &EpochClock) -> (Cuts, UnboundedReceiver<(u64, Report)>) {
    let (reports, received) = tokio::sync::mpsc::unbounded_channel();
    (Cuts::new(clock.clone(), reports, seat()), received)
}

/// What a stage hands over at a cut at which its inputs are at different epochs.
fn handed_over() -> Vec<Part> {
    timely::execute_directly(move |worker| {
        let clock = EpochClock::default();
        let (cuts, mut received) = cuts(&clock);
        let mut bench = Bench::new(worker, 1, vec![], Some(cuts));
        bench.next_epoch();
        bench.rows(0, [3, 5]);
        bench.mark(0, Mark::At(4));
        let cut = clock.cut();
        assert_eq!(cut, 1, "the epoch in which these rows are");
        bench.inputs[0].advance_to(2);
        bench.rows(0, [6, 7]);
        bench.mark(0, Mark::At(7));
        bench.steps();
        assert!(
            received.try_recv().is_err(),
            "the other input may have more"
        );
        bench.rows(1, [1, 8]);
        bench.mark(1, Mark::At(4));
        bench.steps();
        bench.check(&["[1]", "[3]", "7 At(4)"]);
        assert!(received.try_recv().is_err(), "the epoch is open");
        bench.inputs[1].advance_to(2);
        bench.steps();
        let Ok((1, Report::State { seat: from, parts })) = received.try_recv() else {
            panic!("the state is handed over");
        };
        assert_eq!(from, seat());
        bench.mark(1, Mark::At(7));
        bench.next_epoch();
        bench.check(&["[5]", "[6]", "7 At(7)"]);
        assert!(received.try_recv().is_err(), "once a cut");
        parts
    })
}

#[test]
fn the_state_at_a_cut_is_that_of_all_epochs_before_it_and_no_other() {
    let parts = handed_over();
    let [told, kept] = parts.as_slice() else {
        panic!("what it was told, and what the machine keeps");
    };
    assert_eq!(told.about::<i64>().unwrap(), 4);
    assert_eq!(values(&kept.rows), [5, 8]);
}

#[test]
fn another_stage_goes_on_with_the_state() {
    let left = handed_over();
    timely::execute_directly(move |worker| {
        let mut bench = Bench::new(worker, 1, left, None);
        bench.rows(0, [6, 2]);
        bench.mark(0, Mark::At(3));
        bench.mark(1, Mark::At(3));
        bench.next_epoch();
        // 2 is late, and time has not come further than in the earlier run
        bench.check(&["1 late"]);
        bench.mark(0, Mark::At(9));
        bench.mark(1, Mark::At(7));
        bench.next_epoch();
        bench.check(&["[5]", "[6]", "7 At(7)"]);
    });
}

#[test]
fn what_is_due_and_kept_is_not_waited_for_by_rows() {
    timely::execute_directly(move |worker| {
        let clock = EpochClock::default();
        let (cuts, mut received) = cuts(&clock);
        let mut bench = Bench::keeping(worker, 1, vec![], (Some(cuts), true));
        let full = Size {
            rows: BACKLOG_ROWS,
            bytes: 0,
        };
        bench.backlog.add(full);
        bench.next_epoch();
        bench.rows(0, [3, 5, 8]);
        bench.mark(0, Mark::At(6));
        bench.mark(1, Mark::At(6));
        assert_eq!(clock.cut(), 1);
        bench.next_epoch();
        assert!(
            received.try_recv().is_err(),
            "as nothing waits, what is due goes out first"
        );
        assert!(!bench.is_done(1));
        bench.rows(0, [7]);
        bench.steps();
        let Ok((1, Report::State { parts, .. })) = received.try_recv() else {
            panic!("the state is handed over");
        };
        assert_eq!(values(&parts[1].rows), [3, 5, 8], "without what waited");
        assert_eq!(parts[0].about::<i64>().unwrap(), i64::MIN, "not told yet");
        assert!(bench.is_done(1), "what is due is behind the cut");
        bench.backlog.remove(full);
        bench.next_epoch();
        bench.check(&["[3]", "[5]", "7 At(6)"]);
        assert!(bench.is_done(2));
    });
}

#[test]
fn what_was_due_and_kept_goes_out_at_once_when_another_stage_goes_on() {
    timely::execute_directly(move |worker| {
        let told = Part::word(&i64::MIN).unwrap();
        let kept = Part::new(&6_i64, numbers([3, 5, 8])).unwrap();
        let mut bench = Bench::new(worker, 1, vec![told, kept], None);
        bench.next_epoch();
        bench.check(&["[3]", "[5]"]);
        bench.mark(0, Mark::At(9));
        bench.mark(1, Mark::At(9));
        bench.next_epoch();
        bench.check(&["[8]", "7 At(9)"]);
    });
}

#[test]
fn what_has_ended_hands_over_once_for_all_cuts_and_says_its_end_again() {
    let left = timely::execute_directly(move |worker| {
        let clock = EpochClock::default();
        let (cuts, mut received) = cuts(&clock);
        let mut bench = Bench::new(worker, 1, vec![], Some(cuts));
        bench.next_epoch();
        bench.rows(0, [3]);
        bench.mark(0, Mark::At(END));
        bench.mark(1, Mark::At(END));
        bench.steps();
        bench.inputs.remove(0);
        bench.steps();
        assert!(
            received.try_recv().is_err(),
            "the other input may have more"
        );
        bench.inputs.clear();
        bench.steps();
        bench.check(&["[3]", &format!("7 At({END})")]);
        let Ok((_, Report::Ended { seat: from, parts })) = received.try_recv() else {
            panic!("the state is handed over");
        };
        assert_eq!(from, seat());
        assert!(received.try_recv().is_err());
        parts
    });
    assert_eq!(left[0].about::<i64>().unwrap(), END);
    timely::execute_directly(move |worker| {
        let mut bench = Bench::new(worker, 1, vec![left[0].clone()], None);
        bench.mark(0, Mark::At(END));
        bench.mark(1, Mark::At(END));
        bench.next_epoch();
        bench.check(&[&format!("7 At({END})")]);
    });
}
