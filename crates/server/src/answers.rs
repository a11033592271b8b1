//! The answers of lists, for as long as nothing that is kept has changed.
//!
//! Lists are asked for again and again, by consoles and by monitoring, and change seldom. To open what is sealed, and to read and write the
//! JSON of hundreds of pipelines each time, would take cores from the pipelines.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::app::App;
use crate::openapi::Handler;
use crate::problem::Problem;

/// How many answers are remembered.
const ANSWERS_MAX: usize = 64;
/// The longest answer that is.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// Answers by what was asked for, each with the version of the store that it is true of.
#[derive(Default)]
pub(crate) struct Answers(Mutex<HashMap<String, (u64, Bytes)>>);

impl Answers {
    fn get(&self, asked: &str, version: u64) -> Option<Bytes> {
        let answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (true_of, answer) = answers.get(asked)?;
        (*true_of == version).then(|| answer.clone())
    }

    fn insert(&self, asked: String, version: u64, answer: Bytes) {
        if answer.len() > ANSWER_BYTES_MAX {
            return;
        }
        let mut answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.len() >= ANSWERS_MAX {
            answers.clear();
        }
        answers.insert(asked, (version, answer));
    }
}

/// Answers with what was answered last, if nothing has changed since.
pub(crate) async fn remembered(app: App, request: Request, handler: Arc<Handler>) -> Response {
    let asked = request.uri().to_string();
    // looked at before the store is: an answer is never taken for truer than it is
    let version = app.store.version();
    if let Some(answer) = app.answers.get(&asked, version) {
        return ([(header::CONTENT_TYPE, "application/json")], answer).into_response();
    }
    let (parts, body) = handler(app.clone(), request).await.into_parts();
    match to_bytes(body, usize::MAX).await {
        Ok(answer) => {
            if parts.status == StatusCode::OK {
                app.answers.insert(asked, version, answer.clone());
            }
            Response::from_parts(parts, Body::from(answer))
        }
        Err(error) => Problem::internal(error).into_response(),
    }
}
