//! The OpenAPI 3.1 document, from the handlers' own descriptions.

use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::{accounts, devices, server, sessions};
use crate::socket::session;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Sotto signaling",
        description = "Accounts and devices by keys, sessions, presence, and signals between devices that want to \
            meet. Every error is a problem document (RFC 9457); programs compare its `type`."
    ),
    paths(
        server::server,
        accounts::sign_up,
        sessions::challenge,
        sessions::session,
        accounts::account,
        accounts::handle,
        accounts::set_profile,
        accounts::delete_account,
        devices::devices,
        devices::append,
        devices::device,
        session::upgrade,
    ),
    modifiers(&Bearer),
    tags(
        (name = "Server", description = "What the server says of itself."),
        (name = "Accounts", description = "An account is a handle and an Ed25519 root key, whose public half is its id."),
        (name = "Sessions", description = "The device key is the credential; there are no passwords and no refresh tokens."),
        (name = "Devices", description = "A hash chain of signed entries, so that no server can hide or add a device unseen."),
        (name = "Signaling", description = "Presence and signals, over a WebSocket."),
    )
)]
struct Document;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let http = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
        document
            .components
            .get_or_insert_default()
            .add_security_scheme("session", SecurityScheme::Http(http));
    }
}

/// The document as JSON, the same text every time.
pub(crate) fn json() -> String {
    let mut json = Document::openapi().to_pretty_json().unwrap_or_default();
    json.push('\n');
    json
}
