//! `/healthz`: the process answers. `/readyz`: what it is asked to keep, it can keep, and it is not about to leave.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use sotto_signaling::Signaling;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::problem::problem;
use crate::data_dir;

/// A verdict on the disk holds this long, so that asking often does not write often.
const VERDICT: Duration = Duration::from_secs(1);

/// What readiness depends on.
pub struct Health {
    data_dir: PathBuf,
    signaling: Signaling,
    draining: AtomicBool,
    disk: Mutex<Option<(Instant, Result<(), String>)>>,
}

impl Health {
    /// Of a server that keeps its data there.
    pub fn new(data_dir: PathBuf, signaling: Signaling) -> Arc<Self> {
        Arc::new(Self { data_dir, signaling, draining: AtomicBool::new(false), disk: Mutex::new(None) })
    }

    /// From now on the server is not ready: it is leaving.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Why work should not be sent here now.
    pub async fn check(&self) -> Result<(), String> {
        if self.draining.load(Ordering::Relaxed) {
            return Err("the server is draining: it is about to stop".to_owned());
        }
        let mut disk = self.disk.lock().await;
        if let Some((when, verdict)) = disk.as_ref()
            && when.elapsed() < VERDICT
        {
            return verdict.clone();
        }
        let verdict = self.try_storage().await;
        *disk = Some((Instant::now(), verdict.clone()));
        verdict
    }

    /// The folder is tried besides a database, which may still have room inside its file.
    async fn try_storage(&self) -> Result<(), String> {
        let path = self.data_dir.clone();
        let folder = match tokio::task::spawn_blocking(move || data_dir::probe(&path)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(format!("the data folder cannot be written: {error}")),
            Err(_) => Err("the data folder could not be tried".to_owned()),
        };
        folder?;
        self.signaling
            .check_storage()
            .await
            .map_err(|error| format!("the database cannot be written: {error}"))
    }
}

/// The two endpoints.
pub fn router(health: Arc<Health>) -> Router {
    Router::new().route("/healthz", get(|| async { "ok\n" })).route("/readyz", get(ready)).with_state(health)
}

async fn ready(State(health): State<Arc<Health>>) -> Response {
    match health.check().await {
        Ok(()) => "ready\n".into_response(),
        Err(why) => problem(StatusCode::SERVICE_UNAVAILABLE, "not-ready", why),
    }
}
