//! What the server says of itself: its settings, its API as a document, and as a page.

use std::sync::LazyLock;

use axum::http::{HeaderValue, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router, extract::State};
use sotto_protocol::rest::ServerInfo;

use super::docs_page;
use super::openapi;
use crate::Signaling;

pub(crate) fn router() -> Router<Signaling> {
    Router::new()
        .route("/v1/server", get(server))
        .route("/v1/openapi.json", get(openapi_json))
        .route("/docs", get(docs))
}

#[utoipa::path(
    get,
    path = "/v1/server",
    tag = "Server",
    summary = "What to know before signing up",
    responses((status = 200, description = "The server", body = ServerInfo))
)]
pub(crate) async fn server(State(signaling): State<Signaling>) -> Json<ServerInfo> {
    let config = &signaling.0.config;
    Json(ServerInfo {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        origins: config.origins.clone(),
        sign_up: config.sign_up,
        now: config.now(),
        ice_servers: config.ice_servers.clone(),
    })
}

async fn openapi_json() -> Response {
    static DOCUMENT: LazyLock<String> = LazyLock::new(openapi::json);
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT.as_str()).into_response()
}

async fn docs() -> Response {
    static PAGE: LazyLock<(String, String)> = LazyLock::new(docs_page::render);
    let (html, policy) = &*PAGE;
    let mut response = Html(html.as_str()).into_response();
    if let Ok(policy) = HeaderValue::from_str(policy) {
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}
