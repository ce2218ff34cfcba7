use std::path::Path;

use serde_json::json;
use sotto_protocol::limits::MAX_REST_BODY;
use sotto_signaling::{Config, Rate, RateLimits, Signaling};

use crate::harness::{ORIGIN, Server, config};
use crate::people::Person;

const JSON: &str = "content-type: application/json\r\n";

#[tokio::test]
async fn malformed_bodies_name_what_is_wrong() {
    let server = Server::start().await;
    let alice = Person::new("alice").sign_up_body();
    let with = |field: &str, value: serde_json::Value| {
        let mut body = alice.clone();
        body[field] = value;
        body
    };
    let mut nested = alice.clone();
    nested["device"]["signature"] = json!("short");
    let mut missing = alice.clone();
    missing.as_object_mut().unwrap().remove("account");
    for (body, field) in [
        (with("account", json!("xyz")), "account"),
        (with("account", json!(7)), "account"),
        (with("handle", json!(null)), "handle"),
        (with("surprise", json!(1)), "surprise"),
        (with("device", json!([])), "device"),
        (nested, "device.signature"),
        (missing, "account"),
        (json!("a text"), "body"),
    ] {
        server.post("/v1/accounts", &body).await.assert_problem(422, "invalid-field", Some(field));
    }
    for body in ["", "{", "{} {}", "\u{0}", "{\"handle\":\"a"] {
        let answer = server.raw("POST", "/v1/challenges", JSON, body.as_bytes()).await;
        assert!([400, 422].contains(&answer.status), "{body}: {answer:?}");
    }
    let deep = "[".repeat(10_000);
    let answer = server.raw("POST", "/v1/challenges", JSON, deep.as_bytes()).await;
    assert!([400, 422].contains(&answer.status), "{answer:?}");
    let cut = server.raw("POST", "/v1/challenges", JSON, b"{\"device\":\"0").await;
    cut.assert_problem(400, "malformed-json", None);
    let twice =
        br#"{"device":"00000000000000000000000000000000","device":"00000000000000000000000000000000"}"#;
    let answer = server.raw("POST", "/v1/challenges", JSON, twice).await;
    answer.assert_problem(422, "invalid-field", Some("device"));
    let broken_text = server.raw("POST", "/v1/challenges", JSON, b"{\"device\":\"\xff\"}").await;
    assert!(broken_text.status < 500);
}

#[tokio::test]
async fn oversized_bodies_and_other_types_are_refused() {
    let server = Server::start().await;
    let long = format!("{{\"handle\":\"{}\"}}", "a".repeat(MAX_REST_BODY));
    server.raw("POST", "/v1/accounts", JSON, long.as_bytes()).await.assert_problem(413, "too-large", None);
    for content_type in
        ["", "content-type: text/plain\r\n", "content-type: application/x-www-form-urlencoded\r\n"]
    {
        let answer = server.raw("POST", "/v1/accounts", content_type, b"{}").await;
        answer.assert_problem(415, "unsupported-media-type", None);
    }
}

#[tokio::test]
async fn wrong_addresses_and_methods_are_problem_documents_too() {
    let server = Server::start().await;
    for path in ["/", "/v1", "/v1/nothing", "/v2/server", "/v1/accounts/x/y/z", "/%ff", "/v1/../etc/passwd"] {
        server.get(path, None).await.assert_problem(404, "not-found", None);
    }
    let answer = server.raw("PATCH", "/v1/accounts", "", b"").await;
    answer.assert_problem(405, "method-not-allowed", None);
    assert_eq!(answer.header("allow"), Some("POST"));
}

#[tokio::test]
async fn requests_beyond_the_rate_say_when_to_come_back() {
    let requests = Rate { burst: 2, per_second: 0.1 };
    let limits = RateLimits { requests, ..config().limits };
    let server = Server::with(Config { limits, ..config() }).await;
    for _ in 0..2 {
        assert_eq!(server.get("/v1/server", None).await.status, 200);
    }
    let refused = server.get("/v1/server", None).await;
    refused.assert_problem(429, "rate-limited", None);
    let seconds: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=10).contains(&seconds));
    server.advance(std::time::Duration::from_secs(seconds));
    assert_eq!(server.get("/v1/server", None).await.status, 200);
}

