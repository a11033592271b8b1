//! Divides the rows of a batch among panes. Mostly all are of one pane, or of few, each in one run.

use datafusion::common::HashMap;

use super::cut::Cut;
use super::input::Selection;

/// The panes of a batch in the order of their first rows, and the rows of each in their order.
pub(super) fn split(times: &[i64], cut: &Cut) -> Vec<(i64, Selection)> {
    let Some(first) = times.first() else {
        return Vec::new();
    };
    let pane = cut.pane(*first);
    let (start, last) = cut.bounds(pane);
    // without a branch for each row
    if times
        .iter()
        .fold(true, |all, time| all & (start <= *time) & (*time <= last))
    {
        return vec![(pane, Selection::Range(0, times.len()))];
    }
    let panes = by_pane(times, cut).into_iter();
    panes.map(|(pane, rows)| (pane, selection(rows))).collect()
}

fn by_pane(times: &[i64], cut: &Cut) -> Vec<(i64, Vec<u32>)> {
    let mut panes: Vec<(i64, Vec<u32>)> = Vec::new();
    let mut places: HashMap<i64, usize> = HashMap::new();
    // an empty interval at first
    let (mut start, mut last, mut place) = (1, 0, 0);
    for (row, time) in (0..).zip(times) {
        if !(start..=last).contains(time) {
            let pane = cut.pane(*time);
            (start, last) = cut.bounds(pane);
            place = *places.entry(pane).or_insert_with(|| {
                panes.push((pane, Vec::new()));
                panes.len() - 1
            });
        }
        panes[place].1.push(row);
    }
    panes
}

/// Rows that follow each other need not be copied.
fn selection(rows: Vec<u32>) -> Selection {
    match (rows.first(), rows.last()) {
        (Some(first), Some(last)) if (last - first) as usize + 1 == rows.len() => {
            Selection::Range(*first as usize, rows.len())
        }
        _ => Selection::Rows(rows.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_divided_by_pane() {
        let check = |times: &[i64], expected: &[(i64, Selection)]| {
            assert_eq!(split(times, &Cut::hop(10, 10, 0)), expected, "{times:?}");
        };
        let rows = |rows: &[u32]| Selection::Rows(rows.to_vec().into());
        check(&[], &[]);
        check(&[19, 10, 11], &[(1, Selection::Range(0, 3))]);
        check(
            &[5, 6, -1, -10],
            &[(0, Selection::Range(0, 2)), (-1, Selection::Range(2, 2))],
        );
        check(
            &[5, 15, 6, 16, 25],
            &[
                (0, rows(&[0, 2])),
                (1, rows(&[1, 3])),
                (2, Selection::Range(4, 1)),
            ],
        );
    }
}
