//! The web app, embedded at build time: a page, what it loads, and the headers that keep everything else out of it.

use std::collections::HashMap;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Response};
use rust_embed::{EmbeddedFile, RustEmbed};

use super::problem::problem;

/// Nothing inline, nothing from elsewhere, no HTML made from strings but Solid's templates. `'self'` covers the
/// WebSockets of the page's origin. A worker obeys what its own script is answered with, so every file has it.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' data: blob:; \
     connect-src 'self'; worker-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types solid-template sotto sotto-shell",
);
/// Beside what every answer of this server has (`requests`).
const HEADERS: [(HeaderName, HeaderValue); 4] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
    (
        HeaderName::from_static("permissions-policy"),
        HeaderValue::from_static(
            "accelerometer=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), magnetometer=(), \
             microphone=(), midi=(), payment=(), usb=()",
        ),
    ),
];
/// Their names have a hash of what is in them.
const HASHED: &str = "assets/";
const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
const ASK_FIRST: HeaderValue = HeaderValue::from_static("no-cache");
const PAGE: &str = "index.html";
const SERVICE_WORKER: &str = "sw.js";
/// Encodings and the endings of the files that have them, which `scripts/web` puts beside what they shorten; the
/// smaller one first.
const ENCODINGS: [(&str, &str); 2] = [("br", ".br"), ("gzip", ".gz")];
const NOT_BUILT: &str = include_str!("no_web_app.html");

#[derive(RustEmbed)]
#[folder = "../web/app/dist"]
#[allow_missing = true]
struct Dist;

/// The files of a built web app, or that there are none.
#[derive(Default)]
pub struct WebApp {
    files: HashMap<String, File>,
}

struct File {
    kind: &'static str,
    plain: Representation,
    /// As `ENCODINGS` are.
    encoded: [Option<Representation>; ENCODINGS.len()],
}

struct Representation {
    body: Bytes,
    tag: HeaderValue,
}

impl WebApp {
    /// What this program was built with.
    pub fn embedded() -> Self {
        Self::of(Dist::iter().filter_map(|path| {
            let EmbeddedFile { data, metadata, .. } = Dist::get(&path)?;
            let body = match data {
                std::borrow::Cow::Borrowed(bytes) => Bytes::from_static(bytes),
                std::borrow::Cow::Owned(bytes) => Bytes::from(bytes),
            };
            Some((path.into_owned(), body, metadata.sha256_hash()))
        }))
    }

    /// An app of these files: path, content, hash of the content.
    pub fn of(files: impl IntoIterator<Item = (String, Bytes, [u8; 32])>) -> Self {
        let mut all: HashMap<String, Representation> = files
            .into_iter()
            .map(|(path, body, hash)| (path, Representation { body, tag: tag(hash) }))
            .collect();
        let paths: Vec<String> = all.keys().cloned().collect();
        let mut encoded: HashMap<String, [Option<Representation>; ENCODINGS.len()]> = HashMap::new();
        for (place, (_, ending)) in ENCODINGS.iter().enumerate() {
            for path in &paths {
                if let Some(plain) =
                    path.strip_suffix(ending).filter(|plain| paths.iter().any(|p| p == plain))
                {
                    encoded.entry(plain.to_owned()).or_default()[place] = all.remove(path);
                }
            }
        }
        let files = all.into_iter().map(|(path, plain)| {
            let file = File { kind: kind(&path), plain, encoded: encoded.remove(&path).unwrap_or_default() };
            (path, file)
        });
        Self { files: files.collect() }
    }

    /// Whether there is a page.
    pub fn is_built(&self) -> bool {
        self.files.contains_key(PAGE)
    }

