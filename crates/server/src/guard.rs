//! Who may ask, and how often.
//!
//! A token, if there is one, must come with every request but those for `/health` and `/ready`, which tell nothing.
//! Without one the server listens to its own machine only, where a page in somebody's browser could still reach it under
//! a name that it points there; so the name that is asked for must be that of this machine. The rate is bounded for all clients together, so that no client keeps the machine from its pipelines.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use ring::digest::{SHA256, digest};

use crate::app::App;
use crate::problem::Problem;

/// Paths that anybody may ask for.
const OPEN: [&str; 2] = ["/health", "/ready"];

/// Looks at requests.
pub(crate) struct Guard {
    /// The digest of the token, so that comparing tells nothing about the token by the time it takes.
    token: Option<Vec<u8>>,
    /// Whether nothing but the name of the machine keeps strangers out.
    local: bool,
    bucket: Mutex<Bucket>,
}

/// What may be asked now: fills at a rate, up to what a second brings.
struct Bucket {
    per_second: f64,
    left: f64,
    filled: Instant,
}

impl Guard {
    pub(crate) fn new(token: Option<&str>, mutual_tls: bool, requests_per_second: u32) -> Self {
        Self {
            local: token.is_none() && !mutual_tls,
            token: token.map(|token| digest(&SHA256, token.as_bytes()).as_ref().to_vec()),
            bucket: Mutex::new(Bucket {
                per_second: f64::from(requests_per_second),
                left: f64::from(requests_per_second),
                filled: Instant::now(),
            }),
        }
    }

    fn check(&self, request: &Request) -> Result<(), Problem> {
        if !OPEN.contains(&request.uri().path()) {
            self.check_token(request)?;
        }
        if self.local && !is_local(request) {
            let message = "this server is reached by 127.0.0.1 or localhost only";
            return Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, message));
        }
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        if bucket.take(Instant::now()) {
            return Ok(());
        }
        let message = "too many requests; try again in a second";
        Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, message))
    }

    fn check_token(&self, request: &Request) -> Result<(), Problem> {
        let Some(expected) = &self.token else {
            return Ok(());
        };
        let message = match bearer(request) {
            Some(token) if digest(&SHA256, token.as_bytes()).as_ref() == expected => return Ok(()),
            Some(_) => "the token is not that of this server",
            None => "a token is needed: send the header Authorization: Bearer <token>",
        };
        Err(Problem::new(StatusCode::UNAUTHORIZED, message))
    }
}

/// The token that a request brings.
fn bearer(request: &Request) -> Option<&str> {
    let given = request.headers().get(header::AUTHORIZATION)?;
    let (scheme, token) = given.to_str().ok()?.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("Bearer")
        .then_some(token.trim())
}

/// Whether a request is for this machine by a name that nobody else can point here.
fn is_local(request: &Request) -> bool {
    let host = request
        .headers()
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let authority = host.and_then(|host| host.parse::<Authority>().ok());
    authority.is_some_and(|authority| {
        let host = authority.host().trim_matches(['[', ']']);
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    })
}

impl Bucket {
    fn take(&mut self, now: Instant) -> bool {
        let seconds = now.duration_since(self.filled).as_secs_f64();
        self.left = (self.left + seconds * self.per_second).min(self.per_second);
        self.filled = now;
        let enough = self.left >= 1.0;
        if enough {
            self.left -= 1.0;
        }
        enough
    }
}

/// Lets a request pass, or answers it.
pub(crate) async fn guard(State(app): State<App>, request: Request, next: Next) -> Response {
    match app.guard.check(&request) {
        Ok(()) => next.run(request).await,
        Err(problem) => {
            let mut response = problem.into_response();
            if response.status() == StatusCode::UNAUTHORIZED {
                let scheme = header::HeaderValue::from_static("Bearer");
                response
                    .headers_mut()
                    .insert(header::WWW_AUTHENTICATE, scheme);
            }
            response
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_bucket_holds_what_a_second_brings() {
        let begun = Instant::now();
        let mut bucket = Bucket {
            per_second: 2.0,
            left: 2.0,
            filled: begun,
        };
        let mut taken = |millis| bucket.take(begun + Duration::from_millis(millis));
        let outcomes: Vec<_> = [0, 0, 0, 500, 500, 10_000, 10_000, 10_000]
            .map(&mut taken)
            .into();
        assert_eq!(
            outcomes,
            [true, true, false, true, false, true, true, false]
        );
    }
}
