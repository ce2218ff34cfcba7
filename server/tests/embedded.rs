//! The server as a library: `run` with a listener and a future that ends it.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::time::Duration;

use sotto_server::config::{Config, Settings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

fn config(data_dir: &Path, more: &[(&str, &str)]) -> Config {
    let mut environment = vec![("SOTTO_DATA_DIR".to_owned(), data_dir.to_str().unwrap().to_owned())];
    environment.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    Config::parse(&Settings::collect(None, environment, Vec::new()).unwrap()).unwrap()
}

async fn answer(stream: &mut TcpStream, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut buffer = vec![0; 4096];
    let length = stream.read(&mut buffer).await.unwrap();
    String::from_utf8(buffer[..length].to_vec()).unwrap()
}

#[tokio::test]
async fn it_serves_until_it_is_told_to_stop_and_can_start_again_on_its_data() {
    let data = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let server = tokio::spawn(sotto_server::run(config(data.path(), &[]), listener, async {
            let _ = stopped.await;
        }));
        let mut stream = TcpStream::connect(address).await.unwrap();
        let said = answer(&mut stream, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(said.starts_with("HTTP/1.1 200"), "{said}");
        stop.send(()).unwrap();
        // An idle connection is closed, not waited for.
        assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
        server.await.unwrap().unwrap();
        assert!(TcpStream::connect(address).await.is_err());
    }
}

#[tokio::test]
async fn a_request_that_never_ends_does_not_keep_the_server_from_stopping() {
    let data = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let config = config(data.path(), &[("SOTTO_DRAIN_TIMEOUT", "50ms")]);
    let server = tokio::spawn(sotto_server::run(config, listener, async {
        let _ = stopped.await;
    }));
    let mut stream = TcpStream::connect(address).await.unwrap();
    answer(&mut stream, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let half = "POST /v1/challenges HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{";
    stream.write_all(half.as_bytes()).await.unwrap();
    stop.send(()).unwrap();
    tokio::time::timeout(Duration::from_secs(60), server).await.expect("it hangs").unwrap().unwrap();
}
