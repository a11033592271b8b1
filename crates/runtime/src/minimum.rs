//! The watermark of several lanes together.

use std::collections::{BTreeMap, BTreeSet};

use crate::control::{Lane, Mark};
use crate::operators::stateful::END;

/// How far event time has come on all lanes that lead to an operator.
///
/// It is the least of the watermarks of the lanes, without those that are idle; when all are idle, the greatest, for then
/// none holds back another. So it does not matter in which order they become idle. A lane that has not said anything
/// holds it back. One that has ended holds back nothing, and is idle no more; but the end of all is reached only when
/// every lane has ended, because rows may still come on an idle one. It never falls: a lane that awakes behind the others
/// has late rows.
///
/// Lanes of the same sources, of several operators or of one on several workers, awake one after the other, and with the
/// first of them nobody may forget the others: a window that was open when its source fell silent is put out only then. So an
/// idle lane does not count only while no other one is awake that has no other sources.
pub(crate) struct Minimum {
    // one lane may lead to several inputs of an operator, on ways of different length
    lanes: BTreeMap<(usize, Lane), State>,
    reached: i64,
    idle: bool,
}

struct State {
    /// The lanes that have no other sources than this one: when one of them is awake, this one is about to be.
    awakes_with: Vec<(usize, Lane)>,
    /// The last before the end.
    watermark: i64,
    is: Is,
}

#[derive(Clone, Copy, PartialEq)]
enum Is {
    Awake,
    Idle,
    Ended,
}

impl Minimum {
    /// Of these lanes, each with the input to which it leads, and their `roots`: the sources that they come from.
    pub(crate) fn new(
        lanes: impl IntoIterator<Item = (usize, Lane)>,
        roots: impl Fn(Lane) -> BTreeSet<Lane>,
    ) -> Self {
        let lanes: Vec<_> = lanes.into_iter().map(|at| (at, roots(at.1))).collect();
        let silent = |(at, roots): &(_, BTreeSet<Lane>)| {
            let others = lanes.iter().filter(|(other, _)| other != at);
            let within = others.filter(|(_, sources)| sources.is_subset(roots));
            let state = State {
                awakes_with: within.map(|(other, _)| *other).collect(),
                watermark: i64::MIN,
                is: Is::Awake,
            };
            (*at, state)
        };
        Self {
            lanes: lanes.iter().map(silent).collect(),
            reached: i64::MIN,
            idle: false,
        }
    }

    /// Goes on from where it was in an earlier run: it does not fall behind that.
    pub(crate) fn begin(&mut self, reached: i64) {
        self.reached = self.reached.max(reached);
    }

    /// Notes what a lane says; whether that changes anything for all of them.
    pub(crate) fn note(&mut self, input: usize, lane: Lane, mark: Mark) -> bool {
        let Some(state) = self.lanes.get_mut(&(input, lane)) else {
            return false;
        };
        match mark {
            Mark::At(END) => state.is = Is::Ended,
            Mark::At(watermark) => {
                state.watermark = state.watermark.max(watermark);
                state.is = Is::Awake;
            }
            Mark::Idle => state.is = Is::Idle,
        }
        let before = (self.reached, self.idle);
        let of = |is| self.lanes.values().filter(move |state| state.is == is);
        let awaited = of(Is::Idle).filter(|state| self.awakes(state));
        let counting = of(Is::Awake).chain(awaited);
        let least = counting.map(|state| state.watermark).min();
        let greatest = self.lanes.values().map(|state| state.watermark).max();
        self.idle = least.is_none() && of(Is::Idle).next().is_some();
        let common = match self.idle {
            true => greatest.unwrap_or(END),
            false => least.unwrap_or(END),
        };
        self.reached = self.reached.max(common);
        before != (self.reached, self.idle)
    }

    /// Whether one of the lanes with which an idle one awakes is awake already.
    fn awakes(&self, idle: &State) -> bool {
        let mut others = idle.awakes_with.iter();
        others.any(|at| {
            self.lanes
                .get(at)
                .is_some_and(|other| other.is == Is::Awake)
        })
    }

    /// How far event time has come; [`i64::MIN`] at first, and [`END`] at last.
    pub(crate) fn reached(&self) -> i64 {
        self.reached
    }

