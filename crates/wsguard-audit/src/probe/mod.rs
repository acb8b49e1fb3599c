//! The hands of a check: our own raw peer, which sends what a client library refuses to send, and the knowledge of how
//! this target is spoken to.

pub(crate) mod budget;
pub(crate) mod deflate;
pub(crate) mod entry;
pub(crate) mod frame;
pub(crate) mod hello;
pub(crate) mod http2;
pub(crate) mod jwt;
pub(crate) mod link;
pub(crate) mod notes;
pub(crate) mod request;
pub(crate) mod response;
pub(crate) mod secrets;
pub(crate) mod session;
pub(crate) mod socket;
pub(crate) mod tls;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use aws_lc_rs::rand;
use tokio::sync::OnceCell;
use tokio::time::{Instant, timeout_at};

use crate::Outcome;
use crate::discover::{Placement, Way};
use crate::pace::Pace;
use crate::target::{Options, Target};
use budget::{Budget, Permit, Spent};
use link::{Dial, End, HeadMissing, Link, Road, Unreached};
use notes::{Notes, Watched};
use request::Request;
use response::Response;
use session::Session;
use socket::Socket;
use tls::Trust;

/// Random bytes. Where the system has none, zeros: nothing of the audit is secret.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let _ = rand::fill(&mut bytes);
    bytes
}

/// A random word of 16 hexadecimal digits, to be found again in answers.
pub(crate) fn marker() -> String {
    format!("wsg{:016x}", u64::from_be_bytes(random()))
}

/// The beginning of a text, for evidence.
pub(crate) fn shortened(text: &str) -> String {
    const CHARS_MAX: usize = 160;
    let mut out: String = text.chars().take(CHARS_MAX).collect();
    if out.len() < text.len() {
        out.push('…');
    }
    out
}

/// Something that the target said.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    /// The check that made it speak.
    pub(crate) check: &'static str,
    /// `message`, `close reason`, `head`, `body`.
    pub(crate) kind: &'static str,
    pub(crate) text: String,
}

/// Most that is kept of what the target said, in bytes.
const HEARD_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Places that must be left where a connection is kept for the next check.
const SPARE_ROOM_MIN: u32 = 2;

/// What all checks of a run share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) target: Target,
    pub(crate) options: Options,
    pub(crate) trust: Arc<Trust>,
    pub(crate) road: Road,
    pub(crate) budget: Budget,
    pub(crate) pace: Pace,
    pub(crate) way: OnceLock<Way>,
    /// What became of the socket of a session whose credential was ended; then how it was ended, or what is known of
    /// coming back. Done once.
    pub(crate) farewell: OnceCell<(Outcome, Result<String, Outcome>)>,
    /// A connection on which nothing happens but signs of life.
    pub(crate) idle: OnceCell<Watched>,
    /// A good connection to a target that limits the audit, for the next check that sends messages.
    spare: Mutex<Option<Box<Session>>>,
    heard: Mutex<(usize, Vec<Heard>)>,
    notes: Mutex<Notes>,
}

impl Shared {
    pub(crate) fn new(target: Target, options: Options, budget: Budget) -> Self {
        let trust = Arc::new(Trust::new(options.ca_pem.as_deref(), options.insecure));
        let road = Road::new(target.clone(), Arc::clone(&trust));
        let pace = options.pace;
        Self {
            target,
            options,
            trust,
            road,
            budget,
            pace,
            way: OnceLock::new(),
            farewell: OnceCell::new(),
            idle: OnceCell::new(),
            spare: Mutex::default(),
            heard: Mutex::default(),
            notes: Mutex::default(),
        }
    }

    /// Leaves a connection, which served to the last, to the next check, where connections are few.
    pub(crate) fn spare(&self, session: Session) {
        if self.budget.used().limited > 0 && self.budget.room() > SPARE_ROOM_MIN {
            *self.spare.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(session));
        }
    }

    /// The connection that another check left, if there is one.
    pub(crate) fn take_spare(&self) -> Option<Box<Session>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// What checks learnt for others.
    pub(crate) fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// So long from now.
    #[expect(clippy::unused_self, reason = "reads as what it is for: a deadline of this run")]
    pub(crate) fn later(&self, by: Duration) -> Instant {
        let now = Instant::now();
        now.checked_add(by).unwrap_or(now)
    }

    /// A deadline for what only needs the machine and the network: so many seconds of the catalogue, and never so few
    /// that a busy machine counts as a silent target.
    pub(crate) fn patience(&self, seconds: f64) -> Instant {
        self.later(self.pace.seconds(seconds).max(Duration::from_millis(1_500)))
    }

    /// The same for something that comes at once or not at all, so that a check may wait for it several times.
    pub(crate) fn soon(&self, seconds: f64) -> Instant {
        self.later(self.pace.seconds(seconds).max(Duration::from_millis(250)))
    }

    /// Keeps what the target said for the checks that look at all of it.
    pub(crate) fn heard(&self, check: &'static str, kind: &'static str, text: &str) {
        if text.is_empty() {
            return;
        }
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = heard.0.saturating_add(text.len());
        if sum <= HEARD_BYTES_MAX {
            heard.0 = sum;
            heard.1.push(Heard { check, kind, text: text.to_owned() });
        }
    }

    /// Everything that the target said until now.
    pub(crate) fn transcript(&self) -> Vec<Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).1.clone()
    }
}

