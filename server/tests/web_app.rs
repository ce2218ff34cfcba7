//! The web app as browsers get it: caching, encodings, and what its pages may do.

#![allow(clippy::unwrap_used)]

mod process;

use axum::body::{Body, Bytes};
use axum::http::request::Parts;
use axum::http::{Request, Response, StatusCode};
use process::{Answer, Running, eventually};
use sotto_server::http::web_app::WebApp;

const FILES: [(&str, &str); 9] = [
    ("index.html", "<!doctype html><title>Sotto</title>"),
    ("index.html.br", "the page, by brotli"),
    ("index.html.gz", "the page, by gzip"),
    ("assets/main-1a2b.js", "export {};"),
    ("assets/main-1a2b.js.gz", "the script, by gzip"),
    ("assets/core-3c4d.wasm", "\0asm"),
    ("sw.js", "self.skipWaiting();"),
    ("manifest.webmanifest", "{}"),
    ("icons/192.png", "PNG"),
];
const BROWSER: (&str, &str) = ("accept", "text/html,application/xhtml+xml,*/*;q=0.8");

fn app() -> WebApp {
    WebApp::of(FILES.iter().enumerate().map(|(number, (path, content))| {
        ((*path).to_owned(), Bytes::from_static(content.as_bytes()), [u8::try_from(number).unwrap(); 32])
    }))
}

fn ask(method: &str, path: &str, headers: &[(&str, &str)]) -> Parts {
    let request = Request::builder().method(method).uri(path);
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    request.body(()).unwrap().into_parts().0
}

fn get(path: &str, headers: &[(&str, &str)]) -> Response<Body> {
    app().answer(&ask("GET", path, headers)).unwrap_or_else(|| panic!("{path} is not the app's"))
}

fn text<'a>(answer: &'a Response<Body>, name: &str) -> &'a str {
    answer.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

#[test]
fn the_page_is_asked_for_again_each_time_and_hashed_files_never() {
    let page = get("/", &[]);
    assert_eq!(text(&page, "content-type"), "text/html; charset=utf-8");
    assert_eq!(text(&page, "cache-control"), "no-cache");
    assert!(text(&page, "etag").starts_with('"'));
    let script = get("/assets/main-1a2b.js", &[]);
    assert_eq!(text(&script, "cache-control"), "public, max-age=31536000, immutable");
    assert_eq!(text(&script, "content-type"), "text/javascript; charset=utf-8");
    assert_eq!(text(&get("/assets/core-3c4d.wasm", &[]), "content-type"), "application/wasm");
    assert_eq!(text(&get("/manifest.webmanifest", &[]), "content-type"), "application/manifest+json");
    assert_eq!(text(&get("/icons/192.png", &[]), "content-type"), "image/png");
    let worker = get("/sw.js", &[]);
    assert_eq!(text(&worker, "cache-control"), "no-cache");
    assert_eq!(text(&worker, "service-worker-allowed"), "/");
}

#[test]
fn a_page_that_has_not_changed_is_not_sent_again() {
    let page = get("/", &[]);
    let tag = text(&page, "etag").to_owned();
    for known in [tag.clone(), format!("W/{tag}"), format!("\"other\", {tag}"), "*".to_owned()] {
        let again = get("/", &[("if-none-match", &known)]);
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED, "{known}");
        assert_eq!(text(&again, "etag"), tag);
        assert_eq!(text(&again, "cache-control"), "no-cache");
    }
    assert_eq!(get("/", &[("if-none-match", "\"other\"")]).status(), StatusCode::OK);
    // The same page in another encoding is another representation.
    let encoded = get("/", &[("accept-encoding", "br"), ("if-none-match", &tag)]);
    assert_eq!(encoded.status(), StatusCode::OK);
}

#[test]
fn the_smallest_encoding_that_the_client_accepts_is_sent() {
    for (path, accepted, encoding) in [
        ("/", "gzip, deflate, br, zstd", "br"),
        ("/", "gzip", "gzip"),
        ("/", "br;q=0, gzip", "gzip"),
        ("/", "br;q=0.5, gzip;q=1.0", "br"),
        ("/", "zstd", ""),
        ("/assets/main-1a2b.js", "br, gzip", "gzip"),
        ("/icons/192.png", "br, gzip", ""),
    ] {
        let answer = get(path, &[("accept-encoding", accepted)]);
        assert_eq!(text(&answer, "content-encoding"), encoding, "{path} for {accepted}");
        assert_eq!(text(&answer, "vary"), "accept-encoding");
    }
    assert!(
        app().answer(&ask("GET", "/index.html.br", &[])).is_none(),
        "an encoding is not a file of its own"
    );
}

