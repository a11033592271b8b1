//! How time is cut into panes, and panes make windows: pure arithmetic.
//!
//! Panes are the longest pieces of time that no window divides. They are numbered from 1970 on, pane `n` before pane `n + 1`.
//! A window is the panes from one number to before another, its *end*. With these numbers, which are wide enough for any
//! window, nothing overflows; times that a timestamp cannot express become the first or the last one that it can.

use std::ops::RangeInclusive;

use headwater_planner::plan::Window;

/// Panes and windows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cut {
    pane_ns: i64,
    /// By how much panes are shifted, at least 0 and less than a pane.
    shift_ns: i64,
    windows: Windows,
}

/// Windows, in panes.
#[derive(Debug, Clone, Copy)]
enum Windows {
    /// Those of `width` panes that begin at `offset` and every `slide` panes before and after.
    Hop {
        slide: i128,
        width: i128,
        offset: i128,
    },
    /// Those that begin at each multiple of `width` and end with each pane before the next one.
    Cumulate { width: i128 },
}

impl Cut {
    /// That of a kind of windows, unless they follow the rows of each key.
    pub(super) fn of(window: Window) -> Option<Self> {
        Some(match window {
            Window::Session { .. } => return None,
            Window::Hop {
                slide_ns,
                width_ns,
                offset_ns,
            } => Self::hop(slide_ns, width_ns, offset_ns),
            Window::Cumulate { step_ns, width_ns } => Self::cumulate(step_ns, width_ns),
            Window::Instant => Self::instant(),
        })
    }

    /// Windows of `width_ns`, one every `slide_ns`, all lengths positive, the slide not greater than the width.
    pub(super) fn hop(slide_ns: i64, width_ns: i64, offset_ns: i64) -> Self {
        let pane_ns = greatest_common_divisor(slide_ns, width_ns);
        Self {
            pane_ns,
            shift_ns: offset_ns.rem_euclid(pane_ns),
            windows: Windows::Hop {
                slide: i128::from(slide_ns / pane_ns),
                width: i128::from(width_ns / pane_ns),
                offset: i128::from(offset_ns.div_euclid(pane_ns)),
            },
        }
    }

    /// Windows that grow by `step_ns` up to `width_ns`, which it divides.
    pub(super) fn cumulate(step_ns: i64, width_ns: i64) -> Self {
        Self {
            pane_ns: step_ns,
            shift_ns: 0,
            windows: Windows::Cumulate {
                width: i128::from(width_ns / step_ns),
            },
        }
    }

    /// A window for each nanosecond.
    pub(super) fn instant() -> Self {
        Self::hop(1, 1, 0)
    }

    /// Whether each window is one pane.
    pub(super) fn is_simple(&self) -> bool {
        match self.windows {
            Windows::Hop { width, .. } | Windows::Cumulate { width } => width == 1,
        }
    }

    /// The pane of a time.
    pub(super) fn pane(&self, time: i64) -> i64 {
        let pane = time.div_euclid(self.pane_ns);
        // a pane of 1 ns has no shift, so that this cannot be the least number
        pane - i64::from(time.rem_euclid(self.pane_ns) < self.shift_ns)
    }

    /// The first and the last time in a pane.
    pub(super) fn bounds(&self, pane: i64) -> (i64, i64) {
        let pane = i128::from(pane);
        (self.time(pane), clamp(self.exact(pane + 1) - 1))
    }

    /// The time at which a pane begins.
    pub(super) fn time(&self, pane: i128) -> i64 {
        clamp(self.exact(pane))
    }

    fn exact(&self, pane: i128) -> i128 {
        pane * i128::from(self.pane_ns) + i128::from(self.shift_ns)
    }

    /// The greatest end of a window that a watermark has reached. The watermark after the last row reaches all.
    pub(super) fn reached(&self, watermark: i64) -> i128 {
        match watermark {
            i64::MAX => i128::MAX,
            _ => i128::from(self.pane(watermark)),
        }
    }

    /// The end of the first window that has this pane and ends after `closed`.
    pub(super) fn first_end_after(&self, pane: i64, closed: i128) -> Option<i128> {
        let after = i128::from(pane).max(closed);
        let last = self.last_end(pane);
        let end = match self.windows {
            Windows::Cumulate { .. } => after.checked_add(1)?,
            // of the ends, which are `last` less a multiple of the slide
            Windows::Hop { slide, .. } if after < last => {
                last - (last - after - 1).div_euclid(slide) * slide
            }
            Windows::Hop { .. } => return None,
        };
        (end <= last).then_some(end)
    }

