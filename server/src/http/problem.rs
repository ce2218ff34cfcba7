//! Problem documents (RFC 9457) of the server's own endpoints.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use sotto_protocol::rest::{PROBLEM_PREFIX, Problem};

/// An error as the body that every error of this server has.
pub fn problem(status: StatusCode, kind: &str, detail: impl Into<String>) -> Response {
    let body = Problem {
        kind: format!("{PROBLEM_PREFIX}{kind}"),
        title: status.canonical_reason().unwrap_or("Error").to_owned(),
        status: status.as_u16(),
        detail: Some(detail.into()),
        field: None,
        retry_after_ms: None,
    };
    let mut response = (status, Json(body)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
