//! What holds for every request: it ends in time, it is counted, and its answer is nothing that a browser runs or frames.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;

use super::metrics::Metrics;
use super::problem::problem;

/// A body that trickles in for longer is hostile; an upgrade to a WebSocket counts as answered.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Where a part does not say it itself (signaling's pages have a policy of their own).
const HARMLESS: [(HeaderName, HeaderValue); 4] = [
    (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'")),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
];

/// Counts answers by class, and ends requests that take too long.
pub async fn observe(State(metrics): State<Arc<Metrics>>, request: Request, next: Next) -> Response {
    let mut response = match tokio::time::timeout(ANSWER_WITHIN, next.run(request)).await {
        Ok(response) => response,
        Err(_) => problem(
            StatusCode::REQUEST_TIMEOUT,
            "timeout",
            "the request was not complete, or not answered, within 30 seconds: try again",
        ),
    };
    metrics.count(response.status());
    for (name, value) in HARMLESS {
        response.headers_mut().entry(name).or_insert(value);
    }
    response
}