    /// The answer, if the address is the app's: the page, a file of it, or a place in it that a browser goes to.
    pub fn answer(&self, request: &Parts) -> Option<Response> {
        let path = request.uri.path().strip_prefix('/')?;
        let reads = matches!(request.method, Method::GET | Method::HEAD);
        let name = match path {
            "" => PAGE,
            path if self.files.contains_key(path) => path,
            path if reads && is_place(path) && is_page_load(&request.headers) => PAGE,
            _ => return None,
        };
        if !reads {
            let detail = "only GET and HEAD are answered here";
            return Some(problem(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", detail));
        }
        let Some(file) = self.files.get(name) else {
            let mut response = (StatusCode::NOT_FOUND, Html(NOT_BUILT)).into_response();
            response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            return Some(response);
        };
        let mut response = file.answer(request);
        let headers = response.headers_mut();
        headers.extend(HEADERS);
        let caching = if name.starts_with(HASHED) { FOR_EVER } else { ASK_FIRST };
        headers.insert(header::CACHE_CONTROL, caching);
        if name == SERVICE_WORKER {
            headers.insert("service-worker-allowed", HeaderValue::from_static("/"));
        }
        Some(response)
    }
}

impl File {
    fn answer(&self, request: &Parts) -> Response {
        let (representation, encoding) = self.best(&request.headers);
        let mut response = if is_known(&request.headers, &representation.tag) {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            // For HEAD, hyper keeps the length and drops the body.
            let mut response = Body::from(representation.body.clone()).into_response();
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.kind));
            if let Some(encoding) = encoding {
                headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
            }
            response
        };
        let headers = response.headers_mut();
        headers.insert(header::ETAG, representation.tag.clone());
        headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        response
    }

    fn best(&self, headers: &HeaderMap) -> (&Representation, Option<&'static str>) {
        let encoded = ENCODINGS.iter().zip(&self.encoded).find_map(|((encoding, _), representation)| {
            let representation = representation.as_ref()?;
            accepts(headers, encoding).then_some((representation, Some(*encoding)))
        });
        encoded.unwrap_or((&self.plain, None))
    }
}

/// Answers what is the app's; everything else goes on.
pub async fn serve(State(app): State<std::sync::Arc<WebApp>>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    match app.answer(&parts) {
        Some(response) => response,
        None => next.run(Request::from_parts(parts, body)).await,
    }
}

/// Whether an address can be a place in the app: none of the API's, and none of a file, which would be answered with a
/// page if it is gone.
fn is_place(path: &str) -> bool {
    let mut parts = path.split('/');
    let first = parts.clone().next().unwrap_or_default();
    !matches!(first, "v1" | "docs" | "assets") && parts.all(|part| !part.contains('.'))
}

/// Whether a browser wants to show the answer, and not a program to have it.
fn is_page_load(headers: &HeaderMap) -> bool {
    list(headers, header::ACCEPT).any(|(kind, _)| kind.eq_ignore_ascii_case("text/html"))
}

fn accepts(headers: &HeaderMap, encoding: &str) -> bool {
    list(headers, header::ACCEPT_ENCODING)
        .any(|(name, quality)| name.eq_ignore_ascii_case(encoding) && quality > 0.0)
}

/// Weak comparison, as RFC 9110 §13.1.2 wants it here.
fn is_known(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    list(headers, header::IF_NONE_MATCH).any(|(known, _)| {
        known == "*" || known.strip_prefix("W/").unwrap_or(known).as_bytes() == tag.as_bytes()
    })
}

/// The members of a header that is a list, each with its `q`.
fn list(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = (&str, f32)> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(|member| {
        let mut parts = member.split(';').map(str::trim);
        let value = parts.next().unwrap_or_default();
        let quality =
            parts.find_map(|part| part.strip_prefix("q=")).map_or(1.0, |q| q.parse().unwrap_or(0.0));
        (value, quality)
    })
}

fn tag(hash: [u8; 32]) -> HeaderValue {
    let digits: String = hash[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    // Digits and quotes are always a valid value.
    HeaderValue::try_from(format!("\"{digits}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

fn kind(path: &str) -> &'static str {
    match path.rsplit_once('.').map_or("", |(_, ending)| ending) {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "wasm" => "application/wasm",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "webp" => "image/webp",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}
