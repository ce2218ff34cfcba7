//! TLS by files: served, reloaded when they change, and kept when the change is no good.

#![allow(clippy::unwrap_used)]

mod process;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use process::{Running, eventually, fail, sotto_server};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// A self-signed certificate for this machine.
struct Issued {
    certificate: String,
    key: String,
    der: CertificateDer<'static>,
}

impl Issued {
    fn new() -> Self {
        let issued =
            rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        Self {
            certificate: issued.cert.pem(),
            key: issued.signing_key.serialize_pem(),
            der: issued.cert.der().clone(),
        }
    }

    fn write(&self, folder: &Path) -> [PathBuf; 2] {
        let [certificate, key] = files(folder);
        std::fs::write(&certificate, &self.certificate).unwrap();
        std::fs::write(&key, &self.key).unwrap();
        [certificate, key]
    }
}

fn files(folder: &Path) -> [PathBuf; 2] {
    [folder.join("certificate.pem"), folder.join("key.pem")]
}

fn start(folder: &Path) -> Running {
    let [certificate, key] = files(folder);
    let data = folder.join("data");
    let flags = ["--tls-certificate", certificate.to_str().unwrap(), "--tls-key", key.to_str().unwrap()];
    Running::start(&data, &flags)
}

/// Asks for `/healthz` and trusts only this certificate.
fn answers_with(server: &Running, issued: &Issued) -> bool {
    let mut roots = RootCertStore::empty();
    roots.add(issued.der.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = StreamOwned::new(client, TcpStream::connect(server.authority()).unwrap());
    let request = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    if stream.write_all(request.as_bytes()).is_err() {
        return false;
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.starts_with("HTTP/1.1 200")
}

#[test]
fn a_changed_certificate_is_used_and_a_broken_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let [first, second, third] = [Issued::new(), Issued::new(), Issued::new()];
    first.write(folder.path());
    let mut server = start(folder.path());
    assert!(server.url.starts_with("https://127.0.0.1:"), "{}", server.url);
    assert!(answers_with(&server, &first));
    assert!(!answers_with(&server, &second));

    second.write(folder.path());
    eventually("the new certificate is used", || answers_with(&server, &second));

    // Neither half a pair nor garbage nor a missing file takes the good one away.
    std::fs::write(&files(folder.path())[0], &third.certificate).unwrap();
    eventually("the mismatch is reported", || server.log().contains("does not belong to the certificate"));
    assert!(answers_with(&server, &second));
    std::fs::write(&files(folder.path())[0], "garbage").unwrap();
    eventually("the garbage is reported", || server.log().contains("holds no certificate in PEM"));
    assert!(answers_with(&server, &second));
    std::fs::remove_file(&files(folder.path())[1]).unwrap();
    eventually("the missing file is reported", || server.log().contains("cannot read tls.key"));
    assert!(answers_with(&server, &second));

    third.write(folder.path());
    eventually("the mended pair is used", || answers_with(&server, &third));
}

#[test]
fn plain_http_on_a_tls_port_harms_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let issued = Issued::new();
    issued.write(folder.path());
    let server = start(folder.path());
    let mut plain = TcpStream::connect(server.authority()).unwrap();
    plain.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"));
    assert!(answers_with(&server, &issued));
}

#[test]
fn a_certificate_that_cannot_be_used_stops_the_start_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let [certificate, key] = Issued::new().write(folder.path());
    let other = folder.path().join("other.pem");
    std::fs::write(&other, Issued::new().key).unwrap();
    let garbage = folder.path().join("garbage.pem");
    std::fs::write(&garbage, "garbage").unwrap();
    let missing = folder.path().join("missing.pem");
    let cases = [
        (&missing, &key, "cannot read tls.certificate"),
        (&certificate, &missing, "cannot read tls.key"),
        (&garbage, &key, "holds no certificate in PEM"),
        (&certificate, &garbage, "holds no private key in PEM"),
        (&certificate, &other, "does not belong to the certificate"),
    ];
    for (certificate, key, expected) in cases {
        let mut command = sotto_server(&["--listen", "127.0.0.1:0", "--data-dir"]);
        command
            .arg(folder.path().join("data"))
            .arg("--tls-certificate")
            .arg(certificate)
            .arg("--tls-key")
            .arg(key);
        let error = fail(command, 1);
        assert!(error.contains(expected), "{expected:?} is not in: {error}");
    }
}
