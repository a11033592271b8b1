//! Which columns of a stream are its event time: what rows before a row are in the order of, and how far they are.
//!
//! The time that is declared with a table, as long as it is passed on as it is. Behind windows, the window and its ends: a
//! row of a window has the window's last nanosecond, which is as far from the start in all windows of one width.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Cast, Expr, LogicalPlan};

use super::lower::Stream;
use super::node::{Kind, StreamNode};
use crate::names::quoted;
use crate::plan::Window;

impl Stream {
    /// The rows of a table, whose event time may be one of its columns.
    pub(super) fn of_table(plan: LogicalPlan) -> Self {
        let mut stream = Self::new(plan);
        if let Some(StreamNode {
            kind: Kind::EventTime(_),
            exprs,
            ..
        }) = StreamNode::of(&stream.plan)
        {
            let time = exprs.first().and_then(|time| match time {
                Expr::Cast(Cast { expr, .. }) => stream.column(expr),
                time => stream.column(time),
            });
            stream.times.extend(time);
        }
        stream
    }

    /// Whether an expression is the event time, or always as far from it.
    pub(super) fn is_time(&self, expr: &Expr) -> bool {
        let same_width = matches!(self.cut, Some(Window::Hop { .. }));
        match expr {
            Expr::Alias(alias) => self.is_time(&alias.expr),
            Expr::Column(_) => self.column(expr).is_some_and(|column| {
                self.times.contains(&column) || same_width && self.windows.contains(&column)
            }),
            Expr::ScalarFunction(call) if call.func.name() == "get_field" => {
                let [window, Expr::Literal(ScalarValue::Utf8(Some(field)), _)] =
                    call.args.as_slice()
                else {
                    return false;
                };
                self.is_window(window) && (field == "end" || same_width && field == "start")
            }
            _ => false,
        }
    }

    /// Which columns of a projection are the event time.
    pub(super) fn times_of(&self, exprs: &[Expr]) -> Vec<usize> {
        let exprs = exprs.iter().enumerate();
        let times = exprs.filter(|(_, expr)| self.is_time(expr) && !self.is_window(expr));
        times.map(|(index, _)| index).collect()
    }

    /// Which columns of a union of streams are the event time.
    pub(super) fn times_of_all(streams: &[Self]) -> Vec<usize> {
        let Some((first, others)) = streams.split_first() else {
            return Vec::new();
        };
        let times = first.times.iter().copied();
        let of_all = |time: &usize| {
            let same = |other: &Self| other.cut == first.cut && other.times.contains(time);
            others.iter().all(same)
        };
        times.filter(of_all).collect()
    }

    /// How the event time is written in this stream, if it can be.
    pub(super) fn written_time(&self) -> Option<String> {
        let name = |index: &usize| quoted(self.plan.schema().field(*index).name()).to_string();
        let window = || {
            self.windows
                .first()
                .map(|window| format!("{}.end", name(window)))
        };
        self.times.first().map(name).or_else(window)
    }
}
