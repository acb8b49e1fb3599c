//! How the target is spoken to, found out before it is judged: where its credential goes, which language it speaks, and
//! a message that it answers.

pub(crate) mod dialect;

use crate::probe::entry::Entry;
use crate::probe::request::{Request, escaped};
use crate::probe::{Probe, Shared};
use crate::target::Options;
use dialect::{Dialect, Template, templates};

/// Where the credential goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Placement {
    /// There is none.
    #[default]
    None,
    /// Where `{token}` stands in what the command line gave.
    Given,
    /// `Authorization: Bearer`.
    Bearer,
    /// Entries of `Sec-WebSocket-Protocol`; `{token}` is the token.
    Subprotocol(&'static [&'static str]),
    /// A parameter of the query.
    Query(&'static str),
    /// The first message; `{token}` is the token.
    First(String),
    /// The connect packet of the language: Socket.IO's `40`, GraphQL's `connection_init`.
    Connect,
}

impl Placement {
    /// As reports call it.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::None => "none".into(),
            Self::Given => "as given on the command line".into(),
            Self::Bearer => "Authorization header".into(),
            Self::Subprotocol(_) => "Sec-WebSocket-Protocol".into(),
            Self::Query(name) => format!("query parameter {name}"),
            Self::First(_) => "first message".into(),
            Self::Connect => "connect packet".into(),
        }
    }

    /// The request with the credential in this place.
    pub(crate) fn apply(&self, request: Request, credential: &str) -> Request {
        match self {
            Self::Bearer => request.set("Authorization", &format!("Bearer {credential}")),
            Self::Query(name) => request.query(name, credential),
            Self::Subprotocol(entries) => entries.iter().fold(request, |request, entry| {
                let entry = entry.replace("{token}", credential);
                let has = request
                    .value("Sec-WebSocket-Protocol")
                    .is_some_and(|list| list.split(", ").any(|held| held == entry));
                if has { request } else { request.offer(&entry) }
            }),
            Self::None | Self::Given | Self::First(_) | Self::Connect => request,
        }
    }

    /// The first message that carries the credential.
    pub(crate) fn login(&self, credential: &str) -> Option<String> {
        match self {
            Self::First(template) => Some(template.replace("{token}", credential)),
            _ => None,
        }
    }

    /// The handshake carries it, rather than a message behind it.
    pub(crate) fn is_in_handshake(&self) -> bool {
        matches!(self, Self::Given | Self::Bearer | Self::Subprotocol(_) | Self::Query(_))
    }
}

/// How the target is spoken to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Way {
    pub(crate) placement: Placement,
    pub(crate) dialect: Dialect,
    pub(crate) template: Option<Template>,
    /// The Origin of the good handshake; `None`: it has none.
    pub(crate) origin: Option<String>,
    /// Path and query, with what the language needs.
    pub(crate) path: String,
    /// Entries of `Sec-WebSocket-Protocol` besides a credential.
    pub(crate) offers: Vec<String>,
    /// How the good handshake went; `None`: it did not.
    pub(crate) baseline: Option<String>,
    /// How the good handshake failed, when it did.
    pub(crate) trouble: String,
    /// How a handshake without a credential went.
    pub(crate) anonymous: String,
    /// A peer without a credential gets less far: the target asks for one.
    pub(crate) asks_credential: bool,
    /// Not even an answer came.
    pub(crate) is_unreached: bool,
}

impl Way {
    /// The handshake, with a credential or without any.
    pub(crate) fn request(&self, shared: &Shared, credential: Option<&str>) -> Request {
        let options = &shared.options;
        let fill = |text: &str| text.replace("{token}", credential.unwrap_or_default());
        let target = self.path.replace("{token}", &escaped(credential.unwrap_or_default()));
        let mut request = Request::upgrade(&target, &shared.target.authority());
        if let Some(origin) = &self.origin {
            request = request.header("Origin", origin);
        }
        for (name, value) in &options.headers {
            if credential.is_some() || !value.contains("{token}") {
                request = request.header(name, &fill(value));
            }
        }
        // A cookie that holds no credential belongs to the way there.
        if let Some(cookie) = &options.cookie
            && (credential.is_some() || !cookie.contains("{token}"))
        {
            request = request.header("Cookie", &fill(cookie));
        }
        for offer in &self.offers {
            if credential.is_some() || !offer.contains("{token}") {
                request = request.offer(&fill(offer));
            }
        }
        match credential {
            Some(credential) => self.placement.apply(request, credential),
            None => request,
        }
    }

    /// A browser adds the credential to a handshake of any page.
    pub(crate) fn is_ambient(&self, options: &Options) -> bool {
        options.cookie.as_ref().is_some_and(|cookie| cookie.contains("{token}"))
            && matches!(self.placement, Placement::Given | Placement::None)
    }
}

