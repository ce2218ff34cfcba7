//! The routes together, and what every answer and request passes: limits by address, CORS, security headers.

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::api::extract::Client;
use crate::api::{accounts, devices, server, sessions};
use crate::metrics::count;
use crate::problem::ApiError;
use crate::socket::session;
use crate::{Signaling, lock};

/// Nothing that the API answers is a page: a browser shall load, run and frame none of it.
const API_POLICY: &str = "default-src 'none'; frame-ancestors 'none'";

pub(crate) fn router(signaling: Signaling) -> Router {
    Router::new()
        .merge(server::router())
        .merge(accounts::router())
        .merge(sessions::router())
        .merge(devices::router())
        .route("/v1/signal", get(session::upgrade))
        .fallback(|| async { ApiError::NotFound })
        .method_not_allowed_fallback(|| async { ApiError::Method })
        // `ApiJson` counts for itself, and answers as a problem document.
        .layer(DefaultBodyLimit::disable())
        .layer(from_fn_with_state(signaling.clone(), limit_requests))
        .layer(from_fn_with_state(signaling.clone(), cors))
        .layer(axum::middleware::map_response(security_headers))
        .with_state(signaling)
}

async fn limit_requests(State(signaling): State<Signaling>, request: Request, next: Next) -> Response {
    let Client(address) = Client::of(request.extensions());
    let now = signaling.0.config.now();
    if let Err(wait) = lock(&signaling.0.request_limits).take(now, address) {
        count(&signaling.0.counters.rate_limited);
        return ApiError::RateLimited(wait).into_response();
    }
    next.run(request).await
}

/// Lets pages of configured origins read answers. Without credentials: tokens travel in a header that pages set.
async fn cors(State(signaling): State<Signaling>, request: Request, next: Next) -> Response {
    let allowed = allowed_origin(&signaling, request.headers());
    let preflight = request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = match (&allowed, preflight) {
        (Some(_), true) => StatusCode::NO_CONTENT.into_response(),
        (Some(_), false) | (None, _) => next.run(request).await,
    };
    let headers = response.headers_mut();
    headers.append(header::VARY, HeaderValue::from_static("origin"));
    let Some(origin) = allowed else { return response };
    let mut set = |name: HeaderName, value| headers.insert(name, HeaderValue::from_static(value));
    if preflight {
        set(header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, PUT, DELETE");
        set(header::ACCESS_CONTROL_ALLOW_HEADERS, "authorization, content-type");
        set(header::ACCESS_CONTROL_MAX_AGE, "7200");
    } else {
        set(header::ACCESS_CONTROL_EXPOSE_HEADERS, "retry-after");
    }
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    response
}

fn allowed_origin(signaling: &Signaling, headers: &HeaderMap) -> Option<HeaderValue> {
    let origin = headers.get(header::ORIGIN)?;
    let mut configured = signaling.0.config.cors_origins.iter();
    configured.any(|allowed| allowed.as_bytes() == origin.as_bytes()).then(|| origin.clone())
}

async fn security_headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    // The page under /docs has a policy of its own.
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static(API_POLICY));
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
