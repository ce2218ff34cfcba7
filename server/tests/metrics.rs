//! What `/metrics` shows, read as Prometheus reads it.

#![allow(clippy::unwrap_used)]

mod process;

use std::collections::{BTreeMap, BTreeSet};

use futures::{SinkExt, StreamExt};
use process::person::Person;
use process::sockets::{on_sockets, relay_socket};
use process::{Running, eventually, serve};
use sotto_protocol::cbor;
use sotto_protocol::relay::Event;
use tokio_tungstenite::tungstenite::Message;

/// A family: its kind, and its samples by name and labels.
#[derive(Debug, Default)]
struct Family {
    kind: String,
    samples: Vec<(String, Option<String>, f64)>,
}

impl Family {
    fn value(&self, name: &str) -> f64 {
        self.samples.iter().find(|(known, _, _)| known == name).unwrap().2
    }
}

/// Reads the text format, version 0.0.4, strictly: each family once, its HELP and TYPE first, then its samples.
fn parse(page: &str) -> BTreeMap<String, Family> {
    assert!(page.ends_with('\n'), "the last line must end");
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut current = String::new();
    let mut helped = String::new();
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(!families.contains_key(name), "{name} comes twice");
            assert!(help.len() > 10 && help.ends_with('.') && help.trim() == help, "{line}");
            helped = name.to_owned();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert_eq!(name, helped, "its HELP comes first");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            families.insert(name.to_owned(), Family { kind: kind.to_owned(), samples: Vec::new() });
            current = name.to_owned();
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = match series.split_once('{') {
                Some((name, labels)) => (name, Some(labels.strip_suffix('}').unwrap().to_owned())),
                None => (series, None),
            };
            assert!(
                name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'),
                "{line}"
            );
            let family = families.get_mut(&current).unwrap();
            let of_family = match family.kind.as_str() {
                "histogram" => {
                    ["_bucket", "_sum", "_count"].iter().any(|end| name == format!("{current}{end}"))
                }
                _ => name == current,
            };
            assert!(of_family, "{line} does not belong to {current}");
            family.samples.push((name.to_owned(), labels, value.parse().unwrap()));
        }
    }
    families
}

fn read(server: &Running) -> BTreeMap<String, Family> {
    let page = server.get("/metrics", &[]);
    assert_eq!(page.status, 200);
    assert!(page.head.contains("text/plain; version=0.0.4"), "{page:?}");
    parse(&page.body)
}

#[test]
fn everything_that_is_measured_is_shown_by_the_conventions() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path(), &["--sign-up", "open"]);
    let alice = Person::new("alice");
    assert_eq!(alice.sign_up(&server, None).status, 201);
    let token = alice.token(&server);
    on_sockets(&server, &token, async |_signal, mut relay| {
        relay.send(Message::binary(cbor::encode(&alice.creates_a_group()))).await.unwrap();
        let is_committed = |events: &[Event]| events.iter().any(|e| matches!(e, Event::Committed { .. }));
        loop {
            let bytes = relay.next().await.unwrap().unwrap().into_data();
            if is_committed(&cbor::decode_sequence(&bytes, bytes.len()).unwrap()) {
                break;
            }
        }
        let mut bad = relay_socket(&server, &token).await;
        bad.send(Message::binary(vec![0xff])).await.unwrap();
        while bad.next().await.is_some_and(|message| message.is_ok()) {}
        eventually("one socket is left", || {
            read(&server)["sotto_relay_sockets"].value("sotto_relay_sockets") == 1.0
        });
    });
    let families = read(&server);
    for (name, family) in &families {
        assert!(name.starts_with("sotto_"), "{name}");
        assert_eq!(name.ends_with("_total"), family.kind == "counter", "{name} is a {}", family.kind);
        assert!(!family.samples.is_empty(), "{name} has no value");
        let series: BTreeSet<_> = family.samples.iter().map(|(name, labels, _)| (name, labels)).collect();
        assert_eq!(series.len(), family.samples.len(), "a series comes twice: {family:?}");
        if family.kind == "histogram" {
            check_histogram(name, family);
        }
    }
    let value = |name: &str| families[name].value(name);
    assert_eq!(value("sotto_signaling_sign_ups_total"), 1.0);
    assert_eq!(value("sotto_relay_batches_total"), 1.0);
    assert_eq!(value("sotto_relay_entries_total"), 1.0);
    assert_eq!(value("sotto_relay_malformed_total"), 1.0);
    let of = |family: &str, part: &str| families[family].value(&format!("{family}_{part}"));
    assert_eq!(of("sotto_relay_batch_entries", "count"), 1.0);
    assert_eq!(of("sotto_relay_batch_entries", "sum"), 1.0);
    assert_eq!(of("sotto_relay_commit_seconds", "count"), 1.0);
    let took = of("sotto_relay_commit_seconds", "sum");
    assert!(took > 0.0 && took < 60.0, "{took} s");

    let documented = include_str!("../../docs/metrics.md");
    for (name, family) in &families {
        let row = format!("| `{name}` | {} |", family.kind);
        assert!(documented.contains(&row), "docs/metrics.md has no row {row}");
    }
    for name in documented.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()) {
        assert!(families.contains_key(name) || name.starts_with("sotto_tls_"), "{name} is documented only");
    }
}

fn check_histogram(name: &str, family: &Family) {
    let buckets: Vec<(f64, f64)> = family
        .samples
        .iter()
        .filter(|(part, _, _)| part.ends_with("_bucket"))
        .map(|(_, labels, total)| {
            let bound = labels.as_deref().unwrap().strip_prefix("le=\"").unwrap().strip_suffix('"').unwrap();
            (bound.parse().unwrap(), *total)
        })
        .collect();
    assert!(buckets.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1), "{buckets:?}");
    let (bound, total) = *buckets.last().unwrap();
    assert_eq!((bound, total), (f64::INFINITY, family.value(&format!("{name}_count"))));
}

#[test]
fn metrics_are_for_those_who_may_read_them() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path(), &[]);
    eventually("loopback may", || server.get("/metrics", &[]).status == 200);
    // Whoever came through a proxy that is not known could be anybody.
    let forwarded = server.get("/metrics", &[("X-Forwarded-For", "127.0.0.1")]);
    assert_eq!(forwarded.status, 403, "{forwarded:?}");
}

#[test]
fn a_trusted_proxy_says_who_reads_the_metrics() {
    let data = tempfile::tempdir().unwrap();
    let mut command = serve(data.path(), &[]);
    command.env("SOTTO_TRUSTED_PROXIES", "127.0.0.1");
    let server = Running::spawn(command);
    assert_eq!(server.get("/metrics", &[("X-Forwarded-For", "203.0.113.9")]).status, 403);
    assert_eq!(server.get("/metrics", &[("X-Forwarded-For", "127.0.0.1")]).status, 200);
}
