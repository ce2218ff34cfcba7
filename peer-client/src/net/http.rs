//! One HTTP request to the server at a time, each over a connection of its own: there are few.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper::header;
use hyper_util::rt::TokioIo;
use sotto_peer_core::{HttpRequest, HttpResponse};

use super::{NetError, Server};

/// From sending a request to the last byte of its answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// Longest answer read: a device list of 512 entries in base64 fits twice.
const LONGEST_BODY: usize = 1024 * 1024;

impl Server {
    /// Sends a request and reads the answer.
    pub async fn request(&self, request: HttpRequest) -> Result<HttpResponse, NetError> {
        let stream = self.connect().await?;
        let exchange = tokio::time::timeout(PATIENCE, self.exchange(TokioIo::new(stream), request));
        exchange
            .await
            .unwrap_or_else(|_| Err(NetError::Request(format!("{} did not answer in time", self.origin()))))
    }

    async fn exchange(
        &self,
        stream: impl hyper::rt::Read + hyper::rt::Write + Unpin + Send,
        request: HttpRequest,
    ) -> Result<HttpResponse, NetError> {
        let failed = |error: hyper::Error| NetError::Request(format!("{}: {error}", self.origin()));
        let (mut sender, connection) = http1::handshake(stream).await.map_err(failed)?;
        let request = self.prepare(request).map_err(|error| NetError::Request(error.to_string()))?;
        let answer = async {
            let mut response = sender.send_request(request).await.map_err(failed)?;
            let status = response.status().as_u16();
            let mut body = Vec::new();
            while let Some(frame) = response.frame().await {
                let Ok(data) = frame.map_err(failed)?.into_data() else { continue };
                if body.len() + data.len() > LONGEST_BODY {
                    return Err(NetError::Request("the server's answer is longer than 1 MiB".into()));
                }
                body.extend_from_slice(&data);
            }
            Ok(HttpResponse { status, body })
        };
        tokio::pin!(answer, connection);
        tokio::select! {
            answer = &mut answer => answer,
            // The connection may end right after the last byte of an answer that is not read yet.
            _ = &mut connection => answer.await,
        }
    }

    fn prepare(&self, request: HttpRequest) -> Result<hyper::Request<Full<Bytes>>, hyper::http::Error> {
        let mut builder = hyper::Request::builder()
            .method(request.method)
            .uri(request.path)
            .header(header::HOST, self.origin().authority())
            .header(header::USER_AGENT, concat!("sotto/", env!("CARGO_PKG_VERSION")))
            .header(header::ACCEPT, "application/json");
        if let Some(token) = request.token {
            let mut value = header::HeaderValue::try_from(format!("Bearer {token}"))?;
            value.set_sensitive(true);
            builder = builder.header(header::AUTHORIZATION, value);
        }
        let body = match request.body {
            Some(body) => {
                builder = builder.header(header::CONTENT_TYPE, "application/json");
                Full::from(body)
            }
            None => Full::default(),
        };
        builder.body(body)
    }
}

impl Server {
    /// [`Server::request`] for the core.
    pub async fn fetch(&self, request: HttpRequest) -> Result<HttpResponse, String> {
        self.request(request).await.map_err(|error| error.to_string())
    }
}