/// What became of a handshake.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one at a time, and matched at once")]
pub(crate) enum Handshake {
    /// 101 with the right `Sec-WebSocket-Accept`.
    Opened(Socket),
    /// Another status, or a 101 that is none.
    Refused(Response),
    /// 429 or 503: the target limits the audit. Evidence for nothing else.
    Limited(Response),
    /// The connection ended without an answer: how many servers refuse, and how some limiters do.
    Dropped(End),
    /// No connection, or no answer.
    Unreached(Unreached),
}

/// The hands of one check.
#[derive(Clone, Debug)]
pub(crate) struct Probe {
    shared: Arc<Shared>,
    /// Whose hands they are.
    pub(crate) check: &'static str,
    /// The check holds its connections for long.
    waits: bool,
}

impl Probe {
    pub(crate) fn new(shared: Arc<Shared>, check: &'static str) -> Self {
        Self { shared, check, waits: false }
    }

    /// The hands of a check that waits.
    pub(crate) fn waiting(self) -> Self {
        Self { waits: true, ..self }
    }

    pub(crate) fn target(&self) -> &Target {
        &self.shared.target
    }

    pub(crate) fn options(&self) -> &Options {
        &self.shared.options
    }

    pub(crate) fn trust(&self) -> &Trust {
        &self.shared.trust
    }