/// What a first message looks like elsewhere.
const LOGINS: [&str; 6] = [
    r#"{"type":"auth","payload":{"token":"{token}"}}"#,
    r#"{"type":"auth","token":"{token}"}"#,
    r#"{"type":"authenticate","token":"{token}"}"#,
    r#"{"action":"auth","token":"{token}"}"#,
    r#"{"event":"auth","data":{"token":"{token}"}}"#,
    r#"{"type":"login","token":"{token}"}"#,
];

/// How far a way leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Reach {
    Nowhere,
    Open,
    Served,
}

/// Finds out how the target is spoken to.
pub(crate) async fn discover(shared: &std::sync::Arc<Shared>) -> Way {
    let probe = Probe::new(std::sync::Arc::clone(shared), "discovery");
    let mut best = Way { trouble: "the target was not reached".into(), ..Way::default() };
    let options = &shared.options;
    let own = options.origin.clone().unwrap_or_else(|| shared.target.origin());
    // A server for programs may refuse any Origin: then the good handshake has none.
    for origin in [Some(own), None] {
        let found = with_origin(&probe, origin).await;
        let is_done = found.baseline.is_some();
        if is_done || best.path.is_empty() {
            best = found;
        }
        if is_done || best.is_unreached {
            break;
        }
    }
    best
}

async fn with_origin(probe: &Probe, origin: Option<String>) -> Way {
    let options = probe.options();
    let mut way = Way {
        origin,
        path: probe.target().path.clone(),
        offers: options.subprotocols.clone(),
        template: options
            .send
            .as_ref()
            .map(|send| Template::new(send, options.expect.as_deref().unwrap_or("{marker}"))),
        ..Way::default()
    };
    guess(&mut way, options);
    let anonymous = attempt(probe, &mut way, None).await;
    way.anonymous = anonymous.shown.clone();
    if anonymous.is_unreached {
        return Way { trouble: anonymous.shown, is_unreached: true, ..way };
    }
    // What a stranger is told says little about the language that is spoken to those who are let in.
    if anonymous.reach < Reach::Served && matches!(way.dialect, Dialect::Json | Dialect::Text) {
        way.dialect = Dialect::Unknown;
    }
    let known = (way.dialect, way.template.clone());
    if let Some(token) = options.token.clone() {
        for placement in placements(options, &way, anonymous.reach) {
            let mut candidate = Way { placement, ..way.clone() };
            (candidate.dialect, candidate.template) = known.clone();
            let is_first = way.baseline.is_none() && way.trouble.is_empty();
            let found = attempt(probe, &mut candidate, Some(&token)).await;
            candidate.asks_credential = found.reach > anonymous.reach;
            // Who lets a stranger speak may still look at what is shown.
            if found.reach == Reach::Served && !candidate.asks_credential && !options.public {
                let wrong = attempt(probe, &mut candidate.clone(), Some(&crate::probe::marker())).await;
                candidate.asks_credential = wrong.reach == Reach::Nowhere && !wrong.is_unreached;
            }
            if candidate.asks_credential || (is_first && found.reach == anonymous.reach && found.reach > Reach::Nowhere)
            {
                let is_final = candidate.asks_credential;
                candidate.baseline = Some(found.shown);
                way = candidate;
                // The first place that leads further than none is the one.
                if is_final {
                    break;
                }
            } else if way.trouble.is_empty() && way.baseline.is_none() {
                way.trouble = found.shown;
            }
        }
    }
    if way.baseline.is_none() && anonymous.reach > Reach::Nowhere {
        way.baseline = Some(anonymous.shown);
    } else if way.baseline.is_none() && way.trouble.is_empty() {
        way.trouble = anonymous.shown;
    }
    way
}

/// What the URL and the offered subprotocols say already.
fn guess(way: &mut Way, options: &Options) {
    let path = way.path.to_ascii_lowercase();
    let offers = |name: &str| options.subprotocols.iter().any(|held| held == name);
    if path.contains("socket.io") || path.contains("engine.io") || path.contains("eio=") {
        let version = if path.contains("eio=3") { 3 } else { 4 };
        let is_bare = path.contains("engine.io") && !path.contains("socket.io");
        way.dialect = if is_bare { Dialect::EngineIo(version) } else { Dialect::SocketIo(version) };
        for (name, pair) in [("eio=", "EIO=4"), ("transport=", "transport=websocket")] {
            if !path.contains(name) {
                way.path.push(if way.path.contains('?') { '&' } else { '?' });
                way.path.push_str(pair);
            }
        }
    } else if offers("graphql-transport-ws") || path.contains("graphql") {
        way.dialect = Dialect::GraphqlTransportWs;
    } else if offers("graphql-ws") {
        way.dialect = Dialect::GraphqlWs;
    } else if offers(wsguard_protocol::SUBPROTOCOL) {
        way.dialect = Dialect::Wsguard;
    }
    if let Some(name) = way.dialect.subprotocol().filter(|_| way.dialect != Dialect::Wsguard)
        && !offers(name)
    {
        way.offers.push(name.to_owned());
    }
}