    /// The end of the last window that has this pane.
    pub(super) fn last_end(&self, pane: i64) -> i128 {
        let pane = i128::from(pane);
        match self.windows {
            Windows::Hop {
                slide,
                width,
                offset,
            } => (pane - offset).div_euclid(slide) * slide + offset + width,
            Windows::Cumulate { width } => pane.div_euclid(width) * width + width,
        }
    }

    /// The panes of the window that ends at `end`.
    pub(super) fn panes(&self, end: i128) -> RangeInclusive<i64> {
        clamp(self.start(end))..=clamp(end - 1)
    }

    /// The pane with which the window that ends at `end` begins.
    pub(super) fn start(&self, end: i128) -> i128 {
        match self.windows {
            Windows::Hop { width, .. } => end - width,
            Windows::Cumulate { width } => (end - 1).div_euclid(width) * width,
        }
    }
}

/// The nearest that fits.
fn clamp(time: i128) -> i64 {
    let time = time.clamp(i128::from(i64::MIN), i128::from(i64::MAX));
    i64::try_from(time).unwrap_or_default()
}

fn greatest_common_divisor(a: i64, b: i64) -> i64 {
    match b {
        0 => a,
        b => greatest_common_divisor(b, a % b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The windows of a time, as `(start, end)`.
    fn windows(cut: Cut, time: i64) -> Vec<(i64, i64)> {
        let pane = cut.pane(time);
        let (first, last) = cut.bounds(pane);
        assert!((first..=last).contains(&time), "{time} is in its pane");
        let next = |end: &i128| cut.first_end_after(pane, *end);
        let ends = std::iter::successors(cut.first_end_after(pane, i128::MIN), next);
        ends.map(|end| (cut.time(cut.start(end)), cut.time(end)))
            .collect()
    }

    #[test]
    fn windows_are_half_open_and_aligned_to_1970_and_the_offset() {
        let check = |cut, time, expected: &[(i64, i64)]| {
            assert_eq!(windows(cut, time), expected, "{cut:?} at {time}");
        };
        let tumble = Cut::hop(10, 10, 0);
        check(tumble, 0, &[(0, 10)]);
        check(tumble, 9, &[(0, 10)]);
        check(tumble, 10, &[(10, 20)]);
        check(tumble, -1, &[(-10, 0)]);
        check(tumble, -10, &[(-10, 0)]);
        check(Cut::hop(10, 10, 3), 2, &[(-7, 3)]);
        check(Cut::hop(10, 10, 3), 3, &[(3, 13)]);
        check(Cut::hop(5, 10, 0), 7, &[(0, 10), (5, 15)]);
        check(Cut::hop(5, 10, 0), -7, &[(-15, -5), (-10, 0)]);
        check(Cut::hop(5, 10, 4), 3, &[(-6, 4), (-1, 9)]);
        check(Cut::hop(4, 6, 0), 5, &[(0, 6), (4, 10)]);
        check(Cut::hop(4, 6, 0), 3, &[(0, 6)]);
        check(Cut::hop(4, 6, 3), 6, &[(3, 9)]);
        check(Cut::hop(4, 6, 3), 7, &[(3, 9), (7, 13)]);
        check(Cut::cumulate(5, 15), 0, &[(0, 5), (0, 10), (0, 15)]);
        check(Cut::cumulate(5, 15), 12, &[(0, 15)]);
        check(Cut::cumulate(5, 15), -6, &[(-15, -5), (-15, 0)]);
        check(Cut::instant(), 7, &[(7, 8)]);
    }

    #[test]
    fn the_ends_of_time_have_windows() {
        let (min, max) = (i64::MIN, i64::MAX);
        for cut in [
            Cut::hop(10, 10, 9),
            Cut::hop(3, 1_000, 2),
            Cut::hop(max, max, max - 1),
            Cut::hop(1, max, 0),
            Cut::cumulate(1, max),
            Cut::instant(),
        ] {
            for time in [min, min + 1, -1, 0, max - 1, max] {
                let pane = cut.pane(time);
                let (first, last) = cut.bounds(pane);
                assert!((first..=last).contains(&time), "{cut:?} at {time}");
                let end = cut.first_end_after(pane, i128::MIN);
                let end = end.expect("each time has a window");
                assert!(cut.time(cut.start(end)) <= time);
                assert!(cut.time(end) > time || time == max);
                assert!(cut.last_end(pane) <= cut.reached(max));
                assert!(cut.first_end_after(pane, i128::MAX).is_none());
            }
        }
    }

    #[test]
    fn a_watermark_reaches_the_ends_that_are_not_after_it() {
        let cut = Cut::hop(5, 10, 3);
        let check = |watermark, expected| {
            assert_eq!(cut.time(cut.reached(watermark)), expected, "{watermark}");
        };
        check(3, 3);
        check(7, 3);
        check(8, 8);
        check(-2, -2);
        check(-3, -7);
    }
}
