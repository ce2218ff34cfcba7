//! How a link's RTCPeerConnection is set up: timing, addresses, servers.

use std::sync::Arc;
use std::time::Duration;

use rtc::ice::mdns::MulticastDnsMode;
use tracing::debug;
use webrtc::error::Error;
use webrtc::peer_connection::{
    PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCConfigurationBuilder, RTCIceServer,
    SettingEngineBuilder,
};

use super::LinkOptions;
use super::addresses::LocalAddresses;
use super::channels::SEND_BUFFER;
use super::runtime::SottoRuntime;

/// Between connectivity checks. The crate's 200 ms makes a local link open in 0.8 s instead of 0.04 s.
const CHECK_INTERVAL: Duration = Duration::from_millis(20);

/// Checks of a candidate pair before it counts as failed: 3 s, for the peer starts only when its description has
/// come through signaling. The crate's 7 would be over before the first answer of a slow path.
const CHECKS: u16 = 150;

/// Without an answer for this long a path is `disconnected`.
const DISCONNECTED_AFTER: Duration = Duration::from_secs(2);

/// And after this much more, `failed`.
const FAILED_AFTER: Duration = Duration::from_secs(4);

/// Between the keep-alives that both are measured by.
const KEEP_ALIVE: Duration = Duration::from_millis(500);

/// How long a better path is given before one through a NAT, or through TURN, is taken: a chosen pair is never left
/// for a better one. The relay's log carries messages meanwhile, so patience costs little.
const REFLEXIVE_WAIT: Duration = Duration::from_millis(100);
const TURN_WAIT: Duration = Duration::from_secs(1);

/// A connection set up as a link's is, for whoever wants to drive one by hand: give it a handler, build it, make
/// channels with [`channel_options`](super::channel_options), and [`close`](PeerConnection::close) it in the end.
pub fn bare_builder(options: &LinkOptions) -> PeerConnectionBuilder<LocalAddresses> {
    let runtime = SottoRuntime::new(options.faults.clone());
    builder(options, &runtime, &[], MulticastDnsMode::Disabled)
}

pub(super) async fn build(
    options: &LinkOptions,
    runtime: &SottoRuntime,
    ice_servers: &[String],
    handler: Arc<dyn PeerConnectionEventHandler>,
) -> Result<Arc<dyn PeerConnection>, Error> {
    let attempt = |mdns| builder(options, runtime, ice_servers, mdns).with_handler(Arc::clone(&handler));
    // Browsers name their candidates by mDNS. Its socket is not to be had everywhere (no multicast route, a port
    // held exclusively), and links between native peers do not need it.
    match attempt(MulticastDnsMode::QueryOnly).build().await {
        Ok(connection) => Ok(Arc::new(connection)),
        Err(error) => {
            debug!(%error, "again without mDNS");
            Ok(Arc::new(attempt(MulticastDnsMode::Disabled).build().await?))
        }
    }
}

fn builder(
    options: &LinkOptions,
    runtime: &SottoRuntime,
    ice_servers: &[String],
    mdns: MulticastDnsMode,
) -> PeerConnectionBuilder<LocalAddresses> {
    let settings = SettingEngineBuilder::new()
        .with_ice_connection_attempts(Some(CHECK_INTERVAL), Some(CHECKS))
        .with_ice_timeouts(Some(DISCONNECTED_AFTER), Some(FAILED_AFTER), Some(KEEP_ALIVE))
        .with_host_acceptance_min_wait(Some(Duration::ZERO))
        .with_srflx_acceptance_min_wait(Some(REFLEXIVE_WAIT))
        .with_prflx_acceptance_min_wait(Some(REFLEXIVE_WAIT))
        .with_relay_acceptance_min_wait(Some(TURN_WAIT))
        .with_multicast_dns_mode(mdns)
        // A restart binds new sockets, on the addresses that the machine has by then.
        .with_discard_local_candidates_during_ice_restart(true)
        .build();
    let configuration = RTCConfigurationBuilder::default().with_ice_servers(usable(ice_servers)).build();
    PeerConnectionBuilder::new()
        .with_configuration(configuration)
        .with_setting_engine(settings)
        .with_runtime(Arc::new(runtime.clone()))
        .with_udp_addrs(vec![LocalAddresses { include_loopback: options.include_loopback }])
        .with_data_channel_send_buffer_limit(SEND_BUFFER)
}

/// The library refuses a whole configuration for one server it cannot use (a TURN server without credentials, a
/// typing error); a direct link needs none of them.
fn usable(urls: &[String]) -> Vec<RTCIceServer> {
    let servers = urls.iter().map(|url| RTCIceServer { urls: vec![url.clone()], ..Default::default() });
    let (usable, refused): (Vec<_>, Vec<_>) = servers.partition(|server| server.urls().is_ok());
    if !refused.is_empty() {
        debug!(count = refused.len(), "ICE servers ignored");
    }
    usable
}