#[tokio::test]
async fn sign_ups_and_writes_have_limits_of_their_own() {
    let one = Rate { burst: 1, per_second: 0.001 };
    let limits = RateLimits { sign_ups: one, writes: one, ..config().limits };
    let server = Server::with(Config { limits, ..config() }).await;
    let alice = Person::join(&server, "alice").await;
    Person::new("bob").sign_up(&server).await.assert_problem(429, "rate-limited", None);
    let token = alice.token(&server).await;
    let put = async || server.request("PUT", "/v1/profile", Some(&token), Some("{}".into())).await;
    assert_eq!(put().await.status, 200);
    put().await.assert_problem(429, "rate-limited", None);
}

#[tokio::test]
async fn only_configured_origins_may_read_answers() {
    let server =
        Server::with(Config { cors_origins: vec!["https://embedder.example".into()], ..config() }).await;
    let ask = async |method: &str, origin: &str| {
        let headers = format!("origin: {origin}\r\naccess-control-request-method: POST\r\n");
        server.raw(method, "/v1/server", &headers, b"").await
    };
    let preflight = ask("OPTIONS", "https://embedder.example").await;
    assert_eq!(preflight.status, 204);
    assert_eq!(preflight.header("access-control-allow-origin"), Some("https://embedder.example"));
    assert_eq!(preflight.header("access-control-allow-credentials"), None);
    let allowed = ask("GET", "https://embedder.example").await;
    assert_eq!(allowed.header("access-control-allow-origin"), Some("https://embedder.example"));
    for origin in ["https://evil.example", "null", "https://embedder.example.evil.example", ORIGIN] {
        let answer = ask("GET", origin).await;
        assert_eq!(answer.header("access-control-allow-origin"), None, "{origin}");
        assert_eq!(answer.header("vary"), Some("origin"));
        assert_eq!(ask("OPTIONS", origin).await.header("access-control-allow-origin"), None);
    }
}

#[tokio::test]
async fn every_answer_carries_the_security_headers() {
    let server = Server::start().await;
    for path in ["/v1/server", "/v1/nothing", "/docs", "/v1/openapi.json"] {
        let answer = server.get(path, None).await;
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{path}");
        }
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'"), "{path}: {policy}");
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
    }
}

#[tokio::test]
async fn the_server_says_what_to_know_before_signing_up() {
    let server = Server::start().await;
    let info = server.get("/v1/server", None).await.json();
    assert_eq!((&info["origins"], &info["sign_up"]), (&json!([ORIGIN]), &json!("open")));
    assert!(info["now"].is_u64());
}

#[tokio::test]
async fn the_page_for_people_loads_nothing_from_elsewhere() {
    let server = Server::start().await;
    let page = server.get("/docs", None).await;
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    for loads in ["<script", "src=", "<link", "url(", "@import", "http://", "style="] {
        assert!(!page.body.contains(loads), "{loads}");
    }
    for shown in ["/v1/accounts/{account}/devices", "/v1/signal", "SignUp", "prefers-color-scheme: dark"] {
        assert!(page.body.contains(shown), "{shown}");
    }
    let anchors = page.body.split("href=\"#").skip(1).map(|rest| rest.split('"').next().unwrap());
    for anchor in anchors {
        assert!(page.body.contains(&format!("id=\"{anchor}\"")), "#{anchor} leads nowhere");
    }
}

/// `SOTTO_UPDATE=1 cargo nextest run -p sotto-signaling openapi` writes it anew.
#[tokio::test]
async fn the_committed_openapi_document_is_current() {
    let server = Server::start().await;
    let served = server.get("/v1/openapi.json", None).await;
    assert_eq!(served.body, Signaling::openapi());
    assert!(served.json()["openapi"].as_str().unwrap().starts_with("3.1"));
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/openapi.json");
    if std::env::var_os("SOTTO_UPDATE").is_some() {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, Signaling::openapi()).unwrap();
    }
    let committed = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        committed == Signaling::openapi(),
        "docs/openapi.json is not current: run this with SOTTO_UPDATE=1"
    );
}
