//! What holds for every request: it ends in time, and it is counted.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::Response;

use super::metrics::Metrics;
use super::problem::problem;

/// A body that trickles in for longer is hostile; an upgrade to a WebSocket counts as answered.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Counts answers by class, and ends requests that take too long.
pub async fn observe(State(metrics): State<Arc<Metrics>>, request: Request, next: Next) -> Response {
    let response = match tokio::time::timeout(ANSWER_WITHIN, next.run(request)).await {
        Ok(response) => response,
        Err(_) => problem(
            StatusCode::REQUEST_TIMEOUT,
            "timeout",
            "the request was not complete, or not answered, within 30 seconds: try again",
        ),
    };
    metrics.count(response.status());
    response
}