    pub(crate) fn budget(&self) -> &Budget {
        &self.shared.budget
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// How this target is spoken to.
    pub(crate) fn way(&self) -> &Way {
        self.shared.way.get_or_init(Way::default)
    }

    /// Everything that the target said until now, to any check.
    pub(crate) fn transcript(&self) -> Vec<Heard> {
        self.shared.transcript()
    }

    /// Waits so many seconds of the catalogue.
    pub(crate) async fn wait(&self, seconds: f64) {
        self.shared.budget.rest(seconds).await;
    }

    /// Handshakes of the last 10 s.
    pub(crate) fn recent(&self) -> u32 {
        u32::try_from(self.shared.budget.recent()).unwrap_or(u32::MAX)
    }

    /// How many seconds of the catalogue `real` is.
    pub(crate) fn in_seconds(&self, real: Duration) -> f64 {
        self.shared.pace.in_seconds(real)
    }

    /// The good handshake, with the credential of `--token`.
    pub(crate) fn request(&self) -> Request {
        self.request_as(self.options().token.as_deref())
    }

    /// The good handshake with another credential in the same place; `None`: with none at all.
    pub(crate) fn request_as(&self, credential: Option<&str>) -> Request {
        self.way().request(&self.shared, credential)
    }

    /// The good handshake with the credential in a place that the target was not found to want.
    pub(crate) fn request_with(&self, placement: &Placement, credential: &str) -> Request {
        placement.apply(self.way().request(&self.shared, None), credential)
    }

    /// Sends a handshake and reads the answer.
    pub(crate) async fn handshake(&self, request: &Request) -> Handshake {
        match self.permit().await {
            Ok(permit) => self.shake(request, permit, true, Dial::default()).await,
            Err(why) => Handshake::Unreached(why),
        }
    }

    /// The same, given up when no answer comes within so many seconds; `None` then.
    pub(crate) async fn handshake_within(&self, request: &Request, seconds: f64) -> Option<Handshake> {
        let permit = match self.permit().await {
            Ok(permit) => permit,
            Err(why) => return Some(Handshake::Unreached(why)),
        };
        let deadline = self.shared.patience(seconds);
        let answer = timeout_at(deadline, self.shake(request, permit, true, Dial::default())).await.ok();
        answer.filter(|answer| !matches!(answer, Handshake::Unreached(Unreached::Silent)))
    }

    /// The same though the target may have said that so many connections at a time are too many.
    pub(crate) async fn handshake_beyond(&self, request: &Request) -> Handshake {
        match self.shared.budget.handshake_beyond().await {
            Ok(permit) => self.shake(request, permit, true, Dial::default()).await,
            Err(spent) => Handshake::Unreached(Unreached::Spent(spent.to_string())),
        }
    }

    /// A good handshake that opened.
    ///
    /// # Errors
    /// With the outcome `unknown` and the reason, where it did not.
    pub(crate) async fn open(&self) -> Result<Socket, Outcome> {
        let why = match self.handshake(&self.request()).await {
            Handshake::Opened(socket) => return Ok(socket),
            Handshake::Refused(response) | Handshake::Limited(response) => response.to_string(),
            Handshake::Dropped(end) => end.to_string(),
            Handshake::Unreached(why) => why.to_string(),
        };
        Err(Outcome::unknown(why))
    }

    /// Sends a handshake without regard for the pace, and without a pause when the target limits it: for checks that
    /// look for the limit.
    pub(crate) async fn handshake_at_once(&self, request: &Request) -> Handshake {
        match self.shared.budget.handshake_at_once().await {
            Ok(permit) => self.shake(request, permit, false, Dial::default()).await,
            Err(spent) => Handshake::Unreached(Unreached::Spent(spent.to_string())),
        }
    }

    /// The same from another address of this machine.
    pub(crate) async fn handshake_from(&self, request: &Request, source: IpAddr) -> Handshake {
        match self.shared.budget.handshake_at_once().await {
            Ok(permit) => self.shake(request, permit, false, Dial { source: Some(source), ..Dial::default() }).await,
            Err(spent) => Handshake::Unreached(Unreached::Spent(spent.to_string())),
        }
    }

    /// Sends a handshake on a connection whose buffers hold next to nothing.
    pub(crate) async fn handshake_narrow(&self, request: &Request) -> Handshake {
        match self.permit().await {
            Ok(permit) => self.shake(request, permit, true, Dial { is_narrow: true, ..Dial::default() }).await,
            Err(why) => Handshake::Unreached(why),
        }
    }

    async fn shake(&self, request: &Request, permit: Permit, pause: bool, dial: Dial) -> Handshake {
        match self.shared.road.open_from(permit, self.shared.patience(10.0), dial).await {
            Ok(link) => self.shake_on(link, request, pause).await,
            Err(why) => Handshake::Unreached(why),
        }
    }

    async fn shake_on(&self, mut link: Link, request: &Request, pause: bool) -> Handshake {
        let deadline = self.shared.patience(10.0);
        if let Err(spent) = self.shared.budget.send(0, 0, request.encode().len() as u64) {
            return Handshake::Unreached(Unreached::Spent(spent.to_string()));
        }
        if let Err(end) = link.write(&request.encode(), deadline).await {
            return Handshake::Dropped(end);
        }
        let mut head = match link.head(deadline).await {
            Ok(head) => head,
            Err(HeadMissing::Ended(end)) => return Handshake::Dropped(end),
            Err(HeadMissing::Silent) => return Handshake::Unreached(Unreached::Silent),
            Err(HeadMissing::NotHttp) => return Handshake::Unreached(Unreached::NotHttp),
        };
        let accepted = head.value("Sec-WebSocket-Accept") == Some(request.accept().as_str());
        if head.status == 101 && accepted {
            link.settle();
            let timing = link.timing;
            let took = timing.tcp.saturating_add(timing.tls).saturating_add(timing.answer);
            self.shared.budget.record().handshake(self.shared.budget.elapsed(), took);
            return Handshake::Opened(Socket::new(link, head, Arc::clone(&self.shared), self.check));
        }
        link.body(&mut head, self.shared.later(Duration::from_millis(700))).await;
        self.shared.heard(self.check, "body", &head.text());
        if head.is_limit() {
            if pause {
                let retry = head.value("Retry-After").and_then(|value| value.parse().ok()).map(Duration::from_secs);
                self.shared.budget.limited(&head.to_string(), retry);
            }
            return Handshake::Limited(head);
        }
        if matches!(head.status, 502 | 504) {
            return Handshake::Unreached(Unreached::Gateway(head.status));
        }
        Handshake::Refused(head)
    }

    /// A connection with nothing sent on it.
    pub(crate) async fn connect(&self) -> Result<Link, Unreached> {
        let permit = self.permit().await?;
        self.shared.road.open(permit, self.shared.patience(10.0)).await
    }

    /// A connection with or without TLS, to another port, offering other protocols.
    pub(crate) async fn connect_with(&self, tls: bool, port: u16, alpn: &[&[u8]]) -> Result<Link, Unreached> {
        let permit = self.permit().await?;
        self.shared.road.open_with(permit, self.shared.patience(10.0), tls, port, alpn).await
    }

    /// A connection with this configuration of TLS.
    pub(crate) async fn connect_tls(&self, config: Arc<rustls::ClientConfig>) -> Result<Link, Unreached> {
        let permit = self.permit().await?;
        self.shared.road.open_tls(permit, self.shared.patience(10.0), config).await
    }

    async fn permit(&self) -> Result<Permit, Unreached> {
        let permit = self.shared.budget.handshake().await;
        let mut permit = permit.map_err(|spent: Spent| Unreached::Spent(spent.to_string()))?;
        if self.waits {
            permit.wait();
        }
        Ok(permit)
    }

    /// A plain request and its answer, body included.
    pub(crate) async fn fetch(&self, request: &Request) -> Result<Response, Unreached> {
        let link = self.connect().await?;
        self.fetch_on(link, request).await
    }

    /// Plain requests one after the other, on one connection as long as the target keeps it.
    pub(crate) async fn fetch_each(&self, requests: &[Request]) -> Vec<Result<Response, Unreached>> {
        let mut kept: Option<Link> = None;
        let mut answers = Vec::with_capacity(requests.len());
        for request in requests {
            let request = request.clone().without("Connection");
            let was_kept = kept.is_some();
            let counts = request.value("Upgrade").is_some() || self.shared.budget.counts_requests();
            if was_kept
                && counts
                && let Err(spent) = self.shared.budget.request().await
            {
                answers.push(Err(Unreached::Spent(spent.to_string())));
                continue;
            }
            let mut link = match kept.take() {
                Some(link) => link,
                None => match self.connect().await {
                    Ok(link) => link,
                    Err(why) => {
                        answers.push(Err(why));
                        continue;
                    }
                },
            };
            let mut answer = self.fetch_over(&mut link, &request).await;
            // A target may end a kept connection at any time: then it was no answer.
            if was_kept && matches!(answer, Err(Unreached::Connect(_)) | Ok(Response { status: 408, .. })) {
                match self.connect().await {
                    Ok(fresh) => link = fresh,
                    Err(why) => {
                        answers.push(Err(why));
                        continue;
                    }
                }
                answer = self.fetch_over(&mut link, &request).await;
            }
            if answer.as_ref().is_ok_and(Response::is_kept) && link.buffer.is_empty() {
                kept = Some(link);
            }
            answers.push(answer);
        }
        answers
    }

    /// The same on a connection that is open.
    pub(crate) async fn fetch_on(&self, mut link: Link, request: &Request) -> Result<Response, Unreached> {
        self.fetch_over(&mut link, request).await
    }

    async fn fetch_over(&self, link: &mut Link, request: &Request) -> Result<Response, Unreached> {
        let deadline = self.shared.patience(10.0);
        self.shared
            .budget
            .send(0, 0, request.encode().len() as u64)
            .map_err(|spent| Unreached::Spent(spent.to_string()))?;
        link.write(&request.encode(), deadline).await.map_err(|end| Unreached::Connect(end.to_string()))?;
        let mut head = link.head(deadline).await.map_err(|missing| match missing {
            HeadMissing::Silent => Unreached::Silent,
            HeadMissing::NotHttp => Unreached::NotHttp,
            HeadMissing::Ended(end) => Unreached::Connect(end.to_string()),
        })?;
        link.body(&mut head, self.shared.later(Duration::from_millis(1_500))).await;
        if head.is_limit() {
            if request.value("Upgrade").is_none() {
                self.shared.budget.request_limited();
            }
            self.shared.budget.limited(&head.to_string(), None);
        }
        Ok(head)
    }

    /// A request to an address of the command line, which may be of another server.
    ///
    /// # Errors
    /// With why there is no answer.
    pub(crate) async fn fetch_url(
        &self,
        method: &str,
        url: &str,
        header: Option<(&str, &str)>,
        body: Option<&str>,
    ) -> Result<Response, Unreached> {
        let target = Target::find(url).await.map_err(|error| Unreached::Connect(error.to_string()))?;
        let mut request = Request::new(method, &target.path, &target.authority())
            .header("Connection", "close")
            .header("Accept", "*/*")
            .header("Origin", &self.way().origin.clone().unwrap_or_else(|| target.origin()));
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        if let Some(body) = body {
            let kind = if body.starts_with('{') { "application/json" } else { "application/x-www-form-urlencoded" };
            request = request.header("Content-Type", kind);
            request.tail = body.as_bytes().to_vec();
        }
        if method == "POST" {
            request = request.header("Content-Length", &body.map_or(0, str::len).to_string());
        }
        let permit = self.permit().await?;
        let road = Road::new(target, Arc::clone(&self.shared.trust));
        let link = road.open(permit, self.shared.patience(10.0)).await?;
        self.fetch_on(link, &request).await
    }

    /// The header that carries a credential in a plain request: the cookie where the target has one, else
    /// `Authorization`.
    pub(crate) fn credential_header(&self, credential: &str) -> (&'static str, String) {
        match &self.options().cookie {
            Some(cookie) if cookie.contains("{token}") => ("Cookie", cookie.replace("{token}", credential)),
            _ => ("Authorization", format!("Bearer {credential}")),
        }
    }

    /// A plain `GET` of a path of the target.
    pub(crate) fn get(&self, path: &str) -> Request {
        Request::new("GET", path, &self.target().authority()).header("Connection", "close").header("Accept", "*/*")
    }
}
