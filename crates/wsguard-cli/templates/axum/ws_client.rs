//! Speaks with the WebSocket of this server: `cargo run --example ws_client -- [URL [TOKEN]]`. Each line of standard input
//! is said to everybody. Made by `wsguard setup`; yours to change.

use serde::{Deserialize, Serialize};
use wsguard_client::{Client, Event, TokenError};

#[derive(Serialize)]
#[serde(tag = "type", content = "payload", rename_all = "lowercase")]
enum ToServer {
    Chat { message: String },
}

#[derive(Deserialize)]
#[serde(tag = "type", content = "payload", rename_all = "lowercase")]
enum FromServer {
    Chat {
        from: String,
        message: String,
    },
    #[serde(other)]
    Other,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().unwrap_or_else(|| "ws://localhost:{{port}}/ws".to_owned());
    // What a server that runs with WSGUARD_DEV=1 accepts. Elsewhere ask your login here: it is asked again in time.
    let token = arguments.next().unwrap_or_else(|| "test_token".to_owned());
    let login = move |_| {
        let token = token.clone();
        async move { Ok::<_, TokenError>(token) }
    };
    // What a program ends with is shown as it is told, and not as it is built.
    let connected = Client::builder(url).token(login).connect().await;
    let (client, mut events) = connected.map_err(|error| error.to_string())?;
    println!("connected as {}; type a line", client.status().subject.unwrap_or_default());
    let listening = tokio::spawn(async move {
        while let Some(event) = events.next().await {
            match event {
                Event::Message(message) => {
                    if let Ok(FromServer::Chat { from, message }) = message.decode() {
                        // What others write must not move the cursor or colour the screen.
                        println!("{}: {}", from.escape_debug(), message.escape_debug());
                    }
                }
                Event::Lost(lost) => eprintln!("lost: {}; back in {:?}", lost.error, lost.retry_in),
                Event::Closed(closed) => closed.error.into_iter().for_each(|error| eprintln!("closed: {error}")),
                _ => {}
            }
        }
    });
    loop {
        // Standard input blocks, so a thread of its own reads it.
        let (read, line) = tokio::task::spawn_blocking(|| {
            let mut line = String::new();
            std::io::stdin().read_line(&mut line).map(|read| (read, line))
        })
        .await??;
        if read == 0 {
            break;
        }
        // Resolves when the server has handled the message.
        if let Err(error) = client.send(&ToServer::Chat { message: line.trim_end().to_owned() }).await {
            eprintln!("not sent: {error}");
        }
    }
    client.close();
    listening.await?;
    Ok(())
}
