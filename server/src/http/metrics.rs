//! `/metrics`: counters and gauges as Prometheus reads them, for configured addresses only.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use ipnet::IpNet;
use sotto_relay::{Histogram, Relay};
use sotto_signaling::{ClientAddr, Signaling};

use super::client::{ThroughUnknownProxy, contains};
use super::connections::Counters;
use super::problem::problem;
use crate::tls::Certificates;

/// Prometheus wants seconds, and microseconds are counted.
const PER_SECOND: f64 = 1e6;

/// Everything that is measured.
pub struct Metrics {
    signaling: Signaling,
    relay: Relay,
    connections: Arc<Counters>,
    certificates: Option<Arc<Certificates>>,
    readers: Vec<IpNet>,
    /// Answers by first digit of their status, 1xx to 5xx.
    answers: [AtomicU64; 5],
    started: f64,
}

impl Metrics {
    /// Of these parts, readable from these networks.
    pub fn new(
        signaling: Signaling,
        relay: Relay,
        connections: Arc<Counters>,
        certificates: Option<Arc<Certificates>>,
        readers: Vec<IpNet>,
    ) -> Self {
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        Self { signaling, relay, connections, certificates, readers, answers: Default::default(), started }
    }

    /// Counts an answer.
    pub fn count(&self, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100).saturating_sub(1);
        if let Some(counter) = self.answers.get(class) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn expose(&self) -> String {
        let mut text = Exposition::default();
        text.family("sotto_build_info", "gauge", "The version that runs.");
        text.sample("sotto_build_info", &format!("version=\"{}\"", env!("CARGO_PKG_VERSION")), 1);
        text.family("sotto_start_time_seconds", "gauge", "When the process started, in seconds since 1970.");
        text.sample("sotto_start_time_seconds", "", self.started);

        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        text.gauge(
            "sotto_connections",
            "Connections open now, WebSockets included.",
            self.connections.open(),
        );
        text.counter("sotto_connections_total", "Connections accepted.", read(&self.connections.accepted));
        if let Some(certificates) = &self.certificates {
            text.counter(
                "sotto_tls_handshakes_failed_total",
                "TLS handshakes that failed.",
                read(&self.connections.handshakes_failed),
            );
            text.counter(
                "sotto_tls_reloads_failed_total",
                "Changed certificates or keys that could not be used.",
                certificates.failures(),
            );
        }
        text.family("sotto_http_answers_total", "counter", "HTTP answers by class of status.");
        for (class, counter) in self.answers.iter().enumerate() {
            let label = format!("class=\"{}xx\"", class + 1);
            text.sample("sotto_http_answers_total", &label, read(counter));
        }
        for (name, help, value) in self.signaling.metrics().iter() {
            text.part("signaling", name, help, value);
        }
        let relay = self.relay.metrics();
        for (name, help, value) in relay.iter() {
            text.part("relay", name, help, value);
        }
        text.histogram(
            "sotto_relay_batch_entries",
            "Entries of each committed batch.",
            1.0,
            &relay.batch_entries,
        );
        text.histogram(
            "sotto_relay_commit_seconds",
            "How long each batch took to be durable, in seconds.",
            PER_SECOND,
            &relay.commit_micros,
        );
        text.0
    }
}

/// The endpoint.
pub fn router(metrics: Arc<Metrics>) -> Router {
    Router::new().route("/metrics", get(metrics_page)).with_state(metrics)
}

async fn metrics_page(
    State(metrics): State<Arc<Metrics>>,
    client: Option<Extension<ClientAddr>>,
    unknown: Option<Extension<ThroughUnknownProxy>>,
) -> Response {
    let known = client.is_some_and(|Extension(ClientAddr(address))| contains(&metrics.readers, address));
    if !known || unknown.is_some() {
        return problem(
            StatusCode::FORBIDDEN,
            "forbidden",
            "metrics are for the addresses in metrics_from only; through a proxy, it must be in trusted_proxies",
        );
    }
    let content_type = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (content_type, metrics.expose()).into_response()
}

/// Prometheus's text format, version 0.0.4.
#[derive(Default)]
struct Exposition(String);

impl Exposition {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &str, value: impl std::fmt::Display) {
        let _ = match labels {
            "" => writeln!(self.0, "{name} {value}"),
            labels => writeln!(self.0, "{name}{{{labels}}} {value}"),
        };
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl std::fmt::Display) {
        self.family(name, "gauge", help);
        self.sample(name, "", value);
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.family(name, "counter", help);
        self.sample(name, "", value);
    }

    /// A number that a library counts. Only `sockets` can go down.
    fn part(&mut self, library: &str, name: &str, help: &str, value: u64) {
        match name {
            "sockets" => self.gauge(&format!("sotto_{library}_sockets"), help, value),
            name => self.counter(&format!("sotto_{library}_{name}_total"), help, value),
        }
    }

    /// `per_unit` of what the histogram counts are one of what is shown.
    fn histogram(&mut self, name: &str, help: &str, per_unit: f64, histogram: &Histogram) {
        self.family(name, "histogram", help);
        let mut count = 0;
        for (bound, total) in histogram.cumulative() {
            let bound = bound.map_or("+Inf".to_owned(), |bound| (bound as f64 / per_unit).to_string());
            self.sample(&format!("{name}_bucket"), &format!("le=\"{bound}\""), total);
            count = total;
        }
        self.sample(&format!("{name}_sum"), "", histogram.sum() as f64 / per_unit);
        self.sample(&format!("{name}_count"), "", count);
    }
}
