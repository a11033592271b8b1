//! What a client is told when a request cannot be answered: a status, and `{"error": "…"}`.
//!
//! The message says what is wrong with the request. What is wrong with the server is logged and not told.

use std::fmt;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use headwater_engine::PlanError;
use headwater_engine::connector::ConfigError;
use schemars::JsonSchema;
use serde::Serialize;

use crate::store::StoreError;

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    status: StatusCode,
    message: String,
}

/// The body of every answer that is no success.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ErrorResp {
    /// What is wrong, and what to do about it.
    pub(crate) error: String,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
        }
    }

    /// The request is at fault.
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// `what` does not exist (any more).
    pub(crate) fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("no {what} has this id"))
    }

    /// The request does not go with what is there.
    pub(crate) fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, message)
    }

    /// The server is at fault.
    pub(crate) fn internal(cause: impl std::fmt::Display) -> Self {
        tracing::error!("a request failed: {cause}");
        let message = "the server failed on this request; its log says why";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = ErrorResp {
            error: self.message,
        };
        (self.status, Json(&body)).into_response()
    }
}

/// A body of JSON.
pub(crate) struct Json<'a, T>(pub(crate) &'a T);

impl<T: Serialize> IntoResponse for Json<'_, T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(self.0) {
            Ok(body) => ([(header::CONTENT_TYPE, "application/json")], body).into_response(),
            Err(error) => {
                tracing::error!("an answer cannot be written as JSON: {error}");
                StatusCode::INTERNAL_SERVER_ERROR.into_response()
            }
        }
    }
}

impl From<ConfigError> for Problem {
    fn from(error: ConfigError) -> Self {
        Self::bad_request(error.to_string())
    }
}

impl From<PlanError> for Problem {
    fn from(error: PlanError) -> Self {
        let problems = crate::types::Diagnostic::all(&error);
        let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
        Self::bad_request(lines.join("\n"))
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Missing(what) => Self::not_found(what),
            StoreError::Taken(message) | StoreError::InUse(message) => Self::conflict(message),
            error => Self::internal(format!("{:#}", anyhow::Error::from(error))),
        }
    }
}