    /// Whether no row is expected on any lane for the time being.
    pub(crate) fn is_idle(&self) -> bool {
        self.idle
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Lane = Lane(0);
    const B: Lane = Lane(1);

    /// What two lanes, both to one input, say in turn, and where that leaves them together.
    fn check(said: &[(Lane, Mark)], reached: i64, idle: bool) {
        let mut minimum = Minimum::new([(0, A), (0, B)], |lane| [lane].into());
        for (lane, mark) in said {
            let before = (minimum.reached(), minimum.is_idle());
            let changed = minimum.note(0, *lane, *mark);
            assert_eq!(changed, before != (minimum.reached(), minimum.is_idle()));
        }
        let after = (minimum.reached(), minimum.is_idle());
        assert_eq!(after, (reached, idle), "{said:?}");
    }

    #[test]
    fn lanes_are_waited_for() {
        use Mark::{At, Idle};
        const SILENT: i64 = i64::MIN;
        // the least of both, as soon as both have spoken
        check(&[(A, At(5))], SILENT, false);
        check(&[(A, At(5)), (B, At(3))], 3, false);
        check(&[(A, At(5)), (B, At(3)), (B, At(4))], 4, false);
        check(&[(A, At(5)), (B, At(3)), (A, At(9))], 3, false);
        // idle ones are left out
        check(&[(A, At(5)), (B, Idle)], 5, false);
        check(&[(A, At(5)), (B, At(3)), (B, Idle)], 5, false);
        check(&[(A, At(5)), (B, At(3)), (A, Idle)], 3, false);
        // the order does not matter
        check(&[(A, At(5)), (B, At(3)), (A, Idle), (B, Idle)], 5, true);
        check(&[(A, At(5)), (B, At(3)), (B, Idle), (A, Idle)], 5, true);
        check(&[(A, Idle), (B, Idle)], SILENT, true);
        // they come back, and nothing falls
        check(&[(A, At(5)), (B, Idle), (B, At(3))], 5, false);
        check(&[(A, At(5)), (B, Idle), (B, At(7)), (A, At(6))], 6, false);
        check(&[(A, At(5)), (B, Idle), (A, Idle), (B, At(3))], 5, false);
    }

    #[test]
    fn the_end_is_that_of_all() {
        use Mark::{At, Idle};
        check(&[(A, At(END)), (B, At(3))], 3, false);
        check(&[(A, At(3)), (B, At(1)), (B, At(END))], 3, false);
        check(&[(A, At(END)), (B, At(END))], END, false);
        // rows may still come on an idle lane, unless it ends
        check(&[(A, Idle), (B, At(4)), (B, At(END))], 4, true);
        check(&[(B, At(4)), (B, At(END)), (A, Idle)], 4, true);
        check(&[(A, Idle), (B, At(END)), (A, At(END))], END, false);
    }

    #[test]
    fn a_lane_that_leads_to_two_inputs_is_waited_for_at_both() {
        let mut minimum = Minimum::new([(0, A), (1, A)], |lane| [lane].into());
        assert!(!minimum.note(0, A, Mark::At(5)));
        assert!(minimum.note(1, A, Mark::At(4)));
        assert_eq!(minimum.reached(), 4);
        assert!(minimum.note(1, A, Mark::At(5)));
        assert_eq!(minimum.reached(), 5);
        assert!(!minimum.note(2, A, Mark::At(9)), "no such input");
    }

    #[test]
    fn lanes_of_the_same_sources_awake_together() {
        use Mark::{At, Idle};
        const C: Lane = Lane(2);
        const D: Lane = Lane(3);
        // A and B come from source A, C from both, D from its own
        let roots = |lane| match lane {
            A | B => [A].into(),
            C => [A, D].into(),
            other => [other].into(),
        };
        let mut minimum = Minimum::new([A, B, C, D].map(|lane| (0, lane)), roots);
        for lane in [A, B, C, D] {
            minimum.note(0, lane, At(5));
        }
        for lane in [A, B, C] {
            minimum.note(0, lane, Idle);
        }
        // C is about to awake with D, but A and B need not
        minimum.note(0, D, At(7));
        assert_eq!(minimum.reached(), 5);
        minimum.note(0, C, At(6));
        assert_eq!((minimum.reached(), minimum.is_idle()), (6, false));
        minimum.note(0, C, Idle);
        assert_eq!(minimum.reached(), 6, "D is awake");
        minimum.note(0, D, Idle);
        assert_eq!((minimum.reached(), minimum.is_idle()), (7, true));
        // B awakes first, and A and C are waited for
        minimum.note(0, B, At(9));
        assert_eq!((minimum.reached(), minimum.is_idle()), (7, false));
        minimum.note(0, A, At(9));
        assert_eq!(minimum.reached(), 7);
        minimum.note(0, C, At(8));
        assert_eq!(minimum.reached(), 8);
        // B falls silent first, and is no hindrance when all are
        minimum.note(0, B, Idle);
        minimum.note(0, C, Idle);
        minimum.note(0, A, Idle);
        assert_eq!((minimum.reached(), minimum.is_idle()), (9, true));
    }
}
