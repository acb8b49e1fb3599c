//! Typed messages, roles and rooms. `join` and `leave` a room, `say` something to its members; who has the role
//! `moderator` may enter `staff` and `announce` to everybody.

mod rooms;
mod ticket;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::net::TcpListener;
use wsguard::core::control::authorization::{Access, RoomRule};
use wsguard::core::control::session::SessionId;
use wsguard::core::effect::Message;
use wsguard::protocol::ErrorCode;
use wsguard::{Encoded, Guard, GuardedUpgrade, Handled, Handler, Peer};

use rooms::Rooms;

/// What a client may send; the schemas beside `src/` say the same, and are checked before.
#[derive(Deserialize)]
#[serde(tag = "type", content = "payload", rename_all = "lowercase")]
enum FromClient {
    Join { room: String },
    Leave { room: String },
    Say { room: String, text: String },
    Announce { text: String },
}

/// What a client gets.
#[derive(Serialize)]
#[serde(tag = "type", content = "payload", rename_all = "lowercase")]
enum ToClient<'a> {
    Said { room: &'a str, from: &'a str, text: &'a str },
    Announced { from: &'a str, text: &'a str },
}

/// One connection. The guard calls it between two messages, so it needs no lock of its own.
struct Chat {
    rooms: Arc<Rooms>,
    session: Option<SessionId>,
}

impl Handler for Chat {
    fn opened(&mut self, peer: &mut Peer<'_>) {
        self.session = peer.session();
        if let Some(session) = self.session {
            self.rooms.connect(session, peer.outbox());
        }
    }

    fn message(&mut self, message: Message<'_>, peer: &mut Peer<'_>) -> Handled {
        let (Some(session), Some(who)) = (self.session, peer.identity().cloned()) else {
            return Handled::Refused(ErrorCode::Internal, "no_session");
        };
        let from = &*who.claims.subject;
        let Ok(message) =
            serde_json::from_str(&format!(r#"{{"type":"{}","payload":{}}}"#, message.kind, message.payload))
        else {
            return Handled::Refused(ErrorCode::InvalidMessage, "message_does_not_fit_type");
        };
        match message {
            FromClient::Join { room } if !peer.may_enter(&room) => {
                return Handled::Refused(ErrorCode::Forbidden, "room_forbidden");
            }
            FromClient::Join { room } => {
                if !self.rooms.join(session, &room) {
                    return Handled::Refused(ErrorCode::RateLimited, "rooms_of_session");
                }
            }
            FromClient::Leave { room } => self.rooms.leave(session, &room),
            FromClient::Say { room, text } => {
                if !self.rooms.is_in(session, &room) {
                    return Handled::Refused(ErrorCode::Forbidden, "room_not_joined");
                }
                self.rooms.send(Some(&room), &encoded(Some(&room), &ToClient::Said { room: &room, from, text: &text }));
            }
            FromClient::Announce { text } => {
                self.rooms.send(None, &encoded(None, &ToClient::Announced { from, text: &text }));
            }
        }
        Handled::Done
    }

    /// A new token with other roles, or a new policy: out of the rooms that are closed to it now.
    fn reconsidered(&mut self, peer: &mut Peer<'_>) {
        if let Some(session) = self.session {
            self.rooms.retain(session, |room| peer.may_enter(room));
        }
    }
}

impl Drop for Chat {
    fn drop(&mut self) {
        if let Some(session) = self.session {
            self.rooms.disconnect(session);
        }
    }
}

/// Encodes a message once, for however many peers. What is marked with its room is not replayed to who had to leave it.
fn encoded(room: Option<&str>, message: &ToClient<'_>) -> Encoded {
    let form = serde_json::to_value(message).unwrap_or_default();
    let kind = form.get("type").and_then(Value::as_str).unwrap_or_default();
    let payload = form.get("payload").map(Value::to_string).unwrap_or_default();
    room.map_or_else(|| Encoded::new(kind, &payload), |room| Encoded::in_room(room, kind, &payload))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let moderators = || Access::Any { roles: vec!["moderator".into()], scopes: Vec::new() };
    let guard = Guard::builder()
        .key("issuer.key.pub", &std::fs::read("issuer.key.pub")?)
        .hosts(["localhost"])
        .origins(["http://localhost:8080"])
        .message("join", include_str!("../schemas/room.json"))
        .message("leave", include_str!("../schemas/room.json"))
        .message("say", include_str!("../schemas/say.json"))
        .message_for("announce", include_str!("../schemas/announce.json"), moderators())
        .rooms([
            RoomRule { pattern: "staff".into(), access: moderators() },
            RoomRule { pattern: "*".into(), access: Access::Authenticated },
        ])
        .build()?;
    let rooms = Arc::<Rooms>::default();
    let socket = async move |upgrade: GuardedUpgrade| upgrade.serve(Chat { rooms: Arc::clone(&rooms), session: None });
    let app = Router::new().route("/ws", get(socket)).route("/ws/ticket", post(ticket::issue)).with_state(guard);
    let listener = TcpListener::bind(std::env::args().nth(1).as_deref().unwrap_or("127.0.0.1:8080")).await?;
    eprintln!("listening on {}", listener.local_addr()?);
    axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await?;
    Ok(())
}
