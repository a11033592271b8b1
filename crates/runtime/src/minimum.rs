//! The watermark of several lanes together.

use std::collections::BTreeMap;

use crate::control::{Lane, Mark};
use crate::operators::stateful::END;

/// How far event time has come on all lanes that lead to an operator.
///
/// It is the least of the watermarks of the lanes, without those that are idle: while all are idle it stands still. A
/// lane that has not said anything holds it back. A lane that has ended holds back nothing and is idle no more; the end of
/// all is reached only when every lane has ended, because rows may still come on an idle one. It never falls: a lane that
/// wakes up behind the others has late rows.
pub(crate) struct Minimum {
    // one lane may lead to several inputs of an operator, on ways of different length
    lanes: BTreeMap<(usize, Lane), Mark>,
    reached: i64,
    idle: bool,
}

impl Minimum {
    /// Of these lanes, each with the input to which it leads.
    pub(crate) fn new(lanes: impl IntoIterator<Item = (usize, Lane)>) -> Self {
        let silent = |lane| (lane, Mark::At(i64::MIN));
        Self {
            lanes: lanes.into_iter().map(silent).collect(),
            reached: i64::MIN,
            idle: false,
        }
    }

    /// Notes what a lane says, and tells what has become of all of them, if that has changed.
    pub(crate) fn note(&mut self, input: usize, lane: Lane, mark: Mark) -> Option<Mark> {
        *self.lanes.get_mut(&(input, lane))? = mark;
        let was_idle = std::mem::replace(&mut self.idle, false);
        let open = self.lanes.values().filter(|mark| **mark != Mark::At(END));
        let awake = open.clone().filter_map(|mark| match mark {
            Mark::At(watermark) => Some(*watermark),
            Mark::Idle => None,
        });
        let least = match (open.clone().next(), awake.min()) {
            (None, _) => END,
            (Some(_), Some(least)) => least,
            (Some(_), None) => {
                self.idle = true;
                return (!was_idle).then_some(Mark::Idle);
            }
        };
        let rises = least > self.reached;
        self.reached = self.reached.max(least);
        (rises || was_idle).then_some(Mark::At(self.reached))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Lane = Lane(0);
    const B: Lane = Lane(1);

    /// What two lanes, both to one input, say in turn, and what becomes of them together after the last.
    fn check(said: &[(Lane, Mark)], expect: Option<Mark>) {
        let mut minimum = Minimum::new([(0, A), (0, B)]);
        let mut last = None;
        for (lane, mark) in said {
            last = minimum.note(0, *lane, *mark);
        }
        assert_eq!(last, expect, "{said:?}");
    }

    #[test]
    fn lanes_are_waited_for() {
        use Mark::{At, Idle};
        // the least of both, as soon as both have spoken
        check(&[(A, At(5))], None);
        check(&[(A, At(5)), (B, At(3))], Some(At(3)));
        check(&[(A, At(5)), (B, At(3)), (B, At(4))], Some(At(4)));
        check(&[(A, At(5)), (B, At(3)), (A, At(9))], None);
        // idle ones are left out
        check(&[(A, At(5)), (B, Idle)], Some(At(5)));
        check(&[(A, At(5)), (B, At(3)), (B, Idle)], Some(At(5)));
        check(&[(A, Idle), (B, Idle)], Some(Idle));
        check(&[(A, Idle), (B, Idle), (A, Idle)], None);
        // they come back, and nothing falls
        check(&[(A, At(5)), (B, Idle), (B, At(3))], None);
        check(&[(A, At(5)), (B, Idle), (B, At(3)), (B, At(7))], None);
        check(
            &[(A, At(5)), (B, Idle), (B, At(7)), (A, At(6))],
            Some(At(6)),
        );
        let both_idle = [(A, At(5)), (B, Idle), (A, Idle)];
        check(&both_idle, Some(Idle));
        let back = [(A, At(5)), (B, Idle), (A, Idle), (B, At(3))];
        check(&back, Some(At(5)));
    }

    #[test]
    fn the_end_is_that_of_all() {
        use Mark::{At, Idle};
        check(&[(A, At(END)), (B, At(3))], Some(At(3)));
        check(&[(A, At(3)), (B, At(1)), (B, At(END))], Some(At(3)));
        check(&[(A, At(END)), (B, At(END))], Some(At(END)));
        // rows may still come on an idle lane, unless it ends
        check(&[(A, Idle)], None);
        check(&[(A, Idle), (B, At(END))], Some(Idle));
        check(&[(B, At(END)), (A, Idle)], Some(Idle));
        check(&[(A, Idle), (B, At(END)), (A, At(END))], Some(At(END)));
    }

    #[test]
    fn a_lane_that_leads_to_two_inputs_is_waited_for_at_both() {
        let mut minimum = Minimum::new([(0, A), (1, A)]);
        assert_eq!(minimum.note(0, A, Mark::At(5)), None);
        assert_eq!(minimum.note(1, A, Mark::At(4)), Some(Mark::At(4)));
        assert_eq!(minimum.note(1, A, Mark::At(5)), Some(Mark::At(5)));
    }
}