/// The places to try, in order.
fn placements(options: &Options, way: &Way, anonymous: Reach) -> Vec<Placement> {
    let is_given = options.headers.iter().any(|(_, value)| value.contains("{token}"))
        || options.cookie.as_ref().is_some_and(|cookie| cookie.contains("{token}"))
        || way.path.contains("{token}")
        || way.offers.iter().any(|offer| offer.contains("{token}"));
    if let Some(login) = &options.login {
        return vec![Placement::First(login.clone())];
    }
    if is_given {
        return vec![Placement::Given];
    }
    let mut list = vec![Placement::Bearer];
    if matches!(way.dialect, Dialect::SocketIo(_) | Dialect::GraphqlTransportWs | Dialect::GraphqlWs) {
        list.insert(0, Placement::Connect);
    }
    // A target that lets nobody in before the credential cannot want it in a message.
    if anonymous == Reach::Nowhere {
        list.push(Placement::Subprotocol(&["wsguard.v1", "wsguard.bearer.{token}"]));
        list.push(Placement::Query("token"));
        list.push(Placement::Query("access_token"));
        list.push(Placement::Subprotocol(&["access_token", "{token}"]));
        list.push(Placement::Subprotocol(&["bearer", "{token}"]));
    }
    if anonymous != Reach::Served {
        list.extend(LOGINS.iter().map(|login| Placement::First((*login).to_owned())));
    }
    if anonymous == Reach::Open {
        list.push(Placement::Query("token"));
        list.push(Placement::Query("access_token"));
    }
    list
}

struct Found {
    reach: Reach,
    shown: String,
    is_unreached: bool,
}

/// Tries a way, and learns language and template on it.
async fn attempt(probe: &Probe, way: &mut Way, credential: Option<&str>) -> Found {
    let request = way.request(probe.shared(), credential);
    let mut entry = probe.admit_by(way, &request, credential).await;
    if let (Entry::Open { session, .. }, Dialect::Unknown) = (&mut entry, way.dialect) {
        // A greeting, if there is one, comes at once.
        if session.greeting.is_empty()
            && let crate::probe::socket::Event::Text(text) = session.hear(0.7).await
        {
            session.greeting.push(text);
        }
        let greeting = session.greeting.first().cloned().unwrap_or_default();
        if let Some(dialect) = Dialect::of_greeting(&greeting, session.socket.subprotocol()) {
            way.dialect = dialect;
        }
    }
    let Entry::Open { session, .. } = entry else {
        let is_unreached = matches!(entry, Entry::Unreached(_));
        return Found { reach: Reach::Nowhere, shown: entry.shown(), is_unreached };
    };
    if way.template.is_some() || way.dialect != Dialect::Unknown {
        // The language is known: from here on it is spoken from the first byte.
        session.close().await;
    } else {
        let found = learn(probe, way, session, credential).await;
        return binary(probe, way, &request, credential, found).await;
    }
    if let Dialect::SocketIo(version) = way.dialect
        && !way.path.to_ascii_lowercase().contains("socket.io")
        && is_bare_engine(probe, &request).await
    {
        way.dialect = Dialect::EngineIo(version);
    }
    let found = with_templates(probe, way, &request, credential).await;
    binary(probe, way, &request, credential, found).await
}

/// Whether no Socket.IO answers above Engine.IO: the connect packet is a message like any other there.
async fn is_bare_engine(probe: &Probe, request: &Request) -> bool {
    use crate::probe::Handshake;
    use crate::probe::socket::Event;
    let Handshake::Opened(mut socket) = probe.handshake(&request.anew()).await else { return false };
    let deadline = probe.shared().patience(3.0);
    let mut is_open = false;
    loop {
        match socket.next_until(deadline).await {
            Event::Text(text) if text.starts_with("0{") => {
                is_open = true;
                if socket.send_text("40").await.is_err() {
                    return false;
                }
            }
            // `44` refuses; a server of the older version connects by itself.
            Event::Text(text) if text.starts_with("40") || text.starts_with("44") => return false,
            Event::Quiet => return is_open,
            event if event.is_end() => return false,
            _ => {}
        }
    }
}

/// Where texts are refused or lead nowhere because messages are binary: MessagePack, then bytes.
async fn binary(probe: &Probe, way: &mut Way, request: &Request, credential: Option<&str>, found: Found) -> Found {
    if found.reach == Reach::Served || !found.shown.contains("close 1003") {
        return found;
    }
    let before = way.clone();
    let mut best = found;
    way.dialect = Dialect::Binary;
    for dialect in [Dialect::MessagePack, Dialect::Binary] {
        let mut trial = Way { dialect, ..before.clone() };
        let better = with_templates(probe, &mut trial, request, credential).await;
        if better.reach > best.reach {
            (*way, best) = (trial, better);
        }
    }
    best
}

