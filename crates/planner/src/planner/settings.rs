//! `SET name = value`: what holds for the statements behind it.

use std::time::Duration;

use datafusion::common::DFSchema;
use datafusion::logical_expr::Expr as Bound;
use datafusion::sql::sqlparser::ast::{Expr, Interval, Set, Spanned, Value};
use headwater_connector::Location;
use headwater_connector::config::nearest;

use super::Planner;
use crate::error::PlanError;
use crate::parse::{Parsed, place};
use crate::stream::fixed_ns;

/// The settings, and their values if nothing is said.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// How long, in event time, a row or a group without a window is kept.
    pub(crate) updating_ttl: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            updating_ttl: Duration::from_secs(24 * 60 * 60),
        }
    }
}

const UPDATING_TTL: &str = "updating_ttl";

impl Planner {
    pub(super) fn set(&mut self, set: &Set, parsed: &Parsed) -> Result<(), PlanError> {
        let Set::SingleAssignment {
            variable, values, ..
        } = set
        else {
            return Err(usage("SET gives one setting a value", parsed.location));
        };
        let name = variable.to_string().to_lowercase();
        if name != UPDATING_TTL {
            let error = PlanError::new(format!("there is no setting '{name}'"));
            let hint = match nearest(&name, [UPDATING_TTL].into_iter()) {
                Some(near) => format!("did you mean '{near}'?"),
                None => format!("there is '{UPDATING_TTL}'"),
            };
            return Err(error.at(place(variable.span().start)).hint(hint));
        }
        let [value] = values.as_slice() else {
            return Err(usage("a setting has one value", parsed.location));
        };
        self.settings.updating_ttl = self.length(value, parsed)?;
        Ok(())
    }

    /// `'1 hour'` or `INTERVAL '1 hour'`.
    fn length(&self, value: &Expr, parsed: &Parsed) -> Result<Duration, PlanError> {
        let interval = match value {
            Expr::Value(text) if matches!(text.value, Value::SingleQuotedString(_)) => {
                Expr::Interval(Interval {
                    value: Box::new(value.clone()),
                    leading_field: None,
                    leading_precision: None,
                    last_field: None,
                    fractional_seconds_precision: None,
                })
            }
            other => other.clone(),
        };
        let at = place(value.span().start).unwrap_or(parsed.location);
        let bound = self.session()?.expression(interval, &DFSchema::empty());
        let nanos = match bound.map_err(|error| self.bind_error(&error, parsed))? {
            Bound::Literal(value, _) => {
                fixed_ns(&value).and_then(|nanos| u64::try_from(nanos).ok())
            }
            _ => None,
        };
        match nanos {
            Some(nanos) if nanos > 0 => Ok(Duration::from_nanos(nanos)),
            _ => Err(usage(
                "'updating_ttl' is a length of time that is fixed and longer than nothing",
                at,
            )),
        }
    }
}

fn usage(message: &str, at: Location) -> PlanError {
    PlanError::new(message)
        .at(at)
        .hint("write SET updating_ttl = '1 hour'")
}
