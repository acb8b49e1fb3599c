//! A chat on a terminal: `cargo run -p wsguard-client --example chat -- ws://localhost:3000/ws test_token`.
//!
//! Lines of standard input go to the lobby of the built-in application; `/rtt` shows how the connection is.

#![expect(clippy::print_stdout, reason = "an example of a program for a terminal")]

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use wsguard_client::{Client, Event, TokenError};

#[derive(Serialize)]
#[serde(tag = "type", content = "payload", rename_all = "lowercase")]
enum ToServer<'a> {
    Chat { message: &'a str },
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

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().unwrap_or_else(|| "ws://localhost:3000/ws".to_owned());
    let token = arguments.next().unwrap_or_else(|| "test_token".to_owned());
    // A real provider would ask a login service here; each time, so that the token never ends.
    let provider = move |_| {
        let token = token.clone();
        async move { Ok::<_, TokenError>(token) }
    };
    let connected = Client::builder(url).token(provider).connect().await;
    // What a program ends with is shown as it is told, and not as it is built.
    let (client, mut events) = connected.map_err(|error| error.to_string())?;
    println!("connected as {}", client.status().subject.unwrap_or_default());

    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    loop {
        tokio::select! {
            line = lines.next_line() => match line?.as_deref() {
                None => break,
                Some("/rtt") => println!("{:?}", client.status().rtt),
                Some("") => {}
                Some(message) => {
                    let sending = client.send(&ToServer::Chat { message });
                    tokio::spawn(async move {
                        if let Err(error) = sending.await {
                            println!("! not sent: {error}");
                        }
                    });
                }
            },
            event = events.next() => match event {
                Some(Event::Message(message)) => {
                    if let FromServer::Chat { from, message } = message.decode()? {
                        // What others write must not move the cursor or colour the screen.
                        let plain = |text: String| text.replace(|c: char| c.is_control(), " ");
                        println!("{}: {}", plain(from), plain(message));
                    }
                }
                Some(Event::Opened(opened)) if opened.missed => println!("* what was said meanwhile is gone"),
                Some(Event::Lost(lost)) => println!("* {}; back in {:?}", lost.error, lost.retry_in),
                Some(Event::Fault(error)) => println!("! {error}"),
                Some(_) => {}
                None => break,
            },
        }
    }
    client.flush().await;
    client.close();
    if let Some(error) = client.closed().await.error {
        println!("* closed: {error}");
    }
    Ok(())
}
