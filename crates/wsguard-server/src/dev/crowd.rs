//! Honest visitors for the demo page. What is unusual can be told only where something is usual, and a server that began
//! a minute ago has seen nobody. So they come over real sockets, chat for a few seconds, and go.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use wsguard::core::time::UnixMs;
use wsguard::core::token::{MintClaims, SigningKey, mint};

use super::{frames_of, read_until, upgrade};
use crate::app::unix_ms;

/// Visitors at once: enough that what none of them does is rarer than one in sixty.
const VISITORS: u8 = 64;

/// Messages of each. With their pauses about 13 s, so that the guard judges each more than once.
pub(super) const MESSAGES: u32 = 16;

/// The shortest pause before a message in milliseconds, and by how much it may be longer.
const PAUSE_MS_MIN: u32 = 400;
const PAUSE_MS_PLAY: u32 = 800;

/// The role of the visitors, which nobody else has: what they do is usual for no one else.
const ROLE: &str = "visitor";

/// Life of a visitor's token in milliseconds.
const TOKEN_LIFE_MS: u64 = 120_000;

/// Lets the visitors come and go; how many chatted to the end.
pub(super) async fn chat(listen: SocketAddr, key: &SigningKey) -> usize {
    let roles = [ROLE.to_owned()];
    let mut visitors = JoinSet::new();
    for number in 1..=VISITORS {
        let name = format!("Visitor-{number}");
        let ends_at = UnixMs(unix_ms().saturating_add(TOKEN_LIFE_MS));
        if let Ok(token) = mint(key, &MintClaims { roles: &roles, ..MintClaims::new(&name, ends_at) }) {
            visitors.spawn(visit(listen, token, number));
        }
    }
    let mut stayed = 0_usize;
    while let Some(end) = visitors.join_next().await {
        stayed = stayed.saturating_add(usize::from(matches!(end, Ok(Ok(())))));
    }
    stayed
}

async fn visit(listen: SocketAddr, token: String, number: u8) -> io::Result<()> {
    let socket = TcpSocket::new_v4()?;
    // From an address prefix of its own, so that the visitors use up nobody's quota.
    socket.bind(SocketAddr::from(([127, 77, number, 1], 0)))?;
    let mut stream = socket.connect(listen).await?;
    stream.write_all(upgrade(listen, &token).as_bytes()).await?;
    let mut got = Vec::new();
    read_until(&mut stream, &mut got, |got| frames_of(got).is_some_and(|(_, frames)| !frames.is_empty())).await?;
    let csrf = frames_of(&got).and_then(|(_, frames)| {
        let (_, welcome) = frames.first()?;
        let welcome: serde_json::Value = serde_json::from_slice(welcome).ok()?;
        Some(welcome.pointer("/payload/csrfToken")?.as_str()?.to_owned())
    });
    let csrf = csrf.ok_or_else(|| io::Error::other("no welcome"))?;
    for message in 0..MESSAGES {
        // People pause as they like and say what they like.
        let whim = u32::from(number).wrapping_mul(2_654_435_761).wrapping_add(message.wrapping_mul(40_503));
        let pause = PAUSE_MS_MIN.saturating_add((whim >> 8) % PAUSE_MS_PLAY);
        tokio::time::sleep(Duration::from_millis(u64::from(pause))).await;
        let words = "word ".repeat(usize::try_from((whim >> 16) % 24).unwrap_or_default());
        let payload = format!("{words}{number} says {message}");
        let text = json!({"type": "echo", "csrfToken": csrf, "payload": payload}).to_string();
        stream.write_all(&masked(0x81, text.as_bytes())).await?;
        drain(&stream)?;
    }
    stream.write_all(&masked(0x88, &1000_u16.to_be_bytes())).await?;
    let mut rest = [0; 512];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}

/// A client's frame of less than 64 KiB (RFC 6455 section 5.2); the mask is all zeroes, which is a mask.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    if let Ok(short @ 0..126) = u8::try_from(payload.len()) {
        frame.push(0x80 | short);
    } else {
        frame.push(0xfe);
        frame.extend_from_slice(&u16::try_from(payload.len()).unwrap_or(u16::MAX).to_be_bytes());
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame
}

/// Reads what is there, so that the visitor is not one that does not read.
fn drain(stream: &TcpStream) -> io::Result<()> {
    let mut rest = [0; 2_048];
    loop {
        match stream.try_read(&mut rest) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}
