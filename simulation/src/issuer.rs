//! Who issues tokens in a world, and who pretends to.

use wsguard_core::time::{Millis, UnixMs};
use wsguard_core::token::{Key, KeyRing, MintClaims, SigningKey, encode_secret, mint};

use crate::rng::Rng;

/// A token as a peer has it.
#[derive(Clone, Debug)]
pub struct Token {
    /// Its number, which is its `jti` too.
    pub number: u32,
    /// The token.
    pub text: String,
    /// Whom it names.
    pub subject: String,
}

/// What a token is to say.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    /// Whom it names.
    pub subject: &'a str,
    /// What they may do.
    pub roles: &'a [String],
    /// How long it is good.
    pub life: Millis,
}

/// How a forged token is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forgery {
    /// Signed by another key under the same name.
    OtherKey,
    /// Of another subject than the signature is about.
    OtherSubject,
    /// Without a signature, `alg` says so.
    None,
    /// Its end is long past.
    Ended,
    /// It was issued in a minute.
    Future,
}

/// The keys of a world; the newest signs.
#[derive(Debug)]
pub struct Issuer {
    keys: Vec<(u32, SigningKey, String)>,
    next_key: u32,
    forger: SigningKey,
    made: u32,
    rng: Rng,
    /// How far its clock goes before the server's, in milliseconds.
    ahead_ms: i64,
}

/// The most by which the clocks of issuer and server differ, in milliseconds. Less than the leeway of a token by the second
/// that its times may be cut by.
pub const SKEW_MS_MAX: i64 = 3_900;

fn key(rng: &mut Rng, name: &str) -> (SigningKey, String) {
    let mut secret = [0; 32];
    for chunk in secret.chunks_mut(8) {
        chunk.copy_from_slice(&rng.next().to_le_bytes());
    }
    let file = format!("kid: {name}\n{}", *encode_secret(&secret));
    (SigningKey::parse(name, file.as_bytes()).expect("a key file"), file)
}

impl Issuer {
    /// An issuer with one key.
    pub fn new(seed: u64, ahead_ms: i64) -> Self {
        let mut rng = Rng::of(seed, "issuer", 0);
        let (signing, file) = key(&mut rng, "k0");
        let (forger, _) = key(&mut rng, "k0");
        Self { keys: vec![(0, signing, file)], next_key: 1, forger, made: 0, rng, ahead_ms }
    }

    /// The keys that verify.
    pub fn ring(&self) -> KeyRing {
        let keys = self.keys.iter().map(|(_, _, file)| Key::parse("key", file.as_bytes()).expect("a key file"));
        KeyRing::new(keys.collect()).expect("keys of different names")
    }

    /// The numbers of the keys that verify.
    pub fn in_force(&self) -> Vec<u32> {
        self.keys.iter().map(|(number, ..)| *number).collect()
    }

    /// A new key comes, or the older of two leaves.
    pub fn turn(&mut self) {
        if self.keys.len() > 1 {
            self.keys.remove(0);
            return;
        }
        let number = self.next_key;
        self.next_key += 1;
        let (signing, file) = key(&mut self.rng, &format!("k{number}"));
        self.keys.push((number, signing, file));
    }

    /// A token, the number of the key that signed it, and its end.
    pub fn issue(&mut self, now: UnixMs, wish: Wish<'_>) -> (Token, u32, UnixMs) {
        let now = UnixMs(now.0.saturating_add_signed(self.ahead_ms));
        let (number, signing, _) = self.keys.last().expect("there is always a key");
        let ends = now.after(wish.life);
        let text = self.text(signing, now, wish, ends);
        let key = *number;
        let token = Token { number: self.made, text, subject: wish.subject.to_owned() };
        self.made += 1;
        (token, key, ends)
    }

    fn text(&self, signing: &SigningKey, now: UnixMs, wish: Wish<'_>, ends: UnixMs) -> String {
        let id = format!("t{}", self.made);
        let claims = MintClaims {
            issued_at: Some(UnixMs(now.0 / 1_000 * 1_000)),
            id: Some(&id),
            roles: wish.roles,
            ..MintClaims::new(wish.subject, ends)
        };
        mint(signing, &claims).expect("claims that a token may have")
    }

    /// A token that nobody issued.
    pub fn forge(&mut self, now: UnixMs, wish: Wish<'_>, forgery: Forgery) -> (Token, UnixMs) {
        let (_, signing, _) = self.keys.last().expect("there is always a key");
        let ends = match forgery {
            Forgery::Ended => UnixMs(now.0.saturating_sub(120_000)),
            _ => now.after(wish.life),
        };
        let good = |subject| self.text(signing, now, Wish { subject, ..wish }, ends);
        let text = match forgery {
            Forgery::OtherKey => self.text(&self.forger, now, wish, ends),
            Forgery::Ended => good(wish.subject),
            Forgery::Future => self.text(signing, now.after(Millis(60_000)), wish, ends),
            Forgery::OtherSubject | Forgery::None => {
                // The claims of one token behind the signature of another.
                let (theirs, ours) = (good("mallory"), good(wish.subject));
                let claims = ours.split('.').nth(1).unwrap_or_default();
                let mut parts: Vec<&str> = theirs.split('.').collect();
                parts[1] = claims;
                if forgery == Forgery::None {
                    // {"alg":"none"}
                    parts[0] = "eyJhbGciOiJub25lIn0";
                    parts[2] = "";
                }
                parts.join(".")
            }
        };
        let token = Token { number: self.made, text, subject: wish.subject.to_owned() };
        self.made += 1;
        (token, ends)
    }
}
