//! Signing up against a server that loses answers, is something else, or has a certificate of its own.

#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use sotto_peer_client::{Client, Error, Origin, Profile, SignUpError};
use sotto_protocol::Handle;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

/// What the server does with a sign-up.
#[derive(Clone, Copy)]
enum Sign {
    Accept,
    /// Takes it and hangs up before answering.
    Lose,
    Refuse,
}

/// A server's HTTP, as little as signing up needs.
struct FakeServer {
    origin: String,
    origins: Vec<String>,
    next: Sign,
    sign_ups: Vec<Value>,
}

type Shared = Arc<Mutex<FakeServer>>;

async fn listen(tls: Option<tokio_rustls::TlsAcceptor>) -> Shared {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let scheme = if tls.is_some() { "https" } else { "http" };
    let origin = format!("{scheme}://localhost:{}", listener.local_addr().unwrap().port());
    let origins = vec![origin.clone()];
    let server = FakeServer { origin, origins, next: Sign::Accept, sign_ups: Vec::new() };
    let server: Shared = Arc::new(Mutex::new(server));
    let shared = Arc::clone(&server);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (shared, tls) = (Arc::clone(&shared), tls.clone());
            tokio::spawn(async move {
                match tls {
                    None => answer(stream, &shared).await,
                    Some(tls) => {
                        if let Ok(stream) = tls.accept(stream).await {
                            answer(stream, &shared).await;
                        }
                    }
                }
            });
        }
    });
    server
}

async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, shared: &Shared) {
    let mut request = Vec::new();
    let (head, body) = loop {
        if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
            return;
        }
        let text = String::from_utf8_lossy(&request).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length =
            head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        if body.len() >= length.unwrap_or(0) {
            break (head.to_owned(), body.to_owned());
        }
    };
    let reply = shared.lock().unwrap().reply(&head, &body);
    let Some((status, body)) = reply else { return };
    let body = body.to_string();
    let text = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let _ = stream.write_all(text.as_bytes()).await;
    let _ = stream.shutdown().await;
}

impl FakeServer {
    fn reply(&mut self, head: &str, body: &str) -> Option<(u16, Value)> {
        if head.starts_with("GET /v1/server ") {
            return Some((
                200,
                json!({
                    "version": "0", "origins": self.origins, "sign_up": "open", "now": 0, "ice_servers": [],
                }),
            ));
        }
        assert!(head.starts_with("POST /v1/accounts "), "{head}");
        let body: Value = serde_json::from_str(body).unwrap();
        self.sign_ups.push(body.clone());
        match self.next {
            Sign::Accept => {
                Some((201, json!({ "account": body["account"], "handle": body["handle"], "profile": {} })))
            }
            Sign::Lose => None,
            Sign::Refuse => Some((
                409,
                json!({
                    "type": "urn:sotto:problem:handle-taken", "title": "Handle taken", "status": 409, "field": "handle",
                }),
            )),
        }
    }
}

fn alice() -> Handle {
    Handle::parse("alice").unwrap()
}

fn origin(server: &Shared) -> String {
    server.lock().unwrap().origin.clone()
}

#[tokio::test]
async fn a_sign_up_whose_answer_was_lost_goes_on_with_the_same_keys() {
    let folder = tempfile::tempdir().unwrap();
    let server = listen(None).await;
    let address = origin(&server);
    let client = Client::builder(folder.path());

    server.lock().unwrap().next = Sign::Lose;
    let error = client.sign_up(&address, alice(), None).await.unwrap_err();
    assert!(matches!(error, Error::SignUp(SignUpError::Unanswered(_))), "{error}");
    let bob = client.sign_up(&address, Handle::parse("bob").unwrap(), None).await.unwrap_err();
    assert!(matches!(bob, Error::SignUp(SignUpError::Pending { .. })), "{bob}");

    server.lock().unwrap().next = Sign::Accept;
    let identity = client.sign_up(&address, alice(), Some("invite".into())).await.unwrap();
    let sign_ups = server.lock().unwrap().sign_ups.clone();
    assert_eq!(sign_ups.len(), 2);
    assert_eq!(sign_ups[0]["device"], sign_ups[1]["device"], "the server sees the very same sign-up");
    assert_eq!(sign_ups[1]["account"], json!(identity.account));
    assert_eq!(sign_ups[1]["invite"], "invite");

    let kept = Profile::open(folder.path()).await.unwrap().identity().unwrap().unwrap();
    assert_eq!((kept.account, kept.device), (identity.account, identity.device));
    let again = client.sign_up(&address, alice(), None).await.unwrap_err();
    assert!(matches!(again, Error::SignUp(SignUpError::SignedUp { .. })), "{again}");
}

#[tokio::test]
async fn after_a_refusal_another_handle_may_be_tried() {
    let folder = tempfile::tempdir().unwrap();
    let server = listen(None).await;
    let client = Client::builder(folder.path());
    server.lock().unwrap().next = Sign::Refuse;
    let error = client.sign_up(&origin(&server), alice(), None).await.unwrap_err();
    assert!(error.to_string().contains("taken"), "{error}");
    server.lock().unwrap().next = Sign::Accept;
    client.sign_up(&origin(&server), Handle::parse("alice2").unwrap(), None).await.unwrap();
}

#[tokio::test]
async fn a_server_by_another_name_is_refused_before_anything_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let server = listen(None).await;
    server.lock().unwrap().origins = vec!["https://chat.example.org".into()];
    let mut profile = Profile::open(folder.path()).await.unwrap();
    let asked = Origin::parse(&origin(&server)).unwrap();
    let error = profile.sign_up(asked, alice(), None).await.unwrap_err();
    assert!(error.to_string().contains("https://chat.example.org"), "{error}");
    assert!(server.lock().unwrap().sign_ups.is_empty());
}

#[tokio::test]
async fn a_certificate_of_ones_own_is_trusted_only_when_given() {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let config =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], key)
            .unwrap();
    let server = listen(Some(tokio_rustls::TlsAcceptor::from(Arc::new(config)))).await;

    let folder = tempfile::tempdir().unwrap();
    let profile = folder.path().join("profile");
    let client = Client::builder(&profile);
    let error = client.sign_up(&origin(&server), alice(), None).await.unwrap_err();
    assert!(error.to_string().contains("--ca FILE"), "{error}");

    let file = folder.path().join("ca.pem");
    std::fs::write(&file, "not PEM").unwrap();
    let error = client.clone().trust(&file).sign_up(&origin(&server), alice(), None).await.unwrap_err();
    assert!(error.to_string().contains("expected PEM certificates"), "{error}");

    std::fs::write(&file, certified.cert.pem()).unwrap();
    client.clone().trust(&file).sign_up(&origin(&server), alice(), None).await.unwrap();
    assert!(profile.join("ca.pem").exists(), "kept, so that it is needed once");
}