/// Speaks the language that is known, and finds a message that is answered.
async fn with_templates(probe: &Probe, way: &mut Way, request: &Request, credential: Option<&str>) -> Found {
    let candidates: Vec<Option<Template>> = match &way.template {
        Some(template) => vec![Some(template.clone())],
        None => templates(way.dialect).into_iter().map(Some).collect(),
    };
    let (mut reach, mut shown) = if candidates.is_empty() {
        (Reach::Open, "101, and the connection stays open".to_owned())
    } else {
        (Reach::Nowhere, String::new())
    };
    for template in candidates {
        let trial = Way { template, ..way.clone() };
        let entry = probe.enter_by(&trial, request, credential).await;
        let here = match &entry {
            Entry::Served { .. } => Reach::Served,
            Entry::Open { .. } => Reach::Open,
            // The message was refused, not the peer: without it the connection stays open.
            Entry::Denied(crate::probe::entry::Denial::Message(_, None))
                if credential.is_some() && way.template.is_none() =>
            {
                Reach::Open
            }
            _ => Reach::Nowhere,
        };
        if here > reach || shown.is_empty() {
            (reach, shown) = (here, entry.shown());
        }
        if here == Reach::Served {
            way.template = trial.template;
            break;
        }
    }
    Found { reach, shown, is_unreached: false }
}

/// Tries the messages of all languages on an open connection, one after the other.
async fn learn(
    probe: &Probe,
    way: &mut Way,
    mut session: Box<crate::probe::session::Session>,
    credential: Option<&str>,
) -> Found {
    use crate::probe::session::{Answer, Message};
    let mut shown = "101, and the connection stays open".to_owned();
    let mut reach = Reach::Open;
    for (turn, template) in templates(Dialect::Unknown).into_iter().enumerate() {
        let (id, marker) = (session.fresh_id(), crate::probe::marker());
        let text = template.message(&id, "", &marker);
        let message = Message { text: text.clone(), id, marker, template };
        if session.say(&text).await.is_err() {
            break;
        }
        match session.answer_to(&message, 0.8).await {
            Answer::Served(reply) => {
                way.dialect = match serde_json::from_str::<serde_json::Value>(&reply) {
                    // What comes back as it was sent was not understood.
                    _ if reply == text => Dialect::Text,
                    Ok(value) if value.get("jsonrpc").is_some() => Dialect::JsonRpc,
                    Ok(value) if value.is_object() => Dialect::Json,
                    _ => Dialect::Text,
                };
                shown = format!("101 and the answer {}", crate::probe::shortened(&reply));
                way.template = Some(message.template);
                reach = Reach::Served;
                break;
            }
            Answer::Ended(crate::probe::socket::Event::Close { code: Some(1003), .. }) => {
                way.dialect = Dialect::Binary;
                "101; texts are refused with close 1003".clone_into(&mut shown);
                break;
            }
            Answer::Ended(event @ crate::probe::socket::Event::Close { code: Some(3000 | 4401), .. }) => {
                shown = format!("101, then {event}");
                reach = Reach::Nowhere;
                break;
            }
            Answer::Ended(event) => {
                // Closed at the first word: a peer that nobody asked to speak, or a message that nobody understands.
                shown = format!("101, then {event}");
                if turn == 0 || credential.is_none() {
                    reach = Reach::Nowhere;
                    break;
                }
                let request = way.request(probe.shared(), credential);
                match probe.admit_by(way, &request, credential).await {
                    Entry::Open { session: again, .. } => session = again,
                    _ => break,
                }
            }
            Answer::Refused(text) if asks_who(&text) => {
                way.dialect = Dialect::Json;
                shown = format!("101 and the refusal {}", crate::probe::shortened(&text));
                reach = Reach::Nowhere;
                break;
            }
            Answer::Refused(text) if serde_json::from_str::<serde_json::Value>(&text).is_ok() => {
                way.dialect = Dialect::Json;
                shown = format!("101 and the refusal {}", crate::probe::shortened(&text));
                if credential.is_none() && crate::discover::dialect::is_refusal(&text) && turn == 0 {
                    reach = Reach::Nowhere;
                }
            }
            _ => {}
        }
    }
    Found { reach, shown, is_unreached: false }
}

/// Whether a refusal is about who the peer is, rather than about what it said.
fn asks_who(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    ["unauthenticated", "not authenticated", "authentication is required", "authentication required"]
        .iter()
        .any(|word| lower.contains(word))
}