#[test]
fn places_in_the_app_are_answered_with_its_page_to_browsers_only() {
    for place in ["/c/01abababababababababababababababab", "/settings", "/c/", "/with/@alice"] {
        let page = get(place, &[BROWSER]);
        assert_eq!(text(&page, "content-type"), "text/html; charset=utf-8", "{place}");
        assert_eq!(text(&page, "cache-control"), "no-cache");
        assert!(app().answer(&ask("GET", place, &[("accept", "*/*")])).is_none(), "{place} for a program");
    }
    for other in
        ["/v1/nothing", "/v1", "/docs", "/docs/x", "/assets/gone-5e6f.js", "/assets/gone", "/gone.js"]
    {
        assert!(app().answer(&ask("GET", other, &[BROWSER])).is_none(), "{other}");
    }
}

#[test]
fn only_reading_is_answered() {
    let posted = app().answer(&ask("POST", "/", &[])).unwrap();
    assert_eq!(posted.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(text(&posted, "content-type"), "application/problem+json");
    assert!(app().answer(&ask("POST", "/settings", &[BROWSER])).is_none());
    let head = app().answer(&ask("HEAD", "/assets/main-1a2b.js", &[])).unwrap();
    assert_eq!(head.status(), StatusCode::OK);
}

#[test]
fn every_file_is_answered_with_the_strict_policy_workers_too() {
    for path in ["/", "/assets/main-1a2b.js", "/sw.js"] {
        let answer = get(path, &[]);
        let policy = text(&answer, "content-security-policy").to_owned();
        let directives: Vec<&str> = policy.split("; ").collect();
        for directive in [
            "default-src 'none'",
            "script-src 'self' 'wasm-unsafe-eval'",
            "style-src 'self'",
            "connect-src 'self'",
            "worker-src 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types solid-template sotto sotto-shell",
        ] {
            assert!(directives.contains(&directive), "{path}: no {directive} in {policy}");
        }
        assert!(!policy.contains("unsafe-inline") && !policy.contains("'unsafe-eval'"), "{policy}");
        assert_eq!(text(&answer, "cross-origin-opener-policy"), "same-origin");
        assert!(text(&answer, "permissions-policy").contains("camera=()"));
    }
}

#[test]
fn a_build_without_the_app_says_how_to_build_one() {
    let none = WebApp::default();
    assert!(!none.is_built());
    for path in ["/", "/settings"] {
        let page = none.answer(&ask("GET", path, &[BROWSER])).unwrap();
        assert_eq!(page.status(), StatusCode::NOT_FOUND);
        assert_eq!(text(&page, "content-type"), "text/html; charset=utf-8");
    }
    assert!(none.answer(&ask("GET", "/settings", &[])).is_none());
    assert!(none.answer(&ask("GET", "/v1/server", &[BROWSER])).is_none());
}

fn has(answer: &Answer, header: &str) {
    assert!(answer.head.contains(header), "no {header}: {answer:?}");
}

#[test]
fn the_program_serves_what_it_was_built_with() {
    let data = tempfile::tempdir().unwrap();
    let mut server = Running::start(data.path(), &[]);
    let page = server.get("/", &[BROWSER]);
    has(&page, "content-type: text/html");
    for header in ["x-content-type-options: nosniff", "referrer-policy: no-referrer", "x-frame-options: deny"]
    {
        has(&page, header);
    }
    if WebApp::embedded().is_built() {
        assert_eq!(page.status, 200);
        has(&page, "require-trusted-types-for 'script'");
        has(&page, "cache-control: no-cache");
        assert!(!page.body.contains("<script>") && !page.body.contains("<style>"), "inline code: {page:?}");
        let tag = page.head.split("etag: ").nth(1).unwrap().split("\r\n").next().unwrap().to_owned();
        let again = server.get("/", &[("If-None-Match", &tag)]);
        assert_eq!((again.status, again.body.as_str()), (304, ""));
        let head = server.head("/");
        assert_eq!((head.status, head.body.as_str()), (200, ""));
        has(&head, &format!("content-length: {}\r\n", page.body.len()));
        eventually("where to open it", || server.log().contains("open"));
    } else {
        assert_eq!(page.status, 404);
        assert!(page.body.contains("make build"), "{page:?}");
        has(&page, "default-src 'none'");
        eventually("that there is no app", || server.log().contains("no web app"));
    }
}

#[test]
fn the_api_beside_the_app_answers_as_ever() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path(), &[]);
    for path in ["/v1/nowhere", "/assets/nowhere.js"] {
        let unknown = server.get(path, &[BROWSER]);
        assert_eq!(unknown.status, 404, "{path}");
        has(&unknown, "application/problem+json");
        has(&unknown, "cache-control: no-store");
    }
    assert_eq!(server.get("/v1/server", &[BROWSER]).status, 200);
    assert_eq!(server.get("/docs", &[BROWSER]).status, 200);
    assert_eq!(server.get("/healthz", &[BROWSER]).body, "ok\n");
}
